//! The verdict that a reply of a token server stands for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::TokenServer;
use super::reply::{self, Token};
use crate::http_client::Reply;
use crate::identity::model::credential::Credential;
use crate::identity::model::tag_rules::TagRules;
use crate::identity::model::{
    Granted, Lifetime, NotNow, Principal, Question, RepositoryGrant, TokenServerKind,
    UpstreamToken, Verdict, Verified,
};
use crate::identity::provider::common::log_topic::LogTopic;
use crate::identity::provider::gitlab::{self, Forbidden};
use crate::registry::{Access, Actions, RepositoryName};

/// The time before the end of a token that is sent upstream at which the gate requests another one:
/// the registry may be slow, and its clock may differ.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

impl TokenServer {
    pub(super) fn verdict(&self, question: &Question, reply: &Reply) -> Verdict {
        let retry_after = reply.retry_after();
        let (provider, request_id) = (self.sources.provider(), &question.request_id);
        match reply.status {
            StatusCode::OK => match reply::read(&reply.body, &self.service) {
                Ok(token) => {
                    if let Some(odd) = token.odd.text()
                        && let Some(left_out) = self.line(LogTopic::Odd)
                    {
                        tracing::warn!(
                            %provider,
                            %request_id,
                            left_out,
                            "the reply is unusual and was accepted: {odd}"
                        );
                    }
                    self.judge(question, &token)
                }
                Err(error) => self.unavailable(question, &error.to_string()),
            },
            // Both statuses tell a caller without a credential that nothing is public.
            StatusCode::UNAUTHORIZED if is_anonymous(question) => self.nothing(question),
            StatusCode::UNAUTHORIZED => Verdict::NotMine,
            StatusCode::FORBIDDEN if self.forbids(reply) != Some(Forbidden::NoVerdict) => {
                self.nothing(question)
            }
            status if self.turns_the_gate_away(reply) => self.unavailable(
                question,
                &format!(
                    "status {status}: the token server refuses the gate's own address, the only \
                     one that it sees; check its bans and rate limits, or set \
                     forward_client_address"
                ),
            ),
            StatusCode::FORBIDDEN => {
                self.last_fault.note("status 403");
                if let Some(left_out) = self.line(LogTopic::Barred) {
                    tracing::warn!(
                        %provider,
                        %request_id,
                        left_out,
                        "the token server refused this caller with 403, for example because it \
                         blocks the address; check there whether it blocks the caller's address or \
                         the gate's"
                    );
                }
                Verdict::NotNow(NotNow::Barred, retry_after)
            }
            StatusCode::TOO_MANY_REQUESTS => {
                self.last_fault.note("status 429");
                if let Some(left_out) = self.line(LogTopic::Busy) {
                    tracing::warn!(
                        %provider,
                        %request_id,
                        left_out,
                        "the token server answered 429: the gate asks it too often; check its rate \
                         limits"
                    );
                }
                Verdict::NotNow(NotNow::Busy, retry_after)
            }
            StatusCode::NOT_FOUND => {
                self.last_fault.note("status 404; check url and service");
                if let Some(left_out) = self.line(LogTopic::Misconfigured) {
                    tracing::error!(
                        %provider,
                        %request_id,
                        left_out,
                        "{} answered 404 for the service `{}`; check both in the config",
                        self.realm,
                        self.service
                    );
                }
                Verdict::NotNow(NotNow::Misconfigured, retry_after)
            }
            // The status concerns this question alone. If it counted as an outage, a caller could
            // cause one by sending what the server does not accept.
            status if status.is_client_error() => {
                self.last_fault.note(&format!("status {}", status.as_u16()));
                if let Some(left_out) = self.line(LogTopic::Barred) {
                    tracing::warn!(
                        %provider,
                        %request_id,
                        left_out,
                        status = status.as_u16(),
                        "the token server does not accept this question"
                    );
                }
                Verdict::NotNow(NotNow::Barred, retry_after)
            }
            status => self.unavailable(question, &format!("status {status}")),
        }
    }

    fn judge(&self, question: &Question, token: &Token) -> Verdict {
        let not_accepted = || {
            if let Some(left_out) = self.line(LogTopic::NoUser) {
                tracing::info!(
                    provider = %self.sources.provider(),
                    request_id = %question.request_id,
                    left_out,
                    "the token in the reply names no user, so the server did not accept the \
                     credential"
                );
            }
            Verdict::NotMine
        };
        let subject = match (&self.gitlab, &token.subject) {
            _ if is_anonymous(question) => "".into(),
            (Some(gitlab), _) if gitlab.refuses(token) => {
                if let Some(left_out) = self.line(LogTopic::AccountPassword) {
                    tracing::info!(
                        provider = %self.sources.provider(),
                        request_id = %question.request_id,
                        left_out,
                        "the credential is the password of an account; only tokens are accepted"
                    );
                }
                return Verdict::AccountPassword;
            }
            (_, Some(subject)) => subject.as_str().into(),
            (Some(_), None) if gitlab::is_for_anonymous(token) => {
                return not_accepted();
            }
            (Some(_), None) => gitlab::deploy_token(token).unwrap_or_else(|| fingerprint(question)),
            // By the specification, a token without a subject means that the client did not
            // authenticate. Some servers issue such a token if the password is wrong, with access
            // to what is public.
            (None, None) => {
                return not_accepted();
            }
        };
        let credential_type = token.credential_type.as_deref().filter(|_| !is_anonymous(question));
        let granted = self.granted(question, Some(token));
        let lifetime = match granted.token() {
            None => Lifetime { answer: Some(token.lifetime), credential: None },
            Some(_) => Lifetime {
                answer: Some(token.lifetime.saturating_sub(TOKEN_MARGIN)),
                credential: token.ends.map(|ends| ends.saturating_sub(TOKEN_MARGIN.as_secs())),
            },
        };
        self.verified(subject, credential_type, granted, lifetime)
    }

