//! Class 23: request heads that are too large, over both HTTP versions.

use super::{assert_refusal, head, http2, http2_request, status, talk};
use crate::harness::{READ_WRITE, Setup, TestGate};

/// Returns a target of `bytes` bytes that would be valid if it were shorter.
fn target(bytes: usize) -> String {
    let start = "/v2/demo/a/tags/list?last=";
    format!("{start}{}", "x".repeat(bytes - start.len()))
}

#[tokio::test]
async fn targets() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    for (bytes, good) in [(8 * 1024, true), (8 * 1024 + 1, false), (16 * 1024, false)] {
        let before = (gate.forwarded(), tls.forwarded());
        let replies = [
            gate.get(&target(bytes), Some(READ_WRITE)).await,
            http2(&sender, http2_request("GET", &target(bytes), Some(READ_WRITE)), None::<&str>)
                .await
                .unwrap(),
        ];
        let expected = usize::from(good);
        assert_eq!(
            (gate.forwarded() - before.0, tls.forwarded() - before.1),
            (expected, expected),
            "{bytes}"
        );
        for reply in replies {
            match good {
                true => assert_eq!(reply.status, 404),
                false => assert_refusal(&reply, 414, "UNSUPPORTED", &bytes.to_string()),
            }
        }
    }
}

/// Values that clients make long are truncated in the log, and marked as truncated.
#[tokio::test]
async fn long_values_are_truncated_in_the_access_log() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let long = format!("/v2/demo/{}/tags/list", "a".repeat(28 * 1024));
    assert_eq!(gate.get(&long, Some(READ_WRITE)).await.status, 414);
    let request = http2_request("GET", &long[..16 * 1024], Some(READ_WRITE));
    assert_eq!(http2(&tls.http2().await, request, None::<&str>).await.unwrap().status, 414);
    let method = "M".repeat(20 * 1024);
    gate.send(&method, "/v2/", Some(READ_WRITE), "", "").await;
    let lines = [gate.log(2).await, tls.log(1).await].concat();
    for (line, key, whole) in
        [(&lines[0], "path", &long), (&lines[2], "path", &long), (&lines[1], "method", &method)]
    {
        let told = line[key].as_str().unwrap();
        assert!(told.len() <= 4096 && told.ends_with('…'), "{} bytes of {key}", told.len());
        assert!(whole.starts_with(told.trim_end_matches('…')) && told.len() > 4000, "{told}");
    }
}

/// A head size, in bytes, at which h2 gives up on the connection.
const FAR_TOO_LARGE: usize = 100 * 1024;

#[tokio::test]
async fn heads_above_max_header_bytes_are_refused() {
    let limits = || vec!["max_header_bytes: 8KiB"];
    let gate = TestGate::start(Setup { http: limits(), ..Setup::default() }).await;
    let tls = TestGate::start(Setup { http: limits(), tls: true, ..Setup::default() }).await;
    for (bytes, good) in [(7 * 1024, true), (9 * 1024, false), (FAR_TOO_LARGE, false)] {
        for lines in [1, 50] {
            let value = "x".repeat(bytes / lines);
            let before = (gate.forwarded(), tls.forwarded());
            let mut message = vec![
                "GET /v2/demo/a/tags/list HTTP/1.1",
                "Host: registry.test",
                "Connection: close",
            ];
            let (authorization, line) = (super::authorization(), format!("X: {value}"));
            message.push(&authorization);
            message.extend(std::iter::repeat_n(&*line, lines));
            let (answer, end) = talk(&gate, head(&message).into_bytes()).await;
            assert_eq!(status(&answer), Some(if good { 404 } else { 431 }), "{bytes} {lines}");
            assert!(end.is_ok(), "{bytes} {lines}: {end:?}");

            // HTTP/2 counts 32 extra bytes for each field, and h2 ends the connection if a head is
            // far too large.
            if lines == 1 {
                let mut request = http2_request("GET", "/v2/demo/a/tags/list", Some(READ_WRITE));
                request.headers_mut().insert("x", value.parse().unwrap());
                let status = http2(&tls.http2().await, request, None::<&str>)
                    .await
                    .map(|reply| reply.status);
                if bytes == FAR_TOO_LARGE {
                    assert!(status.as_ref().is_err_and(h2::Error::is_go_away), "{status:?}");
                } else {
                    assert_eq!(status.unwrap(), if good { 404 } else { 431 });
                }
                assert_eq!(tls.forwarded() - before.1, usize::from(good), "{bytes}");
            }
            assert_eq!(gate.forwarded() - before.0, usize::from(good), "{bytes} {lines}");
        }
    }
}

/// hyper limits the number of fields on HTTP/1.1, and the gate limits it on HTTP/2.
#[tokio::test]
async fn heads_with_too_many_fields_are_refused() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    // One of the fields is the credential. HTTP/1.1 has a Host and a Content-Length in addition.
    for (fields, good) in [(90, true), (99, true), (100, false), (500, false)] {
        let mut request = http2_request("GET", "/v2/demo/a/tags/list", Some(READ_WRITE));
        for _ in 0..fields {
            request.headers_mut().append("x", "y".parse().unwrap());
        }
        let reply = http2(&sender, request, None::<&str>).await.unwrap();
        match good {
            true => assert_eq!(reply.status, 404),
            false => assert_refusal(&reply, 431, "UNSUPPORTED", &fields.to_string()),
        }
    }
    assert_eq!(tls.forwarded(), 2);
    let lines = "X: y\r\n".repeat(200);
    let (answer, _) = talk(
        &gate,
        crate::harness::request("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), &lines, "")
            .into_bytes(),
    )
    .await;
    assert_eq!(status(&answer), Some(431), "{answer}");
    assert_eq!(gate.forwarded(), 0);
}
