//! `upstream.authorization: grant`: the registry gets the very token that GitLab issued for the
//! request.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{gate, token, with};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate, request, some_digest};
use crate::scripted_upstream::{Head, OK, ScriptedUpstream};

const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

async fn with_grants() -> TestGate {
    gate(Setup { upstream: vec!["authorization: grant"], ..Setup::default() }).await
}

/// Returns the access and the subject of the token that the registry got last.
fn shown(gate: &TestGate) -> (Value, Value) {
    let received = gate.ledger.entries().pop().unwrap();
    let header = received
        .headers
        .get("authorization")
        .expect("nothing was shown")
        .to_str()
        .unwrap()
        .to_owned();
    let jwt = header.strip_prefix("Bearer ").unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let access = claims["access"].as_array().unwrap().iter();
    let access = access.map(|entry| json!([entry["name"], entry["actions"]])).collect::<Vec<_>>();
    (access.into(), claims["sub"].clone())
}

#[tokio::test]
async fn each_request_reaches_the_registry_with_the_token_issued_for_it() {
    let gate = with_grants().await;
    for (method, target, credential, access) in [
        ("GET", "/v2/demo/a/tags/list", READ_ONLY, json!([["demo/a", ["pull"]]])),
        ("POST", UPLOADS, READ_WRITE, json!([["demo/a", ["pull", "push"]]])),
        ("GET", "/v2/demo/b/tags/list", READ_WRITE, json!([["demo/b", ["pull"]]])),
    ] {
        gate.send(method, target, Some(credential), "", "").await;
        assert_eq!(shown(&gate), (access.clone(), json!("alice")), "{method} {target}");
        let made =
            token(&gate, credential, "repository:demo/a:pull,push+repository:demo/b:pull").await;
        with(&gate, &made, method, target).await;
        assert_eq!(shown(&gate).0, access, "a gate token is the same request");
    }
}

/// Callers who ask for the same access each reach the registry with their own token, also if both
/// answers are cached.
#[tokio::test]
async fn no_caller_reaches_the_registry_with_another_callers_token() {
    let gate = with_grants().await;
    let public = gate.get("/v2/demo/a/tags/list", None).await;
    assert_eq!((public.status, gate.forwarded()), (401, 0));
    for _ in 0..2 {
        for (credential, subject) in [
            (READ_WRITE, json!("alice")),
            (("project_1_bot_demo", "glpat-demo-project-read-write"), json!("project_1_bot_demo")),
        ] {
            gate.get("/v2/demo/a/tags/list", Some(credential)).await;
            assert_eq!(shown(&gate), (json!([["demo/a", ["pull"]]]), subject));
        }
    }
    assert_eq!(gate.gitlab.ledger().count(), 2, "a verdict for each");
}

/// The registry judges both ends of a mount by one token, so that token covers both.
#[tokio::test]
async fn a_mount_sends_one_token_that_covers_both_repositories() {
    let gate = with_grants().await;
    let digest = some_digest();
    for (from, access) in [
        ("demo/b", json!([["demo/a", ["pull", "push"]], ["demo/b", ["pull"]]])),
        ("elsewhere/c", json!([["demo/a", ["pull", "push"]]])),
    ] {
        let target = format!("{UPLOADS}?mount={digest}&from={from}");
        assert_eq!(gate.send("POST", &target, Some(READ_WRITE), "", "").await.status, 202);
        assert_eq!(shown(&gate).0, access, "{from}");
        let mounts = gate.ledger.entries().pop().unwrap().target.contains("from=");
        assert_eq!(mounts, from == "demo/b");
    }
}

