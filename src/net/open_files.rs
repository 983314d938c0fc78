//! How many files the process may have open: every connection is one, and one more towards the
//! registry.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Listeners, logs, connections to identity providers and whatever libraries open.
const RESERVE: u64 = 512;

/// Raises the limit as far as the system allows, and warns where that is too little for
/// `connections` at once.
pub fn raise_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_or(current, |()| maximum);
    let needed = 2 * connections as u64 + RESERVE;
    if let Some(limit) = raised.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "http.max_connections is {connections}, and so many files may not be open at once: raise the limit (ulimit -n, \
             LimitNOFILE) or lower http.max_connections"
        );
    }
}
