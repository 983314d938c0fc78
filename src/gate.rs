//! The stages of a request. This is the only file that names every stage, in order.

mod explain;
mod limits;
mod token;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::{BodyFailure, NotEmpty, Progress, RequestBody, ResponseBody};
use crate::denial::{Denial, Framing, UpstreamFault};
use crate::framing;
use crate::identity::authenticator::{CacheUse, Identity};
use crate::identity::model::credential::Credential;
use crate::identity::{Question, Verified};
use crate::limits::{Account, Limits};
use crate::net::client_address::TrustedProxies;
use crate::policy::{Decision, Permit, Policy, Ruling};
use crate::record::{AuditLog, Record, Recorder};
use crate::registry::{Access, RegistryRequest};
use crate::respond::{RefusedRequest, Responder};
use crate::token_service::gate_token::TokenScope;
use crate::token_service::{self, Presented, TokenService};
use crate::upstream::{ClientInfo, Upstream};

pub use explain::{ExplainedAnswer, Explanation};

/// All parts that decide about requests. All workers share them.
pub struct Gate {
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) identity: Identity,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) tokens: TokenService,
    pub(crate) responder: Responder,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) audit: Arc<AuditLog>,
}

/// Facts about a request that are not in its message.
pub struct ConnectionInfo {
    /// The address of the other end of the connection.
    pub peer: IpAddr,
    /// `true` if the connection uses HTTP/2.
    pub http2: bool,
    /// `true` if the connection has carried something that two programs could read in two ways.
    pub ambiguous: bool,
    /// The body progress of this request, shared with its connection.
    pub progress: Rc<Progress>,
}

/// State of a request to the registry that is not part of its record.
#[derive(Default)]
struct RequestContext {
    /// The access that the request needs, as far as it was understood. A mount needs two.
    needed: [Option<Access>; 2],
    /// The actual reason of the refusal of a caller without a credential, which is told only that
    /// a credential is needed.
    withheld: Option<Denial>,
    /// `true` if the request has passed every limit, so that it is not counted again.
    within_limits: bool,
    /// The pull account of the caller, if it asked for a manifest and its pulls are limited.
    pulls: Option<Account>,
}

/// A received request whose record has begun.
pub struct Received {
    head: Parts,
    body: Incoming,
    client: IpAddr,
    connection_info: ConnectionInfo,
    /// The framing error for which the request is refused without reading it further.
    fault: Option<Framing>,
    record: Box<Record>,
}

impl Gate {
    /// Returns all metrics, in the text format that Prometheus reads.
    pub fn metrics(&self) -> String {
        self.recorder.metrics.encode(self.identity.cache_entries())
    }

    /// Takes in a request and begins its record at once, so that the request is recorded even if
    /// its client disconnects immediately.
    pub fn receive(&self, request: Request<Incoming>, connection_info: ConnectionInfo) -> Received {
        let (mut head, body) = request.into_parts();
        if body.is_end_stream() {
            connection_info.progress.end_request();
        }
        let client = self.trusted_proxies.client(connection_info.peer, &head.headers);
        let record = Box::new(Record::begin(
            self.recorder.clone(),
            connection_info.progress.clone(),
            request_id(&head.headers),
            client,
            head.method.clone(),
            head.uri.path().to_owned(),
        ));
        let fault = if connection_info.ambiguous {
            Some(Framing::Head)
        } else if framing::has_too_many_fields(&head.headers) {
            // The fields are freed now: in a flood, many HTTP/2 requests may have been received
            // before the first one is served.
            head.headers = HeaderMap::new();
            Some(Framing::TooManyFields)
        } else {
            None
        };
        Received { head, body, client, connection_info, fault, record }
    }

    /// Answers a request: with the upstream's response if the request is allowed, otherwise with a
    /// refusal. The record is written when the body of the response has ended.
    pub async fn serve(&self, received: Received, upstream: &Upstream) -> Response<ResponseBody> {
        let Received { head, body, client, connection_info, fault, mut record } = received;
        let caller = ClientInfo {
            address: client,
            http2: connection_info.http2,
            progress: &connection_info.progress,
        };
        let mut context = RequestContext::default();
        let body = RequestBody::new(body, caller.http2, caller.progress.clone());
        let outcome = if let Some(fault) = fault {
            Err(Denial::Framing(fault))
        } else if head.uri.path() == token_service::PATH {
            self.issue_token(&head, body, &caller, &mut record).await
        } else {
            match self
                .admit_and_forward(&head, body, &caller, upstream, &mut context, &mut record)
                .await
            {
                // The refused grant was dropped from the cache, so one retry fetches a new one. The
                // future is boxed because retries are rare.
                Err(Denial::Upstream(UpstreamFault::RefusedTheGrant)) if is_read(&head.method) => {
                    let body = RequestBody::empty(caller.progress.clone());
                    Box::pin(self.admit_and_forward(
                        &head,
                        body,
                        &caller,
                        upstream,
                        &mut context,
                        &mut record,
                    ))
                    .await
                }
                outcome => outcome,
            }
        };
        // An HTTP/1.1 connection is closed after a denial because of the framing, after CONNECT,
        // and after a request body that was not read to its end.
        let misread = matches!(outcome, Err(Denial::Framing(_))) || head.method == Method::CONNECT;
        let close = misread || connection_info.progress.request_ended().is_none();
        let mut response = match outcome {
            Ok(response) => {
                record.set_allowed(response.status());
                response
            }
            Err(denial) => {
                let response =
                    self.refuse(&denial, &head, &context, &record, &connection_info.progress);
                record.set_denied(&denial, response.status());
                self.audit.refused(&record, &denial).await;
                response
            }
        };
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
        let close = close || is_old;
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
            RefusedRequest { head, needed: &context.needed, kind: record.credential_kind() };
        self.responder.denial(denial, &refused, progress)
    }

