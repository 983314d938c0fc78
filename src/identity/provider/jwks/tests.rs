use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::demo::signing_key::SigningKey;

fn set(keys: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn message(text: impl AsRef<[u8]>) -> String {
    KeySet::parse(text.as_ref()).unwrap_err().to_string()
}

/// Returns the JWK of a new P-256 key with these members added or replaced.
fn key(members: Value) -> Value {
    let mut key = SigningKey::es256().unwrap().jwk_named("one");
    key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    key
}

fn is_for(key: &Value) -> Vec<Algorithm> {
    use Algorithm::*;
    let Ok(set) = set(std::slice::from_ref(key)) else { return Vec::new() };
    let all = [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
    all.into_iter()
        .filter(|algorithm| matches!(set.find(None, *algorithm), KeyMatch::Keys(_)))
        .collect()
}

#[test]
fn a_key_is_for_the_algorithms_of_its_type() {
    use Algorithm::*;
    assert_eq!(
        is_for(&SigningKey::rsa(0).unwrap().jwk_named("one")),
        [RS256, RS384, RS512, PS256, PS384, PS512]
    );
    assert_eq!(is_for(&SigningKey::es256().unwrap().jwk_named("one")), [ES256]);
    assert_eq!(is_for(&SigningKey::es384().jwk_named("one")), [ES384]);
    assert_eq!(is_for(&SigningKey::ed25519().jwk_named("one")), [EdDSA]);
}

#[test]
fn a_key_that_names_its_algorithm_is_for_no_other() {
    let mut key = SigningKey::rsa(0).unwrap().jwk_named("one");
    key["alg"] = json!("PS256");
    assert_eq!(is_for(&key), [Algorithm::PS256]);
    for alg in [json!("ES256"), json!("HS256"), json!("none"), json!("RSA-OAEP"), json!(5)] {
        key["alg"] = alg;
        assert!(is_for(&key).is_empty(), "{}", key["alg"]);
    }
}

#[test]
fn keys_that_cannot_verify_signatures_are_left_out() {
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
        key(json!({ "key_ops": "sign" })),
        key(json!({ "crv": "P-521" })),
        key(json!({ "crv": "P-384" })),
        key(json!({ "x": "AAAA" })),
        key(json!({ "y": "!" })),
        key(json!({ "kid": 5 })),
    ] {
        let set = set(&[other.clone(), good.clone()]).unwrap();
        assert_eq!((set.len(), set.unused().len()), (1, 1), "{other}");
        assert!(matches!(set.find(Some("good"), Algorithm::ES256), KeyMatch::Keys(_)));
        assert!(
            message(json!({ "keys": [other] }).to_string()).contains("no key can be used (key 1: ")
        );
    }
    assert_eq!(
        is_for(&key(
            json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5c": ["AAAA"] })
        ))
        .len(),
        1
    );
    for operations in [json!([]), json!("verify"), json!(null)] {
        assert_eq!(is_for(&key(json!({ "key_ops": operations }))).len(), 1, "{operations}");
    }
}

#[test]
fn rsa_keys_have_2048_to_8192_bits_and_a_sane_exponent() {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let of = |first: u8, bytes: usize, exponent: &[u8]| {
        let mut modulus = vec![0xff; bytes];
        modulus[0] = first;
        set(&[json!({ "kty": "RSA", "n": encode(&modulus), "e": encode(exponent) })])
            .map(|set| set.len())
    };
    let e = [1, 0, 1];
    for (first, bytes) in [(0x80, 256), (0x80, 512), (0xff, 1024)] {
        assert_eq!(of(first, bytes, &e).unwrap(), 1);
    }
    // Some issuers write the sign byte of DER before the modulus.
    assert_eq!(of(0, 257, &e).unwrap(), 1);
    for (first, bytes) in [(0x7f, 256), (0xff, 128), (0, 256), (0x01, 1025), (0xff, 2048)] {
        assert!(
            of(first, bytes, &e).unwrap_err().to_string().contains("2048 to 8192 bits"),
            "{bytes}"
        );
    }
    for exponent in [&[][..], &[0], &[1], &[2], &[1; 9]] {
        assert!(of(0x80, 256, exponent).is_err(), "{exponent:?}");
    }
}

/// One key in 256 has a coordinate that begins with a zero.
#[test]
fn key_numbers_are_read_in_every_common_encoding() {
    use base64::Engine as _;
    let (url, standard) =
        (base64::prelude::BASE64_URL_SAFE_NO_PAD, base64::prelude::BASE64_STANDARD);
    let good = SigningKey::es256().unwrap().jwk_named("one");
    let of = |name: &str| url.decode(good[name].as_str().unwrap()).unwrap();
    let with_zero = [vec![0], of("x")].concat();
    for members in [
        json!({ "x": url.encode(&with_zero) }),
        json!({ "x": standard.encode(of("x")), "y": standard.encode(of("y")) }),
    ] {
        let mut other = good.clone();
        other.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(set(&[good.clone(), other]).unwrap().len(), 1, "{members}");
    }
    let without_zero = |x: &[u8]| set(&[key(json!({ "x": url.encode(x) }))]).map(|set| set.len());
    assert_eq!(without_zero(&[7; 31]).unwrap(), 1);
    assert!(without_zero(&[7; 29]).is_err() && without_zero(&[7; 33]).is_err());
    let mut padded = SigningKey::rsa(0).unwrap().jwk_named("one");
    padded["e"] = json!("AAEAAQ");
    assert_eq!(set(&[SigningKey::rsa(0).unwrap().jwk_named("one"), padded]).unwrap().len(), 1);
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
}

/// Returns the number of keys that are tried for a token with this `kid`.
fn tried(set: &KeySet, id: &str, algorithm: Algorithm) -> usize {
    match set.find(Some(id), algorithm) {
        KeyMatch::Keys(keys) => keys.len(),
        KeyMatch::UnknownId | KeyMatch::Unfit => 0,
    }
}

/// GitHub Enterprise Server lists one key twice; others list it once for each algorithm.
#[test]
fn a_key_that_is_listed_more_than_once_counts_once() {
    let named = |alg: Value| {
        let mut key = SigningKey::rsa(0).unwrap().jwk_named("one");
        key["alg"] = alg;
        key
    };
    for (entries, algorithms) in [
        (
            vec![
                SigningKey::rsa(0).unwrap().jwk_named("one"),
                SigningKey::rsa(0).unwrap().jwk_named("one"),
            ],
            6,
        ),
        (vec![named(json!("RS256")), named(json!("RS256"))], 1),
        (vec![named(json!("RS256")), named(json!("RS384")), named(json!("PS256"))], 3),
        (vec![named(json!("RS256")), SigningKey::rsa(0).unwrap().jwk_named("one")], 6),
        (vec![named(json!(["RS256", "RS512"]))], 2),
        (vec![named(json!(null))], 6),
        (vec![named(json!(""))], 6),
    ] {
        let set = set(&entries).unwrap();
        assert_eq!((set.len(), set.unused().len()), (1, 0), "{entries:?}");
        let all = [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
        ];
        let all = all.into_iter().chain([Algorithm::PS512]);
        assert_eq!(
            all.map(|algorithm| tried(&set, "one", algorithm)).sum::<usize>(),
            algorithms,
            "{entries:?}"
        );
        assert!(
            matches!(set.find(None, Algorithm::RS256), KeyMatch::Keys(keys) if keys.len() == 1)
        );
    }
    // One key under two names, once with padding.
    let set = set(&[SigningKey::rsa(0).unwrap().jwk_named("one"), {
        let mut key = SigningKey::rsa(0).unwrap().jwk_named("two");
        key["e"] = json!(format!("{}==", key["e"].as_str().unwrap()));
        key
    }]);
    let set = set.unwrap();
    assert_eq!(set.len(), 2);
    assert!(matches!(set.find(None, Algorithm::RS256), KeyMatch::Keys(keys) if keys.len() == 1));
}

#[test]
fn keys_that_share_a_kid_are_tried_if_they_fit_the_algorithm() {
    let of_one_name: Vec<_> =
        (0..6).map(|_| SigningKey::es256().unwrap().jwk_named("one")).collect();
    let mut entries =
        vec![SigningKey::rsa(0).unwrap().jwk_named("one"), SigningKey::es384().jwk_named("one")];
    entries.extend(of_one_name.iter().take(2).cloned());
    let several = set(&entries).unwrap();
    assert_eq!(several.len(), 4);
    for (algorithm, count) in
        [(Algorithm::RS256, 1), (Algorithm::ES384, 1), (Algorithm::ES256, 2), (Algorithm::EdDSA, 0)]
    {
        assert_eq!(tried(&several, "one", algorithm), count, "{algorithm:?}");
    }
    assert_eq!(tried(&set(&of_one_name).unwrap(), "one", Algorithm::ES256), MAX_KEYS_TRIED);
    // An encryption key is left out, so it does not make the name ambiguous.
    assert_eq!(set(&[entries[0].clone(), key(json!({ "use": "enc" }))]).unwrap().len(), 1);
}

/// An odd entry does not affect the other entries, and is reported without its value.
#[test]
fn an_odd_entry_is_left_out_and_does_not_affect_the_others() {
    let good = SigningKey::es256().unwrap().jwk_named("good");
    for odd in [
        r#"{"kid": "x", "kid": "canary", "kty": "EC"}"#,
        r#"{"kid": ["canary"]}"#,
        r#"{"kty": "EC", "crv": {"canary": 1}, "kid": "x"}"#,
        r#"{"kty": "EC", "crv": "P-256", "x": 5, "y": "canary", "kid": "x"}"#,
        r#"[["canary"]]"#,
        "null",
        "\"canary\"",
    ] {
        let text = format!("{{\"keys\": [{odd}, {good}], \"other\": {odd}}}");
        let set = KeySet::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{odd}: {error}"));
        assert_eq!((set.len(), set.unused().len()), (1, 1), "{odd}");
        assert!(
            set.unused()[0].starts_with("key 1: ") && !set.unused()[0].contains("canary"),
            "{:?}",
            set.unused()
        );
        assert_eq!(tried(&set, "good", Algorithm::ES256), 1);
    }
    assert_eq!(
        message(r#"{"keys": [{"kid": 5}]}"#),
        "no key can be used (key 1: `kid` is a number; it must be a text); at least one \
         public RSA, EC (P-256, P-384) or Ed25519 key for signatures is required"
    );
}

#[test]
fn a_token_without_kid_finds_a_key_only_if_exactly_one_fits() {
    let mut nameless = SigningKey::es256().unwrap().jwk_named("");
    nameless.as_object_mut().unwrap().remove("kid");
    let one = set(&[nameless.clone(), SigningKey::rsa(0).unwrap().jwk_named("two")]).unwrap();
    assert!(matches!(one.find(None, Algorithm::ES256), KeyMatch::Keys(_)));
    assert!(matches!(one.find(None, Algorithm::ES384), KeyMatch::Unfit));
    assert!(matches!(one.find(Some("two"), Algorithm::ES256), KeyMatch::Unfit));
    assert!(matches!(one.find(Some("three"), Algorithm::ES256), KeyMatch::UnknownId));
    assert!(matches!(one.find(Some(""), Algorithm::ES256), KeyMatch::UnknownId));
    let two = set(&[nameless, SigningKey::es256().unwrap().jwk_named("three")]).unwrap();
    assert!(matches!(two.find(None, Algorithm::ES256), KeyMatch::Unfit));
}

proptest! {
    #[test]
    fn never_panics(text: Vec<u8>) {
        let _ = KeySet::parse(&text);
    }

    #[test]
    fn never_panics_on_any_members(
        kty in "RSA|EC|OKP",
        crv in "P-256|Ed25519",
        x in "[A-Za-z0-9_-]{0,90}",
        y in "[A-Za-z0-9_-]{0,45}",
    ) {
        let _ = set(&[json!({ "kty": kty, "crv": crv, "x": x, "y": y, "n": x, "e": y })]);
    }
}
