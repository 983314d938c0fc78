//! A request and its response on a connection to the registry, and what becomes of the connection
//! afterwards.

use std::rc::Rc;

use http::{Method, StatusCode};

use super::connection::Connection;
use super::pool::Pool;

/// A request that has begun on a connection. Unless it [finishes](Self::finish) whole, the
/// connection is closed: what a broken exchange left on it could be taken for part of the next one.
pub(super) struct Exchange {
    connection: Option<Connection>,
    pool: Rc<Pool>,
    then: Then,
}

/// What may be done with a connection once an answer has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is used again.
    Reuse,
    /// The same, unless something came behind the answer to a HEAD.
    ReuseAfterHead,
    /// It is closed. Some servers send a body behind a status that has none, as late as they like,
    /// and it would be the answer to the next request, of whoever.
    Close,
}

impl Then {
    pub(super) fn after(method: &Method, status: StatusCode) -> Self {
        match status {
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
                Self::Close
            }
            _ if *method == Method::HEAD => Self::ReuseAfterHead,
            _ => Self::Reuse,
        }
    }
}

impl Exchange {
    pub(super) fn new(connection: Connection, pool: Rc<Pool>, then: Then) -> Self {
        Self { connection: Some(connection), pool, then }
    }

    /// The answer has ended. The connection goes back to the pool if the request had ended too.
    pub(super) fn finish(&mut self, request_ended: bool) {
        let connection = self.connection.take();
        if let (Some(connection), true) = (connection, request_ended && self.then != Then::Close) {
            self.pool.put(connection, self.then == Then::ReuseAfterHead);
        }
    }
}
