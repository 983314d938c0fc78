//! The spans of questions to providers.

use std::time::Duration;

use moorgate::demo::Scripted;

use super::collector::{Collector, attributes, names, text};
use super::traced;
use crate::harness::{READ_ONLY, Setup, listener};
use crate::scripted_upstream::soon;

const TAGS: &str = "/v2/demo/a/tags/list";

/// Two requests wait for one question. Its span belongs to the one that has asked.
#[tokio::test]
async fn a_question_that_two_requests_wait_for_is_one_span() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    gate.gitlab.script([Scripted::Delay(Duration::from_millis(300))]);
    let ask = |id: &'static str| {
        let headers = format!("X-Request-Id: {id}\r\n");
        let gate = &gate;
        async move { gate.send("GET", TAGS, Some(READ_ONLY), &headers, "").await.status }
    };
    soon(async { tokio::join!(ask("one"), ask("two")) }).await;
    let (one, two) = (collector.trace("one").await, collector.trace("two").await);
    let asked = one.iter().chain(&two).filter(|span| span.name == "provider").count();
    assert_eq!(asked, 1);
    let uses = [&one, &two].map(|spans| text(&spans[0], "moorgate.cache").unwrap());
    assert!(uses.contains(&"miss") && uses[0] != uses[1], "{uses:?}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_an_error() {
    let mut collector = Collector::start();
    let closed = listener().local_addr().unwrap();
    let identity = format!("- {{ name: gitlab, type: gitlab, url: \"http://{closed}\" }}").leak();
    let gate = traced(&collector, "1", Setup { identity: Some(identity), ..Setup::default() });
    let gate = gate.await;
    let headers = "X-Request-Id: down\r\n";
    assert_eq!(gate.send("GET", TAGS, Some(READ_ONLY), headers, "").await.status, 503);
    let spans = collector.trace("down").await;
    assert_eq!(names(&spans), ["request", "authenticate", "provider"]);
    for (span, error) in
        spans.iter().zip(["provider_unavailable", "provider_unavailable", "unavailable"])
    {
        assert_eq!(text(span, "error.type"), Some(error), "{}", span.name);
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2), "{}", span.name);
    }
}

#[tokio::test]
async fn the_span_of_a_provider_says_what_its_server_answered() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    gate.gitlab.always(Some(crate::identity::answer(500, "")));
    let headers = "X-Request-Id: broken\r\n";
    assert_eq!(gate.send("GET", TAGS, Some(READ_ONLY), headers, "").await.status, 503);
    let spans = collector.trace("broken").await;
    let provider = spans.iter().find(|span| span.name == "provider").unwrap();
    assert_eq!(text(provider, "error.type"), Some("500"));
    let url = format!("http://{}/jwt/auth", gate.gitlab.address());
    assert_eq!(text(provider, "url.full"), Some(&*url), "without the query");
}

/// Each provider that is asked has a span, and so has each repository of a token request.
#[tokio::test]
async fn each_question_has_a_span() {
    let mut collector = Collector::start();
    let identity = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }\n\
                    - { name: gitlab, type: gitlab, url: \"{gitlab}\" }";
    let setup = Setup {
        identity: Some(identity),
        htpasswd_users: vec![("carol", "a-password-of-carol")],
        ..Setup::default()
    };
    let gate = traced(&collector, "1", setup).await;
    let target = "/token?service=registry.test&scope=repository:demo/a:pull\
                  &scope=repository:demo/b:pull";
    let headers = "X-Request-Id: token\r\n";
    assert_eq!(gate.send("GET", target, Some(READ_ONLY), headers, "").await.status, 200);
    let spans = collector.trace("token").await;
    let asked: Vec<_> = spans.iter().filter(|span| span.name == "provider").collect();
    let providers: Vec<_> =
        asked.iter().map(|span| text(span, "moorgate.provider").unwrap()).collect();
    assert!(providers.contains(&"local") && providers.contains(&"gitlab"), "{providers:?}");
    let local = asked.iter().find(|span| text(span, "moorgate.provider") == Some("local"));
    let expected = [
        ("moorgate.provider", "local"),
        ("moorgate.provider.type", "htpasswd"),
        ("moorgate.verdict", "not_mine"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(attributes(&local.unwrap().attributes), expected);
    // A file is not asked over the network.
    assert_eq!(local.unwrap().kind, 1);
    let stages = spans.iter().filter(|span| ["authenticate", "authorize"].contains(&&*span.name));
    assert_eq!(stages.count(), 2);
    assert_eq!(text(&spans[0], "http.route"), Some("/token"));
}
