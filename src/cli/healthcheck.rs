//! `moorgate healthcheck`

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::{environment, failed};
use crate::config;

/// The timeout for connecting and for reading. It is short because the admin listener is on this
/// machine and answers from memory.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `/readyz` from the gate that runs with this config.
pub(super) fn healthcheck(path: &Path) -> ExitCode {
    let addr = match config::admin_addr(path, environment()) {
        Ok(addr) => reachable(addr),
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    match ask(addr) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("moorgate: the gate is not ready");
            ExitCode::FAILURE
        }
        Err(error) => failed(&error),
    }
}

/// Returns the address to connect to: the loopback address if the gate listens on all addresses.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn ask(addr: SocketAddr) -> anyhow::Result<bool> {
    let mut socket = TcpStream::connect_timeout(&addr, TIMEOUT)
        .with_context(|| format!("cannot connect to {addr} (admin.addr)"))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(
        format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reply = String::new();
    socket.take(4096).read_to_string(&mut reply)?;
    Ok(reply.starts_with("HTTP/1.1 200 "))
}
