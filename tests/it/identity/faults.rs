//! Each fault of a provider, for each type that is asked over the network: known callers go on
//! pulling and can do nothing else, all others are told to come back, and no good credential is
//! reported as wrong.

use std::sync::Arc;

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::sample_credentials;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};

use super::answer;
use crate::harness::{PATIENCE, READ_WRITE, Reply, Setup, TestGate, listener};

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const MANIFEST: &str = "/v2/demo/a/manifests/v1";

/// A gate with one provider, and a credential that the provider has verified.
struct OneProvider {
    gate: Arc<TestGate>,
    sso: Introspection,
    known: (&'static str, &'static str),
    asks_sso: bool,
}

impl OneProvider {
    /// Starts a gate with a provider of this type. Answers become stale at once, so that a fault
    /// shows at once.
    async fn start(kind: &str) -> Self {
        let sso = Introspection::start(listener()).unwrap();
        let identity = match kind {
            "gitlab" => "url: \"{gitlab}\"".to_owned(),
            "registry_token" => {
                "realm: \"{gitlab}/jwt/auth\", service: container_registry".to_owned()
            }
            _ => format!("url: \"{}\", client_secret_file: secret", sso.url()),
        };
        let identity = format!("- {{ name: it, type: {kind}, {identity}, timeout: 500ms }}");
        let gate = TestGate::start(Setup {
            identity: Some(identity.leak()),
            files: vec![("secret", CLIENT_SECRET)],
            cache: vec!["ttl: 1ms", "stale_if_error: 10m"],
            scopes: vec!["delete: [write_registry]"],
            ..Setup::default()
        });
        let asks_sso = kind == "introspection";
        let known = if asks_sso { ("dana", "sso-demo-read-write") } else { READ_WRITE };
        Self { gate: Arc::new(gate.await), sso, known, asks_sso }
    }

    fn always(&self, fault: Option<Scripted>) {
        if self.asks_sso { self.sso.always(fault) } else { self.gate.gitlab.always(fault) }
    }

    /// Sends all requests at once, because each waits for its timeout if the provider is silent.
    async fn send_all(
        &self,
        requests: &[(&'static str, &'static str, (&'static str, &'static str))],
    ) -> Vec<Reply> {
        let sending = requests.iter().map(|&(method, target, credential)| {
            let gate = self.gate.clone();
            tokio::spawn(async move { gate.send(method, target, Some(credential), "", "").await })
        });
        let mut replies = Vec::new();
        for sent in sending.collect::<Vec<_>>() {
            replies.push(sent.await.unwrap());
        }
        replies
    }
}

