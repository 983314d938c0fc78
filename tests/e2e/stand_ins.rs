//! The stand-ins for identity providers in a process of their own, for tests in another language.
//!
//! `stand_ins --audience AUDIENCE` starts one of each on ports that the kernel picks, and prints
//! where they are, with credentials for each, as one line of JSON. Then it answers commands, one a
//! line, by one line of JSON each:
//!
//! - `stop NAME`: that one cannot be reached any more. NAME is `gitlab`, `introspection` or
//!   `issuer`;
//! - `start NAME`: it is back on the same port, knowing what it knew at first;
//! - `public GROUP`: whoever asks GitLab may pull from this group or project, until it is stopped;
//! - `ledger NAME`: every secret that it was ever shown;
//! - `id_token AUDIENCE SECONDS`: a new token of the issuer, which lives for so many seconds;
//! - `quit`, or the end of the input.

use std::io::{Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use moorgate::demo::Ledger;
use moorgate::demo::gitlab::{
    self, GitLab, Kind, SampleCredential, Scope, State, sample_credentials,
};
use moorgate::demo::introspection::{self, CLIENT_ID, CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::{Fetch, OidcIssuer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// How long the printed token lives: longer than any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// User name and password of who may read and write the group `neighbours`, and nothing in the
/// samples' group.
const NEIGHBOUR: (&str, &str) = ("bob", "glpat-neighbour-read-write");

/// User name and password of an account, which may read and write the samples' group.
const ACCOUNT: (&str, &str) = ("dave", "correct horse battery staple");

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some("--audience"), Some(audience)) = (arguments.next().as_deref(), arguments.next())
    else {
        bail!("usage: stand_ins --audience AUDIENCE");
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let mut stand_ins = StandIns::start()?;
    say(&stand_ins.introduction(&audience)?)?;
    for line in stdin().lines() {
        let line = line?;
        if line == "quit" {
            break;
        }
        let answer = runtime.block_on(stand_ins.obey(&line));
        say(&answer.unwrap_or_else(|error| json!({ "error": format!("{line}: {error:#}") })))?;
    }
    Ok(())
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{answer}")?;
    stdout.flush()
}

struct StandIns {
    gitlab: Place<GitLab, gitlab::Question>,
    introspection: Place<Introspection, introspection::Question>,
    issuer: Place<OidcIssuer, Fetch>,
}

/// Where a stand-in is, or was and will be again.
struct Place<S, Q> {
    address: SocketAddr,
    running: Option<S>,
    /// One of each that has run here.
    ledgers: Vec<Arc<Ledger<Q>>>,
}

impl StandIns {
    fn start() -> anyhow::Result<Self> {
        let mut stand_ins =
            Self { gitlab: Place::new()?, introspection: Place::new()?, issuer: Place::new()? };
        for name in ["gitlab", "introspection", "issuer"] {
            stand_ins.start_one(name)?;
        }
        Ok(stand_ins)
    }

    async fn obey(&mut self, line: &str) -> anyhow::Result<Value> {
        match line.split_once(' ').context("no such command")? {
            ("start", name) => self.start_one(name).map(|()| json!({ "started": name })),
            ("stop", name) => self.stop_one(name).await.map(|()| json!({ "stopped": name })),
            ("public", group) => {
                self.gitlab.running()?.set_public(group);
                Ok(json!({ "public": group }))
            }
            ("ledger", name) => Ok(json!({ "ledger": self.secrets(name)? })),
            ("id_token", of) => {
                let (audience, seconds) = of.split_once(' ').context("AUDIENCE SECONDS")?;
                let lives = Duration::from_secs(seconds.parse()?);
                Ok(json!({ "id_token": self.id_token(audience, lives)? }))
            }
            _ => bail!("no such command"),
        }
    }

    fn start_one(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "gitlab" => self.gitlab.start(start_gitlab, GitLab::ledger),
            "introspection" => {
                self.introspection.start(Introspection::start, Introspection::ledger)
            }
            "issuer" => self.issuer.start(OidcIssuer::start, OidcIssuer::ledger),
            _ => bail!("no such stand-in"),
        }
    }

    async fn stop_one(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "gitlab" => self.gitlab.take()?.shutdown().await,
            "introspection" => self.introspection.take()?.shutdown().await,
            "issuer" => self.issuer.take()?.shutdown().await,
            _ => bail!("no such stand-in"),
        }
        Ok(())
    }

    fn secrets(&self, name: &str) -> anyhow::Result<Vec<String>> {
        Ok(match name {
            "gitlab" => self.gitlab.secrets(|question| question.secret.iter().collect()),
            // What the gate says of itself is not what callers entrust to it.
            "introspection" => {
                self.introspection.secrets(|question| question.token.iter().collect())
            }
            "issuer" => self.issuer.secrets(|fetch| fetch.authorization.iter().collect()),
            _ => bail!("no such stand-in"),
        })
    }

    fn introduction(&self, audience: &str) -> anyhow::Result<Value> {
        let (gitlab, introspection) = (self.gitlab.running()?, self.introspection.running()?);
        let issuer = self.issuer.running()?;
        Ok(json!({
            "gitlab": {
                "url": format!("http://{}", gitlab.address()),
                "certificate": gitlab.certificate()?,
                "jwks": gitlab.jwks(),
            },
            "introspection": {
                "url": introspection.url(),
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
            },
            "issuer": { "url": issuer.url(), "jwks_url": issuer.jwks_url() },
            "credentials": {
                "gitlab_read_write": gitlab_login(Kind::PersonalAccessToken, true)?,
                "gitlab_read_only": gitlab_login(Kind::PersonalAccessToken, false)?,
                "gitlab_of_another_group": [NEIGHBOUR.0, NEIGHBOUR.1],
                "gitlab_account": [ACCOUNT.0, ACCOUNT.1],
                "deploy_token": gitlab_login(Kind::DeployToken, true)?,
                "sso_read_write": ["sso", "sso-demo-read-write"],
                "sso_read_only": ["sso", "sso-demo-read-only"],
                "id_token": ["oidc", self.id_token(audience, TOKEN_LIFETIME)?],
            },
        }))
    }

    fn id_token(&self, audience: &str, lives: Duration) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let claims = json!({ "iat": now, "exp": now + lives.as_secs() });
        Ok(self.issuer.running()?.id_token(audience, &claims)?)
    }
}

