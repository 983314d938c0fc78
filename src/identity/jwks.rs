//! The public keys of an issuer: a JSON Web Key Set (RFC 7517, 5). Pure, but for [`live`].

mod key;
pub mod live;

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value;

pub use key::Key;

use super::strict_json::{self, StrictJsonError};

/// A larger text is no key set. Sets have two to ten keys of 1 to 4 KiB.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// A set with more keys is no key set.
const MAX_KEYS: usize = 100;

/// The usable keys of an issuer: at least one, each with a name of its own or none.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    unused: Vec<String>,
}

/// Which key a token names.
#[derive(Clone, Debug)]
pub enum KeyMatch {
    /// This one.
    Key(Arc<Key>),
    /// One that is not in the set: it may be new.
    UnknownId,
    /// None: its key is for other algorithms, or it names no key and not exactly one would do.
    Unfit,
}

/// Why a text is no key set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("{0} bytes; a key set has at most {MAX_JWKS_BYTES}")]
    TooLarge(usize),
    #[error("it is HTML or XML, not a JSON Web Key Set")]
    Markup,
    #[error("it is not a JSON Web Key Set: {0}")]
    Json(#[from] StrictJsonError),
    #[error("it is not a JSON Web Key Set: there is no list `keys`")]
    NoKeys,
    #[error("{0} keys; a key set has at most {MAX_KEYS}")]
    TooManyKeys(usize),
    #[error("two keys have the kid {0:?}; each must have one of its own")]
    SameId(String),
    #[error("no key can be used{}; needed is a public RSA, EC (P-256, P-384) or Ed25519 key for signatures", listed(.0))]
    NoUsableKey(Vec<String>),
}

impl KeySet {
    /// Reads a set. Keys of another kind or use, or that are too weak or too large, are left out, so that what an
    /// issuer adds for others does not take away the rest; see [`unused`](Self::unused).
    ///
    /// # Errors
    /// What is no key set, has two usable keys of one name, or no usable key.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge(text.len()));
        }
        if text.trim_ascii_start().starts_with(b"<") {
            return Err(JwksError::Markup);
        }
        let mut set = strict_json::object(text)?;
        let Some(Value::Array(entries)) = set.remove("keys") else { return Err(JwksError::NoKeys) };
        if entries.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys(entries.len()));
        }
        let (mut keys, mut unused) = (Vec::<Arc<Key>>::new(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            match Key::read(entry) {
                Ok(key) => {
                    if let Some(id) = key.id().filter(|id| keys.iter().any(|other| other.id() == Some(id))) {
                        return Err(JwksError::SameId(id.to_owned()));
                    }
                    keys.push(Arc::new(key));
                }
                Err(why) => unused.push(format!("key {}: {why}", place + 1)),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(unused));
        }
        Ok(Self { keys, unused })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set has at least one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are left out, and why.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// The key for a token whose header has this `kid` and `alg`. Without a `kid`, the one key that is for `alg`.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> KeyMatch {
        let fits = |key: &&Arc<Key>| key.is_for(algorithm);
        let found = match id {
            Some(id) => match self.keys.iter().find(|key| key.id() == Some(id)) {
                None => return KeyMatch::UnknownId,
                key => key.filter(fits),
            },
            None => {
                let mut fitting = self.keys.iter().filter(fits);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        };
        found.map_or(KeyMatch::Unfit, |key| KeyMatch::Key(key.clone()))
    }
}

