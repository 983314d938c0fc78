use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::registry::RepositoryName;

fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic { user: user.into(), password: SecretString::from(password) }
}

#[test]
fn no_two_credentials_share_an_id() {
    let key = HashKey::random().unwrap();
    let ids = [
        basic("ab", "c"),
        basic("a", "bc"),
        basic("", "abc"),
        Credential::Bearer(SecretString::from("abc")),
        Credential::Anonymous,
        basic("u", &format!("{}x", "p".repeat(72))),
        basic("u", &format!("{}y", "p".repeat(72))),
    ]
    .map(|credential| key.credential(&credential));
    for (at, id) in ids.iter().enumerate() {
        assert!(ids.iter().skip(at + 1).all(|other| other != id), "{at}");
    }
}

#[test]
fn the_signature_and_user_name_of_a_jwt_do_not_change_its_fingerprint() {
    let key = HashKey::random().unwrap();
    let bearer = |secret: &str| Credential::Bearer(SecretString::from(secret));
    let known_as = |credential: Credential| {
        key.known_as(&credential, key.credential(&credential), key.secret(&credential))
    };
    let jwt = known_as(bearer("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"));
    for same in [
        bearer("eyJhbGciOiJFUzI1NiJ9.e30.b3RoZXI"),
        basic("oidc", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
        basic("other", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
    ] {
        assert_eq!(known_as(same), jwt);
    }
    for other in
        [bearer("eyJhbGciOiJFUzI1NiJ9.e31.c2ln"), bearer("eyJhbGciOiJFUzI1NiJ9.e30.c2ln.c2ln")]
    {
        let other = known_as(other);
        assert!(other.secret != jwt.secret && other.fingerprint != jwt.fingerprint);
    }
    // In any other secret, each character counts. The user name counts in the fingerprint, but
    // not in the hash of the secret.
    for [one, other] in [["x.e30.c2ln", "x.e30.b3RoZXI"], ["e.x.p!", "e.x.q!"], ["e.x", "e.y"]] {
        assert_ne!(known_as(basic("a", one)).secret, known_as(basic("a", other)).secret, "{one}");
        assert_eq!(known_as(basic("a", one)).secret, known_as(bearer(one)).secret);
        assert_ne!(known_as(basic("a", one)).fingerprint, known_as(basic("b", one)).fingerprint);
    }
}

/// The list also contains questions whose encodings could be confused: one list with another,
/// or a list with another kind of question.
#[test]
fn no_two_questions_share_an_id() {
    use crate::registry::{Action, RepositoryName};
    let name = |text: &str| RepositoryName::parse(text).unwrap();
    let several = |list: &[(&str, &str)]| {
        Access::Repositories(
            list.iter().map(|(text, words)| (name(text), Actions::asked(words))).collect(),
        )
    };
    let key = HashKey::random().unwrap();
    let all = [
        Access::Login,
        Access::Catalog,
        Access::Repository(name("a"), Action::Pull),
        Access::Repository(name("b"), Action::Pull),
        Access::Repository(name("a"), Action::Push),
        Access::Repository(name("repositories"), Action::Pull),
        several(&[("a", "pull")]),
        several(&[("a", "pull,push")]),
        several(&[("a", "delete")]),
        several(&[("a", "pull"), ("b", "pull")]),
        several(&[("a", "pull"), ("b", "pull,push")]),
        several(&[("b", "pull"), ("a", "pull")]),
        several(&[("a", "pull"), ("b", "pull"), ("c", "pull")]),
        several(&[("ab", "pull"), ("c", "pull")]),
    ];
    let ids = |credential: Credential, address: [u8; 4], depends| {
        let question = |access: &Access| {
            Question::new(
                &key,
                credential.clone(),
                access.clone(),
                address.into(),
                "request".into(),
            )
        };
        all.iter().map(|access| key.question(0, depends, &question(access))).collect::<Vec<_>>()
    };
    let mut seen = std::collections::HashSet::new();
    let depends = DependsOn::RepositoryAndAddress;
    for credential in [Credential::Anonymous, basic("u", "p")] {
        for address in [[192, 0, 2, 1], [192, 0, 2, 2]] {
            seen.extend(ids(credential.clone(), address, depends));
        }
        seen.extend(ids(credential, [192, 0, 2, 1], DependsOn::Repository));
    }
    assert_eq!(seen.len(), 6 * all.len());
}

#[test]
fn two_random_keys_hash_a_credential_differently() {
    let credential = basic("u", "p");
    assert!(
        HashKey::random().unwrap().credential(&credential)
            != HashKey::random().unwrap().credential(&credential)
    );
}

/// The inputs that an answer can depend on. The words are short and use few letters, so that
/// many inputs differ only in the boundary between two parts.
type Asked = (
    u32,
    u8,
    String,
    String,
    Option<(u8, Vec<(String, [bool; 3])>)>,
    Option<std::net::IpAddr>,
    u64,
);

fn asked() -> impl Strategy<Value = Asked> {
    let word = || "[a:]{0,3}";
    let action = prop::array::uniform3(any::<bool>());
    let repositories = prop::collection::vec(("[ab]{1,2}", action), 1..3);
    let access = prop_oneof![
        (0_u8..2).prop_map(|kind| (kind, Vec::new())),
        (2_u8..5, "[ab]{1,2}").prop_map(|(kind, name)| (kind, vec![(name, [false; 3])])),
        repositories.prop_map(|several| (5, several)),
    ];
    let addresses = ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "::"]
        .map(|address| address.parse().unwrap());
    let address = prop::sample::select(addresses.to_vec());
    (0_u32..3, 0_u8..3, word(), word(), access, address, 0_u64..2).prop_map(
        |(provider, kind, user, secret, access, address, revoked)| {
            let (user, secret) = match kind {
                0 => Default::default(),
                1 => (user, secret),
                _ => (String::new(), secret),
            };
            // An input that the answers of the provider do not depend on does not change the
            // question.
            let (access, address) =
                ((provider > 0).then_some(access), (provider > 1).then_some(address));
            (provider, kind, user, secret, access, address, revoked)
        },
    )
}

fn id(
    key: &HashKey,
    (provider, kind, user, secret, access, address, revoked): &Asked,
) -> QuestionId {
    use crate::registry::Action::{Delete, Pull, Push};
    let secret = SecretString::from(secret.as_str());
    let credential = match kind {
        0 => Credential::Anonymous,
        1 => Credential::Basic { user: user.clone(), password: secret },
        _ => Credential::Bearer(secret),
    };
    let name = |name: &str| RepositoryName::parse(name).unwrap();
    let access = match access.as_ref().map(|(kind, names)| (kind, &**names)) {
        None | Some((0, _)) => Access::Login,
        Some((1, _)) => Access::Catalog,
        Some((kind @ 2..5, names)) => {
            Access::Repository(name(&names[0].0), [Pull, Push, Delete][usize::from(kind - 2)])
        }
        Some((_, names)) => Access::Repositories(
            names
                .iter()
                .map(|(it, [pull, push, delete])| {
                    (name(it), Actions { pull: *pull, push: *push, delete: *delete })
                })
                .collect(),
        ),
    };
    let client = address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let mut question = Question::new(key, credential, access, client, "request".into());
    question.revocation.number = Some(*revoked).filter(|number| *number > 0);
    let depends = [DependsOn::Credential, DependsOn::Repository, DependsOn::RepositoryAndAddress];
    key.question(*provider, depends[*provider as usize], &question)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 200,
        ..ProptestConfig::default()
    })]

    /// Ids are equal exactly if the questions are equal.
    #[test]
    fn question_ids_are_equal_exactly_if_the_questions_are_equal(
        all in prop::collection::vec(asked(), 2..60),
    ) {
        let key = HashKey([7; 32]);
        let ids: Vec<_> = all.iter().map(|asked| (asked, id(&key, asked))).collect();
        for (one, its_id) in &ids {
            for (other, other_id) in &ids {
                prop_assert_eq!(its_id == other_id, one == other, "{:?} {:?}", one, other);
            }
        }
    }
}

/// Replicas and later versions find a credential by the same identifier.
#[test]
fn a_credential_has_the_hash_of_its_parts_at_any_length() {
    let key = HashKey::random().unwrap();
    for length in [1, 2, SHORT - 18, SHORT - 17, SHORT - 16, SHORT, SHORT + 1, 5000] {
        let password = "p".repeat(length);
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        for part in [&[1][..], &1_u64.to_le_bytes(), b"u", &length.to_le_bytes()] {
            hasher.update(part);
        }
        hasher.update(password.as_bytes());
        let expected = CredentialId(*hasher.finalize().as_bytes());
        assert_eq!(key.credential(&basic("u", &password)), expected, "{length}");
    }
}
