//! Classes 4, 5, 6, 8, 29 and 30 over HTTP/1.1, byte by byte. An allowed request stands behind each
//! message, and the registry must never receive it.

use super::{Arsenal, alice, pick, reader};
use crate::message::{Attack, GoesOn, Message};

const START: &str = "POST /v2/demo/alice/blobs/uploads/ HTTP/1.1";
const HOST: &str = "Host: localhost";
const READ: &str = "/v2/demo/alice/tags/list";

/// Lines that the gate must refuse, independent of the bytes behind them.
const LINES: [&str; 36] = [
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 5,5",
    "Content-Length: 5 5",
    "Content-Length: 5;",
    "Content-Length:",
    "Content-Length: 18446744073709551621",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nContent-Length: 0",
    "Content-Length: 5\r\nTransfer-Encoding: gzip",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Content-Length : 5",
    " Transfer-Encoding: chunked",
    "X: a\r\n folded",
    "X: a\rY: b",
    "X: a\r\r\nY: b",
    "X: a\0b",
    "X\0: a",
    "X: a\u{1}b",
    ": empty name",
    "no colon",
    "X(Y): a",
    "X: a\u{7f}b",
];

/// Lines with which the gate may forward the first message alone, with new framing.
const RESOLVED: [&str; 2] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
];

fn hidden() -> String {
    format!(
        "GET /v2/demo/alice/manifests/hidden HTTP/1.1\r\n{HOST}\r\nAuthorization: {}\r\n\r\n",
        alice().header()
    )
}

fn told(id: &str) -> String {
    format!("X-Request-Id: {id}\r\nX-Forwarded-For: @client@")
}

fn message(id: &str, line: &str) -> String {
    let authorization = alice().header();
    let body = "5\r\nhello\r\n0\r\n\r\n";
    format!(
        "{START}\r\n{HOST}\r\nAuthorization: {authorization}\r\n{}\r\n{line}\r\n\r\n{body}{}",
        told(id),
        hidden()
    )
}

const EXPECTATIONS: [&str; 4] = [
    "Expect: 200-ok",
    "Expect: 100-continue, 100-continue",
    "Expect: 100-continue\r\nExpect: 100-continue",
    "Expect: 100-continue;x",
];

/// Values that would control a terminal on which an operator reads the log.
const ESCAPES: [&str; 4] = [
    "User-Agent: \u{1b}[31mred\u{7}",
    "User-Agent: a\u{8}b",
    "X-Forwarded-For: \u{1b}]0;title\u{7}",
    "Referer: \u{1b}[2J",
];

pub(super) fn expectations(_: &Arsenal, turn: u64, id: &str) -> Attack {
    Attack::Bytes(
        message(id, pick(&EXPECTATIONS, turn).copied().unwrap_or_default()).into_bytes(),
        None,
    )
}

pub(super) fn escapes(_: &Arsenal, turn: u64, id: &str) -> Attack {
    Attack::Bytes(message(id, pick(&ESCAPES, turn).copied().unwrap_or_default()).into_bytes(), None)
}

pub(super) fn framing(_: &Arsenal, turn: u64, id: &str) -> Attack {
    // Seldom, because the registry keeps each upload that this begins.
    if turn.is_multiple_of(64) {
        let line = pick(&RESOLVED, turn / 64).copied().unwrap_or_default();
        let goes_on = GoesOn::as_("POST", "/v2/demo/alice/blobs/uploads/");
        return Attack::Bytes(message(id, line).into_bytes(), Some(goes_on));
    }
    let line = pick(&LINES, turn).copied().unwrap_or_default();
    Attack::Bytes(message(id, line).into_bytes(), None)
}

/// Returns a refused request whose body consists of allowed requests.
pub(super) fn refused_bodies(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let size = if turn.is_multiple_of(50) { 2 << 20 } else { 16 << (turn % 11) };
    let body = hidden().repeat(size / 100 + 1);
    let message = Message::new("POST", "/v2/demo/alice/blobs/uploads/").body(body);
    Attack::Request(if turn & 1 == 0 { message } else { message.by(&reader()) }, None)
}

/// Another protocol version, a tunnel, another host, or a target that is not a path.
const TUNNELS: [(&str, &str); 12] = [
    ("CONNECT localhost:443 HTTP/1.1", HOST),
    ("CONNECT 127.0.0.1:22 HTTP/1.1", HOST),
    ("CONNECT /v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET http://other.example/v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET http://localhost@other.example/v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET /v2/demo/alice/tags/list HTTP/1.2", HOST),
    ("GET  /v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET\t/v2/demo/alice/tags/list HTTP/1.1", HOST),
    ("GET /v2/demo/alice/tags/list HTTP/1.1", "Host: a b"),
    ("GET /v2/demo/alice/tags/list HTTP/1.1", "Host: user@localhost"),
    ("GET /v2/demo/alice/tags/list HTTP/1.1", "Host:"),
];

const UPGRADES: [&str; 3] = [
    "Connection: close, Upgrade\r\nUpgrade: websocket",
    "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
     HTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: close\r\nUpgrade: TLS/1.0",
];

pub(super) fn tunnels(_: &Arsenal, turn: u64, id: &str) -> Attack {
    let (authorization, told) = (alice().header(), told(id));
    // The gate ignores an offer of another protocol (RFC 9110, section 7.8).
    if turn.is_multiple_of(4) {
        let upgrade = pick(&UPGRADES, turn / 4).copied().unwrap_or_default();
        let head = format!(
            "GET {READ} HTTP/1.1\r\n{HOST}\r\nAuthorization: {authorization}\r\n{told}\r\n\
             {upgrade}\r\n\r\n"
        );
        return Attack::Bytes((head + &hidden()).into_bytes(), Some(GoesOn::as_("GET", READ)));
    }
    let (start, host) = pick(&TUNNELS, turn).copied().unwrap_or_default();
    let head = format!(
        "{start}\r\n{host}\r\nAuthorization: {authorization}\r\n{told}\r\nConnection: close\r\n\r\n"
    );
    Attack::Bytes((head + &hidden()).into_bytes(), None)
}

/// Class 8: two credentials or two hosts.
pub(super) fn doubled(_: &Arsenal, turn: u64, id: &str) -> Attack {
    let authorization = alice().header();
    let lines = [
        format!("Authorization: {authorization}"),
        "authorization: Bearer x".to_owned(),
        "Authorization: Basic Og==".to_owned(),
        "Authorization:".to_owned(),
        HOST.to_owned(),
        "Host: other.example".to_owned(),
    ];
    let line = pick(&lines, turn).map_or("", String::as_str);
    let told = told(id);
    let head = format!(
        "GET {READ} HTTP/1.1\r\n{HOST}\r\nAuthorization: {authorization}\r\n{told}\r\n\
         {line}\r\n\r\n"
    );
    Attack::Bytes((head + &hidden()).into_bytes(), None)
}
