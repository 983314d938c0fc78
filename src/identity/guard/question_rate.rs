//! A limit on the rate of questions about one secret. Without it, the holder of a single good token
//! could keep a provider busy for all callers by requesting one repository after the other. Callers
//! without a credential are told apart by address.

use std::hash::Hash;
use std::time::Duration;

use crate::identity::model::credential::Credential;
use crate::identity::model::{NotNow, Question, Verdict};
use crate::net::client_address::client_network;
use crate::rate_limit::{Clock, Nanos, Quota, Table};

/// The sustained number of questions per second. Cached answers need no question, so this is also
/// the number of different repositories per second.
const A_SECOND: u32 = 20;

/// The largest number of questions at once. It covers a cluster that restarts and pulls with one
/// deploy token from a provider that is asked for each node, because it judges by address: 500
/// nodes with one image each, or 50 nodes with ten.
const BURST: u32 = 500;

/// The longest wait that the additional exchanges of a question can impose on later questions.
const MOST_OWED: Duration = Duration::from_secs(10);

/// The number of recent questions of each caller, for all providers.
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

    /// Reserves a turn to ask the provider with this number. The turn comes after the returned
    /// time, which is at most `patience`.
    ///
    /// # Errors
    /// [`Verdict::NotNow`] with the time to wait, if the turn would come later than `patience`. No
    /// turn is reserved then.
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

    /// Charges the secret for exchanges with the provider in addition to the one that a
    /// [turn](Self::turn) covers, so that later turns are delayed.
    pub fn charge(&self, provider: u32, question: &Question, questions: u32) {
        for _ in 0..questions {
            // An error only means that the delay has reached its limit.
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
    fn the_rate_admits_a_burst_then_delays_questions_then_refuses_them() {
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

    /// A question that took several exchanges delays the next one.
    #[test]
    fn additional_exchanges_of_a_question_count_toward_the_rate() {
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
