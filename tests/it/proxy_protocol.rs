//! The PROXY protocol over real sockets: 127.0.0.1 is the trusted proxy, and 127.0.0.2 is an
//! untrusted peer.

use std::net::Ipv6Addr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{READ_WRITE, Reply, Setup, TestGate, read_to_close, request, try_tls};

const TRUSTED: &str = "trusted_proxies: [127.0.0.1/32, 198.51.100.0/24]";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n";

async fn gate(tls: bool) -> TestGate {
    TestGate::start(Setup { tls, http: vec![TRUSTED, "proxy_protocol: true"], ..Setup::default() })
        .await
}

fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[version_and_command, family], &length[..], rest].concat()
}

fn v2_ipv4() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb])
}

fn v2_ipv6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
    v2(
        0x21,
        0x21,
        &[&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0xdc, 4, 1, 0xbb, 4, 0, 1, 0]]
            .concat(),
    )
}

fn pull(headers: &str) -> String {
    request("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), headers, "")
}

/// Sends bytes to a gate without TLS and returns everything that comes back.
async fn send(mut stream: TcpStream, bytes: &[u8]) -> String {
    // The gate may have closed the connection before the end.
    let _ = stream.write_all(bytes).await;
    read_to_close(&mut stream).await
}

#[tokio::test]
async fn the_header_says_who_the_client_is() {
    let gate = gate(false).await;
    let cases = [
        (V1.to_vec(), "", "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), "", "2001:db8::7"),
        (v2_ipv4(), "", "203.0.113.7"),
        (v2_ipv6(), "", "2001:db8::7"),
        // The client is not a trusted proxy, so its header is ignored. A trusted proxy in front of
        // the proxy is believed.
        (v2_ipv4(), "X-Forwarded-For: 192.0.2.66\r\n", "203.0.113.7"),
        (
            b"PROXY TCP4 198.51.100.9 198.51.100.1 1 2\r\n".to_vec(),
            "X-Forwarded-For: 192.0.2.1\r\n",
            "192.0.2.1",
        ),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n".to_vec(), "", "203.0.113.9"),
        // The address is that of the proxy itself, which is trusted.
        (b"PROXY UNKNOWN\r\n".to_vec(), "", "127.0.0.1"),
        (v2(0x20, 0, &[]), "", "127.0.0.1"),
        (v2(0x20, 0, &[]), "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
    ];
    for (number, (header, lines, address)) in cases.into_iter().enumerate() {
        let text = send(gate.connect().await, &[&header, pull(lines).as_bytes()].concat()).await;
        assert_eq!(Reply::parse(&text).status, 404, "{header:?} {lines}");
        assert_eq!(gate.log(number + 1).await[number]["client_ip"], address, "{header:?} {lines}");
        assert_eq!(gate.ledger.entries()[number].headers["x-forwarded-for"], address);
    }
}

#[tokio::test]
async fn a_proxy_header_may_come_byte_by_byte_and_before_tls() {
    let gate = gate(true).await;
    let tls_headers = [V1.to_vec(), v2_ipv4(), v2_ipv6()];
    for (number, header) in tls_headers.iter().enumerate() {
        let mut stream = gate.connect().await;
        stream.set_nodelay(true).unwrap();
        for byte in header {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut stream = try_tls(stream, &gate.certificate, &[b"http/1.1"]).await.unwrap();
        stream.write_all(pull("").as_bytes()).await.unwrap();
        assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, 404);
        let address = if number < 2 { "203.0.113.7" } else { "2001:db8::7" };
        assert_eq!(gate.log(number + 1).await[number]["client_ip"], address);
    }
    let mut stream = gate.connect().await;
    stream.write_all(&v2_ipv4()).await.unwrap();
    let stream = try_tls(stream, &gate.certificate, &[b"h2"]).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ping = http::Request::get("https://registry.test/v2/").body(()).unwrap();
    let (response, _) = sender.ready().await.unwrap().send_request(ping, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 401);
    assert_eq!(gate.log(4).await[3]["client_ip"], "203.0.113.7", "HTTP/2");
}

#[tokio::test]
async fn an_invalid_proxy_header_closes_the_connection() {
    for tls in [false, true] {
        let gate = gate(tls).await;
        for bytes in [
            pull("").into_bytes(),
            b"\x16\x03\x01\x02\x00\x01".to_vec(),
            b"PROXY TCP4 203.0.113.7\r\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &[0; 5000]),
            v2(0x31, 0x11, &[0; 12]),
        ] {
            let text = send(gate.connect().await, &[&bytes, pull("").as_bytes()].concat()).await;
            assert_eq!(text, "", "{bytes:?}");
        }
        assert_eq!(gate.forwarded(), 0);
        // The next connection is served.
        let mut stream = gate.connect().await;
        stream.write_all(V1).await.unwrap();
        if tls {
            try_tls(stream, &gate.certificate, &[b"http/1.1"]).await.unwrap();
        } else {
            assert_eq!(Reply::parse(&send(stream, pull("").as_bytes()).await).status, 404);
        }
    }
}

#[tokio::test]
async fn a_header_that_is_slow_is_cut_off_at_the_handshake_timeout() {
    for tls in [false, true] {
        let http = vec![
            TRUSTED,
            "proxy_protocol: true",
            "handshake_timeout: 200ms",
            "header_timeout: 60s",
        ];
        let gate = TestGate::start(Setup { tls, http, ..Setup::default() }).await;
        for bytes in [&b""[..], b"PRO", V1.split_last().unwrap().1, &v2_ipv4()[..20]] {
            assert_eq!(send(gate.connect().await, bytes).await, "", "{bytes:?}");
        }
    }
}

#[tokio::test]
async fn untrusted_peers_are_served_and_their_proxy_headers_are_refused() {
    let clear = gate(false).await;
    for header in [V1.to_vec(), v2_ipv4(), v2(0x20, 0, &[])] {
        let text =
            send(clear.connect_from("127.0.0.2").await, &[&header, pull("").as_bytes()].concat())
                .await;
        assert_eq!(text, "", "{header:?}");
        // Sent in pieces, the header is not valid HTTP.
        let mut stream = clear.connect_from("127.0.0.2").await;
        stream.set_nodelay(true).unwrap();
        for byte in &header {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        let text = send(stream, pull("").as_bytes()).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    }
    assert_eq!(clear.forwarded(), 0);
    let text = send(
        clear.connect_from("127.0.0.2").await,
        pull("X-Forwarded-For: 192.0.2.1\r\n").as_bytes(),
    )
    .await;
    assert_eq!(Reply::parse(&text).status, 404);
    assert_eq!(clear.ledger.entries()[0].headers["x-forwarded-for"], "127.0.0.2");

    let behind_tls = gate(true).await;
    for header in [V1.to_vec(), v2_ipv4()] {
        let mut stream = behind_tls.connect_from("127.0.0.2").await;
        stream.write_all(&header).await.unwrap();
        assert!(
            try_tls(stream, &behind_tls.certificate, &[b"http/1.1"]).await.is_err(),
            "{header:?}"
        );
    }
    let stream = behind_tls.connect_from("127.0.0.2").await;
    let mut stream = try_tls(stream, &behind_tls.certificate, &[b"http/1.1"]).await.unwrap();
    stream.write_all(pull("").as_bytes()).await.unwrap();
    assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, 404);
}

#[tokio::test]
async fn a_proxy_header_is_not_valid_http_if_proxy_protocol_is_off() {
    let gate = TestGate::start(Setup { http: vec![TRUSTED], ..Setup::default() }).await;
    for header in [V1.to_vec(), v2_ipv4()] {
        let text = gate.raw([&header, pull("").as_bytes()].concat()).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    }
    assert_eq!(gate.forwarded(), 0);
}
