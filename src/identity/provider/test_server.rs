//! A provider for tests: a small HTTP/1.1 server with a given answer, on a port that the kernel
//! picks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::http_client::HttpClient;

/// The longest time that a test waits. Only a test that fails takes this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. It ends with the test's runtime.
pub(super) struct TestServer {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    requests: watch::Receiver<Vec<String>>,
}

/// The reaction of the server to a request.
#[derive(Clone)]
pub(super) enum Answer {
    /// The server sends this answer, which includes the head.
    Say(String),
    /// The server reads the request and does not answer.
    Hang,
}

impl Answer {
    /// Creates an answer with this status, these header lines and this body.
    pub(super) fn new(status: u16, headers: &str, body: &str) -> Self {
        let len = body.len();
        Self::Say(format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {len}\r\n\
             {headers}\r\n{body}"
        ))
    }

    pub(super) fn ok(body: &str) -> Self {
        Self::new(200, "content-type: application/json\r\n", body)
    }
}

impl TestServer {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let (sender, requests) = watch::channel(Vec::new());
        let told = answer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(exchange(stream, told.clone(), sender.clone()));
            }
        });
        Self { url, answer, requests }
    }

    /// Sets the answer to all later requests.
    pub(super) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Returns every request so far, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Waits until the server has received `count` requests.
    pub(super) async fn reached(&self, count: usize) {
        let mut requests = self.requests.clone();
        tokio::time::timeout(PATIENCE, requests.wait_for(|all| all.len() >= count))
            .await
            .unwrap()
            .unwrap();
    }

    /// Creates a client for the server.
    pub(super) fn client(timeout: Duration) -> HttpClient {
        let tls = crate::net::client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
        HttpClient::new(tls, timeout)
    }
}

async fn exchange(
    mut stream: TcpStream,
    told: Arc<Mutex<Answer>>,
    requests: watch::Sender<Vec<String>>,
) {
    let mut text = String::new();
    while !is_whole(&text) {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    let answer = told.lock().unwrap().clone();
    requests.send_modify(|all| all.push(text));
    match answer {
        // The client may have closed the connection after it has read enough.
        Answer::Say(answer) => drop(stream.write_all(answer.as_bytes()).await),
        Answer::Hang => drop(stream.read(&mut [0]).await),
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
