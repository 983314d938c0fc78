//! Keyed hashes of fixed size for credentials and questions: the keys of the cache and the
//! identifiers in logs.

use std::fmt;

use super::Question;
use super::credential::Credential;
use crate::registry::{Access, Actions};

/// The number of bytes of a [`QuestionId`] that depend on the credential only.
const CREDENTIAL_BYTES: usize = 4;

/// The key for hashing secrets. Without it, a hash from a log or from memory cannot be checked
/// against guessed tokens.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

/// The hash of a credential (its kind, user name and secret) under the key of the process. Two ids
/// differ if any of the three differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialId([u8; 32]);

/// The hash of a secret alone under the key of the process. It does not depend on the user name or
/// the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretId([u8; 16]);

/// 8 bytes of a keyed hash, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

/// The identifiers of a credential for operators: logs show them and revocations look them up. They
/// leave out everything that a holder can vary without changing the credential. For a JWT, this is
/// the user name sent with it, the scheme, and the signature: anyone who has one valid ECDSA
/// signature can compute a second one (`s` and `n - s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownAs {
    /// The hash of the secret, independent of the user name and the scheme. For a JWT, the hash of
    /// its signed part.
    pub secret: SecretId,
    /// The identifier in logs. It depends on the scheme, the user name and the secret; for a JWT,
    /// on its signed part only.
    pub fingerprint: Fingerprint,
}

/// The hash of a question to one provider: of the credential and of everything else that the answer
/// depends on.
///
/// 96 bits are taken from the keyed hash. Without the key, an attacker cannot search for
/// collisions, and an accidental collision among the few questions kept is negligible. The other 32
/// bits, which stand first, depend on the credential only; they tell apart credentials that share
/// one secret. Few credentials share a secret, and a collision there only drops a cached answer too
/// early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuestionId([u8; 16]);

/// The inputs, besides the credential, that the answer of a provider depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependsOn {
    /// Nothing else: the answer lists the rights of the credential everywhere.
    Credential,
    /// The repository and the action.
    Repository,
    /// The repository, the action and the address of the client, which the provider receives and
    /// takes into account.
    RepositoryAndAddress,
}

impl HashKey {
    /// Derives the key from the first token key of the gate. Replicas with the same key file
    /// therefore compute the same identifiers for a credential.
    pub fn of_token_key(bytes: &[u8; 32]) -> Self {
        Self(blake3::derive_key("moorgate credential hash key", bytes))
    }

    /// Creates a random key.
    ///
    /// # Errors
    /// If the system cannot provide random bytes.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self(key))
    }

    /// Hashes a credential.
    pub fn credential(&self, credential: &Credential) -> CredentialId {
        let (kind, user, secret) = credential.parts();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind]);
        length_prefixed(&mut hasher, user.as_bytes());
        length_prefixed(&mut hasher, secret.as_bytes());
        CredentialId(*hasher.finalize().as_bytes())
    }

    /// Hashes the secret of a credential.
    pub fn secret(&self, credential: &Credential) -> SecretId {
        let (_, _, secret) = credential.parts();
        self.text(secret)
    }

    /// Returns the identifiers for operators of a credential; `id` and `secret` are its hashes.
    pub fn known_as(&self, credential: &Credential, id: CredentialId, secret: SecretId) -> KnownAs {
        let Some(signed) = signed_part(credential.parts().2) else {
            return KnownAs { secret, fingerprint: id.fingerprint() };
        };
        let secret = self.text(signed);
        KnownAs {
            secret,
            fingerprint: Fingerprint(secret.0.first_chunk().copied().unwrap_or_default()),
        }
    }

    fn text(&self, text: &str) -> SecretId {
        let hash = blake3::keyed_hash(&self.0, text.as_bytes());
        SecretId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// Hashes a question to the provider with this number.
    pub fn question(&self, provider: u32, depends: DependsOn, question: &Question) -> QuestionId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&provider.to_le_bytes());
        hasher.update(&question.id.0);
        // Numbers of revocations start at 1, so 0 stands for "not revoked".
        hasher.update(&question.revocation.number.unwrap_or_default().to_le_bytes());
        if depends != DependsOn::Credential {
            match &question.access {
                Access::Login => length_prefixed(&mut hasher, b"login"),
                Access::Catalog => length_prefixed(&mut hasher, b"catalog"),
                Access::Repository(name, action) => {
                    length_prefixed(&mut hasher, action.as_str().as_bytes());
                    length_prefixed(&mut hasher, name.as_str().as_bytes());
                }
                Access::Repositories(several) => {
                    length_prefixed(&mut hasher, b"repositories");
                    hasher.update(&(several.len() as u64).to_le_bytes());
                    for (name, Actions { pull, push, delete }) in several.iter() {
                        length_prefixed(&mut hasher, name.as_str().as_bytes());
                        hasher.update(&[u8::from(*pull), u8::from(*push), u8::from(*delete)]);
                    }
                }
            }
        }
        if depends == DependsOn::RepositoryAndAddress {
            match question.client {
                std::net::IpAddr::V4(address) => length_prefixed(&mut hasher, &address.octets()),
                std::net::IpAddr::V6(address) => length_prefixed(&mut hasher, &address.octets()),
            }
        }
        let mut id = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        for (byte, of_credential) in id.iter_mut().zip(question.id.0).take(CREDENTIAL_BYTES) {
            *byte = of_credential;
        }
        QuestionId(id)
    }
}

