//! The number of instructions that one cached GET takes in the whole gate, over HTTP/1.1 and over
//! HTTP/2.
//!
//! `benches/instructions/check` counts them under callgrind and compares them with `figures.json`.
//! Measured times are not reproducible on shared machines; instruction counts are, within some
//! tenths of a per cent.
//!
//! The gate has every feature on: a Bearer token with an introspection verdict from the cache, one
//! rule, a limit for each identity, and an access log in JSON. The client requests a manifest of
//! 1 KiB repeatedly on one connection that stays open, each time after the previous answer.
//!
//! The figures of `http1_redis` and `http2_redis` are those of the same gate with `redis` on, as
//! one of two replicas over a real `redis-server`. Such a request sends no command to Redis, so
//! `check` lets it take at most 2 % more than one of a gate without `redis`.
//!
//! **The count includes** the work of the worker's thread in user mode for these requests:
//!
//! - hyper's server, the gate, hyper's client towards the registry, tokio's scheduler, timers and
//!   epoll, malloc, and glibc up to the kernel.
//! - A line of the access log, up to its buffer.
//! - The client, which sends fixed bytes on the same thread: less than one per cent.
//!
//! **The count excludes**:
//!
//! - TLS, sockets towards clients, accepting, the warm-up, and all work that occurs once for each
//!   connection.
//! - The kernel: a system call counts as one instruction. Reading the clock is a system call here,
//!   because valgrind hides the vDSO.
//! - Other threads: the registry, introspection, the admin listener, the connection to Redis, and
//!   the thread that writes the log.
//! - The cost of instructions: caches, branches, waiting.
//!
//! **The binary** is built with the bench profile, which is the release profile without LTO: fat
//! LTO takes minutes, and its inlining depends on the rest of the program. The figures can
//! therefore be compared only with each other, and not with the release binary.
//!
//! **The processor** is the one that valgrind emulates, on any host with AVX2: CPUID reports an
//! Intel i7-4910MQ (Haswell) with AVX2, FMA, BMI, AES and PCLMULQDQ, and without AVX-512, SHA, ADX,
//! VAES and VPCLMULQDQ. This was observed with valgrind 3.19 on an AMD EPYC that has all of the
//! latter but AVX-512. httparse and glibc's memcpy and memcmp therefore take their AVX2 paths, and
//! blake3 takes `blake3_compress_in_place_sse41`: code for AVX-512 is in the binary, but not in the
//! count. The crate memchr and aws-lc-rs are not used by such a request.
//!
//! **Remaining variation**: the layout of the heap, which changes malloc by some hundred
//! instructions; random keys, such as a credential's fingerprint that begins with 0; the digits of
//! times in the log; and the housekeeping of moka and tokio, which depends on the clock.

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
// The tests use all of it.
#[allow(dead_code)]
#[path = "../../tests/it/redis_servers.rs"]
mod redis_servers;
mod registry;

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint};

use client::Protocol;
use gate::{Replica, Warm};

/// The number of requests that are counted. `check` reads this line.
const REQUESTS: u64 = 1000;

#[library_benchmark(setup = Warm::start, teardown = Warm::finish)]
#[bench::http1(Protocol::Http1, Replica::Alone)]
#[bench::http1_redis(Protocol::Http1, Replica::OfTwo)]
#[bench::http2(Protocol::Http2, Replica::Alone)]
#[bench::http2_redis(Protocol::Http2, Replica::OfTwo)]
fn cached_get(mut gate: Warm) -> Warm {
    gate.count(REQUESTS);
    gate
}

library_benchmark_group!(name = requests, benchmarks = cached_get);

main!(
    config = LibraryBenchmarkConfig::default().tool(
        // The figures do not include the caches, and the simulation of them takes most of the
        // time.
        Callgrind::with_args(["--cache-sim=no"])
            // On the worker's thread. By default gungraun counts on this one.
            .entry_point(EntryPoint::Custom("*::gate::counted".into()))
    ),
    library_benchmark_groups = requests
);
