//! Classes 3 and 27: valid credentials without the right that the request needs.

use super::{Arsenal, DIGEST, alice, mallory, pick, reader};
use crate::message::{Attack, Message};

const METHODS: [&str; 12] = [
    "DELETE", "OPTIONS", "TRACE", "PROPFIND", "MKCOL", "MOVE", "COPY", "LOCK", "LINK", "BREW",
    "get", "GETT",
];

const TARGETS: [&str; 5] = [
    "/v2/demo/alice/manifests/small",
    "/v2/demo/alice/tags/list",
    "/v2/demo/alice/blobs/uploads/",
    "/v2/_catalog",
    "/v2/",
];

/// Sends methods that are unknown or need another right. A caller who may push may not delete.
pub(super) fn methods(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let method = pick(&METHODS, turn).copied().unwrap_or_default();
    let target = pick(&TARGETS, turn / 12).copied().unwrap_or_default();
    Attack::Request(Message::new(method, target).by(&alice()), None)
}

pub(super) fn pull_only(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let message = match turn % 6 {
        0 => Message::new("POST", "/v2/demo/alice/blobs/uploads/"),
        1 => Message::new("POST", format!("/v2/demo/alice/blobs/uploads/?digest={DIGEST}"))
            .body("layer"),
        2 => Message::new("PUT", "/v2/demo/alice/manifests/small")
            .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            .body("{\"schemaVersion\":2}"),
        3 => Message::new("PATCH", "/v2/demo/alice/blobs/uploads/id?_state=x").body("layer"),
        4 => Message::new("DELETE", "/v2/demo/alice/manifests/small"),
        _ => Message::new("DELETE", format!("/v2/demo/alice/blobs/{DIGEST}")),
    };
    Attack::Request(message.by(&reader()), None)
}

pub(super) fn others(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let repository =
        pick(&["demo/alice", "demo/deploy", "sso/dana", "carol/app", "mallory-2/app"], turn / 5);
    let repository = repository.copied().unwrap_or_default();
    let message = match turn % 5 {
        0 => Message::new("GET", format!("/v2/{repository}/manifests/small")),
        1 => Message::new("GET", format!("/v2/{repository}/blobs/{DIGEST}")),
        2 => Message::new("GET", format!("/v2/{repository}/tags/list")),
        3 => Message::new("POST", format!("/v2/{repository}/blobs/uploads/")),
        _ => Message::new("GET", "/v2/_catalog"),
    };
    Attack::Request(message.by(&mallory()), None)
}
