//! A queue for a scarce resource that is fair by client address. Each address has one place in the
//! common queue; its other callers wait in a lane of their own. A flood of requests from one
//! address therefore delays other addresses by one turn only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest number of callers of one address that wait at the same time.
const MAX_IN_LANE: usize = 64;

/// A queue that gives out a fixed number of concurrent turns.
pub struct FairQueue {
    common: Semaphore,
    lanes: Mutex<HashMap<IpAddr, Lane>>,
}

/// The waiting callers of one address. A lane is never empty.
struct Lane {
    /// The permit of the one caller in this lane that stands in the common queue.
    first: Arc<Semaphore>,
    callers: usize,
}

/// A place in a lane, which is released when the value is dropped.
struct InLane<'a> {
    turns: &'a FairQueue,
    client: IpAddr,
    first: Arc<Semaphore>,
}

/// The error for a lane that is full.
#[derive(Debug)]
pub struct Crowded;

impl FairQueue {
    /// Creates a queue with `at_once` concurrent turns.
    pub fn new(at_once: usize) -> Self {
        Self { common: Semaphore::new(at_once), lanes: Mutex::default() }
    }

    /// Waits for a turn, which ends when the permit is dropped. The caller limits the wait.
    ///
    /// # Errors
    /// [`Crowded`] if too many callers of this client address wait already.
    pub async fn turn(&self, client: IpAddr) -> Result<SemaphorePermit<'_>, Crowded> {
        let lane = self.enter(client).ok_or(Crowded)?;
        let _first = lane.first.acquire().await.map_err(|_| Crowded)?;
        self.common.acquire().await.map_err(|_| Crowded)
    }

    fn enter(&self, client: IpAddr) -> Option<InLane<'_>> {
        let mut lanes = self.lock();
        let lane = lanes
            .entry(client)
            .or_insert_with(|| Lane { first: Arc::new(Semaphore::new(1)), callers: 0 });
        if lane.callers >= MAX_IN_LANE {
            return None;
        }
        lane.callers += 1;
        Some(InLane { turns: self, client, first: lane.first.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InLane<'_> {
    fn drop(&mut self) {
        let mut lanes = self.turns.lock();
        if let Some(lane) = lanes.get_mut(&self.client) {
            lane.callers -= 1;
            if lane.callers == 0 {
                lanes.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    const FLOOD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Lets callers from these addresses queue up one after the other while the only turn is taken.
    /// Returns the order in which they get it.
    async fn order(clients: Vec<IpAddr>) -> Vec<IpAddr> {
        let (turns, had) = (FairQueue::new(1), RefCell::new(Vec::new()));
        let (turns, had) = (
            Box::leak(Box::new(turns)) as &FairQueue,
            Box::leak(Box::new(had)) as &RefCell<Vec<_>>,
        );
        let held = turns.turn(IpAddr::from([192, 0, 2, 3])).await.unwrap();
        let local = LocalSet::new();
        let all = local.run_until(async {
            let mut callers = Vec::new();
            for client in clients {
                callers.push(tokio::task::spawn_local(async move {
                    let turn = turns.turn(client).await.unwrap();
                    had.borrow_mut().push(client);
                    yield_now().await;
                    drop(turn);
                }));
                yield_now().await;
            }
            drop(held);
            for caller in callers {
                caller.await.unwrap();
            }
        });
        all.await;
        assert!(turns.lock().is_empty(), "nothing is kept of addresses that wait for nothing");
        had.take()
    }

    #[tokio::test]
    async fn a_flood_from_one_address_delays_others_by_one_turn_only() {
        let order = order([vec![FLOOD; 50], vec![OTHER], vec![FLOOD; 10]].concat()).await;
        assert_eq!((order.len(), order.iter().position(|client| *client == OTHER)), (61, Some(1)));
    }

    #[tokio::test]
    async fn a_full_lane_refuses_callers_of_its_own_address_only() {
        let turns = FairQueue::new(1);
        let _held = turns.turn(OTHER).await.unwrap();
        let waiting: Vec<_> = (0..MAX_IN_LANE).map(|_| turns.enter(FLOOD).unwrap()).collect();
        assert!(turns.turn(FLOOD).await.is_err());
        assert!(turns.enter(OTHER).is_some());
        drop(waiting);
        assert!(turns.enter(FLOOD).is_some());
    }
}
