//! One upload in progress: a file that grows chunk by chunk. Each chunk is stored completely or not
//! at all.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::StatusCode;
use http::header::RANGE;
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::hash;
use super::range::held;
use super::received::RequestBody;
use super::refusal::Refusal;
use crate::demo::web;
use crate::registry::Digest;

/// An upload in progress.
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) repository: String,
    /// The `_state` that the query of every request must carry, as written in the `Location`.
    state: String,
    data: Arc<Mutex<Data>>,
}

/// The data that has arrived. A writer holds the lock until its write has reached the file, even if
/// its request has ended before. A broken chunk can therefore not write into the chunk that
/// replaces it.
struct Data {
    /// The file with the data. `None` after it has become a blob.
    file: Option<NamedTempFile>,
    /// The length of the valid part of the file, in bytes: the chunks that were complete.
    committed: u64,
    /// The hash of the valid part.
    sha256: Context,
}

impl Upload {
    pub(super) fn new(repository: &str, file: NamedTempFile) -> io::Result<Self> {
        let data = Data { file: Some(file), committed: 0, sha256: Context::new(&SHA256) };
        // The state contains characters that a faulty proxy would change: decoding or encoding an
        // escape twice gives another value.
        let state = format!("{}-_.~=%2B%2F%3D%253D", web::uuid()?);
        Ok(Self {
            id: web::uuid()?,
            repository: repository.into(),
            state,
            data: Arc::new(Mutex::new(data)),
        })
    }

    /// Returns the path and query of the upload.
    pub(super) fn target(&self) -> String {
        format!("/v2/{}/blobs/uploads/{}?_state={}", self.repository, self.id, self.state)
    }

    /// Returns whether a client sent the state back. The decoded values are compared, because
    /// clients may escape a query in their own way.
    pub(super) fn has_state(&self, state: Option<&str>) -> bool {
        let query =
            web::Query::parse(Some(self.target().split_once('?').map_or("", |(_, query)| query)));
        state.is_some() && query.first("_state") == state
    }

    /// Returns the number of valid bytes.
    pub(super) async fn length(&self) -> u64 {
        self.data.lock().await.committed
    }

    /// Appends a body, which must fill `range` if there is one. Returns the new number of bytes.
    pub(super) async fn append(
        &self,
        body: &mut RequestBody,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<u64, Refusal> {
        let mut data = Arc::clone(&self.data).lock_owned().await;
        if range.as_ref().is_some_and(|range| *range.start() != data.committed) {
            let message = format!("the next chunk must begin at byte {}", data.committed);
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                message,
            )
            .with(RANGE, held(data.committed)));
        }
        let (mut end, mut sha256) = (data.committed, data.sha256.clone());
        while let Some(bytes) = body.chunk().await? {
            let length = bytes.len() as u64;
            (data, sha256) = write(data, sha256, bytes, end).await?;
            end += length;
        }
        if range.is_some_and(|range| *range.end() + 1 != end) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "SIZE_INVALID",
                "the chunk and its Content-Range differ in length",
            ));
        }
        (data.committed, data.sha256) = (end, sha256);
        Ok(end)
    }

    /// Returns the file if its content has this digest.
    pub(super) async fn finish(&self, digest: &Digest) -> Result<NamedTempFile, Refusal> {
        let mut data = Arc::clone(&self.data).lock_owned().await;
        let digest = digest.clone();
        blocking(move || {
            let file = data.file.take().ok_or_else(Refusal::upload_unknown)?;
            // A broken chunk may have left bytes after the end.
            file.as_file().set_len(data.committed)?;
            let actual = match digest.as_str().starts_with("sha256:") {
                true => hash::sha256_of(data.sha256.clone()),
                false => hash::of_reader(File::open(file.path())?, &digest)?,
            };
            if actual == digest.as_str() {
                return Ok(file);
            }
            Err(Refusal::digest_invalid(format!(
                "the digest of the content is {actual}, not {}",
                digest.as_str()
            )))
        })
        .await
    }
}

type Writing = (OwnedMutexGuard<Data>, Context);

/// Writes and hashes bytes on a blocking thread.
async fn write(
    data: OwnedMutexGuard<Data>,
    mut sha256: Context,
    bytes: Bytes,
    at: u64,
) -> Result<Writing, Refusal> {
    blocking(move || {
        let file = data.file.as_ref().ok_or_else(Refusal::upload_unknown)?;
        file.as_file().write_all_at(&bytes, at)?;
        sha256.update(&bytes);
        Ok((data, sha256))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
