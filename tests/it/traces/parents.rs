//! `traceparent` and `tracestate` (W3C Trace Context): what the client names, what the registry is
//! told, and what is sampled.

use super::collector::{Collector, hex, text};
use super::traced;
use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, request};
use crate::scripted_upstream::{BLOB, Head, OK, ScriptedUpstream, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Sends a pull with these header lines. Returns the head that the registry receives.
async fn pull(gate: &TestGate, upstream: &mut ScriptedUpstream, lines: &str) -> Head {
    let script = async {
        let (mut connection, head) = upstream.accept_request().await;
        connection.write(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        head
    };
    let ask = gate.raw(request("GET", BLOB, Some(READ_WRITE), lines, ""));
    soon(async { tokio::join!(script, ask) }).await.0
}

fn lines_of(head: &Head, name: &str) -> Vec<String> {
    let lines = head.0.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, it)| it.to_owned()).collect()
}

/// Returns the trace, the span and the flags of the one `traceparent`.
fn parent(head: &Head) -> (String, String, String) {
    let lines = lines_of(head, "traceparent");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let parts: Vec<_> = line.split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = &parts[..] else { panic!("{line}") };
    assert_eq!((version.as_str(), trace.len(), span.len()), ("00", 32, 16), "{line}");
    (trace.clone(), span.clone(), flags.clone())
}

async fn gate(sample: &str) -> (Collector, ScriptedUpstream, TestGate) {
    let (collector, upstream) = (Collector::start(), ScriptedUpstream::start());
    let setup =
        Setup { upstream_address: Some(upstream.address), workers: Some(1), ..Setup::default() };
    let gate = traced(&collector, sample, setup).await;
    (collector, upstream, gate)
}

#[tokio::test]
async fn a_valid_trace_of_the_client_is_continued() {
    let (mut collector, mut upstream, gate) = gate("1").await;
    for (number, flags) in ["00", "01", "ff"].into_iter().enumerate() {
        let id = format!("continued-{number}");
        let lines = format!(
            "traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: a=1,b=2\r\n\
             tracestate: c=3\r\nX-Request-Id: {id}\r\n"
        );
        let head = pull(&gate, &mut upstream, &lines).await;
        let spans = collector.trace(&id).await;
        let (request, sent) = (&spans[0], spans.last().unwrap());
        assert_eq!(hex(&request.trace_id), TRACE);
        assert_eq!(hex(&request.parent_span_id), SPAN);
        // The parent is in another process.
        assert_eq!(request.flags, 0x301);
        let (trace, span, flags) = parent(&head);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
        assert_eq!((sent.name.as_str(), span), ("upstream", hex(&sent.span_id)));
        assert_eq!(lines_of(&head, "tracestate"), ["a=1,b=2", "c=3"]);
    }
}

#[tokio::test]
async fn every_other_header_of_the_client_is_replaced() {
    let (mut collector, mut upstream, gate) = gate("1").await;
    let valid = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    for (number, lines) in [
        String::new(),
        format!("{valid}{valid}"),
        format!("{valid}TraceParent: 00-{TRACE}-{SPAN}-00\r\n"),
        format!("traceparent: 00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", TRACE.to_uppercase()),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
        format!("traceparent: 00-{TRACE}-{}-01\r\n", "0".repeat(16)),
        format!("traceparent: ff-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{TRACE}-{SPAN}-01-more\r\n"),
        "traceparent: \r\n".to_owned(),
        format!("traceparent: {}\r\n", "a".repeat(10_000)),
        "traceparent: 00-\u{e9}\r\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("replaced-{number}");
        let all = format!("{lines}tracestate: a=1\r\nX-Request-Id: {id}\r\n");
        let head = pull(&gate, &mut upstream, &all).await;
        let spans = collector.trace(&id).await;
        let (trace, span, flags) = parent(&head);
        assert_ne!(trace, TRACE, "{lines}");
        assert_eq!(hex(&spans[0].trace_id), trace, "{lines}");
        assert_eq!((flags.as_str(), span), ("01", hex(&spans.last().unwrap().span_id)));
        assert!(spans[0].parent_span_id.is_empty(), "{lines}");
        // Its entries belong to a trace that does not go on.
        assert_eq!(lines_of(&head, "tracestate"), [""; 0], "{lines}");
    }
}

