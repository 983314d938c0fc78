//! Redirects of a hostile registry, with `redirects: follow`.

use super::server::{Server, answer};
use super::{ALICE, MANIFEST, gate, refused};
use crate::harness::some_digest;

/// Starts a registry that redirects every read to this address.
fn registry(location: impl Into<String>) -> Server {
    let line = format!(
        "Location: {}\r\nDocker-Content-Digest: sha256:of-the-registry\r\n",
        location.into()
    );
    Server::start("127.0.0.1", move |_| answer("307 Temporary Redirect", &line, ""))
}

fn follow(hosts: &[String]) -> Vec<String> {
    let hosts: Vec<_> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    vec!["redirects: follow".to_owned(), format!("redirect_hosts: [{}]", hosts.join(", "))]
}

fn blob() -> String {
    format!("/v2/demo/a/blobs/{}", some_digest())
}

#[tokio::test]
async fn the_gate_connects_only_to_listed_hosts() {
    let trap = Server::trap("127.0.0.2");
    let port = trap.address.port();
    // The name is listed, and its address is not.
    let hosts = [
        format!("localhost:{port}"),
        "storage.example.com".to_owned(),
        format!("127.0.0.3:{port}"),
        "127.0.0.2:1".to_owned(),
    ];
    let local = Server::trap("127.0.0.1");
    for location in [
        format!("http://127.0.0.2:{port}/x"),
        format!("http://localhost:{port}/x"),
        format!("http://localhost:{}/x", local.address.port()),
        format!("http://{}/x", local.address),
        format!("//127.0.0.2:{port}/x"),
        format!("http://storage.example.com@127.0.0.2:{port}/x"),
        format!("http://user:secret@127.0.0.3:{port}/x"),
        format!("http://0x7f.2:{port}/x"),
        format!("http://[::ffff:127.0.0.2]:{port}/x"),
        format!("http://[::1]:{port}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://storage.example.com/x".to_owned(),
        "https://storage.example.com:8443/x".to_owned(),
        "https://storage.example.com.evil.test/x".to_owned(),
        "ftp://storage.example.com/x".to_owned(),
        "\\\\storage.example.com\\x".to_owned(),
        String::new(),
    ] {
        let registry = registry(location.clone());
        let gate = gate(&registry, &follow(&hosts)).await;
        let reply = gate.get(&blob(), Some(ALICE)).await;
        assert_eq!(refused(&gate, &reply, 502).await, "redirect_failed", "{location}");
        assert!(trap.ledger().is_empty() && local.ledger().is_empty(), "{location}");
        assert!(!reply.body.contains("secret"), "{reply:?}");
    }
}

#[tokio::test]
async fn at_most_three_redirects_are_followed() {
    for (more, status) in [(2, 200), (3, 502), (100, 502)] {
        let storage = Server::start("127.0.0.1", move |request| {
            let hop: usize = request.target()[1..].parse().unwrap();
            match hop < more {
                true => answer("302 Found", &format!("Location: /{}\r\n", hop + 1), ""),
                false => answer("200 OK", "", "content"),
            }
        });
        let registry = registry(format!("http://{}/0", storage.address));
        let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
        let reply = gate.get(&blob(), Some(ALICE)).await;
        assert_eq!(reply.status, status, "{more}");
        assert_eq!(storage.ledger().len(), 3, "{more}");
    }
}

/// A redirect from a listed host is judged like one of the registry.
#[tokio::test]
async fn a_listed_host_cannot_lead_to_another_one() {
    let trap = Server::trap("127.0.0.2");
    let location = format!("Location: http://{}/x\r\n", trap.address);
    let storage = Server::start("127.0.0.1", move |_| answer("302 Found", &location, ""));
    let registry = registry(format!("http://{}/0", storage.address));
    let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
    assert_eq!(gate.get(&blob(), Some(ALICE)).await.status, 502);
    assert_eq!(storage.ledger().len(), 1);
    assert!(trap.ledger().is_empty());
}

#[tokio::test]
async fn only_content_passes() {
    for (status_line, headers, status) in [
        ("200 OK", "", 200),
        ("206 Partial Content", "Content-Range: bytes 0-6/9\r\n", 206),
        ("416 Range Not Satisfiable", "Content-Range: bytes */9\r\n", 416),
        ("304 Not Modified", "ETag: \"e\"\r\n", 304),
        ("201 Created", "", 502),
        ("204 No Content", "", 502),
        ("401 Unauthorized", "WWW-Authenticate: Basic\r\n", 502),
        ("403 Forbidden", "", 502),
        ("404 Not Found", "", 502),
        ("500 Internal Server Error", "", 502),
        ("200 OK", "Content-Encoding: gzip\r\n", 502),
        ("200 OK", "Transfer-Encoding: chunked\r\n", 502),
    ] {
        let is_bodiless = status_line.starts_with("204") || status_line.starts_with("304");
        let body = if is_bodiless { "" } else { "content" };
        let text = answer(status_line, headers, body);
        let storage = Server::start("127.0.0.1", move |_| text.clone());
        let registry = registry(format!("http://{}/0", storage.address));
        let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
        let reply = gate.get(&blob(), Some(ALICE)).await;
        assert_eq!(reply.status, status, "{status_line} {headers}");
    }
}

#[tokio::test]
async fn the_storage_sees_no_credential_and_the_client_sees_only_content() {
    let headers = "Content-Type: text/html\r\nETag: \"e\"\r\nLast-Modified: Mon, 01 Jan 2024 \
                   00:00:00 GMT\r\nAccept-Ranges: bytes\r\nSet-Cookie: a=b\r\nServer: s\r\n\
                   x-amz-request-id: 1\r\nDocker-Content-Digest: sha256:of-the-storage\r\n\
                   Location: /elsewhere\r\nLink: </x>\r\n";
    let storage = Server::start("127.0.0.1", move |_| answer("200 OK", headers, "content"));
    let registry = registry(format!("http://{}/x?sig=s", storage.address));
    let mut upstream = follow(&[storage.address.to_string()]);
    upstream.extend(
        ["authorization: basic", "username: gate", "password_file: upstream.password"]
            .map(str::to_owned),
    );
    let gate = gate(&registry, &upstream).await;
    let asked = "Range: bytes=0-6\r\nIf-None-Match: \"f\"\r\nAccept: a/b\r\nCookie: c\r\n\
                 X-Forwarded-For: 192.0.2.1\r\nUser-Agent: client\r\n";
    let reply = gate.send("GET", &blob(), Some(ALICE), asked, "").await;
    assert_eq!((reply.status, &*reply.body), (200, "content"));
    for (name, value) in [
        ("content-type", Some("application/octet-stream")),
        ("x-content-type-options", Some("nosniff")),
        ("content-length", Some("7")),
        ("etag", Some("\"e\"")),
        ("accept-ranges", Some("bytes")),
        ("docker-content-digest", Some("sha256:of-the-registry")),
        ("set-cookie", None),
        ("server", None),
        ("x-amz-request-id", None),
        ("location", None),
        ("link", None),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    let [request] = &storage.ledger()[..] else { panic!("{:?}", storage.lines()) };
    assert_eq!(request.line(), "GET /x?sig=s");
    let names = request.head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let mut names: Vec<_> = names.map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "host", "if-none-match", "range", "user-agent"]);
    assert!(!request.head.contains("client"));
}

