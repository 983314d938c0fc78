//! Classes 2, 10 and 26: additional headers of a client. With a valid credential the gate forwards
//! the request as if they were absent. Without one they do not help.

use super::{Arsenal, mallory, pick};
use crate::message::{Attack, GoesOn, Message};

const SECRET: &str = "/v2/demo/alice/manifests/small";
const OWN: &str = "/v2/mallory/app/tags/list";

/// Headers that name another path or method, or look like a health check.
const OTHER_PATHS: [(&str, &str); 13] = [
    ("X-Original-URL", OWN),
    ("X-Rewrite-URL", OWN),
    ("X-Forwarded-Uri", "/healthz"),
    ("X-Forwarded-Path", OWN),
    ("X-Forwarded-Prefix", "/v2/mallory/app"),
    ("X-Forwarded-Method", "OPTIONS"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("User-Agent", "kube-probe/1.30"),
    ("User-Agent", "GoogleHC/1.0"),
    ("User-Agent", "ELB-HealthChecker/2.0"),
    ("X-Health-Check", "1"),
];

/// Headers that claim an identity.
const IDENTITIES: [(&str, &str); 18] = [
    ("X-Forwarded-User", "root"),
    ("X-Forwarded-Email", "root@example.com"),
    ("X-Forwarded-Groups", "admins"),
    ("X-Forwarded-Access-Token", "x"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "gopher"),
    ("X_Forwarded_For", "10.0.0.3"),
    ("Forwarded", "for=10.0.0.5;host=evil.example;proto=http"),
    ("X-Real-IP", "10.0.0.7"),
    ("True-Client-IP", "10.0.0.9"),
    ("X-Remote-User", "root"),
    ("Remote-User", "root"),
    ("X_Remote_User", "root"),
    ("X-Auth-Request-User", "root"),
    ("X-Webauth-User", "root"),
    ("Proxy-Authorization", "Basic cm9vdDpyb290"),
    ("Cookie", "session=root"),
    ("Private-Token", "glpat-x"),
];

/// Addresses that a client may claim.
const ADDRESSES: [&str; 8] = [
    "10.1.0.1",
    "127.0.0.1",
    "::1",
    "10.1.0.1, 10.1.0.2, 10.1.0.3",
    "unknown",
    "10.1.0.1:80",
    "::ffff:127.0.0.1",
    "\"10.1.0.1\"",
];

pub(super) fn other_paths(_: &Arsenal, turn: u64, _: &str) -> Attack {
    said(pick(&OTHER_PATHS, turn), turn)
}

pub(super) fn for_the_gate(_: &Arsenal, turn: u64, _: &str) -> Attack {
    said(pick(&IDENTITIES, turn), turn)
}

/// Sends the header for the caller's own repository, for another's, and without a credential.
fn said(case: Option<&(&str, &str)>, turn: u64) -> Attack {
    let (name, value) = case.copied().unwrap_or_default();
    match turn % 3 {
        0 => {
            let target = format!("{OWN}?health=1&X-Forwarded-Uri=/healthz");
            // The gate forwards unknown query keys of a tags list.
            let message = Message::new("GET", &*target).by(&mallory()).with(name, value);
            Attack::Request(message, Some(GoesOn::as_("GET", target)))
        }
        1 => Attack::Request(Message::new("GET", SECRET).by(&mallory()).with(name, value), None),
        _ => Attack::Request(Message::new("GET", SECRET).with(name, value), None),
    }
}

pub(super) fn spoofed_addresses(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let address = pick(&ADDRESSES, turn).copied().unwrap_or_default();
    match turn % 3 {
        // The oracle checks the address that the gate reports to the registry.
        0 => {
            let message = Message::new("GET", OWN).by(&mallory()).with("X-Forwarded-For", address);
            Attack::Request(message, Some(GoesOn::as_("GET", OWN)))
        }
        1 => Attack::Request(
            Message::new("GET", SECRET).by(&mallory()).with("X-Forwarded-For", address),
            None,
        ),
        _ => Attack::Untrusted(Message::new("GET", SECRET).by(&mallory())),
    }
}
