//! How often the program's log says what is wrong with a provider. While it is down, or while it
//! bans the gate, every caller meets the same trouble, and a line for each would bury whatever else
//! the log has to say.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line in this time for each kind of trouble.
const ONE_LINE_IN: Duration = Duration::from_secs(10);

/// When each kind of trouble with one provider was last said.
#[derive(Default)]
pub struct LogPace(Mutex<HashMap<LogTopic, Said>>);

/// The kinds of trouble. A line of one keeps back no line of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogTopic {
    /// No answer, or none that makes sense.
    NoAnswer,
    /// More questions than it answers, by its own word or by the gate's bound.
    Busy,
    /// It does not let a caller, or an address, ask.
    Barred,
    /// It does not know the gate, or what it is asked for.
    Misconfigured,
    /// A workload token of an issuer that no provider has.
    UnknownIssuer,
    /// An answer that is read though something about it is odd.
    Odd,
}

struct Said {
    at: Instant,
    left_out: u64,
}

impl LogPace {
    /// Whether a line may be written now, and how many of this kind were left out since the one
    /// before it.
    pub fn line(&self, trouble: LogTopic, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(&trouble) {
            Some(before) if now.duration_since(before.at) < ONE_LINE_IN => {
                before.left_out += 1;
                None
            }
            before => {
                let left_out = before.map_or(0, |before| before.left_out);
                said.insert(trouble, Said { at: now, left_out: 0 });
                Some(left_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_counts_those_left_out() {
        let (pace, start) = (LogPace::default(), Instant::now());
        assert_eq!(pace.line(LogTopic::Busy, start), Some(0));
        for _ in 0..1000 {
            assert_eq!(pace.line(LogTopic::Busy, start + ONE_LINE_IN / 2), None);
        }
        assert_eq!(pace.line(LogTopic::Busy, start + ONE_LINE_IN), Some(1000));
        assert_eq!(pace.line(LogTopic::Busy, start + 2 * ONE_LINE_IN), Some(0));
    }

    #[test]
    fn another_kind_is_said_at_once() {
        let (pace, now) = (LogPace::default(), Instant::now());
        assert_eq!(pace.line(LogTopic::NoAnswer, now), Some(0));
        assert_eq!(pace.line(LogTopic::Misconfigured, now), Some(0));
    }
}
