//! Tokens of an RFC 7662 server, through the whole gate.

use std::time::{Instant, SystemTime};

use http::{StatusCode, header};
use moorgate::demo::Scripted;
use moorgate::demo::introspection::{CLIENT_ID, CLIENT_SECRET, Introspection, SampleToken};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::harness::{PATIENCE, Setup, TestGate, listener};

const READ_WRITE: &str = "sso-demo-read-write";
const READ_ONLY: &str = "sso-demo-read-only";

const PULL: &str = "/v2/demo/a/tags/list";
const PUSH: &str = "/v2/demo/a/blobs/uploads/";

/// Starts a gate whose only provider is a stand-in, with these config keys in addition to the
/// required ones.
async fn gate(more: &str) -> (TestGate, Introspection) {
    gate_with(more, Vec::new()).await
}

/// Does the same as [`gate`], with these lines of `cache`.
async fn gate_with(more: &str, cache: Vec<&'static str>) -> (TestGate, Introspection) {
    let sso = Introspection::start(listener()).unwrap();
    sso.ledger().keep();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret{more} }}",
        sso.url()
    );
    let files = vec![("sso.secret", CLIENT_SECRET)];
    // With this challenge, missing rights are 403 for Basic and for Bearer.
    let tokens = vec!["challenge: basic"];
    (
        TestGate::start(Setup {
            identity: Some(identity.leak()),
            files,
            cache,
            tokens,
            ..Setup::default()
        })
        .await,
        sso,
    )
}

async fn status(gate: &TestGate, method: &str, target: &str, token: &str) -> u16 {
    let basic = gate.send(method, target, Some(("anybody", token)), "", "").await.status;
    let bearer = gate
        .send(method, target, None, &format!("Authorization: Bearer {token}\r\n"), "")
        .await
        .status;
    assert_eq!(
        basic, bearer,
        "the same secret, however it is presented: {method} {target} {token}"
    );
    basic
}

/// A token has the access of its scopes, whether it is presented as Basic or as Bearer. 404 and 202
/// are the registry's own answers, so the request reached it.
#[tokio::test]
async fn a_token_has_the_access_of_its_scopes_as_basic_and_as_bearer() {
    let (gate, sso) = gate("").await;
    for (token, login, pull, push) in [
        (READ_WRITE, 200, 404, 202),
        (READ_ONLY, 200, 404, 403),
        ("sso-demo-no-scope", 200, 403, 403),
        ("sso-demo-expired", 401, 401, 401),
        ("sso-demo-revoked", 401, 401, 401),
        ("sso-unknown", 401, 401, 401),
    ] {
        assert_eq!(status(&gate, "GET", "/v2/", token).await, login, "{token}");
        assert_eq!(status(&gate, "GET", PULL, token).await, pull, "{token}");
        assert_eq!(status(&gate, "POST", PUSH, token).await, push, "{token}");
    }
    // The server is asked once for each token and way to present it, for all kinds of request.
    assert_eq!(status(&gate, "GET", "/v2/demo/b/tags/list", READ_WRITE).await, 404);
    assert_eq!(sso.ledger().count(), 12);
    for question in sso.ledger().entries() {
        assert_eq!(question.client_id.as_deref(), Some(CLIENT_ID));
        assert_eq!(question.client_secret.as_ref().unwrap().expose_secret(), CLIENT_SECRET);
        assert_eq!(question.token_type_hint.as_deref(), Some("access_token"));
        assert!(question.request_id.is_some());
    }
}

