//! The tag rules of a project, as GitLab writes them into a token (`access[].meta`) for its own
//! registry to enforce. Pure.
//!
//! The registry behind the gate may not know these rules, so the gate enforces them. A rule that
//! cannot be interpreted with certainty forbids everything that it could forbid.

mod pattern;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::denial::TagRefusal;
use crate::registry::{Access, Action, Reference, RegistryRequest, Tag};
pub use pattern::PatternError;

/// The largest number of patterns in one list. GitLab allows at most ten rules per project.
const MAX_PATTERNS: usize = 64;

/// The tag rules of the project of one repository. The type is a single pointer, because it is kept
/// with each cached grant; patterns are compiled only when a tag is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagRules {
    /// No rules, or the question was about nothing that rules could forbid.
    #[default]
    None,
    /// The project has rules.
    Of(Box<ProjectRules>),
}

/// The tag rules of a project that has any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectRules {
    /// Rules that cannot be interpreted: pushing and deleting are forbidden.
    Unreadable,
    /// Rules that were read.
    Patterns(TagPatterns),
}

/// Regular expressions in RE2 syntax. They match anywhere in a tag and are case-sensitive. Each one
/// compiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPatterns {
    /// Tags that the credential may not push (`tag_deny_access_patterns.push`).
    push: Vec<Box<str>>,
    /// Tags that the credential may not delete (`tag_deny_access_patterns.delete`).
    delete: Vec<Box<str>>,
    /// Tags that no caller may change or delete once they exist (`tag_immutable_patterns`).
    immutable: Vec<Box<str>>,
}

/// The reason why rules cannot be interpreted. Their text is shown escaped: otherwise, anyone who
/// can change the rules of a project could write lines into the log.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRules {
    #[error(
        "the rule {0:?} is unknown; the gate knows tag_deny_access_patterns and \
         tag_immutable_patterns"
    )]
    UnknownKey(String),
    #[error("tag_deny_access_patterns has {0:?}; only push and delete are known")]
    UnknownAction(String),
    #[error("{0} has the wrong type")]
    WrongType(&'static str),
    #[error("a list has more than {MAX_PATTERNS} patterns")]
    TooMany,
    #[error("pattern {0:?}: {1}")]
    Pattern(String, PatternError),
}

impl TagRules {
    /// Reads the rules in the entries of a token that are about one repository.
    ///
    /// # Errors
    /// [`UnreadableRules`] if anything is not understood. The caller should then use
    /// [`unreadable`](Self::unreadable).
    pub fn read<'a>(metas: impl IntoIterator<Item = &'a Value>) -> Result<Self, UnreadableRules> {
        let mut patterns = TagPatterns::default();
        for meta in metas {
            patterns.add(meta)?;
        }
        patterns.check()?;
        let none = patterns == TagPatterns::default();
        let of = |patterns| Self::Of(Box::new(ProjectRules::Patterns(patterns)));
        Ok(if none { Self::None } else { of(patterns) })
    }

    /// Returns rules that cannot be interpreted.
    pub fn unreadable() -> Self {
        Self::Of(Box::new(ProjectRules::Unreadable))
    }

    /// Returns the heap memory that the patterns take, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let Self::Of(rules) = self else { return 0 };
        let ProjectRules::Patterns(patterns) = &**rules else { return size_of_val(&**rules) };
        let lists = [&patterns.push, &patterns.delete, &patterns.immutable];
        let texts = lists.into_iter().flatten().map(|pattern| size_of_val(pattern) + pattern.len());
        size_of_val(&**rules) + texts.sum::<usize>()
    }

    /// Checks a request against the rules. Returns the tags that the request may write only if they
    /// do not exist in the registry yet.
    ///
    /// # Errors
    /// [`TagRefusal`] if the rules forbid the request regardless of the tags in the registry.
    pub fn check(&self, request: &RegistryRequest) -> Result<Vec<Tag>, TagRefusal> {
        let Access::Repository(_, Action::Push | Action::Delete) = request.required() else {
            return Ok(Vec::new());
        };
        let Self::Of(rules) = self else { return Ok(Vec::new()) };
        match &**rules {
            ProjectRules::Unreadable => Err(TagRefusal::Unreadable),
            ProjectRules::Patterns(patterns) => match request {
                RegistryRequest::ManifestPut { reference, tags, .. } => {
                    patterns.check_push(reference, tags)
                }
                RegistryRequest::ManifestDelete { reference: Reference::Tag(tag), .. } => {
                    patterns.check_delete(tag)
                }
                RegistryRequest::ManifestDelete { .. } | RegistryRequest::BlobDelete { .. } => {
                    patterns.check_delete_by_digest()
                }
                _ => Ok(Vec::new()),
            },
        }
    }
}

