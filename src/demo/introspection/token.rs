//! The tokens that the stand-in knows, and its replies about them (RFC 7662, section 2.2).

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::CLIENT_ID;
use crate::demo::claims::changed;

/// The remaining lifetime that a reply states, in seconds. It is the same at every request.
const LIFETIME: u64 = 3600;

/// A token of the stand-in. It is public, because it only gives access to a demo or a test.
#[derive(Clone, Debug)]
pub struct SampleToken {
    pub token: String,
    /// The members that differ from the default reply. A member that is null is left out. A token
    /// with an `exp` in the past has expired.
    pub claims: Value,
    pub revoked: bool,
    /// A description of what the token demonstrates.
    pub note: &'static str,
}

/// Returns a token that may push and pull, one that may only pull, one that may do nothing, an
/// expired one and a revoked one.
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
        sample("sso-demo-no-scope", json!({}), "has no scope"),
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

    /// Returns the reply about the token at the time `now`, in seconds since 1970. Returns `None`
    /// if the token is revoked or expired.
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
