//! Keys and tokens for tests.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(in crate::identity) enum SigningKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Returns the one RSA key of all tests: creating a key takes longer than everything else in them.
pub(in crate::identity) fn rsa() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(SigningKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())))
        .clone()
}

impl SigningKey {
    pub(in crate::identity) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(in crate::identity) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(in crate::identity) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// Returns the public key as the issuer publishes it.
    pub(in crate::identity) fn jwk(&self, kid: &str) -> Value {
        let (kty, crv) = match self {
            Self::Rsa(key) => {
                // RSAPublicKey in DER: two headers and a sign byte, the modulus, a header and the
                // exponent.
                let der = key.public_key().as_ref();
                return json!({ "kty": "RSA", "kid": kid, "n": encode(&der[9..265]), "e": encode(&der[267..]) });
            }
            Self::P256(_) => ("EC", "P-256"),
            Self::P384(_) => ("EC", "P-384"),
            Self::Ed25519(_) => ("OKP", "Ed25519"),
        };
        let public = self.public();
        let half = public.len() / 2;
        match self {
            Self::Ed25519(_) => json!({ "kty": kty, "crv": crv, "kid": kid, "x": encode(&public) }),
            _ => {
                let (x, y) = (encode(&public[1..=half]), encode(&public[half + 1..]));
                json!({ "kty": kty, "crv": crv, "kid": kid, "x": x, "y": y })
            }
        }
    }

    pub(in crate::identity) fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref().to_vec(),
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }

    /// Returns a token with this header and these claims. The header's `alg` affects the signature
    /// only if it is PS256.
    pub(in crate::identity) fn token(&self, header: &Value, claims: &Value) -> String {
        self.sign(
            &format!("{}.{}", encode(header.to_string()), encode(claims.to_string())),
            header["alg"] == "PS256",
        )
    }

    pub(in crate::identity) fn sign(&self, message: &str, pss: bool) -> String {
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                key.sign(encoding, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", encode(signature))
    }
}

pub(in crate::identity) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
