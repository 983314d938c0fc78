//! The statement of the rules about a request of a caller that is only described
//! (`moorgate explain --as`). It asks no provider and no registry. Pure.

use std::sync::Arc;

use http::request::Parts;

use super::explain::{ExplainedAnswer, Explanation, token_query_with_access};
use super::parse::parse;
use super::token::refusals;
use crate::denial::Denial;
use crate::identity::model::credential::CredentialKind;
use crate::identity::model::tag_rules::TagRules;
use crate::identity::{Attributes, Granted, Principal, RepositoryGrant, TokenServerKind, Verified};
use crate::policy::Policy;
use crate::registry::{Access, RegistryRequest};
use crate::respond::Responder;
use crate::token_service::gate_token::{CatalogShare, MAX_REFUSED, TokenScope};
use crate::token_service::request::TokenRequest;
use crate::token_service::{self, TokenService};

/// The rules of a config, without its providers and its registry.
pub struct RuleBook {
    pub(crate) policy: Policy,
    pub(crate) responder: Responder,
    /// Checks the service that a token request names. It seals nothing.
    pub(crate) tokens: TokenService,
}

/// A caller whose credential is not known. It counts as one with every right, so that only the
/// rules decide.
pub struct AssumedCaller {
    /// The identity, with a subject that is not empty.
    pub principal: Principal,
    /// The groups and claims that the provider would report.
    pub attributes: Option<Box<Attributes>>,
}

impl RuleBook {
    /// Runs a request without a body through the stages that parse it and that ask the rules.
    pub fn explain(&self, head: &Parts, caller: &AssumedCaller) -> Explanation<'_> {
        let (request, access, outcome) = if head.uri.path() == token_service::PATH {
            match token_query_with_access(head) {
                Ok((asked, access)) => (None, access, self.of_token(&asked, caller)),
                Err(denial) => (None, Vec::new(), Err(denial)),
            }
        } else {
            match parse(head) {
                Ok(request) => {
                    let access = request.mount_source().into_iter().collect();
                    (Some(request.clone()), access, self.of_request(request, caller))
                }
                Err(denial) => (None, Vec::new(), Err(denial)),
            }
        };
        let answer = outcome.unwrap_or_else(|denial| {
            let status = denial.answer().status;
            ExplainedAnswer::Refused { denial, withheld: None, status }
        });
        Explanation {
            policy: &self.policy,
            responder: &self.responder,
            request,
            access,
            credential_kind: CredentialKind::Basic,
            caller: Some(Arc::new(caller.verified(&Access::Login))),
            assumed: true,
            consulted: Vec::new(),
            answer,
        }
    }

    fn of_request(
        &self,
        request: RegistryRequest,
        caller: &AssumedCaller,
    ) -> Result<ExplainedAnswer, Denial> {
        if request == RegistryRequest::Ping {
            return Ok(ExplainedAnswer::Pong);
        }
        let verified = caller.verified(&request.required());
        let mut decision = self.policy.authorize(request, &verified)?;
        if let Some(source) = decision.unchecked_mount_source() {
            decision = self.policy.allow_mount(decision, &caller.verified(&source));
        }
        Ok(ExplainedAnswer::Registry {
            mount_refusal: decision.mount_refusal().cloned(),
            absent: Vec::new(),
            shown: None,
            ruling: decision.ruling().clone(),
        })
    }

    fn of_token(
        &self,
        asked: &TokenRequest,
        caller: &AssumedCaller,
    ) -> Result<ExplainedAnswer, Denial> {
        self.tokens.check_service(asked.service.as_deref()).map_err(Denial::TokenRequest)?;
        let (mut repositories, mut refused) = (Vec::new(), Vec::new());
        for access in asked.questions() {
            let verified = caller.verified(&access);
            repositories.extend(self.policy.granted(&access, &verified));
            refused.extend(refusals(&self.policy, &self.responder, &access, &verified));
        }
        refused.truncate(MAX_REFUSED);
        let catalog = match (asked.catalog, asked.names_repositories) {
            (false, _) => CatalogShare::None,
            (true, true) => CatalogShare::Listed,
            (true, false) => CatalogShare::All,
        };
        Ok(ExplainedAnswer::Token(TokenScope { repositories, catalog, refused }))
    }
}

impl AssumedCaller {
    /// Returns the verdict of a provider that grants this caller all of an access.
    fn verified(&self, access: &Access) -> Verified {
        let grant = |(repository, actions)| RepositoryGrant {
            repository,
            actions,
            server: TokenServerKind::Other,
            tags: TagRules::None,
            token: None,
        };
        let granted = match access {
            Access::Login => Granted::Identity,
            Access::Catalog => Granted::Catalog(None),
            Access::Repository(..) | Access::Repositories(_) => {
                let each = access.repositories().map(|(name, actions)| (name.clone(), actions));
                Granted::Repositories(Arc::new(each.map(grant).collect()))
            }
        };
        let (principal, attributes) = (self.principal.clone(), self.attributes.clone());
        Verified { principal, granted, attributes }
    }
}
