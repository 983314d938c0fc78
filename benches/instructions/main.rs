//! The instructions that one cached GET takes in the whole gate, over HTTP/1.1 and over HTTP/2.
//!
//! `benches/instructions/check` counts them under callgrind and compares them with `figures.json`.
//! Times do not hold on shared machines; this does, within some tenths of a per cent.
//!
//! The gate has everything on: a Bearer token with an introspection verdict from the cache, one
//! rule, a limit for each identity, an access log in JSON. A manifest of 1 KiB is asked for again
//! and again on one connection that stays open, each time when the answer before has come.
//!
//! **In the count** is what the worker's thread does in user mode for these requests:
//!
//! - hyper's server, the gate, hyper's client towards the registry, tokio's scheduler, timers and
//!   epoll, malloc, and glibc as far as the kernel.
//! - A line of the access log, up to the buffer that it is gathered in.
//! - The client, which is canned bytes on the same thread: less than one per cent.
//!
//! **Not in the count** are:
//!
//! - TLS, sockets towards clients, accepting, the warm-up, and whatever happens once a connection.
//! - The kernel: a system call is one instruction. Reading the clock is a system call here, for
//!   valgrind hides the vDSO.
//! - Other threads: the registry, introspection, the admin listener, the thread that writes the
//!   log.
//! - What instructions cost: caches, branches, waiting.
//!
//! **The binary** is of the bench profile, that is the release profile without LTO: fat LTO takes
//! minutes, and what it inlines here depends on what is there. So the figures are to be compared
//! with each other only, and not with what the release binary does.
//!
//! **The processor** is valgrind's, whatever the host's is, as long as that has AVX2: CPUID says an
//! Intel i7-4910MQ (Haswell) with AVX2, FMA, BMI, AES and PCLMULQDQ, and without AVX-512, SHA, ADX,
//! VAES and VPCLMULQDQ. Seen with valgrind 3.19 on an AMD EPYC that has all of the latter but
//! AVX-512. So httparse and glibc's memcpy and memcmp take their AVX2 paths, and blake3 takes
//! `blake3_compress_in_place_sse41`: code for AVX-512 is in the binary, and not in the count. The
//! crate memchr and aws-lc-rs have no part in such a request.
//!
//! **What still moves**: the layout of the heap, by which malloc does some hundred instructions
//! more or fewer; random keys, such as a credential's fingerprint that begins with 0; the digits of
//! times in the log; moka's and tokio's housekeeping, which goes by the clock.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod client;
mod gate;
mod log;
mod registry;

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint};

use client::Protocol;
use gate::Warm;

/// Requests that are counted. `check` reads this line.
const REQUESTS: u64 = 1000;

#[library_benchmark(setup = Warm::start, teardown = Warm::finish)]
#[bench::http1(Protocol::Http1)]
#[bench::http2(Protocol::Http2)]
fn cached_get(mut gate: Warm) -> Warm {
    gate.count(REQUESTS);
    gate
}

library_benchmark_group!(name = requests, benchmarks = cached_get);

main!(
    config = LibraryBenchmarkConfig::default().tool(
        // Nobody asks for the caches, and simulating them takes most of the time.
        Callgrind::with_args(["--cache-sim=no"])
            // On the worker's thread; what gungraun counts otherwise is on this one.
            .entry_point(EntryPoint::Custom("*::gate::counted".into()))
    ),
    library_benchmark_groups = requests
);
