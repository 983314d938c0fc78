//! The keys that stand-ins sign tokens with: JWS in compact form (RFC 7515), RS256 and ES256 (RFC
//! 7518).

#[cfg(test)]
mod for_tests;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaEncoding,
    RsaKeyPair,
};
#[cfg(test)]
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::claims::insert;
use super::ledger::lock;

/// A private key, and the key ID of its public part.
pub(crate) struct SigningKey {
    pair: Pair,
    kid: String,
}

enum Pair {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    #[cfg(test)]
    Es384(EcdsaKeyPair),
    #[cfg(test)]
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Returns RSA key number `number` of this process. All stand-ins share these keys, because
    /// creating one takes longer than everything else that a test does.
    pub(crate) fn rsa(number: usize) -> io::Result<Arc<Self>> {
        static MADE: Mutex<Vec<Arc<SigningKey>>> = Mutex::new(Vec::new());
        let mut made = lock(&MADE);
        loop {
            if let Some(key) = made.get(number) {
                return Ok(Arc::clone(key));
            }
            let pair = RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(|_| failed("no RSA key could be created"))?;
            made.push(Arc::new(Self::new(Pair::Rs256(pair))?));
        }
    }

    /// Creates a key on the curve P-256.
    pub(crate) fn es256() -> io::Result<Arc<Self>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Arc::new(Self::new(Pair::Es256(
            pair.map_err(|_| failed("no EC key could be created"))?,
        ))?))
    }

    fn new(pair: Pair) -> io::Result<Self> {
        let kid = libtrust_kid(pair.public()?.as_ref());
        Ok(Self { pair, kid })
    }

    /// Returns the key ID, as it appears in the header of a token and in a JWK set.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the public part as a member of a JWK set (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = self.pair.public_members();
        for (name, value) in [("kid", &*self.kid), ("use", "sig"), ("alg", self.pair.algorithm())] {
            insert(&mut jwk, name, value.into());
        }
        jwk
    }

    /// Returns a self-signed certificate of an RSA key, in PEM. Distribution 2 takes the keys that
    /// it trusts in this form.
    pub(super) fn certificate(&self) -> io::Result<String> {
        let Pair::Rs256(pair) = &self.pair else {
            return Err(failed("a certificate can be created for an RSA key only"));
        };
        let private: Pkcs8V1Der<'_> =
            pair.as_der().map_err(|_| failed("the key cannot be exported"))?;
        let pair = rcgen::KeyPair::try_from(private.as_ref());
        let certificate =
            pair.and_then(|pair| rcgen::CertificateParams::default().self_signed(&pair));
        Ok(certificate.map_err(io::Error::other)?.pem())
    }

    /// Creates a token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> io::Result<String> {
        let header = json!({ "typ": "JWT", "alg": self.pair.algorithm(), "kid": self.kid });
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Creates a token with these texts as header and claims, valid or not.
    ///
    /// jsonwebtoken is not used for signing, because it takes RSA keys as PKCS#1 while aws-lc-rs
    /// writes them as PKCS#8.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> io::Result<String> {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&RSA_PKCS1_SHA256, message.as_bytes());
        let signature = signature.map_err(|_| failed("the token could not be signed"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Pair {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            #[cfg(test)]
            Self::Es384(_) => "ES384",
            #[cfg(test)]
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// Returns the members of the JWK that describe the public part.
    fn public_members(&self) -> Value {
        match self {
            Self::Rs256(pair) => {
                let public = pair.public_key();
                let [n, e] = [public.modulus(), public.exponent()]
                    .map(|number| URL_SAFE_NO_PAD.encode(number.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Self::Es256(pair) => elliptic("P-256", pair),
            #[cfg(test)]
            Self::Es384(pair) => elliptic("P-384", pair),
            #[cfg(test)]
            Self::Ed25519(pair) => {
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
        }
    }

    /// Signs a message. `rsa` is the padding that an RSA key uses.
    fn sign(
        &self,
        rsa: &'static dyn RsaEncoding,
        message: &[u8],
    ) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa, &random, message, &mut signature)?;
                Ok(signature)
            }
            Self::Es256(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            #[cfg(test)]
            Self::Es384(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            #[cfg(test)]
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn public(&self) -> io::Result<PublicKeyX509Der<'static>> {
        let public = match self {
            Self::Rs256(pair) => pair.public_key().as_der(),
            Self::Es256(pair) => pair.public_key().as_der(),
            #[cfg(test)]
            Self::Es384(pair) => pair.public_key().as_der(),
            #[cfg(test)]
            Self::Ed25519(pair) => pair.public_key().as_der(),
        };
        public.map_err(|_| failed("the key has no public part"))
    }
}

/// Returns the members of the JWK of a key on an elliptic curve.
fn elliptic(curve: &str, pair: &EcdsaKeyPair) -> Value {
    // The bytes are 4, x, y: an uncompressed point (SEC 1, section 2.3.3).
    let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    json!({ "kty": "EC", "crv": curve, "x": x, "y": y })
}

fn failed(why: &str) -> io::Error {
    io::Error::other(why)
}

/// Returns the key ID in the format of libtrust, which GitLab and Distribution use too: the first
/// 240 bits of the SHA-256 of the public key, in base32, with a colon after every fourth character.
fn libtrust_kid(public: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public);
    let groups = hash.as_ref().chunks_exact(5).map(base32_group);
    let letters: Vec<char> = groups.flatten().collect();
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(":")
}

/// Encodes five bytes as eight base32 characters (RFC 4648, section 6).
fn base32_group(bytes: &[u8]) -> [char; 8] {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    std::array::from_fn(|index| match (number >> (35 - 5 * index) & 31) as u8 {
        letter @ 0..26 => char::from(b'A' + letter),
        digit => char::from(b'2' + digit - 26),
    })
}
