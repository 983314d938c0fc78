//! Builds the ready configuration from the raw one: checks what the values mean together, and reads
//! the files that they name.
//!
//! Every function collects problems and continues, so that one run reports all of them. A missing
//! required value was reported when the file was read, and is skipped here.

mod chain;
mod doubts;
mod files;
mod foreign;
mod identity;
mod limits;
mod log;
mod policy;
mod redis;
mod telemetry;
mod tls;
mod tokens;
mod upstream;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::format::{Network, Workers};
use super::named_file::FileVersion;
use super::problem::{Place, Problem, shown};
use super::raw::{self, Raw, ScopeList};
use super::ready::{AdminConfig, Config, Http};
use super::shape::{Places, place_of};
use super::url::{Scheme, ServerUrl};
use crate::identity::cache::CacheLimits;
use crate::net::endpoint::Endpoint;
use crate::policy::RequiredScopes;

/// The allowed values of `http.max_header_bytes`. With a smaller limit, the cookies of a proxy in
/// front do not fit; with a larger one, a flood of requests takes a lot of memory.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = (4 << 10)..=(256 << 10);

/// The smallest length of the admin secret, in bytes. A shorter secret could be guessed.
const MIN_ADMIN_TOKEN_BYTES: usize = 16;

/// The need for the log files of a configuration.
#[derive(Clone, Copy)]
pub(super) enum LogFiles<'a> {
    /// The gate will open them.
    Needed,
    /// A running gate has these files open. That one of them cannot be opened again is a warning.
    Open(&'a [PathBuf]),
    /// The command writes no log, so a file that cannot be written is a warning.
    Unneeded,
}

/// The need for the files that a configuration names, except for log files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedFiles {
    /// A file that cannot be read is a problem.
    Needed,
    /// A file that is not there, or that this user may not read, is a warning: the configuration is
    /// checked on another machine than the gate's.
    Elsewhere,
}

/// The builder of the ready configuration, which collects the problems.
pub(super) struct Build<'a> {
    /// The folder from which relative paths start.
    pub(super) folder: &'a Path,
    /// The place of each value.
    pub(super) places: &'a Places,
    /// The start of the configuration file.
    pub(super) start: &'a Place,
    /// The need for the log files.
    pub(super) log_files: LogFiles<'a>,
    /// The need for the other files that the configuration names.
    pub(super) named_files: NamedFiles,
    /// The problems that stop the gate from starting.
    pub(super) problems: Vec<Problem>,
    /// The problems that the operator should know of, but that do not stop the gate from starting.
    pub(super) warnings: Vec<Problem>,
    /// Every file that was read, or that could not be read.
    pub(super) files: Vec<FileVersion>,
}

