//! The evaluation of a server's answer for `check-config --online`. It performs no I/O.

use http::header;
use serde_json::{Map, Value};

use crate::http_client::{AskError, Reply};
use crate::identity::provider::jwks::KeySet;
use crate::net::tls_fault::Concerns;
use crate::strict_json;
use crate::terminal::printable;

/// The kind of server that is asked, which decides which answer is right.
pub(super) enum ExpectedAnswer {
    /// `GET /v2/` of a registry.
    Registry(Shown),
    /// A request for a GitLab token, without a credential.
    GitLab { service: String },
    /// A request for a token, without a credential, to another server of the registry token
    /// protocol.
    TokenServer { service: String },
    /// An introspection request (RFC 7662) for a token that was never issued.
    Introspection { client_id: String },
    /// A JSON Web Key Set.
    Keys,
}

/// The credential that the gate shows the registry in place of the caller's credential.
pub(super) enum Shown {
    Nothing,
    /// The gate's own password. The check shows it too.
    Password,
    /// A grant that a provider issues for a request. The check has none to show.
    Grants,
    /// Nothing at first. The check then does what the registry's challenge asks for.
    Challenged,
}

/// A problem, and the way to fix it.
pub(super) struct Fault {
    /// The config key to correct, in the section of the server.
    pub(super) key: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

impl ExpectedAnswer {
    /// Judges an answer. Returns words for the output line if the answer is right.
    pub(super) fn judge(&self, reply: &Reply) -> Result<String, Fault> {
        let status = reply.status.as_u16();
        let wrong = |message: String| Err(Fault::new(self.address(), message));
        if reply.status.is_redirection() {
            let to = reply
                .headers
                .get(header::LOCATION)
                .map(|to| String::from_utf8_lossy(to.as_bytes()));
            let to = to.map_or_else(String::new, |to| format!(" to `{}`", printable(&cut(&to))));
            return wrong(format!(
                "it answers {status}, a redirect{to}, and the gate follows no redirect; write the \
                 address to which the redirect leads"
            ));
        }
        let refused = |shown: &Shown| match shown {
            Shown::Nothing => Some(Fault::new(
                "authorization",
                "the registry answers 401: it asks for a credential; turn off the registry's own \
                 authentication, or write basic with username and password_file",
            )),
            Shown::Password => Some(password_refused(status)),
            Shown::Grants | Shown::Challenged => None,
        };
        if let (Self::Registry(shown), 401) = (self, status)
            && (reply.headers.contains_key(header::WWW_AUTHENTICATE) || is_registry(reply))
            && let Some(fault) = refused(shown)
        {
            return Err(fault);
        }
        if status == 400 && wants_tls(reply) {
            return wrong(
                "it answers 400, because it uses TLS on this port; write https://".to_owned(),
            );
        }
        let body = reply.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&reply.body);
        if body.trim_ascii_start().starts_with(b"<") {
            return wrong(format!(
                "it answers {status} with a web page, perhaps of a login form, a proxy or another \
                 server; write the address of {}",
                self.what()
            ));
        }
        match (self, status) {
            (Self::Registry(_), 200) if is_registry(reply) => Ok("200".to_owned()),
            (Self::Registry(Shown::Grants), 401)
                if is_registry(reply) || has_bearer_challenge(reply) =>
            {
                Ok("answers (401 without a token, as it should)".to_owned())
            }
            (Self::Registry(Shown::Challenged), 401)
                if reply.headers.contains_key(header::WWW_AUTHENTICATE) =>
            {
                Ok("answers".to_owned())
            }
            (Self::Registry(Shown::Password), 403) => Err(password_refused(status)),
            (Self::Registry(_), 200 | 401) => wrong(format!(
                "it answers {status}, but not as a registry does (without the header \
                 Docker-Distribution-Api-Version, and {}); write the address of {}",
                if status == 200 { "its body is not `{}`" } else { "without a Bearer challenge" },
                self.what()
            )),
            (Self::GitLab { .. }, 403) if json(reply).is_none() => wrong(
                "it answers 403 without JSON: GitLab may have banned the gate's address, or a \
                 proxy in between refuses the request; ask the administrator"
                    .to_owned(),
            ),
            (Self::GitLab { .. } | Self::TokenServer { .. }, 401 | 403) => {
                Ok(format!("answers ({status} without a credential, as it should)"))
            }
            (Self::GitLab { .. } | Self::TokenServer { .. }, 200) if has_token(reply) => {
                Ok("answers (200 without a credential: an anonymous token)".to_owned())
            }
            (Self::GitLab { service }, 404) => wrong(format!(
                "it answers 404: no GitLab is at this address, its container registry is off, or \
                 it does not know the service `{}`; write GitLab's own address",
                printable(service)
            )),
            (Self::TokenServer { service }, 404) => wrong(format!(
                "it answers 404: no token server is at this path, or it does not know the service \
                 `{}`; write the realm and the service of the registry's WWW-Authenticate header",
                printable(service)
            )),
            (Self::Introspection { client_id }, 400 | 401 | 403) => Err(Fault::new(
                "client_secret_file",
                format!(
                    "it answers {status}: it does not know the client `{}` with this secret, or \
                     does not allow this client to introspect tokens; write the id and the secret \
                     of a client that may",
                    printable(client_id)
                ),
            )),
            (Self::Introspection { .. }, 200) => {
                match json(reply).as_ref().and_then(|reply| reply.get("active")) {
                    Some(Value::Bool(false)) => {
                        Ok("answers (it knows the client and rejects a made-up token)".to_owned())
                    }
                    Some(Value::Bool(true)) => wrong(
                        "it reports a made-up token as active, so it accepts every token; ask its \
                         administrator"
                            .to_owned(),
                    ),
                    _ => wrong(format!(
                        "it answers 200 without `active`; write the address of {}",
                        self.what()
                    )),
                }
            }
            (Self::Keys, 200) => match KeySet::parse(&reply.body).map(|keys| keys.len()) {
                Ok(1) => Ok("1 usable key".to_owned()),
                Ok(several) => Ok(format!("{several} usable keys")),
                Err(error) => wrong(format!(
                    "its answer cannot be used: {}; write the jwks_uri of the issuer",
                    printable(&cut(&error.to_string()))
                )),
            },
            _ => wrong(format!("it answers {status}; write the address of {}", self.what())),
        }
    }

