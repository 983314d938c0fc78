//! Each way in which a token of the issuer can be invalid.

use super::*;

#[tokio::test]
async fn forged_tokens_are_rejected() {
    let (key, stranger) = (SigningKey::es256().unwrap(), SigningKey::es256().unwrap());
    let jwt =
        provider(rules(), &[key.jwk_named("one"), SigningKey::rsa(0).unwrap().jwk_named("two")]);
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
        symmetric("HS256", "one", &key.public_bytes()),
        symmetric("HS256", "two", &SigningKey::rsa(0).unwrap().public_bytes()),
        symmetric(
            "HS256",
            "two",
            SigningKey::rsa(0).unwrap().jwk_named("two").to_string().as_bytes(),
        ),
        symmetric("ES256", "one", &key.public_bytes()),
        by_stranger(json!({})),
        by_stranger(json!({ "jwk": stranger.jwk_named("one") })),
        by_stranger(json!({ "jwk": stranger.jwk_named("one"), "kid": "new" })),
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
async fn tokens_with_unsupported_header_values_are_rejected() {
    let stranger = SigningKey::es256().unwrap();
    let key = SigningKey::es256().unwrap();
    let jwt = provider(rules(), &[key.jwk_named("one")]);
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
        json!({ "x5t": "x", "jku": "https://evil.example.com", "jwk": stranger.jwk_named("one") }),
    ] {
        verified(ask(&jwt, &key.token(&header(members), &claims(json!({})))).await);
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_rejected() {
    let key = SigningKey::es256().unwrap();
    let jwt = provider(
        TokenRules { groups_claim: Some("groups".parse().unwrap()), ..rules() },
        &[key.jwk_named("one")],
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
        json!({ "sub": ["x"] }),
        json!({ "sub": { "x": "x" } }),
        json!({ "sub": 1e16 }),
        json!({ "namespace_id": null }),
        json!({ "namespace_id": "43" }),
        json!({ "namespace_id": "4" }),
        json!({ "namespace_id": "422" }),
        json!({ "namespace_id": 43 }),
        json!({ "namespace_id": 42.5 }),
        json!({ "namespace_id": true }),
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
        json!({ "namespace_id": 42 }),
        json!({ "sub": 5 }),
        json!({ "groups": "ci" }),
        json!({ "groups": [5] }),
        json!({ "scope": ["read_registry", 5] }),
    ] {
        verified(ask(&jwt, &key.token(&header(json!({})), &claims(members))).await);
    }
}
