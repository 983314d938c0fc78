//! Follows the structure of YAML text line by line, as far as slips require it.

use std::collections::HashSet;

use super::spaces::is_odd;
use super::{Certainty, Slip};

/// The characters with which a value cannot begin without quotes, and what YAML takes each for.
/// `*`, `&`, `!`, `|` and `>` depend on what follows.
const RESERVED: &str = "@`%,]}";

/// The state at the end of a line.
pub(super) struct Scanner<'a> {
    pub(super) is_key: &'a dyn Fn(&str) -> bool,
    pub(super) slips: Vec<Slip>,
    pub(super) number: usize,
    /// The names behind `&`, to which `*` may refer.
    anchors: HashSet<String>,
    /// The quote of a text that goes on in the next line.
    pub(super) quote: Option<char>,
    /// The open brackets of flow collections, with their lines and indices.
    pub(super) open: Vec<(char, usize, usize)>,
    /// The indentation of the line at which a block of text, `|` or `>`, began.
    block: Option<usize>,
    /// The line and the index of the last odd space that stands where a space could stand.
    pub(super) last_odd: Option<(usize, usize)>,
}

/// The position of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// The first in its line, so that it may be a key or an entry of a list.
    Start,
    /// Behind the dash of a list entry.
    Entry,
    /// Behind the colon of a key.
    Value,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(is_key: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            is_key,
            slips: Vec::new(),
            number: 0,
            anchors: HashSet::new(),
            quote: None,
            open: Vec::new(),
            block: None,
            last_odd: None,
        }
    }

    /// Reads the next line.
    pub(super) fn line(&mut self, line: &[char]) {
        self.number += 1;
        let indent = line.iter().take_while(|c| **c == ' ').count();
        if let Some(quote) = self.quote {
            if let Some(end) = end_of_quote(line, 0, quote) {
                self.quote = None;
                self.behind_quote(line, end, None);
            }
            return;
        }
        if let Some(parent) = self.block {
            if indent > parent || line.iter().all(|c| c.is_whitespace()) {
                return;
            }
            self.block = None;
        }
        if !self.open.is_empty() {
            self.flow(line, 0);
            return;
        }
        if (indent == 0 && line.starts_with(&['%'])) || is_marker(line) {
            return;
        }
        self.indentation(line);
        self.node(line, 0, Position::Start);
    }

    /// Reports characters in the indentation that are not spaces.
    fn indentation(&mut self, line: &[char]) {
        let end = line.iter().position(|c| !c.is_whitespace() && !is_odd(*c)).unwrap_or(line.len());
        let is_empty = matches!(line.get(end), None | Some('#'));
        let mut indent = line.iter().take(end);
        if let Some(tab) = indent.position(|c| *c == '\t')
            && !is_empty
        {
            let message = "the indentation of this line contains a tab; indent with spaces";
            self.slip(tab, Certainty::Possible, message);
        }
    }

    /// Reads a node in block context, and what follows it in the line.
    fn node(&mut self, line: &[char], mut at: usize, mut position: Position) {
        while let Some(&c) = line.get(at) {
            let next = line.get(at + 1).copied();
            match c {
                ' ' | '\t' => at += 1,
                '#' if at == 0 || is_blank(line.get(at - 1).copied()) => return,
                _ if is_odd(c) => {
                    let place = match position {
                        Position::Start => "in the indentation",
                        Position::Entry => "behind the dash",
                        Position::Value => "before the value",
                    };
                    self.odd(at, c, place);
                    at += 1;
                }
                '-' if is_end(next) && position == Position::Value => {
                    self.needs_quotes(at, "begins with `-`");
                    return;
                }
                '-' if is_end(next) => {
                    at += 1;
                    position = Position::Entry;
                }
                '-' if position != Position::Value && begins_entry(next) => {
                    let message =
                        "there is no space behind the dash; write - and a space before the entry";
                    self.slip(at, Certainty::Likely, message);
                    at += 1;
                    position = Position::Entry;
                }
                '?' | ':' if is_end(next) => at += 1,
                '"' | '\'' => {
                    let Some(end) = end_of_quote(line, at + 1, c) else {
                        self.quote = Some(c);
                        return;
                    };
                    match self.behind_quote(line, end, Some(at)) {
                        Some(after) if position != Position::Value => {
                            at = after;
                            position = Position::Value;
                        }
                        _ => return,
                    }
                }
                '|' | '>' => {
                    if is_block_header(line, at + 1) {
                        self.block = Some(line.iter().take_while(|c| **c == ' ').count());
                    } else {
                        self.needs_quotes(at, &format!("begins with `{c}`"));
                    }
                    return;
                }
                '[' | '{' => {
                    self.open.push((c, self.number, at));
                    let Some(after) = self.flow(line, at + 1) else { return };
                    let rest = skip_blanks(line, after);
                    match line.get(rest) {
                        None | Some('#') => return,
                        Some(&c) if is_odd(c) => {
                            self.odd(rest, c, "behind the value");
                            return;
                        }
                        Some(':') if position != Position::Value => {
                            at = rest + 1;
                            position = Position::Value;
                        }
                        _ => {
                            self.needs_quotes(at, &format!("begins with `{c}`"));
                            return;
                        }
                    }
                }
                '&' | '*' => match self.anchor(line, at) {
                    Some(after) => at = after,
                    None => return,
                },
                '!' => {
                    self.tag(at);
                    return;
                }
                _ if RESERVED.contains(c) => {
                    self.needs_quotes(at, &format!("begins with `{c}`"));
                    return;
                }
                _ => match self.plain(line, at, position) {
                    Some(after) => {
                        at = after;
                        position = Position::Value;
                    }
                    None => return,
                },
            }
        }
    }

    /// Reads a text without quotes in block context. If it is a key, returns where its value
    /// begins.
    fn plain(&mut self, line: &[char], start: usize, position: Position) -> Option<usize> {
        let end = (start + 1..line.len())
            .find(|at| line.get(*at) == Some(&'#') && is_blank(line.get(at - 1).copied()))
            .unwrap_or(line.len());
        let text = line.get(start..end).unwrap_or_default();
        let colon = (0..text.len())
            .find(|at| text.get(*at) == Some(&':') && is_end(text.get(at + 1).copied()));
        match colon {
            Some(colon) if position != Position::Value => {
                let key = text.get(..colon).unwrap_or_default();
                self.odd_within(key, start, "in this key", Certainty::Certain);
                Some(start + colon + 1)
            }
            Some(_) => {
                self.needs_quotes(start, "contains a colon before a space or at its end");
                None
            }
            None => {
                if position != Position::Value {
                    self.missing_space(text, start, position == Position::Entry);
                }
                self.odd_in_value(text, start);
                None
            }
        }
    }

    /// Checks what follows a closing quote at `end`. If the quoted text is a key, returns where its
    /// value begins. `start` is the opening quote, if it is in this line.
    pub(super) fn behind_quote(
        &mut self,
        line: &[char],
        end: usize,
        start: Option<usize>,
    ) -> Option<usize> {
        let after = skip_blanks(line, end);
        let in_flow = !self.open.is_empty();
        match line.get(after) {
            None | Some('#') => None,
            Some(',' | ']' | '}') if in_flow => None,
            // JSON writes no space here, and YAML needs none in a flow collection.
            Some(':') if in_flow => None,
            Some(':') => {
                if !is_end(line.get(after + 1).copied()) {
                    let message = "there is no space behind the colon; write `key: value`";
                    self.slip(start.unwrap_or(after), Certainty::Likely, message);
                }
                Some(after + 1)
            }
            Some(&c) if is_odd(c) => {
                self.odd(after, c, "behind the value");
                None
            }
            Some(_) => {
                let message = "text follows the closing quote; write the whole value in one pair \
                               of quotes";
                self.slip(start.unwrap_or(after), Certainty::Likely, message);
                None
            }
        }
    }

    /// Reads `&name` or `*name`, and returns the index behind it; `None` if YAML cannot take it for
    /// an anchor or an alias.
    pub(super) fn anchor(&mut self, line: &[char], at: usize) -> Option<usize> {
        let ends = |c: &char| is_blank(Some(*c)) || ",[]{}".contains(*c);
        let name: String = line.iter().skip(at + 1).take_while(|c| !ends(c)).collect();
        let end = at + 1 + name.chars().count();
        if line.get(at) == Some(&'&') {
            if name.is_empty() {
                self.needs_quotes(at, "begins with `&`, which YAML takes for an anchor,");
                return None;
            }
            self.anchors.insert(name);
            return Some(end);
        }
        // An alias that is a key is followed by a colon behind a space.
        if self.anchors.contains(&name) {
            return Some(end);
        }
        self.needs_quotes(at, "begins with `*`, which YAML takes for an alias,");
        None
    }

    pub(super) fn tag(&mut self, at: usize) {
        let message = "a value that begins with `!` is a tag in YAML; write it in quotes, e.g. \
                       \"!…\", or remove the tag";
        self.slip(at, Certainty::Likely, message);
    }
}

