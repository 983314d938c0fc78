//! A second reader of HTTP/1.1 requests (RFC 9112), as strict as the RFC allows. It stops at bytes
//! that could be read in two ways, because the meaning of anything behind them is uncertain.

/// A request as it was sent.
#[derive(Debug)]
pub struct Message {
    pub method: String,
    pub target: String,
    /// `true` for HTTP/1.0, which does not require `Host`.
    pub is_old: bool,
    /// The header names in lower case, with values without surrounding white space.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// `true` if the whole body was received.
    pub complete: bool,
    /// `true` if the message can be read in only one way.
    plain: bool,
}

/// The result of [`read`].
#[derive(Debug, Default)]
pub struct Messages {
    pub messages: Vec<Message>,
    /// `true` if the bytes hold nothing but messages. The last one may be incomplete.
    pub plain: bool,
}

/// The reason that no message was read.
enum Stop {
    /// The bytes end before the message does.
    Short,
    /// The bytes could be read in two ways, or are not a message.
    Unclear,
}

/// Reads one message after the other.
pub fn read(bytes: &[u8]) -> Messages {
    let mut found = Messages { messages: Vec::new(), plain: true };
    let mut rest = bytes;
    loop {
        // RFC 9112, 2.2: empty lines before a request are ignored.
        while let Some(behind) = rest.strip_prefix(b"\r\n") {
            rest = behind;
        }
        if rest.is_empty() {
            return found;
        }
        match message(&mut rest) {
            Ok(message) => {
                let Message { complete, plain, .. } = message;
                found.messages.push(message);
                if !complete || !plain {
                    return Messages { plain, ..found };
                }
            }
            Err(Stop::Short) => return found,
            Err(Stop::Unclear) => return Messages { plain: false, ..found },
        }
    }
}

impl Message {
    /// Returns the values of a header.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the value of a header. Fails if the header is repeated.
    pub fn value<'a>(&'a self, name: &str) -> Result<Option<&'a [u8]>, ()> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(()),
        }
    }
}

fn message(rest: &mut &[u8]) -> Result<Message, Stop> {
    let request_line = line(rest)?;
    let mut parts = request_line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version @ (b"HTTP/1.1" | b"HTTP/1.0")), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Stop::Unclear);
    };
    let is_visible = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    if !is_token(method) || !is_visible {
        return Err(Stop::Unclear);
    }
    let mut message = Message {
        method: text(method),
        target: text(target),
        is_old: version == b"HTTP/1.0",
        headers: headers(rest)?,
        body: Vec::new(),
        complete: true,
        plain: true,
    };
    message.read_body(rest)?;
    Ok(message)
}

impl Message {
    /// Reads a body by RFC 9112, 6.3. If both a length and a transfer coding are present, the
    /// transfer coding counts, and the connection must be closed afterwards.
    fn read_body(&mut self, rest: &mut &[u8]) -> Result<(), Stop> {
        let length = self.value("content-length").map_err(|()| Stop::Unclear)?.map(text);
        let coding = self.value("transfer-encoding").map_err(|()| Stop::Unclear)?.map(text);
        let end = match (length, coding) {
            (None, None) => return Ok(()),
            (length, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {
                self.plain = length.is_none();
                chunks(rest, &mut self.body)
            }
            (Some(length), None) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                take_into(
                    rest,
                    length.parse().ok().filter(|_| digits).ok_or(Stop::Unclear)?,
                    &mut self.body,
                )
            }
            _ => return Err(Stop::Unclear),
        };
        self.complete = end.is_ok();
        self.plain &= !matches!(end, Err(Stop::Unclear));
        Ok(())
    }
}

/// Reads chunks by RFC 9112, 7.1. The bytes before the end are kept even if the end is missing.
fn chunks(rest: &mut &[u8], body: &mut Vec<u8>) -> Result<(), Stop> {
    loop {
        // The content of chunk extensions does not matter. The gate frames bodies itself and
        // forwards no extension.
        let head = line_with_any_bytes(rest)?;
        let end = head.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(head.len());
        let (size, extension) = head.split_at(end);
        let extension = extension.trim_ascii_start();
        let size = usize::from_str_radix(&text(size), 16).map_err(|_| Stop::Unclear)?;
        if !extension.is_empty() && !extension.starts_with(b";") {
            return Err(Stop::Unclear);
        }
        if size == 0 {
            // The gate refuses trailers, so a body with trailers never becomes complete.
            return if line(rest)?.is_empty() { Ok(()) } else { Err(Stop::Short) };
        }
        take_into(rest, size, body)?;
        if take(rest, 2)? != b"\r\n" {
            return Err(Stop::Unclear);
        }
    }
}

fn headers(rest: &mut &[u8]) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let mut headers = Vec::new();
    loop {
        let line = line(rest)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Stop::Unclear)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
        if !is_token(name) || !is_value {
            return Err(Stop::Unclear);
        }
        headers.push((text(name).to_ascii_lowercase(), value.to_vec()));
    }
}

/// Takes a line of text without its CRLF.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    line_with_any_bytes(rest)
        .and_then(|line| if line.contains(&0) { Err(Stop::Unclear) } else { Ok(line) })
}

/// Takes a line without its CRLF. A lone CR or LF does not end a line and is an error.
fn line_with_any_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        let unclear = rest.iter().rev().skip(1).any(|byte| *byte == b'\r') || rest.contains(&b'\n');
        return Err(if unclear { Stop::Unclear } else { Stop::Short });
    };
    let line = &rest[..end];
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(Stop::Unclear);
    }
    *rest = &rest[end + 2..];
    Ok(line)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Stop> {
    let (taken, behind) = rest.split_at_checked(count).ok_or(Stop::Short)?;
    *rest = behind;
    Ok(taken)
}

/// Takes this number of bytes into a buffer. If fewer are left, it takes those and fails.
fn take_into(rest: &mut &[u8], count: usize, into: &mut Vec<u8>) -> Result<(), Stop> {
    match take(rest, count) {
        Ok(taken) => into.extend_from_slice(taken),
        Err(stop) => {
            into.extend_from_slice(rest);
            return Err(stop);
        }
    }
    Ok(())
}

/// Returns whether the text is a token (RFC 9110, 5.6.2).
fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
