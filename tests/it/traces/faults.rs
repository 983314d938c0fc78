//! Collectors that fail, and what becomes of the spans at a reload and at the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::task::LocalSet;

use super::collector::{Collector, TAKEN};
use super::traced;
use crate::gate_process::{GateProcess, ProcessSetup};
use crate::harness::{Setup, TestGate, listener, request};
use crate::scripted_upstream::soon;

/// A gate whose clients never see a connection to the collector.
async fn is_served(gate: &TestGate) {
    assert_eq!(soon(gate.get("/v2/", None)).await.status, 401);
}

/// Whatever the collector answers, requests are served, and later spans arrive.
#[tokio::test]
async fn no_answer_of_a_collector_reaches_a_client() {
    let gigabytes =
        ["HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", &"x".repeat(1 << 20)].concat();
    let answers = [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\u{1}\u{2}\u{3}",
        "nonsense\r\n\r\n",
        &gigabytes,
    ];
    let local = LocalSet::new();
    for answer in answers.map(str::to_owned) {
        local.spawn_local(is_survived(answer));
    }
    local.await;
}

async fn is_survived(answer: String) {
    let mut collector = Collector::start();
    collector.answers(answer.as_str());
    let gate = traced(&collector, "1", Setup::default()).await;
    is_served(&gate).await;
    assert_eq!(collector.batch().await.spans().len(), 1, "{answer:.40}");
    is_served(&gate).await;
    collector.answers(TAKEN);
    // A lost batch is not sent again, and a redirect is not followed.
    let batch = collector.batch().await;
    assert_eq!(batch.head.line(), ("POST", "/v1/traces"), "{answer:.40}");
    assert_eq!(batch.spans().len(), 1, "{answer:.40}");
}

/// What the queue cannot hold is lost, and no request waits.
#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_request() {
    let mut collector = Collector::start();
    collector.answers("");
    let gate = traced(&collector, "1", Setup::default()).await;
    is_served(&gate).await;
    collector.batch().await;
    let mut client = gate.connect().await;
    let head = request("GET", "/v2/", None, "", "").replace("Connection: close\r\n", "");
    for _ in 0..3_000 {
        crate::harness::exchange(&mut client, &head).await;
    }
    drop(client);
    // The end does not wait for the collector either.
    let begun = Instant::now();
    soon(gate.running.drain()).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    for _ in 0..5 {
        is_served(&gate).await;
    }
    soon(gate.running.drain()).await;
    let spans: usize = collector.arrived().iter().map(|batch| batch.spans().len()).sum();
    assert_eq!(spans, 5);
}

#[tokio::test]
async fn a_reload_changes_the_collector_and_the_share() {
    let (mut old, mut new) = (Collector::start(), Collector::start());
    let mut gate = traced(&old, "1", Setup::default()).await;
    is_served(&gate).await;
    gate.edit(&old.address().to_string(), &new.address().to_string());
    assert!(gate.reload().await);
    // The spans of before still go to the collector of before.
    assert_eq!(old.batch().await.spans().len(), 1);
    is_served(&gate).await;
    assert_eq!(new.batch().await.spans().len(), 1);
    gate.edit("sample: 1", "sample: 0");
    assert!(gate.reload().await);
    is_served(&gate).await;
    soon(gate.running.drain()).await;
    assert!(old.arrived().is_empty() && new.arrived().is_empty());
}

/// Waits until the program log has a line with this text, and returns it.
async fn line(gate: &GateProcess, text: &str) -> String {
    soon(async {
        loop {
            if let Some(line) = gate.said().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn process(address: SocketAddr) -> GateProcess {
    let telemetry = format!("telemetry: {{ otlp_endpoint: \"http://{address}\", sample: 1 }}\n");
    GateProcess::start(ProcessSetup { sections: &telemetry, ..ProcessSetup::default() }).await
}

async fn ask(gate: &GateProcess) {
    let mut stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
    crate::harness::exchange(&mut stream, request("GET", "/v2/", None, "", "")).await;
}

#[tokio::test]
async fn the_log_tells_that_the_collector_is_back() {
    let mut collector = Collector::start();
    collector.answers("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let gate = process(collector.address()).await;
    ask(&gate).await;
    line(&gate, "it answered 503").await;
    collector.answers(TAKEN);
    ask(&gate).await;
    line(&gate, "the collector takes spans again").await;
    assert_eq!(collector.arrived().len(), 2);
}

/// A collector that takes a part says why it rejects the rest.
#[tokio::test]
async fn the_log_tells_what_the_collector_rejects() {
    let collector = Collector::start();
    let error_message = "too old\u{1b}[2J".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    collector.answers([head.as_bytes(), &body].concat());
    let gate = process(collector.address()).await;
    ask(&gate).await;
    let line = line(&gate, "it rejected some: too old").await;
    assert!(line.contains("\"spans_lost\":1,"), "{line}");
    assert!(!line.contains("\\u001b") && !line.contains('\u{1b}'), "{line}");
}

/// The log counts what was lost, in one line for many batches.
#[tokio::test]
async fn the_log_counts_lost_spans() {
    let address = listener().local_addr().unwrap();
    let gate = process(address).await;
    for _ in 0..3 {
        ask(&gate).await;
    }
    let line = line(&gate, "the collector does not take spans").await;
    assert!(line.contains("\"spans_lost\":"), "{line}");
    assert!(line.contains(&format!("\"collector\":\"http://{address}/v1/traces\"")), "{line}");
    assert!(line.contains("Connection refused"), "{line}");
}

#[tokio::test]
async fn the_status_shows_a_collector_that_takes_no_spans_until_it_takes_some() {
    let mut collector = Collector::start();
    collector.answers("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let gate = traced(&collector, "1", Setup::default()).await;
    let status = async || {
        let body = gate.admin("/status.json").await.body;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    assert_eq!(status().await["telemetry"]["failing"], false);
    is_served(&gate).await;
    collector.batch().await;
    soon(async { while status().await["problems"] == serde_json::json!([]) {} }).await;
    let seen = status().await;
    assert_eq!(seen["problems"][0]["error"], "it answered 500");
    assert_eq!(seen["problems"][0]["since"], seen["telemetry"]["since"]);
    assert_eq!(seen["telemetry"]["spans_lost"], 1);
    collector.answers(TAKEN);
    is_served(&gate).await;
    collector.batch().await;
    soon(async { while status().await["problems"] != serde_json::json!([]) {} }).await;
    assert_eq!(status().await["telemetry"]["last_error"]["message"], "it answered 500");
}
