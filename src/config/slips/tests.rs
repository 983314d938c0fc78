use super::*;

fn slips(text: &str) -> Vec<Slip> {
    find(text, &|key| matches!(key, "name" | "addr" | "http" | "version"))
}

#[test]
fn valid_text_has_no_slips() {
    for text in [
        include_str!("../../../config/moorgate.yml"),
        include_str!("../../../tests/fixtures/config/valid/anchors.yml"),
        include_str!("../../../tests/fixtures/config/valid/everything-changed.yml"),
        include_str!("../../../tests/fixtures/config/valid/rules.yml"),
        "a: \"x\u{a0}y\" # \u{a0} *\nb: 'it''s'\nc: \"\\\"\"\n",
        "a: |\n  \u{a0}*x: y\n\n  z:1\nb: >-\n  @\n",
        "a: \"first\n  *second\u{a0}\"\nb: [\n  \"*\", 'x', # *\n  c\n]\n",
        "---\n- user:gitlab/alice\n- group:x/y\n- http://a:1\n\
         - ${user}/**\n- -1\n- 10.0.0.1:80\n...\n",
        "a: &x 1\nb: *x\nc: { d: *x, e: [*x] }\n? f\n: g\n",
        "{\"a\":1,\"b\":[\"c\"]}\n",
        "a: user:x\nb: http://x\nc: x#y\nd: a-b\ne: -5\n",
    ] {
        assert_eq!(slips(text), [], "{text}");
    }
}

#[test]
fn a_slip_is_found_at_its_place() {
    for (text, line, column, told) in [
        ("http:\n\taddr: 1\n", 2, 1, "tab"),
        ("a:\n  \u{a0}addr: 1\n", 2, 3, "U+00A0 NO-BREAK SPACE stands in the indentation"),
        ("a:\u{a0}1\n", 1, 3, "U+00A0 NO-BREAK SPACE stands before the value"),
        ("a:\n  -\u{3000}x\n", 2, 4, "U+3000 IDEOGRAPHIC SPACE stands behind the dash"),
        ("a: 1\u{2003}\n", 1, 5, "U+2003 EM SPACE stands at the end"),
        ("a: [x\u{2009}, y]\n", 1, 6, "U+2009 THIN SPACE stands at the end"),
        ("a: [x,\u{a0}y]\n", 1, 7, "before the value"),
        ("ad\u{200b}dr: 1\n", 1, 3, "U+200B ZERO WIDTH SPACE stands in this key"),
        ("{ ad\u{feff}dr: 1 }\n", 1, 5, "U+FEFF ZERO WIDTH NO-BREAK SPACE stands in this key"),
        ("a: \"x\"\u{b}\n", 1, 7, "U+000B LINE TABULATION stands behind the value"),
        ("\u{c}a: 1\n", 1, 1, "U+000C FORM FEED"),
        ("a: 1\u{85}\n", 1, 5, "U+0085 NEXT LINE"),
        ("a: 1\u{2028}\n", 1, 5, "U+2028 LINE SEPARATOR"),
        ("a: x\u{a0}y\n", 1, 5, "in this value"),
        ("version:1\n", 1, 1, "no space behind this colon; write `version: value`"),
        ("http:\n  addr:1\n", 2, 3, "write `addr: value`"),
        ("\"http\":1\n", 1, 1, "no space behind the colon"),
        ("- name:1\n", 1, 3, "write `name: value`"),
        ("{ addr:1 }\n", 1, 3, "write `addr: value`"),
        ("a:\n  -name: x\n", 2, 3, "no space behind the dash"),
        (
            "a: **\n",
            1,
            4,
            "begins with `*`, which YAML takes for an alias, must be in quotes; quote it",
        ),
        ("a: *\n", 1, 4, "`*`"),
        ("a: [*/x]\n", 1, 5, "`*`"),
        ("a: [x, **, y]\n", 1, 8, "`*`"),
        ("- *.x\n", 1, 3, "`*`"),
        ("**: x\n", 1, 1, "`*`"),
        ("a: { **: x }\n", 1, 6, "`*`"),
        ("a: [x]\u{a0}\n", 1, 7, "U+00A0 NO-BREAK SPACE stands behind the value"),
        ("a: [[x]\u{a0}, y]\n", 1, 8, "U+00A0 NO-BREAK SPACE"),
        ("hunter2:x\n", 1, 1, "write `key: value`"),
        ("-----BEGIN: x\n\u{a0}a: 1\n", 2, 1, "U+00A0"),
        ("a: @x\n", 1, 4, "begins with `@`"),
        ("a: [`x`]\n", 1, 5, "begins with ```"),
        ("a: %x\n", 1, 4, "begins with `%`"),
        ("a: & x\n", 1, 4, "begins with `&`"),
        ("a: !x\n", 1, 4, "begins with `!`"),
        ("a: {user}/x\n", 1, 4, "begins with `{`"),
        ("a: [x]/**\n", 1, 4, "begins with `[`"),
        ("a: [${user}/**]\n", 1, 5, "contains a bracket"),
        ("a: [x, ${user}, y]\n", 1, 8, "contains a bracket"),
        ("a: \"a\"b\n", 1, 4, "text follows the closing quote"),
        ("a: ['a'b]\n", 1, 5, "text follows the closing quote"),
        ("a: \"x\n  y\"z\n", 2, 5, "text follows the closing quote"),
        ("a: b: c\n", 1, 4, "contains a colon"),
        ("a: b:\n", 1, 4, "contains a colon"),
        ("{ a: b: c }\n", 1, 6, "contains a colon"),
        ("a: - b\n", 1, 4, "begins with `-`"),
        ("a: -\n", 1, 4, "begins with `-`"),
        ("a: >x\n", 1, 4, "begins with `>`"),
        ("a: ]\n", 1, 4, "begins with `]`"),
        ("a: [x}\n", 1, 6, "closes no bracket"),
    ] {
        let found = slips(text);
        let first = found.first().unwrap_or_else(|| panic!("{text:?} has no slip"));
        assert_eq!((first.line, first.column), (line, column), "{text:?}: {found:?}");
        assert!(first.message.contains(told), "{text:?}: {found:?}");
        assert!(first.message.contains("; "), "{found:?}");
    }
}

#[test]
fn several_odd_spaces_in_a_row_are_one_slip() {
    assert_eq!(slips("a:\n\u{a0}\u{a0}\u{a0}b: 1\n").len(), 1);
    assert_eq!(slips("a:\u{a0}\u{a0}\u{a0}1\n").len(), 1);
}

#[test]
fn lines_end_as_in_yaml() {
    assert_eq!(lines("a\r\nb\rc\nd").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(neighbours("a\n\n# x\nb\nc\n\nd\n", 4), 1..=5);
    assert_eq!(neighbours("a", 9), 1..=9);
}
