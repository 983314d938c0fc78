//! Byte ranges: the range that a download asks for, and the position of a chunk in an upload.

use std::ops::RangeInclusive;

/// The range of content of a known length that a `Range` header asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// The request has no header, or one that the server may ignore (RFC 9110, section 14.2):
    /// several ranges, another unit, or an invalid value.
    All,
    Part(RangeInclusive<u64>),
    /// The range begins after the end of the content: 416.
    Nothing,
}

impl Wanted {
    pub(super) fn parse(header: Option<&str>, length: u64) -> Self {
        let range = header
            .and_then(|header| header.strip_prefix("bytes="))
            .and_then(|range| range.split_once('-'));
        let Some((first, last)) = range else { return Self::All };
        let end = length.saturating_sub(1);
        match (first.parse(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first > last => Self::All,
            (Ok(first), Ok(_)) if first >= length => Self::Nothing,
            (Ok(first), Ok(last)) => Self::Part(first..=last.min(end)),
            (Ok(first), Err(_)) if last.is_empty() && first >= length => Self::Nothing,
            (Ok(first), Err(_)) if last.is_empty() => Self::Part(first..=end),
            (Err(_), Ok(0)) if first.is_empty() => Self::Nothing,
            (Err(_), Ok(_)) if first.is_empty() && length == 0 => Self::Nothing,
            (Err(_), Ok(count)) if first.is_empty() => {
                Self::Part(length.saturating_sub(count)..=end)
            }
            _ => Self::All,
        }
    }
}

/// Parses the `Content-Range` of a chunk: `0-1023` in the OCI distribution spec, `bytes 0-1023/*`
/// from some clients.
pub(super) fn chunk_range(header: &str) -> Option<RangeInclusive<u64>> {
    let range = header.strip_prefix("bytes ").unwrap_or(header);
    let (first, last) = range.split_once('/').map_or(range, |(range, _)| range).split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

/// Returns the `Range` of an upload that holds this number of bytes. An empty upload has `0-0` too,
/// as in Distribution.
pub(super) fn held(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_download_is_parsed() {
        for (header, wanted) in [
            ("bytes=0-0", Wanted::Part(0..=0)),
            ("bytes=2-5", Wanted::Part(2..=5)),
            ("bytes=2-", Wanted::Part(2..=9)),
            ("bytes=2-100", Wanted::Part(2..=9)),
            ("bytes=-3", Wanted::Part(7..=9)),
            ("bytes=-30", Wanted::Part(0..=9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-11", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=x-", Wanted::All),
            ("lines=0-1", Wanted::All),
        ] {
            assert_eq!(Wanted::parse(Some(header), 10), wanted, "{header}");
        }
        assert_eq!(Wanted::parse(None, 10), Wanted::All);
        assert_eq!(Wanted::parse(Some("bytes=-1"), 0), Wanted::Nothing);
    }

    #[test]
    fn the_range_of_a_chunk_is_parsed() {
        assert_eq!(chunk_range("0-9"), Some(0..=9));
        assert_eq!(chunk_range("bytes 5-9/*"), Some(5..=9));
        assert_eq!(chunk_range("bytes 5-9/10"), Some(5..=9));
        for header in ["", "5", "9-5", "a-b", "-5", "5-"] {
            assert_eq!(chunk_range(header), None, "{header}");
        }
    }
}
