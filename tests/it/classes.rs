//! `tests/hostile-classes.md` names the tests for each class of hostile input and each fault. A
//! class without a test, or a named test that does not exist, fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The classes of messages, which need a test over each version of HTTP.
const OF_MESSAGES: [u32; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 28, 29];
/// The classes that have tests. The others concern parts of the gate that do not exist yet.
const CLASSES: [std::ops::RangeInclusive<u32>; 2] = [1..=33, 36..=37];
const FAULTS: u32 = 8;

/// The subject of a section of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Class(u32),
    Fault(u32),
}

/// The tests of each section: those over HTTP/1.1 or over either version, and those over HTTP/2 if
/// it has a column of its own.
type Held = BTreeMap<Section, [BTreeSet<String>; 2]>;

#[test]
fn every_class_and_every_fault_has_tests() {
    let held = held();
    let sections: Vec<_> = CLASSES
        .into_iter()
        .flatten()
        .map(Section::Class)
        .chain((1..=FAULTS).map(Section::Fault))
        .collect();
    assert!(held.keys().eq(&sections), "every class and every fault, once each: {:?}", held.keys());
    let tests = all_tests();
    let named: BTreeSet<_> = held.values().flatten().flatten().cloned().collect();
    let gone: Vec<_> = named.difference(&tests).collect();
    assert!(gone.is_empty(), "there are no tests of these names: {gone:#?}");
    for (section, columns) in &held {
        assert!(columns.iter().any(|column| !column.is_empty()), "{section:?} has no test");
        if matches!(section, Section::Class(class) if OF_MESSAGES.contains(class)) {
            let [http1, http2] = columns;
            assert!(!http1.is_empty(), "{section:?} has no test over HTTP/1.1");
            assert!(!http2.is_empty(), "{section:?} has no test over HTTP/2");
        }
    }
}

/// Reads the table: sections `## Class 7: …` and `## Fault 2: …`, each with a table whose first
/// column describes the check and whose other columns name tests in backticks.
fn held() -> Held {
    let text = fs::read_to_string(root().join("tests/hostile-classes.md")).unwrap();
    let mut held = Held::new();
    for part in text.split("\n## ").skip(1) {
        let mut lines = part.lines();
        let title = lines.next().unwrap();
        let section =
            section(title).unwrap_or_else(|| panic!("neither a class nor a fault: {title}"));
        let mut columns = [BTreeSet::new(), BTreeSet::new()];
        for row in lines.filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert!(matches!(cells.len(), 2 | 3) && !cells[0].is_empty(), "{title}: {row}");
            let names = cells[1..].iter().map(|cell| cell.split('`').skip(1).step_by(2));
            assert!(
                names.clone().any(|mut names| names.next().is_some()),
                "{title}: no test in {row}"
            );
            for (column, names) in columns.iter_mut().zip(names) {
                column.extend(names.map(str::to_owned));
            }
        }
        assert!(held.insert(section, columns).is_none(), "twice: {title}");
    }
    held
}

fn section(title: &str) -> Option<Section> {
    let (section, _) = title.split_once(": ")?;
    let (kind, number) = section.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "Class" => Some(Section::Class(number)),
        "Fault" => Some(Section::Fault(number)),
        _ => None,
    }
}

/// Returns all tests: `it::…` as this program lists them, `lib::…` and those of the other programs
/// in `tests/` as found in their source, and `e2e::…`, the groups of `tests/e2e/run`.
fn all_tests() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(|name| format!("it::{name}"));
    let mut tests: BTreeSet<String> = names.collect();
    read_sources(&root().join("src"), "lib", &mut tests);
    for file in fs::read_dir(root().join("tests")).unwrap() {
        let path = file.unwrap().path();
        let main = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        if main.extension().is_some_and(|extension| extension == "rs") && main.exists() {
            let (source, stem) =
                (fs::read_to_string(&main).unwrap(), path.file_stem().unwrap().to_str().unwrap());
            tests_of(&source, stem, &mut tests);
            // A program without a test harness is one test.
            tests.extend(source.contains("\nfn main()").then(|| stem.to_owned()));
        }
    }
    let run = fs::read_to_string(root().join("tests/e2e/run")).unwrap();
    let groups = run.split("GROUPS = {").nth(1).unwrap().split("\n}").next().unwrap();
    let groups = groups
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.trim_matches('"'));
    tests.extend(groups.map(|name| format!("e2e::{name}")));
    tests
}

/// Collects the unit tests in a folder of modules.
fn read_sources(folder: &Path, module: &str, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = match path.file_stem().unwrap().to_str().unwrap() {
            "lib" => module.to_owned(),
            stem => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            read_sources(&path, &module, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_of(&fs::read_to_string(&path).unwrap(), &module, tests);
        }
    }
}

/// Collects the functions of a file under `#[test]` or `#[tokio::test]`. rustfmt leaves the modules
/// within the file unindented.
fn tests_of(source: &str, module: &str, tests: &mut BTreeSet<String>) {
    let mut within = None;
    let mut is_test = false;
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            within = Some(name);
        } else if line == "}" {
            within = None;
        }
        let line = line.trim_start();
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            let name = rest.split('(').next().unwrap();
            tests.insert(
                [Some(module), within, Some(name)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("::"),
            );
            is_test = false;
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
