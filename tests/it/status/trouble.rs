//! What the status reports as trouble, and what it does not.

use moorgate::demo::Scripted;
use serde_json::{Value, json};

use super::html::Html;
use super::{PULL, answer, page, status};
use crate::harness::{PATIENCE, READ_WRITE, Setup, TestGate, ask_admin, listener};

#[tokio::test]
async fn the_page_shows_a_provider_that_is_down_first() {
    let gate = TestGate::plain().await;
    gate.gitlab.always(Some(answer(502)));
    for number in 0..3 {
        assert_eq!(gate.get(PULL, Some(("alice", &format!("glpat-{number}")))).await.status, 503);
        if number == 2 {
            gate.breaker_opens().await;
        }
        let seen = status(&gate).await;
        let provider = &seen["providers"][0];
        assert_eq!((&provider["up"], &provider["failing"]), (&json!(false), &json!(true)));
        assert_eq!(provider["last_error"]["reason"], "unavailable");
        assert_eq!(provider["breaker"], if number < 2 { "closed" } else { "open" });
        let trouble = seen["trouble"][0].as_str().unwrap();
        assert!(trouble.starts_with("Provider gitlab "), "{trouble}");
        assert_eq!(trouble.contains("the gate stops asking it"), number == 2, "{trouble}");
        let problem = &seen["problems"][0];
        assert_eq!(problem["error"], "status 502 Bad Gateway");
        assert_eq!(problem["runbook"], "moorgateproviderdown");
        assert!(humantime::parse_rfc3339(problem["since"].as_str().unwrap()).is_ok());
    }
    let text = Html::read(&page(&gate).await).text;
    let trouble = text.find("Known problems: 1 Provider gitlab cannot be reached, or gives");
    assert!(trouble.unwrap() < text.find("Gate State").unwrap(), "{text}");
    assert!(text.contains("State down Breaker open"), "{text}");
}

#[tokio::test]
async fn the_status_shows_a_probing_breaker_and_a_recovered_provider() {
    let gate = TestGate::plain().await;
    gate.gitlab.always(Some(answer(502)));
    for number in 0..3 {
        assert_eq!(gate.get(PULL, Some(("alice", &format!("glpat-{number}")))).await.status, 503);
    }
    gate.gitlab.always(Some(Scripted::Hang));
    let hanging = crate::harness::request("GET", PULL, Some(("alice", "glpat-probe")), "", "");
    until(&gate, async |gate| {
        // A caller is turned away while the breaker is open, and a later caller probes.
        let mut client = gate.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut client, hanging.as_bytes()).await.unwrap();
        let probing = status(gate).await["providers"][0]["breaker"] == "probing";
        tokio::task::yield_now().await;
        probing
    })
    .await;
    until(&gate, async |gate| {
        status(gate).await["providers"][0]["last_error"]["reason"] == "timeout"
    })
    .await;
    gate.gitlab.always(None);
    until(&gate, async |gate| gate.get(PULL, Some(READ_WRITE)).await.status == 404).await;
    let seen = status(&gate).await;
    let provider = &seen["providers"][0];
    assert_eq!(
        (&provider["up"], &provider["failing"], &provider["breaker"]),
        (&json!(true), &json!(false), &json!("closed"))
    );
    assert_eq!(provider["last_error"]["reason"], "timeout", "it is kept");
    assert_eq!(seen["trouble"], json!([]));
}

async fn until(gate: &TestGate, mut is_so: impl AsyncFnMut(&TestGate) -> bool) {
    let begun = std::time::Instant::now();
    while !is_so(gate).await {
        assert!(begun.elapsed() < PATIENCE, "it is never so: {}", status(gate).await);
    }
}

#[tokio::test]
async fn a_provider_that_answers_404_is_reported_as_misconfigured() {
    let gate = TestGate::plain().await;
    gate.gitlab.always(Some(answer(404)));
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 503);
    let seen = status(&gate).await;
    assert_eq!(seen["providers"][0]["up"], true, "it answers");
    assert_eq!(seen["providers"][0]["last_error"]["reason"], "misconfigured");
    assert!(seen["trouble"][0].as_str().unwrap().contains("check its settings"), "{seen}");
}

#[tokio::test]
async fn an_unreachable_upstream_is_reported_as_trouble() {
    let nobody = listener();
    let gate = TestGate::start(Setup {
        upstream_address: Some(nobody.local_addr().unwrap()),
        ..Setup::default()
    })
    .await;
    drop(nobody);
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 502);
    let seen = status(&gate).await;
    let upstream = &seen["upstream"];
    assert_eq!(
        (&upstream["up"], &upstream["last_error"]["reason"]),
        (&json!(false), &json!("upstream_unreachable"))
    );
    let address = upstream["address"].as_str().unwrap();
    assert!(address.starts_with("http://127.0.0.1:"));
    let trouble = format!(
        "Upstream {address}: the registry behind this gate cannot be reached: no connection to \
         {}: Connection refused (os error 111). Requests that failed: 1 (tags), since ",
        address.trim_start_matches("http://")
    );
    let told = seen["trouble"].as_array().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].as_str().unwrap().starts_with(&trouble), "{told:?}");
    let text = Html::read(&page(&gate).await).text;
    assert!(text.contains("the registry behind this gate cannot be reached"), "{text}");
}

