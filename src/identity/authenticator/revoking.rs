//! The revocations by operators, and the questions that they change.

use super::Authenticator;
use crate::identity::model::Question;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::Fingerprint;
use crate::identity::model::revocation::{Moment, Revoked};

impl Authenticator {
    /// Revokes a secret: makes all earlier verdicts about it invalid, and refuses gate tokens that
    /// were sealed before now. A provider that still accepts the secret admits the caller
    /// again; a workload token stays refused.
    pub fn revoke_secret(&self, credential: &Credential) {
        let key = &self.shared.key;
        let known_as = key.known_as(credential, key.credential(credential), key.secret(credential));
        self.revoke(Revoked::Secret(known_as.secret));
    }

    /// Revokes a credential by its identifier in logs. The same secret with another user name stays
    /// valid.
    pub fn revoke_credential(&self, fingerprint: Fingerprint) {
        self.revoke(Revoked::Credential(fingerprint));
    }

    fn revoke(&self, what: Revoked) {
        self.shared.revocations.revoke(what, Moment::now());
    }

    /// Returns whether an operator has revoked the credential of a gate token since it was sealed
    /// (Unix time, microseconds).
    pub fn has_revoked_sealed(&self, question: &Question, sealed_at: u64) -> bool {
        self.shared.revocations.lookup(&question.known_as).refuses_sealed_at(sealed_at)
    }

    /// Returns the question with the current revocations, if an operator has revoked the credential
    /// since the question was created. The question may have waited for its answer, or for another
    /// question of the same request.
    pub(super) fn refreshed_if_revoked(&self, question: &Question) -> Option<Question> {
        let revocation = self.shared.revocations.lookup(&question.known_as);
        (revocation != question.revocation).then(|| Question { revocation, ..question.clone() })
    }
}
