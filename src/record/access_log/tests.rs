use std::rc::Rc;

use http::Method;
use serde_json::Value;

use super::*;
use crate::identity::{Granted, Principal, Source, Verified};
use crate::record::Recorder;

/// A line stays a single line in both formats, for every text that a client or a provider
/// sends.
#[test]
fn hostile_text_cannot_break_a_log_line() {
    let hostile = "a\u{1b}]0;owned\u{7}\u{9b}2J\r\n2026 200 GET /v2/ root\u{202e}\u{7f}";
    let access_log = AccessLog::to(LogFormat::Text, io::sink()).unwrap();
    let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    let path = format!("/v2/{hostile}");
    let mut record =
        Record::begin(recorder, Rc::default(), "request".into(), client, Method::GET, path);
    let source = Arc::new(Source {
        provider: "gitlab".into(),
        credential_type: Some(hostile.into()),
        folds_case: false,
    });
    let principal = Principal { source, subject: hostile.into() };
    record.set_caller(Arc::new(Verified {
        principal,
        granted: Granted::Nothing,
        attributes: None,
    }));
    let line = AccessLine::new(&record, Duration::ZERO);
    let mut text = Vec::new();
    line.write_text(&mut text).unwrap();
    let json = serde_json::to_string(&line).unwrap();
    for printed in [String::from_utf8(text).unwrap(), json] {
        assert!(!printed.chars().any(|c| c.is_control() || c == '\u{202e}'), "{printed:?}");
        assert_eq!(
            printed.matches("owned").count(),
            printed.matches("{1b}]0;owned").count(),
            "{printed}"
        );
    }
}

#[test]
fn an_anonymous_caller_has_no_subject_in_the_log() {
    let line = |subject: &str| {
        let access_log = AccessLog::to(LogFormat::Json, io::sink()).unwrap();
        let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let mut record = Record::begin(
            recorder,
            Rc::default(),
            "request".into(),
            client,
            Method::GET,
            "/v2/".into(),
        );
        let source = Arc::new(Source {
            provider: "gitlab".into(),
            credential_type: None,
            folds_case: false,
        });
        let principal = Principal { source, subject: subject.into() };
        record.set_caller(Arc::new(Verified {
            principal,
            granted: Granted::Nothing,
            attributes: None,
        }));
        serde_json::to_value(AccessLine::new(&record, Duration::ZERO)).unwrap()
    };
    assert_eq!(line("alice")["subject"], "alice");
    let nobody = line("");
    assert_eq!((&nobody["subject"], &nobody["provider"]), (&Value::Null, &Value::from("gitlab")));
    assert_eq!(
        (&nobody["credential_kind"], &nobody["credential"]),
        (&Value::from("anonymous"), &Value::Null)
    );
}
