//! HTTP/1.1 requests and replies of the tests.

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{PATIENCE, basic};
use crate::canary;

/// Returns the bytes of a request with `Connection: close`.
pub fn request(
    method: &str,
    target: &str,
    credential: Option<(&str, &str)>,
    headers: &str,
    body: &str,
) -> String {
    canary::plant_lines(headers);
    let authorization = credential
        .map_or_else(String::new, |credential| format!("Authorization: {}\r\n", basic(credential)));
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!(
        "{method} {target} HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\
         {authorization}{length}{headers}\r\n{body}"
    )
}

/// Reads until the peer closes or resets the connection.
pub async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        // A reset after the answer also counts as the end.
        let _ = stream.read_to_end(&mut bytes).await;
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the connection stayed open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer up to its `Content-Length`, on a connection that stays open.
pub async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("no answer")
            .unwrap();
        assert!(read > 0, "the connection closed in {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let reply = Reply::parse(&text);
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length || head.starts_with("HTTP/1.1 304") {
            return reply;
        }
    }
}

/// Reads the head of an answer without a body, on a connection that stays open.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut bytes))
            .await
            .expect("no answer")
            .unwrap();
        assert!(read > 0, "the connection closed in {:?}", String::from_utf8_lossy(&bytes));
    }
    Reply::parse(&String::from_utf8_lossy(&bytes))
}

/// Writes and then reads one answer, on a connection that stays open.
pub async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: impl AsRef<[u8]>,
) -> Reply {
    stream.write_all(bytes.as_ref()).await.unwrap();
    read_reply(stream).await
}

/// A parsed answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        canary::search("an answer", head.as_bytes());
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Returns the code of the OCI error.
    pub fn code(&self) -> String {
        let json: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        json["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}
