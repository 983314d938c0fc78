//! Other spellings of a path that have exactly one right spelling.

use super::Digest;

/// Returns the right spelling of a path, or `None` if the path has it already or cannot be
/// understood as another spelling of one: a path without its slash at the end (`/v2`,
/// `blobs/uploads`), with doubled slashes, or with an escaped colon in a digest.
pub fn right_spelling(path: &str) -> Option<String> {
    let mut right = String::with_capacity(path.len() + 1);
    for character in path.chars() {
        if character != '/' || !right.ends_with('/') {
            right.push(character);
        }
    }
    if right == "/v2" || right.ends_with("/blobs/uploads") {
        right.push('/');
    }
    if let Some((start, last)) = right.rsplit_once('/')
        && let Some(digest) = with_colon(last)
    {
        right = format!("{start}/{digest}");
    }
    (right != path).then_some(right)
}

/// Returns a digest whose colon is escaped with a plain colon.
fn with_colon(segment: &str) -> Option<String> {
    let (algorithm, encoded) = segment.split_once("%3A").or_else(|| segment.split_once("%3a"))?;
    let digest = format!("{algorithm}:{encoded}");
    Digest::parse(&digest).is_some().then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_have_one_right_spelling() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let escaped = |colon: &str| digest.replace(':', colon);
        for (path, right) in [
            ("/v2".to_owned(), Some("/v2/".to_owned())),
            ("//v2".into(), Some("/v2/".into())),
            ("/v2//".into(), Some("/v2/".into())),
            ("///v2//a///tags//list".into(), Some("/v2/a/tags/list".into())),
            ("/v2/a/blobs/uploads".into(), Some("/v2/a/blobs/uploads/".into())),
            ("/v2/a//blobs/uploads".into(), Some("/v2/a/blobs/uploads/".into())),
            ("/v2/a/blobs/uploads//".into(), Some("/v2/a/blobs/uploads/".into())),
            (format!("/v2/a/blobs/{}", escaped("%3A")), Some(format!("/v2/a/blobs/{digest}"))),
            (format!("/v2/a//blobs/{}", escaped("%3a")), Some(format!("/v2/a/blobs/{digest}"))),
            ("/v2/".into(), None),
            ("/v2/a/tags/list".into(), None),
            (format!("/v2/a/blobs/{digest}"), None),
            // An escaped escape, another escape and an escaped slash are not other spellings.
            (format!("/v2/a/blobs/{}", escaped("%253A")), None),
            ("/v2/a/manifests/v%31".into(), None),
            ("/v2/a%2Fb/tags/list".into(), None),
            ("/v2/a/manifests/v1%3A".into(), None),
        ] {
            assert_eq!(right_spelling(&path), right, "{path}");
        }
    }
}
