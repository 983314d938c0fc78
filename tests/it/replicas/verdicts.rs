//! Verdicts that end before their time, at whichever gate.

use std::time::{Duration, Instant};

use super::{PERSON, Replicas};
use crate::harness::{PATIENCE, Setup};
use crate::scripted_upstream::{OK, ScriptedUpstream};

const TAGS: &str = "/v2/demo/a/tags/list";

/// A gate has a fresh answer about one repository. Another gate asks about another repository, and
/// is told that the credential is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_one_gate_ends_the_answers_of_the_others() {
    let replicas = Replicas::start(2, &[]).await;
    assert_eq!(replicas.gates[1].get(TAGS, Some(PERSON)).await.status, 404);
    assert!(replicas.gitlab.revoke(PERSON.1));
    assert_eq!(replicas.gates[1].get(TAGS, Some(PERSON)).await.status, 404, "fresh");
    assert_eq!(replicas.gates[0].get("/v2/demo/b/tags/list", Some(PERSON)).await.status, 401);
    let end = Instant::now() + PATIENCE;
    while replicas.gates[1].get(TAGS, Some(PERSON)).await.status != 401 {
        assert!(Instant::now() < end, "the other gate does not learn of the refusal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(replicas.questions(), 2, "the refusal is shared");
}

/// A token for the registry that one gate was given is used by all. Redis does not see it, and it
/// does not come back after the registry has refused it.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_shared_until_the_registry_refuses_it() {
    let mut upstream = ScriptedUpstream::start();
    let address = upstream.address;
    let replicas = Replicas::start_as(3, || Setup {
        upstream: vec!["authorization: grant"],
        upstream_address: Some(address),
        ..Setup::default()
    })
    .await;
    const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\
        WWW-Authenticate: Bearer realm=\"https://gitlab.test/jwt/auth\",error=\"invalid_token\"\r\n\
        \r\n";
    let mut tokens = Vec::new();
    // After a refusal, the gate asks for another token and tries once more.
    for (gate, answers) in [(0, vec![OK]), (1, vec![REFUSED, OK]), (2, vec![OK])] {
        let (reply, ()) = tokio::join!(replicas.gates[gate].get(TAGS, Some(PERSON)), async {
            for answer in answers {
                let (mut connection, head) = upstream.accept_request().await;
                connection.write(answer).await;
                tokens.push(head.header("authorization").unwrap().to_owned());
            }
        });
        assert_eq!(reply.status, 200, "gate {gate}");
        let stored = until_stored(&replicas).await;
        assert!(stored.contains("mv1."), "{stored}");
        let is_in_clear = |token: &String| stored.contains(token.trim_start_matches("Bearer "));
        assert!(!tokens.iter().any(is_in_clear), "{stored}");
    }
    let [first, refused, second, last] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((first, second), (refused, last));
    assert_ne!(first, second);
    assert_eq!(replicas.questions(), 2);
}

/// Waits until an answer is in Redis, and returns it.
async fn until_stored(replicas: &Replicas) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let name = replicas.redis.ask(&["KEYS", "moorgate:*:v:*"]);
        if !name.is_empty() {
            return replicas.redis.ask(&["GET", name.trim()]);
        }
        assert!(Instant::now() < end, "no answer is shared");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
