//! What a request would get, and why (`moorgate explain`): the stages of a request, up to where it
//! would be audited and go to the registry.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use super::token::token_query;
use super::{Gate, RequestContext, look_up, request_id};
use crate::body::{Progress, RequestBody};
use crate::denial::Denial;
use crate::framing;
use crate::identity::Verified;
use crate::policy::{Explained, Policy, Ruling};
use crate::record::{Outcome, Record};
use crate::registry::{Access, RegistryRequest, Tag};
use crate::token_service::{self, gate_token::TokenScope};
use crate::upstream::{ClientInfo, Upstream};

/// What became of a request, and what was learned on the way.
pub struct Explanation<'a> {
    policy: &'a Policy,
    /// The operation, where it is one of the registry's and was understood.
    pub request: Option<RegistryRequest>,
    /// What a mount reads, or a token is asked for.
    pub access: Vec<Access>,
    /// How the caller showed who it is (`credential_kind` in the access log).
    pub credential_kind: &'static str,
    /// Who the caller is, where a provider said so.
    pub caller: Option<Arc<Verified>>,
    /// The answer.
    pub answer: ExplainedAnswer,
}

/// What a request would be answered with.
pub enum ExplainedAnswer {
    /// The ping, by the gate itself.
    Pong,
    /// A token for this, possibly nothing.
    Token(TokenScope),
    /// Whatever the registry answers to it.
    Registry {
        /// Why its mount was taken out.
        mount_refusal: Option<Denial>,
        /// The tags that the registry was asked for, and does not have.
        absent: Vec<Tag>,
        /// What the rules say.
        ruling: Ruling,
    },
    /// A refusal.
    Refused {
        /// What the caller is told.
        denial: Denial,
        /// Why, where the caller is told only that a credential is needed.
        withheld: Option<Denial>,
        /// The status of the answer.
        status: StatusCode,
    },
}

impl Gate {
    /// Has a request without a body go through the stages as if it came from this machine.
    /// Providers are asked, and the registry is where a tag must not exist; nothing is audited
    /// or forwarded.
    pub async fn explain(&self, head: &Parts, upstream: &Upstream) -> Explanation<'_> {
        let progress = Rc::new(Progress::default());
        progress.end_request();
        let address = Ipv4Addr::LOCALHOST.into();
        let caller = ClientInfo { address, http2: false, progress: &progress };
        let mut record = Record::begin(
            self.recorder.clone(),
            progress.clone(),
            request_id(&head.headers),
            address,
            head.method.clone(),
            head.uri.path().to_owned(),
        );
        let mut context = RequestContext::default();
        let (request, access, outcome) = if head.uri.path() == token_service::PATH {
            let (access, outcome) = self.explain_token(head, &caller, &mut record).await;
            (None, access, outcome)
        } else {
            let request =
                RegistryRequest::parse(&head.method, head.uri.path(), head.uri.query()).ok();
            let outcome =
                self.explain_request(head, &caller, upstream, &mut context, &mut record).await;
            (request, context.needed[1].iter().cloned().collect(), outcome)
        };
        let answer = outcome.unwrap_or_else(|denial| {
            let status = self.refuse(&denial, head, &context, &record, &progress).status();
            ExplainedAnswer::Refused { denial, withheld: context.withheld.take(), status }
        });
        let (credential_kind, caller) = (record.credential_kind(), record.caller().cloned());
        Explanation { policy: &self.policy, request, access, credential_kind, caller, answer }
    }

    async fn explain_request(
        &self,
        head: &Parts,
        caller: &ClientInfo<'_>,
        upstream: &Upstream,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<ExplainedAnswer, Denial> {
        let mut body = RequestBody::empty(caller.progress.clone());
        let Some((decision, _)) = self.admit(head, &mut body, caller, context, record).await?
        else {
            return Ok(ExplainedAnswer::Pong);
        };
        let (mount_refusal, ruling) =
            (decision.mount_refusal().cloned(), decision.ruling().clone());
        let absent = decision.must_not_exist().to_vec();
        // The permit is not used.
        look_up(decision, caller, upstream, record).await?;
        Ok(ExplainedAnswer::Registry { mount_refusal, absent, ruling })
    }

    /// The token itself is made, for it may be too long, and dropped.
    async fn explain_token(
        &self,
        head: &Parts,
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> (Vec<Access>, Result<ExplainedAnswer, Denial>) {
        record.set_token_request();
        let asked = framing::check_token_request(head)
            .map_err(Denial::Framing)
            .and_then(|()| token_query(head));
        let asked = match asked {
            Ok(asked) => asked,
            Err(denial) => return (Vec::new(), Err(denial)),
        };
        let access = asked.questions();
        let answer = async {
            let vouched = self.vouch(asked, head, caller, record).await?;
            let token_scope = vouched.token_scope.clone();
            self.seal(vouched, &head.method)?;
            Ok(ExplainedAnswer::Token(token_scope))
        };
        (access, answer.await)
    }
}

impl Explanation<'_> {
    /// What each rule says of each thing that the request takes; nothing where nobody knows who the
    /// caller is.
    pub fn rules(&self) -> Vec<Explained<'_>> {
        let Some(caller) = &self.caller else { return Vec::new() };
        let of_request =
            self.request.iter().flat_map(|request| self.policy.explain(request, caller));
        let besides =
            self.access.iter().flat_map(|access| self.policy.explain_access(access, caller));
        of_request.chain(besides).collect()
    }

    /// `reason` in the access log.
    pub fn reason(&self) -> &'static str {
        match &self.answer {
            ExplainedAnswer::Refused { denial, .. } => denial.wire().2,
            ExplainedAnswer::Registry { ruling: Ruling::ShadowDenied(_), .. } => {
                Outcome::ShadowDenied.reason()
            }
            _ => Outcome::Allowed.reason(),
        }
    }

    /// The provider that gave no answer, where that is why the request is refused.
    pub fn unavailable(&self) -> Option<&Arc<str>> {
        let ExplainedAnswer::Refused { denial, withheld, .. } = &self.answer else {
            return None;
        };
        let unavailable = |denial: &&Denial| matches!(denial, Denial::ProviderUnavailable { .. });
        [Some(denial), withheld.as_ref()].into_iter().flatten().find(unavailable)?.provider()
    }
}
