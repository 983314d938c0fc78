//! The configuration file: YAML in, checked objects out, every problem at once.
//!
//! ```text
//! text ─tree─> positioned nodes ─shape─> well-formed values ─serde─> raw ─build─> ready
//!                 ^ environment             ^ schema (derived from raw)      ^ files
//! ```
//!
//! Each stage adds to the problems and passes on the valid values, so that a problem in one place
//! does not hide a problem in another.

mod build;
mod environment;
mod format;
mod named_file;
mod outline;
mod print;
mod problem;
mod raw;
mod ready;
mod schema;
mod shape;
mod slips;
mod tree;
mod url;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use build::{Build, LogFiles, NamedFiles};
use named_file::read_bounded;
use problem::in_order;
use raw::Raw;
use shape::{MissingKeys, Places, place_of};
use slips::Slip;
use tree::Node;

pub use format::Rate;
pub use named_file::FileVersion;
pub use outline::Outline;
pub use problem::{Place, Problem, Problems};
pub use raw::{ChallengeScheme, TlsVersion};
pub use ready::{
    AccessLogTarget, AdminConfig, Config, Http, Log, Provider, Tls, Tokens, UpstreamAuthorization,
    UpstreamConfig,
};
pub use schema::schema;
pub use url::{ExternalUrl, Scheme};

/// The largest size of a configuration file, in bytes. 10,000 rules have about 3 MB. docs/access.md
/// names this size.
const MAX_BYTES: u64 = 16 << 20;

/// A valid configuration, ready for use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values, with the content of every file that they name.
    pub config: Config,
    /// Problems that the operator should know of, but that do not stop the gate from starting.
    pub warnings: Vec<Problem>,
    /// The configuration in a form that can be compared with a later one.
    pub outline: Outline,
    raw: Raw,
    folder: Box<Path>,
    places: Places,
    start: Place,
}

impl Loaded {
    /// Creates a problem with the value of a key, such as `identity[0].url`, that was found after
    /// loading.
    pub fn problem(&self, path: &str, message: impl fmt::Display) -> Problem {
        Problem::new(place_of(&self.places, &self.start, path), format!("`{path}`: {message}"))
    }

    /// Returns the effective configuration as YAML. Defaults are filled in, paths are absolute, and
    /// the text is itself a valid configuration. It contains no secret, because secrets are in
    /// files.
    pub fn print(&self) -> String {
        print::print(&self.raw, &self.folder)
    }
}

/// Reads a file, the variables that override it and every file that it names.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    attempt(path, environment).loaded
}

/// The result of reading a configuration.
pub struct LoadAttempt {
    pub loaded: Result<Loaded, Problems>,
    /// Every file that was read, or that could not be read. Reading the configuration again can
    /// have another result if the content of one of them changes.
    pub files: Vec<FileVersion>,
}

