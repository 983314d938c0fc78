//! `Location` and `Link` in the registry's responses. Pure functions.
//!
//! Registries build absolute addresses from any name that they take for their own. Clients resolve
//! relative addresses, and drop their credentials when the host changes, so both headers become
//! path-only. A response with an address outside this registry is not passed on at all.

use http::header::{self, HeaderMap};
use http::{HeaderValue, Method, StatusCode, Uri};

use crate::denial::UpstreamFault;
use crate::registry::RegistryRequest;

/// The `host[:port]` names that the registry may use for itself: the gate's public one and the
/// registry's own.
pub struct Origins(pub Vec<String>);

/// Makes `Location` and `Link` path-only.
pub(super) fn rewrite(
    wanted: &RegistryRequest,
    status: StatusCode,
    headers: &mut HeaderMap,
    origins: &Origins,
) -> Result<(), UpstreamFault> {
    if let RegistryRequest::BlobGet { .. } = wanted
        && status.is_redirection()
    {
        // The redirect leads to object storage, with a signature in the query: no byte may change.
        return Ok(());
    }
    if headers.get_all(header::LOCATION).iter().count() > 1 {
        return Err(UpstreamFault::LeadsElsewhere);
    }
    if let Some(location) = headers.get(header::LOCATION) {
        let target =
            origins.path_of(location.to_str().map_err(|_| UpstreamFault::LeadsElsewhere)?)?;
        check_target(wanted, target)?;
        let value = HeaderValue::from_str(target).map_err(|_| UpstreamFault::LeadsElsewhere)?;
        headers.insert(header::LOCATION, value);
    }
    let links: Vec<HeaderValue> = headers
        .get_all(header::LINK)
        .iter()
        .map(|link| rewrite_link(wanted, link, origins))
        .collect::<Result<_, _>>()?;
    if !links.is_empty() {
        headers.remove(header::LINK);
        for link in links {
            headers.append(header::LINK, link);
        }
    }
    Ok(())
}

/// Rewrites the address between the angle brackets of a link, such as
/// `</v2/name/tags/list?n=1&last=a>; rel="next"` (RFC 8288).
fn rewrite_link(
    wanted: &RegistryRequest,
    link: &HeaderValue,
    origins: &Origins,
) -> Result<HeaderValue, UpstreamFault> {
    let elsewhere = UpstreamFault::LeadsElsewhere;
    let text = link.to_str().map_err(|_| elsewhere)?;
    let (address, rest) = text
        .trim_start()
        .strip_prefix('<')
        .and_then(|text| text.split_once('>'))
        .ok_or(elsewhere)?;
    let target = origins.path_of(address)?;
    check_target(wanted, target)?;
    // A second link in the line would be passed on unchecked.
    if rest.contains('<') {
        return Err(elsewhere);
    }
    HeaderValue::try_from(format!("<{target}>{rest}")).map_err(|_| elsewhere)
}

/// Checks that the gate would accept the address to which the registry sends a client, and that it
/// belongs to the same repository.
fn check_target(wanted: &RegistryRequest, target: &str) -> Result<(), UpstreamFault> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(UpstreamFault::LeadsElsewhere);
    }
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let led_to = RegistryRequest::parse(&Method::GET, path, query)
        .map_err(|_| UpstreamFault::LeadsElsewhere)?;
    // A request without a repository may lead only to the same operation: the list of all
    // repositories leads to that list, and to no other path.
    let same = match wanted.repository() {
        None => led_to.operation() == wanted.operation(),
        name => led_to.repository() == name,
    };
    if same { Ok(()) } else { Err(UpstreamFault::LeadsElsewhere) }
}

impl Origins {
    /// Returns the path and query of an address of this registry, byte for byte.
    fn path_of<'a>(&self, address: &'a str) -> Result<&'a str, UpstreamFault> {
        if address.starts_with('/') && !address.starts_with("//") {
            return Ok(address);
        }
        let uri: Uri = address.parse().map_err(|_| UpstreamFault::LeadsElsewhere)?;
        let authority = uri.authority().ok_or(UpstreamFault::LeadsElsewhere)?.as_str();
        let known = self.0.iter().any(|origin| {
            origin.eq_ignore_ascii_case(authority) || is_default_port(origin, authority, &uri)
        });
        if !known || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UpstreamFault::LeadsElsewhere);
        }
        let after_scheme = address.split_once("://").map_or("", |(_, rest)| rest);
        let path = after_scheme.find('/').and_then(|at| after_scheme.get(at..));
        path.ok_or(UpstreamFault::LeadsElsewhere)
    }
}

