//! The reports of slips, with their messages.

use super::line::Scanner;
use super::spaces::{self, is_odd};
use super::{Certainty, Slip};

impl Scanner<'_> {
    /// Reports a key without a space behind its colon. In a list, `word:word` is a text.
    pub(super) fn missing_space(&mut self, text: &[char], start: usize, only_known: bool) {
        let Some(colon) = text.iter().position(|c| *c == ':') else { return };
        let word: String = text.iter().take(colon).collect();
        let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let is_url = text.get(colon + 1) == Some(&'/') && text.get(colon + 2) == Some(&'/');
        if is_word && !is_url && ((self.is_key)(&word) || !only_known) {
            // What is not a key may be a secret.
            let key = if (self.is_key)(&word) { &word } else { "key" };
            let message = format!(
                "there is no space behind this colon; write `{key}: value`, with a space before \
                 the value"
            );
            self.slip(start, Certainty::Likely, &message);
        }
    }

    /// Reports odd spaces in a value: at its end in any case, within it only if its line has a
    /// problem.
    pub(super) fn odd_in_value(&mut self, text: &[char], start: usize) {
        let trimmed = text.iter().rposition(|c| !c.is_whitespace() && !is_odd(*c));
        let end = trimmed.map_or(0, |last| last + 1);
        let (value, tail) = text.split_at_checked(end).unwrap_or((text, &[]));
        self.odd_within(value, start, "in this value", Certainty::Possible);
        if let Some(at) = tail.iter().position(|c| is_odd(*c))
            && let Some(&c) = tail.get(at)
        {
            self.odd(start + end + at, c, "at the end of the value");
        }
    }

    pub(super) fn odd_within(
        &mut self,
        text: &[char],
        start: usize,
        place: &str,
        certainty: Certainty,
    ) {
        if let Some(at) = text.iter().position(|c| is_odd(*c))
            && let Some(&c) = text.get(at)
        {
            self.slip(start + at, certainty, &spaces::message(c, place));
        }
    }

    /// Reports an odd space, but only the first of several in a row.
    pub(super) fn odd(&mut self, at: usize, c: char, place: &str) {
        let is_next =
            self.last_odd.is_some_and(|(line, last)| (line, last + 1) == (self.number, at));
        self.last_odd = Some((self.number, at));
        if is_next {
            return;
        }
        self.slip(at, Certainty::Certain, &spaces::message(c, place));
    }

    pub(super) fn needs_quotes(&mut self, at: usize, what: &str) {
        let example = if what.contains('*') { "e.g. \"**\"" } else { "e.g. \"…\"" };
        let message = format!("a value that {what} must be in quotes; quote it, {example}");
        self.slip(at, Certainty::Likely, &message);
    }

    pub(super) fn slip(&mut self, at: usize, certainty: Certainty, message: &str) {
        let (line, column, message) = (self.number, at + 1, message.to_owned());
        // One slip of a line is enough to find it, and the next run finds the next one.
        if self.slips.last().is_none_or(|last| (last.line, last.column) != (line, column)) {
            self.slips.push(Slip { line, column, certainty, message });
        }
    }
}
