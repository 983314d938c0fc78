//! A provider for tests: a small HTTP/1.1 server on a port that the kernel picks, which answers as
//! it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::common::http_client::ProviderClient;

/// No test waits longer than this: it is there to fail, not to be reached.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. It ends with the test's runtime.
pub(super) struct TestServer {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    requests: watch::Receiver<Vec<String>>,
}

/// What it does with a request.
#[derive(Clone)]
pub(super) enum Answer {
    /// The whole answer, head included.
    Say(String),
    /// Reads the request and says nothing.
    Hang,
}

impl Answer {
    /// An answer with this status, these header lines and this body.
    pub(super) fn new(status: u16, headers: &str, body: &str) -> Self {
        let len = body.len();
        Self::Say(format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
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

    /// What it answers from now on.
    pub(super) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Every request so far, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Waits until there were so many requests.
    pub(super) async fn reached(&self, count: usize) {
        let mut requests = self.requests.clone();
        tokio::time::timeout(PATIENCE, requests.wait_for(|all| all.len() >= count))
            .await
            .unwrap()
            .unwrap();
    }

    /// A client for it.
    pub(super) fn client(timeout: Duration) -> ProviderClient {
        let tls = crate::net::client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
        ProviderClient::new(tls, timeout)
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
        // A client that has read enough may be gone.
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
