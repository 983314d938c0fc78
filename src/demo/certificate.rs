//! A self-signed certificate for localhost.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The time for which the certificate is valid. It exceeds the length of any demo. Trust stores
/// refuse certificates of servers that are valid for more than 398 days.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Creates a certificate for `localhost` and its addresses. Returns the certificate and its key in
/// PEM.
///
/// The certificate is its own issuer, and not a certificate authority: clients that trust it trust
/// nothing else. It has no `keyUsage`, because OpenSSL 1.1 and LibreSSL accept a self-signed
/// certificate with `keyUsage` only if that allows signing certificates.
///
/// # Errors
/// Returns an error if the key or the certificate cannot be created.
pub fn self_signed() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "moorgate demo");
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    // A client's clock, such as that of a virtual machine, may be behind.
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFETIME).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::pem::parse_x509_pem;

    use super::*;

    /// Apple's rules for certificates of TLS servers are the strictest of the common trust stores.
    #[test]
    fn the_certificate_meets_the_rules_of_trust_stores() {
        let (pem, _) = self_signed().unwrap();
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let validity = certificate.validity();
        assert!(validity.is_valid());
        let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert!(seconds < 398 * 24 * 3600, "{validity:?}");
        assert!(certificate.subject_alternative_name().unwrap().is_some());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert!(!certificate.is_ca());
        assert!(certificate.basic_constraints().unwrap().is_some());
        let identifiers: Vec<_> = certificate
            .extensions()
            .iter()
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(of) => of.key_identifier.clone(),
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(identifiers.len(), 2, "one for the key, one for the issuer's key");
        assert_eq!(identifiers[0], identifiers[1]);
    }
}
