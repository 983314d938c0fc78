//! The sockets of a gate: those that it binds, and those that systemd has bound and passes to it
//! (socket activation), so that they stay open while one process replaces another.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Config;
use crate::net::bind_error;
use crate::server::{bind, share};

/// The sockets of a gate, opened before anything else, so that the program which starts the gate
/// can know the ports.
pub struct Listeners {
    /// The sockets for clients, one for each worker, all on one port.
    pub public: Vec<TcpListener>,
    /// The socket for operators.
    pub admin: TcpListener,
    /// `true` if the process that replaces this one uses the same socket for operators. This one
    /// leaves it when it drains. Otherwise, answers would come now from one, now from the other.
    pub admin_is_shared: bool,
}

/// The sockets that systemd has passed (sd_listen_fds(3)), all of them listening on TCP.
#[derive(Default)]
pub struct PassedSockets(Vec<(SocketAddr, TcpListener)>);

impl Listeners {
    /// Takes the passed sockets for the addresses of the config, and binds the other addresses.
    ///
    /// # Errors
    /// If an address cannot be bound, or if a passed socket has another address. The error names
    /// the keys in the config.
    pub fn open(config: &Config, mut passed: PassedSockets) -> anyhow::Result<Self> {
        let (addr, admin_addr) = (config.http.addr, config.admin.addr);
        let socket_unit = !passed.0.is_empty();
        let (public, admin) = (passed.take(addr), passed.take(admin_addr));
        if let Some((other, _)) = passed.0.first() {
            anyhow::bail!(
                "systemd passes a socket on {other} that the gate does not need: http.addr is \
                 {addr} and admin.addr is {admin_addr}; give the socket unit one line \
                 ListenStream= for each of these two addresses, and restart it"
            );
        }
        let failed = |key, addr, error: &io::Error| {
            let remedy = bind_error::remedy(addr, error);
            let unit =
                if socket_unit { ", or add it to ListenStream= of the socket unit" } else { "" };
            anyhow::anyhow!("{key}: cannot listen on {addr} ({error}); {remedy}{unit}")
        };
        let workers = config.http.workers;
        let public = match public {
            Some(passed) => share(passed, workers),
            None => bind(addr, workers),
        };
        let public = public.map_err(|error| failed("http.addr", addr, &error))?;
        let admin_is_shared = admin.is_some();
        let admin = admin
            .map_or_else(|| TcpListener::bind(admin_addr), Ok)
            .map_err(|error| failed("admin.addr", admin_addr, &error))?;
        Ok(Self { public, admin, admin_is_shared })
    }
}

impl PassedSockets {
    /// Takes the sockets that the environment of the process names, if it names this process. It
    /// must run once, and before another thread starts, because it changes the environment.
    ///
    /// # Errors
    /// If a file descriptor is not a TCP socket that listens.
    pub fn from_environment() -> anyhow::Result<Self> {
        // This call checks `LISTEN_PID`, which `ListenFd` takes for optional, and gives no other
        // program the sockets (close-on-exec).
        let descriptors = sd_notify::listen_fds()
            .context("LISTEN_FDS and LISTEN_PID do not describe sockets that systemd passes")?;
        if descriptors.len() == 0 {
            return Ok(Self::default());
        }
        let mut passed = ListenFd::from_env();
        let sockets = descriptors.enumerate().map(|(index, descriptor)| {
            listening(&mut passed, index).with_context(|| {
                format!(
                    "systemd passes the file descriptor {descriptor}, which the gate cannot use; \
                     in the socket unit, write ListenStream= with an IP address and a port, and \
                     no Accept=yes"
                )
            })
        });
        Ok(Self(sockets.collect::<anyhow::Result<_>>()?))
    }

    /// Returns the addresses of the sockets.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(addr, _)| *addr).collect()
    }

    fn take(&mut self, addr: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|(bound, _)| *bound == addr)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// Takes one passed socket.
fn listening(passed: &mut ListenFd, index: usize) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let socket = passed.take_tcp_listener(index)?.context("it was not passed")?;
    anyhow::ensure!(
        SockRef::from(&socket).is_listener()?,
        "it is a TCP socket that does not listen"
    );
    Ok((socket.local_addr()?, socket))
}
