//! The gate opens everything that it sealed, and nothing else.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::identity::model::keyed_hash::HashKey;
use crate::registry::Access;
use crate::sealing::KeyFileError;

const NOW: u64 = 1_800_000_000;
const SERVICE: &str = "registry.test";

fn seal(keys: &TokenKeys, mut token: GateToken) -> Option<Zeroizing<String>> {
    keys.seal(&mut token, SERVICE)
}

fn open(keys: &TokenKeys, token: &str, now: u64) -> Result<GateToken, OpenError> {
    keys.open(token, SERVICE, now)
}

fn keys() -> TokenKeys {
    TokenKeys::random().unwrap()
}

fn token(credential: Credential) -> GateToken {
    let name = |name| RepositoryName::parse(name).unwrap();
    let repositories = vec![
        (name("a/b"), Actions { pull: true, push: true, delete: false }),
        (name("c"), Actions { pull: true, ..Actions::default() }),
    ];
    let token_scope = TokenScope { repositories, catalog: CatalogShare::None, refused: Vec::new() };
    GateToken {
        issued: NOW * 1_000_000,
        expires: NOW + 3600,
        token_scope,
        credential,
        provider: Some("gitlab".into()),
        in_session: false,
    }
}

fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic { user: user.into(), password: SecretString::from(password) }
}

fn parts(credential: &Credential) -> (Option<&str>, Option<&str>) {
    match credential {
        Credential::Anonymous => (None, None),
        Credential::Basic { user, password } => (Some(user), Some(password.expose_secret())),
        Credential::Bearer(secret) => (None, Some(secret.expose_secret())),
    }
}

#[test]
fn opening_a_sealed_token_restores_its_contents() {
    let keys = keys();
    for credential in [
        Credential::Anonymous,
        basic("alice", "glpat-\u{e4}\"\\ secret"),
        basic("", "x"),
        Credential::Bearer(SecretString::from("opaque")),
    ] {
        let sealed = seal(&keys, token(credential.clone())).unwrap();
        let opened = open(&keys, &sealed, NOW).unwrap();
        assert_eq!(parts(&opened.credential), parts(&credential));
        assert_eq!(opened.token_scope, token(Credential::Anonymous).token_scope);
        assert_eq!((opened.issued, opened.expires), (NOW * 1_000_000, NOW + 3600));
        assert_eq!(opened.provider.as_deref(), Some("gitlab"));
    }
}

#[test]
fn sealed_tokens_reveal_nothing_and_are_never_equal() {
    let keys = keys();
    let sealed = |secret: &str| seal(&keys, token(basic("alice", secret))).unwrap();
    assert_ne!(sealed("secret"), sealed("secret"));
    let lengths: std::collections::BTreeSet<_> =
        (1..=64).map(|length| sealed(&"x".repeat(length)).len()).collect();
    assert_eq!(lengths.len(), 2, "padded");
    let debug = format!("{:?} {:?}", keys, token(basic("alice", "canary")));
    assert!(!debug.contains("canary"), "{debug}");
    // The debug output of a key is only its id, which every token contains.
    let sealed = sealed("secret");
    let id = sealed.split('.').nth(1).unwrap();
    assert_eq!(format!("{keys:?}"), format!("[{id:?}]"));
}

#[test]
fn a_changed_token_is_refused() {
    let keys = keys();
    let sealed = seal(&keys, token(basic("alice", "secret"))).unwrap();
    let sealed = sealed.as_str();
    for end in 0..sealed.len() {
        assert_eq!(open(&keys, &sealed[..end], NOW).unwrap_err(), OpenError::Forged, "{end}");
    }
    for at in 0..sealed.len() {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(open(&keys, &changed, NOW).unwrap_err(), OpenError::Forged, "{at}");
    }
    for changed in [
        format!("{sealed}A"),
        format!("{sealed}="),
        format!("{sealed}.x"),
        sealed.replace("mg1", "MG1"),
    ] {
        assert_eq!(open(&keys, &changed, NOW).unwrap_err(), OpenError::Forged);
    }
    assert_eq!(
        open(&super::tests::keys(), sealed, NOW).unwrap_err(),
        OpenError::Forged,
        "another key"
    );
    assert_eq!(open(&keys, &"mg1.".repeat(2000), NOW).unwrap_err(), OpenError::Forged);
}

#[test]
fn a_token_opens_only_within_its_lifetime() {
    let keys = keys();
    let sealed = seal(&keys, token(Credential::Anonymous)).unwrap();
    for (now, opens) in [
        (NOW - 61, false),
        (NOW - 60, true),
        (NOW + 3599, true),
        (NOW + 3600, false),
        (u64::MAX, false),
    ] {
        assert_eq!(open(&keys, &sealed, now).is_ok(), opens, "{now}");
    }
}

