use secrecy::SecretString;

use super::*;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::HashKey;
use crate::recent::RECENT;

const TOOK: Duration = Duration::from_millis(7);
const WHY_NOT: [NotNow; 3] = [NotNow::Barred, NotNow::Busy, NotNow::NoTurn];

/// The secrets of this many callers.
fn callers(number: usize) -> Vec<SecretId> {
    let key = HashKey::random().unwrap();
    let secret = |number| key.secret(&Credential::Bearer(SecretString::from(format!("{number}"))));
    (0..number).map(secret).collect()
}

fn came_to(health: &Health, caller: SecretId, verdict: &Verdict, now: SystemTime) {
    health.came_to((caller, QuestionKind::Pull), verdict, Some(TOOK), false, now);
}

fn not_now(why: NotNow) -> Verdict {
    Verdict::NotNow(why, TOOK)
}

fn open(health: &Health, now: SystemTime) -> Vec<(Trouble, u64)> {
    health.seen(now).troubles().into_iter().map(|seen| (seen.trouble, seen.count)).collect()
}

#[test]
fn the_last_answer_and_the_last_trouble_are_kept() {
    let (health, first, caller) = (Health::default(), SystemTime::now(), callers(1)[0]);
    assert_eq!(health.seen(first), Seen::default(), "it was not asked yet");
    came_to(&health, caller, &Verdict::NotMine, first);
    let answered = Some((first, TOOK));
    assert_eq!(health.seen(first), Seen { up: Some(true), answered, ..Seen::default() });

    let second = first + TOOK;
    came_to(&health, caller, &Verdict::Unavailable, second);
    let (seen, failed) = (health.seen(second), Some((second, Trouble::Unavailable)));
    assert_eq!((seen.up, seen.answered, seen.failed), (Some(false), answered, failed));
    let trouble = Trouble::Unavailable;
    let expected = TroubleSeen { trouble, count: 1, first: second, last: second };
    assert_eq!(seen.troubles(), [expected]);

    let third = second + TOOK;
    came_to(&health, caller, &Verdict::Rejected, third);
    let answered = Some((third, TOOK));
    let expected = Seen { up: Some(true), answered, failed, ..Seen::default() };
    assert_eq!(health.seen(third), expected);
}

#[test]
fn the_error_of_the_last_failure_is_kept_until_the_next_one() {
    let (health, now, caller) = (Health::default(), SystemTime::now(), callers(1)[0]);
    came_to(&health, caller, &Verdict::Unavailable, now);
    health.because("connection refused".to_owned());
    came_to(&health, caller, &Verdict::NotMine, now);
    assert_eq!(health.seen(now).why.as_deref(), Some("connection refused"));
    came_to(&health, caller, &Verdict::Unavailable, now);
    assert_eq!(health.seen(now).why, None);
}

#[test]
fn a_trouble_of_two_kinds_of_questions_has_the_time_of_the_first_one() {
    let (health, first, caller) = (Health::default(), SystemTime::now(), callers(1)[0]);
    let last = first + TOOK;
    came_to(&health, caller, &Verdict::Unavailable, first);
    let push = (caller, QuestionKind::Change);
    health.came_to(push, &Verdict::Unavailable, Some(TOOK), false, last);
    let trouble = Trouble::Unavailable;
    let expected = TroubleSeen { trouble, count: 2, first, last };
    assert_eq!(health.seen(last).troubles(), [expected]);
}

#[test]
fn each_verdict_sets_the_trouble_and_whether_the_provider_is_up() {
    for (verdict, took, timed_out, trouble, up) in [
        (Verdict::Unavailable, Some(TOOK), true, Some(Trouble::TimedOut), Some(false)),
        (Verdict::Unavailable, Some(TOOK), false, Some(Trouble::Unavailable), Some(false)),
        (not_now(NotNow::Busy), Some(TOOK), false, Some(Trouble::Busy), Some(true)),
        (not_now(NotNow::Barred), Some(TOOK), false, Some(Trouble::Barred), Some(true)),
        (
            not_now(NotNow::Misconfigured),
            Some(TOOK),
            false,
            Some(Trouble::Misconfigured),
            Some(true),
        ),
        (not_now(NotNow::NoTurn), None, false, Some(Trouble::TooManyQuestions), None),
        (not_now(NotNow::FailureBudgetSpent), None, false, None, None),
    ] {
        let (health, now) = (Health::default(), SystemTime::now());
        let asked = (callers(1)[0], QuestionKind::Pull);
        health.came_to(asked, &verdict, took, timed_out, now);
        let seen = health.seen(now);
        assert_eq!(
            (seen.failed.map(|(_, trouble)| trouble), seen.up),
            (trouble, up),
            "{verdict:?}"
        );
        assert_eq!(seen.open.is_empty(), trouble.is_none());
    }
}

