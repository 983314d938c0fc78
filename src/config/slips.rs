//! Finds slips of the keyboard in YAML text, such as an unquoted `*` or a no-break space, which a
//! parser reports at another place and in its own terms, or takes for a part of a value.
//!
//! No message quotes a value, because a value may be a secret.

mod flow;
mod line;
mod report;
mod spaces;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::Path;

use super::problem::{Place, Problem};
use line::Scanner;

/// A slip and its place. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slip {
    line: usize,
    column: usize,
    certainty: Certainty,
    message: String,
}

/// The conditions under which a slip is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It is reported in any case, and explains all other problems of its line.
    Certain,
    /// It is reported if its line has a problem, and explains this problem.
    Likely,
    /// It is reported together with the problems of its line.
    Possible,
}

/// Returns the slips in a text, in order. `is_key` returns whether a section of the configuration
/// has a key with this name.
pub(super) fn find(text: &str, is_key: &dyn Fn(&str) -> bool) -> Vec<Slip> {
    let mut scanner = Scanner::new(is_key);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in lines(text) {
        scanner.line(&line.chars().collect::<Vec<_>>());
    }
    scanner.slips
}

/// Returns the slips that explain an error of the parser in this line. The parser can report an
/// error in the line before or after its cause.
pub(super) fn around(slips: &[Slip], text: &str, line: usize, file: &Path) -> Vec<Problem> {
    let near = neighbours(text, line);
    slips.iter().filter(|slip| near.contains(&slip.line)).map(|slip| slip.problem(file)).collect()
}

/// Adds the slips to the problems of a file, and removes the problems that they explain.
pub(super) fn explain(problems: &mut Vec<Problem>, slips: &[Slip], name: &Path) {
    let line_of = |problem: &Problem| match &problem.place {
        Place::File { file, line, .. } if **file == *name => Some(*line),
        _ => None,
    };
    let faulty: HashSet<usize> = problems.iter().filter_map(line_of).collect();
    let told: Vec<&Slip> = slips
        .iter()
        .filter(|slip| slip.certainty == Certainty::Certain || faulty.contains(&slip.line))
        .collect();
    let explained: HashSet<usize> = told
        .iter()
        .filter(|slip| slip.certainty != Certainty::Possible)
        .map(|slip| slip.line)
        .collect();
    problems.retain(|problem| line_of(problem).is_none_or(|line| !explained.contains(&line)));
    problems.extend(told.iter().map(|slip| slip.problem(name)));
}

impl Slip {
    fn problem(&self, file: &Path) -> Problem {
        let place = Place::File { file: file.into(), line: self.line, column: self.column };
        Problem::new(place, self.message.clone())
    }
}

/// Returns the lines from the one with content before this line to the one after it.
fn neighbours(text: &str, line: usize) -> RangeInclusive<usize> {
    let has_content = |text: &str| {
        let text = text.trim_start();
        !text.is_empty() && !text.starts_with('#')
    };
    let (mut before, mut after) = (line, None);
    for (number, _) in (1..).zip(lines(text)).filter(|(_, content)| has_content(content)) {
        if number < line {
            before = number;
        } else if number > line {
            after = Some(number);
            break;
        }
    }
    before..=after.unwrap_or(line)
}

/// Splits a text at the line breaks of YAML 1.2.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at(end);
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..));
        Some(line)
    })
}
