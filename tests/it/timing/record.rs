//! The access log and the metrics of whole and broken bodies. The tests of each fault check its
//! reason.

use bytes::Bytes;

use crate::harness::{READ_WRITE, Setup};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UPLOAD, soon};

#[tokio::test]
async fn bytes_are_counted_both_ways() {
    for tls in [false, true] {
        let (mut upstream, gate) =
            ScriptedUpstream::behind(Setup { tls, ..Setup::default() }).await;
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            if tls {
                connection.until(b"0\r\n\r\n").await
            } else {
                connection.bytes(3000).await
            };
            connection.write(OK).await;
            connection.head().await;
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await;
            connection.write([b'x'; 5000]).await;
            connection.head().await;
            connection.write("HTTP/1.1 404 Not Found\r\nContent-Length: 5000\r\n\r\n").await;
        };
        let client = async {
            if tls {
                let sender = gate.http2().await;
                let (answer, mut stream) =
                    http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
                http2_client::send(&mut stream, Bytes::from(vec![b'x'; 3000]), true).await.unwrap();
                http2_client::body(soon(answer).await.unwrap()).await.unwrap();
                let response = http2_client::ask(&sender, "GET", BLOB).await;
                assert_eq!(http2_client::body(response).await.unwrap().len(), 5000);
                assert_eq!(http2_client::ask(&sender, "HEAD", BLOB).await.status(), 404);
            } else {
                gate.send("PATCH", UPLOAD, Some(READ_WRITE), "", &"x".repeat(3000)).await;
                assert_eq!(gate.get(BLOB, Some(READ_WRITE)).await.body.len(), 5000);
                assert_eq!(gate.send("HEAD", BLOB, Some(READ_WRITE), "", "").await.status, 404);
            }
        };
        soon(async { tokio::join!(script, client) }).await;
        let log = gate.log(3).await;
        let told: Vec<_> = log
            .iter()
            .map(|line| {
                ["operation", "status", "bytes_in", "bytes_out", "reason"]
                    .map(|key| line[key].to_string())
                    .join(" ")
            })
            .collect();
        assert_eq!(
            told,
            [
                "\"upload_chunk\" 200 3000 2 \"allowed\"",
                "\"blob_get\" 200 0 5000 \"allowed\"",
                "\"blob_get\" 404 0 0 \"allowed\"",
            ]
        );
        for line in &log {
            let (duration, upstream) =
                (line["duration_ms"].as_f64().unwrap(), line["upstream_ms"].as_f64().unwrap());
            assert!(0.0 < upstream && upstream <= duration, "{line}");
        }
        let metrics = gate.admin("/metrics").await.body;
        for line in [
            "moorgate_http_requests_total\
             {method=\"PATCH\",operation=\"upload_chunk\",code=\"200\"} 1",
            "moorgate_http_requests_total{method=\"GET\",operation=\"blob_get\",code=\"200\"} 1",
            "moorgate_http_requests_total{method=\"HEAD\",operation=\"blob_get\",code=\"404\"} 1",
            "moorgate_http_body_bytes_total{direction=\"in\"} 3000",
            "moorgate_http_body_bytes_total{direction=\"out\"} 5002",
            "moorgate_upstream_requests_total{code=\"200\"} 2",
            "moorgate_upstream_requests_total{code=\"404\"} 1",
            "moorgate_http_request_duration_seconds_count{operation=\"blob_get\"} 2",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
    }
}

/// A request whose client has left is counted under 499, and not as an answer of the registry.
#[tokio::test]
async fn a_client_that_left_is_counted() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    let ask = crate::scripted_upstream::open_request("GET", BLOB, "", "");
    tokio::io::AsyncWriteExt::write_all(&mut client, ask.as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    drop(client);
    connection.closed().await;
    gate.log(1).await;
    let metrics = gate.admin("/metrics").await.body;
    let line = "moorgate_http_requests_total{method=\"GET\",operation=\"blob_get\",code=\"499\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let mut answers =
        metrics.lines().filter(|line| line.starts_with("moorgate_upstream_requests_total{"));
    assert!(answers.all(|line| line.ends_with(" 0")), "{metrics}");
}
