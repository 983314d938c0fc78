//! The limit on open connections of the public listener, over all workers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit that can be changed while connections are open.
pub struct ConnectionLimit {
    permits: Arc<Semaphore>,
    limit: Mutex<usize>,
}

impl ConnectionLimit {
    /// Creates a limit of `limit` connections.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit: Mutex::new(limit) }
    }

    /// Changes the limit. Open connections are not cut off: after a reduction, new connections wait
    /// until enough open ones have ended.
    pub fn set(&self, limit: usize, runtime: &Handle) {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let before = std::mem::replace(
            &mut *self.limit.lock().unwrap_or_else(PoisonError::into_inner),
            limit,
        );
        self.permits.add_permits(limit.saturating_sub(before));
        let fewer = u32::try_from(before.saturating_sub(limit)).unwrap_or(u32::MAX);
        if fewer > 0 {
            let permits = self.permits.clone();
            runtime.spawn(async move {
                if let Ok(taken) = permits.acquire_many_owned(fewer).await {
                    taken.forget();
                }
            });
        }
    }

    /// Returns the current limit.
    pub fn get(&self) -> usize {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a permit for one more connection if there is room for it now.
    pub(super) fn free_place(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Waits for a permit for one more connection.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().acquire_owned().await.ok()
    }
}
