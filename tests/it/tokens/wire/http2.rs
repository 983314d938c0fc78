//! The token service over HTTP/2.

use http::Request;

use super::{PULL, UPLOADS};
use crate::harness::{READ_WRITE, Setup, basic};
use crate::http2_client::{body, send};
use crate::scripted_upstream::soon;
use crate::tokens::gate;

/// The rules of the token service apply over HTTP/2 too, where a refusal does not close the
/// connection.
#[tokio::test]
async fn over_http2() {
    let gate = gate(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let exchange = async |request: Request<()>, form: Option<String>| {
        let mut sender = soon(sender.clone().ready()).await.unwrap();
        let (answer, mut stream) = sender.send_request(request, form.is_none()).unwrap();
        if let Some(form) = form {
            let _ = send(&mut stream, form.into(), true).await;
        }
        let response = soon(answer).await.unwrap();
        let headers = response.headers().clone();
        let status = response.status().as_u16();
        (status, headers, String::from_utf8(body(response).await.unwrap()).unwrap())
    };
    let get = |authority: &str, credential| {
        let target =
            format!("https://{authority}/token?service=registry.test&scope=repository:demo/a:pull");
        Request::get(target).header("authorization", basic(credential)).body(()).unwrap()
    };
    let form_request = || {
        let post = Request::post("https://registry.test/token");
        post.header("content-type", "application/x-www-form-urlencoded").body(()).unwrap()
    };
    let form = |password: &str| format!("grant_type=password&username=alice&password={password}");

    let (status, headers, answer) = exchange(get("registry.test", READ_WRITE), None).await;
    assert_eq!((status, headers["cache-control"].to_str().unwrap()), (200, "no-store"));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap());
    assert_eq!(exchange(form_request(), Some(form(READ_WRITE.1))).await.0, 200);
    assert_eq!(exchange(form_request(), Some(form("wrong"))).await.0, 401);
    assert_eq!(exchange(form_request(), Some(form(&"x".repeat(1 << 20)))).await.0, 413);
    let (status, headers, _) = exchange(get("evil.example", ("alice", "wrong")), None).await;
    assert_eq!(
        (status, &headers["www-authenticate"].to_str().unwrap()),
        (401, &"Basic realm=\"registry.test\"")
    );
    let mut two_names = get("registry.test", READ_WRITE);
    two_names.headers_mut().insert("host", "evil.example".parse().unwrap());
    assert_eq!(exchange(two_names, None).await.0, 400);
    for (method, target, status) in
        [("GET", PULL, 404), ("POST", UPLOADS, 401), ("HEAD", "/v2/demo/b/manifests/v1", 401)]
    {
        let request =
            Request::builder().method(method).uri(format!("https://registry.test{target}"));
        let (answered, headers, body) =
            exchange(request.header("authorization", &bearer).body(()).unwrap(), None).await;
        assert_eq!(answered, status, "{method} {target}");
        if status == 401 {
            let line = headers["www-authenticate"].to_str().unwrap();
            assert!(
                line.contains("scope=\"repository:demo/")
                    && line.contains("error=\"insufficient_scope\""),
                "{line}"
            );
        }
        assert!(method != "HEAD" || body.is_empty());
    }
}
