//! The tests of the answers that callers get. The modules that decide test which request gets which
//! denial.

use super::*;
use crate::registry::{Action, Tag};

const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;

fn unavailable() -> Denial {
    Denial::ProviderUnavailable { provider: "sso".into(), retry_after: Duration::from_secs(3) }
}

fn budget_spent() -> Denial {
    Denial::FailureBudgetSpent { provider: "gitlab".into(), retry_after: Duration::from_secs(4) }
}

fn limited(limit: Limit) -> Denial {
    Denial::Limited { limit, retry_after: Duration::from_millis(1_200) }
}

fn lacks(scope: &str) -> Denial {
    Denial::InsufficientRights(Missing::Scopes(vec![scope.to_owned()]))
}

fn tag() -> Tag {
    Tag::parse("v1").unwrap()
}

/// Clients act on the status and the code. Operators count the reasons.
#[test]
fn each_denial_has_a_status_a_code_and_a_reason() {
    for (denial, status, code, reason) in [
        (Denial::Request(RequestError::NoSuchOperation), 404, "UNSUPPORTED", "unknown_operation"),
        (Denial::Request(RequestError::NameInvalid), 400, "NAME_INVALID", "malformed_request"),
        (Denial::Request(RequestError::DigestInvalid), 400, "DIGEST_INVALID", "malformed_request"),
        (
            Denial::Request(RequestError::ReferenceInvalid),
            400,
            "MANIFEST_INVALID",
            "malformed_request",
        ),
        (Denial::Framing(Framing::ContentLength), 400, "UNSUPPORTED", "malformed_message"),
        (Denial::Framing(Framing::FormBody), 415, "UNSUPPORTED", "malformed_message"),
        (Denial::Framing(Framing::Expectation), 417, "UNSUPPORTED", "malformed_message"),
        (Denial::Framing(Framing::UriTooLong), 414, "UNSUPPORTED", "malformed_message"),
        (Denial::Framing(Framing::TooManyFields), 431, "UNSUPPORTED", "malformed_message"),
        (Denial::NoCredential, UNAUTHORIZED, "UNAUTHORIZED", "no_credential"),
        (Denial::MalformedCredential("why"), UNAUTHORIZED, "UNAUTHORIZED", "malformed_credential"),
        (Denial::WrongCredential, UNAUTHORIZED, "UNAUTHORIZED", "wrong_credential"),
        (Denial::InvalidToken, UNAUTHORIZED, "UNAUTHORIZED", "invalid_token"),
        (Denial::OtherSpelling("/v2/?x".into()), 308, "UNSUPPORTED", "other_spelling"),
        (Denial::AccountPassword, 401, "UNAUTHORIZED", "wrong_credential"),
        (
            Denial::InsufficientScope(Uncovered::NotRequested),
            FORBIDDEN,
            "DENIED",
            "insufficient_scope",
        ),
        (lacks("write_registry"), FORBIDDEN, "DENIED", "insufficient_rights"),
        (Denial::TagRules(TagRefusal::Unreadable), FORBIDDEN, "DENIED", "tag_rules_unreadable"),
        (
            Denial::DeniedByPolicy(RuleRefusal::DeleteByDigest),
            FORBIDDEN,
            "DENIED",
            "denied_by_policy",
        ),
        (
            Denial::DeniedByPolicy(RuleRefusal::Immutable(tag(), Action::Push)),
            FORBIDDEN,
            "DENIED",
            "tag_immutable",
        ),
        (
            Denial::DeniedByPolicy(RuleRefusal::ImmutableDigest),
            FORBIDDEN,
            "DENIED",
            "tag_immutable",
        ),
        (Denial::ReadOnly, 405, "UNSUPPORTED", "read_only"),
        (Denial::CatalogClosed, FORBIDDEN, "DENIED", "catalog_closed"),
        (unavailable(), 503, "UNAVAILABLE", "provider_unavailable"),
        (budget_spent(), 429, "TOOMANYREQUESTS", "failure_budget_spent"),
        (limited(Limit::PerClient), 429, "TOOMANYREQUESTS", "over_per_client"),
        (limited(Limit::PullsPerIdentity), 429, "TOOMANYREQUESTS", "over_pulls_per_identity"),
        (Denial::NotAudited, 503, "UNAVAILABLE", "audit_failed"),
        (Denial::Upstream(UpstreamFault::Unreachable), 502, "UNAVAILABLE", "upstream_unreachable"),
        (Denial::Upstream(UpstreamFault::ResponseTimeout), 504, "UNAVAILABLE", "upstream_timeout"),
    ] {
        let answer = denial.answer();
        let told = (answer.status.as_u16(), answer.code.as_str(), answer.reason.as_str());
        assert_eq!(told, (status, code, reason), "{denial:?}");
    }
}

