//! Refresh tokens, which clients keep in place of a password.

use moorgate::identity::model::Vouched;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::unix_time::{unix_micros, unix_now};
use moorgate::sealing::TokenKeys;
use moorgate::token_service::refresh_token::RefreshToken;
use secrecy::SecretString;

use super::{ask, gate, json, post, token, with};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate};
use crate::revoke::{TOKEN, revoke, try_to_revoke};
use crate::scripted_upstream::soon;

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// The key file of the gates.
const KEYS: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

/// The settings of a gate that issues refresh tokens.
fn sessions() -> Setup {
    Setup {
        tokens: vec!["key_file: keys", "session: 1h"],
        files: vec![("keys", KEYS), ("admin.token", TOKEN)],
        admin: vec!["token_file: admin.token"],
        ..Setup::default()
    }
}

/// Logs in as docker does, and returns the refresh token.
async fn log_in(gate: &TestGate, credential: (&str, &str)) -> String {
    let reply = ask(gate, Some(credential), "offline_token=true&service=registry.test").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let token = json(&reply)["refresh_token"].as_str().expect("a refresh token").to_owned();
    assert!(token.starts_with("mgr1."), "{token}");
    token
}

/// Exchanges a refresh token.
async fn refresh(gate: &TestGate, token: &str) -> Reply {
    let form = "grant_type=refresh_token&service=registry.test&client_id=docker\
                &scope=repository:demo/a:pull,push";
    post(gate, &format!("{form}&refresh_token={token}")).await
}

/// Seals a refresh token with the key of the gates.
fn sealed(change: impl FnOnce(&mut RefreshToken)) -> String {
    let (user, password) = READ_WRITE;
    let mut token = RefreshToken {
        issued: unix_micros(),
        expires: unix_now() + 600,
        credential: Credential::Basic {
            user: user.to_owned(),
            password: SecretString::from(password),
        },
        vouched: Vouched { by: "gitlab".into(), alone: true, in_session: false },
        subject: user.into(),
    };
    change(&mut token);
    token.seal(&TokenKeys::parse(KEYS).unwrap(), "registry.test").unwrap().to_string()
}

#[tokio::test]
async fn a_login_gets_a_refresh_token_that_replaces_the_password() {
    let gate = gate(sessions()).await;
    let stored = log_in(&gate, READ_WRITE).await;
    let reply = refresh(&gate, &stored).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = json(&reply);
    assert_eq!(answer["refresh_token"], *stored, "it does not rotate");
    assert_eq!(answer["scope"], "repository:demo/a:pull,push");
    let access = answer["access_token"].as_str().unwrap();
    assert_eq!(with(&gate, access, "GET", PULL).await.status, 404);
    assert_eq!(with(&gate, access, "POST", UPLOADS).await.status, 202);
    let log = gate.log(4).await;
    let of_refresh = &log[1];
    assert_eq!(of_refresh["credential_kind"], "refresh_token");
    assert_eq!(of_refresh["credential"], log[0]["credential"], "the same credential");
}

/// GitLab does not name the caller if it grants nothing.
#[tokio::test]
async fn a_session_goes_on_where_the_provider_grants_nothing() {
    let gate = gate(sessions()).await;
    let form = "grant_type=refresh_token&scope=repository:others/x:pull";
    for stored in [log_in(&gate, READ_WRITE).await, sealed(|token| token.subject = "".into())] {
        let reply = post(&gate, &format!("{form}&refresh_token={stored}")).await;
        assert_eq!((reply.status, json(&reply)["scope"].as_str()), (200, Some("")), "{reply:?}");
        assert_eq!(refresh(&gate, &stored).await.status, 200);
    }
}

