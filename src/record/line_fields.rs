//! The fields that the lines of the access log and of the audit log have in common.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use super::Record;
use super::json_line::JsonLine;
use crate::identity::model::keyed_hash::Fingerprint;
use crate::terminal::printable;

/// The largest length of a path or a method in a line, in bytes. No request that is served needs
/// more.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The fields of a line that describe the request, in their order.
pub(super) struct RequestFields<'a> {
    pub(super) time: SystemTime,
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
            time,
            request_id: &record.request_id,
            client_ip: record.client,
            method: shortened(record.method.as_str()),
            path: shortened(&record.path),
            operation: record.operation.as_str(),
            repository: record.repository.as_ref().map(|name| name.as_str()),
        }
    }

    /// Writes the fields.
    pub(super) fn write(&self, line: &mut JsonLine<'_>) {
        line.time("time", self.time);
        line.text("request_id", self.request_id);
        line.address("client_ip", self.client_ip);
        line.text("method", &self.method);
        line.text("path", &self.path);
        line.word("operation", self.operation);
        line.optional_text("repository", self.repository);
    }
}

/// The fields of a line that describe the caller, in their order.
pub(super) struct CallerFields<'a> {
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) provider: Option<&'a str>,
    pub(super) credential_kind: &'static str,
    credential_type: Option<Cow<'a, str>>,
    credential: Option<Fingerprint>,
}

impl<'a> CallerFields<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        Self {
            subject: record.subject().map(printable),
            provider: record.provider().map(|provider| &**provider),
            credential_kind: record.credential_kind.as_str(),
            credential_type: record.credential_type().map(printable),
            credential: record.credential,
        }
    }

    /// Writes the fields.
    pub(super) fn write(&self, line: &mut JsonLine<'_>) {
        line.optional_text("subject", self.subject.as_deref());
        line.optional_text("provider", self.provider);
        line.word("credential_kind", self.credential_kind);
        line.optional_text("credential_type", self.credential_type.as_deref());
        let digits = self.credential.map(Fingerprint::digits);
        let digits = digits.as_ref().map(|digits| str::from_utf8(digits).unwrap_or_default());
        line.optional_text("credential", digits);
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
