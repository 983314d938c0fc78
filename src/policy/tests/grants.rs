//! The parts that accompany an allowed request: the token that was issued for it, and the access
//! that its mount needs.

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::identity::UpstreamToken;

/// Returns one verdict of a server whose tokens the upstream accepts, about one or several
/// repositories.
fn issued(grants: &[(&str, &str)], token: &str) -> Verified {
    let token = UpstreamToken::new(SecretString::from(token));
    let immutable =
        TagRules::read([&serde_json::json!({ "tag_immutable_patterns": ["^v"] })]).unwrap();
    let grant = |(name, words): &(&str, &str)| RepositoryGrant {
        repository: RepositoryName::parse(name).unwrap(),
        actions: Actions::asked(words),
        server: TokenServerKind::Other,
        tags: immutable.clone(),
        token: Some(token.clone()),
    };
    verified(Granted::Repositories(Arc::new(grants.iter().map(grant).collect())))
}

fn secret(grant: Option<&UpstreamToken>) -> Option<&str> {
    grant.map(|token| token.secret().expose_secret())
}

#[test]
fn the_upstream_gets_the_issued_token_with_the_request_and_its_look_ups() {
    let put = request(Method::PUT, "/v2/a/manifests/v1");
    let decision = policy().authorize(put.clone(), &issued(&[("a", "pull,push")], "t-1")).unwrap();
    assert_eq!(secret(decision.upstream_token()), Some("t-1"));
    assert!(decision.must_not_exist().eq([&Tag::parse("v1").unwrap()]));
    for look_up in decision.look_ups() {
        assert_eq!(look_up.upstream_token().unwrap(), "Bearer t-1");
    }
    let shown = decision.permit(&[StatusCode::NOT_FOUND]).unwrap().upstream_token().unwrap();
    assert_eq!(shown, "Bearer t-1");
    assert!(shown.is_sensitive());

    let of_scopes = policy().authorize(put, &scopes(&["api"])).unwrap();
    assert!(of_scopes.upstream_token().is_none() && of_scopes.look_ups().is_empty());
    assert!(of_scopes.permit(&[]).unwrap().upstream_token().is_none());
}

/// A server cannot have issued a text that is not a token of RFC 6750, and no part of such a text
/// becomes a header.
#[test]
fn a_token_that_is_not_a_valid_header_is_not_sent() {
    let odd = issued(&[("a", "pull")], "t\r\nX-Forwarded-For: evil");
    let decision = policy().authorize(request(Method::GET, "/v2/a/manifests/v1"), &odd).unwrap();
    assert!(decision.permit(&[]).unwrap().upstream_token().is_none());
}

/// If the upstream receives the token, one token must allow the source and the upload. Otherwise
/// only the source is asked about.
#[test]
fn a_mount_needs_its_source_or_one_token_for_both_repositories() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mount = || request(Method::POST, &format!("/v2/a/blobs/uploads/?mount={digest}&from=b"));
    let (a, b) = (RepositoryName::parse("a").unwrap(), RepositoryName::parse("b").unwrap());

    let alone = policy().authorize(mount(), &scopes(&["api"])).unwrap();
    assert_eq!(alone.unchecked_mount_source(), Some(Access::Repository(b.clone(), Action::Pull)));

    let first = policy().authorize(mount(), &issued(&[("a", "pull,push")], "t-1")).unwrap();
    let together = Access::several(vec![(a, Action::Push.needs()), (b, Action::Pull.needs())]);
    assert_eq!(first.unchecked_mount_source(), Some(together));

    let mounted = policy().allow_mount(first, &issued(&[("a", "pull,push"), ("b", "pull")], "t-2"));
    assert_eq!(mounted.mount_refusal(), None);
    assert_eq!(secret(mounted.upstream_token()), Some("t-2"), "the token that holds both");

    let plain = request(Method::POST, "/v2/a/blobs/uploads/");
    assert_eq!(
        policy().authorize(plain, &scopes(&["api"])).unwrap().unchecked_mount_source(),
        None
    );
}

#[test]
fn a_removed_mount_says_why_it_was_refused() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mount = request(Method::POST, &format!("/v2/a/blobs/uploads/?mount={digest}&from=b"));
    let decision = policy().authorize(mount, &issued(&[("a", "pull,push")], "t-1")).unwrap();
    let decision =
        policy().allow_mount(decision, &issued(&[("a", "pull,push"), ("b", "push")], "t-2"));
    let missing = Missing::Grant("p".into(), Action::Pull);
    assert_eq!(decision.mount_refusal(), Some(&Denial::InsufficientRights(missing)));
    assert_eq!(secret(decision.upstream_token()), Some("t-1"), "the token of the plain upload");
    assert_eq!(decision.permit(&[]).unwrap().request().render(), "/v2/a/blobs/uploads/");
}

/// GitLab does not say which right is missing, so the answer names what GitLab requires. The
/// requirements of another server are not known.
#[test]
fn the_denial_names_the_missing_grant_of_the_token_server() {
    let put = || request(Method::PUT, "/v2/a/manifests/v1");
    let other = policy().authorize(put(), &issued(&[("a", "pull")], "t")).unwrap_err();
    assert_eq!(other, Denial::InsufficientRights(Missing::Grant("p".into(), Action::Push)));
    let gitlab = policy().authorize(put(), &of_several(&[("a", "pull")])).unwrap_err();
    assert_eq!(gitlab, Denial::InsufficientRights(Missing::GitLabGrant(Action::Push)));
}
