//! Workload tokens that the gate sealed while they were valid, and that have ended since.

use moorgate::demo::issuer::OidcIssuer;
use moorgate::identity::model::Vouched;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::unix_time::{unix_micros, unix_now};
use moorgate::registry::{Actions, RepositoryName};
use moorgate::sealing::TokenKeys;
use moorgate::token_service::gate_token::{CatalogShare, GateToken, TokenScope};
use moorgate::token_service::refresh_token::RefreshToken;
use serde_json::{Value, json};

use super::{ask, gate, json, post, with};
use crate::harness::{Setup, TestGate, listener};
use crate::revoke::{TOKEN, revoke};

const AUDIENCE: &str = "registry.example.com";
const PULL: &str = "/v2/demo/a/tags/list";
const KEYS: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

/// A gate with this session for the tokens of an issuer.
async fn gate_with(issuer: &OidcIssuer, session: &str) -> TestGate {
    gate(setup(issuer, session)).await
}

fn setup(issuer: &OidcIssuer, session: &str) -> Setup {
    let identity = format!(
        "- {{ name: workloads, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: {AUDIENCE}, \
         required_claims: {{ namespace_id: [\"42\"] }}, scopes: [read_registry, write_registry], \
         session: {session} }}\n\
         - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\" }}",
        issuer.url(),
        issuer.jwks_url()
    );
    Setup {
        identity: Some(identity.leak()),
        tokens: vec!["key_file: keys", "session: 1h"],
        files: vec![("keys", KEYS), ("admin.token", TOKEN)],
        admin: vec!["token_file: admin.token"],
        limits: vec!["failed_logins: null"],
        ..Setup::default()
    }
}

fn issuer() -> OidcIssuer {
    OidcIssuer::start(listener()).unwrap()
}

/// A token that was issued so many seconds ago and lived for a minute.
fn ended(issuer: &OidcIssuer, issued_ago: u64) -> String {
    token(issuer, json!({ "iat": unix_now() - issued_ago, "exp": unix_now() - issued_ago + 60 }))
}

fn token(issuer: &OidcIssuer, claims: Value) -> String {
    issuer.id_token(AUDIENCE, &claims).unwrap()
}

fn credential(token: &str) -> Credential {
    Credential::Basic { user: "oidc".to_owned(), password: token.into() }
}

/// Seals a workload token as the gate does while the token is valid.
fn gate_token(token: &str, in_session: bool) -> String {
    let pull = Actions { pull: true, ..Actions::default() };
    let repositories = vec![(RepositoryName::parse("demo/a").unwrap(), pull)];
    let token_scope = TokenScope { repositories, catalog: CatalogShare::None, refused: Vec::new() };
    let mut token = GateToken {
        issued: unix_micros(),
        expires: unix_now() + 600,
        token_scope,
        credential: credential(token),
        provider: Some("workloads".into()),
        in_session,
    };
    TokenKeys::parse(KEYS).unwrap().seal(&mut token, "registry.test").unwrap().to_string()
}

fn refresh_token(token: &str, subject: &str) -> String {
    let token = RefreshToken {
        issued: unix_micros(),
        expires: unix_now() + 3600,
        credential: credential(token),
        vouched: Vouched { by: "workloads".into(), alone: true, in_session: true },
        subject: subject.into(),
    };
    token.seal(&TokenKeys::parse(KEYS).unwrap(), "registry.test").unwrap().to_string()
}

async fn pull(gate: &TestGate, token: &str) -> u16 {
    with(gate, token, "GET", PULL).await.status
}

#[tokio::test]
async fn what_was_sealed_stays_valid_for_the_session_and_the_token_itself_does_not() {
    let issuer = issuer();
    let gate = gate_with(&issuer, "10m").await;
    let ended = ended(&issuer, 300);
    // Each is asked twice: the answers about the two must not be taken for each other.
    for _ in 0..2 {
        assert_eq!(pull(&gate, &gate_token(&ended, true)).await, 404);
        assert_eq!(gate.get(PULL, Some(("oidc", &ended))).await.status, 401);
        assert_eq!(pull(&gate, &ended).await, 401);
        assert_eq!(ask(&gate, Some(("oidc", &ended)), "").await.status, 401);
        assert_eq!(pull(&gate, &gate_token(&ended, false)).await, 401, "sealed without a session");
    }
    let session_over = self::ended(&issuer, 601);
    assert_eq!(pull(&gate, &gate_token(&session_over, true)).await, 401);
    assert_eq!(gate.gitlab.ledger().count(), 0, "no other provider has seen one");
}

