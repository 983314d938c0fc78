//! The revocations by operators, and the questions that they change.

use std::sync::{Arc, PoisonError};

use super::Authenticator;
use super::lookup::SharedState;
use crate::identity::model::Question;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::{HashKey, KnownAs, SecretId};
use crate::identity::model::revocation::{Moment, Revocation, Revoked};

/// The revocations of a gate, which last as long as the process.
#[derive(Clone)]
pub struct Revoker(Arc<SharedState>);

impl Revoker {
    /// Returns what a revocation of this secret is about: the secret as each replica may know it.
    pub fn revocable(&self, credential: &Credential) -> Vec<Revoked> {
        self.0.secrets(credential).into_iter().map(Revoked::Secret).collect()
    }

    /// Revokes a secret or a credential now: makes all earlier verdicts about it invalid, and
    /// refuses gate tokens that were sealed before. A provider that still accepts the secret admits
    /// the caller again; a workload token stays refused. A credential is revoked by its identifier
    /// in logs: the same secret with another user name stays valid.
    pub fn revoke(&self, what: &[Revoked]) -> Moment {
        let now = Moment::now();
        for what in what {
            self.0.revocations.revoke(*what, now);
        }
        now
    }

    /// Takes over a revocation that an operator sent to another replica at this Unix time, in
    /// microseconds.
    pub fn learn_revocation(&self, what: Revoked, unix_micros: u64) {
        self.0.revocations.revoke(what, Moment { unix_micros, ..Moment::now() });
    }

    /// Takes over a revocation that a replica has published again. Returns whether it was new.
    pub fn learn_revocation_again(&self, what: Revoked, unix_micros: u64) -> bool {
        self.0.revocations.learn_again(what, Moment { unix_micros, ..Moment::now() })
    }

    /// Returns all revocations, with their Unix times in microseconds.
    pub fn revocations(&self) -> Vec<(Revoked, u64)> {
        self.0.revocations.all()
    }

    /// Takes a message of the stream of refusals: drops the answers that another replica has found
    /// to be void.
    pub fn learn_refusal(&self, sealed: &[u8]) {
        let shared = self.0.shared_verdicts.as_ref();
        let Some((secrets, at)) = shared.and_then(|shared| shared.read_refusal(sealed)) else {
            return;
        };
        for secret in secrets {
            self.0.cache.forget_before(secret, at);
        }
    }

    /// Drops all verdicts, because a revocation may have been missed.
    pub fn drop_verdicts(&self) {
        self.0.cache.clear();
        if let Some(shared) = &self.0.shared_verdicts {
            shared.forget();
        }
    }

    /// Sets the keys of the key file, which has changed.
    pub fn set_hash_keys(&self, keys: impl Iterator<Item = HashKey>) {
        let others: Arc<[HashKey]> = keys.filter(|key| *key != self.0.key).collect();
        *self.0.other_keys.write().unwrap_or_else(PoisonError::into_inner) = others;
    }
}

impl Authenticator {
    /// Returns the revocations of the gate.
    pub fn revoker(&self) -> Revoker {
        Revoker(self.shared.clone())
    }

    /// Returns whether an operator has revoked the credential of a gate token since it was sealed
    /// (Unix time, microseconds).
    pub fn has_revoked_sealed(&self, question: &Question, sealed_at: u64) -> bool {
        self.shared
            .revocation(&question.credential, &question.known_as)
            .refuses_sealed_at(sealed_at)
    }

    /// Returns the question with the current revocations, if an operator has revoked the credential
    /// since the question was created. The question may have waited for its answer, or for another
    /// question of the same request.
    pub(super) fn refreshed_if_revoked(&self, question: &Question) -> Option<Question> {
        let revocation = self.shared.revocation(&question.credential, &question.known_as);
        (revocation != question.revocation).then(|| Question { revocation, ..question.clone() })
    }
}

impl SharedState {
    /// Returns the revocations of a credential, under any key that a replica may hash it with.
    pub(super) fn revocation(&self, credential: &Credential, known_as: &KnownAs) -> Revocation {
        let mut found = self.revocations.lookup(known_as);
        if self.revocations.revision() > 0 {
            for key in self.other_keys().iter() {
                found = found.or_later(self.revocations.lookup(&key.of_credential(credential)));
            }
        }
        found
    }

    /// Returns the hashes of the secret under all keys that a replica may hash it with.
    pub(super) fn secrets(&self, credential: &Credential) -> Vec<SecretId> {
        let others = self.other_keys();
        let keys = [&self.key].into_iter().chain(&*others);
        keys.map(|key| key.of_credential(credential).secret).collect()
    }

    fn other_keys(&self) -> Arc<[HashKey]> {
        self.other_keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
