//! Blobs: reading them, in whole or in part, and deleting them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

use super::range::Wanted;
use super::refusal::Refusal;
use super::{Answer, CONTENT_DIGEST, Exchange};
use crate::demo::web::{self, Body};
use crate::registry::Digest;

/// The size of the read buffer, in bytes.
const READ: usize = 256 * 1024;

impl Exchange<'_> {
    pub(super) async fn blob_get(self, name: &str, digest: &Digest) -> Answer {
        let digest = digest.as_str();
        let mut file =
            self.store.open_blob(name, digest)?.ok_or_else(|| Refusal::blob_unknown(digest))?;
        let size = file.metadata()?.len();
        let range = self.head.headers.get(RANGE).and_then(|range| range.to_str().ok());
        let (status, first, length) = match Wanted::parse(range, size) {
            Wanted::All => (StatusCode::OK, 0, size),
            Wanted::Part(part) => {
                (StatusCode::PARTIAL_CONTENT, *part.start(), part.end() + 1 - part.start())
            }
            Wanted::Nothing => {
                let refusal = Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    "the range begins after the end of the blob",
                );
                return Err(refusal.with(CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let body = match self.is_head() {
            true => web::body(""),
            false => {
                file.seek(SeekFrom::Start(first))?;
                FileBody::new(file, length).boxed_unsync()
            }
        };
        let mut response = self.blob_answer(status, digest, length, body);
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(range) = format!("bytes {first}-{}/{size}", first + length - 1).try_into()
        {
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
        Ok(response)
    }

    pub(super) fn blob_delete(self, name: &str, digest: &Digest) -> Answer {
        if self.store.delete_blob(name, digest.as_str())? {
            return Ok(web::answer(StatusCode::ACCEPTED, &[], web::body("")));
        }
        Err(Refusal::blob_unknown(digest.as_str()))
    }

    fn blob_answer(
        &self,
        status: StatusCode,
        digest: &str,
        length: u64,
        body: Body,
    ) -> http::Response<Body> {
        let headers = [
            (CONTENT_TYPE, "application/octet-stream"),
            (CONTENT_LENGTH, &*length.to_string()),
            (ACCEPT_RANGES, "bytes"),
            (CONTENT_DIGEST, digest),
        ];
        web::answer(status, &headers, body)
    }
}

/// A body that reads a fixed number of bytes of a file, from its current position, as the client
/// takes them.
struct FileBody {
    file: tokio::fs::File,
    left: u64,
    buffer: Vec<u8>,
}

impl FileBody {
    fn new(file: File, length: u64) -> Self {
        Self { file: file.into(), left: length, buffer: vec![0; READ] }
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { file, left, buffer } = self.get_mut();
        if *left == 0 {
            return Poll::Ready(None);
        }
        let mut part = ReadBuf::new(buffer);
        if let Err(error) = ready!(Pin::new(file).poll_read(context, &mut part)) {
            return Poll::Ready(Some(Err(error)));
        }
        let wanted = part.filled().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let bytes = Bytes::copy_from_slice(part.filled().split_at(wanted).0);
        if bytes.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        *left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
