//! The fields that the lines of the access log and of the audit log have in common.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;

use super::Record;
use crate::terminal::printable;

/// The largest length of a path or a method in a line, in bytes. No request that is served needs
/// more.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The fields of a line that describe the request, in their order.
#[derive(Serialize)]
pub(super) struct RequestFields<'a> {
    pub(super) time: String,
    pub(super) request_id: &'a str,
    pub(super) client_ip: IpAddr,
    pub(super) method: Cow<'a, str>,
    pub(super) path: Cow<'a, str>,
    operation: &'static str,
    repository: Option<&'a str>,
}

impl<'a> RequestFields<'a> {
    pub(super) fn new(record: &'a Record, time: SystemTime) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(time).to_string(),
            request_id: &record.request_id,
            client_ip: record.client,
            method: shortened(record.method.as_str()),
            path: shortened(&record.path),
            operation: record.operation.as_str(),
            repository: record.repository.as_ref().map(|name| name.as_str()),
        }
    }
}

/// The fields of a line that describe the caller, in their order.
#[derive(Serialize)]
pub(super) struct CallerFields<'a> {
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) provider: Option<&'a str>,
    pub(super) credential_kind: &'static str,
    credential_type: Option<Cow<'a, str>>,
    credential: Option<String>,
}

impl<'a> CallerFields<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        Self {
            subject: record.subject().map(printable),
            provider: record.provider().map(|provider| &**provider),
            credential_kind: record.credential_kind.as_str(),
            credential_type: record.credential_type().map(printable),
            credential: record.credential.map(|fingerprint| fingerprint.to_string()),
        }
    }
}

/// Escapes a text whose length a client controls, and cuts it to the largest length in a line. A
/// cut text ends with `…`.
fn shortened(text: &str) -> Cow<'_, str> {
    const MARK: char = '…';
    let text = printable(text);
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let end = text.floor_char_boundary(MAX_TEXT_BYTES - MARK.len_utf8());
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    kept.push(MARK);
    Cow::Owned(kept)
}
