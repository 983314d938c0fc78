//! The guards that replicas share through Redis: wrong credentials by address, and by provider.
//!
//! Their budgets are small, so each place is taken singly: a question about a credential that is
//! not known reserves a place in Redis before it is asked, and gives it back unless the credential
//! is wrong. If Redis is away, each replica goes on with its own count and its share of the budget.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout_at};

use crate::identity::model::keyed_hash::HashKey;
use crate::identity::model::{Question, ReplicaWaits};
use crate::rate_limit::{LONGEST_WAIT, Quota};
use crate::redis_link::{RedisLink, RedisScript};

/// The time between the first two attempts to get a place that questions under way hold. It doubles
/// with each attempt, up to the second of these.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(160);

/// The guards that replicas share.
pub struct SharedGuards {
    link: Arc<RedisLink>,
    key: RwLock<HashKey>,
    replicas: AtomicU32,
    logins: RedisScript,
    budgets: RedisScript,
    /// The logins of this replica, so that many requests with one credential reserve one place.
    under_way: Mutex<HashMap<String, Weak<SharedLogin>>>,
    /// The addresses from which requests wait for a place.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    runtime: Handle,
}

/// The answer of Redis about a credential from an address.
pub enum Entered {
    /// The credential was verified from the address within the last day, at this Unix time in
    /// microseconds.
    Good(u64),
    /// The credential is not known, and has a place.
    Place(Arc<SharedLogin>),
    /// Redis does not answer.
    Alone,
}

/// The later state of a credential that was known to be good from its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownOutcome {
    /// It is good still.
    Good,
    /// A provider was asked and refused it, which counts.
    Refused,
    /// The cache remembers that it is wrong, which does not count.
    Remembered,
}

/// The requests of this replica with one credential that is not known to be good from its address,
/// and the place that they have together. Dropping the last one gives the place back.
pub struct SharedLogin {
    guards: Arc<SharedGuards>,
    keys: [String; 2],
    quota: Quota,
    /// The answer of Redis. All requests that come meanwhile wait for it.
    told: OnceCell<Told>,
    /// One of the constants below.
    outcome: AtomicU8,
}

/// The answer of Redis to a reservation.
enum Told {
    Reserved,
    /// The same as [`Entered::Good`].
    Good(u64),
    /// All places are taken for this time.
    NoPlace(Duration),
    /// Redis has not answered.
    Away,
}

/// The outcomes of a login.
const NONE: u8 = 0;
const GOOD: u8 = 1;
const WRONG: u8 = 2;

/// A place in the failure budget of a provider.
pub struct SharedPlace {
    guards: Arc<SharedGuards>,
    /// `None` if there is nothing to give back.
    reservation: Option<BudgetReservation>,
    is_wrong: bool,
}

struct BudgetReservation {
    key: String,
    id: String,
    /// The number of wrong credentials in each window, and the length of the window.
    budget: (usize, Duration),
}

