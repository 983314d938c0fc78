//! Servers beside the registry, to which it redirects pulls or leads uploads. The config lists
//! them. Neither the client's credential nor the gate's is sent to them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;

use super::connector::Connector;
use super::pool::Pool;
use super::web_address::WebAddress;
use crate::http_client::Way;
use crate::net::host_list::HostList;

/// The largest number of servers whose connections a worker keeps.
const MAX_SERVERS: usize = 64;

/// The servers that the config lists, and the way to them.
pub struct OtherServers {
    pub listed: Arc<HostList>,
    pub tls: Arc<ClientConfig>,
    pub way: Way,
    pub connect_timeout: Duration,
}

/// The reason why a server is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAsked {
    #[error("its host and port are not listed")]
    NotListed,
    #[error("it is plain http, and not on this machine")]
    Plain,
    #[error("its host is not valid in a certificate")]
    Host,
}

/// A server beside the registry.
pub(super) struct Elsewhere {
    pub(super) connector: Connector,
    pub(super) pool: Rc<Pool>,
    pub(super) host: HeaderValue,
}

/// The servers that one worker has connections to, the one that was used last at the end.
#[derive(Default)]
pub(super) struct KnownServers(RefCell<Vec<(WebAddress, Rc<Elsewhere>)>>);

impl OtherServers {
    /// Judges an address.
    pub(super) fn judge(&self, address: &WebAddress) -> Result<(), NotAsked> {
        if !self.listed.lists_port(&address.host, address.port) {
            return Err(NotAsked::NotListed);
        }
        if !address.https && !address.is_on_loopback() {
            return Err(NotAsked::Plain);
        }
        Ok(())
    }

    /// Returns the server of an address that the config lists.
    pub(super) fn server(
        &self,
        address: &WebAddress,
        known: &KnownServers,
    ) -> Result<Rc<Elsewhere>, NotAsked> {
        self.judge(address)?;
        let mut known = known.0.borrow_mut();
        if let Some(at) = known.iter().position(|(server, _)| server.is_same_origin(address)) {
            let found = known.remove(at);
            let server = found.1.clone();
            known.push(found);
            return Ok(server);
        }
        if known.len() >= MAX_SERVERS {
            known.remove(0);
        }
        let server = Rc::new(self.connect_to(address)?);
        known.push((address.clone(), server.clone()));
        Ok(server)
    }

    fn connect_to(&self, address: &WebAddress) -> Result<Elsewhere, NotAsked> {
        let tls = address.https.then(|| self.tls.clone());
        let host = address.host.clone();
        let connector = Connector::new(host, address.port, tls, self.connect_timeout);
        let connector = connector.map_err(|_| NotAsked::Host)?;
        Ok(Elsewhere {
            connector: connector.on_the_way(self.way.clone()).only_to(self.listed.clone()),
            pool: Rc::default(),
            host: HeaderValue::try_from(address.authority()).map_err(|_| NotAsked::Host)?,
        })
    }
}

impl KnownServers {
    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        self.0.borrow().iter().for_each(|(_, server)| server.pool.sweep());
    }
}

#[cfg(test)]
impl OtherServers {
    /// Returns an empty list.
    pub(super) fn none() -> Self {
        let roots = Arc::new(rustls::RootCertStore::empty());
        Self {
            listed: Arc::default(),
            tls: crate::net::client_tls::config(roots).unwrap(),
            way: Way::default(),
            connect_timeout: Duration::ZERO,
        }
    }
}