fn listed(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::identity::jwt::signing::{SigningKey, rsa};

    fn set(keys: &[Value]) -> Result<KeySet, JwksError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn message(text: impl AsRef<[u8]>) -> String {
        KeySet::parse(text.as_ref()).unwrap_err().to_string()
    }

    /// The JWK of a new P-256 key, with these members over its own.
    fn key(members: Value) -> Value {
        let mut key = SigningKey::p256().jwk("one");
        key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        key
    }

    fn is_for(key: &Value) -> Vec<Algorithm> {
        use Algorithm::*;
        let Ok(set) = set(std::slice::from_ref(key)) else { return Vec::new() };
        let all = [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
        all.into_iter().filter(|algorithm| matches!(set.find(None, *algorithm), KeyMatch::Key(_))).collect()
    }

    #[test]
    fn a_key_is_for_the_algorithms_of_its_type() {
        use Algorithm::*;
        assert_eq!(is_for(&rsa().jwk("one")), [RS256, RS384, RS512, PS256, PS384, PS512]);
        assert_eq!(is_for(&SigningKey::p256().jwk("one")), [ES256]);
        assert_eq!(is_for(&SigningKey::p384().jwk("one")), [ES384]);
        assert_eq!(is_for(&SigningKey::ed25519().jwk("one")), [EdDSA]);
    }

    #[test]
    fn a_key_that_names_its_algorithm_is_for_no_other() {
        let mut key = rsa().jwk("one");
        key["alg"] = json!("PS256");
        assert_eq!(is_for(&key), [Algorithm::PS256]);
        for alg in [json!("ES256"), json!("HS256"), json!("none"), json!("RSA-OAEP"), json!(5)] {
            key["alg"] = alg;
            assert!(is_for(&key).is_empty(), "{}", key["alg"]);
        }
    }

    #[test]
    fn what_is_not_for_signatures_is_left_out() {
        let good = key(json!({ "kid": "good" }));
        for other in [
            json!({ "kty": "oct", "kid": "x", "k": "c2VjcmV0" }),
            json!({ "kty": "AKP", "kid": "x", "alg": "ML-DSA-44", "pub": "AAAA" }),
            json!({ "kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA" }),
            json!({ "kid": "x" }),
            json!("x"),
            key(json!({ "use": "enc" })),
            key(json!({ "use": 5 })),
            key(json!({ "key_ops": ["sign"] })),
            key(json!({ "key_ops": "verify" })),
            key(json!({ "crv": "P-521" })),
            key(json!({ "crv": "P-384" })),
            key(json!({ "x": "AAAA" })),
            key(json!({ "y": "!" })),
            key(json!({ "kid": 5 })),
        ] {
            let set = set(&[other.clone(), good.clone()]).unwrap();
            assert_eq!((set.len(), set.unused().len()), (1, 1), "{other}");
            assert!(matches!(set.find(Some("good"), Algorithm::ES256), KeyMatch::Key(_)));
            assert!(message(json!({ "keys": [other] }).to_string()).contains("no key can be used (key 1: "));
        }
        assert_eq!(
            is_for(&key(json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5c": ["AAAA"] }))).len(),
            1
        );
    }

    #[test]
    fn rsa_keys_have_2048_to_8192_bits_and_a_sane_exponent() {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let of = |first: u8, bytes: usize, exponent: &[u8]| {
            let mut modulus = vec![0xff; bytes];
            modulus[0] = first;
            set(&[json!({ "kty": "RSA", "n": encode(&modulus), "e": encode(exponent) })]).map(|set| set.len())
        };
        let e = [1, 0, 1];
        for (first, bytes) in [(0x80, 256), (0x80, 512), (0xff, 1024)] {
            assert_eq!(of(first, bytes, &e).unwrap(), 1);
        }
        // Some issuers write the sign byte of DER before the modulus.
        assert_eq!(of(0, 257, &e).unwrap(), 1);
        for (first, bytes) in [(0x7f, 256), (0xff, 128), (0, 256), (0x01, 1025), (0xff, 2048)] {
            assert!(of(first, bytes, &e).unwrap_err().to_string().contains("2048 to 8192 bits"), "{bytes}");
        }
        for exponent in [&[][..], &[0], &[1], &[2], &[1; 9]] {
            assert!(of(0x80, 256, exponent).is_err(), "{exponent:?}");
        }
    }

    #[test]
    fn a_set_is_a_json_object_with_a_list_of_keys() {
        for text in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [], "keys": []}"#, "keys"] {
            assert!(message(text).contains("not a JSON Web Key Set"), "{text}: {}", message(text));
        }
        assert!(message("\n <!DOCTYPE html><html>").contains("HTML"));
        assert!(message(vec![b' '; 1024 * 1024]).contains("1048576 bytes"));
        assert!(message(r#"{"keys": []}"#).contains("no key can be used"));
        assert!(message(json!({ "keys": vec![1; 101] }).to_string()).contains("101 keys"));
        let twice = json!({ "keys": [key(json!({}))] }).to_string().replace("\"kty\"", "\"kid\":\"two\",\"kty\"");
        assert!(message(twice).contains("twice"));
    }

    #[test]
    fn two_keys_of_one_name_are_refused() {
        let (one, two) = (SigningKey::p256().jwk("one"), SigningKey::p256().jwk("one"));
        assert!(matches!(set(&[one.clone(), two]), Err(JwksError::SameId(id)) if id == "one"));
        assert!(matches!(set(&[one.clone(), rsa().jwk("one")]), Err(JwksError::SameId(_))));
        // A key that is never used makes nothing ambiguous.
        assert_eq!(set(&[one, key(json!({ "use": "enc" }))]).unwrap().len(), 1);
    }

    #[test]
    fn without_a_name_only_the_one_key_that_fits_is_found() {
        let mut nameless = SigningKey::p256().jwk("");
        nameless.as_object_mut().unwrap().remove("kid");
        let one = set(&[nameless.clone(), rsa().jwk("two")]).unwrap();
        assert!(matches!(one.find(None, Algorithm::ES256), KeyMatch::Key(_)));
        assert!(matches!(one.find(None, Algorithm::ES384), KeyMatch::Unfit));
        assert!(matches!(one.find(Some("two"), Algorithm::ES256), KeyMatch::Unfit));
        assert!(matches!(one.find(Some("three"), Algorithm::ES256), KeyMatch::UnknownId));
        assert!(matches!(one.find(Some(""), Algorithm::ES256), KeyMatch::UnknownId));
        let two = set(&[nameless, SigningKey::p256().jwk("three")]).unwrap();
        assert!(matches!(two.find(None, Algorithm::ES256), KeyMatch::Unfit));
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>) {
            let _ = KeySet::parse(&text);
        }

        #[test]
        fn never_panics_on_any_members(kty in "RSA|EC|OKP", crv in "P-256|Ed25519", x in "[A-Za-z0-9_-]{0,90}", y in "[A-Za-z0-9_-]{0,45}") {
            let _ = set(&[json!({ "kty": kty, "crv": crv, "x": x, "y": y, "n": x, "e": y })]);
        }
    }
}
