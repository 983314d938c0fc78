//! The `moorgate` program: it parses the arguments, runs the command and returns its exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Allocation is a large part of what a request costs, and mimalloc does it with fewer instructions
/// than glibc or musl.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    moorgate::cli::main()
}
