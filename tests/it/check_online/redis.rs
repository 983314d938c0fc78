//! The report about Redis.

use moorgate::demo::registry::Registry;

use super::{LOCAL, Said, check_all, urls};
use crate::harness::listener;
use crate::redis_servers::RedisServer;

async fn check(ca: &str, redis: &str) -> Said {
    let registry = Registry::start(listener()).unwrap();
    let lines = format!("tokens: {{ key_file: tokens.keys }}\nredis: {{ {redis} }}\n");
    let upstream = urls(registry.address());
    check_all(ca, &upstream, &[LOCAL.to_owned()], &lines).await
}

fn own_ca() -> String {
    moorgate::demo::self_signed().unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_written_and_read() {
    let server = RedisServer::start(&[]);
    for (redis, ca) in [
        (format!("url: \"redis://127.0.0.1:{}\"", server.port), own_ca()),
        (
            format!(
                "url: \"redis+unix://{}\", username: gate, password_file: redis.password",
                server.socket().display()
            ),
            own_ca(),
        ),
    ] {
        let said = check(&ca, &redis).await;
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        let line = said.stdout.lines().last().unwrap();
        let took = line.strip_prefix("redis: a key was written and read in ").expect(line);
        assert!(took.strip_suffix(" ms").is_some_and(|ms| ms.parse::<u32>().is_ok()), "{line}");
        assert!(said.stdout.contains("asking 2 servers"), "{}", said.stdout);
    }
    // The key expires.
    assert_eq!(server.ask(&["DBSIZE"]), "2");
    let key = server.ask(&["KEYS", "*"]).lines().next().unwrap().to_owned();
    assert!(key.starts_with("moorgate:probe:"), "{key}");
    let left: u32 = server.ask(&["PTTL", &key]).parse().unwrap();
    assert!(left <= 10_000, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_redis_is_reported_with_the_key_to_change() {
    let (server, tls) = (RedisServer::start(&[]), RedisServer::tls());
    let full = RedisServer::start(&["maxmemory 1"]);
    let (port, tls_port) = (server.port, tls.port);
    let closed = listener().local_addr().unwrap().port();
    for (redis, problem, part) in [
        (
            format!("url: \"redis://127.0.0.1:{port}\", username: gate, password_file: wrong"),
            "`redis.password_file`: ",
            "the server refuses the password",
        ),
        (format!("url: \"redis://127.0.0.1:{closed}\""), "`redis.url`: ", "refused"),
        (
            format!("url: \"rediss://localhost:{tls_port}\", ca: ca.pem"),
            "`redis.ca`: ",
            "name a file with the certificate of its authority in `redis.ca`",
        ),
        (format!("url: \"redis://localhost:{tls_port}\""), "`redis.url`: ", "rediss"),
        (format!("url: \"rediss://localhost:{port}\""), "`redis.url`: ", "uses TLS on this port"),
        (format!("url: \"redis://localhost:{}\"", full.port), "`redis.url`: ", "maxmemory"),
        (
            format!("url: \"redis://localhost:{port}\", sentinel: main"),
            "`redis.sentinel`: ",
            "is not a sentinel",
        ),
    ] {
        let said = check(&own_ca(), &redis).await;
        assert_eq!(said.code, Some(78), "{redis}");
        let line = said.problem("`redis.");
        assert!(line.starts_with("moorgate.yml:7:"), "{redis}: {line}");
        assert!(line.contains(problem) && line.contains(part), "{redis}: {line}");
        assert!(!said.stderr.contains("canary"), "{}", said.stderr);
    }
}
