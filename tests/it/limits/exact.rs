//! One gate is one limit, whatever the number of workers: however requests race, just as many are admitted as the burst and
//! the rate give.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{READ_WRITE, Setup, TestGate, exchange, request};

const RATE: u32 = 20;
/// So much that nobody has to be quick for nothing to be lost.
const BURST: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_the_rate_gives_over_any_number_of_workers() {
    for workers in [1, 4] {
        let limits = vec!["per_identity: { rate: 20/s, burst: 200 }"];
        let gate = Arc::new(TestGate::start(Setup { limits, workers: Some(workers), ..Setup::default() }).await);
        let ping = request("GET", "/v2/", Some(READ_WRITE), "", "").replace("Connection: close\r\n", "");
        let begun = Instant::now();
        let mut client = gate.connect().await;
        for _ in 0..BURST / 2 {
            assert_eq!(exchange(&mut client, &ping).await.status, 200);
        }
        // Nothing comes back to whoever owes nothing. From here on something is owed all the time.
        let owing = Instant::now();
        let clients = (0..8).map(|_| {
            let (gate, ping) = (gate.clone(), ping.clone());
            tokio::spawn(async move {
                let (mut client, mut admitted) = (gate.connect().await, 0_u128);
                while begun.elapsed() < Duration::from_secs(1) {
                    admitted += u128::from(exchange(&mut client, &ping).await.status == 200);
                }
                admitted
            })
        });
        let mut admitted = u128::from(BURST / 2);
        for client in clients.collect::<Vec<_>>() {
            admitted += client.await.unwrap();
        }
        // And what is left.
        let given = |elapsed: Duration| u128::from(BURST) + elapsed.as_micros() * u128::from(RATE) / 1_000_000;
        let mut least = given(owing.elapsed());
        while exchange(&mut client, &ping).await.status == 200 {
            admitted += 1;
            least = given(owing.elapsed());
        }
        let most = given(begun.elapsed());
        assert!((least - 1..=most).contains(&admitted), "{workers} workers: {admitted}, not {least} to {most}");
    }
}
