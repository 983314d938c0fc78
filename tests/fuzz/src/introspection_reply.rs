//! The oracle for answers of an introspection endpoint (RFC 7662, 2.2). The first byte of an input
//! selects the settings of the config, and the rest is the body.

use moorgate::identity::provider::introspection::Expected;
use moorgate::identity::provider::introspection::reply::{TokenState, read};
use serde_json::Value;

use super::json::{Members, in_list, scopes, texts};

const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "registry";
const USER: &str = "alice";

/// Checks that a token is accepted only if `active` is the boolean `true` in an unambiguous reply,
/// and if the token is valid now, is meant for this service and has an owner. Its scopes and groups
/// must be listed in the reply.
pub fn check(input: &[u8]) {
    let Some((settings, body)) = input.split_first() else { return };
    let is_set = |bit: u8| settings & bit != 0;
    let expected = Expected {
        audience: is_set(1).then(|| AUDIENCE.to_owned()),
        match_username: is_set(2),
        groups_claim: is_set(4).then(|| "groups".parse().expect("a path")),
    };
    let user = is_set(8).then_some(USER);
    let state = match read(body, &expected, user, NOW) {
        Ok(state) => state,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    let reply = Members::read(body).expect("an object, for it was accepted");
    let active = reply.value("active");
    let TokenState::Active(token) = state else {
        return assert!(active.is_boolean(), "an answer from {active}");
    };

    assert_eq!(*active, Value::Bool(true));
    // A blank or very long text is no name.
    let is_name = |name: &&str| !name.trim().is_empty() && name.len() <= 1024;
    let named = |name| reply.value(name).as_str().filter(is_name);
    let client = named("client_id").map(|client| format!("client:{client}"));
    let owner = named("sub").or(named("username")).or(client.as_deref());
    assert_eq!(owner, Some(&*token.subject));
    // Only a client may have a subject with the prefix of clients.
    assert!(!token.subject.starts_with("client:") || client.as_deref() == Some(&*token.subject));
    assert!((1..=1024 + "client:".len()).contains(&token.subject.len()));
    // `exp: 0` means that the token does not expire.
    let seconds =
        |name: &str| reply.value(name).as_f64().filter(|end| name != "exp" || *end != 0.0);
    assert!(seconds("exp").is_none_or(|end| end > NOW as f64), "it has ended");
    assert_eq!(token.expires.is_some(), seconds("exp").is_some());
    assert!(seconds("nbf").is_none_or(|begin| begin < (NOW + 61) as f64), "it has not begun");
    if is_set(1) {
        assert!(texts(reply.value("aud")).contains(&AUDIENCE), "it is for others");
    }
    if is_set(2) && user.is_some() {
        assert_eq!(*reply.value("username"), USER);
    }
    assert!(
        matches!(reply.value("token_use"), Value::Null)
            || ["access", "access_token"].iter().any(|it| reply.value("token_use") == it)
    );
    assert_eq!(token.scopes, scopes(reply.value("scope")));
    let groups = reply.value("groups");
    let groups = if groups.is_array() { in_list(groups) } else { Vec::new() };
    assert_eq!(token.groups, if is_set(4) { groups } else { Vec::new() });
}
