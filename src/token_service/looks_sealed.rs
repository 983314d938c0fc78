//! Tells texts that the gate has sealed from the credentials of other issuers. Pure.

use secrecy::ExposeSecret;

use crate::identity::model::credential::Credential;
use crate::sealing::SealedKind;

/// The prefixes of all texts that this gate seals: gate tokens, refresh tokens and upload
/// locations.
const SEALED_PREFIXES: [&str; 3] = [
    SealedKind::GateToken.prefix(),
    SealedKind::RefreshToken.prefix(),
    SealedKind::Upload.prefix(),
];

/// Returns whether a credential contains a text that this gate sealed, or that looks like one. Some
/// clients put tokens in the user name, and people paste tokens with blanks, quotes or `Bearer `
/// before them. Outside of requests to the registry a gate token is not a credential, and it is
/// never sent to a provider: a token that was made from a token would outlive it.
pub fn may_contain_sealed(credential: &Credential) -> bool {
    match credential {
        Credential::Anonymous => false,
        Credential::Basic { user, password } => {
            looks_sealed(user) || looks_sealed(password.expose_secret())
        }
        Credential::Bearer(secret) => looks_sealed(secret.expose_secret()),
    }
}

/// The length, in bytes, of the shortest text behind the prefix and the key id that this gate can
/// have sealed.
const MIN_SEALED: usize = 40;

/// The length of a key id, in characters.
const KEY_ID: usize = 8;

fn looks_sealed(text: &str) -> bool {
    begins_sealed(text) || holds_sealed(text)
}

/// Returns whether a text begins with a sealed text, after optional blanks, quotes or a scheme.
fn begins_sealed(text: &str) -> bool {
    const SCHEME: &str = "Bearer";
    let is_around = |c: char| c.is_whitespace() || "\"'`:=\u{201c}\u{2018}".contains(c);
    let text = text.trim_start_matches(is_around);
    let (scheme, rest) = text.split_at_checked(SCHEME.len()).unwrap_or_default();
    let text =
        if scheme.eq_ignore_ascii_case(SCHEME) { rest.trim_start_matches(is_around) } else { text };
    SEALED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Returns whether a text contains a complete sealed text at any position, with its key id or
/// without.
fn holds_sealed(text: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let are_base64url = |text: &str, count: usize| {
        text.len() >= count && text.bytes().take(count).all(is_base64url)
    };
    let is_whole = |behind: &str| {
        let body = behind
            .split_at_checked(KEY_ID)
            .filter(|(id, _)| are_base64url(id, KEY_ID))
            .and_then(|(_, rest)| rest.strip_prefix('.'));
        are_base64url(body.unwrap_or(behind), MIN_SEALED)
    };
    // Most secrets are shorter, and are not searched.
    text.len() > MIN_SEALED
        && SEALED_PREFIXES.iter().any(|prefix| text.split(prefix).skip(1).any(is_whole))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use zeroize::Zeroizing;

    use super::*;
    use crate::sealing::TokenKeys;

    /// A text that was sealed here is never sent to a provider, independent of its kind and of the
    /// characters before it.
    #[test]
    fn a_text_that_looks_sealed_is_recognised_in_every_credential() {
        for prefix in ["mg1.", "mgr1.", "mu1."] {
            for text in [
                format!("{prefix}x"),
                prefix.to_owned(),
                format!(" {prefix}x"),
                format!("\u{a0}\t {prefix}x"),
                format!("\"{prefix}x\""),
                format!("'{prefix}x"),
                format!("\u{201c}{prefix}x"),
                format!("Bearer {prefix}x"),
                format!(" bearer  {prefix}x"),
                format!("Bearer: \"{prefix}x"),
            ] {
                let basic = |user: &str, password: &str| Credential::Basic {
                    user: user.to_owned(),
                    password: SecretString::from(password),
                };
                assert!(may_contain_sealed(&basic("alice", &text)), "{text}");
                assert!(may_contain_sealed(&basic(&text, "secret")), "{text}");
                assert!(
                    may_contain_sealed(&Credential::Bearer(SecretString::from(text.as_str()))),
                    "{text}"
                );
            }
        }
        // A complete sealed text is found at any position.
        let keys = TokenKeys::random().unwrap();
        for kind in [SealedKind::GateToken, SealedKind::RefreshToken, SealedKind::Upload] {
            let sealed = keys.seal_bytes(kind, "registry.test", Zeroizing::new(vec![b'x'; 64]));
            let sealed = sealed.unwrap().to_string();
            for before in ["", "x", "%20", "token=", "{\"identitytoken\":\"", "<token>", "Basic "] {
                let credential = Credential::Bearer(format!("{before}{sealed}\"}}").into());
                assert!(may_contain_sealed(&credential), "{before}{sealed}");
            }
        }
        let body = "A-_z".repeat(20);
        for text in ["%20mg1.", "token=mg1.", "Basic mgr1.", "\u{feff}mu1.", "x-mg1.", "mg1.x mg1."]
        {
            let credential = Credential::Bearer(SecretString::from(format!("{text}{body}\"")));
            assert!(may_contain_sealed(&credential), "{text}");
        }
        for text in
            ["", "mg1", "xmg1.x", "mg2.x", "mg1-x", "Bearer", "Bearer x mg1.x", "glpat-mg1.x"]
        {
            assert!(!may_contain_sealed(&Credential::Bearer(SecretString::from(text))), "{text}");
        }
    }
}
