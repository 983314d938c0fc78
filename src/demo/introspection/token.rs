//! The tokens that the stand-in knows, and what it says of them (RFC 7662, section 2.2).

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::CLIENT_ID;
use crate::demo::claims::changed;

/// How long a token has to live, in seconds, whenever it is asked about.
const LIFETIME: u64 = 3600;

/// A token of the stand-in. It is public: it opens nothing but a demo or a test.
#[derive(Clone, Debug)]
pub struct SampleToken {
    pub token: String,
    /// The members of the reply that are not the usual ones; null leaves a member out. With an
    /// `exp` in the past it has expired.
    pub claims: Value,
    pub revoked: bool,
    /// What it is there to show.
    pub note: &'static str,
}

/// One token that may push and pull, one that may only pull, one that may do nothing, an expired
/// and a revoked one.
pub fn sample_tokens() -> Vec<SampleToken> {
    let both = "read_registry write_registry";
    let sample = |token: &str, claims, note| SampleToken {
        token: token.into(),
        claims,
        revoked: false,
        note,
    };
    vec![
        sample("sso-demo-read-write", json!({ "scope": both }), "any user name works"),
        sample(
            "sso-demo-read-only",
            json!({ "scope": "read_registry", "username": "erin", "sub": "user-2" }),
            "may only pull",
        ),
        sample("sso-demo-no-scope", json!({}), "is good for nothing here"),
        sample("sso-demo-expired", json!({ "scope": both, "exp": 1 }), "has expired"),
        SampleToken {
            revoked: true,
            ..sample("sso-demo-revoked", json!({ "scope": both }), "was revoked")
        },
    ]
}

impl SampleToken {
    pub(super) fn is(&self, token: &SecretString) -> bool {
        token.expose_secret() == self.token
    }

    /// What is said of it at this second, `None` where it is no longer good.
    pub(super) fn reply(&self, issuer: &str, now: u64) -> Option<Value> {
        let usual = json!({
            "active": true,
            "client_id": "demo-cli",
            "username": "dana",
            "sub": "user-1",
            "aud": CLIENT_ID,
            "iss": issuer,
            "iat": now,
            "exp": now + LIFETIME,
            "token_type": "Bearer",
            "groups": ["developers"],
        });
        let reply = changed(usual, &self.claims);
        let expired = reply.get("exp").and_then(Value::as_u64).is_some_and(|exp| exp <= now);
        (!self.revoked && !expired).then_some(reply)
    }
}
