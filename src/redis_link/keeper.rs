//! The task that keeps a link up.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::fault::RedisFault;
use super::session::Session;
use super::{RedisLink, connect_limit};

/// The time between two looks at a link that is up, and after which an idle link is tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the keeper of a link for as long as the link lives, and starts it again if it dies.
pub(super) async fn supervise(link: Weak<RedisLink>, wake: Arc<Notify>) {
    while let Err(error) = tokio::spawn(keep(link.clone(), wake.clone())).await {
        let Some(link) = link.upgrade().filter(|_| error.is_panic()) else { return };
        tracing::error!("the task that connects to Redis has failed and starts again: {error}");
        link.set_session(None);
        drop(link);
        sleep(LOOK_EVERY).await;
    }
}

async fn keep(link: Weak<RedisLink>, wake: Arc<Notify>) {
    let mut next_attempt = Instant::now();
    loop {
        let Some(link) = link.upgrade() else { return };
        let replaced = link.replaced.swap(false, Ordering::Relaxed);
        let session = link.session().filter(|_| !replaced);
        if let Some(session) = &session {
            link.look_at(session).await;
        } else if replaced || next_attempt <= Instant::now() {
            link.connect().await;
            // Many gates lose the same server at the same time.
            next_attempt = Instant::now() + LOOK_EVERY.mul_f64(0.75 + 0.5 * fastrand::f64());
        }
        let wait = if link.is_up() {
            LOOK_EVERY
        } else {
            next_attempt.saturating_duration_since(Instant::now())
        };
        drop((link, session));
        tokio::select! {
            () = wake.notified() => {}
            () = sleep(wait) => {}
        }
    }
}

impl RedisLink {
    /// Connects with the present settings, and takes the link up or down.
    async fn connect(&self) {
        let settings = super::lock(&self.settings).clone();
        let limit = connect_limit(&settings);
        let opened = match self.dialer(settings) {
            Ok(dialer) => Session::open(dialer, &self.attempts, limit).await,
            Err(fault) => Err(fault),
        };
        match opened {
            Ok(session) => {
                self.was_answered();
                self.set_session(Some(Arc::new(session)));
                self.log_up();
            }
            Err(fault) => {
                self.set_session(None);
                self.failed_with(&fault);
            }
        }
    }

    /// Looks whether all is well, and takes the link down if not.
    async fn look_at(&self, session: &Arc<Session>) {
        if let Some(fault) = session.end() {
            return self.broke(session, &fault);
        }
        let is_idle = self.idle() >= LOOK_EVERY.mul_f64(0.9);
        let limit = session.settings.timeout * session.masters();
        let look = async {
            session.follow().await?;
            if is_idle { session.probe().await } else { Ok(()) }
        };
        match timeout(limit, look).await {
            Ok(Ok(())) if is_idle => self.was_answered(),
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.broke(session, &fault),
            Err(_) => {
                let waited = humantime::format_duration(limit);
                let what = format!("a key could not be written within {waited}");
                self.broke(session, &RedisFault::late(what));
            }
        }
    }
}
