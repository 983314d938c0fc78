//! GitLab `id_tokens`. The claims are those of docs.gitlab.com, "OpenID Connect (OIDC)
//! authentication using ID tokens".

use serde_json::{Value, json};

use super::{PULLED, PUSHED, Recipe};

fn claims() -> Value {
    json!({
        "namespace_id": "42",
        "namespace_path": "my-group",
        "project_id": "22",
        "project_path": "my-group/my-project",
        "user_id": "1",
        "user_login": "sample-user",
        "user_email": "sample-user@example.com",
        "user_access_level": "developer",
        "user_identities": [{ "provider": "github", "extern_uid": "2435223452345" }],
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "groups_direct": ["my-group", "other/sub"],
        "environment": "test-environment2",
        "environment_protected": "false",
        "deployment_tier": "testing",
        "environment_action": "start",
        "runner_id": 1,
        "runner_environment": "self-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "public",
        "ci_config_ref_uri": "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
        "iss": "https://gitlab.example.com",
        "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
    })
}

#[tokio::test]
async fn a_job_pushes_to_its_project_from_protected_refs_only() {
    let recipe = Recipe::start("gitlab-ci.yml", claims()).await;
    assert_eq!(recipe.push("my-group/my-project", json!({})).await, PUSHED);
    let subject = "project_path:my-group/my-project:ref_type:branch:ref:main";
    assert_eq!(recipe.last_subject(1).await, subject);
    assert_eq!(recipe.pull("my-group/my-project/cache", json!({})).await, PULLED);
    for repository in ["my-group/my-project2", "my-group", "other/sub"] {
        assert_eq!(recipe.push(repository, json!({})).await, 403, "{repository}");
    }
    let sibling = json!({ "project_path": "my-group/other", "project_id": "23" });
    assert_eq!(recipe.push("my-group/my-project", sibling).await, 403);
    recipe
        .refuses(
            "my-group/my-project",
            [
                json!({ "namespace_id": "43", "namespace_path": "evil", "project_path": "evil/x" }),
                json!({ "namespace_id": "4" }),
                json!({ "namespace_id": ["42"] }),
                json!({ "namespace_id": null }),
                json!({ "ref": "feature", "ref_protected": "false" }),
                json!({ "ref_protected": null }),
            ],
        )
        .await;
}
