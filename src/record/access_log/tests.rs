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
    line.write_text(&mut text);
    let mut json = Vec::new();
    line.write_json(&mut json);
    for printed in [text, json].map(|bytes| String::from_utf8(bytes).unwrap()) {
        let printed = printed.strip_suffix('\n').unwrap();
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
        let mut json = Vec::new();
        AccessLine::new(&record, Duration::ZERO).write_json(&mut json);
        serde_json::from_slice::<Value>(&json).unwrap()
    };
    assert_eq!(line("alice")["subject"], "alice");
    let nobody = line("");
    assert_eq!((&nobody["subject"], &nobody["provider"]), (&Value::Null, &Value::from("gitlab")));
    assert_eq!(
        (&nobody["credential_kind"], &nobody["credential"]),
        (&Value::from("anonymous"), &Value::Null)
    );
}

/// A target that takes nothing while it is blocked, or fails.
#[derive(Clone, Default)]
struct Target(Arc<(Mutex<TargetState>, Condvar)>);

#[derive(Default)]
struct TargetState {
    text: Vec<u8>,
    blocked: bool,
    /// The number of bytes after which a write fails.
    room: Option<usize>,
}

impl Target {
    fn set(&self, change: impl FnOnce(&mut TargetState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until the text is as wanted.
    fn until(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut state = self.0.0.lock().unwrap();
        loop {
            let text = String::from_utf8(state.text.clone()).unwrap();
            if is_wanted(&text) {
                return text;
            }
            let (next, late) = self.0.1.wait_timeout(state, Duration::from_secs(20)).unwrap();
            assert!(!late.timed_out(), "{text}");
            state = next;
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock().unwrap();
        while state.blocked {
            state = self.0.1.wait(state).unwrap();
        }
        let taken = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.room = state.room.map(|room| room - taken);
        state.text.extend_from_slice(&bytes[..taken]);
        self.0.1.notify_all();
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a log with this target, and a function that writes a line with this path.
fn log_to(target: &Target) -> (Arc<Recorder>, impl Fn(&str)) {
    let access_log = AccessLog::to(LogFormat::Json, target.clone()).unwrap();
    let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
    let of = recorder.clone();
    let write = move |path: &str| {
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let (id, path) = ("request".into(), path.to_owned());
        drop(Record::begin(of.clone(), Rc::default(), id, client, Method::GET, path));
    };
    (recorder, write)
}

fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is never so");
        std::thread::yield_now();
    }
}

/// Waits until this many lines count as lost.
fn until_lost(recorder: &Recorder, lines: u64) {
    until(|| recorder.metrics.access_log_lines_lost_so_far() == lines);
}

#[test]
fn lost_lines_are_counted_and_the_next_line_begins_on_a_line_of_its_own() {
    let target = Target::default();
    let (recorder, write) = log_to(&target);
    write("/one");
    let one = target.until(|text| text.ends_with('\n'));
    // The second line is written in part, and the third one not at all.
    target.set(|target| target.room = Some(30));
    write("/two");
    until_lost(&recorder, 1);
    write("/three");
    until_lost(&recorder, 2);
    let seen = recorder.access_log.seen();
    assert!(seen.failing && seen.lost.unwrap().1.contains("no storage space"));
    target.set(|target| target.room = None);
    write("/four");
    let text = target.until(|text| text.contains("/four"));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, one.trim_end()), "{text}");
    assert_eq!(lines[1].len(), 30);
    let four: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(four["path"], "/four");
    until(|| !recorder.access_log.seen().failing);
    assert!(recorder.access_log.seen().lost.is_some());
    assert_eq!(recorder.metrics.access_log_lines_lost_so_far(), 2);
}

#[test]
fn lines_that_come_faster_than_they_are_written_are_counted() {
    let target = Target::default();
    target.set(|target| target.blocked = true);
    let (recorder, write) = log_to(&target);
    let path = format!("/{}", "x".repeat(4000));
    let mut lines = 0;
    while recorder.metrics.access_log_lines_lost_so_far() == 0 {
        write(&path);
        lines += 1;
        assert!(lines < 10_000, "no line is lost");
    }
    let seen = recorder.access_log.seen();
    assert!(!seen.failing && seen.lost.unwrap().1.contains("faster"));
    target.set(|target| target.blocked = false);
    drop((recorder, write));
    let text = target.until(|text| text.lines().count() == lines - 1);
    assert!(text.ends_with('\n'));
}

/// Opening a pipe would wait for its reader, and a reload would never end.
#[test]
fn a_pipe_in_place_of_a_log_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(AccessLog::open(&pipe).is_err());
    assert!(crate::record::AuditLog::file(&pipe).is_err());
}
