//! Requests to the token service. They pass the same stages, and the result is a token.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};

use super::decide::AUTHORIZE;
use super::{Gate, expect_no_body};
use crate::body::form::{FormError, read_form};
use crate::body::{RequestBody, ResponseBody};
use crate::denial::{Denial, TokenRequestError};
use crate::framing;
use crate::identity::authenticator::CacheUse;
use crate::identity::model::credential::Credential;
use crate::identity::{Question, Verified};
use crate::limits::OnLimit;
use crate::policy::{Caller, Policy};
use crate::record::Record;
use crate::registry::{Access, Action, RepositoryName};
use crate::respond::Responder;
use crate::token_service::gate_token::{CatalogShare, MAX_REFUSED, RefusedAccess, TokenScope};
use crate::token_service::request::{MAX_FORM_BYTES, TokenRequest};
use crate::token_service::{self, Issued, TokenContents};
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
        let credential = match (Credential::from_headers(&head.headers)?, asked.credential) {
            (credential, None) | (Credential::Anonymous, Some(credential)) => credential,
            (_, Some(_)) => return Err(Denial::TokenRequest(TokenRequestError::TwoCredentials)),
        };
        record.set_credential_kind(token_service::kind(&credential));
        if token_service::may_contain_sealed(&credential) {
            return Err(Denial::WrongCredential);
        }
        let question =
            self.question(credential, questions.next().unwrap_or(Access::Login), client, record);
        let verified = self.authenticate(&question, record).await?;
        record.stage_begins(AUTHORIZE);
        // If nothing is public, a token that grants nothing is a valid answer, and clients go on to
        // a login.
        let caller = self.caller(&verified, client);
        let mut repositories = self.policy.granted(&question.access, caller);
        let mut refused = refusals(&self.policy, &self.responder, &question.access, caller);
        let provider = verified.vouching_provider();
        for access in questions {
            let question = Question { access, ..question.clone() };
            let verified = self.identity.verify(&question, &mut CacheUse::None).await?;
            let caller = self.caller(&verified, client);
            repositories.extend(self.policy.granted(&question.access, caller));
            refused.extend(refusals(&self.policy, &self.responder, &question.access, caller));
        }
        let catalog = match asked.catalog {
            false => CatalogShare::None,
            true => match self.catalog_refusal(&question, verified, client).await? {
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
        let expiry = self.identity.credential_expiry(&question);
        let Question { credential, revocation, .. } = question;
        Ok(TokenContents { credential, provider, token_scope, expiry, revocation })
    }

    /// Returns the reason why no token for the list of all repositories is granted; `None` if one
    /// is. `verified` is the verdict for `question`.
    async fn catalog_refusal(
        &self,
        question: &Question,
        verified: Arc<Verified>,
        client: &ClientInfo<'_>,
    ) -> Result<Option<Denial>, Denial> {
        let verified = match question.access {
            Access::Catalog => verified,
            _ => {
                let of_catalog = Question { access: Access::Catalog, ..question.clone() };
                self.identity.verify(&of_catalog, &mut CacheUse::None).await?
            }
        };
        Ok(self.policy.catalog_refusal(self.caller(&verified, client)))
    }
}

/// Returns the reasons why parts of an access are not granted.
pub(super) fn refusals(
    policy: &Policy,
    responder: &Responder,
    asked: &Access,
    caller: Caller<'_>,
) -> Vec<RefusedAccess> {
    let refused = policy.refused(asked, caller).take(MAX_REFUSED);
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
