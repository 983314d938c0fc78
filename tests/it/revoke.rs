//! `POST /revoke`: cached data about a credential is not used from then on, and nothing else is
//! affected.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::issuer::OidcIssuer;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{
    READ_ONLY, READ_WRITE, Reply, Setup, TestGate, jobs, listener, read_to_close,
};
use crate::scripted_upstream::soon;

const PULL: &str = "/v2/demo/a/tags/list";
const TOKEN: &str = "0123456789abcdef-admin";

fn setup() -> Setup {
    Setup {
        admin: vec!["token_file: admin.token"],
        files: vec![("admin.token", "0123456789abcdef-admin\n")],
        tokens: vec!["challenge: bearer"],
        ..Setup::default()
    }
}

async fn post(gate: &TestGate, headers: &str, form: &str) -> Reply {
    let mut stream = TcpStream::connect(gate.admin).await.unwrap();
    let message = format!(
        "POST /revoke HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{form}",
        form.len()
    );
    stream.write_all(message.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await)
}

async fn revoke(gate: &TestGate, form: &str) {
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    let reply = post(gate, &headers, form).await;
    assert_eq!((reply.status, &*reply.body), (200, "{\"revoked\":true}"), "{reply:?}");
}

fn asked(gate: &TestGate) -> usize {
    gate.gitlab.ledger().count()
}

async fn get(gate: &TestGate, credential: (&str, &str)) -> u16 {
    gate.get(PULL, Some(credential)).await.status
}

#[tokio::test]
async fn the_provider_is_asked_again_about_a_revoked_credential_alone() {
    let gate = TestGate::start(setup()).await;
    for _ in 0..2 {
        assert_eq!(
            (get(&gate, READ_WRITE).await, get(&gate, READ_ONLY).await, asked(&gate)),
            (404, 404, 2)
        );
    }
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(
        (get(&gate, READ_WRITE).await, asked(&gate)),
        (404, 3),
        "the provider says yes again"
    );
    assert_eq!(
        (get(&gate, READ_WRITE).await, get(&gate, READ_ONLY).await, asked(&gate)),
        (404, 404, 3),
        "once"
    );
    // The purpose of the endpoint: the provider has revoked the credential, and the operator need
    // not wait for `ttl`.
    gate.gitlab.revoke(READ_WRITE.1);
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(get(&gate, READ_WRITE).await, 401);
    assert_eq!(get(&gate, ("other", READ_WRITE.1)).await, 401, "whatever stands beside it");
}

#[tokio::test]
async fn a_revocation_accepts_a_logged_credential_name_or_a_gate_token() {
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let name = gate.log(1).await[0]["credential"].as_str().unwrap().to_owned();
    revoke(&gate, &format!("credential={name}")).await;
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 2));

    let reply = gate.get("/token?scope=repository:demo/a:pull", Some(READ_ONLY)).await;
    let token =
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned();
    let before = asked(&gate);
    revoke(&gate, &format!("token={token}")).await;
    assert_eq!(
        (get(&gate, READ_ONLY).await, asked(&gate)),
        (404, before + 1),
        "the credential inside"
    );
}

/// A revocation also ends stale answers, and it discards answers to questions from before.
#[tokio::test]
async fn no_answer_from_before_a_revocation_is_used() {
    let gate =
        TestGate::start(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..setup() }).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let headers = Vec::new();
    gate.gitlab.always(Some(Scripted::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers,
        body: String::new(),
    }));
    assert_eq!(get(&gate, READ_WRITE).await, 404, "stale");
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(get(&gate, READ_WRITE).await, 503);

    gate.gitlab.always(None);
    gate.gitlab.script([Scripted::Delay(Duration::from_secs(1))]);
    let (slow, ()) = tokio::join!(get(&gate, READ_ONLY), async {
        soon(async {
            let of_the_slow_one = |secret: &SecretString| secret.expose_secret() == READ_ONLY.1;
            while !gate
                .gitlab
                .ledger()
                .entries()
                .iter()
                .any(|it| it.secret.as_ref().is_some_and(of_the_slow_one))
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let before = asked(&gate);
        revoke(&gate, &format!("token={}", READ_ONLY.1)).await;
        assert_eq!(
            (get(&gate, READ_ONLY).await, asked(&gate)),
            (404, before + 1),
            "not the answer under way"
        );
    });
    assert_eq!(slow, 404);
}

/// A request that waits for its provider while its credential is revoked is not admitted by an
/// earlier answer either.
#[tokio::test]
async fn a_request_that_waits_during_a_revocation_is_asked_about_again() {
    let gate =
        TestGate::start(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..setup() }).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    gate.gitlab.script([Scripted::Delay(Duration::from_secs(60))]);
    let (waited, ()) = tokio::join!(get(&gate, READ_WRITE), async {
        gate.gitlab.ledger().wait_until(|questions| questions.len() == 2).await;
        gate.gitlab.revoke(READ_WRITE.1);
        revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    });
    assert_eq!((waited, asked(&gate)), (401, 3), "not what was true before");
}

