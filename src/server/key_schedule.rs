//! The key schedule of TLS 1.3 (RFC 8446, 7.1) over HMAC of aws-lc.
//!
//! rustls derives about twenty secrets a handshake. Its own provider takes each derivation for a
//! separate HKDF (RFC 5869): it extracts the pseudo-random key again, and prepares the HMAC key
//! again. The provider here does both once for each secret, which halves the work. The secrets are
//! the same.

use std::sync::{Arc, LazyLock};

use ::aws_lc_rs::hmac;
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::hmac::{Hmac, Key, Tag};
use rustls::crypto::tls13::{Hkdf, HkdfUsingHmac};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};

static SHA256: HkdfUsingHmac<'static> = HkdfUsingHmac(&AwsLcHmac(&hmac::HMAC_SHA256));
static SHA384: HkdfUsingHmac<'static> = HkdfUsingHmac(&AwsLcHmac(&hmac::HMAC_SHA384));

/// The cipher suites of TLS 1.3 in the order of rustls, with this key schedule.
static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let suites = aws_lc_rs::default_provider().cipher_suites;
    suites.iter().filter_map(SupportedCipherSuite::tls13).map(with_key_schedule).collect()
});

/// Returns the provider of rustls with this key schedule.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        if let Some(same) = SUITES.iter().find(|same| same.common.suite == suite.suite()) {
            *suite = SupportedCipherSuite::Tls13(same);
        }
    }
    Arc::new(provider)
}

fn with_key_schedule(suite: &'static Tls13CipherSuite) -> Tls13CipherSuite {
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    Tls13CipherSuite {
        common: CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit },
        hkdf_provider: match hash_provider.algorithm() {
            HashAlgorithm::SHA256 => &SHA256 as &dyn Hkdf,
            HashAlgorithm::SHA384 => &SHA384,
            _ => suite.hkdf_provider,
        },
        aead_alg: suite.aead_alg,
        quic: suite.quic,
    }
}

struct AwsLcHmac(&'static hmac::Algorithm);

impl Hmac for AwsLcHmac {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(AwsLcKey(hmac::Key::new(*self.0, key)))
    }

    fn hash_output_len(&self) -> usize {
        self.0.tag_len()
    }
}

struct AwsLcKey(hmac::Key);

impl Key for AwsLcKey {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(first);
        middle.iter().for_each(|part| context.update(part));
        context.update(last);
        Tag::new(context.sign().as_ref())
    }

    fn tag_len(&self) -> usize {
        self.0.algorithm().tag_len()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::tls13::OkmBlock;

    use super::*;

    fn tls13(provider: &CryptoProvider) -> Vec<&'static Tls13CipherSuite> {
        provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13).collect()
    }

    #[test]
    fn the_suites_and_their_order_are_those_of_rustls() {
        let (ours, theirs) = (provider(), aws_lc_rs::default_provider());
        assert_eq!(ours.cipher_suites, theirs.cipher_suites);
        assert_eq!(tls13(&ours).len(), 3);
    }

    #[test]
    fn the_secrets_are_those_of_rustls() {
        let (ours, theirs) = (provider(), aws_lc_rs::default_provider());
        for (ours, theirs) in tls13(&ours).into_iter().zip(tls13(&theirs)) {
            let (ours, theirs) = (ours.hkdf_provider, theirs.hkdf_provider);
            let okm = OkmBlock::new(&[7; 32]);
            for (ours, theirs) in [
                (ours.extract_from_zero_ikm(None), theirs.extract_from_zero_ikm(None)),
                (ours.extract_from_zero_ikm(Some(b"s")), theirs.extract_from_zero_ikm(Some(b"s"))),
                (ours.extract_from_secret(None, b"k"), theirs.extract_from_secret(None, b"k")),
                (
                    ours.extract_from_secret(Some(&[3; 48]), &[5; 99]),
                    theirs.extract_from_secret(Some(&[3; 48]), &[5; 99]),
                ),
                (ours.expander_for_okm(&okm), theirs.expander_for_okm(&okm)),
            ] {
                let info: &[&[u8]] = &[b"label", b"", b"context"];
                let block = ours.expand_block(info);
                assert_eq!(block.as_ref(), theirs.expand_block(info).as_ref());
                let (mut one, mut other) = ([0; 100], [0; 100]);
                assert!(ours.expand_slice(info, &mut one).is_ok());
                assert!(theirs.expand_slice(info, &mut other).is_ok());
                assert_eq!(one, other);
            }
            let tag = ours.hmac_sign(&okm, b"message");
            assert_eq!(tag.as_ref(), theirs.hmac_sign(&okm, b"message").as_ref());
        }
    }
}
