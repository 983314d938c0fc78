//! The providers: which one is believed, what each is asked about which caller, and what is cached.
//! The ledgers of GitLab and of the registry are the oracle.

mod anonymous;
mod asking;
mod cache;
mod chain;
mod failure_budget;
mod failures;
mod faults;
mod grants;
mod htpasswd;
mod introspection;
mod jwt;
mod outages;
mod question_rate;
mod refusals;
mod registry_token;
mod rights;
mod several;
mod staleness;
mod tag_rules;
mod verdict_cache;
mod who;

use http::{StatusCode, header};
use moorgate::demo::Scripted;

/// Returns a JSON answer.
pub fn answer(status: u16, body: impl Into<String>) -> Scripted {
    let headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
    Scripted::Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
}

/// Returns a JWT with these claims and an invalid signature.
fn unsigned(claims: &str) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode("{\"alg\":\"RS256\",\"typ\":\"JWT\"}"), encode(claims))
}
