//! What a 401 asks for, in one line (RFC 9110, 11.6.1). Clients disagree about two. Pure.

use http::HeaderValue;

use crate::registry::{Access, CATALOG_SCOPE};

/// Why a credential that was presented will not do (RFC 6750, 3.1). containerd asks for a new token
/// only where a 401 says one of these; without it, it repeats the request with the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// Wrong, expired or forged.
    InvalidToken,
    /// Good, but not for this.
    InsufficientScope,
}

/// How clients are asked for credentials.
#[derive(Clone, Debug)]
pub enum Challenge {
    /// Name and password with every request.
    Basic(HeaderValue),
    /// A token of the token service: everything up to the scope.
    Bearer(String),
}

impl Challenge {
    /// Basic for the registry that clients know as `service`.
    ///
    /// # Errors
    /// Where the name cannot stand in a header.
    pub fn basic(service: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(Self::Basic(HeaderValue::try_from(format!("Basic realm=\"{service}\""))?))
    }

    /// Bearer, whose tokens are at `realm` for `service`.
    ///
    /// # Errors
    /// Where one of them cannot stand in a header.
    pub fn bearer(realm: &str, service: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let line = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        HeaderValue::try_from(&line)?;
        Ok(Self::Bearer(line))
    }

    /// Whether tokens are asked for.
    pub fn is_bearer(&self) -> bool {
        matches!(self, Self::Bearer(_))
    }

    /// The line. `needed`: what the request takes, so that clients ask for a token for it; a mount
    /// takes two. A fault comes with its description, for docker shows that and nothing of the
    /// body.
    pub fn line(
        &self,
        needed: &[Option<Access>],
        fault: Option<(ChallengeError, &str)>,
    ) -> HeaderValue {
        let start = match self {
            Self::Basic(line) => return line.clone(),
            Self::Bearer(start) => start,
        };
        let mut line = start.clone();
        let scopes: Vec<_> = needed.iter().flatten().filter_map(scope).collect();
        if !scopes.is_empty() {
            line.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
        }
        if let Some((fault, description)) = fault {
            let code = match fault {
                ChallengeError::InvalidToken => "invalid_token",
                ChallengeError::InsufficientScope => "insufficient_scope",
            };
            // RFC 6750, 3: printable ASCII without quotation marks and backslashes.
            let is_plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
            let description: String = description.chars().filter(is_plain).collect();
            line.push_str(&format!(",error=\"{code}\",error_description=\"{description}\""));
        }
        // Names, actions and the start are plain ASCII.
        HeaderValue::try_from(line).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

fn scope(access: &Access) -> Option<String> {
    if let Access::Catalog = access {
        return Some(CATALOG_SCOPE.to_owned());
    }
    let repositories = access
        .repositories()
        .map(|(name, actions)| format!("repository:{name}:{}", actions.words()));
    Some(repositories.collect::<Vec<_>>().join(" ")).filter(|scopes| !scopes.is_empty())
}
