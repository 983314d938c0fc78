//! The uploads that each caller has in flight at all replicas. A place is held in Redis for a
//! minute and renewed until the upload ends, so the places of a replica that dies become free.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::rate_limit::CallerKey;
use crate::redis_link::{RedisLink, RedisScript};

/// The time for which a place is held without being renewed.
const HELD: Duration = Duration::from_secs(45);

/// The time between two renewals of all places.
const RENEWED: Duration = Duration::from_secs(15);

/// The time between two attempts to get a place.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// The uploads of all replicas.
pub struct SharedUploads {
    link: Arc<RedisLink>,
    script: RedisScript,
    replicas: AtomicU32,
    /// The places that this replica holds, with their callers.
    held: Mutex<HashMap<String, CallerKey>>,
    runtime: Handle,
}

/// A place among the uploads of all replicas. Dropping it frees the place.
pub struct SharedUploadPlace {
    uploads: Arc<SharedUploads>,
    key: CallerKey,
    id: String,
}

impl SharedUploads {
    /// Creates the uploads over this connection.
    pub fn new(link: Arc<RedisLink>, runtime: Handle) -> Arc<Self> {
        let uploads = Arc::new(Self {
            link,
            script: RedisScript::new(include_str!("shared_uploads/uploads.lua")),
            replicas: AtomicU32::new(1),
            held: Mutex::default(),
            runtime: runtime.clone(),
        });
        runtime.spawn(renew(Arc::downgrade(&uploads)));
        uploads
    }

    /// Sets the number of replicas.
    pub fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Returns the number of places that this replica gives by itself: its part, if Redis does not
    /// count for all.
    pub(super) fn part(&self, limit: usize) -> usize {
        if self.link.is_up() {
            return limit;
        }
        let replicas = usize::try_from(self.replicas.load(Ordering::Relaxed)).unwrap_or(1);
        (limit / replicas.max(1)).max(1)
    }

    /// Waits for one of the caller's `limit` places at all replicas until `deadline`. `Ok(None)`:
    /// Redis does not answer.
    ///
    /// # Errors
    /// If no place became free.
    pub(super) async fn enter(
        self: &Arc<Self>,
        key: CallerKey,
        limit: usize,
        deadline: Instant,
    ) -> Result<Option<SharedUploadPlace>, ()> {
        let id = format!("{:016x}", fastrand::u64(..));
        // Created first, so that a place is given back if the client leaves while Redis is asked.
        let place = SharedUploadPlace { uploads: self.clone(), key, id: id.clone() };
        loop {
            match self.tell("enter", key, limit, vec![id.clone()]).await {
                None => return Ok(None),
                Some(true) => {
                    self.lock().insert(id, key);
                    return Ok(Some(place));
                }
                Some(false) if Instant::now() >= deadline => return Err(()),
                Some(false) => sleep(BETWEEN_ATTEMPTS).await,
            }
        }
    }

    async fn tell(
        &self,
        what: &str,
        key: CallerKey,
        limit: usize,
        places: Vec<String>,
    ) -> Option<bool> {
        let name = [format!("{}:{{{:016x}}}:u", self.link.prefix(), key.as_number())];
        let head = [what.to_owned(), limit.to_string(), HELD.as_millis().to_string()];
        let arguments: Vec<_> = head.into_iter().chain(places).map(String::into_bytes).collect();
        let done = self.link.call("uploads", &self.script, &name, &arguments).await;
        done.ok().map(|done: i64| done == 1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CallerKey>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedUploadPlace {
    fn drop(&mut self) {
        self.uploads.lock().remove(&self.id);
        let (uploads, key, id) = (self.uploads.clone(), self.key, self.id.clone());
        drop(self.uploads.runtime.spawn(async move {
            uploads.tell("leave", key, 0, vec![id]).await;
        }));
    }
}

/// Renews all places until the uploads are dropped.
async fn renew(uploads: Weak<SharedUploads>) {
    loop {
        sleep(RENEWED).await;
        let Some(uploads) = uploads.upgrade() else { return };
        let mut by_caller: HashMap<CallerKey, Vec<String>> = HashMap::new();
        for (id, key) in &*uploads.lock() {
            by_caller.entry(*key).or_default().push(id.clone());
        }
        for (key, mut places) in by_caller {
            // An upload that has ended since has given its place back.
            places.retain(|id| uploads.lock().contains_key(id));
            uploads.tell("renew", key, 0, places).await;
        }
    }
}
