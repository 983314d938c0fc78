//! The errors of a request for a token.

/// The reason why a token request is invalid. RFC 6749, 5.2 defines the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRequestError {
    #[error("the parameter `{0}` occurs more than once; only scope may be repeated")]
    Repeated(&'static str),
    #[error("the request has an invalid escape, or text that is not UTF-8")]
    Encoding,
    #[error("the request has more than 256 scopes; request a token for fewer repositories")]
    TooManyScopes,
    #[error("request a token with GET, or with POST and a form")]
    Method,
    #[error("a POST must send a form: Content-Type application/x-www-form-urlencoded")]
    NoForm,
    #[error("the form is larger than 64 KiB; request a token for fewer repositories")]
    TooLarge,
    #[error("this grant_type is not supported; send password, or a refresh token of this gate")]
    GrantType,
    #[error("grant_type refresh_token needs refresh_token")]
    NoRefreshToken,
    #[error("grant_type password needs username and password")]
    NoPassword,
    #[error("the username and password of the form are not a valid credential: {0}")]
    Credential(&'static str),
    #[error(
        "the request has a credential in the form and another one in Authorization; send only one"
    )]
    TwoCredentials,
    #[error(
        "`service` names another registry; send the `service` from the 401 challenge of this \
         registry"
    )]
    Service,
    #[error(
        "the secret is longer than 12 KiB, or the token would be longer than 20 KiB; use a shorter \
         credential"
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
