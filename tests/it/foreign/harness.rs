//! The scenarios that each scripted registry goes through, and what must hold after each: the
//! image that comes out is the one that went in, and each credential reached only the servers that
//! may see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::client::{BLOBS, CLIENT, Client, Kind, manifest};
use super::script::{MISSING, Missing, NAME, Realm, Script, Site};
use super::stand_in::{Entry, PASSWORD, StandIn, TOKEN, actions_of};
use crate::canary;
use crate::harness::{Setup, TestGate, basic, digest_of};

const IDENTITY: &str = "- { name: local, type: htpasswd, file: htpasswd, \
                        scopes: [read_registry, write_registry, delete_registry] }";
const RULES: [&str; 2] = [
    "rules:",
    "  - { name: all, repositories: [\"**\"], who: [authenticated], \
     allow: [pull, push, delete, catalog] }",
];
/// A repository that has the layer of the image.
const BASE: &str = "demo/base";

/// A line of `upstream` with which the gate has no account at the registry.
pub const ANONYMOUS: &str = "# anonymous";

/// A gate in front of a scripted registry.
pub struct Foreign {
    pub registry: Arc<StandIn>,
    pub gate: TestGate,
    /// Whether the gate has no account at the registry.
    anonymous: bool,
}

impl Foreign {
    /// Starts both. `more` are lines of the section `upstream`.
    pub async fn start(script: Script, more: &[&'static str]) -> Self {
        let registry = StandIn::start(script);
        let (script, sites) = (&registry.script, registry.sites);
        for secret in [PASSWORD, TOKEN] {
            canary::plant(secret);
        }
        let mut upstream = vec!["authorization: token".to_owned()];
        let anonymous = more.contains(&ANONYMOUS);
        if !anonymous {
            upstream.push(format!("username: {}", script.username));
            upstream.push("password_file: upstream.password".to_owned());
        }
        if matches!(script.realm, Realm::Elsewhere(_)) {
            upstream.push(format!("token_realms: [\"{}\"]", sites.realm));
        }
        upstream.extend((script.upstream)(&sites));
        if more.contains(&"redirects: follow") {
            upstream
                .push(format!("redirect_hosts: [\"{}\", \"{}\"]", sites.storage, sites.registry));
        }
        let lines = upstream.into_iter().map(|line| &*line.leak());
        let setup = Setup {
            upstream: lines.chain(more.iter().copied()).collect(),
            upstream_url: Some(format!("http://{}{}", sites.registry, script.prefix)),
            files: vec![("upstream.password", PASSWORD)],
            identity: Some(IDENTITY),
            htpasswd_users: vec![CLIENT],
            policy: RULES.to_vec(),
            tls: script.tls,
            ..Setup::default()
        };
        let gate = TestGate::start(setup).await;
        Self { registry, gate, anonymous }
    }

    pub fn client(&self, kind: Kind) -> Client<'_> {
        Client { gate: &self.gate, sites: self.registry.sites, tls: self.registry.script.tls, kind }
    }

    /// Checks who saw which credential, and that the token server was asked for each of these
    /// lists of scopes once.
    pub fn check(&self, asked: &[&[&str]]) {
        // The gate learns the challenge once for reads and once for writes at most.
        self.check_credentials(2);
        self.check_questions(asked);
    }

    pub fn check_questions(&self, asked: &[&[&str]]) {
        let questions = self.registry.questions();
        let found: Vec<BTreeSet<_>> = questions
            .iter()
            .map(|question| question.scopes.iter().map(|scope| canonical(scope)).collect())
            .collect();
        let expected: Vec<BTreeSet<_>> = asked
            .iter()
            .map(|scopes| scopes.iter().map(|scope| canonical(scope)).collect())
            .collect();
        assert_eq!(found, expected, "{questions:?}");
    }

