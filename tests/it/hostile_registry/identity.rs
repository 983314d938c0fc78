//! `upstream.identity_headers`: no server but the registry itself learns who the caller is.

use super::server::{Request, Server, answer};
use super::{ALICE, MANIFEST, gate};
use crate::harness::some_digest;

const HEADERS: [&str; 2] = ["x-forwarded-provider", "x-forwarded-user"];

fn upstream(more: &[String]) -> Vec<String> {
    [&["identity_headers: true".to_owned()], more].concat()
}

fn knows(request: &Request) -> bool {
    let told = HEADERS.map(|name| request.header(name));
    assert!(told == [Some("local"), Some("alice")] || told == [None, None], "{told:?}");
    told[0].is_some()
}

#[tokio::test]
async fn the_storage_of_redirects_learns_no_caller() {
    let storage = Server::start("127.0.0.1", |_| answer("200 OK", "", "content"));
    let location = format!("Location: http://{}/x\r\n", storage.address);
    let registry =
        Server::start("127.0.0.1", move |_| answer("307 Temporary Redirect", &location, ""));
    let follow =
        ["redirects: follow".to_owned(), format!("redirect_hosts: [\"{}\"]", storage.address)];
    let gate = gate(&registry, &upstream(&follow)).await;
    let blob = format!("/v2/demo/a/blobs/{}", some_digest());
    assert_eq!(gate.get(&blob, Some(ALICE)).await.status, 200);
    assert!(registry.ledger().iter().all(knows) && registry.ledger().len() == 1);
    assert!(!storage.ledger().iter().any(knows) && storage.ledger().len() == 1);
}

#[tokio::test]
async fn the_host_of_an_upload_learns_no_caller() {
    let storage = Server::start("127.0.0.1", |_| answer("202 Accepted", "Location: /x/2\r\n", ""));
    let location = format!("Location: http://{}/x/1\r\n", storage.address);
    let registry = Server::start("127.0.0.1", move |_| answer("202 Accepted", &location, ""));
    let hosts = [format!("upload_hosts: [\"{}\"]", storage.address)];
    let gate = gate(&registry, &upstream(&hosts)).await;
    let begun = gate.send("POST", "/v2/demo/a/blobs/uploads/", Some(ALICE), "", "").await;
    let address = begun.header("location").unwrap();
    assert_eq!(gate.send("PATCH", address, Some(ALICE), "", "body").await.status, 202);
    assert!(registry.ledger().iter().all(knows) && registry.ledger().len() == 1);
    assert!(!storage.ledger().iter().any(knows) && storage.ledger().len() == 1);
}

#[tokio::test]
async fn the_token_server_learns_no_caller() {
    let realm = Server::start("127.0.0.1", |_| answer("200 OK", "", r#"{"token":"good"}"#));
    let challenge =
        format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n", realm.address);
    let registry =
        Server::start("127.0.0.1", move |request| match request.header("authorization") {
            Some("Bearer good") => answer("200 OK", "", "ok"),
            _ => answer("401 Unauthorized", &challenge, ""),
        });
    let gate = gate(&registry, &upstream(&["authorization: token".to_owned()])).await;
    assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 200);
    assert!(registry.ledger().iter().all(knows) && registry.ledger().len() == 2);
    assert!(!realm.ledger().iter().any(knows) && realm.ledger().len() == 1);
}
