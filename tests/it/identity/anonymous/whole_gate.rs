//! Callers without a credential at a whole gate with `anonymous: true`.

use serde_json::{Value, json};

use crate::harness::{READ_WRITE, Setup, TestGate};

/// A gate with `anonymous: true` in its config serves public images, refuses private ones, and logs
/// both.
#[tokio::test]
async fn anonymous_callers_get_public_images_and_401_for_private_ones() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    gate.gitlab.set_public("public");
    let requests = [
        ("GET", "/v2/public/a/tags/list", 404),
        ("GET", "/v2/demo/a/tags/list", 401),
        ("POST", "/v2/public/a/blobs/uploads/", 401),
        ("DELETE", "/v2/public/a/manifests/v1", 401),
        ("GET", "/v2/_catalog", 401),
        ("GET", "/v2/", 401),
    ];
    for (method, target, status) in requests {
        let reply = gate.send(method, target, None, "", "").await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert!(status != 401 || reply.code() == "UNAUTHORIZED", "{}", reply.body);
    }
    let asked: Vec<_> =
        gate.gitlab.ledger().entries().iter().map(|question| question.scopes.join(" ")).collect();
    assert_eq!(asked, ["repository:public/a:pull", "repository:demo/a:pull"]);
    assert_eq!(gate.forwarded(), 1);
    assert_eq!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status, 404);
    let log = gate.log(requests.len() + 1).await;
    let told = |line: &Value| {
        ["subject", "provider", "credential_kind", "credential", "cache", "reason"]
            .map(|key| line[key].clone())
    };
    assert_eq!(json!(told(&log[0])), json!([null, "gitlab", "anonymous", null, "miss", "allowed"]));
    assert_eq!(
        json!(told(&log[1])),
        json!([null, "gitlab", "anonymous", null, "miss", "no_credential"])
    );
    assert_eq!(log[6]["subject"], "alice");
}

/// If a repository is not public any more, the answer to a request with the old token must name the
/// missing scope. Otherwise clients throw the token away only after many requests with it.
#[tokio::test]
async fn a_repository_that_is_not_public_any_more_needs_another_token() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let setup = Setup {
        identity: Some(identity),
        cache: vec!["ttl: 1ms", "negative_ttl: 1ms"],
        tokens: vec!["challenge: bearer"],
        ..Setup::default()
    };
    let gate = TestGate::start(setup).await;
    gate.gitlab.set_public("public");
    let reply = gate.get("/token?scope=repository:public/a:pull,push", None).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    let get = async |target| gate.send("GET", target, None, &bearer, "").await;
    assert_eq!(get("/v2/public/a/tags/list").await.status, 404);
    assert_eq!(get("/v2/").await.status, 200, "they have been told that credentials exist");
    gate.gitlab.set_public("nothing");
    for target in ["/v2/public/a/tags/list", "/v2/public/b/tags/list"] {
        let reply = get(target).await;
        assert_eq!(reply.status, 401);
        assert!(
            reply.header("www-authenticate").unwrap().contains(",error=\"insufficient_scope\""),
            "{reply:?}"
        );
    }
}
