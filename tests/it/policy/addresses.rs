//! Rules that are only for some addresses (`from`), over real sockets: 127.0.0.1 is the trusted
//! proxy, and other addresses of 127.0.0.0/8 are clients.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{Reply, Setup, TestGate, read_to_close, request};

const ALICE: (&str, &str) = ("alice", "password-of-alice");
const TAGS: &str = "/v2/demo/a/tags/list";
const INSIDE: &str = "X-Forwarded-For: 10.1.2.3\r\n";
const OUTSIDE: &str = "X-Forwarded-For: 192.0.2.1\r\n";

/// The networks of the first rule contain the address of the proxy itself.
const RULES: [&str; 4] = [
    "rules:",
    "  - { name: office, repositories: [\"demo/**\"], who: [authenticated], \
     from: [10.0.0.0/8, 127.0.0.0/30, \"fd00::/8\"], allow: [pull, push] }",
    "  - { name: guests, repositories: [\"public/**\"], who: [anonymous], from: [10.0.0.0/8], \
     allow: [pull] }",
    "  - { name: anywhere, repositories: [\"open/**\"], who: [authenticated], allow: [pull] }",
];

async fn gate(http: &[&'static str]) -> TestGate {
    TestGate::start(Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry] }",
        ),
        htpasswd_users: vec![ALICE],
        http: [&["trusted_proxies: [127.0.0.1/32, 172.16.0.0/12]"], http].concat(),
        policy: RULES.to_vec(),
        ..Setup::default()
    })
    .await
}

/// Sends a request from an address of this machine, and returns the status of the response.
async fn from(gate: &TestGate, peer: &str, message: impl AsRef<[u8]>) -> u16 {
    let mut stream = gate.connect_from(peer).await;
    stream.write_all(message.as_ref()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await).status
}

fn pull(headers: &str) -> String {
    request("GET", TAGS, Some(ALICE), headers, "")
}

#[tokio::test]
async fn a_rule_with_networks_is_for_clients_there() {
    let gate = gate(&[]).await;
    for (peer, headers, allowed) in [
        ("127.0.0.1", INSIDE, true),
        ("127.0.0.1", "X-Forwarded-For: ::ffff:10.1.2.3\r\n", true),
        ("127.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.1.2.3, 172.16.0.9\r\n", true),
        ("127.0.0.1", "X-Forwarded-For: fd00::5\r\n", true),
        ("127.0.0.1", "Forwarded: for=10.1.2.3\r\n", true),
        ("127.0.0.1", OUTSIDE, false),
        ("127.0.0.1", "X-Forwarded-For: 10.1.2.3, 192.0.2.1\r\n", false),
        ("127.0.0.1", "X-Forwarded-For: 2001:db8::1\r\n", false),
        // The address is only the proxy's own, and that is no client's.
        ("127.0.0.1", "", false),
        ("127.0.0.1", "X-Forwarded-For: unknown\r\n", false),
        ("127.0.0.1", "X-Forwarded-For: 10.1.2.3, nonsense\r\n", false),
        ("127.0.0.1", "X-Forwarded-For: 127.0.0.1\r\n", false),
        ("127.0.0.1", "X-Forwarded-For: 172.16.0.9, 127.0.0.1\r\n", false),
        // These peers are no proxies, so their headers are not believed.
        ("127.0.0.2", "", true),
        ("127.0.0.2", OUTSIDE, true),
        ("127.0.0.9", "", false),
        ("127.0.0.9", INSIDE, false),
    ] {
        let before = gate.forwarded();
        let status = from(&gate, peer, pull(headers)).await;
        assert_eq!(status, if allowed { 404 } else { 403 }, "{peer} {headers}");
        assert_eq!(gate.forwarded() - before, usize::from(allowed), "{peer} {headers}");
    }
    let log = gate.log(17).await;
    let denied = log.iter().filter(|line| line["reason"] == "denied_by_policy").count();
    assert_eq!(denied, 10);
}

/// With the PROXY protocol, the address in its header is the client's. A header without one is from
/// the proxy itself.
#[tokio::test]
async fn the_address_of_a_proxy_header_counts() {
    let gate = gate(&["proxy_protocol: true"]).await;
    for (header, allowed) in [
        ("PROXY TCP4 10.1.2.3 198.51.100.1 56324 443\r\n", true),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", false),
        ("PROXY UNKNOWN\r\n", false),
    ] {
        let status = from(&gate, "127.0.0.1", format!("{header}{}", pull(""))).await;
        assert_eq!(status, if allowed { 404 } else { 403 }, "{header}");
    }
}

/// A token is granted by the address of the token request, and each request is judged by its own
/// address.
#[tokio::test]
async fn a_token_is_granted_and_used_by_the_address_of_each_request() {
    let gate = gate(&[]).await;
    let scope = "/token?scope=repository:demo/a:pull,push";
    let token = async |headers: &str| -> Value {
        let reply = gate.send("GET", scope, Some(ALICE), headers, "").await;
        serde_json::from_str(&reply.body).unwrap()
    };
    let (inside, outside) = (token(INSIDE).await, token(OUTSIDE).await);
    let bearer =
        |token: &Value| format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    for (token, headers, status) in [
        (&inside, INSIDE, 404),
        (&inside, OUTSIDE, 401),
        (&inside, "", 401),
        (&outside, INSIDE, 401),
    ] {
        let headers = format!("{}{headers}", bearer(token));
        let reply = gate.send("GET", TAGS, None, &headers, "").await;
        assert_eq!(reply.status, status, "{headers} {reply:?}");
    }
    let log = gate.log(6).await;
    let reasons: Vec<_> = log[2..].iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["allowed", "denied_by_policy", "denied_by_policy", "insufficient_scope"]);
    assert_eq!(gate.forwarded(), 1);
}

#[tokio::test]
async fn the_address_counts_for_anonymous_callers_mounts_and_the_catalog() {
    let gate = gate(&[]).await;
    for (headers, status) in [(INSIDE, 404), (OUTSIDE, 401), ("", 401)] {
        let reply = gate.send("GET", "/v2/public/a/tags/list", None, headers, "").await;
        assert_eq!(reply.status, status, "{headers}");
    }
    let names = async |headers: &str| {
        let reply = gate.send("GET", "/v2/_catalog", Some(ALICE), headers, "").await;
        serde_json::from_str::<Value>(&reply.body).unwrap()["repositories"].clone()
    };
    for name in ["demo/a", "open/b"] {
        push(&gate, name).await;
    }
    assert_eq!(names(INSIDE).await, json!(["demo/a", "open/b"]));
    assert_eq!(names(OUTSIDE).await, json!(["open/b"]));
    assert_eq!(names("").await, json!(["open/b"]));
}

/// Puts a manifest into the registry behind the gate.
async fn push(gate: &TestGate, name: &str) {
    let mut stream = tokio::net::TcpStream::connect(gate.registry()).await.unwrap();
    let target = format!("/v2/{name}/manifests/v1");
    let headers = crate::harness::INDEX_TYPE;
    let message = request("PUT", &target, None, headers, crate::harness::EMPTY_INDEX);
    stream.write_all(message.as_bytes()).await.unwrap();
    assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, 201);
}
