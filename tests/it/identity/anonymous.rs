//! Callers without a credential, beside those with one: the questions to GitLab about them, and the
//! cached answers.

mod cached;
mod isolation;
mod whole_gate;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::gitlab::GitLab;
use moorgate::denial::Denial;
use moorgate::http_client::HttpClient;
use moorgate::identity::authenticator::{Authenticator, CacheUse, ManagedProvider};
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::guard::failure_budget::FailureBudget;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::identity::{Question, Verified};
use moorgate::metrics::Metrics;
use moorgate::net::client_tls;
use moorgate::registry::{Access, Action, Actions, RepositoryName};

use super::answer;
use crate::harness::listener;

const LIMITS: CacheLimits = CacheLimits {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(60),
    stale_if_error: Duration::from_secs(600),
    capacity: 8000,
    negative_capacity: 8000,
};

/// Starts a stand-in in which `public/` is public and whose ledger keeps every question.
fn gitlab() -> GitLab {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.set_public("public");
    gitlab.ledger().keep();
    gitlab
}

/// Creates a chain of these providers, each with its setting of `anonymous`.
fn chain(
    gitlabs: &[(&GitLab, bool)],
    forward_client_address: bool,
    limits: CacheLimits,
) -> Authenticator {
    chain_with(gitlabs, forward_client_address, limits, || None)
}

fn chain_with(
    gitlabs: &[(&GitLab, bool)],
    forward_client_address: bool,
    limits: CacheLimits,
    failure_budget: impl Fn() -> Option<FailureBudget>,
) -> Authenticator {
    let timeout = Duration::from_secs(10);
    let providers = gitlabs.iter().enumerate().map(|(number, (gitlab, anonymous))| {
        let name: Arc<str> = format!("gitlab-{number}").into();
        let tls = client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
        let reading = GitLabReading {
            accept_passwords: false,
            anonymous: *anonymous,
            forward_client_address,
            failure_budget: failure_budget(),
        };
        let realm = format!("http://{}/jwt/auth", gitlab.address());
        let client = HttpClient::new(tls, timeout);
        let server = TokenServer::new(
            name.clone(),
            &realm,
            "container_registry".into(),
            client,
            Some(reading),
        );
        Arc::new(ManagedProvider::new(
            name,
            AnyProvider::TokenServer(Arc::new(server)),
            timeout,
            None,
        ))
    });
    let (key, runtime) = (HashKey::random().unwrap(), tokio::runtime::Handle::current());
    Authenticator::new(providers.collect(), limits, key, Arc::new(Metrics::new()), runtime)
}

fn question(
    identity: &Authenticator,
    credential: Credential,
    access: Access,
    client: u8,
) -> Question {
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, client));
    identity.question(credential, access, client, "request".into())
}

