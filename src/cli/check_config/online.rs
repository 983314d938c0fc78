//! `check-config --online`: asks the registry, every provider and Redis at the same time, and
//! reports their answers.
//!
//! The check does not send a user's credential. It has none, and a provider could count a wrong one
//! against the gate's address.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::answer::{ExpectedAnswer, Fault, Shown};
use super::upload::UploadProbe;
use crate::config::{Config, Loaded, Problem, Provider, UpstreamAuthorization, UpstreamConfig};
use crate::http_client::{HttpClient, HttpServer};
use crate::identity::model::credential::basic;
use crate::identity::provider::ProviderSettings;
use crate::identity::provider::gitlab::GitLabSettings;
use crate::identity::provider::introspection::{IntrospectionSettings, client_authorization};
use crate::identity::provider::jwks::MAX_JWKS_BYTES;
use crate::identity::provider::jwt::{JwksSource, JwtSettings};
use crate::identity::provider::registry_token::{self, RegistryTokenSettings};
use crate::net::client_tls;
use crate::net::endpoint::Endpoint;
use crate::redis_link::{self, RedisSettings};

/// A server to ask.
struct Check {
    /// The start of the output line about the server.
    name: String,
    /// The section of the server in the config.
    section: String,
    /// The question to ask. `None` if the provider does not use a server.
    question: Option<ServerProbe>,
}

enum ServerProbe {
    Http(Box<ProviderProbe>),
    Redis(Box<RedisSettings>),
}

struct ProviderProbe {
    server: HttpServer,
    request: Option<Request<Full<Bytes>>>,
    expected: ExpectedAnswer,
    /// The next question after a valid answer of a registry.
    then: Option<UploadProbe>,
    client: io::Result<HttpClient>,
}

/// The result of a check, and its duration.
type Outcome = (Result<String, Fault>, Duration);

