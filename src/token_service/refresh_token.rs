//! A refresh token (RFC 6749, 1.5): the credential that it was made from, sealed. Clients keep it
//! in place of the credential, and exchange it at the token service for gate tokens.
//!
//! It is good at the token service alone, and lives as long as its session. Each use is a use of
//! the credential in it: the gate asks its provider, and the caller must still be the same.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::gate_token::{LEEWAY, MAX_TOKEN_BYTES, OpenError};
use super::sealed_text;
use crate::identity::model::Vouched;
use crate::identity::model::credential::Credential;
use crate::sealing::{SealedKind, TokenKeys};

/// The prefix of every refresh token.
pub const PREFIX: &str = SealedKind::RefreshToken.prefix();

/// The contents of a refresh token.
#[derive(Debug)]
pub struct RefreshToken {
    /// The time when the token was made (Unix time, microseconds). A revocation uses it to
    /// distinguish earlier tokens from later ones.
    pub issued: u64,
    /// The end of the session (Unix time, seconds).
    pub expires: u64,
    /// The credential that the token was made from, which is not anonymous.
    pub credential: Credential,
    /// The provider that vouched for the credential. No other provider is asked about it.
    pub vouched: Vouched,
    /// The name that the provider gave the caller; empty if it gave none.
    pub subject: Box<str>,
}

/// The sealed text, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedRefreshToken<'a> {
    #[serde(rename = "iat")]
    issued: u64,
    #[serde(rename = "exp")]
    expires: u64,
    #[serde(rename = "idp", borrow)]
    provider: Cow<'a, str>,
    #[serde(rename = "sub", borrow)]
    subject: Cow<'a, str>,
    #[serde(rename = "ses")]
    in_session: bool,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    secret: Option<Cow<'a, str>>,
}

impl RefreshToken {
    /// Seals the token with the first key, for the registry that clients know as `service`.
    ///
    /// # Errors
    /// `None` if the token would be too long, or if the system provides no randomness.
    pub fn seal(&self, keys: &TokenKeys, service: &str) -> Option<Zeroizing<String>> {
        let (user, secret) = sealed_text::parts(&self.credential)?;
        let sealed = SealedRefreshToken {
            issued: self.issued,
            expires: self.expires,
            provider: (&*self.vouched.by).into(),
            subject: (&*self.subject).into(),
            in_session: self.vouched.in_session,
            user,
            secret,
        };
        let mut bytes = sealed_text::to_json(&sealed)?;
        sealed_text::pad(&mut bytes);
        let token = keys.seal_bytes(SealedKind::RefreshToken, service, bytes)?;
        (token.len() <= MAX_TOKEN_BYTES).then_some(token)
    }

    /// Opens a token of the registry that clients know as `service`, at the time `now` (Unix time,
    /// seconds).
    ///
    /// # Errors
    /// [`OpenError::Forged`] if the token is damaged or was not sealed with one of these keys for
    /// this service. [`OpenError::Expired`] if `now` is not within its session.
    pub fn open(token: &str, keys: &TokenKeys, service: &str, now: u64) -> Result<Self, OpenError> {
        let token = Self::decrypt(token, keys, service).ok_or(OpenError::Forged)?;
        if token.expires <= now || token.issued / 1_000_000 > now.saturating_add(LEEWAY) {
            return Err(OpenError::Expired);
        }
        Ok(token)
    }

