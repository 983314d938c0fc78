//! The oracle for requests to the token service, as a query and as a form.

use moorgate::identity::model::credential::Credential;
use moorgate::token_service::request::{Grant, TokenRequest};
use secrecy::ExposeSecret;

/// Checks that the request asks for no more than the fields state, with names that follow the
/// grammar, and that the credential of a form is the one that a second reader finds there.
pub fn check(input: &[u8]) {
    let fields = fields(input);
    let query = std::str::from_utf8(input).ok().map(TokenRequest::from_query);
    if let Some(Ok(request)) = query {
        assert!(request.grant.is_none(), "a secret was taken from a query");
        check_scopes(&request, &fields);
    }
    let Ok(request) = TokenRequest::from_form(input) else { return };
    check_scopes(&request, &fields);
    let one = |name: &str| {
        let values: Vec<&String> =
            fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        assert!(values.len() < 2, "{name} stands twice");
        values.first().map(|value| value.as_str())
    };
    assert_eq!(one("service"), request.service.as_deref());
    assert_eq!(one("access_type") == Some("offline"), request.offline);
    let sent = (one("username").unwrap_or_default(), one("password").unwrap_or_default());
    let grant = request.grant.expect("the grant of a form");
    let kind = if matches!(grant, Grant::Password(_)) { "password" } else { "refresh_token" };
    assert_eq!(one("grant_type"), Some(kind));
    match grant {
        Grant::Password(Credential::Anonymous) => assert_eq!(sent, ("", "")),
        Grant::Password(Credential::Basic { user, password }) => {
            assert_eq!(sent, (&*user, password.expose_secret()))
        }
        Grant::Password(other) => panic!("a form with {other:?}"),
        Grant::RefreshToken(token) => {
            assert_eq!(one("refresh_token"), Some(token.expose_secret()));
            assert!(!token.expose_secret().is_empty());
        }
    }
}

fn check_scopes(request: &TokenRequest, fields: &[(String, String)]) {
    let scopes =
        || fields.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    assert!(request.repositories.len() <= 256);
    for (name, actions) in &request.repositories {
        assert!(super::grammar::is_name(name.as_str()), "{name}");
        let asked = |action: &str| {
            scopes().any(|scope| {
                let of_name = ["repository", "repository(plugin)"]
                    .iter()
                    .find_map(|kind| scope.strip_prefix(&format!("{kind}:{name}:")));
                of_name
                    .is_some_and(|actions| actions.split(',').any(|it| it == action || it == "*"))
            })
        };
        for (is_asked, action) in
            [(actions.pull, "pull"), (actions.push, "push"), (actions.delete, "delete")]
        {
            assert!(!is_asked || asked(action), "nobody asked for {action} of {name}");
        }
    }
    assert!(!request.catalog || scopes().any(|scope| scope == "registry:catalog:*"));
}

/// Decodes a form by hand (WHATWG URL standard, "application/x-www-form-urlencoded parsing").
fn fields(encoded: &[u8]) -> Vec<(String, String)> {
    let fields = encoded.split(|byte| *byte == b'&').filter(|field| !field.is_empty());
    let field = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        (decoded(&field[..end]), decoded(field.get(end + 1..).unwrap_or_default()))
    };
    fields.map(field).collect()
}

fn decoded(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escape = if *byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        bytes.push(match (escape, byte) {
            (Some((high, low)), _) => (high * 16 + low) as u8,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
