//! Servers of the registry token protocol, GitLab and others: the meaning of each answer.

mod budget;
mod replies;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::GitLab;
use moorgate::http_client::HttpClient;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::identity::{NotNow, Question, Verdict, Verified};
use moorgate::net::client_tls;
use moorgate::registry::{Access, Action, RepositoryName};
use serde_json::{Value, json};

use super::{answer, unsigned};
use crate::harness::{READ_WRITE, Setup, TestGate, listener};
use crate::scripted_upstream::ScriptedUpstream;

const SERVICE: &str = "container_registry";

/// GitLab's answer to a valid credential to which it grants nothing.
const DENIED: &str = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access forbidden\"}]}";

fn server(realm: &str, service: &str, reading: Option<GitLabReading>) -> Arc<TokenServer> {
    let tls = client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
    let client = HttpClient::new(tls, Duration::from_secs(60));
    Arc::new(TokenServer::new("p".into(), realm, service.into(), client, reading))
}

fn at(address: SocketAddr, reading: Option<GitLabReading>) -> Arc<TokenServer> {
    server(&format!("http://{address}/jwt/auth"), SERVICE, reading)
}

fn reading() -> GitLabReading {
    GitLabReading {
        accept_passwords: false,
        anonymous: false,
        forward_client_address: true,
        failure_budget: None,
    }
}

fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic { user: user.into(), password: password.into() }
}

fn question(credential: Credential, access: Access) -> Question {
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    Question::new(&HashKey::random().unwrap(), credential, access, client, "request".into())
}

fn on(action: Action) -> Access {
    Access::Repository(RepositoryName::parse("demo/a").unwrap(), action)
}

/// Returns the server's verdict about a credential that it has not verified before.
async fn ask(server: &Arc<TokenServer>, question: &Question) -> Verdict {
    server.ask(question, false).await.0
}

fn verified(verdict: Verdict) -> (Arc<Verified>, Option<Duration>) {
    let Verdict::Verified(verified, lifetime) = verdict else { panic!("{verdict:?}") };
    (verified, lifetime.answer)
}

/// Returns a token with these claims in addition to the usual ones. A `null` removes a claim.
fn token(claims: Value) -> String {
    let mut all = json!({
        "aud": SERVICE, "sub": "alice", "iat": 1000, "exp": 1300,
        "access": [{ "type": "repository", "name": "demo/a", "actions": ["pull", "push"] }],
    });
    for (key, value) in claims.as_object().unwrap() {
        all[key] = value.clone();
    }
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    unsigned(&all.to_string())
}

fn reply(claims: Value) -> Scripted {
    answer(200, json!({ "token": token(claims) }).to_string())
}

/// A status other than 200 means the same from both kinds of server. The table has the verdict for
/// each.
#[tokio::test]
async fn each_status_other_than_200_has_its_verdict() {
    let gitlab = GitLab::start(listener()).unwrap();
    let with = |status, body: &str, retry_after: Option<&str>| {
        let headers = retry_after.map(|seconds| (header::RETRY_AFTER, seconds.to_owned()));
        let status = StatusCode::from_u16(status).unwrap();
        Scripted::Answer { status, headers: headers.into_iter().collect(), body: body.into() }
    };
    let not_now = |why, seconds| Verdict::NotNow(why, Duration::from_secs(seconds));
    let twice =
        "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access forbidden\"}],\"errors\":[]}";
    let ban = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"Too many failed attempts\"}]}";
    let table = [
        (with(401, "", None), Verdict::NotMine),
        (with(403, "Forbidden", None), not_now(NotNow::Barred, 5)),
        (with(403, "", Some("30")), not_now(NotNow::Barred, 30)),
        (with(403, "{\"errors\":[{\"code\":\"OTHER\"}]}", None), not_now(NotNow::Barred, 5)),
        (with(403, twice, None), not_now(NotNow::Barred, 5)),
        (with(403, ban, Some("600")), not_now(NotNow::Barred, 600)),
        (with(429, "", None), not_now(NotNow::Busy, 5)),
        (with(429, "", Some("0")), not_now(NotNow::Busy, 1)),
        (with(429, "", Some("86400")), not_now(NotNow::Busy, 3600)),
        (with(429, "", Some("Wed, 21 Oct 2026 07:28:00 GMT")), not_now(NotNow::Busy, 5)),
        (with(404, "", None), not_now(NotNow::Misconfigured, 5)),
        (with(500, "", Some("30")), Verdict::Unavailable),
        (with(204, "", None), Verdict::Unavailable),
        (with(431, "", None), not_now(NotNow::Barred, 5)),
        (Scripted::Redirect("/jwt/auth".into()), Verdict::Unavailable),
    ];
    for reading in [true, false] {
        let server = at(gitlab.address(), reading.then(self::reading));
        for (script, expected) in &table {
            gitlab.script([script.clone()]);
            let verdict = ask(&server, &question(basic("u", "p"), on(Action::Pull))).await;
            assert_eq!(verdict, *expected, "{script:?}");
        }
    }
}

