//! The HTTP/1.1 request of the client.

use crate::registry::BODY_END;

pub const REQUEST: &str = "GET /v2/group/project/app/manifests/1.27 HTTP/1.1\r\n\
    Host: registry.test\r\n\
    User-Agent: docker/28.0.0\r\n\
    Accept: application/vnd.oci.image.manifest.v1+json\r\n\
    Accept: application/vnd.oci.image.index.v1+json\r\n\
    Authorization: Bearer sso-demo-read-write\r\n\
    Accept-Encoding: gzip\r\n\r\n";

/// Returns whether these bytes of an answer are its last: the gate writes the end of the body in
/// one piece.
pub fn answer_ends(bytes: &[u8]) -> bool {
    bytes.ends_with(BODY_END)
}
