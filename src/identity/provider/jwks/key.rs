//! One public key (RFC 7517, 4), with the algorithms that it is for (RFC 7518, 6; RFC 8037, 2).
//! Pure.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::identity::provider::common::claims;

/// Smaller ones can be broken; larger ones cost a caller little and the gate much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// RSA exponents have three bytes; more would make checking a signature slow.
const MAX_EXPONENT_BYTES: usize = 8;

const RSA: &[Algorithm] = {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    &[RS256, RS384, RS512, PS256, PS384, PS512]
};

/// A key with which signatures are checked.
#[derive(Debug)]
pub struct PublicKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    /// The numbers that make the key, by which two entries are told to be one key.
    numbers: Vec<Vec<u8>>,
    key: DecodingKey,
}

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn read(jwk: &Value) -> Result<Self, String> {
        let Value::Object(jwk) = jwk else {
            return Err(format!("it is {} and no object", claims::shape(jwk)));
        };
        let id = text(jwk, "kid")?.map(str::to_owned);
        if text(jwk, "use")?.is_some_and(|usage| !matches!(usage, "sig" | "")) {
            return Err("its `use` is not sig".to_owned());
        }
        // An empty list is written where nothing is meant.
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
            return Err("its `alg` is none of its type".to_owned());
        }
        Ok(Self { id, algorithms, numbers, key })
    }

    /// Returns whether another entry is of the same key, whatever both are called and for.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }

    /// Makes the key good for what another entry of the same key and name is for too.
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

    /// Its name, `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether signatures by this algorithm may be checked with it.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is this key's over `signed`.
    pub fn has_signed(&self, signed: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.is_for(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm)
                .unwrap_or(false)
    }
}

/// The key itself, with the algorithms that keys of its type are for.
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
                _ => Err("its `x` has not 32 bytes".to_owned()),
            },
            _ => {
                Err("its type (`kty`, `crv`) is none that signatures are checked with here"
                    .to_owned())
            }
        }
    }
}

/// Some issuers write the sign byte of DER before a modulus.
fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// The names in `alg`: one, or the list that some issuers write. `None` where there is none.
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
            "an RSA key of {bits} bits; needed are {} to {} bits",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    // With 1 a signature would be the message itself; even ones are no exponents.
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    let one = exponent.iter().rev().skip(1).all(|byte| *byte == 0) && exponent.last() == Some(&1);
    if !odd || one || exponent.len() > MAX_EXPONENT_BYTES {
        return Err("its `e` is no public exponent".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// A coordinate of so many bytes. Some issuers leave out the zeros before the number (one key in
/// 256 has one), or write the sign byte of DER.
fn coordinate(jwk: &Map<String, Value>, name: &str, len: usize) -> Result<Vec<u8>, String> {
    let number = without_zeros(bytes(jwk, name)?);
    match len.checked_sub(number.len()) {
        // Nobody leaves out more; shorter ones are of another curve, or no key.
        Some(missing) if missing <= 2 => Ok([vec![0; missing], number].concat()),
        _ => Err(format!("its `{name}` has not {len} bytes")),
    }
}

/// A point of a curve, uncompressed (SEC 1, 2.3.3). Whether it lies on the curve is seen when a
/// signature is checked.
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
    // Some issuers pad it, or write the other alphabet (RFC 4648, 4).
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its `{name}` is not base64url"))
}

fn lists(value: &Value, wanted: &str) -> bool {
    value == wanted || value.as_array().is_some_and(|list| list.iter().any(|item| item == wanted))
}
