//! The requests that rules allow.

use serde_json::json;

use super::*;
use crate::denial::RuleRefusal;
use crate::identity::Attributes;

/// Returns a rule from one line: repositories, `who`, `allow`, and optional tags. Commas separate
/// several entries, and a `-` before a tag makes it an exception.
pub(super) fn rule(
    name: &str,
    repositories: &str,
    who: &str,
    allow: &str,
    tags: Option<&str>,
) -> Rule {
    let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    Rule {
        name: name.into(),
        repositories: split(repositories)
            .iter()
            .map(|text| RepositoryPattern::parse(text).unwrap())
            .collect(),
        who: split(who).iter().map(|text| Who::parse(text, &["p", "q"]).unwrap()).collect(),
        allow: Actions::asked(allow),
        catalog: allow.contains("catalog"),
        tags: tags.map(|tags| {
            let (tags, except): (Vec<_>, Vec<_>) =
                split(tags).into_iter().partition(|tag| !tag.starts_with('-'));
            let read = |tags: Vec<String>| {
                tags.iter()
                    .map(|tag| TagPattern::parse(tag.trim_start_matches('-')).unwrap())
                    .collect()
            };
            TagChoice { tags: read(tags), except: read(except) }
        }),
    }
}

pub(super) fn with_rules(rules: Vec<Rule>, mode: Mode) -> Policy {
    policy().with_rules(Rules { mode, rules, grant_needed: false })
}

/// Returns a caller with the scope `api`, or an anonymous caller if `subject` is empty.
pub(super) fn caller(
    provider: &str,
    subject: &str,
    credential_type: Option<&str>,
    groups: &[&str],
) -> Verified {
    let source = Source {
        provider: provider.into(),
        credential_type: credential_type.map(Arc::from),
        folds_case: false,
    };
    let attributes = Attributes {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        claims: json!({ "project_path": "group/App" }).as_object().unwrap().clone(),
        session_ends: None,
    };
    let granted = if subject.is_empty() { Granted::Nothing } else { scopes(&["api"]).granted };
    let principal = Principal { source: source.into(), subject: subject.into() };
    Verified { principal, granted, attributes: Some(attributes.into()) }
}

fn alice() -> Verified {
    caller("p", "alice", None, &[])
}

fn nobody() -> Verified {
    caller("p", "", None, &[])
}

fn denied(policy: &Policy, method: Method, target: &str, caller: &Verified) -> Option<Denial> {
    policy.authorize(request(method, target), caller).err()
}

#[test]
fn a_rule_applies_to_the_callers_that_its_who_names() {
    let table = [
        ("anonymous", nobody(), true),
        ("anonymous", alice(), false),
        ("authenticated", alice(), true),
        ("authenticated", nobody(), false),
        ("user:p/alice", alice(), true),
        ("user:q/alice", alice(), false),
        ("user:p/Alice", alice(), false),
        ("user:p/alice", caller("p", "alice", Some("build"), &[]), false),
        ("user:p/alice", caller("p", "alice", Some("ci"), &[]), false),
        ("user:p/alice", caller("p", "alice", Some("deploy_token"), &[]), true),
        ("group:p/dev", caller("p", "x", None, &["ops", "dev"]), true),
        ("group:q/dev", caller("p", "x", None, &["dev"]), false),
        ("group:p/a/b", caller("p", "x", None, &["a/b"]), true),
        ("provider:p", alice(), true),
        ("provider:q", alice(), false),
        ("provider:p", nobody(), false),
        ("credential:build", caller("p", "alice", Some("build"), &[]), true),
        ("credential:build", alice(), false),
        ("user:p/bob,provider:p", alice(), true),
    ];
    for (who, caller, expected) in table {
        let policy = with_rules(vec![rule("r", "a", who, "pull", None)], Mode::Enforce);
        let allowed = denied(&policy, Method::GET, "/v2/a/manifests/v1", &caller).is_none();
        assert_eq!(allowed, expected, "{who} {:?}", caller.principal);
    }
    assert_eq!(Who::parse("user:alice", &["p"]), Who::parse("user:p/alice", &["p"]));
    assert!(Who::parse("user:alice", &["p", "q"]).is_err());
}