impl QuestionId {
    /// Returns whether both questions are about the same credential. Only meaningful for questions
    /// about the same secret.
    pub(in crate::identity) fn is_about_credential_of(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).take(CREDENTIAL_BYTES).all(|(mine, its)| *mine == its)
    }

    /// Returns a substitute secret for a caller without a credential, so that each of its questions
    /// has an entry of its own.
    pub(in crate::identity) fn in_place_of_secret(self) -> SecretId {
        SecretId(self.0)
    }
}

impl CredentialId {
    /// Returns the identifier that logs show for a credential that is not a JWT.
    pub fn fingerprint(self) -> Fingerprint {
        Fingerprint(self.0.first_chunk().copied().unwrap_or_default())
    }
}

impl Fingerprint {
    /// Parses a fingerprint as logs show it; returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        Some(Self(u64::from_str_radix(text, 16).ok().filter(|_| is_plain)?.to_be_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
impl QuestionId {
    /// Creates an arbitrary id for tests.
    pub fn any(number: u8) -> Self {
        Self([number; 16])
    }
}

/// Returns the signed part (header and claims) of a secret that looks like a JWT (RFC 7515, 7.1):
/// three parts in base64url, the first of which begins like the encoding of a JSON object.
fn signed_part(secret: &str) -> Option<&str> {
    let signed = secret.starts_with('e').then(|| secret.rsplit_once('.'))??.0;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (signed.split('.').count() == 2 && secret.bytes().all(allowed)).then_some(signed)
}

/// Hashes a part with its length in front. Without the length, the end of one part could be taken
/// for the start of the next.
fn length_prefixed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
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
    fn what_makes_no_other_credential_is_not_in_its_name() {
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
        for [one, other] in [["x.e30.c2ln", "x.e30.b3RoZXI"], ["e.x.p!", "e.x.q!"], ["e.x", "e.y"]]
        {
            assert_ne!(
                known_as(basic("a", one)).secret,
                known_as(basic("a", other)).secret,
                "{one}"
            );
            assert_eq!(known_as(basic("a", one)).secret, known_as(bearer(one)).secret);
            assert_ne!(
                known_as(basic("a", one)).fingerprint,
                known_as(basic("b", one)).fingerprint
            );
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
    fn another_process_hashes_otherwise() {
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
        let depends =
            [DependsOn::Credential, DependsOn::Repository, DependsOn::RepositoryAndAddress];
        key.question(*provider, depends[*provider as usize], &question)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

        /// Ids are equal exactly if the questions are equal.
        #[test]
        fn keys_are_shared_by_equal_questions_alone(all in prop::collection::vec(asked(), 2..60)) {
            let key = HashKey::of_token_key(&[7; 32]);
            let ids: Vec<_> = all.iter().map(|asked| (asked, id(&key, asked))).collect();
            for (one, its_id) in &ids {
                for (other, other_id) in &ids {
                    prop_assert_eq!(its_id == other_id, one == other, "{:?} {:?}", one, other);
                }
            }
        }
    }
}
