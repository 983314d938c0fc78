//! The settings of Redis that the program gets, and the warnings about them.

use std::path::PathBuf;
use std::time::Duration;

use moorgate::redis_link::{RedisAddress, RedisShape};
use secrecy::ExposeSecret;

use super::{MINIMAL, load, ready, warnings};

fn with(redis: &str) -> String {
    format!("{MINIMAL}tokens: {{ key_file: tokens.keys }}\nredis: {redis}\n")
}

fn host(host: &str, port: u16) -> RedisAddress {
    RedisAddress::Host { host: host.into(), port }
}

#[test]
fn without_the_section_there_is_no_link() {
    assert!(ready(MINIMAL).redis.is_none());
    assert!(ready(&format!("{MINIMAL}redis: null\n")).redis.is_none());
}

#[test]
fn one_url_is_one_server_and_a_list_is_a_cluster() {
    let socket = RedisAddress::Socket(PathBuf::from("/run/redis.sock"));
    for (url, shape, database) in [
        ("redis://127.0.0.1", RedisShape::Single(host("127.0.0.1", 6379)), 0),
        ("\"redis://[::1]:7/5\"", RedisShape::Single(host("::1", 7)), 5),
        ("redis+unix:///run/redis.sock", RedisShape::Single(socket.clone()), 0),
        ("redis+unix:///run/redis.sock?db=2", RedisShape::Single(socket), 2),
        ("[redis://127.0.0.1]", RedisShape::Cluster(vec![host("127.0.0.1", 6379)]), 0),
        (
            "[redis://127.0.0.1/0, redis://localhost:7001]",
            RedisShape::Cluster(vec![host("127.0.0.1", 6379), host("localhost", 7001)]),
            0,
        ),
    ] {
        let redis = ready(&with(&format!("{{ url: {url} }}"))).redis.expect(url);
        assert_eq!((redis.shape, redis.database), (shape, database), "{url}");
        assert!(redis.tls.is_none(), "{url}");
    }
}

#[test]
fn sentinels_have_a_port_of_their_own_and_every_value_arrives() {
    let everything =
        ready(include_str!("../../fixtures/config/valid/everything-changed.yml")).redis.unwrap();
    let sentinels = vec![host("redis.example.com", 26379)];
    assert_eq!(everything.shape, RedisShape::Sentinel { sentinels, master: "main".into() });
    assert_eq!(everything.database, 3);
    assert!(everything.tls.expect("TLS").roots.is_some());
    assert_eq!(everything.username.as_deref(), Some("gate"));
    assert_eq!(everything.password.unwrap().expose_secret(), "s3cret with spaces ");
    assert_eq!(&*everything.prefix, "team:a");
    assert_eq!(everything.timeout, Duration::from_millis(20));

    let defaults = ready(&with("{ url: \"rediss://127.0.0.1\" }")).redis.unwrap();
    assert!(defaults.tls.expect("TLS").roots.is_none());
    assert!(defaults.password.is_none());
    assert_eq!((&*defaults.prefix, defaults.timeout), ("moorgate", Duration::from_millis(50)));
}

#[test]
fn plain_redis_to_another_machine_is_warned_of() {
    let of = |redis: &str| {
        warnings(&with(redis)).into_iter().filter(|it| it.contains("`redis.")).collect::<Vec<_>>()
    };
    for quiet in [
        "{ url: \"redis://127.0.0.1\" }",
        "{ url: \"redis://localhost\" }",
        "{ url: \"rediss://redis.example.com\" }",
        "{ url: \"redis+unix:///run/redis.sock\" }",
    ] {
        assert_eq!(of(quiet), [""; 0], "{quiet}");
    }
    let one = of("{ url: \"redis://redis.example.com\" }");
    assert!(one[0].contains("`redis.url`: ") && one[0].contains("; write rediss://…"), "{one:?}");
    let list = of("{ url: [\"redis://127.0.0.1\", \"redis://10.0.0.1\"] }");
    assert!(list.len() == 1 && list[0].contains("`redis.url[1]`: "), "{list:?}");
    let open = of("{ url: \"redis://127.0.0.1\", password_file: open.secret }");
    assert!(open[0].contains("`redis.password_file`: every user of this machine"), "{open:?}");
}

#[test]
fn the_environment_sets_one_url_and_no_list() {
    let keys = format!("{MINIMAL}tokens: {{ key_file: tokens.keys }}\n");
    let url = |value: &str| load(&keys, &[("MOORGATE_REDIS_URL", value)]);
    let loaded = url("redis://127.0.0.1:7/1").expect("one URL");
    assert!(loaded.print().contains("\nredis:\n  url: redis://127.0.0.1:7/1\n"));
    let problems = url("[redis://127.0.0.1]").expect_err("a list");
    assert!(problems.starts_with("environment: MOORGATE_REDIS_URL: `redis.url`: "), "{problems}");
}
