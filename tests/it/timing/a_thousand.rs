//! A thousand silent clients at the same time, at every stage of a connection (class 21), while the
//! gate serves honest clients. The gate closes each silent client at its deadline, leaks nothing,
//! and no honest client is affected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::deadlines_http2::{PING, PREFACE, SETTINGS, half_headers, headers};
use crate::gate_process::{GateProcess, ProcessSetup, USER};
use crate::harness::{basic, digest_of, exchange, read_reply, request};
use crate::scripted_upstream::{UPLOADS, soon};

/// The length of all deadlines. It is long enough for a thousand clients to connect before the
/// first deadline, also on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(5);
const DEADLINES: [&str; 4] =
    ["handshake_timeout: 5s", "header_timeout: 5s", "idle_timeout: 5s", "stall_timeout: 5s"];
/// The size of the blob for a client that does not read, in bytes: more than the kernel buffers of
/// a connection hold.
const BLOB_BYTES: usize = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(90);

/// A group of clients that all stop at the same stage.
#[derive(Clone)]
struct Stage {
    name: &'static str,
    clients: usize,
    /// The ALPN protocol, if the client completes the TLS handshake first.
    tls: Option<&'static [u8]>,
    begin: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Nothing,
    /// Sends these bytes every 100 ms. They do not count as progress.
    Noise(&'static [u8]),
    /// Does not even read.
    Deaf,
}

fn stage(
    name: &'static str,
    clients: usize,
    tls: Option<&'static [u8]>,
    begin: impl Into<Vec<u8>>,
) -> Stage {
    Stage { name, clients, tls, begin: begin.into(), then: Then::Nothing }
}

/// Returns the stages of HTTP/1.1, without TLS or with it.
fn http1(clients: usize, tls: Option<&'static [u8]>, blob: &str) -> Vec<Stage> {
    let open = |method, target, headers: &str, body: &str| {
        request(method, target, Some(USER), headers, body).replace("Connection: close\r\n", "")
    };
    let length = "Content-Length: 100\r\n";
    let push = &push_of(&[b'x'; 100]);
    let all = |name, begin: &str| stage(name, clients, tls, begin);
    vec![
        all("after connecting", ""),
        all("in a head", "GET /v2/ HTTP/1.1\r\nHost: regis"),
        Stage {
            then: Then::Noise(b"x"),
            ..all("in a head, byte by byte", "GET /v2/ HTTP/1.1\r\nX: ")
        },
        all("before a body", &open("POST", push, length, "")),
        all("in a body", &(open("POST", push, length, "") + "some")),
        all("between requests", &open("GET", "/v2/", "", "")),
        all("in a second head", &(open("GET", "/v2/", "", "") + "GET")),
        Stage {
            then: Then::Deaf,
            clients: clients / 4,
            ..all("reading nothing", &open("GET", blob, "", ""))
        },
    ]
}

fn http2(clients: usize, blob: &str) -> Vec<Stage> {
    let all = |name, begin: Vec<u8>| stage(name, clients, Some(b"h2"), begin);
    let begin = [PREFACE, &SETTINGS].concat();
    // The client opens no window for any stream.
    let shut = [PREFACE, &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]].concat();
    let authorization = basic(USER);
    let ping = headers(1, "GET", "/v2/", &authorization, true);
    let push = headers(1, "POST", &push_of(b"x"), &authorization, false);
    let pull = headers(1, "GET", blob, &authorization, true);
    vec![
        all("before the preface", Vec::new()),
        all("in the preface", PREFACE[..10].to_vec()),
        all("without a stream", begin.clone()),
        Stage { then: Then::Noise(&PING), ..all("PINGs alone", begin.clone()) },
        Stage {
            then: Then::Noise(&PING),
            ..all("PINGs after a request", [&*begin, &ping].concat())
        },
        all("in a header block", [&*begin, &half_headers(1)].concat()),
        all("in a body over HTTP/2", [&*begin, &push].concat()),
        all("a shut window", [&*shut, &pull].concat()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls() {
    let blob = blob();
    // Seven stages of 140 clients and one of 35.
    a_thousand(false, http1(140, None, &blob)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls() {
    let blob = blob();
    let mut stages = vec![
        stage("before the handshake", 250, None, ""),
        stage("in the handshake", 250, None, b"\x16\x03\x01\x02\x00\x01\x00"),
    ];
    stages.extend(http1(32, Some(b"http/1.1"), &blob));
    stages.extend(http2(36, &blob));
    a_thousand(true, stages).await;
}

async fn a_thousand(tls: bool, stages: Vec<Stage>) {
    let clients: usize = stages.iter().map(|stage| stage.clients).sum();
    assert!(clients >= 1000, "{clients}");
    raise_limit();
    let gate = Arc::new(
        GateProcess::start(ProcessSetup {
            tls,
            http: &DEADLINES,
            identity: &[],
            ..ProcessSetup::default()
        })
        .await,
    );
    let honest = Honest { gate: gate.clone(), tls };
    honest.push_blob().await;
    honest.ask().await;
    soon(gate.connections_fall_to(0)).await;
    let before = gate.descriptors();

    let mut silent = JoinSet::new();
    for stage in stages {
        for _ in 0..stage.clients {
            silent.spawn(be_silent(gate.clone(), stage.clone()));
        }
    }
    let slow = tokio::spawn(honest.clone().push_slowly());
    soon(async {
        while gate.metric("moorgate_connections").await < 1000 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Completes when all silent clients are gone. Honest clients are served during all that time.
    let gone = async {
        let deaf = timeout(PATIENCE, silent.join_all()).await.expect("some are still open");
        timeout(PATIENCE, gate.connections_fall_to(2))
            .await
            .expect("some that do not read are still open");
        drop(deaf);
    };
    let serving = async {
        loop {
            honest.ask().await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = gone => {}
        () = serving => unreachable!(),
    };
    slow.await.unwrap();
    soon(gate.connections_fall_to(0)).await;
    // The remaining descriptors are connections to the registry that are idle in the pool.
    let after = gate.descriptors();
    assert!(after < before + 64, "{before} descriptors before, {after} after");
}

/// Runs one client: sends the bytes of its stage and then waits until the gate closes. A client
/// that does not read cannot notice the close, so its connection is returned.
async fn be_silent(gate: Arc<GateProcess>, stage: Stage) -> Option<Box<dyn Stream>> {
    let socket = TcpStream::connect(gate.address).await.unwrap();
    let begun = Instant::now();
    let mut stream: Box<dyn Stream> = match stage.tls {
        Some(alpn) => Box::new(gate.tls_on(socket, alpn).await),
        None => Box::new(socket),
    };
    stream.write_all(&stage.begin).await.unwrap();
    stream.flush().await.unwrap();
    let noise = match stage.then {
        Then::Nothing => None,
        Then::Noise(noise) => Some(noise),
        Then::Deaf => return Some(stream),
    };
    let (mut reading, mut writing) = tokio::io::split(stream);
    let closed = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(1..) = reading.read(&mut buffer).await {}
    };
    let make_noise = async {
        while let Some(noise) = noise {
            if writing.write_all(noise).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = closed => {}
        () = make_noise => {}
    }
    let took = begun.elapsed();
    assert!(took >= DEADLINE / 2, "{}: closed after {took:?}", stage.name);
    None
}

/// An honest client, which opens a new connection for each exchange.
#[derive(Clone)]
struct Honest {
    gate: Arc<GateProcess>,
    tls: bool,
}

impl Honest {
    async fn ask(&self) {
        let reply = self.exchange(request("GET", "/v2/", Some(USER), "", "")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    async fn push_blob(&self) {
        let content = vec![b'x'; BLOB_BYTES];
        let head = request(
            "POST",
            &push_of(&content),
            Some(USER),
            &format!("Content-Length: {BLOB_BYTES}\r\n"),
            "",
        );
        let reply = self.exchange([head.into_bytes(), content].concat()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    /// Uploads a blob that makes progress and takes far longer than each deadline.
    async fn push_slowly(self) {
        let content = [b'x'; 8];
        let head = request("POST", &push_of(&content), Some(USER), "Content-Length: 8\r\n", "");
        let begun = Instant::now();
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        for byte in content {
            sleep(DEADLINE / 4).await;
            stream.write_all(&[byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(read_reply(&mut stream).await.status, 201);
        assert!(begun.elapsed() >= 2 * DEADLINE);
    }

    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> crate::harness::Reply {
        exchange(&mut self.connect().await, bytes).await
    }

    async fn connect(&self) -> Box<dyn Stream> {
        if self.tls {
            Box::new(self.gate.tls(b"http/1.1").await)
        } else {
            Box::new(TcpStream::connect(self.gate.address).await.unwrap())
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

fn blob() -> String {
    format!("/v2/demo/a/blobs/{}", digest_of(&vec![b'x'; BLOB_BYTES]))
}

/// Returns the target of a monolithic push of this content.
fn push_of(content: &[u8]) -> String {
    format!("{UPLOADS}?digest={}", digest_of(content))
}

/// Raises the limit of open files, because the test holds one end of each connection itself.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
