//! The link against servers that misbehave.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::test_server::{Log, Mode, TestServer};
use super::*;
use crate::metrics::MetricsFormat;

/// Longer than any wait of the link.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not so short that a busy machine takes it for an outage.
const TIMEOUT: Duration = Duration::from_millis(400);

fn settings(server: &TestServer) -> RedisSettings {
    RedisSettings {
        shape: RedisShape::Single(server.address()),
        database: 0,
        tls: None,
        username: None,
        password: Some("hunter2".into()),
        prefix: "moorgate".into(),
        timeout: TIMEOUT,
    }
}

struct Linked {
    server: TestServer,
    link: Arc<RedisLink>,
    metrics: Arc<Metrics>,
    script: RedisScript,
}

impl Linked {
    async fn start() -> Self {
        let server = TestServer::start(Mode::Honest).await;
        let metrics = Arc::new(Metrics::new());
        let link = RedisLink::start(settings(&server), metrics.clone(), &Handle::current());
        let linked = Self { server, link, metrics, script: RedisScript::new("return 7") };
        linked.waits_for(true).await;
        linked
    }

    async fn waits_for(&self, up: bool) {
        let mut told = self.link.subscribe();
        let change = timeout(PATIENCE, told.wait_for(|is_up| *is_up == up)).await;
        change.unwrap_or_else(|_| panic!("the link never got up = {up}")).unwrap();
        assert_eq!(self.link.is_up(), up);
        let text = self.metrics.encode(0, MetricsFormat::Text);
        assert!(text.contains(&format!("\nmoorgate_redis_up {}\n", u8::from(up))), "{text}");
    }

    async fn call(&self) -> Result<i64, RedisAway> {
        self.link.call("lease", &self.script, &["moorgate:x".to_owned()], &[b"1".to_vec()]).await
    }
}

/// Shows that one question takes the link down within the time-out, that the next fails without
/// being sent, and that the link comes back.
async fn breaks(mode: Mode) {
    let linked = Linked::start().await;
    assert_eq!(linked.call().await, Ok(7));
    linked.server.set(mode.clone());
    let begun = Instant::now();
    assert_eq!(linked.call().await, Err(RedisAway), "{mode:?}");
    assert!(begun.elapsed() < TIMEOUT * 3, "{mode:?} took {:?}", begun.elapsed());
    assert!(!linked.link.is_up(), "{mode:?}");
    let asked = linked.server.questions();
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(linked.call().await, Err(RedisAway), "{mode:?}");
    }
    assert!(begun.elapsed() < TIMEOUT, "{mode:?}: {:?}", begun.elapsed());
    let sent: Vec<_> = linked.server.questions().split_off(asked.len());
    assert!(!sent.iter().any(|sent| sent.contains(&"moorgate:x".to_owned())), "{sent:?}");
    linked.server.set(Mode::Honest);
    linked.waits_for(true).await;
    assert_eq!(linked.call().await, Ok(7), "{mode:?}");
}

