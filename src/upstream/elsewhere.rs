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
#[derive(Clone)]
pub(super) struct Elsewhere {
    pub(super) connector: Connector,
    pub(super) pool: Rc<Pool>,
    pub(super) host: HeaderValue,
}

/// The connections of one worker to these servers, the server that was used last at the end.
#[derive(Default)]
pub(super) struct OtherPools(RefCell<Vec<(Server, Rc<Pool>)>>);

type Server = (bool, String, u16);

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
        pools: &OtherPools,
    ) -> Result<Elsewhere, NotAsked> {
        self.judge(address)?;
        let WebAddress { https, host, port, .. } = address.clone();
        let tls = https.then(|| self.tls.clone());
        let connector = Connector::new(host.clone(), port, tls, self.connect_timeout);
        let connector = connector.map_err(|_| NotAsked::Host)?;
        Ok(Elsewhere {
            connector: connector.on_the_way(self.way.clone()).only_to(self.listed.clone()),
            pool: pools.of((https, host, port)),
            host: HeaderValue::try_from(address.authority()).map_err(|_| NotAsked::Host)?,
        })
    }
}

impl OtherPools {
    fn of(&self, server: Server) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        let known = pools.iter().position(|(known, _)| *known == server);
        let pool = match known {
            Some(at) => pools.remove(at).1,
            None => {
                if pools.len() >= MAX_SERVERS {
                    pools.remove(0);
                }
                Rc::default()
            }
        };
        pools.push((server, pool.clone()));
        pool
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        self.0.borrow().iter().for_each(|(_, pool)| pool.sweep());
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
