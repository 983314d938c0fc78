//! Texts that only the gate can open: gate tokens, addresses of uploads that lead elsewhere, and
//! what the replicas of a gate keep in Redis.
//!
//! Their format is `<kind>.<key id>.<nonce and ciphertext>`, and the last two parts are base64url.
//! The algorithm is AES-256-GCM-SIV (RFC 8452). Its nonces may be random and need no counter,
//! because two equal nonces reveal only whether two texts are equal. The kind, the key id and a
//! context are authenticated with the text: a text of one kind or context is not valid as another.

mod keys;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

pub use keys::{DerivedKey, KeyFileError, TokenKeys};

/// The number of bytes by which sealing lengthens a text, before base64url: the nonce and the tag.
pub const SEAL_BYTES: usize = NONCE_LEN + 16;

/// The kind of a sealed text. Each kind has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedKind {
    /// A token that the gate issues at `/token`.
    GateToken,
    /// A token that clients keep in place of a password, and exchange at `/token`.
    RefreshToken,
    /// The address of an upload that leads to another path or host.
    Upload,
    /// A verdict that replicas share.
    Verdict,
    /// A message of one replica to the others.
    Message,
}

impl SealedKind {
    /// Returns the beginning of each text of this kind.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::GateToken => "mg1.",
            Self::RefreshToken => "mgr1.",
            Self::Upload => "mu1.",
            Self::Verdict => "mv1.",
            Self::Message => "mm1.",
        }
    }
}

impl TokenKeys {
    /// Seals `bytes` with the first key. Room for the tag at their end avoids a copy of them.
    ///
    /// # Errors
    /// `None` if the system provides no randomness.
    pub fn seal_bytes(
        &self,
        kind: SealedKind,
        context: &str,
        mut bytes: Zeroizing<Vec<u8>>,
    ) -> Option<Zeroizing<String>> {
        let key = self.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let head = format!("{}{}", kind.prefix(), key.id);
        let aad = associated_data(&head, context);
        key.of(kind)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&aad),
                &mut *bytes,
            )
            .ok()?;
        let body = Zeroizing::new([&nonce[..], &bytes].concat());
        let mut text =
            Zeroizing::new(String::with_capacity(head.len() + 1 + (4 * body.len()).div_ceil(3)));
        text.push_str(&head);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&*body, &mut text);
        Some(text)
    }

    /// Opens a text that one of the keys sealed for this kind and context. The caller bounds its
    /// length.
    pub fn open_bytes(
        &self,
        kind: SealedKind,
        context: &str,
        text: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (head, body) = text.rsplit_once('.')?;
        let key = self.with_id(head.strip_prefix(kind.prefix())?)?;
        // The decoder is strict, so each text has only one spelling.
        let mut bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(body).ok()?);
        let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = associated_data(head, context);
        let length = key.of(kind).open_in_place(nonce, Aad::from(&aad), ciphertext).ok()?.len();
        bytes.drain(..NONCE_LEN);
        bytes.truncate(length);
        Some(bytes)
    }
}

/// Returns the data that is authenticated together with a sealed text. A key id contains no line
/// feed, so the two parts cannot be shifted.
fn associated_data(head: &str, context: &str) -> Vec<u8> {
    format!("{head}\n{context}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(keys: &TokenKeys, kind: SealedKind, context: &str) -> String {
        keys.seal_bytes(kind, context, Zeroizing::new(b"text".to_vec())).unwrap().to_string()
    }

    #[test]
    fn a_text_is_opened_only_as_what_it_was_sealed_for() {
        let keys = TokenKeys::random().unwrap();
        let text = sealed(&keys, SealedKind::Upload, "a");
        let open = |kind, context, text: &str| keys.open_bytes(kind, context, text);
        assert_eq!(&**open(SealedKind::Upload, "a", &text).unwrap(), b"text");
        assert!(open(SealedKind::Upload, "b", &text).is_none());
        assert!(open(SealedKind::GateToken, "a", &text).is_none());
        let renamed = text.replacen("mu1.", "mg1.", 1);
        assert!(open(SealedKind::GateToken, "a", &renamed).is_none());
        assert!(TokenKeys::random().unwrap().open_bytes(SealedKind::Upload, "a", &text).is_none());
    }

    #[test]
    fn a_changed_text_is_not_opened() {
        let keys = TokenKeys::random().unwrap();
        let text = sealed(&keys, SealedKind::Upload, "a");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(keys.open_bytes(SealedKind::Upload, "a", &changed).is_none(), "{at}");
        }
        for changed in [format!("{text}="), format!("{text}A"), format!("{text}."), String::new()] {
            assert!(keys.open_bytes(SealedKind::Upload, "a", &changed).is_none(), "{changed}");
        }
    }
}
