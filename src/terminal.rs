//! Text that a terminal shows unchanged. Logs and error messages are read on terminals, and some of
//! their parts come from clients, providers and files.

use std::borrow::Cow;

/// Escapes all characters that could move a cursor, change colours, hide text or change its
/// direction.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let is_plain = |byte: u8| (0x20..0x7f).contains(&byte);
    // Nearly all texts are plain ASCII. All bytes are looked at, without an early end, because the
    // compiler makes that faster.
    let is_ascii = text.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    if is_ascii || text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if harmless(c) { c.to_string() } else { c.escape_debug().to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_contains_no_terminal_control_characters() {
        assert_eq!(
            printable("a\u{9b}31m\u{1b}[2J\n\u{202e}é"),
            "a\\u{9b}31m\\u{1b}[2J\\n\\u{202e}é"
        );
        assert!(matches!(printable("/v2/a/b"), Cow::Borrowed(_)));
    }
}
