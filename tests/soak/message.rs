//! The messages that clients send.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::oracle::Kind;

/// A user name with its password, or a token.
#[derive(Clone, Debug)]
pub enum Credential {
    Basic(String, String),
    Bearer(String),
}

impl Credential {
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic(user.to_owned(), password.to_owned())
    }

    pub fn bearer(token: &str) -> Self {
        Self::Bearer(token.to_owned())
    }

    /// Returns the value of `Authorization`.
    pub fn header(&self) -> String {
        match self {
            Self::Basic(user, password) => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        }
    }
}

/// A request that any library could send, over either protocol.
#[derive(Clone, Debug)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn by(self, credential: &Credential) -> Self {
        let value = credential.header();
        self.with("Authorization", value)
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// A request that the gate may forward, in the form in which it must arrive.
#[derive(Clone, Debug)]
pub struct GoesOn {
    pub method: String,
    pub target: String,
}

impl GoesOn {
    pub fn as_(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into() }
    }
}

/// One action of a hostile client.
pub enum Attack {
    /// Sends a request. If the gate may not forward it, every answer must be a refusal.
    Request(Message, Option<GoesOn>),
    /// Sends bytes over HTTP/1.1, on a separate connection.
    Bytes(Vec<u8>, Option<GoesOn>),
    /// Sends a request from an address that is not a trusted proxy, so that the gate must ignore
    /// its `X-Forwarded-For`.
    Untrusted(Message),
    /// Sends these frames over HTTP/2 after the preface, on a separate connection.
    Frames(Vec<u8>),
    /// Begins this many requests over HTTP/2 and resets each at once.
    Resets(Message, usize),
    /// Begins an allowed push, sends a part of its body, and breaks it off.
    BrokenOff(Message, GoesOn, Break),
}

/// The way in which a push is broken off.
#[derive(Clone, Copy)]
pub enum Break {
    /// RST_STREAM with this error code.
    Reset(h2::Reason),
    /// The connection ends.
    Leave,
}

/// Returns the request that the gate may forward for an attack, if any.
pub fn kind(attack: &Attack) -> Option<(&GoesOn, Kind)> {
    match attack {
        Attack::Request(_, Some(goes_on)) | Attack::Bytes(_, Some(goes_on)) => {
            Some((goes_on, Kind::Whole))
        }
        Attack::BrokenOff(_, goes_on, _) => Some((goes_on, Kind::BrokenOff)),
        _ => None,
    }
}
