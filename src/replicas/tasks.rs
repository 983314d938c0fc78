//! The tasks of a replica: beats, the reader of the streams, and the exchange of limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::message::{self, Beat, JournalEntry, Message, RevocationMessage};
use super::{MAX_REPLICAS, Replicas, SILENT};
use crate::metrics::Metrics;
use crate::rate_limit::shared::Bell;
use crate::redis_link::{RedisAway, StreamEntry};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);

/// The longest time for which the reader waits for an entry in one call.
const BLOCK: Duration = Duration::from_millis(500);

/// The largest number of entries that are read in one call.
const ENTRIES: usize = 500;

/// The largest number of revocations in one entry.
const IN_ONE_ENTRY: usize = 200;

/// The shortest time between two times at which a replica publishes all that it knows.
const PUBLISHED_ALL: Duration = Duration::from_secs(2);

/// The contexts of sealed entries and beats.
const ENTRY: &str = "entry";
const SAYS: &str = "beat";

impl Replicas {
    /// Connects the replica with the others for as long as the runtime lives.
    pub fn run(self: &Arc<Self>, metrics: Arc<Metrics>) {
        let exchange = self.shared.exchange.clone();
        tokio::spawn(exchange.run(self.shared.accounts.clone(), self.me.clone(), metrics));
        tokio::spawn(self.clone().beat());
        tokio::spawn(self.clone().read());
    }

    /// Tells the others that this replica ends, so that they need not wait for its beat.
    pub async fn leave(&self) {
        let _ = self.beat_once("").await;
    }

    /// Publishes what waits, and beats.
    async fn beat(self: Arc<Self>) {
        let mut up = self.shared.link.subscribe();
        loop {
            if !*up.borrow_and_update() {
                if up.changed().await.is_err() {
                    return;
                }
                continue;
            }
            self.add_all();
            self.publish_pending().await;
            let keys = self.keys();
            let beat = self.state().journal.beat(env!("CARGO_PKG_VERSION"));
            if let Some(sealed) = message::seal(&keys, SAYS, &beat) {
                let _ = self.beat_once(&sealed).await;
            }
            tokio::select! {
                _ = timeout(BEAT, self.news.notified()) => {}
                _ = up.changed() => {}
            }
        }
    }

    async fn publish_pending(&self) {
        loop {
            let keys = self.keys();
            let next = self.state().journal.pending().cloned();
            let Some(entry) = next else { return };
            let Some(sealed) = message::seal(&keys, ENTRY, &entry) else { return };
            let stream = [self.key("revocations")];
            let arguments = [sealed.into_bytes()];
            let script = &self.scripts.publish;
            let done: Result<i64, _> =
                self.shared.link.call("publish", script, &stream, &arguments).await;
            if done.is_err() {
                return;
            }
            self.state().journal.published(entry.number);
        }
    }

    /// Beats once; an empty text says that the replica leaves.
    async fn beat_once(&self, sealed: &str) -> Result<(), RedisAway> {
        let keys = [self.key("clock"), self.key("replicas"), self.key("epoch")];
        let epoch = format!("{:032x}", fastrand::u128(..));
        let arguments = [&*self.me, sealed, &epoch].map(|text| text.as_bytes().to_vec());
        let script = &self.scripts.beat;
        let reply: Vec<Vec<u8>> = self.shared.link.call("beat", script, &keys, &arguments).await?;
        let mut reply = reply.into_iter();
        let (Some(_time), Some(epoch)) = (reply.next(), reply.next()) else { return Ok(()) };
        let fields: Vec<_> = reply.collect();
        self.hear(&fields, &String::from_utf8_lossy(&epoch));
        Ok(())
    }

    /// Takes the beats of all replicas: three texts each.
    fn hear(&self, fields: &[Vec<u8>], epoch: &str) {
        let (keys, now) = (self.keys(), Instant::now());
        let mut beats = Vec::new();
        let mut alive = 0;
        let mut live = 0;
        for field in fields.chunks_exact(3).take(MAX_REPLICAS) {
            let [id, age, sealed] = field else { continue };
            let age = str::from_utf8(age).ok().and_then(|age| age.parse().ok());
            let Some(age) = age.map(Duration::from_millis) else { continue };
            // A replica whose beat cannot be opened has a newer key, which this one has not read
            // yet. It has its share all the same.
            alive += 1;
            live += u32::from(age < SILENT);
            let beat = message::open::<Beat>(&keys, SAYS, sealed);
            if let Some(beat) = beat.filter(|beat| beat.from.as_bytes() == &**id) {
                beats.push((beat, age));
            }
        }
        let heard: Vec<_> = beats.iter().map(|(beat, _)| beat.clone()).collect();
        let (is_gap, is_new_epoch) = {
            let mut state = self.state();
            let is_gap = state.journal.heard(&heard, now);
            let is_new_epoch = state.epoch.as_deref().is_some_and(|known| known != epoch);
            if is_new_epoch {
                state.journal.new_epoch();
                state.epochs += 1;
            }
            state.epoch = Some(epoch.to_owned());
            state.alive = usize::try_from(alive).unwrap_or(1).max(1);
            state.journal.retain(|id| heard.iter().any(|beat| beat.from == id));
            (state.heard, state.told) = (beats, now);
            if is_gap {
                state.journal.ask_again(now);
            }
            (is_gap, is_new_epoch)
        };
        self.shared.exchange.set_replicas(alive.max(1), live.max(1));
        self.shared.accounts.set_replicas(alive.max(1));
        self.shared.guards.set_replicas(alive.max(1));
        if is_gap {
            self.drop_verdicts("a message of another replica was lost");
        }
        if is_new_epoch {
            self.drop_verdicts("redis has lost its data");
            self.publish_all();
        }
        self.beats.send_modify(|beats| *beats = beats.wrapping_add(1));
    }

