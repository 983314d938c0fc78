//! Rules that make tags immutable.

use super::rules::{caller, rule, with_rules};
use super::*;
use crate::denial::RuleRefusal;

fn immutable(repositories: &str, tags: Option<&str>) -> Rule {
    // The rule itself allows nothing to the caller: it holds for what other rules allow.
    Rule { immutable: true, ..rule("releases", repositories, "user:q/nobody", "pull", tags) }
}

fn everything() -> Rule {
    rule("all", "**", "authenticated", "pull,push,delete", None)
}

fn alice() -> Verified {
    caller("p", "alice", None, &[])
}

fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

fn signature(kind: &str) -> String {
    format!("sha256-{}{kind}", "a".repeat(64))
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// What a policy says about a request: the tags that it asks the upstream about, or the refusal.
fn said(policy: &Policy, method: Method, target: &str) -> Result<Vec<String>, Denial> {
    let decision = policy.authorize(request(method, target), &alice())?;
    let tags: Vec<_> = decision.must_not_exist().map(|tag| tag.as_str().to_owned()).collect();
    assert_eq!(decision.look_ups().len(), tags.len());
    assert!(decision.look_ups().iter().all(|look_up| look_up.decides));
    Ok(tags)
}

fn tags(texts: &[&str]) -> Result<Vec<String>, Denial> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn cannot_be_deleted(text: &str) -> Result<Vec<String>, Denial> {
    Err(Denial::DeniedByPolicy(RuleRefusal::Immutable(tag(text), Action::Delete)))
}

fn not_by_digest() -> Result<Vec<String>, Denial> {
    Err(Denial::DeniedByPolicy(RuleRefusal::ImmutableDigest))
}

#[test]
fn an_immutable_rule_holds_for_what_every_other_rule_allows() {
    let policy = with_rules(vec![everything(), immutable("r/**,s", None)], Mode::Enforce);
    let (digest, sig) = (digest(), signature(".sig"));
    for (method, target, expected) in [
        (Method::PUT, "/v2/r/a/manifests/v1".to_owned(), tags(&["v1"])),
        (Method::PUT, "/v2/s/manifests/v1".to_owned(), tags(&["v1"])),
        (Method::PUT, "/v2/r/manifests/v1".to_owned(), tags(&[])),
        (Method::PUT, "/v2/s/a/manifests/v1".to_owned(), tags(&[])),
        (
            Method::PUT,
            format!("/v2/r/a/manifests/{digest}?tag=v1&tag=x&tag={sig}"),
            tags(&["v1", "x"]),
        ),
        (Method::PUT, format!("/v2/r/a/manifests/{digest}"), tags(&[])),
        (Method::PUT, format!("/v2/r/a/manifests/{sig}"), tags(&[])),
        (Method::DELETE, "/v2/r/a/manifests/v1".to_owned(), cannot_be_deleted("v1")),
        (Method::DELETE, format!("/v2/r/a/manifests/{sig}"), tags(&[])),
        (Method::DELETE, format!("/v2/r/a/manifests/{digest}"), not_by_digest()),
        (Method::DELETE, format!("/v2/r/a/blobs/{digest}"), not_by_digest()),
        (Method::DELETE, format!("/v2/b/manifests/{digest}"), tags(&[])),
        (Method::DELETE, format!("/v2/b/blobs/{digest}"), tags(&[])),
        (Method::DELETE, "/v2/b/manifests/v1".to_owned(), tags(&[])),
        (Method::POST, "/v2/r/a/blobs/uploads/".to_owned(), tags(&[])),
        (Method::DELETE, "/v2/r/a/blobs/uploads/1".to_owned(), tags(&[])),
        (Method::GET, "/v2/r/a/manifests/v1".to_owned(), tags(&[])),
        (Method::GET, format!("/v2/r/a/blobs/{digest}"), tags(&[])),
    ] {
        assert_eq!(said(&policy, method.clone(), &target), expected, "{method} {target}");
    }
}

#[test]
fn a_rule_with_tags_makes_only_these_immutable() {
    let choice = Some("v*,-v*-dev,${signatures}");
    let policy = with_rules(vec![everything(), immutable("r", choice)], Mode::Enforce);
    let (digest, sig) = (digest(), signature(""));
    for (method, target, expected) in [
        (Method::PUT, "v1".to_owned(), tags(&["v1"])),
        (Method::PUT, "v1-dev".to_owned(), tags(&[])),
        (Method::PUT, "latest".to_owned(), tags(&[])),
        (Method::PUT, sig.clone(), tags(&[])),
        (Method::PUT, format!("{digest}?tag=latest&tag=v1&tag=v1"), tags(&["v1"])),
        (Method::DELETE, "v1".to_owned(), cannot_be_deleted("v1")),
        (Method::DELETE, "v1-dev".to_owned(), tags(&[])),
        (Method::DELETE, sig, tags(&[])),
        (Method::DELETE, digest, not_by_digest()),
    ] {
        let target = format!("/v2/r/manifests/{target}");
        assert_eq!(said(&policy, method.clone(), &target), expected, "{method} {target}");
    }
}

/// It holds for callers, addresses and tags that the immutable rule itself is not for, and it
/// allows nothing that its other keys do not allow.
#[test]
fn an_immutable_rule_allows_nothing_by_itself() {
    let policy = with_rules(vec![immutable("r", None)], Mode::Enforce);
    let denied = Denial::DeniedByPolicy(RuleRefusal::Action(Action::Pull));
    assert_eq!(said(&policy, Method::PUT, "/v2/r/manifests/v1"), Err(denied));
    let of_the_office = Rule {
        from: vec!["10.0.0.0/8".parse().unwrap()],
        ..rule("office", "r", "user:q/nobody", "pull", None)
    };
    let immutable = Rule { immutable: true, ..of_the_office };
    let policy = with_rules(vec![everything(), immutable], Mode::Enforce);
    assert_eq!(said(&policy, Method::PUT, "/v2/r/manifests/v1"), tags(&["v1"]));
}

#[test]
fn a_tag_that_exists_is_refused_and_one_that_does_not_is_made() {
    let policy = with_rules(vec![everything(), immutable("r", None)], Mode::Enforce);
    let decide = || policy.authorize(request(Method::PUT, "/v2/r/manifests/v1"), &alice()).unwrap();
    let exists = Denial::DeniedByPolicy(RuleRefusal::Immutable(tag("v1"), Action::Push));
    let mut decision = decide();
    decision.note_answers(&[StatusCode::NOT_FOUND]);
    assert!(matches!(decision.ruling(), Ruling::AllowedBy(_)));
    assert!(decision.permit(&[StatusCode::NOT_FOUND]).is_ok());
    for status in [200, 301, 302, 303, 307, 308] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut decision = decide();
        decision.note_answers(&[status]);
        assert!(matches!(decision.ruling(), Ruling::AllowedBy(_)));
        assert_eq!(decision.permit(&[status]).unwrap_err(), exists, "{status}");
    }
    for status in [401, 403, 500, 502, 503, 204, 304, 429] {
        let status = StatusCode::from_u16(status).unwrap();
        let unknown = Denial::Upstream(UpstreamFault::TagLookUp);
        assert_eq!(decide().permit(&[status]).unwrap_err(), unknown, "{status}");
    }
    assert!(decide().permit(&[]).is_err());
}