#[test]
fn the_message_of_a_denial_tells_the_user_what_is_wrong() {
    for (denial, said) in [
        (Denial::Framing(Framing::Trailers), "trailers"),
        (Denial::NoCredential, "run docker login registry.test"),
        (Denial::AccountPassword, "accepts only tokens"),
        (Denial::MalformedCredential("why"), "the Authorization header cannot be read: why"),
        (lacks("write_registry"), "token lacks write_registry"),
        (
            Denial::InsufficientRights(Missing::Grant("harbor".into(), Action::Push)),
            "harbor granted no push",
        ),
        (
            Denial::InsufficientRights(Missing::GitLabGrant(Action::Delete)),
            "GitLab granted no delete: it takes the scope api",
        ),
        (Denial::TagRules(TagRefusal::Protected(tag(), Action::Push)), "the tag v1 is protected"),
        (Denial::TagRules(TagRefusal::Immutable(tag(), Action::Push)), "push under another tag"),
        (Denial::TagRules(TagRefusal::Immutable(tag(), Action::Delete)), "it cannot be deleted"),
        (
            Denial::DeniedByPolicy(RuleRefusal::Action(Action::Pull)),
            "no rule of this registry lets you pull in this repository",
        ),
        (Denial::DeniedByPolicy(RuleRefusal::Tag(tag(), Action::Push)), "lets you push the tag v1"),
        (
            Denial::DeniedByPolicy(RuleRefusal::Immutable(tag(), Action::Push)),
            "the tag v1 exists and is immutable by a rule of this registry; push under another tag",
        ),
        (
            Denial::DeniedByPolicy(RuleRefusal::Immutable(tag(), Action::Delete)),
            "the tag v1 is immutable by a rule of this registry: it cannot be deleted",
        ),
        (Denial::DeniedByPolicy(RuleRefusal::ImmutableDigest), "nothing can be deleted by digest"),
        (Denial::ReadOnly, "read-only for maintenance"),
        (limited(Limit::PerIdentity), "too many requests come from you; try again in 2 s"),
        (Denial::Upstream(UpstreamFault::RefusedTheGate), "answered 401 to the gate itself"),
    ] {
        assert!(
            denial.message("registry.test").contains(said),
            "{denial:?}: {}",
            denial.message("registry.test")
        );
    }
}

/// Docker and skopeo show the message alone, and oras and helm show both.
#[test]
fn a_detail_repeats_nothing_of_the_message() {
    let rule = Denial::DeniedByPolicy(RuleRefusal::Action(Action::Push));
    assert!(Denial::CatalogClosed.detail().unwrap().contains("/v2/NAME/tags/list"));
    for denial in [
        lacks("write_registry"),
        rule,
        Denial::NoCredential,
        Denial::WrongCredential,
        Denial::InvalidToken,
        unavailable(),
    ] {
        assert_eq!(denial.detail(), None, "{denial:?}");
    }
}

/// Another token of the provider would not help, so no message reads as if it would.
#[test]
fn the_message_about_a_gate_token_tells_what_is_missing() {
    let message = |why| Denial::InsufficientScope(why).message("registry.test:8443");
    assert_eq!(
        message(Uncovered::Anonymous),
        "authentication required; run docker login registry.test:8443"
    );
    assert_eq!(message(Uncovered::Refused("why".into())), "why");
    assert!(message(Uncovered::NotRequested).contains("scope in WWW-Authenticate"));
}