/// Loads a configuration like [`load`], and also returns the files that it was read from, for a
/// caller that reads it again when one of them changes.
pub fn attempt(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> LoadAttempt {
    attempt_with(path, environment, LogFiles::Needed)
}

/// Loads a configuration like [`attempt`] for a running gate, which has the log files `open_logs`
/// open. That one of them cannot be opened again is only a warning, because its lines still go to
/// the open file, and a reload must be able to replace an expired certificate.
pub fn attempt_again(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    open_logs: &[PathBuf],
) -> LoadAttempt {
    attempt_with(path, environment, LogFiles::Open(open_logs))
}

/// Loads a configuration like [`load`] for a command that writes no log, and that may run as
/// another user than the gate: a log file that cannot be written is only a warning.
pub fn load_without_logs(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    attempt_with(path, environment, LogFiles::Unneeded).loaded
}

/// Checks a configuration like [`load`], but on another machine than the gate's: a file that it
/// names and that is not there is only a warning. What depends on the content of such a file is not
/// checked. Returns the warnings.
///
/// # Errors
/// All problems.
pub fn check_without_files(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Problem>, Problems> {
    let text = read_text(path).map_err(|problem| Problems::new(vec![problem], path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let Read { raw, places, start, problems, slips } = read(&text, path, environment)?;
    let mut build = Build {
        folder,
        places: &places,
        start: &start,
        log_files: LogFiles::Unneeded,
        named_files: NamedFiles::Elsewhere,
        problems,
        warnings: Vec::new(),
        files: Vec::new(),
    };
    let _ = build.config(&raw);
    let Build { mut problems, warnings, .. } = build;
    slips::explain(&mut problems, &slips, path);
    if problems.is_empty() {
        Ok(in_order(warnings, path))
    } else {
        Err(Problems::new(problems, path))
    }
}

fn attempt_with(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    log_files: LogFiles<'_>,
) -> LoadAttempt {
    let text = read_text(path);
    let file = FileVersion::new("", path.to_owned(), text.as_ref().ok().map(String::as_bytes));
    let mut files = vec![if text.is_ok() { file } else { file.now() }];
    let folder = path.parent().unwrap_or(Path::new(""));
    let loaded = match text {
        Ok(text) => build(&text, path, folder, environment, log_files, &mut files),
        Err(problem) => Err(Problems::new(vec![problem], path)),
    };
    LoadAttempt { loaded, files }
}

/// Loads a configuration from a text. Problems call the text `name`, and relative paths start from
/// `folder`.
pub fn load_text(
    text: &str,
    name: &Path,
    folder: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    build(text, name, folder, environment, LogFiles::Needed, &mut Vec::new())
}

/// Builds a configuration from a text, and appends every file that it reads to `files`.
fn build(
    text: &str,
    name: &Path,
    folder: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    log_files: LogFiles<'_>,
    files: &mut Vec<FileVersion>,
) -> Result<Loaded, Problems> {
    let Read { raw, places, start, problems, slips } = read(text, name, environment)?;
    let (warnings, read) = (Vec::new(), Vec::new());
    let mut build = Build {
        folder,
        places: &places,
        start: &start,
        log_files,
        named_files: NamedFiles::Needed,
        problems,
        warnings,
        files: read,
    };
    let config = build.config(&raw);
    let Build { mut problems, warnings, files: read, .. } = build;
    slips::explain(&mut problems, &slips, name);
    files.extend_from_slice(&read);
    match config {
        Some(config) if problems.is_empty() => {
            let warnings = in_order(warnings, name);
            let outline = Outline::new(serde_json::to_value(&raw).unwrap_or_default(), read);
            Ok(Loaded { config, warnings, outline, raw, folder: folder.into(), places, start })
        }
        _ => Err(Problems::new(problems, name)),
    }
}

/// Returns the address of the admin listener, even if other values are wrong. The files that the
/// config names are not read, because their current content says nothing about a gate that has read
/// them earlier.
pub fn admin_addr(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<SocketAddr, Problems> {
    let text = read_text(path).map_err(|problem| Problems::new(vec![problem], path))?;
    Ok(read(&text, path, environment)?.raw.admin.addr.0)
}

/// The well-formed part of a text and the environment, and the problems of the rest.
struct Read {
    raw: Raw,
    places: Places,
    start: Place,
    problems: Vec<Problem>,
    /// The slips of the keyboard that may explain the problems.
    slips: Vec<Slip>,
}

fn read(
    text: &str,
    name: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Read, Problems> {
    let start = Place::start_of(name);
    let schema = schema::derived();
    let mut problems = Vec::new();
    let overrides = environment::overrides(&schema, environment, &mut problems);
    let slips = slips::find(text, &|key| schema::has_key(&schema, key));
    let Some(mut root) = Node::parse(text, name, &slips, &mut problems) else {
        return Err(Problems::new(problems, name));
    };

    // The file is first checked without the overrides, because an override must not hide a wrong
    // value in it. Missing keys are reported only with the overrides, which may supply them.
    problems.extend(shape::read(&schema, &root, &start, MissingKeys::Ignored).problems);
    environment::apply(&mut root, overrides);
    let reading = shape::read(&schema, &root, &start, MissingKeys::Reported);
    problems.extend(reading.problems);

    let raw: Raw = match serde_json::from_value(reading.value) {
        Ok(raw) => raw,
        Err(error) => {
            // This happens only if the whole file is not a section, which was reported, or if the
            // schema allows a value that the types do not.
            if problems.is_empty() {
                problems.push(Problem::new(start, format!("{error}; see config/moorgate.yml")));
            }
            slips::explain(&mut problems, &slips, name);
            return Err(Problems::new(problems, name));
        }
    };
    Ok(Read { raw, places: reading.places, start, problems, slips })
}

/// Reads the configuration file.
fn read_text(path: &Path) -> Result<String, Problem> {
    let content = read_bounded(path, MAX_BYTES).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "the file does not exist; name a config file with --config".to_owned()
            }
            std::io::ErrorKind::IsADirectory => "this is a folder; name the file in it".to_owned(),
            std::io::ErrorKind::FileTooLarge => {
                "the file is larger than 16 MiB, the most that the gate reads; name a config file \
                 with --config, or merge rules, e.g. with wildcards"
                    .to_owned()
            }
            std::io::ErrorKind::NotSeekable => {
                "this is a pipe; name a file with --config".to_owned()
            }
            _ => format!(
                "the file cannot be read ({error}); name a readable config file with --config"
            ),
        };
        Problem::new(Place::start_of(path), message)
    })?;
    String::from_utf8(content).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before =
            String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Place::File { file: path.into(), line, column };
        Problem::new(place, "this is not UTF-8 text; save the file as UTF-8")
    })
}