    /// Checks who saw which credential, and that the registry refused at most this many requests.
    pub fn check_credentials(&self, most_refused: usize) {
        let script = &self.registry.script;
        let client = [CLIENT.1.to_owned(), basic(CLIENT)[6..].to_owned()];
        let own = (script.username, PASSWORD);
        let own =
            [PASSWORD.to_owned(), basic(own)[6..].to_owned(), BASE64_STANDARD.encode(PASSWORD)];
        for entry in self.registry.ledger() {
            let Entry { site, text, authorization, .. } = &entry;
            let has = |secrets: &[String]| secrets.iter().any(|secret| text.contains(secret));
            assert!(!has(&client), "the client's credential was shown: {entry:?}");
            let may_see = match script.realm {
                Realm::None => Site::Registry,
                _ => Site::Realm,
            };
            assert!(!has(&own) || *site == may_see, "the password was shown: {entry:?}");
            assert!(!text.contains(TOKEN) || *site == Site::Registry, "a token: {entry:?}");
            if *site == Site::Realm {
                let account = (!self.anonymous).then(|| basic((script.username, PASSWORD)));
                assert_eq!(*authorization, account);
            }
            if matches!(site, Site::Storage | Site::Uploads) {
                assert_eq!(*authorization, None, "{entry:?}");
                let read = text.starts_with("GET ") || text.starts_with("HEAD ");
                assert!(read || *site == Site::Uploads, "{entry:?}");
            }
        }
        for question in self.registry.questions() {
            assert!(self.registry.has_named(question.service.as_deref()), "{question:?}");
        }
        let refused = self.registry.ledger().into_iter().filter(|entry| entry.status == 401);
        let refused: Vec<_> = refused.collect();
        assert!(refused.len() <= most_refused, "{refused:#?}");
    }
}

/// Returns a scope with its actions in one order.
fn canonical(scope: &str) -> String {
    let (resource, actions) = scope.rsplit_once(':').unwrap();
    let mut actions: Vec<_> = actions.split(',').collect();
    actions.sort_unstable();
    format!("{resource}:{}", actions.join(","))
}

/// Pushes and pulls the image. Redirects go to the client.
pub async fn pushes_and_pulls(script: Script, kind: Kind) {
    let foreign = Foreign::start(script, &[]).await;
    foreign.client(kind).push(NAME).await;
    foreign.client(kind).pull(NAME).await;
    let bearer = foreign.registry.script.realm != Realm::None;
    let (pull, push) = (format!("repository:{NAME}:pull"), format!("repository:{NAME}:pull,push"));
    let asked: &[&[&str]] = &[&[&pull], &[&push]];
    foreign.check(if bearer { asked } else { &[] });
}

/// Pulls the image. The gate follows the redirects.
pub async fn follows(script: Script) {
    let foreign = Foreign::start(script, &["redirects: follow"]).await;
    let client = foreign.client(Kind::Containerd);
    client.push(NAME).await;
    for blob in BLOBS {
        let target = format!("/v2/{NAME}/blobs/{}", digest_of(blob.as_bytes()));
        let reply = client.ask("GET", &target, "", "").await;
        assert_eq!((reply.status, &*reply.body), (200, blob), "{reply:?}");
        let head = client.ask("HEAD", &target, "", "").await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, reply.header("content-length"))
        );
    }
    assert!(foreign.registry.ledger().iter().any(|entry| entry.status / 100 == 3));
    foreign.check_credentials(2);
}

/// Reads an image that the registry does not have.
pub async fn missing_is_not_found(script: Script) {
    let foreign = Foreign::start(script, &[]).await;
    let client = foreign.client(Kind::Docker);
    let target = format!("/v2/{MISSING}/manifests/v1");
    for _ in 0..2 {
        assert_eq!(client.ask("HEAD", &target, "", "").await.status, 404);
        let reply = client.ask("GET", &target, "", "").await;
        assert_eq!(reply.status, 404, "{reply:?}");
        if foreign.registry.script.missing == Missing::Unauthorized {
            assert_eq!(reply.code(), "NAME_UNKNOWN");
        }
    }
    for line in foreign.gate.log(4).await {
        assert_ne!(line["decision"], "error", "{line}");
    }
    let scope = format!("repository:{MISSING}:pull");
    let asked: &[&[&str]] = &[&[&scope]];
    foreign.check(if foreign.registry.script.realm == Realm::None { &[] } else { asked });
}

