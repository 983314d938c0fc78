//! Class 12: tokens that look like those of the issuer.

use moorgate::demo::issuer::OidcIssuer;
use serde_json::{Value, json};

use super::{Arsenal, pick};
use crate::message::{Attack, Credential, Message};
use crate::world::{AUDIENCE, World};

/// Returns tokens with one defect each. The issuer itself signed some of them.
pub(super) fn forge(world: &World) -> anyhow::Result<Vec<String>> {
    let issuer = world.issuer();
    let elsewhere = OidcIssuer::start(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    elsewhere.rotate_to_es256()?;
    let good = json!({
        "iss": issuer.url(), "aud": AUDIENCE, "sub": "x", "namespace_id": "42",
        "exp": 4_000_000_000_u64,
    });
    let header = |changes: Value| {
        changed(json!({ "alg": "RS256", "typ": "JWT", "kid": issuer.kid() }), &changes)
    };
    let mut tokens = Vec::new();
    for changes in [
        json!({ "alg": "ES256" }),
        json!({ "alg": "ES256", "kid": elsewhere.kid(), "jku": elsewhere.jwks_url() }),
    ] {
        tokens.push(elsewhere.sign_raw(&header(changes), &good.to_string())?);
    }
    for changes in [
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "ES256" }),
        json!({ "crit": ["exp"] }),
        json!({ "b64": false }),
        json!({ "kid": "../../etc/passwd" }),
        json!({ "alg": null }),
    ] {
        tokens.push(issuer.sign_raw(&header(changes), &good.to_string())?);
    }
    for changes in [
        json!({ "exp": "4000000000" }),
        json!({ "exp": 1 }),
        json!({ "exp": null }),
        json!({ "nbf": 4_000_000_000_u64 }),
        json!({ "aud": [AUDIENCE, "other"] }),
        json!({ "aud": "other" }),
        json!({ "aud": null }),
        json!({ "iss": format!("{}x", issuer.url()) }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "namespace_id": 42 }),
        json!({ "namespace_id": "43" }),
        json!({ "namespace_id": ["42"] }),
    ] {
        tokens.push(issuer.sign_raw(&header(json!({})), &changed(good.clone(), &changes))?);
    }
    let right = issuer.sign_raw(&header(json!({})), &good.to_string())?;
    let unsigned =
        right.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).unwrap_or_default();
    tokens.extend([unsigned, format!("{right}A")]);
    Ok(tokens)
}

/// Replaces these members and serializes the value. `null` removes a member.
fn changed(mut value: Value, changes: &Value) -> String {
    if let (Some(members), Some(changes)) = (value.as_object_mut(), changes.as_object()) {
        for (name, change) in changes {
            if change.is_null() {
                members.remove(name)
            } else {
                members.insert(name.clone(), change.clone())
            };
        }
    }
    value.to_string()
}

pub(super) fn forged(arsenal: &Arsenal, turn: u64, _: &str) -> Attack {
    let token = pick(&arsenal.forged, turn / 2).map_or("", String::as_str);
    let credential =
        if turn & 1 == 0 { Credential::bearer(token) } else { Credential::basic("oidc", token) };
    let target = pick(&["/v2/workload/app/manifests/small", "/v2/", "/token"], turn / 4)
        .copied()
        .unwrap_or_default();
    Attack::Request(Message::new("GET", target).by(&credential), None)
}
