//! What the config asks of a workload token's claims (RFC 7519, 4.1). Pure.

use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::JwtError;
use crate::identity::provider::common::claims::{self, ClaimError, Oddities};

/// How far the issuer's clock may be from ours. Seconds.
pub(super) const LEEWAY: u64 = 60;

/// What a token must be.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `iss`, byte for byte.
    pub issuer: String,
    /// `aud`: this, or a list of this alone.
    pub audience: String,
    /// Whose tokens of the issuer are good.
    pub tenants: Tenants,
    /// How it may be signed. Only the config says so, never the token.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the caller.
    pub subject_claim: String,
    /// The claim that lists groups.
    pub groups_claim: Option<String>,
    /// What every token is granted; `None`: what its own `scope` says.
    pub scopes: Option<Vec<String>>,
}

/// Whose tokens are good. Of a shared issuer anybody can get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Everybody's.
    Any,
    /// Those with every one of these claims, each one of the texts listed.
    Required(BTreeMap<String, Vec<String>>),
}

/// What the claims say of the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Workload {
    /// Never empty.
    pub subject: String,
    /// What `groups_claim` lists.
    pub groups: Vec<String>,
    /// What its `scope` says; `None` where the config says it for all.
    pub scopes: Option<Vec<String>>,
    /// `iat`, Unix time in seconds; 0 where there is none.
    pub issued: u64,
    /// `exp`, Unix time in seconds.
    pub expires: u64,
    /// What was odd about the claims.
    pub odd: Oddities,
}

impl Rules {
    /// Whether the claims name this issuer.
    pub fn is_of_issuer(&self, claims: &Map<String, Value>) -> bool {
        claims.get("iss").is_some_and(|issuer| *issuer == self.issuer)
    }

    /// Judges the claims at the time `now`, Unix time in seconds. Who made them must be checked
    /// besides.
    ///
    /// # Errors
    /// The first claim that is not as it must be.
    pub fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<Workload, JwtError> {
        let missing = |name: &str| JwtError::Claim(ClaimError::Missing(name.to_owned()));
        if !self.is_of_issuer(claims) {
            return Err(JwtError::Issuer);
        }
        let expires = claims::seconds(claims, "exp")?.ok_or_else(|| missing("exp"))?;
        if expires.saturating_add(LEEWAY) <= now {
            return Err(JwtError::Expired);
        }
        if claims::seconds(claims, "nbf")?.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
            return Err(JwtError::NotYetValid);
        }
        let issued = claims::seconds(claims, "iat")?.unwrap_or_default();
        // Of several audiences each could present the token here as its own.
        if claims::texts(claims, "aud")?.ok_or_else(|| missing("aud"))? != [&*self.audience] {
            return Err(JwtError::Audience);
        }
        if let Tenants::Required(required) = &self.tenants {
            let is = |(name, texts): &(&String, &Vec<String>)| {
                // Text alone: which number or list would equal a text is a question that must not
                // come up.
                claims
                    .get(*name)
                    .and_then(Value::as_str)
                    .is_some_and(|claim| texts.iter().any(|text| text == claim))
            };
            if let Some((name, _)) = required.iter().find(|claim| !is(claim)) {
                return Err(JwtError::Tenant(name.clone()));
            }
        }
        let mut odd = Oddities::default();
        let subject = claims::subject(claims, &self.subject_claim)?
            .ok_or_else(|| missing(&self.subject_claim))?;
        Ok(Workload {
            subject: subject.to_owned(),
            groups: claims::groups(claims, self.groups_claim.as_deref(), &mut odd),
            scopes: match self.scopes {
                Some(_) => None,
                None => Some(claims::scopes(claims, &mut odd)),
            },
            issued,
            expires,
            odd,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// What becomes of the claims of an ordinary token with these over them.
    fn said(members: Value) -> Result<Workload, JwtError> {
        let rules = Rules {
            issuer: "https://gitlab.example.com".to_owned(),
            audience: "registry.example.com".to_owned(),
            tenants: Tenants::Any,
            algorithms: vec![Algorithm::ES256],
            subject_claim: "sub".to_owned(),
            groups_claim: None,
            scopes: None,
        };
        let mut claims = json!({ "iss": rules.issuer, "aud": rules.audience, "sub": "project_path:demo/app", "exp": NOW + 300 });
        claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        rules.check(claims.as_object().unwrap(), NOW)
    }

    /// The issuer's clock and ours may differ by a minute, and by no second more.
    #[test]
    fn a_token_holds_to_the_second() {
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
    fn when_it_was_made_and_when_it_ends() {
        let times =
            |members| said(members).map(|workload| (workload.issued, workload.expires)).unwrap();
        assert_eq!(times(json!({ "iat": NOW - 5 })), (NOW - 5, NOW + 300));
        assert_eq!(times(json!({})), (0, NOW + 300));
    }
}
