//! The oracle for gate tokens and refresh tokens: no text from a stranger is one of them, a token
//! that the gate made cannot be changed, and none is taken for the other.

use std::sync::LazyLock;

use moorgate::identity::model::Vouched;
use moorgate::identity::model::credential::Credential;
use moorgate::registry::{Actions, RepositoryName};
use moorgate::sealing::TokenKeys;
use moorgate::token_service::gate_token::{CatalogShare, GateToken, OpenError, TokenScope};
use moorgate::token_service::refresh_token::RefreshToken;
use secrecy::ExposeSecret;

const NOW: u64 = 1_800_000_000;
const SERVICE: &str = "registry.test";

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let line = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    TokenKeys::parse(line).expect("a key")
});

/// Checks that the text does not open as a token. A token sealed around the text as its secret
/// opens to the same content, but only in its lifetime and for its service, and does not open once
/// any one character is changed.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(KEYS.open(text, SERVICE, NOW).err(), Some(OpenError::Forged), "{text}");
    assert_eq!(refresh_token(text, SERVICE, NOW).err(), Some(OpenError::Forged), "{text}");

    let (user, secret) = text.split_once(':').unwrap_or(("", text));
    let credential = match user {
        "" => Credential::Bearer(secret.into()),
        user => Credential::Basic { user: user.to_owned(), password: secret.into() },
    };
    let repository = RepositoryName::parse(user)
        .map(|name| (name, Actions { pull: true, ..Actions::default() }));
    let catalog = [CatalogShare::None, CatalogShare::Listed, CatalogShare::All][text.len() % 3];
    let token_scope =
        TokenScope { repositories: repository.into_iter().collect(), catalog, refused: Vec::new() };
    check_refresh_token(text, &credential);
    let mut token = GateToken {
        issued: NOW * 1_000_000,
        expires: NOW + 60,
        token_scope,
        credential,
        provider: Some("local".into()),
        in_session: text.len() % 2 == 1,
    };
    // Text that JSON escapes takes up to six times the space, and a token must fit into a header.
    let Some(sealed) = KEYS.seal(&mut token, SERVICE) else {
        return assert!(text.len() > 512, "{text} was not sealed");
    };

    let opened = KEYS.open(&sealed, SERVICE, NOW).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(
        (opened.issued, opened.expires, &opened.token_scope),
        (token.issued, token.expires, &token.token_scope)
    );
    assert_eq!(
        (parts(&opened.credential), opened.provider, opened.in_session),
        (parts(&token.credential), token.provider, token.in_session)
    );
    assert_eq!(KEYS.open(&sealed, "other.test", NOW).err(), Some(OpenError::Forged));
    assert_eq!(KEYS.open(&sealed, SERVICE, NOW + 60).err(), Some(OpenError::Expired));
    assert_eq!(KEYS.open(&sealed, SERVICE, NOW - 61).err(), Some(OpenError::Expired));

    let place = input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % sealed.len();
    let other = if sealed.as_bytes()[place] == b'A' { "B" } else { "A" };
    let mut changed = sealed;
    changed.replace_range(place..=place, other);
    assert_eq!(KEYS.open(&changed, SERVICE, NOW).err(), Some(OpenError::Forged), "{}", *changed);
}

/// Checks the same of a refresh token that is sealed around this credential.
fn check_refresh_token(text: &str, credential: &Credential) {
    let vouched = Vouched { by: "local".into(), alone: true, in_session: text.len() % 2 == 1 };
    let (issued, expires, subject) = (NOW * 1_000_000, NOW + 60, text.into());
    let credential = credential.clone();
    let token = RefreshToken { issued, expires, credential, vouched, subject };
    let Some(sealed) = token.seal(&KEYS, SERVICE) else {
        return assert!(text.len() > 256, "{text} was not sealed");
    };
    let opened =
        refresh_token(&sealed, SERVICE, NOW).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    assert_eq!(
        (parts(&opened.credential), opened.vouched, opened.subject),
        (parts(&token.credential), token.vouched, token.subject)
    );
    assert_eq!(refresh_token(&sealed, "other.test", NOW).err(), Some(OpenError::Forged));
    assert_eq!(refresh_token(&sealed, SERVICE, NOW + 60).err(), Some(OpenError::Expired));
    let as_gate_token = sealed.replacen("mgr1.", "mg1.", 1);
    for text in [&**sealed, &*as_gate_token] {
        assert_eq!(KEYS.open(text, SERVICE, NOW).err(), Some(OpenError::Forged), "{text}");
    }
    let place = sealed.len() - 1 - text.len() % 64;
    let other = if sealed.as_bytes()[place] == b'A' { "B" } else { "A" };
    let mut changed = sealed.to_string();
    changed.replace_range(place..=place, other);
    assert_eq!(refresh_token(&changed, SERVICE, NOW).err(), Some(OpenError::Forged), "{changed}");
}

fn refresh_token(text: &str, service: &str, now: u64) -> Result<RefreshToken, OpenError> {
    RefreshToken::open(text, &KEYS, service, now)
}

fn parts(credential: &Credential) -> (&str, &str) {
    match credential {
        Credential::Anonymous => ("", ""),
        Credential::Basic { user, password } => (user, password.expose_secret()),
        Credential::Bearer(token) => ("", token.expose_secret()),
    }
}
