//! Tests of fetched keys: how often an issuer is asked, and which keys stay if a fetch fails.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{KeyLookup, KeySet, Keys, RefreshIntervals};
use crate::demo::signing_key::SigningKey;
use crate::identity::provider::test_server::{Answer, PATIENCE, TestServer};

/// An interval so long that a test ends before anything is done a second time.
const NEVER: Duration = Duration::from_secs(3600);

fn set(ids: &[&str]) -> Answer {
    let keys: Vec<Value> =
        ids.iter().map(|id| SigningKey::es256().unwrap().jwk_named(id)).collect();
    Answer::ok(&json!({ "keys": keys }).to_string())
}

fn keys(server: &TestServer, intervals: RefreshIntervals) -> Keys {
    Keys::fetched(
        "workloads".into(),
        server.url.clone(),
        TestServer::client(Duration::from_secs(5)),
        intervals,
    )
}

async fn find(keys: &Keys, id: &str) -> KeyLookup {
    keys.find(Some(id), Algorithm::ES256).await
}

/// Returns a letter for the result of a lookup: `k` for a key, `-` for no such key, `w` for not
/// now, `0` for no keys yet.
async fn found(keys: &Keys, id: &str) -> char {
    match find(keys, id).await {
        KeyLookup::Keys(keys) => {
            assert!(keys.iter().all(|key| key.id() == Some(id)));
            'k'
        }
        KeyLookup::NoSuchKey => '-',
        KeyLookup::NotNow(_) => 'w',
        KeyLookup::NoKeysYet => '0',
    }
}

#[tokio::test]
async fn keys_are_fetched_at_the_start_and_the_first_caller_waits_for_them() {
    let server = TestServer::start(set(&["one"])).await;
    let keys = keys(&server, RefreshIntervals::default());
    assert_eq!(found(&keys, "one").await, 'k');
    assert_eq!(found(&keys, "one").await, 'k');
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("GET /path HTTP/1.1\r\n"), "{}", requests[0]);
}

