//! A certificate for localhost that nobody vouches for.

use rcgen::{CertificateParams, DnType, KeyPair};

/// A certificate and its key in PEM, for `localhost` and its addresses.
///
/// # Errors
/// Where no key can be made.
pub fn self_signed() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "moorgate demo");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
