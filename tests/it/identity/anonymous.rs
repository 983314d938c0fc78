//! Callers without a credential, beside those with one: the questions to GitLab about them, and the
//! cached answers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::Scripted;
use moorgate::demo::gitlab::GitLab;
use moorgate::denial::Denial;
use moorgate::identity::authenticator::{CacheUse, Identity, ManagedProvider};
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::guard::failure_budget::FailureBudget;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::common::http_client::ProviderClient;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::identity::{Granted, Question, Verified};
use moorgate::metrics::Metrics;
use moorgate::net::client_tls;
use moorgate::registry::{Access, Action, Actions, RepositoryName};
use serde_json::{Value, json};

use super::answer;
use crate::harness::{READ_WRITE, Setup, TestGate, listener};

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
) -> Identity {
    chain_with(gitlabs, forward_client_address, limits, || None)
}

fn chain_with(
    gitlabs: &[(&GitLab, bool)],
    forward_client_address: bool,
    limits: CacheLimits,
    failure_budget: impl Fn() -> Option<FailureBudget>,
) -> Identity {
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
        let client = ProviderClient::new(tls, timeout);
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
    Identity::new(providers.collect(), limits, key, Arc::new(Metrics::new()), runtime)
}

fn question(identity: &Identity, credential: Credential, access: Access, client: u8) -> Question {
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, client));
    identity.question(credential, access, client, "request".into())
}

/// Returns the outcome for a caller without a credential, and the use of the cache.
async fn nobody(
    identity: &Identity,
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

#[tokio::test]
async fn an_anonymous_answer_is_cached_for_all_callers_or_per_address() {
    let gitlab = gitlab();
    for (forward_client_address, questions) in [(true, 2), (false, 1)] {
        let identity = chain(&[(&gitlab, true)], forward_client_address, LIMITS);
        let before = gitlab.ledger().count();
        for client in [7, 8, 7, 8] {
            nobody(&identity, pull("public/a"), client).await.0.unwrap();
        }
        // The cached answer about a pull also answers the question about a push.
        let push = Access::Repository(name("public/a"), Action::Push);
        assert_eq!(nobody(&identity, push, 7).await.1, CacheUse::Hit);
        assert_eq!(gitlab.ledger().count() - before, questions);
    }
}

/// The cache bounds the entries of one secret. That bound must not apply to callers without a
/// credential, who would all share it.
#[tokio::test]
async fn anonymous_answers_have_no_per_secret_bound_in_the_cache() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    for round in [CacheUse::Miss, CacheUse::Hit] {
        for number in 0..600 {
            let (verified, cache_use) =
                nobody(&identity, pull(&format!("public/{number}")), 7).await;
            assert!(!verified.unwrap().granted.is_nothing());
            assert_eq!(cache_use, round, "{number}");
        }
    }
    assert_eq!(gitlab.ledger().count(), 600);
}

/// Callers without a credential evict no verdict about a credential, however many repositories they
/// ask for and from however many addresses.
#[tokio::test]
async fn anonymous_answers_evict_no_verdict_about_a_credential() {
    let gitlab = gitlab();
    let identity = chain(
        &[(&gitlab, true)],
        true,
        CacheLimits { capacity: 20, negative_capacity: 20, ..LIMITS },
    );
    let credential =
        |password: &str| Credential::Basic { user: READ_WRITE.0.into(), password: password.into() };
    let ask = async |password: &str| {
        let mut cache_use = CacheUse::None;
        let question = question(&identity, credential(password), pull("demo/a"), 7);
        let _ = identity.verify(&question, &mut cache_use).await;
        cache_use
    };
    assert_eq!((ask(READ_WRITE.1).await, ask("wrong").await), (CacheUse::Miss, CacheUse::Miss));
    for number in 0..200 {
        nobody(&identity, pull(&format!("public/{number}")), 7).await.0.unwrap();
        nobody(&identity, pull(&format!("demo/{number}")), 7).await.0.unwrap();
    }
    assert!(identity.cache_entries() <= 2 + 2 * 5, "{}", identity.cache_entries());
    assert_eq!((ask(READ_WRITE.1).await, ask("wrong").await), (CacheUse::Hit, CacheUse::Negative));
}

