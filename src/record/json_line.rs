//! A line of a log as a JSON object. It is written without intermediate strings, because each
//! request writes one.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::net::address_text::AddressText;

/// A JSON object whose fields are written one after another.
pub(super) struct JsonLine<'a> {
    bytes: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> JsonLine<'a> {
    /// Begins an object.
    pub(super) fn begin(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes, separator: b'{' }
    }

    /// Ends the object and the line.
    pub(super) fn end(self) {
        self.bytes.extend_from_slice(if self.separator == b'{' { b"{}\n" } else { b"}\n" });
    }

    /// Writes a field with a text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.string(text);
    }

    /// Writes a field with one of the gate's own words, none of which needs an escape.
    pub(super) fn word(&mut self, name: &'static str, word: &'static str) {
        self.name(name);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(word.as_bytes());
        self.bytes.push(b'"');
    }

    /// Writes a field with a text or `null`.
    pub(super) fn optional_text(&mut self, name: &'static str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// Writes a field with a list of texts.
    pub(super) fn texts(&mut self, name: &'static str, texts: &[&str]) {
        self.name(name);
        self.bytes.push(b'[');
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                self.bytes.push(b',');
            }
            self.string(text);
        }
        self.bytes.push(b']');
    }

    /// Writes a field with a whole number.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes a field with milliseconds, with up to three digits after the decimal point, or
    /// `null`.
    pub(super) fn milliseconds(&mut self, name: &'static str, duration: Option<Duration>) {
        self.name(name);
        let Some(duration) = duration else { return self.null() };
        let microseconds = (duration.as_nanos() + 500) / 1000;
        let (whole, rest) = (microseconds / 1000, microseconds % 1000);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
        let shown = if rest % 10 != 0 {
            3
        } else if rest % 100 != 0 {
            2
        } else {
            1
        };
        self.bytes.push(b'.');
        self.bytes.extend_from_slice(digits.get(..shown).unwrap_or_default());
    }

    /// Writes a field with a time in UTC, to the millisecond (RFC 3339).
    pub(super) fn time(&mut self, name: &'static str, time: SystemTime) {
        self.name(name);
        // Writing to memory cannot fail. A time is plain ASCII.
        let _ = write!(self.bytes, "\"{}\"", humantime::format_rfc3339_millis(time));
    }

    /// Writes a field with an IP address.
    pub(super) fn address(&mut self, name: &'static str, address: IpAddr) {
        self.text(name, &AddressText::of(address));
    }

    /// Writes the name of a field. No name needs an escape.
    fn name(&mut self, name: &'static str) {
        self.bytes.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn null(&mut self) {
        self.bytes.extend_from_slice(b"null");
    }

    fn string(&mut self, text: &str) {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        // All bytes are looked at, without an early end, because the compiler makes that faster.
        if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            // Writing to memory cannot fail, and every text can be expressed in JSON.
            let _ = serde_json::to_writer(&mut *self.bytes, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn line(write: impl FnOnce(&mut JsonLine<'_>)) -> String {
        let mut bytes = Vec::new();
        let mut line = JsonLine::begin(&mut bytes);
        write(&mut line);
        line.end();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_are_written_in_their_order() {
        let written = line(|line| {
            line.text("a", "b");
            line.optional_text("c", None);
            line.optional_text("d", Some("e"));
            line.number("f", u64::MAX);
            line.texts("g", &["h", "i"]);
            line.time("j", UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
            line.address("k", [192, 0, 2, 1].into());
        });
        let expected = r#"{"a":"b","c":null,"d":"e","f":18446744073709551615,"g":["h","i"],"#
            .to_owned()
            + r#""j":"2023-11-14T22:13:20.123Z","k":"192.0.2.1"}"#;
        assert_eq!(written, expected + "\n");
        assert_eq!(line(|_| ()), "{}\n");
    }

    /// Compares with another writer of JSON.
    #[test]
    fn texts_are_escaped() {
        for text in ["", "plain é 漢", "\"", "\\", "a\nb", "\u{1f}", "\u{7f}", "a\"b\\c\td"] {
            let expected = format!("{}\n", serde_json::json!({ "text": text }));
            assert_eq!(line(|line| line.text("text", text)), expected);
        }
    }

    #[test]
    fn milliseconds_have_up_to_three_digits_after_the_point() {
        for (nanoseconds, expected) in [
            (0, "0.0"),
            (499, "0.0"),
            (500, "0.001"),
            (999_499, "0.999"),
            (999_500, "1.0"),
            (1_230_000, "1.23"),
            (1_200_000, "1.2"),
            (12_000_001_000, "12000.001"),
        ] {
            let duration = Duration::from_nanos(nanoseconds);
            let written = line(|line| line.milliseconds("ms", Some(duration)));
            assert_eq!(written, format!("{{\"ms\":{expected}}}\n"));
        }
        assert_eq!(line(|line| line.milliseconds("ms", None)), "{\"ms\":null}\n");
    }
}
