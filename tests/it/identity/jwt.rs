//! Workload tokens of an OIDC issuer, through the whole gate.

use std::time::Instant;

use http::{StatusCode, header};
use moorgate::demo::Scripted;
use moorgate::demo::issuer::OidcIssuer;
use moorgate::identity::model::unix_time::unix_now;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Setup, TestGate, listener};

const AUDIENCE: &str = "registry.example.com";
const PULL: &str = "/v2/demo/a/tags/list";
const PUSH: &str = "/v2/demo/a/blobs/uploads/";

/// Starts a gate with GitLab and the issuer's provider in its chain. No JWT of the issuer may reach
/// GitLab.
async fn gate(issuer: &OidcIssuer, cache: Vec<&'static str>) -> TestGate {
    let identity = format!(
        "- {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\" }}\n\
         - {{ name: workloads, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: {AUDIENCE}, \
         required_claims: {{ namespace_id: [\"42\"] }}, scopes: [read_registry, write_registry] }}",
        issuer.url(),
        issuer.jwks_url()
    );
    let limits = vec!["failed_logins: null"];
    TestGate::start(Setup { identity: Some(identity.leak()), cache, limits, ..Setup::default() })
        .await
}

fn issuer() -> OidcIssuer {
    let issuer = OidcIssuer::start(listener()).unwrap();
    issuer.ledger().keep();
    issuer
}

fn token(issuer: &OidcIssuer, claims: Value) -> String {
    issuer.id_token(AUDIENCE, &claims).unwrap()
}

async fn status(gate: &TestGate, method: &str, target: &str, token: &str) -> u16 {
    let basic = gate.send(method, target, Some(("oidc", token)), "", "").await.status;
    let bearer = gate
        .send(method, target, None, &format!("Authorization: Bearer {token}\r\n"), "")
        .await
        .status;
    assert_eq!(basic, bearer, "the same secret, however it is presented: {method} {target}");
    basic
}

/// A token works as Bearer and as a password, and no other provider sees it. 404 and 202 are the
/// registry's own answers, so the request reached it.
#[tokio::test]
async fn a_workload_token_works_as_bearer_and_password_and_gitlab_never_sees_it() {
    let issuer = issuer();
    let gate = gate(&issuer, Vec::new()).await;
    let good = token(&issuer, json!({}));
    assert_eq!(status(&gate, "GET", "/v2/", &good).await, 200);
    assert_eq!(status(&gate, "GET", PULL, &good).await, 404);
    assert_eq!(status(&gate, "POST", PUSH, &good).await, 202);
    let stranger = token(&issuer, json!({ "namespace_id": "43" }));
    assert_eq!(status(&gate, "GET", "/v2/", &stranger).await, 401, "of a stranger's project");
    assert_eq!(gate.gitlab.ledger().count(), 0);
    let fetches = issuer.ledger().entries();
    assert_eq!(fetches.len(), 1, "the keys, once");
    assert!(fetches[0].authorization.is_empty());
}

#[tokio::test]
async fn forged_tokens_are_401_and_nothing_is_fetched_for_them() {
    let issuer = issuer();
    // All stand-ins start with the same key, so both issuers rotate theirs.
    issuer.rotate_to_es256().unwrap();
    let gate = gate(&issuer, Vec::new()).await;
    assert_eq!(status(&gate, "GET", "/v2/", &token(&issuer, json!({}))).await, 200);
    let elsewhere = OidcIssuer::start(listener()).unwrap();
    elsewhere.ledger().keep();
    elsewhere.rotate_to_es256().unwrap();
    let good = json!({
        "iss": issuer.url(), "aud": AUDIENCE, "sub": "x", "namespace_id": "42",
        "exp": 4_000_000_000_u64,
    });
    let kid = issuer.kid();
    let header = |members: Value| {
        let mut header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
        header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        header.to_string()
    };
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims.to_string()
    };
    let mut tokens = vec![
        elsewhere.sign_raw(&header(json!({})), &good.to_string()).unwrap(),
        elsewhere
            .sign_raw(
                &header(json!({ "jku": elsewhere.jwks_url(), "kid": elsewhere.kid() })),
                &good.to_string(),
            )
            .unwrap(),
        elsewhere
            .sign_raw(&header(json!({ "x5u": elsewhere.jwks_url() })), &good.to_string())
            .unwrap(),
    ];
    for members in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256" }),
        json!({ "crit": ["exp"] }),
        json!({ "b64": false }),
        json!({ "kid": "../../etc/passwd" }),
    ] {
        tokens.push(issuer.sign_raw(&header(members), &good.to_string()).unwrap());
    }
    for (name, value) in [
        ("exp", json!("4000000000")),
        ("exp", json!(1)),
        ("aud", json!([AUDIENCE, "other"])),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("namespace_id", json!(43)),
        ("namespace_id", json!(["42"])),
        ("namespace_id", json!({ "42": "42" })),
    ] {
        tokens.push(issuer.sign_raw(&header(json!({})), &with(name, value)).unwrap());
    }
    tokens.push(tokens[0].rsplit_once('.').map(|(signed, _)| format!("{signed}.")).unwrap());
    let twice = good.to_string().replacen('{', "{\"namespace_id\":\"43\",", 1);
    tokens.push(issuer.sign_raw(&header(json!({})), &twice).unwrap());
    for token in &tokens {
        assert_eq!(status(&gate, "GET", PULL, token).await, 401, "{token}");
    }
    // The same header and claims without a flaw are accepted.
    let right = issuer.sign_raw(&header(json!({})), &good.to_string()).unwrap();
    assert_eq!(status(&gate, "GET", PULL, &right).await, 404);
    assert_eq!(gate.forwarded(), 2);
    assert_eq!(elsewhere.ledger().count(), 0);
    assert!(issuer.ledger().count() <= 2, "one more for the unknown kids, of which there are two");
}