impl Build<'_> {
    /// Builds the configuration. Returns `None` if a part of it cannot be built. The result must
    /// not be used if [`problems`](Self::problems) is not empty.
    pub(super) fn config(&mut self, raw: &Raw) -> Option<Config> {
        let http = self.http(&raw.http);
        let admin = self.admin(&raw.admin, &raw.http);
        let providers = raw.identity.as_deref().unwrap_or_default();
        let upstream = self.upstream(&raw.upstream, providers);
        let identity = self.identity(providers, &raw.scopes);
        let policy = self.policy(raw);
        let tokens = self.tokens(&raw.tokens, providers);
        let limits = self.limits(raw);
        let redis = self.redis(raw);
        let log = self.log(&raw.log);
        let telemetry = self.telemetry(&raw.telemetry);
        if let (Some(identity), Some(policy), Some(limits)) = (&identity, &policy, &limits) {
            self.warn_of_doubtful_entries(raw, identity, &policy.rules, &limits.overrides);
        }
        Some(Config {
            http: http?,
            admin,
            upstream: upstream?,
            identity: identity?,
            scopes: scopes(&raw.scopes),
            policy: policy?,
            tokens: tokens?,
            cache: cache(&raw.cache),
            limits: limits?,
            redis: redis?,
            log,
            telemetry,
        })
    }

    fn http(&mut self, raw: &raw::HttpSection) -> Option<Http> {
        let tls = match &raw.tls {
            Some(tls) => self.tls(tls, raw.external_url.as_ref()).map(Some),
            None => {
                let message = "TLS is off, so credentials cross the network in the clear; set \
                               http.tls, or let only a TLS terminator on this machine reach \
                               http.addr";
                self.warn("http.tls", message);
                Some(None)
            }
        };
        if let Some(url) = raw.external_url.as_ref().filter(|url| url.scheme == Scheme::Http) {
            if raw.tls.is_some() {
                self.warn(
                    "http.external_url",
                    "the URL directs clients to http although http.tls is set; write https://…",
                );
            } else if !url.is_loopback() {
                let message = "clients send their credentials in the clear; write https://…, and \
                               set http.tls or put a TLS terminator in front of the gate";
                self.warn("http.external_url", message);
            }
        }
        for (index, Network(network)) in raw.trusted_proxies.iter().enumerate() {
            if network.prefix_len() == 0 {
                let message = "any client could claim any address; list only the networks of the \
                               proxies";
                self.warn(&format!("http.trusted_proxies[{index}]"), message);
            }
        }
        if raw.proxy_protocol && raw.trusted_proxies.is_empty() {
            let message = "the gate accepts the PROXY header from no address because \
                           http.trusted_proxies is empty; list the networks of the proxies there, \
                           e.g. [10.0.0.0/8]";
            self.problem("http.proxy_protocol", message);
        }
        let max_header_bytes = raw.max_header_bytes.bytes();
        if !HEADER_BYTES.contains(&max_header_bytes) {
            let message =
                format!("`{}` is out of range; write 4KiB to 256KiB", raw.max_header_bytes);
            self.problem("http.max_header_bytes", message);
        }
        Some(Http {
            addr: raw.addr.0,
            external_url: raw.external_url.clone()?,
            tls: tls?,
            http2: raw.http2,
            workers: match raw.workers {
                Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
                Workers::Count(count) => count.into(),
            },
            trusted_proxies: raw.trusted_proxies.iter().map(|network| network.0).collect(),
            proxy_protocol: raw.proxy_protocol,
            max_connections: usize::try_from(raw.max_connections).unwrap_or(usize::MAX),
            handshake_timeout: raw.handshake_timeout.to_std(),
            header_timeout: raw.header_timeout.to_std(),
            idle_timeout: raw.idle_timeout.to_std(),
            stall_timeout: raw.stall_timeout.to_std(),
            max_header_bytes: usize::try_from(max_header_bytes).unwrap_or(usize::MAX),
            drain_timeout: raw.drain_timeout.to_std(),
            drain_delay: raw.drain_delay.to_std(),
        })
    }

    fn admin(&mut self, raw: &raw::AdminSection, http: &raw::HttpSection) -> AdminConfig {
        let (admin, public) = (raw.addr.0, http.addr.0);
        let same_address = admin.ip() == public.ip()
            || admin.ip().is_unspecified()
            || public.ip().is_unspecified();
        if admin.port() == public.port() && admin.port() != 0 && same_address {
            self.problem(
                "admin.addr",
                format!("`{admin}` has the same port as http.addr, `{public}`; write another port"),
            );
        }
        let token = raw.token_file.as_deref().and_then(|file| {
            let token = self.secret("admin.token_file", file)?;
            if token.expose_secret().len() < MIN_ADMIN_TOKEN_BYTES {
                let message = format!(
                    "the secret in `{}` is shorter than 16 bytes; create a random one, e.g. with: \
                     openssl rand -hex 32",
                    shown(file)
                );
                self.problem("admin.token_file", message);
            }
            if !admin.ip().is_loopback() {
                self.warn(
                    "admin.token_file",
                    "operators on other machines send this secret in the clear; set admin.addr to \
                     a loopback address",
                );
            }
            Some(token)
        });
        AdminConfig { addr: admin, token }
    }

    /// Builds the endpoint of a server, with the authorities that may issue its certificate.
    fn endpoint(
        &mut self,
        url: Option<&ServerUrl>,
        ca: Option<&str>,
        ca_key: &str,
    ) -> Option<Endpoint> {
        let roots = match ca {
            Some(file) => self.roots(ca_key, file).map(Some),
            None => Some(None),
        };
        let url = url?;
        if ca.is_some() && url.scheme == Scheme::Http {
            self.warn(
                ca_key,
                "it has no effect because the URL is http; write https://… or remove this key",
            );
        }
        Some(Endpoint {
            https: url.scheme == Scheme::Https,
            host: url.host.clone(),
            port: url.port,
            path: url.path.clone(),
            roots: roots?,
        })
    }

    fn problem(&mut self, path: &str, message: impl fmt::Display) {
        self.problems.push(Problem::new(self.place(path), format!("`{path}`: {message}")));
    }

    fn warn(&mut self, path: &str, message: impl fmt::Display) {
        self.warnings.push(Problem::new(self.place(path), format!("`{path}`: {message}")));
    }

    fn place(&self, path: &str) -> Place {
        place_of(self.places, self.start, path)
    }

    /// Returns whether a problem was reported for the value at `path` or for a value in it.
    fn is_reported(&self, path: &str) -> bool {
        if self.problems.is_empty() {
            return false;
        }
        let reported: HashSet<&Place> = self.problems.iter().map(|it| &it.place).collect();
        let is_within = |at: &str| {
            at.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.places.iter().any(|(at, place)| is_within(at) && reported.contains(place))
    }
}

fn scopes(raw: &raw::ScopesSection) -> RequiredScopes {
    let equivalents =
        raw.equivalents.iter().map(|(scope, stands_for)| (scope.0.clone(), words(stands_for)));
    RequiredScopes {
        pull: words(&raw.pull),
        push: words(&raw.push),
        delete: words(&raw.delete),
        equivalents: equivalents.collect(),
    }
}

fn words(scopes: &ScopeList) -> Vec<String> {
    scopes.0.iter().map(|scope| scope.0.clone()).collect()
}

fn cache(raw: &raw::CacheSection) -> CacheLimits {
    CacheLimits {
        ttl: raw.ttl.to_std(),
        negative_ttl: raw.negative_ttl.to_std(),
        stale_if_error: raw.stale_if_error.to_std(),
        capacity: raw.capacity,
        negative_capacity: raw.negative_capacity,
    }
}
