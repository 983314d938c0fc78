//! The record of what each provider said about a credential. Only `moorgate explain` keeps one:
//! without it, a search pays one comparison for each provider that it asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Authenticator, ManagedProvider};
use crate::identity::model::Verdict;
use crate::identity::model::credential::Credential;
use crate::identity::model::trail::{Consulted, Statement};

/// The part of each provider in the searches of one request.
#[derive(Default)]
pub(super) struct Trail(Mutex<Vec<Consulted>>);

impl Authenticator {
    /// Records from now on what each provider says, for [`consulted`](Self::consulted). The record
    /// covers one request, so the gate that serves does not call this.
    pub fn keep_trail(&self) {
        let _ = self.trail.set(Trail::default());
    }

    /// Returns the part of each provider in the decision about the credential, in the order of the
    /// config. The list is empty if no search took place.
    pub fn consulted(&self) -> Vec<Consulted> {
        self.trail.get().map_or_else(Vec::new, |trail| trail.lock().clone())
    }

    /// Notes for each provider why it would not be asked about this credential. A later search of
    /// the same request asks less, because it knows the provider: it does not replace the notes.
    pub(super) fn note_order(
        &self,
        credential: &Credential,
        may_be_asked: impl Fn(&ManagedProvider) -> bool,
    ) {
        let Some(trail) = self.trail.get() else { return };
        let mut consulted = trail.lock();
        if !consulted.is_empty() {
            return;
        }
        let issuer = self.issuer_in_chain(credential);
        *consulted = self
            .providers
            .iter()
            .map(|provider| {
                let statement = match issuer {
                    _ if may_be_asked(provider) => Statement::NotReached,
                    _ if matches!(credential, Credential::Anonymous) => Statement::OnlyCredentials,
                    Some(issuer) if issuer.number != provider.number => {
                        Statement::JwtOf(issuer.name.clone())
                    }
                    _ => Statement::NotAccepted,
                };
                Consulted {
                    provider: provider.name.clone(),
                    type_name: provider.type_name(),
                    statement,
                }
            })
            .collect();
    }

    /// Notes the verdict of a provider.
    pub(super) fn note_verdict(&self, provider: &ManagedProvider, verdict: &Verdict) {
        let Some(trail) = self.trail.get() else { return };
        let mut consulted = trail.lock();
        if let Some(of) = consulted.iter_mut().find(|of| of.provider == provider.name) {
            of.statement = Statement::of(verdict);
        }
    }
}

impl Trail {
    fn lock(&self) -> MutexGuard<'_, Vec<Consulted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
