//! Tests of the questions to the endpoint and of the verdict for each of its answers.

use std::time::Duration;

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::provider::test_server::{Answer, TestServer};
use crate::registry::Access;

fn provider(server: &TestServer, timeout: Duration) -> Introspection {
    let expected =
        Expected { groups_claim: Some("groups".parse().unwrap()), ..Expected::default() };
    let (client, secret) = (TestServer::client(timeout), SecretString::from("s:ecret%canary"));
    let id = "moor gate:1".to_owned();
    Introspection::new("sso".into(), server.url.clone(), id, &secret, expected, client).unwrap()
}

fn question(credential: Credential) -> Question {
    let client = Ipv4Addr::LOCALHOST.into();
    Question::new(
        &HashKey::random().unwrap(),
        credential,
        Access::Login,
        client,
        "request-1".into(),
    )
}

fn bearer(token: &str) -> Question {
    question(Credential::Bearer(SecretString::from(token)))
}

fn basic_of(user: &str, token: &str) -> Question {
    question(Credential::Basic { user: user.to_owned(), password: SecretString::from(token) })
}

/// Returns the verdict about a token if the endpoint answers like this.
async fn answered(answer: Answer) -> Verdict {
    let server = TestServer::start(answer).await;
    let verdict = provider(&server, Duration::from_secs(10)).ask(&bearer("token")).await;
    assert_eq!(server.requests().len(), 1);
    verdict
}

