//! Uploading a blob: in chunks (POST, PATCH …, PUT), in two steps (POST, PUT), at once (POST with
//! `digest`), or without a transfer if another repository has it (POST with `mount` and `from`).

use std::ops::RangeInclusive;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::{Response, StatusCode};

use super::range::{chunk_range, held};
use super::refusal::Refusal;
use super::resource::parse_digest;
use super::upload::Upload;
use super::{Answer, CONTENT_DIGEST, Exchange};
use crate::demo::web::{self, Body};
use crate::registry::Digest;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Exchange<'_> {
    pub(super) async fn upload_start(mut self, name: &str) -> Answer {
        if let (Some(digest), Some(from)) = (self.query.first("mount"), self.query.first("from"))
            && self.store.mount_blob(name, digest, from)
        {
            return Ok(self.created(name, digest));
        }
        let at_once = self.query.first("digest").map(parse_digest).transpose()?;
        let upload = Upload::new(name, self.store.new_file()?)?;
        if let Some(digest) = at_once {
            upload.append(&mut self.body, None).await?;
            return self.commit(&upload, &digest).await;
        }
        let response = self.progress(StatusCode::ACCEPTED, &upload, 0);
        self.store.with(|index| index.uploads.insert(upload.id.clone(), Arc::new(upload)));
        Ok(response)
    }

    pub(super) async fn upload_chunk(mut self, name: &str, id: &str) -> Answer {
        let upload = self.upload(name, id)?;
        let range = self.chunk_range()?;
        let length = upload.append(&mut self.body, range).await?;
        Ok(self.progress(StatusCode::ACCEPTED, &upload, length))
    }

    pub(super) async fn upload_finish(mut self, name: &str, id: &str) -> Answer {
        let upload = self.upload(name, id)?;
        let digest = self
            .query
            .first("digest")
            .ok_or_else(|| Refusal::digest_invalid("the query names no digest"))?;
        let digest = parse_digest(digest)?;
        let range = self.chunk_range()?;
        upload.append(&mut self.body, range).await?;
        // The upload ends even if the digest does not match, because wrong content is of no use.
        self.store.with(|index| index.uploads.remove(id));
        self.commit(&upload, &digest).await
    }

    pub(super) async fn upload_status(self, name: &str, id: &str) -> Answer {
        let upload = self.upload(name, id)?;
        Ok(self.progress(StatusCode::NO_CONTENT, &upload, upload.length().await))
    }

    pub(super) fn upload_cancel(self, name: &str, id: &str) -> Answer {
        self.upload(name, id)?;
        self.store.with(|index| index.uploads.remove(id));
        Ok(web::answer(StatusCode::NO_CONTENT, &[], web::body("")))
    }

    /// Returns the upload that a request continues.
    fn upload(&self, name: &str, id: &str) -> Result<Arc<Upload>, Refusal> {
        let upload = self.store.with(|index| index.uploads.get(id).cloned());
        let upload = upload
            .filter(|upload| upload.repository == name)
            .ok_or_else(Refusal::upload_unknown)?;
        if upload.has_state(self.query.first("_state")) {
            return Ok(upload);
        }
        Err(Refusal::upload_invalid("the query does not have the _state of the Location"))
    }

    fn chunk_range(&self) -> Result<Option<RangeInclusive<u64>>, Refusal> {
        let Some(header) = self.head.headers.get(CONTENT_RANGE) else { return Ok(None) };
        let range = header.to_str().ok().and_then(chunk_range);
        range
            .map(Some)
            .ok_or_else(|| Refusal::upload_invalid("Content-Range must have the form FIRST-LAST"))
    }

    async fn commit(&self, upload: &Upload, digest: &Digest) -> Answer {
        let file = upload.finish(digest).await?;
        self.store.add_blob(&upload.repository, digest.as_str(), file)?;
        Ok(self.created(&upload.repository, digest.as_str()))
    }

    fn created(&self, name: &str, digest: &str) -> Response<Body> {
        let location = self.location(&format!("/v2/{name}/blobs/{digest}"));
        web::answer(
            StatusCode::CREATED,
            &[(LOCATION, &location), (CONTENT_DIGEST, digest)],
            web::body(""),
        )
    }

    fn progress(&self, status: StatusCode, upload: &Upload, length: u64) -> Response<Body> {
        let location = self.location(&upload.target());
        let headers = [(LOCATION, &*location), (RANGE, &held(length)), (UPLOAD_UUID, &upload.id)];
        web::answer(status, &headers, web::body(""))
    }
}
