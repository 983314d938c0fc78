//! RE2 patterns, matched with the regex crate. Most patterns mean the same in both; the others are
//! refused.
//!
//! Sources: RE2's `doc/syntax.txt`, the syntax page of the regex crate. Tags are ASCII, and
//! patterns are compiled for ASCII, so `\w`, `\d` and `(?i)` mean the same as in RE2.

use regex::bytes::{RegexSet, RegexSetBuilder};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassSetItem, Flag, Flags, FlagsItemKind, GroupKind, Span, Visitor, visit,
};

/// The longest pattern, in bytes. GitLab allows 100.
const MAX_LENGTH: usize = 512;

/// The largest memory of a compiled list of patterns, in bytes.
const MAX_COMPILED: usize = 1024 * 1024;

/// The reason why a pattern is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    #[error("longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("it does not compile, or takes too much memory")]
    DoesNotCompile,
    /// The pattern compiles, but would match other tags than in RE2.
    #[error("{0} may have another meaning in RE2, which GitLab uses")]
    ReadOtherwise(&'static str),
}

/// Checks that a pattern means the same here as in RE2.
pub(super) fn check(pattern: &str) -> Result<(), PatternError> {
    if pattern.len() > MAX_LENGTH {
        return Err(PatternError::TooLong);
    }
    let ast = Parser::new().parse(pattern).map_err(|_| PatternError::DoesNotCompile)?;
    visit(&ast, SameAsRe2 { pattern }).map_err(PatternError::ReadOtherwise)
}

/// Compiles patterns into a set that matches if one of them does.
pub(super) fn compile(patterns: &[Box<str>]) -> Result<RegexSet, PatternError> {
    let set = RegexSetBuilder::new(patterns).unicode(false).size_limit(MAX_COMPILED).build();
    set.map_err(|_| PatternError::DoesNotCompile)
}

/// A visitor that finds the constructs which RE2 and the regex crate read differently.
struct SameAsRe2<'a> {
    pattern: &'a str,
}

impl Visitor for SameAsRe2<'_> {
    type Output = ();
    type Err = &'static str;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            // RE2 reads `\<` as `<`, and `\b{start}` as `\b` followed by the literal text
            // `{start}`.
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(()),
                _ => Err("a word boundary other than \\b and \\B"),
            },
            Ast::Flags(set) => known_flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => known_flags(flags),
                _ => Ok(()),
            },
            Ast::ClassBracketed(class) => self.plain_class(&class.span),
            // Some non-ASCII letters fold to ASCII letters, such as the long s.
            Ast::Literal(literal) if !literal.c.is_ascii() => Err("a character that is not ASCII"),
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ClassSetItem::Bracketed(_) => Err("a [ in a class"),
            ClassSetItem::Literal(literal) if !literal.c.is_ascii() => {
                Err("a character that is not ASCII")
            }
            ClassSetItem::Range(range) if !(range.start.c.is_ascii() && range.end.c.is_ascii()) => {
                Err("a character that is not ASCII")
            }
            _ => Ok(()),
        }
    }
}

impl SameAsRe2<'_> {
    /// Refuses `--`, `&&` and `~~` in a class. They are operators in the regex crate; in RE2 they
    /// are characters or the ends of a range.
    fn plain_class(&self, span: &Span) -> Result<(), &'static str> {
        let text = self.pattern.get(span.start.offset..span.end.offset).unwrap_or_default();
        if ["--", "&&", "~~"].iter().any(|operator| text.contains(operator)) {
            return Err("--, && or ~~ in a class");
        }
        Ok(())
    }
}

