//! A model of the Lua script that keeps the beats of replicas (`src/replicas/beat.lua`), and with
//! them the epoch. A test in `tests/it/replicas` compares both.

use std::collections::BTreeMap;

/// The silence after which a replica is gone, in milliseconds.
const GONE: f64 = 30_000.0;

/// The beats that a Redis server has, and the epoch. Times are in microseconds.
#[derive(Clone)]
pub(crate) struct BeatModel<T> {
    pub(crate) epoch: Option<String>,
    pub(crate) beats: BTreeMap<String, (f64, T)>,
}

/// The reply to a beat.
pub(crate) struct BeatReply<T> {
    #[allow(dead_code, reason = "read by the test that compares the model with the script")]
    pub(crate) epoch: String,
    /// The id of each replica, the milliseconds since its beat, and the beat.
    pub(crate) beats: Vec<(String, u64, T)>,
}

impl<T> Default for BeatModel<T> {
    fn default() -> Self {
        Self { epoch: None, beats: BTreeMap::new() }
    }
}

impl<T: Clone> BeatModel<T> {
    /// Takes the beat of a replica, `None` if it leaves. `v` is the clock of limits, which the
    /// script moves on first.
    pub(crate) fn call(
        &mut self,
        v: f64,
        replica: &str,
        beat: Option<T>,
        epoch: &str,
    ) -> BeatReply<T> {
        let epoch = self.epoch.get_or_insert_with(|| epoch.to_owned()).clone();
        match beat {
            None => drop(self.beats.remove(replica)),
            Some(beat) => drop(self.beats.insert(replica.to_owned(), (v, beat))),
        }
        let age = |at: f64| (v - at) / 1000.0;
        self.beats.retain(|_, (at, _)| (0.0..=GONE).contains(&age(*at)));
        let beats = self.beats.iter();
        let told = |(id, (at, beat)): (&String, &(f64, T))| {
            (id.clone(), age(*at).round() as u64, beat.clone())
        };
        BeatReply { epoch, beats: beats.map(told).collect() }
    }
}
