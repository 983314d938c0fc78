//! One public key (RFC 7517, 4), with the algorithms that it is for (RFC 7518, 6; RFC 8037, 2). Pure.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

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
pub struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn read(jwk: &Value) -> Result<Self, String> {
        let Value::Object(jwk) = jwk else { return Err("it is no object".to_owned()) };
        let id = text(jwk, "kid")?.map(str::to_owned);
        if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not sig".to_owned());
        }
        if jwk.get("key_ops").is_some_and(|operations| !lists(operations, "verify")) {
            return Err("its `key_ops` do not list verify".to_owned());
        }
        let (of_type, key) = material(jwk)?;
        let mut algorithms = of_type.to_vec();
        if let Some(name) = text(jwk, "alg")? {
            algorithms.retain(|algorithm| name.parse() == Ok(*algorithm));
        }
        if algorithms.is_empty() {
            return Err("its `alg` is none of its type".to_owned());
        }
        Ok(Self { id, algorithms, key })
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
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }
}

/// The key itself, and the algorithms that keys of its type are for.
fn material(jwk: &Map<String, Value>) -> Result<(&'static [Algorithm], DecodingKey), String> {
    let curve = text(jwk, "crv")?;
    match (text(jwk, "kty")?, curve) {
        (Some("RSA"), _) => Ok((RSA, rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?)),
        (Some("EC"), Some("P-256")) => Ok((&[Algorithm::ES256], point(&bytes(jwk, "x")?, &bytes(jwk, "y")?, 32)?)),
        (Some("EC"), Some("P-384")) => Ok((&[Algorithm::ES384], point(&bytes(jwk, "x")?, &bytes(jwk, "y")?, 48)?)),
        (Some("OKP"), Some("Ed25519")) => match bytes(jwk, "x")? {
            x if x.len() == 32 => Ok((&[Algorithm::EdDSA], DecodingKey::from_ed_der(&x))),
            _ => Err("its `x` has not 32 bytes".to_owned()),
        },
        _ => Err("its type (`kty`, `crv`) is none that signatures are checked with here".to_owned()),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, String> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(zeros..).unwrap_or_default();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("an RSA key of {bits} bits; needed are {} to {} bits", RSA_BITS.start(), RSA_BITS.end()));
    }
    // With 1 a signature would be the message itself; even ones are no exponents.
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    let one = exponent.iter().rev().skip(1).all(|byte| *byte == 0) && exponent.last() == Some(&1);
    if !odd || one || exponent.len() > MAX_EXPONENT_BYTES {
        return Err("its `e` is no public exponent".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// A point of a curve, uncompressed (SEC 1, 2.3.3). Whether it lies on the curve is seen when a signature is checked.
fn point(x: &[u8], y: &[u8], len: usize) -> Result<DecodingKey, String> {
    if x.len() != len || y.len() != len {
        return Err(format!("its `x` and `y` have not {len} bytes each"));
    }
    Ok(DecodingKey::from_ec_der(&[&[4], x, y].concat()))
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = jwk.get(name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| format!("its `{name}` is no text"))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its `{name}` is not base64url"))
}

fn lists(value: &Value, wanted: &str) -> bool {
    value.as_array().is_some_and(|list| list.iter().any(|item| item == wanted))
}
