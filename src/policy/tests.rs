//! The rights that credentials give without rules. Tests of the rules are in the submodules.

mod explained;
mod from;
mod grants;
mod immutable;
mod properties;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::*;
use crate::denial::{TagRefusal, UpstreamFault};
use crate::identity::model::tag_rules::TagRules;
use crate::identity::{Principal, RepositoryGrant, Source};
use crate::registry::Tag;

fn policy() -> Policy {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let equivalents = BTreeMap::from([
        ("api".to_owned(), list(&["read_registry", "write_registry", "delete_registry"])),
        ("admin".to_owned(), list(&["api", "admin"])),
    ]);
    Policy::new(RequiredScopes {
        pull: list(&["read_registry"]),
        push: list(&["read_registry", "write_registry"]),
        delete: list(&["delete_registry"]),
        equivalents,
    })
}

fn verified(granted: Granted) -> Verified {
    let source = Source { provider: "p".into(), credential_type: None, folds_case: false };
    let principal = Principal { source: source.into(), subject: "s".into() };
    Verified { principal, granted, attributes: None }
}

fn scopes(words: &[&str]) -> Verified {
    verified(Granted::Scopes(words.iter().collect()))
}

fn check(policy: &Policy, access: &Access, verified: &Verified) -> Result<Ruling, Denial> {
    policy.check(access, needs(access), verified.into())
}

fn request(method: Method, target: &str) -> RegistryRequest {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RegistryRequest::parse(&method, path, query).unwrap()
}

#[test]
fn an_action_needs_all_of_its_scopes_or_an_equivalent() {
    let policy = policy();
    let table: [(&[&str], [bool; 3]); 7] = [
        (&[], [false, false, false]),
        (&["read_registry"], [true, false, false]),
        (&["write_registry"], [false, false, false]),
        (&["read_registry", "write_registry"], [true, true, false]),
        (&["delete_registry"], [false, false, true]),
        (&["api"], [true, true, true]),
        (&["admin"], [true, true, true]),
    ];
    for (held, expected) in table {
        let methods = [Method::GET, Method::PUT, Method::DELETE];
        let allowed = methods.map(|method| {
            policy.authorize(request(method, "/v2/a/manifests/v1"), &scopes(held)).is_ok()
        });
        assert_eq!(allowed, expected, "{held:?}");
    }
}

#[test]
fn a_denial_says_which_right_is_missing() {
    let denial = policy()
        .authorize(request(Method::PUT, "/v2/a/manifests/v1"), &scopes(&["read_registry"]))
        .unwrap_err();
    let message = denial.message("registry.test");
    assert!(message.ends_with("token lacks write_registry"), "{message}");
    let nothing = verified(Granted::Nothing);
    let denial =
        policy().authorize(request(Method::PUT, "/v2/a/manifests/v1"), &nothing).unwrap_err();
    assert!(denial.message("registry.test").contains("granted no push"), "{denial:?}");
}

#[test]
fn a_mount_without_access_to_its_source_becomes_a_plain_upload() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mount =
        || request(Method::POST, &format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"));
    let all = scopes(&["api"]);
    for (source, rendered) in [
        (None, "/v2/a/b/blobs/uploads/".to_owned()),
        (Some(scopes(&["write_registry"])), "/v2/a/b/blobs/uploads/".to_owned()),
        (
            Some(scopes(&["read_registry"])),
            format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"),
        ),
    ] {
        let decision = policy().authorize(mount(), &all).unwrap();
        assert_eq!(decision.request().render(), "/v2/a/b/blobs/uploads/");
        let decision = match source {
            Some(source) => policy().allow_mount(decision, &source),
            None => decision,
        };
        assert_eq!(decision.permit(&[]).unwrap().request().render(), rendered);
    }
}

/// A grant for one repository does not permit access to another one, and neither does an identity
/// alone.
#[test]
fn a_grant_is_for_its_repository() {
    let everything = Actions { pull: true, push: true, delete: true };
    let of = |name| {
        let repository = RepositoryName::parse(name).unwrap();
        let server = TokenServerKind::GitLab;
        let tags = TagRules::None;
        Granted::Repository(Box::new(RepositoryGrant {
            repository,
            actions: everything,
            server,
            tags,
            token: None,
        }))
    };
    for (granted, allowed) in
        [(of("a"), true), (of("b"), false), (of("a/a"), false), (Granted::Identity, false)]
    {
        let decided = policy()
            .authorize(request(Method::GET, "/v2/a/manifests/v1"), &verified(granted.clone()));
        assert_eq!(decided.is_ok(), allowed, "{granted:?}");
    }
}

