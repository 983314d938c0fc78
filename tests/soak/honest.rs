//! Honest clients: they log in, pull and push as docker and CI jobs do, and check every answer.

mod content;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::PATIENCE;
use crate::message::Credential;
use crate::world::{ALICE, CAROL, PUBLISHER, World};
use content::Content;
use session::{Done, Session, Trouble, expect, location};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The sizes of layers, in bytes. Most layers are small; large ones take longer.
const SMALL: usize = 3_000;
const LARGE: usize = 4 << 20;

/// The number of different layers of each size and person. It bounds the growth of the registry.
const LAYERS: u8 = 4;

/// A user of the registry.
pub struct Person {
    name: &'static str,
    credential: Option<Credential>,
    repository: String,
    /// The client address that proxies report. Each person has a different one, and no hostile
    /// client uses it.
    address: String,
    /// `true` if the person fetches a gate token first, as docker does, instead of sending the
    /// credential itself.
    by_token: bool,
    pushes: bool,
    lists_catalog: bool,
}

/// Returns a person for each kind of credential, and an anonymous one.
pub fn people(world: &World) -> anyhow::Result<Vec<Person>> {
    let basic = |(user, password)| Some(Credential::basic(user, password));
    let listed = [
        ("alice", basic(ALICE), "demo/alice", true),
        (
            "group",
            basic(("group_1_bot_demo", "glpat-demo-group-read-write")),
            "demo/team/group",
            false,
        ),
        (
            "deploy",
            basic(("gitlab+deploy-token-1", "gldt-demo-deploy-read-write")),
            "demo/deploy",
            true,
        ),
        ("job", basic(("gitlab-ci-token", "glcbt-demo-job-read-write")), "demo/job", true),
        ("bearer", Some(Credential::bearer(ALICE.1)), "demo/bearer", false),
        ("sso", basic(("dana", "sso-demo-read-write")), "sso/dana", true),
        ("sso-bearer", Some(Credential::bearer("sso-demo-read-write")), "sso/bearer", false),
        ("carol", basic(CAROL), "carol/app", true),
        ("workload", Some(Credential::bearer(&world.id_token)), "workload/app", false),
        (
            "workload-login",
            Some(Credential::basic("oidc", &world.id_token)),
            "workload/login",
            true,
        ),
        ("publisher", basic(PUBLISHER), "public/app", true),
        ("anybody", None, "public/app", true),
    ];
    let people =
        listed.into_iter().enumerate().map(|(number, (name, credential, repository, by_token))| {
            Person {
                name,
                pushes: credential.is_some(),
                credential,
                repository: repository.to_owned(),
                address: format!("10.1.0.{}", number + 1),
                by_token,
                lists_catalog: matches!(name, "carol" | "workload"),
            }
        });
    Ok(people.collect())
}

/// Pushes for every person the content that is pulled later.
pub async fn push_everything(world: &World, people: &[Person]) -> anyhow::Result<()> {
    for person in people.iter().filter(|person| person.pushes) {
        for (size, number) in [(SMALL, 0), (LARGE, 0)] {
            let mut session = Session::open(world, person).await?;
            session.push(size, number, Duration::ZERO).await.map_err(|trouble| match trouble {
                Trouble::Wrong(error) => {
                    error.context(format!("the first push of {}", person.name))
                }
                Trouble::ComeBack => anyhow!("a provider is down at the start"),
            })?;
        }
    }
    Ok(())
}

/// Fetches a gate token for this scope.
pub async fn token(world: &World, credential: &Credential, scope: &str) -> anyhow::Result<String> {
    let person = Person {
        name: "token",
        credential: Some(credential.clone()),
        repository: String::new(),
        address: "10.1.1.1".to_owned(),
        by_token: true,
        pushes: false,
        lists_catalog: false,
    };
    let mut session = Session::open(world, &person).await?;
    session.token(scope).await.map_err(|trouble| match trouble {
        Trouble::Wrong(error) => error,
        Trouble::ComeBack => anyhow!("a provider is down"),
    })
}

/// Runs one person until the end.
pub async fn live(world: Arc<World>, person: Person, end: Instant) {
    while Instant::now() < end {
        let done = tokio::time::timeout(PATIENCE, visit(&world, &person, end)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(Trouble::ComeBack)) => {
                world.tally.told_to_wait();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(Err(Trouble::Wrong(error))) => {
                world.tally.error(format!("{}: {error:#}", person.name))
            }
            Err(_) => world.tally.error(format!("{}: no end within {PATIENCE:?}", person.name)),
        }
    }
}

/// Runs some steps on one connection.
async fn visit(world: &World, person: &Person, end: Instant) -> Done {
    let mut session = Session::open(world, person).await?;
    for _ in 0..fastrand::u32(1..12) {
        if Instant::now() >= end {
            break;
        }
        let layer = fastrand::u8(..LAYERS);
        match fastrand::u32(..16) {
            0..2 => session.login().await?,
            2..4 => session.tags().await?,
            4 if person.lists_catalog => session.catalog().await?,
            5..8 if person.pushes => session.push(SMALL, layer, Duration::ZERO).await?,
            8 if person.pushes => session.push(LARGE, layer, Duration::ZERO).await?,
            // Slow, but with a byte within every `stall_timeout`.
            9 if person.pushes => session.push(SMALL, layer, Duration::from_millis(700)).await?,
            10 => session.pull(LARGE).await?,
            _ => session.pull(SMALL).await?,
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..100))).await;
    }
    Ok(())
}

