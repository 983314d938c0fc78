//! The keys that stand-ins sign tokens with: JWS in compact form (RFC 7515), RS256 and ES256 (RFC
//! 7518).

use std::io;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, Signature,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::claims::insert;
use super::ledger::lock;

/// A private key, and the key ID of its public part.
pub(super) struct SigningKey {
    pair: Pair,
    kid: String,
}

enum Pair {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
}

impl SigningKey {
    /// Returns RSA key number `number` of this process. All stand-ins share these keys, because
    /// creating one takes longer than everything else that a test does.
    pub(super) fn rsa(number: usize) -> io::Result<Arc<Self>> {
        static MADE: Mutex<Vec<Arc<SigningKey>>> = Mutex::new(Vec::new());
        let mut made = lock(&MADE);
        loop {
            if let Some(key) = made.get(number) {
                return Ok(Arc::clone(key));
            }
            let pair = RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(|_| failed("no RSA key could be made"))?;
            made.push(Arc::new(Self::new(Pair::Rs256(pair))?));
        }
    }

    /// Creates a key on the curve P-256.
    pub(super) fn es256() -> io::Result<Arc<Self>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Arc::new(Self::new(Pair::Es256(pair.map_err(|_| failed("no EC key could be made"))?))?))
    }

    fn new(pair: Pair) -> io::Result<Self> {
        let kid = libtrust_kid(public(&pair)?.as_ref());
        Ok(Self { pair, kid })
    }

    /// Returns the key ID, as it appears in the header of a token and in a JWK set.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the public part as a member of a JWK set (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rs256(pair) => {
                let public = pair.public_key();
                let [n, e] = [public.modulus(), public.exponent()]
                    .map(|number| URL_SAFE_NO_PAD.encode(number.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Pair::Es256(pair) => {
                // The bytes are 4, x, y: an uncompressed point (SEC 1, section 2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
        };
        for (name, value) in [("kid", &*self.kid), ("use", "sig"), ("alg", self.algorithm())] {
            insert(&mut jwk, name, value.into());
        }
        jwk
    }

    /// Returns a self-signed certificate of an RSA key, in PEM. Distribution 2 takes the keys that
    /// it trusts in this form.
    pub(super) fn certificate(&self) -> io::Result<String> {
        let Pair::Rs256(pair) = &self.pair else {
            return Err(failed("certificates are made of RSA keys alone"));
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
        let header = json!({ "typ": "JWT", "alg": self.algorithm(), "kid": self.kid });
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Creates a token with these texts as header and claims, valid or not.
    ///
    /// jsonwebtoken is not used for signing, because it takes RSA keys as PKCS#1 while aws-lc-rs
    /// writes them as PKCS#8.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> io::Result<String> {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .map(|()| signature)
            }
            Pair::Es256(pair) => pair
                .sign(&random, message.as_bytes())
                .map(|signature: Signature| signature.as_ref().to_vec()),
        };
        let signature = signature.map_err(|_| failed("the token could not be signed"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rs256(_) => "RS256",
            Pair::Es256(_) => "ES256",
        }
    }
}

fn public(pair: &Pair) -> io::Result<PublicKeyX509Der<'static>> {
    let public = match pair {
        Pair::Rs256(pair) => pair.public_key().as_der(),
        Pair::Es256(pair) => pair.public_key().as_der(),
    };
    public.map_err(|_| failed("the key has no public part"))
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

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::demo::claims::now;

    /// Returns the header and claims of a token. Panics unless the key signed the token and the
    /// token has not expired.
    pub(in crate::demo) fn read(key: &SigningKey, token: &str) -> (jsonwebtoken::Header, Value) {
        let mut validation = Validation::new(match key.pair {
            Pair::Rs256(_) => Algorithm::RS256,
            Pair::Es256(_) => Algorithm::ES256,
        });
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.required_spec_claims = HashSet::from(["exp".to_owned()]);
        let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
        let token = jsonwebtoken::decode(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation)
            .unwrap();
        (token.header, token.claims)
    }

    #[test]
    fn what_a_key_signs_its_public_part_verifies() {
        for key in [SigningKey::rsa(0).unwrap(), SigningKey::es256().unwrap()] {
            let claims = json!({ "exp": now().unwrap() + 60, "sub": "x" });
            let (header, read) = read(&key, &key.sign(&claims).unwrap());
            assert_eq!(read, claims);
            assert_eq!(header.kid.unwrap(), key.jwk()["kid"]);
            assert_eq!(key.kid.split(':').map(str::len).collect::<Vec<_>>(), [4; 12]);
        }
    }

    #[test]
    fn a_certificate_is_of_the_public_part() {
        let key = SigningKey::rsa(0).unwrap();
        let certificate =
            CertificateDer::from_pem_slice(key.certificate().unwrap().as_bytes()).unwrap();
        let public = public(&key.pair).unwrap();
        let mut pieces = certificate.windows(public.as_ref().len());
        assert!(pieces.any(|piece| piece == public.as_ref()));
    }

    #[test]
    fn rsa_keys_are_made_once_and_are_several() {
        let kids = [0, 1, 0].map(|number| SigningKey::rsa(number).unwrap().kid.clone());
        assert_eq!(kids[0], kids[2]);
        assert_ne!(kids[0], kids[1]);
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        assert_eq!(String::from_iter(base32_group(b"fooba")), "MZXW6YTB");
        assert_eq!(String::from_iter(base32_group(&[0xff; 5])), "77777777");
    }
}
