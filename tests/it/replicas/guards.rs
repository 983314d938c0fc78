//! What replicas count one by one: wrong credentials and uploads.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::{PERSON, Replicas};
use crate::harness::{Setup, request};
use crate::scripted_upstream::{ScriptedUpstream, UPLOAD, UPLOADS};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_counted_for_all_gates() {
    let replicas = Replicas::start(3, &["failed_logins: { rate: 1/h, burst: 6 }"]).await;
    assert_eq!(replicas.login(0).await, 200);
    let mut statuses = Vec::new();
    for number in 0..9 {
        let wrong = format!("glpat-demo-wrong-{number}");
        let reply = replicas.gates[number % 3].get("/v2/", Some(("any", &wrong))).await;
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(replicas.login(2).await, 200, "known to be good from there, at another gate");
}

/// They wait for one reservation, so they count once.
#[tokio::test(flavor = "multi_thread")]
async fn many_callers_with_one_wrong_credential_count_once() {
    let replicas = Arc::new(Replicas::start(1, &["failed_logins: { rate: 1/h, burst: 4 }"]).await);
    let mut callers = JoinSet::new();
    // All of them come before Redis answers.
    replicas.redis.pause();
    for _ in 0..40 {
        let replicas = replicas.clone();
        callers.spawn(async move {
            replicas.gates[0].get("/v2/", Some(("any", "glpat-demo-wrong"))).await.status
        });
    }
    let active = "\nmoorgate_connections 40\n";
    super::soon("all callers wait", async || {
        replicas.gates[0].admin("/metrics").await.body.contains(active)
    })
    .await;
    replicas.redis.resume();
    assert_eq!(callers.join_all().await, [401; 40]);
    // To reserve a place, and to keep it.
    let asked = "\nmoorgate_redis_duration_seconds_count{operation=\"logins\"} 2\n";
    super::soon("they have asked Redis once", async || {
        replicas.gates[0].admin("/metrics").await.body.contains(asked)
    })
    .await;
    let mut statuses = Vec::new();
    for number in 0..4 {
        let wrong = format!("glpat-demo-wrong-{number}");
        statuses.push(replicas.gates[0].get("/v2/", Some(("any", &wrong))).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_budget_of_a_provider_is_that_of_all_gates() {
    let replicas = Replicas::start_as(3, || Setup {
        identity: Some("- { name: gitlab, type: gitlab, url: \"{gitlab}\", failure_budget: 4/h }"),
        ..Setup::default()
    })
    .await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let wrong = format!("glpat-demo-wrong-{number}");
        let reply = replicas.gates[number % 3].get("/v2/", Some(("any", &wrong))).await;
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
    assert_eq!(replicas.questions(), 4);
}

/// The place becomes free when the upload ends, at whichever gate.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_counted_for_all_gates() {
    let mut upstream = ScriptedUpstream::start();
    let address = upstream.address;
    let replicas = Replicas::start_as(2, || Setup {
        limits: vec!["concurrent_uploads_per_identity: 1"],
        upstream_address: Some(address),
        ..Setup::default()
    })
    .await;
    let mut client = replicas.gates[0].connect().await;
    let head = request("PATCH", UPLOAD, Some(PERSON), "Content-Length: 1000\r\n", "");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.bytes(1).await;
    let over = replicas.gates[1].send("POST", UPLOADS, Some(PERSON), "", "").await;
    assert_eq!(over.status, 429, "{}", over.body);
    drop((client, connection));
    let next = replicas.gates[1].send("POST", UPLOADS, Some(PERSON), "", "");
    let (next, ()) = tokio::join!(next, async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
    });
    assert_eq!(next.status, 202, "{}", next.body);
}
