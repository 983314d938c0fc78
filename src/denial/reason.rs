//! The closed list of reasons. The access log, the audit log, the metrics and the status page take
//! their words from here, and the documentation explains each.

use std::fmt;

/// Declares the enum, the word of each reason and the list of all of them.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// The reason for the outcome of a request: `reason` in the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the word in logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

reasons! {
    /// The request was served.
    Allowed => "allowed",
    /// The rules deny the request, and it was served because `policy.mode` is `shadow`.
    ShadowDenied => "shadow_denied",
    UnknownOperation => "unknown_operation",
    MethodNotAllowed => "method_not_allowed",
    MalformedRequest => "malformed_request",
    MalformedMessage => "malformed_message",
    /// The path is another spelling of an operation: the client is redirected to the right one.
    OtherSpelling => "other_spelling",
    NoCredential => "no_credential",
    MalformedCredential => "malformed_credential",
    InvalidToken => "invalid_token",
    InsufficientScope => "insufficient_scope",
    MalformedTokenRequest => "malformed_token_request",
    WrongCredential => "wrong_credential",
    InsufficientRights => "insufficient_rights",
    TagProtected => "tag_protected",
    TagImmutable => "tag_immutable",
    TagRulesUnreadable => "tag_rules_unreadable",
    DeniedByPolicy => "denied_by_policy",
    /// `policy.read_only` is set, and the request would write or delete.
    ReadOnly => "read_only",
    CatalogClosed => "catalog_closed",
    /// The address of an upload was sealed by this gate and is not valid here, or not any more.
    UploadUnknown => "upload_unknown",
    /// The registry refused a token that its token server had just issued for this request.
    UpstreamGrantsNothing => "upstream_grants_nothing",
    ProviderUnavailable => "provider_unavailable",
    FailureBudgetSpent => "failure_budget_spent",
    OverPerClient => "over_per_client",
    OverFailedLogins => "over_failed_logins",
    OverQuestions => "over_questions",
    OverPasswordChecks => "over_password_checks",
    OverPerIdentity => "over_per_identity",
    OverPullsPerIdentity => "over_pulls_per_identity",
    OverConcurrentUploadsPerIdentity => "over_concurrent_uploads_per_identity",
    AuditFailed => "audit_failed",
    UpstreamUnreachable => "upstream_unreachable",
    UpstreamRefusedTheGate => "upstream_refused_the_gate",
    /// The token server of the registry gave no token.
    UpstreamTokenFailed => "upstream_token_failed",
    UpstreamInvalid => "upstream_invalid",
    UpstreamLeadsElsewhere => "upstream_leads_elsewhere",
    /// A redirect of the registry was not followed, or what it led to is not valid.
    RedirectFailed => "redirect_failed",
    TagLookupFailed => "tag_lookup_failed",
    CatalogFailed => "catalog_failed",
    CatalogTooLong => "catalog_too_long",
    UpstreamTimeout => "upstream_timeout",
    ClientAborted => "client_aborted",
    /// The client made no progress for `stall_timeout`.
    ClientStalled => "client_stalled",
    /// The gate ended the request, because `drain_timeout` had passed.
    DrainTimeout => "drain_timeout",
    /// The registry sent nothing of its response for `stall_timeout`.
    UpstreamStalled => "upstream_stalled",
    /// The registry broke its response off.
    UpstreamAborted => "upstream_aborted",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