#[tokio::test]
async fn an_invalid_introspection_answer_is_503_and_affects_no_other_token() {
    let yes = r#"{"active": true, "sub": "mallory", "scope": "read_registry write_registry"}"#;
    let answer = |status: u16, body: &str| Scripted::Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
        body: body.to_owned(),
    };
    let elsewhere = listener();
    let redirect = format!("http://{}/", elsewhere.local_addr().unwrap());
    let deep = yes.replace(
        "\"mallory\"",
        &format!("\"mallory\", \"x\": {}{}", "[".repeat(500), "]".repeat(500)),
    );
    for scripted in [
        answer(200, "<html>Sign in</html>"),
        answer(200, ""),
        answer(200, &yes.replace("true", "\"true\"")),
        answer(200, &yes.replace("true", "1")),
        answer(200, &yes.replace("\"active\": true, ", "")),
        answer(200, &yes.replace("\"active\": true", "\"active\": false, \"active\": true")),
        answer(200, &yes.replace("\"sub\": \"mallory\", ", "")),
        answer(200, &deep),
        answer(200, &format!("{yes}{}", " ".repeat(64 * 1024 + 1 - yes.len()))),
        answer(200, &format!("{yes}{}", " ".repeat(10_000_000))),
        answer(201, yes),
        answer(500, yes),
        answer(401, yes),
        answer(404, yes),
        answer(429, yes),
        Scripted::Redirect(redirect),
        Scripted::Close,
    ] {
        // Each case has its own gate, because the rest of a question after a failure is not under
        // test here.
        let (gate, sso) = gate("").await;
        sso.script([scripted.clone()]);
        let reply = gate.get(PULL, Some(("mallory", "sso-unknown"))).await;
        assert_eq!(reply.status, 503, "{scripted:?}");
        assert!(reply.header("retry-after").is_some(), "{scripted:?}");
        assert_eq!(gate.forwarded(), 0, "{scripted:?}");
        assert_eq!(gate.get(PULL, Some(("anybody", READ_WRITE))).await.status, 404, "{scripted:?}");
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "a redirect is not followed");
}

#[tokio::test]
async fn a_token_for_another_audience_or_user_is_refused() {
    // The stand-in's tokens are for the audience `moorgate` and the user dana.
    let (for_others, _sso) = gate(", audience: other").await;
    assert_eq!(for_others.get(PULL, Some(("dana", READ_WRITE))).await.status, 401);
    let (matching, _sso) = gate(", audience: moorgate, match_username: true").await;
    assert_eq!(matching.get(PULL, Some(("dana", READ_WRITE))).await.status, 404);
    assert_eq!(matching.get(PULL, Some(("erin", READ_WRITE))).await.status, 401);
    assert_eq!(matching.get(PULL, Some(("erin", READ_ONLY))).await.status, 404);
}

/// A refresh token or ID token is not a valid credential. That result is not cached: the next
/// answer counts.
#[tokio::test]
async fn a_refresh_or_id_token_is_401_and_the_result_is_not_cached() {
    let (gate, sso) = gate("").await;
    let of_kind = |token_use: &str| {
        super::answer(
            200,
            format!(
                "{{\"active\":true,\"sub\":\"dana\",\"scope\":\"read_registry\",\
                 \"token_use\":\"{token_use}\"}}"
            ),
        )
    };
    sso.script([of_kind("refresh_token"), of_kind("id"), of_kind("access")]);
    let mut found = Vec::new();
    for _ in 0..4 {
        found.push(gate.get(PULL, Some(("dana", "sso-of-some-kind"))).await.status);
    }
    assert_eq!((found, sso.ledger().count()), (vec![401, 401, 404, 404], 3));
}

#[tokio::test]
async fn a_revoked_token_lives_no_longer_than_the_ttl() {
    let (gate, sso) = gate_with("", vec!["ttl: 300ms"]).await;
    assert_eq!(gate.get(PULL, Some(("dana", READ_WRITE))).await.status, 404);
    assert!(sso.revoke(READ_WRITE));
    let begun = Instant::now();
    while gate.get(PULL, Some(("dana", READ_WRITE))).await.status == 404 {
        assert!(begun.elapsed() < PATIENCE, "it lives on");
    }
    assert_eq!(sso.ledger().count(), 2);
    // An outage does not make the revoked token valid again.
    sso.always(Some(Scripted::Close));
    assert_eq!(gate.get(PULL, Some(("dana", READ_WRITE))).await.status, 401);
}

/// Access that a rule gives to a group ends with the membership, once the provider is asked again
/// (class 16).
#[tokio::test]
async fn a_group_membership_that_ended_counts_no_longer_than_the_ttl() {
    let sso = Introspection::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret, \
         groups_claim: groups }}",
        sso.url()
    );
    let gate = TestGate::start(Setup {
        identity: Some(identity.leak()),
        files: vec![("sso.secret", CLIENT_SECRET)],
        cache: vec!["ttl: 300ms"],
        policy: vec![
            "rules:",
            "  - { name: ops, repositories: [\"**\"], who: [\"group:sso/ops\"], allow: [pull] }",
        ],
        ..Setup::default()
    });
    let gate = gate.await;
    let said = |group: &str| {
        let reply =
            json!({ "active": true, "sub": "dana", "scope": "read_registry", "groups": [group] });
        super::answer(200, reply.to_string())
    };
    sso.always(Some(said("ops")));
    assert_eq!(gate.get(PULL, Some(("dana", "sso-of-dana"))).await.status, 404);
    sso.always(Some(said("opsx")));
    let begun = Instant::now();
    while gate.get(PULL, Some(("dana", "sso-of-dana"))).await.status == 404 {
        assert!(begun.elapsed() < PATIENCE, "the group counts on");
    }
    // In an outage, the latest answer is the one that is used.
    sso.always(Some(Scripted::Close));
    assert_eq!(gate.get(PULL, Some(("dana", "sso-of-dana"))).await.status, 403);
}

