//! The golden table: every kind of caller and every operation, without rules, with rules, and in
//! shadow mode.
//!
//! `UPDATE_EXPECTED=1 cargo test` rewrites it. Review the diff afterwards.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use moorgate::demo::gitlab::sample_credentials;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection, SampleToken};
use moorgate::demo::issuer::OidcIssuer;
use serde_json::{Value, json};

use crate::harness::{Setup, TestGate, listener, some_digest};

const TABLE: &str = "tests/fixtures/authz-matrix.txt";

/// The rules, which the table also prints at its start.
const RULES: &str = "rules:
  - { name: public, repositories: [\"demo/public\"], who: [anonymous, authenticated], \
    allow: [pull] }
  - { name: alice, repositories: [\"demo/**\"], who: [\"user:gitlab/alice\"], allow: [pull, push] }
  - { name: deploy, repositories: [\"demo/**\"], who: [\"credential:deploy_token\"], allow: [pull] }
  - { name: jobs, repositories: [\"demo/app\"], who: [\"credential:build\"], allow: [pull] }
  - { name: builds, repositories: [\"demo/app\"], except_tags: [\"v*\"], \
    who: [\"credential:build\"], allow: [push] }
  - { name: own, repositories: [\"${claims.project_path}\"], who: [\"provider:workloads\"], \
    allow: [pull, push] }
  - { name: readers, repositories: [\"**\"], who: [\"group:sso/developers\"], allow: [pull] }
  - { name: releases, repositories: [\"**\"], tags: [\"v*\"], who: [\"group:sso/developers\"], \
    allow: [push, delete] }
  - { name: home, repositories: [\"demo/${user}\"], who: [\"provider:local\"], \
    allow: [pull, push, delete] }";

/// The method and target of each operation.
const OPERATIONS: [(&str, &str); 24] = [
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/demo/app/tags/list"),
    ("GET", "/v2/demo/app/referrers/DIGEST"),
    ("GET", "/v2/demo/app/manifests/v1"),
    ("GET", "/v2/demo/public/manifests/v1"),
    ("GET", "/v2/demo/other/manifests/v1"),
    ("GET", "/v2/elsewhere/manifests/v1"),
    ("PUT", "/v2/demo/app/manifests/latest"),
    ("PUT", "/v2/demo/app/manifests/v1"),
    ("PUT", "/v2/demo/app/manifests/DIGEST"),
    ("PUT", "/v2/demo/app/manifests/DIGEST?tag=v1&tag=latest"),
    ("PUT", "/v2/demo/other/manifests/v1"),
    ("DELETE", "/v2/demo/app/manifests/v1"),
    ("DELETE", "/v2/demo/app/manifests/DIGEST"),
    ("GET", "/v2/demo/app/blobs/DIGEST"),
    ("DELETE", "/v2/demo/app/blobs/DIGEST"),
    ("POST", "/v2/demo/app/blobs/uploads/"),
    ("POST", "/v2/demo/app/blobs/uploads/?mount=DIGEST&from=demo/public"),
    ("POST", "/v2/demo/app/blobs/uploads/?mount=DIGEST&from=demo/other"),
    ("PATCH", "/v2/demo/app/blobs/uploads/1"),
    ("PUT", "/v2/demo/app/blobs/uploads/1?digest=DIGEST"),
    ("GET", "/v2/demo/app/blobs/uploads/1"),
    ("DELETE", "/v2/demo/app/blobs/uploads/1"),
];

/// The scopes that each token is asked for.
const SCOPES: [&str; 3] = ["demo/app:pull,push,delete", "demo/public:pull,push", "elsewhere:pull"];

/// A caller: its name in the table, its user name and its secret.
type Actor = (String, Option<(String, String)>);

#[tokio::test]
async fn the_gate_decides_as_the_golden_table_says() {
    let (issuer, sso) =
        (OidcIssuer::start(listener()).unwrap(), Introspection::start(listener()).unwrap());
    let scope = json!({ "scope": "read_registry write_registry delete_registry" });
    sso.add(SampleToken {
        token: "sso-all".into(),
        claims: scope,
        revoked: false,
        note: "may do everything",
    });
    let actors = actors(&issuer);
    let rules: Vec<&str> = RULES.lines().collect();
    let mut columns = Vec::new();
    for policy in [vec![], rules.clone(), [rules, vec!["mode: shadow"]].concat()] {
        columns.push(column(&start(&issuer, &sso, policy).await, &actors).await);
    }
    let mut table =
        format!("Who may do what: `UPDATE_EXPECTED=1 cargo test` writes this file.\n\n{RULES}\n");
    let tokens = SCOPES.map(|scope| ("POST", format!("/token for {scope}")));
    let operations =
        OPERATIONS.map(|(method, target)| (method, target.to_owned())).into_iter().chain(tokens);
    for (place, (method, target)) in operations.enumerate() {
        let _ = write!(table, "\n{method} {target}\n{}\n", line("", "no rules", "rules", "shadow"));
        for (actor, _) in &actors {
            let of = |mode: usize| columns[mode][&(place, actor.clone())].as_str();
            let _ = writeln!(table, "{}", line(actor, of(0), of(1), of(2)));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = table.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(table == expected, "{TABLE} is not what the gate decides: {differing:?}");
}

fn line(actor: &str, no_rules: &str, rules: &str, shadow: &str) -> String {
    format!("  {actor:<28} {no_rules:<20} {rules:<20} {shadow}").trim_end().to_owned()
}

fn actors(issuer: &OidcIssuer) -> Vec<Actor> {
    let actor = |name: &str, user: &str, secret: &str| {
        (name.to_owned(), Some((user.to_owned(), secret.to_owned())))
    };
    let mut actors = vec![("anonymous".to_owned(), None)];
    for credential in sample_credentials() {
        let access =
            if credential.password.ends_with("read-only") { "read" } else { "read, write" };
        if credential.password.contains("-read-") {
            actors.push(actor(
                &format!("{} ({access})", short(&credential.kind.to_string())),
                &credential.user,
                &credential.password,
            ));
        }
    }
    let id_token = |claims: Value| issuer.id_token("registry.test", &claims).unwrap();
    actors.push(actor("job of demo/app (jwt)", "oidc", &id_token(json!({}))));
    actors.push(actor(
        "job of demo/other (jwt)",
        "oidc",
        &id_token(json!({ "project_path": "demo/other" })),
    ));
    actors.push(actor("developer (sso, read, write)", "dana", "sso-demo-read-write"));
    actors.push(actor("developer (sso, everything)", "dana", "sso-all"));
    actors.push(actor("developer (sso, read)", "erin", "sso-demo-read-only"));
    actors.push(actor("app (htpasswd)", "app", "password-of-app"));
    actors.push(actor("wrong password", "app", "wrong"));
    actors
}

/// Shortens a name, to keep the lines of the table short.
fn short(kind: &str) -> String {
    kind.replace(" access token", "").replace("registry user", "user")
}

async fn start(issuer: &OidcIssuer, sso: &Introspection, policy: Vec<&'static str>) -> TestGate {
    let identity = format!(
        "- {{ name: local, type: htpasswd, file: htpasswd, \
         scopes: [read_registry, write_registry, delete_registry] }}\n\
         - {{ name: workloads, type: jwt, issuer: \"{}\", jwks_url: \"{}\", \
         audience: registry.test, \
         required_claims: {{ namespace_id: [\"42\"] }}, \
         scopes: [read_registry, write_registry] }}\n\
         - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\", anonymous: true, \
         accepts: {{ prefixes: [glpat-, gldt-, glcbt-] }} }}\n\
         - {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret }}",
        issuer.url(),
        issuer.jwks_url(),
        sso.url()
    );
    let setup = Setup {
        identity: Some(identity.leak()),
        htpasswd_users: vec![("app", "password-of-app")],
        files: vec![("sso.secret", CLIENT_SECRET)],
        scopes: vec!["delete: [delete_registry]"],
        policy,
        ..Setup::default()
    };
    let gate = TestGate::start(setup).await;
    gate.gitlab.set_public("demo/public");
    gate
}

/// Returns the result for each caller and operation: the reason in the log, or the scopes of a
/// token.
async fn column(gate: &TestGate, actors: &[Actor]) -> HashMap<(usize, String), String> {
    let mut column = HashMap::new();
    let mut sent = Vec::new();
    for (number, (actor, credential)) in actors.iter().enumerate() {
        let credential = credential.as_ref().map(|(user, secret)| (user.as_str(), secret.as_str()));
        for (place, (method, target)) in OPERATIONS.iter().enumerate() {
            let id = format!("{number}-{place}");
            let before = gate.forwarded();
            let body = if matches!(*method, "PUT" | "PATCH") { "{}" } else { "" };
            let target = target.replace("DIGEST", &some_digest());
            gate.send(method, &target, credential, &format!("X-Request-Id: {id}\r\n"), body).await;
            let forwarded = gate.forwarded() - before;
            assert!(forwarded <= 1, "{method} {target}");
            let entries = gate.ledger.entries();
            let reached =
                entries.last().filter(|_| forwarded > 0).map(|received| received.target.clone());
            let stripped = target.contains("mount=")
                && reached.as_ref().is_some_and(|it| !it.contains("mount="));
            sent.push((id, (place, actor.clone()), *method, target, reached, stripped));
        }
        for (scope, actions) in granted(gate, credential).await.into_iter().enumerate() {
            column.insert((OPERATIONS.len() + scope, actor.clone()), actions);
        }
    }
    let log = gate.log(actors.len() * (OPERATIONS.len() + 1)).await;
    let reasons: HashMap<&str, &Value> =
        log.iter().map(|line| (line["request_id"].as_str().unwrap(), line)).collect();
    for (id, key, method, target, reached, stripped) in sent {
        let line = reasons[&*id];
        let allowed = line["decision"] != "denied" && target != "/v2/";
        assert_eq!(reached.is_some(), allowed, "{method} {target}: {line}");
        let mut word = line["reason"].as_str().unwrap().to_owned();
        if reached.is_some_and(|reached| reached.contains("_catalog?n=")) {
            word.push_str(", filtered");
        }
        if stripped {
            word.push_str(", no mount");
        }
        column.insert(key, word);
    }
    column
}

/// Returns the access in a token that was asked for all of [`SCOPES`].
async fn granted(gate: &TestGate, credential: Option<(&str, &str)>) -> [String; 3] {
    let (user, password) = credential.unwrap_or_default();
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "password")
        .append_pair("username", user)
        .append_pair("password", password);
    form.extend_pairs(SCOPES.map(|scope| ("scope", format!("repository:{scope}"))));
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = gate.send("POST", "/token", None, headers, &form.finish()).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    SCOPES.map(|scope| {
        let (name, _) = scope.split_once(':').unwrap();
        let Some(granted) = answer["scope"].as_str() else {
            return answer["error"].as_str().unwrap().to_owned();
        };
        let of_name =
            granted.split(' ').find_map(|it| it.strip_prefix(&format!("repository:{name}:")));
        of_name.unwrap_or("nothing").to_owned()
    })
}