    /// Runs the stages of a request: parse, limit, authenticate, authorise, limit, ask the upstream
    /// whether an immutable tag exists already, audit, forward.
    async fn admit_and_forward(
        &self,
        head: &Parts,
        mut body: RequestBody,
        caller: &ClientInfo<'_>,
        upstream: &Upstream,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let admitted = self.admit(head, &mut body, caller, context, record).await?;
        let wanted =
            admitted.as_ref().map_or(&RegistryRequest::Ping, |(decision, _)| decision.request());
        self.limit_caller(wanted, caller, context, record).await?;
        let Some((decision, question)) = admitted else {
            return Ok(self.responder.pong(&head.method, caller.progress));
        };
        let grant = decision.grant().cloned();
        let outcome = self.pass_on(decision, head, body, caller, upstream, record).await;
        if let (Err(Denial::Upstream(UpstreamFault::RefusedTheGrant)), Some(refused)) =
            (&outcome, grant)
        {
            self.identity.forget(&question, &refused);
        }
        outcome
    }

    /// Runs the stages parse, limit, authenticate and authorise. Returns the decision and the
    /// question whose verdict decided; `None` if the gate itself answers the request, which is a
    /// ping.
    async fn admit(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        caller: &ClientInfo<'_>,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<Option<(Decision, Question)>, Denial> {
        let wanted = parse(head).inspect_err(|_| self.limits.count_client(caller.address))?;
        record.set_request(&wanted);
        expect_no_body(&head.method, body).await?;
        context.needed = [Some(wanted.required()), wanted.mount_source()];
        self.limit_client(&wanted, caller, context).await?;

        let credential = Credential::from_headers(&head.headers)?;
        record.set_credential_kind(token_service::kind(&credential));
        let presented = self.tokens.unseal(credential)?;
        let unnamed = presented.is_nobody();
        if let (true, RegistryRequest::Ping) = (unnamed, &wanted) {
            // A 200 without a credential would tell clients that a credential is never needed. A
            // client with a gate token has already been asked for a credential.
            return match presented.token_scope {
                Some(_) => Ok(None),
                None => Err(Denial::NoCredential),
            };
        }
        let shown_nothing = unnamed && presented.token_scope.is_none();
        let decided = self.decide(wanted, presented, caller, record).await;
        let (decision, question) = decided.map_err(|denial| match denial {
            // A caller that presented nothing is always asked for a credential, for every reason of
            // a refusal, so that it does not learn what exists here.
            denial if shown_nothing => {
                context.withheld = Some(denial);
                Denial::NoCredential
            }
            // The gate token was issued to a caller without a credential, and what was public then
            // is not public any more.
            Denial::NoCredential => Denial::InsufficientScope,
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

    /// Authenticates and authorises a request. An access that a gate token does not list is refused
    /// even if its credential allows it. Returns the decision and the question whose verdict
    /// decided.
    async fn decide(
        &self,
        wanted: RegistryRequest,
        presented: Presented,
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<(Decision, Question), Denial> {
        let Presented { credential, token_scope, provider, sealed } = presented;
        let is_listed = |access: &Access| {
            token_scope.as_ref().is_none_or(|token_scope| token_scope.allows(access))
        };
        let mut question = self.question(credential, wanted.required(), caller, record);
        question.vouched_by = provider;
        // A gate token that was issued before its credential was revoked is refused, even if the
        // provider still accepts the credential.
        let is_revoked =
            || sealed.is_some_and(|sealed| self.identity.has_revoked_sealed(&question, sealed));
        if is_revoked() {
            return Err(Denial::InvalidToken);
        }
        if matches!(question.credential, Credential::Anonymous) && !is_listed(&question.access) {
            return Err(Denial::InsufficientScope);
        }
        // No provider is asked about a repository that the token does not list, because GitLab
        // records every question about a push.
        if token_scope.as_ref().is_some_and(|token_scope| !token_scope.mentions(&question.access)) {
            return Err(Denial::InsufficientScope);
        }
        // The verdict comes first: a missing right of the credential is the more useful reason,
        // because another token would not help.
        let verified = self.authenticate(&question, record).await?;
        // The operator may have revoked the credential while the request waited for the verdict.
        if is_revoked() {
            return Err(Denial::InvalidToken);
        }
        let mut decision = self.policy.authorize(wanted, &verified)?;
        if !is_listed(&question.access) {
            return Err(Denial::InsufficientScope);
        }
        if let (Access::Catalog, Some(names)) =
            (&question.access, token_scope.as_ref().and_then(TokenScope::shown))
        {
            decision.show_at_most(names);
        }
        let Some(source) = decision.unchecked_mount_source() else {
            return Ok((decision, question));
        };
        let of_mount = Question { access: source, ..question.clone() };
        let verified = self.identity.verify(&of_mount, &mut CacheUse::None).await?;
        let decision = self.policy.allow_mount(decision, &verified);
        match decision.request().mount_source() {
            Some(source) if !is_listed(&source) => Err(Denial::InsufficientScope),
            Some(_) => Ok((decision, of_mount)),
            None => Ok((decision, question)),
        }
    }

    /// Asks the upstream whether an immutable tag exists already, audits and forwards the request;
    /// or answers with the list of the repositories that the caller may see.
    async fn pass_on(
        &self,
        decision: Decision,
        head: &Parts,
        body: RequestBody,
        caller: &ClientInfo<'_>,
        upstream: &Upstream,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let permit = look_up(decision, caller, upstream, record).await?;
        self.audit.allowed(record, permit.request()).await?;
        if let Some(filter) = permit.catalog_filter() {
            let page = upstream.list_catalog(&permit, filter, caller, record).await?;
            return Ok(self.responder.catalog(&page, caller.progress));
        }
        upstream.forward(permit, head, body, caller, record).await
    }

    /// Creates the question to the providers, and records the credential's fingerprint.
    fn question(
        &self,
        credential: Credential,
        access: Access,
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Question {
        let question =
            self.identity.question(credential, access, caller.address, record.request_id().clone());
        if !matches!(question.credential, Credential::Anonymous) {
            record.set_credential(question.known_as.fingerprint);
        }
        question
    }

    /// Returns the identity of the caller and what its credential allows for the needed access.
    async fn authenticate(
        &self,
        question: &Question,
        record: &mut Record,
    ) -> Result<Arc<Verified>, Denial> {
        let mut cache = CacheUse::None;
        let verified = self.identity.verify(question, &mut cache).await;
        record.set_cache_use(cache);
        let verified = verified?;
        record.set_caller(verified.clone());
        Ok(verified)
    }
}

/// Parses a request. The message must be unambiguous, and the target must be an operation in its
/// only valid spelling.
fn parse(head: &Parts) -> Result<RegistryRequest, Denial> {
    framing::check(head).map_err(Denial::Framing)?;
    let wanted = RegistryRequest::parse(&head.method, head.uri.path(), head.uri.query())
        .map_err(Denial::Request)?;
    if let RegistryRequest::ManifestPut { .. } = wanted {
        framing::refuse_form(&head.headers).map_err(Denial::Framing)?;
    }
    Ok(wanted)
}

/// Asks the upstream whether an immutable tag that the request would write or delete exists, if the
/// decision depends on one.
async fn look_up(
    decision: Decision,
    caller: &ClientInfo<'_>,
    upstream: &Upstream,
    record: &Record,
) -> Result<Permit, Denial> {
    let answers = upstream.look_up(&decision.look_ups(), caller, record.request_id()).await?;
    decision.permit(&answers)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Waits for the end of a body if the operation takes none. A body may be announced and turn out to
/// be empty. A body with content is refused, because a program that expects no body could read it
/// as another request.
async fn expect_no_body(method: &Method, body: &mut RequestBody) -> Result<(), Denial> {
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    body.expect_empty().await.map_err(|why| match why {
        NotEmpty::Bytes => Denial::Framing(Framing::UnexpectedBody),
        NotEmpty::Failed(BodyFailure::Trailers) => Denial::Framing(Framing::Trailers),
        NotEmpty::Failed(BodyFailure::Aborted) => Denial::ClientAborted,
    })
}

/// Returns the client's request id if it consists of 1 to 64 letters, digits, `.`, `_` or `-`;
/// otherwise a random one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let sent = headers
        .get("x-request-id")
        .filter(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed));
    match sent.and_then(|id| id.to_str().ok()) {
        Some(id) => id.into(),
        None => new_request_id().into(),
    }
}

/// Returns a random request id.
pub(crate) fn new_request_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}
