//! The tag rules of a project, as GitLab writes them into a token (`access[].meta`) for its own
//! registry to enforce. Pure.
//!
//! The registry behind the gate may not know these rules, so the gate enforces them. A rule that
//! cannot be interpreted with certainty forbids everything that it could forbid.

mod pattern;

use serde_json::{Map, Value};

use crate::denial::TagRefusal;
use crate::registry::{Access, Action, Reference, RegistryRequest, Tag};
pub use pattern::PatternError;

/// The largest number of patterns in one list. GitLab allows at most ten rules per project.
const MAX_PATTERNS: usize = 64;

/// The tag rules of the project of one repository. The type is small, because it is kept with each
/// cached grant; patterns are compiled only when a tag is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TagRules {
    /// No rules, or the question was about nothing that rules could forbid.
    #[default]
    None,
    /// Rules that cannot be interpreted: pushing and deleting are forbidden.
    Unreadable,
    /// Rules that were read.
    Patterns(Box<TagPatterns>),
}

/// Regular expressions in RE2 syntax. They match anywhere in a tag and are case-sensitive. Each one
/// compiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        "{0:?} is none of tag_deny_access_patterns and tag_immutable_patterns, which are all that is known"
    )]
    UnknownKey(String),
    #[error("tag_deny_access_patterns is for push and delete, and has {0:?}")]
    UnknownAction(String),
    #[error("{0} is of a type that it should not be")]
    WrongType(&'static str),
    #[error("a list of more than {MAX_PATTERNS} patterns")]
    TooMany,
    #[error("pattern {0:?}: {1}")]
    Pattern(String, PatternError),
}

