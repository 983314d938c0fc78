//! The check of the addresses that the registry gives to uploads. No read shows them, and every
//! push fails if the registry builds them from another name than the gate's. The check therefore
//! begins an upload and cancels it.

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;

use super::answer::{Fault, cut};
use crate::config::{Config, Scheme, UpstreamAuthorization};
use crate::http_client::{HttpClient, Reply};
use crate::identity::model::credential::basic;
use crate::net::host_list::HostList;
use crate::registry::{RegistryRequest, RepositoryName};
use crate::run;
use crate::terminal::printable;
use crate::upstream::{Origins, RegistryTokens};

/// The repository of the upload. No other program uses this name.
const PROBE: &str = "moorgate-check-config/probe";

/// The facts about the registry that are known before an upload begins.
pub(super) enum UploadProbe {
    /// The registry expects a token that only a request of a user has.
    NeedsGrant,
    /// The registry asks for a token, which the check gets.
    NeedsToken(Box<TokenProbe>),
    Ask(Box<Probe>),
}

pub(super) struct TokenProbe {
    /// The address of the registry, as the config has it.
    url: String,
    tokens: anyhow::Result<RegistryTokens>,
    origins: Origins,
}

pub(super) struct Probe {
    /// The address of the registry, as the config has it.
    url: String,
    /// The path behind which the registry's `/v2/` lies.
    base: String,
    /// The hosts beside the registry's own to which it may lead an upload.
    upload_hosts: HostList,
    /// The `host[:port]` names under which the registry may lead an upload back to the gate.
    origins: [String; 2],
    forwarded_proto: &'static str,
    authorization: Option<HeaderValue>,
}

impl UploadProbe {
    pub(super) fn of(config: &Config) -> Self {
        let upstream = &config.upstream;
        let authorization = match &upstream.authorization {
            UpstreamAuthorization::Strip => None,
            UpstreamAuthorization::Basic { username, password } => basic(username, password),
            UpstreamAuthorization::Token { .. } => {
                return Self::NeedsToken(Box::new(TokenProbe {
                    url: upstream.endpoint.url(),
                    tokens: run::registry_tokens(config),
                    origins: run::registry_origins(config),
                }));
            }
            UpstreamAuthorization::Grant => return Self::NeedsGrant,
        };
        let external = &config.http.external_url;
        Self::Ask(Box::new(Probe {
            url: upstream.endpoint.origin(),
            base: upstream.endpoint.path.trim_end_matches('/').to_owned(),
            upload_hosts: upstream.upload_hosts.clone(),
            origins: [external.authority.clone(), upstream.endpoint.authority()],
            forwarded_proto: if external.scheme == Scheme::Https { "https" } else { "http" },
            authorization,
        }))
    }

    /// Begins an upload, judges its address and cancels it. Returns words for the output line.
    pub(super) async fn ask(self, client: &HttpClient) -> Result<String, Fault> {
        match self {
            Self::NeedsGrant => Ok("uploads not checked: authorization: grant needs the token of \
                                    a user"
                .to_owned()),
            Self::NeedsToken(probe) => probe.ask(client).await,
            Self::Ask(probe) => probe.ask(client).await,
        }
    }
}

impl TokenProbe {
    /// Asks for the registry's challenge, and then the token server for a token without a scope.
    async fn ask(self, client: &HttpClient) -> Result<String, Fault> {
        let fault = |message: String| Fault::new("authorization", message);
        let tokens = self.tokens.map_err(|error| fault(format!("{error:#}")))?;
        let url = format!("{}/v2/", self.url.trim_end_matches('/'));
        let request = Request::get(url).body(Full::default());
        let request = request.map_err(|error| fault(error.to_string()))?;
        let reply = client.ask(request).await.map_err(|error| fault(error.to_string()))?;
        if reply.status == StatusCode::OK {
            return Ok("asks for no token".to_owned());
        }
        tokens.check(&reply.headers, &self.origins).await.map_err(fault)
    }
}