#[test]
fn shadow_mode_lets_go_on_what_an_immutable_rule_forbids() {
    let policy = with_rules(vec![everything(), immutable("r", None)], Mode::Shadow);
    let decide =
        |method, target: &str| policy.authorize(request(method, target), &alice()).unwrap();
    let shadow = |refusal| Ruling::ShadowDenied(refusal);

    let moved = RuleRefusal::Immutable(tag("v1"), Action::Push);
    for (answer, ruling) in [
        (StatusCode::OK, Some(shadow(moved))),
        (StatusCode::NOT_FOUND, None),
        (StatusCode::BAD_GATEWAY, None),
    ] {
        let mut decision = decide(Method::PUT, "/v2/r/manifests/v1");
        let look_ups = decision.look_ups();
        assert!(look_ups.len() == 1 && !look_ups[0].decides, "{look_ups:?}");
        let before = decision.ruling().clone();
        decision.note_answers(&[answer]);
        assert_eq!(*decision.ruling(), ruling.unwrap_or(before), "{answer}");
        assert!(decision.permit(&[answer]).is_ok(), "{answer}");
    }

    let deleted = RuleRefusal::Immutable(tag("v1"), Action::Delete);
    assert_eq!(*decide(Method::DELETE, "/v2/r/manifests/v1").ruling(), shadow(deleted));
    let by_digest = format!("/v2/r/manifests/{}", digest());
    let decision = decide(Method::DELETE, &by_digest);
    assert_eq!(*decision.ruling(), shadow(RuleRefusal::ImmutableDigest));
    assert!(decision.permit(&[]).is_ok());

    // What is logged as denied anyway needs no look-up.
    let policy = with_rules(vec![immutable("r", None)], Mode::Shadow);
    let decision = policy.authorize(request(Method::PUT, "/v2/r/manifests/v1"), &alice()).unwrap();
    assert!(decision.look_ups().is_empty());
    let refusal = RuleRefusal::Action(Action::Pull);
    assert_eq!(*decision.ruling(), shadow(refusal));
}