#[tokio::test]
async fn a_new_key_works_at_once() {
    let issuer = issuer();
    let gate = gate(&issuer, Vec::new()).await;
    let old = token(&issuer, json!({}));
    assert_eq!(status(&gate, "GET", PULL, &old).await, 404);
    issuer.rotate_to_es256().unwrap();
    assert_eq!(status(&gate, "GET", PULL, &token(&issuer, json!({}))).await, 404);
    assert_eq!(issuer.ledger().count(), 2);
    // The old key stays valid, because it is still in the key set.
    assert_eq!(status(&gate, "GET", PULL, &token(&issuer, json!({ "sub": "another" }))).await, 404);
    assert_eq!(status(&gate, "GET", PULL, &old).await, 404);
    assert_eq!(issuer.ledger().count(), 2);
}

#[tokio::test]
async fn tokens_with_a_known_key_work_while_the_issuer_is_down() {
    let issuer = issuer();
    let gate = gate(&issuer, vec!["ttl: 1ms"]).await;
    assert_eq!(status(&gate, "GET", PULL, &token(&issuer, json!({}))).await, 404);
    issuer.always(Some(Scripted::Close));
    for number in 0..5 {
        let fresh = token(&issuer, json!({ "sub": format!("job {number}") }));
        assert_eq!(status(&gate, "POST", PUSH, &fresh).await, 202);
    }
    // While the issuer is down, the gate cannot tell whether a key is new. The answer is 503, and
    // tokens with a known key are not affected.
    issuer.rotate().unwrap();
    for number in 0..5 {
        let unknown = token(&issuer, json!({ "sub": format!("new {number}") }));
        assert_eq!(status(&gate, "GET", PULL, &unknown).await, 503);
    }
}

