//! The headers of every answer of the token service, over both versions of HTTP, and the records
//! about it.

mod http2;
mod sizes;

use moorgate::demo::Scripted;
use moorgate::demo::gitlab::{SampleCredential, Scope, sample_credentials};
use serde_json::json;

use super::{ask, challenge, gate, json as read, post, token, with};
use crate::harness::{PATIENCE, READ_WRITE, Reply, Setup, basic};

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Asserts the headers that forbid caching and that identify the answer in the log.
fn assert_headers(reply: &Reply, case: &str) {
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}: {reply:?}");
    assert_eq!(
        reply.header("docker-distribution-api-version"),
        Some("registry/2.0"),
        "{case}: {reply:?}"
    );
    assert_eq!(reply.header("x-request-id"), Some("mine"), "{case}: {reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{case}: {reply:?}");
}

#[tokio::test]
async fn every_token_answer_has_its_headers_and_forbids_caching() {
    let gate = gate(Setup::default()).await;
    let by_form = |more: &str| {
        format!("grant_type=password&username={}&password={}{more}", READ_WRITE.0, READ_WRITE.1)
    };
    let too_large = "x".repeat(100_000);
    const FIRST_IN_AN_OUTAGE: usize = 9;
    let cases = [
        ("GET", "", Some(READ_WRITE), String::new(), 200),
        ("GET", "", None, String::new(), 200),
        ("GET", "", Some(("alice", "wrong")), String::new(), 401),
        ("GET", "?service=another", Some(READ_WRITE), String::new(), 400),
        ("PUT", "", Some(READ_WRITE), String::new(), 405),
        ("POST", "", None, by_form(""), 200),
        ("POST", "", None, by_form("x"), 401),
        ("POST", "", None, by_form("&username=b"), 400),
        ("POST", "", None, too_large, 413),
        ("GET", "?scope=repository:demo/b:pull", Some(READ_WRITE), String::new(), 503),
        ("POST", "", None, by_form("&scope=repository:demo/b:pull"), 503),
    ];
    for (number, (method, query, credential, body, status)) in cases.into_iter().enumerate() {
        if number == FIRST_IN_AN_OUTAGE {
            gate.gitlab.always(Some(Scripted::Close));
        }
        let headers = format!("X-Request-Id: mine\r\n{}", if method == "POST" { FORM } else { "" });
        let reply = gate.send(method, &format!("/token{query}"), credential, &headers, &body).await;
        assert_eq!(reply.status, status, "{method} {query}: {reply:?}");
        assert_headers(&reply, &format!("{method} {status}"));
        assert_eq!(reply.header("retry-after").is_some(), status == 503, "{reply:?}");
        if status == 503 && method == "POST" {
            assert_eq!(read(&reply)["error"], "temporarily_unavailable");
        }
    }
}

