mod lease_model;

use lease_model::LeaseModel;
use moorgate::rate_limit::shared::*;
use moorgate::rate_limit::*;
use std::time::Duration;

fn run(quota: Quota, loads: &[f64], seconds: f64) -> u32 {
    let n = loads.len() as u32;
    let tables: Vec<_> = loads
        .iter()
        .map(|_| {
            let t = SharedTable::new(false);
            t.set_key([1, 2]);
            t.set_replicas(n);
            t.set_connected(true, 0);
            t
        })
        .collect();
    let mut model = LeaseModel::default();
    let key = tables[0].key(&"caller");
    let start = 10_000_000_000u64; // ns
    let mut admitted = 0;
    let mut next: Vec<f64> = loads.iter().map(|l| 1.0 / l).collect();
    let mut last_sync = vec![0u64; loads.len()];
    let mut heard = 0;
    let step = 1_000_000u64;
    let mut calls = 0;
    let mut waiting = vec![Vec::new(); loads.len()];
    for tick in 0..(seconds * 1000.0) as u64 {
        let now = start + tick * step;
        for (i, t) in tables.iter().enumerate() {
            while next[i] * 1000.0 < tick as f64 {
                next[i] += 1.0 / loads[i];
                match t.reserve(key, quota, now, Duration::ZERO, true) {
                    Reservation::Taken(..) => admitted += 1,
                    Reservation::Ask(_) => waiting[i].push(now),
                    _ => {}
                }
            }
            if now - last_sync[i] >= 100_000_000
                || (t.is_awaited() && now - last_sync[i] >= 5_000_000)
            {
                last_sync[i] = now;
                let qs = t.plan(now, 256);
                if qs.is_empty() {
                    continue;
                }
                calls += 1;
                let tagged: Vec<_> = qs.iter().map(|q| ('i', q.clone())).collect();
                let dbg = std::env::var("DBG").is_ok() && rate_dbg(quota) && tick < 4000;
                let answers = model.call(now as f64 / 1000.0, &format!("r{i}"), (n, n), &tagged);
                if dbg {
                    println!(
                        "{tick} r{i} {:?} -> {:?}",
                        qs.iter().map(|q| (q.want, q.give, q.joins)).collect::<Vec<_>>(),
                        answers
                    );
                }
                t.apply(&qs, &answers, n, now);
                let w = std::mem::take(&mut waiting[i]);
                for since in w {
                    if now > since + 50_000_000 {
                        continue;
                    }
                    match t.reserve(key, quota, now, Duration::ZERO, false) {
                        Reservation::Taken(..) => admitted += 1,
                        Reservation::Ask(_) => waiting[i].push(since),
                        _ => {}
                    }
                }
            }
        }
        for b in &model.bells[heard..] {
            for t in &tables {
                t.hear(b.key, b.quota, now)
            }
        }
        heard = model.bells.len();
    }
    eprintln!("calls {calls}");
    admitted
}

fn rate_dbg(q: Quota) -> bool {
    q.interval() == 100_000_000
}
fn main() {
    for (rate, burst) in
        [(50, 100), (100, 200), (100, 2), (100, 5), (10, 20), (1000, 50), (100, 1000), (20, 12)]
    {
        let quota = Quota::new(rate, Duration::from_secs(1), burst);
        for shape in [[1.0, 0.0, 0.0], [0.7, 0.2, 0.1], [0.34, 0.33, 0.33], [0.5, 0.5, 0.0]] {
            let loads: Vec<_> = shape.iter().map(|s| (2.0 * rate as f64 * s).max(0.001)).collect();
            let got = run(quota, &loads, 10.0);
            let want = rate * 10 + burst;
            println!(
                "{rate}/s burst {burst} {shape:?}: {got} of {want} ({:+.1} %)",
                (got as f64 / want as f64 - 1.0) * 100.0
            );
        }
    }
}
