//! The stand-in for an OIDC issuer.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode_header};
use moorgate::demo::Scripted;
use moorgate::demo::issuer::OidcIssuer;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Api, listener};

const AUDIENCE: &str = "registry.example.com";
const JWKS: &str = "/oauth/discovery/keys";

fn start() -> (OidcIssuer, Api) {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let api = Api::new(issuer.address());
    (issuer, api)
}

/// Returns the claims of a token if a key of the served set verifies it.
async fn verified(api: &Api, token: &str) -> Option<Value> {
    let keys: JwkSet = serde_json::from_slice(&api.get(JWKS).await.body).unwrap();
    let header = decode_header(token).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap())?).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_nbf = true;
    validation.required_spec_claims =
        HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
    Some(jsonwebtoken::decode(token, &key, &validation).unwrap().claims)
}

#[tokio::test]
async fn tokens_say_who_a_workload_is() {
    let (issuer, api) = start();
    let claims = verified(&api, &issuer.id_token(AUDIENCE, &json!({})).unwrap()).await.unwrap();
    assert_eq!(claims["iss"], issuer.url());
    assert_eq!(claims["sub"], "project_path:demo/app:ref_type:branch:ref:main");
    assert_eq!(
        (&claims["project_path"], &claims["namespace_id"]),
        (&json!("demo/app"), &json!("42"))
    );
    assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 3600);
    assert_eq!(claims.get("scope"), None);

    let changes = json!({ "sub": "other", "scope": "read_registry", "nbf": null });
    let claims = verified(&api, &issuer.id_token(AUDIENCE, &changes).unwrap()).await.unwrap();
    assert_eq!(
        (&claims["sub"], &claims["scope"], claims.get("nbf")),
        (&json!("other"), &json!("read_registry"), None)
    );
}

#[tokio::test]
async fn the_discovery_document_leads_to_the_keys() {
    let (issuer, api) = start();
    let document = api.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["issuer"], issuer.url());
    assert_eq!(document["jwks_uri"], issuer.jwks_url());
    let served = api.get(document["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(
        (&*served.body, served.header("content-type")),
        (issuer.jwks().as_bytes(), "application/json; charset=utf-8")
    );
    assert_eq!(api.get("/other").await.status, 404);
    assert_eq!(api.send("POST", JWKS, &[], "").await.status, 405);
}

#[tokio::test]
async fn keys_rotate_and_retire() {
    let (issuer, api) = start();
    let first = issuer.id_token(AUDIENCE, &json!({})).unwrap();
    issuer.rotate().unwrap();
    let second = issuer.id_token(AUDIENCE, &json!({})).unwrap();
    issuer.rotate_to_es256().unwrap();
    let third = issuer.id_token(AUDIENCE, &json!({})).unwrap();
    let headers = [&first, &second, &third].map(|token| decode_header(token).unwrap());
    assert_eq!(
        headers.each_ref().map(|header| format!("{:?}", header.alg)),
        ["RS256", "RS256", "ES256"]
    );
    assert_eq!(headers.iter().map(|header| &header.kid).collect::<HashSet<_>>().len(), 3);
    for token in [&first, &second, &third] {
        assert!(verified(&api, token).await.is_some());
    }
    issuer.retire_old_keys();
    assert!(verified(&api, &first).await.is_none() && verified(&api, &second).await.is_none());
    assert!(verified(&api, &third).await.is_some());
}

#[tokio::test]
async fn any_text_can_be_signed() {
    let (issuer, api) = start();
    let header = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, issuer.kid());
    let good = format!(r#"{{"iss":"x","aud":"{AUDIENCE}","sub":"a","exp":99999999999 }}"#);
    assert_eq!(
        verified(&api, &issuer.sign_raw(&header, &good).unwrap()).await.unwrap()["sub"],
        "a"
    );
    let (header, odd) = (r#"{"alg":"none","alg":"none"}"#, r#"{"sub":"a", "sub":"b"}"#);
    let token = issuer.sign_raw(header, odd).unwrap();
    let texts: Vec<_> =
        token.split('.').take(2).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(texts, [header.as_bytes(), odd.as_bytes()]);
}

#[tokio::test]
async fn other_keys_can_be_served_and_answers_scripted() {
    let (issuer, api) = start();
    issuer.set_jwks("<html>".into());
    assert_eq!(&*api.get(JWKS).await.body, b"<html>");
    issuer.rotate().unwrap();
    assert_eq!(api.get(JWKS).await.json()["keys"].as_array().unwrap().len(), 2);
    issuer.script([Scripted::Redirect("/".into())]);
    assert_eq!(api.get("/.well-known/openid-configuration").await.status, 200);
    assert_eq!(api.get(JWKS).await.status, 302);
    assert_eq!(api.get(JWKS).await.status, 200);
}

#[tokio::test]
async fn every_request_is_kept_and_a_restarted_issuer_has_the_same_key() {
    let (issuer, api) = start();
    let ledger = issuer.ledger();
    ledger.keep();
    api.send("GET", JWKS, &[("x-request-id", "r-1")], "").await;
    api.send("GET", "/other?a=b", &[("authorization", "Bearer x")], "").await;
    let [first, second] = &*ledger.entries() else { panic!("not two entries") };
    assert_eq!(
        (&*first.path, &first.query, first.request_id.as_deref()),
        (JWKS, &None, Some("r-1"))
    );
    assert!(first.authorization.is_empty());
    assert_eq!((&*second.path, second.query.as_deref()), ("/other", Some("a=b")));
    assert_eq!(second.authorization[0].expose_secret(), "Bearer x");

    let (address, token) = (issuer.address(), issuer.id_token(AUDIENCE, &json!({})).unwrap());
    issuer.shutdown().await;
    let again = OidcIssuer::start(std::net::TcpListener::bind(address).unwrap()).unwrap();
    let api = Api::new(again.address());
    assert!(verified(&api, &token).await.is_some(), "the key is the same");
}
