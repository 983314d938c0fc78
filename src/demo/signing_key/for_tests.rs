//! More kinds of keys and of signatures, which the tests of workload tokens need.

use aws_lc_rs::signature::RSA_PSS_SHA256;

use super::*;

impl SigningKey {
    /// Creates a key on the curve P-384.
    pub(crate) fn es384() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self::new(Pair::Es384(pair)).unwrap()
    }

    /// Creates an Ed25519 key.
    pub(crate) fn ed25519() -> Self {
        Self::new(Pair::Ed25519(Ed25519KeyPair::generate().unwrap())).unwrap()
    }

    /// Returns the public part as an issuer publishes it, with this key ID and no other optional
    /// member.
    pub(crate) fn jwk_named(&self, kid: &str) -> Value {
        let mut jwk = self.pair.public_members();
        insert(&mut jwk, "kid", kid.into());
        jwk
    }

    /// Returns the bytes of the public key.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rs256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Es256(pair) | Pair::Es384(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Returns a token with this header and these claims. The header's `alg` affects the signature
    /// only if it is PS256.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let [header_part, claims_part] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header_part}.{claims_part}");
        match header["alg"] == "PS256" {
            true => self.sign_with(&RSA_PSS_SHA256, &message),
            false => self.sign_message(&message),
        }
    }

    /// Returns a token whose signed part is this text.
    pub(crate) fn sign_message(&self, message: &str) -> String {
        self.sign_with(&RSA_PKCS1_SHA256, message)
    }

    fn sign_with(&self, rsa: &'static dyn RsaEncoding, message: &str) -> String {
        let signature = self.pair.sign(rsa, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
