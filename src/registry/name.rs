//! Repository names.

use std::fmt;
use std::sync::Arc;

/// The longest repository name, in bytes. Distribution enforces this limit, and the OCI
/// distribution spec mentions it.
const MAX_LENGTH: usize = 255;

/// A repository name that follows the grammar of the OCI distribution spec ("Pulling manifests"):
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
///
/// It is built only by parsing, so a value of this type contains no dot segment, escape, upper-case
/// letter or empty segment. It is cheap to clone, because the access log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// Parses a name; returns `None` if it violates the grammar or is longer than 255 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_LENGTH && is_name(text)).then(|| Self(text.into()))
    }

    /// Returns the name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of a name that the last byte belongs to or ends.
enum Ended {
    /// Nothing: a path component begins here.
    Nothing,
    /// A run of letters and digits, with which a component may end.
    Run,
    /// A separator that no further byte makes longer: `.` or `__`.
    Separator,
    /// A `_`, which may become `__`.
    Underscore,
    /// One or more `-`.
    Dashes,
}

/// Returns whether a text follows the grammar.
fn is_name(text: &str) -> bool {
    let mut ended = Ended::Nothing;
    for byte in text.bytes() {
        ended = match (byte, ended) {
            (b'a'..=b'z' | b'0'..=b'9', _) => Ended::Run,
            (b'/', Ended::Run) => Ended::Nothing,
            (b'.', Ended::Run) | (b'_', Ended::Underscore) => Ended::Separator,
            (b'_', Ended::Run) => Ended::Underscore,
            (b'-', Ended::Run | Ended::Dashes) => Ended::Dashes,
            _ => return false,
        };
    }
    matches!(ended, Ended::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_grammar_are_accepted() {
        for name in [
            "a",
            "a/b",
            "0",
            "a.b_c__d-e---f",
            "group/sub/project/image",
            "blobs/uploads",
            "a/manifests/tags",
        ] {
            assert!(RepositoryName::parse(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for name in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a..b", "a___b", "a.-b", "-a", "a-",
            "_a", "A", "a/B", "a b", "a%2fb", "a\\b", "a;b", "a\0", "é", "a:b", "a@b", "_catalog",
        ] {
            assert!(RepositoryName::parse(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_name_has_255_bytes_at_most() {
        assert!(RepositoryName::parse(&"a".repeat(255)).is_some());
        assert!(RepositoryName::parse(&"a".repeat(256)).is_none());
    }
}
