//! Uploads that the registry leads elsewhere, and their sealed addresses in the wrong place.

use super::server::{Request, Server, answer};
use super::{ALICE, BOB, gate, gate_with};
use crate::harness::{Reply, Setup, TestGate, some_digest};

const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// Starts a registry that leads every upload to this address.
fn registry(location: impl Into<String>) -> Server {
    let location = location.into();
    Server::start("127.0.0.1", move |request| uploads(request, &location))
}

fn uploads(request: &Request, location: &str) -> String {
    match request.line().split(' ').next() {
        Some("POST" | "PATCH") => {
            answer("202 Accepted", &format!("Location: {location}\r\nRange: 0-3\r\n"), "")
        }
        Some("PUT") => answer("201 Created", "Location: https://elsewhere.test/blob\r\n", ""),
        _ => answer("204 No Content", "", "").replace("Content-Length: 0\r\n", ""),
    }
}

async fn begin(gate: &TestGate) -> String {
    let reply = gate.send("POST", UPLOADS, Some(ALICE), "", "").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let location = reply.header("location").unwrap().to_owned();
    assert!(location.starts_with(&format!("{UPLOADS}mu1.")), "{location}");
    location
}

async fn unknown(gate: &TestGate, method: &str, target: &str, who: (&str, &str)) {
    let reply: Reply = gate.send(method, target, Some(who), "", "").await;
    assert_eq!((reply.status, &*reply.code()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method} {target}");
}

#[tokio::test]
async fn an_upload_under_another_path_goes_where_the_registry_led_it() {
    let registry = registry("/artifacts-uploads/p/uploads/1?state=a%2Fb");
    let gate = gate(&registry, &[]).await;
    let first = begin(&gate).await;
    let patched = gate.send("PATCH", &first, Some(ALICE), "", "body").await;
    assert_eq!((patched.status, patched.header("range")), (202, Some("0-3")));
    let second = patched.header("location").unwrap();
    let digest = some_digest();
    let finish = format!("{second}?digest={digest}&other=x&from=y&digest-algorithm=sha256");
    let finished = gate.send("PUT", &finish, Some(ALICE), "", "").await;
    assert_eq!((finished.status, finished.header("location")), (201, None), "{finished:?}");
    let target = "/artifacts-uploads/p/uploads/1?state=a%2Fb";
    assert_eq!(
        registry.lines(),
        [
            format!("POST {UPLOADS}"),
            format!("PATCH {target}"),
            format!("PUT {target}&digest={digest}&digest-algorithm=sha256"),
        ]
    );
    assert_eq!(registry.ledger()[1].body, "body");
}

#[tokio::test]
async fn a_sealed_address_is_valid_for_its_caller_and_repository_alone() {
    let registry = registry("/elsewhere/1");
    let gate = gate(&registry, &[]).await;
    let address = begin(&gate).await;
    let id = address.strip_prefix(UPLOADS).unwrap();
    let mut altered: Vec<String> = vec![
        format!("{UPLOADS}{id}A"),
        format!("{UPLOADS}{}", &id[..id.len() - 1]),
        format!("{UPLOADS}mu1."),
        format!("{UPLOADS}mu1.x.y"),
        format!("/v2/demo/b/blobs/uploads/{id}"),
    ];
    for at in (4..id.len()).step_by(7) {
        let mut changed = id.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        altered.push(format!("{UPLOADS}{}", String::from_utf8(changed).unwrap()));
    }
    let other_gate = super::gate(&registry, &[]).await;
    let before = registry.ledger().len();
    for method in ["PATCH", "PUT", "GET", "HEAD", "DELETE"] {
        for target in &altered {
            let reply = gate.send(method, target, Some(ALICE), "", "").await;
            assert_eq!(reply.status, 404, "{method} {target}");
        }
    }
    unknown(&gate, "PATCH", &address, BOB).await;
    unknown(&other_gate, "PATCH", &address, ALICE).await;
    assert_eq!(registry.ledger().len(), before, "{:?}", registry.lines());
    // What only looks like one is the registry's own.
    let own = gate.send("PATCH", &format!("{UPLOADS}mu2.x.y"), Some(ALICE), "", "x").await;
    assert_eq!(own.status, 202);
    assert_eq!(registry.lines().last().unwrap(), &format!("PATCH {UPLOADS}mu2.x.y"));
}

#[tokio::test]
async fn an_upload_at_a_listed_host_shows_it_no_credential() {
    let storage = Server::start("127.0.0.1", |request| uploads(request, "/x/2"));
    let registry = registry(format!("http://{}/x/1?a=b", storage.address));
    let mut upstream = vec![format!("upload_hosts: [\"{}\"]", storage.address)];
    upstream.extend(
        ["authorization: basic", "username: gate", "password_file: upstream.password"]
            .map(str::to_owned),
    );
    let mut gate = gate(&registry, &upstream).await;
    let address = begin(&gate).await;
    let patched = gate.send("PATCH", &address, Some(ALICE), "Cookie: c\r\n", "body").await;
    assert_eq!(patched.status, 202, "{patched:?}");
    let second = patched.header("location").unwrap().to_owned();
    let finish = format!("{second}?digest={}", some_digest());
    assert_eq!(gate.send("PUT", &finish, Some(ALICE), "", "").await.status, 201);
    let lines = ["PATCH /x/1?a=b".to_owned(), format!("PUT /x/2?digest={}", some_digest())];
    assert_eq!(storage.lines(), lines);
    for request in storage.ledger() {
        for name in ["authorization", "cookie", "x-forwarded-for", "x-forwarded-host"] {
            assert_eq!(request.header(name), None, "{request:?}");
        }
        assert_eq!(request.header("content-type"), Some("application/octet-stream"));
    }

    // The config of now decides where a sealed address may lead.
    let address = begin(&gate).await;
    gate.edit(&storage.address.to_string(), "storage.example.com");
    assert!(gate.reload().await);
    unknown(&gate, "PATCH", &address, ALICE).await;
    assert_eq!(storage.ledger().len(), 2);
}

#[tokio::test]
async fn an_upload_elsewhere_is_refused_at_once() {
    let trap = Server::trap("127.0.0.2");
    let long = "x".repeat(7000);
    for location in [
        format!("http://{}/x", trap.address),
        format!("//{}/x", trap.address),
        format!("http://user@{}/x", trap.address),
        "https://storage.example.com:8443/x".to_owned(),
        "http://storage.example.com/x".to_owned(),
        format!("/elsewhere/{long}"),
        "/v2/demo/b/blobs/uploads/1".to_owned(),
        "/v2/demo/a/manifests/v1".to_owned(),
    ] {
        let registry = registry(location.clone());
        let gate = gate(&registry, &["upload_hosts: [storage.example.com]".to_owned()]).await;
        let reply = gate.send("POST", UPLOADS, Some(ALICE), "", "").await;
        let reason = super::refused(&gate, &reply, 502).await;
        assert_eq!(reason, "upstream_leads_elsewhere", "{location}");
        assert!(trap.ledger().is_empty());
    }
}

/// Two gates with the same key file stand for replicas, and for a gate before and after a restart.
#[tokio::test]
async fn gates_with_the_same_keys_know_each_others_uploads() {
    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    let registry = registry("/elsewhere/1");
    let start = async || {
        let gate = gate_with(&registry, &[], Setup::default()).await;
        gate.write("keys", KEY);
        gate.edit("identity:", "tokens: { key_file: keys }\nidentity:");
        gate
    };
    let (mut one, mut other) = (start().await, start().await);
    assert!(one.reload().await && other.reload().await);
    let address = begin(&one).await;
    let patched = other.send("PATCH", &address, Some(ALICE), "", "x").await;
    assert_eq!(patched.status, 202, "{patched:?}");
}

/// The registry may be a gate itself, whose addresses look like this one's.
#[tokio::test]
async fn an_address_that_looks_sealed_is_sealed_again() {
    let own = format!("{UPLOADS}mu1.of-another.gate");
    let registry = registry(own.clone());
    let gate = gate(&registry, &[]).await;
    let address = begin(&gate).await;
    assert_ne!(address, own);
    assert_eq!(gate.send("PATCH", &address, Some(ALICE), "", "x").await.status, 202);
    assert_eq!(registry.lines().last().unwrap(), &format!("PATCH {own}"));
}
