//! The failure budget, within the provider.

use std::time::Duration;

use moorgate::demo::gitlab::GitLab;
use moorgate::identity::guard::failure_budget::FailureBudget;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::{NotNow, Verdict};
use moorgate::registry::Access;

use super::{answer, at, basic, question, reading, verified};
use crate::harness::{READ_WRITE, listener};

fn budget(count: u32) -> Option<GitLabReading> {
    let failure_budget = Some(FailureBudget::new(count, Duration::from_secs(3600)));
    Some(GitLabReading { failure_budget, ..reading() })
}

#[tokio::test]
async fn no_unknown_credential_is_asked_about_with_a_spent_budget() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.ledger().keep();
    let server = at(gitlab.address(), budget(3));
    let ask = async |secret: &str, known| {
        server.ask(&question(basic("alice", secret), Access::Login), known).await.0
    };
    // Good credentials cost nothing, and neither does a reply without a verdict.
    for _ in 0..5 {
        verified(ask(READ_WRITE.1, false).await);
    }
    gitlab.script([answer(500, ""), answer(403, "")]);
    ask("x", false).await;
    ask("x", false).await;
    // A credential that was good before and is wrong now counts too.
    assert_eq!(ask("wrong-0", true).await, Verdict::NotMine);
    for number in 1..3 {
        assert_eq!(ask(&format!("wrong-{number}"), false).await, Verdict::NotMine);
    }
    let asked = gitlab.ledger().count();
    for secret in ["wrong-9", READ_WRITE.1] {
        let Verdict::NotNow(NotNow::FailureBudgetSpent, wait) = ask(secret, false).await else {
            panic!("{secret}")
        };
        assert!(wait > Duration::from_secs(3000) && wait <= Duration::from_secs(3600), "{wait:?}");
    }
    assert_eq!(gitlab.ledger().count(), asked, "a stranger was asked about");
    verified(ask(READ_WRITE.1, true).await);
}

/// However many credentials arrive at once, the provider is asked about no more wrong ones than the
/// budget allows, and no good one is turned away.
#[tokio::test]
async fn a_burst_of_wrong_credentials_spends_no_more_than_the_budget() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.ledger().keep();
    let server = at(gitlab.address(), budget(4));
    let burst = |secret: &'static str| {
        let asking = (0..100).map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                server.ask(&question(basic("alice", secret), Access::Login), false).await.0
            })
        });
        asking.collect::<Vec<_>>()
    };
    for asking in burst(READ_WRITE.1) {
        verified(asking.await.unwrap());
    }
    let before = gitlab.ledger().count();
    let mut not_mine = 0;
    for asking in burst("wrong") {
        match asking.await.unwrap() {
            Verdict::NotMine => not_mine += 1,
            verdict => assert!(
                matches!(verdict, Verdict::NotNow(NotNow::FailureBudgetSpent, _)),
                "{verdict:?}"
            ),
        }
    }
    assert_eq!((not_mine, gitlab.ledger().count() - before), (4, 4));
}
