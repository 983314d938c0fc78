//! The life of a request. This is the one file that names every stage, in order.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::{Progress, ResponseBody};
use crate::client_address::TrustedProxies;
use crate::denial::{Denial, Framing};
use crate::framing;
use crate::identity::chain::{CacheUse, Identity};
use crate::identity::credential::Credential;
use crate::identity::{Question, Verified};
use crate::policy::Policy;
use crate::record::{Record, Recorder};
use crate::registry::{Access, RegistryRequest};
use crate::respond::Responder;
use crate::upstream::{Caller, Upstream};

/// Everything that decides. Shared by all workers.
pub struct Gate {
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) identity: Identity,
    pub(crate) policy: Policy,
    pub(crate) responder: Responder,
    pub(crate) recorder: Arc<Recorder>,
}

/// What is known of a request beside its message.
pub struct Origin {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Over HTTP/2.
    pub http2: bool,
    /// The connection has brought something that two programs could read in two ways.
    pub ambiguous: bool,
    /// How far the request has come.
    pub progress: Rc<Progress>,
}

/// A request on its way in.
pub struct Received {
    head: Parts,
    body: Incoming,
    client: IpAddr,
    origin: Origin,
    record: Box<Record>,
}

impl Gate {
    /// Takes a request in and begins its record, so that one whose client leaves at once is recorded too.
    pub fn receive(&self, request: Request<Incoming>, origin: Origin) -> Received {
        let (head, body) = request.into_parts();
        if body.is_end_stream() {
            origin.progress.end_request();
        }
        let client = self.trusted_proxies.client(origin.peer, &head.headers);
        let record = Box::new(Record::begin(
            self.recorder.clone(),
            origin.progress.clone(),
            request_id(&head.headers),
            client,
            head.method.clone(),
            head.uri.path().to_owned(),
        ));
        Received { head, body, client, origin, record }
    }

    /// Answers a request: with the registry's answer where it is allowed, else with a refusal. The record is written
    /// when the answer's body has ended.
    pub async fn serve(&self, received: Received, upstream: &Upstream) -> Response<ResponseBody> {
        let Received { head, body, client, origin, mut record } = received;
        let caller = Caller { address: client, http2: origin.http2, progress: &origin.progress };
        let outcome = if origin.ambiguous {
            Err(Denial::Framing(Framing::Head))
        } else {
            self.admit_and_forward(&head, body, &caller, upstream, &mut record).await
        };
        // Behind a message that two programs could read in two ways, and behind a tunnel that was refused, nothing is
        // read; nor behind a body that nobody wants.
        let misread = matches!(outcome, Err(Denial::Framing(_))) || head.method == Method::CONNECT;
        let close = misread || origin.progress.request_ended().is_none();
        let mut response = match outcome {
            Ok(response) => {
                record.allowed(response.status());
                response
            }
            Err(denial) => {
                record.denied(&denial);
                self.responder.denial(&denial, &head.method, &origin.progress)
            }
        };
        self.responder.finish(&mut response, record.request_id(), close && !origin.http2);
        response.body_mut().record(record);
        response
    }

    /// Parse, authenticate, authorise, look up the tags that must not exist, forward.
    async fn admit_and_forward(
        &self,
        head: &Parts,
        body: Incoming,
        caller: &Caller<'_>,
        upstream: &Upstream,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        framing::check(head).map_err(Denial::Framing)?;
        let wanted =
            RegistryRequest::parse(&head.method, head.uri.path(), head.uri.query()).map_err(Denial::Request)?;
        record.wanted(&wanted);
        refuse_unexpected_body(&head.method, caller.progress)?;

        let credential = Credential::from_headers(&head.headers)?;
        let mut question = self.question(credential, wanted.required(), caller, record)?;
        let verified = self.authenticate(&question, record).await?;

        let mut decision = self.policy.authorize(wanted, &verified)?;
        if let Some(source) = decision.mount_source() {
            question.access = source;
            let verified = self.identity.verify(&question, &mut CacheUse::None).await?;
            decision = self.policy.allow_mount(decision, &verified);
        }
        if let RegistryRequest::Ping = decision.request() {
            return Ok(self.responder.pong(&head.method, caller.progress));
        }
        let answers = upstream.look_up(&decision.look_ups(), caller, record.request_id()).await?;
        upstream.forward(decision.permit(&answers)?, head, body, caller, record).await
    }

    /// What the providers are asked. Anonymous callers are refused here: no provider is asked about them.
    fn question(
        &self,
        credential: Credential,
        access: Access,
        caller: &Caller<'_>,
        record: &mut Record,
    ) -> Result<Question, Denial> {
        if let Credential::Anonymous = credential {
            return Err(Denial::NoCredential);
        }
        let kind = credential.kind();
        let question = self.identity.question(credential, access, caller.address, record.request_id().clone());
        record.presented(kind, question.id.fingerprint());
        Ok(question)
    }

    /// Who is calling, and what the credential allows for what is wanted.
    async fn authenticate(&self, question: &Question, record: &mut Record) -> Result<Arc<Verified>, Denial> {
        let mut cache = CacheUse::None;
        let verified = self.identity.verify(question, &mut cache).await;
        record.cached(cache);
        let verified = verified?;
        record.verified(verified.clone());
        Ok(verified)
    }
}

/// A body where the operation takes none could be read as another request by whoever expects none.
fn refuse_unexpected_body(method: &Method, progress: &Progress) -> Result<(), Denial> {
    let takes_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if takes_body || progress.request_ended().is_some() {
        Ok(())
    } else {
        Err(Denial::Framing(Framing::UnexpectedBody))
    }
}

/// The client's request id where it is a plain word of 1 to 64 characters, else a random one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let sent =
        headers.get("x-request-id").filter(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed));
    match sent.and_then(|id| id.to_str().ok()) {
        Some(id) => id.into(),
        None => format!("{:016x}", fastrand::u64(..)).into(),
    }
}