/// What is followed is a blob or a manifest.
#[tokio::test]
async fn manifests_keep_their_type_and_lists_pass() {
    let media_type = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
    let storage = Server::start("127.0.0.1", move |_| answer("200 OK", media_type, "{}"));
    let registry = registry(format!("http://{}/x", storage.address));
    let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
    let reply = gate.get(MANIFEST, Some(ALICE)).await;
    assert_eq!(reply.header("content-type"), Some("application/vnd.oci.image.index.v1+json"));
    assert_eq!(reply.header("x-content-type-options"), None);
    let head = gate.send("HEAD", MANIFEST, Some(ALICE), "", "").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("2")));
    for target in
        ["/v2/demo/a/tags/list".to_owned(), format!("/v2/demo/a/referrers/{}", some_digest())]
    {
        let reply = gate.get(&target, Some(ALICE)).await;
        assert_eq!(reply.status, 307, "{target}");
    }
    assert_eq!(storage.lines(), ["GET /x", "HEAD /x"]);
}

/// Google redirects so. The registry's own host needs no entry, and sees no credential there.
#[tokio::test]
async fn a_redirect_without_a_host_stays_with_the_registry() {
    let registry = Server::start("127.0.0.1", |request| match request.target() {
        "/downloads/x?s" => answer("200 OK", "", "content"),
        _ => answer("302 Found", "Location: /downloads/x?s\r\n", ""),
    });
    let mut upstream = follow(&["storage.example.com".to_owned()]);
    upstream.extend(
        ["authorization: basic", "username: gate", "password_file: upstream.password"]
            .map(str::to_owned),
    );
    let gate = gate(&registry, &upstream).await;
    assert_eq!(gate.get(&blob(), Some(ALICE)).await.body, "content");
    let ledger = registry.ledger();
    assert!(ledger[0].header("authorization").is_some());
    assert_eq!(ledger[1].header("authorization"), None);
}

#[tokio::test]
async fn content_without_a_stated_length_passes() {
    let storage = Server::start("127.0.0.1", |_| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n\r\n".to_owned()
    });
    let registry = registry(format!("http://{}/x", storage.address));
    let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
    let reply = gate.get(&blob(), Some(ALICE)).await;
    assert_eq!((reply.status, reply.body.contains("content")), (200, true), "{reply:?}");
}

/// Each redirected pull would otherwise cost a connection to the registry.
#[tokio::test]
async fn the_connection_to_the_registry_is_used_again() {
    let storage = Server::start("127.0.0.1", |_| answer("200 OK", "", "content"));
    let registry = registry(format!("http://{}/x", storage.address));
    let gate = gate(&registry, &follow(&[storage.address.to_string()])).await;
    for _ in 0..5 {
        assert_eq!(gate.get(&blob(), Some(ALICE)).await.status, 200);
    }
    assert_eq!((registry.connections(), storage.connections()), (1, 1));
}

/// With `redirects: pass`, the client would have to read the address.
#[tokio::test]
async fn a_redirect_with_user_information_does_not_reach_the_client() {
    for location in
        ["http://u:secret@storage.test/x", "//u@storage.test/x", "http://127.1/x", "http://[::1/x"]
    {
        let registry = registry(location);
        let gate = gate(&registry, &[]).await;
        let reply = gate.get(&blob(), Some(ALICE)).await;
        assert_eq!(refused(&gate, &reply, 502).await, "upstream_leads_elsewhere", "{location}");
        assert!(!reply.body.contains("secret") && !reply.head.contains("secret"), "{reply:?}");
    }
}
