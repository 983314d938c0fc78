//! Private keys that the TLS library refuses: the problem says what they are.

use super::files::{folder, write_private};
use super::{MINIMAL, load};

macro_rules! key {
    ($name:literal) => {
        ($name, include_str!(concat!("../../fixtures/keys/", $name, ".key")))
    };
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    for ((name, key), told) in [
        (key!("rsa512"), "the RSA key has 512 bits, and the least are 2048"),
        (key!("rsa1024-pkcs1"), "the RSA key has 1024 bits, and the least are 2048"),
        (key!("rsa2047"), "the RSA key has 2047 bits, and the least are 2048"),
        (key!("rsa-pss"), "contains an RSA-PSS key"),
        (key!("secp224r1"), "is on the curve P-224 (secp224r1)"),
        (key!("secp224r1-sec1"), "is on the curve P-224 (secp224r1)"),
        (key!("secp256k1"), "is on the curve secp256k1"),
        (key!("brainpoolP256r1"), "is on the curve brainpoolP256r1"),
        (key!("explicit-curve"), "has the parameters of its curve"),
        (key!("ed448"), "contains an Ed448 key"),
        (key!("x25519"), "contains an X25519 key, which cannot sign"),
    ] {
        let file = format!("refused-{name}.key");
        write_private(folder(), &file, key);
        let tls = format!("tls: {{ certificate: tls.crt, key: {file} }}, external_url");
        let problems = load(&MINIMAL.replace("external_url", &tls), &[]).expect_err(name);
        assert_eq!(problems.lines().count(), 1, "{name}: {problems}");
        assert!(problems.contains("`http.tls.key`: "), "{name}: {problems}");
        assert!(problems.contains(told), "{name}: {problems}");
        assert!(
            problems.contains("; create an ECDSA key (P-256, P-384 or P-521), an Ed25519 key"),
            "{name}: {problems}"
        );
    }
}