    /// Reads the streams of revocations and of bells.
    async fn read(self: Arc<Self>) {
        let mut up = self.shared.link.subscribe();
        let (revocations, bells) = (self.key("revocations"), self.key("bells"));
        let mut epochs = self.state().epochs;
        let mut last = ["0-0".to_owned(), "$".to_owned()];
        let mut is_first = true;
        loop {
            if !*up.borrow_and_update() {
                if up.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let current = self.state().epochs;
            if current != epochs {
                (epochs, is_first) = (current, true);
                last = ["0-0".to_owned(), "$".to_owned()];
            }
            let [of_revocations, of_bells] = last.clone();
            let after = [(revocations.clone(), of_revocations), (bells.clone(), of_bells)];
            // The stream is read to its end without a wait at first.
            let block = if is_first { Duration::from_millis(1) } else { BLOCK };
            let Ok(entries) = self.shared.link.read_streams(&after, ENTRIES, block).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            if entries.is_empty() && is_first {
                is_first = false;
                self.state().journal.loaded();
            }
            for entry in entries {
                let StreamEntry { stream, id, fields } = entry;
                let value = fields.into_iter().next().map(|(_, value)| value).unwrap_or_default();
                let [of_revocations, of_bells] = &mut last;
                if stream == revocations {
                    *of_revocations = id;
                    self.take(&value);
                } else {
                    *of_bells = id;
                    if let Some(bell) = str::from_utf8(&value).ok().and_then(Bell::read) {
                        self.shared.accounts.hear(&bell);
                        self.shared.exchange.wake();
                    }
                }
            }
        }
    }

    /// Takes an entry of the stream of revocations. What no gate has written is skipped.
    fn take(&self, sealed: &[u8]) {
        let Some(entry) = message::open::<JournalEntry>(&self.keys(), ENTRY, sealed) else {
            return;
        };
        let found = {
            let mut state = self.state();
            let found = state.journal.read(entry);
            if found.is_gap {
                state.journal.ask_again(Instant::now());
            }
            found
        };
        match found.message {
            None => return,
            Some(Message::Again) => self.publish_all(),
            Some(Message::Revoked(revocations)) => {
                for revocation in revocations {
                    self.revoker.learn_revocation(revocation.what(), revocation.at);
                }
                tracing::warn!("an operator has revoked a credential at another replica");
            }
            Some(Message::StillRevoked(revocations)) => {
                let is_new = |revocation: &&RevocationMessage| {
                    self.revoker.learn_revocation_again(revocation.what(), revocation.at)
                };
                let learned = revocations.iter().filter(is_new).count();
                if learned > 0 {
                    tracing::warn!(learned, "the gate was told of earlier revocations");
                }
            }
        }
        if found.is_gap {
            self.drop_verdicts("a message of another replica was lost");
        }
        // The replica that waits for the confirmation learns of it at once.
        self.news.notify_one();
    }

    /// Publishes all revocations that this replica knows, with one of the next beats.
    fn publish_all(&self) {
        self.state().publishes_all = true;
        self.news.notify_one();
    }

    /// Adds all revocations to those that wait, if it is time.
    fn add_all(&self) {
        let known = self.revoker.revocations();
        let (mut state, now) = (self.state(), Instant::now());
        let was_lately = |at| now.duration_since(at) < PUBLISHED_ALL;
        if !state.publishes_all || state.published_all.is_some_and(was_lately) {
            return;
        }
        (state.publishes_all, state.published_all) = (false, Some(now));
        for some in known.chunks(IN_ONE_ENTRY) {
            let some = some.iter().map(|(what, at)| RevocationMessage::new(*what, *at)).collect();
            state.journal.publish(Message::StillRevoked(some));
        }
    }

    /// Returns a key in the slot of a cluster that all replicas use together.
    fn key(&self, name: &str) -> String {
        format!("{}:{{gates}}:{name}", self.shared.link.prefix())
    }
}
