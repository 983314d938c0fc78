//! The parts of a path after the repository name: tags, digests and uploads in progress.

use std::fmt;

/// The longest digest accepted, in bytes. A sha512 digest takes 135, and the encoding of another
/// registered algorithm may be longer.
const MAX_DIGEST_LENGTH: usize = 255;

/// The longest name of a digest algorithm, in bytes. The registered names take 6.
const MAX_ALGORITHM_LENGTH: usize = 64;

/// The longest upload id, in bytes. Registries send a UUID; some keep their state in it.
const MAX_UPLOAD_ID_LENGTH: usize = 4096;

/// The beginning of an upload id in which the gate has sealed an address, and the longest such id.
const SEALED_UPLOAD: &str = "mu1.";
const MAX_SEALED_UPLOAD_ID_LENGTH: usize = 8 * 1024;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution spec, "Pulling manifests").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(Box<str>);

/// A content digest: `algorithm:encoded` (OCI image spec, "Digests"). The encoded part of sha256
/// and sha512 is lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(Box<str>);

/// The name of a digest algorithm, such as `sha256` (OCI image spec, "Digests").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithm(Box<str>);

/// The path of an upload in progress after `/v2/NAME/blobs/`: `uploads/ID`. The registry chooses
/// the id, which is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPath(Box<str>);

/// The segment before the id of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadCollection {
    /// `uploads`, as the OCI distribution spec has it.
    Uploads,
    /// `upload`, which ghcr.io hands out.
    Upload,
}

/// The name of a manifest: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name that may be moved to another manifest.
    Tag(Tag),
    /// The digest of the content.
    Digest(Digest),
}

impl Tag {
    /// Parses a tag; returns `None` if it violates the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let rest =
            bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        (first && rest && text.len() <= 128).then(|| Self(text.into()))
    }

    /// Returns the tag as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Digest {
    /// Parses a digest; returns `None` if it violates the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, encoded) = text.split_once(':')?;
        let well_formed = match algorithm {
            "sha256" => encoded.len() == 64 && encoded.bytes().all(is_lower_hex),
            "sha512" => encoded.len() == 128 && encoded.bytes().all(is_lower_hex),
            _ => is_algorithm(algorithm) && is_encoded(encoded) && text.len() <= MAX_DIGEST_LENGTH,
        };
        well_formed.then(|| Self(text.into()))
    }

    /// Returns the digest as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Algorithm {
    /// Parses the name of an algorithm; returns `None` if it violates the grammar or is too long.
    pub fn parse(text: &str) -> Option<Self> {
        (is_algorithm(text) && text.len() <= MAX_ALGORITHM_LENGTH).then(|| Self(text.into()))
    }

    /// Returns the name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Returns whether the text matches `[a-z0-9]+([+._-][a-z0-9]+)*`.
fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-']).all(|part| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// Returns whether the text matches `[a-zA-Z0-9=_-]+`.
fn is_encoded(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

impl UploadCollection {
    pub(super) fn parse(segment: &str) -> Option<Self> {
        match segment {
            "uploads" => Some(Self::Uploads),
            "upload" => Some(Self::Upload),
            _ => None,
        }
    }
}

impl UploadPath {
    /// Parses an upload id. Returns `None` if it is too long, would be a dot segment, or contains a
    /// character that programs read in different ways.
    pub(super) fn parse(collection: UploadCollection, id: &str) -> Option<Self> {
        let dots_alone = id.bytes().all(|byte| byte == b'.');
        let longest = if id.starts_with(SEALED_UPLOAD) {
            MAX_SEALED_UPLOAD_ID_LENGTH
        } else {
            MAX_UPLOAD_ID_LENGTH
        };
        let valid = is_opaque_segment(id) && !dots_alone && id.len() <= longest;
        let segment = match collection {
            UploadCollection::Uploads => "uploads",
            UploadCollection::Upload => "upload",
        };
        valid.then(|| Self(format!("{segment}/{id}").into()))
    }

    /// Returns the path after `/v2/NAME/blobs/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether a segment consists of the characters of RFC 3986, 3.3, except `;`, where some
/// programs cut a segment off. An escape must not stand for a character that has another spelling,
/// or that would change the segments of the path.
fn is_opaque_segment(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
    let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let allowed = match byte {
            b'%' => match hex(bytes.next()).zip(hex(bytes.next())) {
                Some((high, low)) => u8::try_from(high * 16 + low).is_ok_and(|decoded| {
                    !decoded.is_ascii_control()
                        && !decoded.is_ascii_alphanumeric()
                        && !b"-._~/\\%;?#".contains(&decoded)
                }),
                None => false,
            },
            byte => is_plain(byte),
        };
        if !allowed {
            return false;
        }
    }
    true
}

impl Reference {
    /// Parses a digest if the text contains a colon, otherwise a tag; returns `None` if it is
    /// neither.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            Digest::parse(text).map(Self::Digest)
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }

    /// Returns the reference as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_grammar_are_accepted_and_others_are_refused() {
        for tag in ["latest", "v1.2.3", "_x", "A-b.c_d", "1", &"a".repeat(128)] {
            assert!(Tag::parse(tag).is_some(), "{tag}");
        }
        for tag in ["", ".hidden", "-x", "a b", "a/b", "a%20", "..", &"a".repeat(129)] {
            assert!(Tag::parse(tag).is_none(), "{tag:?}");
        }
    }

    #[test]
    fn digests_of_the_grammar_are_accepted_and_others_are_refused() {
        let sha256 = format!("sha256:{}", "a".repeat(64));
        let sha512 = format!("sha512:{}", "0".repeat(128));
        for digest in [&*sha256, &*sha512, "blake3:abc=", "multihash+base58:Qm_-"] {
            assert!(Digest::parse(digest).is_some(), "{digest}");
        }
        let upper = sha256.to_uppercase();
        let short = format!("sha256:{}", "a".repeat(63));
        let upper_hex = format!("sha256:{}", "A".repeat(64));
        let (short_512, upper_512) =
            (format!("sha512:{}", "a".repeat(127)), format!("sha512:{}", "A".repeat(128)));
        for digest in [&short_512, &upper_512] {
            assert!(Digest::parse(digest).is_none(), "{digest:?}");
        }
        for digest in [
            "",
            ":",
            "sha256",
            "sha256:",
            &*upper,
            &*short,
            &*upper_hex,
            "x:a/b",
            "x:..",
            "a..b:c",
            "sha256:a:b",
        ] {
            assert!(Digest::parse(digest).is_none(), "{digest:?}");
        }
    }

    #[test]
    fn digest_algorithms_of_the_grammar_are_accepted_and_others_are_refused() {
        for algorithm in ["sha256", "sha512", "multihash+base58", "a.b_c-d", &"a".repeat(64)] {
            assert_eq!(Algorithm::parse(algorithm).unwrap().as_str(), algorithm);
        }
        for algorithm in ["", "SHA256", "sha256:", "a..b", "-a", "a b", "a/b", &"a".repeat(65)] {
            assert!(Algorithm::parse(algorithm).is_none(), "{algorithm:?}");
        }
    }

    #[test]
    fn a_reference_is_printed_as_it_was_received() {
        for text in ["v1", "blake3:abc="] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn upload_ids_are_single_path_segments_of_limited_length() {
        let parse = |id: &str| UploadPath::parse(UploadCollection::Uploads, id);
        for id in
            ["0", "6f9c0a3e-3c1d-4f4a-8d7d-4f3b4e6d2c1a", "a.b_c=", "..a", "a:b~@+", "%3D%20%C3%A9"]
        {
            assert_eq!(parse(id).unwrap().as_str(), format!("uploads/{id}"));
        }
        for id in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "a%2f",
            "a%5C",
            "a%2e",
            "%41",
            "%25",
            "%3B",
            "%00",
            "%",
            "%4",
            "a b",
            "a;b",
            "a?b",
            "a#b",
            "a\\b",
            "\u{e9}",
            &"a".repeat(4097),
        ] {
            assert!(parse(id).is_none(), "{id:?}");
        }
    }
}
