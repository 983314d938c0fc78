//! The stand-in for a server of RFC 7662.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::introspection::{
    CLIENT_ID, CLIENT_SECRET, Introspection, SampleToken, sample_tokens,
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Api, Reply, listener};

const PATH: &str = "/oauth2/introspect";
const FORM: &str = "application/x-www-form-urlencoded";

fn start() -> (Introspection, Api) {
    let introspection = Introspection::start(listener()).unwrap();
    let api = Api::new(introspection.address());
    (introspection, api)
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn ask(api: &Api, token: &str) -> Reply {
    let headers = [("authorization", &*basic(CLIENT_ID, CLIENT_SECRET)), ("content-type", FORM)];
    api.send("POST", PATH, &headers, format!("token={token}&token_type_hint=access_token")).await
}

#[tokio::test]
async fn an_active_token_is_answered_with_its_claims() {
    let (introspection, api) = start();
    let reply = ask(&api, "sso-demo-read-write").await.json();
    assert_eq!(
        [
            &reply["active"],
            &reply["scope"],
            &reply["username"],
            &reply["sub"],
            &reply["groups"],
            &reply["aud"]
        ],
        [
            &json!(true),
            &json!("read_registry write_registry"),
            &json!("dana"),
            &json!("user-1"),
            &json!(["developers"]),
            &json!("moorgate")
        ]
    );
    assert_eq!(reply["exp"].as_u64().unwrap(), reply["iat"].as_u64().unwrap() + 3600);
    assert_eq!((&reply["token_type"], &reply["client_id"]), (&json!("Bearer"), &json!("demo-cli")));
    assert_eq!(introspection.url(), format!("{}{PATH}", reply["iss"].as_str().unwrap()));
    assert_eq!(ask(&api, "sso-demo-read-only").await.json()["scope"], "read_registry");
    let nothing = ask(&api, "sso-demo-no-scope").await.json();
    assert_eq!((&nothing["active"], nothing.get("scope")), (&json!(true), None));
}

#[tokio::test]
async fn an_inactive_token_is_answered_with_active_false_alone() {
    let (introspection, api) = start();
    for token in ["sso-demo-expired", "sso-demo-revoked", "unknown", ""] {
        assert_eq!(ask(&api, token).await.json(), json!({ "active": false }), "{token}");
    }
    assert!(introspection.revoke("sso-demo-read-write"));
    assert!(!introspection.revoke("unknown"));
    assert_eq!(ask(&api, "sso-demo-read-write").await.json(), json!({ "active": false }));
    let claims = json!({ "groups": null, "aud": ["a", "b"] });
    introspection.add(SampleToken {
        token: "new one+".into(),
        claims,
        ..sample_tokens().remove(0)
    });
    let reply = ask(&api, "new%20one%2B").await.json();
    assert_eq!((reply.get("groups"), &reply["aud"]), (None, &json!(["a", "b"])));
}

#[tokio::test]
async fn unknown_clients_and_requests_without_a_form_are_refused() {
    let (_introspection, api) = start();
    for authorization in
        ["", "Bearer x", &basic(CLIENT_ID, "wrong"), &basic("other", CLIENT_SECRET)]
    {
        let headers = [("authorization", authorization), ("content-type", FORM)];
        let reply = api.send("POST", PATH, &headers, "token=sso-demo-read-write").await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()),
            (401, json!({ "error": "invalid_client" }))
        );
        assert!(reply.header("www-authenticate").starts_with("Basic "));
    }
    // The form-encoded spelling names the same client.
    let encoded = basic("%6doorgate", "introspection%2Ddemo%2Dsecret");
    for (content_type, body, status) in [
        (FORM, "token=sso-demo-read-write", 200),
        ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "token=x", 200),
        ("application/json", "token=x", 400),
        (FORM, "tokens=x", 400),
    ] {
        let headers = [("authorization", &*encoded), ("content-type", content_type)];
        assert_eq!(
            api.send("POST", PATH, &headers, body).await.status,
            status,
            "{content_type} {body}"
        );
    }
    assert_eq!(api.get(PATH).await.status, 405);
    assert_eq!(api.get("/other").await.status, 404);
}

#[tokio::test]
async fn questions_are_kept_and_answers_can_be_scripted() {
    let (introspection, api) = start();
    let ledger = introspection.ledger();
    ledger.keep();
    let teapot = StatusCode::IM_A_TEAPOT;
    introspection.script([Scripted::Answer {
        status: teapot,
        headers: Vec::new(),
        body: String::new(),
    }]);
    assert_eq!(ask(&api, "a%2Fb").await.status, teapot);
    api.send("POST", PATH, &[("x-request-id", "r-2")], "").await;

    let [first, second] = &*ledger.entries() else { panic!("not two entries") };
    assert_eq!(first.token.as_ref().unwrap().expose_secret(), "a/b");
    assert_eq!(first.token_type_hint.as_deref(), Some("access_token"));
    assert_eq!(first.client_id.as_deref(), Some(CLIENT_ID));
    assert_eq!(first.client_secret.as_ref().unwrap().expose_secret(), CLIENT_SECRET);
    assert_eq!((first.content_type.as_deref(), first.request_id.as_deref()), (Some(FORM), None));
    assert!(second.token.is_none() && second.client_id.is_none() && second.client_secret.is_none());
    assert_eq!(second.request_id.as_deref(), Some("r-2"));
}
