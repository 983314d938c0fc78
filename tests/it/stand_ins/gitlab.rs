//! The stand-in for GitLab's token endpoint.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use http::header::HeaderName;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::{GitLab, Kind, Refusal, SampleCredential, Scope, State};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Api, Reply, listener};

const SERVICE: &str = "/jwt/auth?service=container_registry";
const GOOD: (&str, &str) = ("alice", "glpat-demo-personal-read-write");

fn start() -> (GitLab, Api) {
    let gitlab = GitLab::start(listener()).unwrap();
    let api = Api::new(gitlab.address());
    (gitlab, api)
}

fn basic((user, password): (&str, &str)) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn ask(api: &Api, credential: (&str, &str), target: &str) -> Reply {
    api.send("GET", target, &[("authorization", &basic(credential))], "").await
}

/// Returns the claims of the token in a reply, whose only member is the token.
fn claims(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200);
    let reply = reply.json();
    assert_eq!(reply.as_object().unwrap().len(), 1);
    claims_of(reply["token"].as_str().unwrap())
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_tells_what_was_granted() {
    let (gitlab, api) = start();
    let login = claims(&ask(&api, GOOD, SERVICE).await);
    assert_eq!(
        (&login["access"], &login["aud"], &login["sub"]),
        (&json!([]), &json!("container_registry"), &json!("alice"))
    );

    let both = format!(
        "{SERVICE}&scope=repository:demo/app/image:pull,push&scope=repository:else/where:pull"
    );
    let granted = json!([{
        "type": "repository", "name": "demo/app/image", "actions": ["pull", "push"],
        "meta": { "project_path": "demo/app" },
    }]);
    assert_eq!(claims(&ask(&api, GOOD, &both).await)["access"], granted);
    let in_one = format!("{SERVICE}&scope=repository%3Ademo%2Fa%3Apull+repository:demo/b:pull");
    assert_eq!(claims(&ask(&api, GOOD, &in_one).await)["access"].as_array().unwrap().len(), 2);

    let read_only = ("x", "glpat-demo-group-read-only");
    let pull_alone = claims(
        &ask(&api, read_only, &format!("{SERVICE}&scope=repository:demo/app:pull,push")).await,
    );
    assert_eq!(pull_alone["access"][0]["actions"], json!(["pull"]));
    assert_eq!(gitlab.created_repositories().into_iter().collect::<Vec<_>>(), ["demo/app/image"]);
}

#[tokio::test]
async fn wrong_credentials_and_unknown_targets_have_their_status() {
    let (_gitlab, api) = start();
    let wrong = ask(&api, ("alice", "wrong"), SERVICE).await;
    assert_eq!(wrong.refusal(), (401, "UNAUTHORIZED".into()));
    assert!(
        wrong.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("HTTP Basic: Access denied")
    );
    assert_eq!(ask(&api, GOOD, "/jwt/auth?service=other").await.status, 404);
    assert_eq!(ask(&api, GOOD, "/jwt/auth").await.status, 404);
    assert_eq!(ask(&api, GOOD, "/other").await.status, 404);
    let post = api.send("POST", SERVICE, &[("authorization", &basic(GOOD))], "").await;
    assert_eq!(post.status, 404);

    assert_eq!(api.get(SERVICE).await.refusal(), (403, "DENIED".into()));
    let anonymous_pull = api.get(&format!("{SERVICE}&scope=repository:demo/a:pull")).await;
    assert_eq!(anonymous_pull.refusal(), (403, "DENIED".into()), "nothing is public");
    for odd in ["Basic %", "Basic", "basic Zm9v", "Basic Og=="] {
        let reply = api.send("GET", SERVICE, &[("authorization", odd)], "").await;
        assert!(reply.status.is_client_error(), "{odd}");
    }
}

#[tokio::test]
async fn a_group_can_be_public() {
    let (gitlab, api) = start();
    gitlab.set_public("open");
    let scopes =
        format!("{SERVICE}&scope=repository:open/a:pull,push&scope=repository:demo/a:pull");
    let nobody = claims(&api.get(&scopes).await);
    assert_eq!((nobody.get("sub"), &nobody["auth_type"]), (None, &json!("none")));
    let open = json!({
        "type": "repository", "name": "open/a", "actions": ["pull"],
        "meta": { "project_path": "open/a" },
    });
    assert_eq!(nobody["access"], json!([open]));
    let known = claims(&ask(&api, GOOD, &scopes).await);
    assert_eq!((&known["access"][0], known["access"].as_array().unwrap().len()), (&open, 2));
    assert_eq!(api.get(SERVICE).await.refusal(), (403, "DENIED".into()));
}

#[tokio::test]
async fn credentials_can_be_added_and_revoked() {
    let (gitlab, api) = start();
    assert!(gitlab.revoke(GOOD.1));
    assert!(!gitlab.revoke("unknown"));
    assert_eq!(ask(&api, GOOD, SERVICE).await.status, 401);
    gitlab.add(SampleCredential {
        kind: Kind::DeployToken,
        user: "ci".into(),
        password: "new".into(),
        scopes: vec![Scope::Api],
        reach: "team".into(),
        state: State::Active,
        note: String::new(),
    });
    let reply =
        ask(&api, ("ci", "new"), &format!("{SERVICE}&scope=repository:team/app:delete")).await;
    let claims = claims(&reply);
    assert_eq!(claims["access"][0]["actions"], json!(["delete"]));
    assert_eq!((claims.get("sub"), &claims["auth_type"]), (None, &json!("deploy_token")));
    let user = claims_of(claims["user"].as_str().unwrap());
    assert_eq!(
        user["user_info"],
        json!({ "token_type": "deploy_token", "username": "ci", "deploy_token_id": 15 })
    );
}

