//! The oracle for a workload token up to its signature. The input is read as the text itself, and
//! also as a header and claims with a newline between them, because the base64 of a token is hard
//! for a fuzzer to reach.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use moorgate::identity::provider::jwt::{Compact, RequiredClaim, Tenants, TokenRules};
use serde_json::{Value, json};

use super::json::{Members, scopes};

const NOW: u64 = 1_800_000_000;

/// Checks that an accepted token has a header with an algorithm of the config and without
/// extensions, and claims with this issuer, this audience, this tenant and an owner, at a time
/// within its validity.
pub fn check(input: &[u8]) {
    if let Some(token) = std::str::from_utf8(input).ok().and_then(Compact::read) {
        let _ = of(token);
    }
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (header, claims) = (&input[..end], &input[end + 1..]);
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let token = format!("{}.{}.{}", encode(header), encode(claims), "c2ln");
    let Some(compact) = Compact::read(&token) else { return };
    assert_eq!(
        (compact.signature, compact.signed),
        ("c2ln", token.strip_suffix(".c2ln").expect("its end"))
    );

    let (accepted_header, workload) = of(compact);
    if let Some((algorithm, key_id)) = accepted_header {
        let header = Members::read(header).expect("an object, for it was accepted");
        assert_eq!(*header.value("alg"), format!("{algorithm:?}"));
        assert!([Algorithm::RS256, Algorithm::ES256].contains(&algorithm));
        assert_eq!(header.value("kid").as_str(), key_id.as_deref());
        assert!(header.0.iter().all(|(name, _)| name != "crit"));
        assert!(header.0.iter().all(|(name, value)| name != "b64" || *value == Value::Bool(true)));
    }
    if let Some(workload) = workload {
        let claims = Members::read(claims).expect("an object, for it was accepted");
        assert_eq!(*claims.value("iss"), "https://gitlab.example.com");
        let audience = claims.value("aud");
        assert!(*audience == "registry" || *audience == json!(["registry"]), "for {audience}");
        assert_eq!(as_text(claims.value("namespace_id")), "42");
        assert_eq!(as_text(claims.value("sub")), workload.subject);
        assert!(!workload.subject.is_empty());
        let seconds = |name: &str| claims.value(name).as_f64();
        assert!(seconds("exp").is_some_and(|end| end + 60.0 > NOW as f64), "it has ended");
        assert!(seconds("nbf").is_none_or(|begin| begin < (NOW + 61) as f64), "it has not begun");
        let session = seconds("iat").map(|issued| (issued as u64).saturating_add(3600));
        assert!(workload.session_ends.is_none_or(|end| {
            end == workload.expires || session.is_some_and(|session| session == end)
        }));
        assert_eq!(workload.scopes.unwrap_or_default(), scopes(claims.value("scope")));
    }
}

/// Returns a text, or the JSON of a number or a boolean.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => panic!("accepted: {other}"),
    }
}

/// Returns the algorithm and key id of the header, and the claims, each only if it is accepted.
#[allow(clippy::type_complexity)] // A struct for two values that live for a line.
fn of(
    token: Compact<'_>,
) -> (Option<(Algorithm, Option<String>)>, Option<moorgate::identity::provider::jwt::Workload>) {
    let header = token.algorithm_and_key_id(&[Algorithm::RS256, Algorithm::ES256]).ok();
    let header = header.map(|(algorithm, key_id)| (algorithm, key_id.map(str::to_owned)));
    (header, rules().check(&token.claims, NOW, false).ok())
}

fn rules() -> TokenRules {
    TokenRules {
        issuer: "https://gitlab.example.com".to_owned(),
        audience: "registry".to_owned(),
        tenants: Tenants::Required(vec![RequiredClaim {
            path: "namespace_id".parse().expect("a path"),
            allowed: vec!["42".parse().expect("a pattern")],
        }]),
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        subject_claim: "sub".parse().expect("a path"),
        groups_claim: Some("groups".parse().expect("a path")),
        scopes: None,
        session: Duration::from_secs(3600),
    }
}