#[tokio::test]
async fn without_a_session_what_was_sealed_ends_with_the_token() {
    let issuer = issuer();
    let mut gate = gate_with(&issuer, "10m").await;
    let ended = ended(&issuer, 300);
    let sealed = gate_token(&ended, true);
    assert_eq!(pull(&gate, &sealed).await, 404);
    gate.edit("session: 10m", "session: 0s");
    assert!(gate.reload().await);
    assert_eq!(pull(&gate, &sealed).await, 401);
    let refresh = refresh(&gate, &refresh_token(&ended, SUBJECT)).await;
    assert_eq!(refresh.status, 401);
}

/// The subject of the issuer's tokens.
const SUBJECT: &str = "project_path:demo/app:ref_type:branch:ref:main";

async fn refresh(gate: &TestGate, token: &str) -> crate::harness::Reply {
    let form = "grant_type=refresh_token&scope=repository:demo/a:pull";
    post(gate, &format!("{form}&refresh_token={token}")).await
}

/// However often it is sealed: a refresh gives a token that ends with the session.
#[tokio::test]
async fn a_token_that_is_sealed_again_ends_with_the_same_session() {
    let issuer = issuer();
    let gate = gate_with(&issuer, "10m").await;
    let ended = ended(&issuer, 400);
    let reply = refresh(&gate, &refresh_token(&ended, SUBJECT)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = json(&reply);
    let expires_in = answer["expires_in"].as_u64().unwrap();
    assert!((195..=200).contains(&expires_in), "{expires_in}");
    assert_eq!(pull(&gate, answer["token"].as_str().unwrap()).await, 404);
    let over = self::ended(&issuer, 601);
    assert_eq!(refresh_status(&gate, &over).await, 401);
}

async fn refresh_status(gate: &TestGate, token: &str) -> u16 {
    refresh(gate, &refresh_token(token, SUBJECT)).await.status
}

#[tokio::test]
async fn a_login_gets_tokens_that_last_as_long_as_the_session_says() {
    let issuer = issuer();
    let gate = gate_with(&issuer, "10m").await;
    let now = unix_now();
    for (claims, seconds) in [
        (json!({ "iat": now, "exp": now + 60 }), 600),
        (json!({ "iat": now - 540, "exp": now + 30 }), 60),
        (json!({ "iat": now - 3600, "exp": now + 30 }), 30),
        (json!({ "iat": null, "exp": now + 30 }), 30),
        (json!({ "iat": now + 300, "exp": now + 600 }), 600),
    ] {
        let token = token(&issuer, claims.clone());
        let query = "offline_token=true&scope=repository:demo/a:pull";
        let reply = ask(&gate, Some(("oidc", &token)), query).await;
        let expires_in = json(&reply)["expires_in"].as_u64().unwrap();
        assert!((seconds - 5..=seconds).contains(&expires_in), "{claims}: {expires_in}");
        let keys = TokenKeys::parse(KEYS).unwrap();
        let text = json(&reply)["refresh_token"].as_str().unwrap().to_owned();
        let stored = RefreshToken::open(&text, &keys, "registry.test", now).unwrap();
        let lives = stored.expires - now;
        assert!((seconds - 5..=seconds + 5).contains(&lives), "{claims}: {lives}");
    }
}

/// A reload applies to what was sealed before it.
#[tokio::test]
async fn the_claims_are_judged_by_the_config_of_now() {
    for (old, new) in [
        ("namespace_id: [\"42\"]", "namespace_id: [\"43\"]"),
        ("audience: registry.example.com", "audience: other.example.com"),
        ("name: workloads", "name: others"),
        ("type: jwt, issuer: \"http", "type: jwt, issuer: \"https"),
    ] {
        let issuer = issuer();
        let mut gate = gate_with(&issuer, "10m").await;
        let ended = ended(&issuer, 300);
        let (sealed, stored) = (gate_token(&ended, true), refresh_token(&ended, SUBJECT));
        assert_eq!(pull(&gate, &sealed).await, 404);
        assert_eq!(refresh(&gate, &stored).await.status, 200);
        gate.edit(old, new);
        assert!(gate.reload().await, "{new}");
        assert_eq!(pull(&gate, &sealed).await, 401, "{new}");
        assert_eq!(refresh(&gate, &stored).await.status, 401, "{new}");
        assert_eq!(gate.gitlab.ledger().count(), 0, "no other provider has seen it");
    }
}

#[tokio::test]
async fn a_revocation_ends_the_session() {
    for by in ["token", "refresh token"] {
        let issuer = issuer();
        let gate = gate_with(&issuer, "10m").await;
        let ended = ended(&issuer, 300);
        let (sealed, stored) = (gate_token(&ended, true), refresh_token(&ended, SUBJECT));
        assert_eq!(pull(&gate, &sealed).await, 404);
        let secret = if by == "token" { &ended } else { &stored };
        revoke(&gate, &format!("token={secret}")).await;
        assert_eq!(pull(&gate, &sealed).await, 401, "{by}");
        assert_eq!(refresh(&gate, &stored).await.status, 401, "{by}");
        assert_eq!(pull(&gate, &gate_token(&ended, true)).await, 401, "sealed later: {by}");
    }
}

/// A new login under the new name gives the earlier session no life.
#[tokio::test]
async fn a_session_of_a_renamed_provider_stays_ended() {
    let issuer = issuer();
    let mut gate = gate_with(&issuer, "10m").await;
    let good = token(&issuer, json!({ "iat": unix_now(), "exp": unix_now() + 300 }));
    let earlier = gate_token(&good, true);
    assert_eq!(pull(&gate, &earlier).await, 404);
    gate.edit("name: workloads", "name: renamed");
    assert!(gate.reload().await);
    assert_eq!(pull(&gate, &earlier).await, 401);
    let answer = json(&ask(&gate, Some(("oidc", &good)), "scope=repository:demo/a:pull").await);
    for _ in 0..3 {
        assert_eq!(pull(&gate, answer["token"].as_str().unwrap()).await, 404);
        assert_eq!(pull(&gate, &earlier).await, 401);
    }
}

/// A workload that is known to be good from its address is so in its session too.
#[tokio::test]
async fn wrong_logins_of_others_at_the_address_do_not_end_a_session() {
    let issuer = issuer();
    let setup =
        Setup { limits: vec!["failed_logins: { rate: 1/h, burst: 1 }"], ..setup(&issuer, "10m") };
    let gate = gate(setup).await;
    let good = token(&issuer, json!({ "iat": unix_now(), "exp": unix_now() + 300 }));
    let answer = json(&ask(&gate, Some(("oidc", &good)), "scope=repository:demo/a:pull").await);
    assert_eq!(gate.get(PULL, Some(("alice", "glpat-wrong"))).await.status, 401);
    assert_eq!(gate.get(PULL, Some(("alice", "glpat-other"))).await.status, 429);
    assert_eq!(pull(&gate, answer["token"].as_str().unwrap()).await, 404);
}

/// The key is not asked for: the signature was checked when the token was sealed.
#[tokio::test]
async fn a_session_goes_on_when_the_issuer_has_replaced_its_keys() {
    let issuer = issuer();
    let gate = gate_with(&issuer, "10m").await;
    let ended = ended(&issuer, 300);
    let fetched = issuer.ledger().count();
    assert_eq!(pull(&gate, &gate_token(&ended, true)).await, 404);
    assert_eq!(issuer.ledger().count(), fetched);
}

/// A session of one provider says nothing about another one.
#[tokio::test]
async fn a_token_whose_provider_is_another_type_now_is_refused() {
    let issuer = issuer();
    let gate = gate_with(&issuer, "10m").await;
    let ended = ended(&issuer, 300);
    let other = |provider: &str| {
        let mut token = GateToken {
            issued: unix_micros(),
            expires: unix_now() + 600,
            token_scope: TokenScope::default(),
            credential: credential(&ended),
            provider: Some(provider.into()),
            in_session: true,
        };
        TokenKeys::parse(KEYS).unwrap().seal(&mut token, "registry.test").unwrap().to_string()
    };
    for provider in ["gitlab", "gone"] {
        assert_eq!(with(&gate, &other(provider), "GET", "/v2/").await.status, 401, "{provider}");
    }
    assert_eq!(gate.gitlab.ledger().count(), 0);
}
