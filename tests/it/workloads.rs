//! The recipes of `docs/workloads.md`: the example config of each issuer, with tokens that have the
//! claims of the real issuer. A stand-in signs them, and its keys replace those of the issuer.

mod buildkite;
mod circleci;
mod github;
mod gitlab;
mod kubelet;
mod kubernetes;

use std::fs;
use std::path::Path;

use moorgate::demo::issuer::OidcIssuer;
use moorgate::identity::model::unix_time::unix_now;
use serde_json::{Value, json};

use crate::harness::{Setup, TestGate, listener};

/// The audience of all recipes.
const AUDIENCE: &str = "registry.example.com";

/// The status of the registry's answer to a pull of an image that it does not have, and to the
/// begin of an upload.
const PULLED: u16 = 404;
const PUSHED: u16 = 202;

/// A gate with the providers and the rules of a recipe.
struct Recipe {
    gate: TestGate,
    issuer: OidcIssuer,
    /// The claims of a token that the recipe accepts.
    claims: Value,
}

impl Recipe {
    /// Starts a gate with the recipe in this file of config/examples. Members of `claims` are added
    /// to those that every token has; the audience is in a list if the issuer writes it so.
    async fn start(file: &str, claims: Value) -> Self {
        let issuer = OidcIssuer::start(listener()).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(file);
        let recipe = fs::read_to_string(path).unwrap();
        let identity = section(&recipe, "identity");
        // The stand-in has no TLS. The issuer's own URL stays the `iss`.
        let identity: String = identity
            .lines()
            .filter(|line| !line.trim_start().starts_with("ca:"))
            .map(|line| match line.split_once("jwks_url: ") {
                Some((indent, _)) => format!("{indent}jwks_url: {}\n", issuer.jwks_url()),
                None => format!("{line}\n"),
            })
            .collect();
        let policy = section(&recipe, "policy").leak().lines().collect();
        let files = vec![("edge.jwks.json", &*issuer.jwks().leak())];
        let limits = vec!["failed_logins: null"];
        let identity = Some(&*identity.leak());
        let gate =
            TestGate::start(Setup { identity, policy, limits, files, ..Setup::default() }).await;
        let mut all = json!({
            "aud": AUDIENCE, "iat": unix_now(), "nbf": unix_now(), "exp": unix_now() + 300,
        });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        Self { gate, issuer, claims: all }
    }

    /// Returns a token with these members of the claims replaced; null removes a member.
    fn token(&self, members: Value) -> String {
        let mut claims = self.claims.clone();
        for (name, value) in members.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.issuer.kid() });
        self.issuer.sign_raw(&header.to_string(), &claims.to_string()).unwrap()
    }

    async fn pull(&self, repository: &str, members: Value) -> u16 {
        self.send("GET", &format!("/v2/{repository}/tags/list"), members).await
    }

    async fn push(&self, repository: &str, members: Value) -> u16 {
        self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), members).await
    }

    async fn send(&self, method: &str, target: &str, members: Value) -> u16 {
        let token = self.token(members);
        self.gate.send(method, target, Some(("oidc", &token)), "", "").await.status
    }

    /// Checks that tokens with these members are nobody's.
    async fn refuses(&self, repository: &str, others: impl IntoIterator<Item = Value>) {
        for members in others {
            assert_eq!(self.pull(repository, members.clone()).await, 401, "{members}");
        }
        for members in [
            json!({ "aud": "other.example.com" }),
            json!({ "aud": [AUDIENCE, "other.example.com"] }),
            json!({ "aud": null }),
            json!({ "iss": "https://other.example.com" }),
            json!({ "exp": unix_now() - 61 }),
        ] {
            assert_eq!(self.pull(repository, members.clone()).await, 401, "{members}");
        }
    }

    /// Returns the subject of the last request.
    async fn last_subject(&self, requests: usize) -> Value {
        self.gate.log(requests).await.pop().unwrap()["subject"].take()
    }
}

/// Returns a section of a config, without its indentation.
fn section(config: &str, name: &str) -> String {
    let start = format!("\n{name}:\n");
    let (_, section) = config.split_once(&start).unwrap_or_else(|| panic!("no {name}"));
    section
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect()
}
