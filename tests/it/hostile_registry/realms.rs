//! Challenges that name a token server of the registry's choice, and token servers that answer
//! nonsense.

use super::server::{Server, answer};
use super::{ALICE, MANIFEST, PASSWORD, gate, refused};
use crate::harness::{TestGate, basic};

const ACCOUNT: (&str, &str) = ("gate", PASSWORD);

/// Starts a registry that accepts the token `good`, and names this realm otherwise.
fn registry(realm: String, scope: &'static str) -> Server {
    Server::start("127.0.0.1", move |request| match request.header("authorization") {
        Some("Bearer good") => answer("200 OK", "", "ok"),
        _ => {
            let challenge = format!(r#"Bearer realm="{realm}",service="s"{scope}"#);
            answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
        }
    })
}

fn token_authorization(more: &[String]) -> Vec<String> {
    let own = ["authorization: token", "username: gate", "password_file: upstream.password"];
    own.iter().map(ToString::to_string).chain(more.iter().cloned()).collect()
}

async fn asked(gate: &TestGate) -> (u16, Option<String>) {
    let reply = gate.get(MANIFEST, Some(ALICE)).await;
    if reply.status == 200 {
        return (200, None);
    }
    (reply.status, Some(refused(gate, &reply, reply.status).await))
}

const FAILED: Option<&str> = Some("upstream_token_failed");

#[tokio::test]
async fn the_password_goes_only_to_the_registrys_own_host_and_listed_hosts() {
    let trap = Server::trap("127.0.0.2");
    let port = trap.address.port();
    let listed = format!("token_realms: [\"auth.example.net\", \"127.0.0.2:{}\"]", port ^ 1);
    for realm in [
        format!("http://127.0.0.2:{port}/token"),
        format!("http://user@127.0.0.2:{port}/token"),
        format!("http://auth.example.net@127.0.0.2:{port}/token"),
        format!("http://0x7f000002:{port}/token"),
        format!("http://2130706434:{port}/token"),
        format!("http://[::ffff:127.0.0.2]:{port}/token"),
        format!("//127.0.0.2:{port}/token"),
        "http://169.254.169.254/token".to_owned(),
        "https://auth.example.net.evil.test/token".to_owned(),
        "http://auth.example.net/token".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/token".to_owned(),
        "a".repeat(10_000),
    ] {
        let registry = registry(realm.clone(), "");
        let gate = gate(&registry, &token_authorization(std::slice::from_ref(&listed))).await;
        let (status, reason) = asked(&gate).await;
        assert_eq!((status, reason.as_deref()), (502, FAILED), "{realm}");
        assert_eq!(registry.ledger().len(), 1, "{realm}");
        assert!(trap.ledger().is_empty(), "{realm}");
    }
}

#[tokio::test]
async fn a_redirect_of_a_token_server_is_not_followed() {
    let trap = Server::trap("127.0.0.2");
    let location = format!("Location: http://{}/token\r\n", trap.address);
    let realm = Server::start("127.0.0.1", move |_| answer("302 Found", &location, ""));
    let registry = registry(format!("http://{}/token", realm.address), "");
    let gate = gate(&registry, &token_authorization(&[])).await;
    let (status, reason) = asked(&gate).await;
    assert_eq!((status, reason.as_deref()), (502, FAILED));
    assert_eq!(realm.ledger().len(), 1);
    assert!(trap.ledger().is_empty());
}

#[tokio::test]
async fn the_gate_asks_for_the_scope_of_the_request_alone() {
    for scope in [
        "",
        r#",scope="repository:demo/a:pull,push,delete""#,
        r#",scope="repository:other:pull""#,
        r#",scope="registry:catalog:*""#,
    ] {
        let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
        let registry = registry(format!("http://{}/token", realm.address), scope);
        let gate = gate(&registry, &token_authorization(&[])).await;
        assert_eq!(asked(&gate).await.0, 200, "{scope}");
        let ledger = realm.ledger();
        let [question] = &ledger[..] else { panic!("{ledger:?}") };
        assert_eq!(
            question.target(),
            "/token?service=s&scope=repository%3Ademo%2Fa%3Apull&account=gate",
            "{scope}"
        );
        assert_eq!(question.header("authorization"), Some(&*basic(ACCOUNT)));
        for request in registry.ledger() {
            assert!(!request.head.contains(&basic(ACCOUNT)), "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_token_server_that_gives_no_token_is_502_and_one_that_is_down_503() {
    let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(1 << 20));
    for (status_line, body, status) in [
        ("200 OK", "{}", 502),
        ("200 OK", "no JSON", 502),
        ("200 OK", r#"{"token":"a","token":"good"}"#, 502),
        ("200 OK", r#"{"token":"a","access_token":"good"}"#, 502),
        ("200 OK", r#"{"token":"a\r\nX: y"}"#, 502),
        ("200 OK", &*long, 502),
        ("401 Unauthorized", "", 502),
        ("403 Forbidden", "", 502),
        ("404 Not Found", "", 502),
        ("429 Too Many Requests", "", 503),
        ("500 Internal Server Error", "", 503),
        ("503 Service Unavailable", "", 503),
    ] {
        let text = answer(status_line, "", body);
        let realm = Server::start("127.0.0.1", move |_| text.clone());
        let registry = registry(format!("http://{}/token", realm.address), "");
        let gate = gate(&registry, &token_authorization(&[])).await;
        let (got, reason) = asked(&gate).await;
        assert_eq!((got, reason.as_deref()), (status, FAILED), "{status_line} {body:.40}");
    }
    let closed = crate::harness::listener().local_addr().unwrap();
    let registry = registry(format!("http://{closed}/token"), "");
    let gate = gate(&registry, &token_authorization(&[])).await;
    assert_eq!(asked(&gate).await.0, 503);
    // An operator sees the error itself.
    let status = gate.admin("/status.json").await.body;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let error = status["problems"][0]["error"].as_str().unwrap();
    assert!(error.contains(&closed.to_string()) && error.contains("refused"), "{error}");
}

/// Docker Hub answers so for what does not exist.
#[tokio::test]
async fn a_fresh_token_that_is_refused_is_404_for_a_read_and_403_for_a_write() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"other"}"#));
    let registry = registry(format!("http://{}/token", realm.address), "");
    let gate = gate(&registry, &token_authorization(&[])).await;
    for _ in 0..3 {
        let read = gate.get(MANIFEST, Some(ALICE)).await;
        assert_eq!((read.status, &*read.code()), (404, "NAME_UNKNOWN"));
        let write = gate.send("POST", "/v2/demo/a/blobs/uploads/", Some(ALICE), "", "").await;
        assert_eq!((write.status, &*write.code()), (403, "DENIED"));
    }
    // The answers are remembered.
    assert_eq!(realm.ledger().len(), 2);
    assert_eq!(registry.ledger().len(), 3, "{:?}", registry.lines());
}

#[tokio::test]
async fn many_requests_share_one_question() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
    let registry = registry(format!("http://{}/token", realm.address), "");
    let gate = gate(&registry, &token_authorization(&[])).await;
    let requests = (0..20).map(|_| gate.get(MANIFEST, Some(ALICE)));
    for reply in crate::hostile_registry::all(requests).await {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(realm.ledger().len(), 1);
}

/// An anonymous gate at a registry with public images.
#[tokio::test]
async fn without_an_account_the_token_server_is_asked_without_a_credential() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
    let registry = registry(format!("http://{}/token", realm.address), "");
    let gate = gate(&registry, &["authorization: token".to_owned()]).await;
    assert_eq!(asked(&gate).await.0, 200);
    let ledger = realm.ledger();
    assert_eq!(ledger[0].header("authorization"), None);
    assert!(!ledger[0].target().contains("account"));
}

/// A realm that adds to the question could get a token for everything that the account may do.
#[tokio::test]
async fn a_realm_cannot_add_to_the_question() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
    for query in ["scope=repository:other:pull", "a=b&%53cope=x", "service=other", "account=root"] {
        let registry = registry(format!("http://{}/token?{query}", realm.address), "");
        let gate = gate(&registry, &token_authorization(&[])).await;
        let (status, reason) = asked(&gate).await;
        assert_eq!((status, reason.as_deref()), (502, FAILED), "{query}");
    }
    assert!(realm.ledger().is_empty());
}

/// A token server may move, and a proxy in front of the registry may ask for a password meanwhile.
#[tokio::test]
async fn a_challenge_that_gives_no_credential_is_forgotten() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
    let good = format!(r#"Bearer realm="http://{}/token""#, realm.address);
    for bad in [r#"Bearer realm="https://evil.test/token""#, r#"Basic realm="proxy""#, "Negotiate"]
    {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let good = good.clone();
        let registry = Server::start("127.0.0.1", move |request| {
            if request.header("authorization") == Some("Bearer good") {
                return answer("200 OK", "", "ok");
            }
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            let challenge = if first { bad } else { &good };
            answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
        });
        let gate = gate(&registry, &token_authorization(&[])).await;
        assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 502, "{bad}");
        assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 200, "{bad}");
    }
}

/// docker asks for a manifest before it pushes it.
#[tokio::test]
async fn a_write_ends_the_memory_of_refused_reads() {
    let exists = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let realm = Server::start("127.0.0.1", |request| {
        let token = if request.target().contains("push") { "push" } else { "pull" };
        answer("200 OK", "", &format!(r#"{{"token":"{token}"}}"#))
    });
    let address = realm.address;
    let registry = Server::start("127.0.0.1", move |request| {
        use std::sync::atomic::Ordering::SeqCst;
        match (request.line().split(' ').next(), request.header("authorization")) {
            (Some("PUT"), Some("Bearer push")) => {
                exists.store(true, SeqCst);
                answer("201 Created", "", "")
            }
            (Some("GET"), Some("Bearer pull")) if exists.load(SeqCst) => answer("200 OK", "", "ok"),
            _ => {
                let challenge = format!(r#"Bearer realm="http://{address}/token""#);
                answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
            }
        }
    });
    let gate = gate(&registry, &token_authorization(&[])).await;
    assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 404);
    let media_type = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
    assert_eq!(gate.send("PUT", MANIFEST, Some(ALICE), media_type, "{}").await.status, 201);
    assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 200);
}

/// Without the mount, every client uploads the blob.
#[tokio::test]
async fn a_mount_from_what_the_account_may_not_see_becomes_a_plain_upload() {
    for realm_forbids in [false, true] {
        mount(realm_forbids).await;
    }
}

async fn mount(realm_forbids: bool) {
    let realm = Server::start("127.0.0.1", move |request| {
        let is_mount = request.target().matches("scope=").count() == 2;
        match is_mount {
            true if realm_forbids => answer("403 Forbidden", "", ""),
            true => answer("200 OK", "", r#"{"token":"mount"}"#),
            false => answer("200 OK", "", r#"{"token":"good"}"#),
        }
    });
    let address = realm.address;
    let registry =
        Server::start("127.0.0.1", move |request| match request.header("authorization") {
            Some("Bearer good") => {
                answer("202 Accepted", "Location: /v2/demo/a/blobs/uploads/1\r\n", "")
            }
            _ => {
                let challenge = format!(r#"Bearer realm="http://{address}/token""#);
                answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
            }
        });
    let gate = gate(&registry, &token_authorization(&[])).await;
    let digest = crate::harness::some_digest();
    let target = format!("/v2/demo/a/blobs/uploads/?mount={digest}&from=other");
    let reply = gate.send("POST", &target, Some(ALICE), "", "").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(registry.lines().last().unwrap(), "POST /v2/demo/a/blobs/uploads/");
}

/// The registry has its own time, however long its token server took.
#[tokio::test]
async fn a_slow_token_server_does_not_use_up_the_response_timeout() {
    let realm = Server::start("127.0.0.1", |_| {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        answer("200 OK", "", r#"{"token":"good"}"#)
    });
    let registry = registry(format!("http://{}/token", realm.address), "");
    let lines = token_authorization(&["response_timeout: 1s".to_owned()]);
    let gate = gate(&registry, &lines).await;
    assert_eq!(asked(&gate).await.0, 200);
}
