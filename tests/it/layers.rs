//! The architecture: which room of `src` may use which, and which of them do no input or output.
//!
//! A room is a top-level module, or one of the rooms of `identity`. A new file needs no line here;
//! a new room does.

mod room;
mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use room::{IMPURE, Room};
use rooms::{PROVIDERS, PURE, RELATED, ROOMS, STRICTER};

#[test]
fn providers_do_not_use_each_other() {
    for Source { module, code } in sources() {
        let Some(rest) = module.strip_prefix("identity/provider/") else { continue };
        let own = rest.split('/').next().unwrap();
        for other in PROVIDERS.iter().filter(|other| **other != own) {
            let named = [format!("super::{other}::"), format!("provider::{other}::")];
            let uses = named.iter().any(|name| code.contains(name));
            assert!(!uses || RELATED.contains(&(own, other)), "src/{module} uses {other}");
        }
    }
}

#[test]
fn rooms_use_what_the_table_allows() {
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut problems = Vec::new();
    for Source { module, code } in sources() {
        let Some(room) = room_of(&module) else {
            // `lib.rs` and `main.rs` name everything or nothing.
            assert!(
                ["lib", "main"].contains(&&*module),
                "src/{module}.rs is in no room: add one to ROOMS"
            );
            continue;
        };
        for path in named_paths(&code) {
            let Some(other) = room_of(&path).filter(|other| other.name != room.name) else {
                continue;
            };
            used.entry(room.name).or_default().insert(other.name);
            if !room.uses.contains(&other.name) {
                problems.push(format!("src/{module} uses crate::{}", path.replace('/', "::")));
            }
        }
    }
    for room in ROOMS {
        let unused = room
            .uses
            .iter()
            .filter(|other| !used.get(room.name).is_some_and(|used| used.contains(*other)));
        problems.extend(unused.map(|other| {
            format!("{} does not use {other} any more: take it off its list", room.name)
        }));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_rooms_use_each_other_in_a_circle() {
    for (place, room) in ROOMS.iter().enumerate() {
        for other in room.uses {
            let above = ROOMS.iter().take(place).any(|above| above.name == *other);
            assert!(above, "{} uses {other}, which does not stand before it in ROOMS", room.name);
        }
    }
}

#[test]
fn pure_rooms_do_no_input_or_output() {
    let mut problems = Vec::new();
    for Source { module, code } in sources() {
        let is_pure = PURE.iter().any(|pure| is_within(&module, pure));
        let room = room_of(&module).map_or(&[][..], |room| room.must_not_use);
        let stricter = STRICTER.iter().find(|(file, _)| *file == module).map_or(&[][..], |it| it.1);
        let pure = IMPURE.iter().filter(|_| is_pure);
        let forbidden: BTreeSet<_> = room.iter().chain(stricter).chain(pure).collect();
        for line in code.lines() {
            for name in forbidden.iter().filter(|name| names_crate(line, name)) {
                problems.push(format!("src/{module} uses {name}: {}", line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for (file, _) in STRICTER {
        assert!(sources().iter().any(|source| source.module == *file), "there is no src/{file}.rs");
    }
    for pure in PURE {
        assert!(
            sources().iter().any(|source| is_within(&source.module, pure)),
            "there is no src/{pure}"
        );
    }
}

/// A file of `src` without its comments, and without the tests beside the code, which may use more.
struct Source {
    /// Its path without `.rs`.
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_test = |module: &str| {
        ["tests", "test_server", "test_disk", "properties"].iter().any(|it| module.contains(it))
    };
    let read = |file: PathBuf| {
        let module =
            file.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let begins_tests = |at: &usize| {
            let item = text[*at..].lines().find(|line| !line.starts_with("#["));
            item.is_some_and(|item| item.contains("mod ") && item.ends_with(" {"))
        };
        let end = text
            .match_indices("#[cfg(test)]\n")
            .map(|(at, _)| at)
            .find(begins_tests)
            .unwrap_or(text.len());
        let code = text[..end].replace("pub(in crate::", "pub(in ");
        let code = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        Source { module, code }
    };
    files_below(&src).into_iter().map(read).filter(|source| !is_test(&source.module)).collect()
}

/// The room with the longest name that a module is within.
fn room_of(module: &str) -> Option<&'static Room> {
    ROOMS.iter().filter(|room| is_within(module, room.name)).max_by_key(|room| room.name.len())
}

fn is_within(module: &str, room: &str) -> bool {
    module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The paths that the code names after `crate::`, with `/` between their parts; of a list in braces
/// each one.
fn named_paths(code: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut paths = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let mut rest = &code[at + found.len()..];
        let mut path = Vec::new();
        loop {
            let part = word(rest);
            rest = &rest[part.len()..];
            path.push(part);
            match rest.strip_prefix("::") {
                Some(behind) if !behind.starts_with(['{', '<', '*']) => rest = behind,
                Some(behind) => {
                    let list = behind
                        .strip_prefix('{')
                        .and_then(|list| list.split('}').next())
                        .unwrap_or_default();
                    let items = list.split(',').map(|item| word(item.trim()));
                    paths.extend(items.map(|item| format!("{}/{item}", path.join("/"))));
                    break;
                }
                None => break,
            }
        }
        paths.push(path.join("/"));
    }
    paths
}

fn names_crate(line: &str, name: &str) -> bool {
    let bare =
        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let ends = |at: usize| name.contains("::") || line[at + name.len()..].starts_with("::");
    line.match_indices(name).any(|(at, _)| bare(at) && ends(at))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
