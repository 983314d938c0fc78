//! Several providers: which provider is shown which credential, in which order, and how an outage
//! of one affects the others.

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::{GitLab, sample_credentials};

use secrecy::ExposeSecret;

use crate::harness::{PATIENCE, READ_WRITE, Setup, TestGate, listener};

const PULL: &str = "/v2/demo/a/tags/list";

/// A token that only the second GitLab knows.
const SECONDS: (&str, &str) = ("bob", "other-glpat-read-write");

fn broken() -> Scripted {
    Scripted::Answer { status: StatusCode::BAD_GATEWAY, headers: Vec::new(), body: String::new() }
}

/// Starts another GitLab, which knows [`SECONDS`].
fn second_gitlab() -> GitLab {
    let second = GitLab::start(listener()).unwrap();
    second.ledger().keep();
    let mut credential = sample_credentials().remove(0);
    credential.password = SECONDS.1.into();
    second.add(credential);
    second
}

/// Starts a gate. `{gitlab}` and `{second}` in the config are replaced by their addresses.
async fn gate(identity: &str, second: &GitLab, setup: Setup) -> TestGate {
    let identity = identity.replace("{second}", &format!("http://{}", second.address()));
    TestGate::start(Setup { identity: Some(identity.leak()), ..setup }).await
}

