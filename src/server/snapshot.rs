//! What a reload replaces, all of it at once, and how a worker comes to the newest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;

use super::ServerSettings;
use crate::gate::Gate;
use crate::upstream::{Upstream, UpstreamSettings};

/// All that one configuration makes of the request path. Immutable: a change is a new one.
pub struct Snapshot {
    pub(crate) gate: Gate,
    pub(crate) upstream: Arc<UpstreamSettings>,
    pub(crate) server: Arc<ServerSettings>,
    /// What whoever revokes a credential must have.
    pub(crate) admin_token: Option<SecretString>,
}

/// What a worker serves with: the newest snapshot, and its own connections to that one's
/// registry. A request keeps the one that it began with.
pub(super) struct Serving {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstream: Upstream,
}

/// A worker's way to the newest snapshot. A `watch` rather than an atomic pointer: asking costs
/// as little, and a worker that has nothing to serve is woken to let go of the old one.
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

    /// What a request that begins now is served with.
    pub(super) fn serving(&self) -> Rc<Serving> {
        if self.told.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        self.serving.borrow().clone()
    }

    /// Lets go of each old snapshot when there is a newer one, for ever.
    pub(super) async fn follow(&self) {
        let mut told = self.told.borrow().clone();
        while told.changed().await.is_ok() {
            drop(self.serving());
        }
    }

    fn renew(&self) {
        let snapshot = self.told.borrow_mut().borrow_and_update().clone();
        let old = self.serving.borrow().clone();
        // The connections that there are go on being used where they lead to the same registry.
        let same = Arc::ptr_eq(&old.snapshot.upstream, &snapshot.upstream);
        let upstream =
            if same { old.upstream.clone() } else { Upstream::new(snapshot.upstream.clone()) };
        self.serving.replace(Rc::new(Serving { snapshot, upstream }));
    }
}
