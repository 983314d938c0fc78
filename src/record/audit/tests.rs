//! Tests of torn lines, of a file that is moved or deleted, and of the names in a write.

use std::rc::Rc;

use http::Method;

use super::*;
use crate::record::test_disk::Disk;
use crate::record::{AccessLog, LogFormat, Recorder};

fn on(disk: &Disk) -> AuditLog {
    let disk = disk.clone();
    AuditLog::start(move || Ok(LogTarget::Other(Box::new(disk.clone())))).unwrap()
}

fn record() -> Record {
    let recorder =
        Arc::new(Recorder::new(Arc::default(), AccessLog::start(LogFormat::Json, None).unwrap()));
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    Record::begin(
        recorder,
        Rc::default(),
        "mine".into(),
        client,
        Method::PUT,
        "/v2/a/manifests/v1".into(),
    )
}

fn put() -> RegistryRequest {
    RegistryRequest::parse(&Method::PUT, "/v2/a/manifests/v1", None).unwrap()
}

#[tokio::test]
async fn a_partially_written_line_does_not_damage_the_next_one() {
    let disk = Disk::default();
    let (audit, record) = (on(&disk), record());
    audit.allowed(&record, &put()).await.unwrap();
    disk.set_room(&[30, 0]);
    assert_eq!(audit.allowed(&record, &put()).await, Err(Denial::NotAudited));
    audit.allowed(&record, &put()).await.unwrap();
    let text = disk.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[1].len(), 30);
    for line in [lines[0], lines[2]] {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["request_id"], &line["tags"]),
            (&"mine".into(), &serde_json::json!(["v1"]))
        );
    }
}

#[tokio::test]
async fn a_moved_file_is_replaced_when_the_log_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["audit", "audit.1"].map(|name| folder.path().join(name));
    let (audit, record) = (AuditLog::file(&path).unwrap(), record());
    let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    audit.allowed(&record, &put()).await.unwrap();
    std::fs::rename(&path, &moved).unwrap();
    audit.allowed(&record, &put()).await.unwrap();
    assert_eq!((lines(&moved), lines(&path)), (2, 0));
    audit.reopen();
    audit.allowed(&record, &put()).await.unwrap();
    assert_eq!((lines(&moved), lines(&path)), (2, 1));
    // If the file cannot be opened, the old one stays in use.
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    audit.reopen();
    audit.allowed(&record, &put()).await.unwrap();
    assert_eq!(lines(&moved), 2);
}

/// Lines in a deleted file cannot be read, so they do not count.
#[tokio::test]
async fn a_file_that_was_deleted_is_made_again_or_fails_the_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let (audit, record) = (AuditLog::file(&path).unwrap(), record());
    audit.allowed(&record, &put()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    audit.allowed(&record, &put()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(audit.allowed(&record, &put()).await, Err(Denial::NotAudited));
    std::fs::remove_dir(&path).unwrap();
    audit.allowed(&record, &put()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn an_audit_line_names_the_tags_the_digest_and_the_mount_source() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let request = |method, path: &str, query: Option<&str>| {
        RegistryRequest::parse(&method, path, query).unwrap()
    };
    let digest = digest.as_str();
    let table = [
        (Method::PUT, "/v2/a/manifests/v1".to_owned(), None, (vec!["v1"], None, None)),
        (
            Method::PUT,
            format!("/v2/a/manifests/{digest}"),
            Some("tag=v1&tag=v2".to_owned()),
            (vec!["v1", "v2"], Some(digest), None),
        ),
        (Method::DELETE, format!("/v2/a/blobs/{digest}"), None, (vec![], Some(digest), None)),
        (
            Method::POST,
            "/v2/a/blobs/uploads/".to_owned(),
            Some(format!("mount={digest}&from=b/c")),
            (vec![], Some(digest), Some("b/c")),
        ),
        (Method::PATCH, "/v2/a/blobs/uploads/id".to_owned(), None, (vec![], None, None)),
    ];
    for (method, path, query, expected) in table {
        assert_eq!(names(&request(method, &path, query.as_deref())), expected, "{path}");
    }
}
