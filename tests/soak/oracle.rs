//! Whether what reached the registry may have reached it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorgate::demo::registry::{BodyEnd, Received};

/// How long an allowed request may be under way. What has not come by then never will.
const UNDER_WAY: Duration = Duration::from_secs(300);

/// Everything that a registry may be told by a client, and by the gate on its way.
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

/// A request that may reach the registry, once.
pub struct Allowed {
    pub method: String,
    /// Path and query as they must arrive.
    pub target: String,
    /// Whom the gate must say that it comes from.
    pub client: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    /// Its client breaks it off: it must never look complete.
    BrokenOff,
    /// The gate itself reads several pages for it: only the path counts.
    Pages,
}

/// What is allowed and has not arrived yet, by request id.
#[derive(Default)]
pub struct Oracle {
    allowed: Mutex<HashMap<String, (Allowed, Instant)>>,
    broken_off: Mutex<Vec<Arc<Received>>>,
}

impl Oracle {
    /// From now on this may arrive.
    pub fn allow(&self, id: &str, allowed: Allowed) {
        lock(&self.allowed).insert(id.to_owned(), (allowed, Instant::now()));
    }

    /// What was not allowed of what has arrived, in words.
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
