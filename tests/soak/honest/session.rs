//! The connection of one person: sends requests and checks the answers.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::Person;
use super::content::Content;
use crate::oracle::{Allowed, Kind};
use crate::world::World;

/// The reason why a step failed.
pub enum Trouble {
    /// A provider is down, and the gate said when to retry.
    ComeBack,
    Wrong(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Wrong(error.into())
    }
}

/// The result of a step of a session.
pub type Done<T = ()> = Result<T, Trouble>;

/// A connection of one person.
pub struct Session<'a> {
    world: &'a World,
    pub person: &'a Person,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Content>),
    Http2(http2::SendRequest<Content>),
}

/// An answer with its body.
pub struct Reply {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl<'a> Session<'a> {
    /// Connects, over either protocol.
    pub async fn open(world: &'a World, person: &'a Person) -> anyhow::Result<Self> {
        let tcp = world.door.tcp().await?;
        let sender = if fastrand::bool() {
            let stream = TokioIo::new(world.door.http1(tcp).await?);
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        } else {
            let stream = TokioIo::new(world.door.http2(tcp).await?);
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = builder.timer(TokioTimer::new()).handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        };
        Ok(Self { world, person, sender })
    }

    /// Sends a request and reads its answer. Returns [`Trouble::ComeBack`] if the gate asks for a
    /// retry during an outage.
    pub async fn ask(
        &mut self,
        method: &str,
        target: &str,
        authorization: Option<&str>,
        headers: &[(&str, &str)],
        content: Content,
    ) -> Done<Reply> {
        let id = format!("{}-{:016x}", self.person.name, fastrand::u64(..));
        let is_registrys = target.starts_with("/v2/") && target != "/v2/";
        if is_registrys {
            let kind = if target == "/v2/_catalog" { Kind::Pages } else { Kind::Whole };
            let client = self.person.address.clone();
            self.world.oracle.allow(
                &id,
                Allowed { method: method.to_owned(), target: target.to_owned(), client, kind },
            );
        }
        self.world.tally.honest();
        let uri = match self.sender {
            Sender::Http1(_) => target.to_owned(),
            Sender::Http2(_) => format!("https://localhost{target}"),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-request-id", &id)
            .header("x-forwarded-for", &self.person.address);
        if let Sender::Http1(_) = self.sender {
            request = request.header("host", "localhost");
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(content)?;
        let what = format!("{method} {target} ({id})");
        let reply = self.send(request).await.with_context(|| what.clone())?;
        match reply.status.as_u16() {
            503 if reply.headers.contains_key("retry-after") && self.world.in_trouble() => {
                Err(Trouble::ComeBack)
            }
            502..=504 => Err(anyhow!("{what}: {} {:?}", reply.status, reply.body).into()),
            _ => Ok(reply),
        }
    }

    async fn send(&mut self, request: Request<Content>) -> anyhow::Result<Reply> {
        let response: Response<Incoming> = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the body")?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

/// Checks that the status is one of `statuses`.
pub fn expect(reply: &Reply, statuses: &[u16], what: &str) -> Done {
    if statuses.contains(&reply.status.as_u16()) {
        return Ok(());
    }
    let id = reply.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("none");
    Err(anyhow!("{what}: {} {} ({id})", reply.status, String::from_utf8_lossy(&reply.body)).into())
}

/// Returns the location at which an upload continues.
pub fn location(reply: &Reply) -> anyhow::Result<&str> {
    reply.headers.get("location").context("no Location")?.to_str().context("an odd Location")
}