impl TagPatterns {
    /// Returns each list with a description of it.
    pub fn lists(&self) -> [(&'static str, &[Box<str>]); 3] {
        let Self { push, delete, immutable } = self;
        [("protected from push", push), ("protected from delete", delete), ("immutable", immutable)]
    }

    fn add(&mut self, meta: &Value) -> Result<(), UnreadableRules> {
        let Some(meta) = object("meta", meta)? else { return Ok(()) };
        for (key, value) in meta.iter().filter(|(key, _)| key.starts_with("tag_")) {
            match key.as_str() {
                "tag_deny_access_patterns" => self.add_denied(value)?,
                "tag_immutable_patterns" => {
                    add("tag_immutable_patterns", &mut self.immutable, value)?
                }
                unknown => return Err(UnreadableRules::UnknownKey(unknown.to_owned())),
            }
        }
        Ok(())
    }

    fn add_denied(&mut self, denied: &Value) -> Result<(), UnreadableRules> {
        let Some(denied) = object("tag_deny_access_patterns", denied)? else { return Ok(()) };
        for (action, value) in denied {
            match action.as_str() {
                "push" => add("tag_deny_access_patterns.push", &mut self.push, value)?,
                "delete" => add("tag_deny_access_patterns.delete", &mut self.delete, value)?,
                unknown => return Err(UnreadableRules::UnknownAction(unknown.to_owned())),
            }
        }
        Ok(())
    }

    /// Checks that each pattern compiles, and each list as a whole.
    fn check(&self) -> Result<(), UnreadableRules> {
        for list in [&self.push, &self.delete, &self.immutable] {
            if list.len() > MAX_PATTERNS {
                return Err(UnreadableRules::TooMany);
            }
            for pattern in list {
                let unreadable = |error| UnreadableRules::Pattern(pattern.to_string(), error);
                pattern::check(pattern).map_err(unreadable)?;
                pattern::compile(std::slice::from_ref(pattern)).map_err(unreadable)?;
            }
            pattern::compile(list)
                .map_err(|error| UnreadableRules::Pattern(list.join(" or "), error))?;
        }
        Ok(())
    }

    fn check_push(&self, reference: &Reference, tags: &[Tag]) -> Result<Vec<Tag>, TagRefusal> {
        let (protected, immutable) = (matcher(&self.push)?, matcher(&self.immutable)?);
        let named = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let mut must_not_exist = Vec::new();
        for tag in named.into_iter().chain(tags) {
            if protected(tag) {
                return Err(TagRefusal::Protected(tag.clone(), Action::Push));
            }
            if immutable(tag) {
                must_not_exist.push(tag.clone());
            }
        }
        Ok(must_not_exist)
    }

    fn check_delete(&self, tag: &Tag) -> Result<Vec<Tag>, TagRefusal> {
        if matcher(&self.delete)?(tag) {
            return Err(TagRefusal::Protected(tag.clone(), Action::Delete));
        }
        if matcher(&self.immutable)?(tag) {
            return Err(TagRefusal::Immutable(tag.clone(), Action::Delete));
        }
        Ok(Vec::new())
    }

    fn check_delete_by_digest(&self) -> Result<Vec<Tag>, TagRefusal> {
        let harmless = self.delete.is_empty() && self.immutable.is_empty();
        if harmless { Ok(Vec::new()) } else { Err(TagRefusal::DeleteByDigest) }
    }
}

/// Returns the object, or `None` for `null`: GitLab's own registry reads `null` as absent.
fn object<'a>(
    name: &'static str,
    value: &'a Value,
) -> Result<Option<&'a Map<String, Value>>, UnreadableRules> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        _ => Err(UnreadableRules::WrongType(name)),
    }
}

fn add(
    name: &'static str,
    patterns: &mut Vec<Box<str>>,
    value: &Value,
) -> Result<(), UnreadableRules> {
    let values = match value {
        Value::Null => return Ok(()),
        Value::Array(values) => values,
        _ => return Err(UnreadableRules::WrongType(name)),
    };
    for value in values {
        patterns.push(value.as_str().ok_or(UnreadableRules::WrongType(name))?.into());
    }
    Ok(())
}

/// Returns a function that tests whether a tag matches one of the patterns, which compiled when
/// they were read.
fn matcher(patterns: &[Box<str>]) -> Result<impl Fn(&Tag) -> bool, TagRefusal> {
    let set = pattern::compile(patterns).map_err(|_| TagRefusal::Unreadable)?;
    Ok(move |tag: &Tag| set.is_match(tag.as_str().as_bytes()))
}
