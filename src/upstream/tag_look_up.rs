//! The look-up whether an immutable tag exists.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::authorized::with;
use super::check_response::{check_response, is_redirect};
use super::exchange::Exchange;
use super::health::Work;
use super::registry_tokens::{Asker, RegistryCredential, RegistryTokens};
use super::send::OutboundRequest;
use super::{ClientInfo, MANIFEST_TYPES, RegistryAuthorization, Upstream, caller_of};
use crate::body::{Progress, RequestBody};
use crate::denial::{Denial, UpstreamFault};
use crate::policy::TagLookUp;
use crate::record::Record;
use crate::registry::RegistryRequest;

impl Upstream {
    /// Asks whether tags exist, and returns the statuses of the responses, in order. Nothing locks
    /// a tag between the response and the action that follows it, so another writer may change it
    /// first.
    ///
    /// # Errors
    /// - [`UpstreamFault::RefusedUpstreamToken`] if the registry refused the grant.
    /// - [`UpstreamFault::TagLookUp`] if the look-up fails for another reason.
    ///
    /// A look-up that [decides](TagLookUp::decides) nothing has the status 502 in these cases.
    pub async fn look_up(
        &self,
        look_ups: &[TagLookUp],
        client: &ClientInfo<'_>,
        record: &Record,
    ) -> Result<Vec<StatusCode>, Denial> {
        let request_id = record.request_id();
        let is_known = |status| {
            matches!(status, StatusCode::OK | StatusCode::NOT_FOUND) || is_redirect(status)
        };
        let mut answers = Vec::with_capacity(look_ups.len());
        for look_up in look_ups {
            let begun = Instant::now();
            let status = self.status(look_up, client.address, record).await;
            let (health, work, now) = (&self.settings.health, Work::TagLookUp, SystemTime::now());
            let fault = match status {
                Ok(status) if is_known(status) => {
                    health.answered(work, status, begun.elapsed(), now);
                    health.completed(work, status);
                    None
                }
                Ok(_) => Some(UpstreamFault::TagLookUp),
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                health.failed(work, fault, now);
                self.log_fault(
                    request_id,
                    UpstreamFault::TagLookUp,
                    format_args!("the registry did not answer whether a tag exists: {status:?}"),
                );
            }
            answers.push(match status {
                Err(_) if !look_up.decides => StatusCode::BAD_GATEWAY,
                status => status.map_err(Denial::Upstream)?,
            });
        }
        Ok(answers)
    }

    /// Sends a HEAD of the gate's own, and returns the status of the response.
    async fn status(
        &self,
        look_up: &TagLookUp,
        address: IpAddr,
        record: &Record,
    ) -> Result<StatusCode, UpstreamFault> {
        // Nothing of the client's request is used. Its body has not begun, and its headers could
        // change the answer: a registry answers 404 for a manifest of a type that is not accepted.
        let headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(MANIFEST_TYPES))]);
        let outbound = OutboundRequest::to_registry(
            look_up.request(),
            look_up.upstream_token(),
            &headers,
            record.request_id(),
        );
        let (caller, trace) = (caller_of(record), record.trace());
        let outbound = OutboundRequest { caller, trace, ..outbound };
        let answer = match &self.settings.authorization {
            RegistryAuthorization::Token(tokens) => {
                self.ask_as_writer(tokens, &outbound, look_up.write(), address).await
            }
            _ => self.ask(&outbound, address).await,
        };
        let (response, mut exchange) = match answer {
            Ok(answer) => answer,
            Err(Denial::Upstream(fault @ UpstreamFault::RefusedUpstreamToken)) => {
                return Err(fault);
            }
            Err(_) => return Err(UpstreamFault::TagLookUp),
        };
        if response.body().is_end_stream() {
            exchange.finish(true);
        }
        Ok(response.status())
    }

    /// Sends a look-up to a registry that asks for tokens, with the token of the write that depends
    /// on it. A token for a read could be one without any right, whose refusal says nothing about
    /// the tag, and what the gate remembers of refused reads may be older than the tag.
    ///
    /// # Errors
    /// [`UpstreamFault::TagLookUp`] if the registry refuses the token.
    async fn ask_as_writer(
        &self,
        tokens: &RegistryTokens,
        outbound: &OutboundRequest<'_>,
        write: &RegistryRequest,
        address: IpAddr,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let OutboundRequest { caller, request_id, trace, .. } = *outbound;
        let progress = Rc::new(Progress::default());
        let client = ClientInfo { address, http2: false, progress: &progress };
        if !tokens.knows_challenge(write) {
            self.learn_challenge(tokens, &client, request_id, trace).await?;
        }
        let asker = Asker { principal: caller, address };
        // An older token may be refused for its age alone.
        for _ in 0..2 {
            let (begun, scope) = (Instant::now(), tokens.scope(write));
            let presented =
                self.registry_credential(tokens, write, &scope, asker, request_id).await?;
            let body = RequestBody::empty(progress.clone());
            let as_writer = with(outbound, presented.as_ref());
            let (response, exchange) = self.exchange(&as_writer, body, &client, begun).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                let (parts, body) = response.into_parts();
                check_response(outbound.wanted, false, &parts).map_err(Denial::Upstream)?;
                return Ok((Response::from_parts(parts, body), exchange));
            }
            let Some(RegistryCredential::Token(used)) = presented else { break };
            tokens.drop_token(&used).await;
            if used.is_newer_than(begun) {
                break;
            }
        }
        Err(Denial::Upstream(UpstreamFault::TagLookUp))
    }
}
