//! The program's log about requests: faults of the registry, callers over a limit, and lines that
//! other logs lost.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::secrets::send;
use super::{HTPASSWD, Served, moorgate, text};
use crate::harness::{basic, listener};

/// The program's log reports the registry's faults, also on a pooled connection, and does not blame
/// the registry for faults of clients.
#[test]
fn the_log_reports_faults_of_the_registry_and_none_of_clients() {
    let registry = listener();
    let served = Served::start(
        registry.local_addr().unwrap(),
        &HTPASSWD.replace("]", ", write_registry]"),
        "  workers: 1\n",
    );
    let head = format!("HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n", basic(("alice", "secret")));
    let mut client = TcpStream::connect(served.address).unwrap();
    let mut buffer = [0; 4096];

    // The client breaks off within its body.
    let mut leaving = TcpStream::connect(served.address).unwrap();
    write!(
        leaving,
        "PATCH /v2/a/blobs/uploads/1 {head}X-Request-Id: left\r\nContent-Length: 9\r\n\r\nhalf"
    )
    .unwrap();
    let (mut connection, _) = registry.accept().unwrap();
    let mut seen = String::new();
    while !seen.ends_with("half") {
        let read = connection.read(&mut buffer).unwrap();
        seen.push_str(&text(&buffer[..read]));
    }
    drop(leaving);
    while connection.read(&mut buffer).is_ok_and(|read| read > 0) {}

    // The registry answers the first request on the connection and does not answer the second.
    write!(client, "GET /v2/a/tags/list {head}\r\n").unwrap();
    let (mut connection, _) = registry.accept().unwrap();
    let _ = connection.read(&mut buffer).unwrap();
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    let _ = client.read(&mut buffer).unwrap();
    write!(client, "POST /v2/a/blobs/uploads/ {head}X-Request-Id: unanswered\r\n\r\n").unwrap();
    let _ = connection.read(&mut buffer).unwrap();
    drop(connection);
    let read = client.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 502 "), "{}", text(&buffer[..read]));

    served.signal("-TERM");
    let log = text(&served.end().stderr);
    let about = |id: &str| {
        log.lines().filter(|line| line.contains(&format!("\"request_id\":\"{id}\""))).count()
    };
    assert_eq!((about("unanswered"), about("left")), (1, 0), "{log}");
}

/// The log reports a caller over a limit once a minute for each limit, by user, or by address if
/// the user is not verified.
#[test]
fn the_log_reports_a_caller_over_a_limit_once() {
    let once = "{ rate: 1/h, burst: 1 }";
    let limits = format!("limits: {{ per_identity: {once}, failed_logins: {once} }}\n");
    let served = Served::start(listener().local_addr().unwrap(), HTPASSWD, &limits);
    for (password, statuses) in [("secret", [200, 429, 429, 429]), ("wrong", [401, 429, 429, 429])]
    {
        for (number, status) in statuses.into_iter().enumerate() {
            // The gate remembers a wrong password as wrong, so each attempt uses a new one.
            let password = if password == "wrong" {
                format!("{password}{number}")
            } else {
                password.to_owned()
            };
            let credential = basic(("alice", &password));
            let message = format!(
                "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Authorization: {credential}\r\n\r\n"
            );
            let reply = send(served.address, &message);
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        }
    }
    served.signal("-TERM");
    let log = text(&served.end().stderr);
    let told: Vec<_> = log.lines().filter(|line| line.contains("over a limit")).collect();
    let [user, address] = told[..] else { panic!("{told:#?}") };
    assert!(
        user.contains("\"limit\":\"per_identity\",\"subject\":\"alice\",\"provider\":\"local\""),
        "{user}"
    );
    assert!(address.contains("\"limit\":\"failed_logins\",\"client\":\"127.0.0.1\""), "{address}");
}

/// Every request meets the same fault during an outage, so the log has one line for each kind of
/// fault in ten seconds.
#[test]
fn a_fault_of_the_registry_is_logged_once_in_ten_seconds() {
    let registry = listener();
    let served = Served::start(
        registry.local_addr().unwrap(),
        &HTPASSWD.replace("]", ", write_registry]"),
        "  workers: 1\n",
    );
    let credential = basic(("alice", "secret"));
    let answer = |response: &str| {
        let mut client = TcpStream::connect(served.address).unwrap();
        write!(
            client,
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: {credential}\r\n\r\n"
        )
        .unwrap();
        let (mut connection, _) = registry.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = connection.read(&mut buffer).unwrap();
        connection.write_all(response.as_bytes()).unwrap();
        drop(connection);
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    };
    let elsewhere = |host: &str| {
        let secret = "_state=secret-state";
        let location = format!("https://user:secret-state@{host}/v2/a/blobs/uploads/1?{secret}");
        format!("HTTP/1.1 202 Accepted\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    for _ in 0..5 {
        answer(&elsewhere("old.example.com:5000"));
        answer(&elsewhere("other.example.com"));
        answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        answer("nonsense\r\n\r\n");
        answer("");
    }
    served.signal("-TERM");
    let log = text(&served.end().stderr);
    for fault in [
        "\"leads_to\":\"https://old.example.com:5000/v2/a/blobs/uploads/1\"",
        "\"leads_to\":\"https://other.example.com/v2/a/blobs/uploads/1\"",
        "answered 401 to the gate itself",
        "the registry gave no answer: invalid HTTP",
        "the registry gave no answer: connection closed",
    ] {
        assert_eq!(log.matches(fault).count(), 1, "{fault}: {log}");
    }
    assert!(!log.contains("secret-state"), "{log}");
    assert!(!log.contains("secret-state"), "{log}");
}
/// A full disk fails every line of the audit log and of the access log. The program log tells of
/// each once in ten seconds.
#[test]
fn the_log_reports_lost_lines_of_other_logs_once() {
    let audit = log_of_a_full_disk("MOORGATE_LOG_AUDIT");
    let words = "the audit log cannot be written, so pushes and deletes are refused: No space left";
    let told: Vec<_> = audit.lines().filter(|line| line.contains(words)).collect();
    assert!(told.len() == 1 && told[0].contains("\"left_out\":0"), "{audit}");

    // The lines that the first report does not count are reported at the end.
    let access = log_of_a_full_disk("MOORGATE_LOG_ACCESS");
    let words = "the access log cannot be written: No space left";
    let told: Vec<_> = access.lines().filter(|line| line.contains(words)).collect();
    let lost = told.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["lines_lost"].as_u64().unwrap()
    });
    assert!(told.len() <= 2 && lost.sum::<u64>() == 5, "{access}");
}

/// Returns the program log of a gate that refuses five credentials and cannot write this log.
fn log_of_a_full_disk(variable: &str) -> String {
    let on_full_disk = |arguments: &[&str]| {
        let mut command = moorgate(arguments);
        command.env(variable, "/dev/full");
        command
    };
    let registry = listener().local_addr().unwrap();
    let served = Served::start_by(registry, HTPASSWD, "", on_full_disk);
    for number in 0..5 {
        let credential = basic(("alice", &format!("wrong{number}")));
        let message = format!(
            "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: {credential}\r\n\r\n"
        );
        let reply = send(served.address, &message);
        assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
    }
    served.signal("-TERM");
    text(&served.end().stderr)
}