/// Reads an image for which the token server answers 403. That may as well mean that it refuses the
/// gate's account, so the client is not told that there is no such image, and the next request asks
/// again.
pub async fn forbidden_is_a_bad_gateway(script: Script) {
    let foreign = Foreign::start(script, &[]).await;
    let client = foreign.client(Kind::Docker);
    let target = format!("/v2/{MISSING}/manifests/v1");
    for method in ["HEAD", "GET"] {
        assert_eq!(client.ask(method, &target, "", "").await.status, 502);
    }
    for line in foreign.gate.log(2).await {
        assert_eq!(line["reason"], "upstream_token_failed", "{line}");
    }
    let scope = format!("repository:{MISSING}:pull");
    foreign.check(&[&[&*scope], &[&*scope]]);
}

/// Reads and writes after the registry has forgotten its tokens. A read is tried once more with a
/// new token; a write must be sent again by the client.
pub async fn renews(script: Script) {
    let foreign = Foreign::start(script, &[]).await;
    let client = foreign.client(Kind::Docker);
    client.push(NAME).await;
    foreign.registry.forget_tokens();
    client.pull(NAME).await;
    let uploads = format!("/v2/{NAME}/blobs/uploads/");
    let statuses = [
        client.ask("POST", &uploads, "Content-Length: 0\r\n", "").await.status,
        client.ask("POST", &uploads, "Content-Length: 0\r\n", "").await.status,
    ];
    assert_eq!(statuses, [502, 202]);
    let (pull, push) = (format!("repository:{NAME}:pull"), format!("repository:{NAME}:pull,push"));
    foreign.check_questions(&[&[&pull], &[&push], &[&pull], &[&push]]);
    foreign.check_credentials(4);
}

/// Mounts the layer from another repository, for which the gate asks for both.
pub async fn mounts(script: Script) {
    let foreign = Foreign::start(script, &[]).await;
    foreign.registry.content.lock().unwrap().seed(BASE, BLOBS[1]);
    let digest = digest_of(BLOBS[1].as_bytes());
    let target = format!("/v2/{NAME}/blobs/uploads/?mount={digest}&from={BASE}");
    let client = foreign.client(Kind::Docker);
    let reply = client.ask("POST", &target, "Content-Length: 0\r\n", "").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let (push, base) = (format!("repository:{NAME}:pull,push"), format!("repository:{BASE}:pull"));
    let asked: &[&[&str]] = &[&[&push, &base]];
    foreign.check(if foreign.registry.script.realm == Realm::None { &[] } else { asked });
}

/// Deletes the manifest. The token for it must grant one of these actions.
pub async fn deletes(script: Script, actions: &[&str]) {
    let foreign = Foreign::start(script, &[]).await;
    let client = foreign.client(Kind::Containerd);
    client.push(NAME).await;
    let target = format!("/v2/{NAME}/manifests/{}", digest_of(manifest().as_bytes()));
    let reply = client.ask("DELETE", &target, "", "").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    foreign.check_credentials(2);
    let questions = foreign.registry.questions();
    for scope in questions.iter().flat_map(|question| &question.scopes) {
        let actions = scope.strip_prefix(&format!("repository:{NAME}:")).expect("a wider scope");
        let known = ["pull", "push", "delete"];
        assert!(actions.split(',').all(|asked| known.contains(&asked)), "{questions:?}");
    }
    let mut asked = questions.iter().flat_map(|question| actions_of(&question.scopes[0]));
    assert!(
        foreign.registry.script.realm == Realm::None || asked.any(|asked| actions.contains(&asked))
    );
}
