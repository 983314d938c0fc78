//! Patterns of the values that a claim may have. `*` matches any text without `/` and `:`, the
//! signs that separate the parts of a claim such as GitHub's
//! `repo:octo-org/app:ref:refs/heads/main`; `**` matches any text. Both match the empty text too.
//!
//! The time of a match is at most proportional to the product of both lengths, for every pattern.

use std::str::FromStr;

/// A pattern that not every value matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPattern(Box<[PatternPart]>);

/// A part of a pattern, and what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    /// This text.
    Text(Box<str>),
    /// Any text without `/` and `:`.
    Run,
    /// Any text.
    AnyText,
}

/// The reason why a text is not a [`ClaimPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPatternError {
    #[error("it is empty; write a value, such as \"42\"")]
    Empty,
    #[error(
        "it has nothing but wildcards and separators, so it would accept tokens of strangers too; \
         write the part of the value that must be there, such as octo-org/*, or remove the claim"
    )]
    OnlyWildcards,
}

impl FromStr for ClaimPattern {
    type Err = ClaimPatternError;

    fn from_str(text: &str) -> Result<Self, ClaimPatternError> {
        if text.is_empty() {
            return Err(ClaimPatternError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let stars = rest.bytes().take_while(|byte| *byte == b'*').count();
            let after = rest.get(stars..).unwrap_or_default();
            parts.extend(match stars {
                0 => None,
                1 => Some(PatternPart::Run),
                _ => Some(PatternPart::AnyText),
            });
            let end = after.find('*').unwrap_or(after.len());
            let (literal, next) = after.split_at(end);
            if !literal.is_empty() {
                parts.push(PatternPart::Text(literal.into()));
            }
            rest = next;
        }
        // A separator alone, as in `*/*`, distinguishes no tenant from another.
        if text.contains('*') && text.trim_matches(['*', '/', ':']).is_empty() {
            return Err(ClaimPatternError::OnlyWildcards);
        }
        Ok(Self(parts.into()))
    }
}

impl ClaimPattern {
    /// Returns whether the whole value matches.
    pub fn matches(&self, value: &str) -> bool {
        let (mut parts, mut value) = (&*self.0, value.as_bytes());
        // Most patterns have no wildcard, or differ from most values in their first text.
        if let [PatternPart::Text(start), rest @ ..] = parts {
            let Some(after) = value.strip_prefix(start.as_bytes()) else { return false };
            (parts, value) = (rest, after);
        }
        if parts.is_empty() {
            return value.is_empty();
        }
        // `ends[n]` says whether the parts so far match the first n bytes. UTF-8 is matched by
        // bytes, since a text that begins or ends within a character occurs in no value.
        let mut ends = vec![false; value.len() + 1];
        if let Some(first) = ends.first_mut() {
            *first = true;
        }
        for part in parts {
            match part {
                PatternPart::Text(text) => shift(&mut ends, text.as_bytes(), value),
                PatternPart::Run => extend(&mut ends, value, |byte| !matches!(byte, b'/' | b':')),
                PatternPart::AnyText => extend(&mut ends, value, |_| true),
            }
        }
        ends.last().is_some_and(|matches| *matches)
    }
}

/// Replaces each end with the end of `text` behind it, if `text` is there.
fn shift(ends: &mut [bool], text: &[u8], value: &[u8]) {
    let mut shifted = vec![false; ends.len()];
    for (start, _) in ends.iter().enumerate().filter(|(_, is_end)| **is_end) {
        let is_there = value.get(start..).is_some_and(|behind| behind.starts_with(text));
        if let Some(end) = shifted.get_mut(start + text.len()).filter(|_| is_there) {
            *end = true;
        }
    }
    ends.copy_from_slice(&shifted);
}

/// Adds the ends behind each end, as far as the bytes between them are of the kind.
fn extend(ends: &mut [bool], value: &[u8], is_of_kind: impl Fn(u8) -> bool) {
    let mut before = false;
    for (index, end) in ends.iter_mut().enumerate() {
        let byte = index.checked_sub(1).and_then(|index| value.get(index));
        *end |= before && byte.is_some_and(|byte| is_of_kind(*byte));
        before = *end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        pattern
            .parse::<ClaimPattern>()
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .matches(value)
    }

    #[test]
    fn one_star_stays_between_slashes_and_colons_and_two_do_not() {
        const MAIN: &str = "repo:octo-org/*:ref:refs/heads/main";
        for (pattern, value, expected) in [
            (MAIN, "repo:octo-org/app:ref:refs/heads/main", true),
            (MAIN, "repo:octo-org/:ref:refs/heads/main", true),
            (MAIN, "repo:octo-org/app/x:ref:refs/heads/main", false),
            (MAIN, "repo:octo-org/app:environment:x:ref:refs/heads/main", false),
            (MAIN, "repo:octo-org/app:ref:refs/heads/main2", false),
            (MAIN, "repo:octo-organisation/app:ref:refs/heads/main", false),
            (MAIN, "xrepo:octo-org/app:ref:refs/heads/main", false),
            ("repo:octo-org/**", "repo:octo-org/app:ref:refs/heads/main", true),
            ("repo:octo-org/**", "repo:octo-org/", true),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "team", false),
            ("team-*", "Team-a", false),
            ("team-*", "a-team-a", false),
            ("*-team", "a-team", true),
            ("*-team", "a-team-", false),
            ("refs/**/v*", "refs/tags/v1", true),
            ("refs/**/v*", "refs/v1", false),
            ("***a", "/:a", true),
            ("*é*", "é", true),
            ("*é*", "e", false),
            ("42", "42", true),
            ("42", "421", false),
            ("42", "", false),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
        }
    }

    #[test]
    fn a_pattern_that_every_value_could_match_is_refused() {
        for text in ["*", "**", "***", "****", "*/*", "**:*"] {
            let read = text.parse::<ClaimPattern>();
            assert_eq!(read, Err(ClaimPatternError::OnlyWildcards), "{text}");
        }
        assert_eq!("".parse::<ClaimPattern>(), Err(ClaimPatternError::Empty));
    }

    /// A matcher that tries every run of each star would not end.
    #[test]
    fn a_pattern_with_many_stars_is_matched_in_bounded_time() {
        let value = "a".repeat(10_000);
        assert!(!matches(&format!("{}b", "*a".repeat(100)), &value));
        assert!(!matches(&format!("{}b", "**a".repeat(100)), &value));
        assert!(matches(&"*a**".repeat(100), &value));
    }

    /// A second matcher, which tries every run of each star.
    fn naive(pattern: &[char], value: &[char]) -> bool {
        match pattern {
            [] => value.is_empty(),
            ['*', '*', rest @ ..] => (0..=value.len()).any(|end| naive(rest, &value[end..])),
            ['*', rest @ ..] => {
                let run = value.iter().take_while(|c| !"/:".contains(**c)).count();
                (0..=run).any(|end| naive(rest, &value[end..]))
            }
            [sign, rest @ ..] => value.first() == Some(sign) && naive(rest, &value[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn matches_what_a_matcher_that_tries_everything_matches(
            pattern in "[ab/:*é]{0,8}", value in "[ab/:*é]{0,8}",
        ) {
            if let Ok(read) = pattern.parse::<ClaimPattern>() {
                let [pattern, signs] =
                    [&pattern, &value].map(|text| text.chars().collect::<Vec<_>>());
                prop_assert_eq!(read.matches(&value), naive(&pattern, &signs));
            }
        }
    }
}
