//! GitLab's refusals other than wrong credentials: networks, accounts and single repositories, all
//! with 403 and `DENIED`. Only a refusal that concerns the credential is a verdict.

use moorgate::demo::gitlab::Refusal;
use serde_json::Value;

use super::{answer, unsigned};
use crate::harness::{PATIENCE, READ_WRITE, Reply, Setup, TestGate};

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const WRONG: (&str, &str) = ("alice", "glpat-wrong");

/// Starts a gate behind a proxy, whose verdicts become stale at once.
async fn gate(identity: Option<&'static str>) -> TestGate {
    let (http, cache) =
        (vec!["trusted_proxies: [127.0.0.0/8]"], vec!["ttl: 1ms", "stale_if_error: 10m"]);
    TestGate::start(Setup { http, cache, identity, ..Setup::default() }).await
}

async fn from(gate: &TestGate, address: &str, target: &str, credential: (&str, &str)) -> Reply {
    let method = if target == UPLOADS { "POST" } else { "GET" };
    gate.send(method, target, Some(credential), &format!("X-Forwarded-For: {address}\r\n"), "")
        .await
}

async fn token(gate: &TestGate, scopes: &str) -> String {
    let reply = gate.get(&format!("/token?{scopes}"), Some(READ_WRITE)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

async fn with(gate: &TestGate, token: &str, method: &str, target: &str) -> u16 {
    gate.send(method, target, None, &format!("Authorization: Bearer {token}\r\n"), "").await.status
}

/// During a ban, a wrong password must not look right, a right one must not look wrong, and no
/// stale answer is used.
#[tokio::test]
async fn a_ban_of_an_address_is_503_and_affects_only_that_address() {
    let gate = gate(None).await;
    assert_eq!(from(&gate, "192.0.2.1", PULL, READ_WRITE).await.status, 404);
    assert_eq!(from(&gate, "192.0.2.1", "/v2/", READ_WRITE).await.status, 200);
    let forwarded = gate.forwarded();
    gate.gitlab.set_refusals([Refusal::Network("192.0.2.1".into())]);
    let targets =
        ["/v2/", "/token", "/token?scope=repository:demo/a:pull", PULL, UPLOADS, "/v2/_catalog"];
    for target in targets {
        for credential in [READ_WRITE, WRONG] {
            let reply = from(&gate, "192.0.2.1", target, credential).await;
            assert_eq!(
                (reply.status, &*reply.code()),
                (503, "UNAVAILABLE"),
                "{target} {credential:?}"
            );
            assert!(
                reply.header("retry-after").is_some() && reply.header("www-authenticate").is_none(),
                "{reply:?}"
            );
        }
    }
    for guess in 0..40 {
        let guess = ("alice", &*format!("glpat-guess-{guess}"));
        assert_eq!(from(&gate, "192.0.2.1", "/v2/", guess).await.status, 503);
    }
    assert_eq!(gate.forwarded(), forwarded);
    let log = gate.log(2 + 2 * targets.len() + 40).await;
    for line in &log[2..] {
        assert_eq!(
            (&line["decision"], &line["reason"]),
            (&"error".into(), &"provider_unavailable".into()),
            "{line}"
        );
        assert_ne!(line["cache"], "stale", "{line}");
    }
    for (credential, status) in [(READ_WRITE, 404), (WRONG, 401)] {
        assert_eq!(
            from(&gate, "192.0.2.2", PULL, credential).await.status,
            status,
            "from elsewhere"
        );
    }
}

/// GitLab turns the account away, at every address.
#[tokio::test]
async fn an_account_with_too_many_source_addresses_gets_503() {
    let gate = gate(None).await;
    gate.gitlab.set_refusals([Refusal::Sources("alice".into())]);
    for (credential, status) in
        [(READ_WRITE, 503), (WRONG, 401), (("x", "glpat-demo-group-read-write"), 404)]
    {
        assert_eq!(
            from(&gate, "192.0.2.1", PULL, credential).await.status,
            status,
            "{credential:?}"
        );
    }
}

/// A GitLab that is not told client addresses sees the gate alone, so its ban affects every caller
/// and is an outage.
#[tokio::test]
async fn a_ban_of_the_gate_itself_is_an_outage() {
    for refusal in [Refusal::Network(String::new()), Refusal::Sources("alice".into())] {
        let identity =
            "- { name: gitlab, type: gitlab, url: \"{gitlab}\", forward_client_address: false }";
        let gate = gate(Some(identity)).await;
        assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
        gate.gitlab.set_refusals([refusal.clone()]);
        assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404, "stale");
        assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 503);
        let log = gate.log(3).await;
        assert_eq!((&log[1]["cache"], &log[1]["decision"]), (&"stale".into(), &"allowed".into()));
        let banned = matches!(refusal, Refusal::Network(_));
        for number in 0..3 {
            let status =
                gate.get(PULL, Some(("alice", &format!("glpat-unknown-{number}")))).await.status;
            assert_eq!(status, if banned { 503 } else { 401 });
        }
        let begun = std::time::Instant::now();
        // The gate's own question fails too if the gate's address is banned.
        while banned && !gate.admin("/status.json").await.body.contains("\"breaker\": \"open\"") {
            assert!(begun.elapsed() < PATIENCE, "the breaker never opens");
            tokio::task::yield_now().await;
        }
    }
    // A 429 has the same effect.
    let identity =
        "- { name: gitlab, type: gitlab, url: \"{gitlab}\", forward_client_address: false }";
    let gate = gate(Some(identity)).await;
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
    gate.gitlab.always(Some(answer(429, "")));
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404, "stale");
}

