//! Answers on order, so that tests can see what happens when GitLab fails.

use std::io;
use std::time::Duration;

use http::header::{HeaderName, LOCATION};
use http::{Response, StatusCode};

use crate::demo::web::{self, Body};

/// What to do instead of answering the next question.
#[derive(Clone, Debug)]
pub enum Scripted {
    /// Answer with this.
    Answer { status: StatusCode, headers: Vec<(HeaderName, String)>, body: String },
    /// Answer truthfully, but only after so long.
    Delay(Duration),
    /// Never answer.
    Hang,
    /// Close the connection.
    Close,
    /// Send the caller elsewhere (302).
    Redirect(String),
}

/// Does what the script says. `None`: the question is to be answered truthfully. An error closes the connection.
pub(super) async fn play(scripted: Option<Scripted>) -> io::Result<Option<Response<Body>>> {
    match scripted {
        None => Ok(None),
        Some(Scripted::Answer { status, headers, body }) => {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
            Ok(Some(web::answer(status, &headers, web::body(body))))
        }
        Some(Scripted::Delay(pause)) => {
            tokio::time::sleep(pause).await;
            Ok(None)
        }
        Some(Scripted::Hang) => std::future::pending().await,
        Some(Scripted::Close) => Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Scripted::Redirect(to)) => Ok(Some(web::answer(StatusCode::FOUND, &[(LOCATION, &to)], web::body("")))),
    }
}
