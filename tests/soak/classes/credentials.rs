//! Classes 14, 15, 16, 24 and 25: credentials that are malformed, revoked, expired, altered or
//! guessed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Arsenal, alice, carol, pick};
use crate::message::{Attack, Credential, Message};
use crate::world::CAROL;

const TARGETS: [&str; 4] = [
    "/v2/",
    "/v2/demo/alice/manifests/small",
    "/v2/demo/alice/tags/list",
    "/token?scope=repository:demo/alice:pull",
];

fn target(turn: u64) -> &'static str {
    pick(&TARGETS, turn).copied().unwrap_or_default()
}

fn refused(turn: u64, credential: &Credential) -> Attack {
    Attack::Request(Message::new("GET", target(turn)).by(credential), None)
}

/// Splits a valid credential at another place, or presents a valid secret in a form in which it is
/// not valid.
pub(super) fn split(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let (user, password) = CAROL;
    let long = format!("{password}{}", "x".repeat(72));
    let credential = match turn / 4 % 8 {
        0 => Credential::basic("caro", &format!("l{password}")),
        1 => Credential::basic(
            &format!("{user}{}", password.get(..1).unwrap_or_default()),
            "arols-long-password",
        ),
        2 => Credential::bearer(password),
        3 => Credential::basic("somebody", password),
        4 => Credential::bearer("gldt-demo-deploy-read-write"),
        5 => Credential::basic("gitlab+deploy-token-2", "gldt-demo-deploy-read-write"),
        6 => Credential::basic("somebody", "glcbt-demo-job-read-write"),
        _ => carol(&long),
    };
    refused(turn, &credential)
}

const NO_BASIC: [&[u8]; 11] = [
    b"no colon",
    b"",
    b"alice:",
    b"alice:\xff\xfe",
    b"\xc3:x",
    b"alice:a\0b",
    b"a\0:b",
    b"alice:a\r\nb",
    b"\x1b[31malice:x\x07",
    b"alice:\xc2\x85x",
    b":",
];

const NO_CREDENTIAL: [&str; 14] = [
    "Basic",
    "Basic !!!!",
    "Basic YWxpY2U6eA",
    "Basic YWxpY2U6eB==",
    "BasicYWxpY2U6eA==",
    "Basic:YWxpY2U6eA==",
    "glpat-demo-personal-read",
    "Bearer",
    "Bearer a b",
    "Bearer a,b",
    "Bearer \"x\"",
    "Digest x",
    "Negotiate YQ==",
    "Token x",
];

pub(super) fn malformed(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let good = alice().header();
    let value = match turn / 4 % 4 {
        0 => pick(&NO_CREDENTIAL, turn / 16).copied().unwrap_or_default().to_owned(),
        1 => format!("{good}="),
        2 => format!("{good}, Bearer x"),
        _ => format!(
            "Basic {}",
            BASE64_STANDARD.encode(pick(&NO_BASIC, turn / 16).copied().unwrap_or_default())
        ),
    };
    Attack::Request(Message::new("GET", refusing(turn)).with("Authorization", value), None)
}

/// Returns a target for a malformed credential. `/token` is left out, because it may serve
/// anonymous callers.
fn refusing(turn: u64) -> &'static str {
    pick(&TARGETS, turn % 3).copied().unwrap_or_default()
}

pub(super) fn revoked(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let secrets =
        ["glpat-demo-revoked", "glpat-demo-expired", "sso-demo-revoked", "sso-demo-expired"];
    let secret = pick(&secrets, turn / 4).copied().unwrap_or_default();
    let credential = if turn & 16 == 0 {
        Credential::bearer(secret)
    } else {
        Credential::basic("alice", secret)
    };
    refused(turn, &credential)
}

/// Returns a random token, a different one each time.
pub(super) fn random(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let prefix = pick(&["glpat-", "gldt-", "sso-", ""], turn).copied().unwrap_or_default();
    let secret = format!("{prefix}{:032x}", fastrand::u128(..));
    let credential = if turn & 4 == 0 {
        Credential::bearer(&secret)
    } else {
        Credential::basic("somebody", &secret)
    };
    refused(turn / 8, &credential)
}

pub(super) fn wrong_passwords(_: &Arsenal, turn: u64, _: &str) -> Attack {
    refused(turn, &carol(&format!("guess-{}", fastrand::u64(..))))
}
