//! A limit on repeated lines in the program log. During an outage or a flood every request
//! meets the same trouble, and a line for each would bury the rest of the log.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest number of subjects with a line in one interval: as many as an operator could read.
const MAX_SUBJECTS: usize = 1000;

/// The shortest time between two searches for expired subjects in a full memory.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The interval of a throttle without one of its own.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line pass per subject and interval, and counts the others. Its memory is bounded.
pub struct LogThrottle {
    interval: Duration,
    lines: Mutex<Lines>,
    hash: RandomState,
}

/// The number of lines that were left out since the last one that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Lines about this subject.
    pub same: u64,
    /// Lines about other subjects, which the full memory could not hold.
    pub others: u64,
}

#[derive(Default)]
struct Lines {
    by_subject: HashMap<u64, LastLine>,
    others: u64,
    swept: Option<Instant>,
}

struct LastLine {
    at: Instant,
    left_out: u64,
}

impl LogThrottle {
    /// Creates a throttle that lets one line pass per subject in each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, lines: Mutex::default(), hash: RandomState::new() }
    }

    /// Returns what to say about left-out lines if a line about `subject` may be written now, and
    /// `None` if it must not.
    pub fn line(&self, subject: &impl Hash, now: Instant) -> Option<LeftOut> {
        let key = self.hash.hash_one(subject);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = &mut *lines;
        let is_recent = |last: &LastLine| now.duration_since(last.at) < self.interval;
        let same = match lines.by_subject.get_mut(&key) {
            Some(last) if is_recent(last) => {
                last.left_out += 1;
                return None;
            }
            Some(last) => last.left_out,
            None => {
                let is_full = lines.by_subject.len() >= MAX_SUBJECTS;
                let may_sweep = lines.swept.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY);
                if is_full && may_sweep {
                    lines.swept = Some(now);
                    lines.by_subject.retain(|_, last| is_recent(last));
                }
                if lines.by_subject.len() >= MAX_SUBJECTS {
                    lines.others += 1;
                    return None;
                }
                0
            }
        };
        lines.by_subject.insert(key, LastLine { at: now, left_out: 0 });
        Some(LeftOut { same, others: std::mem::take(&mut lines.others) })
    }
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::new(DEFAULT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn line(same: u64, others: u64) -> Option<LeftOut> {
        Some(LeftOut { same, others })
    }

    #[test]
    fn one_line_per_interval_counts_those_left_out() {
        let (throttle, start) = (LogThrottle::new(INTERVAL), Instant::now());
        assert_eq!(throttle.line(&"busy", start), line(0, 0));
        for _ in 0..1000 {
            assert_eq!(throttle.line(&"busy", start + INTERVAL / 2), None);
        }
        assert_eq!(throttle.line(&"busy", start + INTERVAL), line(1000, 0));
        assert_eq!(throttle.line(&"busy", start + 2 * INTERVAL), line(0, 0));
    }

    #[test]
    fn each_subject_has_its_own_line() {
        let (throttle, start) = (LogThrottle::new(INTERVAL), Instant::now());
        assert_eq!(throttle.line(&"alice", start), line(0, 0));
        assert_eq!(throttle.line(&"alice", start + INTERVAL / 2), None);
        assert_eq!(throttle.line(&"bob", start + INTERVAL / 2), line(0, 0));
        assert_eq!(throttle.line(&"alice", start + INTERVAL), line(1, 0));
    }

    #[test]
    fn the_default_interval_is_ten_seconds() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.line(&"a", start), line(0, 0));
        assert_eq!(throttle.line(&"a", start + Duration::from_millis(9_999)), None);
        assert_eq!(throttle.line(&"a", start + Duration::from_secs(10)), line(1, 0));
    }

    /// A flood of subjects is reported as a number, in a bounded memory.
    #[test]
    fn a_flood_of_subjects_is_counted() {
        let (throttle, start) = (LogThrottle::new(INTERVAL), Instant::now());
        let lines = (0..100_000).filter(|subject| throttle.line(subject, start).is_some()).count();
        assert_eq!(lines, MAX_SUBJECTS);
        assert!(throttle.lines.lock().unwrap().by_subject.len() <= MAX_SUBJECTS);
        assert_eq!(throttle.line(&"alice", start + INTERVAL), line(0, 99_000));
    }
}