/// Reports the answer of each server: right answers on `stdout`, problems on `stderr`. Returns
/// whether all answers are right.
pub(super) fn check(
    loaded: &Loaded,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<bool> {
    let checks = checks(&loaded.config);
    let longest = checks.iter().filter_map(|check| Some(check.question.as_ref()?.limit())).max();
    let longest = humantime::format_duration(longest.unwrap_or_default());
    let servers = checks.iter().filter(|check| check.question.is_some()).count();
    writeln!(
        stdout,
        "asking {servers} server{}, for at most {longest}",
        if servers == 1 { "" } else { "s" }
    )?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked: Vec<_> = checks.into_iter().map(Check::start).collect();
        let mut all_right = true;
        for (name, section, answer) in asked {
            let Some(answer) = answer else {
                writeln!(stdout, "{name}: no server to ask")?;
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
    /// Asks in a separate task, so that the servers are asked at the same time.
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

impl ServerProbe {
    /// Returns the longest time until the answer.
    fn limit(&self) -> Duration {
        match self {
            Self::Http(probe) => probe.server.timeout,
            Self::Redis(settings) => redis_link::connect_limit(settings),
        }
    }

    async fn ask(self) -> Result<String, Fault> {
        match self {
            Self::Http(probe) => probe.ask().await,
            Self::Redis(settings) => match redis_link::check(*settings).await {
                Ok(()) => Ok("a key was written and read".to_owned()),
                Err(fault) => Err(Fault::new(fault.key, fault.to_string())),
            },
        }
    }
}

impl ProviderProbe {
    async fn ask(self) -> Result<String, Fault> {
        let Self { server, request, expected, then, client } = self;
        let deadline = tokio::time::Instant::now() + server.timeout;
        let client = client.map_err(|error| {
            Fault::new(
                "ca",
                format!(
                    "the system's certificate authorities cannot be read ({error}); install \
                     ca-certificates, or set ca"
                ),
            )
        })?;
        let request = request.ok_or_else(|| expected.unaskable())?;
        let reply = match expected {
            ExpectedAnswer::Keys => client.ask_for(MAX_JWKS_BYTES, request).await,
            _ => client.ask(request).await,
        };
        let what = match reply {
            Ok(reply) => expected.judge(&reply)?,
            Err(error) => return Err(expected.unreached(&error)),
        };
        let Some(then) = then else { return Ok(what) };
        // The whole check of a server lasts no longer than one question.
        let uploads = match tokio::time::timeout_at(deadline, then.ask(&client)).await {
            Ok(uploads) => uploads?,
            Err(_) => "uploads not checked: no answer in time".to_owned(),
        };
        Ok(format!("{what}, {uploads},"))
    }
}

fn checks(config: &Config) -> Vec<Check> {
    let providers =
        config.identity.iter().enumerate().map(|(index, Provider { name, settings, .. })| {
            let section = format!("identity[{index}]");
            Check { name: format!("{section} {name}"), question: question(settings), section }
        });
    let redis = config.redis.as_ref().map(|settings| Check {
        name: "redis".to_owned(),
        section: "redis".to_owned(),
        question: Some(ServerProbe::Redis(Box::new(settings.clone()))),
    });
    [upstream(config)].into_iter().chain(providers).chain(redis).collect()
}

fn upstream(config: &Config) -> Check {
    let upstream = &config.upstream;
    let url = upstream.endpoint.url();
    let mut request = get(&format!("{}/v2/", url.trim_end_matches('/')));
    let shown = match &upstream.authorization {
        UpstreamAuthorization::Strip => Shown::Nothing,
        UpstreamAuthorization::Basic { username, password } => {
            request = authorized(request, basic(username, password));
            Shown::Password
        }
        UpstreamAuthorization::Token { .. } => Shown::Challenged,
        UpstreamAuthorization::Grant => Shown::Grants,
    };
    let server = HttpServer {
        endpoint: upstream.endpoint.clone(),
        timeout: upstream.connect_timeout + upstream.response_timeout,
    };
    let expected = ExpectedAnswer::Registry(shown);
    let request = request.body(Full::default()).ok();
    let then = Some(UploadProbe::of(config));
    let client = upstream_client(upstream, server.timeout);
    let question =
        ServerProbe::Http(Box::new(ProviderProbe { server, request, expected, then, client }));
    Check {
        name: format!("upstream {url}"),
        section: "upstream".to_owned(),
        question: Some(question),
    }
}

/// Returns the question that a provider can be asked without a user's credential. Returns `None` if
/// the provider decides with data that it has read from files.
fn question(settings: &ProviderSettings) -> Option<ServerProbe> {
    let (server, request, expected) = match settings {
        ProviderSettings::GitLab(gitlab) => {
            let GitLabSettings { server, service, .. } = gitlab;
            (
                server,
                token(&gitlab.realm(), service).body(Full::default()),
                ExpectedAnswer::GitLab { service: service.clone() },
            )
        }
        ProviderSettings::RegistryToken(RegistryTokenSettings { server, service }) => {
            let request = token(&server.endpoint.url(), service).body(Full::default());
            (server, request, ExpectedAnswer::TokenServer { service: service.clone() })
        }
        ProviderSettings::Introspection(IntrospectionSettings {
            server,
            client_id,
            client_secret,
            ..
        }) => {
            let request = introspection(&server.endpoint, client_id, client_secret);
            (server, request, ExpectedAnswer::Introspection { client_id: client_id.clone() })
        }
        ProviderSettings::Jwt(JwtSettings { keys: JwksSource::Url(server), .. }) => {
            (server, get(&server.endpoint.url()).body(Full::default()), ExpectedAnswer::Keys)
        }
        ProviderSettings::Jwt(JwtSettings { keys: JwksSource::File(_), .. })
        | ProviderSettings::Htpasswd(_) => {
            return None;
        }
    };
    let client = HttpClient::for_server(server);
    Some(ServerProbe::Http(Box::new(ProviderProbe {
        server: server.clone(),
        request: request.ok(),
        expected,
        then: None,
        client,
    })))
}

/// Returns a client that reaches the registry in the way of the gate.
fn upstream_client(upstream: &UpstreamConfig, timeout: Duration) -> io::Result<HttpClient> {
    let roots = upstream.endpoint.trusted_roots()?;
    let tls = client_tls::config_with(roots, upstream.client_certificate.as_ref())?;
    Ok(HttpClient::with_way(tls, timeout, upstream.way.clone()))
}

fn get(url: &str) -> Builder {
    Request::get(url).header(header::ACCEPT, "application/json")
}

/// Creates a question to a token server, without a credential and without a scope.
fn token(realm: &str, service: &str) -> Builder {
    get(&registry_token::endpoint(realm, service))
}

/// Creates a question about a token that was never issued.
fn introspection(
    endpoint: &Endpoint,
    id: &str,
    secret: &SecretString,
) -> http::Result<Request<Full<Bytes>>> {
    let request = Request::post(endpoint.url())
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