impl<S, Q> Place<S, Q> {
    fn new() -> anyhow::Result<Self> {
        // Taken and given back: a stand-in that comes back binds its port anew as well.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self { address, running: None, ledgers: Vec::new() })
    }

    fn start(
        &mut self,
        start: impl Fn(TcpListener) -> std::io::Result<S>,
        ledger: impl Fn(&S) -> Arc<Ledger<Q>>,
    ) -> anyhow::Result<()> {
        if self.running.is_some() {
            bail!("it runs already");
        }
        let stand_in = start(TcpListener::bind(self.address)?)?;
        let ledger = ledger(&stand_in);
        ledger.keep();
        self.ledgers.push(ledger);
        self.running = Some(stand_in);
        Ok(())
    }

    fn running(&self) -> anyhow::Result<&S> {
        self.running.as_ref().context("it does not run")
    }

    fn take(&mut self) -> anyhow::Result<S> {
        self.running.take().context("it does not run")
    }

    fn secrets(&self, of: impl Fn(&Q) -> Vec<&SecretString>) -> Vec<String> {
        let entries: Vec<_> = self.ledgers.iter().flat_map(|ledger| ledger.entries()).collect();
        entries
            .iter()
            .flat_map(|entry| of(entry))
            .map(|secret| secret.expose_secret().to_owned())
            .collect()
    }
}

/// A GitLab that also knows somebody of another group than that of the samples, and the password of
/// an account.
fn start_gitlab(listener: TcpListener) -> std::io::Result<GitLab> {
    let gitlab = GitLab::start(listener)?;
    let both = vec![Scope::ReadRegistry, Scope::WriteRegistry];
    for (kind, (user, password), scopes, reach) in [
        (Kind::PersonalAccessToken, NEIGHBOUR, both, "neighbours"),
        (Kind::AccountPassword, ACCOUNT, vec![Scope::Api], "demo"),
    ] {
        gitlab.add(SampleCredential {
            kind,
            user: user.into(),
            password: password.into(),
            scopes,
            reach: reach.into(),
            state: State::Active,
            note: String::new(),
        });
    }
    Ok(gitlab)
}

/// User name and password of a good sample of this kind.
fn gitlab_login(kind: Kind, may_write: bool) -> anyhow::Result<[String; 2]> {
    let fits = |scopes: &[Scope]| scopes.contains(&Scope::WriteRegistry) == may_write;
    let mut samples = sample_credentials().into_iter();
    let sample = samples
        .find(|sample| sample.kind == kind && sample.state == State::Active && fits(&sample.scopes))
        .context("no such sample")?;
    Ok([sample.user, sample.password])
}
