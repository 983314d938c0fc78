//! The names in a certificate, compared with the host that clients connect to (RFC 9525).

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::config::problem::shown;

/// The largest number of names that a warning lists.
const MOST_LISTED: usize = 5;

/// Returns the warning about a certificate that does not name the host.
pub(super) fn doubt(certificate: &X509Certificate<'_>, host: &str) -> Option<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names[..]);
    if names.iter().any(|name| is_for(name, host)) {
        return None;
    }
    let listed: Vec<String> = names.iter().take(MOST_LISTED).filter_map(text).collect();
    let found = if listed.is_empty() {
        "has no subject alternative name, and clients ignore its common name".to_owned()
    } else {
        let more = if names.len() > MOST_LISTED { " and others" } else { "" };
        format!("is for {}{more}", listed.join(", "))
    };
    Some(format!(
        "the certificate {found}, but clients connect to `{}`, the host of http.external_url, and \
         refuse it; use a certificate whose subject alternative names include this host, or \
         correct http.external_url",
        shown(host)
    ))
}

/// Returns whether a name of a certificate is for the host. Clients compare addresses only with
/// names of type IP, and let a wildcard stand for exactly one label.
fn is_for(name: &GeneralName<'_>, host: &str) -> bool {
    match (name, host.parse::<IpAddr>()) {
        (GeneralName::IPAddress(bytes), Ok(address)) => match address {
            IpAddr::V4(address) => *bytes == address.octets(),
            IpAddr::V6(address) => *bytes == address.octets(),
        },
        (GeneralName::DNSName(name), Err(_)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
                None => name == host,
            }
        }
        _ => false,
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("`{}`", shown(name))),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| format!("`{address}`"))
        }
        _ => None,
    }
}
