//! A trouble stays on top of the page until something shows that it is over.

use http::StatusCode;
use moorgate::demo::Scripted;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::html::Html;
use super::{PULL, page, status};
use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, request};
use crate::scripted_upstream::{BLOB, ScriptedUpstream, UPLOADS, soon};

const STARTED: &str = "202 Accepted\r\nLocation: /v2/demo/a/blobs/uploads/id\r\nContent-Length: 0";
const ELSEWHERE: &str =
    "202 Accepted\r\nLocation: https://old.test/v2/demo/a/blobs/uploads/id\r\nContent-Length: 0";
const EMPTY: &str = "200 OK\r\nContent-Length: 0";

/// Sends a request that the registry answers with this head, and body if any.
async fn ask(
    (upstream, gate): &mut (ScriptedUpstream, TestGate),
    (method, target): (&str, &str),
    answer: &str,
) -> u16 {
    let client = gate.send(method, target, Some(READ_WRITE), "", "");
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        let head = if answer.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
        let answer =
            format!("HTTP/1.1 {}{head}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1));
        let _ = connection.stream.write_all(answer.as_bytes()).await;
        drop(connection);
    };
    soon(async { tokio::join!(script, client) }).await.1.status
}

/// Returns the operations and reasons of the faults that may go on.
async fn faults(gate: &TestGate) -> Vec<(String, String)> {
    let seen = status(gate).await;
    let faults = seen["upstream"]["faults"].as_array().unwrap();
    assert_eq!(seen["trouble"].as_array().unwrap().is_empty(), faults.is_empty(), "{seen}");
    assert_eq!(seen["upstream"]["failing"], !faults.is_empty());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    faults.iter().map(|fault| (text(&fault["operation"]), text(&fault["reason"]))).collect()
}

#[tokio::test]
async fn refused_pushes_stay_on_top_until_a_push_succeeds() {
    let mut world = ScriptedUpstream::behind(Setup::default()).await;
    for _ in 0..5 {
        assert_eq!(ask(&mut world, ("POST", UPLOADS), ELSEWHERE).await, 502);
    }
    let leads_elsewhere = [("upload_start".to_owned(), "upstream_leads_elsewhere".to_owned())];
    assert_eq!(faults(&world.1).await, leads_elsewhere);
    // Whatever else works says nothing about pushes, and neither does a refused push.
    for (target, answer, expected) in [
        (("GET", BLOB), EMPTY, 200),
        (("GET", PULL), EMPTY, 200),
        (("POST", UPLOADS), "403 Forbidden\r\nContent-Length: 0", 403),
    ] {
        assert_eq!(ask(&mut world, target, answer).await, expected);
        assert_eq!(faults(&world.1).await, leads_elsewhere, "{target:?}");
    }
    let trouble = status(&world.1).await["trouble"][0].as_str().unwrap().to_owned();
    for words in ["leads to another host", "Requests that failed: 5 (upload_start)", "http.host"] {
        assert!(trouble.contains(words), "{words} in {trouble}");
    }
    let text = Html::read(&page(&world.1).await).text;
    assert!(text.contains("Known problems: 1 Upstream "), "{text}");
    assert!(text.contains("State up, with problems"), "{text}");
    assert_eq!(ask(&mut world, ("POST", UPLOADS), STARTED).await, 202);
    assert_eq!(faults(&world.1).await, []);
}

#[tokio::test]
async fn trouble_that_the_registry_tells_of_is_trouble() {
    let mut world = ScriptedUpstream::behind(Setup::default()).await;
    let upstream_error = [("blob_get".to_owned(), "upstream_error".to_owned())];
    for answer in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"]
    {
        let sent = format!("{answer}\r\nContent-Length: 0");
        assert_eq!(ask(&mut world, ("GET", BLOB), &sent).await.to_string(), answer[..3]);
        assert_eq!(ask(&mut world, ("GET", PULL), EMPTY).await, 200);
        assert_eq!(faults(&world.1).await, upstream_error);
        let seen = status(&world.1).await;
        assert!(seen["trouble"][0].as_str().unwrap().contains(&answer[..3]), "{seen}");
        assert_eq!(seen["upstream"]["last_error"]["reason"], "upstream_error");
    }
    assert_eq!(ask(&mut world, ("GET", BLOB), "404 Not Found\r\nContent-Length: 0").await, 404);
    assert_eq!(faults(&world.1).await, []);
}

#[tokio::test]
async fn answers_that_break_off_or_stop_are_trouble_although_each_begins_well() {
    let setup = Setup { http: vec!["stall_timeout: 200ms"], ..Setup::default() };
    let mut world = ScriptedUpstream::behind(setup).await;
    for _ in 0..2 {
        ask(&mut world, ("GET", BLOB), "200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        world.1.log(1).await;
        let aborted = [("blob_get".to_owned(), "upstream_aborted".to_owned())];
        assert_eq!(faults(&world.1).await, aborted);
    }
    let (upstream, gate) = &mut world;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let (_open, _) = soon(async {
        tokio::join!(
            async {
                let (mut connection, _) = upstream.accept_request().await;
                connection.write(head).await;
                connection
            },
            gate.get(PULL, Some(READ_WRITE))
        )
    })
    .await;
    let stalled = ("tags".to_owned(), "upstream_stalled".to_owned());
    assert_eq!(faults(gate).await[1], stalled);
    assert_eq!(ask(&mut world, ("GET", BLOB), EMPTY).await, 200);
    assert_eq!(faults(&world.1).await, [stalled]);
}

#[tokio::test]
async fn a_ban_of_one_caller_is_not_hidden_by_an_answer_about_another() {
    let gate = TestGate::plain().await;
    let banned = Scripted::Answer {
        status: StatusCode::FORBIDDEN,
        headers: Vec::new(),
        body: "banned".to_owned(),
    };
    gate.gitlab.script([banned]);
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 503);
    assert_eq!(gate.get(PULL, Some(READ_ONLY)).await.status, 404);
    let seen = status(&gate).await;
    assert_eq!(
        (&seen["providers"][0]["up"], &seen["providers"][0]["failing"]),
        (&json!(true), &json!(true))
    );
    let trouble = seen["trouble"][0].as_str().unwrap();
    assert!(trouble.contains("Provider gitlab refuses questions about a caller"), "{trouble}");
    soon(async { while gate.get(PULL, Some(READ_WRITE)).await.status != 404 {} }).await;
    assert_eq!(status(&gate).await["trouble"], json!([]));
}

#[tokio::test]
async fn a_full_gate_is_reported() {
    let gate =
        TestGate::start(Setup { http: vec!["max_connections: 1"], ..Setup::default() }).await;
    let mut first = gate.connect().await;
    let ping = request("GET", "/v2/", None, "", "").replace("Connection: close\r\n", "");
    crate::harness::exchange(&mut first, &ping).await;
    assert_eq!(status(&gate).await["trouble"], json!([]), "one connection is allowed");
    let waiting = gate.connect().await;
    let full = async || {
        let seen = status(&gate).await;
        seen["trouble"][0].as_str().is_some_and(|it| it.contains("http.max_connections (1)"))
    };
    soon(async { while !full().await {} }).await;
    drop((first, waiting));
    assert!(full().await, "it may be reached again at once");
}