/// The expiry of the credential is also checked by the wall clock, and it ends stale answers as
/// well.
#[tokio::test]
async fn a_token_is_not_accepted_after_its_exp() {
    let (gate, sso) = gate("").await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "scope": "read_registry", "exp": now + 2 });
    sso.add(SampleToken { token: "sso-short".into(), claims, revoked: false, note: "" });
    assert_eq!(gate.get(PULL, Some(("dana", "sso-short"))).await.status, 404);
    sso.always(Some(Scripted::Close));
    let begun = Instant::now();
    while gate.get(PULL, Some(("dana", "sso-short"))).await.status == 404 {
        assert!(begun.elapsed() < PATIENCE, "it lives on");
    }
    let ended = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(ended >= now + 2, "it ended before its time");
    assert_eq!(gate.log(1).await[0]["cache"], "miss");
}

/// One odd member of a reply is not an outage, and it adds no access that the server did not state.
#[tokio::test]
async fn unusual_members_of_an_introspection_reply_add_no_access() {
    let sso = Introspection::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret }}",
        sso.url()
    );
    let rules = vec![
        "rules:",
        "  - { name: users, repositories: [\"demo/a\"], who: [\"user:sso/ci\", \"user:sso/dana\"], \
         allow: [pull] }",
        "  - { name: clients, repositories: [\"demo/b\"], who: [\"user:sso/client:ci\"], \
         allow: [pull] }",
    ];
    let files = vec![("sso.secret", CLIENT_SECRET)];
    let gate = TestGate::start(Setup {
        identity: Some(identity.leak()),
        files,
        policy: rules,
        ..Setup::default()
    })
    .await;
    for (number, (members, demo_a, demo_b)) in [
        (json!({ "sub": "dana", "scope": "read_registry", "exp": 0 }), 404, 403),
        (json!({ "sub": "dana", "scope": ["read_registry"] }), 404, 403),
        (json!({ "sub": "dana", "scope": ["read_registry", 5, null] }), 404, 403),
        (json!({ "sub": "dana", "scope": ["read_registry write_registry"] }), 403, 403),
        (json!({ "sub": "", "client_id": "ci", "scope": "read_registry" }), 403, 404),
        (json!({ "client_id": "ci", "scope": "read_registry" }), 403, 404),
        (
            json!({ "sub": "", "username": "", "client_id": "ci", "scope": "read_registry" }),
            403,
            404,
        ),
        (json!({ "sub": "ci", "scope": "read_registry" }), 404, 403),
        (json!({ "sub": "client:ci", "scope": "read_registry" }), 401, 401),
        (json!({ "sub": "client:ci", "client_id": "ci", "scope": "read_registry" }), 403, 404),
        (
            json!({ "sub": "dana", "scope": "read_registry", "groups": ["x", 5], "aud": 7 }),
            404,
            403,
        ),
        (json!({ "sub": ["dana"], "scope": "read_registry" }), 503, 503),
        // GitLab's own scope words have a meaning only if the config maps them.
        (json!({ "sub": "dana", "scope": "api" }), 403, 403),
        (json!({ "sub": "dana", "scope": "read_api" }), 403, 403),
    ]
    .into_iter()
    .enumerate()
    {
        let mut reply = json!({ "active": true });
        reply.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let token = format!("sso-odd-{number}");
        sso.always(Some(super::answer(200, reply.to_string())));
        for (target, status) in [("/v2/demo/a/tags/list", demo_a), ("/v2/demo/b/tags/list", demo_b)]
        {
            assert_eq!(
                gate.get(target, Some(("any", &token))).await.status,
                status,
                "{members} {target}"
            );
        }
    }
}