#[test]
fn the_length_of_a_sealed_token_is_bounded() {
    let keys = keys();
    let of = |length: usize| seal(&keys, token(basic("alice", &"x".repeat(length))));
    for length in (0..=MAX_SECRET_BYTES).step_by(509).chain([MAX_SECRET_BYTES]) {
        assert!(of(length).is_some_and(|token| token.len() <= MAX_TOKEN_BYTES), "{length}");
    }
    assert!(of(MAX_SECRET_BYTES + 1).is_none());
    // Characters that JSON escapes take twice the space.
    assert!(seal(&keys, token(basic("alice", &"\"".repeat(MAX_SECRET_BYTES)))).is_none());
    assert!(seal(&keys, token(basic(&"x".repeat(MAX_TOKEN_BYTES), "secret"))).is_none());
}

/// A token for less than was asked is not an error.
#[test]
fn repositories_that_do_not_fit_are_left_out_of_the_token() {
    let keys = keys();
    for (secret, name_bytes) in
        [(0, 255), (0, 20), (0, 1), (MAX_SECRET_BYTES, 255), (MAX_SECRET_BYTES, 3)]
    {
        let mut long = token(basic("alice", &"x".repeat(secret)));
        let name =
            |number: usize| RepositoryName::parse(&format!("{number:0name_bytes$}")).unwrap();
        let all: Vec<_> =
            (0..2000).map(|number| (name(number), Actions::asked("pull,push"))).collect();
        long.token_scope.repositories = all.clone();
        let sealed = keys.seal(&mut long, SERVICE).unwrap();
        let room = MAX_TOKEN_BYTES - sealed.len();
        assert!(
            sealed.len() <= MAX_TOKEN_BYTES && room < 2 * name_bytes + 300,
            "{secret} {name_bytes}: {}",
            sealed.len()
        );
        let listed = open(&keys, &sealed, NOW).unwrap().token_scope.repositories;
        assert!(!listed.is_empty() && all.starts_with(&listed), "{secret} {name_bytes}");
        assert_eq!(long.token_scope.repositories, listed, "the caller knows");
    }
}

/// Two registries may share a file of keys, and a token of one is not valid at the other.
#[test]
fn a_token_is_for_one_service() {
    let keys = keys();
    let sealed = seal(&keys, token(basic("alice", "secret"))).unwrap();
    for service in
        ["other.test", "registry.test:5000", "Registry.test", "", "registry.test\n", "registry.tes"]
    {
        assert_eq!(keys.open(&sealed, service, NOW).unwrap_err(), OpenError::Forged, "{service}");
    }
    assert!(keys.open(&sealed, SERVICE, NOW).is_ok());
}

#[test]
fn the_first_key_seals_and_all_open() {
    let line = |byte| BASE64_STANDARD.encode([byte; 32]);
    let (old, both, new) =
        (line(1), format!("{}\n# the old one\n\n{}\n", line(2), line(1)), line(2));
    let [old, both, new] = [&old, &both, &new].map(|text| TokenKeys::parse(text).unwrap());
    let sealed = |keys: &TokenKeys| seal(keys, token(Credential::Anonymous)).unwrap();
    assert!(open(&both, &sealed(&old), NOW).is_ok());
    assert!(open(&new, &sealed(&both), NOW).is_ok());
    assert!(open(&old, &sealed(&both), NOW).is_err());
}

#[test]
fn a_key_file_is_one_key_a_line() {
    let key = BASE64_STANDARD.encode([1; 32]);
    for (text, error) in [
        ("".to_owned(), KeyFileError::Empty),
        ("\n# nothing\n".to_owned(), KeyFileError::Empty),
        (format!("{key}\nnot base64!"), KeyFileError::NotBase64(2)),
        (BASE64_STANDARD.encode([1; 31]), KeyFileError::Length(1, 31)),
        (BASE64_STANDARD.encode([1; 64]), KeyFileError::Length(1, 64)),
        (format!("{key}\n\n{key}\n"), KeyFileError::Twice(3, 1)),
    ] {
        assert_eq!(TokenKeys::parse(&text).unwrap_err(), error);
    }
}

/// Each key is compared with all keys before it, and a file that was named by mistake may have any
/// size.
#[test]
fn a_key_file_has_at_most_16_keys() {
    let line = |number: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        BASE64_STANDARD.encode(key)
    };
    let lines = |count| (0..count).map(line).collect::<Vec<_>>().join("\n");
    assert!(TokenKeys::parse(&lines(16)).is_ok());
    assert_eq!(TokenKeys::parse(&lines(200_000)).unwrap_err(), KeyFileError::TooMany(17));
}