#[test]
fn access_without_a_rule_is_denied_and_a_write_needs_pull_and_push() {
    let policy = with_rules(
        vec![
            rule("reads", "a/**", "authenticated", "pull", None),
            rule("writes", "a/b", "user:p/alice", "push", None),
        ],
        Mode::Enforce,
    );
    let refusal = |action| Some(Denial::DeniedByPolicy(RuleRefusal::Action(action)));
    let bob = caller("p", "bob", None, &[]);
    for (method, target, caller, expected) in [
        (Method::GET, "/v2/a/b/manifests/v1", alice(), None),
        (Method::PUT, "/v2/a/b/manifests/v1", alice(), None),
        (Method::POST, "/v2/a/b/blobs/uploads/", alice(), None),
        (Method::PUT, "/v2/a/c/manifests/v1", alice(), refusal(Action::Push)),
        (Method::PUT, "/v2/a/b/manifests/v1", bob, refusal(Action::Push)),
        (Method::GET, "/v2/b/manifests/v1", alice(), refusal(Action::Pull)),
        (Method::DELETE, "/v2/a/b/manifests/v1", alice(), refusal(Action::Delete)),
        (Method::GET, "/v2/", alice(), None),
        (Method::GET, "/v2/_catalog", alice(), None),
    ] {
        assert_eq!(denied(&policy, method.clone(), target, &caller), expected, "{method} {target}");
    }
    let push_alone = with_rules(vec![rule("r", "a", "authenticated", "push", None)], Mode::Enforce);
    assert_eq!(
        denied(&push_alone, Method::PUT, "/v2/a/manifests/v1", &alice()),
        refusal(Action::Pull)
    );
    let decision =
        policy.authorize(request(Method::PUT, "/v2/a/b/manifests/v1"), &alice()).unwrap();
    let Ruling::AllowedBy(rule) = decision.ruling() else { panic!("{decision:?}") };
    assert_eq!(policy.rule_name(*rule), "writes");
    // The missing right of the credential is the more useful reason.
    let reader = Verified { granted: scopes(&["read_registry"]).granted, ..alice() };
    let denial = denied(&policy, Method::PUT, "/v2/a/b/manifests/v1", &reader).unwrap();
    assert!(matches!(denial, Denial::InsufficientRights(_)), "{denial:?}");
}

#[test]
fn tag_patterns_restrict_writes_and_deletes() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let policy = with_rules(
        vec![
            rule("reads", "a", "authenticated", "pull", None),
            rule("builds", "a", "authenticated", "push,delete", Some("*,-v*")),
            rule("releases", "a", "authenticated", "push", Some("v1*")),
        ],
        Mode::Enforce,
    );
    let tag = |tag: &str, action| Some(RuleRefusal::Tag(Tag::parse(tag).unwrap(), action));
    for (method, target, expected) in [
        (Method::GET, "manifests/v2".to_owned(), None),
        (Method::PUT, "manifests/latest".to_owned(), None),
        (Method::PUT, "manifests/v1".to_owned(), None),
        (Method::PUT, "manifests/v2".to_owned(), tag("v2", Action::Push)),
        (Method::PUT, format!("manifests/{digest}"), None),
        (Method::PUT, format!("manifests/{digest}?tag=latest&tag=v1"), None),
        (Method::PUT, format!("manifests/{digest}?tag=latest&tag=v2"), tag("v2", Action::Push)),
        (Method::DELETE, "manifests/latest".to_owned(), None),
        (Method::DELETE, "manifests/v1".to_owned(), tag("v1", Action::Delete)),
        (Method::DELETE, format!("manifests/{digest}"), Some(RuleRefusal::DeleteByDigest)),
        (Method::DELETE, format!("blobs/{digest}"), Some(RuleRefusal::DeleteByDigest)),
        (Method::POST, "blobs/uploads/".to_owned(), None),
        (Method::DELETE, "blobs/uploads/1".to_owned(), None),
    ] {
        let denial = denied(&policy, method.clone(), &format!("/v2/a/{target}"), &alice());
        assert_eq!(denial, expected.map(Denial::DeniedByPolicy), "{method} {target}");
    }
    // The refusal mentions tags only if another tag would help the caller.
    let reads = with_rules(vec![rule("reads", "a", "authenticated", "pull", None)], Mode::Enforce);
    for target in ["v1", &digest] {
        let denial = denied(&reads, Method::DELETE, &format!("/v2/a/manifests/{target}"), &alice());
        assert_eq!(
            denial,
            Some(Denial::DeniedByPolicy(RuleRefusal::Action(Action::Delete))),
            "{target}"
        );
    }
    // A push by digest that names no tag is refused as a push.
    let denial = denied(&reads, Method::PUT, &format!("/v2/a/manifests/{digest}"), &alice());
    assert_eq!(denial, Some(Denial::DeniedByPolicy(RuleRefusal::Action(Action::Push))));
}