/// The challenge of the token service names the configured host, even if the client uses another
/// host name.
#[tokio::test]
async fn the_host_header_does_not_change_the_token_challenge() {
    let gate = gate(Setup::default()).await;
    let (user, password) = ("alice", "wrong");
    for host in ["evil.example", "evil.example:8443", "registry.test:1"] {
        let authorization = basic((user, password));
        let reply = gate
            .raw(format!(
                "GET /token?service=registry.test HTTP/1.1\r\nHost: {host}\r\n\
                 X-Forwarded-Host: {host}\r\n\
                 Authorization: {authorization}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let reply = Reply::parse(&reply);
        assert_eq!(
            (reply.status, challenge(&reply)),
            (401, "Basic realm=\"registry.test\""),
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_service_name_includes_the_external_port() {
    let gate = gate(Setup { external_port: ":8443", ..Setup::default() }).await;
    let start = "Bearer realm=\"http://registry.test:8443/token\",service=\"registry.test:8443\"";
    assert_eq!(challenge(&gate.get("/v2/", None).await), start);
    for (service, status) in [
        ("registry.test:8443", 200),
        ("registry.test%3A8443", 200),
        ("registry.test", 400),
        ("registry.test:443", 400),
        ("REGISTRY.test:8443", 400),
    ] {
        let reply = ask(&gate, Some(READ_WRITE), &format!("service={service}")).await;
        assert_eq!(reply.status, status, "{service:?}");
    }
    assert_eq!(
        challenge(&ask(&gate, Some(("alice", "wrong")), "").await),
        "Basic realm=\"registry.test:8443\""
    );
}

/// Clients may add a charset to the media type, write it in other letter case, or send a form
/// without a credential.
#[tokio::test]
async fn a_form_is_accepted_in_any_spelling_of_its_media_type() {
    let gate = gate(Setup::default()).await;
    let form = format!("grant_type=password&username={}&password={}", READ_WRITE.0, READ_WRITE.1);
    for media_type in [
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=utf-8",
        "Application/X-WWW-Form-URLEncoded",
    ] {
        let headers = format!("Content-Type: {media_type}\r\n");
        assert_eq!(
            gate.send("POST", "/token", None, &headers, &form).await.status,
            200,
            "{media_type}"
        );
    }
    assert_eq!(gate.gitlab.ledger().count(), 1);
    for media_type in
        ["multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded2"]
    {
        let headers = format!("Content-Type: {media_type}\r\n");
        assert_eq!(
            gate.send("POST", "/token", None, &headers, &form).await.status,
            415,
            "{media_type}"
        );
    }
    assert_eq!(gate.send("POST", "/token", None, "", &form).await.status, 415, "no type");
}

/// A caller without a credential gets a token without access, in each of the three ways to present
/// no credential.
#[tokio::test]
async fn anonymous_callers_get_a_token_without_access() {
    let gate = gate(Setup::default()).await;
    let scope = "scope=repository:demo/a:pull";
    let replies = [
        ask(&gate, None, scope).await,
        gate.send("GET", &format!("/token?{scope}"), None, "Authorization: Basic Og==\r\n", "")
            .await,
        post(&gate, &format!("grant_type=password&username=&password=&{scope}")).await,
    ];
    for reply in replies {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(read(&reply).get("scope").is_none_or(|scope| scope == ""), "{reply:?}");
        let made = read(&reply)["token"].as_str().unwrap().to_owned();
        let refused = with(&gate, &made, "GET", PULL).await;
        assert_eq!(refused.status, 401);
        assert!(challenge(&refused).contains("error=\"insufficient_scope\""), "{refused:?}");
    }
    assert_eq!(
        (gate.gitlab.ledger().count(), gate.forwarded()),
        (0, 0),
        "GitLab is not asked about nobody"
    );
    let log = gate.log(6).await;
    assert!(
        log[..3]
            .iter()
            .all(|line| line["credential_kind"] == "anonymous" && line["credential"].is_null())
    );
}

/// The token's scopes are an upper bound. An access that the credential has lost since is refused.
#[tokio::test]
async fn a_token_loses_the_access_that_its_credential_lost() {
    let gate =
        gate(Setup { cache: vec!["ttl: 1ms", "negative_ttl: 1ms"], ..Setup::default() }).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull,push").await;
    assert_eq!(with(&gate, &made, "POST", UPLOADS).await.status, 202);
    let whole = sample_credentials()
        .into_iter()
        .find(|credential| credential.password == READ_WRITE.1)
        .unwrap();
    gate.gitlab.add(SampleCredential { scopes: vec![Scope::ReadRegistry], ..whole });
    let begun = std::time::Instant::now();
    let reply = loop {
        let reply = with(&gate, &made, "POST", UPLOADS).await;
        if reply.status != 202 {
            break reply;
        }
        assert!(begun.elapsed() < PATIENCE, "it still pushes");
    };
    assert_eq!(reply.status, 401);
    assert!(challenge(&reply).contains("error=\"insufficient_scope\""), "{reply:?}");
    assert_eq!(with(&gate, &made, "GET", PULL).await.status, 404, "it still pulls");
}

/// A pull that was granted in the last minutes is granted in an outage, and no other access is.
#[tokio::test]
async fn in_an_outage_only_pulls_that_were_granted_before_get_a_token() {
    let gate =
        gate(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..Setup::default() }).await;
    let scopes = ["repository:demo/a:pull", "repository:demo/a:pull,push"];
    for scope in scopes {
        token(&gate, READ_WRITE, scope).await;
    }
    gate.gitlab.always(Some(Scripted::Close));
    let made = token(&gate, READ_WRITE, scopes[0]).await;
    assert_eq!(with(&gate, &made, "GET", PULL).await.status, 404);
    assert_eq!(with(&gate, &made, "POST", UPLOADS).await.status, 503);
    let reply = ask(&gate, Some(READ_WRITE), &format!("scope={}", scopes[1])).await;
    assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"));
    let log = gate.log(6).await;
    assert_eq!((&log[2]["operation"], &log[2]["cache"]), (&json!("token"), &json!("stale")));
    assert_eq!((&log[5]["operation"], &log[5]["decision"]), (&json!("token"), &json!("error")));
}

/// The token service is counted as one more operation, and its query is not logged, as for any
/// other operation.
#[tokio::test]
async fn token_requests_are_counted_and_their_query_is_not_logged() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    ask(&gate, Some(("alice", "wrong")), "account=canary&password=canary").await;
    post(&gate, "grant_type=canary").await;
    with(&gate, &made, "GET", PULL).await;
    let log = gate.log(4).await;
    assert!(
        log[..3].iter().all(|line| line["operation"] == "token" && line["path"] == "/token"),
        "{log:?}"
    );
    assert!(!format!("{log:?}").contains("canary"));
    let reasons: Vec<_> = log.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["allowed", "wrong_credential", "malformed_token_request", "allowed"]);
    let metrics = gate.admin("/metrics").await.body;
    for line in [
        "moorgate_http_requests_total{method=\"GET\",operation=\"token\",code=\"200\"} 1",
        "moorgate_http_requests_total{method=\"GET\",operation=\"token\",code=\"401\"} 1",
        "moorgate_http_requests_total{method=\"POST\",operation=\"token\",code=\"400\"} 1",
        "moorgate_http_request_duration_seconds_count{operation=\"token\"} 3",
        "moorgate_auth_decisions_total\
         {provider=\"gitlab\",result=\"allowed\",reason=\"allowed\"} 2",
        "moorgate_auth_decisions_total\
         {provider=\"\",result=\"denied\",reason=\"wrong_credential\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// The scheme is accepted in any letter case, with the white space that a header value may have
/// around it.
#[tokio::test]
async fn the_bearer_scheme_is_accepted_in_any_letter_case() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    for (value, status) in [
        (format!("bearer {made}"), 404),
        (format!("BEARER  {made}"), 404),
        (format!("Bearer {made}  "), 404),
        (format!("Bearer {made}\t"), 404),
        (format!("Bearer {made}="), 401),
        (format!("Bearer {made} x"), 401),
        (format!("Bearer  x{made}"), 401),
        (format!("Bearer {}", made.replacen("mg1", "MG1", 1)), 401),
        (made.clone(), 401),
    ] {
        let reply = gate.send("GET", PULL, None, &format!("Authorization: {value}\r\n"), "").await;
        assert_eq!(reply.status, status, "{value:.20}…{}", &value[value.len() - 3..]);
    }
    let head = with(&gate, "mg1.AAAAAAAA.AAAA", "HEAD", "/v2/demo/a/manifests/v1").await;
    assert_eq!((head.status, &*head.body), (401, ""));
    assert!(
        challenge(&head).contains("scope=\"repository:demo/a:pull\",error=\"invalid_token\""),
        "{head:?}"
    );
}
