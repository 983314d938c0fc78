//! `Location` and `Link` in the registry's responses. Pure functions.
//!
//! Registries build absolute addresses from any name that they take for their own. Clients resolve
//! relative addresses, and drop their credentials when the host changes, so addresses of the
//! registry become path-only. Only two kinds of `Location` must be followed: the address of an
//! upload in progress, and a redirect. Any other address that leads out of the repository is
//! dropped, and the response passes.

mod link;
mod resolve;
#[cfg(test)]
mod tests;

use http::header::{self, HeaderMap};
use http::{HeaderValue, Method, StatusCode};

use super::check_response::is_redirect;
use super::sealed_upload::sealed_id;
use super::web_address::WebAddress;
use crate::registry::{Operation, RegistryRequest, RepositoryName};
pub(super) use resolve::{AddressForm, resolve};

/// The longest address of an upload that is handed on, in bytes. The gate takes back no longer one,
/// apart from the digest that clients append.
pub(super) const MAX_UPLOAD_ADDRESS_BYTES: usize = 8 * 1024;

/// The registry's own names and address.
pub struct Origins {
    /// The `host[:port]` names that the registry may use for itself: the gate's public one and the
    /// registry's own.
    pub names: Vec<String>,
    /// The scheme and authority at which the gate reaches the registry, such as
    /// `http://127.0.0.1:5000`. Relative redirects are resolved against it.
    pub own: String,
    /// The path behind which the registry's `/v2/` lies, without a slash at its end; empty for the
    /// root.
    pub base: String,
}

/// Returns a path of the gate's own for the address of an upload that leads elsewhere, if the gate
/// may go there.
pub(super) type Seal<'a> = dyn Fn(&WebAddress) -> Option<String> + 'a;

/// The answer that is rewritten.
#[derive(Clone, Copy)]
pub(super) struct Answered<'a> {
    /// The request that was answered.
    pub(super) wanted: &'a RegistryRequest,
    /// The path and query of that request, as it was sent.
    pub(super) target: &'a str,
    pub(super) origins: &'a Origins,
    /// The address of the server, if it is not the registry.
    pub(super) elsewhere: Option<&'a WebAddress>,
    pub(super) seal: &'a Seal<'a>,
}

/// An address that a client would have to follow, and that leads to another host or repository: its
/// host and path, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeadsElsewhere(pub(super) String);

/// An address in a response, with what is needed to judge it.
#[derive(Clone, Copy)]
struct Judge<'a> {
    /// The request that was answered.
    wanted: &'a RegistryRequest,
    /// The path and query of that request.
    target: &'a str,
    origins: &'a Origins,
    elsewhere: Option<&'a WebAddress>,
    seal: Option<&'a Seal<'a>>,
}

/// Returns whether a response has an address that [`rewrite`] must judge.
pub(super) fn has_addresses(status: StatusCode, headers: &HeaderMap) -> bool {
    is_redirect(status)
        || headers.contains_key(header::LOCATION)
        || headers.contains_key(header::LINK)
}

/// Rewrites `Location` and `Link`, or removes them.
///
/// # Errors
/// [`LeadsElsewhere`] if a client would have to follow the `Location`, and cannot: a redirect of a
/// write, a redirect without a valid address, or the address of an upload at another host, in
/// another repository, or longer than the gate takes back.
pub(super) fn rewrite(
    answered: Answered<'_>,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<(), LeadsElsewhere> {
    let Answered { wanted, target, origins, elsewhere, seal } = answered;
    let judge = Judge { wanted, target, origins, elsewhere, seal: Some(seal) };
    if headers.contains_key(header::LOCATION) || is_redirect(status) {
        let location = judge.location(status, headers)?;
        headers.remove(header::LOCATION);
        if let Some(location) = location {
            headers.insert(header::LOCATION, location);
        }
    }
    if headers.contains_key(header::LINK) {
        let lines = headers.get_all(header::LINK).iter().filter_map(|line| line.to_str().ok());
        let good: Vec<_> = lines
            .flat_map(link::values)
            .filter_map(|link| {
                let target = judge.same_repository(link.address)?;
                HeaderValue::try_from(format!("<{target}>{}", link.parameters)).ok()
            })
            .collect();
        headers.remove(header::LINK);
        for link in good {
            headers.append(header::LINK, link);
        }
    }
    Ok(())
}

