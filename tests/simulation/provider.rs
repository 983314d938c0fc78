//! The credentials of a simulation, and what their provider would say about them at each time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fastrand::Rng;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::{DependsOn, HashKey, SharedQuestionId};
use moorgate::identity::model::revocation::{Revocation, Revoked};
use moorgate::identity::model::{
    Granted, Lifetime, Principal, Question, Source, Verdict, Verified,
};
use moorgate::identity::shared_verdicts::values;
use moorgate::rate_limit::Nanos;
use moorgate::registry::Access;
use moorgate::request_id::RequestId;
use moorgate::sealing::TokenKeys;
use secrecy::SecretString;

/// The id of the provider.
const PROVIDER: [u8; 16] = [7; 16];

/// A provider, its credentials, and the keys of the replicas.
pub(crate) struct Provider {
    pub(crate) keys: TokenKeys,
    shared: HashKey,
    pub(crate) name: Arc<str>,
    pub(crate) credentials: Vec<KnownCredential>,
    /// `true` while it answers nobody.
    pub(crate) is_down: bool,
    /// The questions that it was asked.
    pub(crate) asked: u64,
}

/// A credential.
pub(crate) struct KnownCredential {
    pub(crate) question: Question,
    /// The times from which on it is valid, or not. The last counts.
    truth: Vec<(Nanos, bool)>,
}

impl Provider {
    /// Creates a provider. Each two credentials have one secret.
    pub(crate) fn new(credentials: usize, random: &mut Rng) -> Self {
        let keys = TokenKeys::parse("ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=").unwrap();
        let key = HashKey::new(keys.hash_key().unwrap());
        let credential = |number: usize| {
            let (user, password) = (format!("user{number}"), format!("secret{}", number / 2));
            let credential = Credential::Basic { user, password: SecretString::from(password) };
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let question =
                Question::new(&key, credential, Access::Login, client, RequestId::random());
            KnownCredential { question, truth: vec![(0, random.u8(..8) > 0)] }
        };
        Self {
            shared: HashKey::new(keys.shared_hash_key().unwrap()),
            credentials: (0..credentials).map(credential).collect(),
            keys,
            name: "gitlab".into(),
            is_down: false,
            asked: 0,
        }
    }

    /// Returns the question about a credential with these revocations, as all replicas know it.
    pub(crate) fn shared(&self, who: usize, revocation: Revocation) -> SharedQuestionId {
        let question = Question { revocation, ..self.credentials[who].question.clone() };
        self.shared.shared_question(&PROVIDER, DependsOn::Credential, &question)
    }

    /// Returns the keys of a question.
    pub(crate) fn names(&self, id: &SharedQuestionId) -> [String; 4] {
        values::names("m", id)
    }

    /// Returns the verdict on a credential.
    pub(crate) fn verdict(&self, is_valid: bool) -> Verdict {
        if !is_valid {
            return Verdict::Rejected;
        }
        let source =
            Source { provider: self.name.clone(), credential_type: None, folds_case: false };
        let principal = Principal { source: source.into(), subject: "someone".into() };
        let verified = Verified { principal, granted: Granted::Identity, attributes: None };
        Verdict::Verified(verified.into(), Lifetime::default())
    }

    /// Changes the truth about a credential from now on.
    pub(crate) fn set_valid(&mut self, who: usize, now: Nanos, is_valid: bool) {
        self.credentials[who].truth.push((now, is_valid));
    }

    pub(crate) fn is_valid(&self, who: usize) -> bool {
        self.credentials[who].truth.last().is_some_and(|(_, is_valid)| *is_valid)
    }

    /// Returns whether a credential was valid at some time from `from` to `to`.
    pub(crate) fn was_valid(&self, who: usize, from: Nanos, to: Nanos) -> bool {
        let truth = &self.credentials[who].truth;
        truth.iter().enumerate().any(|(place, (since, is_valid))| {
            let until = truth.get(place + 1).map_or(Nanos::MAX, |(until, _)| *until);
            *is_valid && *since <= to && until > from
        })
    }

    /// Returns the objects of a revocation of a credential.
    pub(crate) fn revoked(&self, who: usize, whole_secret: bool) -> Revoked {
        let known_as = self.credentials[who].question.known_as;
        if whole_secret {
            Revoked::Secret(known_as.secret)
        } else {
            Revoked::Credential(known_as.fingerprint)
        }
    }
}
