//! `moorgate explain` compared with the gate that runs with the same config.

use std::io::Write;
use std::process::{Command, Stdio};

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::issuer::OidcIssuer;
use serde_json::{Value, json};

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, jobs, listener, some_digest};

const TAGS: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const PUT_V1: &str = "/v2/demo/a/manifests/v1";

const RULES: [&str; 4] = [
    "rules:",
    "  - { name: public, repositories: [\"public/**\"], who: [anonymous, authenticated], allow: [pull] }",
    "  - { name: reads, repositories: [\"demo/**\"], who: [\"user:gitlab/alice\"], allow: [pull] }",
    "  - { name: writes, repositories: [\"demo/a\"], except_tags: [\"v*\"], who: [\"user:gitlab/alice\"], allow: [push] }",
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
async fn explain_shows_which_rules_allow_or_refuse_a_request() {
    let gate = gate(&[], Setup { log: vec!["level: trace"], ..Setup::default() }).await;
    let allowed = explain(&gate, "PUT", "/v2/demo/a/manifests/latest", Some(READ_WRITE)).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    for (label, value) in [
        ("request", "PUT /v2/demo/a/manifests/latest"),
        ("operation", "manifest_put"),
        ("needs", "pull and push on demo/a"),
        ("credential", "basic"),
        ("provider", "gitlab"),
        ("subject", "alice"),
        ("type", "personal_access_token"),
        ("has", "pull and push on demo/a"),
        ("rules", "for pull on demo/a: | for push on demo/a, tag latest:"),
        ("  allows", "reads | writes"),
        (
            "answer",
            "from the registry; the request is forwarded; reason allowed | the rule writes allows it",
        ),
    ] {
        assert_eq!(allowed.about(label), value, "{label}: {}", allowed.out);
    }

    let refused = explain(&gate, "PUT", PUT_V1, Some(READ_WRITE)).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .about("  does not")
            .ends_with("writes: it is for other tags (`tags`, `except_tags`)"),
        "{refused:?}"
    );
    assert_eq!(refused.answer(), (Some(403), "denied_by_policy".into()));
    assert!(
        refused.about("answer").ends_with("no rule of this registry lets you push the tag v1"),
        "{refused:?}"
    );
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn explain_shows_a_refusal_because_of_the_credential() {
    let gate = gate(&[], Setup::default()).await;
    let lacks = explain(&gate, "POST", UPLOADS, Some(READ_ONLY)).await;
    assert_eq!((lacks.code, lacks.answer()), (Some(1), (Some(403), "insufficient_rights".into())));
    assert_eq!(
        (lacks.about("has"), lacks.about("subject")),
        ("pull on demo/a".into(), "alice".into())
    );
    assert!(lacks.about("answer").contains("GitLab granted no push"), "{lacks:?}");

    let wrong = explain(&gate, "GET", TAGS, Some(("alice", "glpat-no-such"))).await;
    assert_eq!((wrong.code, wrong.answer()), (Some(1), (Some(401), "wrong_credential".into())));
    assert_eq!(wrong.about("provider"), "none accepts the credential");
    assert_eq!(wrong.about("subject"), "");

    // The secret contains a space, so no client can send it as Bearer.
    let malformed = run(&gate, &["--method", "GET", "--path", TAGS], "two words").await;
    assert_eq!(
        (malformed.code, malformed.answer()),
        (Some(1), (Some(401), "malformed_credential".into()))
    );
    assert_eq!(malformed.about("provider"), "none was asked");
}

#[tokio::test]
async fn explain_answers_for_callers_without_a_credential() {
    let gate = gate(&[], Setup::default()).await;
    let public = explain(&gate, "GET", "/v2/public/a/tags/list", None).await;
    assert_eq!((public.code, public.about("  allows")), (Some(0), "public".into()), "{public:?}");
    assert_eq!(public.about("subject"), "anonymous: no credential");
    let private = explain(&gate, "GET", TAGS, None).await;
    assert_eq!((private.code, private.answer()), (Some(1), (Some(401), "no_credential".into())));
    assert!(private.out.contains("public: it is for other repositories"), "{private:?}");
}

#[tokio::test]
async fn explain_exits_with_69_if_a_provider_gives_no_answer() {
    let identity =
        Some("- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true, timeout: 5s }");
    let gate = TestGate::start(Setup { identity, ..Setup::default() }).await;
    // The command does not use the running gate's cache.
    assert_eq!(gate.get(TAGS, Some(READ_WRITE)).await.status, 404);
    gate.gitlab.always(Some(Scripted::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers: vec![],
        body: "".into(),
    }));
    let down = explain(&gate, "GET", TAGS, Some(READ_WRITE)).await;
    assert_eq!(
        (down.code, down.answer()),
        (Some(69), (Some(503), "provider_unavailable".into())),
        "{down:?}"
    );
    assert_eq!(down.about("provider"), "gitlab, which gave no answer");
    // The gate does not report the outage to a caller without a credential.
    let nobody = explain(&gate, "GET", TAGS, None).await;
    assert_eq!(
        (nobody.code, nobody.answer()),
        (Some(69), (Some(401), "no_credential".into())),
        "{nobody:?}"
    );
    assert_eq!(
        nobody.about("withheld"),
        "the service that checks credentials gives no answer now; try again"
    );
}

#[tokio::test]
async fn shadow_mode_says_what_would_be_refused() {
    let gate = gate(&["mode: shadow"], Setup::default()).await;
    let shadow = explain(&gate, "PUT", PUT_V1, Some(READ_WRITE)).await;
    assert_eq!((shadow.code, shadow.answer()), (Some(0), (None, "shadow_denied".into())));
    let answer = shadow.about("answer");
    assert!(
        answer.contains("would refuse it") && answer.ends_with("push the tag v1"),
        "{shadow:?}"
    );
}

