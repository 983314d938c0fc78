//! Patterns of repositories and tags. `*` matches any text within a segment, and `**` matches one
//! or more segments. `${user}` and `${claims.NAME}` stand for what the caller's provider says about
//! the caller; NAME may be a JSON pointer.
//!
//! The time of a match is at most proportional to the product of both lengths, for every pattern.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::identity::{ClaimPath, Verified};
use crate::registry::{RepositoryName, Tag};

/// A pattern that at least one repository name can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPattern {
    /// The text before the first template. `rest` has each template and the text behind it.
    start: Box<str>,
    rest: Box<[(Template, Box<str>)]>,
}

/// A part of a pattern that the caller's identity fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Template {
    /// `${user}`
    User,
    /// `${claims.NAME}`
    Claim(ClaimPath),
}

/// A pattern of tags. Tags have no segments, so `*` is the only wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Box<str>);

impl RepositoryPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A message that says what is wrong and how to write it correctly, if a template is not known
    /// or if no repository name can match the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = text.split("${");
        let start = pieces.next().unwrap_or_default();
        let mut rest = Vec::new();
        for piece in pieces {
            let (name, after) =
                piece.split_once('}').ok_or("`${` has no `}`; write ${user} or ${claims.NAME}")?;
            let template = match name.strip_prefix("claims.") {
                Some(claim) if !claim.is_empty() => Template::Claim(
                    claim.parse().map_err(|error| format!("`${{{name}}}`: {error}"))?,
                ),
                _ if name == "user" => Template::User,
                _ => {
                    return Err(format!(
                        "`${{{name}}}` is not known; write ${{user}} or ${{claims.NAME}}"
                    ));
                }
            };
            rest.push((template, after.into()));
        }
        let pattern = Self { start: start.into(), rest: rest.into() };
        // `x` is the value that most easily forms a valid name: if a name with it breaks the
        // grammar, a name with any other value breaks it too.
        let with_stand_ins = pattern.with(|_| Some("x".into())).unwrap_or_default();
        can_match(&with_stand_ins)?;
        Ok(pattern)
    }

    /// Returns whether a repository matches for this caller. A pattern without templates allocates
    /// nothing.
    pub fn matches(&self, repository: &RepositoryName, caller: &Verified) -> bool {
        let pattern = if self.rest.is_empty() {
            Some(Cow::Borrowed(&*self.start))
        } else {
            self.with(|template| template.value(caller)).map(Cow::Owned)
        };
        pattern.is_some_and(|pattern| path_matches(&pattern, repository.as_str()))
    }

    /// Returns the text that the name of every matching repository begins with: the pattern up to
    /// its first wildcard or template.
    pub(super) fn literal_prefix(&self) -> &str {
        self.start.split('*').next().unwrap_or_default()
    }

    /// Returns whether the pattern contains `${user}`.
    pub fn takes_user(&self) -> bool {
        self.rest.iter().any(|(template, _)| *template == Template::User)
    }

    /// Returns whether the pattern contains a claim of the caller.
    pub fn takes_claims(&self) -> bool {
        self.rest.iter().any(|(template, _)| matches!(template, Template::Claim(_)))
    }

    /// Returns whether the pattern is `**`, which every repository matches.
    pub fn is_everything(&self) -> bool {
        &*self.start == "**" && self.rest.is_empty()
    }

    /// Returns the pattern with values in place of its templates; `None` if a template has no
    /// value.
    fn with(&self, value: impl Fn(&Template) -> Option<String>) -> Option<String> {
        let mut text = self.start.to_string();
        for (template, after) in &self.rest {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}{after}", value(template)?);
        }
        Some(text)
    }
}

/// Writes the pattern as the config has it.
impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)?;
        for (template, after) in &self.rest {
            match template {
                Template::User => f.write_str("${user}")?,
                Template::Claim(path) => write!(f, "${{claims.{path}}}")?,
            }
            f.write_str(after)?;
        }
        Ok(())
    }
}

