//! A worker uses an answer of its own exactly as long as the cache gives the same one.

use std::time::Duration;

use tokio::runtime::Handle;

use super::*;
use crate::http_client::HttpClient;
use crate::identity::authenticator::CacheUse;
use crate::identity::cache::CacheLimits;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::model::{
    Granted, Lifetime, PackedScopes, Principal, Source, UpstreamToken, Verdict,
};
use crate::identity::provider::AnyProvider;
use crate::identity::provider::gitlab::GitLabReading;
use crate::identity::provider::registry_token::TokenServer;
use crate::metrics::Metrics;
use crate::rate_limit::Quota;
use crate::registry::{Action, RepositoryName};

const HOUR: Duration = Duration::from_secs(3600);

const LIMITS: CacheLimits = CacheLimits {
    ttl: Duration::from_secs(3 * 3600),
    negative_ttl: HOUR,
    stale_if_error: Duration::ZERO,
    capacity: 1000,
    negative_capacity: 1000,
};

/// A provider that is never asked: the cache has the answers.
fn provider(forward_client_address: bool) -> Arc<ManagedProvider> {
    let roots = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = HttpClient::new(roots.into(), HOUR);
    let reading = GitLabReading {
        accept_passwords: true,
        anonymous: false,
        forward_client_address,
        failure_budget: None,
    };
    let realm = "http://127.0.0.1:1/jwt/auth";
    let server = TokenServer::new("p".into(), realm, "service".into(), client, Some(reading));
    let server = AnyProvider::TokenServer(Arc::new(server));
    Arc::new(ManagedProvider::new("p".into(), server, HOUR, None))
}

fn chain(provider: Arc<ManagedProvider>) -> Authenticator {
    let (key, metrics) = (HashKey::random().unwrap(), Arc::new(Metrics::new()));
    Authenticator::new(vec![provider], LIMITS, key, metrics, Handle::current())
}

fn credential(secret: &str) -> Credential {
    Credential::Basic { user: "alice".into(), password: secret.into() }
}

fn pull(repository: &str) -> Access {
    Access::Repository(RepositoryName::parse(repository).unwrap(), Action::Pull)
}

fn yes() -> Verdict {
    let source = Source { provider: "p".into(), credential_type: None, folds_case: false };
    let principal = Principal { source: source.into(), subject: "alice".into() };
    let granted = Granted::Scopes(PackedScopes::from_iter(["read"]));
    Verdict::Verified(
        Arc::new(Verified { principal, granted, attributes: None }),
        Lifetime::default(),
    )
}

impl Authenticator {
    fn ask(&self, secret: &str, access: Access, client: [u8; 4]) -> Question {
        self.question(credential(secret), access, client.into(), "request".into())
    }

    fn cache(&self, question: &Question, verdict: &Verdict) {
        let asked = self.shared.asked(&self.providers[0], question);
        self.shared.cache.keep(&asked, Instant::now(), verdict);
    }

    async fn hit(&self, question: &Question) {
        let mut cache_use = CacheUse::None;
        self.verify(question, &mut cache_use).await.unwrap();
        assert_eq!(cache_use, CacheUse::Hit);
    }

    /// Has the cache answer a question twice, so that the worker keeps it.
    async fn hit_twice(&self, question: &Question) {
        self.hit(question).await;
        self.hit(question).await;
    }

    fn is_settled(&self, question: &Question) -> bool {
        self.settled(question).is_some()
    }
}

const HERE: [u8; 4] = [192, 0, 2, 1];
const ELSEWHERE: [u8; 4] = [198, 51, 100, 1];

#[tokio::test]
async fn only_the_same_question_is_settled() {
    for forwards in [false, true] {
        let gate = chain(provider(forwards));
        let question = gate.ask("secret", pull("a"), HERE);
        gate.cache(&question, &yes());
        assert!(!gate.is_settled(&question), "the cache was not asked");
        gate.hit(&question).await;
        assert!(!gate.is_settled(&question), "the credential came once");
        gate.hit(&question).await;
        assert!(gate.is_settled(&gate.ask("secret", pull("a"), HERE)));
        for other in [
            gate.ask("secret", pull("b"), HERE),
            gate.ask("secret", Access::Login, HERE),
            gate.ask("another", pull("a"), HERE),
        ] {
            assert!(!gate.is_settled(&other), "{other:?}");
        }
        let from_elsewhere = gate.ask("secret", pull("a"), ELSEWHERE);
        assert_eq!(gate.is_settled(&from_elsewhere), !forwards);
        let other_chain = gate.with_providers(vec![gate.providers[0].clone()]);
        assert!(!other_chain.is_settled(&question), "after a reload");
    }
}

#[tokio::test]
async fn a_question_is_settled_no_longer_than_its_answer_is_fresh() {
    let gate = chain(provider(false));
    let question = gate.ask("secret", pull("a"), HERE);
    gate.cache(&question, &yes());
    gate.hit_twice(&question).await;
    let now = Instant::now();
    assert!(gate.settled_at(&question, now + LIMITS.ttl - HOUR).is_some());
    assert!(gate.settled_at(&question, now + LIMITS.ttl).is_none());
}

