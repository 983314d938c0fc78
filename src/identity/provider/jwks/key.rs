//! One public key (RFC 7517, 4) and its algorithms (RFC 7518, 6; RFC 8037, 2). This module performs
//! no I/O.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::identity::provider::common::claims;

/// The accepted sizes of RSA keys, in bits. Smaller keys can be broken. Larger keys cost a caller
/// little and the gate much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The largest length of an RSA exponent, in bytes. Exponents usually have three bytes, and longer
/// ones would make signature checks slow.
const MAX_EXPONENT_BYTES: usize = 8;

const RSA: &[Algorithm] = {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    &[RS256, RS384, RS512, PS256, PS384, PS512]
};

/// A key for checking signatures.
#[derive(Debug)]
pub struct PublicKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    /// The numbers that make up the key. Two entries with the same numbers are one key.
    numbers: Vec<Vec<u8>>,
    key: DecodingKey,
}

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// The reason why the key cannot be used.
    pub(super) fn read(jwk: &Value) -> Result<Self, String> {
        let Value::Object(jwk) = jwk else {
            return Err(format!("it is {}, not an object", claims::shape(jwk)));
        };
        let id = text(jwk, "kid")?.map(str::to_owned);
        if text(jwk, "use")?.is_some_and(|usage| !matches!(usage, "sig" | "")) {
            return Err("its `use` is not sig".to_owned());
        }
        // Issuers write an empty list if they do not restrict the operations.
        let is_meant = |value: &&Value| {
            !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
        };
        let operations = jwk.get("key_ops").filter(is_meant);
        if operations.is_some_and(|operations| !lists(operations, "verify")) {
            return Err("its `key_ops` do not list verify".to_owned());
        }
        let Material { mut algorithms, numbers, key } = Material::read(jwk)?;
        if let Some(named) = algorithm_names(jwk)? {
            algorithms.retain(|algorithm| named.iter().any(|name| name.parse() == Ok(*algorithm)));
        }
        if algorithms.is_empty() {
            return Err("its `alg` does not fit its key type".to_owned());
        }
        Ok(Self { id, algorithms, numbers, key })
    }

    /// Returns whether another entry contains the same key, even if its name and its algorithms
    /// differ.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }

    /// Adds the algorithms of another entry with the same key and name.
    pub(super) fn add_algorithms_of(&mut self, other: &Self) {
        self.algorithms.extend(
            other
                .algorithms
                .iter()
                .filter(|it| !self.algorithms.contains(it))
                .copied()
                .collect::<Vec<_>>(),
        );
    }

    /// Returns the name of the key, `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns whether the key may check signatures of this algorithm.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Returns whether `signature` (base64url) is this key's signature of `signed`.
    pub fn has_signed(&self, signed: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.is_for(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm)
                .unwrap_or(false)
    }
}

/// The key itself, and the algorithms of its key type.
struct Material {
    algorithms: Vec<Algorithm>,
    numbers: Vec<Vec<u8>>,
    key: DecodingKey,
}

impl Material {
    fn read(jwk: &Map<String, Value>) -> Result<Self, String> {
        let point = |algorithm, len| {
            let numbers = vec![coordinate(jwk, "x", len)?, coordinate(jwk, "y", len)?];
            let key = point(&numbers);
            Ok(Self { algorithms: vec![algorithm], numbers, key })
        };
        match (text(jwk, "kty")?, text(jwk, "crv")?) {
            (Some("RSA"), _) => {
                let (modulus, exponent) =
                    (without_zeros(bytes(jwk, "n")?), without_zeros(bytes(jwk, "e")?));
                let key = rsa(&modulus, &exponent)?;
                Ok(Self { algorithms: RSA.to_vec(), numbers: vec![modulus, exponent], key })
            }
            (Some("EC"), Some("P-256")) => point(Algorithm::ES256, 32),
            (Some("EC"), Some("P-384")) => point(Algorithm::ES384, 48),
            (Some("OKP"), Some("Ed25519")) => match bytes(jwk, "x")? {
                x if x.len() == 32 => {
                    let key = DecodingKey::from_ed_der(&x);
                    Ok(Self { algorithms: vec![Algorithm::EdDSA], numbers: vec![x], key })
                }
                _ => Err("its `x` does not have 32 bytes".to_owned()),
            },
            _ => Err("its type (`kty`, `crv`) is not supported for signatures".to_owned()),
        }
    }
}

/// Removes leading zero bytes: some issuers write the sign byte of DER before a modulus.
fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// Returns the names in `alg`: one name, or the list that some issuers write; `None` if there is no
/// name.
fn algorithm_names(jwk: &Map<String, Value>) -> Result<Option<Vec<&str>>, String> {
    match jwk.get("alg") {
        Some(Value::Array(names)) => Ok(Some(names.iter().filter_map(Value::as_str).collect())),
        _ => Ok(text(jwk, "alg")?.filter(|name| !name.is_empty()).map(|name| vec![name])),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, String> {
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "an RSA key of {bits} bits; it must have {} to {} bits",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    // With an exponent of 1, the signature would be the message itself. Even numbers are not valid
    // exponents.
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    let one = exponent.iter().rev().skip(1).all(|byte| *byte == 0) && exponent.last() == Some(&1);
    if !odd || one || exponent.len() > MAX_EXPONENT_BYTES {
        return Err("its `e` is not a valid public exponent".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// Returns a coordinate of `len` bytes. Some issuers leave out leading zero bytes (one key in 256
/// has one), or write the sign byte of DER.
fn coordinate(jwk: &Map<String, Value>, name: &str, len: usize) -> Result<Vec<u8>, String> {
    let number = without_zeros(bytes(jwk, name)?);
    match len.checked_sub(number.len()) {
        // Issuers do not leave out more bytes. A shorter number belongs to another curve or is not
        // a key.
        Some(missing) if missing <= 2 => Ok([vec![0; missing], number].concat()),
        _ => Err(format!("its `{name}` does not have {len} bytes")),
    }
}

/// Returns an uncompressed point of a curve (SEC 1, 2.3.3). Only the check of a signature shows
/// whether the point lies on the curve.
fn point(coordinates: &[Vec<u8>]) -> DecodingKey {
    let mut point = vec![4];
    point.extend(coordinates.iter().flatten());
    DecodingKey::from_ec_der(&point)
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    claims::text(jwk, name).map_err(|error| error.to_string())
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))?;
    // Some issuers add padding or use the other alphabet (RFC 4648, 4).
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its `{name}` is not base64url"))
}

fn lists(value: &Value, wanted: &str) -> bool {
    value == wanted || value.as_array().is_some_and(|list| list.iter().any(|item| item == wanted))
}
