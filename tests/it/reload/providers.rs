//! Providers that a reload changes, and the unchanged ones beside them.

use moorgate::demo::Scripted;

use crate::harness::{READ_WRITE, Setup, TestGate};

/// A user name that GitLab does not know.
const CAROL: (&str, &str) = ("carol", "secret");

const BOTH: &str = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }
- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 3s }";

async fn both() -> TestGate {
    TestGate::start(Setup { identity: Some(BOTH), htpasswd_users: vec![CAROL], ..Setup::default() })
        .await
}

async fn cache_of(gate: &TestGate, credential: (&str, &str), id: &str) -> String {
    let headers = format!("X-Request-Id: {id}\r\n");
    assert_eq!(gate.send("GET", "/v2/", Some(credential), &headers, "").await.status, 200);
    let mut lines = 1;
    loop {
        let log = gate.log(lines).await;
        match log.iter().find(|line| line["request_id"] == id) {
            Some(line) => return line["cache"].as_str().unwrap().to_owned(),
            None => lines = log.len() + 1,
        }
    }
}

#[tokio::test]
async fn verdicts_stay_cached_until_a_reload_changes_their_provider() {
    let mut gate = both().await;
    cache_of(&gate, READ_WRITE, "1").await;
    cache_of(&gate, CAROL, "2").await;
    let file = std::fs::read_to_string(gate.file("htpasswd")).unwrap();
    gate.write("htpasswd", format!("{file}# a change\n"));
    assert!(gate.reload().await);
    assert_eq!(cache_of(&gate, READ_WRITE, "3").await, "hit");
    assert_eq!(cache_of(&gate, CAROL, "4").await, "miss", "its file has changed");
    gate.edit("timeout: 3s", "timeout: 4s");
    assert!(gate.reload().await);
    assert_eq!(cache_of(&gate, CAROL, "5").await, "hit");
    assert_eq!(cache_of(&gate, READ_WRITE, "6").await, "miss");
    assert_eq!(gate.gitlab.ledger().count(), 2);
    // Another position in the chain does not change a provider.
    let text = std::fs::read_to_string(gate.file("test.yml")).unwrap();
    let (local, gitlab) = (line(&text, "name: local"), line(&text, "name: gitlab"));
    gate.edit(&format!("{local}\n{gitlab}"), &format!("{gitlab}\n{local}"));
    assert!(gate.reload().await);
    assert_eq!(cache_of(&gate, CAROL, "7").await, "hit");
    assert_eq!(cache_of(&gate, READ_WRITE, "8").await, "hit");
    // Tokens for the registry are kept only if the config needs them.
    gate.edit("upstream:\n", "upstream:\n  authorization: grant\n");
    assert!(gate.reload().await);
    assert_eq!(cache_of(&gate, READ_WRITE, "9").await, "miss");
}

fn line<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap()
}

/// The breaker survives a reload that does not change its provider, although the questions that
/// opened it are past.
#[tokio::test]
async fn an_open_breaker_survives_a_reload() {
    let mut gate = both().await;
    gate.gitlab.always(Some(Scripted::Close));
    for secret in ["glpat-1", "glpat-2", "glpat-3"] {
        assert_eq!(gate.get("/v2/", Some(("x", secret))).await.status, 503);
    }
    gate.breaker_opens().await;
    gate.edit("read_registry]", "read_registry, write_registry]");
    assert!(gate.reload().await);
    assert!(gate.admin("/status.json").await.body.contains("\"breaker\": \"open\""));
}

#[tokio::test]
async fn the_metrics_of_a_removed_provider_disappear() {
    let mut gate = both().await;
    cache_of(&gate, READ_WRITE, "1").await;
    let requests = |metrics: &str| {
        metrics.lines().find(|line| line.contains("http_requests_total{")).map(str::to_owned)
    };
    let before = gate.admin("/metrics").await.body;
    assert!(before.contains("moorgate_provider_up{provider=\"gitlab\"} 1"), "{before}");
    let text = std::fs::read_to_string(gate.file("test.yml")).unwrap();
    gate.edit(line(&text, "name: gitlab"), "");
    assert!(gate.reload().await);
    let after = gate.admin("/metrics").await.body;
    assert!(!after.contains("moorgate_provider_up{provider=\"gitlab\"}"), "{after}");
    assert!(after.contains("moorgate_provider_up{provider=\"local\"} 1"));
    // The other provider's verdict about the same credential stays.
    let entries = |metrics: &str| {
        metrics.lines().find(|line| line.starts_with("moorgate_cache_entries ")).map(str::to_owned)
    };
    assert_eq!(entries(&before).unwrap(), "moorgate_cache_entries 2");
    assert_eq!(entries(&after).unwrap(), "moorgate_cache_entries 1", "what it said is forgotten");
    assert_eq!(requests(&after), requests(&before), "counters never fall");
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 401);
}
