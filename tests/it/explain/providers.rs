//! What the command says about each provider: its answer, or why it was not asked.

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;

use super::{TAGS, explain, run};
use crate::harness::{READ_WRITE, Setup, TestGate, listener};

const CAROL: (&str, &str) = ("carol", "correct horse battery");
const UNKNOWN: (&str, &str) = ("dave", "glpat-no-such");

/// A gate with four providers, of which two have `accepts`.
async fn gate(sso: &Introspection, issuer: &OidcIssuer) -> TestGate {
    let identity = format!(
        "- {{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }}\n\
         - {{ name: jobs, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: a, \
         any_tenant: true, scopes: [read_registry] }}\n\
         - {{ name: sso, type: introspection, url: \"{}\", client_id: moorgate, \
         client_secret_file: secret, accepts: {{ prefixes: [sso-] }} }}\n\
         - {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\", \
         accepts: {{ prefixes: [glpat-] }} }}",
        issuer.url(),
        issuer.jwks_url(),
        sso.url(),
    );
    TestGate::start(Setup {
        identity: Some(identity.leak()),
        htpasswd_users: vec![CAROL],
        files: vec![("secret", CLIENT_SECRET)],
        ..Setup::default()
    })
    .await
}

/// Returns the part of the line about one provider that follows its name and its type.
fn said_of(said: &super::Said, provider: &str) -> String {
    let all = said.about("providers");
    let of = all.split(" | ").find_map(|line| line.strip_prefix(&format!("{provider} (")));
    let of = of.unwrap_or_else(|| panic!("{provider} is not named: {said:?}"));
    of.split_once("): ").unwrap().1.to_owned()
}

#[tokio::test]
async fn explain_names_each_provider_of_a_401_and_what_it_said() {
    let (sso, issuer) =
        (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
    let gate = gate(&sso, &issuer).await;

    let unknown = explain(&gate, "GET", TAGS, Some(UNKNOWN)).await;
    assert_eq!(unknown.answer(), (Some(401), "wrong_credential".into()));
    for (provider, part) in [
        ("local", "its file does not have this user"),
        ("jobs", "the secret is not a JWT of its issuer"),
        ("sso", "not asked, because its `accepts` lists neither this user name nor a prefix"),
        ("gitlab", "it does not know the credential"),
    ] {
        assert!(said_of(&unknown, provider).starts_with(part), "{unknown:?}");
    }

    let wrong = explain(&gate, "GET", TAGS, Some((CAROL.0, "wrong"))).await;
    assert!(said_of(&wrong, "local").contains("the password is wrong"), "{wrong:?}");
    for provider in ["jobs", "sso"] {
        let said = said_of(&wrong, provider);
        assert!(said.starts_with("not asked, because"), "{wrong:?}");
    }
    assert_eq!(said_of(&wrong, "jobs"), "not asked, because local decided");

    // A Bearer token is compared with prefixes only, and a password file takes none.
    let bearer = run(&gate, &["--method", "GET", "--path", TAGS], "sso-no-such").await;
    assert!(said_of(&bearer, "local").contains("no Bearer token"), "{bearer:?}");
    assert!(said_of(&bearer, "sso").starts_with("it does not know the token"), "{bearer:?}");
    assert!(said_of(&bearer, "gitlab").contains("no prefix of this token"), "{bearer:?}");
}

#[tokio::test]
async fn explain_says_that_only_the_issuer_of_a_jwt_is_asked() {
    let (sso, issuer) =
        (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
    let gate = gate(&sso, &issuer).await;
    let expired = issuer.id_token("a", &json!({ "exp": 1 })).unwrap();
    let refused = explain(&gate, "GET", TAGS, Some(("oidc", &expired))).await;
    assert_eq!(refused.answer(), (Some(401), "wrong_credential".into()), "{refused:?}");
    assert!(said_of(&refused, "jobs").contains("is not valid"), "{refused:?}");
    for provider in ["local", "sso", "gitlab"] {
        assert_eq!(
            said_of(&refused, provider),
            "not asked, because the JWT is of the issuer of jobs, which alone is asked"
        );
    }
    assert!(refused.err.contains("a token of the issuer was refused"), "{refused:?}");
}

/// A caller that one provider accepts may have been meant for another one.
#[tokio::test]
async fn explain_shows_who_was_asked_before_the_provider_that_accepts() {
    let (sso, issuer) =
        (Introspection::start(listener()).unwrap(), OidcIssuer::start(listener()).unwrap());
    let gate = gate(&sso, &issuer).await;
    let accepted = explain(&gate, "GET", TAGS, Some(READ_WRITE)).await;
    assert_eq!(accepted.about("provider"), "gitlab");
    assert_eq!(said_of(&accepted, "gitlab"), "it accepts the credential");
    assert!(said_of(&accepted, "sso").contains("`accepts`"), "{accepted:?}");
    let local = explain(&gate, "GET", TAGS, Some(CAROL)).await;
    assert_eq!(
        said_of(&local, "gitlab"),
        "not asked, because its `accepts` lists neither this \
         user name nor a prefix of this secret"
    );
    assert_eq!(said_of(&local, "jobs"), "not asked, because local decided");
}

#[tokio::test]
async fn explain_names_the_provider_without_a_verdict_and_those_behind_it() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 5s }\n\
                    - { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let (identity, htpasswd_users) = (Some(identity), vec![CAROL]);
    let gate = TestGate::start(Setup { identity, htpasswd_users, ..Setup::default() }).await;
    gate.gitlab.always(Some(Scripted::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers: vec![],
        body: "".into(),
    }));
    let down = explain(&gate, "GET", TAGS, Some(UNKNOWN)).await;
    assert_eq!(down.about("provider"), "gitlab, which gave no usable answer");
    assert!(said_of(&down, "gitlab").starts_with("it gave no usable answer"), "{down:?}");
    assert_eq!(said_of(&down, "local"), "not asked, because gitlab decided");
}

#[tokio::test]
async fn explain_says_who_is_asked_about_a_caller_without_a_credential() {
    let identity = "- { name: closed, type: gitlab, url: \"{gitlab}\", accepts: { users: [ci] } }\n\
                    - { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }\n\
                    - { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let (identity, htpasswd_users) = (Some(identity), vec![CAROL]);
    let gate = TestGate::start(Setup { identity, htpasswd_users, ..Setup::default() }).await;
    gate.gitlab.set_public("public");
    let private = explain(&gate, "GET", TAGS, None).await;
    assert_eq!(private.answer(), (Some(401), "no_credential".into()));
    for (provider, part) in [
        ("gitlab", "it grants callers without a credential nothing here"),
        ("closed", "not asked about callers without a credential"),
        ("local", "not asked, because it only verifies credentials"),
    ] {
        assert!(said_of(&private, provider).starts_with(part), "{private:?}");
    }
    let public = explain(&gate, "GET", "/v2/public/a/tags/list", None).await;
    assert_eq!((public.code, public.about("provider")), (Some(0), "gitlab".into()), "{public:?}");
}
