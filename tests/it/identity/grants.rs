//! The grants of a token server for several repositories at once, and the token that lists them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moorgate::demo::gitlab::GitLab;
use moorgate::http_client::HttpClient;
use moorgate::identity::authenticator::{Authenticator, CacheUse, ManagedProvider};
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::model::tag_rules::TagRules;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::identity::{Question, TokenServerKind, Verified};
use moorgate::metrics::Metrics;
use moorgate::net::client_tls;
use moorgate::registry::{Access, Action, Actions, RepositoryName};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{answer, unsigned};
use crate::harness::{READ_ONLY, READ_WRITE, listener};

const LIMITS: CacheLimits = CacheLimits {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(60),
    stale_if_error: Duration::from_secs(600),
    capacity: 1000,
    negative_capacity: 1000,
};

/// A chain of one token server, read as GitLab or as any other.
struct Chain {
    gitlab: GitLab,
    identity: Authenticator,
}

impl Chain {
    fn start(is_gitlab: bool, keep_tokens: bool, limits: CacheLimits) -> Self {
        let gitlab = GitLab::start(listener()).unwrap();
        gitlab.ledger().keep();
        let (name, timeout) = (Arc::<str>::from("gitlab"), Duration::from_secs(10));
        let tls = client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
        let reading = is_gitlab.then_some(GitLabReading {
            accept_passwords: false,
            anonymous: false,
            forward_client_address: true,
            failure_budget: None,
        });
        let realm = format!("http://{}/jwt/auth", gitlab.address());
        let client = HttpClient::new(tls, timeout);
        let server =
            TokenServer::new(name.clone(), &realm, "container_registry".into(), client, reading);
        let kind = AnyProvider::TokenServer(Arc::new(server.keep_tokens(keep_tokens)));
        let (key, runtime) = (HashKey::random().unwrap(), tokio::runtime::Handle::current());
        let providers = vec![Arc::new(ManagedProvider::new(name, kind, timeout, None))];
        Self {
            gitlab,
            identity: Authenticator::new(providers, limits, key, Arc::new(Metrics::new()), runtime),
        }
    }

    fn question(&self, (user, password): (&str, &str), access: Access) -> Question {
        let credential = Credential::Basic { user: user.into(), password: password.into() };
        self.identity.question(credential, access, Ipv4Addr::LOCALHOST.into(), "request".into())
    }

    async fn verify(&self, credential: (&str, &str), access: Access) -> (Arc<Verified>, CacheUse) {
        let mut cache_use = CacheUse::None;
        let verified =
            self.identity.verify(&self.question(credential, access), &mut cache_use).await;
        (verified.unwrap(), cache_use)
    }
}

fn several(scopes: &[(&str, &str)]) -> Access {
    let wanted = scopes
        .iter()
        .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
    Access::several(wanted.collect())
}

fn on(name: &str, action: Action) -> Access {
    Access::Repository(RepositoryName::parse(name).unwrap(), action)
}

fn granted(verified: &Verified) -> Vec<String> {
    let grants = verified.granted.repositories().iter();
    grants.map(|grant| format!("{}:{}", grant.repository, grant.actions.words())).collect()
}

