//! The bound on what all replicas together may admit.
//!
//! One gate admits a burst, and then the rate. Replicas may admit more in these cases, each of
//! which adds to what a caller may use:
//!
//! - Leases: events that a replica holds are not in the bucket, which refills meanwhile. They are
//!   given back within a few periods, so this is half a second of the rate, and two events for each
//!   replica, which leases whole events, at most.
//! - A replica that loses Redis uses its share: the burst and the rate divided by the replicas that
//!   it knew last. Each time, its part of the burst may be used twice: by it, and from the bucket.
//!   Its part of the rate is refilled twice for as long as the others count it: until it is known
//!   to be silent, and again after it counts as gone.
//! - A replica that dies takes its events with it. When it counts as gone, the shares of the others
//!   grow by its share. One that starts has a share of its own.
//! - Redis that loses its data, or goes back to an earlier state, forgets what was used: a burst.
//! - A step of the clock of Redis refills buckets as much as the step is long.
//!
//! The account of a caller has what it may still use under these rules. It must never go below
//! zero.

use moorgate::rate_limit::Nanos;

use super::callers::Quotas;

/// The time for which what a replica holds leased may be missing in the bucket, in seconds.
const LEASED: f64 = 0.5;

/// What may be used by callers, as a function of the time.
pub(crate) struct Audit {
    accounts: Vec<Account>,
    /// The time by which callers were refilled so far, in seconds, counted as often as replicas
    /// refill it.
    refilled: f64,
    /// What was added to the accounts of each quota so far.
    added: Vec<f64>,
    /// The number of events above the burst that may be held, for each quota.
    above: Vec<f64>,
    /// The admitted events of the hot callers in each second.
    admitted: Vec<Vec<u32>>,
    /// The last times at which something disturbed the replicas.
    pub(crate) disturbed: Vec<Nanos>,
}

#[derive(Clone, Copy)]
struct Account {
    left: f32,
    refilled: f32,
    added: f32,
}

/// The state of the replicas, as far as it matters for limits.
pub(crate) struct Standing {
    /// The replicas that have Redis, or had it lately.
    pub(crate) connected: f64,
    /// The smallest number of replicas that those may know.
    pub(crate) known: f64,
    /// The number of replicas that each lone replica knew last.
    pub(crate) alone: Vec<f64>,
    pub(crate) running: f64,
}

impl Audit {
    pub(crate) fn new(quotas: &Quotas, callers: usize, hot: usize) -> Self {
        let account =
            |caller| Account { left: quotas.of(caller).burst as f32, refilled: 0.0, added: 0.0 };
        Self {
            accounts: (0..callers).map(account).collect(),
            refilled: 0.0,
            added: vec![0.0; quotas.0.len()],
            above: vec![0.0; quotas.0.len()],
            admitted: vec![Vec::new(); hot],
            disturbed: Vec::new(),
        }
    }

    /// Lets time pass, in which the replicas were in this state.
    pub(crate) fn pass(&mut self, quotas: &Quotas, seconds: f64, standing: &Standing) {
        let Standing { connected, known, alone, running } = standing;
        let alone_rate: f64 = alone.iter().map(|replicas| 1.0 / replicas).sum();
        self.refilled += seconds * ((connected / known.max(1.0)).min(1.0) + alone_rate);
        for (above, kind) in self.above.iter_mut().zip(&quotas.0) {
            let alone: f64 = alone.iter().map(|replicas| kind.share(*replicas)).sum();
            *above = LEASED * kind.rate + 2.0 * running + alone;
        }
    }

    /// Adds what one of so many replicas may use at once to all accounts.
    pub(crate) fn add_share(&mut self, quotas: &Quotas, replicas: f64) {
        for (added, kind) in self.added.iter_mut().zip(&quotas.0) {
            *added += kind.share(replicas);
        }
    }

    /// Adds as much as the rate brings in these seconds, and a burst at most, to all accounts.
    pub(crate) fn add_seconds(&mut self, quotas: &Quotas, seconds: f64) {
        for (added, kind) in self.added.iter_mut().zip(&quotas.0) {
            *added += kind.burst.min(kind.rate * seconds);
        }
    }

    /// Counts an admitted event of a caller.
    ///
    /// # Errors
    /// The number of events beyond the bound.
    pub(crate) fn admit(&mut self, quotas: &Quotas, caller: usize, now: Nanos) -> Result<(), f64> {
        let quota = caller % quotas.0.len();
        let kind = quotas.of(caller);
        let account = &mut self.accounts[caller];
        let most = kind.burst + self.above[quota];
        let refilled = kind.rate * (self.refilled - f64::from(account.refilled));
        let added = self.added[quota] - f64::from(account.added);
        let left = f64::from(account.left);
        let left = (left + refilled).min(most.max(left)) + added - 1.0;
        *account = Account {
            left: left as f32,
            refilled: self.refilled as f32,
            added: self.added[quota] as f32,
        };
        if let Some(seconds) = self.admitted.get_mut(caller) {
            let second = (now / 1_000_000_000) as usize;
            seconds.resize(seconds.len().max(second + 1), 0);
            seconds[second] += 1;
        }
        if left < -1.0 { Err(-left) } else { Ok(()) }
    }

    /// Returns what a caller might still use after its last event.
    pub(crate) fn left(&self, caller: usize) -> f32 {
        self.accounts[caller].left
    }

    /// Gives an event back to a caller.
    pub(crate) fn give_back(&mut self, caller: usize) {
        self.accounts[caller].left += 1.0;
    }

    /// Returns what a hot caller was admitted in the seconds from `first`.
    pub(crate) fn admitted(&self, caller: usize, first: usize, seconds: usize) -> u32 {
        self.admitted[caller].iter().skip(first).take(seconds).sum()
    }
}
