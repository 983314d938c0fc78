//! The health of the registry, for people. All workers record every response, so a response costs
//! a few atomic operations and no lock. A fault takes a lock, because it is rare and has cost more
//! already.
//!
//! A fault is kept by the work that met it, because the success of other work does not show that it
//! is over: a registry that leads every push elsewhere serves pulls well.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::fault::RegistryFault;
use crate::denial::UpstreamFault;
use crate::registry::Operation;

/// The time after which a fault that was not met again counts as past, although no request has
/// shown that it is over. It covers work that is done once a day.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The work of the registry that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request of a client, or the pages of a filtered catalog.
    Of(Operation),
    /// The gate's own question whether a tag exists.
    TagLookUp,
}

impl Work {
    /// Returns the operation as logs name it, or the name of the gate's own question.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Of(operation) => operation.as_str(),
            Self::TagLookUp => "tag_lookup",
        }
    }

    /// Returns whether an answer with this status shows that the registry does this work.
    fn is_done(self, status: StatusCode) -> bool {
        let looks_up = matches!(
            self,
            Self::TagLookUp
                | Self::Of(
                    Operation::Tags
                        | Operation::Referrers
                        | Operation::ManifestGet
                        | Operation::BlobGet
                )
        );
        status.is_success()
            || status.is_redirection()
            || (looks_up
                && matches!(status, StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE))
    }

    /// Returns the bit in [`UpstreamHealth::faulty`].
    fn bit(self) -> u32 {
        match self {
            Self::Of(operation) => 1 << operation as u32,
            Self::TagLookUp => 1 << 30,
        }
    }
}

/// The bit in [`UpstreamHealth::faulty`] of faults of the connection.
const CONNECTION: u32 = 1 << 31;

/// The health of one registry.
#[derive(Default)]
pub struct UpstreamHealth {
    /// The time of the last answer (Unix time, seconds) in the upper half, and the time that its
    /// head took (microseconds) in the lower half. Both are in one word, so that they belong to
    /// the same answer. 0: there was none.
    answered: AtomicU64,
    /// `true` if the last request met a fault.
    is_down: AtomicBool,
    /// The bits of the work for which there are faults, so that a success takes a lock only if it
    /// ends a fault.
    faulty: AtomicU32,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    last: Option<(SystemTime, RegistryFault)>,
    /// The last fault whose error is known, and the error.
    why: Option<(RegistryFault, String)>,
    open: Vec<OpenFault>,
}

/// A fault that may go on: no request has shown that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFault {
    pub work: Work,
    pub fault: RegistryFault,
    pub first: SystemTime,
    pub last: SystemTime,
    /// The number of requests that met it.
    pub count: u64,
}

/// The health of the registry as seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSeen {
    /// `true` if the last request met no fault; `None` if the registry was not asked yet.
    pub up: Option<bool>,
    /// The time of the last answer, to the second, and the time that its head took.
    pub answered: Option<(SystemTime, Duration)>,
    /// The time of the last fault, and the fault.
    pub failed: Option<(SystemTime, RegistryFault)>,
    /// The last fault whose error is known, and the error as the gate met it.
    pub why: Option<(RegistryFault, String)>,
    /// The faults that may go on, the earliest first.
    pub open: Vec<OpenFault>,
}

impl UpstreamHealth {
    /// Records an answer that may be passed on, once its head has arrived after `took`.
    pub(super) fn answered(&self, work: Work, status: StatusCode, took: Duration, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.answered.store(u64::from(seconds) << 32 | u64::from(micros), Ordering::Relaxed);
        match RegistryFault::from_status(status) {
            Some(fault) => self.failed(work, fault, now),
            None => {
                if self.is_down.load(Ordering::Relaxed) {
                    self.is_down.store(false, Ordering::Relaxed);
                }
                self.over(CONNECTION);
            }
        }
    }

    /// Records that an answer with this status arrived completely. If it shows that the registry
    /// does this work, the faults of this work are over.
    pub(super) fn completed(&self, work: Work, status: StatusCode) {
        if work.is_done(status) {
            self.over(work.bit());
        }
    }

    /// Records a fault of the registry.
    pub(super) fn failed(&self, work: Work, fault: impl Into<RegistryFault>, now: SystemTime) {
        let fault = fault.into();
        self.is_down.store(true, Ordering::Relaxed);
        if !fault.is_of_the_connection() {
            // There was a connection.
            self.over(CONNECTION);
        }
        let mut faults = self.lock();
        faults.last = Some((now, fault));
        faults.open.retain(|open| !open.is_past(now));
        match faults.open.iter_mut().find(|open| open.work == work && open.fault.is_like(fault)) {
            Some(open) => (open.fault, open.last, open.count) = (fault, now, open.count + 1),
            None => faults.open.push(OpenFault { work, fault, first: now, last: now, count: 1 }),
        }
        self.note(&faults);
    }

    /// Adds the error to a fault. It must not contain anything of a request.
    pub(super) fn because(&self, fault: UpstreamFault, why: String) {
        self.lock().why = Some((fault.into(), why));
    }

    /// Returns the health as seen so far.
    pub fn seen(&self, now: SystemTime) -> UpstreamSeen {
        let word = self.answered.load(Ordering::Relaxed);
        let answered = (word != 0).then(|| {
            let at = UNIX_EPOCH + Duration::from_secs(word >> 32);
            (at, Duration::from_micros(word & u64::from(u32::MAX)))
        });
        let faults = self.lock();
        let asked = answered.is_some() || faults.last.is_some();
        UpstreamSeen {
            up: asked.then(|| !self.is_down.load(Ordering::Relaxed)),
            answered,
            failed: faults.last,
            why: faults.why.clone(),
            open: faults.open.iter().filter(|open| !open.is_past(now)).copied().collect(),
        }
    }

    /// Forgets the open faults of this bit.
    fn over(&self, bit: u32) {
        if self.faulty.load(Ordering::Relaxed) & bit != 0 {
            let mut faults = self.lock();
            faults.open.retain(|open| open.bit() != bit);
            self.note(&faults);
        }
    }

    /// Notes which bits have open faults.
    fn note(&self, faults: &Faults) {
        let bits = faults.open.iter().fold(0, |bits, open| bits | open.bit());
        self.faulty.store(bits, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFault {
    fn bit(&self) -> u32 {
        if self.fault.is_of_the_connection() { CONNECTION } else { self.work.bit() }
    }

    fn is_past(&self, now: SystemTime) -> bool {
        now.duration_since(self.last).is_ok_and(|passed| passed >= FORGOTTEN_AFTER)
    }
}

#[cfg(test)]
mod tests;
