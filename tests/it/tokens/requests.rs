//! Requests with tokens: each is handled like its credential's own request, with narrower access.

use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};

use super::{START, challenge, gate, token, with};
use crate::harness::{PATIENCE, READ_ONLY, READ_WRITE, Setup, TestGate, listener, some_digest};

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// A key file, for two gates that share it or for a gate that restarts.
const KEY_FILE: (&str, &str) = ("keys", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n");

#[tokio::test]
async fn the_first_401_names_the_realm_the_service_and_the_scope() {
    let gate = gate(Setup::default()).await;
    for (method, target, scope) in [
        ("GET", "/v2/", ""),
        ("GET", PULL, "repository:demo/a:pull"),
        ("HEAD", "/v2/demo/a/manifests/v1", "repository:demo/a:pull"),
        ("POST", UPLOADS, "repository:demo/a:pull,push"),
        ("DELETE", "/v2/demo/a/manifests/v1", "repository:demo/a:delete"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ] {
        let reply = gate.send(method, target, None, "", "").await;
        assert_eq!(reply.status, 401);
        let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
        assert_eq!(challenge(&reply), format!("{START}{scope}"), "{method} {target}");
    }
    let mount = format!("{UPLOADS}?mount={}&from=demo/b", some_digest());
    let reply = gate.send("POST", &mount, None, "", "").await;
    let both = "repository:demo/a:pull,push repository:demo/b:pull";
    assert_eq!(challenge(&reply), format!("{START},scope=\"{both}\""));
}

#[tokio::test]
async fn a_token_allows_only_what_it_lists() {
    let gate = gate(Setup::default()).await;
    let push = token(&gate, READ_WRITE, "repository:demo/a:pull,push").await;
    let pull = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let nothing = token(&gate, READ_WRITE, "").await;
    for (name, made, method, target, status) in [
        ("push", &push, "GET", "/v2/", 200),
        ("push", &push, "GET", PULL, 404),
        ("push", &push, "POST", UPLOADS, 202),
        ("push", &push, "GET", "/v2/demo/b/tags/list", 401),
        ("push", &push, "DELETE", "/v2/demo/a/manifests/v1", 401),
        ("pull", &pull, "GET", PULL, 404),
        ("pull", &pull, "POST", UPLOADS, 401),
        ("nothing", &nothing, "GET", "/v2/", 200),
        ("nothing", &nothing, "GET", PULL, 401),
    ] {
        let reply = with(&gate, made, method, target).await;
        assert_eq!(reply.status, status, "{name} {method} {target}");
        if status == 401 {
            assert!(
                challenge(&reply).contains(",error=\"insufficient_scope\",error_description=\""),
                "{reply:?}"
            );
            assert!(challenge(&reply).contains("scope=\"repository:demo/"), "{reply:?}");
        }
    }
}

/// If the token does not list the access, no provider is asked: a question about a push leaves a
/// record in GitLab, and its answer would reveal the whole access of the credential.
#[tokio::test]
async fn no_provider_is_asked_about_access_that_a_token_does_not_list() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let asked = gate.gitlab.ledger().count();
    for (method, target) in [("POST", "/v2/demo/b/blobs/uploads/"), ("GET", "/v2/demo/b/tags/list")]
    {
        assert_eq!(with(&gate, &made, method, target).await.status, 401);
    }
    assert_eq!(
        (gate.gitlab.ledger().count(), gate.gitlab.created_repositories().len()),
        (asked, 0)
    );
}

/// Missing access is 401 for Bearer, because the client can come back with another token, and 403
/// for Basic, because it cannot.
#[tokio::test]
async fn missing_access_is_401_for_bearer_and_403_for_basic() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_ONLY, "repository:demo/a:pull,push").await;
    let reply = with(&gate, &made, "POST", UPLOADS).await;
    assert_eq!(reply.status, 401);
    assert!(challenge(&reply).contains("error=\"insufficient_scope\""));
    assert_eq!(with(&gate, READ_ONLY.1, "POST", UPLOADS).await.status, 401, "a bare token too");
    let reply = gate.send("POST", UPLOADS, Some(READ_ONLY), "", "").await;
    assert_eq!((reply.status, &*reply.code()), (403, "DENIED"));

    let log = gate.log(4).await;
    let logged: Vec<_> = log
        .iter()
        .skip(1)
        .map(|line| (line["status"].as_u64().unwrap(), &line["reason"]))
        .collect();
    let lacks = serde_json::json!("insufficient_rights");
    assert_eq!(logged, [(401, &lacks), (401, &lacks), (403, &lacks)]);

    let basic =
        TestGate::start(Setup { tokens: vec!["challenge: basic"], ..Setup::default() }).await;
    let made = token(&basic, READ_ONLY, "repository:demo/a:pull,push").await;
    assert_eq!(
        with(&basic, &made, "GET", PULL).await.status,
        404,
        "tokens are good in this mode too"
    );
    assert_eq!(with(&basic, &made, "POST", UPLOADS).await.status, 403);
    assert_eq!(
        challenge(&basic.send("GET", PULL, None, "", "").await),
        "Basic realm=\"registry.test\""
    );
}

