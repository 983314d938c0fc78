//! Finds where values of RESP 2 end, and refuses what is not RESP, or is larger than any answer to
//! the gate. It runs before the library's parser, which has no such limits.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

/// The largest length of a line, such as an error, in bytes.
const MAX_LINE: usize = 16 << 10;

/// The largest length of one string, in bytes.
const MAX_STRING: u64 = 4 << 20;

/// The largest number of elements of one array.
const MAX_ELEMENTS: u64 = 1 << 20;

/// The largest number of arrays within each other. The list of the slots of a cluster has five.
const MAX_DEPTH: usize = 12;

/// The largest size of one value with everything in it, in bytes.
pub(super) const MAX_VALUE: u64 = 16 << 20;

/// The largest length of a number in a line, with its sign.
const MAX_DIGITS: usize = 20;

/// The reason why bytes are refused, in words.
pub(super) type Refusal = &'static str;

const NOT_REDIS: Refusal = "the server does not answer as Redis does";
const TOO_LARGE: Refusal = "the server sent a larger answer than any that the gate asks for";

/// The state of the search for the end of a value.
#[derive(Default)]
pub(super) struct ReplyScanner {
    state: ScanState,
    /// The numbers of elements that the open arrays lack, the outermost first.
    open: Vec<u64>,
    /// The size of the present value so far.
    size: u64,
}

#[derive(Default)]
enum ScanState {
    /// At the first byte of a value.
    #[default]
    Kind,
    /// Within the line of a value.
    Line { kind: u8, length: usize, number: Number, ends: bool },
    /// Within a string, of which this many bytes are missing.
    String(u64),
    /// Within the line break after a string.
    Break { ends: bool },
}

/// A number that is read digit by digit.
#[derive(Clone, Copy, Default)]
struct Number {
    value: u64,
    digits: usize,
    negative: bool,
}

impl ReplyScanner {
    /// Reads bytes, and returns the number of values that end within them.
    ///
    /// # Errors
    /// The bytes are not RESP 2, or too large.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<u64, Refusal> {
        let mut ended = 0;
        while let Some((first, rest)) = bytes.split_first() {
            let taken = match &mut self.state {
                ScanState::String(missing) => {
                    let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*missing);
                    *missing -= taken;
                    let taken = usize::try_from(taken).unwrap_or(bytes.len());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    taken
                }
                _ => {
                    bytes = rest;
                    1
                }
            };
            self.size += u64::try_from(taken).unwrap_or(u64::MAX);
            if self.size > MAX_VALUE {
                return Err(TOO_LARGE);
            }
            if self.step(*first)? {
                ended += u64::from(self.value_ended());
            }
        }
        Ok(ended)
    }

    /// Takes one byte, or what was taken of a string. Returns whether an element ends there.
    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        match &mut self.state {
            ScanState::Kind => {
                if !b"+-:$*".contains(&byte) {
                    return Err(NOT_REDIS);
                }
                let number = Number::default();
                self.state = ScanState::Line { kind: byte, length: 0, number, ends: false };
                Ok(false)
            }
            ScanState::Line { kind, number, ends: true, .. } => {
                let (kind, number) = (*kind, *number);
                if byte != b'\n' {
                    return Err(NOT_REDIS);
                }
                self.line_ended(kind, number)
            }
            ScanState::Line { ends, .. } if byte == b'\r' => {
                *ends = true;
                Ok(false)
            }
            ScanState::Line { kind: b'+' | b'-', length, .. } => {
                *length += 1;
                if *length > MAX_LINE { Err(TOO_LARGE) } else { Ok(false) }
            }
            ScanState::Line { number, .. } => number.take(byte).map(|()| false),
            ScanState::String(0) => {
                self.state = ScanState::Break { ends: false };
                Ok(false)
            }
            ScanState::String(_) => Ok(false),
            ScanState::Break { ends: false } if byte == b'\r' => {
                self.state = ScanState::Break { ends: true };
                Ok(false)
            }
            ScanState::Break { ends: true } if byte == b'\n' => Ok(true),
            ScanState::Break { .. } => Err(NOT_REDIS),
        }
    }

    /// Goes on after the line of a value. Returns whether the value ends with it.
    fn line_ended(&mut self, kind: u8, number: Number) -> Result<bool, Refusal> {
        if matches!(kind, b'+' | b'-') {
            return Ok(true);
        }
        if number.digits == 0 {
            return Err(NOT_REDIS);
        }
        let length = match (kind, number.negative, number.value) {
            (b':', ..) => return Ok(true),
            // Nothing, in place of a string or an array.
            (_, true, 1) => return Ok(true),
            (_, true, _) => return Err(NOT_REDIS),
            (_, false, length) => length,
        };
        match kind {
            b'$' if length > MAX_STRING => Err(TOO_LARGE),
            b'$' if length == 0 => {
                self.state = ScanState::Break { ends: false };
                Ok(false)
            }
            b'$' => {
                self.state = ScanState::String(length);
                Ok(false)
            }
            _ if length == 0 => Ok(true),
            _ if length > MAX_ELEMENTS || self.open.len() >= MAX_DEPTH => Err(TOO_LARGE),
            _ => {
                self.open.push(length);
                self.state = ScanState::Kind;
                Ok(false)
            }
        }
    }

    /// Goes on after an element. Returns whether the outermost value ends with it.
    fn value_ended(&mut self) -> bool {
        self.state = ScanState::Kind;
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return false;
            }
            self.open.pop();
        }
        self.size = 0;
        true
    }
}