/// A token that GitLab issued for the credential before is not sent to the registry any more.
#[tokio::test]
async fn grants_from_before_a_revocation_are_not_sent_to_the_registry() {
    let upstream = vec!["authorization: grant"];
    let gate = TestGate::start(Setup { upstream, ..setup() }).await;
    let shown =
        |gate: &TestGate| gate.ledger.entries().pop().unwrap().headers["authorization"].clone();
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let before = shown(&gate);
    assert_eq!((get(&gate, READ_WRITE).await, shown(&gate)), (404, before.clone()));
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 2));
    assert_ne!(shown(&gate), before);
    gate.gitlab.revoke(READ_WRITE.1);
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    let forwarded = gate.forwarded();
    assert_eq!((get(&gate, READ_WRITE).await, gate.forwarded()), (401, forwarded));
}

/// No provider can be asked about a workload token, so the gate itself refuses a revoked one until
/// it expires.
#[tokio::test]
async fn a_revoked_workload_token_is_refused() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let mut gate = TestGate::start(Setup {
        identity: Some(jobs(&issuer, "scopes: [read_registry]")),
        ..setup()
    })
    .await;
    let [one, two] = ["one", "two"].map(|id| issuer.id_token("a", &json!({ "jti": id })).unwrap());
    let bearer = async |gate: &TestGate, token: &str| {
        gate.send("GET", PULL, None, &format!("Authorization: Bearer {token}\r\n"), "").await.status
    };
    assert_eq!((bearer(&gate, &one).await, bearer(&gate, &two).await), (404, 404));
    revoke(&gate, &format!("token={one}")).await;
    for _ in 0..2 {
        assert_eq!((bearer(&gate, &one).await, bearer(&gate, &two).await), (401, 404));
        assert_eq!(get(&gate, ("oidc", &one)).await, 401);
        // The refusal survives a reload too, even one that changes the provider.
        gate.edit("scopes: [read_registry]", "scopes: [read_registry, other]");
        assert!(gate.reload().await);
        gate.edit("scopes: [read_registry, other]", "scopes: [read_registry]");
        assert!(gate.reload().await);
    }
}

/// A revoked token stays refused under another user name, and with the other signature that anyone
/// with an ECDSA signature (r, s) can write without the key: (r, n - s).
#[tokio::test]
async fn a_revoked_workload_token_is_refused_in_every_spelling() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    issuer.rotate_to_es256().unwrap();
    let token = issuer.id_token("a", &json!({})).unwrap();
    let twin = other_signature(&token);
    for by_name in [false, true] {
        let gate = TestGate::start(Setup {
            identity: Some(jobs(&issuer, "scopes: [read_registry]")),
            ..setup()
        })
        .await;
        let all = [("oidc", &*token), ("other", &token), ("oidc", &twin)];
        for credential in all {
            assert_eq!(get(&gate, credential).await, 404);
        }
        let log = gate.log(3).await;
        assert!(
            log.iter().all(|line| line["credential"] == log[0]["credential"]),
            "one name: {log:?}"
        );
        let name = log[0]["credential"].as_str().unwrap();
        revoke(
            &gate,
            &if by_name { format!("credential={name}") } else { format!("token={token}") },
        )
        .await;
        for credential in all {
            assert_eq!(get(&gate, credential).await, 401);
        }
        let other = issuer.id_token("a", &json!({})).unwrap();
        assert_eq!(get(&gate, ("oidc", &other)).await, 404, "another token of the same job");
    }
}

/// Returns an ES256 token with s replaced by n - s (SEC 1, 4.1.4: both verify).
fn other_signature(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut borrow = 0;
    for at in (0..32).rev() {
        let order = i16::from_str_radix(&order[at * 2..at * 2 + 2], 16).unwrap();
        let left = order - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(left < 0);
        signature[32 + at] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A file with a secret usually ends in a line feed, and no credential contains one, so the line
/// ending is not part of the secret.
#[tokio::test]
async fn a_line_ending_is_not_part_of_a_secret_to_revoke() {
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    for (number, end) in ["%0A", "%0D%0A"].iter().enumerate() {
        revoke(&gate, &format!("token={}{end}", READ_WRITE.1)).await;
        assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, number + 2), "{end}");
    }
}

