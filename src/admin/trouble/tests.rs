use super::super::status::{
    CacheStatus, ConnectionStatus, LastError, LogStatus, ProviderTrouble, RedisError,
    RequestsStatus,
};
use super::*;

/// A status without any problem.
fn quiet() -> Status {
    Status {
        trouble: Vec::new(),
        problems: Vec::new(),
        version: "",
        now: String::new(),
        started: String::new(),
        uptime_seconds: 0,
        draining: false,
        certificate: None,
        workers: 2,
        connections: ConnectionStatus { open: 0, max: 7 },
        requests: RequestsStatus::default(),
        listener: ListenerTrouble::default(),
        upstream: UpstreamStatus {
            address: "http://registry".to_owned(),
            up: None,
            failing: false,
            last_answer: None,
            last_error: None,
            faults: Vec::new(),
        },
        providers: Vec::new(),
        cache: CacheStatus { entries: 0, lookups: 0, hits: 0, hit_rate: None },
        limits: Vec::new(),
        logs: LogsStatus::default(),
        replicas: None,
        redis: None,
        telemetry: None,
        last_reload: None,
    }
}

fn trouble(status: Status) -> Vec<String> {
    status.with_trouble().trouble
}

fn then(why: &str) -> Option<(String, String)> {
    Some(("then".to_owned(), why.to_owned()))
}

#[test]
fn a_certificate_that_expires_soon_or_has_expired_is_listed_as_trouble() {
    for (seconds, expected) in [
        (i64::MAX, None),
        (CERTIFICATE_ENDS_SOON * 24 * 60 * 60, None),
        (1, Some("The certificate expires soon. Until then. Renew it")),
        (0, Some("The certificate has expired: clients refuse to connect. Since then. Renew it")),
    ] {
        let certificate = Some(CertificateStatus::new("then".to_owned(), seconds));
        let seen = trouble(Status { certificate, ..quiet() });
        assert_eq!(seen.len(), usize::from(expected.is_some()), "{seconds}");
        assert!(expected.is_none_or(|expected| seen[0].starts_with(expected)), "{seen:?}");
    }
}

#[test]
fn redis_that_is_away_is_listed_with_the_revocations_that_wait() {
    let last_error = Some(RedisError {
        at: "now".to_owned(),
        message: "no answer".to_owned(),
        remedy: "check that it runs".to_owned(),
    });
    let redis = |up, last_error| {
        let since = "then".to_owned();
        trouble(Status {
            redis: Some(RedisStatus { up, since, last_error, waiting_revocations: 3 }),
            ..quiet()
        })
    };
    assert_eq!(redis(true, None), [""; 0]);
    const AWAY: &str = "Redis cannot be used: each replica goes on with its part of each limit";
    assert_eq!(
        redis(false, last_error),
        [format!(
            "{AWAY}: no answer. Revocations that wait for it: 3, since then, the last at now. \
             Check that it runs."
        )]
    );
    assert_eq!(
        redis(false, None),
        [format!("{AWAY}. Revocations that wait for it: 3, since then.")]
    );
}

#[test]
fn every_trouble_of_the_listener_is_listed() {
    let listener = ListenerTrouble {
        not_accepted: then("Too many open files"),
        full: Some("now".to_owned()),
        stopped_workers: 1,
    };
    let seen = trouble(Status { listener, ..quiet() });
    assert_eq!(seen.len(), 3);
    assert!(seen[0].starts_with("Of 2 workers, 1 stopped. Restart the gate."), "{seen:?}");
    assert!(
        seen[1].starts_with(
            "Connections cannot be accepted: Too many open files. The last at then. If files"
        ),
        "{seen:?}"
    );
    assert!(seen[2].starts_with("http.max_connections (7) is reached"), "{seen:?}");
}

#[test]
fn a_log_is_listed_while_it_fails_and_lost_access_lines_for_ten_minutes() {
    let log = |failing, is_recent| LogStatus {
        failing,
        is_recent,
        lines_lost: 3,
        last_lost: then("disk full"),
        since: None,
    };
    for (failing, is_recent, audit, access) in [
        (true, true, true, Some("The access log cannot be written: disk full.")),
        (true, false, true, Some("The access log cannot be written: disk full.")),
        (false, true, false, Some("The access log loses lines: disk full.")),
        (false, false, false, None),
    ] {
        let logs = LogsStatus { audit: log(failing, is_recent), access: LogStatus::default() };
        let seen = trouble(Status { logs, ..quiet() });
        assert_eq!(seen.len(), usize::from(audit), "{seen:?}");
        assert!(
            !audit
                || seen[0]
                    .starts_with("The audit log cannot be written, so every push and delete is"),
            "{seen:?}"
        );
        let logs = LogsStatus { access: log(failing, is_recent), audit: LogStatus::default() };
        let seen = trouble(Status { logs, ..quiet() });
        assert_eq!(seen.len(), usize::from(access.is_some()), "{seen:?}");
        assert!(seen.iter().all(|seen| seen.starts_with(access.unwrap())), "{seen:?}");
    }
}

#[test]
fn faults_of_one_kind_are_told_together() {
    let fault = |operation: &'static str, message: &str, last: &str| FaultStatus {
        id: operation.to_owned(),
        operation,
        reason: "reason",
        message: message.to_owned(),
        detail: (operation == "tags").then(|| "no answer".to_owned()),
        requests: 2,
        first: "0".to_owned(),
        last: last.to_owned(),
        remedy: "Do this.",
    };
    let mut status = quiet();
    status.upstream.faults = vec![
        fault("blob_get", "it is late", "5"),
        fault("upload_start", "it leads elsewhere", "4"),
        fault("tags", "it is late", "3"),
    ];
    assert_eq!(
        trouble(status),
        [
            "Upstream http://registry: it is late: no answer. Requests that failed: 4 (blob_get, \
             tags), since 0, the last at 5. Do this.",
            "Upstream http://registry: it leads elsewhere. Requests that failed: 2 (upload_start), \
             since 0, the last at 4. Do this."
        ]
    );
}

#[test]
fn each_trouble_of_a_provider_is_told_and_its_spent_budget() {
    let trouble_of = |breaker| {
        let troubles = ["is late", "is busy"].map(|message| ProviderTrouble {
            message,
            reason: message,
            questions: 1,
            first: "first".to_owned(),
            last: "then".to_owned(),
            remedy: "Do this.",
        });
        let last_error = Some(LastError {
            at: "then".to_owned(),
            reason: "is busy",
            message: "is busy".to_owned(),
            detail: Some("status 429".to_owned()),
        });
        let provider = ProviderStatus {
            name: "sso".to_owned(),
            kind: "introspection",
            up: Some(true),
            failing: true,
            breaker,
            last_answer: None,
            last_error,
            troubles: troubles.into(),
            budget_spent_until: Some("later".to_owned()),
        };
        trouble(Status { providers: vec![provider], ..quiet() })
    };
    let seen = trouble_of("closed");
    const FACTS: &str = "Questions that failed: 1, since first, the last at then. Do this.";
    assert_eq!(seen[0], format!("Provider sso is late. {FACTS}"));
    assert_eq!(seen[1], format!("Provider sso is busy: status 429. {FACTS}"));
    assert!(seen[2].starts_with("Provider sso: its failure_budget is spent, so"), "{seen:?}");
    assert!(seen[2].contains(". Until later. The access log"), "{seen:?}");
    let seen = trouble_of("open");
    assert!(seen[0].starts_with(
        "Provider sso is busy: status 429. Since first, the last at then. Logins and pushes get \
         503. Meanwhile the gate stops asking it"
    ));
    assert_eq!(seen.len(), 2);
}
