//! `explain --as`: what the rules say of a caller without its credential.

use moorgate::demo::issuer::OidcIssuer;

use super::{PUT_V1, Said, TAGS, UPLOADS, gate, run};
use crate::harness::{Setup, TestGate, jobs, listener, some_digest};

async fn explain_as(gate: &TestGate, method: &str, path: &str, caller: &[&str]) -> Said {
    let arguments = [&["--method", method, "--path", path, "--as"], caller].concat();
    run(gate, &arguments, "").await
}

#[tokio::test]
async fn the_rules_are_shown_for_a_caller_without_its_credential() {
    let gate = gate(&[], Setup::default()).await;
    let latest = "/v2/demo/a/manifests/latest";
    let allowed = explain_as(&gate, "PUT", latest, &["gitlab/alice"]).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    for (label, value) in [
        ("operation", "manifest_put"),
        ("needs", "pull and push on demo/a"),
        ("credential", "not asked for, because the caller is assumed (--as)"),
        ("provider", "gitlab"),
        ("subject", "alice"),
        ("has", "every right: what the credential itself allows is not checked"),
        ("rules", "for pull on demo/a: | for push on demo/a, tag latest:"),
        ("  allows", "reads | writes"),
        (
            "answer",
            "from the registry; if the credential allows it too, the request would be forwarded; \
             reason allowed | the rule writes allows it",
        ),
    ] {
        assert_eq!(allowed.about(label), value, "{label}: {}", allowed.out);
    }
    let by_tag = explain_as(&gate, "PUT", PUT_V1, &["gitlab/alice"]).await;
    assert_eq!((by_tag.code, by_tag.answer()), (Some(1), (Some(403), "denied_by_policy".into())));
    assert!(by_tag.about("answer").ends_with("lets you push the tag v1"), "{by_tag:?}");
    let another = explain_as(&gate, "GET", TAGS, &["gitlab/bob"]).await;
    assert_eq!(another.answer(), (Some(403), "denied_by_policy".into()), "{another:?}");
    let wrong_path = explain_as(&gate, "GET", "/v2/Demo/a/tags/list", &["gitlab/alice"]).await;
    assert_eq!(wrong_path.answer(), (Some(400), "malformed_request".into()), "{wrong_path:?}");
    let ping = explain_as(&gate, "GET", "/v2/", &["gitlab/alice"]).await;
    assert_eq!(ping.code, Some(0), "{ping:?}");
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (0, 0), "a server was asked");
}

#[tokio::test]
async fn mounts_tokens_and_the_catalog_are_explained_for_an_assumed_caller() {
    let gate = gate(&[], Setup::default()).await;
    let mount = |from: &str| format!("{UPLOADS}?mount={}&from={from}", some_digest());
    let kept = explain_as(&gate, "POST", &mount("demo/b"), &["gitlab/alice"]).await;
    assert_eq!((kept.code, kept.about("mount")), (Some(0), String::new()), "{kept:?}");
    let stripped = explain_as(&gate, "POST", &mount("elsewhere/b"), &["gitlab/alice"]).await;
    assert!(stripped.about("mount").contains("plain upload"), "{stripped:?}");

    let scope = "/token?scope=repository:demo/a:pull,push,delete&scope=repository:elsewhere:pull";
    let token = explain_as(&gate, "GET", scope, &["gitlab/alice"]).await;
    assert_eq!(
        token.about("answer"),
        "200 with a token; reason allowed | limited further to what the credential allows | valid \
         for pull and push on demo/a",
        "{token:?}"
    );
    assert!(token.about("refused").contains("delete on demo/a"), "{token:?}");
    let service = explain_as(&gate, "GET", "/token?service=other", &["gitlab/alice"]).await;
    assert_eq!(service.code, Some(1), "{service:?}");

    let catalog = explain_as(&gate, "GET", "/v2/_catalog", &["gitlab/alice"]).await;
    assert_eq!(catalog.code, Some(0), "{catalog:?}");
    assert_eq!(catalog.about("  lists"), "public: public/** | reads: demo/**");
}

#[tokio::test]
async fn shadow_mode_and_a_config_without_rules_are_told_for_an_assumed_caller() {
    let shadow = gate(&["mode: shadow"], Setup::default()).await;
    let shadow = explain_as(&shadow, "PUT", PUT_V1, &["gitlab/alice"]).await;
    assert_eq!((shadow.code, shadow.answer()), (Some(0), (None, "shadow_denied".into())));
    let plain = TestGate::plain().await;
    let unruled = explain_as(&plain, "PUT", PUT_V1, &["gitlab/alice"]).await;
    assert_eq!(unruled.code, Some(0));
    assert!(unruled.about("rules").contains("only the rights of the credential"), "{unruled:?}");
}

