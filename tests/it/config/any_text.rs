//! Files that are not text, and texts of any shape, end in a config or in problems and never in a
//! crash.

use moorgate::config;
use proptest::prelude::*;

use super::files::folder;
use super::{MINIMAL, load, ready};

#[test]
fn config_files_that_are_not_text_are_refused_with_the_position() {
    let load = |name: &str| {
        let path = folder().join(name);
        let problems = config::load(&path, []).expect_err(name).to_string();
        problems.replace(&format!("{}", path.display()), "FILE")
    };
    assert_eq!(
        load("no.yml"),
        "FILE:1:1: the file does not exist; name a config file with --config"
    );
    assert_eq!(load("folder"), "FILE:1:1: this is a folder; name the file in it");
    assert_eq!(load("latin1.yml"), "FILE:2:7: this is not UTF-8 text; save the file as UTF-8");
    assert_eq!(
        load("huge.yml"),
        "FILE:1:1: the file is larger than 16 MiB, the most that the gate reads; name a config \
         file with --config, or merge rules, e.g. with wildcards"
    );
}

#[test]
fn byte_order_mark_and_crlf_are_read() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    ready(&text);
    let problems = load(&text.replace("version: 1", "version: 2"), &[]).expect_err("version 2");
    assert_eq!(problems, "moorgate.yml:1:10: `version`: `2` is not known; write 1");
}

#[test]
fn deep_and_wide_text_ends_in_a_problem_and_not_in_a_crash() {
    for text in
        ["- ".repeat(400_000), "[".repeat(500_000), "{a: ".repeat(250_000), "? ".repeat(400_000)]
    {
        load(&text, &[]).expect_err("nested");
    }
    let wide: String = (0..600_000).map(|number| format!("k{number}: 1\n")).collect();
    let problems = load(&wide, &[]).expect_err("wide");
    assert!(
        problems.contains("moorgate.yml:500001:1: the file has more than 1000000 keys and values"),
        "{}",
        problems.len()
    );
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for number in 1..9_000 {
        chain.push_str(&format!("a{number}: &a{number} [*a{}]\n", number - 1));
    }
    load(&chain, &[]).expect_err("a chain of aliases");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loading_any_text_never_panics(text in any::<String>()) {
        let _ = load(&text, &[]);
    }

    #[test]
    fn yaml_marks_never_panic(
        text in "[-a-c:{}\\[\\]&*!|>'\"%@`#?,~ \t\n\r\u{0}\u{feff}\u{85}.0-9]{0,80}",
    ) {
        let _ = load(&text, &[]);
    }

    #[test]
    fn loading_a_mutated_config_never_panics(
        start in 0..1_000_usize,
        length in 0..40_usize,
        with in "[-a-c:{}\\[\\]&*!|>'\"%@`#?,~ \t\n.0-9]{0,10}",
        value in any::<String>(),
    ) {
        let reference = include_str!("../../fixtures/config/valid/everything-changed.yml");
        let characters: Vec<char> = reference.chars().collect();
        let start = start.min(characters.len());
        let end = (start + length).min(characters.len());
        let mut text: String = characters[..start].iter().collect();
        text.push_str(&with);
        text.extend(&characters[end..]);
        let environment =
            [("MOORGATE_HTTP_EXTERNAL_URL", &*value), ("MOORGATE_HTTP_ADDR", &*with)];
        let _ = load(&text, &environment);
    }
}
