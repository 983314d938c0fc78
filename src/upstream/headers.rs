//! The headers that are forwarded. Pure functions.
//!
//! Only headers that the protocol knows go to the registry. Any other header of a client
//! (credentials, forwarding headers, method overrides, headers that name users) could speak for the
//! gate there. All headers go to the client, except those that concern the connection or would
//! speak for the gate's own host.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::{OutboundRequest, UpstreamSettings};
use crate::net::address_text::AddressText;
use crate::registry::RegistryRequest;

/// The headers that a client may send to the registry.
static REQUEST_HEADERS: [HeaderName; 21] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("docker-content-digest"),
    HeaderName::from_static("docker-distribution-api-version"),
    HeaderName::from_static("docker-upload-uuid"),
    HeaderName::from_static("oci-subject"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The headers that a response may not carry to a client: they concern the connection (RFC 9110,
/// 7.6.1), or would speak for the gate.
static NOT_FOR_CLIENTS: [HeaderName; 21] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    header::STRICT_TRANSPORT_SECURITY,
    header::REFRESH,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    header::CONTENT_LOCATION,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    header::PUBLIC_KEY_PINS,
    HeaderName::from_static("service-worker-allowed"),
    // The gate sets this header itself.
    HeaderName::from_static("x-request-id"),
];
const NOT_FOR_CLIENTS_PREFIXES: [&str; 3] = ["proxy-", "access-control-", "x-accel-"];

/// Returns the headers of a request to the registry.
pub(super) fn request(
    outbound: &OutboundRequest<'_>,
    settings: &UpstreamSettings,
    address: IpAddr,
) -> HeaderMap {
    let OutboundRequest { wanted, upstream_token, headers: client, request_id } = outbound;
    let client = *client;
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::HOST, settings.host.clone());
    // The loop goes over the client's headers, because they are few and this keeps the order of
    // repeated lines.
    for (name, value) in client {
        // Programs read values that are not plain ASCII in different ways.
        if REQUEST_HEADERS.contains(name)
            && !is_named_by_connection(client, name)
            && value.to_str().is_ok()
        {
            headers.append(name, value.clone());
        }
    }
    if let Some(media_type) = media_type(wanted, client) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    if let Some(authorization) = &settings.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    if let Some(token) = upstream_token {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), settings.forwarded_proto.clone());
    headers.insert(HeaderName::from_static("x-forwarded-host"), settings.forwarded_host.clone());
    if let Ok(address) = HeaderValue::from_str(&AddressText::of(address)) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), address);
    }
    headers.insert(HeaderName::from_static("x-request-id"), request_id.header());
    headers
}

/// Returns the `Content-Type` of a request. The client decides only the type of a manifest. The
/// type of an upload is always bytes, because some registries read parameters from bodies of other
/// types.
fn media_type(wanted: &RegistryRequest, client: &HeaderMap) -> Option<HeaderValue> {
    match wanted {
        RegistryRequest::ManifestPut { .. }
            if is_named_by_connection(client, &header::CONTENT_TYPE) =>
        {
            None
        }
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
    let is_for_client = |name: &HeaderName| {
        !NOT_FOR_CLIENTS.contains(name)
            && !NOT_FOR_CLIENTS_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
            && !is_named_by_connection(headers, name)
    };
    let removed: Vec<_> = headers.keys().filter(|name| !is_for_client(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Returns whether `Connection` names a header. Such a header concerns this connection alone and is
/// not forwarded (RFC 9110, 7.6.1). A name counts even if an invalid name stands next to it.
fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
