//! The oracle for the request parser. An input is a method, a space and a target.

use http::{Method, Uri};
use moorgate::registry::{Access, Action, RegistryRequest};

use super::grammar::{self, Needs};

/// Checks that an accepted request has one canonical form: the result of the second parser, which
/// parses to the same value again and has the same path as the one sent, byte for byte. Both
/// parsers must refuse the same requests.
pub fn check(input: &[u8]) {
    let Some((method, target)) =
        std::str::from_utf8(input).ok().and_then(|text| text.split_once(' '))
    else {
        return;
    };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method.as_bytes()), Uri::try_from(target))
    else {
        return;
    };
    let accepted = RegistryRequest::parse(&method, uri.path(), uri.query()).ok();
    let expected = grammar::canonical(method.as_str(), uri.path(), uri.query());

    let rendered = accepted.as_ref().map(RegistryRequest::render);
    assert_eq!(
        rendered,
        expected.as_ref().map(|expected| expected.target.clone()),
        "{method} {uri}"
    );
    let (Some(accepted), Some(rendered), Some(expected)) = (accepted, rendered, expected) else {
        return;
    };

    assert_eq!(accepted.method(), expected.method);
    assert_eq!(accepted.repository().map_or("", |name| name.as_str()), expected.repository);
    assert_eq!(needs(&accepted.required()), expected.needs);
    let source = accepted.mount_source().map(|source| match source {
        Access::Repository(name, Action::Pull) => name.to_string(),
        other => panic!("a mount that needs {other:?}"),
    });
    assert_eq!(source, expected.mounted_from);

    let (path, query) =
        rendered.split_once('?').map_or((&*rendered, None), |(path, query)| (path, Some(query)));
    assert_eq!(path, uri.path(), "another spelling of the path was accepted");
    let again = RegistryRequest::parse(&accepted.method(), path, query);
    assert_eq!(again.as_ref(), Ok(&accepted), "{rendered}");
    assert!(Uri::try_from(&rendered).is_ok(), "{rendered} cannot be sent");
}

fn needs(access: &Access) -> Needs {
    match access {
        Access::Login => Needs::Login,
        Access::Catalog => Needs::Catalog,
        Access::Repository(_, Action::Pull) => Needs::Pull,
        Access::Repository(_, Action::Push) => Needs::Push,
        Access::Repository(_, Action::Delete) => Needs::Delete,
        Access::Repositories(several) => panic!("one request needs {several:?}"),
    }
}
