//! Tests for admitting requests, for waiting for a place and for what uses one up.

use secrecy::SecretString;

use super::*;
use crate::identity::model::NotNow;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::model::revocation::{Moment, Revocation};
use crate::registry::Access;

const HOUR: Duration = Duration::from_secs(60 * 60);

struct Fixture {
    logins: Arc<FailedLogins>,
    key: HashKey,
    quota: Quota,
}

impl Fixture {
    fn new(burst: u32) -> Self {
        let key = HashKey::random().unwrap();
        Self { logins: Arc::default(), key, quota: Quota::new(1, HOUR, burst) }
    }

    fn question(&self, secret: &str) -> Question {
        let credential = Credential::Bearer(SecretString::from(secret));
        Question::new(&self.key, credential, Access::Login, [192, 0, 2, 1].into(), "request".into())
    }

    fn admit(&self, secret: &str) -> Result<LoginAttempt<'_>, Duration> {
        self.logins.admit(self.quota, &self.question(secret))
    }

    /// Sends a credential that the provider refuses.
    async fn fail(&self, secret: &str) -> Result<(), Duration> {
        let mut login = self.admit(secret)?;
        login.search().await?.heard(&Verdict::NotMine);
        login.wrong(&self.question(secret));
        Ok(())
    }
}

#[tokio::test]
async fn only_refused_credentials_use_up_the_quota_and_no_attempt_is_left_over() {
    let fixture = Fixture::new(2);
    fixture.fail("a").await.unwrap();
    // No provider refuses these credentials.
    for _ in 0..10 {
        fixture.admit("good").unwrap().search().await.unwrap().heard(&Verdict::Unavailable);
        drop(fixture.admit("left").unwrap().search().await.unwrap());
    }
    fixture.fail("b").await.unwrap();
    let wait = fixture.fail("c").await.unwrap_err();
    assert!(wait > HOUR * 9 / 10 && wait <= HOUR, "{wait:?}");
    assert!(fixture.logins.lock().is_empty());
}

/// The task that asks outlives the caller and records the verdict.
#[tokio::test]
async fn a_refused_credential_counts_even_if_the_caller_disconnects() {
    let fixture = Fixture::new(1);
    let search = fixture.admit("a").unwrap().search().await.unwrap();
    search.heard(&Verdict::Rejected);
    assert!(fixture.admit("b").is_ok());
    drop(search);
    assert!(fixture.admit("b").is_err());
    // The same holds if the gate then does not ask the next provider, because an attacker can bring
    // that about.
    for reason in [NotNow::FailureBudgetSpent, NotNow::Crowded, NotNow::Barred] {
        let fixture = Fixture::new(1);
        let search = fixture.admit("a").unwrap().search().await.unwrap();
        search.heard(&Verdict::NotMine);
        search.heard(&Verdict::NotNow(reason, HOUR));
        drop(search);
        assert!(fixture.admit("b").is_err(), "{reason:?}");
    }
    // The credential does not count if a provider verified it after all.
    let fixture = Fixture::new(1);
    let mut login = fixture.admit("a").unwrap();
    login.search().await.unwrap().heard(&Verdict::NotMine);
    login.verified(&fixture.question("a"));
    drop(login);
    assert!(fixture.admit("b").is_ok());
}

#[tokio::test]
async fn a_verified_credential_is_known_for_a_day_from_its_address_unless_revoked() {
    let start = Instant::now();
    let fixture = Fixture::new(1);
    fixture.admit("good").unwrap().verified(&fixture.question("good"));
    fixture.fail("wrong").await.unwrap();
    let (logins, question, now) = (&fixture.logins, fixture.question("good"), fixture.logins.now());
    // The quota of the address is used up for two days.
    let quota = Quota::new(1, 48 * HOUR, 1);
    let admit = |question: &Question, now| logins.admit_at(quota, question, now);
    logins.owed.with(logins.owed.key(&question.client), now, |word| *word = now + nanos(96 * HOUR));
    let fresh = admit(&question, now).unwrap();
    assert!(fresh.who.known && !fresh.aging, "nothing is written where it is fresh");
    assert!(admit(&question, now + nanos(2 * HOUR)).unwrap().aging);
    assert!(admit(&question, now + nanos(KNOWN_FOR) + 1).is_err());
    let revoked = |revocation| Question { revocation, ..question.clone() };
    assert!(admit(&revoked(Revocation { number: Some(1), ..Revocation::default() }), now).is_err());
    let floor =
        |at| Revocation { floor: Some(Moment { at, unix_micros: 0 }), ..Revocation::default() };
    assert!(admit(&revoked(floor(Instant::now())), now).is_err(), "all of before are revoked");
    assert!(admit(&revoked(floor(start)), now).is_ok());
    let elsewhere = Question { client: [192, 0, 2, 2].into(), ..question.clone() };
    assert!(!admit(&elsewhere, now).unwrap().who.known);
}

#[tokio::test]
async fn a_login_waits_for_pending_ones_and_fails_if_they_use_up_the_quota() {
    let fixture = Fixture::new(1);
    let held = fixture.admit("first").unwrap().search().await.unwrap();
    let mut login = fixture.admit("second").unwrap();
    let (second, ()) = tokio::join!(login.search(), async { drop(held) });
    let second = second.ok().unwrap();
    let mut login = fixture.admit("third").unwrap();
    let (third, ()) = tokio::join!(login.search(), async {
        second.heard(&Verdict::NotMine);
        second.attempt.count();
    });
    assert!(third.is_err());
}
