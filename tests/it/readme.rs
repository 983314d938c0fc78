//! The closed lists in the documentation.

use std::fs;
use std::path::Path;

use moorgate::denial::Reason;

/// Every `reason` in the source is explained in `docs/errors.md`.
#[test]
fn every_reason_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let explained = |reason: &str| {
        table.iter().any(|line| line.split('|').nth(1).unwrap().contains(&format!("`{reason}`")))
    };
    for reason in Reason::ALL {
        assert!(explained(reason.as_str()), "`{reason}` is not in the list of docs/errors.md");
    }
}
