//! The seeds of the fuzz targets, and the inputs that fuzzing found, as ordinary tests.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod oracles;

fn check_seeds(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut seeds: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() > 4, "{target} has no seeds");
    for seed in seeds {
        // If the test fails, the output names the seed.
        eprintln!("{}", seed.display());
        check(&fs::read(&seed).unwrap());
    }
}

macro_rules! targets {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                check_seeds(stringify!($target), oracles::$target::check);
            }
        )*

        #[test]
        fn every_fuzz_target_has_its_seed_test() {
            let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets");
            let mut targets: Vec<_> = fs::read_dir(targets)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            targets.sort();
            assert_eq!(targets, [$(concat!(stringify!($target), ".rs")),*]);
        }
    };
}

targets! {
    authorization config gate gate_token gitlab_reply introspection_reply jwt request token_request
    traceparent
}

/// Allowed requests are forwarded. Without this test, the oracle of the whole gate would hold for a
/// gate that forwards nothing.
#[test]
fn allowed_requests_are_forwarded() {
    let forwarded = |seed: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/gate");
        let input = fs::read(folder.join(seed)).unwrap();
        let (protocol, sent) = input.split_first().unwrap();
        let ledger = oracles::gate::forwarded(*protocol == oracles::gate::HTTP2, sent);
        ledger
            .iter()
            .map(|it| format!("{} {}", it.method, if it.complete { "whole" } else { "cut" }))
            .collect::<Vec<_>>()
    };
    for (seed, expected) in [
        ("pipelined", &["GET whole", "GET whole", "HEAD whole", "GET whole"][..]),
        ("private-without-credential", &["GET whole"]),
        ("wrong-password", &["GET whole"]),
        ("push", &["POST whole", "PATCH whole", "PUT whole", "PUT whole"]),
        ("push-chunked", &["PATCH whole", "GET whole"]),
        ("push-cut", &["PATCH cut"]),
        ("push-cut-length", &["PUT cut"]),
        ("mount", &["POST whole", "POST whole"]),
        ("delete", &[]),
        ("http2-public-pull", &["GET whole"]),
        ("http2-private", &["GET whole"]),
        ("http2-push", &["PATCH whole"]),
        ("http2-reset", &[]),
        ("http2-short-body", &[]),
    ] {
        assert_eq!(forwarded(seed), expected, "{seed}");
    }
}
