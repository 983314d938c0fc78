//! The number of allocations that one cached GET takes: in the whole gate, and in the rooms that
//! must not allocate at all. This is a separate program because it counts the allocations of the
//! whole process.
//!
//! The gate is the one of `benches/instructions`: every feature on, the client in memory, the
//! registry behind a socket. Its other threads do not allocate while the worker answers. What
//! rarely happens, such as the housekeeping of moka, is left out: the smallest of several rounds
//! counts.
//!
//! `tests/allocations/list` lists the allocations with their call sites. For this, the program
//! serves a given number of requests without counting: `allocations http1 100`.

#![allow(
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod rooms;

/// The gate under test.
#[path = "../../benches/instructions"]
mod instructions {
    pub mod client;
    pub mod gate;
    pub mod log;
    pub mod registry;
}

/// The gate under test is the only one, so it starts no Redis.
#[path = "../it/redis_servers.rs"]
#[allow(dead_code, reason = "the gate can also be one of two that share a Redis")]
mod redis_servers;

use std::alloc::System;

use instructions::{client, log, registry};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use client::Protocol;
use instructions::gate::{Replica, Warm};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The largest number of allocations for one request, with those that grow. The tests print the
/// number that they count. Lower the bound if the number falls.
const BOUNDS: [(Protocol, usize); 2] = [(Protocol::Http1, 23), (Protocol::Http2, 28)];

/// The sections of the config that change the number of allocations, and by how many. A request
/// that is not traced tells the registry so in one header.
const SECTIONS: [(&str, usize); 2] =
    [("", 0), ("telemetry: { otlp_endpoint: \"http://127.0.0.1:9\", sample: 0 }\n", 1)];

/// The number of requests in one round.
const REQUESTS: usize = 1000;

const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [protocol, requests] = &arguments[..]
        && let Ok(requests) = requests.parse()
    {
        let protocol = if protocol == "http1" { Protocol::Http1 } else { Protocol::Http2 };
        let mut gate = Warm::start(protocol, Replica::Alone);
        gate.count(requests);
        return gate.finish();
    }
    rooms::do_not_allocate();
    let all = SECTIONS.iter().flat_map(|section| BOUNDS.map(|bound| (section, bound)));
    for ((sections, more), (protocol, bound)) in all {
        let (mut gate, bound) =
            (Warm::start_with(protocol, Replica::Alone, sections), bound + more);
        let rounds = (0..ROUNDS).map(|_| allocations(|| gate.count(REQUESTS as u64)));
        let each = rounds.min().unwrap() as f64 / REQUESTS as f64;
        println!(
            "{protocol:?}: {each:.2} allocations for a cached GET; the bound is {bound} {sections}"
        );
        assert!(each < bound as f64 + 0.5, "{protocol:?}: {each:.2} allocations");
        gate.finish();
    }
}

/// Returns the number of allocations during a call.
fn allocations(call: impl FnOnce()) -> usize {
    let region = Region::new(GLOBAL);
    call();
    let change = region.change();
    change.allocations + change.reallocations
}
