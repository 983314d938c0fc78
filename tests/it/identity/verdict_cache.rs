//! The verdict cache by itself, with questions asked in the past.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moorgate::identity::cache::{CacheKey, CacheLimits, VerdictCache};
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::{DependsOn, HashKey};
use moorgate::identity::model::tag_rules::TagRules;
use moorgate::identity::{
    Granted, Lifetime, NotNow, PackedScopes, Principal, Question, RepositoryGrant, Source,
    TokenServerKind, Verdict, Verified,
};
use moorgate::registry::{Access, Action, Actions, RepositoryName};
use secrecy::SecretString;

const LIMITS: CacheLimits = CacheLimits {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    stale_if_error: Duration::from_secs(600),
    capacity: 1000,
    negative_capacity: 100,
};

/// A cache, and the key that identifies the questions to it.
struct Fixture {
    cache: VerdictCache,
    key: HashKey,
}

impl Fixture {
    fn new(limits: CacheLimits) -> Self {
        Self { cache: VerdictCache::new(limits), key: HashKey::random().unwrap() }
    }

    /// Returns the key of a question to the provider with this number: may this credential pull
    /// from that repository?
    fn asked(&self, provider: u32, user: &str, secret: &str, repository: &str) -> CacheKey {
        let credential =
            Credential::Basic { user: user.into(), password: SecretString::from(secret) };
        let access = Access::Repository(RepositoryName::parse(repository).unwrap(), Action::Pull);
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let question = Question::new(&self.key, credential, access, client, "test".into());
        CacheKey {
            question: self.key.question(provider, DependsOn::Repository, &question),
            credential: self.key.question(provider, DependsOn::Credential, &question),
            secret: Some(question.secret),
            floor: None,
            provider,
        }
    }

    fn keep(&self, asked: &CacheKey, ago: Duration, verdict: Verdict) {
        self.cache.keep(asked, before(ago), &verdict);
    }

    fn is_fresh(&self, asked: &CacheKey) -> bool {
        matches!(self.cache.look_up(asked), Some(Verdict::Verified(..)))
    }

    fn is_stale(&self, asked: &CacheKey) -> bool {
        self.cache.stale(asked).is_some()
    }
}

