//! The questions that GitLab is asked, and the credentials in them.

use secrecy::ExposeSecret;

use crate::harness::{READ_WRITE, Setup, TestGate, some_digest};

/// A granted push creates a record in GitLab, so the gate never asks for push in order to decide a
/// read.
#[tokio::test]
async fn gitlab_is_asked_for_exactly_the_scope_that_the_request_needs() {
    let gate = TestGate::plain().await;
    let digest = some_digest();
    for (method, target, scopes) in [
        ("GET", "/v2/".to_owned(), vec![]),
        ("GET", "/v2/demo/a/manifests/v1".into(), vec!["repository:demo/a:pull"]),
        ("HEAD", format!("/v2/demo/b/blobs/{digest}"), vec!["repository:demo/b:pull"]),
        ("GET", "/v2/demo/c/tags/list".into(), vec!["repository:demo/c:pull"]),
        ("GET", format!("/v2/demo/d/referrers/{digest}"), vec!["repository:demo/d:pull"]),
        ("POST", "/v2/demo/e/blobs/uploads/".into(), vec!["repository:demo/e:pull,push"]),
        ("DELETE", "/v2/demo/f/blobs/uploads/id".into(), vec!["repository:demo/f:pull,push"]),
        ("DELETE", "/v2/demo/g/manifests/v1".into(), vec!["repository:demo/g:delete"]),
    ] {
        let before = gate.gitlab.ledger().count();
        gate.send(method, &target, Some(READ_WRITE), "", "").await;
        let questions = gate.gitlab.ledger().entries();
        assert_eq!(questions.len(), before + 1, "{method} {target}");
        let question = questions.last().unwrap();
        assert_eq!(question.scopes, scopes, "{method} {target}");
        assert_eq!(question.service.as_deref(), Some("container_registry"));
    }
    let created = gate.gitlab.created_repositories();
    assert_eq!(created.into_iter().collect::<Vec<_>>(), ["demo/e", "demo/f"]);
}

#[tokio::test]
async fn gitlab_is_told_the_credential_the_client_and_the_request_id() {
    let gate =
        TestGate::start(Setup { http: vec!["trusted_proxies: [127.0.0.0/8]"], ..Setup::default() })
            .await;
    let headers = "X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nX-Request-Id: my-id.1\r\n";
    gate.send("GET", "/v2/", Some(READ_WRITE), headers, "").await;
    let question = gate.gitlab.ledger().entries().pop().unwrap();
    assert_eq!(question.user.as_deref(), Some("alice"));
    assert_eq!(question.secret.as_ref().unwrap().expose_secret(), READ_WRITE.1);
    assert_eq!(question.forwarded_for, ["198.51.100.7"]);
    assert_eq!(question.request_id.as_deref(), Some("my-id.1"));
}

#[tokio::test]
async fn gitlab_is_asked_about_a_bearer_token_as_the_ci_user() {
    let gate = TestGate::plain().await;
    for (token, status) in [
        ("glpat-demo-personal-read-write", 404),
        ("glcbt-demo-job-read-write", 404),
        // Deploy tokens work as Basic only.
        ("gldt-demo-deploy-read-write", 401),
    ] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(
            gate.send("GET", "/v2/demo/a/manifests/v1", None, &headers, "").await.status,
            status,
            "{token}"
        );
        assert_eq!(
            gate.gitlab.ledger().entries().pop().unwrap().user.as_deref(),
            Some("gitlab-ci-token")
        );
    }
}

#[tokio::test]
async fn no_provider_is_asked_about_a_caller_without_a_credential() {
    let gate = TestGate::plain().await;
    for headers in ["", "Authorization: Basic Og==\r\n"] {
        let reply = gate.send("GET", "/v2/demo/a/manifests/v1", None, headers, "").await;
        assert_eq!((reply.status, &*reply.code()), (401, "UNAUTHORIZED"));
    }
    assert_eq!(gate.gitlab.ledger().count(), 0);
}

/// GitLab's address rules differ by caller. If GitLab is told the client's address, its answer is
/// valid for that address alone.
#[tokio::test]
async fn an_answer_is_valid_only_for_the_address_that_gitlab_was_told() {
    for (identity, questions, told) in [
        ("- { name: gitlab, type: gitlab, url: \"{gitlab}\" }", 2, true),
        (
            "- { name: gitlab, type: gitlab, url: \"{gitlab}\", forward_client_address: false }",
            1,
            false,
        ),
        (
            "- { name: token, type: registry_token, realm: \"{gitlab}/jwt/auth\", \
             service: container_registry }",
            1,
            false,
        ),
    ] {
        let http = vec!["trusted_proxies: [127.0.0.0/8]"];
        let gate =
            TestGate::start(Setup { http, identity: Some(identity), ..Setup::default() }).await;
        for address in ["198.51.100.7", "198.51.100.8", "198.51.100.7"] {
            let header = format!("X-Forwarded-For: {address}\r\n");
            let reply =
                gate.send("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), &header, "").await;
            assert_eq!(reply.status, 404);
        }
        let asked = gate.gitlab.ledger().entries();
        assert_eq!(asked.len(), questions, "{identity}");
        assert!(
            asked.iter().all(|question| question.forwarded_for.is_empty() != told),
            "{identity}"
        );
    }
}