/// Returns the index behind the closing quote of a text that begins at `start`.
pub(super) fn end_of_quote(line: &[char], start: usize, quote: char) -> Option<usize> {
    let mut at = start;
    while let Some(&c) = line.get(at) {
        let is_escaped = quote == '"' && c == '\\';
        let is_doubled = c == quote && quote == '\'' && line.get(at + 1) == Some(&quote);
        if is_escaped || is_doubled {
            at += 2;
        } else if c == quote {
            return Some(at + 1);
        } else {
            at += 1;
        }
    }
    None
}

pub(super) fn is_blank(c: Option<char>) -> bool {
    matches!(c, Some(' ' | '\t'))
}

/// Returns whether a dash or a colon before this character has its meaning. An odd space is meant
/// as a space.
pub(super) fn is_end(next: Option<char>) -> bool {
    next.is_none_or(|c| is_blank(Some(c)) || is_odd(c))
}

/// Returns whether a list entry can begin with this character. A digit after a dash is a number.
fn begins_entry(next: Option<char>) -> bool {
    next.is_some_and(|c| c.is_alphabetic() || "\"'[{$*/_".contains(c))
}

pub(super) fn skip_blanks(line: &[char], start: usize) -> usize {
    let rest = line.iter().skip(start);
    start + rest.take_while(|c| is_blank(Some(**c))).count()
}

fn is_block_header(line: &[char], start: usize) -> bool {
    let rest = line.iter().skip(start).skip_while(|c| c.is_ascii_digit() || "+-".contains(**c));
    let mut rest = rest.skip_while(|c| is_blank(Some(**c)));
    matches!(rest.next(), None | Some('#'))
}

/// Returns whether a line begins or ends a document.
fn is_marker(line: &[char]) -> bool {
    let is_alone = is_end(line.get(3).copied());
    is_alone && [['-'; 3], ['.'; 3]].iter().any(|marker| line.starts_with(marker))
}