/// Returns the path and query of the link to the next page of a list, if there is one.
///
/// # Errors
/// [`LeadsElsewhere`] if a `Link` cannot be read, if the link to the next page leads out of the
/// list, or if there are several. The gate follows this link itself, and must not take a list that
/// goes on for one that has ended.
pub(super) fn next_page(
    wanted: &RegistryRequest,
    target: &str,
    headers: &HeaderMap,
    origins: &Origins,
) -> Result<Option<String>, LeadsElsewhere> {
    let judge = Judge { wanted, target, origins, elsewhere: None, seal: None };
    let mut next = None;
    for line in headers.get_all(header::LINK) {
        let text = line.to_str().map_err(|_| LeadsElsewhere("an unreadable Link".into()))?;
        let links = link::values(text);
        if links.is_empty() && !text.trim().is_empty() {
            return Err(LeadsElsewhere("an unreadable Link".into()));
        }
        for link in links.iter().filter(|link| link.is_next()) {
            let target = judge.same_list(link.address);
            let target = target.ok_or_else(|| LeadsElsewhere(shown(link.address)))?;
            if next.replace(target).is_some() {
                return Err(LeadsElsewhere("several links to the next page".into()));
            }
        }
    }
    Ok(next)
}

impl Judge<'_> {
    /// Returns the `Location` for the client; `None` if it has none that it could use.
    fn location(
        self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, LeadsElsewhere> {
        let mut lines = headers.get_all(header::LOCATION).iter();
        let location = match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok(),
            _ => None,
        };
        let all = || {
            let lines = headers.get_all(header::LOCATION).iter();
            lines.map(|line| shown(&String::from_utf8_lossy(line.as_bytes()))).collect::<Vec<_>>()
        };
        let elsewhere = || LeadsElsewhere(all().join(" and "));
        let address = if is_redirect(status) {
            if !self.wanted.is_read() {
                return Err(elsewhere());
            }
            Some(location.and_then(|text| self.redirect(text)).ok_or_else(elsewhere)?)
        } else if self.continues_an_upload(status) {
            match location {
                None if headers.get(header::LOCATION).is_none() => None,
                location => {
                    Some(location.and_then(|text| self.upload(text)).ok_or_else(elsewhere)?)
                }
            }
        } else {
            location.and_then(|text| self.same_repository(text))
        };
        let value = address.map(|address| HeaderValue::try_from(address).map_err(|_| elsewhere()));
        value.transpose()
    }

    /// Returns whether the client sends the rest of an upload to the `Location` of the response.
    /// Amazon's registry answers 201 to each part.
    fn continues_an_upload(self, status: StatusCode) -> bool {
        match self.wanted.operation() {
            Operation::UploadStart | Operation::UploadFinish => status == StatusCode::ACCEPTED,
            Operation::UploadChunk => {
                matches!(status, StatusCode::ACCEPTED | StatusCode::CREATED)
            }
            _ => false,
        }
    }

    /// Returns the absolute address of a redirect. No byte of an absolute address changes, because
    /// its query may contain a signature.
    fn redirect(self, text: &str) -> Option<String> {
        if let Some(elsewhere) = self.elsewhere {
            return Some(elsewhere.join(text)?.address.text());
        }
        match AddressForm::parse(text)? {
            AddressForm::Absolute { .. } => {
                // Clients could read user information, or an odd host, in different ways.
                WebAddress::parse(text).map(|_| text.to_owned())
            }
            AddressForm::Host(rest) => {
                let scheme = self.origins.own.split("://").next().unwrap_or("https");
                let address = format!("{scheme}://{rest}");
                WebAddress::parse(&address).map(|_| address)
            }
            AddressForm::Path(path) => Some(format!("{}{path}", self.origins.own)),
            AddressForm::Relative(relative) => {
                Some(format!("{}{}", self.origins.own, resolve(self.target, relative)))
            }
        }
    }

    /// Returns the path and query of the address of an upload in the same repository, if the gate
    /// will take it back.
    fn upload(self, text: &str) -> Option<String> {
        if let Some((path, led_to)) = self.leads_to(text)
            && led_to.operation() == Operation::UploadStatus
            && path.len() <= MAX_UPLOAD_ADDRESS_BYTES
        {
            // The registry may be a gate itself. What it sealed would look like this gate's own.
            if sealed_id(&led_to).is_none() {
                return Some(path);
            }
            let target = format!("{}{path}", self.origins.base);
            return (self.seal?)(&WebAddress { target, ..self.origins.address()? });
        }
        let registry = self.origins.address()?;
        let here = match self.elsewhere {
            Some(elsewhere) => elsewhere.clone(),
            None => WebAddress { target: self.target.to_owned(), ..registry.clone() },
        };
        let address = here.join(text)?.address;
        let scheme = if address.https { "https" } else { "http" };
        if !address.is_same_origin(&registry) && !self.origins.knows(scheme, &address.authority()) {
            return (self.seal?)(&address);
        }
        let own = WebAddress { target: address.target, ..registry };
        let may_be_sealed = self.origins.may_be_sealed(&own.target, self.wanted.repository());
        if may_be_sealed { (self.seal?)(&own) } else { None }
    }

    /// Returns the path and query of an address in the same repository.
    fn same_repository(self, text: &str) -> Option<String> {
        self.leads_to(text).map(|(path, _)| path)
    }

    /// Returns the path and query of an address of the same list.
    fn same_list(self, text: &str) -> Option<String> {
        let (path, led_to) = self.leads_to(text)?;
        (led_to.operation() == self.wanted.operation()).then_some(path)
    }

    /// Returns the path and query of an address, and the request that it stands for, if the address
    /// is in the same repository. A request without a repository leads only to its own operation.
    fn leads_to(self, text: &str) -> Option<(String, RegistryRequest)> {
        let path = self.path(text)?;
        let led_to = parse(&path)?;
        let same = match self.wanted.repository() {
            None => led_to.operation() == self.wanted.operation(),
            name => led_to.repository() == name,
        };
        same.then_some((path, led_to))
    }

    /// Returns the path and query of an address of this registry, byte for byte.
    fn path(self, text: &str) -> Option<String> {
        // A client does not send a fragment.
        let text = text.split('#').next().unwrap_or_default();
        let path = match AddressForm::parse(text)? {
            AddressForm::Absolute { scheme, authority, path } => {
                self.origins.knows(scheme, authority).then(|| path.to_owned())
            }
            AddressForm::Host(rest) => {
                let (authority, path) = rest.split_at_checked(rest.find('/')?)?;
                self.origins.knows("https", authority).then(|| path.to_owned())
            }
            // A relative address in the answer of another server leads to that server.
            AddressForm::Path(_) | AddressForm::Relative(_) if self.elsewhere.is_some() => None,
            AddressForm::Path(path) => Some(path.to_owned()),
            AddressForm::Relative(relative) => Some(resolve(self.target, relative)),
        }?;
        Some(self.origins.without_base(&path).to_owned())
    }
}

