//! How often the program's log says who is over a limit: once a minute for each, and for no more of
//! them than an operator could read, in a memory that is fixed. Whoever floods the gate must not
//! flood its log.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line in this time for each offender.
const ONE_LINE_IN: Duration = Duration::from_secs(60);
/// Lines in that time, at most.
const MOST: usize = 1000;
/// When it is full, those of whom nothing was said lately are looked for no more often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// When each offender was last told of.
#[derive(Default)]
pub(super) struct Offenders {
    said: Mutex<Said>,
    hash: RandomState,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// How often this offender was left out since the line before.
    pub(super) left_out: u64,
    /// How often others were, for there were too many.
    pub(super) others_left_out: u64,
}

#[derive(Default)]
struct Said {
    of: HashMap<u64, Offender>,
    others_left_out: u64,
    swept: Option<Instant>,
}

struct Offender {
    at: Instant,
    left_out: u64,
}

impl Offenders {
    /// What may be said of an offender now.
    pub(super) fn line(&self, offender: &impl Hash, now: Instant) -> Option<Line> {
        let key = self.hash.hash_one(offender);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = &mut *said;
        let left_out = match said.of.get_mut(&key) {
            Some(known) if now.duration_since(known.at) < ONE_LINE_IN => {
                known.left_out += 1;
                return None;
            }
            Some(known) => known.left_out,
            None => {
                if said.of.len() >= MOST
                    && said.swept.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY)
                {
                    said.swept = Some(now);
                    said.of.retain(|_, known| now.duration_since(known.at) < ONE_LINE_IN);
                }
                if said.of.len() >= MOST {
                    said.others_left_out += 1;
                    return None;
                }
                0
            }
        };
        said.of.insert(key, Offender { at: now, left_out: 0 });
        Some(Line { left_out, others_left_out: std::mem::take(&mut said.others_left_out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(left_out: u64, others_left_out: u64) -> Option<Line> {
        Some(Line { left_out, others_left_out })
    }

    #[test]
    fn one_line_a_minute_for_each() {
        let (offenders, start) = (Offenders::default(), Instant::now());
        assert_eq!(offenders.line(&"alice", start), line(0, 0));
        for _ in 0..1000 {
            assert_eq!(offenders.line(&"alice", start + ONE_LINE_IN / 2), None);
        }
        assert_eq!(offenders.line(&"bob", start + ONE_LINE_IN / 2), line(0, 0));
        assert_eq!(offenders.line(&"alice", start + ONE_LINE_IN), line(1000, 0));
    }

    #[test]
    fn a_flood_of_offenders_is_told_of_in_a_number() {
        let (offenders, start) = (Offenders::default(), Instant::now());
        let lines =
            (0..100_000).filter(|offender| offenders.line(offender, start).is_some()).count();
        assert_eq!(lines, MOST);
        assert!(offenders.said.lock().unwrap().of.len() <= MOST);
        assert_eq!(offenders.line(&"alice", start + ONE_LINE_IN), line(0, 99_000));
    }

    #[test]
    fn a_line_says_who_and_which_limit_and_moves_no_cursor() {
        use std::rc::Rc;
        use std::sync::Arc;

        use http::Method;

        use crate::denial::{Denial, Limit};
        use crate::identity::{Granted, Principal, Source, Verified};
        use crate::record::{AccessLog, AccessLogFormat, Record, Recorder};

        let access_log = AccessLog::to(AccessLogFormat::Json, std::io::sink()).unwrap();
        let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
        let over = |limit: Limit, from: [u8; 4]| {
            let (request_id, path) = ("request".into(), "/v2/secret/".into());
            let mut record = Record::begin(
                recorder.clone(),
                Rc::default(),
                request_id,
                from.into(),
                Method::GET,
                path,
            );
            let source = Arc::new(Source {
                provider: "sso".into(),
                credential_type: None,
                folds_case: false,
            });
            let principal = Principal { source, subject: "al\u{1b}[2Jice".into() };
            record.set_caller(Arc::new(Verified {
                principal,
                granted: Granted::Nothing,
                attributes: None,
            }));
            let denial = Denial::Limited { limit, retry_after: Duration::from_secs(1) };
            record.set_denied(&denial, denial.answer().status);
        };
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(log.reopen().unwrap())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            // One user, wherever; and two addresses, whoever.
            for from in [[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 1]] {
                over(Limit::PerIdentity, from);
                over(Limit::PerClient, from);
            }
        });
        let log = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 3, "{log}");
        assert!(
            lines[0].contains(
                "limit=\"per_identity\" subject=al\\u{1b}[2Jice provider=\"sso\" left_out=0"
            ),
            "{log}"
        );
        assert!(lines[1].contains("limit=\"per_client\" client=192.0.2.1 left_out=0"), "{log}");
        assert!(lines[2].contains("limit=\"per_client\" client=192.0.2.2 "), "{log}");
        assert!(!log.contains("/v2/") && !log.contains('\u{1b}'), "{log}");
    }
}