fn of_project(meta: serde_json::Value) -> Verified {
    let everything = Actions { pull: true, push: true, delete: true };
    verified(Granted::Repository(Box::new(RepositoryGrant {
        repository: RepositoryName::parse("a").unwrap(),
        actions: everything,
        server: TokenServerKind::GitLab,
        tags: TagRules::read([&meta]).unwrap_or_else(|_| TagRules::unreadable()),
        token: None,
    })))
}

/// An immutable tag can be written only after a 404 from the upstream, and each tag needs its own
/// 404.
#[test]
fn an_immutable_tag_is_written_once() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let project = of_project(serde_json::json!({ "tag_immutable_patterns": ["^v"] }));
    let decide = |target: &str| policy().authorize(request(Method::PUT, target), &project).unwrap();
    let one = || decide("/v2/a/manifests/v1");
    let look_ups: Vec<_> =
        one().look_ups().iter().map(|look_up| look_up.request().clone()).collect();
    assert_eq!(look_ups, [request(Method::HEAD, "/v2/a/manifests/v1")]);
    let exists = Denial::TagRules(TagRefusal::Immutable(Tag::parse("v1").unwrap(), Action::Push));
    let unknown = || Denial::Upstream(UpstreamFault::TagLookUp);
    assert!(one().permit(&[StatusCode::NOT_FOUND]).is_ok());
    for status in [200, 301, 302, 303, 307, 308] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(one().permit(&[status]).unwrap_err(), exists, "{status}");
    }
    for status in [401, 403, 500, 503, 204, 304, 429] {
        assert_eq!(
            one().permit(&[StatusCode::from_u16(status).unwrap()]).unwrap_err(),
            unknown(),
            "{status}"
        );
    }
    assert_eq!(one().permit(&[]).unwrap_err(), unknown());

    let two = || decide(&format!("/v2/a/manifests/{digest}?tag=v1&tag=x&tag=v2"));
    assert_eq!(two().look_ups().len(), 2);
    assert_eq!(two().permit(&[StatusCode::NOT_FOUND]).unwrap_err(), unknown());
    assert_eq!(two().permit(&[StatusCode::OK, StatusCode::NOT_FOUND]).unwrap_err(), exists);
    assert!(two().permit(&[StatusCode::NOT_FOUND; 2]).is_ok());
    assert!(decide("/v2/a/manifests/latest").permit(&[]).is_ok());
}

/// Returns one verdict about several repositories, each with its own rights and its own tag rules.
fn of_several(grants: &[(&str, &str)]) -> Verified {
    let immutable = serde_json::json!({ "tag_immutable_patterns": ["^v"] });
    let grant = |(name, words): &(&str, &str)| RepositoryGrant {
        repository: RepositoryName::parse(name).unwrap(),
        actions: Actions::asked(words),
        server: TokenServerKind::GitLab,
        tags: if *name == "a" { TagRules::read([&immutable]).unwrap() } else { TagRules::None },
        token: None,
    };
    verified(Granted::Repositories(Arc::new(grants.iter().map(grant).collect())))
}

#[test]
fn each_of_several_repositories_has_its_own_grant() {
    let several = of_several(&[("a", "pull,push"), ("b", "pull"), ("c", "")]);
    for (method, name, allowed) in [
        (Method::PUT, "a", true),
        (Method::GET, "a", true),
        (Method::DELETE, "a", false),
        (Method::PUT, "b", false),
        (Method::GET, "b", true),
        (Method::GET, "c", false),
        (Method::GET, "d", false),
    ] {
        let decided = policy()
            .authorize(request(method.clone(), &format!("/v2/{name}/manifests/v1")), &several);
        assert_eq!(decided.is_ok(), allowed, "{method} {name}");
        let look_ups = decided.map_or(0, |decision| decision.look_ups().len());
        assert_eq!(look_ups, usize::from(method == Method::PUT && name == "a"), "{method} {name}");
    }
}

