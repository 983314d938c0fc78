//! TLS towards servers: the registry and identity providers.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

/// Creates the TLS settings of a client for HTTP/1.1, with TLS 1.2 or newer, that trusts `roots`.
///
/// # Errors
/// [`io::Error`] if the cryptography has no suitable protocol version, which does not happen with
/// the compiled-in provider.
pub fn config(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    config_with(roots, None)
}

/// Creates settings like [`config`] for a client that proves with this certificate who it is, if
/// the server asks for one.
///
/// # Errors
/// The errors of [`config`].
pub fn config_with(
    roots: Arc<RootCertStore>,
    certificate: Option<&Arc<CertifiedKey>>,
) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    Ok(Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            CertifiedKey::clone(certificate),
        ))),
    }))
}

/// Returns the root certificates that the system trusts. Reading them takes longer than all else at
/// start, so they are read once, and only on demand.
///
/// # Errors
/// [`io::Error`] if the system has no usable root certificates.
pub fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static READ: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = READ.get() {
        return Ok(roots.clone());
    }
    let read = Arc::new(read_system_roots()?);
    Ok(READ.get_or_init(|| read).clone())
}

fn read_system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why =
            found.errors.first().map_or_else(|| "none were found".to_owned(), ToString::to_string);
        return Err(io::Error::other(format!("the system has no usable root certificates: {why}")));
    }
    Ok(roots)
}
