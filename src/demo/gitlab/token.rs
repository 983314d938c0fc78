//! The tokens that GitLab signs (JWT, RS256).

use std::io;

use serde_json::{Value, json};

use super::grant::Grant;
use crate::demo::claims::{insert, now};
use crate::demo::signing_key::SigningKey;
use crate::demo::web;

/// The issuer of the tokens.
const ISSUER: &str = "omnibus-gitlab-issuer";

/// The lifetime of a token, in seconds. It is GitLab's default.
const LIFETIME: u64 = 300;

/// The lifetime of the token inside the token, in seconds.
const USER_LIFETIME: u64 = 60;

/// The distance of `nbf` into the past, in seconds. It tolerates clocks that differ.
const NOT_BEFORE_MARGIN: u64 = 5;

/// Creates the token that states what was granted.
pub(super) fn token(key: &SigningKey, audience: &str, grant: &Grant) -> io::Result<String> {
    let mut claims = claims(LIFETIME)?;
    insert(&mut claims, "iss", json!(ISSUER));
    insert(&mut claims, "aud", json!(audience));
    if grant.deploy_token_id.is_none() && !grant.user_name.is_empty() {
        insert(&mut claims, "sub", json!(grant.user_name));
    }
    insert(&mut claims, "auth_type", json!(grant.auth_type));
    insert(&mut claims, "access", json!(grant.access));
    insert(&mut claims, "user", json!(user(key, grant)?));
    key.sign(&claims)
}

/// Creates the token in the claim `user`. It is the only place that identifies a deploy token.
fn user(key: &SigningKey, grant: &Grant) -> io::Result<String> {
    let mut claims = claims(USER_LIFETIME)?;
    let mut info = json!({ "token_type": grant.auth_type, "username": grant.user_name });
    if let Some(id) = grant.deploy_token_id {
        insert(&mut info, "deploy_token_id", json!(id));
    }
    insert(&mut claims, "user_info", info);
    key.sign(&claims)
}

fn claims(lifetime: u64) -> io::Result<Value> {
    let now = now()?;
    Ok(json!({
        "jti": web::uuid()?,
        "iat": now,
        "nbf": now - NOT_BEFORE_MARGIN,
        "exp": now + lifetime,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::signing_key::tests::read;

    fn grant(user_name: &str, deploy_token_id: Option<usize>) -> Grant {
        Grant {
            auth_type: "build",
            user_name: user_name.to_owned(),
            deploy_token_id,
            access: Vec::new(),
        }
    }

    #[test]
    fn a_token_has_the_claims_that_gitlab_signs() {
        let key = SigningKey::rsa(0).unwrap();
        let token = token(&key, "container_registry", &grant("alice", None)).unwrap();
        let (_, claims) = read(&key, &token);

        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["aud"], "container_registry");
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["auth_type"], "build");
        assert_eq!(claims["access"], json!([]));
        assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 300);
        assert_eq!(claims["nbf"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() - 5);
        let (_, user) = read(&key, claims["user"].as_str().unwrap());
        assert_eq!(user["user_info"], json!({ "token_type": "build", "username": "alice" }));
    }

    #[test]
    fn a_deploy_token_has_an_id_instead_of_a_subject() {
        let key = SigningKey::rsa(0).unwrap();
        let (_, claims) =
            read(&key, &token(&key, "container_registry", &grant("ci", Some(4))).unwrap());
        assert!(claims.get("sub").is_none());
        let (_, user) = read(&key, claims["user"].as_str().unwrap());
        assert_eq!(
            user["user_info"],
            json!({ "token_type": "build", "username": "ci", "deploy_token_id": 4 })
        );
    }
}