#[tokio::test]
async fn a_fault_of_any_provider_type_lets_only_known_callers_pull() {
    let elsewhere = listener();
    let redirect = format!("http://{}/", elsewhere.local_addr().unwrap());
    for kind in ["gitlab", "registry_token", "introspection"] {
        for fault in [
            answer(500, "{}"),
            answer(503, ""),
            answer(200, "<html>Back soon</html>"),
            answer(200, "{}"),
            Scripted::Redirect(redirect.clone()),
            Scripted::Close,
            Scripted::Hang,
        ] {
            let case = format!("{kind} {fault:?}");
            let it = OneProvider::start(kind).await;
            let reads = [("GET", PULL, it.known), ("GET", "/v2/", it.known)];
            let status =
                |replies: &[Reply]| replies.iter().map(|reply| reply.status).collect::<Vec<_>>();
            assert_eq!(status(&it.send_all(&reads).await), [404, 200], "{case}");
            assert_eq!(
                it.gate.send("POST", UPLOADS, Some(it.known), "", "").await.status,
                202,
                "{case}"
            );
            let forwarded = it.gate.forwarded();

            it.always(Some(fault));
            assert_eq!(status(&it.send_all(&reads).await), [404, 200], "{case}");
            assert_eq!(it.gate.forwarded(), forwarded + 1, "{case}");
            let others = [
                ("POST", UPLOADS, it.known),
                ("DELETE", MANIFEST, it.known),
                ("GET", "/v2/_catalog", it.known),
                ("GET", PULL, ("mallory", "unknown-secret")),
            ];
            for (reply, (method, target, _)) in it.send_all(&others).await.iter().zip(&others) {
                assert_eq!(
                    (reply.status, &*reply.code()),
                    (503, "UNAVAILABLE"),
                    "{case}: {method} {target}"
                );
                let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
                assert!(seconds >= 1, "{case}: {method} {target}");
                assert_eq!(reply.header("www-authenticate"), None, "{case}: {method} {target}");
            }
            assert_eq!(it.gate.forwarded(), forwarded + 1, "{case}: more than a pull got through");

            // No result of the fault is cached.
            it.always(None);
            assert_eq!(
                it.gate.get(PULL, Some(("mallory", "another-secret"))).await.status,
                401,
                "{case}"
            );
        }
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
}

/// A caller who makes the provider throttle it, ban it or refuse its questions must not keep a
/// revoked credential alive. Such an answer is not an outage, neither for that caller nor for
/// others.
#[tokio::test]
async fn a_caller_that_the_provider_turns_away_gets_no_stale_answer() {
    for kind in ["gitlab", "registry_token", "introspection"] {
        for (status, body) in [(429, ""), (403, "banned"), (400, ""), (431, "")] {
            let case = format!("{kind} {status}");
            let it = OneProvider::start(kind).await;
            let reads = [
                ("GET", PULL, it.known),
                ("GET", "/v2/", it.known),
                ("GET", "/token?scope=repository:demo/a:pull", it.known),
            ];
            for (reply, status) in it.send_all(&reads).await.iter().zip([404, 200, 200]) {
                assert_eq!(reply.status, status, "{case}");
            }
            let forwarded = it.gate.forwarded();
            it.always(Some(answer(status, body)));
            for reply in it.send_all(&reads).await {
                assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"), "{case}");
                assert!(reply.header("retry-after").is_some(), "{case}");
            }
            assert_eq!(it.gate.forwarded(), forwarded, "{case}");
            let log = it.gate.log(6).await;
            assert!(log.iter().all(|line| line["cache"] != "stale"), "{case}: {log:?}");
        }
    }
}

/// With a provider that answers only now and then, known callers notice nothing, and the provider
/// is asked no more than twice as often as without the trouble.
#[tokio::test]
async fn known_callers_keep_pulling_with_an_intermittent_provider() {
    let it = OneProvider::start("gitlab").await;
    let gitlab = &it.gate.gitlab;
    let mut sample = sample_credentials().remove(0);
    let secrets: Vec<String> = (0..10).map(|number| format!("glpat-known-{number}")).collect();
    for secret in &secrets {
        sample.password = secret.clone();
        gitlab.add(sample.clone());
        assert_eq!(it.gate.get(PULL, Some(("alice", secret))).await.status, 404);
    }
    let before = gitlab.ledger().count();
    let well = || Scripted::Delay(std::time::Duration::ZERO);
    let mut usual = 0;
    for round in 0..20 {
        match round % 5 {
            // Every other answer fails.
            0 => gitlab.script((0..5).flat_map(|_| [answer(502, ""), well()])),
            1 => gitlab.script((0..5).flat_map(|_| [well(), Scripted::Close])),
            // Two of three answers fail, which does not open the breaker.
            2 => {
                gitlab.script((0..4).flat_map(|_| [answer(200, "<html>"), answer(500, ""), well()]))
            }
            // All answers fail, which opens the breaker.
            3 => gitlab.always(Some(answer(StatusCode::BAD_GATEWAY.as_u16(), ""))),
            _ => gitlab.always(None),
        }
        for secret in &secrets {
            assert_eq!(
                it.gate.get(PULL, Some(("alice", secret))).await.status,
                404,
                "round {round}"
            );
            usual += 1;
        }
    }
    let asked = gitlab.ledger().count() - before;
    assert!(asked <= 2 * usual, "{asked} questions instead of {usual}");

    gitlab.always(None);
    let begun = std::time::Instant::now();
    while it
        .gate
        .get(PULL, Some(("alice", &format!("glpat-wrong-{}", fastrand::u64(..)))))
        .await
        .status
        != 401
    {
        assert!(begun.elapsed() < PATIENCE, "it never comes back");
    }
    let log = it.gate.log(usual).await;
    assert!(
        log.iter().any(|line| line["cache"] == "stale")
            && log.iter().any(|line| line["cache"] == "miss")
    );
}
