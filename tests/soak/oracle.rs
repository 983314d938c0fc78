//! The oracle: judges whether a request was allowed to reach the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorgate::demo::registry::{BodyEnd, Received};

/// The longest time that an allowed request may be under way. A request that has not arrived by
/// then never will.
const UNDER_WAY: Duration = Duration::from_secs(300);

/// All headers that the registry may receive from a client or from the gate.
const HEADERS: [&str; 20] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "range",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "connection",
    "docker-upload-uuid",
];

/// A request that may reach the registry once.
pub struct Allowed {
    pub method: String,
    /// Path and query in the form in which they must arrive.
    pub target: String,
    /// The client address that the gate must report.
    pub client: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    /// The client breaks the request off, so it must never look complete.
    BrokenOff,
    /// The gate reads several pages for the request, so only the path is compared.
    Pages,
}

/// The allowed requests that have not arrived yet, by request id.
#[derive(Default)]
pub struct Oracle {
    allowed: Mutex<HashMap<String, (Allowed, Instant)>>,
    broken_off: Mutex<Vec<Arc<Received>>>,
}

impl Oracle {
    /// Allows a request to arrive from now on.
    pub fn allow(&self, id: &str, allowed: Allowed) {
        lock(&self.allowed).insert(id.to_owned(), (allowed, Instant::now()));
    }

    /// Returns a description of each arrived request that was not allowed.
    pub fn judge(&self, arrived: Vec<Arc<Received>>) -> Vec<String> {
        let mut allowed = lock(&self.allowed);
        let mut broken_off = lock(&self.broken_off);
        let mut wrong: Vec<_> = arrived
            .iter()
            .filter_map(|entry| judge(&mut allowed, &mut broken_off, entry).err())
            .collect();
        allowed.retain(|_, (_, since)| since.elapsed() < UNDER_WAY);
        broken_off.retain(|entry| {
            let end = entry.body().end;
            if end == BodyEnd::Complete {
                wrong.push(format!(
                    "{} {} was broken off and looks complete",
                    entry.method, entry.target
                ));
            }
            end == BodyEnd::Open
        });
        wrong
    }
}

fn judge(
    allowed: &mut HashMap<String, (Allowed, Instant)>,
    broken_off: &mut Vec<Arc<Received>>,
    entry: &Arc<Received>,
) -> Result<(), String> {
    let what = format!("{} {}", entry.method, entry.target);
    let values = |name: &str| -> Vec<String> {
        entry
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    };
    let ids = values("x-request-id");
    let [id] = &*ids else { return Err(format!("{what}: request ids {ids:?}")) };
    let Some((expected, _)) = allowed.get(id) else {
        return Err(format!("{what} ({id}) was not allowed, or not twice"));
    };
    let pages = expected.kind == Kind::Pages;
    let target =
        if pages { entry.target.split('?').next().unwrap_or_default() } else { &entry.target };
    if (entry.method.as_str(), target) != (&expected.method, &expected.target) {
        return Err(format!("{what} ({id}): allowed was {} {}", expected.method, expected.target));
    }
    let clients = values("x-forwarded-for");
    if clients != [expected.client.as_str()] {
        return Err(format!("{what} ({id}): from {clients:?}, not {}", expected.client));
    }
    if let Some(name) = entry.headers.keys().find(|name| !HEADERS.contains(&name.as_str())) {
        return Err(format!("{what} ({id}): the header {name}"));
    }
    if expected.kind == Kind::BrokenOff {
        broken_off.push(entry.clone());
    }
    if !pages {
        allowed.remove(id);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
