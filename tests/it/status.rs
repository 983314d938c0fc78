//! `/status.json` and the page of the admin listener: every field in each state, and that they show
//! nothing of a request or a secret.

mod html;
mod lasting;
mod trouble;

use std::path::Path;

use http::StatusCode;
use moorgate::demo::Scripted;
use serde_json::{Value, json};

use crate::harness::{READ_WRITE, Reply, Setup, TestGate, exchange};
use html::Html;

const PULL: &str = "/v2/demo/a/tags/list";

async fn status(gate: &TestGate) -> Value {
    let reply = gate.admin("/status.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&reply.body).unwrap()
}

async fn page(gate: &TestGate) -> String {
    let reply = gate.admin("/").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    reply.body
}

/// Checks the values that differ between runs and replaces each by its kind.
fn settled(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match (&**name, &*value) {
                    ("now" | "started" | "at" | "ends" | "since", Value::String(time)) => {
                        humantime::parse_rfc3339(time).unwrap();
                        *value = "TIME".into();
                    }
                    ("latency_ms", Value::Number(number)) => {
                        assert!(number.as_f64().unwrap() > 0.0);
                        *value = "MILLISECONDS".into();
                    }
                    (
                        "uptime_seconds" | "days_left" | "open" | "entries" | "ended",
                        Value::Number(_),
                    ) => *value = "NUMBER".into(),
                    ("address" | "version", Value::String(_)) => *value = "TEXT".into(),
                    _ => settled(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settled),
        _ => {}
    }
}

/// Every field that can be present is present, in the form that dashboards and scripts rely on.
#[tokio::test]
async fn the_status_json_has_the_shape_of_the_fixture() {
    let mut gate = TestGate::start(Setup { tls: true, ..Setup::default() }).await;
    // The first question fails. A later one succeeds, and its verdict is cached for the next
    // request.
    gate.gitlab.script([answer(502)]);
    let get = async |expected: u16| {
        let mut client = gate.connect_tls(&[b"http/1.1"]).await;
        let request = crate::harness::request("GET", PULL, Some(READ_WRITE), "", "");
        assert_eq!(exchange(&mut client, request).await.status, expected);
    };
    get(503).await;
    // The failed question rests for a second, so the next request asks another one.
    let mut client = gate.connect_tls(&[b"http/1.1"]).await;
    let request = crate::harness::request("GET", "/v2/demo/b/tags/list", Some(READ_WRITE), "", "");
    for _ in 0..2 {
        assert_eq!(
            exchange(&mut client, request.replace("Connection: close\r\n", "")).await.status,
            404
        );
    }
    gate.edit("identity:", "identify:");
    assert!(!gate.reload().await);
    let mut seen = status(&gate).await;
    seen["last_reload"]["problems"] = json!(["FILE:LINE:COLUMN"]);
    seen["last_reload"]["problem_count"] = json!(1);
    seen["trouble"] = json!(["SENTENCE"]);
    seen["problems"][0]["error"] = json!("FILE:LINE:COLUMN");
    settled(&mut seen);
    let seen = serde_json::to_string_pretty(&seen).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/status.json");
    assert_eq!(
        seen,
        std::fs::read_to_string(path).unwrap(),
        "the shape has changed; it is now\n{seen}"
    );
}

fn answer(status: u16) -> Scripted {
    let status = StatusCode::from_u16(status).unwrap();
    Scripted::Answer { status, headers: Vec::new(), body: String::new() }
}

#[tokio::test]
async fn a_gate_without_requests_reports_no_trouble() {
    let gate = TestGate::plain().await;
    let seen = status(&gate).await;
    assert_eq!(seen["trouble"], json!([]));
    assert_eq!(seen["certificate"], Value::Null, "no TLS");
    assert_eq!(seen["draining"], false);
    assert_eq!(
        (&seen["workers"], &seen["connections"]),
        (&json!(2), &json!({ "open": 0, "max": 10000 }))
    );
    assert_eq!(
        (&seen["upstream"]["up"], &seen["upstream"]["last_answer"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&seen["providers"][0]["up"], &seen["providers"][0]["last_error"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(seen["cache"], json!({ "entries": 0, "lookups": 0, "hits": 0, "hit_rate": null }));
    assert_eq!(seen["last_reload"], Value::Null);
    let text = Html::read(&page(&gate).await).text;
    for words in ["No known problems", "none: plain HTTP", "not asked yet", "none since the start"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn connections_and_the_cache_are_counted() {
    let gate = TestGate::plain().await;
    let mut open = gate.connect().await;
    let request = crate::harness::request("GET", PULL, Some(READ_WRITE), "", "")
        .replace("Connection: close\r\n", "");
    for _ in 0..4 {
        assert_eq!(exchange(&mut open, &request).await.status, 404);
    }
    // A record ends with the body of its answer, and the client may see that end first.
    gate.log(4).await;
    let seen = status(&gate).await;
    assert_eq!(seen["connections"]["open"], 1);
    assert_eq!(
        seen["cache"],
        json!({ "entries": seen["cache"]["entries"], "lookups": 4, "hits": 3, "hit_rate": 0.75 })
    );
    assert_eq!(seen["requests"], json!({ "ended": 4, "server_errors": 0 }));
    let text = Html::read(&page(&gate).await).text;
    for words in ["Answered requests 4", "Credentials looked up 4", "75.0 %", "1 of 10000"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

/// Callers, repositories, secrets and paths appear nowhere, for any outcome of a request.
#[tokio::test]
async fn nothing_of_a_request_is_shown() {
    const LOCAL: &str = "- { name: local, type: htpasswd, file: htpasswd, \
                         scopes: [read_registry] }\n\
                         - { name: gitlab, type: gitlab, url: \"{gitlab}\" }";
    let users = vec![("canary-user", "canary-password")];
    let gate =
        TestGate::start(Setup { identity: Some(LOCAL), htpasswd_users: users, ..Setup::default() })
            .await;
    let rounds = [
        (None, "glpat-canary-1"),
        (Some(answer(502)), "glpat-canary-2"),
        (Some(Scripted::Close), "glpat-canary-3"),
    ];
    for (broken, unknown) in rounds {
        gate.gitlab.always(broken);
        for credential in [
            None,
            Some(("canary-user", "canary-password")),
            Some(("canary-user", "canary-wrong")),
            Some(("canary-x", unknown)),
        ] {
            for target in [
                "/v2/canary/repository/tags/list",
                "/canary-path",
                "/v2/?canary=query",
                "/token?scope=repository:canary:pull",
            ] {
                gate.get(target, credential).await;
            }
        }
    }
    let shown = gate.admin("/status.json").await.body + &page(&gate).await;
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("unavailable"), "the requests left nothing at all: {shown}");
}

/// The config may contain a name that a browser would run as a script.
#[tokio::test]
async fn names_are_escaped_and_nothing_is_loaded() {
    const NAME: &str = "<script>alert(1)";
    const LOCAL: &str =
        "- { name: local, type: htpasswd, file: \"<script>alert(1)\", scopes: [read_registry] }";
    let files = vec![(NAME, "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu")];
    let mut gate =
        TestGate::start(Setup { identity: Some(LOCAL), files, ..Setup::default() }).await;
    gate.write(NAME, "nonsense");
    assert!(!gate.reload().await);
    assert!(
        page(&gate).await.contains("&lt;script&gt;alert(1)"),
        "the name is not there to be escaped"
    );
    let html = Html::read(&gate.admin("/").await.body);
    let of = |name: &str| html.tags.iter().filter(|tag| tag.starts_with(name)).collect::<Vec<_>>();
    assert_eq!(of("script"), ["script src=\"status.js\" defer"]);
    assert_eq!(of("link"), ["link rel=\"stylesheet\" href=\"status.css\""]);
    assert!(html.text.contains("<script>alert(1):1:1"), "{}", html.text);
    for path in ["/", "/runbook", "/status.js", "/status.json", "/metrics", "/nowhere"] {
        let reply = gate.admin(path).await;
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn the_status_pages_accept_only_get_and_head() {
    let gate = TestGate::plain().await;
    let ask = async |method: &str, path: &str| {
        let mut stream = tokio::net::TcpStream::connect(gate.admin).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        Reply::parse(&crate::harness::read_to_close(&mut stream).await)
    };
    for path in ["/", "/runbook", "/status.json"] {
        let head = ask("HEAD", path).await;
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let reply = ask(method, path).await;
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, Some("GET, HEAD")),
                "{method} {path}"
            );
        }
        // The public listener does not have these paths.
        assert_eq!(gate.get(path, None).await.status, 404, "{path}");
    }
    let nowhere = ask("GET", "/nowhere").await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("/status.json"), "{}", nowhere.body);
}
