//! The facts that the registry's answers have shown about its challenges.

use std::sync::{Arc, PoisonError, RwLock};

use super::scope::{RequestScopes, actions_instead};
use crate::registry::{Operation, RegistryRequest};
use crate::upstream::challenge::{BearerChallenge, RegistryChallenge};

/// The facts that the registry's answers have shown.
#[derive(Default)]
pub(super) struct Learned(RwLock<Facts>);

#[derive(Default)]
struct Facts {
    /// The challenge for everything but the catalog.
    challenge: Option<Arc<RegistryChallenge>>,
    /// The challenge for the catalog. Harbor takes Basic there, and Bearer elsewhere.
    catalog: Option<Arc<RegistryChallenge>>,
    /// `true` if the registry answered `GET /v2/` without a challenge.
    is_open: bool,
    /// The actions that the registry asks for where they are not those of the operation.
    actions: Vec<(Operation, String)>,
}

impl Facts {
    fn place(&mut self, wanted: &RegistryRequest) -> &mut Option<Arc<RegistryChallenge>> {
        match wanted {
            RegistryRequest::Catalog { .. } => &mut self.catalog,
            _ => &mut self.challenge,
        }
    }
}

impl Learned {
    /// Returns the scopes of a request.
    pub(super) fn scopes(&self, wanted: &RegistryRequest) -> RequestScopes {
        let operation = wanted.operation();
        let facts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let actions = facts.actions.iter().find(|(of, _)| *of == operation);
        RequestScopes::of(wanted, actions.map(|(_, actions)| actions.as_str()))
    }

    /// Returns the challenge for such a request.
    pub(super) fn challenge(&self, wanted: &RegistryRequest) -> Option<Arc<RegistryChallenge>> {
        let facts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match wanted {
            RegistryRequest::Catalog { .. } => facts.catalog.clone(),
            _ => facts.challenge.clone(),
        }
    }

    /// Returns whether the registry takes requests without a credential, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_open
    }

    /// Takes note that the registry answered `GET /v2/` without a challenge.
    pub(super) fn note_open(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).is_open = true;
    }

    /// Takes note of the challenge in a 401 to a request.
    pub(super) fn learn(&self, wanted: &RegistryRequest, challenge: RegistryChallenge) {
        let mut facts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        facts.is_open = false;
        if let RegistryChallenge::Bearer(BearerChallenge { scope: Some(scope), .. }) = &challenge
            && let Some(actions) = actions_instead(wanted, scope)
        {
            let operation = wanted.operation();
            facts.actions.retain(|(of, _)| *of != operation);
            facts.actions.push((operation, actions));
        }
        let place = facts.place(wanted);
        if place.as_deref() != Some(&challenge) {
            *place = Some(Arc::new(challenge));
        }
    }

    /// Forgets a challenge that led to no credential, so that the registry is asked again.
    pub(super) fn forget(&self, wanted: &RegistryRequest, challenge: &Arc<RegistryChallenge>) {
        let mut facts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = facts.place(wanted);
        if place.as_ref().is_some_and(|known| Arc::ptr_eq(known, challenge)) {
            *place = None;
        }
    }
}
