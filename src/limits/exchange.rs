//! The exchange of events of limits with the other replicas, through Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Accounts;
use crate::metrics::Metrics;
use crate::rate_limit::shared::{LEASE_SCRIPT, LeaseAnswer, LeaseQuestion, MAX_CALLERS, PERIOD};
use crate::redis_link::{RedisLink, RedisScript};

/// The shortest time between two calls, in which requests that wait come together.
const GAP: Duration = Duration::from_millis(5);

/// The time for which a replica goes on alone after a call that failed.
const ALONE: Duration = Duration::from_secs(1);

/// The exchange with the other replicas.
pub struct LeaseExchange {
    link: Arc<RedisLink>,
    script: RedisScript,
    /// Notified when a request waits for an answer.
    wanted: Notify,
    /// The number of answers so far.
    rounds: watch::Sender<u64>,
    /// The number of replicas.
    alive: AtomicU32,
    /// The number of replicas that answer now.
    live: AtomicU32,
    /// `true` if a request has waited for an answer in vain.
    is_late: AtomicBool,
}

impl LeaseExchange {
    /// Creates an exchange over this connection.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            script: RedisScript::new(LEASE_SCRIPT),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            alive: AtomicU32::new(1),
            live: AtomicU32::new(1),
            is_late: AtomicBool::new(false),
        }
    }

    /// Sets the number of replicas, and of those that answer now.
    pub fn set_replicas(&self, alive: u32, live: u32) {
        self.alive.store(alive, Ordering::Relaxed);
        self.live.store(live, Ordering::Relaxed);
    }

    /// Makes the next call happen soon.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Returns the time until which a request waits for Redis.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.link.timeout()
    }

    /// Waits for the next answer, which a task asks for soon. Returns `false` if there is none in
    /// time.
    pub(super) async fn round(&self, deadline: Instant) -> bool {
        let mut rounds = self.rounds.subscribe();
        self.wanted.notify_one();
        timeout_at(deadline, rounds.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Makes the replica go on alone for a while, because a request has waited in vain.
    pub(super) fn was_late(&self) {
        self.is_late.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// Exchanges events for as long as the runtime lives. `replica` is the id of this replica.
    pub async fn run(
        self: Arc<Self>,
        accounts: Arc<Accounts>,
        replica: String,
        metrics: Arc<Metrics>,
    ) {
        let mut up = self.link.subscribe();
        loop {
            let is_up = *up.borrow_and_update();
            for (_, ledger) in accounts.ledgers() {
                ledger.set_connected(is_up);
            }
            if !is_up {
                metrics.limit_leases(0);
                if up.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let is_awaited = accounts.ledgers().iter().any(|(_, ledger)| ledger.is_awaited());
            if is_awaited {
                sleep(GAP).await;
            } else {
                tokio::select! {
                    _ = timeout(PERIOD, self.wanted.notified()) => {}
                    _ = up.changed() => {}
                }
            }
            let is_answered = self.exchange_once(&accounts, &replica).await;
            if self.is_late.swap(false, Ordering::Relaxed) || !is_answered {
                self.go_alone(&accounts, &mut up).await;
            }
            metrics.limit_leases(u64::try_from(accounts.leases()).unwrap_or(u64::MAX));
        }
    }

    /// Goes on alone for a while, and lets the requests go on that wait.
    async fn go_alone(&self, accounts: &Accounts, up: &mut watch::Receiver<bool>) {
        for (_, ledger) in accounts.ledgers() {
            ledger.set_connected(false);
        }
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
        let _ = timeout(ALONE, up.wait_for(|up| !up)).await;
    }

    /// Asks about all callers that are due, in one call. Returns `false` without an answer.
    async fn exchange_once(&self, accounts: &Accounts, replica: &str) -> bool {
        let mut questions: Vec<(char, LeaseQuestion)> = Vec::new();
        for (limit, ledger) in accounts.ledgers() {
            let planned = ledger.plan(MAX_CALLERS.saturating_sub(questions.len()));
            questions.extend(planned.into_iter().map(|question| (limit, question)));
        }
        if questions.is_empty() {
            return true;
        }
        let (alive, live) = (self.alive.load(Ordering::Relaxed), self.live.load(Ordering::Relaxed));
        let Some(answers) = self.ask(&questions, replica, (alive, live)).await else {
            return false;
        };
        for (limit, ledger) in accounts.ledgers() {
            let of_limit = |other: char| other == limit;
            let (asked, answered): (Vec<_>, Vec<_>) = questions
                .iter()
                .zip(&answers)
                .filter(|((other, _), _)| of_limit(*other))
                .map(|((_, question), answer)| (question.clone(), *answer))
                .unzip();
            ledger.apply(&asked, &answered, live);
        }
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
        true
    }

    async fn ask(
        &self,
        questions: &[(char, LeaseQuestion)],
        replica: &str,
        (alive, live): (u32, u32),
    ) -> Option<Vec<LeaseAnswer>> {
        let base = format!("{}:{{gates}}", self.link.prefix());
        let mut keys = vec![format!("{base}:clock"), format!("{base}:bells")];
        let mut arguments = vec![replica.to_owned(), alive.to_string(), live.to_string()];
        for (limit, question) in questions {
            keys.push(format!("{base}:{}", question.name(*limit)));
            arguments.extend(question.arguments(*limit));
        }
        let arguments: Vec<_> = arguments.into_iter().map(String::into_bytes).collect();
        let numbers: Vec<i64> =
            self.link.call("limits", &self.script, &keys, &arguments).await.ok()?;
        LeaseAnswer::read(&numbers, questions.len())
    }
}
