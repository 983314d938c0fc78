//! The cached answers about callers without a credential, beside the verdicts about credentials.

use std::time::Duration;

use moorgate::identity::authenticator::CacheUse;
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::model::credential::Credential;
use moorgate::registry::{Access, Action};

use super::{LIMITS, chain, gitlab, granted, name, nobody, pull, question};
use crate::harness::READ_WRITE;
use crate::identity::answer;

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
