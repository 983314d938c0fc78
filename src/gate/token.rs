//! Requests to the token service. They pass the same stages, and the result is a token.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use secrecy::SecretString;

use super::decide::AUTHORIZE;
use super::{Gate, expect_no_body};
use crate::body::form::{FormError, read_form};
use crate::body::{RequestBody, ResponseBody};
use crate::denial::{Denial, TokenRequestError};
use crate::framing;
use crate::identity::authenticator::CacheUse;
use crate::identity::model::credential::{Credential, CredentialKind};
use crate::identity::model::keyed_hash::Fingerprint;
use crate::identity::{Question, Verified, Vouched};
use crate::limits::OnLimit;
use crate::policy::Policy;
use crate::record::Record;
use crate::registry::{Access, Action, RepositoryName};
use crate::respond::Responder;
use crate::token_service::gate_token::{CatalogShare, MAX_REFUSED, RefusedAccess, TokenScope};
use crate::token_service::refresh_token::RefreshToken;
use crate::token_service::request::{Grant, MAX_FORM_BYTES, TokenRequest};
use crate::token_service::{self, Issued, Refresh, TokenContents};
use crate::upstream::ClientInfo;

impl Gate {
    /// Answers a request to the token service. The credential is sealed together with what it is
    /// granted of what was asked, which may be nothing.
    pub(super) async fn issue_token(
        &self,
        head: &Parts,
        body: RequestBody,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        record.set_token_request();
        framing::check_token_request(head).map_err(Denial::Framing)?;
        self.limits.client(client.address, OnLimit::Reject).await?;
        let asked = token_request(head, body).await?;
        let vouched = self.vouch(asked, head, client, record).await;
        record.stage_ends(&vouched);
        let vouched = vouched?;
        self.limit_token(client, record).await?;
        let issued = self.seal(vouched, &head.method)?;
        Ok(self.responder.token(&issued, client.progress))
    }

    /// Seals a token for a response to a request with this method.
    pub(super) fn seal(&self, vouched: TokenContents, method: &Method) -> Result<Issued, Denial> {
        self.tokens.issue(vouched, method == Method::POST).map_err(Denial::TokenRequest)
    }

