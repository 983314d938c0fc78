//! Tests of valid workload tokens, and of each way in which a token can be invalid.

mod rejected;

use std::net::Ipv4Addr;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::demo::signing_key::SigningKey;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::provider::jwks::KeySet;
use crate::registry::Access;

const ISSUER: &str = "https://gitlab.example.com";
const AUDIENCE: &str = "registry.example.com";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn required_claim(path: &str, allowed: &[&str]) -> RequiredClaim {
    RequiredClaim {
        path: path.parse().unwrap(),
        allowed: allowed.iter().map(|value| value.parse().unwrap()).collect(),
    }
}

fn rules() -> TokenRules {
    TokenRules {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        tenants: Tenants::Required(vec![required_claim("namespace_id", &["41", "42"])]),
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        subject_claim: "sub".parse().unwrap(),
        groups_claim: None,
        scopes: None,
        session: Duration::ZERO,
    }
}

fn now() -> u64 {
    unix_now()
}

/// Returns the claims of a valid token with these members added or replaced; `null` removes a
/// member.
fn claims(members: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "project_path:demo/app", "namespace_id": "42",
        "iat": now(), "nbf": now(), "exp": now() + 300, "scope": "read_registry write_registry",
    });
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// Returns the header of a valid token with these members added or replaced.
fn header(members: Value) -> Value {
    let mut header = json!({ "alg": "ES256", "typ": "JWT", "kid": "one" });
    header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    header
}

fn provider(rules: TokenRules, keys: &[Value]) -> Jwt {
    let keys = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    Jwt::new("workloads".into(), rules, Keys::fixed(keys))
}

fn question(credential: Credential) -> Question {
    let client = Ipv4Addr::LOCALHOST.into();
    Question::new(&HashKey::random().unwrap(), credential, Access::Login, client, "test".into())
}

fn issuer_in(token: &str) -> Option<String> {
    issuer_of(&Credential::Bearer(SecretString::from(token)))
}

async fn ask(jwt: &Jwt, token: &str) -> Verdict {
    let bearer = jwt.ask(&question(Credential::Bearer(SecretString::from(token)))).await;
    let password = SecretString::from(token);
    let basic = jwt.ask(&question(Credential::Basic { user: "oidc".to_owned(), password })).await;
    assert_eq!(bearer, basic, "the same secret, however it is presented");
    bearer
}

fn verified(verdict: Verdict) -> (Arc<Verified>, Lifetime) {
    match verdict {
        Verdict::Verified(verified, lifetime) => (verified, lifetime),
        other => panic!("{other:?}"),
    }
}

