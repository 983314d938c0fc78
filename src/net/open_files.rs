//! The limit on open files of the process. Each client connection takes one file, and one more
//! towards the registry.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of files for listeners, logs, connections to identity providers and libraries.
const RESERVE: u64 = 512;

/// Raises the limit as far as the system allows. Warns if that is too little for `connections` at
/// once.
pub fn raise_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_or(current, |()| maximum);
    let needed = 2 * connections as u64 + RESERVE;
    if let Some(limit) = raised.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "http.max_connections is {connections}, and the system does not allow as many open \
             files as that needs; raise the limit (ulimit -n, LimitNOFILE) or lower \
             http.max_connections"
        );
    }
}
