//! Mixed honest and hostile load on the real binary for some minutes, with one table of results.
//!
//! ```sh
//! cargo test --release --test soak -- --minutes 10
//! ```
//!
//! The gate serves TLS, HTTP/1.1 and HTTP/2, in front of the demo's registry, GitLab, introspection
//! server and issuer. Honest clients log in, pull and push, and check every answer. Hostile clients
//! send the attacks of `classes`. The registry's ledger is the oracle: every request that reaches
//! the registry must be one that its caller was allowed to send. The program exits with 1 if that,
//! or any other condition of the table, does not hold.

#![allow(unreachable_pub)]

mod attack;
mod classes;
mod client;
mod honest;
mod message;
mod oracle;
mod process;
mod silence;
mod tally;
mod world;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinSet;

use world::World;

/// The interval between two progress lines.
const PROGRESS: Duration = Duration::from_secs(5);

/// The interval between two checks of the ledger.
const LOOK: Duration = Duration::from_millis(200);

/// Mixed honest and hostile load.
#[derive(Parser)]
struct Arguments {
    /// Duration of the load, in minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Number of concurrent hostile clients, not counting the silent ones
    #[arg(long, default_value_t = 96)]
    hostile: usize,
    /// Number of concurrent silent clients
    #[arg(long, default_value_t = 120)]
    silent: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    moorgate::net::open_files::raise_limit(10_000);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(soak(&arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the load. Returns whether all conditions of the table hold.
async fn soak(arguments: &Arguments) -> anyhow::Result<bool> {
    let world = Arc::new(World::start().await?);
    let people = honest::people(&world)?;
    // The content that hostile clients look for must exist, and the gate must be warm, before its
    // memory is measured for the first time.
    honest::push_everything(&world, &people).await?;
    world.watch_ledger();
    let start = world.gate.usage();
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(arguments.minutes * 60.0);

    let mut clients = JoinSet::new();
    for person in people {
        clients.spawn(honest::live(world.clone(), person, end));
    }
    for number in 0..arguments.hostile {
        clients.spawn(attack::attacker(world.clone(), number, end));
    }
    for number in 0..arguments.silent {
        clients.spawn(silence::silent(world.clone(), number, end));
    }
    clients.spawn(world::faults(world.clone(), end));
    let mut progress = tokio::time::interval(PROGRESS);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(ended) => ended?,
                None => break,
            },
            _ = look.tick() => world.watch_ledger(),
            _ = progress.tick() => say(&world.tally.line(begun.elapsed(), world.gate.usage()))?,
        }
    }
    let took = begun.elapsed();
    world.settle().await?;
    world.watch_ledger();
    let usage = tally::Usages { start, end: world.gate.usage() };
    let peak = world.gate.peak();
    let ending = world.gate.stop()?;
    let (table, good) = world.tally.table(took, usage, peak, &ending);
    say(&table)?;
    Ok(good)
}

/// Prints a line. `print!` would panic if stdout is closed.
fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
