//! A request and its response on a connection to the registry, and the reuse of the connection
//! afterwards.

use std::rc::Rc;

use http::{Method, StatusCode};

use super::connection::Connection;
use super::pool::Pool;

/// A request that has begun on a connection. The connection is closed unless the exchange
/// [finishes](Self::finish) completely: bytes that a broken exchange left could be taken for a part
/// of the next one.
pub(super) struct Exchange {
    connection: Option<Connection>,
    pool: Rc<Pool>,
    then: AfterResponse,
}

/// The use of a connection after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterResponse {
    /// The connection is used again.
    Reuse,
    /// The connection is used again, unless bytes follow the response to a HEAD.
    ReuseAfterHead,
    /// The connection is closed. Some servers send a body after a status that has none, at any
    /// later time. It would become the response to the next request, of any caller.
    Close,
}

impl AfterResponse {
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
    pub(super) fn new(connection: Connection, pool: Rc<Pool>, then: AfterResponse) -> Self {
        Self { connection: Some(connection), pool, then }
    }

    /// Ends the exchange after the end of the response. The connection goes back to the pool if the
    /// request has ended too and the connection may be used again.
    pub(super) fn finish(&mut self, request_body_ended: bool) {
        let connection = self.connection.take();
        if let (Some(connection), true) =
            (connection, request_body_ended && self.then != AfterResponse::Close)
        {
            self.pool.put(connection, self.then == AfterResponse::ReuseAfterHead);
        }
    }
}
