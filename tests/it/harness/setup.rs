//! The deviations of a test from the default gate, and the config that they make.

use std::net::SocketAddr;

/// The deviations from the default gate of a test. Lines are YAML at the depth of the section that
/// they go into.
#[derive(Default)]
pub struct Setup {
    /// Lines of `http`, such as `stall_timeout: 200ms`.
    pub http: Vec<&'static str>,
    /// The port in the external URL, such as `:8443`. Empty for the default port.
    pub external_port: &'static str,
    /// `true` if the gate serves TLS and therefore HTTP/2.
    pub tls: bool,
    /// Lines of `upstream`.
    pub upstream: Vec<&'static str>,
    /// The address of a registry of the test, instead of the demo's.
    pub upstream_address: Option<SocketAddr>,
    /// The URL of a registry of the test. It takes precedence over
    /// [`upstream_address`](Self::upstream_address).
    pub upstream_url: Option<String>,
    /// The whole list of `identity`, instead of the stand-in GitLab. `{gitlab}` becomes the URL of
    /// the stand-in. A file `htpasswd` with the users of [`htpasswd_users`](Self::htpasswd_users)
    /// lies beside the config.
    pub identity: Option<&'static str>,
    /// Users and passwords of the file `htpasswd`.
    pub htpasswd_users: Vec<(&'static str, &'static str)>,
    /// Lines of `cache`.
    pub cache: Vec<&'static str>,
    /// Lines of `tokens`.
    pub tokens: Vec<&'static str>,
    /// Lines of `admin`.
    pub admin: Vec<&'static str>,
    /// Lines of `log`.
    pub log: Vec<&'static str>,
    /// Lines of `scopes`.
    pub scopes: Vec<&'static str>,
    /// Lines of `policy`.
    pub policy: Vec<&'static str>,
    /// Lines of `limits`.
    pub limits: Vec<&'static str>,
    /// The number of workers, two by default. With one worker, all connections share one pool.
    pub workers: Option<usize>,
    /// Lines of `redis` about the Redis that the gate shares with other gates, and the address of
    /// the stand-in GitLab that all of them ask.
    pub shared: Option<(String, SocketAddr)>,
    /// Lines of `telemetry`; empty for no traces.
    pub telemetry: String,
    /// Files beside the config: name and content.
    pub files: Vec<(&'static str, &'static str)>,
}

impl Setup {
    pub(super) fn config(&self, upstream: SocketAddr, gitlab: SocketAddr) -> String {
        let lines =
            |lines: &[&str]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        let section = |name: &str, content: &[&str]| {
            if content.is_empty() { String::new() } else { format!("{name}:\n{}", lines(content)) }
        };
        let scheme = if self.tls { "https" } else { "http" };
        let tls = if self.tls { "  tls: { certificate: tls.crt, key: tls.key }\n" } else { "" };
        let upstream = self.upstream_url.clone().unwrap_or_else(|| format!("http://{upstream}"));
        let identity =
            self.identity.unwrap_or("- { name: gitlab, type: gitlab, url: \"{gitlab}\" }");
        let gitlab = self.shared.as_ref().map_or(gitlab, |(_, shared)| *shared);
        let redis = self.shared.as_ref().map_or_else(String::new, |(redis, _)| {
            section("redis", &redis.lines().chain(["timeout: 1s"]).collect::<Vec<_>>())
        });
        let identity = identity.replace("{gitlab}", &format!("http://{gitlab}"));
        let identity: String = identity.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "version: 1\nhttp:\n  addr: 127.0.0.1:0\n  external_url: {scheme}://registry.test{}\n\
             {tls}{}upstream:\n  urls: [\"{upstream}\"]\n{}identity:\n{identity}\
             {}{}{}{}{}{}{}{redis}{}",
            self.external_port,
            lines(&self.http),
            lines(&self.upstream),
            section("cache", &self.cache),
            section("scopes", &self.scopes),
            section("policy", &self.policy),
            section("limits", &self.limits),
            section("tokens", &self.tokens),
            section("log", &self.log),
            section("admin", &self.admin),
            section("telemetry", &self.telemetry.lines().collect::<Vec<_>>()),
        )
    }
}
