//! Signature algorithms of JSON Web Tokens, by their names in RFC 7518, section 3.1, and RFC 8037.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm;

use crate::config::problem::shown;

/// An asymmetric algorithm: the key that verifies a signature cannot create one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct JwtAlgorithm(pub(in crate::config) Algorithm);

const KNOWN: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

impl FromStr for JwtAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, algorithm)) = KNOWN.into_iter().find(|(name, _)| *name == text) {
            return Ok(Self(algorithm));
        }
        let upper = text.to_ascii_uppercase();
        let what = if upper == "NONE" {
            "would accept tokens without a signature, which any client can forge"
        } else if upper.starts_with("HS") {
            "uses a shared secret, so any party that can verify a token can also forge one; with \
             this algorithm, a client could even use the issuer's public key as the secret"
        } else {
            "is not a known algorithm"
        };
        let known = KNOWN.map(|(name, _)| name).join(", ");
        Err(format!("`{}` {what}; write one of {known}", shown(text)))
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            KNOWN
                .into_iter()
                .find(|(_, algorithm)| *algorithm == self.0)
                .map_or("", |(name, _)| name),
        )
    }
}
