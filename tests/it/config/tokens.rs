//! Keys of gate tokens, and providers' tokens that are sent to the registry.

use std::path::Path;

use moorgate::config::{self, UpstreamAuthorization};
use moorgate::identity::model::credential::Credential;
use moorgate::token_service::gate_token::{GateToken, TokenScope};

use super::files::{self, KEY_IN_USE};
use super::{MINIMAL, ready, warnings};

#[test]
fn gate_token_keys_are_read_from_the_key_file() {
    let of = |tokens: &str| ready(&format!("{MINIMAL}tokens: {{ {tokens} }}\n")).tokens.keys;
    let [ours, again] =
        [of("key_file: tokens.keys"), of("key_file: tokens.keys")].map(|keys| keys.expect("keys"));
    let token_scope = TokenScope::default();
    let mut token = GateToken {
        issued: 100,
        expires: 200,
        token_scope,
        credential: Credential::Anonymous,
        provider: None,
        in_session: false,
    };
    let sealed = ours.seal(&mut token, "registry.test").expect("a token");
    assert!(
        again.open(&sealed, "registry.test", 150).is_ok(),
        "another replica with the same file"
    );
    assert!(of("key_file: null").is_none());
}

/// The messages about a key file give the position and quote no text, because any text in the file
/// may be a key.
#[test]
fn problems_of_a_key_file_name_the_position_and_quote_no_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!("{MINIMAL}tokens: {{ key_file: tokens.keys }}\n");
    let (short, long) = (&KEY_IN_USE[4..], format!("{}{KEY_IN_USE}", KEY_IN_USE.replace('=', "A")));
    for (content, expected) in [
        ("", "1:1: the file has no key; create one with: openssl rand -base64 32"),
        ("# none yet\n\n", "1:1: the file has no key; create one with: openssl rand -base64 32"),
        ("hunter2!\n", "1:1: this line is not base64; create a key with: openssl rand -base64 32"),
        (
            &KEY_IN_USE.replace('=', ""),
            "1:1: this line is not base64; create a key with: openssl rand -base64 32",
        ),
        (
            &format!("{KEY_IN_USE}\n{short}\n"),
            "2:1: this line has 29 bytes, but a key has 32; create one with: \
             openssl rand -base64 32",
        ),
        (
            &long,
            "1:1: this line has 65 bytes, but a key has 32; create one with: \
             openssl rand -base64 32",
        ),
        (
            &format!("{KEY_IN_USE}\n\n{KEY_IN_USE}\n"),
            "3:1: the same key as in line 1; remove one of the two",
        ),
    ] {
        files::write_private(folder.path(), "tokens.keys", content);
        let problems = config::load_text(&text, Path::new("moorgate.yml"), folder.path(), [])
            .expect_err(content);
        assert_eq!(
            problems.to_string(),
            format!("{}/tokens.keys:{expected}", folder.path().display())
        );
    }
}

#[test]
fn authorization_grant_is_accepted_with_a_provider_that_issues_grants() {
    let grant = MINIMAL.replace("upstream: {", "upstream: { authorization: grant,");
    let harbor =
        "type: registry_token, realm: \"https://harbor.example.com/token\", service: harbor }]";
    let harbor = format!("{}{harbor}", grant.split("type: gitlab").next().expect("a provider"));
    for text in [grant, harbor] {
        assert!(
            matches!(ready(&text).upstream.authorization, UpstreamAuthorization::Grant),
            "{text}"
        );
    }
}

#[test]
fn a_provider_that_issues_no_grants_has_a_warning_under_grant() {
    let local = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let gitlab = "- { name: gitlab, type: gitlab, url: \"https://gitlab.example.com\" }";
    let start = MINIMAL.split("identity:").next().expect("a beginning");
    let of = |authorization: &str| {
        let start =
            start.replace("upstream: {", &format!("upstream: {{ authorization: {authorization},"));
        warnings(&format!("{start}identity:\n  {local}\n  {gitlab}\n"))
    };
    assert_eq!(of("strip").len(), 1, "no TLS");
    let [_, warning] = &*of("grant") else { panic!("not one more") };
    assert!(
        warning.contains("`identity[0].name`: `local` issues no token that grant could send"),
        "{warning}"
    );
}

#[test]
fn anonymous_access_without_the_bearer_challenge_has_a_warning() {
    let of = |challenge: &str| {
        let anonymous = MINIMAL.replace("type: gitlab,", "type: gitlab, anonymous: true,");
        warnings(&format!("{anonymous}tokens: {{ challenge: {challenge} }}\n"))
    };
    assert_eq!(of("bearer").len(), 1, "no TLS");
    let [_, warning] = &*of("basic") else { panic!("not one more") };
    assert!(
        warning.contains("`identity[0].anonymous`: docker and podman pull without a login only"),
        "{warning}"
    );
}
