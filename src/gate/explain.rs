//! The explanation of a response (`moorgate explain`). It runs the stages of a request up to the
//! audit and the request to the upstream.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use super::token::token_query;
use super::{Gate, RequestContext, look_up};
use crate::body::{Progress, RequestBody};
use crate::denial::{Denial, Reason};
use crate::framing;
use crate::identity::Verified;
use crate::identity::model::credential::CredentialKind;
use crate::identity::model::trail::Consulted;
use crate::policy::{Caller, CatalogEffect, Explained, Policy, RuleNumber, Ruling, Target};
use crate::record::{Outcome, Record};
use crate::registry::{Access, RegistryRequest, RepositoryName, Tag};
use crate::request_id::RequestId;
use crate::respond::Responder;
use crate::token_service::{self, gate_token::TokenScope, request::TokenRequest};
use crate::upstream::{ClientInfo, Upstream};

/// The outcome of a request, and the facts that were learned on the way.
pub struct Explanation<'a> {
    pub(super) policy: &'a Policy,
    pub(super) responder: &'a Responder,
    /// The address of the client.
    pub address: IpAddr,
    /// The address of the client for rules with `from`, unless it is only a trusted proxy's own.
    pub(super) matched_address: Option<IpAddr>,
    /// The operation, if the request was understood as one of the registry's.
    pub request: Option<RegistryRequest>,
    /// The access that the source of a mount needs, or that a token request asks for.
    pub access: Vec<Access>,
    /// The kind of the presented credential (`credential_kind` in the access log).
    pub credential_kind: CredentialKind,
    /// The caller, if a provider identified it, or if it is assumed.
    pub caller: Option<Arc<Verified>>,
    /// `true` if no provider was asked: the caller is the one that the arguments describe, and its
    /// credential counts as one with every right.
    pub assumed: bool,
    /// The part of each provider in the decision about the credential, in the order of the config;
    /// empty if the providers were not needed.
    pub consulted: Vec<Consulted>,
    /// The response that the request would get.
    pub answer: ExplainedAnswer,
}

/// The response that a request would get.
pub enum ExplainedAnswer {
    /// The response to a ping, which the gate itself gives.
    Pong,
    /// A token with this scope, which may be empty.
    Token(TokenScope),
    /// The response of the upstream.
    Registry {
        /// The reason why the mount was removed.
        mount_refusal: Option<Denial>,
        /// The immutable tags that the upstream was asked for and that do not exist.
        absent: Vec<Tag>,
        /// The immutable tags that the upstream would be asked for. If one exists, the request is
        /// refused, or only logged (`false`) in shadow mode.
        unasked: Vec<(Tag, bool)>,
        /// The only names that the list of all repositories may show, because of a gate token.
        shown: Option<Vec<RepositoryName>>,
        /// The statement of the rules about the request.
        ruling: Ruling,
    },
    /// A refusal.
    Refused {
        /// The reason that the caller is told.
        denial: Denial,
        /// The actual reason, if the caller is told only that a credential is needed.
        withheld: Option<Denial>,
        /// The status of the response.
        status: StatusCode,
    },
}

