//! What an introspection reply says (RFC 7662, 2.2). Pure.

use serde_json::{Map, Value};

use crate::identity::claims::{self, ClaimError};
use crate::identity::strict_json::{self, StrictJsonError};

/// How far the server's clock may be behind ours where it says that a token is active, and not yet valid. Seconds.
const LEEWAY: u64 = 60;

/// What the config asks of a reply.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// What `aud` must hold.
    pub audience: Option<String>,
    /// Whether `username` must be the user name that came with the token.
    pub match_username: bool,
    /// The member that lists groups.
    pub groups_claim: Option<String>,
}

/// What the server says of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenState {
    /// No token of its own.
    NotMine,
    /// Active by its word, and not for this use here and now: why.
    NotForHere(&'static str),
    /// Active, and no access token.
    NoAccessToken,
    /// Active.
    Active(ActiveToken),
}

/// An active token.
#[derive(Debug, PartialEq, Eq)]
pub struct ActiveToken {
    /// `sub`, else `username`, else `client_id`.
    pub subject: String,
    /// None where there is no `scope`.
    pub scopes: Vec<String>,
    /// What the member that lists groups names.
    pub groups: Vec<String>,
    /// `exp`, Unix time in seconds.
    pub expires: Option<u64>,
}

/// Why a reply says nothing. Prints no value of it.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error("no JSON object: {0}")]
    Json(#[from] StrictJsonError),
    #[error("`active` is neither true nor false")]
    Active,
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("the token is active, and the reply does not say whose it is: no `sub`, `username` or `client_id`")]
    NoSubject,
}

/// Reads the body of a reply with status 200. `user` is the user name that came with the token, `now` Unix time in
/// seconds.
///
/// # Errors
/// What cannot be understood, which is neither a yes nor a no.
pub fn read(body: &[u8], expected: &Expected, user: Option<&str>, now: u64) -> Result<TokenState, ReplyError> {
    let reply = strict_json::object(body)?;
    match reply.get("active") {
        Some(Value::Bool(true)) => {}
        // Nothing else counts then, and servers send nothing else.
        Some(Value::Bool(false)) => return Ok(TokenState::NotMine),
        _ => return Err(ReplyError::Active),
    }
    let expires = claims::seconds(&reply, "exp")?;
    let begins = claims::seconds(&reply, "nbf")?;
    let audiences = claims::texts(&reply, "aud")?.unwrap_or_default();
    let username = claims::text(&reply, "username")?;
    if expires.is_some_and(|end| end <= now) {
        return Ok(TokenState::NotForHere("its `exp` has passed; do the clocks agree?"));
    }
    if begins.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
        return Ok(TokenState::NotForHere("its `nbf` is to come; do the clocks agree?"));
    }
    if expected.audience.as_deref().is_some_and(|audience| !audiences.contains(&audience)) {
        return Ok(TokenState::NotForHere("its `aud` does not hold the audience of the config"));
    }
    // A Bearer token comes without a user name, so there is none that it could be borrowed under.
    if expected.match_username && user.is_some() && username != user {
        return Ok(TokenState::NotForHere("its `username` is not the user name that came with it (match_username)"));
    }
    if claims::text(&reply, "token_use")?.is_some_and(|token_use| !matches!(token_use, "access" | "access_token")) {
        return Ok(TokenState::NoAccessToken);
    }
    Ok(TokenState::Active(ActiveToken {
        subject: subject(&reply)?.to_owned(),
        scopes: claims::scopes(&reply)?.unwrap_or_default(),
        groups: claims::groups(&reply, expected.groups_claim.as_deref())?,
        expires,
    }))
}

