//! Long credentials, large forms and many scopes.

use moorgate::demo::introspection::{CLIENT_SECRET, Introspection, SampleToken};
use serde_json::json;

use super::PULL;
use crate::harness::{READ_WRITE, Setup, listener};
use crate::tokens::{ask, gate, json as read, post, with};

/// A credential that is too long to be sent back in a header is refused at once, and the answer
/// names the limit.
#[tokio::test]
async fn answers_about_exceeded_token_limits_name_the_limit() {
    let sso = Introspection::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret }}",
        sso.url()
    );
    let files = vec![("sso.secret", CLIENT_SECRET)];
    let gate = gate(Setup { identity: Some(identity.leak()), files, ..Setup::default() }).await;
    let secret: &str = "s".repeat(12 * 1024 + 1).leak();
    let fits: &str = "s".repeat(12 * 1024).leak();
    for token in [secret, fits] {
        let claims = json!({ "scope": "read_registry write_registry" });
        sso.add(SampleToken { token: token.into(), claims, revoked: false, note: "" });
    }
    let by_get = ask(&gate, Some(("alice", secret)), "").await;
    assert_eq!((by_get.status, &*by_get.code()), (400, "UNSUPPORTED"));
    assert!(by_get.body.contains("12 KiB"), "{by_get:?}");
    let form = |secret: &str, more: &str| {
        format!("grant_type=password&username=alice&password={secret}{more}")
    };
    let reply = post(&gate, &form(secret, "")).await;
    assert_eq!((reply.status, &read(&reply)["error"]), (400, &json!("invalid_request")));
    assert!(read(&reply)["error_description"].as_str().unwrap().contains("12 KiB"), "{reply:?}");
    for (reply, limit) in [
        (post(&gate, &form("x", &"&x=y".repeat(20_000))).await, "64 KiB"),
        (post(&gate, &form(fits, &"&scope=repository:a:pull".repeat(257))).await, "256 scopes"),
    ] {
        assert!(read(&reply)["error_description"].as_str().unwrap().contains(limit), "{reply:?}");
    }
    // The longest secret, with more repositories than fit beside it in a token, over GET and POST:
    // fewer scopes are granted, and the answer says so.
    let scopes: String = (0..80)
        .map(|number| format!("&scope=repository:demo/{}{number:03}:pull", "a".repeat(100)))
        .collect();
    let by_get = ask(&gate, Some(("alice", fits)), &scopes[1..]).await;
    let by_post = post(&gate, &form(fits, &scopes)).await;
    assert_eq!((by_get.status, by_post.status), (200, 200));
    let granted =
        read(&by_post)["scope"].as_str().unwrap().split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!((10..80).contains(&granted.len()), "{}", granted.len());
    for reply in [&by_get, &by_post] {
        let made = read(reply)["token"].as_str().unwrap().to_owned();
        assert!(made.len() <= 20 * 1024 && made.len() > 19 * 1024, "{}", made.len());
        for (number, status) in
            [(0, 404), (granted.len() - 1, 404), (granted.len(), 401), (79, 401)]
        {
            let target = format!("/v2/demo/{}{number:03}/tags/list", "a".repeat(100));
            assert_eq!(with(&gate, &made, "GET", &target).await.status, status, "{number}");
        }
    }
}

/// A client that mirrors a catalog asks for about 150 repositories at once. The gate asks a
/// provider about 32 at a time.
#[tokio::test]
async fn a_token_for_many_repositories_takes_several_questions() {
    let gate = gate(Setup::default()).await;
    for count in [33, 150, 256] {
        let scopes: String = (0..count)
            .map(|number| format!("&scope=repository:demo/of-{count}/r{number}:pull"))
            .collect();
        let before = gate.gitlab.ledger().count();
        let reply = ask(&gate, Some(READ_WRITE), &scopes[1..]).await;
        assert_eq!(reply.status, 200, "{count}: {reply:?}");
        let asked: Vec<_> = gate.gitlab.ledger().entries().split_off(before);
        assert!(asked.iter().all(|question| question.scopes.len() <= 32), "{count}");
        assert_eq!(asked.iter().map(|question| question.scopes.len()).sum::<usize>(), count);
        let made = read(&reply)["token"].as_str().unwrap().to_owned();
        for number in [0, 31, 32, count - 1] {
            let target = format!("/v2/demo/of-{count}/r{number}/tags/list");
            assert_eq!(with(&gate, &made, "GET", &target).await.status, 404, "{count} {number}");
        }
        assert_eq!(with(&gate, &made, "GET", PULL).await.status, 401, "{count}: not asked for");
    }
    // A target of the token service may be as long as a head. The limit for targets of the registry
    // is unchanged.
    let long = format!("scope={}", "repository:demo/a:pull+".repeat(256)) + &"&x=y".repeat(5000);
    assert!(long.len() > 24 * 1024);
    assert_eq!(ask(&gate, Some(READ_WRITE), &long).await.status, 200);
    assert_eq!(
        gate.get(&format!("{PULL}?{}", "x".repeat(9000)), Some(READ_WRITE)).await.status,
        414
    );
}
