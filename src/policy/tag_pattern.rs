//! Patterns of tags: a text in which `*` matches any text, or the named pattern `${signatures}`.

use super::pattern::segment_matches;
use crate::registry::Tag;

/// The named pattern, as the config has it.
const SIGNATURES: &str = "${signatures}";

/// A pattern of tags. Tags have no segments, so `*` is the only wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A text with wildcards.
    Text(Box<str>),
    /// `${signatures}`: the tags under which clients keep signatures, attestations and lists of
    /// referrers beside an image: `sha256-[0-9a-f]{64}(\.(sig|att|sbom))?`. cosign writes the first
    /// three (`SIGNATURE_SPEC.md` of sigstore/cosign, "Tag-based discovery"), and clients write the
    /// bare one for registries without the referrers API (OCI distribution spec, "Referrers Tag
    /// Schema").
    Signatures,
}

impl TagPattern {
    /// Creates the pattern that matches every tag.
    pub fn any() -> Self {
        Self(Kind::Text("*".into()))
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// A message that says how to write the pattern correctly, if no tag can match it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == SIGNATURES {
            return Ok(Self(Kind::Signatures));
        }
        if text.contains("${") {
            return Err(if text.contains(SIGNATURES) {
                format!("{SIGNATURES} stands for whole tags; write it as an entry of its own")
            } else {
                format!(
                    "tags know no such name; write {SIGNATURES}, or a pattern such as v* \
                     (${{user}} and ${{claims.NAME}} are for repositories)"
                )
            });
        }
        if text.contains("**") {
            return Err("tags have no segments; write one *".to_owned());
        }
        match Tag::parse(&text.replace('*', "x")) {
            Some(_) => Ok(Self(Kind::Text(text.into()))),
            None => Err("no tag can match this; write letters, digits, `_`, `.`, `-` and *, \
                         e.g. v* or latest"
                .to_owned()),
        }
    }

    /// Returns whether every tag that matches is one of `${signatures}`.
    pub fn is_of_signatures(&self) -> bool {
        Self(Kind::Signatures).covers(self)
    }

    /// Returns whether every tag that matches the other pattern matches this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // Only a star of this pattern can take the stars of the other one.
            (Kind::Text(text), Kind::Text(other)) => segment_matches(text, other),
            (Kind::Signatures, Kind::Signatures) => true,
            // A text with a star matches more than tags of signatures.
            (Kind::Signatures, Kind::Text(text)) => is_signature(text),
            // The two digests have no digit in common, so what matches both with no text after
            // them matches every other one, also with a text after it.
            (Kind::Text(text), Kind::Signatures) => ["0", "f"]
                .iter()
                .all(|digit| segment_matches(text, &format!("sha256-{}", digit.repeat(64)))),
        }
    }

    /// Returns whether a tag matches, also in other letters: some registries (Gitea) take tags that
    /// differ only in case for one.
    pub fn matches_in_any_case(&self, tag: &Tag) -> bool {
        let tag = tag.as_str().to_ascii_lowercase();
        match &self.0 {
            Kind::Text(text) => segment_matches(&text.to_ascii_lowercase(), &tag),
            Kind::Signatures => is_signature(&tag),
        }
    }

    /// Returns whether a tag matches.
    pub fn matches(&self, tag: &Tag) -> bool {
        match &self.0 {
            Kind::Text(text) => segment_matches(text, tag.as_str()),
            Kind::Signatures => is_signature(tag.as_str()),
        }
    }
}