#[tokio::test]
async fn anonymous_callers_keep_pulling_public_images_in_an_outage() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, CacheLimits { ttl: Duration::ZERO, ..LIMITS });
    nobody(&identity, pull("public/a"), 7).await.0.unwrap();
    gitlab.always(Some(answer(502, "")));
    let (verified, cache_use) = nobody(&identity, pull("public/a"), 7).await;
    assert_eq!(
        (granted(&verified.unwrap()), cache_use),
        (vec!["public/a:pull".to_owned()], CacheUse::Stale)
    );
    assert!(nobody(&identity, pull("public/b"), 7).await.0.is_err());
}

/// One caller without a credential may ask for several repositories whose questions fail. If the
/// breaker counted them as different credentials, that caller could cut off GitLab for all others.
#[tokio::test]
async fn callers_without_a_credential_open_no_breaker() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    gitlab.script((0..10).map(|_| answer(500, "")));
    for number in 0..10 {
        nobody(&identity, pull(&format!("public/{number}")), 7).await.0.unwrap_err();
    }
    nobody(&identity, pull("public/a"), 7).await.0.unwrap();
}

/// A caller without a credential cannot present a wrong one, so its refusals do not spend the
/// failure budget.
#[tokio::test]
async fn callers_without_a_credential_spend_no_failure_budget() {
    let gitlab = gitlab();
    let budget = || Some(FailureBudget::new(1, Duration::from_secs(3600)));
    let identity = chain_with(&[(&gitlab, true)], true, LIMITS, budget);
    gitlab.script((0..3).map(|_| answer(401, "")));
    for number in 0..3 {
        nobody(&identity, pull(&format!("public/{number}")), 7).await.0.unwrap();
    }
    let credential = Credential::Basic { user: READ_WRITE.0.into(), password: READ_WRITE.1.into() };
    let known = question(&identity, credential, pull("demo/a"), 7);
    identity.verify(&known, &mut CacheUse::None).await.unwrap();
    // A spent budget does not stop callers without a credential either.
    let wrong = Credential::Basic { user: "alice".into(), password: "wrong".into() };
    let wrong = question(&identity, wrong, pull("demo/a"), 7);
    assert_eq!(
        identity.verify(&wrong, &mut CacheUse::None).await.unwrap_err(),
        Denial::WrongCredential
    );
    assert!(!nobody(&identity, pull("public/a"), 7).await.0.unwrap().granted.is_nothing());
}

/// A gate with `anonymous: true` in its config serves public images, refuses private ones, and logs
/// both.
#[tokio::test]
async fn anonymous_callers_get_public_images_and_401_for_private_ones() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    gate.gitlab.set_public("public");
    let requests = [
        ("GET", "/v2/public/a/tags/list", 404),
        ("GET", "/v2/demo/a/tags/list", 401),
        ("POST", "/v2/public/a/blobs/uploads/", 401),
        ("DELETE", "/v2/public/a/manifests/v1", 401),
        ("GET", "/v2/_catalog", 401),
        ("GET", "/v2/", 401),
    ];
    for (method, target, status) in requests {
        let reply = gate.send(method, target, None, "", "").await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert!(status != 401 || reply.code() == "UNAUTHORIZED", "{}", reply.body);
    }
    let asked: Vec<_> =
        gate.gitlab.ledger().entries().iter().map(|question| question.scopes.join(" ")).collect();
    assert_eq!(asked, ["repository:public/a:pull", "repository:demo/a:pull"]);
    assert_eq!(gate.forwarded(), 1);
    assert_eq!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status, 404);
    let log = gate.log(requests.len() + 1).await;
    let told = |line: &Value| {
        ["subject", "provider", "credential_kind", "credential", "cache", "reason"]
            .map(|key| line[key].clone())
    };
    assert_eq!(json!(told(&log[0])), json!([null, "gitlab", "anonymous", null, "miss", "allowed"]));
    assert_eq!(
        json!(told(&log[1])),
        json!([null, "gitlab", "anonymous", null, "miss", "no_credential"])
    );
    assert_eq!(log[6]["subject"], "alice");
}

