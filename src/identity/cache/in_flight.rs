//! The questions under way: a caller whose question is already being asked waits for that answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::identity::model::Verdict;
use crate::identity::model::keyed_hash::QuestionId;

/// The receiver of the answer to a question.
pub type Awaited = watch::Receiver<Option<QuestionAnswer>>;

/// The answer to a question.
#[derive(Clone, Debug)]
pub struct QuestionAnswer {
    pub verdict: Verdict,
    /// `true` if another replica of the gate asked the question.
    pub is_shared: bool,
}

/// The way in which a caller gets the answer to its question.
pub enum Coalesced {
    /// The question was answered in the meantime.
    Answered(Verdict),
    /// Another caller asks the question: wait for the answer.
    Wait(Awaited),
    /// The question is not being asked. This caller must ask it, [close](InFlight::close) it and
    /// publish the answer.
    Ask(watch::Sender<Option<QuestionAnswer>>),
}

/// All questions that are being asked.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<QuestionId, Awaited>>);

impl InFlight {
    /// Joins a question under way or opens a new one. Only one caller at a time is told to ask.
    /// `look_up` checks the cache once more, because the answer may have arrived after the caller's
    /// own lookup.
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

    /// Closes a question if no caller waits for its answer, and returns whether it did. This
    /// happens under the lock under which callers join, so that no caller can join a question that
    /// is then not asked.
    pub fn abandon(
        &self,
        question: &QuestionId,
        asking: &watch::Sender<Option<QuestionAnswer>>,
    ) -> bool {
        let mut in_flight = self.lock();
        // The receiver in the map is always counted.
        let abandoned = asking.receiver_count() <= 1;
        if abandoned {
            in_flight.remove(question);
        }
        abandoned
    }

    /// Closes a question. Later callers find the answer in the cache or ask the question again.
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
    fn a_question_is_abandoned_only_if_no_caller_waits_for_it() {
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
