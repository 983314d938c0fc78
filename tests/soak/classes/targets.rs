//! Class 1: exactly one spelling of each request exists. The credential would allow the canonical
//! request.

use super::{Arsenal, alice, pick};
use crate::message::{Attack, Message};

const CASES: [(&str, &str); 44] = [
    ("GET", "/v2/demo/../mallory/manifests/v1"),
    ("GET", "/v2/demo/./alice/manifests/small"),
    ("GET", "/v2/../v2/demo/alice/manifests/small"),
    ("GET", "/v2/demo/%2e%2e/mallory/manifests/v1"),
    ("GET", "/v2/demo/%2E./mallory/manifests/v1"),
    ("GET", "/v2/demo%2Falice/manifests/small"),
    ("GET", "/v2/demo%2falice/tags/list"),
    ("GET", "/v2/demo%5Calice/manifests/small"),
    ("GET", "/v2/demo\\alice/manifests/small"),
    ("GET", "/v2/demo/alice%00/manifests/small"),
    ("GET", "/v2/demo/alice;x=1/manifests/small"),
    ("GET", "/v2/demo;/alice/manifests/small"),
    ("GET", "/v2/demo//alice/manifests/small"),
    ("GET", "/v2//demo/alice/manifests/small"),
    ("GET", "/v2/demo/alice//manifests/small"),
    ("GET", "/v2/demo/%61lice/manifests/small"),
    ("GET", "/v2/demo/Alice/manifests/small"),
    ("GET", "/v2/demo/alice/manifests/small/"),
    ("GET", "/v2/demo/alice/tags/list/"),
    ("GET", "/v2/demo/alice/tags%2Flist"),
    ("GET", "/v2/demo/alice/Manifests/small"),
    ("GET", "/v2//manifests/small"),
    ("GET", "/v2//tags/list"),
    ("GET", "/v2/demo:alice/manifests/small"),
    ("GET", "/v2/https://other/a/manifests/v1"),
    ("GET", "/v2/demo/alice/manifests/"),
    ("GET", "/v2/demo/alice/manifests/.."),
    ("GET", "/v2/demo/alice/manifests/%2e%2e"),
    ("GET", "/v2/demo/alice/manifests/small%2f..%2f.."),
    ("GET", "/v2/demo/alice/manifests/small;x"),
    ("GET", "/v2/demo/alice/manifests/-small"),
    ("GET", "/v2/demo/alice/manifests/sha256:short"),
    ("GET", "/v2/demo/alice/blobs/sha256"),
    ("GET", "/v2/demo/alice/blobs/.."),
    ("GET", "/v2/demo/alice/referrers/sha256:"),
    ("GET", "/v2/demo/alice/tags/list?n=-1"),
    ("GET", "/v2/demo/alice/tags/list?n=1&n=2"),
    ("GET", "/v2/demo/alice/tags/list?n=1&%6e=2"),
    ("GET", "/v2/demo/alice/tags/list?last=%0d%0aX"),
    ("GET", "//v2/demo/alice/manifests/small"),
    ("GET", "/V2/demo/alice/manifests/small"),
    ("GET", "/%76%32/demo/alice/manifests/small"),
    ("PATCH", "/v2/demo/alice/blobs/uploads/a%2Fb?_state=x"),
    ("PUT", "/v2/demo/alice/blobs/uploads/id?digest="),
];

pub(super) fn paths(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let (method, target) = pick(&CASES, turn).copied().unwrap_or_default();
    Attack::Request(Message::new(method, target).by(&alice()), None)
}
