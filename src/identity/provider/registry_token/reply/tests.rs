//! Tests of which replies are tokens for the gate, and of what they grant.

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;

const SERVICE: &str = "container_registry";

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Returns the claims of an ordinary token with these members added or replaced.
fn with(members: Value) -> Value {
    let mut claims = json!({ "aud": SERVICE, "sub": "alice", "iat": 1000, "exp": 1300 });
    claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    claims
}

fn reply(members: Value) -> Value {
    json!({ "token": jwt(&with(members)) })
}

fn said(reply: &Value) -> Result<Token, Unreadable> {
    read(reply.to_string().as_bytes(), SERVICE)
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

#[test]
fn the_token_is_read_from_token_or_access_token() {
    let (one, other) = (jwt(&with(json!({}))), jwt(&with(json!({ "sub": "bob" }))));
    for reply in [
        json!({ "token": one }),
        json!({ "access_token": one }),
        json!({ "token": one, "access_token": one }),
        json!({ "token": one, "access_token": null }),
        json!({ "token": null, "access_token": one }),
    ] {
        assert_eq!(said(&reply).unwrap().issued.expose_secret(), one, "{reply}");
    }
    assert_eq!(
        said(&json!({ "token": one, "access_token": other })).unwrap_err(),
        Unreadable::TwoTokens
    );
    for reply in [
        json!({}),
        json!({ "token": null }),
        json!({ "token": 5 }),
        json!({ "token": [one] }),
        json!([one]),
    ] {
        assert_eq!(said(&reply).unwrap_err(), Unreadable::Reply, "{reply}");
    }
    let twice = format!(r#"{{"token": "{one}", "token": "{one}"}}"#);
    assert_eq!(read(twice.as_bytes(), SERVICE).unwrap_err(), Unreadable::Reply);
}

#[test]
fn a_reply_without_a_readable_token_is_refused() {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(with(json!({})).to_string());
    for token in [
        "",
        "opaque",
        ".",
        "..",
        "a.b",
        &format!("e30.{claims}"),
        &format!("e30.{claims}.x.y"),
        "e30.!.x",
        "e30.W10.x",
    ] {
        assert_eq!(said(&json!({ "token": token })).unwrap_err(), Unreadable::Token, "{token}");
    }
    for members in [
        json!({ "sub": 5 }),
        json!({ "exp": "1300" }),
        json!({ "exp": -1 }),
        json!({ "aud": 5 }),
        json!({ "aud": [5] }),
        json!({ "access": {} }),
    ] {
        let error = said(&reply(members.clone())).unwrap_err();
        assert!(matches!(error, Unreadable::Claim(_)), "{members}: {error:?}");
    }
    let text = said(&reply(json!({ "sub": ["canary"] }))).unwrap_err().to_string();
    assert!(text.contains("`sub` is a list of 1") && !text.contains("canary"), "{text}");
}

/// An odd entry grants less and does not affect the others.
#[test]
fn an_odd_entry_is_left_out_and_does_not_affect_the_others() {
    let good = json!({ "type": "repository", "name": "good", "actions": ["pull"] });
    for (odd, noted) in [
        (json!({ "type": "repository", "name": "odd", "actions": "pull" }), "a text of 4 bytes"),
        (json!({ "type": "repository", "name": "odd", "actions": [["pull"], 5] }), "a list of 1"),
        (json!({ "type": "repository", "actions": ["pull"] }), "an object without"),
        (json!({ "type": 5, "name": "odd", "actions": ["pull"] }), "an object without"),
        (json!(null), "null without"),
        (json!("odd"), "a text of 3 bytes without"),
    ] {
        let token = said(&reply(json!({ "access": [odd, good] }))).unwrap();
        assert_eq!(token.granted(&name("good")).words(), "pull", "{odd}");
        assert_eq!(token.granted(&name("odd")).words(), "", "{odd}");
        assert!(token.odd.text().unwrap().contains(noted), "{odd}: {:?}", token.odd);
    }
    assert_eq!(said(&reply(json!({ "access": [good] }))).unwrap().odd, Oddities::default());
    // Rules apply even if other members of the entry are odd.
    let entry = json!({ "type": "repository", "name": "good", "actions": 5, "meta": { "n": 1 } });
    let token = said(&reply(json!({ "access": [good, entry] }))).unwrap();
    assert_eq!(token.meta(&name("good")).cloned().collect::<Vec<_>>(), [json!({ "n": 1 })]);
}

#[test]
fn a_token_must_have_our_service_as_its_only_audience() {
    for aud in [json!(SERVICE), json!([SERVICE])] {
        assert!(said(&reply(json!({ "aud": aud }))).is_ok(), "{aud}");
    }
    for aud in [
        json!(null),
        json!("other"),
        json!("container_registry2"),
        json!([]),
        json!([SERVICE, "other"]),
    ] {
        assert_eq!(said(&reply(json!({ "aud": aud }))).unwrap_err(), Unreadable::Audience, "{aud}");
    }
}

/// The lifetime follows the server's own clock, so that the gate's clock may be wrong.
#[test]
fn the_lifetime_comes_from_the_claims_or_from_expires_in() {
    let held = |members: Value, expires_in: Value| {
        let mut reply = reply(members);
        reply["expires_in"] = expires_in;
        said(&reply).map(|token| (token.lifetime.as_secs(), token.ends))
    };
    let null = || json!(null);
    assert_eq!(held(json!({}), json!(7)), Ok((300, None)));
    assert_eq!(held(json!({ "exp": 1001 }), null()), Ok((1, None)));
    assert_eq!(held(json!({ "iat": null }), json!(7)), Ok((7, Some(1300))));
    assert_eq!(held(json!({ "iat": null, "exp": null }), json!(7)), Ok((7, None)));
    assert_eq!(held(json!({ "exp": null }), null()), Ok((60, None)));
    assert_eq!(said(&reply(json!({ "exp": null }))).unwrap().lifetime.as_secs(), 60);
    for end in [1000, 999, 0] {
        assert_eq!(held(json!({ "exp": end }), null()), Err(Unreadable::Lifetime), "{end}");
    }
    assert_eq!(held(json!({ "iat": 1000.5, "exp": 1300.5 }), null()), Ok((300, None)));
    // An unusable value counts as a missing one, for which the specification has a default.
    for expires_in in [json!("7"), json!(-7), json!([7])] {
        assert_eq!(
            held(json!({ "exp": null }), expires_in.clone()),
            Ok((60, None)),
            "{expires_in}"
        );
    }
}

#[test]
fn the_subject_and_the_credential_type_come_from_the_claims() {
    let token = said(&reply(json!({ "auth_type": "build", "user": "e30.e30.x" }))).unwrap();
    assert_eq!(token.subject.as_deref(), Some("alice"));
    assert_eq!(
        (token.credential_type.as_deref(), token.user.as_deref()),
        (Some("build"), Some("e30.e30.x"))
    );
    for members in [json!({ "sub": "" }), json!({ "sub": null })] {
        assert_eq!(said(&reply(members)).unwrap().subject, None);
    }
    // GitLab defines these claims, so they are ignored if another server uses them differently.
    let other = said(&reply(json!({ "auth_type": 1, "user": { "name": "alice" } }))).unwrap();
    assert_eq!((other.credential_type, other.user), (None, None));
}

#[test]
fn grants_apply_to_the_repository_of_exactly_that_name() {
    let token = said(&reply(json!({ "access": [
        { "type": "repository", "name": "a/b", "actions": ["pull"], "meta": { "n": 1 } },
        { "type": "repository", "name": "a/b", "actions": ["push", "other"], "meta": { "n": 2 } },
        { "type": "repository", "name": "all", "actions": ["*"] },
        { "type": "repository", "name": "none", "actions": null },
        { "type": "repository", "name": "gone", "actions": ["delete"] },
        { "type": "other", "name": "c", "actions": ["pull"], "meta": { "n": 3 } },
    ] })))
    .unwrap();
    for (repository, words) in [
        ("a/b", "pull,push"),
        ("all", ""),
        ("none", ""),
        ("gone", "delete"),
        ("c", ""),
        ("a", ""),
        ("b", ""),
    ] {
        assert_eq!(token.granted(&name(repository)).words(), words, "{repository}");
    }
    let meta = |repository| token.meta(&name(repository)).cloned().collect::<Vec<_>>();
    assert_eq!(meta("a/b"), [json!({ "n": 1 }), json!({ "n": 2 })]);
    assert!(meta("c").is_empty() && meta("gone").is_empty());
    assert_eq!(
        said(&reply(json!({ "access": null }))).unwrap().granted(&name("a")),
        Actions::default()
    );
}

#[test]
fn only_a_registry_entry_catalog_with_a_star_grants_the_catalog() {
    for (kind, entry, actions, granted) in [
        ("registry", "catalog", json!(["*"]), true),
        ("registry", "catalog", json!(["pull", "*"]), true),
        ("registry", "catalog", json!(["pull"]), false),
        ("registry", "catalog", json!([]), false),
        ("registry", "catalog", json!(null), false),
        ("registry", "other", json!(["*"]), false),
        ("repository", "catalog", json!(["*"]), false),
    ] {
        let access = json!([{ "type": kind, "name": entry, "actions": actions }]);
        let token = said(&reply(json!({ "access": access }))).unwrap();
        assert_eq!(token.grants_catalog(), granted, "{access}");
    }
    assert!(!said(&reply(json!({}))).unwrap().grants_catalog());
}

proptest! {
    #[test]
    fn never_panics(body: Vec<u8>, claims in "[{}\\[\\],:\"a-z0-9]{0,30}") {
        let _ = read(&body, SERVICE);
        let token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let _ = said(&json!({ "token": token }));
    }
}
