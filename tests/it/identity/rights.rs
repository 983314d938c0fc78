//! Each of GitLab's six kinds of credential for each kind of operation.

use moorgate::demo::gitlab::{Kind, Scope, State, sample_credentials};

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, some_digest};

/// Every kind of credential pulls with `read_registry` and pushes with both scopes. The
/// repositories of the group `demo` are empty, so an allowed read is the registry's 404.
#[tokio::test]
async fn every_credential_kind_pulls_with_read_and_pushes_with_both_scopes() {
    let gate = TestGate::plain().await;
    for credential in
        sample_credentials().into_iter().filter(|credential| credential.state == State::Active)
    {
        let who = Some((&*credential.user, &*credential.password));
        let writes = credential.scopes.contains(&Scope::WriteRegistry);
        let push = if writes { 202 } else { 403 };
        for (method, target, status) in [
            ("GET", "/v2/", 200),
            ("GET", "/v2/demo/app/manifests/v1", 404),
            ("HEAD", "/v2/demo/app/manifests/v1", 404),
            ("GET", "/v2/demo/app/tags/list", 404),
            ("POST", "/v2/demo/app/blobs/uploads/", push),
            ("DELETE", "/v2/demo/app/manifests/v1", 403),
            ("GET", "/v2/elsewhere/app/manifests/v1", 403),
            ("POST", "/v2/elsewhere/app/blobs/uploads/", 403),
            ("GET", "/v2/_catalog", 403),
        ] {
            let before = gate.forwarded();
            let reply = gate.send(method, target, who, "", "").await;
            assert_eq!(
                reply.status, status,
                "{} {method} {target}: {reply:?}",
                credential.password
            );
            let forwarded = gate.forwarded() - before;
            let expected = usize::from(!matches!(status, 403) && target != "/v2/");
            assert_eq!(forwarded, expected, "{} {method} {target}", credential.password);
        }
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_nothing_more() {
    let gate = TestGate::plain().await;
    let reply = gate.send("POST", "/v2/demo/app/blobs/uploads/", Some(READ_ONLY), "", "").await;
    assert_eq!((reply.status, &*reply.code()), (403, "DENIED"));
    assert!(
        reply.body.contains("granted no push")
            && reply.body.contains("read_registry and write_registry"),
        "{}",
        reply.body
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn expired_revoked_and_wrong_are_401() {
    let gate = TestGate::plain().await;
    for password in ["glpat-demo-expired", "glpat-demo-revoked", "glpat-nobody-knows"] {
        let reply = gate.get("/v2/demo/app/manifests/v1", Some(("alice", password))).await;
        assert_eq!((reply.status, &*reply.code()), (401, "UNAUTHORIZED"), "{password}");
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer realm=\"http://registry.test/token\""),
            "{challenge}"
        );
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    // Deploy tokens work only under their own user name.
    assert_eq!(gate.get("/v2/", Some(("alice", "gldt-demo-deploy-read-write"))).await.status, 401);
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn a_mount_needs_pull_on_its_source() {
    let gate = TestGate::plain().await;
    let digest = some_digest();
    for (from, rendered) in [
        ("demo/other", format!("/v2/demo/app/blobs/uploads/?mount={digest}&from=demo/other")),
        ("elsewhere/private", "/v2/demo/app/blobs/uploads/".to_owned()),
    ] {
        let target = format!("/v2/demo/app/blobs/uploads/?mount={digest}&from={from}");
        assert_eq!(gate.send("POST", &target, Some(READ_WRITE), "", "").await.status, 202);
        assert_eq!(gate.ledger.entries().last().unwrap().target, rendered);
    }
}

/// The password of an account is accepted only if the config allows it.
#[tokio::test]
async fn an_account_password_is_accepted_only_if_the_config_allows_it() {
    for (key, status) in [("", 401), (", accept_passwords: true", 404)] {
        let identity = format!("- {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\"{key} }}");
        let gate =
            TestGate::start(Setup { identity: Some(identity.leak()), ..Setup::default() }).await;
        let mut account = sample_credentials().remove(0);
        (account.kind, account.password) = (Kind::AccountPassword, "correct horse".into());
        gate.gitlab.add(account);
        assert_eq!(
            gate.get("/v2/demo/app/tags/list", Some(("alice", "correct horse"))).await.status,
            status,
            "{key}"
        );
    }
}
