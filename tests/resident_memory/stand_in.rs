//! A server that answers the questions of introspection and of the registry token protocol. It is
//! small, because it runs in the measured process.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The service that the registry tokens are for.
pub(super) const SERVICE: &str = "container_registry";

/// The length of the number at the end of each secret.
const DIGITS: usize = 20;

/// Returns the subject of a credential, as long as GitLab's for a project access token.
pub(super) fn subject(number: usize) -> String {
    format!("project_{number:06}_bot_0123456789abcdef")
}

/// Returns the repository that a credential is for.
pub(super) fn repository(number: usize) -> String {
    format!("group-{:03}/project-{number:06}", number % 1000)
}

/// Starts the server in a thread of its own, until the end of the process.
pub(super) fn start() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
    });
    address
}

/// Answers one request after the other. Each fits into one read.
async fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or_default();
        if length == 0 {
            return;
        }
        let request = std::str::from_utf8(buffer.get(..length).unwrap()).unwrap();
        let body = answer(request).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        let reply = format!("{head} {}\r\n\r\n{body}", body.len());
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}

fn answer(request: &str) -> Value {
    if let Some((_, token)) = request.split_once("token=glpat-") {
        let number = token.get(..DIGITS).unwrap().parse().unwrap();
        let scope = format!("read_registry scope-{number:06}");
        return json!({ "active": true, "sub": subject(number), "scope": scope });
    }
    let (_, project) = request.split_once("project-").expect("a question about a repository");
    let number = project.get(..6).unwrap().parse().unwrap();
    let access = json!([{
        "type": "repository", "name": repository(number), "actions": ["pull"]
    }]);
    let claims = json!({
        "aud": SERVICE, "sub": subject(number), "auth_type": "personal_access_token",
        "iat": 1_800_000_000, "exp": 1_800_003_600, "access": access
    });
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    json!({ "token": format!("e30.{claims}.e30") })
}
