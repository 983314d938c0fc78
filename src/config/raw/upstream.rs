//! The section `upstream`: the registry behind the gate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::format::{Duration, HostEntry};
use crate::config::url::ServerUrl;

/// The registry behind the gate.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct UpstreamSection {
    /// The URL of the registry: exactly one. It may have a path, behind which /v2/ lies.
    #[schemars(
        required,
        length(min = 1, max = 1),
        extend("examples" = [["http://127.0.0.1:5000"]])
    )]
    pub(in crate::config) urls: Option<Vec<ServerUrl>>,
    /// The credential that the registry is sent in place of the caller's: strip (none), basic
    /// (username and password_file), token (what the registry's own challenge asks for, with
    /// username and password_file, or as an anonymous caller without them) or grant (the token
    /// that the provider issued for the request).
    pub(in crate::config) authorization: Authorization,
    /// The user name for authorization: basic or token. It cannot contain a colon.
    #[schemars(length(min = 1), extend("examples" = ["moorgate"]))]
    pub(in crate::config) username: Option<String>,
    /// A file with the password for authorization: basic or token, in one line.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["upstream.password"]))]
    pub(in crate::config) password_file: Option<String>,
    /// A PEM file with the authorities that may issue the registry's certificate; null: those of
    /// the system.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["ca.pem"]))]
    pub(in crate::config) ca: Option<String>,
    /// The hosts that the gate may ask for tokens, with the password if there is one, beside the
    /// registry's own. auth.docker.io is built in for registry-1.docker.io.
    pub(in crate::config) token_realms: Vec<HostEntry>,
    /// True if the gate may send the password over plain http to another machine: to the token
    /// server, or to the registry if its challenge is Basic.
    pub(in crate::config) insecure: bool,
    /// True if the registry learns who sends each request: X-Forwarded-User and
    /// X-Forwarded-Provider, percent-encoded. Anonymous callers have neither, CI jobs no user.
    pub(in crate::config) identity_headers: bool,
    /// The treatment of a redirect of a pull: pass (the client follows it) or follow (the gate
    /// fetches what it leads to).
    pub(in crate::config) redirects: Redirects,
    /// The hosts to which the gate follows redirects, required for follow: names, *.example.com,
    /// addresses and networks, with the port unless it is 443. A host whose address is not
    /// reachable over the internet needs an entry for its address or network too.
    pub(in crate::config) redirect_hosts: Vec<HostEntry>,
    /// The hosts, beside the registry's own, to which the registry may lead an upload, in the form
    /// of redirect_hosts.
    pub(in crate::config) upload_hosts: Vec<HostEntry>,
    /// The HTTP proxy on the way to the registry, its token server, its redirects and its uploads;
    /// null: none.
    #[schemars(extend("examples" = ["http://proxy.example.com:3128"]))]
    pub(in crate::config) proxy: Option<ServerUrl>,
    /// A file with the credentials for the proxy, USER:PASSWORD in one line.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["proxy.credentials"]))]
    pub(in crate::config) proxy_credentials_file: Option<String>,
    /// A PEM file with the certificate by which the registry knows the gate (mTLS), followed by
    /// its intermediates.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["gate.crt"]))]
    pub(in crate::config) certificate: Option<String>,
    /// A PEM file with the key of that certificate, not encrypted.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["gate.key"]))]
    pub(in crate::config) key: Option<String>,
    /// The longest time for connecting to the registry, including TLS.
    pub(in crate::config) connect_timeout: Duration,
    /// The longest time from the end of a request to the head of the registry's response.
    pub(in crate::config) response_timeout: Duration,
    /// The response_timeout of the last PUT of an upload, on which registries with object storage
    /// copy data.
    pub(in crate::config) upload_response_timeout: Duration,
}

impl Default for UpstreamSection {
    fn default() -> Self {
        Self {
            urls: None,
            authorization: Authorization::Strip,
            username: None,
            password_file: None,
            ca: None,
            token_realms: Vec::new(),
            insecure: false,
            identity_headers: false,
            redirects: Redirects::Pass,
            redirect_hosts: Vec::new(),
            upload_hosts: Vec::new(),
            proxy: None,
            proxy_credentials_file: None,
            certificate: None,
            key: None,
            connect_timeout: Duration::seconds(5),
            response_timeout: Duration::seconds(60),
            upload_response_timeout: Duration::minutes(15),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Authorization {
    Strip,
    Basic,
    Token,
    Grant,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Redirects {
    Pass,
    Follow,
}
