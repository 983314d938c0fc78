//! Class 15: the gate refuses a malformed credential before it asks any provider.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;

use super::{assert_refusal, head, http2, http2_request, status, talk};
use crate::harness::{READ_WRITE, TestGate, basic, exchange};

/// Returns values of `Authorization` that are not valid credentials.
fn malformed() -> Vec<String> {
    let basic = |plain: &[u8]| format!("Basic {}", BASE64_STANDARD.encode(plain));
    let good = basic(b"alice:glpat-demo-personal-read-write");
    let mut values = vec![
        basic(b"no colon"),
        basic(b""),
        basic(b"alice:"),
        basic(b"alice:\xff\xfe"),
        basic(b"\xc3:x"),
        basic(b"alice:a\0b"),
        basic(b"a\0:b"),
        basic(b"alice:a\r\nb"),
        basic("alice:\u{85}x".as_bytes()),
        format!("{good}="),
        format!("{good}!"),
        format!("{good} x"),
        format!("{good},{good}"),
        format!("{good}, Bearer x"),
        good.trim_end_matches('=').replace("Basic ", "Basic  =").to_owned(),
        good.replace("Basic ", "Basic"),
        good.replace("Basic ", "Basic:"),
        "glpat-demo-personal-read-write".to_owned(),
    ];
    values.extend(
        [
            "",
            "Basic",
            "Basic ",
            "Basic !!!!",
            "Basic YWxpY2U6eA",
            "Basic YWxpY2U6eB==",
            "Bearer",
            "Bearer ",
            "Bearer a b",
        ]
        .map(str::to_owned),
    );
    values.extend(
        ["Bearer a,b", "Bearer \"x\"", "Bearer =", "Digest x", "Negotiate YQ==", "Token x"]
            .map(str::to_owned),
    );
    values
}

#[tokio::test]
async fn a_malformed_credential_is_refused_and_no_provider_is_asked() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    for value in malformed() {
        for target in ["/v2/", "/v2/demo/a/manifests/v1"] {
            let reply =
                gate.send("GET", target, None, &format!("Authorization: {value}\r\n"), "").await;
            assert_refusal(&reply, 401, "UNAUTHORIZED", &value);
            let mut request = http2_request("GET", target, None);
            request.headers_mut().insert("authorization", value.parse().unwrap());
            // HTTP/2 does not allow whitespace around a field value.
            let padded = value.trim() != value;
            let (status, code) = if padded { (400, "UNSUPPORTED") } else { (401, "UNAUTHORIZED") };
            assert_refusal(
                &http2(&sender, request, None::<&str>).await.unwrap(),
                status,
                code,
                &value,
            );
        }
    }
    for gate in [&gate, &tls] {
        assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
    }
}

/// The empty Basic credential means an anonymous caller. The gate does not ask a provider about it.
#[tokio::test]
async fn no_provider_is_asked_about_the_empty_basic_credential() {
    let gate = TestGate::plain().await;
    let reply = gate.send("GET", "/v2/", None, "Authorization: Basic Og==\r\n", "").await;
    assert_refusal(&reply, 401, "UNAUTHORIZED", "Basic Og==");
    assert_eq!(gate.gitlab.ledger().count(), 0);
}

#[tokio::test]
async fn a_request_with_two_credentials_is_refused() {
    let gate = TestGate::plain().await;
    for second in [basic(READ_WRITE), "Bearer x".to_owned(), String::new(), "Basic Og==".to_owned()]
    {
        for name in ["Authorization", "authorization"] {
            let lines = format!("{name}: {second}\r\n");
            let reply =
                gate.send("GET", "/v2/demo/a/manifests/v1", Some(READ_WRITE), &lines, "").await;
            assert_refusal(&reply, 400, "UNSUPPORTED", &second);
        }
    }
    assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
}

#[tokio::test]
async fn a_credential_of_one_mebibyte_is_refused() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    for scheme in ["Basic", "Bearer"] {
        let line = format!("Authorization: {scheme} {}", "YTpi".repeat(256 * 1024));
        let (answer, _) =
            talk(&gate, head(&["GET /v2/ HTTP/1.1", "Host: registry.test", &line]).into_bytes())
                .await;
        assert_eq!(status(&answer), Some(431), "{answer}");

        let sender = tls.http2().await;
        let mut request = http2_request("GET", "/v2/", None);
        request
            .headers_mut()
            .insert("authorization", line["Authorization: ".len()..].parse().unwrap());
        // The gate answers with 431 or ends the connection; in both cases it asks no provider.
        let refused = http2(&sender, request, None::<&str>).await;
        assert!(refused.as_ref().map_or(true, |reply| reply.status == 431), "{refused:?}");
    }
    for gate in [&gate, &tls] {
        assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
    }
}

/// The gate asks GitLab about an opaque bearer token under the one user name with which GitLab
/// accepts both personal and job tokens.
#[tokio::test]
async fn an_opaque_bearer_token_works_and_is_asked_about_as_the_ci_user() {
    let gate = TestGate::plain().await;
    let mut stream = gate.connect().await;
    for (number, token) in
        ["glpat-demo-personal-read-write", "glcbt-demo-job-read-write"].into_iter().enumerate()
    {
        for scheme in ["Bearer", "bearer"] {
            let line = format!("Authorization: {scheme} {token}");
            let target = format!("GET /v2/demo/a/manifests/{scheme} HTTP/1.1");
            assert_eq!(
                exchange(&mut stream, head(&[&target, "Host: registry.test", &line])).await.status,
                404
            );
        }
        let questions = gate.gitlab.ledger().entries();
        assert_eq!(questions.len(), number + 1);
        assert_eq!(questions[number].user.as_deref(), Some("gitlab-ci-token"));
        assert_eq!(questions[number].secret.as_ref().unwrap().expose_secret(), token);
        assert_eq!(questions[number].scopes, ["repository:demo/a:pull"]);
    }
    let refused = exchange(
        &mut stream,
        head(&["GET /v2/ HTTP/1.1", "Host: registry.test", "Authorization: Bearer wrong"]),
    );
    assert_refusal(&refused.await, 401, "UNAUTHORIZED", "wrong");
}
