//! Counts of requests that are not in the metrics yet.
//!
//! Each worker counts in a place of its own. If workers counted in the metrics themselves, each
//! request would look up the series by their labels, and the processors would pass the same memory
//! back and forth. The counts are added to the metrics when somebody reads them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::EndedRequest;
use super::labels::{CacheLabels, CodeLabels, DecisionLabels, RequestLabels};
use crate::registry::Operation;

/// The number of places. Workers share one only if there are more of them.
const PLACES: usize = 16;

/// The largest number of durations in one place. Their sum cannot be kept instead, because each of
/// them belongs into a bucket.
pub(super) const MAX_DURATIONS: usize = 256;

thread_local! {
    /// The number of the thread's place.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The counts of all workers.
#[derive(Default)]
pub(super) struct Tallies([WorkerTally; PLACES]);

/// One worker's counts, in cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct WorkerTally(Mutex<Tally>);

/// The numbers of ended requests, over all labels.
#[derive(Default)]
pub(super) struct EndedSoFar {
    all: AtomicU64,
    server_errors: AtomicU64,
}

impl EndedSoFar {
    /// Adds requests that were answered with this status.
    pub(super) fn add(&self, status: u16, requests: u64) {
        self.all.fetch_add(requests, Ordering::Relaxed);
        if status >= 500 {
            self.server_errors.fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Returns the number of all requests, and of those with a status of 500 or more.
    pub(super) fn get(&self) -> (u64, u64) {
        (self.all.load(Ordering::Relaxed), self.server_errors.load(Ordering::Relaxed))
    }
}

/// The durations of one request, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RequestSeconds {
    pub(super) operation: Operation,
    /// From the head of the request to the end of its answer.
    pub(super) all: f64,
    /// From the request to the upstream to the head of its answer.
    pub(super) upstream: Option<f64>,
}

/// Counts by labels. The lists are short: a gate sees few combinations of labels.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) requests: Vec<(RequestLabels, u64)>,
    pub(super) durations: Vec<RequestSeconds>,
    pub(super) decisions: Vec<(DecisionLabels, u64)>,
    pub(super) cache_requests: Vec<(CacheLabels, u64)>,
    pub(super) upstream_requests: Vec<(CodeLabels, u64)>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) shadow_denied: u64,
}

impl Tallies {
    /// Lets a function count in this thread's place.
    pub(super) fn count<R>(&self, count: impl FnOnce(&mut Tally) -> R) -> R {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let place = PLACE.get().unwrap_or_else(|| {
            let place = NEXT.fetch_add(1, Ordering::Relaxed);
            PLACE.set(Some(place));
            place
        });
        let [first, ..] = &self.0;
        let WorkerTally(tally) = self.0.get(place % PLACES).unwrap_or(first);
        count(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes all counts out of their places.
    pub(super) fn take(&self) -> impl Iterator<Item = Tally> {
        let take = |WorkerTally(tally): &WorkerTally| {
            std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.0.iter().map(take)
    }
}

impl Tally {
    /// Counts one request that has ended. Returns durations that must be added to the metrics now,
    /// because the place is full of them.
    pub(super) fn request_ended(&mut self, request: EndedRequest<'_>) -> Vec<RequestSeconds> {
        let EndedRequest { method, operation, status: code, .. } = request;
        let (method, name) = (super::method_label(method), operation.as_str());
        add(&mut self.requests, RequestLabels { method, operation: name, code });
        self.bytes_in += request.body_bytes.received;
        self.bytes_out += request.body_bytes.sent;
        self.shadow_denied += u64::from(request.shadow_denied);
        if let Some(decision) = request.auth_decision {
            add(&mut self.decisions, decision);
        }
        self.durations.push(RequestSeconds {
            operation,
            all: request.took.as_secs_f64(),
            upstream: request.upstream_took.map(|took| took.as_secs_f64()),
        });
        if self.durations.len() < MAX_DURATIONS {
            return Vec::new();
        }
        std::mem::take(&mut self.durations)
    }
}

/// Counts one more with these labels.
pub(super) fn add<L: PartialEq>(counts: &mut Vec<(L, u64)>, labels: L) {
    match counts.iter_mut().find(|(known, _)| *known == labels) {
        Some((_, count)) => *count += 1,
        None => counts.push((labels, 1)),
    }
}
