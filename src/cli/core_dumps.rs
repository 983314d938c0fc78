//! Disables core dumps, so that the contents of the memory stay there: the credentials of requests
//! in progress and the gate's own keys.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Tells the kernel to write no core dump of this process, regardless of `ulimit -c`, and to
/// protect its memory from other processes of the same user (`PR_SET_DUMPABLE` of prctl(2)). If the
/// kernel refuses, a line on standard error reports it.
pub(super) fn forbid() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("moorgate: core dumps cannot be turned off: {error}");
    }
}
