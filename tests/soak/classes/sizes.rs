//! Class 23: names, targets and headers that exceed a limit.

use super::{Arsenal, alice};
use crate::message::{Attack, Message};

pub(super) fn too_long(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let message = match turn % 4 {
        0 => Message::new("GET", format!("/v2/demo/{}/manifests/v1", "a".repeat(251))),
        1 => Message::new("GET", format!("/v2/demo/alice/tags/list?last={}", "a".repeat(40_000))),
        2 => (0..100).fold(Message::new("GET", "/v2/demo/alice/tags/list"), |message, number| {
            message.with(&format!("x-{number}"), "v".repeat(400))
        }),
        _ => Message::new("GET", "/v2/demo/alice/tags/list").with("x-long", "v".repeat(40_000)),
    };
    Attack::Request(message.by(&alice()), None)
}
