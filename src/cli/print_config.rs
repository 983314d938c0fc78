//! `print-config`: prints the effective configuration as a file that can be loaded again.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::check_config::{EXIT_BAD_CONFIG, load_or_report};
use crate::config::load_without_logs;

/// Writes the configuration to `stdout`, and problems and warnings to `stderr`.
pub fn print_config(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<ExitCode> {
    let Some(loaded) = load_or_report(load_without_logs(path, environment), stderr)? else {
        return Ok(EXIT_BAD_CONFIG.into());
    };
    stdout.write_all(loaded.print().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
