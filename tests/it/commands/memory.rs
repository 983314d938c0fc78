//! The traces of secrets in the memory of the process, and whether its memory may be dumped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use moorgate::demo::gitlab::{GitLab, Kind, SampleCredential, Scope, State};
use moorgate::demo::registry::Registry;
use serde_json::Value;

use super::{HTPASSWD, Served, free};
use crate::harness::{PATIENCE, basic, listener};

/// Kills a process by a signal after which the kernel may dump its memory. Returns whether it did.
fn is_dumped(mut child: Child) -> bool {
    let killed = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    status.core_dumped()
}

/// Creates a command that runs a program under `ulimit -c unlimited`, in a folder that is deleted
/// together with the dump.
fn dumpable(folder: &std::path::Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\"", program]).args(arguments);
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

#[test]
fn there_is_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let other = dumpable(folder.path(), "sleep", &["600"]).spawn().unwrap();
    // `exec` has happened once the process has another name.
    let name = format!("/proc/{}/comm", other.id());
    while std::fs::read_to_string(&name).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    if !is_dumped(other) {
        // This system dumps no process, even one that may be dumped, so the test can show nothing.
        eprintln!("skipped: this system writes no core dumps");
        return;
    }
    let served = Served::start_by(free(), HTPASSWD, "", |arguments| {
        dumpable(folder.path(), env!("CARGO_BIN_EXE_moorgate"), arguments)
    });
    assert!(!is_dumped(served.child));
}

/// A unique secret, as a client sends it.
struct Canary {
    user: String,
    secret: String,
}

impl Canary {
    fn new(user: &str) -> Self {
        Self { user: user.to_owned(), secret: format!("canary{:032x}", fastrand::u128(..)) }
    }

    fn basic(&self) -> String {
        basic((&self.user, &self.secret))
    }

    /// Returns the forms in which the secret may be in memory: by itself, and in the base64 of
    /// Basic without the ends, which depend on the text around it.
    fn forms(&self) -> [Vec<u8>; 2] {
        let encoded = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.secret));
        [self.secret.clone().into_bytes(), encoded.as_bytes()[8..40].to_vec()]
    }
}

/// Returns which of these byte strings are in the memory of a process, and in which region. Returns
/// `None` if this user may not read the memory.
fn found_in(pid: u32, wanted: &[Vec<u8>]) -> Option<Vec<String>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = Vec::new();
    for region in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (from, to) = region.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) =
            (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A region may be unmapped while it is read.
        let Ok(read) = memory.read_at(&mut bytes, from) else { continue };
        for at in positions(&bytes[..read], wanted) {
            let around = &bytes[at.saturating_sub(40)..(at + 80).min(read)];
            found.push(format!("{region}: {:?}", String::from_utf8_lossy(around)));
        }
    }
    Some(found)
}

/// Returns the positions at which any of them begins. Skips pages of zeros, which are most of the
/// memory.
fn positions(bytes: &[u8], wanted: &[Vec<u8>]) -> Vec<usize> {
    static ZEROS: [u8; 4096] = [0; 4096];
    let begins: [bool; 256] =
        std::array::from_fn(|byte| wanted.iter().any(|it| usize::from(it[0]) == byte));
    let mut positions = Vec::new();
    for (number, page) in
        bytes.chunks(ZEROS.len()).enumerate().filter(|(_, page)| *page != &ZEROS[..page.len()])
    {
        for (at, _) in page.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]) {
            let at = number * ZEROS.len() + at;
            if wanted.iter().any(|wanted| bytes[at..].starts_with(wanted)) {
                positions.push(at);
            }
        }
    }
    positions
}

/// Sends a request on a connection that stays open. Returns the status and the body of the answer.
fn ask(connection: &mut TcpStream, start: &str, lines: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let message = format!(
        "{start} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(message.as_bytes()).unwrap();
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 16 * 1024];
        let read = connection.read(&mut buffer).unwrap();
        assert!(read > 0, "closed behind {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return (head[9..12].parse().unwrap(), body.to_owned());
        }
    }
}

/// In the gate's own values, a secret lives as long as its request. hyper's buffers keep the bytes
/// read and written until later requests overwrite them.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_gone_from_memory_after_their_requests() {
    let (gitlab, registry) =
        (GitLab::start(listener()).unwrap(), Registry::start(listener()).unwrap());
    let canaries = ["basic", "bearer", "form", "token", "wrong"].map(Canary::new);
    for canary in &canaries[..4] {
        gitlab.add(SampleCredential {
            kind: Kind::PersonalAccessToken,
            user: canary.user.clone(),
            password: canary.secret.clone(),
            scopes: vec![Scope::ReadRegistry, Scope::WriteRegistry],
            reach: "demo".into(),
            state: State::Active,
            note: String::new(),
        });
    }
    let identity =
        format!("{{ name: gitlab, type: gitlab, url: \"http://{}\" }}", gitlab.address());
    let registry_address = registry.address().to_string();
    let served = Served::start(registry.address(), &identity, "");
    let work = move || {
        let [by_basic, by_bearer, by_form, by_token, wrong] = &canaries;
        let mut connection = TcpStream::connect(served.address).unwrap();
        let tags = "GET /v2/demo/a/tags/list";
        let authorization = |value: &str| format!("Authorization: {value}\r\n");
        let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
        let (status, _) = ask(&mut connection, tags, &authorization(&by_basic.basic()), "");
        assert_eq!(status, 404, "the registry's own");
        let (status, _) =
            ask(&mut connection, tags, &authorization(&format!("Bearer {}", by_bearer.secret)), "");
        assert_eq!(status, 404);
        let form =
            format!("grant_type=password&username={}&password={}", by_form.user, by_form.secret);
        assert_eq!(ask(&mut connection, "POST /token", form_type, &form).0, 200);
        let scope = "GET /token?scope=repository:demo/a:pull";
        let (_, answer) = ask(&mut connection, scope, &authorization(&by_token.basic()), "");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let made = answer["token"].as_str().unwrap().to_owned();
        assert_eq!(
            ask(&mut connection, tags, &authorization(&format!("Bearer {made}")), "").0,
            404
        );
        assert_eq!(ask(&mut connection, tags, &authorization(&wrong.basic()), "").0, 401);

        let mut wanted: Vec<_> = canaries.iter().flat_map(Canary::forms).collect();
        wanted.push(made.as_bytes()[40..72].to_vec());
        // A text that lives as long as the gate is found, which shows that the search works.
        let known = found_in(served.child.id(), &[registry_address.as_bytes().to_vec()]);
        assert!(
            known.is_none_or(|known| !known.is_empty()),
            "{registry_address} is not in its memory"
        );
        let begun = Instant::now();
        loop {
            let Some(found) = found_in(served.child.id(), &wanted) else {
                eprintln!("skipped: this user may not look into the memory of others");
                break;
            };
            if found.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", found.join("\n"));
            // Later requests follow, with heads and forms of the same sizes and larger.
            for size in [16, 64, 256, 1024, 4096] {
                let other = authorization(&basic((
                    "somebody",
                    &format!("{:x}", fastrand::u128(..)).repeat(size / 16),
                )));
                ask(&mut connection, tags, &other, "");
                let form =
                    format!("grant_type=password&username=somebody&password={}", "x".repeat(size));
                ask(&mut connection, "POST /token", form_type, &form);
            }
        }
        served.signal("-TERM");
        served.end();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
