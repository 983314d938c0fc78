//! Idle connections to the registry. One pool a worker, so nothing is locked.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::connection::Connection;

/// How many idle connections a worker keeps.
const MAX_IDLE: usize = 256;

/// An idle connection older than this is closed rather than used.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// What cannot be repeated goes out only on a connection used this lately: servers close idle ones after some seconds
/// at the soonest, and a request that meets the close is lost.
const LATELY: Duration = Duration::from_secs(1);

/// What a connection is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A request that can be sent again, should the connection be dead.
    Repeatable,
    /// One that cannot.
    Once,
}

/// Idle connections, the last used at the end.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// The connection that was used last, if it will do.
    pub(super) fn take(&self, wanted: Use) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(connection, since)| !connection.is_closed() && since.elapsed() < MAX_IDLE_TIME);
        let at = idle.iter().rposition(|(connection, since)| {
            connection.is_ready() && (wanted == Use::Repeatable || since.elapsed() < LATELY)
        })?;
        Some(idle.remove(at).0)
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !connection.is_closed() {
            idle.push((connection, Instant::now()));
        }
    }
}
