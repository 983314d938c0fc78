//! Manifests: small JSON documents that reference blobs or other manifests. Their bodies are the
//! only ones kept in memory.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde::Deserialize;

use super::hash;
use super::refusal::Refusal;
use super::store::{Index, Manifest};
use super::{Answer, CONTENT_DIGEST, Exchange};
use crate::demo::web;
use crate::registry::{Reference, Tag};

/// The largest manifest, in bytes. The OCI distribution spec requires registries to accept at least
/// this size.
const MAX_SIZE: usize = 4 * 1024 * 1024;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Exchange<'_> {
    pub(super) fn manifest_get(self, name: &str, reference: &Reference) -> Answer {
        let found = self.store.with(|index| {
            let repository = index.repositories.get(name)?;
            let digest = repository.resolve(reference.as_str())?;
            let manifest = repository.manifests.get(&digest)?.clone();
            Some((digest, manifest))
        });
        let (digest, manifest) = found.ok_or_else(|| unknown(reference))?;
        let length = manifest.content.len().to_string();
        let headers = [
            (CONTENT_TYPE, &*manifest.content_type),
            (CONTENT_LENGTH, &length),
            (CONTENT_DIGEST, &digest),
        ];
        let body = if self.is_head() { Bytes::new() } else { manifest.content.clone() };
        Ok(web::answer(StatusCode::OK, &headers, web::body(body)))
    }

    pub(super) async fn manifest_put(mut self, name: &str, reference: &Reference) -> Answer {
        let content = self.small_body().await?;
        let (digest, tags) = match reference {
            Reference::Tag(tag) => (hash::sha256(&content), vec![tag.as_str().to_owned()]),
            Reference::Digest(expected) => {
                let digest = hash::of_bytes(&content, expected)?;
                if digest != expected.as_str() {
                    return Err(Refusal::digest_invalid(format!(
                        "the digest of the manifest is {digest}, not {}",
                        expected.as_str()
                    )));
                }
                (digest, self.tags_of_query()?)
            }
        };
        let fields: Fields =
            serde_json::from_slice(&content).map_err(|error| invalid(error.to_string()))?;
        let manifest = self.manifest(content, &fields)?;
        let subject = manifest.subject.clone();
        self.store.with(|index| {
            fields.check_references(index, name)?;
            let repository = index.repositories.entry(name.into()).or_default();
            repository.manifests.insert(digest.clone(), manifest);
            repository.tags.extend(tags.iter().map(|tag| (tag.clone(), digest.clone())));
            Ok::<_, Refusal>(())
        })?;

        let location = self.location(&format!("/v2/{name}/manifests/{digest}"));
        let headers = [(LOCATION, &*location), (CONTENT_DIGEST, &digest)];
        let mut response = web::answer(StatusCode::CREATED, &headers, web::body(""));
        if let Some(Ok(subject)) = subject.map(HeaderValue::try_from) {
            response.headers_mut().insert(OCI_SUBJECT, subject);
        }
        if matches!(reference, Reference::Digest(_)) {
            let tags = tags.into_iter().filter_map(|tag| HeaderValue::try_from(tag).ok());
            tags.for_each(|tag| {
                response.headers_mut().append(OCI_TAG, tag);
            });
        }
        Ok(response)
    }

    /// Deletes a tag, or, by digest, a manifest with all its tags.
    pub(super) fn manifest_delete(self, name: &str, reference: &Reference) -> Answer {
        let deleted = self.store.with(|index| {
            let repository = index.repositories.get_mut(name)?;
            match reference {
                Reference::Tag(tag) => repository.tags.remove(tag.as_str()).map(|_| ()),
                Reference::Digest(digest) => {
                    repository.manifests.remove(digest.as_str())?;
                    repository.tags.retain(|_, tagged| tagged != digest.as_str());
                    Some(())
                }
            }
        });
        deleted.ok_or_else(|| unknown(reference))?;
        Ok(web::answer(StatusCode::ACCEPTED, &[], web::body("")))
    }

    async fn small_body(&mut self) -> Result<Bytes, Refusal> {
        let mut content = BytesMut::new();
        while let Some(bytes) = self.body.chunk().await? {
            if content.len() + bytes.len() > MAX_SIZE {
                let message = format!("a manifest may have at most {MAX_SIZE} bytes");
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "MANIFEST_INVALID",
                    message,
                ));
            }
            content.extend_from_slice(&bytes);
        }
        Ok(content.freeze())
    }

    /// Returns the tags that a PUT by digest also sets.
    fn tags_of_query(&self) -> Result<Vec<String>, Refusal> {
        let tag = |text| Tag::parse(text).map(|tag| tag.as_str().to_owned());
        self.query
            .all("tag")
            .map(|text| tag(text).ok_or_else(|| invalid(format!("{text:?} is not a tag"))))
            .collect()
    }

    fn manifest(&self, content: Bytes, fields: &Fields) -> Result<Manifest, Refusal> {
        let sent_type = self.head.headers.get(CONTENT_TYPE).map(HeaderValue::to_str).transpose();
        let sent_type = sent_type.map_err(|_| invalid("the Content-Type cannot be read"))?;
        let content_type =
            sent_type.or(fields.media_type.as_deref()).unwrap_or(OCI_MANIFEST).to_owned();
        let config_type = fields.config.as_ref().and_then(|config| config.media_type.clone());
        Ok(Manifest {
            content_type,
            content,
            subject: fields.subject.as_ref().map(|subject| subject.digest.clone()),
            artifact_type: fields.artifact_type.clone().or(config_type),
            annotations: fields.annotations.clone(),
        })
    }
}

/// The fields of an image manifest or an index that the registry uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    /// Other places that hold the content. If it has any, the registry need not hold it.
    #[serde(default)]
    urls: Vec<String>,
}

impl Fields {
    /// Checks that the repository holds everything that a manifest references. The subject is not
    /// checked, because it may be pushed later.
    fn check_references(&self, index: &Index, name: &str) -> Result<(), Refusal> {
        let blobs =
            self.config.iter().chain(&self.layers).filter(|descriptor| descriptor.urls.is_empty());
        let missing_blob =
            blobs.map(|blob| &blob.digest).find(|digest| !index.has_blob(name, digest));
        let known = |digest: &str| {
            index
                .repositories
                .get(name)
                .is_some_and(|repository| repository.manifests.contains_key(digest))
        };
        let missing_manifest =
            self.manifests.iter().map(|manifest| &manifest.digest).find(|digest| !known(digest));
        match missing_blob.or(missing_manifest) {
            None => Ok(()),
            Some(digest) => {
                let message =
                    format!("the manifest names {digest}, which is not in this repository");
                Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message))
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
}

fn unknown(reference: &Reference) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "MANIFEST_UNKNOWN",
        format!("there is no manifest {reference} in this repository"),
    )
}
