//! The parser for request lines: it accepts one spelling of each operation and refuses everything
//! else.

use std::borrow::Cow;

use http::Method;

use super::query::{OpaqueQuery, Query};
use super::reference::UploadCollection;
use super::{
    Algorithm, Digest, Mount, Page, Reference, RegistryRequest, RepositoryName, Tag, UploadPath,
};

/// The largest number of tags that one PUT by digest may write. Each tag may have to be looked up,
/// or checked by a policy, on its own.
const MAX_TAGS: usize = 64;

/// The reason why a request line is not an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("no registry has this operation")]
    NoSuchOperation,
    #[error("this path takes {allow}")]
    MethodNotAllowed { allow: &'static str },
    #[error(
        "the repository name is not valid; write lower-case letters and digits, joined by '.', \
         '_', '__' or '-', in segments between '/', 255 bytes at most"
    )]
    NameInvalid,
    #[error(
        "the reference of the manifest is not valid; write a tag \
         ([a-zA-Z0-9_][a-zA-Z0-9._-]{{0,127}}) or a digest (sha256:…)"
    )]
    ReferenceInvalid,
    #[error(
        "the digest is not valid; write an algorithm, a colon and the encoded hash, such as sha256 \
         with 64 lower-case hexadecimal digits"
    )]
    DigestInvalid,
    #[error("'digest-algorithm' must be the name of a digest algorithm, such as sha256")]
    AlgorithmInvalid,
    #[error("this is not the path of an upload that the registry started")]
    UploadInvalid,
    #[error("'n' must be a number of entries")]
    PageInvalid,
    #[error("at most {MAX_TAGS} tags can be written at once")]
    TooManyTags,
    #[error("'{0}' occurs more than once in the query")]
    QueryRepeated(&'static str),
    #[error(
        "the query has an invalid escape; an escape is a percent sign and two hexadecimal digits"
    )]
    QueryEscape,
    #[error("the query has a ';'; join parameters with '&', and write a ';' in a value as %3B")]
    QuerySemicolon,
    #[error(
        "a key of the query is another spelling of '{0}'; write '{0}', without escapes, capitals, \
         spaces or brackets"
    )]
    QueryKey(&'static str),
    #[error("the query has a character that RFC 3986 does not allow there; write it as %XX")]
    QueryCharacter,
}

impl RegistryRequest {
    /// Parses a method, path and query. Query keys that the operation does not know are forwarded
    /// unchanged for lists and for uploads in progress, because registries keep their state there.
    /// For other operations they are dropped.
    ///
    /// # Errors
    /// [`RequestError`] if the request line is not exactly one operation in its one accepted
    /// spelling.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, RequestError> {
        let resource = Resource::parse(path)?;
        let query = Query::parse(query)?;
        let request = resource.operation(method, &query)?;
        query.check_keys()?;
        Ok(request)
    }
}

/// The resource that a path names, before the method decides the operation.
enum Resource {
    Base,
    Catalog,
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    Manifest(RepositoryName, Reference),
    Blob(RepositoryName, Digest),
    Uploads(RepositoryName),
    Upload(RepositoryName, UploadPath),
}

impl Resource {
    /// Parses a path from the right, because a name may itself contain the words `blobs`,
    /// `manifests`, `tags` and `uploads`.
    fn parse(path: &str) -> Result<Self, RequestError> {
        let path = path.strip_prefix("/v2/").ok_or(RequestError::NoSuchOperation)?;
        if path.is_empty() {
            return Ok(Self::Base);
        }
        if path == "_catalog" {
            return Ok(Self::Catalog);
        }
        if let Some(name) = path.strip_suffix("/tags/list") {
            return Ok(Self::Tags(parse_name(name)?));
        }
        if let Some(name) = path.strip_suffix("/blobs/uploads/") {
            return Ok(Self::Uploads(parse_name(name)?));
        }
        let (rest, last) = path.rsplit_once('/').ok_or(RequestError::NoSuchOperation)?;
        let (name, kind) = rest.rsplit_once('/').ok_or(RequestError::NoSuchOperation)?;
        match kind {
            "manifests" => Ok(Self::Manifest(
                parse_name(name)?,
                Reference::parse(last).ok_or(RequestError::ReferenceInvalid)?,
            )),
            "blobs" => Ok(Self::Blob(parse_name(name)?, parse_digest(last)?)),
            "referrers" => Ok(Self::Referrers(parse_name(name)?, parse_digest(last)?)),
            _ if let Some(name) = name.strip_suffix("/blobs")
                && let Some(collection) = UploadCollection::parse(kind) =>
            {
                let upload = UploadPath::parse(collection, last);
                Ok(Self::Upload(parse_name(name)?, upload.ok_or(RequestError::UploadInvalid)?))
            }
            // If the path contains characters that no name allows, this error helps more than "no
            // such operation".
            _ if RepositoryName::parse(path).is_none() => Err(RequestError::NameInvalid),
            _ => Err(RequestError::NoSuchOperation),
        }
    }

