//! Class 18: a planted secret appears nowhere in the gate's output, even at trace level, in all the
//! ways in which a provider may answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::GitLab;
use moorgate::demo::introspection::{CLIENT_ID, CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::OidcIssuer;
use moorgate::demo::registry::Registry;
use serde_json::{Value, json};

use super::{Served, free, run, text};
use crate::harness::{READ_WRITE, basic, listener, request};

/// An answer of a provider that repeats the secret it was shown, or that contains another
/// confidential text.
fn echo(status: u16, body: &str) -> Scripted {
    let headers = vec![(http::header::WWW_AUTHENTICATE, format!("Bearer error=\"{SHOWN_BACK}\""))];
    Scripted::Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.to_owned(),
    }
}

/// A text in a provider's answer that is as secret as the credential it was asked about.
const SHOWN_BACK: &str = "canary-shown-back";

fn ask(address: SocketAddr, target: &str, headers: &str) -> String {
    let reply = send(
        address,
        &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"),
    );
    assert!(reply.starts_with("HTTP/1.1 "), "{reply}");
    reply
}

/// Sends every request with every credential. Returns everything that was answered, logged, counted
/// and printed.
fn everything_shown(identity: &str, credentials: &[String]) -> String {
    let served = Served::start(free(), identity, "");
    let mut shown = String::new();
    for headers in credentials {
        for target in
            ["/v2/", "/v2/demo/a/tags/list", "/v2/demo/a/tags/list?n=1&password=canary-password-1"]
        {
            shown.push_str(&ask(served.address, target, headers));
        }
    }
    for target in ["/metrics", "/status.json", "/"] {
        shown.push_str(&ask(served.admin, target, ""));
    }
    for command in [&["print-config"][..], &["check-config"], &["check-config", "--online"]] {
        let output = run(&[command, &["--config", &served.config]].concat(), "");
        shown = shown + &text(&output.stdout) + &text(&output.stderr);
    }
    served.signal("-TERM");
    let output = served.end();
    shown + &text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_shown() {
    let gitlab = GitLab::start(listener()).unwrap();
    let (sso, issuer) =
        (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name).display().to_string()
    };
    let identity = format!(
        "{{ name: jobs, type: jwt, issuer: \"{issuer}\", jwks_url: \"{keys}\", audience: a, \
         required_claims: {{ namespace_id: [\"42\"] }}, scopes: [read_registry] }}
  - {{ name: sso, type: introspection, url: \"{sso}\", client_secret_file: \"{right}\", \
    accepts: {{ prefixes: [sso-, canary-] }} }}
  - {{ name: stranger, type: introspection, url: \"{sso}\", client_secret_file: \"{wrong}\", \
    accepts: {{ prefixes: [other-] }} }}
  - {{ name: harbor, type: registry_token, realm: \"http://{gitlab}/jwt/auth\", \
    service: container_registry, accepts: {{ users: [robot] }} }}
  - {{ name: gitlab, type: gitlab, url: \"http://{gitlab}\" }}
  - {{ name: local, type: htpasswd, file: \"{users}\", scopes: [read_registry] }}",
        issuer = issuer.url(),
        keys = issuer.jwks_url(),
        sso = sso.url(),
        right = file("right", CLIENT_SECRET),
        wrong = file("wrong", "canary-client-secret"),
        gitlab = gitlab.address(),
        users = file("users", &format!("carol:{}\n", bcrypt::hash("canary-of-carol", 4).unwrap())),
    );

    let id_token = issuer.id_token("a", &json!({})).unwrap();
    let refused = issuer.id_token("a", &json!({ "exp": 1 })).unwrap();
    let strangers =
        issuer.id_token("a", &json!({ "iss": "https://elsewhere.example.com/" })).unwrap();
    let mut secrets = vec![id_token, refused, strangers];
    for secret in [
        "canary-password-1",
        "sso-demo-read-write",
        "sso-canary-unknown",
        "other-canary-2",
        "canary-of-carol",
        "canary-wrong-for-carol",
        "glpat-demo-personal-read-write",
        "glcbt-demo-job-read-write",
        "canary-1.canary-2.canary-3",
    ] {
        secrets.push(secret.to_owned());
    }
    let mut credentials = Vec::new();
    for secret in &secrets {
        credentials.push(format!("Authorization: Bearer {secret}\r\n"));
        for user in ["alice", "carol", "robot"] {
            credentials.push(format!("Authorization: {}\r\n", basic((user, secret))));
        }
    }
    credentials.push(format!("Authorization: Basic {}\r\n", secrets[3]));
    credentials
        .push(format!("X-Forwarded-Authorization: {}\r\nCookie: {}\r\n", secrets[3], secrets[4]));

    // The providers' answers are scripted before the first request: they repeat secrets, in every
    // shape that the gate refuses.
    let token = secrets[4].as_str();
    for body in [
        format!("<html>{token} {SHOWN_BACK}"),
        format!("{{\"active\":\"{token}\"}}"),
        format!("{{\"active\":true,\"active\":\"{SHOWN_BACK}\"}}"),
        format!("{{\"active\":true,\"sub\":[\"{SHOWN_BACK}\"]}}"),
        format!("{{\"token\":\"{SHOWN_BACK}\"}}"),
        format!("{{\"errors\":[{{\"code\":\"{SHOWN_BACK}\"}}]}}"),
    ] {
        for status in [200, 401, 400, 403, 500] {
            sso.script([echo(status, &body)]);
            gitlab.script([echo(status, &body)]);
        }
    }
    gitlab.script([Scripted::Redirect(format!("/{SHOWN_BACK}"))]);

    let work = move || everything_shown(&identity, &credentials);
    let shown = tokio::task::spawn_blocking(work).await.unwrap();
    for there in
        ["\"operation\":\"tags\"", "moorgate_http_requests_total", "client_secret_file", "asking "]
    {
        assert!(shown.contains(there), "{there} is not in\n{shown}");
    }
    // An operator who mistyped the issuer finds the token's issuer in the log.
    assert!(shown.contains("elsewhere.example.com"), "nothing says whose token it was");
    let provider = |name: &str| shown.contains(&format!("\"provider\":\"{name}\""));
    for name in ["jobs", "sso", "stranger", "harbor", "gitlab", "local"] {
        assert!(provider(name), "{name} never came up in\n{shown}");
    }
    let gates_own = ["canary-client-secret", CLIENT_SECRET];
    for secret in secrets.iter().map(String::as_str).chain(gates_own).chain([SHOWN_BACK]) {
        assert!(!shown.contains(secret), "{secret} is in\n{shown}");
        for user in ["alice", "carol", "robot", CLIENT_ID] {
            assert!(!shown.contains(&basic((user, secret))[6..]), "{secret} is there in base64");
        }
        let signature = secret.rsplit('.').next().unwrap();
        assert!(!shown.contains(signature), "{signature} is in\n{shown}");
    }
}

/// The token service also logs no secret: neither those in a form, nor the tokens made of it, nor
/// texts that are not tokens.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_forms_are_never_logged() {
    let gitlab = GitLab::start(listener()).unwrap();
    let registry = Registry::start(listener()).unwrap();
    let identity = format!(
        "{{ name: gitlab, type: gitlab, url: \"http://{}\", anonymous: true }}",
        gitlab.address()
    );
    let served = Served::start(registry.address(), &identity, "");
    let work = move || {
        let (user, password) = READ_WRITE;
        let scope = "scope=repository:demo/a:pull,push";
        let form = format!("grant_type=password&username={user}&password={password}&{scope}");
        let form_header = "Content-Type: application/x-www-form-urlencoded\r\n";
        let mut made = Vec::new();
        for (method, target, headers, body) in [
            (
                "GET",
                format!("/token?{scope}"),
                format!("Authorization: {}\r\n", basic(READ_WRITE)),
                "",
            ),
            ("GET", format!("/token?{scope}"), String::new(), ""),
            ("POST", "/token".to_owned(), form_header.to_owned(), &*form),
        ] {
            let message = request(method, &target, None, &headers, body);
            let reply: Value = serde_json::from_str(
                send(served.address, &message).split("\r\n\r\n").nth(1).unwrap(),
            )
            .unwrap();
            made.push(reply["token"].as_str().unwrap().to_owned());
        }
        let forged = format!("{}A", made[0]);
        let mut shown = String::new();
        for token in made.iter().chain([&forged]) {
            for headers in [
                format!("Authorization: Bearer {token}\r\n"),
                format!("Authorization: {}\r\n", basic((user, token))),
            ] {
                for target in [
                    "/v2/demo/a/tags/list",
                    "/v2/demo/a/blobs/uploads/",
                    "/token",
                    &format!("/token?token={token}"),
                ] {
                    let method = if target.ends_with("uploads/") { "POST" } else { "GET" };
                    shown.push_str(&send(
                        served.address,
                        &request(method, target, None, &headers, ""),
                    ));
                }
            }
        }
        // Each of these forms is refused in a different place.
        for more in [
            "",
            "&service=another",
            "&password=again",
            "&username=x:y",
            "&grant_type=x",
            "&scope=%ff",
        ] {
            for wrong in [password, "canary-wrong", "canary%00", &made[0]] {
                let form = format!("grant_type=password&username={user}&password={wrong}{more}");
                let reply =
                    send(served.address, &request("POST", "/token", None, form_header, &form));
                if !reply.starts_with("HTTP/1.1 200") {
                    shown.push_str(&reply);
                }
            }
        }
        for target in ["/metrics", "/status.json", "/"] {
            shown.push_str(&ask(served.admin, target, ""));
        }
        served.signal("-TERM");
        let output = served.end();
        (made, shown + &text(&output.stdout) + &text(&output.stderr))
    };
    let (made, shown) = tokio::task::spawn_blocking(work).await.unwrap();
    assert!(
        shown.contains("\"operation\":\"token\"")
            && shown.contains("\"credential_kind\":\"gate_token\""),
        "{shown}"
    );
    for token in &made {
        for part in token.split('.').skip(2).flat_map(|body| body.as_bytes().chunks(16)) {
            let part = str::from_utf8(part).unwrap();
            assert!(part.len() < 16 || !shown.contains(part), "{part} of a token is in\n{shown}");
        }
    }
    for secret in [READ_WRITE.1, "canary"] {
        assert!(!shown.contains(secret), "{secret} is in\n{shown}");
    }
}

pub(super) fn send(address: SocketAddr, message: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(message.as_bytes()).unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    reply
}
