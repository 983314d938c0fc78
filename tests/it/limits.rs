//! Limits, through the whole gate. Rates are given per hour in tests in which no place may come
//! back.

mod exact;
mod http2;
mod pulls;
mod uploads;
mod waiting;

use serde_json::json;

use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate};

const PULL: &str = "/v2/demo/a/tags/list";
/// A repository of a group that the tests' credential may not read.
const FORBIDDEN: &str = "/v2/elsewhere/a/tags/list";
/// A user other than that of [`READ_WRITE`].
const OTHER: (&str, &str) = ("x", "glpat-demo-project-read-write");

/// Users in an htpasswd file and in GitLab, with the same name in both.
const TWO_PROVIDERS: &str = "- { name: local, type: htpasswd, file: htpasswd, \
                             scopes: [read_registry], \
                             accepts: { prefixes: [secret] } }\n\
                             - { name: gitlab, type: gitlab, url: \"{gitlab}\", \
                             accepts: { prefixes: [glpat-] } }";
const LOCAL_ALICE: (&str, &str) = ("alice", "secret");

async fn gate(limits: Vec<&'static str>) -> TestGate {
    TestGate::start(Setup { limits, ..Setup::default() }).await
}

/// A method, a target and a user with a password.
type CacheKey<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>);

async fn statuses(gate: &TestGate, requests: &[CacheKey<'_>]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (method, target, credential) in requests {
        statuses.push(gate.send(method, target, *credential, "", "").await.status);
    }
    statuses
}

fn assert_limited(reply: &Reply, at_least: u64, at_most: u64) {
    assert_eq!((reply.status, reply.code().as_str()), (429, "TOOMANYREQUESTS"), "{reply:?}");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((at_least..=at_most).contains(&wait), "{reply:?}");
    assert!(reply.body.contains(&format!("try again in {wait} s")), "{reply:?}");
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn per_client_limits_an_address_for_all_its_callers() {
    let gate = gate(vec!["per_client: { rate: 1/h, burst: 6 }"]).await;
    let requests = [
        ("GET", "/v2/", None),
        ("GET", "/v2/", Some(READ_WRITE)),
        ("GET", PULL, Some(("alice", "wrong"))),
        ("GET", "/token", Some(READ_WRITE)),
        ("GET", "/v2/demo//a/tags/list", Some(READ_WRITE)),
        ("GET", "/nothing", None),
    ];
    assert_eq!(statuses(&gate, &requests).await, [401, 200, 401, 200, 308, 404]);
    let (asked, forwarded) = (gate.gitlab.ledger().count(), gate.forwarded());

    // The answer is 429 and not 401: a caller without a credential is limited like any other.
    assert_limited(&gate.get("/v2/", None).await, 3500, 3600);
    assert_limited(&gate.get(PULL, Some(("bob", "unheard of"))).await, 3500, 3600);
    assert_limited(&gate.get("/token", Some(OTHER)).await, 3500, 3600);
    assert_eq!(
        (gate.gitlab.ledger().count(), gate.forwarded()),
        (asked, forwarded),
        "somebody was asked"
    );
    let form = "grant_type=password&username=alice&password=secret";
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = gate.send("POST", "/token", None, headers, form).await;
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some());
    assert!(
        reply
            .body
            .starts_with("{\"error\":\"temporarily_unavailable\",\"error_description\":\"too many"),
        "{reply:?}"
    );
    // A path that no registry has is answered as always.
    assert_eq!(gate.get("/nothing", None).await.status, 404);

    let lines = gate.log(11).await;
    let fields = |line: usize| {
        json!([lines[line]["status"], lines[line]["decision"], lines[line]["reason"]])
    };
    assert_eq!(fields(6), json!([429, "denied", "over_per_client"]));
    assert_eq!(fields(9), json!([429, "denied", "over_per_client"]));
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_limited_total{limit=\"per_client\"} 4\n"), "{metrics}");
    assert!(metrics.contains("moorgate_limited_total{limit=\"per_identity\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn per_client_counts_ipv4_addresses_and_ipv6_networks() {
    let limits = vec!["per_client: { rate: 1/h, burst: 1 }"];
    let gate = TestGate::start(Setup {
        limits,
        http: vec!["trusted_proxies: [127.0.0.0/8]"],
        ..Setup::default()
    })
    .await;
    let mut seen = Vec::new();
    for from in [
        "2001:db8::1",
        "2001:db8::ffff",
        "2001:db8:0:1::1",
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "192.0.2.2",
    ] {
        let reply =
            gate.send("GET", "/v2/", None, &format!("X-Forwarded-For: {from}\r\n"), "").await;
        seen.push(reply.status);
    }
    assert_eq!(seen, [401, 429, 401, 401, 429, 401]);
}

/// A client that is not a trusted proxy has one address. The addresses that its headers claim are
/// ignored.
#[tokio::test]
async fn an_address_that_an_untrusted_client_claims_is_ignored() {
    let gate = gate(vec!["per_client: { rate: 1/h, burst: 1 }"]).await;
    let mut seen = Vec::new();
    for line in
        ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "Forwarded: for=192.0.2.3"]
    {
        seen.push(gate.send("GET", "/v2/", None, &format!("{line}\r\n"), "").await.status);
    }
    assert_eq!(seen, [401, 429, 429]);
}

