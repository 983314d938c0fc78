//! Class 9: a mount needs pull on its source.

use super::{Arsenal, DIGEST, mallory, pick};
use crate::message::{Attack, GoesOn, Message};

const OWN: &str = "/v2/mallory/app/blobs/uploads/";

pub(super) fn mounts(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let from = pick(&["demo/alice", "demo/deploy", "carol/app", "sso/dana"], turn)
        .copied()
        .unwrap_or_default();
    let mount = format!("mount={DIGEST}");
    let own = |query: String| Message::new("POST", format!("{OWN}?{query}")).by(&mallory());
    // The gate forwards an upload as bytes, for any Content-Type.
    let as_form = |message: Message| {
        message
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("from={from}"))
    };
    let refused = |message| Attack::Request(message, None);
    match turn % 32 {
        // Seldom, because the registry keeps an upload for each: the gate drops the mount and
        // forwards a plain upload.
        0 => Attack::Request(own(format!("{mount}&from={from}")), Some(GoesOn::as_("POST", OWN))),
        1..8 => refused(own(format!("{mount}&from=mallory/app&from={from}"))),
        8..14 => refused(own(format!("{mount}&{mount}&from={from}"))),
        // A source that is not a name is dropped with its mount.
        14 => Attack::Request(
            own(format!("{mount}&from=mallory/../{from}")),
            Some(GoesOn::as_("POST", OWN)),
        ),
        15..20 => refused(own(format!("{mount}&from={from}&from=mallory/../{from}"))),
        20 => Attack::Request(as_form(own(mount)), Some(GoesOn::as_("POST", OWN))),
        21..24 => {
            refused(as_form(Message::new("PUT", "/v2/mallory/app/manifests/form").by(&mallory())))
        }
        24..26 => refused(own(format!("{mount}&fro%6d={from}"))),
        _ => refused(
            Message::new("POST", format!("/v2/{from}/blobs/uploads/?{mount}&from=mallory/app"))
                .by(&mallory()),
        ),
    }
}
