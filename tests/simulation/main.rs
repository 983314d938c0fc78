//! Simulates replicas of the gate that share limits, verdicts and revocations, without sockets: the
//! clock is a number, and Redis is a model.
//!
//! ```sh
//! cargo test --test simulation                                        # a few small runs
//! cargo test --profile bench --test simulation -- --seeds 200         # as CI does
//! cargo test --profile bench --test simulation -- --seed 17 --trace   # one of them again
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod attack;
mod audit;
mod beat_model;
mod cache;
mod callers;
mod exact;
mod faults;
mod gate;
mod lease_model;
mod look;
mod provider;
mod redis;
mod replica;
mod revoking;
mod run;
mod scenario;
mod stream;
mod tasks;
mod verdict_model;
mod verdicts;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;

use world::World;

/// Simulates replicas.
#[derive(Parser)]
struct Arguments {
    /// Runs this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the seeds below this number
    #[arg(long, default_value_t = 6)]
    seeds: u64,
    /// Prints what happens
    #[arg(long)]
    trace: bool,
    /// Prints what happens to this caller
    #[arg(long)]
    caller: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return if run(seed, arguments.trace, arguments.caller) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    exact::all();
    let begun = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds {
                        break;
                    }
                    if !run(seed, false, None) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} seeds in {:.1?}, {failed} failed", arguments.seeds, begun.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed. Returns whether all conditions hold.
fn run(seed: u64, trace: bool, caller: Option<usize>) -> bool {
    let begun = Instant::now();
    let mut world = World::new(seed, trace);
    world.watched = caller;
    let result = world.run();
    let (requests, calls) = (world.requests, world.calls);
    let size = format!(
        "{} replicas, {} callers, {:.0} s, {} faults{}, {requests} requests, {calls} calls, \
         {} logins ({} asked, {} learned, {} revoked), {:.1?}",
        world.scenario.replicas,
        world.scenario.callers,
        world.scenario.length.as_secs_f64(),
        world.scenario.faults.len(),
        if world.scenario.is_attacked { " and an attacker" } else { "" },
        world.let_in + world.refused,
        world.provider.asked,
        world.learned,
        world.revoked.len(),
        begun.elapsed()
    );
    match &result {
        Ok(()) => println!("seed {seed}: {size}"),
        Err(why) => println!("seed {seed} FAILED: {why} ({size}); run again with --seed {seed}"),
    }
    result.is_ok()
}