/// After the first revocation too, the hashes of a credential are not computed again.
#[tokio::test]
async fn a_revocation_ends_every_settled_question() {
    let gate = chain(provider(false));
    let ask = |secret: &str| gate.ask(secret, pull("a"), HERE);
    for secret in ["one", "two"] {
        gate.cache(&ask(secret), &yes());
        gate.hit_twice(&ask(secret)).await;
    }
    let earlier = ask("one");
    let revoker = gate.revoker();
    revoker.revoke(&revoker.revocable(&credential("one")));
    assert!(!gate.is_settled(&earlier) && !gate.is_settled(&ask("one")));
    assert!(ask("one").revocation.number.is_some());
    assert!(!gate.is_settled(&ask("two")), "its revocations are looked up again");
    gate.hit_twice(&ask("two")).await;
    assert!(gate.is_settled(&ask("two")));
    // A provider confirms the revoked credential.
    gate.cache(&ask("one"), &yes());
    gate.hit_twice(&ask("one")).await;
    assert!(gate.is_settled(&ask("one")) && !gate.is_settled(&earlier));
    let facts = facts(ask("one").id, gate.shared.revocations.revision()).unwrap();
    let computed = gate.shared.revocations.lookup(&facts.known_as);
    assert_eq!(facts.revocation, computed);
}

#[tokio::test]
async fn a_change_in_the_cache_ends_a_settled_question() {
    let gate = chain(provider(false));
    let question = gate.ask("secret", pull("a"), HERE);
    let push = gate.ask(
        "secret",
        Access::Repository(RepositoryName::parse("a").unwrap(), Action::Push),
        HERE,
    );
    let token = UpstreamToken::new("token".into());
    let with_token = || {
        let Verdict::Verified(verified, lifetime) = yes() else { unreachable!() };
        let granted = Granted::Catalog(Some(token.clone()));
        Verdict::Verified(Arc::new(Verified { granted, ..Verified::clone(&verified) }), lifetime)
    };
    let changes: [(&str, &dyn Fn()); 4] = [
        ("refused", &|| gate.cache(&push, &Verdict::Rejected)),
        ("not usable", &|| gate.cache(&push, &Verdict::Unfit)),
        ("another answer", &|| gate.cache(&question, &yes())),
        ("the registry refuses the token", &|| gate.forget_here(&question, &token)),
    ];
    for (case, change) in changes {
        gate.cache(&question, &with_token());
        gate.hit_twice(&question).await;
        assert!(gate.is_settled(&question), "{case}");
        change();
        assert!(!gate.is_settled(&question), "{case}");
    }
}

/// A credential that is known to be good from one address is still counted at another one.
#[tokio::test]
async fn a_login_is_settled_for_its_address_until_it_is_renewed() {
    let gate = chain(provider(false)).with_failed_logins(Some(Quota::new(1, HOUR, 1)));
    let question = gate.ask("secret", pull("a"), HERE);
    gate.cache(&question, &yes());
    gate.hit_twice(&question).await;
    assert!(gate.is_settled(&question));
    let from_elsewhere = gate.ask("secret", pull("a"), ELSEWHERE);
    assert!(!gate.is_settled(&from_elsewhere));
    gate.hit(&from_elsewhere).await;
    assert!(!gate.is_settled(&from_elsewhere), "it was not known to be good from there");
    gate.hit(&from_elsewhere).await;
    assert!(gate.is_settled(&from_elsewhere) && !gate.is_settled(&question));
    gate.hit(&question).await;
    assert!(gate.settled_at(&question, Instant::now() + 2 * HOUR).is_none());
}

/// A credential that is used all the time stays in the cache while many others come and go.
#[tokio::test]
async fn a_settled_question_counts_as_used() {
    let gate = chain(provider(false));
    let question = gate.ask("secret", pull("a"), HERE);
    gate.cache(&question, &yes());
    for number in 0..5000 {
        gate.hit(&question).await;
        gate.cache(&gate.ask(&number.to_string(), pull("a"), HERE), &yes());
    }
    assert!(gate.shared.cache.known(question.secret).is_some());
}

#[tokio::test]
async fn the_table_of_a_worker_has_a_fixed_size() {
    let gate = chain(provider(false));
    for number in 0..10_000 {
        let question = gate.ask(&number.to_string(), pull("a"), HERE);
        gate.cache(&question, &yes());
        gate.hit_twice(&question).await;
        assert!(gate.is_settled(&question), "the latest one has a place");
    }
    let kept = TABLE.with_borrow(|table| {
        table.sets.iter().flatten().filter(|place| place.settled.is_some()).count()
    });
    assert!(kept > SETS && kept <= SETS * WAYS, "{kept}");
}
