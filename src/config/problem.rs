//! The problems of a configuration and their places.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::terminal::printable;

/// The place at which a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A place in a file. Lines and columns count from 1, columns in characters.
    File {
        /// The file, as the operator named it.
        file: Arc<Path>,
        /// The line in the file.
        line: usize,
        /// The column in the line.
        column: usize,
    },
    /// An environment variable.
    Environment(Arc<str>),
}

/// A problem, which prints as `FILE:LINE:COLUMN: what is wrong; what would be right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The place of the problem.
    pub place: Place,
    /// The message: first what is wrong, then what would be right.
    pub message: String,
}

/// All problems of a configuration, sorted by place. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Place {
    /// Returns the start of a file, for a problem that concerns the file as a whole.
    pub(super) fn start_of(file: &Path) -> Self {
        Self::File { file: file.into(), line: 1, column: 1 }
    }
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        // A message may quote text of the operator. Escaping keeps the message on one line and
        // harmless to a terminal. Backslashes stay, because the quoted text may be escaped already.
        Self { place, message: printable(&message.into()).into_owned() }
    }
}

impl Problems {
    /// Creates the list in order of place, with the configuration file first. A problem that two
    /// passes have found is listed once.
    pub(super) fn new(problems: Vec<Problem>, name: &Path) -> Self {
        Self(in_order(problems, name))
    }

    /// Returns an iterator over the problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment(variable) => write!(f, "environment: {variable}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Prints one problem on each line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Returns the problems without duplicates, sorted by place. The configuration file `name` comes
/// first, and problems at one place stay in the order in which they were found.
pub(super) fn in_order(mut problems: Vec<Problem>, name: &Path) -> Vec<Problem> {
    let elsewhere = |place: &Place| !matches!(place, Place::File { file, .. } if **file == *name);
    problems.sort_by(|one, other| {
        (elsewhere(&one.place), &one.place).cmp(&(elsewhere(&other.place), &other.place))
    });
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

/// Returns a value of the operator in a form that fits into one line of a message: control
/// characters are escaped, and a long value is cut off.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let start: String = text.chars().take(MOST).collect();
    let cut = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    printable(&start).into_owned() + cut
}