#[tokio::test]
async fn a_gate_starts_without_its_issuer() {
    let issuer = issuer();
    let html = Scripted::Answer {
        status: StatusCode::OK,
        headers: vec![(header::CONTENT_TYPE, "text/html".to_owned())],
        body: "<html>Back soon</html>".to_owned(),
    };
    issuer.script([html]);
    let gate = gate(&issuer, Vec::new()).await;
    issuer.ledger().wait_until(|fetches| !fetches.is_empty()).await;
    let good = token(&issuer, json!({}));
    // The first question may arrive while the failed fetch is ending. Otherwise it makes the gate
    // fetch the keys again.
    let begun = Instant::now();
    while gate.get(PULL, Some(("oidc", &good))).await.status != 404 {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(issuer.ledger().count(), 2);
}

/// Until the gate has the keys, a token is neither accepted nor rejected.
#[tokio::test]
async fn a_token_is_503_until_the_keys_of_its_issuer_are_fetched() {
    let issuer = issuer();
    issuer.always(Some(super::answer(503, "")));
    let gate = gate(&issuer, Vec::new()).await;
    let reply = gate.get(PULL, Some(("oidc", &token(&issuer, json!({}))))).await;
    assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"));
    assert!(reply.header("retry-after").is_some());
    assert!(
        gate.admin("/metrics")
            .await
            .body
            .contains("moorgate_provider_up{provider=\"workloads\"} 0")
    );
    // A token that can be rejected without a key is rejected.
    assert_eq!(
        status(&gate, "GET", PULL, &token(&issuer, json!({ "namespace_id": "43" }))).await,
        401
    );
    assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
}

/// A key that the issuer removed is invalid once the keys are fetched again, also for tokens signed
/// before its removal, and an outage does not make it valid again.
#[tokio::test]
async fn a_token_with_a_retired_key_is_refused() {
    let issuer = issuer();
    let gate = gate(&issuer, vec!["ttl: 1ms", "negative_ttl: 1ms", "stale_if_error: 10m"]).await;
    let old = token(&issuer, json!({}));
    assert_eq!(status(&gate, "GET", PULL, &old).await, 404);
    issuer.rotate_to_es256().unwrap();
    issuer.retire_old_keys();
    assert_eq!(
        status(&gate, "GET", PULL, &token(&issuer, json!({}))).await,
        404,
        "its key is fetched"
    );
    assert_eq!(status(&gate, "GET", PULL, &old).await, 401);
    issuer.always(Some(Scripted::Close));
    assert_eq!(status(&gate, "GET", PULL, &old).await, 401);
    assert_eq!(
        issuer.ledger().count(),
        2,
        "at the start, and for the new key; for unknown ones once in ten seconds"
    );
}

/// A gate token's lifetime ends with that of its credential and says so, because some clients go by
/// the clock alone.
#[tokio::test]
async fn a_gate_token_expires_with_its_credential() {
    let issuer = issuer();
    let gate = gate(&issuer, Vec::new()).await;
    for (left, least, most) in [(7200, 3600, 3600), (600, 500, 600), (20, 10, 20)] {
        let ends = unix_now() + left;
        let presented = token(&issuer, json!({ "exp": ends }));
        let reply =
            gate.get("/token?scope=repository:demo/a:pull", Some(("oidc", &presented))).await;
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        let expires_in = answer["expires_in"].as_u64().unwrap();
        assert!((least..=most).contains(&expires_in), "{left}: {expires_in}");
    }
}

/// A pasted token with extra text around it is not a valid token of the issuer, and it is not shown
/// to any other provider either.
#[tokio::test]
async fn a_pasted_token_with_extra_text_is_refused_and_shown_to_no_provider() {
    let issuer = issuer();
    let gate = gate(&issuer, Vec::new()).await;
    let good = token(&issuer, json!({}));
    for (user, password) in [
        ("oidc", format!(" {good}")),
        ("oidc", format!("{good} ")),
        ("oidc", format!("\"{good}\"")),
        ("oidc", format!("'{good}'")),
        ("oidc", format!("Bearer {good}")),
        ("oidc", format!("bearer  {good}")),
        ("oidc", format!("Authorization: Bearer {good}")),
        ("oidc", format!("token={good}")),
        ("oidc", format!("\u{a0}{good}")),
        ("oidc", format!("{}== ", good)),
        ("oidc", format!("{} {}", &good[..40], &good[40..])),
        ("oidc", good.rsplit_once('.').unwrap().0.to_owned()),
        (&*good, "x".to_owned()),
    ] {
        let reply = gate.get(PULL, Some((user, &password))).await;
        assert_eq!((reply.status, &*reply.code()), (401, "UNAUTHORIZED"), "{password}");
        assert!(reply.body.contains("send the token alone"), "{reply:?}");
        assert_eq!(gate.get("/token", Some((user, &password))).await.status, 401, "{password}");
    }
    let bearer = format!("Authorization: Bearer {good}==\r\n");
    assert_eq!(gate.send("GET", PULL, None, &bearer, "").await.status, 401);
    assert_eq!(gate.gitlab.ledger().count(), 0, "GitLab was shown one");
    let log = gate.log(26).await;
    assert!(log.iter().take(26).all(|line| line["reason"] == "malformed_credential"), "{log:?}");
    assert_eq!(gate.get(PULL, Some(("oidc", &good))).await.status, 404, "the token alone");
    // GitLab's job tokens are JWTs of the same issuer behind a prefix, and they are not ID tokens.
    assert_eq!(
        gate.get(PULL, Some(("gitlab-ci-token", &format!("glcbt-64_{good}")))).await.status,
        401
    );
    assert_eq!(gate.gitlab.ledger().count(), 1);
}

/// Odd key sets are not an outage: GitHub Enterprise Server lists a key twice, and other issuers
/// list it once for each `alg`. The `typ` of RFC 9068 is accepted too.
#[tokio::test]
async fn unusual_key_sets_of_an_issuer_are_accepted() {
    let issuer = issuer();
    let keys: Value = serde_json::from_str(&issuer.jwks()).unwrap();
    let key = &keys["keys"][0];
    let with = |members: Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        key
    };
    for listed in [
        json!([key, key]),
        json!([
            with(json!({ "alg": "RS256" })),
            with(json!({ "alg": "RS384" })),
            with(json!({ "alg": "PS256" }))
        ]),
        json!([with(json!({ "alg": ["RS256", "RS384"] }))]),
        json!([with(json!({ "use": "enc" })), key]),
        json!([5, "x", null, { "kid": key["kid"] }, { "kty": "EC", "kid": 7 }, key]),
    ] {
        issuer.set_jwks(json!({ "keys": listed }).to_string());
        let gate = gate(&issuer, Vec::new()).await;
        let good = token(&issuer, json!({}));
        assert_eq!(status(&gate, "GET", PULL, &good).await, 404, "{listed}");
        let claims = json!({
            "iss": issuer.url(), "aud": AUDIENCE, "sub": "x", "namespace_id": "42",
            "exp": 4_000_000_000_u64,
        });
        for (typ, expected) in [
            ("application/at+jwt", 404),
            ("Application/AT+JWT", 404),
            ("at+jwt", 404),
            ("x+jwt", 401),
        ] {
            let header = json!({ "alg": "RS256", "typ": typ, "kid": issuer.kid() });
            let made = issuer.sign_raw(&header.to_string(), &claims.to_string()).unwrap();
            assert_eq!(status(&gate, "GET", PULL, &made).await, expected, "{typ}");
        }
    }
}
