//! Lists: repositories, tags, and the referrers of a manifest.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, LINK};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::store::Manifest;
use super::{Answer, Exchange};
use crate::demo::web;
use crate::registry::Digest;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Exchange<'_> {
    pub(super) fn catalog(self) -> Answer {
        let names: Vec<String> = self.store.with(|index| {
            let shown = index
                .repositories
                .iter()
                .filter(|(_, repository)| !repository.manifests.is_empty());
            shown.map(|(name, _)| name.clone()).collect()
        });
        self.page("/v2/_catalog", names, |names| json!({ "repositories": names }))
    }

    pub(super) fn tags(self, name: &str) -> Answer {
        let tags = self.store.with(|index| {
            let repository =
                index.repositories.get(name).filter(|repository| !repository.manifests.is_empty());
            repository.map(|repository| repository.tags.keys().cloned().collect())
        });
        let unknown = || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                format!("there is no repository {name}"),
            )
        };
        let tags = tags.ok_or_else(unknown)?;
        self.page(
            &format!("/v2/{name}/tags/list"),
            tags,
            |tags| json!({ "name": name, "tags": tags }),
        )
    }

    /// Lists the referrers of a digest. An unknown digest has an empty list, not a 404.
    pub(super) fn referrers(self, name: &str, digest: &Digest) -> Answer {
        let wanted_type = self.query.first("artifactType");
        let refers = |manifest: &Manifest| {
            manifest.subject.as_deref() == Some(digest.as_str())
                && (wanted_type.is_none() || manifest.artifact_type.as_deref() == wanted_type)
        };
        let manifests: Vec<Value> = self.store.with(|index| {
            let manifests = index
                .repositories
                .get(name)
                .into_iter()
                .flat_map(|repository| &repository.manifests);
            manifests
                .filter(|(_, manifest)| refers(manifest))
                .map(|(digest, manifest)| descriptor(digest, manifest))
                .collect()
        });
        let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let mut headers = vec![(CONTENT_TYPE, INDEX)];
        if wanted_type.is_some() {
            headers.push((FILTERS_APPLIED, "artifactType"));
        }
        Ok(web::answer(StatusCode::OK, &headers, web::body(list.to_string())))
    }

    /// Returns the entries after `last` of a sorted list, at most `n` of them, with a link to the
    /// next page.
    fn page(
        &self,
        path: &str,
        entries: Vec<String>,
        render: impl FnOnce(&[String]) -> Value,
    ) -> Answer {
        let after = self.query.first("last").unwrap_or_default();
        let mut entries: Vec<String> =
            entries.into_iter().filter(|entry| entry.as_str() > after).collect();
        let count = self.query.first("n").map(str::parse).transpose();
        let count = count.map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", "n must be a number of entries")
        })?;
        let more = count.filter(|count| *count < entries.len());
        entries.truncate(count.unwrap_or(usize::MAX));
        let mut response = web::json(StatusCode::OK, &render(&entries));
        if let (Some(count), Some(last)) = (more, entries.last())
            && let Ok(link) = format!("<{path}?last={last}&n={count}>; rel=\"next\"").try_into()
        {
            response.headers_mut().insert(LINK, link);
        }
        Ok(response)
    }
}

fn descriptor(digest: &str, manifest: &Manifest) -> Value {
    let mut descriptor = json!({
        "mediaType": manifest.content_type,
        "digest": digest,
        "size": manifest.content.len(),
    });
    if let Value::Object(fields) = &mut descriptor {
        let artifact_type = manifest.artifact_type.clone().map(Value::String);
        let optional =
            [("artifactType", artifact_type), ("annotations", manifest.annotations.clone())];
        fields.extend(
            optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
    }
    descriptor
}
