//! The memory that a cached verdict takes: the resident memory, with the tables that have an entry
//! for each caller, and the allocations of a cache full of large verdicts. This is a separate
//! program because it measures the whole process. `tests/resident_memory` measures the same with
//! providers that are asked.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::alloc::System;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorgate::identity::cache::{CacheKey, CacheLimits, ENTRY_BYTES, VerdictCache};
use moorgate::identity::guard::failed_logins::FailedLogins;
use moorgate::identity::guard::question_rate::QuestionRate;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::{DependsOn, HashKey};
use moorgate::identity::model::tag_rules::TagRules;
use moorgate::identity::{
    Attributes, Granted, Lifetime, Principal, Question, RepositoryGrant, Source, TokenServerKind,
    Verdict, Verified,
};
use moorgate::rate_limit::Quota;
use moorgate::registry::{Access, Action, Actions, RepositoryName};
use secrecy::SecretString;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The capacity of the cache that is filled with large verdicts.
const CAPACITY: u64 = 20_000;

/// The number of credentials of which the resident memory is measured: the default capacity.
const CREDENTIALS: u64 = 100_000;

/// The name of the variable that makes this program measure one kind of verdict.
const KIND: &str = "CACHE_MEMORY_KIND";

/// What is kept of one caller after its credential was verified.
struct State {
    key: HashKey,
    cache: VerdictCache,
    failed_logins: Arc<FailedLogins>,
    question_rate: QuestionRate,
    source: Arc<Source>,
}

impl State {
    fn new(capacity: u64) -> Self {
        let second = Duration::from_secs(1);
        let source = Source { provider: "sso".into(), credential_type: None, folds_case: false };
        Self {
            key: HashKey::random().unwrap(),
            cache: VerdictCache::new(CacheLimits {
                ttl: 600 * second,
                negative_ttl: 10 * second,
                stale_if_error: 600 * second,
                capacity,
                negative_capacity: 1,
            }),
            failed_logins: Arc::default(),
            question_rate: QuestionRate::default(),
            source: Arc::new(source),
        }
    }

    /// Verifies one credential. `granted` is created from its access.
    fn verify(
        &self,
        number: u64,
        granted: impl FnOnce(&RepositoryName) -> Granted,
        attributes: Option<&Attributes>,
    ) {
        let credential = Credential::Bearer(SecretString::from(format!("secret-{number}")));
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let project = format!("group-{:03}/project-{number:06}", number % 1000);
        let repository = RepositoryName::parse(&project).unwrap();
        let access = Access::Repository(repository.clone(), Action::Pull);
        let question = Question::new(&self.key, credential, access, client, "test".into());
        // The default of `limits.failed_logins`.
        let quota = Quota::new(10, Duration::from_secs(60), 20);
        self.failed_logins.admit(quota, &question).unwrap().verified(&question);
        self.question_rate.turn(0, &question, Duration::from_secs(5)).unwrap();
        let id = self.key.question(0, DependsOn::Repository, &question);
        // As long as the subject that GitLab gives a project access token.
        let subject = format!("project_{number:06}_bot_0123456789abcdef").as_str().into();
        let principal = Principal { source: self.source.clone(), subject };
        let attributes = attributes.cloned().map(Box::new);
        let verified = Verified { principal, granted: granted(&repository), attributes };
        let asked = CacheKey {
            question: id,
            credential: self.key.question(0, DependsOn::Credential, &question),
            secret: Some(question.secret),
            floor: None,
            provider: 0,
        };
        let verdict = Verdict::Verified(Arc::new(verified), Lifetime::default());
        self.cache.keep(&asked, Instant::now(), &verdict);
        assert_eq!(self.cache.look_up(&asked), Some(verdict), "{number}");
    }
}

/// Returns scopes that no other credential has, as an introspection endpoint may name them.
fn own_scopes(number: u64) -> Granted {
    let own = format!("scope-{number:06}");
    Granted::Scopes(["read_registry", "write_registry", &own].iter().collect())
}

/// Returns a grant as a token server gives it for one repository.
fn own_grant(repository: &RepositoryName) -> Granted {
    Granted::Repository(Box::new(RepositoryGrant {
        repository: repository.clone(),
        actions: Actions { pull: true, ..Actions::default() },
        server: TokenServerKind::GitLab,
        tags: TagRules::None,
        token: None,
    }))
}

/// Measures the resident memory of one kind of verdict. All credentials must stay in the cache.
fn measure(kind: &str) {
    let verify = |state: &State, number| {
        let granted = |repository: &RepositoryName| match kind {
            "scopes" => own_scopes(number),
            _ => own_grant(repository),
        };
        state.verify(number, granted, None);
    };
    // Loads the code into memory, which a running gate has done long before.
    let warm_up = State::new(CREDENTIALS);
    (0..1000).for_each(|number| verify(&warm_up, number));
    let before = resident_bytes();
    let state = State::new(CREDENTIALS);
    (0..CREDENTIALS).for_each(|number| verify(&state, number));
    let each = (resident_bytes() - before) / usize::try_from(CREDENTIALS).unwrap();
    println!("a verdict with its own {kind} takes {each} bytes of resident memory");
    assert!(each <= ENTRY_BYTES, "{each}");
    assert_eq!(state.cache.entries(), CREDENTIALS);
    drop(warm_up);
}

/// Returns the resident memory of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Fills a cache with large verdicts, and compares what they add to an empty cache with the
/// capacity.
fn fill() {
    let mut claims = serde_json::Map::new();
    for number in 0..30 {
        claims.insert(format!("claim_{number}"), "x".repeat(60).into());
    }
    let groups = vec!["group".repeat(8); 20];
    let attributes = Attributes { groups, claims, session_ends: None };
    let state = State::new(CAPACITY);
    let region = Region::new(GLOBAL);
    for number in 0..CAPACITY / 4 {
        state.verify(number, |_| own_scopes(number), Some(&attributes));
    }
    let change = region.change();
    let full = change.bytes_allocated - change.bytes_deallocated;
    let bound = usize::try_from(CAPACITY).unwrap() * ENTRY_BYTES;
    // Two tables of 2 MiB have an entry for each caller.
    let full = full - 2 * (2 << 20);
    println!("a cache full of claims takes {full} bytes of {bound}");
    assert!(full < bound, "what is larger counts as several");
    assert!(full > bound / 2, "and not as too many");
}

fn main() {
    if let Ok(kind) = std::env::var(KIND) {
        return measure(&kind);
    }
    // Each kind has a process of its own, so that it cannot use memory that the other returned.
    for kind in ["scopes", "grant"] {
        let program = std::env::current_exe().unwrap();
        let status = Command::new(program).env(KIND, kind).status().unwrap();
        assert!(status.success(), "{kind}");
    }
    fill();
}
