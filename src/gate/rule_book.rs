//! The statement of the rules about a request of a caller that is only described
//! (`moorgate explain --as`). It asks no provider and no registry. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use super::explain::{ExplainedAnswer, Explanation, token_query_with_access};
use super::parse::parse;
use super::token::refusals;
use crate::denial::Denial;
use crate::identity::model::credential::CredentialKind;
use crate::identity::model::tag_rules::TagRules;
use crate::identity::{Attributes, Granted, Principal, RepositoryGrant, TokenServerKind, Verified};
use crate::net::client_address::TrustedProxies;
use crate::policy::{Caller, Policy};
use crate::registry::{Access, RegistryRequest};
use crate::respond::Responder;
use crate::token_service::gate_token::{CatalogShare, MAX_REFUSED, TokenScope};
use crate::token_service::request::TokenRequest;
use crate::token_service::{self, TokenService};

/// The rules of a config, without its providers and its registry.
pub struct RuleBook {
    pub(crate) policy: Policy,
    pub(crate) trusted_proxies: TrustedProxies,
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
    /// Runs a request without a body through the stages that parse it and that ask the rules, as if
    /// a client at this address had sent it.
    pub fn explain(
        &self,
        head: &Parts,
        address: IpAddr,
        caller: &AssumedCaller,
    ) -> Explanation<'_> {
        let matched_address = (!self.trusted_proxies.trusts(address)).then_some(address);
        let caller = AssumedAt { caller, address: matched_address };
        let (request, access, outcome) = if head.uri.path() == token_service::PATH {
            match token_query_with_access(head) {
                Ok((asked, access)) => (None, access, self.of_token(&asked, &caller)),
                Err(denial) => (None, Vec::new(), Err(denial)),
            }
        } else {
            match parse(head) {
                Ok(request) => {
                    let access = request.mount_source().into_iter().collect();
                    (Some(request.clone()), access, self.of_request(request, &caller))
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
            address,
            matched_address,
            request,
            access,
            credential_kind: CredentialKind::Basic,
            caller: Some(Arc::new(caller.caller.verified(&Access::Login))),
            assumed: true,
            consulted: Vec::new(),
            answer,
        }
    }

    fn of_request(
        &self,
        request: RegistryRequest,
        caller: &AssumedAt<'_>,
    ) -> Result<ExplainedAnswer, Denial> {
        if request == RegistryRequest::Ping {
            return Ok(ExplainedAnswer::Pong);
        }
        self.policy.check_read_only(&request)?;
        let required = request.required();
        let mut decision =
            caller.with_all(&required, |caller| self.policy.authorize(request, caller))?;
        if let Some(source) = decision.unchecked_mount_source() {
            decision = caller.with_all(&source, |caller| self.policy.allow_mount(decision, caller));
        }
        let look_ups = decision.look_ups();
        let unasked = decision.must_not_exist().zip(&look_ups);
        let unasked = unasked.map(|(tag, look_up)| (tag.clone(), look_up.decides));
        Ok(ExplainedAnswer::Registry {
            mount_refusal: decision.mount_refusal().cloned(),
            absent: Vec::new(),
            unasked: unasked.collect(),
            shown: None,
            ruling: decision.ruling().clone(),
        })
    }

    fn of_token(
        &self,
        asked: &TokenRequest,
        caller: &AssumedAt<'_>,
    ) -> Result<ExplainedAnswer, Denial> {
        self.tokens.check_service(asked.service.as_deref()).map_err(Denial::TokenRequest)?;
        let (mut repositories, mut refused) = (Vec::new(), Vec::new());
        for access in asked.questions() {
            caller.with_all(&access, |caller| {
                repositories.extend(self.policy.granted(&access, caller));
                refused.extend(refusals(&self.policy, &self.responder, &access, caller));
            });
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

/// An assumed caller at an address.
struct AssumedAt<'a> {
    caller: &'a AssumedCaller,
    /// `None` for an address that is only a trusted proxy's own.
    address: Option<IpAddr>,
}

impl AssumedAt<'_> {
    /// Calls `decide` with the caller that has every right to an access.
    fn with_all<T>(&self, access: &Access, decide: impl FnOnce(Caller<'_>) -> T) -> T {
        let verified = self.caller.verified(access);
        decide(Caller { verified: &verified, address: self.address })
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
