//! `check-config`: everything that is wrong with a configuration, without starting.

mod answer;
mod online;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Loaded, Problem, Problems, load};

/// `EX_CONFIG` of sysexits.h: what every command ends with on a bad configuration.
pub const EXIT_BAD_CONFIG: u8 = 78;

/// Problems and warnings go to `stderr`, one a line, and one line to `stdout` where the file is
/// valid. `online` asks every server that it names, too.
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

/// The configuration with its warnings told, or `None` with its problems told.
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
