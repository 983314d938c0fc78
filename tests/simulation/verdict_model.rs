//! A model of the Lua scripts that share verdicts (`claim.lua` and `put.lua` in
//! `src/identity/shared_verdicts`). A test in `tests/it/replicas` compares both.

use std::collections::BTreeMap;

/// The values of a Redis server, with the times at which they end, in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct VerdictModel {
    pub(crate) values: BTreeMap<String, (String, f64)>,
}

/// The reply to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimReply {
    pub(crate) refusal: String,
    pub(crate) answer: String,
    pub(crate) is_mine: bool,
}

/// What a replica wants to be kept.
#[derive(Clone)]
pub(crate) struct Put {
    pub(crate) owner: String,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) kept: f64,
    pub(crate) longest: f64,
    pub(crate) asked: u64,
}

impl VerdictModel {
    /// Claims a question at this time, in microseconds.
    pub(crate) fn claim(
        &mut self,
        now: u64,
        names: &[String; 4],
        owner: &str,
        lock: f64,
        does_not_suffice: bool,
    ) -> ClaimReply {
        let milliseconds = now as f64 / 1000.0;
        let [refusal, answer, lock_name, _] = names;
        let get = |values: &mut Self, name| values.get(name, milliseconds).unwrap_or_default();
        let (refusal, answer) = (get(self, refusal), get(self, answer));
        let is_fresh =
            |value: &String| number(value, 0).is_some_and(|fresh_until| fresh_until > now);
        let suffices = !does_not_suffice && [&refusal, &answer].into_iter().any(is_fresh);
        let is_mine = !suffices && self.get(lock_name, milliseconds).is_none();
        if is_mine {
            self.set(lock_name, owner.to_owned(), milliseconds + lock);
        }
        ClaimReply { refusal, answer, is_mine }
    }

    /// Keeps an answer, and ends the lock.
    pub(crate) fn put(&mut self, now: u64, names: &[String; 4], put: &Put) -> i64 {
        // No gate has asked in the future.
        let latest = now + 1_000_000;
        let asked = |value: String| number(&value, 1).filter(|asked| *asked < latest);
        let now = now as f64 / 1000.0;
        let [refusal, answer, lock, mark_name] = names;
        let key = if put.kind == "refusal" { refusal } else { answer };
        let mut found = 1;
        if put.kind != "none" {
            let before = self.get(key, now).and_then(asked);
            if before.is_none_or(|before| before <= put.asked) {
                let mut kept = put.kept;
                let mark = self.values.get(mark_name).filter(|(_, ends)| *ends > now).cloned();
                let left = mark.as_ref().map_or(-2.0, |(_, ends)| (ends - now).floor());
                if put.kind == "answer" {
                    if mark.is_none_or(|(mark, _)| mark != "1") || left < kept {
                        self.set(mark_name, "1".to_owned(), now + kept.max(left));
                    }
                } else if let Some((mark, _)) = mark {
                    kept = kept.max(put.longest);
                    if mark == "1" && left > 0.0 {
                        self.set(mark_name, "0".to_owned(), now + left);
                        found = 2;
                    }
                }
                self.set(key, put.text.clone(), now + kept);
            }
            let refused = self.get(refusal, now).and_then(asked);
            if put.kind == "answer" && refused.is_some_and(|refused| refused > put.asked) {
                found = 3;
            }
        }
        if self.get(lock, now).is_some_and(|owner| owner == put.owner) {
            self.values.remove(lock);
        }
        found
    }

    fn get(&self, name: &str, now: f64) -> Option<String> {
        let (value, ends) = self.values.get(name)?;
        (*ends > now).then(|| value.clone())
    }

    fn set(&mut self, name: &str, value: String, ends: f64) {
        self.values.insert(name.to_owned(), (value, ends));
    }
}

/// Returns the number at this place of a value.
fn number(value: &str, place: usize) -> Option<u64> {
    value.split(' ').nth(place)?.parse().ok()
}
