//! Idle connections to the registry. Each worker has its own pool, so the pool needs no lock.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::connection::Connection;

/// The largest number of idle connections of a worker.
const MAX_IDLE: usize = 256;

/// The longest idle time of a connection. A connection that was idle for longer is closed.
pub(super) const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// The longest idle time of a connection that carries a request which cannot be repeated. Servers
/// close idle connections after some seconds at the earliest, and a request that meets the close is
/// lost.
const LATELY: Duration = Duration::from_secs(1);

/// The time that a connection rests after a HEAD. Some servers send a body after the response to
/// HEAD. The rest lets the gate see such late bytes and close the connection, before they could
/// become the response to the next request.
const REST_AFTER_HEAD: Duration = Duration::from_millis(100);

/// The possibility to send a request again on another connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It can, if this connection turns out to be dead.
    Possible,
    /// It cannot.
    Never,
}

/// Idle connections, the last used at the end.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    after_head: bool,
}

impl Pool {
    /// Takes the connection that was used last among those that suit the request.
    pub(super) async fn take(&self, wanted: Repeat, now: Instant) -> Option<Connection> {
        loop {
            let Idle { connection, after_head, .. } = self.take_idle(wanted, now)?;
            if after_head {
                see_what_came().await;
            }
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn take_idle(&self, wanted: Repeat, now: Instant) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().rposition(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let rested = !idle.after_head || age >= REST_AFTER_HEAD;
            rested
                && idle.connection.is_ready()
                && age < if wanted == Repeat::Never { LATELY } else { MAX_IDLE_TIME }
        })?;
        Some(idle.remove(at))
    }

    /// Closes connections that have been idle for too long, and drops those that the registry
    /// closed.
    pub(super) fn sweep(&self) {
        let alive =
            |idle: &Idle| !idle.connection.is_closed() && idle.since.elapsed() < MAX_IDLE_TIME;
        self.idle.borrow_mut().retain(alive);
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, connection: Connection, after_head: bool) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !connection.is_closed() {
            idle.push(Idle { connection, since: Instant::now(), after_head });
        }
    }
}

/// Lets the worker poll all its sockets, and then the connections to which bytes came: hyper closes
/// a connection that receives bytes while it is idle.
async fn see_what_came() {
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::*;
    use crate::upstream::Connector;

    /// Checks that bytes in the kernel count, even if the worker has not read them yet.
    #[test]
    fn bytes_after_the_response_to_a_head_request_are_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for late in [&b"late"[..], b""] {
            LocalSet::new().block_on(&runtime, async {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                let connector =
                    Connector::new("127.0.0.1".into(), port, None, Duration::from_secs(10))
                        .unwrap();
                let Ok(connection) = Connection::open(&connector).await else {
                    panic!("no connection")
                };
                let (mut server, _) = listener.accept().unwrap();
                let pool = Pool::default();
                pool.put(connection, true);
                assert!(
                    pool.take(Repeat::Possible, Instant::now()).await.is_none(),
                    "it did not rest"
                );
                sleep(REST_AFTER_HEAD).await;
                // From here on the sockets are not polled until the connection is asked for.
                server.write_all(late).unwrap();
                let taken = pool.take(Repeat::Possible, Instant::now()).await;
                assert_eq!(taken.is_none(), !late.is_empty());
            });
        }
    }
}
