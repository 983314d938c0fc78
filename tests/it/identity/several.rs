//! Four providers of four types side by side: each caller is verified by its own provider, whether
//! it presents its secret as Basic or as Bearer, and an outage of three does not affect the fourth.

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::OidcIssuer;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, basic, listener, some_digest};

const LOCAL: (&str, &str) = ("carol", "correct horse battery");
const SSO_READ_WRITE: &str = "sso-demo-read-write";
const AUDIENCE: &str = "registry.test";
const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// A gate with all four, in the order htpasswd, jwt, introspection, GitLab.
struct Four {
    gate: TestGate,
    sso: Introspection,
    issuer: OidcIssuer,
}

impl Four {
    async fn start(cache: Vec<&'static str>) -> Self {
        Self::asking_for("challenge: bearer", cache).await
    }

    async fn asking_for(challenge: &'static str, cache: Vec<&'static str>) -> Self {
        let (sso, issuer) =
            (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
        sso.ledger().keep();
        issuer.ledger().keep();
        let identity = format!(
            "- {{ name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry] }}\n\
             - {{ name: workloads, type: jwt, issuer: \"{issuer}\", jwks_url: \"{jwks}\", \
             audience: {AUDIENCE}, required_claims: {{ namespace_id: [\"42\"] }}, \
             scopes: [read_registry, write_registry] }}\n\
             - {{ name: sso, type: introspection, url: \"{sso}\", client_id: moorgate, \
             client_secret_file: secret, accepts: {{ prefixes: [sso-] }} }}\n\
             - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\" }}",
            issuer = issuer.url(),
            jwks = issuer.jwks_url(),
            sso = sso.url(),
        );
        let gate = TestGate::start(Setup {
            identity: Some(identity.leak()),
            htpasswd_users: vec![LOCAL],
            files: vec![("secret", CLIENT_SECRET)],
            cache,
            tokens: vec![challenge],
            ..Setup::default()
        });
        Self { gate: gate.await, sso, issuer }
    }

    fn id_token(&self) -> String {
        self.issuer.id_token(AUDIENCE, &json!({})).unwrap()
    }

    /// Returns one caller of each kind, by provider.
    fn callers(&self) -> [(&'static str, String); 4] {
        let password = |(user, password): (&str, &str)| basic((user, password));
        [
            ("local", password(LOCAL)),
            ("workloads", password(("oidc", &self.id_token()))),
            ("sso", password(("anybody", SSO_READ_WRITE))),
            ("gitlab", password(READ_WRITE)),
        ]
    }

    async fn send(&self, method: &str, target: &str, authorization: &str) -> u16 {
        let header = format!("Authorization: {authorization}\r\n");
        self.gate.send(method, target, None, &header, "").await.status
    }

    /// Returns tokens for all the access that is compared, requested in each of the three ways.
    /// Returns none for a wrong secret.
    async fn tokens(&self, user: &str, secret: &str) -> Vec<String> {
        let scope = "scope=repository:demo/a:pull,push,delete+repository:demo/b:pull+\
                     repository:elsewhere:pull+registry:catalog:*";
        let target = format!("/token?{scope}");
        let form = format!("grant_type=password&username={user}&password={secret}&{scope}");
        let bearer = format!("Authorization: Bearer {secret}\r\n");
        let form_header = "Content-Type: application/x-www-form-urlencoded\r\n";
        let replies = [
            self.gate.get(&target, Some((user, secret))).await,
            self.gate.send("GET", &target, None, &bearer, "").await,
            self.gate.send("POST", "/token", None, form_header, &form).await,
        ];
        let tokens: Vec<_> = replies
            .iter()
            .filter(|reply| reply.status == 200)
            .map(|reply| {
                let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
                answer["token"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(
            matches!(tokens.len(), 0 | 3)
                && replies.iter().all(|reply| matches!(reply.status, 200 | 401)),
            "{replies:?}"
        );
        tokens
    }

    /// Takes down every provider on the network except this one.
    fn only(&self, left: &str) {
        let broken = |name: &str| {
            let headers = Vec::new();
            (name != left).then(|| Scripted::Answer {
                status: StatusCode::BAD_GATEWAY,
                headers,
                body: String::new(),
            })
        };
        self.gate.gitlab.always(broken("gitlab"));
        self.sso.always(broken("sso"));
        self.issuer.always(broken("workloads"));
    }
}

#[tokio::test]
async fn each_caller_pushes_and_pulls_and_no_provider_sees_the_secret_of_another() {
    let four = Four::start(vec![]).await;
    for (provider, authorization) in four.callers() {
        assert_eq!(four.send("GET", "/v2/", &authorization).await, 200, "{provider}");
        assert_eq!(four.send("GET", PULL, &authorization).await, 404, "{provider}");
        assert_eq!(four.send("POST", UPLOADS, &authorization).await, 202, "{provider}");
    }
    let log = four.gate.log(12).await;
    let providers: Vec<_> = log.iter().map(|line| line["provider"].as_str().unwrap()).collect();
    assert_eq!(providers, ["local", "workloads", "sso", "gitlab"].map(|name| [name; 3]).concat());

    let gitlab = four.gate.gitlab.ledger().entries();
    assert!(
        gitlab
            .iter()
            .all(|question| question.secret.as_ref().unwrap().expose_secret() == READ_WRITE.1)
    );
    let sso = four.sso.ledger().entries();
    assert_eq!(sso.len(), 1, "one question for one token, whatever the repository");
    assert!(
        sso.iter()
            .all(|question| question.token.as_ref().unwrap().expose_secret() == SSO_READ_WRITE)
    );
    assert!(
        four.issuer.ledger().entries().iter().all(|fetch| fetch.path == "/oauth/discovery/keys")
    );
}

#[tokio::test]
async fn an_outage_of_three_providers_does_not_affect_the_fourth() {
    let four = Four::start(vec!["ttl: 1ms", "stale_if_error: 0s"]).await;
    // The gate knows the keys of the issuer from here on.
    assert_eq!(four.send("GET", PULL, &four.callers()[1].1).await, 404);
    for (left, authorization) in four.callers() {
        four.only(left);
        for _ in 0..5 {
            assert_eq!(four.send("GET", PULL, &authorization).await, 404, "{left}");
            assert_eq!(four.send("POST", UPLOADS, &authorization).await, 202, "{left}");
        }
    }
}

#[tokio::test]
async fn the_log_names_the_provider_that_gave_no_answer() {
    let four = Four::start(vec![]).await;
    four.only("workloads");
    for (provider, authorization) in four.callers().into_iter().skip(2) {
        assert_eq!(four.send("GET", PULL, &authorization).await, 503, "{provider}");
    }
    let log = four.gate.log(2).await;
    for (line, provider) in log.iter().zip(["sso", "gitlab"]) {
        assert_eq!(
            (&line["provider"], &line["reason"]),
            (&json!(provider), &json!("provider_unavailable"))
        );
    }
    let metrics = four.gate.admin("/metrics").await.body;
    let counted =
        r#"auth_decisions_total{provider="sso",result="error",reason="provider_unavailable"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

/// A secret has the same access however it is presented. Gitea once checked scopes for Basic only.
#[tokio::test]
async fn a_secret_is_worth_the_same_however_it_is_presented() {
    // Access that a good secret lacks is 403. With a bearer challenge it is 401 for Bearer, because
    // the client may come back with another token.
    for (challenge, lacking) in [("challenge: basic", 403), ("challenge: bearer", 401)] {
        compare(&Four::asking_for(challenge, vec![]).await, lacking).await;
    }
}

/// Compares every secret as Basic, as Bearer, and in a token that was requested with either of them
/// or with a form, over all operations.
async fn compare(four: &Four, lacking: u16) {
    let (digest, other) = (some_digest(), some_digest());
    let blob = format!("/v2/demo/a/blobs/{digest}");
    let manifest = format!("/v2/demo/a/manifests/{digest}");
    let mount = format!("{UPLOADS}?mount={other}&from=demo/b");
    let referrers = format!("/v2/demo/a/referrers/{digest}");
    let operations = [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", PULL),
        ("GET", "/v2/elsewhere/tags/list"),
        ("HEAD", "/v2/demo/a/manifests/v1"),
        ("GET", "/v2/demo/a/manifests/v1"),
        ("PUT", "/v2/demo/a/manifests/v1"),
        ("DELETE", "/v2/demo/a/manifests/v1"),
        ("DELETE", &manifest),
        ("GET", &blob),
        ("DELETE", &blob),
        ("GET", &referrers),
        ("POST", UPLOADS),
        ("POST", &mount),
        ("PATCH", "/v2/demo/a/blobs/uploads/none"),
        ("PUT", "/v2/demo/a/blobs/uploads/none"),
        ("GET", "/v2/demo/a/blobs/uploads/none"),
        ("DELETE", "/v2/demo/a/blobs/uploads/none"),
    ];
    let id_token = four.id_token();
    let strangers = four.issuer.id_token(AUDIENCE, &json!({ "namespace_id": "43" })).unwrap();
    let secrets = [
        ("alice", READ_WRITE.1),
        ("alice", READ_ONLY.1),
        ("gitlab-ci-token", "glcbt-demo-job-read-write"),
        ("alice", "glpat-demo-revoked"),
        ("sso", SSO_READ_WRITE),
        ("sso", "sso-demo-read-only"),
        ("sso", "sso-demo-no-scope"),
        ("sso", "sso-demo-unknown"),
        ("oidc", &id_token),
        ("oidc", &strangers),
        ("oidc", "no.jwt.atall"),
    ];
    for (user, secret) in secrets {
        let mut answers = Vec::new();
        let bearer = format!("Bearer {secret}");
        let tokens = four.tokens(user, secret).await;
        let presented: Vec<_> =
            tokens.iter().map(|token| format!("Bearer {token}")).chain([bearer]).collect();
        for (method, target) in operations {
            let as_basic = four.send(method, target, &basic((user, secret))).await;
            let expected = if as_basic == 403 { lacking } else { as_basic };
            for authorization in &presented {
                let answer = four.send(method, target, authorization).await;
                assert_eq!(
                    answer, expected,
                    "{method} {target} with {secret} as {authorization:.12}"
                );
            }
            answers.push(as_basic);
        }
        assert_eq!(
            tokens.is_empty(),
            answers.iter().all(|status| *status == 401),
            "{secret}: {answers:?}"
        );
        assert!(
            answers.contains(&403) || answers.iter().all(|status| *status == 401),
            "{secret}: {answers:?}"
        );
    }
}
