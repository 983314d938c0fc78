//! Other rules, or another provider under an old name: permissions and verdicts from before do not
//! apply any more.

use serde_json::Value;

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, exchange, request, some_digest};

const PULL: &str = "/v2/demo/a/tags/list";
const OPEN: &str = "/v2/open/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// Returns the `Authorization` line with a token for this scope.
async fn bearer(gate: &TestGate, credential: Option<(&str, &str)>, scope: &str) -> String {
    let reply = gate.get(&format!("/token?scope={scope}"), credential).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap())
}

#[tokio::test]
async fn older_gate_tokens_are_judged_by_the_current_rules() {
    let policy = vec![
        "rules:",
        "  - { name: writes, repositories: [\"demo/*\"], who: [authenticated], \
         allow: [pull, push] }",
        "  - { name: public, repositories: [\"open/**\"], who: [anonymous], allow: [pull] }",
    ];
    let setup = Setup { policy, tokens: vec!["challenge: bearer"], ..Setup::default() };
    let mut gate = TestGate::start(setup).await;
    let alice =
        bearer(&gate, Some(READ_WRITE), "repository:demo/a:pull,push+repository:demo/b:pull").await;
    let nobody = bearer(&gate, None, "repository:open/a:pull").await;
    let mount = format!("{UPLOADS}?mount={}&from=demo/b", some_digest());
    let mut open = gate.connect().await;
    let all = [
        ("GET", PULL, &*alice),
        ("POST", UPLOADS, &alice),
        ("POST", &mount, &alice),
        ("GET", OPEN, &nobody),
    ];
    let mut ask = async |gate: &TestGate, (method, target, token): (&str, &str, &str)| {
        // A connection from before the reload is served by the new rules too.
        let kept = request(method, target, None, token, "").replace("Connection: close\r\n", "");
        let status = exchange(&mut open, kept).await.status;
        (
            status,
            gate.ledger.entries().last().map(|received| received.target.clone()),
            gate.forwarded(),
        )
    };
    for (number, (method, target, token)) in all.into_iter().enumerate() {
        let (status, came, forwarded) = ask(&gate, (method, target, token)).await;
        assert!(matches!(status, 202 | 404), "{target}: {status}");
        assert_eq!((came.as_deref(), forwarded), (Some(target), number + 1));
    }
    gate.edit("demo/*", "demo/a");
    assert!(gate.reload().await);
    assert_eq!(ask(&gate, all[2]).await, (202, Some(UPLOADS.to_owned()), 5), "a plain upload");
    gate.edit("demo/a", "demo/c");
    gate.edit("open/**", "other/**");
    assert!(gate.reload().await);
    for asked in all {
        let (status, _, forwarded) = ask(&gate, asked).await;
        assert_eq!((status, forwarded), (401, 5), "{asked:?}");
    }
}

/// A cached verdict belongs to the provider, not to its name.
#[tokio::test]
async fn a_new_provider_with_an_old_name_inherits_no_verdicts() {
    let mallory = ("mallory", READ_ONLY.1);
    let mut gate = TestGate::start(Setup {
        identity: Some("- { name: p, type: htpasswd, file: htpasswd, scopes: [read_registry] }"),
        htpasswd_users: vec![mallory],
        policy: vec![
            "rules: [{ name: r, repositories: [\"demo/*\"], who: [\"user:p/mallory\"], \
             allow: [pull] }]",
        ],
        ..Setup::default()
    })
    .await;
    let token = bearer(&gate, Some(mallory), "repository:demo/a:pull").await;
    assert_eq!(gate.get(PULL, Some(mallory)).await.status, 404);
    assert_eq!(gate.send("GET", PULL, None, &token, "").await.status, 404);
    let gitlab = format!("type: gitlab, url: \"http://{}\" }}", gate.gitlab.address());
    gate.edit("type: htpasswd, file: htpasswd, scopes: [read_registry] }", &gitlab);
    assert!(gate.reload().await);
    // GitLab accepts the secret under any user name, and reports its owner.
    assert_eq!(gate.get(PULL, Some(mallory)).await.code(), "DENIED");
    assert_eq!(gate.send("GET", PULL, None, &token, "").await.status, 401);
    assert_eq!(gate.forwarded(), 2);
    let log = gate.log(5).await;
    assert_eq!(
        (&log[3]["subject"], &log[3]["reason"]),
        (&"alice".into(), &"denied_by_policy".into())
    );
}