/// The credential of a token is asked about again after `ttl`, even if the lifetime of the token is
/// much longer.
#[tokio::test]
async fn a_revoked_credential_ends_its_tokens() {
    let gate = gate(Setup {
        cache: vec!["ttl: 200ms"],
        tokens: vec!["lifetime: 720h"],
        ..Setup::default()
    })
    .await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    assert_eq!(with(&gate, &made, "GET", PULL).await.status, 404);
    gate.gitlab.revoke(READ_WRITE.1);
    let begun = std::time::Instant::now();
    loop {
        let reply = with(&gate, &made, "GET", PULL).await;
        if reply.status == 401 {
            assert!(challenge(&reply).contains("error=\"invalid_token\""));
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it lives on");
    }
}

#[tokio::test]
async fn a_forged_token_is_401_and_no_provider_is_asked() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let asked = gate.gitlab.ledger().count();
    let mut flipped = made.clone().into_bytes();
    let last = flipped.len() - 2;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for forged in
        [&made[..made.len() - 1], &flipped, "mg1.", "mg1.AAAAAAAA.AAAA", &"mg1.".repeat(2000)]
    {
        for target in ["/v2/", PULL] {
            let reply = with(&gate, forged, "GET", target).await;
            assert_eq!(reply.status, 401);
            assert!(challenge(&reply).contains("error=\"invalid_token\""), "{forged:.40}");
        }
    }
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (asked, 0));
    let log = gate.log(11).await;
    assert!(
        log[1..].iter().all(
            |line| line["credential_kind"] == "gate_token" && line["reason"] == "invalid_token"
        )
    );
}

#[tokio::test]
async fn replicas_with_one_key_file_open_each_others_tokens() {
    let setup =
        || Setup { tokens: vec!["key_file: keys"], files: vec![KEY_FILE], ..Setup::default() };
    let (one, two, stranger) =
        (gate(setup()).await, gate(setup()).await, gate(Setup::default()).await);
    let made = token(&one, READ_WRITE, "repository:demo/a:pull").await;
    assert_eq!(with(&two, &made, "GET", PULL).await.status, 404);
    assert_eq!(with(&stranger, &made, "GET", PULL).await.status, 401);
}

/// A token names the provider that verified its credential, so a process that has not seen the
/// credential does not show it to other providers in the chain.
#[tokio::test]
async fn a_token_names_the_provider_that_verified_its_credential() {
    let sso = Introspection::start(listener()).unwrap();
    sso.ledger().keep();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: secret }}\n\
         - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\" }}",
        sso.url()
    );
    let identity: &str = identity.leak();
    let setup = || Setup {
        identity: Some(identity),
        tokens: vec!["key_file: keys"],
        files: vec![KEY_FILE, ("secret", CLIENT_SECRET)],
        ..Setup::default()
    };
    let (one, two) = (gate(setup()).await, gate(setup()).await);
    let made = token(&one, READ_WRITE, "repository:demo/a:pull").await;
    assert_eq!(
        (sso.ledger().count(), one.gitlab.ledger().count()),
        (1, 1),
        "in the order of the config"
    );
    assert_eq!(with(&two, &made, "GET", PULL).await.status, 404);
    assert_eq!(
        (sso.ledger().count(), two.gitlab.ledger().count()),
        (1, 1),
        "the one that knows it"
    );
}

