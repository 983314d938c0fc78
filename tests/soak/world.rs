//! The gate, its registry and providers, and their users.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use moorgate::demo::gitlab::{GitLab, Kind, SampleCredential, Scope, State};
use moorgate::demo::introspection::{CLIENT_ID, CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::OidcIssuer;
use moorgate::demo::registry::Registry;
use moorgate::demo::{Ledger, Scripted, self_signed};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::classes::Arsenal;
use crate::client::{Door, PATIENCE};
use crate::oracle::Oracle;
use crate::process::Gate;
use crate::tally::Tally;

/// The audience of workload tokens.
pub const AUDIENCE: &str = "registry.example.com";

/// A user who may pull and push below `demo/`.
pub const ALICE: (&str, &str) = ("alice", "glpat-demo-personal-read-write");
/// A credential that may only pull below `demo/`.
pub const READER: (&str, &str) = ("alice", "glpat-demo-personal-read-only");
/// A hostile user who may pull and push only below `mallory/`.
pub const MALLORY: (&str, &str) = ("mallory", "glpat-soak-mallory");
/// A user who may pull and push below `public/`, where all callers may pull.
pub const PUBLISHER: (&str, &str) = ("publisher", "glpat-soak-publisher");
/// A user of the htpasswd file.
pub const CAROL: (&str, &str) = ("carol", "carols-long-password");

/// The interval between two outages of a provider.
const FAULTS: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_secs(2);

/// The time after an outage during which the gate may still treat the provider as down.
const RECOVERY: Duration = Duration::from_secs(10);

pub struct World {
    pub gate: Gate,
    pub door: Door,
    pub oracle: Oracle,
    pub tally: Tally,
    pub arsenal: Arsenal,
    pub id_token: String,
    admin: SocketAddr,
    registry: Registry,
    gitlab: GitLab,
    sso: Introspection,
    issuer: OidcIssuer,
    /// The time until which a 503 is expected.
    trouble_until: Mutex<Option<Instant>>,
    _folder: TempDir,
}

impl World {
    /// Starts the stand-ins and the gate.
    pub async fn start() -> anyhow::Result<Self> {
        let (registry, gitlab) = (Registry::start(listener()?)?, GitLab::start(listener()?)?);
        let (sso, issuer) = (Introspection::start(listener()?)?, OidcIssuer::start(listener()?)?);
        registry.ledger().keep();
        for (user, password, reach) in
            [(MALLORY.0, MALLORY.1, "mallory"), (PUBLISHER.0, PUBLISHER.1, "public")]
        {
            gitlab.add(member(user, password, reach));
        }
        gitlab.set_public("public");
        let id_token = issuer.id_token(AUDIENCE, &json!({ "exp": 4_000_000_000_u64 }))?;

        let folder = tempfile::tempdir()?;
        let (certificate, key) = self_signed()?;
        let users = format!("{}:{}\n", CAROL.0, bcrypt::hash(CAROL.1, 5)?);
        for (name, content) in [
            ("tls.crt", &*certificate),
            ("tls.key", &*key),
            ("sso.secret", CLIENT_SECRET),
            ("htpasswd", &*users),
        ] {
            let file = folder.path().join(name);
            std::fs::write(&file, content)?;
            std::fs::set_permissions(file, Permissions::from_mode(0o600))?;
        }
        let (address, admin) = (free()?, free()?);
        let file = folder.path().join("moorgate.yml");
        std::fs::write(&file, config(address, admin, &registry, &gitlab, &sso, &issuer))?;

        let secrets = [
            ALICE.1,
            READER.1,
            MALLORY.1,
            PUBLISHER.1,
            CAROL.1,
            CLIENT_SECRET,
            "sso-demo-",
            "gldt-demo-",
        ];
        let mut secrets: Vec<String> = secrets.map(str::to_owned).into();
        secrets.push(id_token.rsplit('.').next().unwrap_or_default().to_owned());
        let gate = Gate::start(&file, secrets)?;
        let world = Self {
            gate,
            door: Door::new(address, &certificate)?,
            oracle: Oracle::default(),
            tally: Tally::default(),
            arsenal: Arsenal::default(),
            id_token,
            admin,
            registry,
            gitlab,
            sso,
            issuer,
            trouble_until: Mutex::default(),
            _folder: folder,
        };
        world.ready().await?;
        let arsenal = Arsenal::forge(&world).await?;
        Ok(Self { arsenal, ..world })
    }

    /// Returns the issuer of workload tokens.
    pub fn issuer(&self) -> &OidcIssuer {
        &self.issuer
    }

    /// Judges the requests that have reached the registry since the last call.
    pub fn watch_ledger(&self) {
        let arrived = Ledger::take(&self.registry.ledger());
        self.tally.forwarded(arrived.len());
        for wrong in self.oracle.judge(arrived) {
            self.tally.unauthorised(wrong);
        }
    }

    /// Returns whether a provider is down, or was down a moment ago.
    pub fn in_trouble(&self) -> bool {
        let until = *self.trouble_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the gate has closed all client connections.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.metric("moorgate_connections ").await? > 0 {
            if begun.elapsed() > PATIENCE {
                bail!("connections are left open for a minute after the last client has gone");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.parse().ok())
            .context("no such metric")
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.admin).await.is_err() || self.door.tcp().await.is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("the gate does not listen");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn expect_trouble(&self, lasts: Duration) {
        *self.trouble_until.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + lasts);
    }
}

/// Makes GitLab and the single sign-on fail in turn.
pub async fn faults(world: Arc<World>, end: Instant) {
    let mut number = 0;
    while Instant::now() + FAULTS < end {
        tokio::time::sleep(FAULTS).await;
        world.expect_trouble(OUTAGE + RECOVERY);
        let fault = |down: bool| {
            let answer = down.then_some(Scripted::Close);
            if number % 2 == 0 { world.sso.always(answer) } else { world.gitlab.always(answer) }
        };
        fault(true);
        tokio::time::sleep(OUTAGE).await;
        fault(false);
        world.tally.outage();
        number += 1;
    }
}

fn member(user: &str, password: &str, reach: &str) -> SampleCredential {
    SampleCredential {
        kind: Kind::PersonalAccessToken,
        user: user.to_owned(),
        password: password.to_owned(),
        scopes: vec![Scope::ReadRegistry, Scope::WriteRegistry],
        reach: reach.to_owned(),
        state: State::Active,
        note: String::new(),
    }
}

fn listener() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Returns an address with a port that was free a moment ago. The config needs a fixed port,
/// because the gate cannot report one that the kernel picked.
fn free() -> std::io::Result<SocketAddr> {
    listener()?.local_addr()
}

/// Returns the config. Its deadlines are short, so that silent clients reconnect often.
fn config(
    address: SocketAddr,
    admin: SocketAddr,
    registry: &Registry,
    gitlab: &GitLab,
    sso: &Introspection,
    issuer: &OidcIssuer,
) -> String {
    format!(
        "version: 1
http:
  addr: {address}
  external_url: https://localhost:{port}
  tls: {{ certificate: tls.crt, key: tls.key }}
  trusted_proxies: [127.0.0.0/24]
  handshake_timeout: 3s
  header_timeout: 3s
  idle_timeout: 4s
  stall_timeout: 3s
  drain_timeout: 10s
admin: {{ addr: \"{admin}\" }}
upstream: {{ urls: [\"http://{registry}\"] }}
identity:
  - {{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry, write_registry] }}
  - name: workloads
    type: jwt
    issuer: {issuer}
    jwks_url: {jwks}
    audience: {AUDIENCE}
    required_claims: {{ namespace_id: [\"42\"] }}
    scopes: [read_registry, write_registry]
  - name: sso
    type: introspection
    url: {sso}
    client_id: {CLIENT_ID}
    client_secret_file: sso.secret
    accepts: {{ prefixes: [sso-] }}
    timeout: 10s
  - {{ name: gitlab, type: gitlab, url: \"http://{gitlab}\", anonymous: true, timeout: 10s }}
cache: {{ ttl: 10s, negative_ttl: 2s }}
# So many that they seldom refuse: what is behind them is to be tried, too.
limits:
  per_client: {{ rate: 500/s, burst: 1000 }}
  per_identity: {{ rate: 500/s, burst: 1000 }}
  pulls_per_identity: {{ rate: 100000/h, burst: 100000 }}
  concurrent_uploads_per_identity: 50
log: {{ access: stdout }}
",
        port = address.port(),
        registry = registry.address(),
        issuer = issuer.url(),
        jwks = issuer.jwks_url(),
        sso = sso.url(),
        gitlab = gitlab.address(),
    )
}