    /// Returns the fault for a server that gave no answer.
    pub(super) fn unreached(&self, error: &AskError) -> Fault {
        let message = printable(&error.to_string()).into_owned();
        let (key, right) = match error {
            AskError::Timeout(_) => {
                (self.address(), "check the address and the network, or set a longer timeout")
            }
            // These errors name their remedy.
            AskError::Tls(fault) => {
                let key = match fault.concerns {
                    Concerns::Authorities => "ca",
                    Concerns::Server => self.address(),
                };
                return Fault::new(key, format!("the request failed: {message}"));
            }
            AskError::NotHttp(_) => {
                return Fault::new(self.address(), format!("the request failed: {message}"));
            }
            AskError::Connection(why) if why.contains("closed before message completed") => (
                self.address(),
                "the server gave no answer; if it uses TLS on this port, write https://",
            ),
            AskError::Connection(_) => (
                self.address(),
                "check the address, and that the server runs and can be reached from this machine",
            ),
            AskError::Body { .. } => (self.address(), "check the address"),
        };
        Fault::new(key, format!("the request failed: {message}; {right}"))
    }

    /// Returns the fault for a configured value that cannot be put into a request.
    pub(super) fn unaskable(&self) -> Fault {
        Fault::new(self.address(), "the value cannot be sent in a request; write a plain URL")
    }

    /// Returns the config key that holds the address of the server.
    fn address(&self) -> &'static str {
        match self {
            Self::Registry(_) => "urls[0]",
            Self::GitLab { .. } | Self::Introspection { .. } => "url",
            Self::TokenServer { .. } => "realm",
            Self::Keys => "jwks_url",
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Registry(_) => "the registry itself",
            Self::GitLab { .. } => "GitLab itself",
            Self::TokenServer { .. } => "the token server",
            Self::Introspection { .. } => "the introspection endpoint (RFC 7662)",
            Self::Keys => "the issuer's keys (its jwks_uri)",
        }
    }
}

/// Parses the body with the providers' own parser, so that the check and the providers agree.
fn json(reply: &Reply) -> Option<Map<String, Value>> {
    strict_json::object(&reply.body).ok()
}

fn password_refused(status: u16) -> Fault {
    Fault::new(
        "password_file",
        format!(
            "the registry answers {status} to this user name and password; write a user name and \
             a password that it accepts"
        ),
    )
}

/// Returns whether an answer to `GET /v2/` is that of a registry. Other servers answer any path
/// with 200, or with 401.
fn is_registry(reply: &Reply) -> bool {
    reply.headers.contains_key("docker-distribution-api-version")
        || json(reply).is_some_and(|body| {
            body.is_empty() && reply.status == 200
                || body.get("errors").is_some_and(Value::is_array)
        })
}

/// Returns whether a server with TLS says that the request was plain HTTP, as nginx, Apache httpd
/// and servers in Go do.
fn wants_tls(reply: &Reply) -> bool {
    let text = String::from_utf8_lossy(&reply.body).to_lowercase();
    ["to https port", "to an https server", "to an ssl-enabled server", "to a tls"]
        .iter()
        .any(|part| text.contains(part))
}

/// Returns whether the answer asks for a token, as the registry token protocol does.
fn has_bearer_challenge(reply: &Reply) -> bool {
    reply.headers.get_all(header::WWW_AUTHENTICATE).iter().any(|challenge| {
        let challenge = challenge.as_bytes().trim_ascii_start();
        challenge.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    })
}

/// Returns whether the answer contains a token. `token` and `access_token` are synonyms.
fn has_token(reply: &Reply) -> bool {
    json(reply).is_some_and(|reply| {
        reply.get("token").or_else(|| reply.get("access_token")).is_some_and(Value::is_string)
    })
}

/// Returns the start of a text that a server sent, because it may be long.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
