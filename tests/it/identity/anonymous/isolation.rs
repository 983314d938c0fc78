//! Callers without a credential neither delay callers with a credential nor cut them off.

use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::Scripted;
use moorgate::denial::Denial;
use moorgate::identity::Granted;
use moorgate::identity::authenticator::CacheUse;
use moorgate::identity::guard::failure_budget::FailureBudget;
use moorgate::identity::model::credential::Credential;

use super::{LIMITS, chain, chain_with, gitlab, granted, nobody, pull, question};
use crate::harness::READ_WRITE;
use crate::identity::answer;

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
