use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

fn said(body: &str) -> Result<TokenState, ReplyError> {
    read(body.as_bytes(), &Expected::default(), None, NOW)
}

/// Returns an ordinary reply with these members added or replaced.
fn reply(members: Value) -> String {
    let mut reply = json!({ "active": true, "sub": "alice" });
    reply.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    reply.to_string()
}

fn active(members: Value) -> ActiveToken {
    match said(&reply(members)) {
        Ok(TokenState::Active(token)) => token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_is_valid_only_with_one_boolean_member_active() {
    assert!(matches!(said(r#"{"active": true, "sub": "alice"}"#), Ok(TokenState::Active(_))));
    for body in
        [r#"{"active": false}"#, r#"{"active": false, "sub": "alice", "exp": "never", "scope": 5}"#]
    {
        assert_eq!(said(body).unwrap(), TokenState::NotMine, "{body}");
    }
    for body in [
        "",
        "{}",
        "[]",
        "true",
        "<html>",
        r#"{"sub": "alice"}"#,
        r#"{"active": "true", "sub": "alice"}"#,
        r#"{"active": 1, "sub": "alice"}"#,
        r#"{"active": null, "sub": "alice"}"#,
        r#"{"active": [true], "sub": "alice"}"#,
        r#"{"Active": true, "sub": "alice"}"#,
        r#"{"active": false, "active": true, "sub": "alice"}"#,
        r#"{"active": true, "active": true, "sub": "alice"}"#,
        r#"{"active": true, "sub": "alice", "sub": "bob"}"#,
        r#"{"active": true, "sub": "alice"} {}"#,
    ] {
        assert!(said(body).is_err(), "{body}");
    }
    let deep =
        format!(r#"{{"active": true, "sub": "alice", "x": {}{}}}"#, "[".repeat(16), "]".repeat(16));
    assert!(said(&deep).is_err());
}

#[test]
fn the_subject_is_sub_or_else_username_or_else_client_id() {
    assert_eq!(active(json!({ "username": "a", "client_id": "c" })).subject, "alice");
    assert_eq!(active(json!({ "sub": null, "username": "a", "client_id": "c" })).subject, "a");
    assert_eq!(active(json!({ "sub": "", "username": "a" })).subject, "a");
    for nobody in
        [json!({ "sub": null }), json!({ "sub": "" }), json!({ "sub": "", "username": "" })]
    {
        let mut members = nobody.clone();
        members["client_id"] = json!("c");
        assert_eq!(active(members).subject, "client:c", "{nobody}");
    }
    for members in [
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": "", "username": "", "client_id": "" }),
        json!({ "sub": 5 }),
        json!({ "sub": ["alice"] }),
        json!({ "sub": "a".repeat(1025) }),
    ] {
        assert!(said(&reply(members.clone())).is_err(), "{members}");
    }
}

#[test]
fn scopes_groups_and_expiry_are_read() {
    let expected =
        Expected { groups_claim: Some("groups".parse().unwrap()), ..Expected::default() };
    let members =
        json!({ "scope": "read_registry write_registry", "exp": NOW + 9, "groups": ["ci", "ops"] });
    let token = ActiveToken {
        subject: "alice".to_owned(),
        scopes: vec!["read_registry".to_owned(), "write_registry".to_owned()],
        groups: vec!["ci".to_owned(), "ops".to_owned()],
        expires: Some(NOW + 9),
        odd: Oddities::default(),
    };
    assert_eq!(
        read(reply(members).as_bytes(), &expected, None, NOW).unwrap(),
        TokenState::Active(token)
    );
    let bare = active(json!({}));
    assert_eq!((bare.scopes, bare.groups, bare.expires), (vec![], vec![], None));
    for members in [json!({ "scope": { "read_registry": true } }), json!({ "groups": { "ci": 1 } })]
    {
        let token = active(members);
        assert!(token.scopes.is_empty() && token.groups.is_empty(), "{token:?}");
    }
}

/// An odd member does not affect the other members, and its note does not contain its value.
#[test]
fn an_odd_member_is_noted_and_does_not_affect_the_others() {
    let expected =
        Expected { groups_claim: Some("groups".parse().unwrap()), ..Expected::default() };
    let odd = |members: Value| match read(reply(members).as_bytes(), &expected, None, NOW) {
        Ok(TokenState::Active(token)) => {
            (token.scopes, token.groups, token.odd.text().unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    let (scopes, ..) = odd(json!({ "scope": ["read_registry", "write_registry"] }));
    assert_eq!(scopes, ["read_registry", "write_registry"]);
    let (scopes, _, text) = odd(json!({ "scope": ["read_registry canary", 5, ["canary"], ""] }));
    assert_eq!(scopes, ["read_registry canary"], "one word, whatever it holds");
    assert_eq!(
        text,
        "`scope` is a list of 4, and each entry is one scope; \
         `scope` holds a number, which is left out; `scope` holds a list of 1, which is left out; \
         `scope` holds an empty text, which is left out"
    );
    let (_, groups, text) = odd(json!({ "groups": ["ci", { "canary": 1 }, null] }));
    assert_eq!(groups, ["ci"]);
    assert!(
        text.contains("an object") && text.contains("null") && !text.contains("canary"),
        "{text}"
    );
    for (members, shape) in [
        (json!({ "scope": { "canary": 1 } }), "`scope` is an object"),
        (json!({ "groups": { "canary": 1 } }), "`groups` is an object"),
        (json!({ "groups": "canary" }), "`groups` is a text of 6 bytes and not a list"),
        (json!({ "sub": 5, "username": "al" }), "`sub` is a number"),
        (json!({ "sub": "", "client_id": "ci" }), "`sub` is an empty text"),
        (json!({ "sub": " ", "username": ["canary"], "client_id": "ci" }), "`username` is a list"),
        (json!({ "exp": "4000000000" }), "`exp` is a text of 10 bytes"),
    ] {
        let (scopes, groups, text) = odd(members);
        assert!(scopes.is_empty() && groups.is_empty() && text.contains(shape), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    for scope in [json!(null), json!(""), json!([])] {
        assert!(odd(json!({ "scope": scope })).0.is_empty(), "{scope}");
    }
    // The config does not ask for these members, so their types do not matter.
    odd(json!({ "aud": 5, "username": 5 }));
}

#[test]
fn an_exp_of_0_means_no_expiry() {
    for exp in [json!(0), json!(0.0), json!("0")] {
        let token = active(json!({ "exp": exp }));
        assert_eq!((token.expires, token.odd.text().is_some()), (None, true), "{exp}");
    }
    for exp in [json!(1), json!(0.5)] {
        assert!(
            matches!(said(&reply(json!({ "exp": exp }))), Ok(TokenState::NotForHere(_))),
            "{exp}"
        );
    }
}

/// A user with the same name as a client is not taken for that client.
#[test]
fn a_user_who_is_named_like_a_client_is_refused() {
    for members in [
        json!({ "sub": "client:ci" }),
        json!({ "sub": "client:ci", "client_id": "other" }),
        json!({ "sub": "client:", "client_id": "" }),
        json!({ "sub": "", "username": "client:ci" }),
    ] {
        assert!(
            matches!(said(&reply(members.clone())), Ok(TokenState::NotForHere(_))),
            "{members}"
        );
    }
    assert_eq!(active(json!({ "sub": "client:ci", "client_id": "ci" })).subject, "client:ci");
    assert_eq!(active(json!({ "sub": "ci", "client_id": "other" })).subject, "ci");
}

#[test]
fn a_token_that_has_expired_or_is_not_yet_valid_is_refused() {
    for members in [json!({ "exp": NOW }), json!({ "exp": 1 }), json!({ "nbf": NOW + 61 })] {
        assert!(
            matches!(said(&reply(members.clone())), Ok(TokenState::NotForHere(_))),
            "{members}"
        );
    }
    assert_eq!(active(json!({ "exp": NOW as f64 + 1.5 })).expires, Some(NOW + 1));
    active(json!({ "nbf": NOW + 60 }));
    assert!(matches!(said(&reply(json!({ "exp": "17" }))), Ok(TokenState::NotForHere(_))));
    assert_eq!(active(json!({ "exp": "4000000000", "nbf": "0" })).expires, Some(4_000_000_000));
    for members in [
        json!({ "exp": "tomorrow" }),
        json!({ "exp": -1 }),
        json!({ "nbf": "" }),
        json!({ "exp": {} }),
    ] {
        assert!(said(&reply(members.clone())).is_err(), "{members}");
    }
}

#[test]
fn the_audience_must_match_if_the_config_sets_one() {
    let expected = Expected { audience: Some("registry".to_owned()), ..Expected::default() };
    let said = |members: Value| read(reply(members).as_bytes(), &expected, None, NOW);
    for aud in [
        json!("registry"),
        json!(["registry"]),
        json!(["other", "registry"]),
        json!(["registry", 5, null]),
    ] {
        assert!(matches!(said(json!({ "aud": aud })), Ok(TokenState::Active(_))), "{aud}");
    }
    for aud in [json!(null), json!("other"), json!("registry2"), json!("Registry"), json!([])] {
        assert!(
            matches!(
                said(json!({ "aud": aud })),
                Ok(TokenState::NotForHere(why)) if why.contains("aud")
            ),
            "{aud}"
        );
    }
    for aud in [json!(5), json!({ "registry": true })] {
        assert!(said(json!({ "aud": aud })).is_err(), "{aud}");
    }
}

#[test]
fn the_user_name_must_match_if_the_config_requires_it() {
    let expected = Expected { match_username: true, ..Expected::default() };
    let said =
        |user, members: Value| read(reply(members).as_bytes(), &expected, user, NOW).unwrap();
    assert!(matches!(said(Some("al"), json!({ "username": "al" })), TokenState::Active(_)));
    assert!(matches!(said(None, json!({ "username": "al" })), TokenState::Active(_)));
    for (user, members) in
        [("bob", json!({ "username": "al" })), ("AL", json!({ "username": "al" }))]
    {
        assert!(matches!(
            said(Some(user), members),
            TokenState::NotForHere(why) if why.contains("username")
        ));
    }
    // The subject does not count as a user name.
    assert!(matches!(said(Some("alice"), json!({})), TokenState::NotForHere(_)));
}

#[test]
fn only_access_tokens_are_credentials() {
    for token_use in ["access", "access_token"] {
        active(json!({ "token_use": token_use }));
    }
    for token_use in ["refresh_token", "id", "refresh", "Access", ""] {
        assert_eq!(
            said(&reply(json!({ "token_use": token_use }))).unwrap(),
            TokenState::NoAccessToken
        );
    }
    assert!(said(&reply(json!({ "token_use": 1 }))).is_err());
}

#[test]
fn no_error_prints_a_value() {
    for body in [
        r#"{"active": "canary"}"#,
        r#"{"active": true, "sub": ["canary"]}"#,
        "canary",
        "\"canary\"",
    ] {
        assert!(!said(body).unwrap_err().to_string().contains("canary"), "{body}");
    }
}

proptest! {
    #[test]
    fn never_panics(body: Vec<u8>) {
        let _ = read(&body, &Expected::default(), None, NOW);
    }
}