impl Gate {
    /// Runs a request without a body through the stages, as if a client at this address had sent
    /// it. Providers are asked, and the upstream is asked about tags that must not exist. Nothing
    /// is audited or forwarded.
    pub async fn explain(
        &self,
        head: &Parts,
        address: IpAddr,
        upstream: &Upstream,
    ) -> Explanation<'_> {
        self.identity.keep_trail();
        let progress = Rc::new(Progress::default());
        progress.end_request();
        let client = ClientInfo { address, http2: false, progress: &progress };
        let mut record = Record::begin(
            self.recorder.clone(),
            progress.clone(),
            RequestId::from_headers(&head.headers),
            address,
            head.method.clone(),
            head.uri.path().to_owned(),
        );
        let mut context = RequestContext::default();
        let (request, access, outcome) = if head.uri.path() == token_service::PATH {
            let (access, outcome) = self.explain_token(head, &client, &mut record).await;
            (None, access, outcome)
        } else {
            let request =
                RegistryRequest::parse(&head.method, head.uri.path(), head.uri.query()).ok();
            let outcome =
                self.explain_request(head, &client, upstream, &mut context, &mut record).await;
            (request, context.needed[1].iter().cloned().collect(), outcome)
        };
        let answer = outcome.unwrap_or_else(|denial| {
            let status = self.refuse(&denial, head, &context, &record, &progress).status();
            ExplainedAnswer::Refused { denial, withheld: context.withheld.take(), status }
        });
        let (credential_kind, caller) = (record.credential_kind(), record.caller().cloned());
        Explanation {
            policy: &self.policy,
            responder: &self.responder,
            address,
            matched_address: (!self.trusted_proxies.trusts(address)).then_some(address),
            request,
            access,
            credential_kind,
            caller,
            assumed: false,
            consulted: self.identity.consulted(),
            answer,
        }
    }

    async fn explain_request(
        &self,
        head: &Parts,
        client: &ClientInfo<'_>,
        upstream: &Upstream,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<ExplainedAnswer, Denial> {
        let mut body = RequestBody::empty(client.progress.clone());
        let Some((mut decision, _)) = self.admit(head, &mut body, client, context, record).await?
        else {
            return Ok(ExplainedAnswer::Pong);
        };
        let mount_refusal = decision.mount_refusal().cloned();
        let shown = decision.shows_at_most().map(<[_]>::to_vec);
        let answers = look_up(&mut decision, client, upstream, record).await?;
        let asked = decision.must_not_exist().zip(&answers);
        let absent = asked.filter(|(_, answer)| **answer == StatusCode::NOT_FOUND);
        let absent = absent.map(|(tag, _)| tag.clone()).collect();
        let ruling = decision.ruling().clone();
        // The permit is dropped, so nothing is forwarded.
        decision.permit(&answers)?;
        let unasked = Vec::new();
        Ok(ExplainedAnswer::Registry { mount_refusal, absent, unasked, shown, ruling })
    }

    /// Seals the token too, because it may turn out to be too long, and drops it.
    async fn explain_token(
        &self,
        head: &Parts,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> (Vec<Access>, Result<ExplainedAnswer, Denial>) {
        record.set_token_request();
        let (asked, access) = match token_query_with_access(head) {
            Ok(asked) => asked,
            Err(denial) => return (Vec::new(), Err(denial)),
        };
        let answer = async {
            let vouched = self.vouch(asked, head, client, record).await?;
            let token_scope = vouched.token_scope.clone();
            self.seal(vouched, &head.method)?;
            Ok(ExplainedAnswer::Token(token_scope))
        };
        (access, answer.await)
    }
}

/// Reads a token request that has no form. Returns also the accesses that it asks for.
pub(super) fn token_query_with_access(head: &Parts) -> Result<(TokenRequest, Vec<Access>), Denial> {
    framing::check_token_request(head).map_err(Denial::Framing)?;
    let asked = token_query(head)?;
    let mut access = asked.questions();
    if asked.catalog && !access.contains(&Access::Catalog) {
        access.push(Access::Catalog);
    }
    Ok((asked, access))
}

impl Explanation<'_> {
    /// Returns the result of each rule for each need of the request; empty if the caller is not
    /// known.
    pub fn rules(&self) -> Vec<Explained<'_>> {
        let Some(caller) = self.caller() else { return Vec::new() };
        let of_request =
            self.request.iter().flat_map(|request| self.policy.explain(request, caller));
        let besides =
            self.access.iter().flat_map(|access| self.policy.explain_access(access, caller));
        of_request.chain(besides).collect()
    }

    /// Returns the caller as rules see it, if it is known.
    fn caller(&self) -> Option<Caller<'_>> {
        let verified = self.caller.as_ref()?;
        Some(Caller { verified, address: self.matched_address })
    }

    /// Returns whether rules look at the address of the client, and whether it is only a trusted
    /// proxy's own.
    pub fn looks_at_address(&self) -> (bool, bool) {
        (self.policy.looks_at_addresses(), self.matched_address.is_none())
    }

    /// Returns the tags and digests of the request that rules make immutable, each with the name of
    /// such a rule.
    pub fn immutable(&self) -> impl Iterator<Item = (&str, Target<'_>)> {
        self.request.iter().flat_map(|request| self.policy.explain_immutable(request))
    }

    /// Returns the name of the rule that allows the request.
    pub fn rule_name(&self, rule: RuleNumber) -> &str {
        self.policy.rule_name(rule)
    }

    /// Returns the message for the user about a denial.
    pub fn message(&self, denial: &Denial) -> String {
        self.responder.message(denial)
    }

    /// Returns the effect of each rule on the list of all repositories, if the request needs that
    /// list and the caller is known. Callers without a credential never get the list.
    pub fn catalog(&self) -> Option<Vec<(&str, CatalogEffect<'_>)>> {
        let caller = self.caller().filter(|caller| !caller.verified.principal.is_anonymous())?;
        let of_request = self.request.iter().map(RegistryRequest::required);
        of_request
            .chain(self.access.iter().cloned())
            .any(|access| access == Access::Catalog)
            .then(|| self.policy.explain_catalog(caller))
    }

    /// Returns the `reason` of the access log.
    pub fn reason(&self) -> Reason {
        match &self.answer {
            ExplainedAnswer::Refused { denial, .. } => denial.answer().reason,
            ExplainedAnswer::Registry { ruling: Ruling::ShadowDenied(_), .. } => {
                Outcome::ShadowDenied.reason()
            }
            _ => Outcome::Allowed.reason(),
        }
    }

    /// Returns the provider that gave no answer, if the request is refused because of that.
    pub fn unavailable(&self) -> Option<&Arc<str>> {
        let ExplainedAnswer::Refused { denial, withheld, .. } = &self.answer else {
            return None;
        };
        let unavailable = |denial: &&Denial| matches!(denial, Denial::ProviderUnavailable { .. });
        [Some(denial), withheld.as_ref()].into_iter().flatten().find(unavailable)?.provider()
    }
}