#[tokio::test]
async fn explain_shows_whether_a_mount_becomes_a_plain_upload() {
    let gate = gate(&[], Setup::default()).await;
    let mount = |from: &str| format!("{UPLOADS}?mount={}&from={from}", some_digest());
    let kept = explain(&gate, "POST", &mount("demo/b"), Some(READ_WRITE)).await;
    assert_eq!((kept.code, kept.about("mount")), (Some(0), String::new()), "{kept:?}");
    assert!(kept.about("rules").ends_with("for pull on demo/b:"), "{kept:?}");
    let stripped = explain(&gate, "POST", &mount("elsewhere/b"), Some(READ_WRITE)).await;
    assert_eq!(stripped.code, Some(0));
    assert!(
        stripped
            .about("mount")
            .contains("plain upload; reason, for the source: | the credential is valid"),
        "{stripped:?}"
    );
}

#[tokio::test]
async fn explain_applies_tag_rules_and_looks_up_immutable_tags() {
    let gate = TestGate::plain().await;
    gate.gitlab
        .set_meta(json!({ "tag_immutable_patterns": ["^v\\d"], "tag_deny_access_patterns": { "push": ["^prod"] } }));
    let put = |tag: &str| format!("/v2/demo/a/manifests/{tag}");
    let protected = explain(&gate, "PUT", &put("prod"), Some(READ_WRITE)).await;
    assert_eq!(
        (protected.code, protected.answer()),
        (Some(1), (Some(403), "tag_protected".into()))
    );
    assert_eq!(protected.about("tags"), "protected from push: ^prod | immutable: ^v\\d");
    assert_eq!(gate.forwarded(), 0);
    let absent = explain(&gate, "PUT", &put("v1"), Some(READ_WRITE)).await;
    assert_eq!(
        (absent.code, absent.about("look-up")),
        (Some(0), "the registry has no tag v1 yet".into())
    );
    let asked: Vec<_> =
        gate.ledger.entries().iter().map(|it| format!("{} {}", it.method, it.target)).collect();
    assert_eq!(asked, [format!("HEAD {}", put("v1"))], "nothing is written");
    let manifest = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
    let media_type = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
    assert_eq!(
        gate.send("PUT", &put("v1"), Some(READ_WRITE), media_type, manifest).await.status,
        201
    );
    let exists = explain(&gate, "PUT", &put("v1"), Some(READ_WRITE)).await;
    assert_eq!((exists.code, exists.answer()), (Some(1), (Some(403), "tag_immutable".into())));
}

#[tokio::test]
async fn explain_opens_a_gate_token_only_with_its_key_file() {
    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    let shared =
        Setup { tokens: vec!["key_file: keys"], files: vec![("keys", KEY)], ..Setup::default() };
    for (setup, knows_key) in [(shared, true), (Setup::default(), false)] {
        let gate = gate(&[], setup).await;
        let token = token(&gate, "repository:demo/a:pull").await;
        let said = run(&gate, &["--method", "GET", "--path", TAGS], &token).await;
        let expected =
            if knows_key { (None, "allowed".into()) } else { (Some(401), "invalid_token".into()) };
        assert_eq!(
            (said.answer(), said.about("credential")),
            (expected, "gate_token".into()),
            "{said:?}"
        );
        assert_eq!(said.about("note").contains("tokens.key_file"), !knows_key, "{said:?}");
        if knows_key {
            let more = run(&gate, &["--method", "POST", "--path", UPLOADS], &token).await;
            assert_eq!(more.answer(), (Some(401), "insufficient_scope".into()));
        }
    }
}

#[tokio::test]
async fn explain_shows_what_a_token_request_is_granted() {
    let gate = gate(&[], Setup::default()).await;
    let scope = "/token?scope=repository:demo/a:pull,push,delete&scope=repository:elsewhere:pull";
    let granted = explain(&gate, "GET", scope, Some(READ_WRITE)).await;
    assert_eq!(granted.code, Some(0), "{granted:?}");
    assert_eq!(
        granted.about("answer"),
        "200 with a token; reason allowed | valid for pull and push on demo/a"
    );
    let rules = "for pull on demo/a: | for push on demo/a: | for delete on demo/a: | for pull on elsewhere:";
    assert_eq!(granted.about("rules"), rules);
}

/// The command shows the groups and claims of a job's `id_token` that rules read, and escapes
/// characters that could move a cursor.
#[tokio::test]
async fn groups_and_claims_are_shown() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = jobs(&issuer, "groups_claim: teams, scopes: [read_registry, write_registry]");
    let policy = vec![
        "rules:",
        "  - { name: own, repositories: [\"${claims.project_path}\"], who: [authenticated], allow: [pull, push] }",
    ];
    let gate =
        TestGate::start(Setup { identity: Some(identity), policy, ..Setup::default() }).await;
    let claims = json!({ "project_path": "demo/a", "teams": ["ops", "\u{1b}[2J"] });
    let token = issuer.id_token("a", &claims).unwrap();
    let own = explain(&gate, "POST", UPLOADS, Some(("oidc", &token))).await;
    assert_eq!((own.code, own.about("groups")), (Some(0), "ops | \\u{1b}[2J".into()), "{own:?}");
    assert!(own.about("claims").contains("project_path = \"demo/a\""), "{own:?}");
    assert_eq!(own.about("has"), "the scopes read_registry, write_registry");
    let another =
        run(&gate, &["--method", "POST", "--path", "/v2/demo/b/blobs/uploads/"], &token).await;
    assert_eq!((another.code, another.answer()), (Some(1), (Some(401), "denied_by_policy".into())));
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
