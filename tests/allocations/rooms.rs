//! The rooms whose part in a cached GET must not allocate: identity, policy and limits.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{HeaderValue, Method};
use moorgate::identity::Verified;
use moorgate::identity::authenticator::{Authenticator, CacheUse, ManagedProvider};
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::htpasswd::Htpasswd;
use moorgate::identity::provider::htpasswd::file::HtpasswdFile;
use moorgate::limits::settings::{IdentityLimits, Settings};
use moorgate::limits::{Accounts, Limits, OnLimit};
use moorgate::metrics::Metrics;
use moorgate::policy::{Policy, RepositoryPattern, RequiredScopes, Rule, Rules, Who};
use moorgate::rate_limit::Quota;
use moorgate::registry::{Actions, RegistryRequest};
use moorgate::request_id::RequestId;
use tokio::runtime::{Handle, Runtime};

use crate::allocations;

/// The most allocations of reading a credential. The secret is copied into memory that is
/// overwritten before it is freed. Basic has in addition the decoded text and the user name.
const READING: [(&str, usize); 2] = [("Bearer secret", 1), ("Basic Y2Fyb2w6c2VjcmV0", 3)];

/// The number of calls in one round.
const CALLS: usize = 100;

const ROUNDS: usize = 5;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Asserts that a cached answer, a decision and the count in the limits do not allocate.
pub fn do_not_allocate() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let verified = cached_answer(&runtime);
    decision(&verified);
    limits(&runtime, &verified);
    for (value, bound) in READING {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        let counted = smallest(|| (), |()| drop(Credential::from_headers(&headers).unwrap()));
        assert!(counted <= bound * CALLS, "{CALLS} times {value}: {counted} allocations");
    }
}

/// Returns the answer.
fn cached_answer(runtime: &Runtime) -> Arc<Verified> {
    let authenticator = authenticator(runtime.handle());
    let id = RequestId::from("request");
    let prepare = || {
        let credential = Credential::Basic { user: "carol".into(), password: "secret".into() };
        (credential, request().required())
    };
    let ask = |(credential, access)| {
        let question = authenticator.question(credential, access, ADDRESS, id.clone());
        let mut cache_use = CacheUse::None;
        let verified = runtime.block_on(authenticator.verify(&question, &mut cache_use));
        (verified.unwrap(), cache_use)
    };
    let (verified, cache_use) = ask(prepare());
    assert_eq!(cache_use, CacheUse::Miss);
    let counted = smallest(prepare, |asked| assert_eq!(ask(asked).1, CacheUse::Hit));
    assert_eq!(counted, 0, "allocations of {CALLS} cached answers");
    verified
}

fn decision(verified: &Verified) {
    let rule = Rule {
        name: "team".into(),
        repositories: vec![RepositoryPattern::parse("group/**").unwrap()],
        who: vec![Who::Authenticated],
        allow: Actions { pull: true, push: true, ..Actions::default() },
        ..Rule::default()
    };
    let rules = Rules { rules: vec![rule], ..Rules::default() };
    let scopes = RequiredScopes {
        pull: vec!["read".into()],
        push: vec!["write".into()],
        delete: vec!["delete".into()],
        equivalents: BTreeMap::new(),
    };
    let policy = Policy::new(scopes).with_rules(rules);
    let counted = smallest(request, |request| drop(policy.authorize(request, verified).unwrap()));
    assert_eq!(counted, 0, "allocations of {CALLS} decisions");
}

fn limits(runtime: &Runtime, verified: &Verified) {
    let quota = Some(Quota::new(1_000_000, Duration::from_secs(1), 1_000_000));
    let general = IdentityLimits { per_identity: quota, ..IdentityLimits::default() };
    let settings =
        Settings { per_client: quota, failed_logins: None, general, overrides: Vec::new() };
    let limits = Limits::new(settings, Arc::new(Accounts::default()));
    let count = async || {
        limits.client(ADDRESS, OnLimit::Reject).await.unwrap();
        let caller = limits.for_caller(Some(verified), ADDRESS).unwrap();
        caller.request(OnLimit::Reject).await.unwrap();
    };
    let counted = smallest(|| (), |()| runtime.block_on(count()));
    assert_eq!(counted, 0, "allocations of {CALLS} requests counted in the limits");
}

/// Returns the allocations of one round of calls, after one round to warm up: those of the round
/// with the fewest. `prepare` makes the argument of each call, and is not counted.
fn smallest<A>(prepare: impl Fn() -> A, call: impl Fn(A)) -> usize {
    let round = |_| {
        let arguments: Vec<A> = std::iter::repeat_with(&prepare).take(CALLS).collect();
        allocations(|| arguments.into_iter().for_each(&call))
    };
    (0..=ROUNDS).map(round).skip(1).min().unwrap()
}

fn request() -> RegistryRequest {
    RegistryRequest::parse(&Method::GET, "/v2/group/project/app/manifests/1.27", None).unwrap()
}

/// Returns a chain of one provider, which is asked once: an htpasswd file.
fn authenticator(runtime: &Handle) -> Authenticator {
    let users = format!("carol:{}\n", bcrypt::hash("secret", 4).unwrap());
    let users = HtpasswdFile::parse(&users).unwrap();
    let scopes = vec!["read".into(), "write".into()];
    let provider = AnyProvider::Htpasswd(Htpasswd::new("file".into(), users, scopes).unwrap());
    let provider = ManagedProvider::new("file".into(), provider, Duration::from_secs(60), None);
    let hour = Duration::from_secs(3600);
    let limits = CacheLimits {
        ttl: hour,
        negative_ttl: hour,
        stale_if_error: hour,
        capacity: 1000,
        negative_capacity: 100,
    };
    let (key, metrics) = (HashKey::random().unwrap(), Arc::new(Metrics::new()));
    Authenticator::new(vec![Arc::new(provider)], limits, key, metrics, runtime.clone())
        .with_failed_logins(Some(Quota::new(10, Duration::from_secs(60), 20)))
}
