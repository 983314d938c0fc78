//! The program's own log, on standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;

/// Sends the program's log to standard error in the form that the config names.
pub(super) fn start(level: Level, format: LogFormat) {
    let builder = tracing_subscriber::fmt().with_max_level(LevelFilter::from_level(level)).with_writer(std::io::stderr);
    // A second call (in a test) changes nothing.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
