//! A server whose answers a function gives. It keeps a ledger of all requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Server {
    pub(super) address: SocketAddr,
    ledger: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

/// A request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: String,
}

impl Request {
    /// Returns the method and the target.
    pub(super) fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap()
    }

    pub(super) fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// Returns the value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Returns an answer with this status line, header lines and body.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Server {
    /// Starts a server on an address of this machine, such as `127.0.0.1`.
    pub(super) fn start(
        address: &str,
        answers: impl Fn(&Request) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (ledger, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answers));
        let (entries, connections) = (ledger.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (entries, answers) = (entries.clone(), answers.clone());
                tokio::spawn(async move { serve(stream, &entries, &*answers).await });
            }
        });
        Self { address, ledger, connections }
    }

    /// Starts a server that no request may reach.
    pub(super) fn trap(address: &str) -> Self {
        Self::start(address, |_| answer("200 OK", "", "trapped"))
    }

    pub(super) fn ledger(&self) -> Vec<Request> {
        self.ledger.lock().unwrap().clone()
    }

    /// Returns the number of connections that were accepted.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.ledger().iter().map(|request| request.line().to_owned()).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    ledger: &Mutex<Vec<Request>>,
    answers: &(dyn Fn(&Request) -> String + Send + Sync),
) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        let mut request = Request { head, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < length {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        request.body = String::from_utf8(bytes.drain(..length).collect()).unwrap();
        let mut text = answers(&request);
        if request.line().starts_with("HEAD ") {
            text.truncate(text.find("\r\n\r\n").unwrap() + 4);
        }
        ledger.lock().unwrap().push(request);
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
