//! The files under config/: they load, and the reference and the schema agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use moorgate::cli::check_config::{Extent, check_config};
use moorgate::cli::print_config::print_config;
use moorgate::config;
use serde_json::Value;

use super::files;

fn folder_of_config() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"))
}

/// Creates a folder with the reference, the examples and all files that they name.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for from in [folder_of_config().to_owned(), folder_of_config().join("examples")] {
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "yml") {
                fs::copy(&path, copy.path().join(path.file_name().expect("a name")))
                    .expect("a copy");
            }
        }
    }
    files::pair(copy.path(), "tls", -1, 365);
    // A cluster's authority is a certificate like any other.
    files::pair(copy.path(), "cluster-ca", -1, 365);
    files::write(copy.path(), "edge.jwks.json", files::JWKS);
    files::write(copy.path(), "htpasswd", files::htpasswd());
    files::write(copy.path(), "servers.htpasswd", files::htpasswd());
    files::write_private(copy.path(), "introspection.secret", "s3cret\n");
    files::write_private(copy.path(), "tokens.keys", &files::token_keys());
    copy
}

#[test]
fn the_reference_and_the_examples_load_and_print() {
    let copy = copy();
    let mut seen = 0;
    for entry in fs::read_dir(copy.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "yml") {
            continue;
        }
        seen += 1;
        let loaded = config::load(&path, []).unwrap_or_else(|problems| panic!("{problems}"));
        let terminator = path.ends_with("behind-tls-terminator.yml");
        assert_eq!(loaded.warnings.len(), usize::from(terminator), "{:?}", loaded.warnings);
        let again =
            config::load_text(&loaded.print(), Path::new("printed.yml"), Path::new("/"), []);
        again.unwrap_or_else(|problems| panic!("{problems}\n{}", loaded.print()));
    }
    assert_eq!(seen, 17);
}

#[test]
fn the_committed_schema_is_the_derived_one() {
    let path = folder_of_config().join("schema.json");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, config::schema()).expect("a writable file");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == config::schema(),
        "config/schema.json is not what `moorgate schema` prints"
    );
}

#[test]
fn the_reference_has_every_key_of_the_schema_and_its_default() {
    let schema: Value = serde_json::from_str(&config::schema()).expect("JSON");
    let mut expected = Keys::new();
    keys_of_schema(&schema, "", &mut expected);
    let reference =
        fs::read_to_string(folder_of_config().join("moorgate.yml")).expect("the reference");
    let written = keys_of_reference(&reference);
    // Keys below a section that is off, or below a list that is empty, are only in the comment
    // beside it.
    let is_off = |path: &str| {
        written.get(path).is_some_and(|values| values.iter().all(|it| it == "null" || it == "[]"))
    };
    let sections = |path: &str| {
        path.match_indices('.').map(|(end, _)| path[..end].to_owned()).collect::<Vec<_>>()
    };
    expected.retain(|path, _| !sections(path).iter().any(|section| is_off(section)));
    let names = |keys: &Keys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&expected));
    for (path, defaults) in &expected {
        for value in &written[path] {
            // Quotes are YAML syntax: the text has the same value without them.
            let value = value.replace('"', "");
            let is_default = defaults.contains(&String::new()) || defaults.contains(&value);
            assert!(
                is_default || value == MARKED,
                "{path}: {value} is not the default {defaults:?}"
            );
        }
    }
}

/// Each key with its values. Several types of provider may have the same key.
type Keys = BTreeMap<String, Vec<String>>;

/// The placeholder for a value that the reference marks as not the default.
const MARKED: &str = "marked";

/// Collects each key with its defaults, empty if it has none.
fn keys_of_schema(schema: &Value, path: &str, keys: &mut Keys) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        keys_of_schema(property, &path, keys);
        keys_of_schema(&property["items"], &path, keys);
        if let Some(variants) = property.pointer("/items/oneOf").and_then(Value::as_array) {
            for variant in variants {
                keys_of_schema(variant, &path, keys);
            }
        }
        // The entries of a map are its default. Sections have no default of their own.
        if let Some(map) = property.get("default").and_then(Value::as_object) {
            keys.extend(
                map.iter().map(|(key, value)| (format!("{path}.{key}"), vec![plain(value)])),
            );
        }
        let is_section = property.get("properties").is_some();
        let default = property.get("default").filter(|default| !default.is_object() && !is_section);
        keys.entry(path).or_default().push(default.map(plain).unwrap_or_default());
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

/// Returns each key of the reference with its values. The nesting follows the indentation.
fn keys_of_reference(text: &str) -> Keys {
    let mut keys = Keys::new();
    let mut sections: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let (content, comment) = line.split_once(" #").unwrap_or((line, ""));
        let content = content.trim_end();
        let key = content.trim_start_matches([' ', '-']);
        let indent = content.len() - key.len();
        let Some((key, value)) = key.split_once(':').filter(|(key, _)| !key.starts_with('#'))
        else {
            continue;
        };
        sections.retain(|(outer, _)| *outer < indent);
        let path = sections.last().map_or_else(String::new, |(_, path)| path.clone()) + "." + key;
        sections.push((indent, path.clone()));
        let is_marked = comment.contains("required") || comment.contains("example");
        let value = if is_marked { MARKED } else { value.trim() };
        keys.entry(path).or_default().push(value.to_owned());
    }
    keys
}

#[test]
fn check_config_and_print_config_report_and_set_the_exit_code() {
    let copy = copy();
    let run = |name: &str, print: bool| {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let path = copy.path().join(name);
        let code = if print {
            print_config(&path, [], &mut stdout, &mut stderr)
        } else {
            check_config(&path, [], Extent::Files, &mut stdout, &mut stderr)
        };
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .expect("text")
                .replace(&format!("{}/", copy.path().display()), "")
        };
        (format!("{:?}", code.expect("writing to memory")), text(stdout), text(stderr))
    };
    let exit = |code: u8| format!("{:?}", std::process::ExitCode::from(code));

    assert_eq!(
        run("htpasswd.yml", false),
        (exit(0), "htpasswd.yml: valid\n".to_owned(), String::new())
    );
    let (code, stdout, stderr) = run("behind-tls-terminator.yml", false);
    assert_eq!(
        (code, stdout.as_str()),
        (exit(0), "behind-tls-terminator.yml: valid (1 warning)\n")
    );
    assert!(
        stderr.starts_with("behind-tls-terminator.yml:10:8: warning: `http.tls`: TLS is off"),
        "{stderr}"
    );

    fs::write(copy.path().join("bad.yml"), "version: 2\nhtp: {}\n").expect("a writable folder");
    let (code, stdout, stderr) = run("bad.yml", false);
    assert_eq!((code, stdout.as_str()), (exit(78), ""));
    assert_eq!(stderr.lines().count(), 5, "{stderr}");
    assert!(
        stderr.contains("bad.yml:2:1: `htp` is not a known key; did you mean `http`?\n"),
        "{stderr}"
    );
    assert_eq!(run("bad.yml", true), (exit(78), String::new(), stderr));

    let (code, stdout, _) = run("htpasswd.yml", true);
    assert_eq!(code, exit(0));
    assert!(stdout.starts_with("version: 1\nhttp:\n  addr: 0.0.0.0:8443\n"), "{stdout}");
}