/// A header that `Connection` names is for the gate, and does not replace the gate's own.
#[tokio::test]
async fn the_gates_own_header_cannot_be_named_away() {
    let (_collector, mut upstream, gate) = gate("1").await;
    let lines = format!(
        "traceparent: 00-{TRACE}-{SPAN}-01\r\nConnection: traceparent, tracestate\r\n\
         tracestate: a=1\r\n"
    );
    let head = pull(&gate, &mut upstream, &lines).await;
    assert_eq!(parent(&head).0, TRACE);
    assert_eq!(lines_of(&head, "tracestate"), [""; 0]);
}

/// The flag of the client says that it is sampled, and the gate samples nothing.
#[tokio::test]
async fn a_request_that_is_not_sampled_is_told_to_the_registry_and_to_no_collector() {
    let (mut collector, mut upstream, gate) = gate("0").await;
    let lines = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n");
    let head = pull(&gate, &mut upstream, &lines).await;
    let (trace, span, flags) = parent(&head);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    assert_ne!(span, SPAN);
    assert_eq!(lines_of(&head, "tracestate"), ["a=1"]);
    let (trace, _, flags) = parent(&pull(&gate, &mut upstream, "").await);
    assert!(trace != TRACE && flags == "00");
    soon(gate.running.drain()).await;
    assert!(collector.arrived().is_empty());
}

/// Clients that choose their trace ids do not choose what is sampled.
#[tokio::test]
async fn a_share_of_requests_is_sampled() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "0.5", Setup::default()).await;
    let mut client = gate.connect().await;
    let line = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let head = request("GET", "/v2/", None, &line, "").replace("Connection: close\r\n", "");
    const REQUESTS: usize = 400;
    for _ in 0..REQUESTS {
        crate::harness::exchange(&mut client, &head).await;
    }
    drop(client);
    soon(gate.running.drain()).await;
    let sampled: usize = collector.arrived().iter().map(|batch| batch.spans().len()).sum();
    // Twelve standard deviations from half of them.
    assert!((80..=320).contains(&sampled), "{sampled} of {REQUESTS}");
}

/// As long as no collector is set, both headers pass the gate unchanged, as it was before there
/// were traces.
#[tokio::test]
async fn without_a_collector_the_headers_pass_unchanged() {
    let mut upstream = ScriptedUpstream::start();
    let setup = Setup { upstream_address: Some(upstream.address), ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let lines = "traceparent: anything\r\ntraceparent: twice\r\ntracestate: a=1\r\n";
    let head = pull(&gate, &mut upstream, lines).await;
    assert_eq!(lines_of(&head, "traceparent"), ["anything", "twice"]);
    assert_eq!(lines_of(&head, "tracestate"), ["a=1"]);
}

/// The server of a redirect and the storage behind it learn nothing of the trace.
#[tokio::test]
async fn a_server_of_a_redirect_is_not_told() {
    let (mut registry, mut storage) = (ScriptedUpstream::start(), ScriptedUpstream::start());
    let mut collector = Collector::start();
    let hosts = format!("redirect_hosts: [\"{}\"]", storage.address).leak();
    let setup = Setup {
        upstream_address: Some(registry.address),
        upstream: vec!["redirects: follow", hosts],
        ..Setup::default()
    };
    let gate = traced(&collector, "1", setup).await;
    let secret = "signature-of-the-storage";
    crate::canary::plant(secret);
    let script = async {
        let (mut connection, _) = registry.accept_request().await;
        let leads = format!("http://{}/{secret}?sig={secret}", storage.address);
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {leads}\r\nContent-Length: 0\r\n\r\n"
        );
        connection.write(answer).await;
        let (mut connection, head) = storage.accept_request().await;
        connection.write(OK).await;
        head
    };
    let lines = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\nX-Request-Id: led\r\n");
    let ask = gate.raw(request("GET", BLOB, Some(READ_ONLY), &lines, ""));
    let (head, _) = soon(async { tokio::join!(script, ask) }).await;
    assert!(head.header("traceparent").is_none() && head.header("tracestate").is_none());
    let spans = collector.trace("led").await;
    let led = spans.iter().filter(|span| span.name == "upstream");
    let urls: Vec<_> = led.map(|span| text(span, "url.full").unwrap().to_owned()).collect();
    let expected =
        [format!("http://{}{BLOB}", registry.address), format!("http://{}/", storage.address)];
    assert_eq!(urls, expected);
}
