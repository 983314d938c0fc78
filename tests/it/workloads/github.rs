//! GitHub Actions. The claims are those of docs.github.com, "OpenID Connect reference".

use serde_json::{Value, json};

use super::{PULLED, PUSHED, Recipe};

/// A push to the branch main of a repository from before GitHub put numbers into `sub`.
fn claims() -> Value {
    json!({
        "jti": "5b2a1c9e-7d34-4a6e-8f10-2c7f5e0d9b41",
        "sub": "repo:Octo-Org/app:ref:refs/heads/main",
        "iss": "https://token.actions.githubusercontent.com",
        "ref": "refs/heads/main",
        "sha": "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567",
        "repository": "Octo-Org/app",
        "repository_owner": "Octo-Org",
        "actor_id": "12",
        "repository_visibility": "private",
        "repository_id": "74",
        "repository_owner_id": "65",
        "run_id": "1000000001",
        "run_number": "10",
        "run_attempt": "2",
        "runner_environment": "github-hosted",
        "actor": "octocat",
        "workflow": "image",
        "workflow_ref": "Octo-Org/app/.github/workflows/image.yml@refs/heads/main",
        "workflow_sha": "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567",
        "head_ref": "",
        "base_ref": "",
        "event_name": "push",
        "ref_protected": "true",
        "ref_type": "branch",
        "job_workflow_ref": "Octo-Org/app/.github/workflows/image.yml@refs/heads/main",
        "job_workflow_sha": "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567",
        "check_run_id": "2000000002",
    })
}

#[tokio::test]
async fn a_job_pushes_to_its_repository_from_main_and_tags_only() {
    let recipe = Recipe::start("github-actions.yml", claims()).await;
    assert_eq!(recipe.push("octo-org/app", json!({})).await, PUSHED);
    assert_eq!(recipe.last_subject(1).await, "repo:Octo-Org/app:ref:refs/heads/main");
    assert_eq!(recipe.pull("octo-org/app/cache", json!({})).await, PULLED);
    let tag =
        json!({ "ref": "refs/tags/v1.2", "sub": "repo:Octo-Org@65/app@74:ref:refs/tags/v1.2" });
    assert_eq!(recipe.push("octo-org/app", tag).await, PUSHED);
    for (repository, name) in
        [("octo-org/other", "Octo-Org/app"), ("octo-org/app", "Octo-Org/other")]
    {
        let other = json!({ "repository": name, "repository_id": "75" });
        assert_eq!(recipe.push(repository, other).await, 403, "{repository} {name}");
    }
    recipe
        .refuses(
            "octo-org/app",
            [
                // Another user who got the name of the organisation has another number.
                json!({ "repository_owner_id": "66" }),
                json!({ "repository_owner_id": "6", "repository": "evil/app" }),
                json!({ "repository_owner_id": null }),
                json!({ "ref": "refs/heads/feature" }),
                json!({ "ref": "refs/heads/main/x" }),
                json!({ "ref": "refs/tags/x/v1" }),
                json!({ "ref": "refs/pull/7/merge", "event_name": "pull_request" }),
                // Runs with the code of the base branch, on the demand of any user.
                json!({ "event_name": "pull_request_target" }),
            ],
        )
        .await;
}
