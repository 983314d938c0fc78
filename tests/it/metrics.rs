//! The formats of `/metrics`, and the series that exist from the start.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{READ_WRITE, Reply, Setup, TestGate, read_to_close};

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
        "upstream_duration_seconds_count{operation=\"manifest_get\"} 0",
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
        let of_gate = !line.starts_with('#') && !line.starts_with("process_");
        assert!(!of_gate || line.ends_with(" 0"), "{line}");
    }
}

/// Returns the value of a series; `None` if there is no such series.
fn value(text: &str, series: &str) -> Option<f64> {
    let of =
        |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines()
        .filter_map(of)
        .find(|(name, _)| name == series)
        .map(|(_, value)| value.parse().unwrap())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn the_process_has_the_usual_metrics_in_both_formats() {
    let gate = TestGate::plain().await;
    for accept in ["", "Accept: application/openmetrics-text\r\n"] {
        let text = metrics(&gate, accept).await.body;
        let of = |name: &str| {
            value(&text, &format!("process_{name}")).unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert!(of("cpu_seconds_total") > 0.0);
        assert!(of("resident_memory_bytes") > 1e6);
        assert!(of("virtual_memory_bytes") >= of("resident_memory_bytes"));
        assert!(of("threads") >= 1.0);
        assert!(of("open_fds") >= 3.0 && of("open_fds") <= of("max_fds"));
        let age = now() - of("start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}

#[tokio::test]
async fn the_time_of_the_registry_is_observed_for_requests_that_it_answers() {
    let gate = TestGate::plain().await;
    assert_eq!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status, 404);
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 200);
    gate.log(2).await;
    let text = metrics(&gate, "").await.body;
    let count = |operation: &str| {
        value(
            &text,
            &format!("moorgate_upstream_duration_seconds_count{{operation=\"{operation}\"}}"),
        )
    };
    assert_eq!((count("tags"), count("manifest_get"), count("ping")), (Some(1.0), Some(0.0), None));
}

#[tokio::test]
async fn the_time_of_the_last_reload_moves_only_with_one_that_takes_effect() {
    const NAME: &str = "moorgate_config_last_reload_timestamp_seconds";
    let before = now();
    let mut gate = TestGate::plain().await;
    let started = value(&metrics(&gate, "").await.body, NAME).unwrap();
    assert!(started >= before && started <= now());
    let good = std::fs::read_to_string(gate.file("test.yml")).unwrap();
    gate.write("test.yml", "version: 1\nhtp: {}\n");
    assert!(!gate.reload().await);
    assert_eq!(value(&metrics(&gate, "").await.body, NAME), Some(started));
    gate.write("test.yml", format!("{good}\n"));
    assert!(gate.reload().await);
    assert!(value(&metrics(&gate, "").await.body, NAME) > Some(started));
}
