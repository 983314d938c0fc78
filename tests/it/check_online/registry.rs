//! The report about the registry: whether it is one, and where it leads uploads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::{Canned, LOCAL, check, response, urls};

const BEGIN: &str = "POST /v2/moorgate-check-config/probe/blobs/uploads/ HTTP/1.1\r\n";

/// A registry that answers the start of an upload as given, and keeps the requests.
fn registry(
    started: impl Fn(SocketAddr) -> String + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let Canned { address, seen } =
        Canned::answering(move |address, request| match request.split(' ').next().unwrap() {
            "POST" => response(&started(address), ""),
            "DELETE" => response("204 No Content\r\n", ""),
            _ => response("200 OK\r\n", "{}"),
        });
    (address, seen)
}

fn accepted(location: &str) -> String {
    format!("202 Accepted\r\nLocation: {location}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_registry_is_reported() {
    let header = "Docker-Distribution-Api-Version: registry/2.0\r\n";
    for (status, headers, body, code) in [
        ("200 OK", "", "It works!", 78),
        ("200 OK", "", "<html>hello</html>", 78),
        ("200 OK", "", "\u{feff}<!DOCTYPE html>", 78),
        ("200 OK", "", "", 78),
        ("200 OK", "", "{\"status\": \"ok\"}", 78),
        ("200 OK", "", "[]", 78),
        ("200 OK", "", "{\"errors\": \"none\"}", 78),
        ("200 OK", "Content-Type: application/json\r\n", "true", 78),
        ("401 Unauthorized", "", "{\"message\": \"log in\"}", 78),
        ("404 Not Found", "", "{}", 78),
        ("200 OK", "", "{}", 0),
        ("200 OK", "", " {}\n", 0),
        ("200 OK", "", "{\"errors\": []}", 0),
        ("200 OK", header, "", 0),
        ("200 OK", header, "true", 0),
    ] {
        let server = Canned::start(status, headers, body).address;
        let said = check(&urls(server), &[LOCAL.to_owned()]).await;
        assert_eq!(said.code, Some(code), "{status} {body:?}: {}{}", said.stdout, said.stderr);
        if code == 78 {
            assert!(
                said.problem("`upstream.urls[0]`").contains("write the address of the registry"),
                "{}",
                said.stderr
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_leads_uploads_to_an_old_address_is_reported() {
    const UPLOAD: &str = "/v2/moorgate-check-config/probe/blobs/uploads/1?_state=x%3D";
    for (location, part) in [
        (format!("https://old.example.com{UPLOAD}"), "it leads uploads to `old.example.com`, "),
        (format!("http://localhost:5001{UPLOAD}"), "it leads uploads to `localhost:5001`, "),
        (format!("//old.example.com{UPLOAD}"), "it leads uploads to `old.example.com`, "),
        (format!("https://localhost@old.example.com{UPLOAD}"), "`localhost@old.example.com`"),
        ("/v2/another/blobs/uploads/1".to_owned(), "to `/v2/another/blobs/uploads/1`, which"),
        ("/v2/moorgate-check-config/probe/tags/list".to_owned(), "which is not an address of"),
    ] {
        let start = accepted(&location);
        let (address, _) = registry(move |_| start.clone());
        let said = check(&urls(address), &[LOCAL.to_owned()]).await;
        assert_eq!(said.code, Some(78), "{location}: {}", said.stdout);
        let problem = said.problem(part);
        assert!(problem.contains("`upstream.urls[0]`: ") && problem.contains("502"), "{problem}");
    }
    // The gate seals such an address.
    let (address, _) = registry(|_| accepted("/elsewhere"));
    let said = check(&urls(address), &[LOCAL.to_owned()]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("uploads lead to another path"), "{}", said.stdout);
    for (start, part) in [
        ("202 Accepted\r\n".to_owned(), "without a Location"),
        (format!("307 Temporary Redirect\r\nLocation: {UPLOAD}\r\n"), "a redirect"),
    ] {
        let (address, _) = registry(move |_| start.clone());
        let said = check(&urls(address), &[LOCAL.to_owned()]).await;
        assert!(said.problem(part).contains("every push fails"), "{}", said.stderr);
    }
}

/// The check begins an upload as the gate would, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_check_cancels_the_upload_that_it_began() {
    const UPLOAD: &str = "/v2/moorgate-check-config/probe/blobs/uploads/1?_state=x%3D";
    type Start = Box<dyn Fn(SocketAddr) -> String + Send>;
    let starts: [(Start, Option<i32>); 4] = [
        (Box::new(|_| accepted(UPLOAD)), Some(0)),
        (Box::new(|own| accepted(&format!("http://{own}{UPLOAD}"))), Some(0)),
        (Box::new(|_| accepted(&format!("http://LOCALHOST:80{UPLOAD}"))), Some(0)),
        (Box::new(|_| accepted(&format!("http://old.example.com{UPLOAD}"))), Some(78)),
    ];
    for (start, code) in starts {
        let (address, seen) = registry(start);
        let said = check(&urls(address), &[LOCAL.to_owned()]).await;
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
        assert_eq!(code == Some(0), said.stdout.contains("uploads lead back to the gate"));
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen[1].starts_with(BEGIN), "{}", seen[1]);
        assert!(seen[1].contains("\r\nx-forwarded-host: localhost\r\n"), "{}", seen[1]);
        assert!(seen[2].starts_with(&format!("DELETE {UPLOAD} HTTP/1.1\r\n")), "{}", seen[2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_the_upload_is_not_reported_as_wrong() {
    for status in [401, 403, 404, 405, 500, 503] {
        let (address, seen) = registry(move |_| format!("{status} No\r\n"));
        let said = check(&urls(address), &[LOCAL.to_owned()]).await;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let part = format!("uploads not checked: the registry answers {status} to the start");
        assert!(said.stdout.contains(&part), "{}", said.stdout);
        assert_eq!(seen.lock().unwrap().len(), 2, "nothing to cancel");
    }
}