async fn get(gate: &TestGate, credential: (&str, &str)) -> u16 {
    gate.get(PULL, Some(credential)).await.status
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Returns the secrets that a GitLab was shown.
fn seen(gitlab: &GitLab) -> Vec<String> {
    let entries = gitlab.ledger().entries();
    entries
        .iter()
        .filter_map(|question| Some(question.secret.as_ref()?.expose_secret().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_provider_is_shown_only_what_it_accepts() {
    let second = second_gitlab();
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\", \
                    accepts: { prefixes: [glpat-, glcbt-] } }\n\
                    - { name: second, type: gitlab, url: \"{second}\", \
                    accepts: { users: [bob], prefixes: [other-] } }";
    let gate = gate(identity, &second, Setup::default()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    assert_eq!(get(&gate, SECONDS).await, 404);
    assert_eq!(get(&gate, ("alice", SECONDS.1)).await, 404, "a prefix suffices");
    assert_eq!(get(&gate, ("bob", "a-word")).await, 401, "a user suffices");
    assert_eq!(get(&gate, ("alice", "a-word")).await, 401);
    assert_eq!(gate.send("GET", PULL, None, &bearer("bob"), "").await.status, 401);
    assert_eq!(gate.send("GET", PULL, None, &bearer(READ_WRITE.1), "").await.status, 404);
    assert_eq!(seen(&gate.gitlab), [READ_WRITE.1, READ_WRITE.1]);
    assert_eq!(seen(&second), [SECONDS.1, SECONDS.1, "a-word"]);
}

#[tokio::test]
async fn an_outage_affects_only_credentials_that_the_provider_accepts() {
    let second = second_gitlab();
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\", \
                    accepts: { prefixes: [glpat-] } }\n\
                    - { name: second, type: gitlab, url: \"{second}\" }";
    let gate = gate(identity, &second, Setup::default()).await;
    gate.gitlab.always(Some(broken()));
    assert_eq!(get(&gate, SECONDS).await, 404);
    assert_eq!(
        get(&gate, READ_WRITE).await,
        503,
        "it may be the first one's: nobody else is asked"
    );
    assert_eq!(seen(&second), [SECONDS.1]);
}

/// A credential that the second provider verified is shown to the first one once, and not again
/// each time.
#[tokio::test]
async fn the_provider_that_verified_a_credential_last_is_asked_first() {
    let second = second_gitlab();
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\" }\n\
                    - { name: second, type: gitlab, url: \"{second}\" }";
    let setup = Setup { cache: vec!["ttl: 1ms", "negative_ttl: 1ms"], ..Setup::default() };
    let gate = gate(identity, &second, setup).await;
    for _ in 0..5 {
        assert_eq!(get(&gate, SECONDS).await, 404);
        assert_eq!(gate.get("/v2/demo/b/tags/list", Some(SECONDS)).await.status, 404);
    }
    assert_eq!((gate.gitlab.ledger().count(), second.ledger().count()), (1, 10));
    // The first provider is not asked any more, so its outage does not matter.
    gate.gitlab.always(Some(broken()));
    assert_eq!(get(&gate, SECONDS).await, 404);
    // When the second provider rejects the credential, all providers are asked in turn.
    gate.gitlab.always(None);
    second.revoke(SECONDS.1);
    let begun = std::time::Instant::now();
    while get(&gate, SECONDS).await != 401 {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(gate.gitlab.ledger().count() >= 2);
}

/// A rejection is cached for each provider separately.
#[tokio::test]
async fn a_rejection_is_cached_while_the_next_provider_is_down() {
    let second = second_gitlab();
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\" }\n\
                    - { name: second, type: gitlab, url: \"{second}\" }";
    let gate = gate(identity, &second, Setup::default()).await;
    second.always(Some(broken()));
    for target in [PULL, "/v2/demo/b/tags/list", "/v2/"] {
        assert_eq!(gate.get(target, Some(SECONDS)).await.status, 503);
    }
    assert_eq!((gate.gitlab.ledger().count(), second.ledger().count()), (1, 3));
}

const BEHIND: &str = "- { name: gitlab, type: gitlab, url: \"{gitlab}\" }\n\
                      - { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";

fn local_users() -> Setup {
    Setup {
        identity: Some(BEHIND),
        htpasswd_users: vec![("alice", "correct horse")],
        ..Setup::default()
    }
}

/// htpasswd knows the user and checks the secret locally, so no provider on the network is shown
/// it, at any position in the chain.
#[tokio::test]
async fn a_password_of_an_htpasswd_user_is_shown_to_no_other_provider() {
    let gate = TestGate::start(local_users()).await;
    assert_eq!(get(&gate, ("alice", "correct horse")).await, 404);
    assert!(seen(&gate.gitlab).is_empty());
    gate.gitlab.always(Some(broken()));
    assert_eq!(gate.get("/v2/", Some(("alice", "correct horse"))).await.status, 200);
}

/// The order of the chain still counts: a user of the htpasswd file may have a token of the
/// provider before it.
#[tokio::test]
async fn an_htpasswd_user_may_present_a_token_of_an_earlier_provider() {
    let gate = TestGate::start(local_users()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    assert_eq!(gate.log(1).await[0]["provider"], "gitlab");
    assert_eq!(get(&gate, ("alice", "wrong")).await, 401);
    assert_eq!(seen(&gate.gitlab), [READ_WRITE.1, "wrong"]);
}

/// A user of the htpasswd file with the secret of another user is not passed on: neither to the
/// provider behind the file, nor to that provider's cached verdict about the secret.
#[tokio::test]
async fn an_htpasswd_user_is_not_passed_on_to_later_providers() {
    let identity = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }\n\
                    - { name: gitlab, type: gitlab, url: \"{gitlab}\" }";
    let users = vec![("carol", "correct horse")];
    let gate = TestGate::start(Setup {
        identity: Some(identity),
        htpasswd_users: users,
        ..Setup::default()
    })
    .await;
    let (alice, carol) = (READ_WRITE, ("carol", READ_WRITE.1));
    assert_eq!(get(&gate, alice).await, 404);
    for target in [PULL, "/v2/demo/b/tags/list", "/v2/", "/token"] {
        assert_eq!(gate.get(target, Some(carol)).await.status, 401, "{target}");
    }
    assert_eq!(gate.get("/v2/", Some(("carol", "correct horse"))).await.status, 200);
    assert_eq!(get(&gate, alice).await, 404, "and hers goes on");
    assert_eq!(seen(&gate.gitlab), [alice.1]);
}

/// A user of the first htpasswd file is not passed on to a second file either.
#[tokio::test]
async fn a_user_in_two_htpasswd_files_is_checked_against_the_first_alone() {
    let guests = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        guests.path(),
        format!("carol:{}\n", bcrypt::hash("battery staple", 4).unwrap()),
    )
    .unwrap();
    let identity = format!(
        "- {{ name: staff, type: htpasswd, file: htpasswd, scopes: [read_registry] }}\n\
         - {{ name: guests, type: htpasswd, file: {}, scopes: [read_registry] }}",
        guests.path().display()
    );
    let htpasswd_users = vec![("carol", "correct horse")];
    let setup = Setup { identity: Some(identity.leak()), htpasswd_users, ..Setup::default() };
    let gate = TestGate::start(setup).await;
    assert_eq!(get(&gate, ("carol", "battery staple")).await, 401);
    assert_eq!(get(&gate, ("carol", "correct horse")).await, 404);
}
