//! Any request that the gate renders is unambiguous, and it has the same meaning when it is parsed
//! again.

use http::Method;
use moorgate::registry::RegistryRequest;
use proptest::prelude::*;

/// Returns pieces of paths, valid and invalid, so that random paths come close to those that are
/// accepted.
fn path() -> impl Strategy<Value = String> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let piece = prop_oneof![
        Just("v2".to_owned()),
        Just("blobs".to_owned()),
        Just("uploads".to_owned()),
        Just("manifests".to_owned()),
        Just("tags".to_owned()),
        Just("list".to_owned()),
        Just("referrers".to_owned()),
        Just("_catalog".to_owned()),
        Just(digest),
        Just(String::new()),
        Just("..".to_owned()),
        Just("%2e%2e".to_owned()),
        "[a-z0-9._-]{0,6}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/v2/{}", pieces.join("/")))
}

fn query() -> impl Strategy<Value = Option<String>> {
    let key = prop_oneof![
        Just("n"),
        Just("last"),
        Just("digest"),
        Just("mount"),
        Just("from"),
        Just("_state"),
        Just("tag"),
        Just("ns"),
        Just("digest-algorithm"),
        Just("next_page"),
        Just("x!$'()*,@?/:"),
        Just("%66rom"),
        Just("artifactType"),
        Just("%6e")
    ];
    let value = prop_oneof![
        Just(format!("sha256%3A{}", "0".repeat(64))),
        "[a-z0-9]{0,4}",
        "(%[0-9a-f]{2}){0,3}",
        "\\PC{0,4}"
    ];
    prop::option::of(prop::collection::vec((key, value), 0..4).prop_map(|pairs| {
        pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    }))
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::HEAD),
        Just(Method::PUT),
        Just(Method::POST),
        Just(Method::PATCH),
        Just(Method::DELETE)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rendering_is_canonical_and_stable(method in method(), path in path(), query in query()) {
        let Ok(request) = RegistryRequest::parse(&method, &path, query.as_deref()) else {
            return Ok(());
        };
        let rendered = request.render();
        let (path, query) = rendered
            .split_once('?')
            .map_or((&*rendered, None), |(path, query)| (path, Some(query)));
        prop_assert!(
            path.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || b"/._-:=+~!$&'()*,@%".contains(&byte)
            }),
            "{rendered}"
        );
        prop_assert!(
            !path.contains("//")
                && !path.split('/').any(|segment| segment == ".." || segment == "."),
            "{rendered}"
        );
        prop_assert!(
            rendered.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b';'),
            "{rendered}"
        );
        let keys = query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
        prop_assert!(keys.into_iter().all(|key| !["ns", "%66rom"].contains(&key)), "{rendered}");
        let again = RegistryRequest::parse(&request.method(), path, query);
        prop_assert_eq!(again.as_ref(), Ok(&request), "{}", rendered);
    }

    #[test]
    fn parse_never_panics(method in method(), path in "\\PC*", query in prop::option::of("\\PC*")) {
        let _ = RegistryRequest::parse(&method, &path, query.as_deref());
    }
}