/// Every refusal is a 403, and they differ only by the message. A refusal of one repository also
/// takes away the grants on the others.
#[tokio::test]
async fn every_refusal_is_a_403_with_its_own_message() {
    let (gitlab, api) = start();
    let push = |scopes: &[&str]| {
        scopes
            .iter()
            .fold(SERVICE.to_owned(), |target, scope| format!("{target}&scope=repository:{scope}"))
    };
    let both = push(&["demo/a:pull,push", "demo/b:pull,push"]);
    let message = |reply: &Reply| reply.json()["errors"][0]["message"].as_str().map(str::to_owned);
    let wrong = ("alice", "wrong");
    for (refusal, wrong_too, no_push_too) in [
        (Refusal::Network(String::new()), true, true),
        (Refusal::Sources("alice".into()), false, true),
        (Refusal::ProtectedPath("demo/a".into()), false, false),
        (Refusal::StorageQuota("demo/a".into()), false, false),
    ] {
        gitlab.set_refusals([refusal.clone()]);
        for (credential, target, refused) in [
            (GOOD, &both, true),
            (wrong, &both, wrong_too),
            (GOOD, &push(&["demo/a:pull", "demo/b:pull,push"]), no_push_too),
            (GOOD, &SERVICE.to_owned(), no_push_too),
        ] {
            let reply = ask(&api, credential, target).await;
            let expected = if refused {
                403
            } else if credential == wrong {
                401
            } else {
                200
            };
            assert_eq!(reply.status, expected, "{refusal:?} {credential:?} {target}");
            assert!(
                !refused || message(&reply).as_deref() == Some(refusal.message()),
                "{refusal:?}"
            );
        }
    }
    gitlab.set_refusals([Refusal::Network("192.0.2.1".into()), Refusal::Sources("bob".into())]);
    assert_eq!(ask(&api, GOOD, &both).await.status, 200, "another network and account");
}

#[tokio::test]
async fn projects_may_have_tag_rules() {
    let (gitlab, api) = start();
    gitlab.set_meta(
        json!({ "tag_immutable_patterns": ["^v"], "tag_deny_access_patterns": { "push": ["^x"] } }),
    );
    let both = format!("{SERVICE}&scope=repository:demo/a/b:pull&scope=repository:demo/c:push");
    let access = claims(&ask(&api, GOOD, &both).await)["access"].clone();
    for (entry, project) in [(&access[0], "demo/a"), (&access[1], "demo/c")] {
        let meta = json!({ "project_path": project, "tag_immutable_patterns": ["^v"],
            "tag_deny_access_patterns": { "push": ["^x"] } });
        assert_eq!(entry["meta"], meta);
    }
}

#[tokio::test]
async fn the_ledger_keeps_every_question() {
    let (gitlab, api) = start();
    let ledger = gitlab.ledger();
    ledger.keep();
    let authorization = basic(("alice", "pass:word"));
    let headers = [
        ("authorization", &*authorization),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2, 192.0.2.3"),
        ("x-request-id", "r-1"),
    ];
    let target = format!("{SERVICE}&scope=a+b&scope=c&account=alice&client_id=moorgate");
    api.send("GET", &target, &headers, "").await;
    api.get(SERVICE).await;

    let entries = ledger.entries();
    let question = &entries[0];
    assert_eq!(question.user.as_deref(), Some("alice"));
    assert_eq!(question.secret.as_ref().unwrap().expose_secret(), "pass:word");
    assert_eq!(question.scopes, ["a", "b", "c"]);
    assert_eq!(question.service.as_deref(), Some("container_registry"));
    assert_eq!(
        (question.account.as_deref(), question.client_id.as_deref()),
        (Some("alice"), Some("moorgate"))
    );
    assert_eq!(question.forwarded_for, ["192.0.2.1", "192.0.2.2, 192.0.2.3"]);
    assert_eq!(question.request_id.as_deref(), Some("r-1"));
    assert!(
        entries[1].user.is_none()
            && entries[1].secret.is_none()
            && entries[1].asked_at >= question.asked_at
    );
    assert_eq!(ledger.count(), 2);
}

#[tokio::test]
async fn answers_can_be_scripted() {
    let (gitlab, api) = start();
    let retry_after = vec![(HeaderName::from_static("retry-after"), "7".to_owned())];
    gitlab.script([
        Scripted::Answer {
            status: StatusCode::FORBIDDEN,
            headers: retry_after,
            body: "banned".into(),
        },
        Scripted::Redirect("http://evil.example/".into()),
        Scripted::Delay(Duration::from_millis(20)),
        Scripted::Close,
        Scripted::Hang,
    ]);
    let banned = ask(&api, GOOD, SERVICE).await;
    assert_eq!(
        (banned.status.as_u16(), &*banned.body, banned.header("retry-after")),
        (403, &b"banned"[..], "7")
    );
    let redirect = ask(&api, GOOD, SERVICE).await;
    assert_eq!((redirect.status.as_u16(), redirect.location()), (302, "http://evil.example/"));
    let before = std::time::Instant::now();
    assert_eq!(ask(&api, GOOD, SERVICE).await.status, 200);
    assert!(before.elapsed() >= Duration::from_millis(20));

    // Each request uses a fresh client, because a client retries by itself on a connection that was
    // used before.
    let fresh = Api::new(gitlab.address());
    assert!(fresh.try_send("GET", SERVICE, &[], "").await.is_err());
    let fresh = Api::new(gitlab.address());
    let hanging = tokio::time::timeout(Duration::from_millis(50), fresh.get(SERVICE)).await;
    assert!(hanging.is_err());
    assert_eq!(ask(&api, GOOD, SERVICE).await.status, 200);
}
