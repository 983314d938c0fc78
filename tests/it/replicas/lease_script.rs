//! Compares the Lua script of limits with its model, which the simulation uses.

use moorgate::rate_limit::Quota;
use moorgate::rate_limit::shared::{LEASE_SCRIPT, LeaseAnswer, LeaseQuestion, SharedTable};

use super::lease_model::LeaseModel;
use crate::redis_servers::RedisServer;

/// The rates are so low that the time between a call of the script and one of the model has no
/// effect.
#[test]
fn the_script_answers_as_its_model_does() {
    let redis = RedisServer::start(&[]);
    let keys = SharedTable::new(false);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        let mut model = LeaseModel::default();
        for call in 0..100 {
            let alive = random.u32(1..5);
            let live = random.u32(1..=alive);
            let replica = format!("replica{}", random.u8(0..4));
            let questions: Vec<_> = (0..random.usize(1..3))
                .map(|number| {
                    let burst = [3, 9, 40][random.usize(0..3)];
                    let question = LeaseQuestion {
                        key: keys.key(&(round, number, burst)),
                        quota: Quota::with_interval(3_600_000_000_000_000, burst),
                        want: random.u32(0..8),
                        give: random.u32(0..3),
                        joins: (random.u8(0..4) > 0).then(|| random.i64(-2_000_000..9_000_000)),
                        took: [0, random.i64(-1_000_000..9_000_000)][random.usize(0..2)],
                    };
                    ('i', question)
                })
                .collect();
            let told = ask(&redis, &replica, (alive, live), &questions);
            // The time of the model stands still, as if all calls came at once.
            let modelled = model.call(1e15, &replica, (alive, live), &questions);
            for (told, modelled) in told.iter().zip(&modelled) {
                let places = (told.exists, told.granted, told.members);
                let expected = (modelled.exists, modelled.granted, modelled.members);
                assert_eq!(places, expected, "round {round}, call {call}: {questions:?}");
                assert!((told.level - modelled.level).abs() <= 10, "{told:?}, not {modelled:?}");
            }
        }
    }
}

fn ask(
    redis: &RedisServer,
    replica: &str,
    (alive, live): (u32, u32),
    questions: &[(char, LeaseQuestion)],
) -> Vec<LeaseAnswer> {
    let names = questions.iter().map(|(limit, question)| question.name(*limit));
    let mut command = vec!["EVAL".to_owned(), LEASE_SCRIPT.to_owned()];
    command.push((2 + questions.len()).to_string());
    command.extend(["clock", "bells"].map(str::to_owned).into_iter().chain(names));
    command.extend([replica.to_owned(), alive.to_string(), live.to_string()]);
    for (limit, question) in questions {
        command.extend(question.arguments(*limit));
    }
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let answer = redis.ask(&command);
    let numbers: Vec<i64> = answer
        .lines()
        .map(|number| number.parse().unwrap_or_else(|_| panic!("{answer}")))
        .collect();
    LeaseAnswer::read(&numbers, questions.len()).unwrap()
}
