//! Class 28: the token service refuses every credential that `Authorization` would not allow, and
//! the gate never sends a gate token to a provider or the registry.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use tokio::io::AsyncWriteExt;

use super::{http2, http2_request};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, TestGate, basic, read_reply, request};

async fn post(gate: &TestGate, form: &str) -> Reply {
    gate.send("POST", "/token", None, "Content-Type: application/x-www-form-urlencoded\r\n", form)
        .await
}

async fn token(gate: &TestGate, scope: &str) -> String {
    let reply = gate.get(&format!("/token?scope={scope}"), Some(READ_WRITE)).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// The token service refuses a credential in a form that Basic could not carry: it would be sealed
/// into a token, and a provider could be asked about it as another user's.
#[tokio::test]
async fn a_form_credential_that_basic_could_not_carry_is_refused() {
    let gate = TestGate::plain().await;
    for (user, password) in [
        ("alice", ""),
        ("alice", "a%00b"),
        ("alice", "a%0D%0Ab"),
        ("a%00", "b"),
        ("alice", "%C2%85x"),
        // In a Basic header the user would be alice and the rest would be the password.
        ("alice%3Aglpat-demo-personal", "read-write"),
    ] {
        let form = format!("grant_type=password&username={user}&password={password}");
        let reply = post(&gate, &form).await;
        assert_eq!(reply.status, 401, "{form}: {reply:?}");
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(answer["error"], "invalid_grant", "{form}");
    }
    assert_eq!(gate.gitlab.ledger().count(), 0, "a provider was asked");
}

/// A client that sends `Expect: 100-continue` with a form that is too large is refused without a
/// 100.
#[tokio::test]
async fn a_form_with_a_too_large_content_length_is_refused_unread() {
    let gate = TestGate::plain().await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let headers = format!(
            "{expect}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 1000000000\r\n"
        );
        let mut connection = gate.connect().await;
        connection
            .write_all(request("POST", "/token", None, &headers, "").as_bytes())
            .await
            .unwrap();
        assert_eq!(read_reply(&mut connection).await.status, 413);
    }
}

/// Some clients send a token as the user name. The gate refuses it and asks no provider.
#[tokio::test]
async fn no_provider_is_asked_about_a_gate_token_in_a_basic_credential() {
    let gate = TestGate::plain().await;
    let made = token(&gate, "repository:demo/a:pull").await;
    let asked = gate.gitlab.ledger().count();
    for (user, password) in
        [(&*made, "x"), (&*made, READ_WRITE.1), (&*made, &*made), ("alice", &*format!(" {made}"))]
    {
        for target in ["/v2/", "/v2/demo/a/tags/list", "/token"] {
            assert_eq!(gate.get(target, Some((user, password))).await.status, 401, "{target}");
        }
        let reply =
            post(&gate, &format!("grant_type=password&username={user}&password={password}")).await;
        assert_eq!(reply.status, 401);
    }
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (asked, 0));
}

/// A secret grants the same rights over HTTP/2 as over HTTP/1.1, for every way of presenting it.
#[tokio::test]
async fn over_http2() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    let send = async |method: &str, target: &str, authorization: &str| {
        let mut request = http2_request(method, target, None);
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        http2(&sender, request, None::<&str>).await.unwrap()
    };
    let form = async |user: &str, secret: &str| {
        let mut request = http2_request("POST", "/token", None);
        request
            .headers_mut()
            .insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        let scope = "repository:demo/a:pull,push";
        let body = format!("grant_type=password&username={user}&password={secret}&scope={scope}");
        http2(&sender, request, Some(body)).await.unwrap()
    };
    let made = |reply: &Reply| {
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    for ((user, secret), push) in [(READ_WRITE, [202, 202]), (READ_ONLY, [403, 401])] {
        let token = made(&form(user, secret).await);
        let by_basic =
            send("GET", "/token?scope=repository:demo/a:pull,push", &basic((user, secret))).await;
        let presented = [
            (basic((user, secret)), push[0]),
            (format!("Bearer {secret}"), push[1]),
            (format!("Bearer {token}"), push[1]),
            (format!("Bearer {}", made(&by_basic)), push[1]),
        ];
        for (authorization, push) in &presented {
            let case = &authorization[..12];
            assert_eq!(
                send("GET", "/v2/demo/a/tags/list", authorization).await.status,
                404,
                "{case}"
            );
            assert_eq!(
                send("POST", "/v2/demo/a/blobs/uploads/", authorization).await.status,
                *push,
                "{case}"
            );
            assert_eq!(
                send("DELETE", "/v2/demo/a/manifests/v1", authorization).await.status,
                presented_delete(case)
            );
        }
        // A gate token does not buy another token, and is not accepted as a password.
        let (asked, forwarded) = (gate.gitlab.ledger().count(), gate.forwarded());
        for authorization in
            [format!("Bearer {token}"), basic((user, &token)), basic((&token, secret))]
        {
            assert_eq!(send("GET", "/token", &authorization).await.status, 401);
        }
        assert_eq!(send("GET", "/v2/", &basic((user, &token))).await.status, 401);
        assert_eq!(form(user, &token).await.status, 401);
        assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (asked, forwarded));
    }
}

/// Returns the status of a DELETE, which no caller here may do: 403 for Basic, and 401 for a bearer
/// token, because the client could return with another token.
fn presented_delete(authorization: &str) -> u16 {
    if authorization.starts_with("Basic") { 403 } else { 401 }
}

/// A forged gate token is logged as `gate_token` with the reason `invalid_token`, so that the
/// operator sees an attacker who tries invented tokens.
#[tokio::test]
async fn a_forged_gate_token_is_logged_as_an_invalid_gate_token() {
    let gate = TestGate::plain().await;
    let header = format!(
        "Authorization: Bearer mg1.AAAAAAAA.{}\r\n",
        BASE64_URL_SAFE_NO_PAD.encode([7; 80])
    );
    assert_eq!(gate.send("GET", "/v2/", None, &header, "").await.status, 401);
    let line = gate.log(1).await.remove(0);
    assert_eq!(
        (&line["credential_kind"], &line["reason"]),
        (&"gate_token".into(), &"invalid_token".into())
    );
    assert!(line["credential"].is_null());
    let metrics = gate.admin("/metrics").await.body;
    assert!(
        metrics.lines().any(|line| line.starts_with("moorgate_auth_decisions_total")
            && line.contains("invalid_token")),
        "{metrics}"
    );
}
