//! The form of refusals, independent of the host names and request ids that the client sends.

use http::StatusCode;
use moorgate::demo::Scripted;
use tokio::net::TcpSocket;

use super::{RefusedCase, assert_refusal, assert_refusal_headers, http2, http2_request};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate, listener};

const WRONG: (&str, &str) = ("alice", "glpat-wrong");

/// Every status with which a GET can be refused, by target and credential.
const REFUSALS: [RefusedCase; 7] = [
    ("/v2/", None, 401, "UNAUTHORIZED"),
    ("/v2/demo/a/manifests/v1", None, 401, "UNAUTHORIZED"),
    ("/v2/demo/a/manifests/v1", Some(WRONG), 401, "UNAUTHORIZED"),
    ("/v2/other/a/manifests/v1", Some(READ_ONLY), 403, "DENIED"),
    ("/v2/demo/A/manifests/v1", Some(READ_ONLY), 400, "NAME_INVALID"),
    ("/nothing", Some(READ_ONLY), 404, "UNSUPPORTED"),
    ("/v2/demo/a/blobs/uploads/", Some(READ_ONLY), 405, "UNSUPPORTED"),
];

/// Asserts that the answer to HEAD equals the answer to GET without its body.
fn assert_same_without_body(get: &Reply, head: &Reply, case: &str) {
    assert_eq!((head.status, &*head.body), (get.status, ""), "{case}");
    assert_refusal_headers(head, case);
    assert_eq!(get.header("content-length").unwrap(), get.body.len().to_string(), "{case}");
    for name in ["content-length", "content-type", "allow"] {
        assert_eq!(head.header(name), get.header(name), "{case}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_registry_error() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    for (target, credential, status, code) in REFUSALS {
        let case = format!("{target} {status}");
        let get = gate.get(target, credential).await;
        assert_refusal(&get, status, code, &case);
        assert_same_without_body(&get, &gate.send("HEAD", target, credential, "", "").await, &case);

        let get =
            http2(&sender, http2_request("GET", target, credential), None::<&str>).await.unwrap();
        assert_refusal(&get, status, code, &case);
        let head =
            http2(&sender, http2_request("HEAD", target, credential), None::<&str>).await.unwrap();
        assert_same_without_body(&get, &head, &case);
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (0, 0));
}

#[tokio::test]
async fn a_failure_of_the_upstream_or_a_provider_is_a_registry_error_too() {
    // The port is bound but not listened on, so no other process can take it meanwhile.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = bound.local_addr().unwrap();
    let gate = TestGate::start(Setup { upstream_address: Some(nobody), ..Setup::default() }).await;
    assert_refusal(
        &gate.get("/v2/demo/a/manifests/v1", Some(READ_WRITE)).await,
        502,
        "UNAVAILABLE",
        "no registry",
    );
    gate.gitlab.script([Scripted::Close]);
    let reply = gate.get("/v2/demo/b/manifests/v1", Some(READ_WRITE)).await;
    assert_refusal(&reply, 503, "UNAVAILABLE", "no provider");
    assert!(reply.header("retry-after").is_some());
}

/// Class 20: the realm of the challenge comes from the configuration of the gate, never from a
/// header of the client.
#[tokio::test]
async fn no_host_changes_the_realm() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    for header in ["Host: evil.example", "Host: evil.example:8443", "Host: [::1]"] {
        let mut stream = gate.connect_tls(&[b"http/1.1"]).await;
        let lines = [
            "GET /v2/ HTTP/1.1",
            header,
            "X-Forwarded-Host: evil.example",
            "Forwarded: host=evil.example",
        ];
        let reply = crate::harness::exchange(&mut stream, super::head(&lines)).await;
        assert_refusal(&reply, 401, "UNAUTHORIZED", header);
        assert!(!reply.head.contains("evil"), "{reply:?}");
    }
    for authority in ["evil.example", "evil.example:8443"] {
        let request = http::Request::get(format!("https://{authority}/v2/"))
            .header("x-forwarded-host", "evil.example")
            .body(())
            .unwrap();
        let reply = http2(&sender, request, None::<&str>).await.unwrap();
        assert_refusal(&reply, 401, "UNAUTHORIZED", authority);
        assert!(!reply.head.contains("evil"), "{reply:?}");
    }
}

