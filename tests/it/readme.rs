//! The closed lists in the README.

use std::fs;
use std::path::Path;

use moorgate::denial::Reason;

/// Every `reason` in the source is explained in the README.
#[test]
fn every_reason_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let explained = |reason: &str| {
        table.iter().any(|line| line.split('|').nth(1).unwrap().contains(&format!("`{reason}`")))
    };
    for reason in Reason::ALL {
        assert!(explained(reason.as_str()), "`{reason}` is not in the README's list");
    }
}
