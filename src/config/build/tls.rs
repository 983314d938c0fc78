//! Reads certificates, private keys and certificate authorities.

mod certificate_name;
mod key_kind;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Build;
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::ready::Tls;
use crate::config::url::{ExternalUrl, Scheme};

const CERTIFICATE: &str = "http.tls.certificate";
const KEY: &str = "http.tls.key";

/// The time before its expiry from which a certificate causes a warning. Renewal is usually due 30
/// days before the expiry.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

impl Build<'_> {
    /// Builds the TLS settings; `None` if the certificate or the key cannot be used. `external` is
    /// the URL at which clients reach the gate.
    pub(super) fn tls(
        &mut self,
        raw: &raw::TlsSection,
        external: Option<&ExternalUrl>,
    ) -> Option<Tls> {
        let chain =
            raw.certificate.as_deref().and_then(|file| self.certificates(CERTIFICATE, file));
        let not_after = chain.as_ref().and_then(|chain| self.not_after(chain.first()?));
        let certificate = chain.as_ref().and_then(|chain| chain.first());
        // Clients that are directed to http see no certificate, which has a warning of its own.
        if let (Some(certificate), Some(url)) =
            (certificate, external.filter(|url| url.scheme == Scheme::Https))
            && let Ok((_, certificate)) = X509Certificate::from_der(certificate)
            && let Some(doubt) = certificate_name::doubt(&certificate, url.host())
        {
            self.warn(CERTIFICATE, doubt);
        }
        let key = raw.key.as_deref().and_then(|file| self.private_key(KEY, file));
        Some(Tls {
            certified_key: Arc::new(self.certified_key((CERTIFICATE, KEY), chain?, key?)?),
            not_after: not_after?,
            minimum_version: raw.minimum_version,
        })
    }

    /// Builds the certificate by which a server knows the gate, from the two keys of the config that
    /// name its files. `None` if it cannot be used.
    pub(super) fn client_certificate(
        &mut self,
        names: (&str, &str),
        certificate: &str,
        key: &str,
    ) -> Option<Arc<CertifiedKey>> {
        let chain = self.certificates(names.0, certificate);
        let key = self.private_key(names.1, key);
        Some(Arc::new(self.certified_key(names, chain?, key?)?))
    }

    /// Reads the certificate authorities in a PEM file.
    pub(super) fn roots(&mut self, key: &str, file: &str) -> Option<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(self.certificates(key, file)?) {
            if let Err(error) = roots.add(certificate) {
                let message = format!(
                    "certificate {number} of `{}` cannot be used as a certificate authority \
                     ({error}); remove it",
                    shown(file)
                );
                self.problem(key, message);
                return None;
            }
        }
        Some(Arc::new(roots))
    }

    /// Reads the certificates of a PEM file, at least one.
    fn certificates(&mut self, key: &str, file: &str) -> Option<Vec<CertificateDer<'static>>> {
        let content = self.read(key, file)?;
        let wrong = match CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) | Err(pem::Error::NoItemsFound) => "contains no certificate",
            Err(_) => "is not well-formed PEM",
        };
        self.problem(
            key,
            format!(
                "`{}` {wrong}; it must contain -----BEGIN CERTIFICATE----- blocks",
                shown(file)
            ),
        );
        None
    }

    /// Returns the time at which a certificate expires. A certificate that expires soon, or has
    /// expired, is only a warning: clients that do not check the expiry are still served, and a
    /// gate that refuses to start serves no client at all.
    fn not_after(&mut self, certificate: &CertificateDer<'_>) -> Option<SystemTime> {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            self.problem(
                CERTIFICATE,
                "the first certificate is malformed; write the server's own certificate first",
            );
            return None;
        };
        let validity = certificate.validity();
        let now = SystemTime::now();
        let not_after = time(validity.not_after.timestamp());
        if time(validity.not_before.timestamp()) > now {
            let message = format!(
                "the certificate becomes valid on {}: clients refuse it until then; use one that \
                 is valid now, or correct the clock of this machine",
                validity.not_before
            );
            self.warn(CERTIFICATE, message);
        } else if not_after <= now {
            let message = format!(
                "the certificate expired on {}: clients refuse it; renew it now",
                validity.not_after
            );
            self.warn(CERTIFICATE, message);
        } else if not_after <= now + SOON {
            let days = not_after.duration_since(now).unwrap_or_default().as_secs() / (24 * 3600);
            let message = format!(
                "the certificate expires on {} (days left: {days}); renew it",
                validity.not_after
            );
            self.warn(CERTIFICATE, message);
        }
        Some(not_after)
    }

    fn private_key(&mut self, name: &str, file: &str) -> Option<PrivateKeyDer<'static>> {
        let content = self.read(name, file)?;
        self.warn_if_others_read(name, file);
        let wrong = match PrivateKeyDer::from_pem_slice(&content) {
            Ok(key) => return Some(key),
            Err(_)
                if contains(&content, b"ENCRYPTED PRIVATE KEY")
                    || contains(&content, b"Proc-Type: 4,ENCRYPTED") =>
            {
                "is encrypted; decrypt it with `openssl pkey -in … -out …`"
            }
            Err(pem::Error::NoItemsFound) => {
                "contains no private key; it must contain a -----BEGIN PRIVATE KEY----- block"
            }
            Err(_) => "is not well-formed PEM; it must contain a -----BEGIN PRIVATE KEY----- block",
        };
        self.problem(name, format!("`{}` {wrong}", shown(file)));
        None
    }

    /// Returns the chain with its key; `None` if the key does not match or cannot be used.
    fn certified_key(
        &mut self,
        (certificate_key, key_key): (&str, &str),
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Option<CertifiedKey> {
        match CertifiedKey::from_der(chain, key.clone_key(), &aws_lc_rs::default_provider()) {
            Ok(certified_key) => Some(certified_key),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = "the key does not belong to the first certificate; name the key and \
                               the certificate that belong together";
                self.problem(key_key, message);
                None
            }
            Err(rustls::Error::InvalidCertificate(error)) => {
                let message = format!(
                    "the first certificate is malformed ({error:?}); write the server's own \
                     certificate first"
                );
                self.problem(certificate_key, message);
                None
            }
            Err(error) => {
                self.problem(key_key, key_kind::unusable(&key, &error));
                None
            }
        }
    }
}

/// Converts a time of X.509. A time before 1970 becomes 1970.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}
