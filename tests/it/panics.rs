//! A panic in one request ends that request and nothing else (the last line of the table of
//! faults).
//!
//! No request makes the gate panic, so the subscriber of the program's log does: it panics at the
//! event about a request with a certain id. That is in the middle of that request, on the worker
//! that serves all the others.

use http::StatusCode;
use moorgate::demo::Scripted;
use tokio::io::AsyncWriteExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, exchange, read_reply, request};
use crate::http2_client;
use crate::scripted_upstream::{
    BLOB, ScriptedUpstream, UPLOAD, UpstreamConnection, open_request, soon,
};

/// The id of the request that panics.
const ID: &str = "panics-on-purpose";

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// A layer of this process's log subscriber (`canary.rs`). No other test uses this id.
pub struct PanicAtId;

impl<S: Subscriber> Layer<S> for PanicAtId {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Ids);
    }
}

struct Ids;

impl Visit for Ids {
    fn record_str(&mut self, field: &Field, value: &str) {
        assert!(field.name() != "request_id" || value != ID, "on purpose");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "request_id" {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// Responses of the registry that the gate logs, each with a line of its own.
const FAULTS: [&str; 3] = [
    "nonsense\r\n\r\n",
    "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n",
];

/// Answers the registry's next request with a fault.
async fn answer_fault(upstream: &mut ScriptedUpstream, fault: &str) {
    let (mut connection, _) = upstream.accept_request().await;
    connection.write(fault).await;
    connection.closed().await;
}

/// Reads the rest of the upload and answers it.
async fn finish(upload: &mut UpstreamConnection) {
    assert_eq!(upload.bytes(10).await, b"helloworld");
    upload.write(ACCEPTED).await;
}

/// Asserts that each request has a log line, and that only open connections count as open.
async fn assert_all_told(gate: &TestGate, lines: usize) {
    let log = gate.log(lines).await;
    assert_eq!(log.len(), lines);
    assert_eq!(log.iter().filter(|line| line["request_id"] == ID).count(), 3, "{log:?}");
}

#[tokio::test]
async fn over_http1() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut upload = gate.connect().await;
    let begun = open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "") + "hello";
    upload.write_all(begun.as_bytes()).await.unwrap();
    let (mut of_upload, _) = upstream.accept_request().await;
    let mut idle = gate.connect().await;
    assert_eq!(exchange(&mut idle, open_request("GET", "/v2/", "", "")).await.status, 200);

    let panics = request("GET", BLOB, Some(READ_WRITE), &format!("X-Request-Id: {ID}\r\n"), "");
    for fault in FAULTS {
        let ((), reply) =
            soon(async { tokio::join!(answer_fault(&mut upstream, fault), gate.raw(&panics)) })
                .await;
        assert_eq!(reply, "", "it was answered");
    }

    assert_eq!(exchange(&mut idle, open_request("GET", "/v2/", "", "")).await.status, 200);
    upload.write_all(b"world").await.unwrap();
    let ((), reply) =
        soon(async { tokio::join!(finish(&mut of_upload), read_reply(&mut upload)) }).await;
    assert_eq!(reply.status, 202);
    let fresh = gate.get("/v2/", Some(READ_WRITE)).await;
    assert_eq!(fresh.status, 200);
    assert_all_told(&gate, 7).await;
}

/// A panic on one HTTP/2 stream ends that stream alone, although all streams of a connection share
/// a thread.
#[tokio::test]
async fn over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let (uploaded, mut upload) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
    http2_client::send(&mut upload, "hello".into(), false).await.unwrap();
    let (mut of_upload, head) = upstream.accept_request().await;
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));

    for fault in FAULTS {
        let client = async {
            let mut request = super::hostile::http2_request("GET", BLOB, Some(READ_WRITE));
            request.headers_mut().insert("x-request-id", ID.parse().unwrap());
            super::hostile::http2(&sender, request, None::<&str>).await
        };
        let ((), reply) =
            soon(async { tokio::join!(answer_fault(&mut upstream, fault), client) }).await;
        let error = reply.expect_err("it was answered");
        assert!(error.is_reset(), "more than the stream broke: {error}");
    }

    http2_client::send(&mut upload, "world".into(), true).await.unwrap();
    let script = async {
        assert_eq!(of_upload.until(b"0\r\n\r\n").await, b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n");
        of_upload.write(ACCEPTED).await;
    };
    let ((), response) = soon(async { tokio::join!(script, uploaded) }).await;
    assert_eq!(response.unwrap().status(), 202);
    let client =
        async { http2_client::body(http2_client::ask(&sender, "GET", "/v2/").await).await };
    assert_eq!(soon(client).await.unwrap(), b"{}");
    assert_all_told(&gate, 5).await;
}

/// A question that panics has no answer, and no caller waits for one. A known caller goes on
/// pulling.
#[tokio::test]
async fn a_panic_in_a_provider_question_ends_only_that_question() {
    let gate = TestGate::start(Setup { cache: vec!["ttl: 1ms"], ..Setup::default() }).await;
    let target = "/v2/demo/a/tags/list";
    assert_eq!(gate.get(target, Some(READ_WRITE)).await.status, 404, "the registry's own");
    // The gate logs this status, and it uses no stale answer after it.
    gate.gitlab.script([Scripted::Answer {
        status: StatusCode::BAD_REQUEST,
        headers: vec![],
        body: String::new(),
    }]);
    let reply =
        gate.send("GET", target, Some(READ_WRITE), &format!("X-Request-Id: {ID}\r\n"), "").await;
    assert_eq!(reply.status, 404, "{reply:?}");
    assert_eq!(gate.get(target, Some(READ_ONLY)).await.status, 404);
    let caches: Vec<_> = gate.log(3).await.iter().map(|line| line["cache"].clone()).collect();
    assert_eq!(caches, ["miss", "stale", "miss"]);
}
