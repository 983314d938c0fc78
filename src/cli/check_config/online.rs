//! `check-config --online`: asks the registry and every provider, all at once, and says what each
//! answered.
//!
//! No credential of a user is sent: there is none, and a wrong one could be counted against the
//! gate's address.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::answer::{Expected, Fault, Shown};
use crate::config::{
    Config, Endpoint, JwksSource, Loaded, Problem, Provider, ProviderHttp, ProviderKind, Upstream,
    UpstreamAuthorization,
};
use crate::identity::model::credential::basic;
use crate::identity::provider::gitlab;
use crate::identity::provider::introspection::client_authorization;
use crate::identity::provider::jwks::MAX_JWKS_BYTES;
use crate::identity::provider::registry_token;
use crate::run;

/// A server to ask.
struct Check {
    /// What the line about it begins with.
    name: String,
    /// Its section in the config.
    section: String,
    /// `None`: there is nobody to ask.
    question: Option<ProviderProbe>,
}

struct ProviderProbe {
    server: ProviderHttp,
    request: Option<Request<Full<Bytes>>>,
    expected: Expected,
}

/// What became of a check, and how long it took.
type Outcome = (Result<String, Fault>, Duration);

/// Says of each server what it answered: what is right on `stdout`, what is wrong on `stderr`.
/// Returns whether all is.
pub(super) fn check(
    loaded: &Loaded,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<bool> {
    let checks = checks(&loaded.config);
    let longest =
        checks.iter().filter_map(|check| Some(check.question.as_ref()?.server.timeout)).max();
    let longest = humantime::format_duration(longest.unwrap_or_default());
    let servers = checks.iter().filter(|check| check.question.is_some()).count();
    writeln!(
        stdout,
        "asking {servers} server{}, {longest} at most",
        if servers == 1 { "" } else { "s" }
    )?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked: Vec<_> = checks.into_iter().map(Check::start).collect();
        let mut all_right = true;
        for (name, section, answer) in asked {
            let Some(answer) = answer else {
                writeln!(stdout, "{name}: nobody to ask")?;
                continue;
            };
            let (result, took) = answer.await.map_err(io::Error::other)?;
            match result {
                Ok(what) => writeln!(stdout, "{name}: {what} in {} ms", took.as_millis())?,
                Err(Fault { key, message }) => {
                    all_right = false;
                    let Problem { place, message } =
                        loaded.problem(&format!("{section}.{key}"), message);
                    writeln!(stderr, "{place}: {message}")?;
                }
            }
        }
        Ok(all_right)
    })
}

impl Check {
    /// Asks in a task of its own, so that no server waits for another.
    fn start(self) -> (String, String, Option<JoinHandle<Outcome>>) {
        let Self { name, section, question } = self;
        let answer = question.map(|question| {
            tokio::spawn(async move {
                let begun = Instant::now();
                (question.ask().await, begun.elapsed())
            })
        });
        (name, section, answer)
    }
}

impl ProviderProbe {
    async fn ask(self) -> Result<String, Fault> {
        let Self { server, request, expected } = self;
        let client = run::provider_client(&server).map_err(|error| {
            Fault::new(
                "ca",
                format!(
                    "whom to trust cannot be read ({error}); install ca-certificates, or name a ca"
                ),
            )
        })?;
        let request = request.ok_or_else(|| expected.unaskable())?;
        let reply = match expected {
            Expected::Keys => client.ask_for(MAX_JWKS_BYTES, request).await,
            _ => client.ask(request).await,
        };
        match reply {
            Ok(reply) => expected.judge(&reply),
            Err(error) => Err(expected.unreached(&error)),
        }
    }
}

fn checks(config: &Config) -> Vec<Check> {
    let providers =
        config.identity.iter().enumerate().map(|(index, Provider { name, kind, .. })| {
            let section = format!("identity[{index}]");
            Check { name: format!("{section} {name}"), question: question(kind), section }
        });
    [upstream(&config.upstream)].into_iter().chain(providers).collect()
}

fn upstream(upstream: &Upstream) -> Check {
    let url = run::url(&upstream.endpoint);
    let mut request = get(&format!("{url}/v2/"));
    let shown = match &upstream.authorization {
        UpstreamAuthorization::Strip => Shown::Nothing,
        UpstreamAuthorization::Basic { username, password } => {
            request = authorized(request, basic(username, password));
            Shown::Password
        }
        UpstreamAuthorization::Grant => Shown::Grants,
    };
    let server = ProviderHttp {
        endpoint: upstream.endpoint.clone(),
        timeout: upstream.connect_timeout + upstream.response_timeout,
    };
    let expected = Expected::Registry(shown);
    let question = ProviderProbe { server, request: request.body(Full::default()).ok(), expected };
    Check {
        name: format!("upstream {url}"),
        section: "upstream".to_owned(),
        question: Some(question),
    }
}

/// What can be asked of a provider without a credential of a user; `None` where it decides by what
/// it has read.
fn question(kind: &ProviderKind) -> Option<ProviderProbe> {
    let (server, request, expected) = match kind {
        ProviderKind::Gitlab { http, service, .. } => {
            let realm = gitlab::realm(&run::url(&http.endpoint));
            (
                http,
                token(&realm, service).body(Full::default()),
                Expected::GitLab { service: service.clone() },
            )
        }
        ProviderKind::RegistryToken { http, service } => {
            let request = token(&run::url(&http.endpoint), service).body(Full::default());
            (http, request, Expected::TokenServer { service: service.clone() })
        }
        ProviderKind::Introspection { http, client_id, client_secret, .. } => {
            let request = introspection(&http.endpoint, client_id, client_secret);
            (http, request, Expected::Introspection { client_id: client_id.clone() })
        }
        ProviderKind::Jwt { keys: JwksSource::Url(http), .. } => {
            (http, get(&run::url(&http.endpoint)).body(Full::default()), Expected::Keys)
        }
        ProviderKind::Jwt { keys: JwksSource::File(_), .. } | ProviderKind::Htpasswd { .. } => {
            return None;
        }
    };
    Some(ProviderProbe { server: server.clone(), request: request.ok(), expected })
}

fn get(url: &str) -> Builder {
    Request::get(url).header(header::ACCEPT, "application/json")
}

/// A question to a token server that proves nobody, and asks for nothing.
fn token(realm: &str, service: &str) -> Builder {
    get(&registry_token::endpoint(realm, service))
}

/// Asks about a token that nobody has issued.
fn introspection(
    endpoint: &Endpoint,
    id: &str,
    secret: &SecretString,
) -> http::Result<Request<Full<Bytes>>> {
    let request = Request::post(run::url(endpoint))
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let token = format!("token=check-{:032x}&token_type_hint=access_token", fastrand::u128(..));
    authorized(request, client_authorization(id, secret)).body(token.into_bytes().into())
}

fn authorized(request: Builder, authorization: Option<HeaderValue>) -> Builder {
    match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    }
}