#[test]
fn the_grant_is_the_part_of_the_request_that_the_credential_allows() {
    type Asked<'a> = &'a [(&'a str, &'a str)];
    let table: [(Verified, Asked<'_>, &str); 14] = [
        (scopes(&["read_registry"]), &[("a", "pull,push"), ("b", "pull")], "a:pull b:pull"),
        (
            scopes(&["read_registry", "write_registry"]),
            &[("a", "*"), ("b", "push")],
            "a:pull,push b:push",
        ),
        (scopes(&["write_registry"]), &[("a", "*"), ("b", "push")], ""),
        (scopes(&["delete_registry"]), &[("a", "*"), ("b", "pull")], "a:delete"),
        (scopes(&["api"]), &[("a", "pull"), ("b", "delete")], "a:pull b:delete"),
        (scopes(&["api"]), &[], ""),
        (scopes(&[]), &[("a", "pull")], ""),
        (
            of_several(&[("a", "pull,push"), ("b", "pull")]),
            &[("a", "*"), ("b", "*")],
            "a:pull,push b:pull",
        ),
        (
            of_several(&[("a", "*"), ("b", "pull")]),
            &[("b", "pull,push"), ("a", "pull")],
            "b:pull a:pull",
        ),
        (of_several(&[("a", "push"), ("b", "delete")]), &[("a", "*"), ("b", "*")], "b:delete"),
        (
            of_several(&[("a", "pull"), ("b", "")]),
            &[("a", "pull"), ("b", "pull"), ("c", "pull")],
            "a:pull",
        ),
        (of_several(&[("a", "pull")]), &[("a", "pull,push")], "a:pull"),
        (verified(Granted::Identity), &[("a", "pull")], ""),
        (verified(Granted::Nothing), &[("a", "pull")], ""),
    ];
    for (verified, asked, expected) in table {
        let wanted = asked
            .iter()
            .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
        let asked = Access::several(wanted.collect());
        let granted = policy().granted(&asked, &verified);
        let words: Vec<_> =
            granted.iter().map(|(name, actions)| format!("{name}:{}", actions.words())).collect();
        assert_eq!(words.join(" "), expected, "{asked:?} of {:?}", verified.granted);
        // A request is allowed everything that was granted, and everything that was granted was
        // asked.
        for (name, actions) in &granted {
            let wanted = asked.repositories().find(|(wanted, _)| *wanted == name).unwrap().1;
            assert!(wanted.contain(*actions), "{name}");
            for action in actions.each() {
                check(&policy(), &Access::Repository(name.clone(), action), &verified).unwrap();
            }
        }
    }
}

#[test]
fn several_repositories_are_allowed_only_all_together() {
    let asked = |scopes: &[(&str, &str)]| {
        let wanted = scopes
            .iter()
            .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
        Access::several(wanted.collect())
    };
    let several = of_several(&[("a", "pull,push"), ("b", "pull")]);
    for (scopes, allowed) in [
        (&[("a", "pull,push"), ("b", "pull")][..], true),
        (&[("a", "pull"), ("b", "pull")], true),
        (&[("a", "pull,push"), ("b", "pull,push")], false),
        (&[("b", "pull"), ("c", "pull")], false),
    ] {
        assert_eq!(check(&policy(), &asked(scopes), &several).is_ok(), allowed, "{scopes:?}");
    }
}

/// A caller without a credential may do what was granted, and is asked for a credential for
/// everything else.
#[test]
fn an_anonymous_caller_is_asked_for_a_credential_if_access_is_denied() {
    let mut nobody = of_several(&[("a", "pull"), ("b", "")]);
    nobody.principal.subject = "".into();
    for (method, target, denial) in [
        (Method::GET, "/v2/a/manifests/v1", None),
        (Method::PUT, "/v2/a/manifests/v1", Some(Denial::NoCredential)),
        (Method::DELETE, "/v2/a/manifests/v1", Some(Denial::NoCredential)),
        (Method::GET, "/v2/b/manifests/v1", Some(Denial::NoCredential)),
        (Method::GET, "/v2/_catalog", Some(Denial::NoCredential)),
    ] {
        assert_eq!(policy().authorize(request(method, target), &nobody).err(), denial, "{target}");
    }
}

#[test]
fn without_rules_the_catalog_needs_the_scopes_of_a_pull() {
    let lacks = || Denial::InsufficientRights(Missing::Scopes(vec!["read_registry".into()]));
    for (granted, denial) in [
        (scopes(&["read_registry"]).granted, None),
        (scopes(&["api"]).granted, None),
        (scopes(&["write_registry"]).granted, Some(lacks())),
        (Granted::Catalog(None), None),
        (Granted::Identity, Some(Denial::CatalogClosed)),
        (Granted::Nothing, Some(Denial::CatalogClosed)),
        (of_several(&[("a", "pull")]).granted, Some(Denial::CatalogClosed)),
    ] {
        let caller = verified(granted);
        let decided = policy().authorize(request(Method::GET, "/v2/_catalog"), &caller);
        assert_eq!(policy().catalog_refusal(&caller).is_none(), denial.is_none());
        match decided {
            Ok(decision) => {
                assert!(decision.permit(&[]).unwrap().catalog_filter().is_none(), "{caller:?}")
            }
            Err(refused) => assert_eq!(Some(refused), denial, "{caller:?}"),
        }
    }
}
