//! A GitLab that fails is never taken for one that rejects a credential, nor for one that verifies
//! it.

use moorgate::demo::Scripted;

use super::{answer, unsigned};
use crate::harness::{PATIENCE, READ_WRITE, Setup, TestGate, listener};

/// Returns a reply with a token that has these claims.
fn token(claims: &str) -> String {
    format!("{{\"token\":\"{}\"}}", unsigned(claims))
}

#[tokio::test]
async fn every_invalid_gitlab_answer_is_503_without_a_challenge() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 400ms }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    let elsewhere = listener();
    let redirect = format!("http://{}/jwt/auth", elsewhere.local_addr().unwrap());
    let access =
        "\"access\":[{\"type\":\"repository\",\"name\":\"demo/a\",\"actions\":[\"pull\"]}]";
    let cases = [
        answer(500, "{}"),
        answer(502, ""),
        answer(404, "{}"),
        answer(429, "{}"),
        answer(403, "Forbidden"),
        answer(403, "{\"errors\":[{\"code\":\"OTHER\"}]}"),
        answer(200, "<html>sign in</html>"),
        answer(200, "{}"),
        answer(200, "{\"token\":7}"),
        answer(200, "{\"token\":\"a.b\"}"),
        answer(200, "{\"token\":\"x\",\"token\":\"y\"}"),
        answer(200, token(&format!("{{\"aud\":\"another\",\"iat\":1,\"exp\":301,{access}}}"))),
        answer(
            200,
            token(&format!(
                "{{\"aud\":[\"container_registry\",\"another\"],\"iat\":1,\"exp\":301,{access}}}"
            )),
        ),
        answer(200, token(&format!("{{\"iat\":1,\"exp\":301,{access}}}"))),
        answer(
            200,
            token(&format!(
                "{{\"aud\":\"container_registry\",\"iat\":1,\"exp\":\"301\",{access}}}"
            )),
        ),
        answer(200, format!("{}{}", token("{}"), " ".repeat(70_000))),
        Scripted::Redirect(redirect),
        Scripted::Close,
        Scripted::Hang,
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let name = format!("{number}: {case:?}");
        // The pooled client retries once on a closed connection, as no answer was received.
        gate.gitlab.script([case.clone()]);
        if matches!(case, Scripted::Close) {
            gate.gitlab.script([case]);
        }
        // Another user name makes another question each time. The same question would be answered
        // from its rest after the failure.
        let asked = gate.gitlab.ledger().count();
        let reply =
            gate.get("/v2/demo/a/tags/list", Some((&format!("user-{number}"), READ_WRITE.1))).await;
        assert!(gate.gitlab.ledger().count() > asked, "{name}");
        assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"), "{name}");
        assert!(reply.header("retry-after").is_some());
        assert_eq!(reply.header("www-authenticate"), None);
    }
    assert_eq!(gate.forwarded(), 0);
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "the redirect was followed");
}

/// A question without an answer rests for a second, so that the gate does not hammer a provider in
/// trouble. Other questions are asked at once.
#[tokio::test]
async fn a_question_without_an_answer_rests_for_a_second() {
    let gate = TestGate::plain().await;
    gate.gitlab.script([answer(500, "")]);
    let begun = std::time::Instant::now();
    let target = "/v2/demo/a/tags/list";
    assert_eq!(gate.get(target, Some(READ_WRITE)).await.status, 503);
    assert_eq!(gate.get("/v2/demo/b/tags/list", Some(READ_WRITE)).await.status, 404);
    while gate.get(target, Some(READ_WRITE)).await.status == 503 {
        assert!(begun.elapsed() < PATIENCE, "it is never asked again");
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "it did not rest");
    assert_eq!(gate.gitlab.ledger().count(), 3);
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_provider_up{provider=\"gitlab\"} 1"), "{metrics}");
    assert!(
        metrics.contains(
            "moorgate_introspection_duration_seconds_count\
             {provider=\"gitlab\",result=\"unavailable\"} 1"
        ),
        "{metrics}"
    );
}

/// GitLab's `DENIED` means a valid credential without rights on the registry: `docker login`
/// succeeds, and every other request is refused.
#[tokio::test]
async fn denied_is_a_valid_credential_without_rights() {
    let gate = TestGate::plain().await;
    let denied = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access forbidden\"}]}";
    for (target, status) in [("/v2/", 200), ("/v2/demo/a/tags/list", 403)] {
        gate.gitlab.script([answer(403, denied)]);
        assert_eq!(gate.get(target, Some(READ_WRITE)).await.status, status);
    }
    assert_eq!(gate.forwarded(), 0);
}

/// The gate grants no access that it did not ask for, even if the reply lists it, and no access on
/// another repository.
#[tokio::test]
async fn only_access_that_was_asked_for_on_this_repository_is_granted() {
    let gate = TestGate::plain().await;
    let reply = |name: &str, kind: &str, actions: &str| {
        let access = format!("[{{\"type\":\"{kind}\",\"name\":\"{name}\",\"actions\":{actions}}}]");
        answer(
            200,
            token(&format!(
                "{{\"aud\":\"container_registry\",\"iat\":1,\"exp\":301,\"access\":{access}}}"
            )),
        )
    };
    for (repository, kind, actions, method, status) in [
        ("demo/x", "repository", "[\"pull\"]", "GET", 403),
        ("demo/a", "registry", "[\"pull\"]", "GET", 403),
        ("demo/a", "repository", "[\"push\",\"delete\",\"*\"]", "GET", 403),
        ("demo/a", "repository", "[\"push\"]", "POST", 403),
        ("demo/a", "repository", "[\"pull\"]", "POST", 403),
        ("demo/a", "repository", "[\"*\"]", "DELETE", 403),
        ("demo/a", "repository", "[\"push\",\"pull\"]", "POST", 202),
    ] {
        gate.gitlab.script([reply(repository, kind, actions)]);
        let target = match method {
            "POST" => "/v2/demo/a/blobs/uploads/",
            _ => "/v2/demo/a/manifests/v1",
        };
        // Another user name makes another credential, and so another question, each time.
        let user = format!("{repository}{kind}{actions}").replace(['/', '"', '[', ']', ','], "-");
        let reply = gate.send(method, target, Some((&user, READ_WRITE.1)), "", "").await;
        assert_eq!(reply.status, status, "{repository} {kind} {actions} {method}");
    }
}

#[tokio::test]
async fn an_unreachable_gitlab_is_503() {
    let identity = "- { name: gone, type: gitlab, url: \"http://127.0.0.1:9\", timeout: 500ms }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    let reply = gate.get("/v2/", Some(READ_WRITE)).await;
    assert_eq!(reply.status, 503);
}