impl Number {
    fn take(&mut self, byte: u8) -> Result<(), Refusal> {
        match byte {
            b'-' if self.digits == 0 && !self.negative => self.negative = true,
            b'0'..=b'9' if self.digits < MAX_DIGITS => {
                self.digits += 1;
                self.value = self.value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
            }
            _ => return Err(NOT_REDIS),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of values, after whole and bytewise reading, which must agree.
    fn values(bytes: &[u8]) -> Result<u64, Refusal> {
        let whole = ReplyScanner::default().read(bytes);
        let mut scanner = ReplyScanner::default();
        let bytewise = bytes.iter().try_fold(0, |sum, byte| Ok(sum + scanner.read(&[*byte])?));
        assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn ends_of_values_are_found() {
        for (text, count) in [
            ("+OK\r\n", 1),
            ("+OK\r", 0),
            ("-ERR no\r\n:1\r\n:-7\r\n", 3),
            ("$-1\r\n*-1\r\n*0\r\n", 3),
            ("$0\r\n\r\n$5\r\na\r\nb:\r\n", 2),
            ("*2\r\n*2\r\n:1\r\n$1\r\na\r\n+x\r\n+y\r\n", 2),
            ("*2\r\n:1\r\n", 0),
        ] {
            assert_eq!(values(text.as_bytes()), Ok(count), "{text:?}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\x15\x03\x01",
            "%1\r\n",
            ">1\r\n",
            "+OK\rx",
            "$-2\r\n",
            "$x\r\n",
            "$\r\n",
            "$1\r\nab\r\n",
            "*--1\r\n",
            ":1111111111111111111111\r\n",
        ] {
            assert_eq!(values(text.as_bytes()), Err(NOT_REDIS), "{text:?}");
        }
    }

    #[test]
    fn large_answers_are_refused_before_they_arrive() {
        for text in ["$999999999999\r\n", "$4194305\r\n", "*1048577\r\n"] {
            assert_eq!(values(text.as_bytes()), Err(TOO_LARGE), "{text:?}");
        }
        assert_eq!(values("*1\r\n".repeat(13).as_bytes()), Err(TOO_LARGE));
        assert_eq!(values("*1\r\n".repeat(12).as_bytes()), Ok(0));
        assert_eq!(values(format!("+{}", "x".repeat(MAX_LINE + 1)).as_bytes()), Err(TOO_LARGE));
        let string = format!("$4194304\r\n{}\r\n", "x".repeat(4 << 20));
        let mut scanner = ReplyScanner::default();
        assert_eq!(scanner.read(string.as_bytes()), Ok(1));
        assert_eq!(scanner.read(format!("*9\r\n{}", string.repeat(4)).as_bytes()), Err(TOO_LARGE));
    }
}
