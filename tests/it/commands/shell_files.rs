//! `moorgate completions` and `moorgate man`. `tests/shipping/command-line` runs them in real
//! shells and through a real reader of manual pages.

use std::collections::BTreeSet;

use super::{run, text};

/// Returns the commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = text(&run(&["--help"], "").stdout);
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let name = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(name)
        .collect()
}

#[test]
fn each_shell_gets_completions_of_every_command() {
    let commands = commands();
    assert!(commands.contains("check-config") && commands.len() > 9, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell], "");
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        for part in commands.iter().map(String::as_str).chain(["allow-missing-files", "claim"]) {
            assert!(script.contains(part), "{shell}: {part}");
        }
    }
    let unknown = run(&["completions", "tcsh"], "");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("bash, elvish, fish, powershell, zsh"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    // The folder does not exist yet.
    let pages = folder.path().join("share/man1");
    let arguments = ["man", &pages.display().to_string()];
    for _ in 0..2 {
        let output = run(&arguments, "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let written = std::fs::read_dir(&pages).unwrap();
    let written: BTreeSet<_> =
        written.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let of_commands = commands().into_iter().map(|command| format!("moorgate-{command}.1"));
    assert_eq!(written, of_commands.chain(["moorgate.1".to_owned()]).collect());
    let serve = std::fs::read_to_string(pages.join("moorgate-serve.1")).unwrap();
    for part in [".TH \"moorgate-serve\" 1 \"\" \"moorgate ", "SIGTERM", "\\-\\-config"] {
        assert!(serve.contains(part), "{part}: {serve}");
    }
}

#[test]
fn a_folder_for_manual_pages_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let output = run(&["man", &path], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&path), "{}", text(&output.stderr));
}
