//! Buildkite. The claims are those of buildkite.com/docs, "buildkite-agent oidc".

use serde_json::{Value, json};

use super::{PULLED, PUSHED, Recipe};

const COMMIT: &str = "9f3182061f1e2cca4702c368cbc039b7dc9d4485";

/// Returns the subject of a step of a pipeline.
fn subject(organisation: &str, pipeline: &str, git_ref: &str) -> String {
    format!(
        "organization:{organisation}:pipeline:{pipeline}:ref:{git_ref}:commit:{COMMIT}:step:build"
    )
}

fn claims() -> Value {
    json!({
        "iss": "https://agent.buildkite.com",
        "sub": subject("acme-inc", "app-web", "refs/heads/main"),
        "organization_slug": "acme-inc",
        "organization_id": "0184990a-477b-4fa8-9968-496074483c77",
        "pipeline_slug": "app-web",
        "build_number": 1,
        "build_branch": "main",
        "build_commit": COMMIT,
        "step_key": "build",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee",
        "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
    })
}

#[tokio::test]
async fn a_step_pushes_to_the_path_of_its_pipeline_from_main_only() {
    let recipe = Recipe::start("buildkite.yml", claims()).await;
    assert_eq!(recipe.push("acme-inc/app-web", json!({})).await, PUSHED);
    assert_eq!(recipe.last_subject(1).await, subject("acme-inc", "app-web", "refs/heads/main"));
    assert_eq!(recipe.pull("acme-inc/app-web/cache", json!({})).await, PULLED);
    assert_eq!(recipe.push("acme-inc/app-api", json!({})).await, 403);
    let without_key =
        subject("acme-inc", "app-web", "refs/heads/main").replace("step:build", "step:");
    let without_key = json!({ "sub": without_key, "step_key": null });
    assert_eq!(recipe.push("acme-inc/app-web", without_key).await, PUSHED);
    recipe
        .refuses(
            "acme-inc/app-web",
            [
                json!({ "organization_id": "00000000-477b-4fa8-9968-496074483c77" }),
                json!({ "organization_id": null }),
                json!({ "sub": subject("evil", "app-web", "refs/heads/main") }),
                json!({ "sub": subject("acme-inc", "web", "refs/heads/main") }),
                json!({ "sub": subject("acme-inc", "app-web", "refs/heads/feature") }),
                json!({ "sub": subject("acme-inc", "app-web", "refs/tags/v1") }),
                // The branch of a fork has the name of its owner in front.
                json!({ "sub": subject("acme-inc", "app-web", "refs/heads/evil:main") }),
            ],
        )
        .await;
}