fn subject(reply: &Map<String, Value>) -> Result<&str, ReplyError> {
    for name in ["sub", "username", "client_id"] {
        if let Some(subject) = claims::subject(reply, name)? {
            return Ok(subject);
        }
    }
    Err(ReplyError::NoSubject)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn said(body: &str) -> Result<TokenState, ReplyError> {
        read(body.as_bytes(), &Expected::default(), None, NOW)
    }

    /// A reply with these members over those of an ordinary one.
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
    fn only_the_boolean_is_a_yes_or_a_no() {
        assert!(matches!(said(r#"{"active": true, "sub": "alice"}"#), Ok(TokenState::Active(_))));
        for body in [r#"{"active": false}"#, r#"{"active": false, "sub": "alice", "exp": "never", "scope": 5}"#] {
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
        let deep = format!(r#"{{"active": true, "sub": "alice", "x": {}{}}}"#, "[".repeat(16), "]".repeat(16));
        assert!(said(&deep).is_err());
    }

    #[test]
    fn the_subject_is_the_first_that_there_is() {
        assert_eq!(active(json!({ "username": "a", "client_id": "c" })).subject, "alice");
        assert_eq!(active(json!({ "sub": null, "username": "a", "client_id": "c" })).subject, "a");
        assert_eq!(active(json!({ "sub": null, "client_id": "c" })).subject, "c");
        for members in [json!({ "sub": null }), json!({ "sub": "", "username": "a" }), json!({ "sub": 5 })] {
            assert!(said(&reply(members.clone())).is_err(), "{members}");
        }
    }

    #[test]
    fn scopes_groups_and_end_are_kept() {
        let expected = Expected { groups_claim: Some("groups".to_owned()), ..Expected::default() };
        let members = json!({ "scope": "read_registry write_registry", "exp": NOW + 9, "groups": ["ci", "ops"] });
        let token = ActiveToken {
            subject: "alice".to_owned(),
            scopes: vec!["read_registry".to_owned(), "write_registry".to_owned()],
            groups: vec!["ci".to_owned(), "ops".to_owned()],
            expires: Some(NOW + 9),
        };
        assert_eq!(read(reply(members).as_bytes(), &expected, None, NOW).unwrap(), TokenState::Active(token));
        let bare = active(json!({}));
        assert_eq!((bare.scopes, bare.groups, bare.expires), (vec![], vec![], None));
        for members in [json!({ "scope": ["read_registry"] }), json!({ "groups": { "ci": 1 } })] {
            assert!(read(reply(members.clone()).as_bytes(), &expected, None, NOW).is_err(), "{members}");
        }
    }

    #[test]
    fn a_token_that_is_over_or_to_come_is_none() {
        for members in [json!({ "exp": NOW }), json!({ "exp": 0 }), json!({ "nbf": NOW + 61 })] {
            assert!(matches!(said(&reply(members.clone())), Ok(TokenState::NotForHere(_))), "{members}");
        }
        assert_eq!(active(json!({ "exp": NOW as f64 + 1.5 })).expires, Some(NOW + 1));
        active(json!({ "nbf": NOW + 60 }));
        for members in [json!({ "exp": "1900000000" }), json!({ "exp": -1 }), json!({ "nbf": "0" })] {
            assert!(said(&reply(members.clone())).is_err(), "{members}");
        }
    }

    #[test]
    fn the_audience_must_be_held_where_one_is_asked_for() {
        let expected = Expected { audience: Some("registry".to_owned()), ..Expected::default() };
        let said = |members: Value| read(reply(members).as_bytes(), &expected, None, NOW);
        for aud in [json!("registry"), json!(["registry"]), json!(["other", "registry"])] {
            assert!(matches!(said(json!({ "aud": aud })), Ok(TokenState::Active(_))), "{aud}");
        }
        for aud in [json!(null), json!("other"), json!("registry2"), json!("Registry"), json!([])] {
            assert!(
                matches!(said(json!({ "aud": aud })), Ok(TokenState::NotForHere(why)) if why.contains("aud")),
                "{aud}"
            );
        }
        for aud in [json!(5), json!({ "registry": true }), json!(["registry", 5])] {
            assert!(said(json!({ "aud": aud })).is_err(), "{aud}");
        }
    }

    #[test]
    fn the_user_name_must_match_where_that_is_asked_for() {
        let expected = Expected { match_username: true, ..Expected::default() };
        let said = |user, members: Value| read(reply(members).as_bytes(), &expected, user, NOW).unwrap();
        assert!(matches!(said(Some("al"), json!({ "username": "al" })), TokenState::Active(_)));
        assert!(matches!(said(None, json!({ "username": "al" })), TokenState::Active(_)));
        for (user, members) in [("bob", json!({ "username": "al" })), ("AL", json!({ "username": "al" }))] {
            assert!(matches!(said(Some(user), members), TokenState::NotForHere(why) if why.contains("username")));
        }
        // The subject is no user name.
        assert!(matches!(said(Some("alice"), json!({})), TokenState::NotForHere(_)));
    }

    #[test]
    fn only_access_tokens_are_credentials() {
        for token_use in ["access", "access_token"] {
            active(json!({ "token_use": token_use }));
        }
        for token_use in ["refresh_token", "id", "refresh", "Access", ""] {
            assert_eq!(said(&reply(json!({ "token_use": token_use }))).unwrap(), TokenState::NoAccessToken);
        }
        assert!(said(&reply(json!({ "token_use": 1 }))).is_err());
    }

    #[test]
    fn no_error_prints_a_value() {
        for body in [r#"{"active": "canary"}"#, r#"{"active": true, "sub": ["canary"]}"#, "canary", "\"canary\""] {
            assert!(!said(body).unwrap_err().to_string().contains("canary"), "{body}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>) {
            let _ = read(&body, &Expected::default(), None, NOW);
        }
    }
}
