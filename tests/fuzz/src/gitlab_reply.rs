//! The oracle for answers of a token endpoint. The input is read as the body itself, and also as
//! the claims of a token inside a body, because the base64 there is hard for a fuzzer to reach.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use moorgate::identity::model::tag_rules::TagRules;
use moorgate::identity::provider::registry_token::reply::{self, Token};
use moorgate::registry::{RegistryRequest, RepositoryName};
use regex::bytes::Regex;
use serde_json::{Value, json};

use super::json::Members;

const SERVICE: &str = "container_registry";
const REPOSITORY: &str = "team/app";

/// Checks that everything granted is listed in the token, for this service and this repository. Tag
/// rules that are present forbid what they match, and unreadable ones forbid everything.
pub fn check(input: &[u8]) {
    if let Ok(token) = reply::read(input, SERVICE) {
        let body = Members::read(input).expect("an object, for it was accepted");
        let sent = ["token", "access_token"]
            .map(|name| body.value(name))
            .into_iter()
            .find_map(Value::as_str);
        let claims =
            sent.and_then(|token| BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok());
        check_token(&token, &claims.expect("a token with claims"));
    }
    let around =
        json!({ "token": format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(input)) }).to_string();
    if let Ok(token) = reply::read(around.as_bytes(), SERVICE) {
        check_token(&token, input);
    }
}

fn check_token(token: &Token, claims: &[u8]) {
    let claims = Members::read(claims).expect("an object, for it was accepted");
    let audience = claims.value("aud");
    assert!(*audience == SERVICE || *audience == json!([SERVICE]), "for {audience}");
    assert_eq!(
        token.subject.as_deref(),
        claims.value("sub").as_str().filter(|subject| !subject.is_empty())
    );

    let name = RepositoryName::parse(REPOSITORY).expect("a name");
    let entries: Vec<&Value> = claims.value("access").as_array().into_iter().flatten().collect();
    let of = |kind: &str, name: &str| {
        let wanted = [("type", kind), ("name", name)];
        entries
            .iter()
            .filter(move |entry| wanted.iter().all(|(key, value)| entry[key] == *value))
            .copied()
            .collect::<Vec<_>>()
    };
    let lists = |entries: &[&Value], action: &str| {
        entries.iter().any(|entry| {
            entry["actions"].as_array().is_some_and(|actions| actions.iter().any(|it| it == action))
        })
    };
    let ours = of("repository", REPOSITORY);
    let granted = token.granted(&name);
    assert_eq!(
        [granted.pull, granted.push, granted.delete],
        ["pull", "push", "delete"].map(|it| lists(&ours, it))
    );
    assert_eq!(token.grants_catalog(), lists(&of("registry", "catalog"), "*"));
    let rules = TagRules::read(token.meta(&name)).unwrap_or_else(|_| TagRules::unreadable());
    check_tag_rules(rules, &ours);
}

fn check_tag_rules(rules: TagRules, entries: &[&Value]) {
    let patterns = |at: fn(&Value) -> &Value| -> Vec<&str> {
        let lists = entries.iter().filter_map(|entry| at(&entry["meta"]).as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    };
    let push = patterns(|meta| &meta["tag_deny_access_patterns"]["push"]);
    let delete = patterns(|meta| &meta["tag_deny_access_patterns"]["delete"]);
    let immutable = patterns(|meta| &meta["tag_immutable_patterns"]);
    let matches = |patterns: &[&str], tag: &str| {
        // GitLab's RE2 is used without Unicode as well, as far as tags are concerned.
        let compiled =
            patterns.iter().filter_map(|pattern| Regex::new(&format!("(?-u){pattern}")).ok());
        compiled.into_iter().any(|pattern| pattern.is_match(tag.as_bytes()))
    };
    for tag in ["latest", "v1.2.3", "V1", "_", "1"] {
        let request = |method| {
            RegistryRequest::parse(&method, &format!("/v2/{REPOSITORY}/manifests/{tag}"), None)
        };
        let put = rules.check(&request(Method::PUT).expect("a request"));
        let remove = rules.check(&request(Method::DELETE).expect("a request"));
        assert!(put.is_err() || !matches(&push, tag), "{tag} is protected by {push:?}");
        assert!(
            remove.is_err() || !matches(&delete, tag) && !matches(&immutable, tag),
            "{tag} is protected"
        );
        if let Ok(must_not_exist) = put {
            assert_eq!(
                !must_not_exist.is_empty(),
                matches(&immutable, tag),
                "{tag} by {immutable:?}"
            );
        }
    }
    let read =
        RegistryRequest::parse(&Method::GET, &format!("/v2/{REPOSITORY}/manifests/latest"), None);
    assert!(
        rules.check(&read.expect("a request")).is_ok(),
        "rules of tags are no rules of reading"
    );
}