#[tokio::test]
async fn unknown_keys_cause_at_most_one_fetch_in_ten_seconds() {
    let server = TestServer::start(set(&["one"])).await;
    let keys = keys(&server, RefreshIntervals::default());
    assert_eq!(found(&keys, "one").await, 'k');
    for number in 0..100 {
        assert_eq!(found(&keys, &format!("unknown-{number}")).await, '-');
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn callers_share_a_fetch() {
    let server = TestServer::start(set(&["one"])).await;
    let keys = std::sync::Arc::new(keys(
        &server,
        RefreshIntervals { refresh: NEVER, unknown_key: Duration::ZERO },
    ));
    assert_eq!(found(&keys, "one").await, 'k');
    let before = server.requests().len();
    server.answer(set(&["one", "two"]));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { found(&keys, "two").await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 'k');
    }
    assert_eq!(server.requests().len(), before + 1);
}

#[tokio::test]
async fn a_new_key_is_found_by_its_first_token() {
    let server = TestServer::start(set(&["one"])).await;
    let keys = keys(&server, RefreshIntervals { refresh: NEVER, unknown_key: Duration::ZERO });
    assert_eq!(found(&keys, "one").await, 'k');
    server.answer(set(&["one", "two"]));
    assert_eq!(found(&keys, "two").await, 'k');
    assert_eq!(found(&keys, "three").await, '-');
    // The next fetch removes a retired key.
    server.answer(set(&["two", "three"]));
    assert_eq!(found(&keys, "three").await, 'k');
    assert_eq!(found(&keys, "one").await, '-');
}

#[tokio::test]
async fn the_background_takes_retired_keys_away() {
    let server = TestServer::start(set(&["one"])).await;
    let keys =
        keys(&server, RefreshIntervals { refresh: Duration::from_millis(1), unknown_key: NEVER });
    assert_eq!(found(&keys, "one").await, 'k');
    server.answer(set(&["two"]));
    let gone = async {
        while found(&keys, "one").await == 'k' {
            server.reached(server.requests().len() + 1).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(found(&keys, "two").await, 'k');
}

#[tokio::test]
async fn the_last_good_keys_stay_after_an_unusable_answer() {
    let server = TestServer::start(set(&["one"])).await;
    let keys = keys(&server, RefreshIntervals { refresh: NEVER, unknown_key: Duration::ZERO });
    assert_eq!(found(&keys, "one").await, 'k');
    let elsewhere = TestServer::start(set(&["two"])).await;
    for answer in [
        Answer::new(500, "", "down"),
        Answer::new(404, "", "{}"),
        Answer::new(204, "", ""),
        Answer::new(302, &format!("location: {}\r\n", elsewhere.url), ""),
        Answer::new(
            301,
            &format!("location: {}\r\n", elsewhere.url),
            &json!({ "keys": [SigningKey::es256().unwrap().jwk_named("two")] }).to_string(),
        ),
        Answer::new(200, "content-type: text/html\r\n", "<html>Sign in</html>"),
        Answer::ok(""),
        Answer::ok("{}"),
        Answer::ok(r#"{"keys": []}"#),
        Answer::ok(r#"{"keys": [{"kty": "oct", "kid": "two", "k": "AAAA"}]}"#),
        Answer::ok(
            &json!({
                "keys": [SigningKey::es256().unwrap().jwk_named("two")],
                "x": "x".repeat(1024 * 1024),
            })
            .to_string(),
        ),
        Answer::Say("HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{\"keys\"".to_owned()),
        Answer::Say("nonsense".to_owned()),
    ] {
        server.answer(answer);
        // The gate cannot know now whether "two" is a new key, and does not refuse it.
        assert_eq!(found(&keys, "two").await, 'w');
        assert_eq!(found(&keys, "one").await, 'k');
    }
    assert!(elsewhere.requests().is_empty(), "a redirect is not followed");
    server.answer(set(&["two"]));
    assert_eq!(found(&keys, "two").await, 'k');
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_asked_again_for_a_caller() {
    let server = TestServer::start(Answer::new(503, "", "")).await;
    let keys = keys(&server, RefreshIntervals { refresh: NEVER, unknown_key: Duration::ZERO });
    assert_eq!(found(&keys, "one").await, '0');
    server.answer(set(&["one"]));
    assert_eq!(found(&keys, "one").await, 'k');
}

#[tokio::test]
async fn an_issuer_that_hangs_costs_a_caller_no_more_than_the_time_out() {
    let server = TestServer::start(Answer::Hang).await;
    let client = TestServer::client(Duration::from_millis(50));
    let keys =
        Keys::fetched("workloads".into(), server.url.clone(), client, RefreshIntervals::default());
    assert_eq!(tokio::time::timeout(PATIENCE, found(&keys, "one")).await.unwrap(), '0');
    // The next caller makes the gate ask the issuer again. All later callers learn at once that the
    // issuer was asked a moment ago.
    for _ in 0..10 {
        assert_eq!(found(&keys, "one").await, '0');
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_end_the_fetch() {
    let server = TestServer::start(set(&["one"])).await;
    let keys =
        std::sync::Arc::new(keys(&server, RefreshIntervals { refresh: NEVER, unknown_key: NEVER }));
    assert_eq!(found(&keys, "one").await, 'k');
    server.answer(set(&["one", "two"]));
    let leaving = tokio::spawn({
        let keys = keys.clone();
        async move { found(&keys, "two").await }
    });
    server.reached(2).await;
    leaving.abort();
    assert_eq!(found(&keys, "two").await, 'k');
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn fetching_stops_when_the_keys_are_dropped() {
    let server = TestServer::start(set(&["one"])).await;
    let keys =
        keys(&server, RefreshIntervals { refresh: Duration::from_millis(1), unknown_key: NEVER });
    server.reached(3).await;
    let refreshing = keys.remote.as_ref().unwrap().refreshing.abort_handle();
    drop(keys);
    let ended = async {
        while !refreshing.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn keys_of_a_file_are_never_fetched() {
    let text = json!({ "keys": [SigningKey::es256().unwrap().jwk_named("one")] }).to_string();
    let keys = Keys::fixed(KeySet::parse(text.as_bytes()).unwrap());
    assert_eq!(found(&keys, "one").await, 'k');
    assert_eq!(found(&keys, "two").await, '-');
}
