//! Service accounts of Kubernetes. The claims are those of kubernetes.io, "Managing Service
//! Accounts", "Schema for service account private claims".

use serde_json::{Value, json};

use super::{PULLED, PUSHED, Recipe};

/// Returns the claims of a pod's token, as members that replace others.
pub(super) fn pod(namespace: &str, account: &str) -> Value {
    json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "aud": ["registry.example.com"],
        "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
        "kubernetes.io": {
            "namespace": namespace,
            "node": { "name": "worker-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1" },
            "pod": { "name": "app-7d9c", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3" },
            "serviceaccount": { "name": account, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" },
        },
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
    })
}

#[tokio::test]
async fn a_pod_pulls_from_the_path_of_its_namespace_and_the_builder_pushes() {
    let recipe = Recipe::start("kubernetes.yml", pod("team-a", "default")).await;
    assert_eq!(recipe.pull("team-a/app", json!({})).await, PULLED);
    assert_eq!(recipe.last_subject(1).await, "system:serviceaccount:team-a:default");
    assert_eq!(recipe.push("team-a/app", json!({})).await, 403);
    assert_eq!(recipe.pull("team-b/app", json!({})).await, 403);
    assert_eq!(recipe.pull("team-b/app", pod("team-b", "default")).await, PULLED);
    assert_eq!(recipe.push("team-a/app", pod("build", "pusher")).await, PUSHED);
    assert_eq!(recipe.push("build/tools", pod("build", "pusher")).await, 403);
    assert_eq!(recipe.push("team-a/app", pod("build", "default")).await, 403);
    assert_eq!(recipe.push("team-a/app", pod("team-a", "pusher")).await, 403);
    let mut flat = pod("team-a", "default");
    flat["kubernetes.io"] = Value::Null;
    flat["/kubernetes.io/namespace"] = json!("team-a");
    let mut list = pod("team-a", "default");
    list["kubernetes.io"]["namespace"] = json!(["team-a"]);
    recipe
        .refuses(
            "team-a/app",
            [
                pod("kube-system", "default"),
                pod("teams", "default"),
                pod("x-team-a", "default"),
                json!({ "kubernetes.io": null }),
                json!({ "kubernetes.io": "team-a" }),
                json!({ "kubernetes.io": {} }),
                flat,
                list,
            ],
        )
        .await;
}

#[tokio::test]
async fn a_cluster_that_the_gate_cannot_reach_is_known_by_its_key_file() {
    let mut edge = pod("shop", "web");
    edge["iss"] = json!("https://edge.example.com");
    let recipe = Recipe::start("kubernetes.yml", edge.clone()).await;
    assert_eq!(recipe.pull("shop/app", json!({})).await, PULLED);
    assert_eq!(recipe.last_subject(1).await, "system:serviceaccount:shop:web");
    assert_eq!(recipe.push("shop/app", json!({})).await, 403);
    assert_eq!(recipe.pull("team-a/app", json!({})).await, 403);
    edge["sub"] = json!("system:serviceaccount:shop2:web");
    recipe.refuses("shop/app", [edge, pod("shop", "web")]).await;
}