fn before(ago: Duration) -> Instant {
    Instant::now().checked_sub(ago).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn verified(granted: Granted, lifetime: Lifetime) -> Verdict {
    let source =
        Arc::new(Source { provider: "gitlab".into(), credential_type: None, folds_case: false });
    let principal = Principal { source, subject: "alice".into() };
    Verdict::Verified(Arc::new(Verified { principal, granted, attributes: None }), lifetime)
}

fn yes() -> Verdict {
    verified(Granted::Identity, Lifetime::default())
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_verdict_is_fresh_for_ttl_and_then_stale_for_stale_if_error() {
    let all = Fixture::new(LIMITS);
    for (ago, fresh, stale) in [
        (0, true, true),
        (59, true, true),
        (61, false, true),
        (659, false, true),
        (661, false, false),
    ] {
        let asked = all.asked(0, "alice", &format!("secret-{ago}"), "a");
        all.keep(&asked, seconds(ago), yes());
        assert_eq!((all.is_fresh(&asked), all.is_stale(&asked)), (fresh, stale), "{ago}");
    }
    let none = Fixture::new(CacheLimits { stale_if_error: Duration::ZERO, ..LIMITS });
    let asked = none.asked(0, "alice", "secret", "a");
    none.keep(&asked, Duration::ZERO, yes());
    assert!(none.is_fresh(&asked) && !none.is_stale(&asked), "0s turns it off");
}

/// The lifetime of GitLab's own token bounds how long its answer is fresh. The expiry of the
/// credential bounds both fresh and stale answers.
#[test]
fn a_verdict_is_not_used_past_the_expiry_of_its_credential() {
    let fixture = Fixture::new(LIMITS);
    let asked = |secret| fixture.asked(0, "alice", secret, "a");
    let answer = Lifetime { answer: Some(seconds(5)), credential: None };
    fixture.keep(&asked("answer"), seconds(6), verified(Granted::Identity, answer));
    assert!(!fixture.is_fresh(&asked("answer")) && fixture.is_stale(&asked("answer")));

    let ends =
        |ends| verified(Granted::Identity, Lifetime { answer: None, credential: Some(ends) });
    fixture.keep(&asked("ended"), seconds(1), ends(unix_now()));
    assert!(!fixture.is_fresh(&asked("ended")) && !fixture.is_stale(&asked("ended")));
    fixture.keep(&asked("lives"), seconds(1), ends(unix_now() + 100));
    assert!(fixture.is_fresh(&asked("lives")) && fixture.is_stale(&asked("lives")));
    fixture.keep(&asked("for ever"), seconds(1), ends(u64::MAX));
    assert!(fixture.is_fresh(&asked("for ever")));
}

/// A rejection of the secret under another user name leaves the verdict under the right name, so a
/// caller who tries another's secret or mistypes a name harms only itself.
#[test]
fn a_rejection_under_another_user_name_leaves_the_right_one_verified() {
    for no in [Verdict::NotMine, Verdict::Rejected, Verdict::Unfit] {
        let fixture = Fixture::new(LIMITS);
        let (right, wrong) =
            (fixture.asked(0, "alice", "secret", "a"), fixture.asked(0, "bob", "secret", "a"));
        fixture.keep(&right, Duration::ZERO, yes());
        fixture.keep(&wrong, Duration::ZERO, no);
        assert!(fixture.is_fresh(&right) && !fixture.is_fresh(&wrong));
    }
}

/// After a rejection, no earlier verdict of that provider about the secret is used as a stale
/// answer, for any repository.
#[test]
fn a_rejection_ends_stale_answers_about_the_secret() {
    for no in [Verdict::NotMine, Verdict::Rejected, Verdict::Unfit] {
        let fixture = Fixture::new(LIMITS);
        let (one, other) =
            (fixture.asked(0, "alice", "secret", "a"), fixture.asked(0, "alice", "secret", "b"));
        let elsewhere = fixture.asked(1, "alice", "secret", "b");
        for asked in [&one, &other, &elsewhere] {
            fixture.keep(asked, seconds(61), yes());
        }
        fixture.keep(&one, Duration::ZERO, no.clone());
        let stale = [&one, &other, &elsewhere].map(|asked| fixture.is_stale(asked));
        assert_eq!(stale, [false, false, true], "{no:?}: what another provider said stays");
    }
}

/// A rejection outweighs verdicts on questions that were asked before it, because the earlier of
/// two concurrent questions may be answered later, when its verdict is not true any more.
#[test]
fn a_rejection_outweighs_verdicts_on_earlier_questions() {
    for no in [Verdict::NotMine, Verdict::Rejected] {
        let fixture = Fixture::new(LIMITS);
        let (one, other) =
            (fixture.asked(0, "alice", "secret", "a"), fixture.asked(0, "alice", "secret", "b"));
        let elsewhere = fixture.asked(1, "alice", "secret", "b");
        fixture.keep(&one, seconds(1), no.clone());
        for asked in [&one, &other, &elsewhere] {
            fixture.keep(asked, seconds(2), yes());
        }
        let stale = [&one, &other, &elsewhere].map(|asked| fixture.is_stale(asked));
        assert_eq!(stale, [false, false, true], "{no:?}");
        fixture.keep(&one, Duration::ZERO, yes());
        assert!(fixture.is_fresh(&one), "{no:?}: what was asked after it counts");
    }
}

/// If a role is removed for one repository, the verdicts about other repositories stay.
#[test]
fn a_verdict_that_grants_nothing_ends_stale_answers_of_its_repository() {
    let fixture = Fixture::new(LIMITS);
    let (one, other) =
        (fixture.asked(0, "alice", "secret", "a"), fixture.asked(0, "alice", "secret", "b"));
    fixture.keep(&one, seconds(61), yes());
    fixture.keep(&other, seconds(61), yes());
    fixture.keep(&one, Duration::ZERO, verified(Granted::Nothing, Lifetime::default()));
    assert!(!fixture.is_stale(&one) && fixture.is_stale(&other));
    assert!(fixture.is_fresh(&one), "it is known that nothing is granted");
}

#[test]
fn a_verdict_that_grants_nothing_is_kept_for_negative_ttl() {
    let fixture = Fixture::new(LIMITS);
    let nothing = |granted| verified(granted, Lifetime::default());
    let no_scope = Granted::Scopes(PackedScopes::default());
    for (number, no) in
        [Verdict::NotMine, Verdict::Rejected, nothing(Granted::Nothing), nothing(no_scope)]
            .into_iter()
            .enumerate()
    {
        for (ago, known) in [(9, true), (11, false)] {
            let asked = fixture.asked(0, "alice", &format!("secret-{number}-{ago}"), "a");
            fixture.keep(&asked, seconds(ago), no.clone());
            assert_eq!(fixture.cache.look_up(&asked).is_some(), known, "{no:?} {ago}");
        }
    }
}

/// A reply without a verdict is not cached as one: the question only rests.
#[test]
fn a_missing_answer_is_not_kept_as_a_verdict() {
    let fixture = Fixture::new(LIMITS);
    let asked = fixture.asked(0, "alice", "secret", "a");
    fixture.keep(&asked, seconds(61), yes());
    for silence in [Verdict::Unavailable, Verdict::NotNow(NotNow::Barred, seconds(5))] {
        fixture.keep(&asked, Duration::ZERO, silence.clone());
        assert_eq!(fixture.cache.look_up(&asked), None);
        assert!(fixture.is_stale(&asked));
        assert_eq!(fixture.cache.resting(&asked.question), Some(silence));
    }
    assert_eq!(fixture.cache.resting(&fixture.asked(0, "alice", "secret", "b").question), None);
}

/// One secret has at most 256 entries. GitLab ignores the user name of a personal access token, so
/// one token could otherwise fill the cache.
#[test]
fn one_secret_has_no_more_than_256_entries() {
    let fixture = Fixture::new(LIMITS);
    let other = fixture.asked(0, "bob", "another secret", "a");
    fixture.keep(&other, Duration::ZERO, yes());
    let asked: Vec<_> =
        (0..2000).map(|user| fixture.asked(0, &format!("user-{user}"), "secret", "a")).collect();
    for no in [false, true] {
        for asked in &asked {
            let verdict = if no { verified(Granted::Nothing, Lifetime::default()) } else { yes() };
            fixture.keep(asked, Duration::ZERO, verdict);
        }
        let live: Vec<_> =
            asked.iter().map(|asked| fixture.cache.look_up(asked).is_some()).collect();
        assert_eq!(live.iter().filter(|live| **live).count(), 256, "{no}");
        assert!(live.ends_with(&[true; 256]), "the oldest go first");
    }
    assert!(fixture.is_fresh(&other));
}

/// A flood of random tokens evicts no good verdict, and the cache does not grow.
#[test]
fn a_flood_of_random_tokens_evicts_no_good_verdict() {
    // The ttl is longer than the test takes, even on a busy machine.
    let ttl = Duration::from_secs(3600);
    let fixture =
        Fixture::new(CacheLimits { ttl, capacity: 1000, negative_capacity: 1000, ..LIMITS });
    let good: Vec<_> =
        (0..500).map(|number| fixture.asked(0, "alice", &format!("good-{number}"), "a")).collect();
    for asked in &good {
        fixture.keep(asked, Duration::ZERO, yes());
    }
    let mut asked = fixture.asked(0, "mallory", "random", "a");
    for number in 0..200_000_u32 {
        // Only the ids of random secrets are made, without the questions about them.
        let random =
            fixture.key.secret(&Credential::Bearer(SecretString::from(number.to_string())));
        asked.secret = Some(random);
        fixture.keep(&asked, Duration::ZERO, Verdict::NotMine);
    }
    assert!(good.iter().all(|asked| fixture.is_fresh(asked)));
    assert!(fixture.cache.entries() <= 1500, "{}", fixture.cache.entries());
}

/// A refusal that names many repositories counts as several entries.
#[test]
fn a_refusal_of_many_repositories_counts_as_several_entries() {
    let entries = |repositories: usize| {
        let fixture = Fixture::new(LIMITS);
        let grant = |number: usize| RepositoryGrant {
            repository: RepositoryName::parse(&format!("a/{number}")).unwrap(),
            actions: Actions::default(),
            server: TokenServerKind::GitLab,
            tags: TagRules::None,
            token: None,
        };
        let granted = Granted::Repositories(Arc::new((0..repositories).map(grant).collect()));
        for number in 0..200 {
            let asked = fixture.asked(0, "alice", &format!("secret-{number}"), "a");
            fixture.keep(&asked, Duration::ZERO, verified(granted.clone(), Lifetime::default()));
        }
        fixture.cache.entries()
    };
    assert_eq!(entries(1), 100);
    assert!((10..=20).contains(&entries(32)), "{}", entries(32));
}

/// A new entry always gets a place, and the least used entry is evicted.
#[test]
fn the_least_used_entry_is_evicted_first() {
    let fixture = Fixture::new(LIMITS);
    let asked = |number: u32| fixture.asked(0, "alice", &format!("secret-{number}"), "a");
    for number in 0..1000 {
        fixture.keep(&asked(number), Duration::ZERO, yes());
        for _ in 0..10 {
            assert!(fixture.is_fresh(&asked(number)));
        }
    }
    for number in 1000..1500 {
        assert!(fixture.is_fresh(&asked(0)), "it is asked for all the time");
        fixture.keep(&asked(number), Duration::ZERO, yes());
        assert!(fixture.is_fresh(&asked(number)), "new ones find a place");
    }
    assert!(!fixture.is_fresh(&asked(1)));
}