/// Class 20: if the answer of a provider names another server, the gate never connects to that
/// server, and the client never learns of it.
#[tokio::test]
async fn the_gate_follows_no_address_in_a_providers_answer() {
    let elsewhere = listener();
    let url = format!("http://{}/token", elsewhere.local_addr().unwrap());
    let gate = TestGate::plain().await;
    for (number, (status, name, value)) in [
        (401, "www-authenticate", format!("Bearer realm=\"{url}\",service=\"x\"")),
        (401, "location", url.clone()),
        (407, "proxy-authenticate", format!("Bearer realm=\"{url}\"")),
        (300, "location", url.clone()),
        (301, "location", url.clone()),
        (303, "location", url.clone()),
        (307, "location", url.clone()),
        (308, "location", url.clone()),
        (200, "refresh", format!("0; url={url}")),
        (503, "alt-svc", format!("h2=\"{}\"", elsewhere.local_addr().unwrap())),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = vec![(name.parse().unwrap(), value)];
        let status = StatusCode::from_u16(status).unwrap();
        // `always`, because the gate sends a probe of its own after several unanswered questions.
        gate.gitlab.always(Some(Scripted::Answer { status, headers, body: format!("see {url}") }));
        let secret = format!("glpat-unknown-{number}");
        let reply = gate.get("/v2/demo/a/tags/list", Some(("alice", &secret))).await;
        assert_eq!(
            reply.status,
            if status == StatusCode::UNAUTHORIZED { 401 } else { 503 },
            "{status} {name}"
        );
        assert!(!format!("{reply:?}").contains(&url), "{reply:?}");
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "somebody else was asked");
    assert_eq!(gate.forwarded(), 0);
}

/// The gate keeps a well-formed request id and replaces any other. The registry, the provider and
/// the client receive the same id.
#[tokio::test]
async fn well_formed_request_ids_are_kept_and_others_are_replaced() {
    let gate = TestGate::plain().await;
    let longest = "a".repeat(64);
    let too_long = "a".repeat(65);
    let cases = [
        ("kept-ID_1.2", true),
        (&*longest, true),
        ("0", true),
        (&*too_long, false),
        ("", false),
        ("a b", false),
        ("a/b", false),
        ("a\"b", false),
        ("a,b", false),
        ("\u{1b}[31m", false),
        ("\u{e9}", false),
    ];
    for (number, (sent, kept)) in cases.into_iter().enumerate() {
        // hyper itself rejects control characters.
        let sent = sent.replace('\u{1b}', "%1b");
        // A separate repository for each case, so that GitLab is asked every time.
        let target = format!("/v2/demo/r{number}/manifests/v1");
        let reply = gate
            .send("GET", &target, Some(READ_WRITE), &format!("X-Request-Id: {sent}\r\n"), "")
            .await;
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(id == sent, kept, "{sent:?} became {id:?}");
        assert!(
            (1..=64).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        );
        assert_eq!(reply.head.to_lowercase().matches("x-request-id:").count(), 1);
        let entries = gate.ledger.entries();
        let forwarded: Vec<_> = entries[number].headers.get_all("x-request-id").iter().collect();
        assert_eq!(forwarded, [id], "{sent:?}");
        assert_eq!(
            gate.gitlab.ledger().entries()[number].request_id.as_deref(),
            Some(id),
            "{sent:?}"
        );
    }
    let refused = gate.send("GET", "/nothing", None, "X-Request-Id: mine\r\n", "").await;
    assert_eq!(refused.header("x-request-id"), Some("mine"));
}