#[tokio::test]
async fn a_failed_reload_is_reported_until_the_next_good_reload() {
    let mut gate = TestGate::plain().await;
    // A secret in the wrong place, a plausible mistake of an operator.
    gate.edit("urls: [", "authorization: canary-secret\n  urls: [");
    assert!(!gate.reload().await);
    let seen = status(&gate).await;
    let reload = &seen["last_reload"];
    assert_eq!(
        (&reload["success"], &reload["problem_count"]),
        (&json!(false), &json!(reload["problems"].as_array().unwrap().len()))
    );
    assert!(reload["problems"][0].as_str().unwrap().contains("test.yml:"), "{reload}");
    assert!(seen["trouble"][0].as_str().unwrap().contains("The last reload failed"));
    let html = page(&gate).await;
    let text = Html::read(&html).text;
    assert!(text.contains("not applied") && text.contains("test.yml:"), "{text}");
    assert!(!seen.to_string().contains("canary") && !html.contains("canary"));
    gate.edit("authorization: canary-secret\n  ", "");
    assert!(gate.reload().await);
    let seen = status(&gate).await;
    let at = &seen["last_reload"]["at"];
    let expected = json!({
        "at": at, "success": true, "problem_count": 0, "problems": [], "need_restart": [],
    });
    assert_eq!((&seen["last_reload"], &seen["trouble"]), (&expected, &json!([])));
}

#[tokio::test]
async fn keys_that_wait_for_a_restart_are_reported_until_the_change_is_taken_back() {
    let mut gate = TestGate::plain().await;
    gate.edit("version: 1\n", "version: 1\ncache: { capacity: 77 }\n");
    assert!(gate.reload().await);
    // A reload that fails changes nothing of it.
    for break_it in [false, true] {
        if break_it {
            gate.edit("capacity: 77", "nonsense: 77");
            assert!(!gate.reload().await);
        }
        let seen = status(&gate).await;
        let problems = seen["problems"].as_array().unwrap();
        let problem = problems.iter().find(|it| it["id"] == "restart").expect("a problem");
        assert!(problem["what"].as_str().unwrap().ends_with("a restart: cache.capacity"));
        assert_eq!(problem["runbook"], "keys-wait-for-a-restart");
    }
    gate.edit("cache: { nonsense: 77 }\n", "");
    assert!(gate.reload().await);
    assert_eq!(status(&gate).await["trouble"], json!([]));
}

#[tokio::test]
async fn a_draining_gate_reports_that_it_is_ending() {
    let gate = TestGate::start(Setup { http: vec!["drain_delay: 1h"], ..Setup::default() }).await;
    let admin = gate.admin;
    let TestGate { running, .. } = gate;
    let draining = tokio::spawn(running.drain());
    let seen = loop {
        let reply = ask_admin(admin, "/status.json").await;
        let seen: Value = serde_json::from_str(&reply.body).unwrap();
        if seen["draining"] == true {
            break seen;
        }
    };
    assert!(seen["trouble"][0].as_str().unwrap().starts_with("The gate is draining"), "{seen}");
    let text = Html::read(&ask_admin(admin, "/").await.body).text;
    assert!(text.contains("Gate State draining"), "{text}");
    draining.abort();
}

#[tokio::test]
async fn a_spent_failure_budget_is_trouble_and_counts_as_a_limit_in_the_metrics() {
    const TIGHT: &str = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", failure_budget: 1/h }";
    let gate = TestGate::start(Setup { identity: Some(TIGHT), ..Setup::default() }).await;
    let limited = |times| json!({ "name": "failure_budget", "limited": times });
    assert_eq!(status(&gate).await["limits"].as_array().unwrap().last(), Some(&limited(0)));
    for (number, expected) in [401, 429, 429].into_iter().enumerate() {
        assert_eq!(
            gate.get(PULL, Some(("alice", &format!("glpat-{number}")))).await.status,
            expected
        );
    }
    let seen = status(&gate).await;
    assert_eq!(seen["limits"].as_array().unwrap().last(), Some(&limited(2)));
    assert_eq!(seen["providers"][0]["failing"], false, "nothing is wrong with the provider");
    let trouble = seen["trouble"].as_array().unwrap();
    assert_eq!(trouble.len(), 1, "{trouble:?}");
    let start = "Provider gitlab: its failure_budget is spent, so credentials ";
    assert!(trouble[0].as_str().unwrap().starts_with(start), "{trouble:?}");
    assert!(
        gate.admin("/metrics")
            .await
            .body
            .contains("moorgate_limited_total{limit=\"failure_budget\"} 2\n")
    );
}
