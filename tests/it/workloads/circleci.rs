//! CircleCI. The claims are those of circleci.com/docs, "Using OpenID Connect tokens in jobs".

use serde_json::{Value, json};

use super::{PULLED, PUSHED, Recipe};

const ORGANISATION: &str = "5034460f-c7c4-4c43-9457-de07e2029e7b";
const PROJECT: &str = "c8ae1b0d-1b75-4a3c-a3d5-0f7e2f6f0f4f";
const USER: &str = "9d3e2a10-6f5b-4a77-9c41-5d1f0a7be3c2";

fn claims() -> Value {
    json!({
        "iss": format!("https://oidc.circleci.com/org/{ORGANISATION}"),
        "sub": format!("org/{ORGANISATION}/project/{PROJECT}/user/{USER}"),
        "nbf": null,
        "oidc.circleci.com/project-id": PROJECT,
        "oidc.circleci.com/vcs-origin": "github.com/octo-org/app",
        "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/context-ids": ["a74579f1-2e7d-451e-b009-5c082ad2729e"],
        "oidc.circleci.com/ssh-rerun": false,
    })
}

#[tokio::test]
async fn a_job_of_the_project_pushes_from_main_only() {
    let recipe = Recipe::start("circleci.yml", claims()).await;
    assert_eq!(recipe.push("octo-org/app", json!({})).await, PUSHED);
    assert_eq!(recipe.last_subject(1).await, claims()["sub"]);
    assert_eq!(recipe.pull("octo-org/app/cache", json!({})).await, PULLED);
    assert_eq!(recipe.push("octo-org/other", json!({})).await, 403);
    recipe
        .refuses("octo-org/app", [
            json!({ "iss": "https://oidc.circleci.com/org/00000000-c7c4-4c43-9457-de07e2029e7b" }),
            json!({ "oidc.circleci.com/project-id": "00000000-1b75-4a3c-a3d5-0f7e2f6f0f4f" }),
            // A build of a fork, which runs in the project of the organisation.
            json!({ "oidc.circleci.com/vcs-origin": "github.com/evil/app" }),
            json!({ "oidc.circleci.com/vcs-ref": "refs/heads/feature" }),
            // A pipeline that a custom webhook started.
            json!({ "oidc.circleci.com/vcs-ref": null, "oidc.circleci.com/vcs-origin": null }),
            json!({ "oidc.circleci.com/ssh-rerun": true }),
        ])
        .await;
}
