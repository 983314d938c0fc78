//! Scripted answers, with which tests simulate the failure of an identity provider.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{HeaderName, LOCATION};
use http::{Response, StatusCode};
use tokio::sync::Semaphore;

use super::ledger::lock;
use super::web::{self, Body};

/// A behaviour that replaces the next answer.
#[derive(Clone, Debug)]
pub enum Scripted {
    /// Answer with this response.
    Answer { status: StatusCode, headers: Vec<(HeaderName, String)>, body: String },
    /// Answer as usual, after this delay.
    Delay(Duration),
    /// Answer as usual, once the semaphore has a permit. The permit is returned to the semaphore.
    Once(Arc<Semaphore>),
    /// Never answer.
    Hang,
    /// Close the connection.
    Close,
    /// Redirect the caller to this URL (302).
    Redirect(String),
}

/// The scripted answers of one stand-in that are still to come.
#[derive(Default)]
pub(super) struct Script {
    next: Mutex<VecDeque<Scripted>>,
    always: Mutex<Option<Scripted>>,
}

impl Script {
    /// Appends answers to the script.
    pub(super) fn extend(&self, answers: impl IntoIterator<Item = Scripted>) {
        lock(&self.next).extend(answers);
    }

    /// Sets the behaviour that applies while the script is empty, to simulate an outage. `None`
    /// ends the outage.
    pub(super) fn always(&self, answer: Option<Scripted>) {
        *lock(&self.always) = answer;
    }

    /// Performs the next scripted behaviour. Returns `None` if the question is to be answered as
    /// usual. An error closes the connection.
    pub(super) async fn play(&self) -> io::Result<Option<Response<Body>>> {
        // A separate statement drops the lock guard before the first `await`. In the scrutinee of a
        // `match` the guard would live until the end of the `match`.
        let next = lock(&self.next).pop_front();
        let scripted = next.or_else(|| lock(&self.always).clone());
        match scripted {
            None => Ok(None),
            Some(Scripted::Answer { status, headers, body }) => {
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
                Ok(Some(web::answer(status, &headers, web::body(body))))
            }
            Some(Scripted::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Ok(None)
            }
            Some(Scripted::Once(released)) => {
                let _permit = released.acquire().await;
                Ok(None)
            }
            Some(Scripted::Hang) => std::future::pending().await,
            Some(Scripted::Close) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Scripted::Redirect(to)) => {
                Ok(Some(web::answer(StatusCode::FOUND, &[(LOCATION, &to)], web::body(""))))
            }
        }
    }
}
