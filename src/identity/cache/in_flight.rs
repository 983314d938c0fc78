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
    /// Nobody asks: this caller must, [close](UnderWay::close) it and publish the answer.
    Ask(watch::Sender<Option<Verdict>>),
}

/// All questions that are being asked.
#[derive(Default)]
pub struct UnderWay(Mutex<HashMap<QuestionId, Awaited>>);

impl UnderWay {
    /// Joins or opens a question. Only one caller at a time is told to ask. `look_up` looks once
    /// more into the cache, for the answer may have come between the caller's own look and now.
    pub fn coalesce(
        &self,
        question: QuestionId,
        look_up: impl FnOnce() -> Option<Verdict>,
    ) -> Coalesced {
        let mut under_way = self.lock();
        if let Some(awaited) = under_way.get(&question) {
            return Coalesced::Wait(awaited.clone());
        }
        if let Some(verdict) = look_up() {
            return Coalesced::Answered(verdict);
        }
        let (sender, awaited) = watch::channel(None);
        under_way.insert(question, awaited);
        Coalesced::Ask(sender)
    }

    /// Closes a question that nobody waits for, and says whether that was so. Under the lock under
    /// which callers join, so that none can join a question that is then not asked.
    pub fn abandon(&self, question: &QuestionId, asking: &watch::Sender<Option<Verdict>>) -> bool {
        let mut under_way = self.lock();
        // One listener is the one kept here.
        let abandoned = asking.receiver_count() <= 1;
        if abandoned {
            under_way.remove(question);
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
        let under_way = UnderWay::default();
        let question = QuestionId::any(1);
        let Coalesced::Ask(sender) = under_way.coalesce(question, || None) else {
            panic!("nobody asks yet")
        };
        let Coalesced::Wait(waiting) = under_way.coalesce(question, || None) else {
            panic!("somebody asks")
        };
        assert!(!under_way.abandon(&question, &sender));
        drop(waiting);
        assert!(under_way.abandon(&question, &sender));
        let coalesced = under_way.coalesce(question, || None);
        assert!(matches!(coalesced, Coalesced::Ask(_)), "whoever comes next asks anew");
    }
}
