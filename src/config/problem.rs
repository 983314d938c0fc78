//! What is wrong with a configuration, and where.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A place in a file. Lines and columns count from 1, columns in characters.
    File {
        /// The file, as the user named it.
        file: Arc<Path>,
        /// The line in the file.
        line: usize,
        /// The column in the line.
        column: usize,
    },
    /// An environment variable.
    Environment(Arc<str>),
}

/// One thing that is wrong: `FILE:LINE:COLUMN: what is wrong; what would be right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong; what would be right.
    pub message: String,
}

/// Everything that is wrong, in the order of the files. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Place {
    /// The start of a file, for what concerns it as a whole.
    pub(super) fn start_of(file: &Path) -> Self {
        Self::File { file: file.into(), line: 1, column: 1 }
    }
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        // Whatever a check quotes of the user's, and however: it is one line, and does nothing to a
        // terminal. A backslash may come from what was escaped before.
        Self { place, message: escaped_but(&message.into(), &['\'', '"', '\\']) }
    }
}

impl Problems {
    /// In order of place, what two passes have both found once. The configuration file comes first.
    pub(super) fn new(problems: Vec<Problem>, name: &Path) -> Self {
        Self(in_order(problems, name))
    }

    /// Each problem.
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

/// One problem a line.
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

/// Sorted by place, those of one place as they were found, none twice.
pub(super) fn in_order(mut problems: Vec<Problem>, name: &Path) -> Vec<Problem> {
    let elsewhere = |place: &Place| !matches!(place, Place::File { file, .. } if **file == *name);
    problems.sort_by(|one, other| {
        (elsewhere(&one.place), &one.place).cmp(&(elsewhere(&other.place), &other.place))
    });
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

/// A value of the user's, fit for one line of a message: control characters escaped, the end cut
/// off.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let start: String = text.chars().take(MOST).collect();
    let cut = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    escaped(&start) + cut
}

/// What a terminal shows as it is: no control character, and nothing that moves or hides text.
pub(crate) fn escaped(text: &str) -> String {
    escaped_but(text, &['\'', '"'])
}

fn escaped_but(text: &str, kept: &[char]) -> String {
    let escape =
        |c: char| if kept.contains(&c) { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(escape).collect()
}