    /// Verifies the credential of a token request. Returns the contents of the token: the
    /// credential, and what it is granted of what was asked.
    pub(super) async fn vouch(
        &self,
        asked: TokenRequest,
        head: &Parts,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<TokenContents, Denial> {
        self.tokens.check_service(asked.service.as_deref()).map_err(Denial::TokenRequest)?;
        let mut questions = asked.questions().into_iter();
        let first = questions.next().unwrap_or(Access::Login);
        let (question, refreshed) = match grant(head, asked.grant)? {
            Grant::Password(credential) => {
                record.set_credential_kind(token_service::kind(&credential));
                if token_service::may_contain_sealed(&credential) {
                    return Err(Denial::WrongCredential);
                }
                (self.question((credential, None), first, client, record), None)
            }
            Grant::RefreshToken(text) => {
                record.set_credential_kind(CredentialKind::RefreshToken);
                let (credential, session) = self.session(text)?;
                let vouched = Some(session.vouched.clone());
                (self.question((credential, vouched), first, client, record), Some(session))
            }
        };
        let verified = match &refreshed {
            None => self.authenticate(&question, record).await?,
            Some(session) => self.authenticate_in(session, &question, record).await?,
        };
        record.stage_begins(AUTHORIZE);
        // If nothing is public, a token that grants nothing is a valid answer, and clients go on to
        // a login.
        let mut repositories = self.policy.granted(&question.access, &verified);
        let mut refused = refusals(&self.policy, &self.responder, &question.access, &verified);
        let vouched = verified.vouched();
        let expiry = verified.session_ends();
        let refresh = match refreshed {
            Some(RefreshedSession { text, issued, expires, .. }) => {
                Refresh::Same { token: text, issued, expires }
            }
            None if asked.offline && matches!(question.credential, Credential::Basic { .. }) => {
                Refresh::New { subject: given_name(&verified).into() }
            }
            None => Refresh::No,
        };
        for access in questions {
            let question = Question { access, ..question.clone() };
            let verified = self.identity.verify(&question, &mut CacheUse::None).await?;
            repositories.extend(self.policy.granted(&question.access, &verified));
            refused.extend(refusals(&self.policy, &self.responder, &question.access, &verified));
        }
        let catalog = match asked.catalog {
            false => CatalogShare::None,
            true => match self.catalog_refusal(&question, verified).await? {
                Some(denial) => {
                    refused.push(refused_access(&self.responder, None, &denial));
                    CatalogShare::None
                }
                // If no named repository is granted, the token shows an empty list.
                None if asked.names_repositories => CatalogShare::Listed,
                None => CatalogShare::All,
            },
        };
        // A request of a caller without a credential gets no other reason than that it needs one.
        if matches!(question.credential, Credential::Anonymous) {
            refused.clear();
        }
        refused.truncate(MAX_REFUSED);
        let token_scope = TokenScope { repositories, catalog, refused };
        let expiry = expiry.or_else(|| self.identity.credential_expiry(&question));
        let Question { credential, revocation, .. } = question;
        Ok(TokenContents { credential, vouched, token_scope, expiry, revocation, refresh })
    }

    /// Opens a refresh token. Returns the credential in it.
    fn session(&self, text: SecretString) -> Result<(Credential, RefreshedSession), Denial> {
        let opened = self.tokens.refresh(&text)?;
        let RefreshToken { issued, expires, credential, vouched, subject } = opened;
        // The client did not try a password, so this does not count as a wrong login.
        if !self.identity.may_ask(&vouched.by, &credential) {
            return Err(Denial::InvalidToken);
        }
        Ok((credential, RefreshedSession { text, issued, expires, vouched, subject }))
    }

    /// Verifies the credential of a refresh token, which must still be that of the same caller, and
    /// must not have been revoked since the token was sealed.
    async fn authenticate_in(
        &self,
        session: &RefreshedSession,
        question: &Question,
        record: &mut Record,
    ) -> Result<Arc<Verified>, Denial> {
        let is_revoked = || self.identity.has_revoked_sealed(question, session.issued);
        if is_revoked() {
            return Err(Denial::InvalidToken);
        }
        let verified = self.authenticate(question, record).await?;
        let provider = &verified.principal.source.provider;
        let (then, now) = (&*session.subject, given_name(&verified));
        let is_other = !then.is_empty() && !now.is_empty() && then != now;
        let is_same = **provider == *session.vouched.by && !is_other;
        if !is_same || is_revoked() {
            return Err(Denial::InvalidToken);
        }
        Ok(verified)
    }

    /// Returns the reason why no token for the list of all repositories is granted; `None` if one
    /// is. `verified` is the verdict for `question`.
    async fn catalog_refusal(
        &self,
        question: &Question,
        verified: Arc<Verified>,
    ) -> Result<Option<Denial>, Denial> {
        let verified = match question.access {
            Access::Catalog => verified,
            _ => {
                let of_catalog = Question { access: Access::Catalog, ..question.clone() };
                self.identity.verify(&of_catalog, &mut CacheUse::None).await?
            }
        };
        Ok(self.policy.catalog_refusal(&verified))
    }
}

/// The session that a refresh token stands for.
struct RefreshedSession {
    /// The token itself.
    text: SecretString,
    /// The time when it was made (Unix time, microseconds).
    issued: u64,
    /// The end of the session (Unix time, seconds).
    expires: u64,
    /// The provider that vouched for the credential when the session began.
    vouched: Vouched,
    /// The name of the caller at that provider; empty if it gave none.
    subject: Box<str>,
}

/// Returns the name that the provider gave the caller; empty if it gave none, as GitLab does where
/// it grants nothing. The fingerprint of the credential then stands in for it, perhaps as another
/// replica computed it.
fn given_name(verified: &Verified) -> &str {
    let subject = &*verified.principal.subject;
    if Fingerprint::parse(subject).is_some() { "" } else { subject }
}

/// Returns the only credential or refresh token of a token request.
fn grant(head: &Parts, of_form: Option<Grant>) -> Result<Grant, Denial> {
    match (Credential::from_headers(&head.headers)?, of_form) {
        (credential, None) => Ok(Grant::Password(credential)),
        (Credential::Anonymous, Some(grant)) => Ok(grant),
        (_, Some(_)) => Err(Denial::TokenRequest(TokenRequestError::TwoCredentials)),
    }
}

/// Returns the reasons why parts of an access are not granted.
pub(super) fn refusals(
    policy: &Policy,
    responder: &Responder,
    asked: &Access,
    verified: &Verified,
) -> Vec<RefusedAccess> {
    let refused = policy.refused(asked, verified).take(MAX_REFUSED);
    refused
        .map(|(name, action, denial)| refused_access(responder, Some((name, action)), &denial))
        .collect()
}

fn refused_access(
    responder: &Responder,
    action: Option<(RepositoryName, Action)>,
    denial: &Denial,
) -> RefusedAccess {
    RefusedAccess { action, message: responder.message(denial).into() }
}

/// Reads the token request: the query of a GET, or the form of a POST.
async fn token_request(head: &Parts, mut body: RequestBody) -> Result<TokenRequest, Denial> {
    if head.method != Method::POST || !framing::is_form(&head.headers) {
        expect_no_body(&head.method, &mut body).await?;
        return token_query(head);
    }
    let form = read_form(body, MAX_FORM_BYTES).await;
    let form = form.map_err(|error| match error {
        FormError::TooLarge => Denial::TokenRequest(TokenRequestError::TooLarge),
        FormError::BrokenOff => Denial::ClientAborted,
    })?;
    TokenRequest::from_form(&form).map_err(Denial::TokenRequest)
}

/// Reads a token request that has no form.
pub(super) fn token_query(head: &Parts) -> Result<TokenRequest, Denial> {
    let read = match head.method {
        Method::GET => TokenRequest::from_query(head.uri.query().unwrap_or_default()),
        Method::POST => Err(TokenRequestError::NoForm),
        _ => Err(TokenRequestError::Method),
    };
    read.map_err(Denial::TokenRequest)
}