/// If a repository is not public any more, the answer to a request with the old token must name the
/// missing scope. Otherwise clients throw the token away only after many requests with it.
#[tokio::test]
async fn a_repository_that_is_not_public_any_more_needs_another_token() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let setup = Setup {
        identity: Some(identity),
        cache: vec!["ttl: 1ms", "negative_ttl: 1ms"],
        tokens: vec!["challenge: bearer"],
        ..Setup::default()
    };
    let gate = TestGate::start(setup).await;
    gate.gitlab.set_public("public");
    let reply = gate.get("/token?scope=repository:public/a:pull,push", None).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    let get = async |target| gate.send("GET", target, None, &bearer, "").await;
    assert_eq!(get("/v2/public/a/tags/list").await.status, 404);
    assert_eq!(get("/v2/").await.status, 200, "they have been told that credentials exist");
    gate.gitlab.set_public("nothing");
    for target in ["/v2/public/a/tags/list", "/v2/public/b/tags/list"] {
        let reply = get(target).await;
        assert_eq!(reply.status, 401);
        assert!(
            reply.header("www-authenticate").unwrap().contains(",error=\"insufficient_scope\""),
            "{reply:?}"
        );
    }
}

/// Questions with and without a credential that run at the same time share no answer.
#[tokio::test]
async fn questions_with_and_without_a_credential_share_no_answer() {
    let gitlab = gitlab();
    let identity = chain(&[(&gitlab, true)], true, LIMITS);
    gitlab.script([
        Scripted::Delay(Duration::from_millis(100)),
        Scripted::Delay(Duration::from_millis(100)),
    ]);
    let credential = Credential::Basic { user: READ_WRITE.0.into(), password: READ_WRITE.1.into() };
    let known = question(&identity, credential, pull("demo/a"), 7);
    let mut cache_use = CacheUse::None;
    let (known, (nobody, _)) =
        tokio::join!(identity.verify(&known, &mut cache_use), nobody(&identity, pull("demo/a"), 7));
    assert_eq!(granted(&known.unwrap()), ["demo/a:pull"]);
    assert_eq!(nobody.unwrap().granted, Granted::Nothing);
}

/// Any caller can ask about one repository after the other. Callers with a credential must not wait
/// for those questions.
#[tokio::test]
async fn anonymous_callers_do_not_delay_callers_with_a_credential() {
    let gitlab = gitlab();
    let identity = Arc::new(chain(&[(&gitlab, true)], true, LIMITS));
    gitlab.always(Some(Scripted::Hang));
    let crowd: Vec<_> = (0..200)
        .map(|number| {
            let identity = identity.clone();
            tokio::spawn(
                async move { nobody(&identity, pull(&format!("public/{number}")), 7).await.0 },
            )
        })
        .collect();
    gitlab.ledger().wait_until(|questions| questions.len() >= 32).await;
    gitlab.always(None);
    let (user, password) = READ_WRITE;
    let credential = Credential::Basic { user: user.into(), password: password.into() };
    let question = question(&identity, credential, pull("demo/a"), 8);
    let verified = identity.verify(&question, &mut CacheUse::None).await.unwrap();
    assert_eq!(granted(&verified), ["demo/a:pull"]);
    assert_eq!(gitlab.ledger().count(), 32 + 1, "the crowd has a bound of its own");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}
