//! Every file under tests/fixtures/config: valid ones load, and invalid ones have exactly the
//! expected problems.

use std::fs;
use std::path::{Path, PathBuf};

use moorgate::config;

use super::files::folder;

#[test]
fn valid_files_load() {
    for path in fixtures("valid") {
        load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn invalid_files_have_the_expected_problems() {
    let mut wrong = String::new();
    for path in fixtures("invalid") {
        let expected_path = path.with_extension("expected");
        let problems = load(&path).err().unwrap_or_else(|| "none\n".to_owned());
        assert!(!problems.contains("hunter2"), "a secret in {problems}");
        for line in problems.lines() {
            assert!(line.contains("; "), "{line}: what would be right?");
        }
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected_path, &problems).expect("a writable fixture");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if problems != expected {
            wrong.push_str(&format!(
                "--- expected of {}\n{expected}--- found\n{problems}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Loads a file in the shared folder. Fails with its problems, one a line. The file's comments may
/// set the environment.
fn load(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).expect("a fixture");
    let environment: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# environment: ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let name = path.file_name().map(Path::new).expect("a name");
    match config::load_text(&text, name, folder(), environment) {
        Ok(_) => Ok(()),
        Err(problems) => {
            Err(format!("{problems}\n").replace(&format!("{}/", folder().display()), ""))
        }
    }
}

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(kind);
    let paths =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "yml")).collect();
    assert!(paths.len() > 1, "no fixtures");
    paths.sort();
    paths
}