/// Returns whether a tag matches `${signatures}`.
pub(super) fn is_signature(tag: &str) -> bool {
    let Some((digest, kind)) = tag.strip_prefix("sha256-").and_then(|it| it.split_at_checked(64))
    else {
        return false;
    };
    digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && matches!(kind, "" | ".sig" | ".att" | ".sbom")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pattern: &str) -> TagPattern {
        TagPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    /// Returns `sha256-`, this digit 64 times, and this text.
    fn signature(digit: &str, kind: &str) -> String {
        format!("sha256-{}{kind}", digit.repeat(64))
    }

    #[test]
    fn a_tag_in_other_letters_matches_only_where_case_is_ignored() {
        let pattern = read("v*-RC");
        for (text, exact, any) in
            [("v1-RC", true, true), ("V1-rc", false, true), ("w1-rc", false, false)]
        {
            let tag = tag(text);
            assert_eq!((pattern.matches(&tag), pattern.matches_in_any_case(&tag)), (exact, any));
        }
    }

    #[test]
    fn a_star_matches_any_text() {
        for (pattern, text, expected) in [
            ("*", "v1", true),
            ("v*", "v1", true),
            ("v*", "V1", false),
            ("Latest", "Latest", true),
            ("v*-rc", "v1-r", false),
        ] {
            assert_eq!(read(pattern).matches(&tag(text)), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn signatures_are_the_tags_of_cosign_and_of_the_referrers_fallback() {
        let signatures = read("${signatures}");
        for kind in ["", ".sig", ".att", ".sbom"] {
            for digit in ["0", "9", "a", "f"] {
                let text = signature(digit, kind);
                assert!(signatures.matches(&tag(&text)), "{text}");
            }
        }
        for text in [
            signature("g", ""),
            signature("A", ".sig"),
            signature("a", ".SIG"),
            signature("a", ".sig."),
            signature("a", ".sigs"),
            signature("a", "a"),
            signature("a", "-sig"),
            signature("a", ".cosign"),
            format!("x{}", signature("a", "")),
            format!("sha512-{}", "a".repeat(64)),
            format!("sha256-{}", "a".repeat(63)),
            format!("sha256-{}.sig", "a".repeat(63)),
            "sha256-".to_owned(),
            "sha256".to_owned(),
            "v1".to_owned(),
        ] {
            assert!(!signatures.matches(&tag(&text)), "{text}");
        }
        assert!(!is_signature(&format!("sha256-{}\u{e9}", "a".repeat(63))));
    }

    #[test]
    fn texts_that_no_tag_can_match_and_other_names_are_refused() {
        for text in ["", "**", "v?", "-v", ".*", "a/b", "é", "$", "{signatures}"] {
            assert!(TagPattern::parse(text).unwrap_err().contains("; "), "{text}");
        }
        for text in ["${user}", "${claims.ref}", "${Signatures}", "${", "${signatures", "v${x}"] {
            let message = TagPattern::parse(text).unwrap_err();
            for known in ["${signatures}", "${user}", "${claims.NAME}"] {
                assert!(message.contains(known), "{text}: {message}");
            }
        }
        for text in ["v${signatures}", "${signatures}*", "${signatures}${signatures}"] {
            assert!(TagPattern::parse(text).unwrap_err().contains("entry of its own"), "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_another_one_if_it_matches_all_of_its_tags() {
        let one = signature("a", ".sig");
        for (pattern, other, expected) in [
            ("*", "v*", true),
            ("v*", "*", false),
            ("v*", "v1*", true),
            ("v1", "v1", true),
            ("${signatures}", "${signatures}", true),
            ("${signatures}", &one, true),
            ("${signatures}", "sha256-*", false),
            ("${signatures}", "v1", false),
            ("*", "${signatures}", true),
            ("sha256-*", "${signatures}", true),
            ("s*a256*", "${signatures}", true),
            ("*-*", "${signatures}", true),
            ("*2*6-*", "${signatures}", true),
            ("*6-*2*", "${signatures}", false),
            ("sha256-*.sig", "${signatures}", false),
            ("sha256-*a*", "${signatures}", false),
            ("sha256-*0*", "${signatures}", false),
            ("sha256-*f*", "${signatures}", false),
            ("sha256-*0", "${signatures}", false),
            ("*.*", "${signatures}", false),
            ("v*", "${signatures}", false),
            (&one, "${signatures}", false),
        ] {
            assert_eq!(read(pattern).covers(&read(other)), expected, "{pattern} {other}");
        }
    }

    fn patterns() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("${signatures}".to_owned()),
            "[sh*]{1,3}(a256)?[-*]?[0a*]{0,3}(\\.sig|\\*)?",
            prop::sample::select(vec![signature("0", ""), signature("a", ".att")]),
        ]
        .prop_filter("no pattern", |text| TagPattern::parse(text).is_ok())
    }

    fn tags() -> impl Strategy<Value = String> {
        prop_oneof![
            "[sha]{1,3}",
            "sha256-[0af]{64}(\\.sig|\\.att|\\.sbom)?",
            "sha256-[0af]{0,4}(\\.sig)?",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: 5000,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_tag_matches_every_pattern_that_covers_one_of_its_patterns(
            pattern in patterns(), other in patterns(), text in tags(),
        ) {
            let (pattern, other, tag) = (read(&pattern), read(&other), tag(&text));
            if pattern.covers(&other) && other.matches(&tag) {
                prop_assert!(pattern.matches(&tag));
            }
        }
    }
}
