//! No core dumps: what is in memory, credentials of the requests under way and the gate's own keys,
//! stays there.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Has the kernel write no core dump of this process whatever `ulimit -c` says, and keep its memory
/// from other processes of the same user (`PR_SET_DUMPABLE` of prctl(2)). Where it refuses, a line
/// on standard error says so.
pub(super) fn forbid() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("moorgate: core dumps cannot be turned off: {error}");
    }
}