/// Returns whether `authority` is `origin` with the default port: `registry.example.com:443` on
/// https is `registry.example.com`.
fn is_default_port(origin: &str, authority: &str, uri: &Uri) -> bool {
    let port = if uri.scheme_str() == Some("https") { ":443" } else { ":80" };
    authority.strip_suffix(port).is_some_and(|host| host.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, path: &str) -> RegistryRequest {
        RegistryRequest::parse(&method, path, None).unwrap()
    }

    fn rewritten(
        wanted: &RegistryRequest,
        status: u16,
        name: header::HeaderName,
        value: &str,
    ) -> Result<String, UpstreamFault> {
        let origins = Origins(vec!["registry.example.com".into(), "127.0.0.1:5000".into()]);
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), value.parse().unwrap());
        rewrite(wanted, StatusCode::from_u16(status).unwrap(), &mut headers, &origins)?;
        Ok(headers.get(name).unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_location_becomes_a_path_and_keeps_its_query() {
        let start = request(Method::POST, "/v2/a/b/blobs/uploads/");
        let path = "/v2/a/b/blobs/uploads/1-2?_state=x%3D_-%2Fy==";
        for address in [
            path.to_owned(),
            format!("https://registry.example.com{path}"),
            format!("https://REGISTRY.example.com:443{path}"),
            format!("http://127.0.0.1:5000{path}"),
        ] {
            assert_eq!(
                rewritten(&start, 202, header::LOCATION, &address).as_deref(),
                Ok(path),
                "{address}"
            );
        }
        for query in [
            "_stateHash=x&_state=y",
            "_nouploadcache=false",
            "digest=x&b&&a=%2f",
            "_state=a=b~/?:@!$'()*+,",
        ] {
            let path = format!("/v2/a/b/blobs/uploads/1-2?{query}");
            let rewritten =
                rewritten(&start, 202, header::LOCATION, &format!("http://127.0.0.1:5000{path}"));
            assert_eq!(rewritten.as_deref(), Ok(&*path));
        }
    }

    #[test]
    fn a_location_that_leads_elsewhere_is_refused() {
        let start = request(Method::POST, "/v2/a/b/blobs/uploads/");
        for address in [
            "https://evil.example.com/v2/a/b/blobs/uploads/1",
            "https://registry.example.com@evil.example.com/v2/a/b/blobs/uploads/1",
            "https://registry.example.com:444/v2/a/b/blobs/uploads/1",
            "//evil.example.com/v2/a/b/blobs/uploads/1",
            "/v2/other/blobs/uploads/1",
            "/v2/a/b/../c/blobs/uploads/1",
            "/elsewhere",
            "ftp://registry.example.com/v2/a/b/blobs/uploads/1",
            "v2/a/b/blobs/uploads/1",
            // Characters that have no meaning in the query here may have one to a client.
            "/v2/a/b/blobs/uploads/1?x=\\evil.example.com",
            "/v2/a/b/blobs/uploads/1?x=a b",
            "/v2/a/b/blobs/uploads/1?x=a\tb",
            // The gate would refuse these queries in a request.
            "/v2/a/b/blobs/uploads/1?x=a;b",
            "/v2/a/b/blobs/uploads/1?fro%6d=a",
        ] {
            assert_eq!(
                rewritten(&start, 202, header::LOCATION, address),
                Err(UpstreamFault::LeadsElsewhere),
                "{address}"
            );
        }
    }

    #[test]
    fn redirects_of_blobs_are_left_alone() {
        let blob = request(Method::GET, &format!("/v2/a/blobs/sha256:{}", "a".repeat(64)));
        let storage = "https://storage.example.com/x?signature=a%2Bb";
        assert_eq!(rewritten(&blob, 307, header::LOCATION, storage).as_deref(), Ok(storage));
        let manifest = request(Method::GET, "/v2/a/manifests/v1");
        assert!(rewritten(&manifest, 307, header::LOCATION, storage).is_err());
    }

    #[test]
    fn links_are_rewritten_to_paths_or_refused() {
        let tags = request(Method::GET, "/v2/a/tags/list");
        let path_only = "</v2/a/tags/list?n=1&last=x>; rel=\"next\"";
        for link in
            [path_only, "<https://registry.example.com/v2/a/tags/list?n=1&last=x>; rel=\"next\""]
        {
            assert_eq!(rewritten(&tags, 200, header::LINK, link).as_deref(), Ok(path_only));
        }
        let opaque = "</v2/a/tags/list?next_page=gAAA%3D&n=1&last=a%2fb>; rel=\"next\"";
        assert_eq!(rewritten(&tags, 200, header::LINK, opaque).as_deref(), Ok(opaque));
        let catalog = request(Method::GET, "/v2/_catalog");
        let next = "</v2/_catalog?n=1&last=x>; rel=\"next\"";
        assert_eq!(rewritten(&catalog, 200, header::LINK, next).as_deref(), Ok(next));
        for link in ["</v2/>; rel=\"next\"", "</v2/a/tags/list>; rel=\"next\""] {
            assert!(rewritten(&catalog, 200, header::LINK, link).is_err(), "{link}");
        }
        assert!(
            rewritten(
                &tags,
                200,
                header::LINK,
                "<https://evil.example.com/v2/a/tags/list>; rel=\"next\""
            )
            .is_err()
        );
        for link in [
            "nonsense",
            "</v2/other/tags/list>; rel=\"next\"",
            "</\\evil.example.com/v2/a/tags/list>; rel=\"next\"",
            "</\t/evil.example.com/v2/a/tags/list>; rel=\"next\"",
            "</v2/a/tags/list?n=1>; rel=\"x\", \
             <https://evil.example.com/v2/a/tags/list>; rel=\"next\"",
        ] {
            assert!(rewritten(&tags, 200, header::LINK, link).is_err(), "{link}");
        }
    }
}
