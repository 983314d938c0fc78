//! The log lines about callers and addresses that exceed a limit.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::denial::{Denial, Limit};
use crate::identity::{Granted, Principal, Source, Verified};
use crate::record::{AccessLog, LogFormat, Record, Recorder};

#[test]
fn a_limit_line_names_the_caller_and_the_limit_in_printable_text() {
    let access_log = AccessLog::to(LogFormat::Json, std::io::sink()).unwrap();
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
        let source =
            Arc::new(Source { provider: "sso".into(), credential_type: None, folds_case: false });
        let principal = Principal { source, subject: "al\u{1b}[2Jice".into() };
        record.set_caller(Arc::new(Verified {
            principal,
            granted: Granted::Nothing,
            attributes: None,
        }));
        let denial = Denial::Limited { limit, retry_after: Duration::from_secs(1) };
        record.set_not_served(&denial, denial.answer().status);
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
        lines[0]
            .contains("limit=\"per_identity\" subject=al\\u{1b}[2Jice provider=\"sso\" left_out=0"),
        "{log}"
    );
    assert!(lines[1].contains("limit=\"per_client\" client=192.0.2.1 left_out=0"), "{log}");
    assert!(lines[2].contains("limit=\"per_client\" client=192.0.2.2 "), "{log}");
    assert!(!log.contains("/v2/") && !log.contains('\u{1b}'), "{log}");
}
