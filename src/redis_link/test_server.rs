//! A server for the tests, which speaks just enough of the protocol to misbehave.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RedisAddress;

/// What the server does with questions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    /// Answers everything, and 7 to scripts.
    Honest,
    /// Answers this to scripts and to `XREAD`, and is honest to the rest.
    Says(String),
    /// Answers this to everything.
    RefusesAll(String),
    /// Answers this to the script with which the link tries whether the server works.
    RefusesProbes(String),
    /// Reads, and answers nothing.
    Hangs,
    /// Closes the connection.
    Closes,
    /// Sends a `+` and this text again and again.
    Endless(&'static str),
}

/// The server. Dropping it closes its connections.
pub(super) struct TestServer {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    mode: Mutex<Mode>,
    questions: Mutex<Vec<Vec<String>>>,
    connections: Mutex<u32>,
    open: watch::Sender<u32>,
    close: watch::Sender<u32>,
}

impl TestServer {
    pub(super) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            mode: Mutex::new(mode),
            questions: Mutex::default(),
            connections: Mutex::default(),
            open: watch::Sender::new(0),
            close: watch::Sender::new(0),
        });
        let serving = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *guard(&serving.connections) += 1;
                serving.open.send_modify(|open| *open += 1);
                let state = serving.clone();
                tokio::spawn(async move {
                    let mut close = state.close.subscribe();
                    tokio::select! {
                        _ = state.serve(stream) => {}
                        _ = close.changed() => {}
                    }
                    state.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { port, state, task }
    }

    pub(super) fn address(&self) -> RedisAddress {
        RedisAddress::Host { host: "127.0.0.1".into(), port: self.port }
    }

    pub(super) fn set(&self, mode: Mode) {
        *guard(&self.state.mode) = mode;
    }

    /// Returns every question so far.
    pub(super) fn questions(&self) -> Vec<Vec<String>> {
        guard(&self.state.questions).clone()
    }

    /// Returns the number of connections so far.
    pub(super) fn connections(&self) -> u32 {
        *guard(&self.state.connections)
    }

    /// Closes all present connections.
    pub(super) fn close_all(&self) {
        self.state.close.send_modify(|times| *times += 1);
    }

    /// Waits until no connection is open.
    pub(super) async fn all_closed(&self) {
        self.state.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
        self.close_all();
    }
}

impl State {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let question = question(&mut stream).await?;
            guard(&self.questions).push(question.clone());
            let name = question.first().map_or("", String::as_str);
            let is_probe = question.iter().any(|arg| arg.contains(":probe:"));
            let is_asked = matches!(name, "EVALSHA" | "EVAL" | "XREAD") && !is_probe;
            let mode = guard(&self.mode).clone();
            let answer = match mode {
                Mode::Closes => return Ok(()),
                Mode::Hangs => continue,
                Mode::RefusesAll(text) => text,
                Mode::RefusesProbes(text) if is_probe => text,
                Mode::Says(text) if is_asked => text,
                Mode::Endless(text) if is_asked => {
                    stream.write_all(b"+").await?;
                    loop {
                        stream.write_all(text.repeat(1000).as_bytes()).await?;
                    }
                }
                _ if is_probe => {
                    let value = &question[4];
                    format!("${}\r\n{value}\r\n", value.len())
                }
                _ if name == "EVALSHA" => ":7\r\n".to_owned(),
                _ => "+OK\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Reads one question.
async fn question(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<String>> {
    let mut args = Vec::new();
    for _ in 0..number(stream).await? {
        let mut arg = vec![0; number(stream).await?];
        stream.read_exact(&mut arg).await?;
        stream.read_exact(&mut [0; 2]).await?;
        args.push(String::from_utf8_lossy(&arg).into_owned());
    }
    Ok(args)
}

async fn number(stream: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.get(1..).and_then(|line| line.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8(guard(&self.0).clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        guard(&self.0).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
