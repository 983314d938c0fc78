//! The memory that a cached verdict takes. This is a separate program because it counts the
//! allocations of the whole process.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorgate::identity::cache::{CacheKey, CacheLimits, ENTRY_BYTES, VerdictCache};
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::{DependsOn, HashKey};
use moorgate::identity::{
    Attributes, Granted, Lifetime, Principal, Question, ScopeList, Source, Verdict, Verified,
};
use moorgate::registry::Access;
use secrecy::SecretString;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CAPACITY: u64 = 20_000;

/// Fills a cache with the verdicts of `credentials` credentials and returns the bytes that it
/// takes.
fn fill(credentials: u64, attributes: Option<&Attributes>) -> usize {
    let key = HashKey::random().unwrap();
    let second = Duration::from_secs(1);
    let scopes: ScopeList = ["read_registry", "write_registry"].iter().collect();
    let source =
        Arc::new(Source { provider: "sso".into(), credential_type: None, folds_case: false });
    let region = Region::new(GLOBAL);
    let cache = VerdictCache::new(CacheLimits {
        ttl: 60 * second,
        negative_ttl: 10 * second,
        stale_if_error: 600 * second,
        capacity: CAPACITY,
        negative_capacity: 1,
    });
    for number in 0..credentials {
        let credential = Credential::Bearer(SecretString::from(format!("secret-{number}")));
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let question = Question::new(&key, credential, Access::Login, client, "test".into());
        let id = key.question(0, DependsOn::Credential, &question);
        // As long as the subject that GitLab gives a project access token.
        let subject = format!("project_{number:06}_bot_0123456789abcdef").into();
        let principal = Principal { source: source.clone(), subject };
        let attributes = attributes.cloned().map(Box::new);
        let verified = Verified { principal, granted: Granted::Scopes(scopes.clone()), attributes };
        let asked = CacheKey {
            question: id,
            credential: id,
            secret: Some(question.secret),
            floor: None,
            provider: 0,
        };
        cache.keep(
            &asked,
            Instant::now(),
            &Verdict::Verified(Arc::new(verified), Lifetime::default()),
        );
        if number % 1000 == 0 {
            cache.settle();
        }
    }
    cache.settle();
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

fn main() {
    let each = fill(CAPACITY, None) / usize::try_from(CAPACITY).unwrap();
    println!("a verdict takes {each} bytes, the store's own bookkeeping included");
    assert!(each < ENTRY_BYTES, "{each}");

    let mut claims = serde_json::Map::new();
    for number in 0..30 {
        claims.insert(format!("claim_{number}"), "x".repeat(60).into());
    }
    let attributes = Attributes { groups: vec!["group".repeat(8); 20], claims };
    let bound = usize::try_from(CAPACITY).unwrap() * ENTRY_BYTES;
    let full = fill(2 * CAPACITY, Some(&attributes));
    println!("a cache full of claims takes {full} bytes of {bound}");
    assert!(full < bound, "what is larger counts as several");
    assert!(full > bound / 2, "and not as too many");
}
