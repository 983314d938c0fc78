//! The formats of `/metrics`, and the series that exist from the start.

use std::collections::BTreeSet;

use crate::harness::{Reply, Setup, TestGate, read_to_close};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn metrics(gate: &TestGate, headers: &str) -> Reply {
    let mut stream = tokio::net::TcpStream::connect(gate.admin).await.unwrap();
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{headers}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await)
}

#[tokio::test]
async fn open_metrics_is_sent_only_to_clients_that_prefer_it() {
    let gate = TestGate::plain().await;
    for (headers, content_type) in [
        ("", TEXT),
        ("Accept: */*\r\n", TEXT),
        ("Accept: application/openmetrics-text;q=0.4, text/plain;q=0.5\r\n", TEXT),
        (
            "Accept: application/openmetrics-text;q=0.5\r\nAccept: text/plain;q=0.4\r\n",
            OPEN_METRICS,
        ),
        (
            "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1\r\n",
            OPEN_METRICS,
        ),
    ] {
        let reply = metrics(&gate, headers).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)));
        assert_eq!(reply.header("vary"), Some("Accept"));
        assert_eq!(reply.body.ends_with("# EOF\n"), content_type == OPEN_METRICS, "{headers}");
    }
}

/// Prometheus 0.0.4 knows neither `# EOF` nor `# UNIT`, and the type of a sample has the name of
/// the sample.
#[tokio::test]
async fn the_text_is_that_of_prometheus() {
    let gate = TestGate::plain().await;
    let text = metrics(&gate, "").await.body;
    assert!(text.ends_with('\n'));
    let (mut typed, mut samples) = (("", ""), BTreeSet::new());
    let mut families = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, help)| !help.is_empty()), "{line}");
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            typed = of.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&typed.1), "{line}");
            assert_eq!(typed.1 == "counter", typed.0.ends_with("_total"), "{line}");
            assert!(families.insert(typed.0), "{line} twice");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(samples.insert(sample), "{line} twice");
            let name = sample.split_once('{').map_or(sample, |(name, _)| name);
            let rest = name.strip_prefix(typed.0).unwrap_or_else(|| panic!("{line} is of no type"));
            let of_histogram = ["_bucket", "_sum", "_count"].contains(&rest);
            assert_eq!(of_histogram, typed.1 == "histogram", "{line}");
            assert!(of_histogram || rest.is_empty(), "{line}");
        }
    }
}

#[tokio::test]
async fn counters_are_there_from_the_start_at_zero() {
    const TWO: &str = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }\n\
                       - { name: gitlab, type: gitlab, url: \"{gitlab}\" }";
    let users = vec![("bob", "password-of-bob")];
    let setup = Setup { identity: Some(TWO), htpasswd_users: users, ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let text = metrics(&gate, "").await.body;
    let has = |sample: &str| text.lines().any(|line| line == format!("moorgate_{sample}"));
    for name in [
        "shadow_denied_total 0",
        "audit_failures_total 0",
        "access_log_lines_lost_total 0",
        "http_body_bytes_total{direction=\"in\"} 0",
        "http_body_bytes_total{direction=\"out\"} 0",
        "http_requests_total{method=\"PUT\",operation=\"upload_finish\",code=\"502\"} 0",
        "http_requests_total{method=\"GET\",operation=\"manifest_get\",code=\"200\"} 0",
        "http_request_duration_seconds_count{operation=\"token\"} 0",
        "upstream_requests_total{code=\"200\"} 0",
        "upstream_requests_total{code=\"500\"} 0",
        "auth_decisions_total{provider=\"\",result=\"denied\",reason=\"wrong_credential\"} 0",
        "config_reload_success 1",
    ] {
        assert!(has(name), "{name} in {text}");
    }
    for result in ["hit", "miss", "negative", "stale", "coalesced", "none"] {
        assert!(has(&format!("cache_requests_total{{result=\"{result}\"}} 0")), "{result}");
    }
    for provider in ["local", "gitlab"] {
        let labels = |result| format!("provider=\"{provider}\",result=\"{result}\"");
        assert!(has(&format!("provider_up{{provider=\"{provider}\"}} 1")), "{provider}");
        for result in ["verified", "not_mine", "rejected", "unavailable"] {
            let sample = format!("introspection_duration_seconds_count{{{}}} 0", labels(result));
            assert!(has(&sample), "{sample}");
        }
        for (result, reason) in [("allowed", "allowed"), ("error", "provider_unavailable")] {
            let sample =
                format!("auth_decisions_total{{{},reason=\"{reason}\"}} 0", labels(result));
            assert!(has(&sample), "{sample}");
        }
    }
    // Nothing has happened yet.
    for line in text.lines().filter(|line| line.contains("_total")) {
        assert!(line.starts_with('#') || line.ends_with(" 0"), "{line}");
    }
}
