//! Keys of gate tokens, and tokens of providers that go to the registry.

use std::path::Path;

use moorgate::config::{self, UpstreamAuthorization};
use moorgate::identity::credential::Credential;
use moorgate::token_service::gate_token::{GateToken, GoodFor};

use super::files::{self, KEY_IN_USE};
use super::{MINIMAL, ready};

#[test]
fn the_key_file_holds_the_keys() {
    let of = |tokens: &str| ready(&format!("{MINIMAL}tokens: {{ {tokens} }}\n")).tokens.keys;
    let [ours, again] = [of("key_file: tokens.keys"), of("key_file: tokens.keys")].map(|keys| keys.expect("keys"));
    let good_for = GoodFor::default();
    let token = GateToken { issued: 100, expires: 200, good_for, credential: Credential::Anonymous };
    let sealed = ours.seal(&token).expect("a token");
    assert!(again.open(&sealed, 150).is_ok(), "another replica with the same file");
    assert!(of("key_file: null").is_none());
}

/// The messages quote nothing: whatever stands in such a file may be a key.
#[test]
fn what_is_wrong_with_a_key_file_is_told_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!("{MINIMAL}tokens: {{ key_file: tokens.keys }}\n");
    let (short, long) = (&KEY_IN_USE[4..], format!("{}{KEY_IN_USE}", KEY_IN_USE.replace('=', "A")));
    for (content, expected) in [
        ("", "1:1: the file has no key; write one by: openssl rand -base64 32"),
        ("# none yet\n\n", "1:1: the file has no key; write one by: openssl rand -base64 32"),
        ("hunter2!\n", "1:1: this is no base64; write 32 random bytes: openssl rand -base64 32"),
        (&KEY_IN_USE.replace('=', ""), "1:1: this is no base64; write 32 random bytes: openssl rand -base64 32"),
        (
            &format!("{KEY_IN_USE}\n{short}\n"),
            "2:1: 29 bytes, where a key has 32; write one by: openssl rand -base64 32",
        ),
        (&long, "1:1: 65 bytes, where a key has 32; write one by: openssl rand -base64 32"),
        (&format!("{KEY_IN_USE}\n\n{KEY_IN_USE}\n"), "3:1: the same key as in line 1; remove one of the two"),
    ] {
        files::write_private(folder.path(), "tokens.keys", content);
        let problems = config::load_text(&text, Path::new("moorgate.yml"), folder.path(), []).expect_err(content);
        assert_eq!(problems.to_string(), format!("{}/tokens.keys:{expected}", folder.path().display()));
    }
}

#[test]
fn grants_are_sent_where_somebody_issues_them() {
    let grant = MINIMAL.replace("upstream: {", "upstream: { authorization: grant,");
    let harbor = "type: registry_token, realm: \"https://harbor.example.com/token\", service: harbor }]";
    let harbor = format!("{}{harbor}", grant.split("type: gitlab").next().expect("a provider"));
    for text in [grant, harbor] {
        assert!(matches!(ready(&text).upstream.authorization, UpstreamAuthorization::Grant), "{text}");
    }
}
