//! Answers on order, so that tests can see what happens when an identity provider fails.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{HeaderName, LOCATION};
use http::{Response, StatusCode};
use tokio::sync::Semaphore;

use super::ledger::lock;
use super::web::{self, Body};

/// What to do instead of answering the next question.
#[derive(Clone, Debug)]
pub enum Scripted {
    /// Answer with this.
    Answer { status: StatusCode, headers: Vec<(HeaderName, String)>, body: String },
    /// Answer truthfully, but only after so long.
    Delay(Duration),
    /// Answer truthfully once this has a permit, which stays there.
    Once(Arc<Semaphore>),
    /// Never answer.
    Hang,
    /// Close the connection.
    Close,
    /// Send the caller elsewhere (302).
    Redirect(String),
}

/// What was ordered of one stand-in, and is still to come.
#[derive(Default)]
pub(super) struct Script {
    next: Mutex<VecDeque<Scripted>>,
    always: Mutex<Option<Scripted>>,
}

impl Script {
    /// Orders more, behind what was ordered before.
    pub(super) fn extend(&self, answers: impl IntoIterator<Item = Scripted>) {
        lock(&self.next).extend(answers);
    }

    /// What to do from now on where nothing else is ordered: an outage, until it ends by `None`.
    pub(super) fn always(&self, answer: Option<Scripted>) {
        *lock(&self.always) = answer;
    }

    /// Does what comes next. `None`: the question is to be answered truthfully. An error closes the
    /// connection.
    pub(super) async fn play(&self) -> io::Result<Option<Response<Body>>> {
        // The lock is gone before anything is awaited: its guard would live as long as a match on
        // it.
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
