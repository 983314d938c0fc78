//! `check-config`: reports all problems of a configuration without starting the gate.

mod answer;
mod online;
mod upload;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Loaded, Problem, Problems, load};

/// The exit code of every command on a bad configuration: `EX_CONFIG` of sysexits.h.
pub const EXIT_BAD_CONFIG: u8 = 78;

/// Checks a configuration. Problems and warnings go to `stderr`, one per line. If the file is
/// valid, one line goes to `stdout`. With `online`, every server that the configuration names is
/// asked too.
pub fn check_config(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    online: bool,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<ExitCode> {
    let Some(loaded) = load_or_report(load(path, environment), stderr)? else {
        return Ok(EXIT_BAD_CONFIG.into());
    };
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => " (1 warning)".to_owned(),
        several => format!(" ({several} warnings)"),
    };
    writeln!(stdout, "{}: valid{warnings}", path.display())?;
    if online && !online::check(&loaded, stdout, stderr)? {
        return Ok(EXIT_BAD_CONFIG.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the configuration after writing its warnings, or `None` after writing its problems.
pub fn load_or_report(
    loaded: Result<Loaded, Problems>,
    stderr: &mut dyn Write,
) -> io::Result<Option<Loaded>> {
    match loaded {
        Ok(loaded) => {
            for Problem { place, message } in &loaded.warnings {
                writeln!(stderr, "{place}: warning: {message}")?;
            }
            Ok(Some(loaded))
        }
        Err(problems) => {
            writeln!(stderr, "{problems}")?;
            Ok(None)
        }
    }
}