    fn decrypt(token: &str, keys: &TokenKeys, service: &str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let plain = keys.open_bytes(SealedKind::RefreshToken, service, token)?;
        let sealed: SealedRefreshToken<'_> = serde_json::from_slice(&plain).ok()?;
        let credential = sealed_text::credential(sealed.user, sealed.secret)?;
        let by = sealed.provider.into_owned().into();
        // The maker of a token without a credential has a key.
        (!matches!(credential, Credential::Anonymous)).then(|| Self {
            issued: sealed.issued,
            expires: sealed.expires,
            credential,
            vouched: Vouched { by, alone: true, in_session: sealed.in_session },
            subject: sealed.subject.into_owned().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret, SecretString};

    use super::*;

    const SERVICE: &str = "registry.test";
    const NOW: u64 = 1_800_000_000;

    fn keys() -> TokenKeys {
        TokenKeys::random().unwrap()
    }

    fn token(password: &str) -> RefreshToken {
        RefreshToken {
            issued: NOW * 1_000_000,
            expires: NOW + 100,
            credential: Credential::Basic {
                user: "alice".into(),
                password: SecretString::from(password),
            },
            vouched: Vouched { by: "gitlab".into(), alone: true, in_session: false },
            subject: "alice@example.com".into(),
        }
    }

    fn open(text: &str, keys: &TokenKeys, service: &str, now: u64) -> Option<RefreshToken> {
        RefreshToken::open(text, keys, service, now).ok()
    }

    #[test]
    fn a_token_opens_to_what_was_sealed() {
        let keys = keys();
        let (sealed, made) = (token("secret").seal(&keys, SERVICE).unwrap(), token("secret"));
        let text = sealed.as_str();
        assert!(text.starts_with("mgr1.") && !text.contains("alice"));
        let opened = open(text, &keys, SERVICE, NOW).unwrap();
        let Credential::Basic { user, password } = &opened.credential else { panic!("no Basic") };
        assert_eq!((user.as_str(), password.expose_secret()), ("alice", "secret"));
        assert_eq!(
            (opened.issued, opened.expires, opened.vouched, opened.subject),
            (made.issued, made.expires, made.vouched, made.subject)
        );
    }

    #[test]
    fn a_token_opens_only_in_its_session_and_for_its_service() {
        let keys = keys();
        let sealed = token("secret").seal(&keys, SERVICE).unwrap();
        let text = sealed.as_str();
        assert!(open(text, &keys, SERVICE, NOW + 99).is_some());
        assert!(open(text, &keys, SERVICE, NOW - LEEWAY).is_some());
        for (service, now) in
            [(SERVICE, NOW + 100), (SERVICE, NOW - LEEWAY - 1), ("other.test", NOW)]
        {
            assert!(open(text, &keys, service, now).is_none(), "{service} {now}");
        }
        assert!(open(text, &super::tests::keys(), SERVICE, NOW).is_none(), "another key");
    }

    #[test]
    fn one_kind_of_token_is_not_the_other() {
        let keys = keys();
        let sealed = token("secret").seal(&keys, SERVICE).unwrap();
        let text = sealed.as_str();
        let as_gate_token = text.replacen("mgr1.", "mg1.", 1);
        for text in [text, &as_gate_token] {
            assert!(keys.open(text, SERVICE, NOW).is_err(), "{text}");
        }
        assert!(open(&as_gate_token, &keys, SERVICE, NOW).is_none());
    }

    #[test]
    fn a_changed_token_is_not_opened() {
        let keys = keys();
        let sealed = token("secret").seal(&keys, SERVICE).unwrap();
        let text = sealed.as_str();
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(open(&changed, &keys, SERVICE, NOW).is_none(), "{at}");
        }
        assert!(open(&format!("{text}="), &keys, SERVICE, NOW).is_none());
    }

    #[test]
    fn a_secret_that_is_too_long_is_not_sealed() {
        let keys = keys();
        assert!(token(&"a".repeat(12 * 1024)).seal(&keys, SERVICE).is_some());
        assert!(token(&"a".repeat(12 * 1024 + 1)).seal(&keys, SERVICE).is_none());
        assert!(token(&"\"".repeat(12 * 1024)).seal(&keys, SERVICE).is_none());
    }

    #[test]
    fn a_token_without_a_credential_is_invalid() {
        let (keys, mut token) = (keys(), token("secret"));
        token.credential = Credential::Anonymous;
        let sealed = token.seal(&keys, SERVICE).unwrap();
        assert!(open(&sealed, &keys, SERVICE, NOW).is_none());
    }
}
