//! `moorgate explain` compared with the gate that runs with the same config.

mod assumed;
mod catalog;
mod narrow;
mod providers;
mod requests;
mod tokens;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, some_digest};

const TAGS: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const PUT_V1: &str = "/v2/demo/a/manifests/v1";

const RULES: [&str; 4] = [
    "rules:",
    "  - { name: public, repositories: [\"public/**\"], who: [anonymous, authenticated], \
     allow: [pull] }",
    "  - { name: reads, repositories: [\"demo/**\"], who: [\"user:gitlab/alice\"], allow: [pull] }",
    "  - { name: writes, repositories: [\"demo/a\"], except_tags: [\"v*\"], \
     who: [\"user:gitlab/alice\"], allow: [push] }",
];

/// The output of the command and its exit code.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// Returns the lines under a label, joined.
    fn about(&self, label: &str) -> String {
        let mut of = "";
        let lines = self.out.lines().filter_map(|line| {
            let (name, value) = line.split_at(12.min(line.len()));
            of = if name.trim().is_empty() { of } else { name.trim_end() };
            (of == label).then(|| value.trim_start())
        });
        lines.collect::<Vec<_>>().join(" | ")
    }

    /// Returns the status, if the gate itself answers, and the reason.
    fn answer(&self) -> (Option<u16>, String) {
        let answer = self.about("answer");
        let reason = answer.split("reason ").nth(1).unwrap_or_else(|| panic!("{self:?}"));
        let status = answer.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().ok();
        (status, reason.split(" | ").next().unwrap().to_owned())
    }
}

async fn gate(more: &[&'static str], setup: Setup) -> TestGate {
    TestGate::start(Setup { policy: [&RULES[..], more].concat(), ..setup }).await
}

/// Runs the command on a separate thread, because this one serves the providers.
async fn run(gate: &TestGate, arguments: &[&str], secret: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
    command.args(["explain", "--config"]).arg(gate.file("test.yml")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let secret = secret.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // A command that does not read its input has closed the pipe.
        let _ = child.stdin.take().unwrap().write_all(secret.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(secret_is_absent(&out) && secret_is_absent(&err), "{out}{err}");
    Said { code: output.status.code(), out, err }
}

/// Returns whether the text contains neither a secret of the stand-ins nor a token.
fn secret_is_absent(text: &str) -> bool {
    !["glpat-", "mg1.", "eyJ"].iter().any(|part| text.contains(part))
}

async fn explain(
    gate: &TestGate,
    method: &str,
    path: &str,
    credential: Option<(&str, &str)>,
) -> Said {
    match credential {
        Some((user, secret)) => {
            run(gate, &["--method", method, "--path", path, "-u", user], &format!("{secret}\n"))
                .await
        }
        None => run(gate, &["--method", method, "--path", path], "").await,
    }
}

async fn token(gate: &TestGate, scope: &str) -> String {
    let reply = gate.get(&format!("/token?scope={scope}"), Some(READ_WRITE)).await;
    let reply: Value = serde_json::from_str(&reply.body).unwrap();
    reply["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn explain_says_what_is_wrong_with_its_arguments() {
    let gate = TestGate::plain().await;
    for (arguments, secret, why) in [
        (&["-u", "alice"][..], "", "-u needs the user's secret on standard input"),
        (&["-u", "alice"], "\n", "-u needs the user's secret on standard input"),
        (&["-u", "alice:secret"], "x", "takes only the user name"),
        (&[], "one\ntwo\n", "pass only one line"),
    ] {
        let said =
            run(&gate, &[&["--method", "GET", "--path", TAGS], arguments].concat(), secret).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    let no_word = run(&gate, &["--method", "G T", "--path", TAGS], "").await;
    assert_eq!(
        (no_word.code, no_word.about("answer").starts_with("400, because")),
        (Some(1), true),
        "{no_word:?}"
    );
    gate.write("test.yml", "version: 1\nhtp: {}\n");
    assert_eq!(explain(&gate, "GET", TAGS, None).await.code, Some(78));
}

/// The gate and the command share the code that decides, so both agree by construction. The test
/// protects against a change that separates them.
#[tokio::test]
async fn status_and_reason_are_those_of_the_gate() {
    let gate = gate(&[], Setup { log: vec!["audit: audit.log"], ..Setup::default() }).await;
    let digest = some_digest();
    let mounts = ["demo/b", "elsewhere/b"]
        .map(|from| ("POST", format!("{UPLOADS}?mount={digest}&from={from}")));
    let requests = [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", TAGS),
        ("HEAD", PUT_V1),
        ("PUT", PUT_V1),
        ("PUT", "/v2/demo/b/manifests/latest"),
        ("DELETE", PUT_V1),
        ("POST", UPLOADS),
        ("GET", "/v2/public/a/tags/list"),
        ("GET", "/v2/elsewhere/tags/list"),
        ("GET", "/v2/Demo/a/tags/list"),
        ("GET", "/v2/demo//a/tags/list"),
        ("GET", "/v2/demo/a/manifests/sha256:1"),
        ("GET", "/v2/demo/a/tags/list?n=1&n=2"),
        ("PATCH", TAGS),
        ("BREW", TAGS),
        ("get", TAGS),
        ("GET", "/gitlab/v1/x"),
        ("GET", "/v2"),
        ("GET", "*"),
        ("GET", "http://elsewhere.test/v2/"),
        ("GET", "/token?scope=repository:demo/a:pull"),
        ("GET", "/token?service=another"),
        ("DELETE", "/token"),
        ("POST", "/token"),
    ];
    let requests =
        requests.map(|(method, path)| (method, path.to_owned())).into_iter().chain(mounts);
    let requests: Vec<_> = requests.collect();
    let mut lines = 0;
    for credential in [None, Some(READ_WRITE), Some(READ_ONLY), Some(("alice", "glpat-no-such"))] {
        for (method, path) in &requests {
            let before = gate.forwarded();
            let said = explain(&gate, method, path, credential).await;
            assert_eq!(gate.forwarded(), before, "{method} {path}");
            let reply = gate.send(method, path, credential, "", "").await;
            lines += 1;
            let log = gate.log(lines).await;
            let line = log.last().unwrap();
            let forwarded = gate.forwarded() > before;
            let expected =
                ((!forwarded).then_some(reply.status), line["reason"].as_str().unwrap().to_owned());
            assert_eq!(said.answer(), expected, "{method} {path} {credential:?}: {said:?} {line}");
            assert_eq!(said.code, Some(i32::from(line["decision"] != "allowed")), "{said:?}");
        }
    }
    let audited = std::fs::read_to_string(gate.file("audit.log")).unwrap();
    let refused =
        |line: &&Value| ["denied", "allowed"].contains(&line["decision"].as_str().unwrap());
    let of_gate = gate.log(lines).await;
    let of_gate: Vec<_> = of_gate.iter().filter(refused).map(|line| &line["request_id"]).collect();
    for line in audited.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(of_gate.contains(&&line["request_id"]), "explain was audited: {line}");
    }
}