    /// Returns the verdict that the credential is valid and is granted nothing of what was asked.
    fn nothing(&self, question: &Question) -> Verdict {
        let granted = self.granted(question, None);
        self.verified(fingerprint(question), None, granted, Lifetime::default())
    }

    /// Returns what the answer grants: never more than was asked, even if the token lists more.
    /// Without a token, nothing is granted.
    fn granted(&self, question: &Question, token: Option<&Token>) -> Granted {
        let server =
            if self.gitlab.is_some() { TokenServerKind::GitLab } else { TokenServerKind::Other };
        let of_one = |(repository, asked): (&RepositoryName, Actions)| RepositoryGrant {
            repository: repository.clone(),
            actions: token
                .map(|token| token.granted(repository).intersect(asked))
                .unwrap_or_default(),
            server,
            tags: token
                .map(|token| self.tag_rules(question, repository, asked, token))
                .unwrap_or_default(),
            token: None,
        };
        let mut grants: Vec<_> = question.access.repositories().map(of_one).collect();
        if let Some(token) = token.filter(|_| self.keeps_tokens)
            && grants.iter().any(|grant| grant.actions != Actions::default())
        {
            let issued = UpstreamToken::new(token.issued.clone());
            grants.iter_mut().for_each(|grant| grant.token = Some(issued.clone()));
        }
        match &question.access {
            Access::Login if token.is_some() => Granted::Identity,
            Access::Catalog => match token.filter(|token| token.grants_catalog()) {
                Some(token) => Granted::Catalog(
                    self.keeps_tokens.then(|| UpstreamToken::new(token.issued.clone())),
                ),
                None => Granted::Nothing,
            },
            Access::Login => Granted::Nothing,
            Access::Repository(..) => {
                grants.pop().map_or(Granted::Nothing, |grant| Granted::Repository(grant.into()))
            }
            Access::Repositories(_) => Granted::Repositories(grants.into()),
        }
    }

    /// Returns the tag rules in the token. Reads change no tag, so no rules are kept for them.
    fn tag_rules(
        &self,
        question: &Question,
        repository: &RepositoryName,
        asked: Actions,
        token: &Token,
    ) -> TagRules {
        if self.gitlab.is_none() || !(asked.push || asked.delete) {
            return TagRules::None;
        }
        TagRules::read(token.meta(repository)).unwrap_or_else(|error| {
            if let Some(left_out) = self.line(LogTopic::TagRules) {
                tracing::warn!(
                    provider = %self.sources.provider(),
                    request_id = %question.request_id,
                    left_out,
                    %repository,
                    "the gate does not understand the project's tag rules, so it refuses every \
                     push and delete: {error}"
                );
            }
            TagRules::unreadable()
        })
    }

    fn verified(
        &self,
        subject: Box<str>,
        credential_type: Option<&str>,
        granted: Granted,
        lifetime: Lifetime,
    ) -> Verdict {
        let principal = Principal { source: self.sources.typed(credential_type), subject };
        Verdict::Verified(Arc::new(Verified { principal, granted, attributes: None }), lifetime)
    }

    pub(super) fn unavailable(&self, question: &Question, why: &str) -> Verdict {
        self.last_fault.note(why);
        if let Some(left_out) = self.line(LogTopic::NoAnswer) {
            tracing::warn!(
                provider = %self.sources.provider(),
                request_id = %question.request_id,
                left_out,
                "the token server gave no answer: {why}"
            );
        }
        Verdict::Unavailable
    }

    fn line(&self, trouble: LogTopic) -> Option<u64> {
        self.log_throttle.line(&trouble, Instant::now()).map(|left_out| left_out.same)
    }
}

/// Returns the subject for a credential without a name. It is empty for callers without a
/// credential.
fn fingerprint(question: &Question) -> Box<str> {
    if is_anonymous(question) {
        "".into()
    } else {
        question.known_as.fingerprint.to_string().into()
    }
}

fn is_anonymous(question: &Question) -> bool {
    matches!(question.credential, Credential::Anonymous)
}
