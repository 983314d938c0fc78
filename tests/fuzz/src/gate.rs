//! The oracle for the whole gate, in memory. The first byte of an input selects the protocol: `2`
//! is HTTP/2, anything else is HTTP/1.1. The rest is the bytes that a client sends on one
//! connection.

mod permit;
mod upstream;

use std::cell::OnceCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use moorgate::config::load;
use moorgate::record::{AccessLog, LogFormat};
use moorgate::run::{Listeners, Running};
use moorgate::server::serve_stream;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::message::{self, Message};
use upstream::Upstream;

/// The first byte of an input that is HTTP/2.
pub const HTTP2: u8 = b'2';

/// A time that passes only when no task can make progress, because the clock is paused until then.
const NOTHING_GOES_ON: Duration = Duration::from_millis(1);

/// The one credential in `htpasswd`, which the provider verifies.
const USER: &str = "alice";
const PASSWORD: &str = "secret";

/// Checks that each request is refused or reaches the registry as an unambiguous message that a
/// permit allows. Over HTTP/1.1, each entry of the ledger must be one of the requests that a second
/// reader finds in the input: allowed for the credential in that request, with the same body, and
/// complete only if the sent body was complete. Over HTTP/2 no second reader parses the frames, so
/// each entry must be a request that is allowed for any caller whose credential is within reach.
pub fn check(input: &[u8]) {
    let Some((protocol, sent)) = input.split_first() else { return };
    let http2 = *protocol == HTTP2;
    let ledger = forwarded(http2, sent);

    let sent = message::read(if http2 { &[] } else { sent }).messages;
    let mut allowed =
        sent.iter().filter_map(|message| Some((message, permit::of_message(message)?)));
    for entry in &ledger {
        upstream::assert_hygiene(entry);
        if permit::is_catalog(entry) {
            // The gate asks for the catalog in its own words and filters the answer.
            continue;
        }
        if http2 {
            assert!(permit::is_allowed_for_any_caller(entry), "nobody may {entry:?}");
        } else {
            let is_it = |(message, permit): (&Message, permit::Permit)| {
                permit.allows(entry) && goes_on_as(message, entry)
            };
            assert!(allowed.any(is_it), "nothing that was sent and allowed is {entry:?}");
        }
    }
}

/// Returns the messages that reach the registry when a client sends these bytes on one connection.
/// Panics if the registry could read them in two ways.
pub fn forwarded(http2: bool, sent: &[u8]) -> Vec<Message> {
    thread_local!(static GATE: OnceCell<Gate> = const { OnceCell::new() });
    let connections = GATE.with(|gate| gate.get_or_init(Gate::start).run(http2, sent));
    let read = |connection: &Vec<u8>| {
        let read = message::read(connection);
        assert!(read.plain, "this could be read in two ways: {}", connection.escape_ascii());
        read.messages
    };
    connections.iter().flat_map(read).collect()
}

/// Returns whether the registry got the body that was sent, and got it completely only if it was
/// sent completely.
fn goes_on_as(sent: &Message, forwarded: &Message) -> bool {
    if forwarded.complete {
        sent.complete && sent.body == forwarded.body
    } else {
        sent.body.starts_with(&forwarded.body)
    }
}

struct Gate {
    runtime: Runtime,
    upstream: Upstream,
    running: Running,
    _folder: TempDir,
}

impl Gate {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::bind();
        std::fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("a file");
        let config = CONFIG.replace("{upstream}", &upstream.address().to_string());
        std::fs::write(folder.path().join("moorgate.yml"), config).expect("a file");
        // One thread runs everything, with a clock that advances only when no task can make
        // progress.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let running = runtime.block_on(async { start(&folder.path().join("moorgate.yml")) });
        Self { runtime, upstream, running, _folder: folder }
    }

    /// Sends the bytes as one client, which leaves when no task makes progress any more. Returns
    /// the bytes that reached the registry, by connection.
    fn run(&self, http2: bool, sent: &[u8]) -> Vec<Vec<u8>> {
        let generations = self.running.live().snapshots();
        let local = LocalSet::new();
        local.block_on(&self.runtime, async {
            let ledger = self.upstream.start();
            let (client, server) = tokio::io::duplex(64 * 1024);
            let peer = SocketAddr::from((address_of(sent), 1));
            let serving = tokio::task::spawn_local(serve_stream(generations, server, peer, http2));
            let (mut reading, mut writing) = tokio::io::split(client);
            let talk = async {
                let (mut nowhere, write) = (tokio::io::sink(), writing.write_all(sent));
                let (_, _) = tokio::join!(tokio::io::copy(&mut reading, &mut nowhere), write);
            };
            // The client stays until the answers end or no more bytes arrive.
            tokio::select! {
                () = talk => {}
                () = sleep(NOTHING_GOES_ON) => {}
            }
            drop((reading, writing));
            serving.await.expect("no panic").ok();
            ledger.finish().await
        })
    }
}

/// Returns an address for the client. Each input has its own, so no client is limited because of
/// another client's requests.
fn address_of(sent: &[u8]) -> Ipv4Addr {
    let hash = sent
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    Ipv4Addr::from(0x0a00_0000 | (hash & 0x00ff_ffff))
}

fn start(config: &Path) -> Running {
    let loaded = load(config, []).unwrap_or_else(|problems| panic!("{problems}"));
    let admin = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let listeners = Listeners { public: Vec::new(), admin, admin_is_shared: false };
    let access_log = AccessLog::to(LogFormat::Json, std::io::sink()).expect("a log");
    Running::start(loaded, listeners, access_log).expect("a gate")
}

/// bcrypt at the lowest cost, because a check of a wrong password takes as long as one of a right
/// password.
const HTPASSWD: &str = "alice:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

const CONFIG: &str = r#"
version: 1
http:
  addr: 127.0.0.1:0
  external_url: http://registry.test
admin:
  addr: 127.0.0.1:0
upstream:
  urls: ["http://{upstream}"]
identity:
  - name: local
    type: htpasswd
    file: htpasswd
    scopes: [read_registry, write_registry]
policy:
  rules:
    - { name: public, repositories: ["public/**"], who: [anonymous, authenticated], allow: [pull] }
    - { name: team, repositories: ["team/**"], who: ["user:local/alice"],
        allow: [pull, push, delete] }
cache:
  ttl: 1h
"#;
