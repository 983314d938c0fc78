//! The stages of a request. This is the only file that names every stage, in order.

mod connection_state;
mod decide;
mod explain;
mod limits;
mod parse;
mod receive;
mod rule_book;
mod token;

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use crate::body::{Progress, RequestBody, ResponseBody};
use crate::denial::{Denial, Uncovered, UpstreamFault};
use crate::identity::authenticator::Authenticator;
use crate::identity::model::credential::Credential;
use crate::identity::{Question, UpstreamToken};
use crate::limits::{Account, Limits};
use crate::metrics::MetricsFormat;
use crate::net::client_address::TrustedProxies;
use crate::policy::{Decision, Permit, Policy, Ruling};
use crate::record::{AuditLog, Record, Recorder};
use crate::registry::{Access, RegistryRequest};
use crate::respond::{DeniedRequest, Responder};
use crate::telemetry::Tracer;
use crate::token_service::{self, TokenService};
use crate::upstream::{ClientInfo, Upstream};
use parse::{expect_no_body, parse};

pub use connection_state::ConnectionState;
pub use explain::{ExplainedAnswer, Explanation};
pub use receive::{ConnectionInfo, Received};
pub use rule_book::{AssumedCaller, RuleBook};

/// Everything that a request passes on its way. All workers share it.
pub struct Gate {
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) identity: Authenticator,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) tokens: TokenService,
    pub(crate) responder: Responder,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) audit: Arc<AuditLog>,
    /// `None` without telemetry: the client's `traceparent` then goes to the registry.
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// State of a request to the registry that is not part of its record.
#[derive(Default)]
struct RequestContext {
    /// The access that the request needs, as far as it was understood. A mount needs two.
    needed: [Option<Access>; 2],
    /// The true reason for a 401 to a caller without a credential. `explain` shows it; the caller
    /// is told only that a credential is needed.
    withheld: Option<Denial>,
    /// `true` if the request has passed every limit, so that it is not counted again.
    within_limits: bool,
    /// The pull account of the caller, if it asked for a manifest and its pulls are limited.
    pulls: Option<Account>,
    /// The token that the registry has refused, and the question whose answer it is.
    refused_grant: Option<Box<(Question, UpstreamToken)>>,
}

impl Gate {
    /// Returns all metrics in a format.
    pub fn metrics(&self, format: MetricsFormat) -> String {
        self.recorder.metrics.encode(self.identity.cache_entries(), format)
    }

    /// Answers a request: with the upstream's response if the request is allowed, otherwise with a
    /// refusal. The record is written when the body of the response has ended.
    pub async fn serve(&self, received: Received, upstream: &Upstream) -> Response<ResponseBody> {
        let Received { head, body, client_address, connection_info, fault, mut record } = received;
        let client = ClientInfo {
            address: client_address,
            http2: connection_info.http2,
            progress: &connection_info.progress,
        };
        let mut context = RequestContext::default();
        let upload = connection_info.connection.begin(&head);
        let body = RequestBody::new(body, client.http2, client.progress.clone());
        let outcome = if let Some(fault) = fault {
            Err(Denial::Framing(fault))
        } else if head.uri.path() == token_service::PATH {
            self.issue_token(&head, body, &client, &mut record).await
        } else {
            match self
                .admit_and_forward(&head, body, &client, upstream, &mut context, &mut record)
                .await
            {
                // The future is boxed because retries are rare.
                refused @ Err(Denial::Upstream(UpstreamFault::RefusedUpstreamToken)) => {
                    Box::pin(async {
                        self.forget_refused_grant(&mut context).await;
                        if !is_read(&head.method) {
                            return refused;
                        }
                        // The retry fetches a new token.
                        let body = RequestBody::empty(client.progress.clone());
                        let (again, record) = (&mut context, &mut record);
                        let outcome = self
                            .admit_and_forward(&head, body, &client, upstream, again, record)
                            .await;
                        self.forget_refused_grant(&mut context).await;
                        outcome
                    })
                    .await
                }
                outcome => outcome,
            }
        };
        // An HTTP/1.1 connection is closed after a denial because of the framing, after CONNECT,
        // and after a request body that was not read to its end.
        let must_close =
            matches!(outcome, Err(Denial::Framing(_))) || head.method == Method::CONNECT;
        let close = must_close || connection_info.progress.request_body_ended().is_none();
        let mut response = match outcome {
            Ok(response) => {
                record.set_allowed(response.status());
                response
            }
            Err(denial) => {
                let response =
                    self.refuse(&denial, &head, &context, &record, &connection_info.progress);
                record.set_not_served(&denial, response.status());
                self.audit.refused(&record, &denial).await;
                response
            }
        };
        if let Some(upload) = upload {
            upload.answered(response.status());
        }
        if let Some(account) =
            context.pulls.filter(|_| response.status() != StatusCode::UNAUTHORIZED)
        {
            limits::tell_remaining(response.headers_mut(), &account);
        }
        let is_old = head.version == Version::HTTP_10;
        if is_old {
            // Otherwise hyper announces a persistent connection if the client asked for one.
            *response.version_mut() = Version::HTTP_10;
        }
        let close = close || is_old || connection_info.connection.is_last();
        self.responder.finish(&mut response, record.request_id(), close && !connection_info.http2);
        response.body_mut().observe(record);
        response
    }

    /// Returns the response to a refused request.
    fn refuse(
        &self,
        denial: &Denial,
        head: &Parts,
        context: &RequestContext,
        record: &Record,
        progress: &Rc<Progress>,
    ) -> Response<ResponseBody> {
        let refused =
            DeniedRequest { head, needed: &context.needed, kind: record.credential_kind() };
        self.responder.denial(denial, &refused, progress)
    }

