//! A self-signed certificate for localhost.

use rcgen::{CertificateParams, DnType, KeyPair};

/// Creates a certificate for `localhost` and its addresses. Returns the certificate and its key in
/// PEM.
///
/// # Errors
/// Returns an error if the key or the certificate cannot be created.
pub fn self_signed() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "moorgate demo");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
