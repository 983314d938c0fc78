use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A registry with these names, in this order, and at most `most` names per page.
struct Registry {
    names: Vec<String>,
    most: usize,
}

impl Registry {
    /// Returns an answer as Distribution gives it: the body and the link to the next page.
    fn page(&self, asked: &RegistryRequest) -> (String, Option<String>) {
        let RegistryRequest::Catalog { page, .. } = asked else { panic!("{asked:?}") };
        // Registries differ in the place of a name that they do not have. In this one, an unknown
        // name comes before all others.
        let start =
            page.last.as_ref().and_then(|last| self.names.iter().position(|name| name == last));
        let rest = &self.names[start.map_or(0, |at| at + 1)..];
        let size = self.most.min(page.count.map_or(usize::MAX, |count| count as usize));
        let names = &rest[..rest.len().min(size)];
        let link = (rest.len() > size).then(|| {
            let page = Page { count: Some(1), last: names.last().cloned() };
            page.of_catalog().render()
        });
        (json!({ "repositories": names }).to_string(), link)
    }

    /// Returns the page that a client gets for this request.
    fn walk(&self, wanted: &Page, shows: impl Fn(&RepositoryName) -> bool) -> CatalogPage {
        let mut walk = CatalogWalk::new(wanted, &shows);
        while let Some(asked) = walk.next() {
            let (body, link) = self.page(&asked);
            walk.take(body.as_bytes(), link.as_deref(), &shows).unwrap();
        }
        walk.finish()
    }
}

/// Returns the page that a link points to.
fn page_of(target: &str) -> Page {
    let (path, query) = target.split_once('?').unwrap();
    let Ok(RegistryRequest::Catalog { page, .. }) =
        RegistryRequest::parse(&Method::GET, path, Some(query))
    else {
        panic!("{target}")
    };
    page
}

fn names(page: &CatalogPage) -> Vec<&str> {
    page.names.iter().map(RepositoryName::as_str).collect()
}

fn wanted(count: u32, last: Option<&str>) -> Page {
    Page { count: Some(count), last: last.map(str::to_owned) }
}

proptest! {
    /// The pages hold exactly the visible names, in the order of the registry, for any names, any
    /// visibility and any page sizes. Each page but the last is full, and no link contains a hidden
    /// name.
    #[test]
    fn the_pages_hold_exactly_the_visible_names(
        entries in prop::collection::hash_map(
            "[a-c]{1,2}(/[a-c]{1,2}|-[a-c])?", any::<bool>(), 0..40,
        ),
        count in 1u32..12,
        most in 1usize..12,
    ) {
        // The order of a hash map differs from the order of the bytes.
        let registry = Registry { names: entries.keys().cloned().collect(), most };
        let visible: Vec<&str> =
            registry.names.iter().filter(|name| entries[*name]).map(String::as_str).collect();
        let mut found = Vec::new();
        let mut next = Some(wanted(count, None));
        while let Some(wanted) = next {
            let page = registry.walk(&wanted, |name| entries[name.as_str()]);
            next = page.next.as_deref().map(page_of);
            if let Some(next) = &next {
                prop_assert_eq!(page.names.len(), count as usize);
                prop_assert_eq!(next, &self::wanted(count, names(&page).last().copied()));
            }
            found.extend(names(&page).into_iter().map(str::to_owned));
            prop_assert_eq!(found.len() < visible.len(), next.is_some());
        }
        prop_assert_eq!(found, visible);
    }

    #[test]
    fn never_panics(body: Vec<u8>, link in ".{0,40}") {
        let mut walk = CatalogWalk::new(&Page::default(), |_| true);
        let _ = walk.take(&body, Some(&*link), |_| true);
    }
}

fn registry(names: impl IntoIterator<Item = &'static str>) -> Registry {
    Registry { names: names.into_iter().map(str::to_owned).collect(), most: 2 }
}

