//! The pure part of a request: parsing, reading the credential, looking it up, deciding and
//! rendering.
//!
//! Run with `cargo bench`. Compare figures only within one run: they differ between machines, and
//! on one machine over time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method, header};
use moorgate::identity::cache::{CacheKey, CacheLimits, VerdictCache};
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::{DependsOn, HashKey};
use moorgate::identity::model::tag_rules::TagRules;
use moorgate::identity::{
    Granted, Lifetime, Principal, Question, RepositoryGrant, Source, TokenServerKind, Verdict,
    Verified,
};
use moorgate::policy::{Mode, Policy, RepositoryPattern, RequiredScopes, Rule, Rules, Who};
use moorgate::rate_limit::{Quota, Table};
use moorgate::registry::{Access, Actions, RegistryRequest, RepositoryName};
use moorgate::sealing::TokenKeys;
use moorgate::token_service::gate_token::{CatalogShare, GateToken, TokenScope};
use secrecy::SecretString;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn pure_path(c: &mut Criterion) {
    let blob = format!("/v2/group/project/app/blobs/{DIGEST}");
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        "Basic Y2ktdXNlcjpnbHBhdC1iZW5jaG1hcmstdG9rZW4=".parse().unwrap(),
    );
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let policy = Policy::new(RequiredScopes {
        pull: words(&["read"]),
        push: words(&["read", "write"]),
        delete: words(&["delete"]),
        equivalents: BTreeMap::new(),
    });
    let source =
        Arc::new(Source { provider: "gitlab".into(), credential_type: None, folds_case: false });
    let principal = Principal { source, subject: "ci-user".into() };
    let by_scopes = Verified {
        principal: principal.clone(),
        granted: Granted::Scopes(["read", "write"].iter().collect()),
        attributes: None,
    };
    let pull = Actions { pull: true, ..Actions::default() };
    let name = RepositoryName::parse("group/project/app").unwrap();
    let grant = RepositoryGrant {
        repository: name,
        actions: pull,
        server: TokenServerKind::GitLab,
        tags: TagRules::None,
        token: None,
    };
    let by_actions =
        Verified { principal, granted: Granted::Repository(Box::new(grant)), attributes: None };
    let key = HashKey::random().unwrap();

    c.bench_function("parse a blob request", |b| {
        b.iter(|| RegistryRequest::parse(&Method::GET, black_box(&blob), None).unwrap());
    });
    c.bench_function("parse an upload with its state", |b| {
        let path = "/v2/group/project/app/blobs/uploads/6f9c0a3e-3c1d-4f4a-8d7d-4f3b4e6d2c1a";
        let query = format!("_state=eyJOYW1lIjoiYSIsIlVVSUQiOiJiIn0%3D&digest={DIGEST}");
        b.iter(|| {
            RegistryRequest::parse(&Method::PUT, black_box(path), Some(black_box(&query))).unwrap()
        });
    });
    c.bench_function("read a Basic credential", |b| {
        b.iter(|| Credential::from_headers(black_box(&headers)).unwrap())
    });
    c.bench_function("hash a credential", |b| {
        let credential = Credential::from_headers(&headers).unwrap();
        b.iter(|| key.credential(black_box(&credential)));
    });
    let request = RegistryRequest::parse(&Method::GET, &blob, None).unwrap();
    c.bench_function("decide by scopes", |b| {
        b.iter(|| policy.authorize(request.clone(), black_box(&by_scopes)).unwrap())
    });
    c.bench_function("decide by what was granted", |b| {
        b.iter(|| policy.authorize(request.clone(), black_box(&by_actions)).unwrap());
    });
    c.bench_function("open a gate token", |b| {
        let repositories = vec![(RepositoryName::parse("group/project/app").unwrap(), pull)];
        let token_scope =
            TokenScope { repositories, catalog: CatalogShare::None, refused: Vec::new() };
        let (credential, provider) =
            (Credential::from_headers(&headers).unwrap(), Some("gitlab".into()));
        let in_session = false;
        let mut token = GateToken {
            issued: 1000,
            expires: 5000,
            token_scope,
            credential,
            provider,
            in_session,
        };
        let keys = TokenKeys::random().unwrap();
        let sealed = keys.seal(&mut token, "registry.test").unwrap();
        b.iter(|| keys.open(black_box(&sealed), "registry.test", 2000).unwrap());
    });
    let ruled = policy.clone().with_rules(fifty_rules());
    c.bench_function("decide by the last of 50 rules", |b| {
        b.iter(|| ruled.authorize(request.clone(), black_box(&by_scopes)).unwrap());
    });
    for (what, rules) in
        [("repositories", a_thousand_rules(true)), ("callers", a_thousand_rules(false))]
    {
        let ruled = policy.clone().with_rules(rules);
        c.bench_function(&format!("decide by one of 1,000 rules for other {what}"), |b| {
            b.iter(|| ruled.authorize(request.clone(), black_box(&by_scopes)).unwrap());
        });
    }
    c.bench_function("count a request in a limit", |b| {
        let (table, quota) =
            (Table::default(), Quota::new(1_000_000, Duration::from_secs(1), 1_000_000));
        for other in 0..100_000_u32 {
            table.with(table.key(&other), 0, |word| *word = u64::MAX);
        }
        let (address, mut now) = (IpAddr::from([192, 0, 2, 1]), 0);
        b.iter(|| {
            now += 1000;
            let key = table.key(black_box(&address));
            table.with(key, now, |word| quota.take(word, now)).unwrap()
        });
    });
    c.bench_function("render a blob request", |b| b.iter(|| black_box(&request).render()));
    c.bench_function("parse, credential, decide, render", |b| {
        b.iter(|| {
            let request = RegistryRequest::parse(&Method::GET, black_box(&blob), None).unwrap();
            let credential = Credential::from_headers(black_box(&headers)).unwrap();
            black_box(key.credential(&credential));
            policy.authorize(request, &by_actions).unwrap().request().render()
        });
    });
}