async fn all(modes: Vec<Mode>, test: impl AsyncFn(Mode) + Copy + 'static) {
    let set = tokio::task::LocalSet::new();
    set.run_until(async move {
        let mut running = JoinSet::new();
        for mode in modes {
            running.spawn_local(async move { test(mode).await });
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_to_work_takes_the_link_down() {
    let codes = [
        "LOADING",
        "READONLY",
        "OOM",
        "NOAUTH",
        "WRONGPASS",
        "NOPERM",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "BUSY",
        "MOVED 1 127.0.0.1:1",
    ];
    let modes = codes.map(|code| Mode::Says(format!("-{code} something\r\n")));
    all(modes.into(), breaks).await;
}

#[tokio::test]
async fn a_server_that_hangs_or_sends_no_answer_takes_the_link_down() {
    let texts = [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$999999999999\r\n",
        "$2\r\nabcd",
        "*2000000\r\n",
        ">2\r\n+a\r\n+b\r\n",
        ":7\r\n:7\r\n",
        "\0\0\0\0",
    ];
    let mut modes: Vec<_> = texts.map(|text| Mode::Says(text.to_owned())).into();
    modes.push(Mode::Says("*1\r\n".repeat(1000)));
    modes.extend([Mode::Hangs, Mode::Closes, Mode::Endless("x"), Mode::Endless("*1\r\n")]);
    modes.push(Mode::Endless(":1\r\n"));
    all(modes, breaks).await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_fails_only_its_question() {
    let linked = Linked::start().await;
    for text in [
        "-ERR user_script:1: wrong number of args\r\n",
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        "-hunter2 hunter2\r\n",
        "-\r\n",
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        "$3\r\nabc\r\n",
        "$-1\r\n",
        "*2\r\n:1\r\n-ERR no\r\n",
        "+OK\r\n",
    ] {
        linked.server.set(Mode::Says(text.to_owned()));
        assert_eq!(linked.call().await, Err(RedisAway), "{text:?}");
        assert!(linked.link.is_up(), "{text:?}");
    }
    linked.server.set(Mode::Honest);
    assert_eq!(linked.call().await, Ok(7));
    assert_eq!(linked.server.connections(), 1);
}

#[tokio::test]
async fn an_idle_link_notices_that_its_server_hangs_or_has_gone() {
    all(vec![Mode::Hangs, Mode::Closes], async |mode| {
        let linked = Linked::start().await;
        linked.server.set(mode.clone());
        if mode == Mode::Closes {
            linked.server.close_all();
        }
        linked.waits_for(false).await;
        linked.server.set(Mode::Honest);
        linked.waits_for(true).await;
    })
    .await;
}

#[tokio::test]
async fn a_busy_link_sends_no_probe() {
    let linked = Linked::start().await;
    let probes = || {
        let sent = linked.server.questions();
        sent.iter().filter(|sent| sent.iter().any(|arg| arg.contains(":probe:"))).count()
    };
    let before = probes();
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert_eq!(linked.call().await, Ok(7));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(probes(), before);
    let begun = Instant::now();
    while probes() == before {
        assert!(begun.elapsed() < PATIENCE, "no probe of an idle link");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn new_settings_are_used_at_once() {
    let linked = Linked::start().await;
    let other = TestServer::start(Mode::Honest).await;
    let changed = RedisSettings { prefix: "other".into(), ..settings(&other) };
    linked.link.replace_settings(changed);
    assert_eq!(&*linked.link.prefix(), "other");
    let begun = Instant::now();
    while other.connections() == 0 {
        assert!(begun.elapsed() < PATIENCE, "no connection with the new settings");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(other.questions().contains(&vec!["AUTH".to_owned(), "hunter2".to_owned()]));
    linked.waits_for(true).await;
    linked.server.set(Mode::Hangs);
    assert_eq!(linked.call().await, Ok(7));
}

#[tokio::test]
async fn the_log_names_the_remedy_once_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // With only one subscriber in the process, tracing would ask that of the thread that logs
    // first, which may be of another test and have none, and turn the line off for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let linked = Linked::start().await;
    linked.server.set(Mode::Says("-hunter2 hunter2 is what I was told\r\n".to_owned()));
    assert_eq!(linked.call().await, Err(RedisAway));
    for (code, told) in [
        ("WRONGPASS", "the file of redis.password_file"),
        ("READONLY", "use redis.sentinel"),
        ("OOM", "raise its maxmemory"),
        ("DENIED", "start it with --protected-mode no"),
    ] {
        linked.server.set(Mode::RefusesAll(format!("-{code} hunter2\r\n")));
        assert_eq!(linked.call().await, Err(RedisAway));
        // The first attempt to connect is refused too.
        linked.server.set(Mode::Honest);
        linked.waits_for(true).await;
        let text = log.text();
        assert_eq!(text.matches(told).count(), 1, "{told} in {text}");
    }
    linked.server.set(Mode::Closes);
    assert_eq!(linked.call().await, Err(RedisAway));
    linked.server.set(Mode::RefusesProbes("-STRANGE hunter2 in words of a server\r\n".to_owned()));
    timeout(PATIENCE, async {
        while !log.text().contains("reads a key fails: \"STRANGE\": … in words of a server") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{}", log.text()));
    let text = log.text();
    assert!(text.contains("the question `lease` cannot be used"), "{text}");
    assert_eq!(text.matches("Redis can be used").count(), 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_link_that_is_dropped_ends_its_connections() {
    let linked = Linked::start().await;
    let Linked { server, link, .. } = linked;
    drop(link);
    timeout(PATIENCE, server.all_closed()).await.expect("a connection is left");
}

#[tokio::test]
async fn streams_are_read_in_order_and_other_answers_are_refused() {
    let linked = Linked::start().await;
    let after = [("moorgate:a".to_owned(), "0-0".to_owned())];
    let read = || linked.link.read_streams(&after, 10, Duration::from_millis(30));
    let entry = "*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    let other = entry.replace("1-0", "2-0");
    let answer = format!("*1\r\n*2\r\n$10\r\nmoorgate:a\r\n*2\r\n{entry}{other}");
    linked.server.set(Mode::Says(answer));
    let ids: Vec<_> = read().await.unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["1-0", "2-0"]);
    for text in ["*-1\r\n", "$-1\r\n"] {
        linked.server.set(Mode::Says(text.to_owned()));
        assert_eq!(read().await, Ok(vec![]), "{text:?}");
    }
    for text in [
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n*2\r\n$1\r\n\u{7f}\r\n*1\r\n:1\r\n",
        "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$1\r\n1\r\n*1\r\n$1\r\na\r\n",
        "-ERR no\r\n",
    ] {
        linked.server.set(Mode::Says(text.to_owned()));
        assert_eq!(read().await, Err(RedisAway), "{text:?}");
        assert!(linked.link.is_up(), "{text:?}");
    }
    linked.server.set(Mode::Hangs);
    assert_eq!(read().await, Err(RedisAway));
    assert!(!linked.link.is_up());
}
