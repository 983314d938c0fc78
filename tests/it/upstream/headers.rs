//! The headers of an answer that reach the client.

use crate::harness::{READ_WRITE, Reply, Setup, request};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, ScriptedUpstream, soon};

const KEPT: [(&str, &str); 17] = [
    ("Docker-Content-Digest", "sha256:abc"),
    ("Docker-Upload-UUID", "2b8b"),
    ("Content-Type", "application/vnd.oci.image.manifest.v1+json"),
    ("Content-Length", "123456"),
    ("Content-Range", "0-122/123"),
    ("Range", "0-122"),
    ("Accept-Ranges", "bytes"),
    ("OCI-Subject", "sha256:def"),
    ("OCI-Tag", "v1"),
    ("OCI-Chunk-Min-Length", "5"),
    ("OCI-Chunk-Max-Length", "50"),
    ("OCI-Filters-Applied", "artifactType"),
    ("Warning", "299 - \"old\""),
    ("ETag", "\"sha256:abc\""),
    ("Cache-Control", "max-age=31536000"),
    ("Link", "</v2/demo/a/tags/list?n=1&last=x>; rel=\"next\""),
    ("Retry-After", "7"),
];

const DROPPED: [&str; 20] = [
    "Set-Cookie: session=1",
    "Set-Cookie2: session=1",
    "Alt-Svc: h3=\":443\"",
    "Clear-Site-Data: \"*\"",
    "Strict-Transport-Security: max-age=1",
    "Refresh: 0; url=https://evil.test",
    "Proxy-Authenticate: Basic",
    "Proxy-Authentication-Info: x",
    "Proxy-Anything: x",
    "Access-Control-Allow-Origin: *",
    "Access-Control-Allow-Credentials: true",
    "WWW-Authenticate: Bearer realm=\"https://evil.test\"",
    "Authentication-Info: x",
    "Keep-Alive: timeout=5",
    "Trailer: X-Later",
    "TE: trailers",
    "Upgrade: h2c",
    "X-Named: secret",
    "X-Named-Too: secret",
    "X-Request-Id: of-the-registry",
];

fn answer() -> String {
    let kept: String = KEPT.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let dropped: String = DROPPED.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "HTTP/1.1 200 OK\r\n{kept}{dropped}Connection: keep-alive, X-Named\r\n\
         Connection: x-named-too\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n"
    )
}

/// A HEAD, so that the gate must also keep the length of an absent body.
#[tokio::test]
async fn over_http1() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer()).await;
    };
    let ask = gate.raw(request("HEAD", BLOB, Some(READ_WRITE), "X-Request-Id: mine\r\n", ""));
    let ((), text) = soon(async { tokio::join!(script, ask) }).await;
    let reply = Reply::parse(&text);
    assert_eq!((reply.status, &*reply.body), (200, ""));
    for (name, value) in KEPT {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    for line in DROPPED {
        let (name, _) = line.split_once(':').unwrap();
        assert!(name == "X-Request-Id" || reply.header(name).is_none(), "{name}");
    }
    assert_eq!(reply.header("x-request-id"), Some("mine"));
    assert_eq!(text.to_lowercase().matches("docker-distribution-api-version").count(), 1);
    assert_eq!(text.to_lowercase().matches("x-request-id").count(), 1);
}

#[tokio::test]
async fn over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer()).await;
    };
    let ((), response) =
        soon(async { tokio::join!(script, http2_client::ask(&sender, "HEAD", BLOB)) }).await;
    for (name, value) in KEPT {
        assert_eq!(response.headers()[name], value, "{name}");
    }
    for line in DROPPED {
        let (name, _) = line.split_once(':').unwrap();
        assert!(name == "X-Request-Id" || !response.headers().contains_key(name), "{name}");
    }
    assert!(!response.headers().contains_key("connection"));
}

/// A 304 has no body and keeps its ETag.
#[tokio::test]
async fn a_304_has_no_body_and_keeps_its_etag() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, head) = upstream.accept_request().await;
        assert_eq!(head.header("if-none-match"), Some("\"sha256:abc\""));
        connection.write("HTTP/1.1 304 Not Modified\r\nETag: \"sha256:abc\"\r\n\r\n").await;
    };
    let ask = gate.send("GET", BLOB, Some(READ_WRITE), "If-None-Match: \"sha256:abc\"\r\n", "");
    let ((), reply) = soon(async { tokio::join!(script, ask) }).await;
    assert_eq!(
        (reply.status, reply.header("etag"), &*reply.body),
        (304, Some("\"sha256:abc\""), "")
    );
}

/// The gate drops the trailers of the registry. The body is complete without them.
#[tokio::test]
async fn trailers() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        let chunks = "2\r\nok\r\n0\r\nSet-Cookie: session=1\r\n\r\n";
        connection
            .write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
            .await;
    };
    let ((), reply) = soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
    assert_eq!((reply.status, &*reply.body), (200, "2\r\nok\r\n0\r\n\r\n"));
}
