//! Tells the service manager that started the gate what the gate does, by the protocol of
//! sd_notify(3). Without `NOTIFY_SOCKET` in the environment, nothing is sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sd_notify::NotifyState;

use crate::server::Pulse;

/// The service manager that started the gate, for example systemd.
#[derive(Default)]
pub struct ServiceManager {
    /// The part of the gate's life that was reported. The lock is held while a message is sent, so
    /// that the messages of a reload and of the end do not change their order.
    life: Mutex<Life>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Starting,
    Serving,
    Stopping,
}

/// A reload that the service manager was told about.
#[must_use]
pub(super) struct Reloading<'a> {
    manager: &'a ServiceManager,
    applied: Option<bool>,
}

impl ServiceManager {
    /// Reports that the gate serves.
    pub fn serving(&self) {
        let mut life = self.lock();
        *life = Life::Serving;
        tell(&[NotifyState::Ready, NotifyState::Status("serves")]);
    }

    /// Reports that the gate ends.
    pub fn stopping(&self) {
        let mut life = self.lock();
        *life = Life::Stopping;
        tell(&[NotifyState::Stopping, NotifyState::Status("drains")]);
    }

    /// Reports that a reload begins. A reload during the start or the end is not reported.
    pub(super) fn reloading(&self) -> Reloading<'_> {
        let life = self.lock();
        if *life == Life::Serving {
            // From its version 253 on, systemd ignores the first without the second.
            match NotifyState::monotonic_usec_now() {
                Ok(now) => tell(&[NotifyState::Reloading, now]),
                Err(error) => tracing::warn!("the monotonic clock cannot be read: {error}"),
            }
        }
        Reloading { manager: self, applied: None }
    }

    /// Tells the watchdog of the service manager that the workers are alive. It does so twice in
    /// the watchdog's period. Without a watchdog, it does nothing.
    pub async fn tell_watchdog(mut pulse: Pulse) {
        let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
            return;
        };
        loop {
            pulse.all_answer().await;
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(period / 2).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reloading<'_> {
    /// Reports the end of the reload, and whether the configuration was applied.
    pub(super) fn end(mut self, applied: bool) {
        self.applied = Some(applied);
    }
}

impl Drop for Reloading<'_> {
    /// Reports the end also if the reload has panicked. Otherwise systemd would end the gate.
    fn drop(&mut self) {
        let life = self.manager.lock();
        if *life == Life::Serving {
            let status = if self.applied == Some(true) {
                "serves"
            } else {
                "serves; the last reload failed, and the earlier config stays in use"
            };
            tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        }
    }
}

/// Sends one message.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager cannot be told what the gate does: {error}");
    }
}