impl TagRules {
    /// Reads the rules in the entries of a token that are about one repository.
    ///
    /// # Errors
    /// [`UnreadableRules`] if anything is not understood. The caller should then use
    /// [`Unreadable`](Self::Unreadable).
    pub fn read<'a>(metas: impl IntoIterator<Item = &'a Value>) -> Result<Self, UnreadableRules> {
        let mut patterns = TagPatterns::default();
        for meta in metas {
            patterns.add(meta)?;
        }
        patterns.check()?;
        let none = patterns == TagPatterns::default();
        Ok(if none { Self::None } else { Self::Patterns(Box::new(patterns)) })
    }

    /// Returns the heap memory that the patterns take, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let Self::Patterns(patterns) = self else { return 0 };
        let lists = [&patterns.push, &patterns.delete, &patterns.immutable];
        let texts = lists.into_iter().flatten().map(|pattern| size_of_val(pattern) + pattern.len());
        size_of_val(&**patterns) + texts.sum::<usize>()
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
        match self {
            Self::None => Ok(Vec::new()),
            Self::Unreadable => Err(TagRefusal::Unreadable),
            Self::Patterns(patterns) => match request {
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

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn put(target: &str) -> RegistryRequest {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        RegistryRequest::parse(&Method::PUT, path, query).unwrap()
    }

    fn request(method: Method, path: &str) -> RegistryRequest {
        RegistryRequest::parse(&method, path, None).unwrap()
    }

    fn rules(meta: Value) -> TagRules {
        TagRules::read([&meta]).unwrap()
    }

    fn tags(words: &[&str]) -> Vec<Tag> {
        words.iter().map(|word| Tag::parse(word).unwrap()).collect()
    }

    #[test]
    fn every_tag_of_a_push_counts() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let rules = rules(json!({
            "project_path": "demo/a",
            "tag_deny_access_patterns": { "push": ["^prod"], "delete": ["keep"] },
            "tag_immutable_patterns": ["^v\\d+$"],
        }));
        let refused =
            |tag: &str| Err(TagRefusal::Protected(Tag::parse(tag).unwrap(), Action::Push));
        for (target, expected) in [
            ("prod-1".to_owned(), refused("prod-1")),
            ("Prod-1".into(), Ok(vec![])),
            ("keep".into(), Ok(vec![])),
            ("v1".into(), Ok(tags(&["v1"]))),
            (digest.clone(), Ok(vec![])),
            (format!("{digest}?tag=a&tag=v1&tag=v2"), Ok(tags(&["v1", "v2"]))),
            (format!("{digest}?tag=v1&tag=prod"), refused("prod")),
        ] {
            assert_eq!(
                rules.check(&put(&format!("/v2/a/manifests/{target}"))),
                expected,
                "{target}"
            );
        }
    }

    #[test]
    fn deletes_by_tag_and_by_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let delete = |meta: Value, target: &str| {
            rules(meta).check(&request(Method::DELETE, &format!("/v2/a/{target}")))
        };
        let keep = || json!({ "tag_deny_access_patterns": { "delete": ["keep"] } });
        let immutable = || json!({ "tag_immutable_patterns": ["^v"] });
        let push_alone = || json!({ "tag_deny_access_patterns": { "push": ["."], "delete": [] } });
        let (manifest, blob) = (format!("manifests/{digest}"), format!("blobs/{digest}"));
        let tag = |text| Tag::parse(text).unwrap();
        let protected = Err(TagRefusal::Protected(tag("to-keep-it"), Action::Delete));
        for (meta, target, expected) in [
            (keep(), "manifests/to-keep-it", protected),
            (keep(), "manifests/other", Ok(vec![])),
            (keep(), &*manifest, Err(TagRefusal::DeleteByDigest)),
            (keep(), &*blob, Err(TagRefusal::DeleteByDigest)),
            (immutable(), "manifests/v1", Err(TagRefusal::Immutable(tag("v1"), Action::Delete))),
            (immutable(), "manifests/latest", Ok(vec![])),
            (immutable(), &*manifest, Err(TagRefusal::DeleteByDigest)),
            (push_alone(), &*manifest, Ok(vec![])),
            (push_alone(), "manifests/latest", Ok(vec![])),
            (json!({}), &*blob, Ok(vec![])),
        ] {
            assert_eq!(delete(meta.clone(), target), expected, "{meta} {target}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for meta in [
            json!([]),
            json!("x"),
            json!({ "tag_new_rules": [] }),
            json!({ "tag_new_rules": null }),
            json!({ "tag_deny_access_patterns": [] }),
            json!({ "tag_deny_access_patterns": { "push": "^v" } }),
            json!({ "tag_deny_access_patterns": { "push": [1] } }),
            json!({ "tag_deny_access_patterns": { "pull": ["x"] } }),
            json!({ "tag_immutable_patterns": {} }),
            json!({ "tag_immutable_patterns": ["("] }),
            json!({ "tag_immutable_patterns": ["a", "[b-["] }),
            json!({ "tag_immutable_patterns": vec!["a"; MAX_PATTERNS + 1] }),
        ] {
            assert!(TagRules::read([&meta]).is_err(), "{meta}");
        }
        assert!(
            TagRules::read([&json!({ "tag_immutable_patterns": vec!["a"; MAX_PATTERNS] })]).is_ok()
        );
        for meta in
            [json!(null), json!({}), json!({ "project_id": 7, "tag_immutable_patterns": null })]
        {
            assert_eq!(TagRules::read([&meta]).unwrap(), TagRules::None, "{meta}");
        }
    }

    #[test]
    fn an_error_writes_no_line_of_its_own() {
        let odd = "(\n\u{1b}[31m";
        for meta in [
            json!({ format!("tag_{odd}"): [] }),
            json!({ "tag_deny_access_patterns": { odd: [] } }),
            json!({ "tag_immutable_patterns": [odd] }),
        ] {
            let message = TagRules::read([&meta]).unwrap_err().to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_forbids_writes_and_no_reads() {
        for (method, path, allowed) in [
            (Method::GET, "/v2/a/manifests/v1", true),
            (Method::GET, "/v2/a/tags/list", true),
            (Method::PUT, "/v2/a/manifests/v1", false),
            (Method::POST, "/v2/a/blobs/uploads/", false),
            (Method::DELETE, "/v2/a/manifests/v1", false),
        ] {
            assert_eq!(
                TagRules::Unreadable.check(&request(method, path)).is_ok(),
                allowed,
                "{path}"
            );
        }
    }

    #[test]
    fn the_rules_of_several_entries_add_up() {
        let (one, two) = (
            json!({ "tag_immutable_patterns": ["^a"] }),
            json!({ "tag_immutable_patterns": ["^b"] }),
        );
        let rules = TagRules::read([&one, &two]).unwrap();
        assert_eq!(rules.check(&put("/v2/a/manifests/a")), Ok(tags(&["a"])));
        assert_eq!(rules.check(&put("/v2/a/manifests/b")), Ok(tags(&["b"])));
    }

    #[test]
    fn each_list_is_told_by_what_it_forbids() {
        let TagRules::Patterns(patterns) = rules(json!({
            "tag_deny_access_patterns": { "push": ["p"], "delete": ["d"] },
            "tag_immutable_patterns": ["i"],
        })) else {
            panic!("no patterns")
        };
        let told =
            patterns.lists().map(|(what, patterns)| format!("{what}: {}", patterns.join(" ")));
        assert_eq!(told, ["protected from push: p", "protected from delete: d", "immutable: i"]);
    }

    #[test]
    fn a_grant_without_rules_stays_small() {
        assert!(size_of::<TagRules>() <= 16);
        assert_eq!(TagRules::Unreadable.heap_bytes(), 0);
        let taken = rules(json!({ "tag_immutable_patterns": ["a".repeat(500)] })).heap_bytes();
        assert!((500..1000).contains(&taken), "{taken}");
    }
}