/// The command does not fetch the keys of the issuer.
#[tokio::test]
async fn groups_and_claims_come_from_the_arguments() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    issuer.ledger().keep();
    let identity = Some(jobs(&issuer, "groups_claim: teams, scopes: [read_registry]"));
    let policy = vec![
        "rules:",
        "  - { name: own, repositories: [\"${claims.project_path}\"], \
         who: [\"provider:jobs\"], allow: [pull, push] }",
        "  - { name: ops, repositories: [\"demo/**\"], who: [\"group:jobs/ops\"], \
         allow: [pull] }",
        "  - { name: pods, repositories: [\"demo/${claims./kubernetes.io/namespace}\"], \
         who: [\"provider:jobs\"], allow: [pull, push] }",
    ];
    let gate = TestGate::start(Setup { identity, policy, ..Setup::default() }).await;
    issuer.ledger().wait_until(|fetches| fetches.len() == 1).await;
    let job = "jobs/project_path:demo/a:ref:main";
    let own = explain_as(&gate, "POST", UPLOADS, &[job, "--claim", "project_path=demo/a"]).await;
    assert_eq!(own.code, Some(0), "{own:?}");
    assert_eq!(own.about("subject"), "project_path:demo/a:ref:main");
    assert_eq!(own.about("claims"), "project_path = \"demo/a\"");
    let pod = ["--claim", "/kubernetes.io/pod/name=x", "--claim", "/kubernetes.io/namespace=a"];
    let pod = explain_as(&gate, "POST", UPLOADS, &[&[job], &pod[..]].concat()).await;
    assert_eq!(pod.code, Some(0), "{pod:?}");
    assert_eq!(
        pod.about("claims"),
        "/kubernetes.io/pod/name = \"x\" | /kubernetes.io/namespace = \"a\""
    );
    let without = explain_as(&gate, "POST", UPLOADS, &[job]).await;
    assert_eq!(without.answer(), (Some(403), "denied_by_policy".into()), "{without:?}");
    let ops = explain_as(&gate, "GET", TAGS, &[job, "--group", "dev", "--group", "ops"]).await;
    assert_eq!((ops.code, ops.about("groups")), (Some(0), "dev | ops".into()), "{ops:?}");
    assert_eq!(issuer.ledger().count(), 1, "the keys were fetched again");
}

#[tokio::test]
async fn a_user_of_gitlab_has_one_path_in_any_case() {
    let policy = vec![
        "rules:",
        "  - { name: own, repositories: [\"${user}/**\"], who: [\"provider:gitlab\"], allow: [pull] }",
    ];
    let gate = TestGate::start(Setup { policy, ..Setup::default() }).await;
    let own = explain_as(&gate, "GET", "/v2/alice/a/tags/list", &["gitlab/Alice"]).await;
    assert_eq!(own.code, Some(0), "{own:?}");
}

#[tokio::test]
async fn a_caller_that_cannot_exist_is_refused_with_the_right_form() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let jobs_only = TestGate::start(Setup { identity, ..Setup::default() }).await;
    let gitlab = TestGate::plain().await;
    for (gate, caller, why) in [
        (&gitlab, &["alice"][..], "write it like --as gitlab/alice"),
        (&gitlab, &["gitlab/"], "write it like --as gitlab/alice"),
        (&gitlab, &["/alice"], "write it like --as gitlab/alice"),
        (&gitlab, &["sso/alice"], "`sso` is not a provider in identity; write one of gitlab"),
        (&gitlab, &["gitlab/alice", "--group", "ops"], "callers of `gitlab` have no groups"),
        (&gitlab, &["gitlab/alice", "--claim", "a=b"], "callers of `gitlab` have no claims"),
        (&jobs_only, &["jobs/a", "--group", "ops"], "with groups_claim"),
        (&jobs_only, &["jobs/a", "--claim", "a"], "--claim takes NAME=VALUE"),
        (&jobs_only, &["jobs/a", "--claim", "=a"], "--claim takes NAME=VALUE"),
        (&jobs_only, &["jobs/a", "--claim", "a=b", "--claim", "a=c"], "pass it once"),
        (&jobs_only, &["jobs/a", "--claim", "a=b", "--claim", "/a/b=c"], "is a text"),
        (&jobs_only, &["jobs/a", "--claim", "/a/b=c", "--claim", "a=b"], "pass it once"),
        (&jobs_only, &["jobs/a", "--claim", "/a~b=c"], "write ~0 for `~` and ~1 for `/`"),
        (&gitlab, &["gitlab/alice", "-u", "alice"], "cannot be used with"),
    ] {
        let said = explain_as(gate, "GET", TAGS, caller).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(why), "{why}: {said:?}");
    }
    let alone = ["--method", "GET", "--path", TAGS, "--group", "ops"];
    let alone = run(&gitlab, &alone, "").await;
    assert!(alone.code == Some(2) && alone.err.contains("--as"), "{alone:?}");
}
