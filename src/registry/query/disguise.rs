//! Keys that a more lenient query parser than the gate's would read as another key.

/// Returns the judged key that another program may read `key` as, because it decodes, trims or
/// lower-cases keys, or takes the part before a bracket as the name of a list. Returns `None` if
/// `key` is a judged key as sent, or is not read as one.
pub(super) fn disguised(key: &str, judged: &[&'static str]) -> Option<&'static str> {
    if judged.contains(&key) || is_plain(key) {
        return None;
    }
    let mut bare = decoded(key);
    // Programs between the gate and the registry may decode the key again.
    for _ in 0..2 {
        bare = decoded(&bare);
    }
    let name = bare.split(['[', '\0']).next().unwrap_or_default();
    let name = name.trim_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '?' | '\u{feff}')
    });
    // Some letters have a lower-case form in ASCII only by way of their upper case, such as the
    // long s.
    let folded: String =
        name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    judged.iter().copied().find(|judged| *judged == folded)
}

/// Returns whether a key consists only of characters that every program reads in the same way:
/// lower-case letters, digits, `_` and `-`.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    })
}

/// Returns the text with `%XX` and `+` decoded. An invalid escape is kept as it is.
fn decoded(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [byte, behind @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, behind @ ..] => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, behind))
            }
            [b'+', behind @ ..] => Some((b' ', behind)),
            _ => None,
        };
        let (byte, behind) = escaped.unwrap_or((*byte, behind));
        decoded.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_other_parsers_read_differently_are_detected() {
        let judged = ["digest", "from"];
        for key in [
            "%66rom",
            "fro%6D",
            "fro%6d",
            "From",
            "FROM",
            "%46rom",
            "+from",
            "from+",
            "%20from",
            "from%20",
            "from%09",
            "from%0A",
            "from%00",
            "from%00x",
            "%EF%BB%BFfrom",
            "%C2%A0from",
            "%E2%80%83from",
            "from[]",
            "from%5B%5D",
            "from[0]",
            "from+[]",
            "%2566rom",
            "?from",
            "from\u{a0}",
        ] {
            assert_eq!(disguised(key, &judged), Some("from"), "{key}");
        }
        for key in ["dige%C5%BFt", "dige\u{17f}t", "DIGE\u{17f}T", "d%C4%B1gest", "Digest"] {
            assert_eq!(disguised(key, &judged), Some("digest"), "{key}");
        }
        for key in [
            "from", "digest", "fro", "fromm", "xfrom", "_from", "from.x", "%", "%6", "%zzfrom", "",
            "f%66rom",
        ] {
            assert_eq!(disguised(key, &judged), None, "{key}");
        }
    }
}
