//! The program log, on standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::record::LogFormat;
use crate::run::SetLevel;

/// Starts the program log on standard error, in the format of the config. Returns a function that
/// changes the level.
pub(super) fn start(level: Level, format: LogFormat) -> SetLevel {
    // Libraries log the data that they process, including headers, and warn about client behaviour
    // each time it occurs. Only their errors are logged.
    let targets =
        |level| Targets::new().with_default(LevelFilter::ERROR).with_target("moorgate", level);
    let (filter, handle) = reload::Layer::new(targets(level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => {
            layer.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
    };
    // A second call (in a test) changes nothing.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Box::new(move |level| {
        // Reloading fails only if the subscriber does not exist any more.
        let _ = handle.reload(targets(level));
    })
}