impl SharedGuards {
    /// Creates the guards over this connection. `key` is one that all replicas have.
    pub fn new(link: Arc<RedisLink>, key: HashKey, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            link,
            key: RwLock::new(key),
            replicas: AtomicU32::new(1),
            logins: RedisScript::new(include_str!("shared_guards/login.lua")),
            budgets: RedisScript::new(include_str!("shared_guards/budget.lua")),
            under_way: Mutex::default(),
            turns: Mutex::default(),
            runtime,
        })
    }

    /// Replaces the key, after a rotation of its file.
    pub fn set_key(&self, key: HashKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// Sets the number of replicas.
    pub fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Returns the number of replicas that each count by themselves: 1 as long as Redis counts.
    pub fn parts(&self) -> u32 {
        if self.link.is_up() { 1 } else { self.replicas.load(Ordering::Relaxed) }
    }

    /// Asks whether the credential is known to be good from the address, and else reserves a place
    /// for it. Waits while questions under way hold the last places.
    ///
    /// # Errors
    /// The time until a place is available, if wrong credentials have used up the quota.
    pub async fn enter(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
        network: IpAddr,
        waits: &Arc<ReplicaWaits>,
    ) -> Result<Entered, Duration> {
        let login = self.login_of(self.login_keys(question, network), quota);
        let (reserving, waits) = (login.clone(), waits.clone());
        // A task of its own: the place is known, and given back, even if the caller hangs up.
        let reserved = self.runtime.spawn(async move {
            let SharedLogin { guards, keys, told, .. } = &*reserving;
            told.get_or_init(|| guards.reserve_login(keys, quota, &waits)).await;
        });
        let _ = reserved.await;
        match login.told.get() {
            Some(Told::Reserved) => Ok(Entered::Place(login)),
            Some(Told::Good(since)) => Ok(Entered::Good(*since)),
            Some(Told::NoPlace(wait)) => Err(*wait),
            Some(Told::Away) | None => Ok(Entered::Alone),
        }
    }

    /// Returns the login of a credential that is under way, or begins one.
    fn login_of(self: &Arc<Self>, keys: [String; 2], quota: Quota) -> Arc<SharedLogin> {
        let [_, pair] = &keys;
        let mut under_way = self.lock();
        if let Some(login) = under_way.get(pair).and_then(Weak::upgrade) {
            return login;
        }
        let pair = pair.clone();
        let (guards, told, outcome) = (self.clone(), OnceCell::new(), AtomicU8::new(NONE));
        let login = Arc::new(SharedLogin { guards, keys, quota, told, outcome });
        under_way.insert(pair, Arc::downgrade(&login));
        login
    }

    async fn reserve_login(&self, keys: &[String; 2], quota: Quota, waits: &ReplicaWaits) -> Told {
        let by = tokio::time::Instant::now() + LONGEST_WAIT;
        let [address, _] = keys;
        // Of the requests from one address that wait for a place, one looks at a time.
        let (mut turn, mut look) = (None, LOOK);
        loop {
            let begun = Instant::now();
            let time = waits.left_of(self.link.timeout());
            let told = self.login(keys, quota, "reserve", time).await;
            waits.add_since(begun);
            let wait = match told {
                Err(()) => return Told::Away,
                Ok((1, _)) => return Told::Reserved,
                Ok((2, since)) => return Told::Good(since),
                Ok((3, wait)) => Duration::from_micros(wait),
                Ok((_, wait)) => return Told::NoPlace(Duration::from_micros(wait)),
            };
            if turn.is_none() {
                let asked = Instant::now();
                let Ok(mine) = timeout_at(by, self.turn_of(address).lock_owned()).await else {
                    return Told::NoPlace(wait);
                };
                turn = Some(mine);
                if asked.elapsed() > LOOK {
                    continue;
                }
            }
            if tokio::time::Instant::now() + look > by {
                return Told::NoPlace(wait);
            }
            sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
        }
    }

    /// Returns the lock of the one request from an address that looks for a place.
    fn turn_of(&self, address: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(address).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(address.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Records what became of a credential that this replica knew to be good from the address.
    pub fn known(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
        network: IpAddr,
        outcome: KnownOutcome,
    ) {
        let what = match outcome {
            KnownOutcome::Good => "renew",
            KnownOutcome::Refused => "refused",
            KnownOutcome::Remembered => "forget",
        };
        self.settle(self.login_keys(question, network), quota, what);
    }

    /// Reserves a place in the budget of `count` wrong credentials in each `per` at the provider
    /// with this name. `None` if Redis does not answer.
    ///
    /// # Errors
    /// The time until a place is available; zero if questions under way hold the last places.
    pub async fn reserve(
        self: &Arc<Self>,
        provider: &str,
        budget: (usize, Duration),
        waits: Option<&ReplicaWaits>,
    ) -> Option<Result<SharedPlace, Duration>> {
        let reservation = self.reservation(provider, budget);
        let (begun, timeout) = (Instant::now(), self.link.timeout());
        let time = waits.map_or(timeout, |waits| waits.left_of(timeout));
        let told = reservation.tell(self, "reserve", time).await;
        if let Some(waits) = waits {
            waits.add_since(begun);
        }
        let (state, number) = told?;
        Some(match state {
            1 => Ok(SharedPlace {
                guards: self.clone(),
                reservation: Some(reservation),
                is_wrong: false,
            }),
            3 => Err(Duration::ZERO),
            _ => Err(Duration::from_micros(number.max(1))),
        })
    }

    /// Counts a wrong credential that had no place, because it was verified before.
    pub fn failed(self: &Arc<Self>, provider: &str, budget: (usize, Duration)) {
        let reservation = Some(self.reservation(provider, budget));
        drop(SharedPlace { guards: self.clone(), reservation, is_wrong: true });
    }

    fn reservation(&self, provider: &str, budget: (usize, Duration)) -> BudgetReservation {
        let name = self.key().tagged(b"budget", &[provider.as_bytes()]);
        let key = format!("{}:{{{name}}}:b", self.link.prefix());
        BudgetReservation { key, id: format!("{:016x}", fastrand::u64(..)), budget }
    }

    fn login_keys(&self, question: &Question, network: IpAddr) -> [String; 2] {
        let key = self.key();
        let address = match network {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let credential = key.credential(&question.credential).to_bytes();
        let stamp = question.revocation.stamp().to_le_bytes();
        let name = key.tagged(b"address", &[&address]);
        let base = format!("{}:{{{name}}}", self.link.prefix());
        let pair = key.tagged(b"login", &[&address, &credential, &stamp]);
        [format!("{base}:f"), format!("{base}:g:{pair}")]
    }

    async fn login(
        &self,
        keys: &[String; 2],
        quota: Quota,
        what: &str,
        time: Duration,
    ) -> Result<(u8, u64), ()> {
        let arguments = [what.to_owned(), quota.interval().to_string(), quota.burst().to_string()];
        let arguments = arguments.map(String::into_bytes);
        let called = self.link.call_within(time, "logins", &self.logins, keys, &arguments);
        called.await.map_err(|_| ())
    }

    fn settle(self: &Arc<Self>, keys: [String; 2], quota: Quota, what: &'static str) {
        let guards = self.clone();
        drop(self.runtime.spawn(async move {
            let _ = guards.login(&keys, quota, what, Duration::MAX).await;
        }));
    }

    fn key(&self) -> HashKey {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<SharedLogin>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedLogin {
    /// Records that the credential is good.
    pub fn good(&self) {
        let _ = self.outcome.compare_exchange(NONE, GOOD, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that the credential is wrong.
    pub fn wrong(&self) {
        self.outcome.store(WRONG, Ordering::Relaxed);
    }
}

impl Drop for SharedLogin {
    fn drop(&mut self) {
        let what = match *self.outcome.get_mut() {
            GOOD => "good",
            WRONG => "wrong",
            _ => "none",
        };
        let [_, pair] = &self.keys;
        let mut under_way = self.guards.lock();
        // Another login of the credential may have begun.
        if under_way.get(pair).is_some_and(|login| login.strong_count() == 0) {
            under_way.remove(pair);
        }
        drop(under_way);
        if matches!(self.told.get(), Some(Told::Reserved)) {
            self.guards.settle(self.keys.clone(), self.quota, what);
        }
    }
}

impl SharedPlace {
    /// Records that the credential was wrong: the place stays taken until the window has passed.
    pub fn fail(mut self) {
        self.is_wrong = true;
    }
}

impl BudgetReservation {
    async fn tell(&self, guards: &SharedGuards, what: &str, time: Duration) -> Option<(u8, u64)> {
        let (count, per) = self.budget;
        let arguments = [what, &self.id, &count.to_string(), &per.as_micros().to_string()];
        let arguments = arguments.map(|text| text.as_bytes().to_vec());
        let key = std::slice::from_ref(&self.key);
        guards.link.call_within(time, "budget", &guards.budgets, key, &arguments).await.ok()
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        let (guards, what) = (self.guards.clone(), if self.is_wrong { "wrong" } else { "none" });
        drop(
            self.guards
                .runtime
                .spawn(async move { reservation.tell(&guards, what, Duration::MAX).await }),
        );
    }
}