#[tokio::test]
async fn no_token_is_sent_to_the_registry_without_authorization_grant() {
    let gate = gate(Setup::default()).await;
    gate.send("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), "", "").await;
    assert!(gate.ledger.entries().pop().unwrap().headers.get("authorization").is_none());
}

const NOT_LET_IN: &str = "HTTP/1.1 401 Unauthorized\r\n\
                          WWW-Authenticate: Bearer realm=\"http://gitlab.test\"\r\n\
                          Content-Length: 0\r\n\r\n";

/// Sends a request and gives the registry's answers in turn. Returns the reply and the tokens that
/// the registry got.
async fn exchange(
    upstream: &mut ScriptedUpstream,
    gate: &TestGate,
    (method, target): (&str, &str),
    answers: &[&str],
) -> (Reply, Vec<String>) {
    let message = request(method, target, Some(READ_WRITE), "", "");
    let (reply, shown) = tokio::join!(gate.raw(message), async {
        let mut shown = Vec::new();
        for answer in answers {
            // The gate does not reuse a connection on which the registry refused its token.
            let (mut connection, head) = upstream.accept_request().await;
            shown.push(token_in(&head));
            connection.write(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        }
        shown
    });
    (Reply::parse(&reply), shown)
}

fn token_in(head: &Head) -> String {
    head.header("authorization").expect("nothing was shown").to_owned()
}

async fn scripted() -> (ScriptedUpstream, TestGate) {
    ScriptedUpstream::behind(Setup { upstream: vec!["authorization: grant"], ..Setup::default() })
        .await
}

/// A registry may refuse a grant that it accepted before, because its clock or its keys have
/// changed. The gate then gets a new grant and retries.
#[tokio::test]
async fn a_refused_grant_is_replaced_and_the_request_is_retried() {
    let (mut upstream, gate) = scripted().await;
    let target = "/v2/demo/a/tags/list";
    let (_, first) = exchange(&mut upstream, &gate, ("GET", target), &[OK]).await;
    for method in ["GET", "HEAD"] {
        let asked = gate.gitlab.ledger().count();
        let (reply, shown) =
            exchange(&mut upstream, &gate, (method, "/v2/demo/a/manifests/v1"), &[NOT_LET_IN, OK])
                .await;
        assert_eq!(reply.status, 200, "{method}");
        assert_ne!(shown[0], shown[1], "{method}: the same token again");
        assert_eq!(gate.gitlab.ledger().count(), asked + 1, "{method}");
        assert_eq!(shown[0] == first[0], method == "GET", "the verdict was cached");
    }
    let codes: Vec<_> = gate
        .log(3)
        .await
        .iter()
        .map(|line| (line["status"].clone(), line["cache"].clone()))
        .collect();
    assert_eq!(codes[1..], [(json!(200), json!("miss")), (json!(200), json!("miss"))]);
}

#[tokio::test]
async fn a_registry_that_refuses_every_grant_is_asked_twice() {
    let (mut upstream, gate) = scripted().await;
    let (reply, shown) =
        exchange(&mut upstream, &gate, ("GET", "/v2/demo/a/tags/list"), &[NOT_LET_IN, NOT_LET_IN])
            .await;
    assert_eq!((reply.status, &*reply.code()), (502, "UNAVAILABLE"));
    assert_eq!(reply.header("www-authenticate"), None, "whom the gate asks is nobody's business");
    assert_eq!(shown.len(), 2);
    assert_eq!((upstream.requests(), gate.gitlab.ledger().count()), (2, 2));
    let line = gate.log(1).await.remove(0);
    assert_eq!(
        (&line["decision"], &line["reason"]),
        (&json!("error"), &json!("upstream_refused_the_gate"))
    );
}

/// A write may have had an effect, so the gate does not retry it. The client can send it again, and
/// then a new grant is used.
#[tokio::test]
async fn a_write_is_not_repeated() {
    let (mut upstream, gate) = scripted().await;
    let (reply, first) = exchange(&mut upstream, &gate, ("POST", UPLOADS), &[NOT_LET_IN]).await;
    assert_eq!((reply.status, upstream.requests()), (502, 1));
    let accepted = "HTTP/1.1 202 Accepted\r\nLocation: /v2/demo/a/blobs/uploads/id\r\n\
                    Content-Length: 0\r\n\r\n";
    let (reply, second) = exchange(&mut upstream, &gate, ("POST", UPLOADS), &[accepted]).await;
    assert_eq!(reply.status, 202);
    assert_ne!(first, second);
    assert_eq!(gate.gitlab.ledger().count(), 2);
}

/// A mount without access to its source becomes a plain upload. If the registry refuses the grant
/// of that upload, the grant is dropped too, although the question about the source is a different
/// one.
#[tokio::test]
async fn a_stripped_mount_gets_a_new_grant_after_a_refused_one() {
    let (mut upstream, gate) = scripted().await;
    let mount = format!("{UPLOADS}?mount={}&from=elsewhere/c", some_digest());
    let (reply, first) = exchange(&mut upstream, &gate, ("POST", &mount), &[NOT_LET_IN]).await;
    assert_eq!(reply.status, 502);
    let accepted = "HTTP/1.1 202 Accepted\r\nLocation: /v2/demo/a/blobs/uploads/id\r\n\
                    Content-Length: 0\r\n\r\n";
    let (reply, second) = exchange(&mut upstream, &gate, ("POST", &mount), &[accepted]).await;
    assert_eq!(reply.status, 202);
    assert_ne!(first, second, "the grant that was refused");
}

/// Without `authorization: grant`, a 401 of the registry is reported at once, because there is no
/// grant to replace.
#[tokio::test]
async fn a_401_of_the_registry_without_grants_is_502_without_a_retry() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let (reply, ()) = tokio::join!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)), async {
        upstream.accept_request().await.0.write(NOT_LET_IN).await;
    });
    assert_eq!(
        (reply.status, reply.header("www-authenticate"), upstream.requests()),
        (502, None, 1)
    );
}
