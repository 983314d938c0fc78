//! Tests of valid workload tokens, and of each way in which a token can be invalid.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_lc_rs::hmac;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::signing::{SigningKey, encode, rsa};
use super::*;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::provider::jwks::KeySet;
use crate::registry::Access;

const ISSUER: &str = "https://gitlab.example.com";
const AUDIENCE: &str = "registry.example.com";

fn rules() -> TokenRules {
    TokenRules {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        tenants: Tenants::Required(BTreeMap::from([(
            "namespace_id".to_owned(),
            vec!["41".to_owned(), "42".to_owned()],
        )])),
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        subject_claim: "sub".to_owned(),
        groups_claim: None,
        scopes: None,
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

fn scopes(verified: &Verified) -> &[String] {
    match &verified.granted {
        Granted::Scopes(scopes) => scopes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_says_who_it_is_and_what_it_may() {
    let key = SigningKey::p256();
    let jwt = provider(
        TokenRules { groups_claim: Some("groups".to_owned()), ..rules() },
        &[key.jwk("one")],
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
        (RS256, "RS256", rsa()),
        (PS256, "PS256", rsa()),
        (ES256, "ES256", Arc::new(SigningKey::p256())),
        (ES384, "ES384", Arc::new(SigningKey::p384())),
        (EdDSA, "EdDSA", Arc::new(SigningKey::ed25519())),
    ];
    for (algorithm, name, key) in &keys {
        let token = key.token(&header(json!({ "alg": name })), &claims(json!({})));
        let jwt =
            provider(TokenRules { algorithms: vec![*algorithm], ..rules() }, &[key.jwk("one")]);
        verified(ask(&jwt, &token).await);
        let others =
            keys.iter().map(|(other, ..)| *other).filter(|other| other != algorithm).collect();
        let jwt = provider(TokenRules { algorithms: others, ..rules() }, &[key.jwk("one")]);
        assert_eq!(ask(&jwt, &token).await, Verdict::Rejected, "{name}");
    }
}

/// A floor stands for revocations that are not kept individually. Every token that was issued
/// before the floor is refused. A token that may have been is refused too, because the issuer's
/// clock may be ahead.
#[tokio::test]
async fn what_was_issued_before_a_floor_is_refused() {
    let key = SigningKey::p256();
    let (jwt, floor) = (provider(rules(), &[key.jwk("one")]), now());
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
    let key = SigningKey::p256();
    let large = key.token(&header(json!({})), &claims(json!({ "x": "x".repeat(16 * 1024) })));
    assert_eq!(issuer_in(&large).as_deref(), Some(ISSUER));
    assert_eq!(ask(&provider(rules(), &[key.jwk("one")]), &large).await, Verdict::Rejected);
}

#[tokio::test]
async fn what_is_no_token_of_the_issuer_is_not_its_own() {
    let key = SigningKey::p256();
    let jwt = provider(rules(), &[key.jwk("one")]);
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
        key.sign(&format!("{}.{}", encode(header(json!({})).to_string()), encode(twice)), false);
    let header_twice = encode(r#"{"alg":"none","alg":"ES256","kid":"one"}"#);
    let header_twice =
        key.sign(&format!("{header_twice}.{}", encode(claims(json!({})).to_string())), false);
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
async fn forged_tokens_are_rejected() {
    let (key, stranger) = (SigningKey::p256(), SigningKey::p256());
    let jwt = provider(rules(), &[key.jwk("one"), rsa().jwk("two")]);
    let good = claims(json!({}));
    let by_stranger = |members: Value| stranger.token(&header(members), &good);
    let unsigned = |alg: &str| {
        format!(
            "{}.",
            stranger.token(&header(json!({ "alg": alg })), &good).rsplit_once('.').unwrap().0
        )
    };
    // HS256 with public data as the secret, in each form in which a library might accept it.
    let symmetric = |alg: &str, kid: &str, secret: &[u8]| {
        let message = format!(
            "{}.{}",
            encode(header(json!({ "alg": alg, "kid": kid })).to_string()),
            encode(good.to_string())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encode(tag))
    };
    let right = key.token(&header(json!({})), &good);
    let (signed, signature) = right.rsplit_once('.').unwrap();
    let other = key.token(&header(json!({})), &claims(json!({ "sub": "somebody else" })));
    for token in [
        unsigned("none"),
        unsigned("None"),
        unsigned("NONE"),
        unsigned("nOnE"),
        unsigned("ES256"),
        unsigned(""),
        symmetric("HS256", "one", &key.public()),
        symmetric("HS256", "two", &rsa().public()),
        symmetric("HS256", "two", rsa().jwk("two").to_string().as_bytes()),
        symmetric("ES256", "one", &key.public()),
        by_stranger(json!({})),
        by_stranger(json!({ "jwk": stranger.jwk("one") })),
        by_stranger(json!({ "jwk": stranger.jwk("one"), "kid": "new" })),
        by_stranger(json!({ "jku": "https://evil.example.com/jwks", "kid": "new" })),
        by_stranger(json!({ "x5u": "https://evil.example.com/x5u", "x5c": ["AAAA"] })),
        by_stranger(json!({ "kid": "../../../../dev/null" })),
        by_stranger(json!({ "kid": "/dev/null" })),
        by_stranger(json!({ "kid": "https://evil.example.com/key" })),
        by_stranger(json!({ "kid": "" })),
        // A valid signature of the one key under the name of the other, and for another algorithm.
        key.token(&header(json!({ "kid": "two" })), &good),
        key.token(&header(json!({ "alg": "RS256" })), &good),
        key.token(&header(json!({ "alg": "ES384" })), &good),
        format!("{}.{signature}", other.rsplit_once('.').unwrap().0),
        format!("{signed}.{signature}="),
        format!("{signed}.{}", &signature[1..]),
        format!("{signed}.{}", encode([0; 64])),
        format!("{signed}.!"),
    ] {
        assert_eq!(ask(&jwt, &token).await, Verdict::Rejected, "{token}");
    }
    verified(ask(&jwt, &right).await);
}

#[tokio::test]
async fn headers_that_ask_for_more_are_rejected() {
    let key = SigningKey::p256();
    let jwt = provider(rules(), &[key.jwk("one")]);
    for members in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": [] }),
        json!({ "crit": null }),
        json!({ "b64": false }),
        json!({ "b64": "true" }),
        json!({ "b64": false, "crit": ["b64"] }),
        json!({ "typ": "JOSE" }),
        json!({ "typ": "" }),
        json!({ "typ": 1 }),
        json!({ "kid": 1 }),
        json!({ "kid": ["one"] }),
        json!({ "kid": "k".repeat(257) }),
        json!({ "alg": "es256" }),
        json!({ "alg": 1 }),
        json!({ "alg": null }),
    ] {
        let token = key.token(&header(members.clone()), &claims(json!({})));
        assert_eq!(ask(&jwt, &token).await, Verdict::Rejected, "{members}");
    }
    for members in [
        json!({ "typ": "jwt" }),
        json!({ "typ": "at+JWT" }),
        json!({ "typ": "application/at+jwt" }),
        json!({ "typ": null }),
        json!({ "b64": true }),
        json!({ "kid": null }),
        json!({ "x5t": "x", "jku": "https://evil.example.com", "jwk": SigningKey::p256().jwk("one") }),
    ] {
        verified(ask(&jwt, &key.token(&header(members), &claims(json!({})))).await);
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_rejected() {
    let key = SigningKey::p256();
    let jwt = provider(
        TokenRules { groups_claim: Some("groups".to_owned()), ..rules() },
        &[key.jwk("one")],
    );
    for members in [
        json!({ "exp": null }),
        json!({ "exp": "4000000000" }),
        json!({ "exp": [4_000_000_000_u64] }),
        json!({ "exp": true }),
        json!({ "exp": -1 }),
        json!({ "exp": 0 }),
        json!({ "exp": now() - 61 }),
        json!({ "nbf": now() + 120 }),
        json!({ "nbf": "0" }),
        json!({ "iat": "0" }),
        json!({ "aud": null }),
        json!({ "aud": "other" }),
        json!({ "aud": "registry.example.com." }),
        json!({ "aud": "REGISTRY.example.com" }),
        json!({ "aud": [] }),
        json!({ "aud": [AUDIENCE, "other"] }),
        json!({ "aud": ["other", AUDIENCE] }),
        json!({ "aud": [AUDIENCE, AUDIENCE] }),
        json!({ "aud": [[AUDIENCE]] }),
        json!({ "aud": { "0": AUDIENCE } }),
        json!({ "aud": 5 }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 5 }),
        json!({ "namespace_id": null }),
        json!({ "namespace_id": "43" }),
        json!({ "namespace_id": "4" }),
        json!({ "namespace_id": "422" }),
        json!({ "namespace_id": 42 }),
        json!({ "namespace_id": ["42"] }),
        json!({ "namespace_id": { "42": true } }),
    ] {
        let token = key.token(&header(json!({})), &claims(members.clone()));
        assert_eq!(ask(&jwt, &token).await, Verdict::Rejected, "{members}");
    }
    for members in [
        json!({ "aud": [AUDIENCE] }),
        json!({ "exp": now() - 30 }),
        json!({ "exp": now() as f64 + 100.5 }),
        json!({ "nbf": now() + 30 }),
        json!({ "nbf": null, "iat": null }),
        json!({ "namespace_id": "41" }),
        json!({ "groups": [5] }),
        json!({ "scope": ["read_registry", 5] }),
    ] {
        verified(ask(&jwt, &key.token(&header(json!({})), &claims(members))).await);
    }
}

#[tokio::test]
async fn every_required_claim_is_required() {
    let key = SigningKey::p256();
    let required = |claims: &[(&str, &str)]| {
        Tenants::Required(
            claims
                .iter()
                .map(|(name, text)| ((*name).to_owned(), vec![(*text).to_owned()]))
                .collect(),
        )
    };
    let token = key.token(&header(json!({})), &claims(json!({ "ref": "main" })));
    for (tenants, good) in [
        (required(&[("namespace_id", "42"), ("ref", "main")]), true),
        (required(&[("namespace_id", "42"), ("ref", "dev")]), false),
        (required(&[("namespace_id", "41"), ("ref", "main")]), false),
        (required(&[("namespace_id", "42"), ("absent", "")]), false),
        (Tenants::Any, true),
    ] {
        let verdict = ask(
            &provider(TokenRules { tenants: tenants.clone(), ..rules() }, &[key.jwk("one")]),
            &token,
        )
        .await;
        assert_eq!(matches!(verdict, Verdict::Verified(..)), good, "{tenants:?}");
    }
}

#[tokio::test]
async fn scopes_are_the_configs_or_the_tokens_own() {
    let key = SigningKey::p256();
    let bare = key.token(&header(json!({})), &claims(json!({ "scope": null })));
    let scoped = key.token(&header(json!({})), &claims(json!({})));
    let own = provider(rules(), &[key.jwk("one")]);
    assert!(scopes(&verified(ask(&own, &bare).await).0).is_empty());
    let fixed = provider(
        TokenRules { scopes: Some(vec!["read_registry".to_owned()]), ..rules() },
        &[key.jwk("one")],
    );
    for token in [bare, scoped] {
        assert_eq!(scopes(&verified(ask(&fixed, &token).await).0), ["read_registry"]);
    }
}

#[tokio::test]
async fn the_subject_is_the_claim_that_the_config_names() {
    let key = SigningKey::p256();
    let jwt = provider(
        TokenRules { subject_claim: "project_path".to_owned(), ..rules() },
        &[key.jwk("one")],
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
        let flaw = rules.check(claims(members).as_object().unwrap(), now()).unwrap_err();
        assert!(!flaw.to_string().contains("canary"), "{flaw}");
    }
}

proptest! {
    #[test]
    fn never_panics(token in r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}", claims: Vec<u8>) {
        let _ = issuer_in(&token);
        let token = format!("{}.{}.x", encode(r#"{"alg":"ES256"}"#), encode(claims));
        if let Some(token) = Compact::read(&token) {
            let _ = rules().check(&token.claims, 0);
        }
    }
}