#[tokio::test]
async fn a_revocation_needs_the_operators_token_and_a_valid_form() {
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let good = format!("Authorization: Bearer {TOKEN}\r\n");
    let token = format!("token={}", READ_WRITE.1);
    for (headers, form, status) in [
        (FORM.to_owned(), &*token, 401),
        (format!("{FORM}Authorization: Bearer {}\r\n", &TOKEN[1..]), &token, 401),
        (format!("{FORM}Authorization: Basic {TOKEN}\r\n"), &token, 401),
        (format!("{FORM}{good}{good}"), &token, 401),
        (good.clone(), &token, 415),
        (format!("{FORM}{good}"), "", 400),
        (format!("{FORM}{good}"), "token=", 400),
        (format!("{FORM}{good}"), "token=%0A", 400),
        (format!("{FORM}{good}"), "token=two%0Alines", 400),
        (format!("{FORM}{good}"), "token=a&credential=0123456789abcdef", 400),
        (format!("{FORM}{good}"), "credential=0123", 400),
        (format!("{FORM}{good}"), "credential=0123456789ABCDEF", 400),
        (format!("{FORM}{good}"), "token=mg1.forged.token", 400),
        (format!("{FORM}{good}"), "secret=a", 400),
        (format!("{FORM}{good}"), &format!("token={}", "x".repeat(70_000)), 400),
    ] {
        let reply = post(&gate, &headers, form).await;
        assert_eq!(reply.status, status, "{headers} {form:.40}");
        assert!(serde_json::from_str::<Value>(&reply.body).unwrap()["error"].is_string());
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    let reply = gate.admin("/revoke").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(gate.send("POST", "/revoke", None, &good, "").await.status, 404, "not in public");
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 1), "nothing was revoked");

    let open = TestGate::start(Setup { admin: vec![], ..setup() }).await;
    assert_eq!(post(&open, &format!("{FORM}{good}"), &token).await.status, 403);
}

/// Replicas with the same key file give a credential the same name, so that one line in one log
/// serves for all of them.
#[tokio::test]
async fn replicas_with_one_key_file_log_the_same_credential_name() {
    let key = ("keys", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n");
    let mut names = Vec::new();
    for key_file in ["key_file: keys", "key_file: keys", "key_file: null"] {
        let gate =
            TestGate::start(Setup { tokens: vec![key_file], files: vec![key], ..Setup::default() })
                .await;
        get(&gate, READ_WRITE).await;
        names.push(gate.log(1).await[0]["credential"].clone());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
}

/// A revocation is aimed at callers who hold an older gate token, so such tokens are refused until
/// they expire, even if the provider accepts the credential.
#[tokio::test]
async fn gate_tokens_from_before_a_revocation_are_refused() {
    let gate = TestGate::start(setup()).await;
    let made = async |credential| {
        let reply = gate.get("/token?scope=repository:demo/a:pull", Some(credential)).await;
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned()
    };
    let with = async |token: &str, target: &str| {
        gate.send("GET", target, None, &format!("Authorization: Bearer {token}\r\n"), "").await
    };
    let mut old = made(READ_WRITE).await;
    let others = made(READ_ONLY).await;
    let fingerprint = {
        assert_eq!(get(&gate, READ_WRITE).await, 404);
        let log = gate.log(3).await;
        log[2]["credential"].as_str().unwrap().to_owned()
    };
    for form in [
        format!("token={}", READ_WRITE.1),
        format!("credential={fingerprint}"),
        format!("token={old}"),
    ] {
        assert_eq!(with(&old, PULL).await.status, 404);
        revoke(&gate, &form).await;
        let before = asked(&gate);
        for target in [PULL, "/v2/"] {
            let reply = with(&old, target).await;
            assert_eq!(reply.status, 401, "{form:.10} {target}");
            assert!(
                reply.header("www-authenticate").unwrap().contains("error=\"invalid_token\""),
                "{reply:?}"
            );
        }
        assert_eq!(asked(&gate), before, "nobody is asked about it");
        assert_eq!(
            get(&gate, READ_WRITE).await,
            404,
            "the credential is good still, says its provider"
        );
        let new = made(READ_WRITE).await;
        assert_eq!((with(&new, PULL).await.status, with(&others, PULL).await.status), (404, 404));
        assert_eq!(with(&old, PULL).await.status, 401, "to its end");
        old = new;
    }
}

/// Operators paste secrets with extra text around them. A success that revokes nothing would
/// mislead them.
#[tokio::test]
async fn a_secret_pasted_with_extra_text_is_revoked() {
    let gate = TestGate::start(setup()).await;
    for form in [
        format!("token={}+", READ_WRITE.1),
        format!("token=%22{}%22", READ_WRITE.1),
        format!("token=Bearer+{}", READ_WRITE.1),
        format!("token=Authorization:+bearer++{}%0D%0A", READ_WRITE.1),
    ] {
        let before = asked(&gate);
        assert_eq!((get(&gate, READ_WRITE).await, get(&gate, READ_WRITE).await), (404, 404));
        assert_eq!(asked(&gate), before + 1, "{form}");
        revoke(&gate, &form).await;
    }
}

/// A token for callers without a credential does not revoke anything. Otherwise it would revoke
/// access for all callers without a credential.
#[tokio::test]
async fn a_token_of_an_anonymous_caller_revokes_nothing() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..setup() }).await;
    gate.gitlab.set_public("demo");
    let reply = gate.get("/token?scope=repository:demo/a:pull", None).await;
    let token =
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned();
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    let reply = post(&gate, &headers, &format!("token={token}")).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(gate.send("GET", PULL, None, &bearer, "").await.status, 404);
}
