use std::collections::HashSet;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::demo::claims::now;

/// Returns the header and claims of a token. Panics unless the key signed the token and the
/// token has not expired.
pub(in crate::demo) fn read(key: &SigningKey, token: &str) -> (jsonwebtoken::Header, Value) {
    let mut validation = Validation::new(key.pair.algorithm().parse().unwrap());
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation.required_spec_claims = HashSet::from(["exp".to_owned()]);
    let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
    let token =
        jsonwebtoken::decode(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).unwrap();
    (token.header, token.claims)
}

#[test]
fn the_public_part_of_a_key_verifies_its_signatures() {
    for key in [SigningKey::rsa(0).unwrap(), SigningKey::es256().unwrap()] {
        let claims = json!({ "exp": now().unwrap() + 60, "sub": "x" });
        let (header, read) = read(&key, &key.sign(&claims).unwrap());
        assert_eq!(read, claims);
        assert_eq!(header.kid.unwrap(), key.jwk()["kid"]);
        assert_eq!(key.kid.split(':').map(str::len).collect::<Vec<_>>(), [4; 12]);
    }
}

#[test]
fn a_certificate_contains_the_public_part_of_the_key() {
    let key = SigningKey::rsa(0).unwrap();
    let certificate =
        CertificateDer::from_pem_slice(key.certificate().unwrap().as_bytes()).unwrap();
    let public = key.pair.public().unwrap();
    let mut pieces = certificate.windows(public.as_ref().len());
    assert!(pieces.any(|piece| piece == public.as_ref()));
}

#[test]
fn each_number_gives_another_rsa_key_that_is_created_once() {
    let kids = [0, 1, 0].map(|number| SigningKey::rsa(number).unwrap().kid.clone());
    assert_eq!(kids[0], kids[2]);
    assert_ne!(kids[0], kids[1]);
}

#[test]
fn base32_is_that_of_the_rfc() {
    assert_eq!(String::from_iter(base32_group(b"fooba")), "MZXW6YTB");
    assert_eq!(String::from_iter(base32_group(&[0xff; 5])), "77777777");
}
