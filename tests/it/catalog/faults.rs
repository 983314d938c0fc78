//! Registries whose catalog cannot be filtered: the client gets a clear error and none of the
//! names.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{ALICE, CATALOG, LISTER, RULES, setup};
use crate::harness::{Reply, Setup, TestGate, request};
use crate::scripted_upstream::{ScriptedUpstream, soon};

const LINK: &str = "Link: </v2/_catalog?last=hidden/b>; rel=\"next\"\r\n";
const PAGE: &str = "{\"repositories\":[\"alice/a\",\"hidden/b\"]}";

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Returns the client's reply, the targets that the registry was asked for, and the gate. The
/// registry answers its requests in turn by `answers`.
async fn ask(setup: Setup, answers: impl Fn(usize) -> String) -> (Reply, Vec<String>, TestGate) {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let mut asked = Vec::new();
    let script = async {
        let mut connection = upstream.accept().await;
        // The gate may have closed the connection by now.
        while let Some(head) = connection.next_head().await {
            asked.push(head.line().1.to_owned());
            let _ = connection.stream.write_all(answers(asked.len()).as_bytes()).await;
        }
        std::future::pending::<()>().await
    };
    let reply = soon(async {
        tokio::select! {
            reply = gate.get(CATALOG, Some(ALICE)) => reply,
            () = script => unreachable!(),
        }
    })
    .await;
    (reply, asked, gate)
}

async fn reason(gate: &TestGate) -> Value {
    gate.log(1).await.remove(0)["reason"].clone()
}

#[tokio::test]
async fn an_unusable_catalog_answer_is_502_and_shows_no_names() {
    let nonsense = [
        ("200 OK", "", "<html>hidden/b</html>".to_owned()),
        (
            "200 OK",
            "",
            "{\"repositories\":[\"alice/a\"],\"repositories\":[\"hidden/b\"]}".to_owned(),
        ),
        ("200 OK", "", "{\"errors\":[\"hidden/b\"]}".to_owned()),
        ("200 OK", "", format!("{{\"repositories\":[\"{}\"]}}", "a".repeat(1024 * 1024))),
    ];
    let elsewhere = [
        (
            "200 OK",
            "Link: <https://evil.example.com/v2/_catalog?last=hidden/b>; rel=\"next\"\r\n",
            PAGE.to_owned(),
        ),
        ("200 OK", "Link: </v2/hidden/b/tags/list?last=a>; rel=\"next\"\r\n", PAGE.to_owned()),
    ];
    let errors = [
        ("404 Not Found", "", "hidden/b".to_owned()),
        ("500 Internal Server Error", "", "{\"errors\":[{\"detail\":\"hidden/b\"}]}".to_owned()),
        ("204 No Content", "", String::new()),
        ("307 Temporary Redirect", "Location: https://evil.example.com/\r\n", String::new()),
    ];
    let refused =
        [("401 Unauthorized", "WWW-Authenticate: Basic realm=\"hidden/b\"\r\n", String::new())];
    let cases = nonsense.map(|case| ("upstream_invalid", case)).into_iter();
    let cases = cases.chain(elsewhere.map(|case| ("upstream_leads_elsewhere", case)));
    let cases = cases.chain(errors.map(|case| ("catalog_failed", case)));
    for (expected, (status, headers, body)) in
        cases.chain(refused.map(|case| ("upstream_refused_the_gate", case)))
    {
        let (reply, _, gate) = ask(setup(&RULES), |_| answer(status, headers, &body)).await;
        assert_eq!(
            (reply.status, &*reply.code(), reason(&gate).await),
            (502, "UNAVAILABLE", json!(expected)),
            "{status}"
        );
        assert!(!reply.head.contains("hidden") && !reply.body.contains("hidden"), "{reply:?}");
        assert!(!reply.body.contains("alice/a") && reply.header("link").is_none(), "{reply:?}");
        let seen: Value = serde_json::from_str(&gate.admin("/status.json").await.body).unwrap();
        let fault = &seen["upstream"]["faults"][0];
        assert_eq!((&fault["operation"], &fault["reason"]), (&json!("catalog"), &json!(expected)));
    }
}

/// A catalog takes up to a hundred requests to the registry, so the number read at once is bounded.
/// Further catalog requests wait, and other requests do not.
#[tokio::test]
async fn the_gate_reads_at_most_16_catalogs_at_once() {
    const AT_ONCE: usize = 16;
    let (mut upstream, gate) = ScriptedUpstream::behind(setup(&RULES)).await;
    assert_eq!(gate.get("/v2/", Some(ALICE)).await.status, 200);
    let mut clients = Vec::new();
    for _ in 0..=AT_ONCE {
        let mut client = gate.connect().await;
        client.write_all(request("GET", CATALOG, Some(ALICE), "", "").as_bytes()).await.unwrap();
        clients.push(client);
    }
    let mut connections = Vec::new();
    for _ in 0..AT_ONCE {
        connections.push(upstream.accept_request().await.0);
    }
    let mut other = gate.connect().await;
    other
        .write_all(request("GET", "/v2/alice/a/tags/list", Some(ALICE), "", "").as_bytes())
        .await
        .unwrap();
    let (_, head) = upstream.accept_request().await;
    assert_eq!(head.line().1, "/v2/alice/a/tags/list");
    // The first catalog that ends makes room for the waiting one.
    let page = answer("200 OK", "", "{\"repositories\":[\"alice/a\"]}");
    connections[0].write(&page).await;
    assert_eq!(soon(connections[0].head()).await.line().1, "/v2/_catalog?n=1000");
}

