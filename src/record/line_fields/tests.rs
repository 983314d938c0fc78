use super::*;

#[test]
fn a_text_that_is_too_long_is_cut_and_marked() {
    for (text, length) in
        [("a".repeat(4096), 4096), ("a".repeat(4097), 4096), ("é".repeat(3000), 4095)]
    {
        let cut = shortened(&text);
        assert_eq!((cut.len(), cut.ends_with('…')), (length, text.len() > 4096));
        assert!(text.starts_with(cut.trim_end_matches('…')));
    }
    assert!(matches!(shortened("/v2/a/b"), Cow::Borrowed(_)));
    // The characters that escapes add count too.
    assert_eq!(shortened(&"\u{9b}".repeat(4000)).len(), 4096);
}
