//! A proxy on the way to the registry: what it reads, and what it does not see.

use super::server::{Server, answer};
use super::{ALICE, MANIFEST, PASSWORD};
use crate::harness::{Setup, TestGate, basic};

/// Starts a gate whose registry without TLS lies behind a proxy.
async fn gate(proxy: &Server, more: &[&'static str]) -> TestGate {
    let proxy = format!("proxy: \"http://{}\"", proxy.address).leak();
    let setup = Setup {
        upstream_url: Some("http://registry.internal:5000/base".to_owned()),
        upstream: [&[&*proxy, "proxy_credentials_file: proxy.credentials"], more].concat(),
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry, delete_registry] }",
        ),
        htpasswd_users: vec![ALICE],
        files: vec![
            ("proxy.credentials", "carol:password-of-the-proxy\n"),
            ("upstream.password", PASSWORD),
        ],
        workers: Some(1),
        ..Setup::default()
    };
    TestGate::start(setup).await
}

const AT_PROXY: (&str, &str) = ("carol", "password-of-the-proxy");

#[tokio::test]
async fn a_proxy_forwards_requests_to_a_registry_without_tls() {
    let proxy = Server::start("127.0.0.1", |_| answer("200 OK", "", "ok"));
    let gate = gate(&proxy, &[]).await;
    let accept = "Accept: a/b\r\nAccept: c/d\r\n";
    for _ in 0..2 {
        let reply = gate.send("GET", MANIFEST, Some(ALICE), accept, "").await;
        assert_eq!((reply.status, &*reply.body), (200, "ok"));
    }
    for request in proxy.ledger() {
        assert_eq!(request.target(), format!("http://registry.internal:5000/base{MANIFEST}"));
        assert_eq!(request.header("host"), Some("registry.internal:5000"));
        assert_eq!(request.header("proxy-authorization"), Some(&*basic(AT_PROXY)));
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("accept"), Some("a/b, c/d"));
    }
}

/// The token server is on the registry's host, and is asked through the proxy too.
#[tokio::test]
async fn the_token_server_is_asked_through_the_proxy() {
    let proxy = Server::start("127.0.0.1", |request| {
        if request.target().starts_with("http://registry.internal:5000/token") {
            return answer("200 OK", "", r#"{"token":"good"}"#);
        }
        match request.header("authorization") {
            Some("Bearer good") => answer("200 OK", "", "ok"),
            _ => {
                let challenge = r#"Bearer realm="http://registry.internal:5000/token""#;
                answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
            }
        }
    });
    let own = [
        "authorization: token",
        "username: gate",
        "password_file: upstream.password",
        "insecure: true",
    ];
    let gate = gate(&proxy, &own).await;
    assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 200);
    for request in proxy.ledger() {
        assert_eq!(request.header("proxy-authorization"), Some(&*basic(AT_PROXY)), "{request:?}");
    }
    assert_eq!(proxy.ledger().len(), 3);
    assert_eq!(proxy.ledger()[1].header("authorization"), Some(&*basic(("gate", PASSWORD))));
}