#[test]
fn a_token_allows_only_what_it_lists() {
    use crate::registry::Action;
    let token_scope = token(Credential::Anonymous).token_scope;
    let on = |name, action| Access::Repository(RepositoryName::parse(name).unwrap(), action);
    for (access, allowed) in [
        (Access::Login, true),
        (Access::Catalog, false),
        (on("a/b", Action::Push), true),
        (on("a/b", Action::Delete), false),
        (on("c", Action::Pull), true),
        (on("c", Action::Push), false),
        (on("a", Action::Pull), false),
    ] {
        assert_eq!(token_scope.allows(&access), allowed, "{access:?}");
    }
    assert!(
        TokenScope { catalog: CatalogShare::All, ..TokenScope::default() }.allows(&Access::Catalog)
    );
}

fn several(scopes: &[(&str, &str)]) -> Access {
    let wanted = scopes
        .iter()
        .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
    Access::several(wanted.collect())
}

/// A mount needs several accesses at once if the upstream receives one token for both repositories.
#[test]
fn a_token_allows_several_repositories_only_if_it_lists_all_of_them() {
    let token_scope = token(Credential::Anonymous).token_scope;
    for (scopes, allowed, mentioned) in [
        (&[("a/b", "pull,push"), ("c", "pull")][..], true, true),
        (&[("a/b", "push"), ("c", "pull")], true, true),
        (&[("a/b", "pull,push"), ("c", "push")], false, true),
        (&[("a/b", "delete"), ("c", "pull")], false, true),
        (&[("a/b", "pull,push"), ("d", "pull")], false, false),
        (&[("d", "pull"), ("e", "pull")], false, false),
        (&[("c", "pull")], true, true),
        (&[("d", "pull")], false, false),
        (&[], true, true),
    ] {
        let access = several(scopes);
        assert_eq!(token_scope.allows(&access), allowed, "{access:?}");
        assert_eq!(token_scope.mentions(&access), mentioned, "{access:?}");
    }
}

#[test]
fn the_contents_of_a_token_are_written_as_scopes() {
    let TokenScope { repositories, .. } = token(Credential::Anonymous).token_scope;
    let of = |repositories: &[(RepositoryName, Actions)], catalog| {
        TokenScope { repositories: repositories.to_vec(), catalog, refused: Vec::new() }.scopes()
    };
    assert_eq!(of(&repositories, CatalogShare::None), "repository:a/b:pull,push repository:c:pull");
    assert_eq!(
        of(&repositories[1..], CatalogShare::Listed),
        "repository:c:pull registry:catalog:*"
    );
    assert_eq!(of(&[], CatalogShare::All), "registry:catalog:*");
    assert_eq!(of(&[], CatalogShare::None), "");
}

/// The catalog shows at most what can be pulled with the token. It shows everything if only the
/// list was asked for.
#[test]
fn a_token_limits_the_catalog_to_the_repositories_it_can_pull() {
    let mut token_scope = token(Credential::Anonymous).token_scope;
    let push_alone = Actions { push: true, ..Actions::default() };
    token_scope.repositories.push((RepositoryName::parse("d").unwrap(), push_alone));
    let shown: Vec<_> =
        token_scope.shown().unwrap().iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(shown, ["a/b", "c"]);
    assert_eq!(TokenScope { catalog: CatalogShare::All, ..TokenScope::default() }.shown(), None);
    // The client asked for repositories, and none was granted.
    assert_eq!(
        TokenScope { catalog: CatalogShare::Listed, ..TokenScope::default() }.shown(),
        Some(Vec::new())
    );
}

#[test]
fn an_error_of_a_key_file_has_its_line() {
    for (error, line) in [
        (KeyFileError::Empty, 1),
        (KeyFileError::NotBase64(2), 2),
        (KeyFileError::Length(3, 31), 3),
        (KeyFileError::Twice(4, 1), 4),
        (KeyFileError::TooMany(17), 17),
    ] {
        assert_eq!(error.line(), line, "{error}");
    }
}

/// Credentials are hashed under the key that seals, so that replicas with the same file compute the
/// same fingerprint.
#[test]
fn the_hash_key_is_that_of_the_first_key() {
    let line = |byte| BASE64_STANDARD.encode([byte; 32]);
    let hash = |text: &str| {
        let keys = TokenKeys::parse(text).unwrap();
        HashKey::new(keys.hash_key().unwrap())
            .credential(&basic("alice", "secret"))
            .fingerprint()
            .to_string()
    };
    assert_eq!(hash(&line(1)), hash(&format!("{}\n{}", line(1), line(2))));
    assert_ne!(hash(&line(1)), hash(&line(2)));
}
