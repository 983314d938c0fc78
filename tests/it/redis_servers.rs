//! Real Redis servers as child processes: alone, with a replica and a sentinel, or as a cluster.
//!
//! They listen on ports that the kernel picks, and on a Unix socket in a temporary folder, through
//! which the tests control them. They end when they are dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than any start or failover on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The password of the user `gate` of every server.
pub const PASSWORD: &str = "password-of-gate";

/// A running server.
pub struct RedisServer {
    program: &'static str,
    pub port: u16,
    folder: TempDir,
    child: Child,
}

impl RedisServer {
    /// Starts a server with these lines of its config beside those that all have.
    pub fn start(lines: &[&str]) -> Self {
        Self::of("redis-server", lines)
    }

    /// Starts a server that speaks TLS on its port, with the certificate in `ca`.
    pub fn tls() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
        Self::with_files("redis-server", &["tls"], &files)
    }

    /// Starts a replica of another server.
    pub fn replica_of(master: &Self) -> Self {
        let replica = Self::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
        wait_until("the replica follows", || {
            replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        replica
    }

    /// Starts a sentinel that watches a server under the name `main`.
    pub fn sentinel_of(master: &Self) -> Self {
        let port = master.port;
        let sentinel = Self::of(
            "redis-sentinel",
            &[
                &format!("sentinel monitor main 127.0.0.1 {port} 1"),
                "sentinel down-after-milliseconds main 300",
                "sentinel failover-timeout main 2000",
            ],
        );
        wait_until("the sentinel knows the replica", || {
            sentinel.ask(&["SENTINEL", "MASTER", "main"]).contains("num-slaves\n1")
        });
        sentinel
    }

    /// Starts a cluster of three masters.
    pub fn cluster() -> [Self; 3] {
        let bus = [(); 3].map(|()| free_port());
        let nodes =
            bus.map(|bus| Self::start(&["cluster-enabled yes", &format!("cluster-port {bus}")]));
        for (node, slots) in
            nodes.iter().zip([("0", "5000"), ("5001", "10000"), ("10001", "16383")])
        {
            assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]), "OK");
        }
        for (node, bus) in nodes.iter().zip(bus).skip(1) {
            let (port, bus) = (node.port.to_string(), bus.to_string());
            assert_eq!(nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "OK");
        }
        wait_until("the cluster is whole", || {
            nodes.iter().all(|node| {
                let info = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        nodes
    }

    /// Starts a node that follows one of the nodes of a cluster, and that all of them know.
    pub fn cluster_replica_of(nodes: &[Self; 3], master: usize) -> Self {
        let master = &nodes[master];
        let bus = free_port();
        let lines = ["cluster-enabled yes", &format!("cluster-port {bus}")];
        let replica = Self::start(&lines);
        let [port, bus] = [replica.port, bus].map(|port| port.to_string());
        assert_eq!(master.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "OK");
        let id = master.ask(&["CLUSTER", "MYID"]);
        wait_until("the replica knows its master", || {
            replica.ask(&["CLUSTER", "REPLICATE", &id]) == "OK"
        });
        wait_until("the replica follows", || {
            replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        wait_until("all nodes know it", || {
            nodes.iter().chain([&replica]).all(|node| {
                let known = node.ask(&["CLUSTER", "NODES"]);
                let is_known =
                    |line: &str| line.contains(" connected") && !line.contains("handshake");
                known.lines().count() == 4 && known.lines().all(is_known)
            })
        });
        replica
    }

    fn of(program: &'static str, lines: &[&str]) -> Self {
        Self::with_files(program, lines, &[])
    }

    fn with_files(program: &'static str, lines: &[&str], files: &[(&str, String)]) -> Self {
        // Another program may take the port before the server does.
        (0..5)
            .find_map(|_| Self::try_start(program, lines, files))
            .unwrap_or_else(|| panic!("{program} ends again and again with {lines:?}"))
    }

    /// Starts a server on a free port; `None` if it ends at once.
    fn try_start(program: &'static str, lines: &[&str], files: &[(&str, String)]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let port = free_port();
        let listen = if lines == ["tls"] {
            format!(
                "port 0\ntls-port {port}\ntls-cert-file {at}/tls.crt\ntls-key-file {at}/tls.key\n\
                 tls-auth-clients no\n"
            )
        } else {
            format!("port {port}\n{}\n", lines.join("\n"))
        };
        let config = format!(
            "bind 127.0.0.1\nprotected-mode no\ndir {at}\nunixsocket {at}/redis.sock\n{listen}"
        );
        let of_servers = format!(
            "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n\
             user gate on >{PASSWORD} ~moorgate* +@all -@dangerous +cluster|slots\n"
        );
        let of_servers = if program == "redis-server" { &*of_servers } else { "" };
        fs::write(folder.path().join("redis.conf"), config + of_servers).unwrap();
        let child = spawn(program, &folder);
        let mut server = Self { program, port, folder, child };
        server.is_ready().then_some(server)
    }

    /// Waits until the server answers. Returns `false` if it ends before.
    fn is_ready(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while self.try_ask(&["PING"]).is_none_or(|answer| answer != "PONG") {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < end, "{} is not ready in time", self.program);
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// The certificate of a server with TLS, which is its own authority.
    pub fn ca(&self) -> String {
        fs::read_to_string(self.folder.path().join("tls.crt")).unwrap()
    }

    /// The path of the Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Returns the answer to a command, with a line for each element.
    pub fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).unwrap_or_else(|| panic!("no answer to {command:?}"))
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut question = format!("*{}\r\n", command.len());
        for arg in command {
            question.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
        }
        stream.write_all(question.as_bytes()).ok()?;
        answer(&mut BufReader::new(stream))
    }

    /// Ends the server at once, without a farewell.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again after [`kill`](Self::kill), empty and on the same port.
    pub fn restart(&mut self) {
        self.child = spawn(self.program, &self.folder);
        assert!(self.is_ready(), "{} does not start again", self.program);
    }

    /// Stops the server without closing its connections.
    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets the server go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &str, folder: &TempDir) -> Child {
    let mut command = Command::new(program);
    command.arg(folder.path().join("redis.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("{program}: {error}; run: apt-get install redis-server redis-sentinel")
    })
}

/// Waits until a condition holds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a port that no program listens on at present.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Reads an answer, with a line for each element.
fn answer(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let (kind, rest) = line.trim_end().split_at_checked(1)?;
    match kind {
        "$" => {
            let mut text = vec![0; rest.parse::<usize>().ok()? + 2];
            stream.read_exact(&mut text).ok()?;
            text.truncate(text.len() - 2);
            String::from_utf8(text).ok()
        }
        "*" => {
            let count = rest.parse::<usize>().ok()?;
            let answers: Option<Vec<_>> = (0..count).map(|_| answer(stream)).collect();
            Some(answers?.join("\n"))
        }
        _ => Some(rest.to_owned()),
    }
}