impl Probe {
    async fn ask(&self, client: &HttpClient) -> Result<String, Fault> {
        let begin = format!("{}/v2/{PROBE}/blobs/uploads/", self.base);
        let reply = match self.request(Method::POST, &begin) {
            Some(request) => client.ask(request).await,
            None => return Ok("uploads not checked".to_owned()),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                let why = printable(&error.to_string()).into_owned();
                return Ok(format!("uploads not checked: the start of one failed ({why})"));
            }
        };
        let judged = self.judge(&reply);
        if let (StatusCode::ACCEPTED, Some(path)) = (reply.status, self.path_of_upload(&reply))
            && let Some(request) = self.request(Method::DELETE, &format!("{}{path}", self.base))
        {
            // An upload that stays is removed by the registry itself after some days.
            let _ = client.ask(request).await;
        }
        judged
    }

    /// Creates a request with the headers that the gate sends.
    fn request(&self, method: Method, path: &str) -> Option<Request<Full<Bytes>>> {
        let request: Builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("x-forwarded-proto", self.forwarded_proto)
            .header("x-forwarded-host", &*self.origins[0])
            .header(header::CONTENT_TYPE, "application/octet-stream");
        let request = match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        };
        request.body(Full::default()).ok()
    }

    fn judge(&self, reply: &Reply) -> Result<String, Fault> {
        let wrong = |message: String| Err(Fault::new("urls[0]", message));
        let status = reply.status.as_u16();
        if reply.status.is_redirection() {
            return wrong(format!(
                "it answers {status}, a redirect, to the start of an upload, and the gate passes \
                 no redirect of a write, so every push fails; write the address to which the \
                 redirect leads"
            ));
        }
        if reply.status != StatusCode::ACCEPTED {
            return Ok(format!(
                "uploads not checked: the registry answers {status} to the start of one"
            ));
        }
        let Some(location) = location(reply) else {
            return wrong(
                "it answers 202 to the start of an upload without a Location, so every push \
                 fails; write the address of the registry itself"
                    .to_owned(),
            );
        };
        if let Some(authority) = authority_of(&location)
            && !self.is_own(&location, &authority)
        {
            if self.is_listed(&location) {
                let authority = printable(&cut(&authority)).into_owned();
                return Ok(format!("uploads lead to {authority}, which upload_hosts lists"));
            }
            return wrong(format!(
                "it leads uploads to `{}`, which is neither its own address (`{}`) nor that of \
                 http.external_url (`{}`), so every push fails with 502; correct the host that the \
                 registry is configured with (in Distribution http.host), or remove it there, so \
                 that it takes the host of the request; if uploads belong there, list the host in \
                 upstream.upload_hosts",
                printable(&cut(&authority)),
                printable(&self.origins[1]),
                printable(&self.origins[0]),
            ));
        }
        if self.path_of_upload(reply).is_none() {
            if self.target(&location).is_some_and(|target| !target.starts_with("/v2/")) {
                return Ok("uploads lead to another path, which the gate seals".to_owned());
            }
            return wrong(format!(
                "it leads an upload of `{PROBE}` to `{}`, which is not an address of an upload of \
                 that repository, so every push fails with 502; write the address of the registry \
                 itself",
                printable(&cut(location.split('?').next().unwrap_or_default()))
            ));
        }
        Ok("uploads lead back to the gate".to_owned())
    }

    /// Returns whether an absolute address is of a host in `upload_hosts`.
    fn is_listed(&self, location: &str) -> bool {
        let Ok(address) = location.parse::<Uri>() else { return false };
        let default_port = if location.starts_with("https:") { 443 } else { 80 };
        let port = address.port_u16().unwrap_or(default_port);
        address.host().is_some_and(|host| self.upload_hosts.lists_port(host, port))
    }

    /// Returns the path and query of an address, without the path of the registry.
    fn target(&self, location: &str) -> Option<String> {
        let target = match authority_of(location) {
            None => location.to_owned(),
            Some(_) => location.parse::<Uri>().ok()?.path_and_query()?.as_str().to_owned(),
        };
        let rest = target.strip_prefix(&*self.base).filter(|rest| rest.starts_with("/v2/"));
        Some(rest.map_or_else(|| target.clone(), str::to_owned))
    }

    /// Returns the path and query of the upload's address, without the path of the registry, if it
    /// is an upload of the probe's repository.
    fn path_of_upload(&self, reply: &Reply) -> Option<String> {
        let target = self.target(&location(reply)?)?;
        let (path, query) =
            target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let upload = RegistryRequest::parse(&Method::DELETE, path, query).ok()?;
        let of_probe = upload.repository().map(RepositoryName::as_str) == Some(PROBE);
        (of_probe && matches!(upload, RegistryRequest::UploadCancel { .. })).then_some(target)
    }

    /// Returns whether an absolute address is of a host that the gate takes for the registry.
    fn is_own(&self, location: &str, authority: &str) -> bool {
        let default_port = if location.starts_with("https:") { ":443" } else { ":80" };
        let short = authority.strip_suffix(default_port).unwrap_or(authority);
        self.origins.iter().any(|origin| {
            origin.eq_ignore_ascii_case(authority) || origin.eq_ignore_ascii_case(short)
        })
    }
}

fn location(reply: &Reply) -> Option<String> {
    let mut values = reply.headers.get_all(header::LOCATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok().map(str::to_owned)
}

/// Returns the host of an address that is not a path of the same host.
fn authority_of(location: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return None;
    }
    let rest = location.split_once("//").map_or(location, |(_, rest)| rest);
    Some(rest.split(['/', '?']).next().unwrap_or_default().to_owned())
}
