//! What the README says of closed lists.

use std::fs;
use std::path::Path;

/// Every `reason` that the source can log is explained.
#[test]
fn every_reason_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let explained = |reason: &str| {
        table.iter().any(|line| line.split('|').nth(1).unwrap().contains(&format!("`{reason}`")))
    };
    let mut reasons = Vec::new();
    let denial = fs::read_to_string(root.join("src/denial.rs")).unwrap();
    let wire = denial.split("pub fn wire").nth(1).unwrap().split("pub fn message").next().unwrap();
    reasons.extend(quoted_words(wire).filter(|word| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    }));
    for file in ["src/record.rs", "src/body/response.rs"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        for call in ["Failed(\"", "broke_off(\"", "break_off(\"", "Err(\""] {
            reasons.extend(
                text.split(call).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()),
            );
        }
    }
    reasons.extend(["allowed".into(), "shadow_denied".into()]);
    assert!(reasons.len() > 20, "{reasons:?}");
    for reason in reasons {
        assert!(explained(&reason), "`{reason}` is not in the README's list");
    }
}

fn quoted_words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}