#[test]
fn hidden_names_leave_no_trace_in_the_pages() {
    let all = registry(["a", "hidden/a", "b-c", "b/c", "hidden/b", "hidden/c", "hidden/d"]);
    let visible = registry(["a", "b-c", "b/c"]);
    let shows = |name: &RepositoryName| !name.as_str().starts_with("hidden");
    for wanted in [
        wanted(1, None),
        wanted(2, None),
        wanted(3, None),
        wanted(9, Some("b-c")),
        wanted(2, Some("b/c")),
        Page::default(),
    ] {
        assert_eq!(all.walk(&wanted, shows), visible.walk(&wanted, |_| true), "{wanted:?}");
    }
    assert_eq!(all.walk(&wanted(3, None), shows).next, None, "only hidden names are behind");
}

/// The page after a hidden name does not reveal the name either, even with a registry that starts
/// again from the beginning after an unknown name.
#[test]
fn a_page_does_not_reveal_whether_a_hidden_name_exists() {
    let with = registry(["a", "a/b", "a-b", "hidden/a", "x"]);
    let without = registry(["a", "a/b", "a-b", "x"]);
    let shows = |name: &RepositoryName| !name.as_str().starts_with("hidden");
    for (last, expected) in [
        ("hidden/a", &["x"][..]),
        ("hidden/../a", &["x"]),
        ("A", &["a", "a/b", "a-b", "x"]),
        ("z/", &[]),
    ] {
        for registry in [&with, &without] {
            assert_eq!(names(&registry.walk(&wanted(9, Some(last)), shows)), expected, "{last}");
        }
    }
    assert_eq!(
        names(&with.walk(&wanted(9, Some("a/b")), shows)),
        ["a-b", "x"],
        "what is visible is the registry's affair"
    );
    let after =
        |last| names(&without.walk(&wanted(9, Some(last)), |name| name.as_str() != last)).join(" ");
    assert_eq!(
        (after("a"), after("a/b"), after("a-b")),
        ("a/b a-b x".into(), "a-b x".into(), "x".into()),
        "segments"
    );
}

#[test]
fn a_page_has_as_many_names_as_asked_up_to_1000() {
    let many: Vec<String> = (0..2500).map(|number| format!("a/{number}")).collect();
    let registry = Registry { names: many, most: 100 };
    for (count, expected) in
        [(None, 100), (Some(7), 7), (Some(1000), 1000), (Some(1001), 1000), (Some(u32::MAX), 1000)]
    {
        let page = registry.walk(&Page { count, last: None }, |_| true);
        assert_eq!(page.names.len(), expected, "{count:?}");
        let next = page_of(&page.next.unwrap());
        assert_eq!(
            (next.count, next.last),
            (u32::try_from(expected).ok(), Some(format!("a/{}", expected - 1)))
        );
    }
    // A page of zero names is empty and has no link, and the registry is not asked.
    let walk = CatalogWalk::new(&wanted(0, None), |_| true);
    assert_eq!(walk.next(), None);
    assert_eq!(walk.finish(), CatalogPage { names: vec![], next: None });
}

