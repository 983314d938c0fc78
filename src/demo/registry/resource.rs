//! The resource that a path names.
//!
//! This module does not use the gate's parser, because the tests judge the gate by what the
//! registry receives. A stand-in that shared the gate's mistakes could not reveal them.

use http::StatusCode;

use super::refusal::Refusal;
use crate::registry::{Digest, Reference, RepositoryName};

/// The resource that a path names, independent of the method.
pub(super) enum Resource {
    Base,
    Catalog,
    Tags(String),
    Referrers(String, Digest),
    Manifest(String, Reference),
    Blob(String, Digest),
    Uploads(String),
    Upload(String, String),
}

impl Resource {
    /// Parses a path from the right, because a repository name may contain the segments `blobs`,
    /// `manifests`, `tags` and `uploads`.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let nothing = || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "UNSUPPORTED",
                format!("there is nothing at {path}"),
            )
        };
        let path = path.strip_prefix("/v2/").ok_or_else(nothing)?;
        if path.is_empty() {
            return Ok(Self::Base);
        }
        if path == "_catalog" {
            return Ok(Self::Catalog);
        }
        let mut segments = path.rsplitn(4, '/');
        let (last, kind, above, further) =
            (segments.next(), segments.next(), segments.next(), segments.next());
        let (Some(last), Some(kind), Some(above)) = (last, kind, above) else {
            return Err(nothing());
        };
        // The name is everything before the last two segments, or the last three for an upload.
        let name = || match further {
            Some(further) => repository(&format!("{further}/{above}")),
            None => repository(above),
        };
        match (kind, last) {
            ("tags", "list") => Ok(Self::Tags(name()?)),
            ("referrers", digest) => Ok(Self::Referrers(name()?, parse_digest(digest)?)),
            ("manifests", reference) => Ok(Self::Manifest(name()?, parse_reference(reference)?)),
            ("blobs", digest) => Ok(Self::Blob(name()?, parse_digest(digest)?)),
            ("uploads", id) if above == "blobs" => {
                let name = repository(further.ok_or_else(nothing)?)?;
                Ok(if id.is_empty() { Self::Uploads(name) } else { Self::Upload(name, id.into()) })
            }
            _ => Err(nothing()),
        }
    }
}

/// Parses a digest in a path or a query.
pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("{text:?} is not a digest"))
    })
}

fn repository(text: &str) -> Result<String, Refusal> {
    let invalid = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "NAME_INVALID",
            format!("{text:?} is not a repository name"),
        )
    };
    RepositoryName::parse(text).map(|name| name.as_str().to_owned()).ok_or_else(invalid)
}

fn parse_reference(text: &str) -> Result<Reference, Refusal> {
    let invalid = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "MANIFEST_INVALID",
            format!("{text:?} is neither a tag nor a digest"),
        )
    };
    Reference::parse(text).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_may_contain_path_words_of_the_api() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for name in ["a", "a/b", "blobs/uploads", "x/manifests/tags/y", "blobs"] {
            let named = |rest: &str| Resource::parse(&format!("/v2/{name}/{rest}"));
            let blob = format!("blobs/{digest}");
            assert!(matches!(named("tags/list"), Ok(Resource::Tags(found)) if found == name));
            assert!(
                matches!(named("manifests/list"), Ok(Resource::Manifest(found, _)) if found == name)
            );
            assert!(matches!(named(&blob), Ok(Resource::Blob(found, _)) if found == name));
            assert!(
                matches!(named("blobs/uploads/"), Ok(Resource::Uploads(found)) if found == name)
            );
            let Ok(Resource::Upload(found, id)) = named("blobs/uploads/1") else {
                panic!("{name} is not an upload")
            };
            assert_eq!((found.as_str(), id.as_str()), (name, "1"));
        }
    }

    #[test]
    fn paths_that_name_no_resource_are_refused() {
        for path in [
            "/",
            "/v2",
            "/v2/a",
            "/v2/a/b",
            "/v2/a/b/c",
            "/v2/uploads/x",
            "/v2/blobs/uploads/x",
            "/v2/A/tags/list",
        ] {
            assert!(Resource::parse(path).is_err(), "{path}");
        }
    }
}
