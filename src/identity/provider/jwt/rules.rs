//! The requirements of the config on the claims of a workload token (RFC 7519, 4.1). This module
//! performs no I/O.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::JwtError;
use super::claim_pattern::ClaimPattern;
use crate::identity::model::ClaimPath;
use crate::identity::provider::common::claims::{self, ClaimError, Oddities};

/// The largest tolerated difference between the issuer's clock and the gate's, in seconds.
pub(super) const LEEWAY: u64 = 60;

/// The requirements on a token.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// The required `iss`, byte for byte.
    pub issuer: String,
    /// The required `aud`: this text, or a list of this text alone.
    pub audience: String,
    /// The tenants of the issuer whose tokens are accepted.
    pub tenants: Tenants,
    /// The accepted signature algorithms. Only the config determines them, never the token.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the caller.
    pub subject_claim: ClaimPath,
    /// The claim that lists groups.
    pub groups_claim: Option<ClaimPath>,
    /// The scopes that every token is granted; `None` if the `scope` of the token applies.
    pub scopes: Option<Vec<String>>,
    /// The time from its `iat` for which a token stays valid in what the gate seals; zero if it
    /// ends with its `exp` there too.
    pub session: Duration,
}

/// The tenants whose tokens are accepted. Anyone can get a token from a shared issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// All tenants.
    Any,
    /// The tenants whose tokens have all of these claims.
    Required(Vec<RequiredClaim>),
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// The place of the claim.
    pub path: ClaimPath,
    /// The patterns of its values; one of them must match.
    pub allowed: Vec<ClaimPattern>,
}

impl RequiredClaim {
    /// Returns whether the claims have this one with an allowed value.
    fn is_in(&self, claims: &Map<String, Value>) -> bool {
        self.path
            .text(claims)
            .is_some_and(|value| self.allowed.iter().any(|pattern| pattern.matches(&value)))
    }
}

/// The description of the caller in the claims.
#[derive(Debug, PartialEq, Eq)]
pub struct Workload {
    /// The name of the caller, never empty.
    pub subject: String,
    /// The groups in `groups_claim`.
    pub groups: Vec<String>,
    /// The scopes in `scope`; `None` if the config sets the same scopes for all tokens.
    pub scopes: Option<Vec<String>>,
    /// The `iat`, Unix time in seconds; 0 if there is none.
    pub issued: u64,
    /// The `exp`, Unix time in seconds.
    pub expires: u64,
    /// The time to which the token stays valid in what the gate seals, Unix time in seconds: the
    /// later of `exp` and the end of its session. `None` if it has no session.
    pub session_ends: Option<u64>,
    /// The oddities of the claims.
    pub odd: Oddities,
}

impl TokenRules {
    /// Returns whether the claims name this issuer.
    pub fn is_of_issuer(&self, claims: &Map<String, Value>) -> bool {
        claims.get("iss").is_some_and(|issuer| *issuer == self.issuer)
    }

