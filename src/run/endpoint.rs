//! The address of a server that the config names, and the certificate authorities to trust there.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;

use crate::config::Endpoint;
use crate::net::client_tls;

/// Returns the certificate authorities of the endpoint's `ca`, or those of the system where it has
/// none. Plain HTTP needs none at all.
///
/// # Errors
/// The system's certificate authorities cannot be read.
pub(super) fn roots(endpoint: &Endpoint) -> io::Result<Arc<RootCertStore>> {
    match &endpoint.roots {
        Some(roots) => Ok(roots.clone()),
        None if endpoint.https => client_tls::system_roots(),
        None => Ok(Arc::new(RootCertStore::empty())),
    }
}

/// Returns the URL of a server, with its path.
pub(crate) fn url(endpoint: &Endpoint) -> String {
    let scheme = if endpoint.https { "https" } else { "http" };
    format!("{scheme}://{}{}", endpoint.authority(), endpoint.path)
}
