//! `moorgate demo`

mod introduction;

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::{failed, logging, say};
use crate::demo::Demo;
use crate::record::LogFormat;

/// The time after which the demo says what its end waits for.
const SAY_AFTER: Duration = Duration::from_millis(500);

/// Runs the demo until a signal ends it.
pub(super) fn demo(port: u16) -> ExitCode {
    let _ = logging::start(tracing::Level::INFO, LogFormat::Text);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(port))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn run(port: u16) -> anyhow::Result<()> {
    let mut signals = DemoSignals::new()?;
    let demo = Demo::start(port)?;
    say(&introduction::introduction(&demo));
    signals.next().await;
    say("\nThe demo ends.\n");
    let timeout = demo.drain_timeout();
    let mut ended = pin!(demo.drain());
    if !is_over(&mut ended, &mut signals, SAY_AFTER).await {
        say(&format!(
            "An upload or a download is in progress; the demo waits for it, for at most \
             {timeout:?}. A second Ctrl-C ends the demo at once.\n"
        ));
        is_over(&mut ended, &mut signals, timeout).await;
    }
    Ok(())
}

/// Waits for the end of the drain or another signal, at most for this time. Returns whether one of
/// them came.
async fn is_over(
    ended: impl Future<Output = usize>,
    signals: &mut DemoSignals,
    time: Duration,
) -> bool {
    tokio::select! {
        _ = ended => true,
        () = signals.next() => true,
        () = sleep(time) => false,
    }
}

/// The signals that end the demo. Those of a closed terminal and of Ctrl-\ are among them, so that
/// the demo always deletes its folder, which holds a key and a token.
struct DemoSignals([Signal; 4]);

impl DemoSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