/// The codes are defined in RFC 6749, 5.2.
#[test]
fn each_denial_has_an_oauth_error_code() {
    for (denial, code) in [
        (Denial::NoCredential, "invalid_grant"),
        (Denial::MalformedCredential("why"), "invalid_grant"),
        (Denial::WrongCredential, "invalid_grant"),
        (Denial::InvalidToken, "invalid_grant"),
        (unavailable(), "temporarily_unavailable"),
        (budget_spent(), "temporarily_unavailable"),
        (limited(Limit::PerClient), "temporarily_unavailable"),
        (Denial::Framing(Framing::Host), "invalid_request"),
        (Denial::TokenRequest(TokenRequestError::GrantType), "unsupported_grant_type"),
        (Denial::TokenRequest(TokenRequestError::Credential("why")), "invalid_grant"),
        (Denial::TokenRequest(TokenRequestError::TooManyScopes), "invalid_scope"),
        (Denial::TokenRequest(TokenRequestError::NoPassword), "invalid_request"),
    ] {
        assert_eq!(denial.oauth_code(), code, "{denial:?}");
    }
}

#[test]
fn a_denial_says_when_to_retry_and_which_provider_caused_it() {
    let sso: Arc<str> = "sso".into();
    let gitlab: Arc<str> = "gitlab".into();
    for (denial, retry_after, provider) in [
        (unavailable(), Some(3), Some(&sso)),
        (budget_spent(), Some(4), Some(&gitlab)),
        (limited(Limit::PerClient), Some(2), None),
        (Denial::NotAudited, Some(10), None),
        (Denial::WrongCredential, None, None),
        (Denial::Upstream(UpstreamFault::Unreachable), None, None),
    ] {
        assert_eq!(denial.retry_after(), retry_after, "{denial:?}");
        assert_eq!(denial.provider(), provider, "{denial:?}");
    }
}

/// The log calls a refusal `denied` and a failure `error`. The audit log records refusals of a
/// presented credential or right.
#[test]
fn denials_are_refusals_or_failures_and_some_are_of_a_credential() {
    for (denial, refusal, of_a_credential) in [
        (Denial::NoCredential, true, false),
        (Denial::Request(RequestError::NameInvalid), true, false),
        (Denial::Framing(Framing::Host), true, false),
        (budget_spent(), true, false),
        (limited(Limit::PerIdentity), true, false),
        (Denial::TokenRequest(TokenRequestError::NoForm), true, false),
        (Denial::TokenRequest(TokenRequestError::Credential("why")), true, true),
        (Denial::MalformedCredential("why"), true, true),
        (Denial::WrongCredential, true, true),
        (Denial::InvalidToken, true, true),
        (Denial::InsufficientScope(Uncovered::NotRequested), true, true),
        (lacks("write_registry"), true, true),
        (Denial::DeniedByPolicy(RuleRefusal::DeleteByDigest), true, true),
        (Denial::TagRules(TagRefusal::DeleteByDigest), true, true),
        (Denial::CatalogClosed, true, true),
        (Denial::ReadOnly, true, false),
        (unavailable(), false, false),
        (Denial::NotAudited, false, false),
        (Denial::Upstream(UpstreamFault::Invalid), false, false),
        (Denial::ClientAborted, false, false),
    ] {
        assert_eq!(denial.is_refusal(), refusal, "{denial:?}");
        assert_eq!(denial.is_of_a_credential(), of_a_credential, "{denial:?}");
    }
}

/// The wait is rounded up to whole seconds, and is at least one second.
#[test]
fn retry_after_is_rounded_up_to_whole_seconds() {
    for (millis, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (3000, 3)] {
        let spent =
            Denial::Limited { limit: Limit::PerClient, retry_after: Duration::from_millis(millis) };
        assert_eq!(spent.retry_after(), Some(seconds), "{millis} ms");
    }
}

/// Each limit has a name in the config, in the metrics and in the message for users.
#[test]
fn each_limit_has_a_config_key_and_a_message() {
    for (limit, key, by_address, said) in [
        (Limit::PerClient, "per_client", true, "your address"),
        (Limit::PerIdentity, "per_identity", false, "from you"),
        (Limit::PullsPerIdentity, "pulls_per_identity", false, "limit of pulls"),
        (Limit::ConcurrentUploadsPerIdentity, "concurrent_uploads_per_identity", false, "uploads"),
    ] {
        assert_eq!((limit.key(), limit.is_by_address()), (key, by_address));
        assert!(limited(limit).message("registry.test").contains(said), "{key}");
    }
}
