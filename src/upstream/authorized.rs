//! Requests to a registry that asks for tokens: `authorization: token`.

use std::time::Instant;

use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::challenge::RegistryChallenge;
use super::exchange::Exchange;
use super::registry_tokens::{Asker, RegistryCredential, RegistryTokens, RequestScopes};
use super::send::OutboundRequest;
use super::{ClientInfo, RegistryAuthorization, Upstream};
use crate::body::RequestBody;
use crate::denial::{Denial, UpstreamFault};
use crate::registry::RegistryRequest;
use crate::request_id::RequestId;
use crate::telemetry::RequestTrace;

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
            RegistryAuthorization::Token(tokens) if outbound.to.is_none() => {
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
        let is_empty = body.is_end_stream();
        let is_delete = matches!(
            wanted,
            RegistryRequest::ManifestDelete { .. } | RegistryRequest::BlobDelete { .. }
        );
        let is_mount = matches!(wanted, RegistryRequest::UploadStart { mount: Some(_), .. });
        if !is_read && !tokens.knows_challenge(wanted) {
            // A body can be sent only once.
            self.learn_challenge(tokens, client, request_id, outbound.trace).await?;
        }
        let scope = tokens.scope(wanted);
        if tokens.is_refused(wanted, &scope) {
            return Err(Denial::UpstreamGrantsNothing { is_read });
        }
        let asker = Asker { principal: outbound.caller, address: client.address };
        let credential = async |wanted, scope: &_| {
            self.registry_credential(tokens, wanted, scope, asker, request_id).await
        };
        let presented = match credential(wanted, &scope).await {
            // The token server may not know this action: the registry tells which one it wants.
            Err(Denial::Upstream(UpstreamFault::TokenServerRefused)) if is_delete => None,
            Err(Denial::Upstream(
                UpstreamFault::TokenServerRefused | UpstreamFault::TokenServerForbids,
            )) if is_empty && is_mount => {
                return self.upload_instead_of_mount(tokens, outbound, client).await;
            }
            presented => presented?,
        };
        client.progress.wait_begins();
        let (response, exchange) =
            self.exchange(&with(outbound, presented.as_ref()), body, client, begun).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            if !is_read && response.status().is_success() {
                tokens.note_written(wanted);
            }
            return Ok((response, exchange));
        }
        drop(exchange);
        let challenge = RegistryChallenge::find(response.headers());
        match (&presented, challenge) {
            (None, Some(challenge)) => tokens.learn(wanted, challenge, &self.settings.origins),
            // Harbor names Basic in answer to every request with a credential, and others nothing:
            // what it takes was learned before.
            (Some(RegistryCredential::Token(used)), challenge) => {
                tokens.drop_token(used).await;
                let bearer = match challenge {
                    Some(challenge @ RegistryChallenge::Bearer(_)) => Some(challenge),
                    _ => None,
                };
                let is_another = match &bearer {
                    Some(RegistryChallenge::Bearer(bearer)) => !used.answers(bearer),
                    _ => false,
                };
                if let Some(challenge) = bearer {
                    tokens.learn(wanted, challenge, &self.settings.origins);
                }
                let asks_otherwise = is_another || tokens.scope(wanted) != scope;
                if used.is_newer_than(begun) && !asks_otherwise {
                    // A mount is only a hint. Its source may be what the account may not see.
                    if is_empty && is_mount {
                        return self.upload_instead_of_mount(tokens, outbound, client).await;
                    }
                    self.log_invalid_token(response.headers(), request_id);
                    tokens.refuse(&scope);
                    return Err(Denial::UpstreamGrantsNothing { is_read });
                }
                if !(is_read || is_delete && asks_otherwise) {
                    return Err(Denial::Upstream(UpstreamFault::RefusedOldToken));
                }
            }
            // A proxy in front of the registry may have asked for the password meanwhile.
            (
                Some(RegistryCredential::Basic(_)),
                Some(challenge @ RegistryChallenge::Bearer(_)),
            ) => tokens.learn(wanted, challenge, &self.settings.origins),
            (Some(RegistryCredential::Basic(_)), _) | (None, None) => {
                return Err(Denial::Upstream(UpstreamFault::RefusedTheGate));
            }
        }
        // A delete has no body, and was not done.
        if !is_read && !is_delete {
            // The registry let every caller in, and asks for a credential now.
            return Err(Denial::Upstream(UpstreamFault::RefusedOldToken));
        }

        let scope = tokens.scope(wanted);
        let presented = credential(wanted, &scope).await?;
        client.progress.wait_begins();
        let body = RequestBody::empty(client.progress.clone());
        let again = with(outbound, presented.as_ref());
        let (response, exchange) = self.exchange(&again, body, client, Instant::now()).await?;
        match (response.status(), presented) {
            (StatusCode::UNAUTHORIZED, Some(RegistryCredential::Token(used))) => {
                tokens.drop_token(&used).await;
                self.log_invalid_token(response.headers(), request_id);
                tokens.refuse(&scope);
                Err(Denial::UpstreamGrantsNothing { is_read })
            }
            (StatusCode::UNAUTHORIZED, _) => Err(Denial::Upstream(UpstreamFault::RefusedTheGate)),
            _ => Ok((response, exchange)),
        }
    }

    /// Returns the credential for a request, and notes the error behind a fault for the status.
    pub(super) async fn registry_credential(
        &self,
        tokens: &RegistryTokens,
        wanted: &RegistryRequest,
        scope: &RequestScopes,
        asker: Asker<'_>,
        request_id: &str,
    ) -> Result<Option<RegistryCredential>, Denial> {
        let origins = &self.settings.origins;
        let credential = tokens.credential(wanted, scope, origins, asker, request_id).await;
        credential.map_err(|fault| {
            if let Some(why) = tokens.last_error() {
                self.settings.health.because(fault, why);
            }
            Denial::Upstream(fault)
        })
    }

    /// Sends the request for a mount as that for a plain upload, which every client then begins.
    async fn upload_instead_of_mount(
        &self,
        tokens: &RegistryTokens,
        outbound: &OutboundRequest<'_>,
        client: &ClientInfo<'_>,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let (plain, _) = outbound.wanted.clone().split_mount();
        let outbound = OutboundRequest { wanted: &plain, ..outbound.clone() };
        let body = RequestBody::empty(client.progress.clone());
        let now = Instant::now();
        Box::pin(self.exchange_with_token(tokens, &outbound, body, client, now)).await
    }

    /// Logs that the registry calls a fresh token invalid: it may not trust its token server.
    fn log_invalid_token(&self, headers: &HeaderMap, request_id: &str) {
        let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let mut texts = lines.filter_map(|line| line.to_str().ok());
        if texts.any(|text| text.contains("error=\"invalid_token\""))
            && let Some(left_out) = self.may_log(&"invalid_token")
        {
            tracing::warn!(
                request_id,
                left_out,
                "the registry calls a token invalid that its token server has just issued; the \
                 registry must trust the certificate of the token server, and expect its issuer \
                 and service"
            );
        }
    }

    /// Asks the registry for its challenge with `GET /v2/`.
    pub(super) async fn learn_challenge(
        &self,
        tokens: &RegistryTokens,
        client: &ClientInfo<'_>,
        request_id: &RequestId,
        trace: Option<&RequestTrace>,
    ) -> Result<(), Denial> {
        let headers = HeaderMap::new();
        let wanted = RegistryRequest::Ping;
        let outbound = OutboundRequest::to_registry(&wanted, None, &headers, request_id);
        let outbound = OutboundRequest { trace, ..outbound };
        let progress = std::rc::Rc::default();
        let body = RequestBody::empty(std::rc::Rc::clone(&progress));
        let client = ClientInfo { address: client.address, http2: false, progress: &progress };
        let (response, mut exchange) =
            self.exchange(&outbound, body, &client, Instant::now()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = RegistryChallenge::find(response.headers())
                .ok_or(Denial::Upstream(UpstreamFault::RefusedTheGate))?;
            tokens.learn(&wanted, challenge, &self.settings.origins);
        } else if response.status().is_success() {
            tokens.note_open();
        }
        if response.body().is_end_stream() {
            exchange.finish(true);
        }
        Ok(())
    }
}

/// Returns the request with this credential.
pub(super) fn with<'a>(
    outbound: &OutboundRequest<'a>,
    presented: Option<&RegistryCredential>,
) -> OutboundRequest<'a> {
    let authorization = presented.map(RegistryCredential::authorization);
    OutboundRequest { authorization, ..outbound.clone() }
}