fn token(verified: &Verified) -> Option<&str> {
    verified.granted.token().map(|token| token.secret().expose_secret())
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Returns a token with these claims that grants pull on `demo/a`.
fn issued(claims: &Value) -> String {
    let mut all = json!({ "aud": "container_registry", "sub": "alice",
        "access": [{ "type": "repository", "name": "demo/a", "actions": ["pull"] }] });
    for (key, value) in claims.as_object().unwrap() {
        all[key] = value.clone();
    }
    unsigned(&all.to_string())
}

#[tokio::test]
async fn access_to_several_repositories_takes_one_question() {
    for (is_gitlab, kind) in [(true, TokenServerKind::GitLab), (false, TokenServerKind::Other)] {
        let chain = Chain::start(is_gitlab, false, LIMITS);
        chain.gitlab.set_meta(json!({ "tag_immutable_patterns": ["^v"] }));
        let access = || {
            several(&[("demo/a", "pull,push"), ("demo/b", "pull"), ("elsewhere/c", "pull,push")])
        };
        let (verified, cache_use) = chain.verify(READ_WRITE, access()).await;
        assert_eq!(
            (granted(&verified).join(" "), cache_use),
            ("demo/a:pull,push demo/b:pull elsewhere/c:".into(), CacheUse::Miss)
        );
        assert_eq!(verified.granted.repositories()[0].server, kind);
        // Only GitLab has tag rules, and they are kept only for a repository that may be written
        // to.
        let has_rules =
            |index: usize| verified.granted.repositories()[index].tags != TagRules::None;
        assert_eq!([has_rules(0), has_rules(1), has_rules(2)], [is_gitlab, false, false]);
        let questions = chain.gitlab.ledger().entries();
        assert_eq!(questions.len(), 1);
        let scopes = [
            "repository:demo/a:pull,push",
            "repository:demo/b:pull",
            "repository:elsewhere/c:pull,push",
        ];
        assert_eq!(questions[0].scopes, scopes);
        assert_eq!(chain.verify(READ_WRITE, access()).await.1, CacheUse::Hit);
        // GitLab creates no record for a repository that is only read.
        assert_eq!(chain.gitlab.created_repositories().into_iter().collect::<Vec<_>>(), ["demo/a"]);
    }
}

#[tokio::test]
async fn no_more_access_is_granted_than_was_asked_for() {
    let chain = Chain::start(true, false, LIMITS);
    let actions = ["pull", "push", "delete"];
    let all = |name: &str| json!({ "type": "repository", "name": name, "actions": actions });
    let access = json!([all("demo/a"), all("demo/b"), all("demo/c")]);
    let reply = json!({ "token": issued(&json!({ "access": access })) }).to_string();
    chain.gitlab.script([answer(200, reply)]);
    let (verified, _) =
        chain.verify(READ_WRITE, several(&[("demo/b", "pull"), ("demo/a", "push,delete")])).await;
    assert_eq!(granted(&verified), ["demo/b:pull", "demo/a:push,delete"]);
}

/// The answer to a question for a token is cached, and the client's following request for the same
/// access uses it.
#[tokio::test]
async fn a_request_uses_the_answer_cached_for_its_token() {
    let chain = Chain::start(true, false, LIMITS);
    for (words, action) in
        [("pull", Action::Pull), ("pull,push", Action::Push), ("delete", Action::Delete)]
    {
        let before = chain.gitlab.ledger().count();
        chain.verify(READ_WRITE, several(&[("demo/a", words)])).await;
        let cached = chain.verify(READ_WRITE, on("demo/a", action)).await.1;
        assert!(matches!(cached, CacheUse::Hit | CacheUse::Negative), "{words}");
        assert_eq!(chain.gitlab.ledger().count(), before + 1);
    }
}

#[tokio::test]
async fn a_denial_for_several_repositories_grants_nothing_for_each() {
    let chain = Chain::start(true, true, LIMITS);
    let access = || several(&[("elsewhere/a", "pull"), ("elsewhere/b", "pull")]);
    for _ in 0..2 {
        chain.gitlab.script([answer(
            403,
            "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access forbidden\"}]}",
        )]);
        let (verified, _) = chain.verify(READ_WRITE, access()).await;
        assert!(verified.granted.is_nothing());
        assert_eq!(granted(&verified), ["elsewhere/a:", "elsewhere/b:"]);
        assert_eq!(token(&verified), None);
    }
    assert_eq!(chain.verify(READ_WRITE, access()).await.1, CacheUse::Negative);
}

#[tokio::test]
async fn reads_of_several_repositories_go_on_in_an_outage() {
    let chain = Chain::start(true, false, CacheLimits { ttl: Duration::ZERO, ..LIMITS });
    let (reads, writes) = (
        || several(&[("demo/a", "pull"), ("demo/b", "pull")]),
        || several(&[("demo/a", "pull,push"), ("demo/b", "pull")]),
    );
    chain.verify(READ_WRITE, reads()).await;
    chain.verify(READ_WRITE, writes()).await;
    chain.gitlab.always(Some(answer(502, "")));
    assert_eq!(chain.verify(READ_WRITE, reads()).await.1, CacheUse::Stale);
    let question = chain.question(READ_WRITE, writes());
    chain.identity.verify(&question, &mut CacheUse::None).await.unwrap_err();
}

#[tokio::test]
async fn the_token_of_a_grant_is_kept_only_if_tokens_are_to_be_kept() {
    for is_gitlab in [true, false] {
        let keeps = Chain::start(is_gitlab, true, LIMITS);
        let forgets = Chain::start(is_gitlab, false, LIMITS);
        let both = || several(&[("demo/a", "pull"), ("demo/b", "pull")]);
        for access in [on("demo/a", Action::Pull), both()] {
            assert_eq!(token(&forgets.verify(READ_WRITE, access.clone()).await.0), None);
            let (verified, _) = keeps.verify(READ_WRITE, access.clone()).await;
            let first = token(&verified).unwrap().to_owned();
            assert_eq!(first.split('.').count(), 3, "a JWT");
            assert!(!format!("{verified:?}").contains(&first), "it prints nothing");
            // The cache returns the same token, and never that of another credential.
            let (again, cache_use) = keeps.verify(READ_WRITE, access.clone()).await;
            assert_eq!((token(&again), cache_use), (Some(&*first), CacheUse::Hit));
            assert_ne!(token(&keeps.verify(READ_ONLY, access).await.0), Some(&*first));
        }
        // If nothing was granted or asked for, no token is sent upstream.
        for access in [on("elsewhere/a", Action::Pull), Access::Login] {
            assert_eq!(token(&keeps.verify(READ_WRITE, access).await.0), None);
        }
        let exact = issued(&json!({ "iat": 1000, "exp": 1300 }));
        keeps.gitlab.script([answer(200, json!({ "token": exact }).to_string())]);
        let (verified, _) = keeps.verify(("bob", "glpat-other"), on("demo/a", Action::Pull)).await;
        assert_eq!(token(&verified), Some(&*exact), "the very token that was issued");
    }
}

/// A kept token is replaced 10 seconds before it expires, and it is not used in an outage after
/// that either.
#[tokio::test]
async fn a_kept_token_is_never_used_past_its_end() {
    let seconds = |from: u64, to: u64| json!({ "iat": from, "exp": to });
    let now = unix_now();
    for (claims, keep_tokens, fresh, stale) in [
        (seconds(1000, 1300), true, true, true),
        (seconds(1000, 1010), true, false, false),
        (seconds(1000, 1005), true, false, false),
        (seconds(1000, 1010), false, true, true),
        // A token without `iat` is judged by the gate's own clock.
        (json!({ "exp": now + 300 }), true, true, true),
        (json!({ "exp": now + 5 }), true, false, false),
        (json!({ "exp": now + 5 }), false, true, true),
    ] {
        for (ttl, used) in [(LIMITS.ttl, fresh), (Duration::ZERO, stale)] {
            let chain = Chain::start(true, keep_tokens, CacheLimits { ttl, ..LIMITS });
            chain.gitlab.script([answer(200, json!({ "token": issued(&claims) }).to_string())]);
            chain.verify(READ_WRITE, on("demo/a", Action::Pull)).await;
            chain.gitlab.always(Some(answer(502, "")));
            let question = chain.question(READ_WRITE, on("demo/a", Action::Pull));
            let outcome = chain.identity.verify(&question, &mut CacheUse::None).await;
            assert_eq!(outcome.is_ok(), used, "{claims} {keep_tokens} {ttl:?}");
        }
    }
}

/// If the registry refuses a grant, the grant is dropped from the cache and the next caller gets a
/// new one.
#[tokio::test]
async fn a_dropped_grant_is_asked_for_again_and_others_stay() {
    let chain = Chain::start(true, true, LIMITS);
    let access = || on("demo/a", Action::Pull);
    let (first, _) = chain.verify(READ_WRITE, access()).await;
    let (other, _) = chain.verify(READ_WRITE, on("demo/b", Action::Pull)).await;
    let question = chain.question(READ_WRITE, access());
    chain.identity.forget(&question, first.granted.token().unwrap()).await;
    let (second, cache_use) = chain.verify(READ_WRITE, access()).await;
    assert_eq!(cache_use, CacheUse::Miss);
    assert_ne!(token(&first), token(&second));
    // Another request that was refused with the first grant at the same time reports it later. The
    // new grant must stay.
    chain.identity.forget(&question, first.granted.token().unwrap()).await;
    assert_eq!(chain.verify(READ_WRITE, access()).await.1, CacheUse::Hit);
    let (kept, cache_use) = chain.verify(READ_WRITE, on("demo/b", Action::Pull)).await;
    assert_eq!((token(&kept), cache_use), (token(&other), CacheUse::Hit));
}

/// A token takes some kilobytes, so an entry with a token counts as several entries in the cache.
#[tokio::test]
async fn an_entry_with_a_token_counts_as_several_cache_entries() {
    let entries = async |keep_tokens| {
        let chain = Chain::start(true, keep_tokens, CacheLimits { capacity: 100, ..LIMITS });
        let reply = issued(&json!({ "iat": 1000, "exp": 1300, "padding": "x".repeat(2000) }));
        for number in 0..100 {
            chain.gitlab.script([answer(200, json!({ "token": reply }).to_string())]);
            chain.verify(("alice", &format!("secret-{number}")), on("demo/a", Action::Pull)).await;
        }
        chain.identity.cache_entries()
    };
    let (without, with) = (entries(false).await, entries(true).await);
    assert!(without > 40 && (5..=20).contains(&with), "{without} {with}");
}
