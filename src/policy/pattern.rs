//! Patterns of repositories and tags: `*` stands for anything within a segment, `**` for one
//! segment or more, and `${user}` and `${claims.NAME}` for what the caller's provider says of the
//! caller.
//!
//! Matching takes at most the product of both lengths, whatever the pattern.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use crate::identity::Verified;
use crate::registry::{RepositoryName, Tag};

/// A pattern that some repository name matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPattern {
    /// A text, then a template and the text behind it, and so on.
    start: Box<str>,
    rest: Box<[(Template, Box<str>)]>,
}

/// What a pattern takes from the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Template {
    /// `${user}`
    User,
    /// `${claims.NAME}`
    Claim(Box<str>),
}

/// A pattern of tags, which have no segments: `*` is all that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Box<str>);

impl RepositoryPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right: a template that is not known, or that no
    /// repository name can match the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = text.split("${");
        let start = pieces.next().unwrap_or_default();
        let mut rest = Vec::new();
        for piece in pieces {
            let (name, after) =
                piece.split_once('}').ok_or("`${` has no `}`; write ${user} or ${claims.NAME}")?;
            let template = match name.strip_prefix("claims.") {
                Some(claim) if !claim.is_empty() => Template::Claim(claim.into()),
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
        // The most harmless stand-in: where a name with it breaks the grammar, it does so with
        // everything.
        let with_stand_ins = pattern.with(|_| Some("x".into())).unwrap_or_default();
        can_match(&with_stand_ins)?;
        Ok(pattern)
    }

    /// Whether a repository matches for this caller. What takes nothing from the caller allocates
    /// nothing.
    pub fn matches(&self, repository: &RepositoryName, caller: &Verified) -> bool {
        let pattern = if self.rest.is_empty() {
            Some(Cow::Borrowed(&*self.start))
        } else {
            self.with(|template| template.value(caller)).map(Cow::Owned)
        };
        pattern.is_some_and(|pattern| path_matches(&pattern, repository.as_str()))
    }

    /// Whether it takes the caller's name.
    pub fn takes_user(&self) -> bool {
        self.rest.iter().any(|(template, _)| *template == Template::User)
    }

    /// Whether it takes a claim of the caller's.
    pub fn takes_claims(&self) -> bool {
        self.rest.iter().any(|(template, _)| matches!(template, Template::Claim(_)))
    }

    /// Whether it is `**`, which every repository matches.
    pub fn is_everything(&self) -> bool {
        &*self.start == "**" && self.rest.is_empty()
    }

    /// The pattern with values in place of its templates; `None` where one has none.
    fn with(&self, value: impl Fn(&Template) -> Option<String>) -> Option<String> {
        let mut text = self.start.to_string();
        for (template, after) in &self.rest {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{after}", value(template)?);
        }
        Some(text)
    }
}

impl Template {
    /// What stands for it: part of a name, and so never a pattern. Repository names are lower case.
    /// A user whose provider tells case apart stands as it is, or two users would have one
    /// place; one in upper case is no path then.
    fn value(&self, caller: &Verified) -> Option<String> {
        let value = match self {
            // The user of a job is whoever started it, and the subject of nobody is empty.
            Self::User if caller.principal.is_job() => return None,
            Self::User => {
                let user = Some(&*caller.principal.subject).filter(|user| !user.contains('/'))?;
                if caller.principal.source.folds_case {
                    user.to_ascii_lowercase()
                } else {
                    user.to_owned()
                }
            }
            Self::Claim(name) => match caller.attributes.as_ref()?.claims.get(&**name)? {
                Value::String(text) => text.to_ascii_lowercase(),
                _ => return None,
            },
        };
        RepositoryName::parse(&value).map(|_| value)
    }
}

impl TagPattern {
    /// Every tag.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// That no tag can match it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("**") {
            return Err("tags have no segments; write one *".to_owned());
        }
        match Tag::parse(&text.replace('*', "x")) {
            Some(_) => Ok(Self(text.into())),
            None => {
                Err("no tag is like this; write letters, digits, `_`, `.`, `-` and *, e.g. v* or latest".to_owned())
            }
        }
    }

    /// Whether a tag matches.
    pub fn matches(&self, tag: &Tag) -> bool {
        segment_matches(&self.0, tag.as_str())
    }
}

/// Says why no repository name could match a pattern without templates.
fn can_match(pattern: &str) -> Result<(), String> {
    if let Some(sign) = pattern.chars().find(|c| "?[]{}!".contains(*c)) {
        return Err(format!(
            "`{sign}` stands for nothing here; the signs are * (within a segment) and ** (across)"
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
        None => Err("no repository name is like this; write segments of a-z 0-9 with one . _ __ or - between, \
                     e.g. group/app-*"
            .to_owned()),
    }
}

/// Segment by segment. Where it goes wrong, the last `**` takes one segment more.
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

/// The first segment, and what comes behind it.
fn first(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

/// The pieces between the stars stand in the text in their order, the first at its start and the
/// last at its end.
fn segment_matches(pattern: &str, text: &str) -> bool {
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