impl Template {
    /// Returns the value of the template for a caller; `None` if it is not a repository name. The
    /// value is part of a name, so it never acts as a pattern. Repository names are lower case. A
    /// user whose provider distinguishes case is used unchanged, because two users would share one
    /// path otherwise; such a user with upper-case letters has no path.
    fn value(&self, caller: &Verified) -> Option<String> {
        let value = match self {
            // The subject of a job is the user who started it, and the job must not get that user's
            // path. The subject of a caller without a credential is empty.
            Self::User if caller.principal.is_job() => return None,
            Self::User => {
                let user = Some(&*caller.principal.subject).filter(|user| !user.contains('/'))?;
                if caller.principal.source.folds_case {
                    user.to_ascii_lowercase()
                } else {
                    user.to_owned()
                }
            }
            Self::Claim(path) => {
                path.text(&caller.attributes.as_ref()?.claims)?.to_ascii_lowercase()
            }
        };
        RepositoryName::parse(&value).map(|_| value)
    }
}

impl TagPattern {
    /// Creates the pattern that matches every tag.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// A message that says how to write the pattern correctly, if no tag can match it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("**") {
            return Err("tags have no segments; write one *".to_owned());
        }
        match Tag::parse(&text.replace('*', "x")) {
            Some(_) => Ok(Self(text.into())),
            None => Err("no tag can match this; write letters, digits, `_`, `.`, `-` and *, \
                         e.g. v* or latest"
                .to_owned()),
        }
    }

    /// Returns whether every tag that matches the other pattern matches this one.
    pub fn covers(&self, other: &Self) -> bool {
        // Only a star of this pattern can take the stars of the other one.
        segment_matches(&self.0, &other.0)
    }

    /// Returns whether a tag matches.
    pub fn matches(&self, tag: &Tag) -> bool {
        segment_matches(&self.0, tag.as_str())
    }
}

/// Returns the reason why no repository name could match a pattern without templates.
fn can_match(pattern: &str) -> Result<(), String> {
    if let Some(sign) = pattern.chars().find(|c| "?[]{}!".contains(*c)) {
        return Err(format!(
            "`{sign}` is not a wildcard here; write * (within a segment) or ** (across segments)"
        ));
    }
    if pattern.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("repository names are lower case, so nothing matches; write it in lower case"
            .to_owned());
    }
    if pattern.split('/').any(str::is_empty) {
        return Err(
            "a segment is empty, and no name begins or ends with a slash; write e.g. group/**"
                .to_owned(),
        );
    }
    if pattern.split('/').any(|segment| segment != "**" && segment.contains("**")) {
        return Err(
            "`**` stands for whole segments; write it between slashes, e.g. group/**".to_owned()
        );
    }
    match RepositoryName::parse(&pattern.replace("**", "x").replace('*', "x")) {
        Some(_) => Ok(()),
        None => Err("no repository name can match this; write segments of a-z and 0-9, joined by \
                     one . _ __ or -, e.g. group/app-*"
            .to_owned()),
    }
}

/// Matches segment by segment. If a segment does not match, the last `**` takes one more segment.
fn path_matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (Some(pattern), Some(name));
    let mut behind_many: Option<(Option<&str>, Option<&str>)> = None;
    loop {
        let step = match (pattern, name) {
            (None, None) => return true,
            (Some(pattern), Some(name)) => {
                let ((wanted, pattern), (segment, name)) = (first(pattern), first(name));
                if wanted == "**" {
                    behind_many = Some((pattern, name));
                    Some((pattern, name))
                } else {
                    segment_matches(wanted, segment).then_some((pattern, name))
                }
            }
            _ => None,
        };
        (pattern, name) = match (step, behind_many) {
            (Some(step), _) => step,
            (None, Some((pattern, Some(name)))) => {
                let more = (pattern, first(name).1);
                behind_many = Some(more);
                more
            }
            (None, _) => return false,
        };
    }
}

/// Returns the first segment of a path, and the rest behind it.
fn first(path: &str) -> (&str, Option<&str>) {
    // Segments are short: a search by bytes is faster than one for a text.
    match path.bytes().position(|byte| byte == b'/') {
        Some(end) => (path.get(..end).unwrap_or_default(), path.get(end + 1..)),
        None => (path, None),
    }
}

/// Matches one segment. The pieces between the stars must occur in the text in their order, the
/// first at its start and the last at its end.
fn segment_matches(pattern: &str, text: &str) -> bool {
    if !pattern.bytes().any(|byte| byte == b'*') {
        return pattern == text;
    }
    let mut pieces = pattern.split('*');
    let Some(mut text) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else { return text.is_empty() };
    let Some(between) = text.strip_suffix(last) else { return false };
    text = between;
    pieces.all(|piece| text.split_once(piece).map(|(_, after)| text = after).is_some())
}

#[cfg(test)]
mod tests;
