//! The errors of a request for a token.

/// The reason why a token request is invalid. RFC 6749, 5.2 defines the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRequestError {
    #[error("`{0}` stands more than once; only scope may be repeated")]
    Repeated(&'static str),
    #[error("it holds an escape, or text that is not UTF-8, which cannot be read")]
    Encoding,
    #[error("more than 256 scopes; ask for a token for fewer repositories")]
    TooManyScopes,
    #[error("a token is asked for by GET, or by POST with a form")]
    Method,
    #[error("a POST has a form: Content-Type application/x-www-form-urlencoded")]
    NoForm,
    #[error("a form has 64 KiB at most")]
    TooLarge,
    #[error(
        "the grant_type that is understood is password; there are no refresh tokens, for a token is as good as its credential"
    )]
    GrantType,
    #[error("grant_type password needs username and password")]
    NoPassword,
    #[error("the username and password of the form are no credential: {0}")]
    Credential(&'static str),
    #[error("a credential in the form and another one in Authorization; send one")]
    TwoCredentials,
    #[error("`service` names another registry; the challenge of a 401 here names this one")]
    Service,
    #[error(
        "the secret is longer than 12 KiB, or the token would be longer than 20 KiB: take a shorter credential"
    )]
    TooLong,
}

impl TokenRequestError {
    /// Returns the `error` of an OAuth answer.
    pub fn oauth_code(self) -> &'static str {
        match self {
            Self::GrantType => "unsupported_grant_type",
            Self::Credential(_) => "invalid_grant",
            Self::TooManyScopes => "invalid_scope",
            _ => "invalid_request",
        }
    }
}