/// The gate ends a catalog that repeats the same page, that repeats a `last`, or that has hidden
/// names on page after page.
#[tokio::test]
async fn the_gate_ends_a_catalog_that_repeats_or_is_too_long() {
    let (reply, asked, gate) = ask(setup(&RULES), |_| answer("200 OK", LINK, PAGE)).await;
    assert_eq!(
        (reply.status, asked.len(), reason(&gate).await),
        (502, 2, json!("upstream_invalid"))
    );

    let hidden = "{\"repositories\":[\"hidden/b\"]}";
    let (reply, asked, gate) = ask(setup(&RULES), |_| answer("200 OK", LINK, hidden)).await;
    assert_eq!(
        (reply.status, asked.len(), reason(&gate).await),
        (502, 2, json!("upstream_invalid"))
    );

    let leads_on = |page| {
        let link = format!("Link: </v2/_catalog?last=hidden/{page}>; rel=\"next\"\r\n");
        answer(
            "200 OK",
            &link,
            &format!("{{\"repositories\":[\"alice/{page}\",\"hidden/{page}\"]}}"),
        )
    };
    let (reply, asked, gate) = ask(setup(&RULES), leads_on).await;
    assert_eq!(
        (reply.status, asked.len(), reason(&gate).await),
        (503, 100, json!("catalog_too_long"))
    );
    assert!(!reply.body.contains("alice") && !reply.body.contains("hidden"), "{reply:?}");
}

#[tokio::test]
async fn a_catalog_page_that_never_completes_is_504() {
    // The second page never ends.
    let slow = Setup { upstream: vec!["response_timeout: 300ms"], ..setup(&RULES) };
    let (reply, asked, gate) = ask(slow, |page| match page {
        1 => answer("200 OK", LINK, PAGE),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned(),
    })
    .await;
    assert_eq!(
        (reply.status, asked.len(), reason(&gate).await),
        (504, 2, json!("upstream_timeout"))
    );
}

/// Distribution accepts no `n` above its configured maximum, so the gate asks again without `n`.
#[tokio::test]
async fn the_gate_asks_without_n_if_the_registry_refuses_its_page_size() {
    let (reply, asked, gate) = ask(setup(&RULES), |page| match page {
        1 => {
            answer("400 Bad Request", "", "{\"errors\":[{\"code\":\"PAGINATION_NUMBER_INVALID\"}]}")
        }
        2 => answer("200 OK", LINK, PAGE),
        _ => answer("200 OK", "", "{\"repositories\":[\"alice/c\",\"UPPER\"]}"),
    })
    .await;
    assert_eq!((reply.status, &*reply.body), (200, "{\"repositories\":[\"alice/a\",\"alice/c\"]}"));
    assert_eq!(asked, ["/v2/_catalog?n=1000", "/v2/_catalog", "/v2/_catalog?last=hidden/b"]);
    assert_eq!(reason(&gate).await, "allowed");
    let (reply, asked, _) = ask(setup(&RULES), |_| answer("400 Bad Request", "", "")).await;
    assert_eq!((reply.status, asked.len()), (502, 2));
}

/// If the gate filters the catalog, it forwards no client header that could change the registry's
/// answer. If it does not filter, the headers are forwarded as for any request.
#[tokio::test]
async fn client_headers_are_not_forwarded_if_the_gate_filters_the_catalog() {
    for (who, goes_along) in [(ALICE, false), (LISTER, true)] {
        let (mut upstream, gate) = ScriptedUpstream::behind(setup(&RULES)).await;
        let script = async {
            let (mut connection, head) = upstream.accept_request().await;
            connection.write(answer("200 OK", "", PAGE)).await;
            head
        };
        let headers = "Accept-Encoding: gzip\r\nIf-None-Match: x\r\nRange: bytes=0-1\r\n";
        let (head, reply) =
            soon(async { tokio::join!(script, gate.send("GET", CATALOG, Some(who), headers, "")) })
                .await;
        assert_eq!(reply.status, 200);
        for name in ["accept-encoding", "if-none-match", "range"] {
            assert_eq!(head.header(name).is_some(), goes_along, "{name}");
        }
        assert!(head.header("x-request-id").is_some() && head.header("authorization").is_none());
    }
}