    /// Runs the stages of a request: parse, limit, authenticate, authorise, limit, ask the upstream
    /// whether an immutable tag exists already, audit, forward.
    async fn admit_and_forward(
        &self,
        head: &Parts,
        mut body: RequestBody,
        client: &ClientInfo<'_>,
        upstream: &Upstream,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let admitted = self.admit(head, &mut body, client, context, record).await?;
        let wanted =
            admitted.as_ref().map_or(&RegistryRequest::Ping, |(decision, _)| decision.request());
        self.limit_caller(wanted, client, context, record).await?;
        let Some((decision, question)) = admitted else {
            return Ok(self.responder.pong(&head.method, client.progress));
        };
        let upstream_token = decision.upstream_token().cloned();
        let outcome = self.pass_on(decision, head, body, client, upstream, record).await;
        if let (Err(Denial::Upstream(UpstreamFault::RefusedUpstreamToken)), Some(refused)) =
            (&outcome, upstream_token)
        {
            context.refused_grant = Some(Box::new((question, refused)));
        }
        outcome
    }

    /// Drops the answer whose token the registry has refused.
    async fn forget_refused_grant(&self, context: &mut RequestContext) {
        if let Some((question, token)) = context.refused_grant.take().as_deref() {
            self.identity.forget(question, token).await;
        }
    }

    /// Runs the stages parse, limit, authenticate and authorise. Returns the decision and the
    /// question whose verdict decided; `None` if the gate itself answers the request, which is a
    /// ping.
    async fn admit(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        client: &ClientInfo<'_>,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<Option<(Decision, Question)>, Denial> {
        let wanted = parse(head).inspect_err(|_| self.limits.count_client(client.address))?;
        record.set_request(&wanted);
        expect_no_body(&head.method, body).await?;
        context.needed = [Some(wanted.required()), wanted.mount_source()];
        self.limit_address(&wanted, client, context).await?;
        self.policy.check_read_only(&wanted)?;

        let credential = Credential::from_headers(&head.headers)?;
        record.set_credential_kind(token_service::kind(&credential));
        let presented = self.tokens.unseal(credential)?;
        let anonymous = presented.is_anonymous();
        if let (true, RegistryRequest::Ping) = (anonymous, &wanted) {
            // A 200 without a credential would tell clients that a credential is never needed. A
            // client with a gate token has already been asked for a credential.
            return match presented.token_scope {
                Some(_) => Ok(None),
                None => Err(Denial::NoCredential),
            };
        }
        let shown_nothing = anonymous && presented.token_scope.is_none();
        let decided = self.decide(wanted, presented, client, record).await;
        record.stage_ends(&decided);
        let (decision, question) = decided.map_err(|denial| match denial {
            // A caller that presented nothing is always asked for a credential, for every reason of
            // a refusal, so that it does not learn what exists here.
            denial if shown_nothing => {
                context.withheld = Some(denial);
                Denial::NoCredential
            }
            // The gate token was issued to a caller without a credential, and the access is not
            // public, or not public any more.
            Denial::NoCredential => Denial::InsufficientScope(Uncovered::Anonymous),
            denial => denial,
        })?;
        if let Ruling::ShadowDenied(_) = decision.ruling() {
            record.set_shadow_denied();
        }
        Ok(match decision.request() {
            RegistryRequest::Ping => None,
            _ => Some((decision, question)),
        })
    }

    /// Asks the upstream whether an immutable tag exists already, audits the request and forwards
    /// it. The list of all repositories is read from the upstream and filtered for the caller.
    async fn pass_on(
        &self,
        decision: Decision,
        head: &Parts,
        body: RequestBody,
        client: &ClientInfo<'_>,
        upstream: &Upstream,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let permit = permit(decision, client, upstream, record).await?;
        self.audit.allowed(record, permit.request()).await?;
        if let Some(filter) = permit.catalog_filter() {
            // Boxed because few requests ask for the catalog.
            let page = Box::pin(upstream.list_catalog(&permit, filter, client, record)).await?;
            return Ok(self.responder.catalog(&page, client.progress));
        }
        upstream.forward(permit, head, body, client, record).await
    }
}

/// Lets a request go on, unless the upstream has an immutable tag that it would write. It is a
/// function of its own because its variables would enlarge the future of every request.
async fn permit(
    mut decision: Decision,
    client: &ClientInfo<'_>,
    upstream: &Upstream,
    record: &mut Record,
) -> Result<Permit, Denial> {
    let answers = look_up(&mut decision, client, upstream, record).await?;
    decision.permit(&answers)
}

/// Asks the upstream whether an immutable tag that the request would write exists, if the decision
/// depends on one. Returns the answers. In shadow mode, they may change the ruling.
async fn look_up(
    decision: &mut Decision,
    client: &ClientInfo<'_>,
    upstream: &Upstream,
    record: &mut Record,
) -> Result<Vec<StatusCode>, Denial> {
    let look_ups = decision.look_ups();
    if look_ups.is_empty() {
        return Ok(Vec::new());
    }
    // Boxed because it is rare, and would enlarge the future of every request.
    let answers = Box::pin(upstream.look_up(&look_ups, client, record)).await?;
    decision.note_answers(&answers);
    if let Ruling::ShadowDenied(_) = decision.ruling() {
        record.set_shadow_denied();
    }
    Ok(answers)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