impl Session<'_> {
    /// Logs in as `docker login` does.
    async fn login(&mut self) -> Done {
        let refused = self.ask("GET", "/v2/", None, &[], Content::default()).await?;
        expect(&refused, &[401], "the first ping")?;
        if self.person.credential.is_none() {
            return Ok(());
        }
        let authorization = self.authorization("").await?;
        let reply =
            self.ask("GET", "/v2/", authorization.as_deref(), &[], Content::default()).await?;
        expect(&reply, &[200], "the ping")
    }

    async fn tags(&mut self) -> Done {
        let authorization = self.for_repository("pull").await?;
        let target = format!("/v2/{}/tags/list", self.person.repository);
        let reply =
            self.ask("GET", &target, authorization.as_deref(), &[], Content::default()).await?;
        expect(&reply, &[200], "the tags")?;
        let tags: Value = serde_json::from_slice(&reply.body)?;
        let named = tags.get("name").and_then(Value::as_str) == Some(&self.person.repository);
        if named { Ok(()) } else { Err(anyhow!("tags of another repository: {tags}").into()) }
    }

    async fn catalog(&mut self) -> Done {
        let authorization = self.person.credential.as_ref().map(Credential::header);
        let reply = self
            .ask("GET", "/v2/_catalog", authorization.as_deref(), &[], Content::default())
            .await?;
        expect(&reply, &[200], "the catalog")
    }

    async fn pull(&mut self, size: usize) -> Done {
        let authorization = self.for_repository("pull").await?;
        let authorization = authorization.as_deref();
        let target = format!("/v2/{}/manifests/{}", self.person.repository, tag(size));
        let accept = [("accept", MANIFEST)];
        let head = self.ask("HEAD", &target, authorization, &accept, Content::default()).await?;
        expect(&head, &[200], "the manifest's head")?;
        let manifest = self.ask("GET", &target, authorization, &accept, Content::default()).await?;
        expect(&manifest, &[200], "the manifest")?;
        let manifest: Value = serde_json::from_slice(&manifest.body)?;
        for blob in [manifest.pointer("/config/digest"), manifest.pointer("/layers/0/digest")] {
            let blob = blob.and_then(Value::as_str).context("a manifest without digests")?;
            let target = format!("/v2/{}/blobs/{blob}", self.person.repository);
            let reply = self.ask("GET", &target, authorization, &[], Content::default()).await?;
            expect(&reply, &[200], "a blob")?;
            if digest_of(&reply.body) != blob {
                return Err(anyhow!("{blob} has another content").into());
            }
        }
        Ok(())
    }

    async fn push(&mut self, size: usize, number: u8, pause: Duration) -> Done {
        let authorization = self.for_repository("pull,push").await?;
        let authorization = authorization.as_deref();
        let repository = self.person.repository.clone();
        let (config, layer) = (Bytes::from_static(b"{}"), Bytes::from(vec![number; size]));
        for (blob, pause) in [(config.clone(), Duration::ZERO), (layer.clone(), pause)] {
            let digest = digest_of(&blob);
            let target = format!("/v2/{repository}/blobs/{digest}");
            let there = self.ask("HEAD", &target, authorization, &[], Content::default()).await?;
            expect(&there, &[200, 404], "the look for a blob")?;
            let begun = format!("/v2/{repository}/blobs/uploads/");
            let begun = self.ask("POST", &begun, authorization, &[], Content::default()).await?;
            expect(&begun, &[202], "the begin of an upload")?;
            let content = Content::paced(blob, pause);
            let chunk = self.ask("PATCH", location(&begun)?, authorization, &[], content).await?;
            expect(&chunk, &[202], "a chunk")?;
            let target = format!("{}&digest={digest}", location(&chunk)?);
            let finished = self.ask("PUT", &target, authorization, &[], Content::default()).await?;
            expect(&finished, &[201], "the end of an upload")?;
        }
        let described = |blob: &Bytes, kind: &str| {
            let (digest, size) = (digest_of(blob), blob.len());
            json!({ "mediaType": kind, "digest": digest, "size": size })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(&layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        let target = format!("/v2/{repository}/manifests/{}", tag(size));
        let content = Content::paced(manifest.to_string().into(), Duration::ZERO);
        let reply =
            self.ask("PUT", &target, authorization, &[("content-type", MANIFEST)], content).await?;
        expect(&reply, &[201], "the manifest's push")
    }

    async fn for_repository(&mut self, actions: &str) -> Done<Option<String>> {
        let scope = format!("repository:{}:{actions}", self.person.repository);
        self.authorization(&scope).await
    }

    /// Returns the value of `Authorization`: the credential itself, or a token for this scope.
    async fn authorization(&mut self, scope: &str) -> Done<Option<String>> {
        if self.person.by_token {
            return self.token(scope).await.map(|token| Some(format!("Bearer {token}")));
        }
        Ok(self.person.credential.as_ref().map(Credential::header))
    }

    async fn token(&mut self, scope: &str) -> Done<String> {
        let target =
            if scope.is_empty() { "/token".to_owned() } else { format!("/token?scope={scope}") };
        // `/token` takes a credential as Basic.
        let authorization = self.person.credential.as_ref().map(|credential| match credential {
            Credential::Bearer(token) => Credential::basic("token", token).header(),
            basic @ Credential::Basic(..) => basic.header(),
        });
        let reply =
            self.ask("GET", &target, authorization.as_deref(), &[], Content::default()).await?;
        expect(&reply, &[200], "the token")?;
        let answer: Value = serde_json::from_slice(&reply.body)?;
        Ok(answer
            .get("token")
            .and_then(Value::as_str)
            .context("no token in the answer")?
            .to_owned())
    }
}

fn tag(size: usize) -> &'static str {
    if size == SMALL { "small" } else { "large" }
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String =
        digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
