//! The keys of an issuer: the current one signs, all of them are served.

use std::io;
use std::sync::Arc;

use serde_json::json;

use crate::demo::signing_key::SigningKey;

/// The number of the first RSA key of issuers. Key 0 belongs to the GitLab stand-in, which signs
/// other tokens.
const FIRST_RSA_KEY: usize = 1;

pub(super) struct Keys {
    current: Arc<SigningKey>,
    old: Vec<Arc<SigningKey>>,
    next_rsa: usize,
    /// A text that is served instead of the JWK set.
    text: Option<String>,
}

impl Keys {
    pub(super) fn new() -> io::Result<Self> {
        let current = SigningKey::rsa(FIRST_RSA_KEY)?;
        Ok(Self { current, old: Vec::new(), next_rsa: FIRST_RSA_KEY + 1, text: None })
    }

    /// Returns the key that signs.
    pub(super) fn current(&self) -> &Arc<SigningKey> {
        &self.current
    }

    /// Returns the JWK set (RFC 7517, section 5), or the text that is served instead.
    pub(super) fn jwks(&self) -> String {
        let whole = || {
            let keys: Vec<_> =
                std::iter::once(&self.current).chain(&self.old).map(|key| key.jwk()).collect();
            json!({ "keys": keys }).to_string()
        };
        self.text.clone().unwrap_or_else(whole)
    }

    pub(super) fn serve_instead(&mut self, text: String) {
        self.text = Some(text);
    }

    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let next = SigningKey::rsa(self.next_rsa)?;
        self.next_rsa += 1;
        self.replace(next);
        Ok(())
    }

    pub(super) fn rotate_to_es256(&mut self) -> io::Result<()> {
        self.replace(SigningKey::es256()?);
        Ok(())
    }

    pub(super) fn retire_old(&mut self) {
        self.old.clear();
        self.text = None;
    }

    fn replace(&mut self, next: Arc<SigningKey>) {
        self.old.push(std::mem::replace(&mut self.current, next));
        self.text = None;
    }
}
