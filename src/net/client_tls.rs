//! TLS towards servers: the registry and identity providers.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// HTTP/1.1, TLS 1.2 or newer, trusting `roots`.
///
/// # Errors
/// None that the compiled-in cryptography gives.
pub fn config(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// What the system trusts. Reading it takes longer than all else at start, so it is done once, and
/// only where asked.
///
/// # Errors
/// Where the system has no usable roots.
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
            found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(io::Error::other(format!(
            "no root certificates of the system can be used: {why}"
        )));
    }
    Ok(roots)
}
