//! The stand-in itself, without a gate: it lets in nobody whom its registry would refuse, so that
//! the scenarios cannot pass for lack of a lock.

use super::client::{CLIENT, send};
use super::script::{NAME, Script};
use super::stand_in::{PASSWORD, StandIn};
use crate::harness::{Reply, basic, request};

async fn ask(host: &str, method: &str, target: &str, authorization: &str) -> Reply {
    let headers = match authorization {
        "" => String::new(),
        line => format!("Authorization: {line}\r\n"),
    };
    send(host, &request(method, target, None, &headers, "")).await
}

#[tokio::test]
async fn a_token_opens_what_it_was_issued_for_and_nothing_else() {
    let registry = StandIn::start(Script::distribution());
    let host = registry.sites.registry.to_string();
    let tags = format!("/v2/{NAME}/tags/list");
    let reply = ask(&host, "GET", &tags, "").await;
    let challenge = reply.header("www-authenticate").unwrap().to_owned();
    assert_eq!(reply.status, 401);
    assert!(challenge.ends_with(&format!("scope=\"repository:{NAME}:pull\"")), "{challenge}");

    let question = format!("/token?service=registry.test&scope=repository:{NAME}:pull");
    assert_eq!(ask(&host, "GET", &question, &basic(CLIENT)).await.status, 401);
    assert_eq!(ask(&host, "POST", &question, "").await.status, 405);
    assert_eq!(ask(&host, "GET", "/token?scope=repository:x:admin", "").await.status, 400);
    let reply = ask(&host, "GET", &question, &basic(("moorgate", PASSWORD))).await;
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Bearer {}", json["token"].as_str().unwrap());

    assert_eq!(ask(&host, "GET", &tags, &bearer).await.status, 200);
    assert_eq!(ask(&host, "GET", "/v2/", &bearer).await.status, 200);
    for (method, target) in [
        ("GET", "/v2/demo/other/tags/list".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
        ("POST", format!("/v2/{NAME}/blobs/uploads/")),
        ("PATCH", format!("/v2/{NAME}/blobs/uploads/upload-0")),
        ("DELETE", format!("/v2/{NAME}/manifests/v1")),
    ] {
        assert_eq!(ask(&host, method, &target, &bearer).await.status, 401, "{method} {target}");
    }
    assert_eq!(ask(&host, "GET", &tags, &basic(("moorgate", PASSWORD))).await.status, 401);
    registry.forget_tokens();
    assert_eq!(ask(&host, "GET", &tags, &bearer).await.status, 401);
}

#[tokio::test]
async fn an_address_of_an_upload_is_taken_byte_for_byte() {
    let registry = StandIn::start(Script::distribution());
    let host = registry.sites.registry.to_string();
    let question = format!("/token?scope=repository:{NAME}:pull,push");
    let reply = ask(&host, "GET", &question, &basic(("moorgate", PASSWORD))).await;
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Bearer {}", json["token"].as_str().unwrap());
    let reply = ask(&host, "POST", &format!("/v2/{NAME}/blobs/uploads/"), &bearer).await;
    assert_eq!(reply.status, 202);
    let location = reply.header("location").unwrap().strip_prefix(&format!("http://{host}"));
    let target = location.unwrap();
    for (target, status) in [
        (target.replace("%3D", "="), 400),
        (target.replace("upload-0", "upload-1"), 404),
        (format!("{target}&more=1"), 400),
        (target.to_owned(), 202),
        (target.to_owned(), 400),
    ] {
        assert_eq!(ask(&host, "PATCH", &target, &bearer).await.status, status, "{target}");
    }
}
