//! The secrets of the gate itself: which server receives them, and the report about a refused one.

use moorgate::demo::introspection::{CLIENT_ID, CLIENT_SECRET, Introspection};
use moorgate::demo::issuer::OidcIssuer;
use moorgate::demo::registry::Registry;
use secrecy::ExposeSecret;

use super::{Canned, LOCAL, check, gitlab, urls};
use crate::harness::listener;

/// The demo's providers are as strict as real ones about which client may ask them.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_is_reported_and_made_up_tokens_differ() {
    let (registry, introspection) =
        (Registry::start(listener()).unwrap(), Introspection::start(listener()).unwrap());
    let issuer = OidcIssuer::start(listener()).unwrap();
    introspection.ledger().keep();
    let jobs = format!(
        "name: jobs, type: jwt, issuer: \"{}\", audience: a, any_tenant: true, jwks_url: \"{}\", \
         timeout: 1m",
        issuer.url(),
        issuer.jwks_url()
    );
    for (secret, code) in [(CLIENT_SECRET, 0), ("wrong", 78)] {
        let sso = format!(
            "name: sso, type: introspection, url: \"{}\", client_id: {CLIENT_ID}, \
             client_secret_file: {secret}, timeout: 1m",
            introspection.url()
        );
        let said = check(&urls(registry.address()), &[jobs.clone(), sso]).await;
        assert_eq!(said.code, Some(code), "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("identity[0] jobs: 1 usable key in "), "{}", said.stdout);
        let known = said.stdout.contains(
            "identity[1] sso: answers (it knows the client and rejects a made-up token) in ",
        );
        assert_eq!(known, code == 0, "{}{}", said.stdout, said.stderr);
    }
    // The made-up token must differ each time, because an issuer could issue a constant one some
    // day.
    let asked = introspection.ledger().entries();
    let made_up: Vec<_> = asked
        .iter()
        .map(|question| question.token.as_ref().unwrap().expose_secret().to_owned())
        .collect();
    assert!(made_up.len() == 2 && made_up[0] != made_up[1], "{made_up:?}");
}

/// The gate's own password is sent to the registry, and to no other server.
#[tokio::test(flavor = "multi_thread")]
async fn the_check_sends_the_upstream_password_and_reports_a_refusal() {
    let basic = |address| {
        format!(
            "{}, authorization: basic, username: gate, password_file: upstream.password",
            urls(address)
        )
    };
    let right = Canned::start("200 OK", "", "{}");
    let said = check(&basic(right.address), &[LOCAL.to_owned()]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(right.seen()[0].contains(&crate::harness::basic(("gate", "canary-password"))));

    let challenge = "WWW-Authenticate: Basic realm=\"registry\"\r\n";
    let wrong = Canned::start("401 Unauthorized", challenge, "<html>401</html>");
    let said = check(&basic(wrong.address), &[LOCAL.to_owned()]).await;
    assert_eq!(said.code, Some(78));
    assert!(said.problem("401").contains(": `upstream.password_file`: "), "{}", said.stderr);
    assert!(!said.stderr.contains("canary"), "{}", said.stderr);

    let said = check(&urls(wrong.address), &[LOCAL.to_owned()]).await;
    assert!(
        said.problem("it asks for a credential")
            .starts_with("moorgate.yml:3:1: `upstream.authorization`: ")
    );

    // With `authorization: grant`, requests will carry tokens of a provider, so the 401 is
    // expected.
    let challenge = "WWW-Authenticate: Bearer realm=\"https://gitlab/jwt/auth\"\r\n";
    let wrong = Canned::start("401 Unauthorized", challenge, "");
    let grant = format!("{}, authorization: grant", urls(wrong.address));
    let said = check(&grant, &[LOCAL.to_owned(), gitlab(wrong.address)]).await;
    assert!(
        said.stdout.contains(
            ": answers (401 without a token, as it should), uploads not checked: authorization: \
             grant needs the token of a user,"
        ),
        "{}{}",
        said.stdout,
        said.stderr
    );
}