/// Looks up each of many cached credentials in turn.
fn cache(c: &mut Criterion) {
    let key = HashKey::random().unwrap();
    let source =
        Arc::new(Source { provider: "sso".into(), credential_type: None, folds_case: false });
    for count in [1_000, 1_000_000] {
        let day = Duration::from_secs(24 * 60 * 60);
        let cache = VerdictCache::new(CacheLimits {
            ttl: day,
            negative_ttl: day,
            stale_if_error: day,
            capacity: 1_000_000,
            negative_capacity: 1,
        });
        let fill = |number: u64| {
            let credential = Credential::Bearer(SecretString::from(format!("secret-{number}")));
            let client = IpAddr::from([192, 0, 2, 1]);
            let question = Question::new(&key, credential, Access::Login, client, "bench".into());
            let id = key.question(0, DependsOn::Credential, &question);
            let (secret, floor) = (Some(question.secret), None);
            let asked = CacheKey { question: id, credential: id, secret, floor, provider: 0 };
            let principal = Principal { source: source.clone(), subject: "ci-user".into() };
            let granted = Granted::Scopes(["read", "write"].iter().collect());
            let verified = Verified { principal, granted, attributes: None };
            let verdict = Verdict::Verified(Arc::new(verified), Lifetime::default());
            cache.keep(&asked, Instant::now(), &verdict);
            question.secret
        };
        let secrets: Vec<_> = (0..count).map(fill).collect();
        let mut next = secrets.iter().cycle();
        c.bench_function(&format!("look up one of {count} cached credentials"), |b| {
            b.iter(|| cache.known(*next.next().unwrap()).unwrap());
        });
    }
}

/// Returns rules of which only the last one allows the request. The others are for other
/// repositories or for other callers.
fn a_thousand_rules(by_repository: bool) -> Rules {
    let last = 1000;
    let rule = |number: usize| {
        let (repositories, who) = match (by_repository, number == last) {
            (true, true) => ("group/project/**".to_owned(), "authenticated".to_owned()),
            (true, false) => (format!("group-{number}/**"), "authenticated".to_owned()),
            (false, true) => ("**".to_owned(), "user:gitlab/ci-user".to_owned()),
            (false, false) => ("**".to_owned(), format!("user:gitlab/user-{number}")),
        };
        Rule {
            name: format!("rule-{number}").into(),
            repositories: vec![RepositoryPattern::parse(&repositories).unwrap()],
            who: vec![Who::parse(&who, &["gitlab"]).unwrap()],
            allow: Actions { pull: true, ..Actions::default() },
            catalog: false,
            tags: None,
        }
    };
    Rules { mode: Mode::Enforce, rules: (1..=last).map(rule).collect(), grant_needed: false }
}

/// Returns rules of which only the last one allows the request.
fn fifty_rules() -> Rules {
    let rule = |number: usize| Rule {
        name: format!("rule-{number}").into(),
        repositories: vec![
            RepositoryPattern::parse(if number == 50 { "group/**" } else { "group/*/other/**" })
                .unwrap(),
        ],
        who: vec![Who::Authenticated],
        allow: Actions { pull: true, ..Actions::default() },
        catalog: false,
        tags: None,
    };
    Rules { mode: Mode::Enforce, rules: (1..=50).map(rule).collect(), grant_needed: false }
}

criterion_group!(benches, pure_path, cache);
criterion_main!(benches);
