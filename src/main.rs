//! The `moorgate` program: it parses the arguments, runs the command and returns its exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Allocation is a large part of what a request costs, and mimalloc does it with fewer instructions
/// than glibc or musl. Memory is overwritten with zeros when it is freed, because credentials pass
/// through buffers of libraries that do not do so.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    moorgate::cli::main()
}
