//! Requests to a registry that asks for tokens: `authorization: token`.

use std::time::Instant;

use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::challenge::Challenge;
use super::exchange::Exchange;
use super::registry_tokens::{Presented, RegistryTokens};
use super::send::OutboundRequest;
use super::{Authorization, ClientInfo, Upstream};
use crate::body::RequestBody;
use crate::denial::{Denial, UpstreamFault};
use crate::registry::RegistryRequest;
use crate::request_id::RequestId;

impl Upstream {
    /// Sends a request to the registry with the credential that the registry takes, and returns the
    /// head of its response.
    pub(super) async fn exchange_authorized(
        &self,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        client: &ClientInfo<'_>,
        begun: Instant,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        match &self.settings.authorization {
            // Boxed because it would enlarge every request's future.
            Authorization::Token(tokens) if outbound.to.is_none() => {
                Box::pin(self.exchange_with_token(tokens, outbound, body, client, begun)).await
            }
            _ => self.exchange(outbound, body, client, begun).await,
        }
    }

    /// Sends a request with the token that it needs. A read is sent again with a new one if the
    /// registry refuses an old one.
    pub(super) async fn exchange_with_token(
        &self,
        tokens: &RegistryTokens,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        client: &ClientInfo<'_>,
        begun: Instant,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let OutboundRequest { wanted, request_id, .. } = *outbound;
        let is_read = wanted.is_read();
        if !is_read && !tokens.knows_challenge(wanted) {
            // A body can be sent only once.
            self.learn_challenge(tokens, client, request_id).await?;
        }
        let scope = tokens.scope(wanted);
        if tokens.is_refused(&scope) {
            return Err(Denial::UpstreamGrantsNothing { is_read });
        }
        let credential = async |wanted, scope: &_| {
            let origins = &self.settings.origins;
            let credential = tokens.credential(wanted, scope, origins, request_id).await;
            credential.map_err(Denial::Upstream)
        };
        let presented = credential(wanted, &scope).await?;
        let (response, exchange) =
            self.exchange(&with(outbound, presented.as_ref()), body, client, begun).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok((response, exchange));
        }
        drop(exchange);
        let challenge = Challenge::find(response.headers());
        match (&presented, challenge) {
            (None, Some(challenge)) => tokens.learn(wanted, challenge),
            // Harbor names Basic in answer to every request with a credential, and others nothing:
            // what it takes was learned before.
            (Some(Presented::Token(used)), challenge) => {
                tokens.drop_token(used).await;
                let bearer = match challenge {
                    Some(challenge @ Challenge::Bearer(_)) => Some(challenge),
                    _ => None,
                };
                let is_another = match &bearer {
                    Some(Challenge::Bearer(bearer)) => !used.answers(bearer),
                    _ => false,
                };
                if let Some(challenge) = bearer {
                    tokens.learn(wanted, challenge);
                }
                let asks_otherwise = is_another || tokens.scope(wanted) != scope;
                if used.is_newer_than(begun) && !asks_otherwise {
                    tokens.refuse(&scope);
                    return Err(Denial::UpstreamGrantsNothing { is_read });
                }
                if !is_read {
                    return Err(Denial::Upstream(UpstreamFault::RefusedOldToken));
                }
            }
            (Some(Presented::Basic(_)), _) | (None, None) => {
                return Err(Denial::Upstream(UpstreamFault::RefusedTheGate));
            }
        }
        if !is_read {
            // The registry let everybody ask, and asks for a credential now.
            return Err(Denial::Upstream(UpstreamFault::RefusedOldToken));
        }

        let scope = tokens.scope(wanted);
        let presented = credential(wanted, &scope).await?;
        let body = RequestBody::empty(client.progress.clone());
        let again = with(outbound, presented.as_ref());
        let (response, exchange) = self.exchange(&again, body, client, Instant::now()).await?;
        match (response.status(), presented) {
            (StatusCode::UNAUTHORIZED, Some(Presented::Token(used))) => {
                tokens.drop_token(&used).await;
                tokens.refuse(&scope);
                Err(Denial::UpstreamGrantsNothing { is_read })
            }
            (StatusCode::UNAUTHORIZED, _) => Err(Denial::Upstream(UpstreamFault::RefusedTheGate)),
            _ => Ok((response, exchange)),
        }
    }

    /// Asks the registry for its challenge with `GET /v2/`.
    async fn learn_challenge(
        &self,
        tokens: &RegistryTokens,
        client: &ClientInfo<'_>,
        request_id: &RequestId,
    ) -> Result<(), Denial> {
        let headers = http::HeaderMap::new();
        let wanted = RegistryRequest::Ping;
        let outbound = OutboundRequest::to_registry(&wanted, None, &headers, request_id);
        let progress = std::rc::Rc::default();
        let body = RequestBody::empty(std::rc::Rc::clone(&progress));
        let client = ClientInfo { address: client.address, http2: false, progress: &progress };
        let (response, mut exchange) =
            self.exchange(&outbound, body, &client, Instant::now()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = Challenge::find(response.headers())
                .ok_or(Denial::Upstream(UpstreamFault::RefusedTheGate))?;
            tokens.learn(&wanted, challenge);
        }
        if http_body::Body::is_end_stream(response.body()) {
            exchange.finish(true);
        }
        Ok(())
    }
}

/// Returns the request with this credential.
fn with<'a>(outbound: &OutboundRequest<'a>, presented: Option<&Presented>) -> OutboundRequest<'a> {
    let authorization = presented.map(Presented::authorization);
    OutboundRequest { authorization, ..outbound.clone() }
}