/// Refuses flags that RE2 does not have. RE2 has `i`, `m`, `s` and `U`.
fn known_flags(flags: &Flags) -> Result<(), &'static str> {
    let known = |kind: &FlagsItemKind| {
        !matches!(kind, FlagsItemKind::Flag(Flag::IgnoreWhitespace | Flag::CRLF | Flag::Unicode))
    };
    if flags.items.iter().all(|item| known(&item.kind)) {
        Ok(())
    } else {
        Err("a flag other than i, m, s and U")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(pattern: &str) -> Result<RegexSet, PatternError> {
        check(pattern)?;
        compile(&[pattern.into()])
    }

    #[test]
    fn patterns_that_re2_reads_alike_are_accepted() {
        for (pattern, matches, matches_not) in [
            ("", vec!["x"], vec![]),
            ("v1", vec!["v1", "xv12"], vec!["V1"]),
            ("^v1$", vec!["v1"], vec!["v1.0", "xv1"]),
            ("(?i)^LATEST$", vec!["latest", "Latest"], vec!["latest1"]),
            ("(?i:a)b", vec!["Ab"], vec!["aB"]),
            (r"^v\d{1,3}\.\d{1,3}$", vec!["v1.20"], vec!["v1", "v1x2"]),
            (
                r"^v?(\d+)\.(\d+)(?:-([0-9A-Za-z-.]+))?(?:\+([0-9A-Za-z-.]+))?$",
                vec!["v1.2", "1.2-rc.1"],
                vec!["v1"],
            ),
            (r"^\w{1,128}$", vec!["a_1"], vec!["a-b"]),
            (r"[[:digit:]][[:^alpha:]]", vec!["1."], vec!["1a"]),
            ("[]a]", vec!["a"], vec!["b"]),
            ("[^-a]", vec!["b"], vec!["a"]),
            ("[a-c-e]", vec!["b", "e"], vec!["d"]),
            (r"[\]\-\\a]", vec!["a"], vec!["b"]),
            (r"\Av\z", vec!["v"], vec!["vv"]),
            (r"\bx\b", vec!["a-x"], vec!["ax"]),
            (r"\x61\.", vec!["a."], vec!["ab"]),
            ("(?P<name>x)", vec!["x"], vec!["y"]),
            ("a|b", vec!["b"], vec!["c"]),
        ] {
            let set = usable(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for tag in matches {
                assert!(set.is_match(tag.as_bytes()), "{pattern} {tag}");
            }
            for tag in matches_not {
                assert!(!set.is_match(tag.as_bytes()), "{pattern} {tag}");
            }
        }
    }

    /// Each of these patterns compiles, or would with other settings, but RE2 reads it differently
    /// or refuses it.
    #[test]
    fn patterns_that_re2_reads_differently_are_refused() {
        for pattern in [
            "[a[b]]",
            "[[b]]",
            "[^[b]]",
            "[[:nonsense:]]",
            "[a&&b]",
            "[a--b]",
            "[--a]",
            "[^--a]",
            "[+--]",
            "[a~~b]",
            "[&&]",
            r"\<a",
            r"a\>",
            r"\b{start}",
            r"\b{end}a",
            r"\b{start-half}",
            "a{,3}",
            "(?x)a b",
            "(?R)a$",
            "(?x:a b)",
            "(?i-x:a)",
            "(?u)a",
            "(?-u)a",
            r"\Qa.b\E",
            r"\C",
            r"\012",
            r"\1",
            r"\pL",
            r"\p{Greek}",
            "é",
            "[é]",
            r"(?i)\x{17F}",
            "[a-é]",
            r"\u017F",
            "a**b(",
            "(",
            "[",
            "*",
            "(?=a)",
            "(?<!a)b",
            r"[\w-.]",
            r"\Z",
        ] {
            assert!(usable(pattern).is_err(), "{pattern}");
        }
    }

    /// The check itself refuses these patterns, regardless of the settings of the regex crate.
    #[test]
    fn the_check_itself_refuses_characters_outside_ascii() {
        for pattern in ["é", "[é]", "[aé]", "[a-é]", "[à-é]", "[^é]", r"\x{17F}", r"[\x{17F}]"]
        {
            assert_eq!(
                check(pattern),
                Err(PatternError::ReadOtherwise("a character that is not ASCII")),
                "{pattern}"
            );
        }
    }

    #[test]
    fn the_length_and_the_compiled_size_of_a_pattern_are_bounded() {
        assert!(usable(&"a".repeat(512)).is_ok());
        assert_eq!(usable(&"a".repeat(513)).unwrap_err(), PatternError::TooLong);
        for pattern in ["(a{1000}){1000}", "((a{100}){100}){100}"] {
            assert_eq!(usable(pattern).unwrap_err(), PatternError::DoesNotCompile);
        }
    }
}