/// The project's own rules decide in shadow mode too.
#[test]
fn the_rules_of_a_project_and_those_of_the_config_hold_together() {
    let of_project = of_project(serde_json::json!({ "tag_immutable_patterns": ["^v"] }));
    let rules =
        || vec![rule("all", "**", "authenticated", "pull,push", None), immutable("a", None)];
    let target = format!("/v2/a/manifests/{}?tag=v1&tag=x", digest());
    for mode in [Mode::Enforce, Mode::Shadow] {
        let policy = with_rules(rules(), mode);
        let decide = || policy.authorize(request(Method::PUT, &target), &of_project).unwrap();
        let decides: Vec<_> = decide().look_ups().iter().map(|look_up| look_up.decides).collect();
        assert_eq!(decides, [true, mode == Mode::Enforce]);
        let by_project = Denial::TagRules(TagRefusal::Immutable(tag("v1"), Action::Push));
        let answers = [StatusCode::OK, StatusCode::NOT_FOUND];
        assert_eq!(decide().permit(&answers).unwrap_err(), by_project, "{mode:?}");
        let by_rule = Denial::DeniedByPolicy(RuleRefusal::Immutable(tag("x"), Action::Push));
        let mut decision = decide();
        let answers = [StatusCode::NOT_FOUND, StatusCode::OK];
        decision.note_answers(&answers);
        let is_shadow = matches!(decision.ruling(), Ruling::ShadowDenied(_));
        assert_eq!(is_shadow, mode == Mode::Shadow);
        let expected = (mode == Mode::Enforce).then_some(by_rule);
        assert_eq!(decision.permit(&answers).err(), expected, "{mode:?}");
    }
}

#[test]
fn an_explanation_names_the_rules_that_make_a_target_immutable() {
    let policy = with_rules(
        vec![
            everything(),
            Rule { name: "one".into(), ..immutable("r", Some("v*")) },
            Rule { name: "two".into(), ..immutable("r,s", None) },
        ],
        Mode::Enforce,
    );
    let digest = digest();
    let (v1, x) = (tag("v1"), tag("x"));
    let table: [(&str, &[(&str, Target<'_>)]); 4] = [
        (
            &format!("/v2/r/manifests/{digest}?tag=v1&tag=x"),
            &[("one", Target::Tag(&v1)), ("two", Target::Tag(&v1)), ("two", Target::Tag(&x))],
        ),
        ("/v2/s/manifests/v1", &[("two", Target::Tag(&v1))]),
        ("/v2/b/manifests/v1", &[]),
        ("/v2/r/blobs/uploads/", &[]),
    ];
    for (target, expected) in table {
        let method = if target.ends_with('/') { Method::POST } else { Method::PUT };
        let wanted = request(method, target);
        let explained: Vec<_> = policy.explain_immutable(&wanted).collect();
        assert_eq!(explained, expected, "{target}");
    }
    let wanted = request(Method::DELETE, &format!("/v2/r/manifests/{digest}"));
    let explained: Vec<_> = policy.explain_immutable(&wanted).collect();
    assert_eq!(explained, [("one", Target::Digest), ("two", Target::Digest)]);
}

/// Maintenance needs no rules, and no rule and no mode lifts it.
#[test]
fn a_read_only_policy_refuses_every_write_and_delete() {
    let digest = digest();
    for (rules, mode) in [
        (Vec::new(), Mode::Enforce),
        (vec![everything()], Mode::Enforce),
        (vec![everything()], Mode::Shadow),
    ] {
        for read_only in [false, true] {
            let policy = policy().with_rules(Rules {
                mode,
                rules: rules.clone(),
                read_only,
                ..Rules::default()
            });
            for (method, target, is_read) in [
                (Method::GET, "/v2/", true),
                (Method::GET, "/v2/_catalog", true),
                (Method::GET, "/v2/a/tags/list", true),
                (Method::GET, "/v2/a/manifests/v1", true),
                (Method::HEAD, "/v2/a/manifests/v1", true),
                (Method::GET, "/v2/a/blobs/uploads/1", true),
                (Method::PUT, "/v2/a/manifests/v1", false),
                (Method::DELETE, "/v2/a/manifests/v1", false),
                (Method::DELETE, &format!("/v2/a/blobs/{digest}"), false),
                (Method::POST, "/v2/a/blobs/uploads/", false),
                (Method::PATCH, "/v2/a/blobs/uploads/1", false),
                (Method::PUT, &format!("/v2/a/blobs/uploads/1?digest={digest}"), false),
                (Method::DELETE, "/v2/a/blobs/uploads/1", false),
            ] {
                let checked = policy.check_read_only(&request(method.clone(), target));
                let expected = if is_read || !read_only { Ok(()) } else { Err(Denial::ReadOnly) };
                assert_eq!(checked, expected, "{method} {target}");
            }
        }
    }
}
