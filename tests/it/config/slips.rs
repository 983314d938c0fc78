//! Slips of the keyboard are reported at their own place and in plain words, whatever the parser
//! says, and without the problems that follow from them.

use super::load;

/// A valid config. The tests spoil one of its lines.
const TEXT: &str = "version: 1
http:
  # the public listener
  addr: 127.0.0.1:0

  external_url: http://localhost
upstream:
  urls:
    - http://127.0.0.1:5000
  username: gate
  authorization: strip
identity:
  - name: gitlab
    type: gitlab
    url: https://gitlab.example.com
policy:
  rules:
    - name: all
      repositories: [\"x/**\"]
      who:
        - authenticated
      allow: [pull]
";

#[test]
fn a_slip_is_told_at_its_place_and_hides_what_follows_from_it() {
    for (from, to, place, told) in [
        // A tab or another space.
        ("  authorization: strip", "\tauthorization: strip", "11:1", "contains a tab"),
        ("  authorization: strip", "  \tauthorization: strip", "11:3", "contains a tab"),
        ("    - http:", "\t- http:", "9:1", "contains a tab"),
        ("    type: gitlab", "\ttype: gitlab", "14:1", "contains a tab"),
        ("identity:", "\tidentity:", "12:1", "contains a tab"),
        ("  authorization", "\u{a0}\u{a0}authorization", "11:1", "U+00A0 NO-BREAK SPACE"),
        ("    type: gitlab", "\u{3000}   type: gitlab", "14:1", "U+3000 IDEOGRAPHIC SPACE"),
        ("upstream:\n", "\u{a0}\nupstream:\n", "7:1", "U+00A0 NO-BREAK SPACE"),
        ("  addr: ", "\taddr: ", "4:1", "contains a tab"),
        ("      who:", "\t who:", "20:1", "contains a tab"),
        ("  addr: ", "\u{a0} addr: ", "4:1", "U+00A0 NO-BREAK SPACE"),
        ("  addr: ", "  \u{2003}addr: ", "4:3", "U+2003 EM SPACE"),
        ("addr: ", "addr:\u{a0}", "4:8", "U+00A0 NO-BREAK SPACE"),
        ("addr: ", "addr: \u{3000}", "4:9", "U+3000 IDEOGRAPHIC SPACE"),
        ("addr: ", "ad\u{200b}dr: ", "4:5", "U+200B ZERO WIDTH SPACE"),
        ("addr: ", "addr\u{feff}: ", "4:7", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("127.0.0.1:0", "127.0.0.1:0\u{2009}", "4:20", "U+2009 THIN SPACE"),
        ("127.0.0.1:0", "127.0.0.1:0\u{b}", "4:20", "U+000B LINE TABULATION"),
        ("127.0.0.1:0", "127.0.0.1:0\u{c}", "4:20", "U+000C FORM FEED"),
        ("127.0.0.1:0", "127.0.0.1:0\u{85}", "4:20", "U+0085 NEXT LINE"),
        ("127.0.0.1:0", "127.0.0.1:0\u{2028}", "4:20", "U+2028 LINE SEPARATOR"),
        ("version: 1", "version: 1\u{a0}", "1:11", "U+00A0 NO-BREAK SPACE"),
        ("version: 1", "version:\u{a0}1", "1:9", "U+00A0 NO-BREAK SPACE"),
        ("http:\n", "http:\u{a0}\n", "2:6", "U+00A0 NO-BREAK SPACE"),
        ("    - http", "    -\u{a0}http", "9:6", "U+00A0 NO-BREAK SPACE"),
        ("  - name: gitlab", "  -\u{a0}name: gitlab", "13:4", "U+00A0 NO-BREAK SPACE"),
        ("  - name: gitlab", " \u{a0}- name: gitlab", "13:2", "U+00A0 NO-BREAK SPACE"),
        ("allow: [pull]", "allow: [pull\u{a0}]", "22:19", "U+00A0 NO-BREAK SPACE"),
        ("allow: [pull]", "allow:\u{a0}[pull]", "22:13", "U+00A0 NO-BREAK SPACE"),
        // A missing space.
        ("version: 1", "version:1", "1:1", "no space behind this colon"),
        ("addr: ", "addr:", "4:3", "no space behind this colon"),
        ("external_url: ", "external_url:", "6:3", "no space behind this colon"),
        ("allow: [pull]", "allow:[pull]", "22:7", "no space behind this colon"),
        ("type: gitlab", "type:gitlab", "14:5", "no space behind this colon"),
        ("url: https", "url:https", "15:5", "no space behind this colon"),
        ("- name: gitlab", "- name:gitlab", "13:5", "no space behind this colon"),
        ("- name: gitlab", "-name: gitlab", "13:3", "no space behind the dash"),
        ("    - http:", "    -http:", "9:5", "no space behind the dash"),
        ("- authenticated", "-authenticated", "21:9", "no space behind the dash"),
        (
            "username: gate\n  authorization: strip",
            "username:gate\n  authorization:strip",
            "10:3",
            "no space",
        ),
        ("upstream:\n", "upstream: { urls:[x] }\nlog:\n", "7:13", ""),
        // Values that need quotes.
        ("[\"x/**\"]", "[**]", "19:22", "begins with `*`"),
        ("[\"x/**\"]", "[*/x, y]", "19:22", "begins with `*`"),
        ("[\"x/**\"]", "[y, *.x]", "19:25", "begins with `*`"),
        ("[\"x/**\"]", "\n        - **", "20:11", "begins with `*`"),
        ("[\"x/**\"]", "*", "19:21", "begins with `*`"),
        ("[\"x/**\"]", "[${user}/**]", "19:22", "contains a bracket"),
        ("[\"x/**\"]", "[{user}/x]", "19:22", ""),
        ("[\"x/**\"]", "\n        - {user}/x", "20:11", "begins with `{`"),
        ("    - name: all", "    - **: all", "18:7", "begins with `*`"),
        ("username: gate", "username: @gate", "10:13", "begins with `@`"),
        ("username: gate", "username: `gate`", "10:13", "begins with ```"),
        ("username: gate", "username: %gate", "10:13", "begins with `%`"),
        ("username: gate", "username: !gate", "10:13", "begins with `!`"),
        ("username: gate", "username: &gate", "10:13", "begins with `&`"),
        ("username: gate", "username: & gate", "10:13", "begins with `&`"),
        ("username: gate", "username: \"a\"b", "10:13", "follows the closing quote"),
        ("username: gate", "username: 'a'b", "10:13", "follows the closing quote"),
        ("username: gate", "username: a: b", "10:13", "contains a colon"),
        ("username: gate", "username: a:", "10:13", "contains a colon"),
        ("username: gate", "username: - a", "10:13", "begins with `-`"),
        ("username: gate", "username: >= 5", "10:13", "begins with `>`"),
    ] {
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT, "{from}");
        let problems = load(&text, &[]).err().unwrap_or_default();
        let line = place.split(':').next().expect("a line");
        let of_line: Vec<&str> = problems
            .lines()
            .filter(|problem| problem.starts_with(&format!("moorgate.yml:{line}:")))
            .collect();
        assert!(of_line.len() == 1, "{to:?}: {problems}");
        assert!(of_line[0].starts_with(&format!("moorgate.yml:{place}: ")), "{to:?}: {problems}");
        assert!(of_line[0].contains(told), "{to:?}: {problems}");
        for word in ["not valid YAML", "anchor,", "is a single value"] {
            let named = word == "anchor," && told.contains('&');
            assert!(named || !problems.contains(word), "{to:?}: {problems}");
        }
    }
}
