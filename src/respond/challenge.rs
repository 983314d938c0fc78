//! The challenge of a 401 (RFC 9110, section 11.6.1). It is always a single one, because clients
//! treat two challenges differently. This module is pure.

use http::HeaderValue;

use crate::registry::{Access, CATALOG_SCOPE};

/// The reason why a presented credential is not sufficient (RFC 6750, section 3.1). containerd
/// fetches a new token only if a 401 contains one of these codes; otherwise it repeats the request
/// with the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// The credential is wrong, expired or forged.
    InvalidToken,
    /// The credential is valid, but not for this request.
    InsufficientScope,
}

/// The challenge that asks clients for credentials.
#[derive(Clone, Debug)]
pub enum Challenge {
    /// Asks for a user name and a password with every request.
    Basic(HeaderValue),
    /// Asks for a token of the token service. The text is the challenge up to its scope.
    Bearer(String),
}

impl Challenge {
    /// Creates the Basic challenge of the registry that clients know as `service`.
    ///
    /// # Errors
    /// An error if `service` is not valid in a header field.
    pub fn basic(service: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(Self::Basic(HeaderValue::try_from(format!("Basic realm=\"{service}\""))?))
    }

    /// Creates the Bearer challenge, with the token service at `realm` and the registry `service`.
    ///
    /// # Errors
    /// An error if `realm` or `service` is not valid in a header field.
    pub fn bearer(realm: &str, service: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let line = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        HeaderValue::try_from(&line)?;
        Ok(Self::Bearer(line))
    }

    /// Returns whether the challenge asks for tokens.
    pub fn is_bearer(&self) -> bool {
        matches!(self, Self::Bearer(_))
    }

    /// Returns the value of `WWW-Authenticate`. `needed` is the access that the request needs, so
    /// that clients ask for a token with it; a mount needs two. A fault has a description, because
    /// docker shows the description and nothing of the body.
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
            // RFC 6750, section 3, allows only printable ASCII without quotation marks and
            // backslashes.
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
