//! The oracle for the configuration file.

use std::path::Path;

use moorgate::config::{Place, load_text};

/// Checks that any text gives a configuration or a list of problems. Each problem points into the
/// text, takes one line and says what would be right. The printed form of a configuration loads and
/// prints the same.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // The config may name files, which are read. Reading some special files of a machine never
    // ends, and others are written to.
    if text.contains("/dev")
        || text.contains("/proc")
        || text.contains("/sys")
        || text.contains("..")
    {
        return;
    }
    let (name, folder) = (Path::new("moorgate.yml"), Path::new("/nonexistent"));
    let loaded = load_text(text, name, folder, []);
    let problems: Vec<_> = match &loaded {
        Ok(loaded) => loaded.warnings.iter().collect(),
        Err(problems) => problems.iter().collect(),
    };
    assert!(loaded.is_ok() || !problems.is_empty(), "no reason");
    for problem in problems {
        assert!(
            problem.message.contains("; ") || loaded.is_ok(),
            "{problem}: what would be right?"
        );
        assert!(!problem.to_string().chars().any(char::is_control), "{problem:?}");
        match &problem.place {
            Place::File { file, line, column } if **file == *name => {
                assert_in(text, *line, *column)
            }
            _ => {}
        }
    }
    if let Ok(loaded) = loaded {
        let printed = loaded.print();
        match load_text(&printed, name, folder, []) {
            Ok(again) => assert_eq!(printed, again.print()),
            Err(problems) => panic!("{problems}\n{printed}"),
        }
    }
}

/// Asserts that the position is that of a character, of the end of a line or of the end of the
/// text.
fn assert_in(text: &str, line: usize, column: usize) {
    // In YAML, a lone CR ends a line too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let within =
        line.checked_sub(1).and_then(|line| lines.get(line)).map(|line| line.chars().count() + 1);
    assert!(
        within.is_some_and(|end| (1..=end).contains(&column)),
        "{line}:{column} is not in the text"
    );
}