impl Origins {
    /// Returns the address of the registry, with an empty path.
    pub(super) fn address(&self) -> Option<WebAddress> {
        WebAddress::parse(&self.own)
    }

    /// Returns whether a path and query of the registry may be sealed as an upload of this
    /// repository: outside of `/v2/`, or an upload there.
    pub(super) fn may_be_sealed(&self, target: &str, name: Option<&RepositoryName>) -> bool {
        let target = self.without_base(target);
        let is_upload = |led_to: RegistryRequest| {
            led_to.operation() == Operation::UploadStatus && led_to.repository() == name
        };
        !target.starts_with("/v2/") || parse(target).is_some_and(is_upload)
    }

    /// Returns a path of the registry as the gate has it: without what lies before `/v2/`. Some
    /// registries that lie behind a path do not know of it, and leave it out.
    fn without_base<'a>(&self, path: &'a str) -> &'a str {
        let rest = path.strip_prefix(&*self.base).filter(|rest| rest.starts_with("/v2/"));
        rest.unwrap_or(path)
    }

    /// Returns whether the registry may call itself by this name. `registry.example.com:443` on
    /// https is `registry.example.com`.
    pub(super) fn knows(&self, scheme: &str, authority: &str) -> bool {
        let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let host = authority.strip_suffix(port);
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(authority)
                || host.is_some_and(|host| name.eq_ignore_ascii_case(host))
        })
    }
}

/// Parses a path and query as the gate would parse it in a request.
fn parse(target: &str) -> Option<RegistryRequest> {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RegistryRequest::parse(&Method::GET, path, query).ok()
}

/// Returns the host and path of an address for the log, without its query, which may contain a
/// secret.
fn shown(address: &str) -> String {
    const MOST: usize = 300;
    let shown: String =
        address.split(['?', '#']).next().unwrap_or_default().chars().take(MOST).collect();
    // User information is a secret too.
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => shown,
    }
}
