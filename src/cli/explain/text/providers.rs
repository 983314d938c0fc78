//! The statements of `explain` about the providers: which one decided, and what each of them said.

use crate::denial::Denial;
use crate::gate::{ExplainedAnswer, Explanation};
use crate::identity::NotNow;
use crate::identity::model::credential::CredentialKind;
use crate::identity::model::trail::{Consulted, Statement};

/// Returns the provider that decided.
pub(super) fn decided(explanation: &Explanation<'_>) -> String {
    let vouches = explanation.caller.as_ref().map(|caller| &*caller.principal.source.provider);
    let no_verdict = explanation
        .consulted
        .iter()
        .find(|of| matches!(of.statement, Statement::NotNow(_) | Statement::Unavailable));
    match (vouches.filter(|name| !name.is_empty()), explanation.unavailable(), &explanation.answer)
    {
        (_, Some(provider), _) => format!("{provider}, which gave no usable answer"),
        (Some(provider), None, _) => provider.to_owned(),
        (
            None,
            None,
            ExplainedAnswer::Refused {
                denial: Denial::WrongCredential | Denial::AccountPassword,
                ..
            },
        ) => "none accepts the credential".to_owned(),
        (None, None, _) => match no_verdict {
            Some(of) => format!("{}, which gave no verdict", of.provider),
            None => "none was asked".to_owned(),
        },
    }
}

/// Returns a line for each provider, in the order of the config. If one provider is in the config
/// and accepted the credential, there is nothing to add. The providers' part in a public pull is
/// told only if the pull is refused.
pub(super) fn each(explanation: &Explanation<'_>) -> Vec<String> {
    let consulted = &explanation.consulted;
    let refused = matches!(explanation.answer, ExplainedAnswer::Refused { .. });
    let presented = explanation.credential_kind != CredentialKind::Anonymous;
    if let [Consulted { statement: Statement::Verified, .. }] = &**consulted {
        return Vec::new();
    }
    if !refused && !presented {
        return Vec::new();
    }
    let decider = decider(consulted).map(|of| &*of.provider);
    let of_each = |of: &Consulted| {
        let says = says(of, explanation.credential_kind, decider);
        format!("{} ({}): {says}", of.provider, of.type_name)
    };
    consulted.iter().map(of_each).collect()
}

/// Returns the provider whose answer ended the search.
fn decider(consulted: &[Consulted]) -> Option<&Consulted> {
    let refuses = |of: &&Consulted| matches!(of.statement, Statement::Rejected | Statement::Unfit);
    let ended = |of: &&Consulted| of.statement.is_final() && !refuses(of);
    consulted.iter().find(ended).or_else(|| consulted.iter().find(refuses))
}

fn says(of: &Consulted, kind: CredentialKind, decider: Option<&str>) -> String {
    let says = match (&of.statement, of.type_name) {
        (Statement::Verified, _) if kind == CredentialKind::Anonymous => {
            "it grants callers without a credential this pull"
        }
        (Statement::Verified, _) => "it accepts the credential",
        (Statement::NothingPublic, _) => "it grants callers without a credential nothing here",
        (Statement::NotMine, "htpasswd" | "registry_token") if kind == CredentialKind::Bearer => {
            "not asked, because it takes a user name and a password, and no Bearer token"
        }
        (Statement::AccountPassword, _) => {
            "it is the password of an account; this provider accepts only tokens (accept_passwords)"
        }
        (Statement::NotMine, "htpasswd") => "its file does not have this user",
        (Statement::NotMine, "jwt") => "the secret is not a JWT of its issuer",
        (Statement::NotMine, "introspection") => {
            "it does not know the token, or the token has expired, was revoked or is not for this \
             registry or user name"
        }
        (Statement::NotMine, _) => {
            "it does not know the credential: wrong, expired or revoked, or of another server"
        }
        (Statement::Rejected, "htpasswd") => {
            "it rejected the credential: its file has this user, and the password is wrong"
        }
        (Statement::Rejected, "jwt") => {
            "it rejected the credential: the JWT is of its issuer and is not valid; with log.level \
             info, a line on standard error says why"
        }
        (Statement::Rejected, _) => "it rejected the credential",
        (Statement::Unfit, _) => {
            "it knows the token, but the token is not one for access, such as a refresh token"
        }
        (Statement::NotNow(why), _) => not_now(*why),
        (Statement::Unavailable, _) => {
            "it gave no usable answer; a line on standard error says why"
        }
        (Statement::NotAccepted, _) if kind == CredentialKind::Bearer => {
            "not asked, because its `accepts` lists no prefix of this token (`users` count only \
             for Basic)"
        }
        (Statement::NotAccepted, _) => {
            "not asked, because its `accepts` lists neither this user name nor a prefix of this \
             secret"
        }
        (Statement::JwtOf(issuer), _) => {
            return format!(
                "not asked, because the JWT is of the issuer of {issuer}, which alone is asked"
            );
        }
        (Statement::OnlyCredentials, "gitlab") => {
            "not asked about callers without a credential: its `anonymous` is false, or rules \
             alone decide about them"
        }
        (Statement::OnlyCredentials, _) => {
            "not asked, because it only verifies credentials, and the request has none"
        }
        (Statement::NotReached, _) => {
            return match decider {
                Some(decider) => format!("not asked, because {decider} decided"),
                None => "not asked".to_owned(),
            };
        }
    };
    says.to_owned()
}

fn not_now(why: NotNow) -> &'static str {
    match why {
        NotNow::Busy => "it answered that there are too many questions (429)",
        NotNow::NoTurn => "not asked, because too many questions to it are under way",
        NotNow::Barred => "it refuses questions from this caller or its address, as after a ban",
        NotNow::Misconfigured => {
            "it does not know the service or the path that the config names; a line on standard \
             error says more"
        }
        NotNow::FailureBudgetSpent => {
            "not asked, because its `failure_budget` is used up by wrong credentials"
        }
        NotNow::FailedLogins => {
            "not asked, because too many wrong credentials came from this address"
        }
        NotNow::Crowded => "not asked, because too many callers of this address wait for it",
        NotNow::TooOften => "not asked, because this secret was asked about too often",
    }
}
