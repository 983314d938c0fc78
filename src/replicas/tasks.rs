//! The tasks of a replica: beats, the reader of the streams, and the exchange of limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Replicas;
use super::message::{self, Beat, JournalEntry, Message, RevocationMessage};
use super::view::{Heard, ReplicaStream, StreamPlaces};
use crate::metrics::Metrics;
use crate::rate_limit::shared::Bell;
use crate::redis_link::{RedisAway, StreamEntry};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);

/// The longest time for which the reader waits for an entry in one call.
const BLOCK: Duration = Duration::from_millis(500);

/// The largest number of entries that are read in one call.
const ENTRIES: usize = 50;

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
        let mut has_left = self.has_left.lock().await;
        *has_left = true;
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
            self.view().add_due(|| self.revoker.revocations(), Instant::now());
            self.publish_pending().await;
            let has_left = self.has_left.lock().await;
            if *has_left {
                return;
            }
            let keys = self.keys();
            let beat = self.view().journal().beat(env!("CARGO_PKG_VERSION"));
            if let Some(sealed) = message::seal(&keys, SAYS, &beat) {
                let _ = self.beat_once(&sealed).await;
            }
            drop(has_left);
            tokio::select! {
                _ = timeout(BEAT, self.news.notified()) => {}
                _ = up.changed() => {}
            }
        }
    }

    async fn publish_pending(&self) {
        loop {
            let keys = self.keys();
            let next = self.view().journal().pending().cloned();
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
            self.view().journal().published(entry.number);
        }
    }

    /// Beats once; an empty text says that the replica leaves.
    async fn beat_once(&self, sealed: &str) -> Result<(), RedisAway> {
        let names = ["clock", "replicas", "epoch", "revocations", "refusals", "bells"];
        let keys = names.map(|name| self.key(name));
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
        let keys = self.keys();
        let told = fields.chunks_exact(3).filter_map(|field| {
            let [id, age, sealed] = field else { return None };
            let age = str::from_utf8(age).ok().and_then(|age| age.parse().ok())?;
            let beat = message::open::<Beat>(&keys, SAYS, sealed);
            let beat = beat.filter(|beat| beat.from.as_bytes() == &**id).map(Arc::new);
            Some((Duration::from_millis(age), beat))
        });
        let Heard { alive, live, is_gap, is_new_epoch } =
            self.view().hear(told, epoch, Instant::now());
        self.shared.exchange.set_replicas(alive, live);
        self.shared.accounts.set_replicas(alive);
        self.shared.guards.set_replicas(alive);
        if is_gap {
            self.drop_verdicts("a message of another replica was lost");
        }
        if is_new_epoch {
            self.drop_verdicts("redis has lost its data");
        }
        if is_gap || is_new_epoch {
            self.news.notify_one();
        }
        self.beats.send_modify(|beats| *beats = beats.wrapping_add(1));
    }

    /// Reads the streams of revocations, of refusals and of bells.
    async fn read(self: Arc<Self>) {
        let mut up = self.shared.link.subscribe();
        let (revocations, bells) = (self.key("revocations"), self.key("bells"));
        let refusals = self.shared.verdicts.refusals();
        let streams = [&revocations, &refusals, &bells].map(String::clone);
        let mut places = StreamPlaces::new(self.view().starts());
        // Bells from before the start were for the replicas of that time.
        let (mut hears_bells, mut starts) = (false, self.view().starts());
        let mut count = ENTRIES;
        loop {
            if !*up.borrow_and_update() {
                if up.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let current = self.view().starts();
            hears_bells &= current == starts;
            starts = current;
            let (last, is_first) = places.after(starts);
            let after: Vec<_> = streams.iter().cloned().zip(last.clone()).collect();
            // The stream is read to its end without a wait at first.
            let block = if is_first { Duration::ZERO } else { BLOCK };
            let asked = count;
            let Ok(entries) = self.shared.link.read_streams(&after, asked, block).await else {
                // The answer may have been too long.
                count = 1;
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Short answers again, one by one.
            count = (count * 2).min(ENTRIES);
            if entries.iter().all(|entry| entry.stream != revocations) && places.end() {
                self.view().loaded();
                self.news.notify_one();
                self.caught_up.send_replace(true);
            }
            let bells_left = entries.iter().filter(|entry| entry.stream == bells).count() >= asked;
            for entry in entries {
                let StreamEntry { stream, id, fields } = entry;
                let value = fields.into_iter().next().map(|(_, value)| value).unwrap_or_default();
                if stream == revocations {
                    places.read(ReplicaStream::Revocations, id);
                    self.take(&value);
                } else if stream == refusals {
                    places.read(ReplicaStream::Refusals, id);
                    self.revoker.learn_refusal(&value);
                } else {
                    places.read(ReplicaStream::Bells, id);
                    let bell = str::from_utf8(&value).ok().filter(|_| hears_bells);
                    if let Some(bell) = bell.and_then(Bell::read) {
                        self.shared.accounts.hear(&bell);
                        self.shared.exchange.wake();
                    }
                }
            }
            hears_bells |= !bells_left;
        }
    }

    /// Takes an entry of the stream of revocations. What no gate has written is skipped.
    fn take(&self, sealed: &[u8]) {
        let Some(entry) = message::open::<JournalEntry>(&self.keys(), ENTRY, sealed) else {
            self.view().could_not_open();
            return;
        };
        let found = self.view().take(entry);
        match found.message {
            None => return,
            Some(Message::Again) => {}
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

    /// Returns a key in the slot of a cluster that all replicas use together.
    fn key(&self, name: &str) -> String {
        format!("{}:{{gates}}:{name}", self.shared.link.prefix())
    }
}
