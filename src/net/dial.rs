//! TCP connections to a host that may have several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The time after which the next address is tried beside the one before (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to a host by its name, or to an address.
///
/// # Errors
/// [`io::Error`] if the name is not known, or the error of the last address if no address answers.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    connect_to_any(lookup_host((host, port)).await?.collect()).await
}

/// Connects to the first of several addresses that answers. One that does not answer delays the
/// others by 250 ms, and one that refuses does not (RFC 8305).
///
/// # Errors
/// The error of the last address that failed, if no address answers.
pub async fn connect_to_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [address] = addresses[..] {
        return connected(TcpStream::connect(address).await);
    }
    let mut untried = alternating(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match untried.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
            }
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(Ok(attempt)) = attempts.join_next() => match connected(attempt) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = sleep(ATTEMPT_DELAY), if untried.len() > 0 => {}
            else => return Err(failure),
        }
    }
}

fn connected(attempt: io::Result<TcpStream>) -> io::Result<TcpStream> {
    let stream = attempt?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Orders addresses so that the two families alternate, the first one first (RFC 8305, section 4).
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// Returns an address that does not answer: the listener's queue is full. Linux drops further
    /// connections then.
    async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        let short = Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(short, TcpStream::connect(address)).await {
            filling.push(stream.unwrap());
        }
        (listener, filling, address)
    }

    fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn refusing() -> SocketAddr {
        listening().1
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hold_up_the_next_one() {
        let (_silent, _filling, dead) = silent().await;
        let (_listening, alive) = listening();
        for addresses in [vec![dead, alive], vec![dead, refusing(), alive], vec![alive, dead]] {
            let within = Duration::from_secs(10);
            let stream = tokio::time::timeout(within, connect_to_any(addresses)).await;
            assert_eq!(stream.expect("held up").unwrap().peer_addr().unwrap(), alive);
        }
    }

    #[tokio::test]
    async fn the_error_is_that_of_an_address() {
        for addresses in [vec![refusing()], vec![refusing(), refusing()]] {
            let error = connect_to_any(addresses).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        assert_eq!(connect_to_any(vec![]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_families_alternate() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let addresses: Vec<SocketAddr> =
            parse(&["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::3]:1", "127.0.0.2:1"]);
        let expected: Vec<SocketAddr> =
            parse(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternating(addresses), expected);
    }
}