#[test]
fn a_trouble_of_some_callers_lasts_until_each_of_them_gets_an_answer() {
    for why in WHY_NOT {
        let (health, now, callers) = (Health::default(), SystemTime::now(), callers(3));
        came_to(&health, callers[0], &not_now(why), now);
        came_to(&health, callers[1], &not_now(why), now);
        came_to(&health, callers[0], &not_now(why), now);
        let met = open(&health, now);
        assert_eq!(met[0].1, 3, "{why:?}");
        came_to(&health, callers[2], &Verdict::NotMine, now);
        came_to(&health, callers[0], &Verdict::NotMine, now);
        assert_eq!(open(&health, now), met, "{why:?}");
        came_to(&health, callers[1], &Verdict::NotMine, now);
        assert_eq!(open(&health, now), [], "{why:?}");
    }
}

#[test]
fn an_outage_of_several_callers_is_over_with_the_next_answer_and_that_of_one_is_not() {
    for verdict in [Verdict::Unavailable, not_now(NotNow::Misconfigured)] {
        let (health, now, callers) = (Health::default(), SystemTime::now(), callers(3));
        came_to(&health, callers[0], &verdict, now);
        came_to(&health, callers[2], &Verdict::NotMine, now);
        assert_eq!(open(&health, now).len(), 1, "{verdict:?}");
        came_to(&health, callers[1], &verdict, now);
        came_to(&health, callers[2], &Verdict::NotMine, now);
        assert_eq!(open(&health, now), [], "{verdict:?}");
    }
}

#[test]
fn an_outage_that_times_out_for_one_caller_and_refuses_another_is_one_outage() {
    let (health, now, callers) = (Health::default(), SystemTime::now(), callers(3));
    let asked = (callers[0], QuestionKind::Pull);
    health.came_to(asked, &Verdict::Unavailable, Some(TOOK), true, now);
    came_to(&health, callers[1], &Verdict::Unavailable, now);
    assert_eq!(open(&health, now), [(Trouble::Unavailable, 2)]);
    came_to(&health, callers[2], &Verdict::NotMine, now);
    assert_eq!(open(&health, now), []);
}

#[test]
fn an_answer_to_another_kind_of_question_ends_no_trouble() {
    let (health, now, caller) = (Health::default(), SystemTime::now(), callers(1)[0]);
    let push = (caller, QuestionKind::Change);
    health.came_to(push, &Verdict::Unavailable, Some(TOOK), false, now);
    came_to(&health, caller, &Verdict::NotMine, now);
    assert_eq!(open(&health, now), [(Trouble::Unavailable, 1)]);
    health.came_to(push, &Verdict::NotMine, Some(TOOK), false, now);
    assert_eq!(open(&health, now), []);
}

#[test]
fn a_trouble_of_many_callers_is_past_ten_minutes_after_the_last_one() {
    let (health, now, callers) = (Health::default(), SystemTime::now(), callers(MAX_CALLERS + 1));
    for caller in &callers {
        came_to(&health, *caller, &not_now(NotNow::Barred), now);
    }
    for caller in &callers {
        came_to(&health, *caller, &Verdict::NotMine, now);
    }
    let second = Duration::from_secs(1);
    assert_eq!(open(&health, now + RECENT - second), [(Trouble::Barred, 17)], "one may be left");
    assert_eq!(open(&health, now + RECENT), []);
    assert!(health.seen(now).failed.is_some(), "the last failure is still shown");
}

#[test]
fn a_spent_failure_budget_lasts_until_a_place_is_free() {
    let (health, now) = (Health::default(), SystemTime::now());
    let spent = Verdict::NotNow(NotNow::FailureBudgetSpent, Duration::from_secs(60));
    let asked = (callers(1)[0], QuestionKind::Pull);
    health.came_to(asked, &spent, None, false, now);
    let until = now + Duration::from_secs(60);
    assert_eq!(health.seen(now).budget_spent_until, Some(until));
    assert_eq!(health.seen(until).budget_spent_until, None);
}