#[test]
fn an_anonymous_caller_may_only_pull_what_a_rule_gives() {
    let rules = || {
        vec![rule(
            "public",
            "public/**",
            "anonymous,authenticated",
            "pull,push,delete,catalog",
            None,
        )]
    };
    for mode in [Mode::Enforce, Mode::Shadow] {
        let policy = with_rules(rules(), mode);
        for (method, target, allowed) in [
            (Method::GET, "/v2/public/a/manifests/v1", true),
            (Method::GET, "/v2/public/manifests/v1", false),
            (Method::GET, "/v2/a/manifests/v1", false),
            (Method::PUT, "/v2/public/a/manifests/v1", false),
            (Method::DELETE, "/v2/public/a/manifests/v1", false),
            (Method::GET, "/v2/_catalog", false),
        ] {
            let expected = (!allowed).then_some(Denial::NoCredential);
            assert_eq!(denied(&policy, method, target, &nobody()), expected, "{target}");
        }
        assert!(policy.catalog_refusal(&nobody()).is_some());
        assert!(policy.catalog_refusal(&alice()).is_none());
    }
    // Rules narrow what GitLab declares public.
    let mut public = of_several(&[("public/a", "pull"), ("b", "pull"), ("public/c", "")]);
    public.principal.subject = "".into();
    let policy =
        policy().with_rules(Rules { mode: Mode::Enforce, rules: rules(), grant_needed: true });
    for (name, allowed) in [("public/a", true), ("b", false), ("public/c", false)] {
        let decided = denied(&policy, Method::GET, &format!("/v2/{name}/manifests/v1"), &public);
        assert_eq!(decided.is_none(), allowed, "{name}");
    }
}

#[test]
fn shadow_mode_allows_what_the_credential_allows() {
    let policy = with_rules(vec![rule("r", "a", "authenticated", "pull", None)], Mode::Shadow);
    let ruling = |method, target, caller: &Verified| {
        policy.authorize(request(method, target), caller).map(|decision| decision.ruling().clone())
    };
    let Ok(Ruling::AllowedBy(rule)) = ruling(Method::GET, "/v2/a/manifests/v1", &alice()) else {
        panic!("the rule allows it");
    };
    assert_eq!(policy.rule_name(rule), "r");
    let shadow = Ok(Ruling::ShadowDenied(RuleRefusal::Action(Action::Push)));
    assert_eq!(ruling(Method::PUT, "/v2/a/manifests/v1", &alice()), shadow);
    let reader = Verified { granted: scopes(&["read_registry"]).granted, ..alice() };
    assert!(matches!(
        ruling(Method::PUT, "/v2/a/manifests/v1", &reader),
        Err(Denial::InsufficientRights(_))
    ));
}

/// In both modes the catalog shows what the rules let the caller pull, or everything if a rule
/// gives the catalog.
#[test]
fn the_catalog_shows_what_may_be_pulled() {
    let rules = || {
        vec![
            rule("own", "alice/**,shared", "user:p/alice", "pull", None),
            rule("more", "tagged", "authenticated", "pull", Some("v*")),
            rule("writes", "written", "authenticated", "push", None),
            rule("public", "public", "anonymous", "pull", None),
            rule("lists", "**", "user:p/lister", "catalog", None),
        ]
    };
    let names = ["alice", "alice/a", "shared", "shared/a", "tagged", "written", "public", "other"];
    let shown = |mode, caller: &Verified, at_most: Option<&[&str]>| {
        let policy = with_rules(rules(), mode);
        let mut decision = policy.authorize(request(Method::GET, "/v2/_catalog"), caller)?;
        if let Some(names) = at_most {
            decision.show_at_most(
                names.iter().map(|name| RepositoryName::parse(name).unwrap()).collect(),
            );
        }
        let permit = decision.permit(&[])?;
        let Some(filter) = permit.catalog_filter() else { return Ok("everything".to_owned()) };
        let shown =
            names.into_iter().filter(|name| filter.shows(&RepositoryName::parse(name).unwrap()));
        Ok(shown.collect::<Vec<_>>().join(" "))
    };
    let lister = || caller("p", "lister", None, &[]);
    let of_gitlab = |granted| Verified { granted, ..alice() };
    for mode in [Mode::Enforce, Mode::Shadow] {
        for (caller, at_most, expected) in [
            (alice(), None, Ok("alice/a shared tagged")),
            (caller("p", "bob", None, &[]), None, Ok("tagged")),
            (lister(), None, Ok("everything")),
            (lister(), Some(&["other", "alice/a"][..]), Ok("alice/a other")),
            (alice(), Some(&["other", "alice/a"]), Ok("alice/a")),
            (alice(), Some(&[]), Ok("")),
            (nobody(), None, Err(Denial::NoCredential)),
            // The credential limits the caller even if the rules allow more.
            (of_gitlab(Granted::Catalog(None)), None, Ok("alice/a shared tagged")),
            (of_gitlab(Granted::Nothing), None, Err(Denial::CatalogClosed)),
            (Verified { granted: Granted::Nothing, ..lister() }, None, Err(Denial::CatalogClosed)),
        ] {
            assert_eq!(shown(mode, &caller, at_most), expected.map(str::to_owned), "{caller:?}");
        }
        let lacks = Verified { granted: scopes(&["write_registry"]).granted, ..lister() };
        assert!(matches!(shown(mode, &lacks, None), Err(Denial::InsufficientRights(_))));
    }
}

