//! Several providers: who is shown what, in which order, and what the trouble of one means for the
//! others.

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::{GitLab, sample_credentials};

use secrecy::ExposeSecret;

use crate::harness::{PATIENCE, READ_WRITE, Setup, TestGate, listener};

const PULL: &str = "/v2/demo/a/tags/list";

/// A token that the second GitLab alone knows.
const SECONDS: (&str, &str) = ("bob", "other-glpat-read-write");

fn broken() -> Scripted {
    Scripted::Answer { status: StatusCode::BAD_GATEWAY, headers: Vec::new(), body: String::new() }
}

/// Another GitLab, which knows [`SECONDS`].
fn second_gitlab() -> GitLab {
    let second = GitLab::start(listener()).unwrap();
    second.ledger().keep();
    let mut credential = sample_credentials().remove(0);
    credential.password = SECONDS.1.into();
    second.add(credential);
    second
}

/// `{gitlab}` and `{second}` become their addresses.
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

/// Which secrets a GitLab has seen.
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
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\", accepts: { prefixes: [glpat-, glcbt-] } }\n\
                    - { name: second, type: gitlab, url: \"{second}\", accepts: { users: [bob], prefixes: [other-] } }";
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
async fn an_outage_stops_only_what_the_provider_accepts() {
    let second = second_gitlab();
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\", accepts: { prefixes: [glpat-] } }\n\
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

/// Whoever is not the first one's is shown to it once, not each time.
#[tokio::test]
async fn what_verified_a_credential_last_is_asked_first() {
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
    // So it is none of its business when that one is down.
    gate.gitlab.always(Some(broken()));
    assert_eq!(get(&gate, SECONDS).await, 404);
    // Where it does not know the credential any more, all are asked in turn.
    gate.gitlab.always(None);
    second.revoke(SECONDS.1);
    let begun = std::time::Instant::now();
    while get(&gate, SECONDS).await != 401 {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(gate.gitlab.ledger().count() >= 2);
}

/// A no is remembered of each provider by itself.
#[tokio::test]
async fn not_mine_is_remembered_while_the_next_provider_is_down() {
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

/// The file knows the secret offline, so nobody on the network sees it, wherever it stands in the
/// chain.
#[tokio::test]
async fn what_a_file_knows_nobody_else_is_shown() {
    let gate = TestGate::start(local_users()).await;
    assert_eq!(get(&gate, ("alice", "correct horse")).await, 404);
    assert!(seen(&gate.gitlab).is_empty());
    gate.gitlab.always(Some(broken()));
    assert_eq!(gate.get("/v2/", Some(("alice", "correct horse"))).await.status, 200);
}

/// The order counts all the same: a user of the file may have a token of the provider before it.
#[tokio::test]
async fn a_wrong_password_of_the_file_may_be_a_token_of_the_provider_before_it() {
    let gate = TestGate::start(local_users()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    assert_eq!(gate.log(1).await[0]["provider"], "gitlab");
    assert_eq!(get(&gate, ("alice", "wrong")).await, 401);
    assert_eq!(seen(&gate.gitlab), [READ_WRITE.1, "wrong"]);
}

/// A secret that another user was let in with leads nobody past the file: neither to the provider
/// behind it, nor to what that one said before.
#[tokio::test]
async fn a_user_of_the_file_is_nobody_elses_whatever_the_secret() {
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

/// Nor past one file to another.
#[tokio::test]
async fn a_user_of_two_files_is_the_first_ones() {
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