/// A client asks for one token for all repositories that it pushes to. A repository that it may not
/// push to must not cost it the others.
#[tokio::test]
async fn a_refused_repository_does_not_cost_a_token_its_other_repositories() {
    for refusal in [Refusal::ProtectedPath("demo/a".into()), Refusal::StorageQuota("demo/a".into())]
    {
        let gate = TestGate::plain().await;
        gate.gitlab.set_refusals([refusal.clone()]);
        let scopes = "scope=repository:demo/a:pull,push&scope=repository:demo/b:pull,push&\
                      scope=repository:demo/c:pull";
        let made = token(&gate, scopes).await;
        let asked: Vec<_> =
            gate.gitlab.ledger().entries().iter().map(|question| question.scopes.len()).collect();
        assert_eq!(asked, [3, 1, 1, 1], "{refusal:?}");
        assert_eq!(
            gate.gitlab.created_repositories().into_iter().collect::<Vec<_>>(),
            ["demo/b"],
            "{refusal:?}"
        );
        for (method, target, status) in [
            ("POST", "/v2/demo/b/blobs/uploads/", 202),
            ("GET", "/v2/demo/b/tags/list", 404),
            ("GET", "/v2/demo/c/tags/list", 404),
            ("POST", UPLOADS, 401),
            ("POST", "/v2/demo/c/blobs/uploads/", 401),
        ] {
            assert_eq!(
                with(&gate, &made, method, target).await,
                status,
                "{refusal:?} {method} {target}"
            );
        }
        // Asked for alone, the repository is a refusal for a valid credential.
        for (target, status) in [("/v2/", 200), (UPLOADS, 403), (PULL, 404)] {
            let method = if target == UPLOADS { "POST" } else { "GET" };
            assert_eq!(
                gate.send(method, target, Some(READ_WRITE), "", "").await.status,
                status,
                "{refusal:?} {target}"
            );
        }
    }
}

/// A refusal that concerns the credential applies to all repositories that were asked about.
#[tokio::test]
async fn a_failure_of_a_repeated_question_fails_the_whole_token_request() {
    let denied = || {
        answer(
            403,
            "{\"errors\":[{\"code\":\"DENIED\",\
             \"message\":\"Pushing to protected repository path forbidden\"}]}",
        )
    };
    let scopes = "/token?scope=repository:demo/a:pull,push&scope=repository:demo/b:pull,push";
    for (part, status) in [
        (answer(401, ""), 401),
        (answer(500, ""), 503),
        (answer(403, "banned"), 503),
        (denied(), 200),
    ] {
        let gate = TestGate::plain().await;
        gate.gitlab.script([denied(), part.clone()]);
        gate.gitlab.always(Some(part.clone()));
        assert_eq!(gate.get(scopes, Some(READ_WRITE)).await.status, status, "{part:?}");
    }
}

/// A server that issues a token to an anonymous caller has not verified the credential.
#[tokio::test]
async fn a_token_issued_to_an_anonymous_caller_verifies_no_credential() {
    let gate = TestGate::plain().await;
    let claims = |members: &str| {
        let token = unsigned(&format!(
            "{{\"aud\":\"container_registry\",\"iat\":1,\"exp\":301,\"access\":[]{members}}}"
        ));
        answer(200, format!("{{\"token\":\"{token}\"}}"))
    };
    for (number, (members, status)) in [
        (",\"auth_type\":\"none\"", 401),
        (",\"auth_type\":\"none\",\"sub\":\"\"", 401),
        (",\"auth_type\":\"none\",\"sub\":null", 401),
        (",\"auth_type\":\"deploy_token\"", 200),
        (",\"auth_type\":\"personal_access_token\",\"sub\":\"alice\"", 200),
    ]
    .into_iter()
    .enumerate()
    {
        gate.gitlab.script([claims(members)]);
        let reply = gate.get("/v2/", Some(("alice", &format!("glpat-any-{number}")))).await;
        assert_eq!(reply.status, status, "{members}");
    }
}
