//! A JWT as sent: three parts with dots between them (RFC 7515, 7.1), decoded and not verified.
//! This module performs no I/O.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::JwtError;
use crate::identity::provider::common::claims;
use crate::strict_json;

/// The largest length of the name of a key, in bytes. Issuers do not use longer names.
const MAX_KEY_ID_BYTES: usize = 256;

/// The accepted values of `typ`, in upper or lower case.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// The parts of a JWT. Nothing in them is verified. They are secret and must never be printed.
pub struct Compact<'a> {
    header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signed text: header and claims as sent.
    pub signed: &'a str,
    /// The signature, in base64url.
    pub signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Reads a token; `None` if the text is not a JWT. An opaque token is already recognized by its
    /// number of dots. The caller bounds the size.
    pub fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object =
            |part: &str| strict_json::object(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self { header: object(header)?, claims: object(claims)?, signed, signature })
    }

    /// Returns the `alg` of the header, if it is one of `allowed`, and the `kid`. Other members
    /// that could name a key (`jwk`, `jku`, `x5u`, `x5c`) are ignored.
    ///
    /// # Errors
    /// [`JwtError`] if the header requires something that the gate does not support or allow.
    pub fn algorithm_and_key_id(
        &self,
        allowed: &[Algorithm],
    ) -> Result<(Algorithm, Option<&str>), JwtError> {
        let text = |name| claims::text(&self.header, name);
        // `crit` lists extensions that a recipient must understand (RFC 7515, 4.1.11). The gate
        // understands none.
        if self.header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        // If `b64` is `false`, the payload is not encoded (RFC 7797).
        if self.header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(JwtError::Unencoded);
        }
        // RFC 9068, 2.1 allows the media type with or without `application/`.
        let is_known = |typ: &str| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if text("typ")?.is_some_and(|typ| !is_known(typ)) {
            return Err(JwtError::Type);
        }
        let algorithm =
            text("alg")?.and_then(|name| name.parse().ok()).filter(|name| allowed.contains(name));
        let key_id = text("kid")?;
        if key_id.is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
            return Err(JwtError::KeyId);
        }
        Ok((algorithm.ok_or(JwtError::Algorithm)?, key_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_has_256_bytes_at_most() {
        let token = |bytes: usize| {
            let header =
                serde_json::json!({ "alg": "ES256", "kid": "k".repeat(bytes) }).to_string();
            format!("{}.e30.c2ln", BASE64_URL_SAFE_NO_PAD.encode(header))
        };
        let key_id = |bytes| {
            let token = token(bytes);
            let read = Compact::read(&token).unwrap();
            read.algorithm_and_key_id(&[Algorithm::ES256]).map(|(_, id)| id.map(str::len))
        };
        assert_eq!(key_id(256), Ok(Some(256)));
        assert_eq!(key_id(257), Err(JwtError::KeyId));
        assert_eq!(key_id(300), Err(JwtError::KeyId));
    }
}
