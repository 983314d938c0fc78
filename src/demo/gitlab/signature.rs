//! The tokens that GitLab signs (JWT, RS256).

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::grant::Grant;
use crate::demo::ledger::lock;
use crate::demo::web;

/// Who signs.
const ISSUER: &str = "omnibus-gitlab-issuer";

/// How long a token lives, in seconds: GitLab's default.
const LIFETIME: u64 = 300;

/// The life of the token inside the token, in seconds.
const USER_LIFETIME: u64 = 60;

/// How far `nbf` lies in the past, in seconds, for clocks that differ.
const NOT_BEFORE_MARGIN: u64 = 5;

/// A signing key.
pub(super) struct Issuer {
    key: RsaKeyPair,
    /// The header of every token, encoded.
    header: String,
}

impl Issuer {
    /// The issuer of this process: making a key takes longer than all else that a test does.
    pub(super) fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Option<Arc<Issuer>>> = Mutex::new(None);
        let mut shared = lock(&SHARED);
        let issuer = match shared.take() {
            Some(issuer) => issuer,
            None => Arc::new(Self::new()?),
        };
        *shared = Some(Arc::clone(&issuer));
        Ok(issuer)
    }

    fn new() -> io::Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("no RSA key could be made"))?;
        let kid = libtrust_kid(&key)?;
        let header = encode(&json!({ "typ": "JWT", "alg": "RS256", "kid": kid }));
        Ok(Self { key, header })
    }

    /// The token that says what was granted.
    pub(super) fn token(&self, audience: &str, grant: &Grant) -> io::Result<String> {
        let mut claims = self.claims(LIFETIME)?;
        insert(&mut claims, "iss", json!(ISSUER));
        insert(&mut claims, "aud", json!(audience));
        if let Some(subject) = &grant.subject {
            insert(&mut claims, "sub", json!(subject));
        }
        insert(&mut claims, "auth_type", json!(grant.auth_type));
        insert(&mut claims, "access", json!(grant.access));
        insert(&mut claims, "user", json!(self.user(grant)?));
        self.sign(&claims)
    }

    /// The claim `user` is a token of its own. Of a deploy token it is the only place that says which.
    fn user(&self, grant: &Grant) -> io::Result<String> {
        let mut claims = self.claims(USER_LIFETIME)?;
        let info = match (&grant.subject, grant.deploy_token_id) {
            (Some(subject), _) => json!({ "token_type": grant.auth_type, "username": subject }),
            (None, Some(id)) => json!({ "token_type": grant.auth_type, "deploy_token_id": id }),
            (None, None) => Value::Null,
        };
        insert(&mut claims, "user_info", info);
        self.sign(&claims)
    }

    fn claims(&self, lifetime: u64) -> io::Result<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
        Ok(json!({ "jti": web::uuid()?, "iat": now, "nbf": now - NOT_BEFORE_MARGIN, "exp": now + lifetime }))
    }

    /// Signed here and not with jsonwebtoken, which takes RSA keys as PKCS#1 while aws-lc-rs writes them as PKCS#8.
    fn sign(&self, claims: &Value) -> io::Result<String> {
        let message = format!("{}.{}", self.header, encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| io::Error::other("the token could not be signed"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn insert(claims: &mut Value, name: &str, value: Value) {
    if let Value::Object(claims) = claims {
        claims.insert(name.into(), value);
    }
}

/// The name of a key as libtrust has it, and GitLab and Distribution with it: the first 240 bits of the SHA-256 of the
/// public key, in base32, a colon after every fourth character.
fn libtrust_kid(key: &RsaKeyPair) -> io::Result<String> {
    let public: PublicKeyX509Der<'_> =
        key.public_key().as_der().map_err(|_| io::Error::other("the key has no public part"))?;
    let hash = digest::digest(&digest::SHA256, public.as_ref());
    let groups = hash.as_ref().chunks_exact(5).map(base32_group);
    let letters: Vec<char> = groups.flatten().collect();
    Ok(letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(":"))
}

/// Five bytes are eight letters (RFC 4648, section 6).
fn base32_group(bytes: &[u8]) -> [char; 8] {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    std::array::from_fn(|index| match (number >> (35 - 5 * index) & 31) as u8 {
        letter @ 0..26 => char::from(b'A' + letter),
        digit => char::from(b'2' + digit - 26),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    fn grant(subject: Option<&str>, deploy_token_id: Option<usize>) -> Grant {
        Grant { auth_type: "build", subject: subject.map(str::to_owned), deploy_token_id, access: Vec::new() }
    }

    fn read(issuer: &Issuer, token: &str, audience: Option<&str>) -> (jsonwebtoken::Header, Value) {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_nbf = true;
        validation.required_spec_claims = HashSet::from(["exp".to_owned()]);
        match audience {
            Some(audience) => validation.set_audience(&[audience]),
            None => validation.validate_aud = false,
        }
        let key = DecodingKey::from_rsa_der(issuer.key.public_key().as_ref());
        let token = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
        (token.header, token.claims)
    }

    #[test]
    fn a_token_is_what_gitlab_signs() {
        let issuer = Issuer::new().unwrap();
        let token = issuer.token("container_registry", &grant(Some("alice"), None)).unwrap();
        let (header, claims) = read(&issuer, &token, Some("container_registry"));

        let kid = header.kid.unwrap();
        assert_eq!(kid.split(':').map(str::len).collect::<Vec<_>>(), [4; 12]);
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["auth_type"], "build");
        assert_eq!(claims["access"], json!([]));
        assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 300);
        assert_eq!(claims["nbf"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() - 5);
        let (_, user) = read(&issuer, claims["user"].as_str().unwrap(), None);
        assert_eq!(user["user_info"], json!({ "token_type": "build", "username": "alice" }));
    }

    #[test]
    fn a_deploy_token_has_no_subject_but_a_number() {
        let issuer = Issuer::new().unwrap();
        let token = issuer.token("container_registry", &grant(None, Some(4))).unwrap();
        let (_, claims) = read(&issuer, &token, Some("container_registry"));
        assert!(claims.get("sub").is_none());
        let (_, user) = read(&issuer, claims["user"].as_str().unwrap(), None);
        assert_eq!(user["user_info"]["deploy_token_id"], 4);
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        assert_eq!(String::from_iter(base32_group(b"fooba")), "MZXW6YTB");
        assert_eq!(String::from_iter(base32_group(&[0xff; 5])), "77777777");
    }
}
