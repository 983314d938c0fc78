//! The state that a reload replaces as a whole, and the way a worker gets the newest one.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;

use super::ServerSettings;
use crate::gate::Gate;
use crate::upstream::{Upstream, UpstreamSettings};

/// Everything that one configuration was turned into for the request path. It is immutable: each
/// change creates a new snapshot.
pub struct Snapshot {
    pub(crate) gate: Gate,
    pub(crate) upstream: Arc<UpstreamSettings>,
    pub(crate) server: Arc<ServerSettings>,
    /// The token that a request to revoke a credential must present.
    pub(crate) admin_token: Option<SecretString>,
}

/// The newest snapshot and the worker's own connections to the registry of that snapshot. A request
/// keeps the value that it began with.
pub(super) struct Serving {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstream: Upstream,
}

/// A worker's access to the newest snapshot. It uses a `watch` rather than an atomic pointer: a
/// check costs as little, and a change wakes an idle worker so that it drops the old snapshot.
pub(super) struct Newest {
    told: RefCell<watch::Receiver<Arc<Snapshot>>>,
    serving: RefCell<Rc<Serving>>,
}

impl Newest {
    pub(super) fn new(mut told: watch::Receiver<Arc<Snapshot>>) -> Self {
        let snapshot = told.borrow_and_update().clone();
        let upstream = Upstream::new(snapshot.upstream.clone());
        Self {
            told: RefCell::new(told),
            serving: RefCell::new(Rc::new(Serving { snapshot, upstream })),
        }
    }

    /// Returns the state for a request that begins now.
    pub(super) fn serving(&self) -> Rc<Serving> {
        if self.told.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        self.serving.borrow().clone()
    }

    /// Drops each old snapshot when a newer one arrives, until the sender is dropped.
    pub(super) async fn follow(&self) {
        let mut told = self.told.borrow().clone();
        while told.changed().await.is_ok() {
            drop(self.serving());
        }
    }

    fn renew(&self) {
        let snapshot = self.told.borrow_mut().borrow_and_update().clone();
        let old = self.serving.borrow().clone();
        // The existing connections stay in use if they lead to the same registry.
        let same = Arc::ptr_eq(&old.snapshot.upstream, &snapshot.upstream);
        let upstream =
            if same { old.upstream.clone() } else { Upstream::new(snapshot.upstream.clone()) };
        self.serving.replace(Rc::new(Serving { snapshot, upstream }));
    }
}
