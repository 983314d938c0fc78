//! The kind of private key that a file contains, for the message about a key that cannot be used.

use rustls::pki_types::PrivateKeyDer;

/// The smallest and the largest RSA keys that the TLS library uses, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The remedy for every key that cannot be used.
const RIGHT: &str = "create an ECDSA key (P-256, P-384 or P-521), an Ed25519 key or an RSA key of \
                     2048 to 8192 bits, and a certificate for it";

// The types of values in DER.
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const PARAMETERS: u8 = 0xa0;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Algorithms that cannot be used, by the identifier in the key.
const ALGORITHMS: [(&[u8], &str); 5] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "an RSA-PSS key"),
    (&[0x2b, 0x65, 0x71], "an Ed448 key"),
    (&[0x2b, 0x65, 0x6e], "an X25519 key, which cannot sign"),
    (&[0x2b, 0x65, 0x6f], "an X448 key, which cannot sign"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
];

/// Curves that cannot be used, by the identifier in the key.
const CURVES: [(&[u8], &str); 6] = [
    (&[0x2b, 0x81, 0x04, 0x00, 0x21], "P-224 (secp224r1)"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01], "P-192 (prime192v1)"),
    (&[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07], "brainpoolP256r1"),
    (&[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b], "brainpoolP384r1"),
    (&[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d], "brainpoolP512r1"),
];

/// Returns the message about a key that the TLS library refuses with `error`.
pub(super) fn unusable(key: &PrivateKeyDer<'_>, error: &rustls::Error) -> String {
    let wrong = match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => elliptic(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => None,
    };
    let wrong = wrong.unwrap_or_else(|| format!("the key cannot be used ({error})"));
    format!("{wrong}; {RIGHT}")
}

/// Reads a key by RFC 5958: a version, the algorithm with its parameters, and the key itself.
fn pkcs8(der: &[u8]) -> Option<String> {
    let mut key = Der(Der(der).next(SEQUENCE)?);
    key.next(INTEGER)?;
    let mut algorithm = Der(key.next(SEQUENCE)?);
    let identifier = algorithm.next(OID)?;
    match identifier {
        RSA => rsa(key.next(OCTETS)?),
        EC => Some(curve(algorithm.next(OID))),
        _ => {
            let (_, name) = ALGORITHMS.iter().find(|(known, _)| *known == identifier)?;
            Some(format!("the file contains {name}, which cannot be used here"))
        }
    }
}

/// Reads an RSA key by RFC 8017: a version, the modulus, and more numbers.
fn rsa(der: &[u8]) -> Option<String> {
    let mut key = Der(Der(der).next(SEQUENCE)?);
    key.next(INTEGER)?;
    let modulus = key.next(INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let digits = modulus.get(zeros..)?;
    let bits =
        (digits.len() * 8).checked_sub(usize::try_from(digits.first()?.leading_zeros()).ok()?)?;
    let bound = if bits < *RSA_BITS.start() {
        format!("the least are {}", RSA_BITS.start())
    } else if bits > *RSA_BITS.end() {
        format!("the most are {}", RSA_BITS.end())
    } else {
        return None;
    };
    Some(format!("the RSA key has {bits} bits, and {bound}"))
}

/// Reads a key by RFC 5915: a version, the key, and the curve.
fn elliptic(der: &[u8]) -> Option<String> {
    let mut key = Der(Der(der).next(SEQUENCE)?);
    key.next(INTEGER)?;
    key.next(OCTETS)?;
    Some(curve(Der(key.next(PARAMETERS)?).next(OID)))
}

/// Returns the message about an ECDSA key; `None` as the curve stands for its parameters in full.
fn curve(identifier: Option<&[u8]>) -> String {
    let known = CURVES.iter().find(|(known, _)| Some(*known) == identifier);
    match known {
        Some((_, name)) => {
            format!("the ECDSA key is on the curve {name}, which cannot be used here")
        }
        None if identifier.is_none() => {
            "the ECDSA key has the parameters of its curve instead of the curve's name".to_owned()
        }
        None => "the ECDSA key is on a curve that cannot be used here, or is damaged".to_owned(),
    }
}

/// The rest of a sequence of values in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Returns the content of the next value, which must be of this type.
    fn next(&mut self, kind: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // A length above 127 is written as the number of its bytes, then these bytes.
        let (length, rest) = match usize::from(first) {
            short @ ..0x80 => (short, rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
                let length = bytes.iter().try_fold(0_usize, |length, byte| {
                    length.checked_mul(256)?.checked_add(usize::from(*byte))
                })?;
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == kind).then_some(content)
    }
}
