//! How often one secret may be asked about: whoever has a single good token could else keep a
//! provider busy for all, by asking for one repository after the other. Callers without a
//! credential are told apart by address.

use std::hash::Hash;
use std::time::Duration;

use crate::identity::model::credential::Credential;
use crate::identity::model::{NotNow, Question, Verdict};
use crate::net::client_address::client_network;
use crate::rate_limit::{Clock, Nanos, Quota, Table};

/// Questions a second in the long run. What is remembered is not asked, so this many are as many
/// different repositories.
const A_SECOND: u32 = 20;

/// As many at once: a cluster that is started anew pulls with one deploy token, and a provider that
/// judges by address is asked for each of its nodes. 500 nodes with an image each, or 50 with ten.
const BURST: u32 = 500;

/// What a question that took many is paid for, at most.
const MOST_OWED: Duration = Duration::from_secs(10);

/// Who has asked how much, of all providers.
pub struct QuestionRate {
    clock: Clock,
    asked: Table,
    quota: Quota,
}

impl Default for QuestionRate {
    fn default() -> Self {
        Self::new(Quota::new(A_SECOND, Duration::from_secs(1), BURST))
    }
}

impl QuestionRate {
    fn new(quota: Quota) -> Self {
        Self { clock: Clock::default(), asked: Table::default(), quota }
    }

    /// Takes a turn to ask the provider with this number, which comes after the time that is
    /// returned: `patience` at most.
    ///
    /// # Errors
    /// Where it would come later, the verdict that says when. Nothing is taken then.
    pub fn turn(
        &self,
        provider: u32,
        question: &Question,
        patience: Duration,
    ) -> Result<Duration, Verdict> {
        let now = self.clock.now();
        let turn = match question.credential {
            Credential::Anonymous => {
                self.take(&(provider, client_network(question.client)), patience, now)
            }
            _ => self.take(&(provider, question.secret), patience, now),
        };
        turn.map_err(|wait| Verdict::NotNow(NotNow::TooOften, wait))
    }

    /// Takes turns for questions that were asked besides the one of a [turn](Self::turn): the next
    /// ones come later for it.
    pub fn charge(&self, provider: u32, question: &Question, questions: u32) {
        for _ in 0..questions {
            // What is owed is bounded all the same.
            let _ = self.turn(provider, question, MOST_OWED);
        }
    }

    fn take(&self, who: &impl Hash, patience: Duration, now: Nanos) -> Result<Duration, Duration> {
        let turn = self
            .asked
            .with(self.asked.key(who), now, |word| self.quota.reserve(word, now, patience));
        turn.map(|(_, wait)| wait)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use secrecy::SecretString;

    use super::*;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;
    use crate::rate_limit::nanos;
    use crate::registry::Access;

    #[test]
    fn a_burst_then_a_wait_then_a_refusal_that_says_when() {
        let rate = QuestionRate::new(Quota::new(2, Duration::from_secs(1), 3));
        let second = nanos(Duration::from_secs(1));
        let take = |who: &str, now| {
            rate.take(&who, Duration::from_secs(1), now).map_err(|wait| wait.as_millis())
        };
        for wait in [0, 0, 0, 500, 1000] {
            assert_eq!(take("a", 0), Ok(Duration::from_millis(wait)));
        }
        assert_eq!(take("a", 0), Err(1500));
        assert_eq!(take("a", 0), Err(1500), "who is refused takes nothing");
        assert_eq!(take("b", 0), Ok(Duration::ZERO));
        assert_eq!(take("a", second / 2), Ok(Duration::from_secs(1)));
    }

    /// Whoever makes one question many waits for them the next time.
    #[test]
    fn questions_besides_one_are_paid_for() {
        let rate = QuestionRate::new(Quota::new(1, Duration::from_secs(3600), 3));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let key = HashKey::random().unwrap();
        let credential = Credential::Bearer(SecretString::from("x"));
        let question = Question::new(&key, credential, Access::Login, address, "request".into());
        assert_eq!(rate.turn(1, &question, Duration::ZERO), Ok(Duration::ZERO));
        rate.charge(1, &question, 2);
        assert!(matches!(
            rate.turn(1, &question, Duration::ZERO),
            Err(Verdict::NotNow(NotNow::TooOften, _))
        ));
        assert_eq!(rate.turn(2, &question, Duration::ZERO), Ok(Duration::ZERO), "another provider");
    }
}
