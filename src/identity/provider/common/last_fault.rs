//! The last error of a provider, for the status page.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::terminal::printable;

/// The largest length of an error, in characters.
const MOST: usize = 300;

/// The last error that a provider met. It names the server and its answer, and nothing of the
/// question.
#[derive(Default)]
pub struct LastFault(Mutex<Option<(Instant, String)>>);

impl LastFault {
    /// Records an error.
    pub fn note(&self, why: &str) {
        let why = printable(why).chars().take(MOST).collect();
        *self.lock() = Some((Instant::now(), why));
    }

    /// Records that the last error was met again.
    pub fn again(&self) {
        if let Some((at, _)) = &mut *self.lock() {
            *at = Instant::now();
        }
    }

    /// Returns the last error, if it was met since `begun`.
    pub fn since(&self, begun: Instant) -> Option<String> {
        self.lock().as_ref().filter(|(at, _)| *at >= begun).map(|(_, why)| why.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_this_question_is_returned() {
        let (fault, before) = (LastFault::default(), Instant::now());
        assert_eq!(fault.since(before), None);
        fault.note(&format!("status 502\u{1b}{}", "x".repeat(MOST)));
        let shown = fault.since(before).unwrap();
        assert!(shown.starts_with("status 502\\u{1b}x") && shown.len() == MOST, "{shown}");
        let later = Instant::now() + std::time::Duration::from_nanos(1);
        assert_eq!(fault.since(later), None);
        while Instant::now() < later {}
        fault.again();
        assert_eq!(fault.since(later), Some(shown));
    }
}