    fn operation(
        self,
        method: &Method,
        query: &Query<'_>,
    ) -> Result<RegistryRequest, RequestError> {
        let not_allowed = |allow| Err(RequestError::MethodNotAllowed { allow });
        let head = method == Method::HEAD;
        Ok(match (self, method.as_str()) {
            (Self::Base, "GET" | "HEAD") => RegistryRequest::Ping,
            (Self::Base, _) => return not_allowed("GET, HEAD"),

            (Self::Catalog, "GET") => {
                let page =
                    Page { last: query.value("last")?.map(Into::into), count: count(query)? };
                RegistryRequest::Catalog { page, query: list(query)? }
            }
            (Self::Catalog, _) => return not_allowed("GET"),

            (Self::Tags(name), "GET") => RegistryRequest::Tags { name, query: list(query)? },
            (Self::Tags(_), _) => return not_allowed("GET"),

            (Self::Referrers(name, digest), "GET") => {
                query.value("artifactType")?;
                RegistryRequest::Referrers { name, digest, query: list(query)? }
            }
            (Self::Referrers(..), _) => return not_allowed("GET"),

            (Self::Manifest(name, reference), "GET" | "HEAD") => {
                RegistryRequest::ManifestGet { name, reference, head }
            }
            (Self::Manifest(name, reference), "PUT") => {
                let tags = if matches!(reference, Reference::Digest(_)) {
                    parse_tags(query)?
                } else {
                    Vec::new()
                };
                RegistryRequest::ManifestPut { name, reference, tags }
            }
            (Self::Manifest(name, reference), "DELETE") => {
                RegistryRequest::ManifestDelete { name, reference }
            }
            (Self::Manifest(..), _) => return not_allowed("GET, HEAD, PUT, DELETE"),

            (Self::Blob(name, digest), "GET" | "HEAD") => {
                RegistryRequest::BlobGet { name, digest, head }
            }
            (Self::Blob(name, digest), "DELETE") => RegistryRequest::BlobDelete { name, digest },
            (Self::Blob(..), _) => return not_allowed("GET, HEAD, DELETE"),

            (Self::Uploads(name), "POST") => RegistryRequest::UploadStart {
                name,
                digest: optional_digest(query, "digest")?,
                algorithm: parse_algorithm(query)?,
                mount: Mount::parse(query)?,
            },
            (Self::Uploads(_), _) => return not_allowed("POST"),

            (Self::Upload(name, upload), "PATCH") => {
                RegistryRequest::UploadChunk { name, upload, query: query.opaque(&[], &[])? }
            }
            (Self::Upload(name, upload), "PUT") => {
                let digest = optional_digest(query, "digest")?;
                let written = [("digest", digest.as_ref().map(Digest::as_str))];
                let query = query.opaque(&["digest"], &written)?;
                RegistryRequest::UploadFinish { name, upload, query, digest }
            }
            (Self::Upload(name, upload), "GET" | "HEAD") => {
                RegistryRequest::UploadStatus { name, upload, query: query.opaque(&[], &[])?, head }
            }
            (Self::Upload(name, upload), "DELETE") => {
                RegistryRequest::UploadCancel { name, upload, query: query.opaque(&[], &[])? }
            }
            (Self::Upload(..), _) => return not_allowed("GET, HEAD, PATCH, PUT, DELETE"),
        })
    }
}

fn parse_name(text: &str) -> Result<RepositoryName, RequestError> {
    RepositoryName::parse(text).ok_or(RequestError::NameInvalid)
}

fn parse_digest(text: &str) -> Result<Digest, RequestError> {
    Digest::parse(text).ok_or(RequestError::DigestInvalid)
}

fn optional_digest(query: &Query<'_>, key: &'static str) -> Result<Option<Digest>, RequestError> {
    query.value(key)?.map(|text| parse_digest(&text)).transpose()
}

fn parse_tags(query: &Query<'_>) -> Result<Vec<Tag>, RequestError> {
    let tags =
        query.values("tag").map(|tag| Tag::parse(&tag?).ok_or(RequestError::ReferenceInvalid));
    let tags: Vec<_> = tags.collect::<Result<_, _>>()?;
    if tags.len() > MAX_TAGS { Err(RequestError::TooManyTags) } else { Ok(tags) }
}

impl Mount {
    /// Parses a mount, which needs both the blob *and* its repository. An incomplete mount is
    /// dropped: some registries search all repositories for a `mount` without `from` and so hand
    /// out private blobs.
    fn parse(query: &Query<'_>) -> Result<Option<Self>, RequestError> {
        let digest = optional_digest(query, "mount")?;
        query.once("from")?;
        // Without a valid source the request goes on as a plain upload, which every client expects
        // as the fallback (OCI distribution spec, "Mounting a blob from another repository").
        let from = query.value("from").unwrap_or_default();
        let from = from.and_then(|text| RepositoryName::parse(&text));
        Ok(digest.zip(from).map(|(digest, from)| Self { digest, from }))
    }
}

/// Returns the query to send upstream for a list.
fn list(query: &Query<'_>) -> Result<OpaqueQuery, RequestError> {
    count(query)?;
    query.value("last")?;
    query.opaque(&["n", "last", "artifactType"], &[])
}

/// Parses the largest number of entries that a list is asked for.
fn count(query: &Query<'_>) -> Result<Option<u32>, RequestError> {
    query.value("n")?.map(|text| parse_count(&text)).transpose()
}

fn parse_algorithm(query: &Query<'_>) -> Result<Option<Algorithm>, RequestError> {
    let parse = |text: Cow<'_, str>| Algorithm::parse(&text).ok_or(RequestError::AlgorithmInvalid);
    query.value("digest-algorithm")?.map(parse).transpose()
}

/// Parses a count. Only digits are accepted; `str::parse` would also accept a sign.
fn parse_count(text: &str) -> Result<u32, RequestError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(RequestError::PageInvalid)
}

#[cfg(test)]
mod tests;