#[tokio::test]
async fn a_denied_answer_verifies_the_credential_and_grants_nothing() {
    let gitlab = GitLab::start(listener()).unwrap();
    for (access, server_kind) in
        [(Access::Login, true), (on(Action::Pull), true), (on(Action::Pull), false)]
    {
        gitlab.script([answer(403, DENIED)]);
        let server = at(gitlab.address(), server_kind.then(reading));
        let (verified, _) = verified(ask(&server, &question(basic("alice", "p"), access)).await);
        assert!(verified.granted.is_nothing(), "{verified:?}");
        assert_ne!(&*verified.principal.subject, "alice");
    }
}

#[tokio::test]
async fn account_passwords_are_accepted_only_with_accept_passwords() {
    let gitlab = GitLab::start(listener()).unwrap();
    for accept_passwords in [false, true] {
        gitlab.script([reply(json!({ "auth_type": "gitlab_or_ldap" }))]);
        let server = at(gitlab.address(), Some(GitLabReading { accept_passwords, ..reading() }));
        let verdict = ask(&server, &question(basic("alice", "password"), on(Action::Pull))).await;
        assert_eq!(matches!(verdict, Verdict::Verified(..)), accept_passwords, "{verdict:?}");
        assert_eq!(verdict == Verdict::AccountPassword, !accept_passwords);
    }
}

#[tokio::test]
async fn gitlab_is_told_the_client_address_only_with_forward_client_address() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.ledger().keep();
    for forward_client_address in [true, false] {
        let server =
            at(gitlab.address(), Some(GitLabReading { forward_client_address, ..reading() }));
        ask(&server, &question(basic(READ_WRITE.0, READ_WRITE.1), Access::Login)).await;
        let asked = gitlab.ledger().entries().pop().unwrap();
        let expected: &[&str] = if forward_client_address { &["203.0.113.7"] } else { &[] };
        assert_eq!(asked.forwarded_for, expected);
    }
}

#[tokio::test]
async fn only_gitlab_is_asked_about_bearer_tokens_and_never_about_anonymous() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.ledger().keep();
    let bearer = || question(Credential::Bearer(READ_WRITE.1.into()), on(Action::Pull));
    assert_eq!(at(gitlab.address(), None).ask(&bearer(), false).await.0, Verdict::NotMine);
    let nobody = question(Credential::Anonymous, on(Action::Pull));
    assert_eq!(at(gitlab.address(), Some(reading())).ask(&nobody, false).await.0, Verdict::NotMine);
    assert_eq!(gitlab.ledger().count(), 0);
    verified(at(gitlab.address(), Some(reading())).ask(&bearer(), false).await.0);
    assert_eq!(gitlab.ledger().entries()[0].user.as_deref(), Some("gitlab-ci-token"));
}

/// The realm is used as it is, with any path, any service and a query of its own.
#[tokio::test]
async fn a_realm_is_used_with_any_path_service_and_query() {
    for (path, service, target) in [
        (
            "/service/token",
            "harbor-registry",
            "/service/token?service=harbor-registry&scope=repository:demo/a:pull",
        ),
        ("/auth", "Docker registry", "/auth?service=Docker+registry&scope=repository:demo/a:pull"),
        ("/t?tenant=1", "a&b", "/t?tenant=1&service=a%26b&scope=repository:demo/a:pull"),
    ] {
        let mut upstream = ScriptedUpstream::start();
        let server = server(&format!("http://{}{path}", upstream.address), service, None);
        let asked = question(basic("u", "p"), on(Action::Pull));
        let body = json!({ "access_token": token(json!({ "aud": service })) }).to_string();
        let (verdict, ()) = tokio::join!(ask(&server, &asked), async {
            let (mut connection, head) = upstream.accept_request().await;
            assert_eq!(head.line(), ("GET", target));
            connection
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
                .await;
        });
        verified(verdict);
    }
}

/// A gate with a `registry_token` provider in its config.
#[tokio::test]
async fn a_registry_token_provider_decides_about_each_operation() {
    let identity = "- { name: other, type: registry_token, realm: \"{gitlab}/jwt/auth\", \
                    service: container_registry }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    for (method, target, status) in [
        ("GET", "/v2/", 200),
        ("GET", "/v2/demo/a/manifests/v1", 404),
        ("POST", "/v2/demo/a/blobs/uploads/", 202),
        ("DELETE", "/v2/demo/a/manifests/v1", 403),
        ("GET", "/v2/elsewhere/a/manifests/v1", 403),
    ] {
        let reply = gate.send(method, target, Some(READ_WRITE), "", "").await;
        assert_eq!(reply.status, status, "{method} {target} {}", reply.body);
        if status == 403 {
            assert!(reply.body.contains("other granted no"), "{}", reply.body);
        }
    }
    let wrong = gate.get("/v2/", Some(("alice", "wrong"))).await;
    assert_eq!(wrong.status, 401);
}