#[tokio::test]
async fn a_refresh_token_is_issued_only_to_who_asks_with_a_password() {
    let gate = gate(sessions()).await;
    let (user, password) = READ_WRITE;
    let form = format!("grant_type=password&username={user}&password={password}");
    let stored = json(&post(&gate, &format!("{form}&access_type=offline")).await);
    assert_eq!(refresh(&gate, stored["refresh_token"].as_str().unwrap()).await.status, 200);
    for reply in [
        post(&gate, &form).await,
        ask(&gate, Some(READ_WRITE), "service=registry.test").await,
        ask(&gate, Some(READ_WRITE), "offline_token=false").await,
        ask(&gate, None, "offline_token=true").await,
        post(&gate, "grant_type=password&username=&password=&access_type=offline").await,
        gate.send(
            "GET",
            "/token?offline_token=true",
            None,
            &format!("Authorization: Bearer {password}\r\n"),
            "",
        )
        .await,
    ] {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(json(&reply).get("refresh_token"), None);
    }
    let refused = ask(&gate, Some(("alice", "wrong")), "offline_token=true").await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn without_sessions_none_is_issued_and_none_is_taken() {
    let with_sessions = gate(sessions()).await;
    let stored = log_in(&with_sessions, READ_WRITE).await;
    let setup = Setup { tokens: vec!["key_file: keys"], ..sessions() };
    let without = gate(setup).await;
    let reply = ask(&without, Some(READ_WRITE), "offline_token=true").await;
    assert_eq!((reply.status, json(&reply).get("refresh_token")), (200, None));
    let reply = refresh(&without, &stored).await;
    assert_eq!((reply.status, json(&reply)["error"].as_str()), (401, Some("invalid_grant")));
    assert_eq!(without.gitlab.ledger().count(), 1, "that of the login");
}

/// containerd sends the token as a password after a refresh that failed.
#[tokio::test]
async fn a_refresh_token_is_good_at_the_token_service_alone_and_shown_to_no_provider() {
    let gate = gate(sessions()).await;
    let stored = log_in(&gate, READ_WRITE).await;
    let asked = gate.gitlab.ledger().count();
    let quoted = format!("\"{stored}\"");
    let in_json = format!("{{\"identitytoken\":\"{stored}\"}}");
    for text in [&*stored, &quoted, &in_json, &format!("%20{stored}"), &format!("x{stored}")] {
        for credential in [(READ_WRITE.0, text), ("<token>", text), (text, "secret")] {
            assert_eq!(gate.get(PULL, Some(credential)).await.status, 401);
            assert_eq!(ask(&gate, Some(credential), "").await.status, 401);
        }
    }
    assert_eq!(with(&gate, &stored, "GET", PULL).await.status, 401);
    assert_eq!(with(&gate, &stored, "GET", "/v2/").await.status, 401);
    assert_eq!(with(&gate, &stored, "GET", "/token").await.status, 401);
    let form = format!("grant_type=password&username=a&password={stored}");
    assert_eq!(post(&gate, &form).await.status, 401);
    // The other kinds are no refresh tokens.
    let access = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let renamed = access.replacen("mg1.", "mgr1.", 1);
    for text in [&access, &renamed, READ_WRITE.1, "mgr1.", "mu1.x"] {
        let reply = refresh(&gate, text).await;
        assert_eq!((reply.status, json(&reply)["error"].as_str()), (401, Some("invalid_grant")));
    }
    // One for the token itself.
    assert_eq!(gate.gitlab.ledger().count(), asked + 1);
}

#[tokio::test]
async fn a_changed_token_or_one_of_another_key_service_or_time_is_refused() {
    let gate = gate(sessions()).await;
    let good = sealed(|_| ());
    assert_eq!(refresh(&gate, &good).await.status, 200);
    let asked = gate.gitlab.ledger().count();
    let other_service = {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = RefreshToken::open(&good, &keys, "registry.test", unix_now()).unwrap();
        token.seal(&keys, "other.test").unwrap().to_string()
    };
    let other_key = {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = RefreshToken::open(&good, &keys, "registry.test", unix_now()).unwrap();
        token.seal(&TokenKeys::random().unwrap(), "registry.test").unwrap().to_string()
    };
    let mut changed = good.clone().into_bytes();
    let last = changed.len() - 30;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    for text in [
        String::from_utf8(changed).unwrap(),
        format!("{good}="),
        other_service,
        other_key,
        sealed(|token| token.expires = unix_now()),
        sealed(|token| token.issued = unix_micros() + 120_000_000),
        sealed(|token| token.vouched.by = "gone".into()),
        sealed(|token| token.credential = Credential::Anonymous),
        sealed(|token| token.credential = Credential::Bearer(good.as_str().into())),
    ] {
        let reply = refresh(&gate, &text).await;
        assert_eq!((reply.status, json(&reply)["error"].as_str()), (401, Some("invalid_grant")));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(gate.gitlab.ledger().count(), asked, "nobody was asked");
    let other_caller = sealed(|token| token.subject = "mallory".into());
    assert_eq!(refresh(&gate, &other_caller).await.status, 401);
}

#[tokio::test]
async fn an_access_token_does_not_outlive_the_session() {
    let gate = gate(sessions()).await;
    let near_end = sealed(|token| token.expires = unix_now() + 20);
    let expires_in = json(&refresh(&gate, &near_end).await)["expires_in"].as_u64().unwrap();
    assert!((15..=20).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn the_end_of_the_credential_ends_its_session() {
    let setup = Setup { cache: vec!["ttl: 1ms", "negative_ttl: 1ms"], ..sessions() };
    let gate = gate(setup).await;
    let stored = log_in(&gate, READ_WRITE).await;
    assert_eq!(refresh(&gate, &stored).await.status, 200);
    gate.gitlab.revoke(READ_WRITE.1);
    // The cached answer ends after a millisecond.
    soon(async { while refresh(&gate, &stored).await.status != 401 {} }).await;
}

#[tokio::test]
async fn a_revocation_ends_every_session_that_was_sealed_before_it() {
    for what in ["refresh token", "secret", "fingerprint"] {
        let gate = gate(sessions()).await;
        let (stored, others) = (log_in(&gate, READ_WRITE).await, log_in(&gate, READ_ONLY).await);
        let field = match what {
            "refresh token" => format!("token={stored}"),
            "secret" => format!("token={}", READ_WRITE.1),
            _ => format!("credential={}", gate.log(1).await[0]["credential"].as_str().unwrap()),
        };
        revoke(&gate, &field).await;
        assert_eq!(refresh(&gate, &stored).await.status, 401, "{what}");
        assert_eq!(refresh(&gate, &others).await.status, 200, "{what}");
        // GitLab still accepts the secret, so a new login works.
        let again = log_in(&gate, READ_WRITE).await;
        assert_eq!(refresh(&gate, &again).await.status, 200, "{what}");
        assert_eq!(refresh(&gate, &stored).await.status, 401, "{what}");
    }
}

/// The answer would be a success although nothing was revoked.
#[tokio::test]
async fn a_refresh_token_that_is_pasted_with_other_text_is_not_revoked() {
    let gate = gate(sessions()).await;
    let stored = log_in(&gate, READ_WRITE).await;
    for text in [format!("token={stored}"), format!("identitytoken: {stored}")] {
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("token", &text).finish();
        assert_eq!(try_to_revoke(&gate, &form).await.status, 400, "{text}");
    }
    assert_eq!(refresh(&gate, &stored).await.status, 200);
}

#[tokio::test]
async fn a_removed_key_or_provider_or_the_end_of_sessions_ends_them_by_reload() {
    let other_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n";
    for change in ["key", "provider", "session"] {
        let mut gate = gate(sessions()).await;
        let stored = log_in(&gate, READ_WRITE).await;
        assert_eq!(refresh(&gate, &stored).await.status, 200);
        match change {
            "key" => gate.write("keys", other_key),
            "provider" => gate.edit("name: gitlab", "name: renamed"),
            _ => gate.edit("session: 1h", "session: 0s"),
        }
        assert!(gate.reload().await, "{change}");
        assert_eq!(refresh(&gate, &stored).await.status, 401, "{change}");
    }
}

#[tokio::test]
async fn shorter_sessions_end_earlier_ones_by_reload() {
    let mut gate = gate(sessions()).await;
    let older = sealed(|token| token.issued = unix_micros() - 600_000_000);
    assert_eq!(refresh(&gate, &older).await.status, 200);
    gate.edit("session: 1h", "session: 599s");
    assert!(gate.reload().await);
    assert_eq!(refresh(&gate, &older).await.status, 401);
    assert_eq!(refresh(&gate, &sealed(|_| ())).await.status, 200);
}

/// The provider of the session would not be asked about this user any more.
#[tokio::test]
async fn a_user_who_belongs_to_an_earlier_provider_now_has_no_session() {
    let setup = Setup { htpasswd_users: vec![(READ_WRITE.0, "other")], ..sessions() };
    let mut gate = gate(setup).await;
    let stored = log_in(&gate, READ_WRITE).await;
    assert_eq!(refresh(&gate, &stored).await.status, 200);
    let htpasswd = "{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    gate.edit("identity:\n", &format!("identity:\n  - {htpasswd}\n"));
    assert!(gate.reload().await);
    let asked = gate.gitlab.ledger().count();
    assert_eq!(refresh(&gate, &stored).await.status, 401);
    assert_eq!(gate.gitlab.ledger().count(), asked);
}

#[tokio::test]
async fn two_credentials_in_one_request_are_refused() {
    let gate = gate(sessions()).await;
    let stored = log_in(&gate, READ_WRITE).await;
    let form = format!("grant_type=refresh_token&refresh_token={stored}");
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = gate.send("POST", "/token", Some(READ_WRITE), headers, &form).await;
    assert_eq!((reply.status, json(&reply)["error"].as_str()), (400, Some("invalid_request")));
}

#[tokio::test]
async fn a_replica_with_the_same_key_file_takes_the_refresh_token() {
    let (one, two) = (gate(sessions()).await, gate(sessions()).await);
    let stored = log_in(&one, READ_WRITE).await;
    assert_eq!(refresh(&two, &stored).await.status, 200);
}
