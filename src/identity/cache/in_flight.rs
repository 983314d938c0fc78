//! Questions under way: whoever asks what is being asked already waits for that answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::identity::model::Verdict;
use crate::identity::model::keyed_hash::QuestionId;

/// Where the answer to a question will be.
pub type Awaited = watch::Receiver<Option<Verdict>>;

/// What becomes of a question.
pub enum Coalesced {
    /// It was answered just now.
    Answered(Verdict),
    /// Somebody else asks; wait for the answer.
    Wait(Awaited),
    /// Nobody asks: this caller must, [close](InFlight::close) it and publish the answer.
    Ask(watch::Sender<Option<Verdict>>),
}

/// All questions that are being asked.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<QuestionId, Awaited>>);

impl InFlight {
    /// Joins or opens a question. Only one caller at a time is told to ask. `look_up` looks once
    /// more into the cache, for the answer may have come between the caller's own look and now.
    pub fn coalesce(
        &self,
        question: QuestionId,
        look_up: impl FnOnce() -> Option<Verdict>,
    ) -> Coalesced {
        let mut in_flight = self.lock();
        if let Some(awaited) = in_flight.get(&question) {
            return Coalesced::Wait(awaited.clone());
        }
        if let Some(verdict) = look_up() {
            return Coalesced::Answered(verdict);
        }
        let (sender, awaited) = watch::channel(None);
        in_flight.insert(question, awaited);
        Coalesced::Ask(sender)
    }

    /// Closes a question that nobody waits for, and says whether that was so. Under the lock under
    /// which callers join, so that none can join a question that is then not asked.
    pub fn abandon(&self, question: &QuestionId, asking: &watch::Sender<Option<Verdict>>) -> bool {
        let mut in_flight = self.lock();
        // One listener is the one kept here.
        let abandoned = asking.receiver_count() <= 1;
        if abandoned {
            in_flight.remove(question);
        }
        abandoned
    }

    /// Whoever comes from now on asks anew, or finds the answer in the cache.
    pub fn close(&self, question: &QuestionId) {
        self.lock().remove(question);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<QuestionId, Awaited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_waits_for_is_abandoned() {
        let in_flight = InFlight::default();
        let question = QuestionId::any(1);
        let Coalesced::Ask(sender) = in_flight.coalesce(question, || None) else {
            panic!("nobody asks yet")
        };
        let Coalesced::Wait(waiting) = in_flight.coalesce(question, || None) else {
            panic!("somebody asks")
        };
        assert!(!in_flight.abandon(&question, &sender));
        drop(waiting);
        assert!(in_flight.abandon(&question, &sender));
        let coalesced = in_flight.coalesce(question, || None);
        assert!(matches!(coalesced, Coalesced::Ask(_)), "whoever comes next asks anew");
    }
}
