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
pub struct Generation {
    pub(crate) gate: Gate,
    pub(crate) upstream: Arc<UpstreamSettings>,
    pub(crate) server: Arc<ServerSettings>,
    /// What whoever revokes a credential must have.
    pub(crate) admin_token: Option<SecretString>,
}

/// What a worker serves with: the newest generation, and its own connections to that one's
/// registry. A request keeps the one that it began with.
pub(super) struct Serving {
    pub(super) generation: Arc<Generation>,
    pub(super) upstream: Upstream,
}

/// A worker's way to the newest generation. A `watch` rather than an atomic pointer: asking costs
/// as little, and a worker that has nothing to serve is woken to let go of the old one.
pub(super) struct Newest {
    told: RefCell<watch::Receiver<Arc<Generation>>>,
    serving: RefCell<Rc<Serving>>,
}

impl Newest {
    pub(super) fn new(mut told: watch::Receiver<Arc<Generation>>) -> Self {
        let generation = told.borrow_and_update().clone();
        let upstream = Upstream::new(generation.upstream.clone());
        Self {
            told: RefCell::new(told),
            serving: RefCell::new(Rc::new(Serving { generation, upstream })),
        }
    }

    /// What a request that begins now is served with.
    pub(super) fn serving(&self) -> Rc<Serving> {
        if self.told.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        self.serving.borrow().clone()
    }

    /// Lets go of each old generation when there is a newer one, for ever.
    pub(super) async fn follow(&self) {
        let mut told = self.told.borrow().clone();
        while told.changed().await.is_ok() {
            drop(self.serving());
        }
    }

    fn renew(&self) {
        let generation = self.told.borrow_mut().borrow_and_update().clone();
        let old = self.serving.borrow().clone();
        // The connections that there are go on being used where they lead to the same registry.
        let same = Arc::ptr_eq(&old.generation.upstream, &generation.upstream);
        let upstream =
            if same { old.upstream.clone() } else { Upstream::new(generation.upstream.clone()) };
        self.serving.replace(Rc::new(Serving { generation, upstream }));
    }
}
