//! Credentials and addresses that must not reach another server (classes 19 and 20 of hostile
//! input).

use crate::harness::{READ_WRITE, Setup, basic, request};
use crate::scripted_upstream::{BLOB, FINISH, Head, OK, ScriptedUpstream, UPLOAD, UPLOADS, soon};

const TAGS: &str = "/v2/demo/a/tags/list";

/// Returns the request that reached the registry, and the client's reply to the given answer of the
/// registry.
async fn ask(
    setup: Setup,
    method: &str,
    target: &str,
    answer: &str,
) -> (Head, crate::harness::Reply) {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let answer = answer.replace("{upstream}", &upstream.address.to_string());
    let script = async {
        let (mut connection, head) = upstream.accept_request().await;
        connection.write(answer).await;
        head
    };
    let (head, reply) =
        soon(async { tokio::join!(script, gate.send(method, target, Some(READ_WRITE), "", "")) })
            .await;
    assert_eq!(upstream.requests(), 1);
    (head, reply)
}

#[tokio::test]
async fn the_callers_credential_never_reaches_the_registry() {
    for (method, target) in [("GET", BLOB), ("POST", UPLOADS), ("PATCH", UPLOAD), ("PUT", FINISH)] {
        let (head, reply) = ask(Setup::default(), method, target, OK).await;
        assert_eq!(reply.status, 200);
        assert_eq!(head.header("authorization"), None, "{head:?}");
        let secret = basic(READ_WRITE);
        assert!(
            !head.0.contains(READ_WRITE.1) && !head.0.contains(secret.split_at(6).1),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn the_gates_own_credential_reaches_the_registry_if_configured() {
    let setup = Setup {
        upstream: vec![
            "authorization: basic",
            "username: moorgate",
            "password_file: upstream.password",
        ],
        files: vec![("upstream.password", "gate's own\n")],
        ..Setup::default()
    };
    let (head, reply) = ask(setup, "GET", BLOB, OK).await;
    assert_eq!(reply.status, 200);
    assert_eq!(head.0.to_lowercase().matches("authorization:").count(), 1);
    assert_eq!(head.header("authorization"), Some(&*basic(("moorgate", "gate's own"))));
}

#[tokio::test]
async fn a_redirect_of_a_blob_passes_untouched_and_is_not_followed() {
    let storage = ScriptedUpstream::start();
    let location = format!("http://{}/bucket/a?X-Signature=a%2Bb%2f==&x=%7E&y", storage.address);
    for method in ["GET", "HEAD"] {
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        );
        let (_, reply) = ask(Setup::default(), method, BLOB, &answer).await;
        assert_eq!((reply.status, reply.header("location")), (307, Some(&*location)));
    }
    assert_eq!(storage.accepted(), 0);
}

#[tokio::test]
async fn a_location_elsewhere_is_a_bad_gateway_and_never_contacted() {
    let elsewhere = ScriptedUpstream::start();
    let evil = format!("http://{}", elsewhere.address);
    for (method, target, status, location) in [
        ("POST", UPLOADS, 202, format!("{evil}/v2/demo/a/blobs/uploads/id")),
        ("PATCH", UPLOAD, 202, format!("//{}/v2/demo/a/blobs/uploads/id", elsewhere.address)),
        ("POST", UPLOADS, 307, format!("{evil}/v2/demo/a/blobs/uploads/")),
        ("PUT", FINISH, 307, FINISH.to_owned()),
        ("POST", UPLOADS, 202, "/v2/demo/other/blobs/uploads/id".to_owned()),
        (
            "POST",
            UPLOADS,
            202,
            format!("http://registry.test@{}/v2/demo/a/blobs/uploads/id", elsewhere.address),
        ),
    ] {
        let answer =
            format!("HTTP/1.1 {status} Word\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let answer =
            if status == 204 { answer.replace("Content-Length: 0\r\n", "") } else { answer };
        let (_, reply) = ask(Setup::default(), method, target, &answer).await;
        assert_eq!((reply.status, &*reply.code()), (502, "UNAVAILABLE"), "{method} {location}");
        assert_eq!(reply.header("location"), None);
        assert!(!format!("{reply:?}").contains(&evil), "{reply:?}");
    }
    let two = "Location: /v2/demo/a/blobs/uploads/1\r\nLocation: /v2/demo/a/blobs/uploads/2";
    let (_, reply) =
        ask(Setup::default(), "POST", UPLOADS, &format!("HTTP/1.1 202 Word\r\n{two}\r\n\r\n"))
            .await;
    assert_eq!(reply.status, 502);
    assert_eq!(elsewhere.accepted(), 0);
}

/// The write is done, or the list is there: a response that no client has to follow passes without
/// an address that leads elsewhere.
#[tokio::test]
async fn an_address_elsewhere_that_no_client_must_follow_is_dropped() {
    let elsewhere = ScriptedUpstream::start();
    let evil = format!("http://{}", elsewhere.address);
    for (method, target, status, header) in [
        ("PUT", FINISH, 201, format!("Location: {evil}{BLOB}")),
        ("PUT", "/v2/demo/a/manifests/v1", 201, format!("Location: {evil}/v2/demo/a/manifests/v1")),
        ("GET", UPLOAD, 204, format!("Location: {evil}/v2/demo/a/blobs/uploads/id")),
        ("GET", TAGS, 200, format!("Link: <{evil}/v2/demo/a/tags/list?last=x>; rel=\"next\"")),
        ("GET", TAGS, 200, "Link: nonsense".to_owned()),
    ] {
        let answer = format!("HTTP/1.1 {status} Word\r\n{header}\r\nContent-Length: 0\r\n\r\n");
        let answer =
            if status == 204 { answer.replace("Content-Length: 0\r\n", "") } else { answer };
        let (_, reply) = ask(Setup::default(), method, target, &answer).await;
        assert_eq!(reply.status, status, "{method} {header}");
        assert_eq!((reply.header("location"), reply.header("link")), (None, None), "{header}");
    }
    assert_eq!(elsewhere.accepted(), 0);
}

/// The distribution spec allows a redirect of every read. A relative one is resolved against the
/// registry's own address, because the gate has no such path.
#[tokio::test]
async fn a_redirect_of_any_read_passes_and_is_absolute() {
    for (method, target) in
        [("GET", BLOB), ("HEAD", "/v2/demo/a/manifests/v1"), ("GET", TAGS), ("GET", UPLOAD)]
    {
        for (location, passed) in [
            ("https://storage.test/x?a%2Bb", "https://storage.test/x?a%2Bb"),
            ("/storage/x", "http://{upstream}/storage/x"),
        ] {
            let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
            let script = async {
                let (mut connection, _) = upstream.accept_request().await;
                let head = format!("HTTP/1.1 307 Word\r\nLocation: {location}");
                connection.write(format!("{head}\r\nContent-Length: 0\r\n\r\n")).await;
                upstream.address.to_string()
            };
            let ask = gate.send(method, target, Some(READ_WRITE), "", "");
            let (address, reply) = soon(async { tokio::join!(script, ask) }).await;
            let passed = passed.replace("{upstream}", &address);
            assert_eq!((reply.status, reply.header("location")), (307, Some(&*passed)), "{target}");
        }
    }
}

/// Some servers answer 411 to a write without a length.
#[tokio::test]
async fn a_write_without_a_body_has_a_length() {
    for (method, target) in [("POST", UPLOADS), ("PUT", FINISH), ("PATCH", UPLOAD)] {
        let (head, _) = ask(Setup::default(), method, target, OK).await;
        assert_eq!(head.header("content-length"), Some("0"), "{method}");
    }
    let (head, _) = ask(Setup::default(), "GET", BLOB, OK).await;
    assert_eq!(head.header("content-length"), None);
}

/// The registry signs `_state`, so the gate must not change any byte of it, in either direction.
#[tokio::test]
async fn locations_become_path_only_and_the_state_survives() {
    let path = "/v2/demo/a/blobs/uploads/id?_state=aB-_%3D%2b==%7e&x=1";
    for origin in ["", "http://registry.test", "http://{upstream}"] {
        let answer = format!(
            "HTTP/1.1 202 Accepted\r\nLocation: {origin}{path}\r\nContent-Length: 0\r\n\r\n"
        );
        let (_, reply) = ask(Setup::default(), "POST", UPLOADS, &answer).await;
        assert_eq!((reply.status, reply.header("location")), (202, Some(path)), "{origin}");
    }
    let (head, _) = ask(Setup::default(), "PATCH", path, OK).await;
    assert_eq!(head.line().1, path);

    let link = "</v2/demo/a/tags/list?n=2&last=b>; rel=\"next\"";
    let absolute = link.replace("</", "<http://{upstream}/");
    let answer = format!("HTTP/1.1 200 OK\r\nLink: {absolute}\r\nContent-Length: 2\r\n\r\n{{}}");
    let (_, reply) = ask(Setup::default(), "GET", "/v2/demo/a/tags/list?n=2", &answer).await;
    assert_eq!((reply.status, reply.header("link")), (200, Some(link)));
}

/// Registries build URLs from these headers. The gate sets them itself, independent of the headers
/// of the client.
#[tokio::test]
async fn the_gate_sets_the_forwarded_headers_itself() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, head) = upstream.accept_request().await;
        connection.write(OK).await;
        head
    };
    let hostile =
        "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\nForwarded: host=evil.test\r\n";
    let text = request("GET", BLOB, Some(READ_WRITE), hostile, "")
        .replace("Host: registry.test", "Host: evil.test");
    let (head, _) = soon(async { tokio::join!(script, gate.raw(text)) }).await;
    assert!(!head.0.contains("evil.test"), "{head:?}");
    assert_eq!(head.header("x-forwarded-host"), Some("registry.test"));
    assert_eq!(head.header("x-forwarded-proto"), Some("http"));
    assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.header("host"), Some(&*upstream.address.to_string()));
}
