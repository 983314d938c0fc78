//! The configuration file.

use std::path::Path;

use moorgate::config::{Place, load_text};

/// Whatever the text, there is a configuration or a list of problems. Each problem stands in the
/// text, on one line, and says what would be right. A configuration prints as one that prints the
/// same.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Files that it names are read. Some on a machine never end, or are written to.
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

/// The place is one of a character, or the end of a line or of the text.
fn assert_in(text: &str, line: usize, column: usize) {
    // YAML ends lines at a lone CR, too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let within =
        line.checked_sub(1).and_then(|line| lines.get(line)).map(|line| line.chars().count() + 1);
    assert!(
        within.is_some_and(|end| (1..=end).contains(&column)),
        "{line}:{column} is not in the text"
    );
}
