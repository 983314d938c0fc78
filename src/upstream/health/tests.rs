use super::*;

const TOOK: Duration = Duration::from_micros(1_234_567);
const PULL: Work = Work::Of(Operation::ManifestGet);
const START: Work = Work::Of(Operation::UploadStart);
const FINISH: Work = Work::Of(Operation::UploadFinish);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn answer(health: &UpstreamHealth, work: Work, status: u16, now: SystemTime) {
    let status = StatusCode::from_u16(status).unwrap();
    health.answered(work, status, TOOK, now);
    health.completed(work, status);
}

/// Returns the work and the reason of each open fault.
fn open(health: &UpstreamHealth, now: SystemTime) -> Vec<(&'static str, &'static str, u64)> {
    let open = health.seen(now).open;
    open.iter().map(|open| (open.work.as_str(), open.fault.as_str(), open.count)).collect()
}

#[test]
fn the_last_answer_and_the_last_fault_are_kept() {
    let health = UpstreamHealth::default();
    assert_eq!(health.seen(at(0)), UpstreamSeen::default());
    health.answered(PULL, StatusCode::OK, TOOK, at(0) + Duration::from_millis(999));
    let answered = Some((at(0), TOOK));
    let expected = UpstreamSeen { up: Some(true), answered, ..UpstreamSeen::default() };
    assert_eq!(health.seen(at(0)), expected);
    health.failed(PULL, UpstreamFault::NoAnswer, at(1));
    let fault = RegistryFault::NotPassedOn(UpstreamFault::NoAnswer);
    let failed = Some((at(1), fault));
    let open = OpenFault { work: PULL, fault, first: at(1), last: at(1), count: 1 };
    let expected = UpstreamSeen {
        up: Some(false),
        answered,
        failed,
        open: vec![open],
        ..UpstreamSeen::default()
    };
    assert_eq!(health.seen(at(1)), expected);
    health.answered(PULL, StatusCode::OK, Duration::MAX, at(2));
    health.completed(PULL, StatusCode::OK);
    let answered = Some((at(2), Duration::from_micros(u32::MAX.into())));
    let expected = UpstreamSeen { up: Some(true), answered, failed, ..UpstreamSeen::default() };
    assert_eq!(health.seen(at(2)), expected);
}

#[test]
fn the_error_belongs_to_its_fault() {
    let health = UpstreamHealth::default();
    health.because(UpstreamFault::Unreachable, "connection refused".to_owned());
    health.failed(PULL, UpstreamFault::Unreachable, at(0));
    let fault = RegistryFault::NotPassedOn(UpstreamFault::Unreachable);
    assert_eq!(health.seen(at(0)).why, Some((fault, "connection refused".to_owned())));
}

#[test]
fn only_a_success_of_the_same_work_ends_a_fault() {
    let health = UpstreamHealth::default();
    for second in 0..5 {
        health.failed(START, UpstreamFault::LeadsElsewhere, at(second));
    }
    health.failed(FINISH, UpstreamFault::Invalid, at(5));
    let of_start = ("upload_start", "upstream_leads_elsewhere", 5);
    let of_finish = ("upload_finish", "upstream_invalid", 1);
    // Neither other work nor an answer that refuses this work shows anything.
    for (work, status) in [(PULL, 200), (START, 400), (START, 404), (FINISH, 405)] {
        answer(&health, work, status, at(6));
        assert_eq!(open(&health, at(6)), [of_start, of_finish], "{work:?} {status}");
    }
    answer(&health, START, 202, at(7));
    assert_eq!(open(&health, at(7)), [of_finish]);
    answer(&health, FINISH, 201, at(8));
    assert_eq!(open(&health, at(8)), []);
}

#[test]
fn a_status_that_tells_of_trouble_is_a_fault_that_a_success_ends() {
    let health = UpstreamHealth::default();
    answer(&health, PULL, 500, at(0));
    answer(&health, PULL, 503, at(1));
    answer(&health, START, 429, at(2));
    let seen = health.seen(at(2));
    assert_eq!((seen.up, seen.answered), (Some(false), Some((at(2), TOOK))));
    let messages: Vec<_> = seen.open.iter().map(|open| open.fault.message()).collect();
    assert!(messages[0].ends_with("answered 503") && messages[1].ends_with("answered 429"));
    assert_eq!(
        open(&health, at(2)),
        [("manifest_get", "upstream_error", 2), ("upload_start", "upstream_error", 1)]
    );
    // A registry that looked for something and did not find it does this work.
    answer(&health, PULL, 404, at(3));
    answer(&health, START, 403, at(3));
    assert_eq!(open(&health, at(3)), [("upload_start", "upstream_error", 1)]);
}

/// The head alone is no success: the answer may break off each time.
#[test]
fn an_answer_that_breaks_off_each_time_stays_a_fault() {
    let health = UpstreamHealth::default();
    for second in 0..3 {
        health.answered(PULL, StatusCode::OK, TOOK, at(second));
        health.failed(PULL, RegistryFault::Aborted, at(second));
        health.answered(PULL, StatusCode::OK, TOOK, at(second));
        assert_eq!(open(&health, at(second)), [("manifest_get", "upstream_aborted", second + 1)]);
    }
    answer(&health, PULL, 200, at(3));
    assert_eq!(open(&health, at(3)), []);
}

#[test]
fn any_answer_shows_that_the_registry_can_be_reached_again() {
    for (status, others) in [(200, 0), (404, 0), (503, 1)] {
        let health = UpstreamHealth::default();
        health.failed(PULL, UpstreamFault::Unreachable, at(0));
        health.failed(FINISH, UpstreamFault::ConnectTimeout, at(0));
        answer(&health, START, status, at(1));
        assert_eq!(open(&health, at(1)).len(), others, "{status}");
    }
    let health = UpstreamHealth::default();
    health.failed(PULL, UpstreamFault::Unreachable, at(0));
    health.failed(START, UpstreamFault::ResponseTimeout, at(1));
    assert_eq!(open(&health, at(1)), [("upload_start", "upstream_timeout", 1)]);
}

#[test]
fn a_fault_that_was_not_met_for_a_day_is_past() {
    let (health, day) = (UpstreamHealth::default(), 24 * 60 * 60);
    health.failed(START, UpstreamFault::LeadsElsewhere, at(0));
    assert_eq!(open(&health, at(day - 1)).len(), 1);
    assert_eq!(open(&health, at(day)), []);
    assert!(health.seen(at(day)).failed.is_some(), "the last fault is still shown");
    health.failed(START, UpstreamFault::LeadsElsewhere, at(day));
    assert_eq!(health.seen(at(day)).open[0].count, 1, "it counts from the beginning");
}
