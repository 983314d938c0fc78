//! The parts that all sealed texts with a credential share.

use std::borrow::Cow;
use std::io;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::identity::model::credential::Credential;

/// The largest secret that is sealed, in bytes. Workload tokens with many groups have about 8 KiB.
pub const MAX_SECRET_BYTES: usize = 12 * 1024;

/// The unit, in bytes, that the sealed text is padded to, so that its length reveals little.
pub(super) const PADDING: usize = 64;

/// The user name and the secret of a credential.
type Parts<'a> = (Option<Cow<'a, str>>, Option<Cow<'a, str>>);

/// Returns the parts of a credential that are sealed; `None` if the secret is too long.
pub(super) fn parts(credential: &Credential) -> Option<Parts<'_>> {
    let (user, secret) = match credential {
        Credential::Anonymous => (None, None),
        Credential::Basic { user, password } => {
            (Some(user.as_str().into()), Some(password.expose_secret()))
        }
        Credential::Bearer(secret) => (None, Some(secret.expose_secret())),
    };
    let fits = secret.is_none_or(|secret| secret.len() <= MAX_SECRET_BYTES);
    fits.then(|| (user, secret.map(Into::into)))
}

/// Returns the credential with these parts; `None` if there is none with them.
pub(super) fn credential(
    user: Option<Cow<'_, str>>,
    secret: Option<Cow<'_, str>>,
) -> Option<Credential> {
    // An allocation of serde's is moved and not copied, so it is zeroed together with the secret.
    let own = |secret: Cow<'_, str>| SecretString::from(secret.into_owned());
    Some(match (user, secret) {
        (None, None) => Credential::Anonymous,
        (Some(user), Some(secret)) => {
            Credential::Basic { user: user.into_owned(), password: own(secret) }
        }
        (None, Some(secret)) => Credential::Bearer(own(secret)),
        (Some(_), None) => return None,
    })
}

/// Serializes what is sealed, with room for the padding and the tag.
pub(super) fn to_json(sealed: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    // The text is serialized twice. The first pass measures it, so that the buffer has room for
    // the text, padding and tag, and growing it leaves no copy of the secret.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, sealed).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0 + 2 * PADDING));
    serde_json::to_writer(&mut *bytes, sealed).ok()?;
    Some(bytes)
}

/// Lengthens a text to a multiple of [`PADDING`].
pub(super) fn pad(bytes: &mut Vec<u8>) {
    let padded = bytes.len().next_multiple_of(PADDING);
    // JSON ignores white space at its end.
    bytes.resize(padded, b' ');
}

/// A writer that counts the bytes and discards them.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
