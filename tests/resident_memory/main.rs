//! The resident memory that a cached verdict takes in the whole gate, with the tables of
//! `failed_logins` and all other state that grows with callers.
//!
//! Each kind of provider has a process of its own, so that none uses memory that another one has
//! returned. Run: `cargo test --release --test resident_memory`

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

mod stand_in;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorgate::http_client::HttpClient;
use moorgate::identity::authenticator::{Authenticator, CacheUse, ManagedProvider};
use moorgate::identity::cache::{CacheLimits, ENTRY_BYTES};
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::gitlab::GitLabReading;
use moorgate::identity::provider::introspection::{Expected, Introspection};
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::metrics::Metrics;
use moorgate::net::client_tls;
use moorgate::rate_limit::Quota;
use moorgate::registry::{Access, Action, RepositoryName};
use secrecy::SecretString;

const KINDS: [&str; 3] = ["introspection", "gitlab", "registry_token"];

/// The default of `cache.capacity`.
const CREDENTIALS: usize = 100_000;

/// The number of credentials that open the connections and fill the buffers before the
/// measurement.
const WARM_UP: usize = 2_000;

/// The number of credentials that are asked about at once.
const AT_ONCE: usize = 16;

fn main() {
    let started = Instant::now();
    if let Ok(kind) = std::env::var("RESIDENT_MEMORY_OF") {
        return measure(&kind);
    }
    for kind in KINDS {
        let program = std::env::current_exe().unwrap();
        let status = Command::new(program).env("RESIDENT_MEMORY_OF", kind).status().unwrap();
        assert!(status.success(), "{kind}");
    }
    println!("measured in {:.1} s", started.elapsed().as_secs_f64());
}

/// Asks about each credential, and compares the growth of the process with the bound.
fn measure(kind: &str) {
    let server = stand_in::start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let provider = provider(kind, server);
    let gate = || {
        let (key, metrics) = (HashKey::random().unwrap(), Arc::new(Metrics::new()));
        let runtime = runtime.handle().clone();
        let gate = Authenticator::new(vec![provider.clone()], limits(), key, metrics, runtime);
        // The default of `limits.failed_logins`.
        Arc::new(gate.with_failed_logins(Some(Quota::new(10, Duration::from_secs(60), 20))))
    };
    let (warm_up, gate) = (gate(), gate());
    runtime.block_on(ask(&warm_up, WARM_UP));
    let before = resident_bytes();
    let started = Instant::now();
    runtime.block_on(ask(&gate, CREDENTIALS));
    let took = started.elapsed();
    let each = (resident_bytes() - before) / CREDENTIALS;
    println!("{kind}: a verdict takes {each} bytes of resident memory ({took:.1?})");
    assert_eq!(gate.cache_entries(), CREDENTIALS as u64, "{kind}");
    assert!(each <= ENTRY_BYTES, "{kind}: {each}");
    drop(warm_up);
}

fn limits() -> CacheLimits {
    let hour = Duration::from_secs(3600);
    let capacity = CREDENTIALS as u64;
    CacheLimits {
        ttl: hour,
        negative_ttl: hour,
        stale_if_error: hour,
        capacity,
        negative_capacity: capacity / 10,
    }
}

fn provider(kind: &str, server: SocketAddr) -> Arc<ManagedProvider> {
    let (name, timeout) = (Arc::<str>::from("sso"), Duration::from_secs(60));
    let tls = client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
    let client = HttpClient::new(tls, timeout);
    let url = format!("http://{server}/");
    let provider = match kind {
        "introspection" => {
            let secret = SecretString::from("secret");
            let expected = Expected::default();
            let id = "gate".to_owned();
            AnyProvider::Introspection(
                Introspection::new(name.clone(), url, id, &secret, expected, client).unwrap(),
            )
        }
        _ => {
            let gitlab = (kind == "gitlab").then_some(GitLabReading {
                accept_passwords: false,
                anonymous: false,
                forward_client_address: true,
                failure_budget: None,
            });
            let service = stand_in::SERVICE.to_owned();
            AnyProvider::TokenServer(Arc::new(TokenServer::new(
                name.clone(),
                &url,
                service,
                client,
                gitlab,
            )))
        }
    };
    Arc::new(ManagedProvider::new(name, provider, timeout, None))
}

/// Sends credentials 0 to `credentials`, each for a repository of its own.
async fn ask(gate: &Arc<Authenticator>, credentials: usize) {
    let mut callers = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let gate = gate.clone();
        callers.spawn(async move {
            for number in (first..credentials).step_by(AT_ONCE) {
                let user = stand_in::subject(number);
                let password = SecretString::from(format!("glpat-{number:020}"));
                let credential = Credential::Basic { user, password };
                let name = RepositoryName::parse(&stand_in::repository(number)).unwrap();
                let access = Access::Repository(name, Action::Pull);
                let client = Ipv4Addr::LOCALHOST.into();
                let question = gate.question(credential, access, client, "request".into());
                let mut cache_use = CacheUse::None;
                assert!(gate.verify(&question, &mut cache_use).await.is_ok(), "{number}");
                assert_eq!(cache_use, CacheUse::Miss, "{number}");
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// Returns the resident memory of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