/// The gate requests large pages regardless of the client, or leaves the size to the registry.
#[test]
fn the_gate_asks_the_upstream_for_large_pages_or_for_any_size() {
    let mut walk = CatalogWalk::new(&wanted(3, Some("x/y")), |_| true);
    assert_eq!(walk.next().unwrap().render(), "/v2/_catalog?n=1000&last=x/y");
    assert!(walk.any_size());
    assert_eq!(walk.next().unwrap().render(), "/v2/_catalog?last=x/y");
    assert!(!walk.any_size());
    let link = "/v2/_catalog?n=7&last=%61%2Fb";
    walk.take(br#"{"repositories":["a"]}"#, Some(link), |_| false).unwrap();
    assert_eq!(walk.next().unwrap().render(), "/v2/_catalog?last=a/b");
}

#[test]
fn an_invalid_page_of_the_catalog_is_an_error() {
    let next = Some("/v2/_catalog?last=b");
    let take = |body: &str, link: Option<&str>| {
        let mut walk = CatalogWalk::new(&wanted(5, None), |_| true);
        walk.take(body.as_bytes(), link, |name| name.as_str() != "c")
            .map(|()| walk.next().is_some())
    };
    for body in [
        "",
        "<html></html>",
        "[]",
        "{}",
        r#"{"errors":[]}"#,
        r#"{"repositories":"a"}"#,
        r#"{"repositories":{"a":1}}"#,
        r#"{"repositories":["a",1]}"#,
        r#"{"repositories":["a",null]}"#,
        r#"{"repositories":["b"],"repositories":["c"]}"#,
        r#"{"repositories":["b"],"\u0072epositories":["c"]}"#,
        r#"{"repositories":["b"]}{"repositories":["b"]}"#,
        r#"{"repositories":["b"]"#,
    ] {
        assert!(matches!(take(body, None), Err(CatalogError::Unreadable(_))), "{body}");
    }
    // Repeated names, and empty pages with a link to a next page.
    for (body, link) in [
        (r#"{"repositories":["b","b"]}"#, None),
        (r#"{"repositories":[]}"#, next),
        (r#"{"repositories":null}"#, next),
    ] {
        assert!(matches!(take(body, link), Err(CatalogError::Circle)), "{body}");
    }
    let names = r#"{"repositories":["b","c","c","UPPER",""],"other":{}}"#;
    for link in ["/v2/a/tags/list?last=b", "/v2/", "/v2/_catalog?last=b&last=c"] {
        assert!(matches!(take(names, Some(link)), Err(CatalogError::Link)), "{link}");
    }
    assert!(take(names, next).unwrap() && !take(names, None).unwrap());
    assert!(!take(r#"{"repositories":null}"#, None).unwrap());
}

/// Some registries page by a key of their own and ignore `last`. The gate follows their links as
/// they are, and skips the names up to the one after which the client's page starts.
#[test]
fn a_registry_may_page_by_a_key_of_its_own() {
    let pages = [("", ["a", "b"]), ("x%2F1", ["c", "d"]), ("x%2F2", ["e", "f"])];
    let walk = |wanted: &Page| {
        let mut walk = CatalogWalk::new(wanted, |name| name.as_str() != "d");
        while let Some(asked) = walk.next() {
            let target = asked.render();
            let token = target.split_once("nextToken=").map_or("", |(_, token)| token);
            let at = pages.iter().position(|(key, _)| *key == token).unwrap();
            let next = pages.get(at + 1).map(|(key, _)| format!("/v2/_catalog?nextToken={key}"));
            let body = json!({ "repositories": pages[at].1 }).to_string();
            walk.take(body.as_bytes(), next.as_deref(), |name| name.as_str() != "d").unwrap();
        }
        walk.finish()
    };
    let mut found = Vec::new();
    let mut next = Some(wanted(2, None));
    while let Some(wanted) = next {
        let page = walk(&wanted);
        found.push(names(&page).join(" "));
        next = page.next.as_deref().map(page_of);
    }
    assert_eq!(found, ["a b", "c e", "f"]);
    // The registry does not have the name any more.
    let mut gone = CatalogWalk::new(&wanted(2, Some("z")), |_| true);
    let body = json!({ "repositories": ["a"] }).to_string();
    gone.take(body.as_bytes(), Some("/v2/_catalog?nextToken=1"), |_| true).unwrap();
    let end = gone.take(body.replace('a', "b").as_bytes(), None, |_| true);
    assert!(matches!(end, Err(CatalogError::Gone)));
}

#[test]
fn a_repeated_last_name_is_reported_as_a_circle() {
    let mut walk = CatalogWalk::new(&Page::default(), |_| true);
    let mut take = |name: &str, last: &str| {
        let link = format!("/v2/_catalog?last={last}");
        let body = json!({ "repositories": [name] }).to_string();
        walk.take(body.as_bytes(), Some(&*link), |_| false)
    };
    assert!(take("a", "a").is_ok() && take("b", "b").is_ok());
    assert!(matches!(take("a", "a"), Err(CatalogError::Circle)));
}