#[test]
fn a_mount_needs_pull_on_its_source_by_the_rules_too() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let rules = || vec![rule("own", "a/**", "authenticated", "pull,push", None)];
    for (mode, from, mounts) in [
        (Mode::Enforce, "a/other", true),
        (Mode::Enforce, "b/other", false),
        (Mode::Shadow, "b/other", true),
    ] {
        let policy = with_rules(rules(), mode);
        let mount =
            request(Method::POST, &format!("/v2/a/b/blobs/uploads/?mount={digest}&from={from}"));
        let decision = policy.authorize(mount, &alice()).unwrap();
        let decision = policy.allow_mount(decision, &alice());
        assert_eq!(decision.request().mount_source().is_some(), mounts, "{mode:?} {from}");
        let is_shadow = matches!(decision.ruling(), Ruling::ShadowDenied(_));
        assert_eq!(is_shadow, mode == Mode::Shadow, "{mode:?} {from}");
    }
}

#[test]
fn a_token_lists_what_the_rules_allow() {
    let rules = || {
        vec![
            rule("reads", "a,b", "authenticated", "pull", None),
            rule("tags", "a", "authenticated", "push,delete", Some("v*")),
            rule("jobs", "${claims.project_path}/**", "authenticated", "pull,push", None),
        ]
    };
    let asked = |names: &[&str]| {
        Access::several(
            names
                .iter()
                .map(|name| (RepositoryName::parse(name).unwrap(), Actions::asked("*")))
                .collect(),
        )
    };
    let names = asked(&["a", "b", "c", "group/app/x"]);
    for (mode, expected) in [
        (Mode::Enforce, "a:pull,push,delete b:pull group/app/x:pull,push"),
        (
            Mode::Shadow,
            "a:pull,push,delete b:pull,push,delete c:pull,push,delete group/app/x:pull,push,delete",
        ),
    ] {
        let granted = with_rules(rules(), mode).granted(&names, &alice());
        let words: Vec<_> =
            granted.iter().map(|(name, actions)| format!("{name}:{}", actions.words())).collect();
        assert_eq!(words.join(" "), expected);
    }
    assert!(with_rules(rules(), Mode::Shadow).granted(&names, &nobody()).is_empty());
}

#[test]
fn the_explanation_says_why_each_rule_does_not_match() {
    let policy = with_rules(
        vec![
            rule("others", "a", "user:p/bob", "push", None),
            rule("elsewhere", "b", "authenticated", "push", None),
            rule("reads", "a", "authenticated", "pull", None),
            rule("releases", "a", "authenticated", "push", Some("v*")),
            rule("own", "a", "authenticated", "push", Some("x*")),
        ],
        Mode::Enforce,
    );
    let request = request(Method::PUT, "/v2/a/manifests/x1");
    let explained = policy.explain(&request, &alice());
    let says: Vec<_> = explained
        .iter()
        .map(|of| (of.need.action, of.rules.iter().map(|(_, says)| says.err()).collect::<Vec<_>>()))
        .collect();
    use Mismatch as M;
    assert_eq!(
        says[0],
        (
            Action::Pull,
            vec![Some(M::Who), Some(M::Repository), None, Some(M::Action), Some(M::Action)]
        )
    );
    assert_eq!(
        says[1],
        (
            Action::Push,
            vec![Some(M::Who), Some(M::Repository), Some(M::Action), Some(M::Tag), None]
        )
    );
    assert_eq!(says.len(), 2);
    assert_eq!(explained[0].rules[2].0, "reads");
}
