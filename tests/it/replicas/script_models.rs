//! Compares the Lua scripts of beats, revocations and shared verdicts with their models, which the
//! simulation uses.

use fastrand::Rng;

use super::beat_model::BeatModel;
use super::stream::Stream;
use super::verdict_model::{Put, VerdictModel};
use crate::redis_servers::RedisServer;

const BEAT: &str = include_str!("../../../src/replicas/beat.lua");
const PUBLISH: &str = include_str!("../../../src/replicas/publish.lua");
const CLAIM: &str = include_str!("../../../src/identity/shared_verdicts/claim.lua");
const PUT: &str = include_str!("../../../src/identity/shared_verdicts/put.lua");

/// An hour, in microseconds: so long that the time of the test itself has no effect.
const HOUR: u64 = 3_600_000_000;

fn run(redis: &RedisServer, script: &str, keys: &[&str], arguments: &[&str]) -> Vec<String> {
    let count = keys.len().to_string();
    let command = [&["EVAL", script, &count], keys, arguments].concat();
    redis.ask(&command).split('\n').map(str::to_owned).collect()
}

/// The clock of limits, by which beats get old, is moved on by hand, seven seconds at a time.
#[test]
fn the_script_of_beats_answers_as_its_model_does() {
    let redis = RedisServer::start(&[]);
    let mut random = Rng::with_seed(11);
    let keys = ["clock", "replicas", "epoch", "revocations", "refusals", "bells"];
    let (mut model, mut v) = (BeatModel::default(), 0.0);
    for call in 0..2000 {
        match random.u8(..20) {
            0 => {
                redis.ask(&["DEL", keys[0], keys[1], keys[2]]);
                (model, v) = (BeatModel::default(), 0.0);
            }
            1..8 => {
                redis.ask(&["HINCRBY", keys[0], "v", "7000000"]);
                v += 7e6;
            }
            _ => {}
        }
        let replica = format!("replica{}", random.u8(..5));
        let beat = if random.u8(..8) == 0 { String::new() } else { format!("beat {call}") };
        let epoch = format!("epoch{call}");
        let told = run(&redis, BEAT, &keys, &[&replica, &beat, &epoch]);
        let beat = Some(beat).filter(|beat| !beat.is_empty());
        let modelled = model.call(v, &replica, beat, &epoch);
        assert_eq!(told[1], modelled.epoch, "call {call}");
        let mut told: Vec<_> = told[2..].chunks_exact(3).collect();
        told.sort();
        assert_eq!(told.len(), modelled.beats.len(), "call {call}: {told:?}");
        for (told, (id, age, beat)) in told.iter().zip(&modelled.beats) {
            assert_eq!((&told[0], &told[2]), (id, beat), "call {call}");
            let told: u64 = told[1].parse().unwrap();
            assert!(told.abs_diff(*age) < 2000, "call {call}: {told} ms, not {age} ms");
        }
    }
}

#[test]
fn the_script_of_revocations_adds_to_a_stream_as_its_model_does() {
    let redis = RedisServer::start(&[]);
    let mut model = Stream::new(10_000);
    for call in 0..200 {
        let entry = format!("entry{call}");
        assert_eq!(run(&redis, PUBLISH, &["stream"], &[&entry]), ["1"]);
        model.add(call / 7, entry);
    }
    let told = redis.ask(&["XRANGE", "stream", "-", "+"]);
    let told: Vec<_> = told.split('\n').filter(|line| line.starts_with("entry")).collect();
    let modelled: Vec<_> = model.after((0, 0), 500).into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(told, modelled);
    assert_eq!(
        model.after((2, 3), 2).iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [(2, 4), (2, 5)]
    );
}

#[test]
fn the_scripts_of_verdicts_answer_as_their_model_does() {
    let redis = RedisServer::start(&[]);
    let mut random = Rng::with_seed(12);
    let names: Vec<_> = (0..4)
        .map(|question| {
            ["n", "v", "l", "p"].map(|kind| {
                // Two questions are about one secret each.
                let number = if kind == "v" || kind == "l" { question } else { question / 2 };
                format!("{kind}{number}")
            })
        })
        .collect();
    let mut model = VerdictModel::default();
    let now = unix_micros();
    for call in 0..2000 {
        let names = &names[random.usize(..names.len())];
        let keys: Vec<_> = names.iter().map(String::as_str).collect();
        let owner = format!("owner{}", random.u8(..3));
        if random.u8(..40) == 0 {
            redis.ask(&["FLUSHALL"]);
            model = VerdictModel::default();
        }
        if random.bool() {
            let does_not_suffice = random.bool();
            let flag = u8::from(does_not_suffice).to_string();
            let told = run(&redis, CLAIM, &keys[..3], &[&owner, "3600000", &flag]);
            let reply = model.claim(now, names, &owner, 3_600_000.0, does_not_suffice);
            let is_mine = u8::from(reply.is_mine).to_string();
            assert_eq!(told[..3], [reply.refusal, reply.answer, is_mine], "call {call}");
            continue;
        }
        let asked = now - HOUR + random.u64(..20) * HOUR / 10;
        let fresh_until = now - HOUR + random.u64(..20) * HOUR / 10 + HOUR / 20;
        let kind = ["refusal", "answer", "answer", "none"][random.usize(..4)];
        let text = format!("{fresh_until} {asked} sealed{call}");
        let kept = [3_600_000_u32, 7_200_000, 9_000_000][random.usize(..3)];
        let longest = 20_000_000_u32;
        let (kept_text, longest_text) = (kept.to_string(), longest.to_string());
        let arguments = [&owner, kind, &text, &kept_text, &longest_text, &asked.to_string()];
        let told = run(&redis, PUT, &keys, &arguments);
        let (kept, longest) = (kept.into(), longest.into());
        let put = Put { owner, kind, text, kept, longest, asked };
        assert_eq!(told, [model.put(now, names, &put).to_string()], "call {call}");
    }
}

fn unix_micros() -> u64 {
    moorgate::identity::model::unix_time::unix_micros()
}
