//! Query strings, parsed once. The keys that the gate checks are written again in one spelling.
//! Those other parameters that may be forwarded are forwarded byte for byte.

mod disguise;

use std::borrow::Cow;
use std::fmt::Write;

use super::RequestError;
use disguise::disguised;

/// The key that names a mirror's upstream (containerd). It is never forwarded.
const NS: &str = "ns";

/// The keys that decide the effect or the target of a request.
const JUDGED: [&str; 6] = ["digest", "digest-algorithm", "mount", "from", "tag", "ns"];

/// The query of a target as it is sent upstream: the keys that the operation does not know,
/// unchanged, and in their places among them the known keys in one spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpaqueQuery(Box<str>);

impl OpaqueQuery {
    /// Returns the query, without its question mark.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Creates a query that the gate itself wrote.
    pub(super) fn written(text: String) -> Self {
        Self(text.into())
    }
}

/// The parameters of a query string, as sent.
pub(super) struct Query<'a> {
    parameters: Vec<Parameter<'a>>,
}

#[derive(Clone, Copy)]
struct Parameter<'a> {
    text: &'a str,
    key: &'a str,
    value: &'a str,
}

impl<'a> Query<'a> {
    /// Parses a query string. Keys are compared as sent. A key that another program would read as a
    /// judged key, because it decodes, trims or lower-cases keys, is therefore an error. A `;` is
    /// an error too, because some programs split there.
    pub(super) fn parse(query: Option<&'a str>) -> Result<Self, RequestError> {
        let query = query.unwrap_or_default();
        if query.contains(';') {
            return Err(RequestError::QuerySemicolon);
        }
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let parameters = parameters.map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            match disguised(key, &JUDGED) {
                Some(judged) => Err(RequestError::QueryKey(judged)),
                None => Ok(Parameter { text, key, value }),
            }
        });
        Ok(Self { parameters: parameters.collect::<Result<_, _>>()? })
    }

    /// Returns the decoded value of a key that may occur once.
    pub(super) fn value(&self, key: &'static str) -> Result<Option<Cow<'a, str>>, RequestError> {
        let mut values = self.parameters.iter().filter(|parameter| parameter.key == key);
        match (values.next(), values.next()) {
            (value, None) => value.map(|parameter| decode(parameter.value)).transpose(),
            (_, Some(_)) => Err(RequestError::QueryRepeated(key)),
        }
    }

    /// Returns the decoded values of a key that may repeat.
    pub(super) fn values(
        &self,
        key: &'static str,
    ) -> impl Iterator<Item = Result<Cow<'a, str>, RequestError>> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.key == key)
            .map(|parameter| decode(parameter.value))
    }

    /// Returns the query to send upstream for an operation that forwards unknown keys: every
    /// parameter but `ns`, byte for byte and in order, because registries keep state there. Only
    /// the values in `rewritten` are written in one spelling, in their places.
    ///
    /// # Errors
    /// - [`RequestError::QueryCharacter`] or [`RequestError::QueryEscape`] if a parameter has a
    ///   character or an escape that programs read in different ways.
    /// - [`RequestError::QueryRepeated`] if a `known` key occurs again in another spelling.
    pub(super) fn opaque(
        &self,
        known: &[&'static str],
        rewritten: &[(&'static str, Option<&str>)],
    ) -> Result<OpaqueQuery, RequestError> {
        let is_used = |known: &&&str| self.parameters.iter().any(|other| other.key == **known);
        let mut target = String::new();
        let mut writer = QueryWriter::new(&mut target);
        for Parameter { text, key, .. } in &self.parameters {
            if *key == NS {
                continue;
            }
            if let Some((key, Some(value))) = rewritten.iter().find(|(name, _)| name == key) {
                writer.value(key, value);
                continue;
            }
            if let Some(twice) =
                known.iter().filter(is_used).find(|known| is_spelled_otherwise(known, key))
            {
                return Err(RequestError::QueryRepeated(twice));
            }
            check_characters(text)?;
            writer.separate();
            writer.target.push_str(text);
        }
        Ok(OpaqueQuery(target.into()))
    }

    /// Checks that a key occurs once at most.
    pub(super) fn once(&self, key: &'static str) -> Result<(), RequestError> {
        match self.parameters.iter().filter(|parameter| parameter.key == key).nth(1) {
            None => Ok(()),
            Some(_) => Err(RequestError::QueryRepeated(key)),
        }
    }

    /// Checks the escapes in all keys, including those of parameters that are not forwarded.
    pub(super) fn check_keys(&self) -> Result<(), RequestError> {
        self.parameters.iter().try_for_each(|parameter| check_escapes(parameter.key))
    }
}

/// Returns whether a key equals this known one only after decoding.
fn is_spelled_otherwise(known: &str, key: &str) -> bool {
    key.contains('%') && decode(key).is_ok_and(|decoded| decoded == known)
}

/// Checks the characters of a parameter. Registries also send some that RFC 3986, 3.4, does not
/// allow, such as `|` and `[`, which all programs read alike.
fn check_characters(text: &str) -> Result<(), RequestError> {
    check_escapes(text)?;
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"%-._~!$&'()*+,=:@/?[]|^`{}".contains(&byte);
    if text.bytes().all(allowed) { Ok(()) } else { Err(RequestError::QueryCharacter) }
}

/// Checks the percent-escapes of a text (RFC 3986, 2.1).
fn check_escapes(text: &str) -> Result<(), RequestError> {
    let mut behind = text.split('%').skip(1).map(str::as_bytes);
    let is_escape = |text: &[u8]| match text {
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    };
    if behind.all(is_escape) { Ok(()) } else { Err(RequestError::QueryEscape) }
}

/// Decodes `%XX` and `+` (a space, as registries read it). A result that is not UTF-8 or contains a
/// control character is refused: no parameter of the protocol needs either.
fn decode(text: &str) -> Result<Cow<'_, str>, RequestError> {
    let decoded = if text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        unescape(text)?
    } else {
        text.into()
    };
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

/// A writer that appends a query string to a path.
pub(super) struct QueryWriter<'a> {
    target: &'a mut String,
    separator: char,
}

impl<'a> QueryWriter<'a> {
    /// Creates a writer. It writes nothing before the first parameter.
    pub(super) fn new(target: &'a mut String) -> Self {
        Self { target, separator: '?' }
    }

    /// Writes a parameter. In its value, every byte is escaped except the unreserved characters of
    /// RFC 3986, `:` and `/`.
    pub(super) fn value(&mut self, key: &str, value: &str) {
        self.key(key);
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'/')
            {
                self.target.push(char::from(byte));
            } else {
                // Writing to a `String` cannot fail.
                let _ = write!(self.target, "%{byte:02X}");
            }
        }
    }

    /// Writes a query unchanged.
    pub(super) fn opaque(&mut self, query: &OpaqueQuery) {
        if !query.0.is_empty() {
            self.separate();
            self.target.push_str(&query.0);
        }
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.target.push_str(key);
        self.target.push('=');
    }

    fn separate(&mut self) {
        // A query without a path starts with its first parameter, without a separator.
        if self.separator != '?' || !self.target.is_empty() {
            self.target.push(self.separator);
        }
        self.separator = '&';
    }
}