#[tokio::test]
async fn per_identity_limits_a_user_for_all_of_its_tokens() {
    let limits = vec!["per_identity: { rate: 1/h, burst: 4 }"];
    let htpasswd_users = vec![LOCAL_ALICE];
    let setup = Setup { limits, identity: Some(TWO_PROVIDERS), htpasswd_users, ..Setup::default() };
    let gate = TestGate::start(setup).await;
    // A request that is refused anyway costs nothing.
    for _ in 0..5 {
        assert_eq!(gate.get(FORBIDDEN, Some(READ_WRITE)).await.status, 403);
        assert_eq!(gate.get(PULL, None).await.status, 401);
    }
    let requests = [
        ("GET", PULL, Some(READ_WRITE)),
        ("GET", PULL, Some(READ_ONLY)),
        ("GET", "/v2/", Some(READ_ONLY)),
        ("GET", "/token?scope=repository:demo/a:pull", Some(READ_WRITE)),
    ];
    assert_eq!(statuses(&gate, &requests).await, [404, 404, 200, 200]);
    let forwarded = gate.forwarded();
    for (method, target, credential) in requests {
        let reply = gate.send(method, target, credential, "", "").await;
        assert_limited(&reply, 3500, 3600);
    }
    assert_eq!(gate.forwarded(), forwarded);
    // Neither another user nor the user of the same name at another provider is limited.
    assert_eq!(gate.get(PULL, Some(OTHER)).await.status, 404);
    assert_eq!(gate.get(PULL, Some(LOCAL_ALICE)).await.status, 404);
    let line = gate.log(15).await.remove(14);
    assert_eq!((&line["reason"], &line["subject"]), (&"over_per_identity".into(), &"alice".into()));
    // The credential was good, and the metrics report it so.
    let metrics = gate.admin("/metrics").await.body;
    assert!(
        metrics.contains(
            "auth_decisions_total{provider=\"gitlab\",result=\"allowed\",reason=\"allowed\"} 9\n"
        ),
        "{metrics}"
    );
}

#[tokio::test]
async fn anonymous_callers_are_limited_by_address() {
    let limits = vec!["per_identity: { rate: 1/h, burst: 1 }"];
    let policy =
        vec!["rules: [{ name: r, who: [anonymous], repositories: [\"**\"], allow: [pull] }]"];
    let http = vec!["trusted_proxies: [127.0.0.0/8]"];
    let gate = TestGate::start(Setup { limits, policy, http, ..Setup::default() }).await;
    let mut seen = Vec::new();
    for from in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
        let reply = gate.send("GET", PULL, None, &format!("X-Forwarded-For: {from}\r\n"), "").await;
        seen.push(reply.status);
    }
    assert_eq!(seen, [404, 429, 404, 404, 429]);
}

#[tokio::test]
async fn overrides_give_other_callers_other_limits() {
    let limits = vec![
        "per_identity: { rate: 1/h, burst: 1 }",
        "overrides:",
        "  - { who: [\"user:local/bob\"], per_identity: { rate: 1/h, burst: 2 } }",
        "  - { who: [\"provider:local\"], per_identity: null }",
        "  - { who: [\"user:local/alice\"], per_identity: { rate: 1/h, burst: 1 } }",
    ];
    let bob = ("bob", "secret");
    let htpasswd_users = vec![LOCAL_ALICE, bob];
    let setup = Setup { limits, identity: Some(TWO_PROVIDERS), htpasswd_users, ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let get = async |credential| statuses(&gate, &[("GET", PULL, Some(credential)); 4]).await;
    assert_eq!(get(bob).await, [404, 404, 429, 429]);
    assert_eq!(get(LOCAL_ALICE).await, [404; 4], "the first that matches");
    assert_eq!(get(READ_WRITE).await, [404, 429, 429, 429]);
}

/// The rates of the newest config apply from the next request on, and the debt of each caller
/// survives the reload.
#[tokio::test]
async fn a_reload_changes_limits_and_keeps_the_counts() {
    let mut gate = gate(vec!["per_identity: { rate: 1/h, burst: 2 }"]).await;
    let four = [("GET", PULL, Some(READ_WRITE)); 4];
    assert_eq!(statuses(&gate, &four).await, [404, 404, 429, 429]);
    gate.edit("burst: 2", "burst: 3");
    assert!(gate.reload().await);
    assert_eq!(statuses(&gate, &four).await, [404, 429, 429, 429]);
    gate.edit("{ rate: 1/h, burst: 3 }", "null");
    assert!(gate.reload().await);
    assert_eq!(statuses(&gate, &four).await, [404; 4]);
}

/// A wait of less than 1 s is reported as 1 s, and after that time a request is admitted.
#[tokio::test]
async fn a_request_after_retry_after_is_admitted() {
    let gate = gate(vec!["per_identity: { rate: 3/s, burst: 1 }"]).await;
    let limited = loop {
        let reply = gate.get(PULL, Some(READ_WRITE)).await;
        if reply.status == 429 {
            break reply;
        }
    };
    assert_limited(&limited, 1, 1);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
}

/// If the registry refuses a grant, the gate gets a new one and retries. The retry counts as the
/// same request.
#[tokio::test]
async fn a_request_that_the_gate_retries_counts_once() {
    use crate::scripted_upstream::{OK, ScriptedUpstream};
    let limits = vec![
        "per_client: { rate: 1/h, burst: 1 }",
        "per_identity: { rate: 1/h, burst: 1 }",
        "pulls_per_identity: { rate: 1/h, burst: 1 }",
    ];
    let setup = Setup { limits, upstream: vec!["authorization: grant"], ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let registry = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
        if connection.next_head().await.is_some() {
            connection.write(OK).await;
            return;
        }
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(OK).await;
    };
    let (reply, ()) = tokio::join!(gate.get("/v2/demo/a/manifests/v1", Some(READ_WRITE)), registry);
    assert_eq!((reply.status, reply.header("ratelimit-remaining")), (200, Some("0;w=3600")));
}
