//! The closed lists and the figures in the documentation.

use std::fs;
use std::path::Path;

use moorgate::denial::Reason;

/// Every `reason` in the source is explained in `docs/errors.md`.
#[test]
fn every_reason_is_explained() {
    let page = read("docs/errors.md");
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let explained = |reason: &str| {
        table.iter().any(|line| line.split('|').nth(1).unwrap().contains(&format!("`{reason}`")))
    };
    for reason in Reason::ALL {
        assert!(explained(reason.as_str()), "`{reason}` is not in the list of docs/errors.md");
    }
}

/// The README has the ratios of the table in `docs/performance.md`, which `benches/peers/run`
/// printed.
#[test]
fn the_readme_quotes_the_comparison_on_the_performance_page() {
    let words = |path| read(path).split_whitespace().collect::<Vec<_>>().join(" ");
    let (readme, page) = (words("README.md"), read("docs/performance.md"));
    let (_, table) = page.split_once("÷ haproxy-plain |\n|---").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 7);
    for row in rows {
        let quoted = format!("{}: {}", row[0], row[row.len() - 3..].join(" / "));
        assert!(readme.contains(&quoted), "README.md does not quote `{quoted}`");
    }
}

/// The page has the committed figures of the instruction count, and the bounds of the allocations.
#[test]
fn the_performance_page_has_what_the_checks_of_a_request_hold() {
    let page = read("docs/performance.md");
    let figures: serde_json::Value =
        serde_json::from_str(&read("benches/instructions/figures.json")).unwrap();
    let instructions = |protocol: &str| {
        let count = figures["instructions_per_request"][protocol].as_u64().unwrap();
        format!("{},{:03}", count / 1000, count % 1000)
    };
    let test = read("tests/allocations/main.rs");
    let allocations = |protocol: &str| {
        let (_, bound) = test.split_once(&format!("(Protocol::{protocol}, ")).unwrap();
        bound.split_once(')').unwrap().0.to_owned()
    };
    for (what, http1, http2) in [
        ("instructions in user mode, without TLS", instructions("http1"), instructions("http2")),
        ("allocations, without TLS", allocations("Http1"), allocations("Http2")),
    ] {
        let row = format!("| {what} | {http1} | {http2} |");
        assert!(page.contains(&row), "docs/performance.md does not have {row}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
