//! The turns in which the gate asks token servers.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::identity::Principal;
use crate::net::client_address::client_network;
use crate::rate_limit::{Clock, Nanos, Quota, Table};

/// The largest number of questions in a second.
const A_SECOND: u32 = 20;

/// The longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait of a caller who alone takes all turns. The rest of [`PATIENCE`] is left to the
/// others.
const PATIENCE_OF_ONE: Duration = Duration::from_millis(750);

/// The caller whose request needs a token.
#[derive(Clone, Copy)]
pub(in crate::upstream) struct Asker<'a> {
    /// The caller, if it has a credential.
    pub(in crate::upstream) principal: Option<&'a Principal>,
    pub(in crate::upstream) address: IpAddr,
}

/// The turns of the last second.
pub(super) struct Turns {
    clock: Clock,
    quota: Quota,
    all: Mutex<Nanos>,
    callers: Table,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            quota: Quota::new(A_SECOND, Duration::from_secs(1), A_SECOND),
            all: Mutex::default(),
            callers: Table::default(),
        }
    }
}

impl Turns {
    /// Reserves a turn, which comes after the returned time. `None` if it would come too late.
    pub(super) fn take(&self, asker: Asker<'_>) -> Option<Duration> {
        match asker.principal {
            Some(Principal { source, subject }) => {
                self.take_at(&(&*source.provider, subject), self.clock.now())
            }
            None => self.take_at(&client_network(asker.address), self.clock.now()),
        }
    }

    fn take_at(&self, caller: &impl Hash, now: Nanos) -> Option<Duration> {
        let caller = self.callers.key(caller);
        let is_within = self.callers.with(caller, now, |word| self.quota.take(word, now).is_ok());
        let patience = if is_within { PATIENCE } else { PATIENCE_OF_ONE };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        self.quota.reserve(&mut all, now, patience).ok().map(|(_, wait)| wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_leaves_turns_to_the_others() {
        let turns = Turns::default();
        let taken: Vec<_> = (0..100).filter_map(|_| turns.take_at(&"greedy", 0)).collect();
        assert_eq!(taken.len(), 35);
        assert_eq!(taken.iter().filter(|wait| wait.is_zero()).count(), 20);
        assert_eq!(taken.last(), Some(&PATIENCE_OF_ONE));
        let others: Vec<_> = (0..10).filter_map(|n| turns.take_at(&n, 0)).collect();
        assert_eq!(others.len(), 5);
        assert!(others.iter().all(|wait| *wait <= PATIENCE));
    }
}
