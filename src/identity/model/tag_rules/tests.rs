use http::Method;
use serde_json::json;

use super::*;

fn put(target: &str) -> RegistryRequest {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RegistryRequest::parse(&Method::PUT, path, query).unwrap()
}

fn request(method: Method, path: &str) -> RegistryRequest {
    RegistryRequest::parse(&method, path, None).unwrap()
}

fn rules(meta: Value) -> TagRules {
    TagRules::read([&meta]).unwrap()
}

fn tags(words: &[&str]) -> Vec<Tag> {
    words.iter().map(|word| Tag::parse(word).unwrap()).collect()
}

#[test]
fn every_tag_of_a_push_counts() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let rules = rules(json!({
        "project_path": "demo/a",
        "tag_deny_access_patterns": { "push": ["^prod"], "delete": ["keep"] },
        "tag_immutable_patterns": ["^v\\d+$"],
    }));
    let refused = |tag: &str| Err(TagRefusal::Protected(Tag::parse(tag).unwrap(), Action::Push));
    for (target, expected) in [
        ("prod-1".to_owned(), refused("prod-1")),
        ("Prod-1".into(), Ok(vec![])),
        ("keep".into(), Ok(vec![])),
        ("v1".into(), Ok(tags(&["v1"]))),
        (digest.clone(), Ok(vec![])),
        (format!("{digest}?tag=a&tag=v1&tag=v2"), Ok(tags(&["v1", "v2"]))),
        (format!("{digest}?tag=v1&tag=prod"), refused("prod")),
    ] {
        assert_eq!(rules.check(&put(&format!("/v2/a/manifests/{target}"))), expected, "{target}");
    }
}

#[test]
fn tag_rules_apply_to_deletes_by_tag_and_by_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let delete = |meta: Value, target: &str| {
        rules(meta).check(&request(Method::DELETE, &format!("/v2/a/{target}")))
    };
    let keep = || json!({ "tag_deny_access_patterns": { "delete": ["keep"] } });
    let immutable = || json!({ "tag_immutable_patterns": ["^v"] });
    let push_alone = || json!({ "tag_deny_access_patterns": { "push": ["."], "delete": [] } });
    let (manifest, blob) = (format!("manifests/{digest}"), format!("blobs/{digest}"));
    let tag = |text| Tag::parse(text).unwrap();
    let protected = Err(TagRefusal::Protected(tag("to-keep-it"), Action::Delete));
    for (meta, target, expected) in [
        (keep(), "manifests/to-keep-it", protected),
        (keep(), "manifests/other", Ok(vec![])),
        (keep(), &*manifest, Err(TagRefusal::DeleteByDigest)),
        (keep(), &*blob, Err(TagRefusal::DeleteByDigest)),
        (immutable(), "manifests/v1", Err(TagRefusal::Immutable(tag("v1"), Action::Delete))),
        (immutable(), "manifests/latest", Ok(vec![])),
        (immutable(), &*manifest, Err(TagRefusal::DeleteByDigest)),
        (push_alone(), &*manifest, Ok(vec![])),
        (push_alone(), "manifests/latest", Ok(vec![])),
        (json!({}), &*blob, Ok(vec![])),
    ] {
        assert_eq!(delete(meta.clone(), target), expected, "{meta} {target}");
    }
}

#[test]
fn unreadable_tag_rules_are_an_error() {
    for meta in [
        json!([]),
        json!("x"),
        json!({ "tag_new_rules": [] }),
        json!({ "tag_new_rules": null }),
        json!({ "tag_deny_access_patterns": [] }),
        json!({ "tag_deny_access_patterns": { "push": "^v" } }),
        json!({ "tag_deny_access_patterns": { "push": [1] } }),
        json!({ "tag_deny_access_patterns": { "pull": ["x"] } }),
        json!({ "tag_immutable_patterns": {} }),
        json!({ "tag_immutable_patterns": ["("] }),
        json!({ "tag_immutable_patterns": ["a", "[b-["] }),
        json!({ "tag_immutable_patterns": vec!["a"; MAX_PATTERNS + 1] }),
    ] {
        assert!(TagRules::read([&meta]).is_err(), "{meta}");
    }
    assert!(
        TagRules::read([&json!({ "tag_immutable_patterns": vec!["a"; MAX_PATTERNS] })]).is_ok()
    );
    for meta in [json!(null), json!({}), json!({ "project_id": 7, "tag_immutable_patterns": null })]
    {
        assert_eq!(TagRules::read([&meta]).unwrap(), TagRules::None, "{meta}");
    }
}

#[test]
fn an_error_message_contains_no_control_characters() {
    let odd = "(\n\u{1b}[31m";
    for meta in [
        json!({ format!("tag_{odd}"): [] }),
        json!({ "tag_deny_access_patterns": { odd: [] } }),
        json!({ "tag_immutable_patterns": [odd] }),
    ] {
        let message = TagRules::read([&meta]).unwrap_err().to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn unreadable_tag_rules_forbid_writes_but_not_reads() {
    for (method, path, allowed) in [
        (Method::GET, "/v2/a/manifests/v1", true),
        (Method::GET, "/v2/a/tags/list", true),
        (Method::PUT, "/v2/a/manifests/v1", false),
        (Method::POST, "/v2/a/blobs/uploads/", false),
        (Method::DELETE, "/v2/a/manifests/v1", false),
    ] {
        assert_eq!(TagRules::unreadable().check(&request(method, path)).is_ok(), allowed, "{path}");
    }
}

#[test]
fn the_rules_of_several_entries_add_up() {
    let (one, two) =
        (json!({ "tag_immutable_patterns": ["^a"] }), json!({ "tag_immutable_patterns": ["^b"] }));
    let rules = TagRules::read([&one, &two]).unwrap();
    assert_eq!(rules.check(&put("/v2/a/manifests/a")), Ok(tags(&["a"])));
    assert_eq!(rules.check(&put("/v2/a/manifests/b")), Ok(tags(&["b"])));
}

#[test]
fn each_pattern_list_is_labelled_with_what_it_forbids() {
    let TagRules::Of(rules) = rules(json!({
        "tag_deny_access_patterns": { "push": ["p"], "delete": ["d"] },
        "tag_immutable_patterns": ["i"],
    })) else {
        panic!("no rules")
    };
    let ProjectRules::Patterns(patterns) = *rules else { panic!("no patterns") };
    let told = patterns.lists().map(|(what, patterns)| format!("{what}: {}", patterns.join(" ")));
    assert_eq!(told, ["protected from push: p", "protected from delete: d", "immutable: i"]);
}

#[test]
fn tag_rules_are_small_and_count_the_heap_of_their_patterns() {
    assert_eq!(size_of::<TagRules>(), size_of::<usize>());
    assert_eq!(TagRules::None.heap_bytes(), 0);
    assert!((1..100).contains(&TagRules::unreadable().heap_bytes()));
    let taken = rules(json!({ "tag_immutable_patterns": ["a".repeat(500)] })).heap_bytes();
    assert!((500..1000).contains(&taken), "{taken}");
}
