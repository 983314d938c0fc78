//! The program's own log, on standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::run::SetLevel;

/// Sends the program's log to standard error in the form that the config names. What it returns
/// changes the level.
pub(super) fn start(level: Level, format: LogFormat) -> SetLevel {
    // Libraries log what passes through them, headers included, and warn of what a client does, as
    // often as it does it: so of theirs only errors are shown.
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
        // It fails only where there is no log any more.
        let _ = handle.reload(targets(level));
    })
}
