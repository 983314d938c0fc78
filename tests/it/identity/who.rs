//! The identity of a caller, as the access log and the metrics report it: by provider, subject and
//! kind of credential.

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::{Kind, sample_credentials};
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection, SampleToken};
use moorgate::demo::issuer::OidcIssuer;
use serde_json::{Value, json};

use crate::harness::{READ_WRITE, Setup, TestGate, listener};

const PULL: &str = "/v2/demo/a/tags/list";
const AUDIENCE: &str = "registry.test";

/// Returns the identity in a log line.
fn who(line: &Value) -> (String, String, String) {
    let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
    (text("provider"), text("subject"), text("credential_type"))
}

fn is(provider: &str, subject: &str, credential_type: &str) -> (String, String, String) {
    (provider.to_owned(), subject.to_owned(), credential_type.to_owned())
}

/// GitLab's claims for each kind of credential. A job acts as the user who started it, and only the
/// credential type tells the two apart. A deploy token has a number and no user.
#[tokio::test]
async fn the_log_names_the_subject_and_type_of_each_gitlab_credential() {
    let gate = TestGate::plain().await;
    let samples = sample_credentials();
    let mut expected = Vec::new();
    for (kind, subject, credential_type) in [
        (Kind::PersonalAccessToken, "alice", "personal_access_token"),
        (Kind::ProjectAccessToken, "project_1_bot_demo", "personal_access_token"),
        (Kind::GroupAccessToken, "group_1_bot_demo", "personal_access_token"),
        (Kind::DeployToken, "deploy_token:4", "deploy_token"),
        (Kind::JobToken, "alice", "build"),
        (Kind::JobRegistryUser, "alice", "build"),
    ] {
        let sample = samples.iter().find(|sample| sample.kind == kind).unwrap();
        assert_eq!(gate.get(PULL, Some((&sample.user, &sample.password))).await.status, 404);
        expected.push(is("gitlab", subject, credential_type));
    }
    assert_eq!(gate.log(expected.len()).await.iter().map(who).collect::<Vec<_>>(), expected);
}

/// Four providers that all know a user `alice`. The htpasswd file is last, because a wrong password
/// of one of its users ends the search.
struct ManyAlices {
    gate: TestGate,
    sso: Introspection,
    id_token: String,
    _issuer: OidcIssuer,
}

const LOCAL: (&str, &str) = ("alice", "correct horse battery");
const SSO: &str = "sso-alice";

impl ManyAlices {
    async fn start() -> Self {
        let (sso, issuer) =
            (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
        sso.ledger().keep();
        let claims = json!({ "sub": "alice", "scope": "read_registry" });
        sso.add(SampleToken { token: SSO.into(), claims, revoked: false, note: "" });
        let identity = format!(
            "- {{ name: jobs, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: {AUDIENCE}, \
             any_tenant: true, scopes: [read_registry] }}\n\
             - {{ name: sso, type: introspection, url: \"{}\", client_secret_file: secret, \
             accepts: {{ prefixes: [sso-] }} }}\n\
             - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\" }}\n\
             - {{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }}",
            issuer.url(),
            issuer.jwks_url(),
            sso.url(),
        );
        let gate = TestGate::start(Setup {
            identity: Some(identity.leak()),
            htpasswd_users: vec![LOCAL],
            files: vec![("secret", CLIENT_SECRET)],
            ..Setup::default()
        });
        let id_token = issuer.id_token(AUDIENCE, &json!({ "sub": "alice" })).unwrap();
        Self { gate: gate.await, sso, id_token, _issuer: issuer }
    }
}

#[tokio::test]
async fn one_name_at_four_providers_is_four_callers() {
    let ManyAlices { gate, id_token, .. } = &ManyAlices::start().await;
    for credential in [LOCAL, ("alice", id_token), ("alice", SSO), READ_WRITE] {
        assert_eq!(gate.get(PULL, Some(credential)).await.status, 404, "{credential:?}");
    }
    let lines = gate.log(4).await;
    let expected = [
        is("local", "alice", "-"),
        is("jobs", "alice", "-"),
        is("sso", "alice", "-"),
        is("gitlab", "alice", "personal_access_token"),
    ];
    assert_eq!(lines.iter().map(who).collect::<Vec<_>>(), expected);
    let fingerprints: std::collections::HashSet<_> =
        lines.iter().map(|line| line["credential"].to_string()).collect();
    assert_eq!(fingerprints.len(), 4);
}

/// Each provider has its own metrics, and an outage of one shows at that one only.
#[tokio::test]
async fn each_provider_has_its_own_metrics() {
    let ManyAlices { gate, sso, id_token, .. } = &ManyAlices::start().await;
    for credential in [LOCAL, ("alice", id_token), ("alice", SSO), READ_WRITE] {
        assert_eq!(gate.get(PULL, Some(credential)).await.status, 404, "{credential:?}");
    }
    assert_eq!(
        gate.send("POST", "/v2/demo/a/blobs/uploads/", Some(LOCAL), "", "").await.status,
        403
    );
    assert_eq!(gate.get(PULL, Some(("alice", "glpat-wrong"))).await.status, 401);
    let status = StatusCode::BAD_GATEWAY;
    sso.always(Some(Scripted::Answer { status, headers: Vec::new(), body: String::new() }));
    assert_eq!(gate.get(PULL, Some(("alice", "sso-other"))).await.status, 503);
    gate.log(7).await;

    let metrics = gate.admin("/metrics").await.body;
    let decision = |provider: &str, result: &str, reason: &str, count: u32| {
        format!(
            "auth_decisions_total{{provider=\"{provider}\",result=\"{result}\",\
             reason=\"{reason}\"}} {count}\n"
        )
    };
    let answers = |provider: &str, result: &str, count: u32| {
        format!(
            "introspection_duration_seconds_count{{provider=\"{provider}\",\
             result=\"{result}\"}} {count}\n"
        )
    };
    let up = |provider: &str, up: u32| format!("provider_up{{provider=\"{provider}\"}} {up}\n");
    for wanted in [
        decision("local", "allowed", "allowed", 1),
        decision("jobs", "allowed", "allowed", 1),
        decision("sso", "allowed", "allowed", 1),
        decision("gitlab", "allowed", "allowed", 1),
        decision("local", "denied", "insufficient_rights", 1),
        decision("sso", "error", "provider_unavailable", 1),
        // No provider verified the credential.
        decision("", "denied", "wrong_credential", 1),
        answers("local", "verified", 1),
        answers("jobs", "verified", 1),
        answers("sso", "verified", 1),
        answers("sso", "unavailable", 1),
        answers("gitlab", "verified", 1),
        answers("gitlab", "not_mine", 1),
        up("local", 1),
        up("jobs", 1),
        up("sso", 0),
        up("gitlab", 1),
    ] {
        assert!(metrics.contains(&format!("moorgate_{wanted}")), "{wanted} is not in\n{metrics}");
    }
    for private in ["alice", "demo/a", "127.0.0.1"] {
        assert!(!metrics.contains(private), "{private} is in\n{metrics}");
    }
}
