//! Query strings: taken apart once, with every escape resolved, and written again in one spelling.

use std::borrow::Cow;
use std::fmt::Write;

use super::RequestError;

/// The parameters of a query string, each with its value as sent.
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Query<'a> {
    /// Takes a query string apart. Keys are compared with their escapes resolved, so that `%6dount` is `mount`.
    pub(super) fn parse(query: Option<&'a str>) -> Result<Self, RequestError> {
        let parameters = query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty());
        let pairs = parameters.map(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((decode(key)?, value))
        });
        Ok(Self { pairs: pairs.collect::<Result<_, _>>()? })
    }

    /// The value of a key that may stand once, exactly as sent.
    pub(super) fn raw(&self, key: &'static str) -> Result<Option<&'a str>, RequestError> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(RequestError::QueryRepeated(key)),
        }
    }

    /// The value of a key that may stand once, with its escapes resolved.
    pub(super) fn value(&self, key: &'static str) -> Result<Option<Cow<'a, str>>, RequestError> {
        self.raw(key)?.map(decode).transpose()
    }

    /// The values of a key that may repeat.
    pub(super) fn values(&self, key: &'static str) -> impl Iterator<Item = Result<Cow<'a, str>, RequestError>> {
        self.pairs.iter().filter(move |(name, _)| name == key).map(|(_, value)| decode(value))
    }
}

/// Resolves `%XX` and `+` (a space, as registries read it). What is not UTF-8 afterwards, or holds a control
/// character, is refused: no parameter of the protocol needs either.
fn decode(text: &str) -> Result<Cow<'_, str>, RequestError> {
    let decoded = if text.bytes().any(|byte| matches!(byte, b'%' | b'+')) { unescape(text)? } else { text.into() };
    if decoded.chars().any(char::is_control) { Err(RequestError::QueryEscape) } else { Ok(decoded) }
}

fn unescape(text: &str) -> Result<Cow<'_, str>, RequestError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = bytes.next().and_then(hex_digit).ok_or(RequestError::QueryEscape)?;
                let low = bytes.next().and_then(hex_digit).ok_or(RequestError::QueryEscape)?;
                high * 16 + low
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| RequestError::QueryEscape)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Writes a query string behind a path.
pub(super) struct QueryWriter<'a> {
    target: &'a mut String,
    separator: char,
}

impl<'a> QueryWriter<'a> {
    /// Nothing is written until the first parameter.
    pub(super) fn new(target: &'a mut String) -> Self {
        Self { target, separator: '?' }
    }

    /// A parameter, its value escaped but for what RFC 3986 leaves unreserved, and `:` and `/`.
    pub(super) fn value(&mut self, key: &str, value: &str) {
        self.key(key);
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'/') {
                self.target.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(self.target, "%{byte:02X}");
            }
        }
    }

    /// A parameter whose value goes on byte for byte.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.target.push_str(value);
    }

    fn key(&mut self, key: &str) {
        self.target.push(self.separator);
        self.target.push_str(key);
        self.target.push('=');
        self.separator = '&';
    }
}