fn scopes(verified: &Verified) -> Vec<&str> {
    match &verified.granted {
        Granted::Scopes(scopes) => scopes.iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_valid_token_gives_the_subject_scopes_groups_and_expiry() {
    let key = SigningKey::es256().unwrap();
    let jwt = provider(
        TokenRules { groups_claim: Some("groups".parse().unwrap()), ..rules() },
        &[key.jwk_named("one")],
    );
    let said = claims(json!({ "groups": ["ci"], "exp": 4_000_000_000_u64 }));
    let (who, lifetime) = verified(ask(&jwt, &key.token(&header(json!({})), &said)).await);
    assert_eq!(&*who.principal.subject, "project_path:demo/app");
    assert_eq!(&*who.principal.source.provider, "workloads");
    assert_eq!(scopes(&who), ["read_registry", "write_registry"]);
    assert_eq!(lifetime, Lifetime { answer: None, credential: Some(4_000_000_000) });
    let attributes = who.attributes.as_ref().unwrap();
    assert_eq!(attributes.groups, ["ci"]);
    assert_eq!(attributes.claims["namespace_id"], "42");
}

#[tokio::test]
async fn every_algorithm_of_the_config_works_and_no_other() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
    let keys = [
        (RS256, "RS256", SigningKey::rsa(0).unwrap()),
        (PS256, "PS256", SigningKey::rsa(0).unwrap()),
        (ES256, "ES256", SigningKey::es256().unwrap()),
        (ES384, "ES384", Arc::new(SigningKey::es384())),
        (EdDSA, "EdDSA", Arc::new(SigningKey::ed25519())),
    ];
    for (algorithm, name, key) in &keys {
        let token = key.token(&header(json!({ "alg": name })), &claims(json!({})));
        let jwt = provider(
            TokenRules { algorithms: vec![*algorithm], ..rules() },
            &[key.jwk_named("one")],
        );
        verified(ask(&jwt, &token).await);
        let others =
            keys.iter().map(|(other, ..)| *other).filter(|other| other != algorithm).collect();
        let jwt = provider(TokenRules { algorithms: others, ..rules() }, &[key.jwk_named("one")]);
        assert_eq!(ask(&jwt, &token).await, Verdict::Rejected, "{name}");
    }
}

/// A floor stands for revocations that are not kept individually. Every token that was issued
/// before the floor is refused. A token that may have been is refused too, because the issuer's
/// clock may be ahead.
#[tokio::test]
async fn a_token_issued_before_a_revocation_floor_is_refused() {
    let key = SigningKey::es256().unwrap();
    let (jwt, floor) = (provider(rules(), &[key.jwk_named("one")]), now());
    for (issued, good) in [
        (json!(floor - 1), false),
        (json!(floor + 60), false),
        (json!(null), false),
        (json!(floor + 61), true),
    ] {
        let token = key.token(&header(json!({})), &claims(json!({ "iat": issued })));
        let mut question = question(Credential::Bearer(SecretString::from(token)));
        question.revocation.floor =
            Some(Moment { at: std::time::Instant::now(), unix_micros: floor * 1_000_000 });
        assert_eq!(matches!(jwt.ask(&question).await, Verdict::Verified(..)), good, "{issued}");
    }
}

/// The token belongs to the issuer's provider, so no other provider is shown it.
#[tokio::test]
async fn a_token_that_is_too_large_is_refused() {
    let key = SigningKey::es256().unwrap();
    let large = key.token(&header(json!({})), &claims(json!({ "x": "x".repeat(16 * 1024) })));
    assert_eq!(issuer_in(&large).as_deref(), Some(ISSUER));
    assert_eq!(ask(&provider(rules(), &[key.jwk_named("one")]), &large).await, Verdict::Rejected);
}

#[tokio::test]
async fn only_tokens_of_the_issuer_belong_to_the_provider() {
    let key = SigningKey::es256().unwrap();
    let jwt = provider(rules(), &[key.jwk_named("one")]);
    let good = key.token(&header(json!({})), &claims(json!({})));
    for iss in [
        "https://gitlab.example.co",
        "https://gitlab.example.com/",
        "https://GITLAB.example.com",
        "",
    ] {
        let token = key.token(&header(json!({})), &claims(json!({ "iss": iss })));
        assert_eq!(ask(&jwt, &token).await, Verdict::NotMine, "{iss}");
    }
    let twice = claims(json!({}))
        .to_string()
        .replace("\"iss\"", "\"iss\":\"https://other.example.com\",\"iss\"");
    let twice =
        key.sign_message(&format!("{}.{}", encode(header(json!({})).to_string()), encode(twice)));
    let header_twice = encode(r#"{"alg":"none","alg":"ES256","kid":"one"}"#);
    let header_twice =
        key.sign_message(&format!("{header_twice}.{}", encode(claims(json!({})).to_string())));
    let in_a_list = key.token(&header(json!({})), &claims(json!({ "iss": [ISSUER] })));
    for token in [
        "glpat-secret",
        "a.b.c",
        "..",
        "",
        &format!("{good}.x"),
        &format!(".{good}"),
        &good[..good.rfind('.').unwrap()],
        &twice,
        &header_twice,
        &in_a_list,
        &key.token(&header(json!({})), &claims(json!({ "iss": null }))),
    ] {
        assert_eq!(ask(&jwt, token).await, Verdict::NotMine, "{token}");
        assert_ne!(issuer_in(token).as_deref(), Some(ISSUER), "{token}");
    }
    assert_eq!(issuer_in(&good).as_deref(), Some(ISSUER));
    assert_eq!(jwt.ask(&question(Credential::Anonymous)).await, Verdict::NotMine);
}

#[tokio::test]
async fn a_token_needs_every_claim_that_the_config_requires() {
    let key = SigningKey::es256().unwrap();
    let required = |claims: &[(&str, &str)]| {
        Tenants::Required(claims.iter().map(|(path, text)| required_claim(path, &[text])).collect())
    };
    let token = key.token(
        &header(json!({})),
        &claims(json!({
            "ref": "main", "number": 42, "protected": true, "list": ["main"], "nothing": null,
            "kubernetes.io": { "namespace": "team-a", "pod": { "name": "x" }, "node": null },
        })),
    );
    for (tenants, good) in [
        (required(&[("namespace_id", "42"), ("ref", "main")]), true),
        (required(&[("namespace_id", "42"), ("ref", "dev")]), false),
        (required(&[("namespace_id", "41"), ("ref", "main")]), false),
        (required(&[("namespace_id", "42"), ("absent", "**x")]), false),
        (required(&[("number", "42"), ("protected", "true")]), true),
        (required(&[("number", "4*"), ("protected", "tru*")]), true),
        (required(&[("protected", "1")]), false),
        (required(&[("/kubernetes.io/namespace", "team-*")]), true),
        (required(&[("/kubernetes.io/namespace", "team-b")]), false),
        (required(&[("/kubernetes.io/pod", "**x**")]), false),
        (required(&[("/kubernetes.io/pod/name", "x")]), true),
        (required(&[("/kubernetes.io/node", "null")]), false),
        (required(&[("/kubernetes.io/absent", "**x**")]), false),
        (required(&[("kubernetes.io/namespace", "team-a")]), false),
        (required(&[("list", "main")]), false),
        (required(&[("list", "**main**")]), false),
        (required(&[("nothing", "null")]), false),
        (Tenants::Any, true),
    ] {
        let verdict = ask(
            &provider(TokenRules { tenants: tenants.clone(), ..rules() }, &[key.jwk_named("one")]),
            &token,
        )
        .await;
        assert_eq!(matches!(verdict, Verdict::Verified(..)), good, "{tenants:?}");
    }
}

#[tokio::test]
async fn scopes_come_from_the_config_or_else_from_the_token() {
    let key = SigningKey::es256().unwrap();
    let bare = key.token(&header(json!({})), &claims(json!({ "scope": null })));
    let scoped = key.token(&header(json!({})), &claims(json!({})));
    let own = provider(rules(), &[key.jwk_named("one")]);
    assert!(scopes(&verified(ask(&own, &bare).await).0).is_empty());
    let fixed = provider(
        TokenRules { scopes: Some(vec!["read_registry".to_owned()]), ..rules() },
        &[key.jwk_named("one")],
    );
    for token in [bare, scoped] {
        assert_eq!(scopes(&verified(ask(&fixed, &token).await).0), ["read_registry"]);
    }
}

#[tokio::test]
async fn the_subject_is_the_claim_that_the_config_names() {
    let key = SigningKey::es256().unwrap();
    let jwt = provider(
        TokenRules { subject_claim: "project_path".parse().unwrap(), ..rules() },
        &[key.jwk_named("one")],
    );
    let (who, _) = verified(
        ask(&jwt, &key.token(&header(json!({})), &claims(json!({ "project_path": "a/b" })))).await,
    );
    assert_eq!(&*who.principal.subject, "a/b");
    assert_eq!(
        ask(&jwt, &key.token(&header(json!({})), &claims(json!({})))).await,
        Verdict::Rejected
    );
}

#[test]
fn a_flaw_prints_nothing_of_the_token() {
    let rules = rules();
    for members in [
        json!({ "sub": ["canary"] }),
        json!({ "namespace_id": "canary" }),
        json!({ "aud": "canary" }),
    ] {
        let flaw = rules.check(claims(members).as_object().unwrap(), now(), false).unwrap_err();
        assert!(!flaw.to_string().contains("canary"), "{flaw}");
    }
}

proptest! {
    #[test]
    fn never_panics(token in r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}", claims: Vec<u8>) {
        let _ = issuer_in(&token);
        let token = format!("{}.{}.x", encode(r#"{"alg":"ES256"}"#), encode(claims));
        if let Some(token) = Compact::read(&token) {
            let _ = rules().check(&token.claims, 0, true);
        }
    }
}