    /// Checks the claims at the time `now`, Unix time in seconds. The signature must be checked in
    /// addition. `in_session`: the gate did so when it sealed the token, which now lives as long as
    /// its session.
    ///
    /// # Errors
    /// [`JwtError`] for the first claim that does not meet the requirements.
    pub fn check(
        &self,
        claims: &Map<String, Value>,
        now: u64,
        in_session: bool,
    ) -> Result<Workload, JwtError> {
        let missing = |name: &dyn ToString| JwtError::Claim(ClaimError::Missing(name.to_string()));
        if !self.is_of_issuer(claims) {
            return Err(JwtError::Issuer);
        }
        let expires = claims::seconds(claims, "exp")?.ok_or_else(|| missing(&"exp"))?;
        let issued = claims::seconds(claims, "iat")?;
        // Only a token that has not ended by itself begins a session.
        let session_ends =
            self.session_ends(issued, expires, now).filter(|_| in_session || expires > now);
        let is_over = match session_ends.filter(|_| in_session) {
            Some(end) => end <= now,
            None => expires.saturating_add(LEEWAY) <= now,
        };
        if is_over {
            return Err(JwtError::Expired);
        }
        if claims::seconds(claims, "nbf")?.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
            return Err(JwtError::NotYetValid);
        }
        // If several audiences were allowed, each of them could present the token here as its own.
        if claims::texts(claims, "aud")?.ok_or_else(|| missing(&"aud"))? != [&*self.audience] {
            return Err(JwtError::Audience);
        }
        if let Tenants::Required(required) = &self.tenants
            && let Some(other) = required.iter().find(|claim| !claim.is_in(claims))
        {
            return Err(JwtError::Tenant(other.path.to_string()));
        }
        let mut odd = Oddities::default();
        let subject = claims::subject_at(claims, &self.subject_claim)?
            .ok_or_else(|| missing(&self.subject_claim))?;
        Ok(Workload {
            subject: subject.into_owned(),
            groups: claims::groups(claims, self.groups_claim.as_ref(), &mut odd),
            scopes: match self.scopes {
                Some(_) => None,
                None => Some(claims::scopes(claims, &mut odd)),
            },
            issued: issued.unwrap_or_default(),
            expires,
            session_ends,
            odd,
        })
    }

    /// Returns the end of the session of a token. A token that does not say when it was issued, or
    /// says a time to come, has none.
    fn session_ends(&self, issued: Option<u64>, expires: u64, now: u64) -> Option<u64> {
        let issued = issued.filter(|issued| *issued <= now.saturating_add(LEEWAY))?;
        let session = Some(self.session.as_secs()).filter(|session| *session > 0)?;
        Some(issued.saturating_add(session).max(expires))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// Checks the claims of an ordinary token with these members added or replaced.
    fn said(members: Value) -> Result<Workload, JwtError> {
        said_in(0, members, false, NOW)
    }

    /// The same with a session of so many seconds, perhaps as part of what was sealed.
    fn said_in(
        session: u64,
        members: Value,
        in_session: bool,
        now: u64,
    ) -> Result<Workload, JwtError> {
        let rules = TokenRules {
            issuer: "https://gitlab.example.com".to_owned(),
            audience: "registry.example.com".to_owned(),
            tenants: Tenants::Any,
            algorithms: vec![Algorithm::ES256],
            subject_claim: "sub".parse().unwrap(),
            groups_claim: None,
            scopes: None,
            session: Duration::from_secs(session),
        };
        let mut claims = json!({
            "iss": rules.issuer,
            "aud": rules.audience,
            "sub": "project_path:demo/app",
            "exp": NOW + 300,
        });
        claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        rules.check(claims.as_object().unwrap(), now, in_session)
    }

    /// The issuer's clock and the gate's may differ by a minute and not by one second more.
    #[test]
    fn exp_and_nbf_allow_one_minute_of_clock_difference() {
        for (members, flaw) in [
            (json!({ "exp": NOW - 59 }), None),
            (json!({ "exp": NOW - 60 }), Some(JwtError::Expired)),
            (json!({ "nbf": NOW + 60 }), None),
            (json!({ "nbf": NOW + 61 }), Some(JwtError::NotYetValid)),
        ] {
            assert_eq!(said(members.clone()).err(), flaw, "{members}");
        }
    }

    #[test]
    fn the_times_of_issue_and_expiry_are_read() {
        let times =
            |members| said(members).map(|workload| (workload.issued, workload.expires)).unwrap();
        assert_eq!(times(json!({ "iat": NOW - 5 })), (NOW - 5, NOW + 300));
        assert_eq!(times(json!({})), (0, NOW + 300));
    }

    #[test]
    fn a_sealed_token_lives_to_the_later_of_exp_and_the_end_of_its_session() {
        let ends = |session, members| {
            said_in(session, members, false, NOW).map(|workload| workload.session_ends).unwrap()
        };
        assert_eq!(ends(600, json!({ "iat": NOW - 5 })), Some(NOW + 595));
        assert_eq!(ends(100, json!({ "iat": NOW - 5 })), Some(NOW + 300), "exp is later");
        assert_eq!(ends(600, json!({ "iat": NOW + 60 })), Some(NOW + 660));
        assert_eq!(ends(0, json!({ "iat": NOW })), None);
        assert_eq!(ends(600, json!({})), None);
        assert_eq!(ends(600, json!({ "iat": null })), None);
        assert_eq!(ends(600, json!({ "iat": NOW + 61 })), None, "issued in time to come");
        assert_eq!(ends(600, json!({ "iat": 1e300 })), None);
        let over = json!({ "iat": NOW - 90, "exp": NOW });
        assert_eq!(ends(600, over.clone()), None, "it has ended, and is good for its leeway alone");
        let sealed = said_in(600, over, true, NOW).unwrap();
        assert_eq!(sealed.session_ends, Some(NOW + 510));
    }

    #[test]
    fn a_session_counts_only_in_what_was_sealed_and_without_leeway() {
        let members = || json!({ "iat": NOW - 100, "exp": NOW });
        for (session, in_session, later, over) in [
            (600, true, 499, false),
            (600, true, 500, true),
            (600, false, 59, false),
            (600, false, 60, true),
            (0, true, 59, false),
            (0, true, 60, true),
        ] {
            let said = said_in(session, members(), in_session, NOW + later);
            let flaw = over.then_some(JwtError::Expired);
            assert_eq!(said.err(), flaw, "{session} {in_session} {later}");
        }
    }
}
