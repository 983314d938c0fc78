//! The headers that are forwarded. Pure functions.
//!
//! Only headers that the protocol knows go to the registry. Any other header of a client
//! (credentials, forwarding headers, method overrides, headers that name users) could speak for the
//! gate there. All headers go to the client, except those that concern the connection or would
//! speak for the gate's own host.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{OutboundRequest, RegistryAuthorization, UpstreamSettings};
use crate::identity::Principal;
use crate::net::address_text::AddressText;
use crate::registry::RegistryRequest;
use crate::telemetry::trace_context::{TRACEPARENT, TRACESTATE};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROVIDER: HeaderName = HeaderName::from_static("x-forwarded-provider");
const X_FORWARDED_USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("moorgate/", env!("CARGO_PKG_VERSION")));
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The characters that are escaped in the caller's identity: all but the unreserved ones (RFC 3986,
/// section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns whether a client may send a header to the registry.
fn is_for_registry(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "content-encoding"
            | "content-language"
            | "content-range"
            | "docker-content-digest"
            | "docker-distribution-api-version"
            | "docker-upload-uuid"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "oci-subject"
            | "pragma"
            | "range"
            | "traceparent"
            | "tracestate"
            | "user-agent"
    )
}

/// Returns whether a client's header goes along to a server beside the registry.
fn is_for_others(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "content-range"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "range"
    )
}

/// Returns whether a response may carry a header to a client. The others concern the connection
/// (RFC 9110, 7.6.1), or would speak for the gate.
fn is_for_client(name: &HeaderName) -> bool {
    const OTHERS: [&str; 3] = ["access-control-", "proxy-", "x-accel-"];
    let name = name.as_str();
    let is_other = matches!(
        name,
        "alt-svc"
            | "authentication-info"
            | "clear-site-data"
            | "connection"
            | "content-location"
            | "keep-alive"
            | "nel"
            | "public-key-pins"
            | "refresh"
            | "report-to"
            | "reporting-endpoints"
            | "service-worker-allowed"
            | "set-cookie"
            | "set-cookie2"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "www-authenticate"
            // The gate sets this header itself.
            | "x-request-id"
    );
    !is_other && !OTHERS.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the headers of a request to the registry.
pub(super) fn request(
    outbound: &OutboundRequest<'_>,
    settings: &UpstreamSettings,
    address: IpAddr,
) -> HeaderMap {
    let OutboundRequest { wanted, authorization, headers: client, request_id, trace, .. } =
        outbound;
    let client = *client;
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::HOST, settings.host.clone());
    let is_named = named_by_connection(client);
    // The loop goes over the client's headers, because they are few and this keeps the order of
    // repeated lines.
    for (name, value) in client {
        // Programs read values that are not plain ASCII in different ways.
        if is_for_registry(name) && !is_named(name) && value.to_str().is_ok() {
            headers.append(name, value.clone());
        }
    }
    if let Some(media_type) = media_type(wanted, client, is_named) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    if let RegistryAuthorization::Fixed(authorization) = &settings.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    headers.insert(X_FORWARDED_PROTO, settings.forwarded_proto.clone());
    headers.insert(X_FORWARDED_HOST, settings.forwarded_host.clone());
    if let Ok(address) = HeaderValue::from_str(&AddressText::of(address)) {
        headers.insert(X_FORWARDED_FOR, address);
    }
    if let (true, Some(caller)) = (settings.identity_headers, outbound.caller) {
        add_identity(&mut headers, caller);
    }
    headers.insert(X_REQUEST_ID, request_id.header());
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, trace.header());
        // Its entries belong to the trace of the client (W3C Trace Context, 3.5).
        if !trace.is_continued() {
            headers.remove(TRACESTATE);
        }
    }
    headers
}

/// Tells the registry who the caller is. The user of a CI job is left out: the job may not act as
/// the user who started it.
fn add_identity(headers: &mut HeaderMap, caller: &Principal) {
    let escaped =
        |text: &str| HeaderValue::try_from(utf8_percent_encode(text, RESERVED).to_string());
    if let Ok(provider) = escaped(&caller.source.provider) {
        headers.insert(X_FORWARDED_PROVIDER, provider);
    }
    if let (false, Ok(user)) = (caller.is_job(), escaped(&caller.subject)) {
        headers.insert(X_FORWARDED_USER, user);
    }
}

/// Joins the lines of `Accept` into one (RFC 9110, 5.3): some proxies forward only the first line.
pub(super) fn join_accept(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::ACCEPT).iter();
    let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b", "[..]))
    {
        headers.insert(header::ACCEPT, joined);
    }
}

/// Returns the headers of a request to a server beside the registry. It learns nothing of the
/// client but what it asks for.
pub(super) fn request_elsewhere(outbound: &OutboundRequest<'_>, host: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::HOST, host.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    let is_named = named_by_connection(outbound.headers);
    for (name, value) in outbound.headers {
        if is_for_others(name) && !is_named(name) && value.to_str().is_ok() {
            headers.append(name, value.clone());
        }
    }
    if let Some(media_type) = media_type(outbound.wanted, outbound.headers, is_named) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers
}

/// Returns the `Content-Type` of a request. The client decides only the type of a manifest. The
/// type of an upload is always bytes, because some registries read parameters from bodies of other
/// types.
fn media_type(
    wanted: &RegistryRequest,
    client: &HeaderMap,
    is_named: impl Fn(&HeaderName) -> bool,
) -> Option<HeaderValue> {
    match wanted {
        RegistryRequest::ManifestPut { .. } if is_named(&header::CONTENT_TYPE) => None,
        RegistryRequest::ManifestPut { .. } => client.get(header::CONTENT_TYPE).cloned(),
        RegistryRequest::UploadStart { .. }
        | RegistryRequest::UploadChunk { .. }
        | RegistryRequest::UploadFinish { .. } => {
            Some(HeaderValue::from_static("application/octet-stream"))
        }
        _ => None,
    }
}

/// Removes the headers that are not for the client from the registry's response.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let removed: Vec<_> = {
        let is_named = named_by_connection(headers);
        let stays = |name: &&HeaderName| is_for_client(name) && !is_named(name);
        headers.keys().filter(|name| !stays(name)).cloned().collect()
    };
    for name in removed {
        headers.remove(name);
    }
}

/// Returns a test of whether `Connection` names a header. Such a header concerns this connection
/// alone and is not forwarded (RFC 9110, 7.6.1). A name counts even if an invalid name stands next
/// to it.
fn named_by_connection(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool {
    let lines = headers.get_all(header::CONNECTION);
    move |name| {
        lines
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
