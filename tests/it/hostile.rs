//! Tests of hostile clients. The ledger of the registry is the oracle: a refused request leaves it
//! unchanged, and a forwarded request appears in it once, with new framing and with nothing behind
//! it.

mod abandoned;
mod answers;
mod bodies;
mod bounds;
mod broken_bodies;
mod credentials;
mod expectation;
mod floods;
pub(super) mod frames;
mod framing;
mod headers;
mod http2;
mod methods;
mod mounts;
mod refused_bodies;
mod targets;
mod tokens;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use moorgate::demo::gitlab::{Kind, SampleCredential, Scope, State};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{PATIENCE, READ_WRITE, Reply, TestGate, basic};

/// The target of a blob push in one request, with a digest that no content has.
const BLOB_PUSH: &str = "/v2/demo/a/blobs/uploads/?digest=\
                         sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A target, a credential, and the status and error code of the refusal.
type RefusedCase = (&'static str, Option<(&'static str, &'static str)>, u16, &'static str);

/// Returns an allowed request that a test hides behind another one.
fn hidden() -> String {
    format!(
        "GET /v2/demo/hidden/manifests/v1 HTTP/1.1\r\nHost: registry.test\r\n\
         Authorization: {}\r\n\r\n",
        basic(READ_WRITE)
    )
}

/// Joins the lines of a request head and appends the empty line.
fn head(lines: &[&str]) -> String {
    format!("{}\r\n\r\n", lines.join("\r\n"))
}

/// Returns an `Authorization` line with a credential that may pull and push.
fn authorization() -> String {
    format!("Authorization: {}", basic(READ_WRITE))
}

/// Sends bytes and reads at the same time, as real clients do. Returns the answer and the result of
/// reading to its end. A gate that closes before it has read all bytes does not fail the test.
async fn talk(gate: &TestGate, bytes: Vec<u8>) -> (String, std::io::Result<()>) {
    let (mut reading, mut writing) = gate.connect().await.into_split();
    let writer = tokio::spawn(async move {
        let _ = writing.write_all(&bytes).await;
        // The write half stays open: a half-closed connection would be a case of its own.
        writing
    });
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, reading.read_to_end(&mut answer))
        .await
        .expect("the connection stayed open");
    writer.abort();
    (String::from_utf8_lossy(&answer).into_owned(), end.map(|_| ()))
}

/// Returns the status of the answer, or `None` if the gate closed the connection without an answer.
fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap())
}

/// Returns whether the answer is a refusal: at most one response, which is a 4xx, or a closed
/// connection.
fn is_refused(answer: &str) -> bool {
    status(answer).is_none_or(|status| (400..500).contains(&status))
        && answer.matches("HTTP/1.1 ").count() < 2
}

/// Asserts the status, the error body and the headers of a refusal by the gate itself.
fn assert_refusal(reply: &Reply, status: u16, code: &str, case: &str) {
    assert_eq!(reply.status, status, "{case}: {reply:?}");
    let error: Value = serde_json::from_str(&reply.body)
        .unwrap_or_else(|error| panic!("{case}: {error}: {reply:?}"));
    assert_eq!(error["errors"][0]["code"], code, "{case}");
    assert!(!error["errors"][0]["message"].as_str().unwrap().is_empty(), "{case}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{case}");
    assert_refusal_headers(reply, case);
}

/// Asserts the headers of a refusal. An answer to HEAD has only those.
fn assert_refusal_headers(reply: &Reply, case: &str) {
    assert_eq!(
        reply.header("docker-distribution-api-version"),
        Some("registry/2.0"),
        "{case}: {reply:?}"
    );
    assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()), "{case}: {reply:?}");
    let no_store = matches!(reply.status, 401 | 403).then_some("no-store");
    assert_eq!(reply.header("cache-control"), no_store, "{case}: {reply:?}");
    let challenges: Vec<_> = reply
        .head
        .lines()
        .filter(|line| line.to_lowercase().starts_with("www-authenticate:"))
        .collect();
    match reply.status {
        401 => {
            let asks = |line: &str| {
                line.contains("Bearer realm=\"http")
                    && line.contains("://registry.test/token\",service=\"registry.test\"")
            };
            assert!(matches!(*challenges, [line] if asks(line)), "{case}: {challenges:?}");
        }
        _ => assert_eq!(challenges, [""; 0], "{case}"),
    }
}

/// Creates an HTTP/2 request without a body.
pub(crate) fn http2_request(
    method: &str,
    target: &str,
    credential: Option<(&str, &str)>,
) -> Request<()> {
    let mut request =
        Request::builder().method(method).uri(format!("https://registry.test{target}"));
    if let Some(credential) = credential {
        request = request.header("authorization", basic(credential));
    }
    request.body(()).unwrap_or_else(|error| panic!("{target}: {error}"))
}

/// Sends a request over HTTP/2 and reads the whole answer.
pub(crate) async fn http2(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<impl Into<Bytes>>,
) -> Result<Reply, h2::Error> {
    let exchange = async {
        let mut sender = sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, body.is_none())?;
        if let Some(body) = body {
            // If the gate has reset the stream already, its answer still counts.
            let _ = stream.send_data(body.into(), true);
        }
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let lines: String = lines(&head.headers);
        Ok(Reply::parse(&format!(
            "HTTP/2 {}\r\n{lines}\r\n{}",
            head.status,
            String::from_utf8_lossy(&bytes)
        )))
    };
    timeout(PATIENCE, exchange).await.expect("no answer")
}

fn lines(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect()
}

/// Creates a credential that may pull and push, but only below `reach`.
fn only_in(reach: &str) -> SampleCredential {
    SampleCredential {
        kind: Kind::PersonalAccessToken,
        user: "bob".into(),
        password: format!("glpat-test-{}", reach.replace('/', "-")),
        scopes: vec![Scope::ReadRegistry, Scope::WriteRegistry],
        reach: reach.into(),
        state: State::Active,
        note: String::new(),
    }
}
