//! Flow collections: lists and sections in brackets.

use super::Certainty;
use super::line::{Position, Scanner, end_of_quote, is_blank, is_end, skip_blanks};
use super::spaces::is_odd;

impl Scanner<'_> {
    /// Reads a flow collection up to the bracket that closes the outermost one, and returns the
    /// index behind it; `None` if the collection goes on in the next line.
    pub(super) fn flow(&mut self, line: &[char], mut at: usize) -> Option<usize> {
        let mut position = Position::Start;
        while let Some(&c) = line.get(at) {
            let next = line.get(at + 1).copied();
            match c {
                ' ' | '\t' => at += 1,
                '#' if at == 0 || is_blank(line.get(at - 1).copied()) => return None,
                _ if is_odd(c) => {
                    self.odd(at, c, "before the value");
                    at += 1;
                }
                ',' => {
                    at += 1;
                    position = Position::Start;
                }
                ':' => {
                    at += 1;
                    position = Position::Value;
                }
                '[' | '{' => {
                    self.open.push((c, self.number, at));
                    at += 1;
                    position = Position::Start;
                }
                ']' | '}' => {
                    let open = self.open.pop();
                    let (bracket, number, start) = open.unwrap_or((c, self.number, at));
                    if bracket != if c == ']' { '[' } else { '{' } {
                        let message = format!(
                            "`{c}` closes no bracket here; write a value that contains it in quotes"
                        );
                        self.slip(at, Certainty::Likely, &message);
                    }
                    at += 1;
                    if self.open.is_empty() {
                        return Some(at);
                    }
                    let behind = line.get(skip_blanks(line, at)).copied();
                    if number == self.number
                        && !behind.is_none_or(|c| is_odd(c) || ",]}:#".contains(c))
                    {
                        self.needs_quotes(start, &format!("begins with `{bracket}`"));
                        at = self.skip_plain(line, at);
                    }
                }
                '"' | '\'' => {
                    let Some(end) = end_of_quote(line, at + 1, c) else {
                        self.quote = Some(c);
                        return None;
                    };
                    self.behind_quote(line, end, Some(at));
                    at = end;
                }
                '&' | '*' => match self.anchor(line, at) {
                    Some(after) => at = after,
                    None => at = self.skip_plain(line, at),
                },
                '!' => {
                    self.tag(at);
                    at = self.skip_plain(line, at);
                }
                '@' | '`' | '%' | '|' | '>' => {
                    self.needs_quotes(at, &format!("begins with `{c}`"));
                    at = self.skip_plain(line, at);
                }
                '-' if is_end(next) || matches!(next, Some(',' | ']' | '}')) => {
                    self.needs_quotes(at, "begins with `-`");
                    at += 1;
                }
                _ => {
                    let start = at;
                    at = self.skip_plain(line, at);
                    let text = line.get(start..at).unwrap_or_default();
                    if text.iter().any(|c| "[]{}".contains(*c)) {
                        self.needs_quotes(start, "contains a bracket inside a list or section");
                    }
                    let is_key = line.get(at) == Some(&':');
                    if is_key && position == Position::Value && self.in_section() {
                        self.needs_quotes(start, "contains a colon before a space or at its end");
                    } else if is_key {
                        self.odd_within(text, start, "in this key", Certainty::Certain);
                    } else {
                        if position == Position::Start && self.in_section() {
                            self.missing_space(text, start, false);
                        }
                        self.odd_in_value(text, start);
                    }
                }
            }
        }
        None
    }

    /// Returns the end of a text without quotes in a flow collection. Brackets that open within the
    /// text belong to it.
    fn skip_plain(&self, line: &[char], start: usize) -> usize {
        let mut depth = 0_usize;
        let mut at = start;
        while let Some(&c) = line.get(at) {
            let next = line.get(at + 1).copied();
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' if depth > 0 => depth -= 1,
                ',' if depth == 0 => break,
                ']' | '}' => break,
                ':' if is_end(next) || matches!(next, Some(',' | ']' | '}')) => break,
                '#' if is_blank(line.get(at.wrapping_sub(1)).copied()) => break,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Returns whether the innermost open bracket is that of a section.
    fn in_section(&self) -> bool {
        matches!(self.open.last(), Some(('{', ..)))
    }
}