/// Returns the outcome for a caller without a credential, and the use of the cache.
async fn nobody(
    identity: &Authenticator,
    access: Access,
    client: u8,
) -> (Result<Arc<Verified>, Denial>, CacheUse) {
    let mut cache_use = CacheUse::None;
    let question = question(identity, Credential::Anonymous, access, client);
    let verified = identity.verify(&question, &mut cache_use).await;
    (verified, cache_use)
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn pull(text: &str) -> Access {
    Access::Repository(name(text), Action::Pull)
}

fn granted(verified: &Verified) -> Vec<String> {
    let grants = verified.granted.repositories().iter();
    grants.map(|grant| format!("{}:{}", grant.repository, grant.actions.words())).collect()
}

#[tokio::test]
async fn anonymous_callers_may_only_pull_and_only_public_repositories() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    let several = |scopes: &[(&str, &str)]| {
        Access::several(
            scopes.iter().map(|(text, words)| (name(text), Actions::asked(words))).collect(),
        )
    };
    for (access, asked, expected) in [
        (pull("public/a"), vec!["repository:public/a:pull"], vec!["public/a:pull"]),
        // GitLab is asked about pull alone, even if the request needs another action.
        (
            Access::Repository(name("public/b"), Action::Push),
            vec!["repository:public/b:pull"],
            vec!["public/b:pull"],
        ),
        (
            several(&[("public/c", "*"), ("demo/c", "pull"), ("public/d", "delete")]),
            vec!["repository:public/c:pull", "repository:demo/c:pull"],
            vec!["public/c:pull", "demo/c:"],
        ),
        (pull("demo/a"), vec!["repository:demo/a:pull"], vec![]),
    ] {
        let before = gitlab.ledger().count();
        let verified = nobody(&identity, access, 7).await.0.unwrap();
        assert_eq!(granted(&verified), expected);
        assert_eq!(verified.granted.is_nothing(), expected.is_empty());
        let questions = gitlab.ledger().entries();
        assert_eq!(questions.len(), before + 1);
        let question = questions.last().unwrap();
        assert_eq!(question.scopes, asked);
        assert!(question.user.is_none() && question.secret.is_none());
        assert_eq!(question.forwarded_for, ["203.0.113.7"]);
        assert!(verified.principal.is_anonymous());
        assert_eq!(
            (&*verified.principal.source.provider, &verified.principal.source.credential_type),
            ("gitlab-0", &None)
        );
    }
    assert!(gitlab.created_repositories().is_empty());
}

#[tokio::test]
async fn no_provider_is_asked_if_anonymous_access_is_impossible() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    for access in
        [Access::Login, Access::Catalog, Access::Repository(name("public/a"), Action::Delete)]
    {
        let (verified, cache_use) = nobody(&identity, access, 7).await;
        let verified = verified.unwrap();
        assert!(verified.granted.is_nothing() && verified.principal.is_anonymous());
        assert_eq!(cache_use, CacheUse::None);
    }
    let none = chain(&[(&gitlab, false)], true, LIMITS);
    for access in [Access::Login, pull("public/a")] {
        let verified = nobody(&none, access, 7).await.0.unwrap();
        assert!(verified.granted.is_nothing() && verified.principal.is_anonymous());
    }
    assert_eq!(gitlab.ledger().count(), 0);
}

#[tokio::test]
async fn the_first_provider_that_grants_anonymous_access_decides() {
    let [silent, empty, public, unasked] = [(); 4].map(|()| gitlab());
    empty.set_public("other");
    let all = [(&silent, false), (&empty, true), (&public, true), (&unasked, true)];
    let identity = chain(&all, true, LIMITS);
    let verified = nobody(&identity, pull("public/a"), 7).await.0.unwrap();
    assert_eq!(&*verified.principal.source.provider, "gitlab-2");
    let asked = all.map(|(gitlab, _)| gitlab.ledger().count());
    assert_eq!(asked, [0, 1, 1, 0]);
}

#[tokio::test]
async fn a_refusal_of_an_anonymous_question_means_nothing_is_public() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    for (number, (status, body)) in [
        (401, ""),
        (403, "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access forbidden\"}]}"),
        (401, "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        gitlab.script([answer(status, body)]);
        let access = || pull(&format!("public/{number}"));
        let before = gitlab.ledger().count();
        assert!(nobody(&identity, access(), 7).await.0.unwrap().granted.is_nothing());
        let (verified, cache_use) = nobody(&identity, access(), 7).await;
        assert!(verified.unwrap().granted.is_nothing());
        assert_eq!(
            (cache_use, gitlab.ledger().count()),
            (CacheUse::Negative, before + 1),
            "{status}"
        );
        // The refusal concerns this repository alone.
        let other = nobody(&identity, pull(&format!("public/other-{number}")), 7).await.0.unwrap();
        assert!(!other.granted.is_nothing());
    }
    gitlab.script([answer(403, "banned"), answer(500, "")]);
    for number in 0..2 {
        let denial =
            nobody(&identity, pull(&format!("public/trouble-{number}")), 7).await.0.unwrap_err();
        assert!(matches!(denial, Denial::ProviderUnavailable { .. }), "{denial:?}");
    }
}
