//! What is cached needs no Redis: such a request sends no command.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{PERSON, Replicas, soon};
use crate::harness::Setup;
use crate::redis_servers::RedisServer;

const REQUESTS: usize = 300;

/// The commands that a server gets, as MONITOR shows them.
struct Monitor {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    fn of(redis: &RedisServer) -> Self {
        let mut stream = UnixStream::connect(redis.socket()).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = lines.clone();
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first).unwrap();
        assert_eq!(first, "+OK\r\n");
        std::thread::spawn(move || {
            for line in stream.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { lines }
    }

    /// Returns the commands that requests have caused since the last call.
    async fn of_requests(&self, redis: &RedisServer) -> Vec<String> {
        redis.ask(&["ECHO", "the end"]);
        let has_ended = || self.lines.lock().unwrap().iter().any(|line| line.contains("the end"));
        soon("the monitor has all commands", async || has_ended()).await;
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        lines.into_iter().filter(|line| !is_in_the_background(line)).collect()
    }
}

/// Returns whether the gates send this command from time to time, without a request.
fn is_in_the_background(line: &str) -> bool {
    // The scripts' own commands, those of the test, the reader of the streams, the beats and the
    // probe.
    ["[0 lua]", "\"ECHO\"", "\"XREAD\"", "{gates}:replicas\"", ":probe:"]
        .iter()
        .any(|known| line.to_lowercase().contains(&known.to_lowercase()))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_need_no_answer_send_no_command() {
    let replicas = Replicas::start_as(2, || Setup {
        limits: vec![
            "per_client: { rate: 1000/s, burst: 100000 }",
            "per_identity: { rate: 1000/s, burst: 100000 }",
            "failed_logins: { rate: 1/m, burst: 10 }",
        ],
        tokens: vec!["lifetime: 1h"],
        ..Setup::default()
    })
    .await;
    let monitor = Monitor::of(&replicas.redis);
    let gate = &replicas.gates[0];
    let target = "/v2/demo/a/tags/list";
    let token = gate.get("/token?scope=repository:demo/a:pull", Some(PERSON)).await.body;
    let token: Value = serde_json::from_str(&token).unwrap();
    let header = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    assert_eq!(gate.get(target, Some(PERSON)).await.status, 404);
    assert_eq!(gate.send("GET", target, None, &header, "").await.status, 404);
    // The answers go to Redis after they have gone to the callers.
    let put = format!("shared_verdicts_total{{result=\"put\"}} {}\n", replicas.questions());
    let are_put = async || gate.admin("/metrics").await.body.contains(&put);
    soon("the verdicts are in Redis", are_put).await;
    assert_ne!(monitor.of_requests(&replicas.redis).await, [""; 0], "of questions");
    let questions = replicas.questions();
    for _ in 0..REQUESTS {
        assert_eq!(gate.get(target, Some(PERSON)).await.status, 404);
        assert_eq!(gate.send("GET", target, None, &header, "").await.status, 404);
    }
    assert_eq!(monitor.of_requests(&replicas.redis).await, [""; 0]);
    assert_eq!(replicas.questions(), questions);
}