#[tokio::test]
async fn the_gate_sends_the_form_of_the_introspection_rfc() {
    let server = TestServer::start(Answer::ok(r#"{"active": false}"#)).await;
    let sso = provider(&server, Duration::from_secs(10));
    assert_eq!(sso.ask(&basic_of("alice", "a+b&c=d e/%ü")).await, Verdict::NotMine);
    assert_eq!(sso.ask(&bearer("sso-1")).await, Verdict::NotMine);
    let requests = server.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "token=a%2Bb%26c%3Dd+e%2F%25%C3%BC&token_type_hint=access_token");
    assert!(head.starts_with("POST /path HTTP/1.1\r\n"), "{head}");
    let authorization = BASE64_STANDARD.encode("moor+gate%3A1:s%3Aecret%25canary");
    for line in [
        format!("authorization: Basic {authorization}"),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        "accept: application/json".to_owned(),
        "x-request-id: request-1".to_owned(),
        format!("user-agent: moorgate/{}", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(head.lines().filter(|other| **other == line).count(), 1, "{line}\n{head}");
    }
    assert!(
        requests[1].ends_with("\r\n\r\ntoken=sso-1&token_type_hint=access_token"),
        "{}",
        requests[1]
    );
}

#[tokio::test]
async fn an_active_token_gives_the_subject_scopes_groups_and_expiry() {
    let end = 4_000_000_000_u64;
    let reply = json!({
        "active": true,
        "sub": "alice",
        "scope": "read_registry",
        "groups": ["ci"],
        "exp": end,
    });
    let Verdict::Verified(verified, lifetime) = answered(Answer::ok(&reply.to_string())).await
    else {
        panic!()
    };
    assert_eq!(
        (&*verified.principal.subject, &*verified.principal.source.provider),
        ("alice", "sso")
    );
    assert_eq!(verified.granted, Granted::Scopes(["read_registry"].iter().collect()));
    assert_eq!(verified.attributes.as_ref().unwrap().groups, ["ci"]);
    assert_eq!(lifetime, Lifetime { answer: None, credential: Some(end) });
}

#[tokio::test]
async fn callers_with_the_same_scopes_share_the_list() {
    let server = TestServer::start(Answer::ok(
        r#"{"active": true, "sub": "alice", "scope": "read_registry"}"#,
    ))
    .await;
    let sso = provider(&server, Duration::from_secs(10));
    let mut lists = Vec::new();
    for question in [bearer("one"), basic_of("alice", "two")] {
        let Verdict::Verified(verified, _) = sso.ask(&question).await else { panic!() };
        assert!(verified.attributes.is_none());
        let Granted::Scopes(scopes) = &verified.granted else { panic!() };
        lists.push(scopes.clone());
    }
    assert!(lists[0].is_same(&lists[1]));
}

#[tokio::test]
async fn the_user_name_counts_where_the_config_says_so() {
    let reply = r#"{"active": true, "sub": "1", "username": "alice"}"#;
    let server = TestServer::start(Answer::ok(reply)).await;
    let mut sso = provider(&server, Duration::from_secs(10));
    assert!(matches!(sso.ask(&basic_of("bob", "token")).await, Verdict::Verified(..)));
    sso.expected.match_username = true;
    assert_eq!(sso.ask(&basic_of("bob", "token")).await, Verdict::NotMine);
    assert!(matches!(sso.ask(&basic_of("alice", "token")).await, Verdict::Verified(..)));
    assert!(matches!(sso.ask(&bearer("token")).await, Verdict::Verified(..)));
}

#[tokio::test]
async fn a_token_that_is_not_an_access_token_is_unfit() {
    let reply = r#"{"active": true, "sub": "alice", "token_use": "refresh_token"}"#;
    assert_eq!(answered(Answer::ok(reply)).await, Verdict::Unfit);
}

#[tokio::test]
async fn an_unusable_answer_makes_the_provider_unavailable() {
    let yes = r#"{"active": true, "sub": "alice"}"#;
    let elsewhere = TestServer::start(Answer::ok(yes)).await;
    let large = format!(r#"{{"active": true, "sub": "alice", "x": "{}"}}"#, "x".repeat(64 * 1024));
    let ten_megabytes =
        format!(r#"{{"active": true, "sub": "alice", "x": "{}"}}"#, "x".repeat(10_000_000));
    let deep = format!(
        r#"{{"active": true, "sub": "alice", "x": {}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    for answer in [
        Answer::new(200, "content-type: text/html\r\n", "<html>Sign in</html>"),
        Answer::new(302, &format!("location: {}\r\n", elsewhere.url), yes),
        Answer::new(307, &format!("location: {}\r\n", elsewhere.url), yes),
        Answer::new(201, "", yes),
        Answer::new(204, "", ""),
        Answer::new(500, "", yes),
        Answer::new(503, "retry-after: 1\r\n", ""),
        Answer::ok(""),
        Answer::ok(r#"{"active": "true", "sub": "alice"}"#),
        Answer::ok(r#"{"active": 1, "sub": "alice"}"#),
        Answer::ok(r#"{"sub": "alice"}"#),
        Answer::ok(r#"{"active": false, "active": true, "sub": "alice"}"#),
        Answer::ok(r#"{"active": true}"#),
        Answer::ok(r#"{"active": true, "sub": ""}"#),
        Answer::ok(r#"{"active": true, "sub": "alice", "exp": "tomorrow"}"#),
        Answer::ok(&large),
        Answer::ok(&ten_megabytes),
        Answer::ok(&deep),
        Answer::Say("nonsense".to_owned()),
        Answer::Say("HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{\"active\": true".to_owned()),
    ] {
        assert_eq!(answered(answer).await, Verdict::Unavailable);
    }
    assert!(elsewhere.requests().is_empty(), "a redirect is not followed");
}

/// The status alone decides, even if the body is incomplete.
#[tokio::test]
async fn an_error_status_counts_even_if_the_body_is_incomplete() {
    for status in [400, 401, 403, 404, 429] {
        for body in [
            "content-length: 500\r\n\r\nxyz",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense",
        ] {
            let verdict = answered(Answer::Say(format!("HTTP/1.1 {status} x\r\n{body}"))).await;
            assert!(matches!(verdict, Verdict::NotNow(..)), "{status} {body:?}: {verdict:?}");
        }
        let large = Answer::new(status, "", &"x".repeat(100_000));
        assert!(matches!(answered(large).await, Verdict::NotNow(..)), "{status}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_the_question_does_not_count_as_down() {
    for status in [400, 401, 403, 404, 405] {
        let verdict =
            answered(Answer::new(status, "", r#"{"active": true, "sub": "alice"}"#)).await;
        assert!(
            matches!(verdict, Verdict::NotNow(NotNow::Misconfigured, _)),
            "{status}: {verdict:?}"
        );
    }
    let busy = |headers: &'static str| async move { answered(Answer::new(429, headers, "")).await };
    for (headers, seconds) in [
        ("retry-after: 17\r\n", 17),
        ("", 5),
        ("retry-after: soon\r\n", 5),
        ("retry-after: 99999\r\n", 3600),
    ] {
        assert_eq!(
            busy(headers).await,
            Verdict::NotNow(NotNow::Busy, Duration::from_secs(seconds))
        );
    }
}

#[tokio::test]
async fn a_silent_endpoint_is_unavailable_after_the_timeout() {
    let server = TestServer::start(Answer::Hang).await;
    assert_eq!(
        provider(&server, Duration::from_millis(50)).ask(&bearer("token")).await,
        Verdict::Unavailable
    );
}

#[tokio::test]
async fn anonymous_callers_are_not_asked_about() {
    let server = TestServer::start(Answer::Hang).await;
    let sso = provider(&server, Duration::from_secs(10));
    assert_eq!(sso.ask(&question(Credential::Anonymous)).await, Verdict::NotMine);
    assert!(server.requests().is_empty());
}
