//! The uploads that each caller has in flight. Places are given in the order of arrival.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::shared_uploads::{SharedUploadPlace, SharedUploads};
use crate::rate_limit::{CallerKey, LONGEST_WAIT};

/// The callers that have an upload in flight or that wait for a place. Other callers have no entry.
#[derive(Default)]
pub struct Uploads {
    callers: Mutex<HashMap<CallerKey, Uploader>>,
    /// The uploads of all replicas; `None` if the gate is alone.
    shared: Option<Arc<SharedUploads>>,
}

struct Uploader {
    places: Arc<Semaphore>,
    limit: usize,
    /// The number of places that are removed when they become free, because a reload lowered the
    /// limit.
    surplus: usize,
    /// The number of requests that hold a place or wait for one.
    requests: usize,
}

/// The place of an upload among the uploads of its caller. Dropping it frees the place.
pub struct UploadPlace {
    uploads: Arc<Uploads>,
    key: CallerKey,
    permit: Option<OwnedSemaphorePermit>,
    /// The place among all replicas.
    shared: Option<SharedUploadPlace>,
}

impl Uploads {
    /// Waits for one of the caller's `limit` places, for [`LONGEST_WAIT`] at most. Returns `None`
    /// if no place became free.
    pub async fn enter(self: &Arc<Self>, key: CallerKey, limit: usize) -> Option<UploadPlace> {
        self.enter_within(LONGEST_WAIT, key, limit).await
    }

    /// Creates the uploads of one of several replicas.
    pub fn of_replica(shared: Arc<SharedUploads>) -> Self {
        Self { callers: Mutex::default(), shared: Some(shared) }
    }

    /// Sets the number of replicas.
    pub fn set_replicas(&self, replicas: u32) {
        if let Some(shared) = &self.shared {
            shared.set_replicas(replicas);
        }
    }

    async fn enter_within(
        self: &Arc<Self>,
        wait: Duration,
        key: CallerKey,
        limit: usize,
    ) -> Option<UploadPlace> {
        let deadline = Instant::now() + wait;
        let part = self.shared.as_ref().map_or(limit, |shared| shared.part(limit));
        let (mut place, places) = self.queue(key, part);
        // The semaphore gives free places to waiting requests first, so this never overtakes one of
        // them.
        let permit = match places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => timeout_at(deadline, places.acquire_owned()).await.ok()?.ok()?,
        };
        place.permit = Some(permit);
        if let Some(shared) = &self.shared {
            // Boxed, because few gates have replicas.
            place.shared = Box::pin(shared.enter(key, limit, deadline)).await.ok()?;
        }
        Some(place)
    }

    fn queue(self: &Arc<Self>, key: CallerKey, limit: usize) -> (UploadPlace, Arc<Semaphore>) {
        let mut uploaders = self.lock();
        let uploader = uploaders.entry(key).or_insert_with(|| Uploader {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            surplus: 0,
            requests: 0,
        });
        uploader.set_limit(limit);
        uploader.requests += 1;
        (
            UploadPlace { uploads: self.clone(), key, permit: None, shared: None },
            uploader.places.clone(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallerKey, Uploader>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uploader {
    fn set_limit(&mut self, limit: usize) {
        if limit > self.limit {
            let more = limit - self.limit;
            let stay = self.surplus.min(more);
            self.surplus -= stay;
            self.places.add_permits(more - stay);
        } else {
            let fewer = self.limit - limit;
            self.surplus += fewer - self.places.forget_permits(fewer);
        }
        self.limit = limit;
    }
}

impl Drop for UploadPlace {
    fn drop(&mut self) {
        let mut uploaders = self.uploads.lock();
        let Some(uploader) = uploaders.get_mut(&self.key) else { return };
        if uploader.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            uploader.surplus -= 1;
        }
        uploader.requests -= 1;
        if uploader.requests == 0 {
            uploaders.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::rate_limit::Table;

    fn is_ready<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn uploads_enter_in_order_and_leave_no_entry_behind() {
        let (uploads, table) = (Arc::<Uploads>::default(), Table::default());
        let [alice, bob] = ["alice", "bob"].map(|name| table.key(&name));
        let first = uploads.enter(alice, 1).await.unwrap();
        drop(uploads.enter(bob, 1).await.unwrap());
        let (mut second, mut third) =
            (pin!(uploads.enter(alice, 1)), pin!(uploads.enter(alice, 1)));
        assert!(!is_ready(second.as_mut()) && !is_ready(third.as_mut()));
        drop(first);
        assert!(!is_ready(third.as_mut()), "it came later");
        let second = second.await.unwrap();
        drop(second);
        drop(third.await.unwrap());
        assert!(uploads.lock().is_empty());
    }

    #[tokio::test]
    async fn a_wait_is_limited_and_a_caller_that_gives_up_leaves_the_queue() {
        let (uploads, table) = (Arc::<Uploads>::default(), Table::default());
        let alice = table.key(&"alice");
        let first = uploads.enter(alice, 1).await.unwrap();
        assert!(uploads.enter_within(Duration::from_millis(1), alice, 1).await.is_none());
        {
            let mut left = pin!(uploads.enter(alice, 1));
            assert!(!is_ready(left.as_mut()));
        }
        assert_eq!(uploads.lock()[&alice].requests, 1);
        drop(first);
        assert!(uploads.lock().is_empty());
        drop(uploads.enter(alice, 1).await.unwrap());
    }

    #[tokio::test]
    async fn a_changed_limit_applies_to_later_uploads() {
        let (uploads, table) = (Arc::<Uploads>::default(), Table::default());
        let alice = table.key(&"alice");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(uploads.enter(alice, 3).await.unwrap());
        }
        assert!(uploads.enter_within(Duration::ZERO, alice, 1).await.is_none());
        held.truncate(1);
        assert!(
            uploads.enter_within(Duration::ZERO, alice, 1).await.is_none(),
            "two places are gone"
        );
        held.push(uploads.enter(alice, 2).await.unwrap());
        assert!(uploads.enter_within(Duration::ZERO, alice, 2).await.is_none());
        held.clear();
        assert!(uploads.lock().is_empty());
    }
}
