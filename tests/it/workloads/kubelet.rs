//! `moorgate credential-provider`: what it gives kubelet is a login that the gate accepts.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::kubernetes::pod;
use super::{PULLED, Recipe};

/// Runs the plugin with a request on standard input.
async fn run(request: &Value) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
    command.args(["credential-provider", "--registry", "registry.example.com"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let request = request.to_string();
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn request(image: &str, token: &str) -> Value {
    json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderRequest",
        "image": image,
        "serviceAccountToken": token,
    })
}

#[tokio::test]
async fn the_gate_accepts_the_login_that_kubelet_gets() {
    let recipe = Recipe::start("kubernetes.yml", pod("team-a", "default")).await;
    let token = recipe.token(json!({}));
    let output = run(&request("registry.example.com/team-a/app", &token)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    let response: Value = serde_json::from_slice(&output.stdout).unwrap();
    let login = &response["auth"]["registry.example.com"];
    let [user, password] =
        ["username", "password"].map(|name| login[name].as_str().unwrap().to_owned());
    assert_eq!(user, "oidc");
    let pulled = recipe.gate.get("/v2/team-a/app/tags/list", Some((&user, &password))).await;
    assert_eq!(pulled.status, PULLED);
}

#[tokio::test]
async fn a_request_for_another_registry_ends_with_exit_code_1_and_no_answer() {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.Y2FuYXJ5";
    let output = run(&request("other.example.com/app", token)).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()), "{said}");
    assert!(said.contains("`image` is not of the registry registry.example.com"), "{said}");
    assert!(!said.contains("eyJ") && !said.contains("Y2FuYXJ5"), "{said}");
}