#[tokio::test]
async fn a_mount_needs_pull_on_its_source_from_the_credential_and_the_token() {
    let gate = gate(Setup::default()).await;
    let digest = some_digest();
    let mount = |from: &str| format!("{UPLOADS}?mount={digest}&from={from}");
    let target_alone = token(&gate, READ_WRITE, "repository:demo/a:pull,push").await;
    let both = token(&gate, READ_WRITE, "repository:demo/a:pull,push+repository:demo/b:pull").await;

    let reply = with(&gate, &target_alone, "POST", &mount("demo/b")).await;
    assert_eq!(reply.status, 401, "the credential may, its token does not list it");
    let scope = "scope=\"repository:demo/a:pull,push repository:demo/b:pull\"";
    assert!(
        challenge(&reply).starts_with(&format!("{START},{scope},error=\"insufficient_scope\""))
    );
    assert_eq!(gate.forwarded(), 0);

    for (made, from, forwarded) in [(&both, "demo/b", true), (&both, "elsewhere/c", false)] {
        assert_eq!(with(&gate, made, "POST", &mount(from)).await.status, 202);
        let query = gate.ledger.entries().pop().unwrap().target.clone();
        assert_eq!(query.contains("from="), forwarded, "{query}");
    }
}

/// A token of one registry is not valid at another registry, even if both share a key file.
#[tokio::test]
async fn a_token_of_one_registry_is_invalid_at_another() {
    let tokens =
        || Setup { tokens: vec!["key_file: keys"], files: vec![KEY_FILE], ..Setup::default() };
    let ours = gate(tokens()).await;
    let same = gate(tokens()).await;
    let other = gate(Setup { external_port: ":5000", ..tokens() }).await;
    let made = token(&ours, READ_WRITE, "repository:demo/a:pull").await;
    for (gate, status) in [(&ours, 404), (&same, 404), (&other, 401)] {
        assert_eq!(with(gate, &made, "GET", PULL).await.status, status);
    }
    let reply = with(&other, &made, "GET", PULL).await;
    assert!(challenge(&reply).contains("error=\"invalid_token\""), "{reply:?}");
    assert_eq!(other.gitlab.ledger().count(), 0);
}

/// A text that was sealed by the gate is not shown to a provider, and it does not count as a failed
/// login.
#[tokio::test]
async fn a_text_that_the_gate_sealed_is_shown_to_no_provider() {
    let gate =
        gate(Setup { limits: vec!["failed_logins: { rate: 1/h, burst: 1 }"], ..Setup::default() })
            .await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let asked = gate.gitlab.ledger().count();
    for prefix in ["mg1.", "mgr1.", "mu1."] {
        let text = made.replacen("mg1.", prefix, 1);
        for text in
            [text.clone(), format!("  {text}"), format!("\"{text}\""), format!("Bearer {text}")]
        {
            for (user, password) in [("alice", &*text), (&*text, "x")] {
                assert_eq!(gate.get(PULL, Some((user, password))).await.status, 401, "{text}");
                assert_eq!(gate.get("/token", Some((user, password))).await.status, 401, "{text}");
            }
        }
        if prefix != "mg1." {
            assert_eq!(with(&gate, &text, "GET", PULL).await.status, 401, "{prefix}");
        }
    }
    assert_eq!(gate.gitlab.ledger().count(), asked);
    assert_eq!(gate.get(PULL, Some(READ_ONLY)).await.status, 404, "nothing was counted");
}
