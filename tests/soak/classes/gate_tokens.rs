//! Class 28: the gate's own tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Arsenal, DIGEST};
use crate::message::{Attack, Credential, Message};

pub(super) fn abused(arsenal: &Arsenal, turn: u64, _: &str) -> Attack {
    let Arsenal { for_pulling: good, for_nothing, id_token, .. } = arsenal;
    let random = || {
        let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(80).collect();
        format!("mg1.AAAAAAAA.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    };
    let read = |token: &str| {
        Message::new("GET", "/v2/demo/alice/manifests/small").by(&Credential::bearer(token))
    };
    let message = match turn % 12 {
        0 => read(&random()),
        1 => read(&format!("{good}A")),
        2 => read(good.get(..good.len().saturating_sub(1)).unwrap_or_default()),
        3 => read(&format!("{good}=")),
        4 => read(&flipped(good)),
        // A token for another repository, for another right, and for the catalog.
        5 => Message::new("GET", "/v2/demo/deploy/manifests/small").by(&Credential::bearer(good)),
        6 => Message::new("POST", "/v2/demo/alice/blobs/uploads/").by(&Credential::bearer(good)),
        7 => Message::new("GET", "/v2/_catalog").by(&Credential::bearer(good)),
        8 => read(for_nothing),
        // A token as a password, for another token, and as a user name.
        9 => Message::new("GET", "/v2/demo/alice/manifests/small")
            .by(&Credential::basic("alice", good)),
        10 => Message::new("GET", "/token?scope=repository:demo/alice:pull,push")
            .by(&Credential::bearer(good)),
        _ => Message::new(
            "POST",
            format!("/v2/demo/alice/blobs/uploads/?mount={DIGEST}&from=demo/deploy"),
        )
        .by(&Credential::basic(good, id_token)),
    };
    Attack::Request(message, None)
}

/// Replaces one character in the middle.
fn flipped(token: &str) -> String {
    let middle = token.len() / 2;
    let change = |(at, old): (usize, char)| {
        if at == middle { if old == 'A' { 'B' } else { 'A' } } else { old }
    };
    token.char_indices().map(change).collect()
}
