//! `check-config`: reports all problems of a configuration without starting the gate.

mod answer;
mod online;
mod upload;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Loaded, Problem, Problems, check_without_files, load};

/// The exit code of every command on a bad configuration: `EX_CONFIG` of sysexits.h.
pub const EXIT_BAD_CONFIG: u8 = 78;

/// The extent of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The configuration, and every file that it names.
    Files,
    /// The same as [`Files`](Self::Files); a file that is not there is only a warning.
    MissingFilesAllowed,
    /// The same as [`Files`](Self::Files), and every server that the configuration names.
    Online,
}

/// Checks a configuration. Problems and warnings go to `stderr`, one per line. If the file is
/// valid, one line goes to `stdout`.
pub fn check_config(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    extent: Extent,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<ExitCode> {
    if extent == Extent::MissingFilesAllowed {
        return match check_without_files(path, environment) {
            Ok(warnings) => {
                report(&warnings, stderr)?;
                say_valid(path, warnings.len(), stdout)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(problems) => {
                writeln!(stderr, "{problems}")?;
                Ok(EXIT_BAD_CONFIG.into())
            }
        };
    }
    let Some(loaded) = load_or_report(load(path, environment), stderr)? else {
        return Ok(EXIT_BAD_CONFIG.into());
    };
    say_valid(path, loaded.warnings.len(), stdout)?;
    if extent == Extent::Online && !online::check(&loaded, stdout, stderr)? {
        return Ok(EXIT_BAD_CONFIG.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes that a configuration is valid.
fn say_valid(path: &Path, warnings: usize, stdout: &mut dyn Write) -> io::Result<()> {
    let warnings = match warnings {
        0 => String::new(),
        1 => " (1 warning)".to_owned(),
        several => format!(" ({several} warnings)"),
    };
    writeln!(stdout, "{}: valid{warnings}", path.display())
}

/// Writes warnings, one per line.
fn report(warnings: &[Problem], stderr: &mut dyn Write) -> io::Result<()> {
    for Problem { place, message } in warnings {
        writeln!(stderr, "{place}: warning: {message}")?;
    }
    Ok(())
}

/// Returns the configuration after writing its warnings, or `None` after writing its problems.
pub fn load_or_report(
    loaded: Result<Loaded, Problems>,
    stderr: &mut dyn Write,
) -> io::Result<Option<Loaded>> {
    match loaded {
        Ok(loaded) => {
            report(&loaded.warnings, stderr)?;
            Ok(Some(loaded))
        }
        Err(problems) => {
            writeln!(stderr, "{problems}")?;
            Ok(None)
        }
    }
}
