//! The address of a server that the gate connects to.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;

use super::client_tls;

/// A server that the gate connects to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `true` if the gate speaks TLS to it.
    pub https: bool,
    /// A host name or an address, IPv6 without brackets.
    pub host: String,
    /// The port, also where it is the default of the scheme.
    pub port: u16,
    /// The path as the config has it, with a slash at its end if it was written there; empty for
    /// the root.
    pub path: String,
    /// The certificate authorities that may have signed the server's certificate; `None` for those
    /// of the system.
    pub roots: Option<Arc<RootCertStore>>,
}

impl Endpoint {
    /// Returns host and port as a `Host` header has them.
    pub fn authority(&self) -> String {
        authority(self.https, &self.host, self.port)
    }

    /// Returns scheme and authority, such as `http://127.0.0.1:5000`.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Returns the URL with its path.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// Returns the certificate authorities to trust: those of the config, or else those of the
    /// system. Plain HTTP needs none.
    ///
    /// # Errors
    /// The system's certificate authorities cannot be read.
    pub fn trusted_roots(&self) -> io::Result<Arc<RootCertStore>> {
        match &self.roots {
            Some(roots) => Ok(roots.clone()),
            None if self.https => client_tls::system_roots(),
            None => Ok(Arc::new(RootCertStore::empty())),
        }
    }
}

/// Returns host and port as a URL has them (RFC 3986, section 3.2): IPv6 in brackets, and without
/// the port where it is the default of the scheme.
pub fn authority(https: bool, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let default_port = if https { 443 } else { 80 };
    if port == default_port { host } else { format!("{host}:{port}") }
}
