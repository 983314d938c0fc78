//! What the command says about requests to the registry.

use http::StatusCode;
use moorgate::demo::Scripted;
use serde_json::json;

use super::{PUT_V1, TAGS, UPLOADS, explain, gate, run};
use crate::harness::{
    EMPTY_INDEX, INDEX_TYPE, READ_ONLY, READ_WRITE, Setup, TestGate, some_digest,
};

#[tokio::test]
async fn explain_shows_which_rules_allow_or_refuse_a_request() {
    let gate = gate(&[], Setup { log: vec!["level: trace"], ..Setup::default() }).await;
    let allowed = explain(&gate, "PUT", "/v2/demo/a/manifests/latest", Some(READ_WRITE)).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    for (label, value) in [
        ("request", "PUT /v2/demo/a/manifests/latest"),
        ("operation", "manifest_put"),
        ("needs", "pull and push on demo/a"),
        ("credential", "basic"),
        ("provider", "gitlab"),
        ("subject", "alice"),
        ("type", "personal_access_token"),
        ("has", "pull and push on demo/a"),
        ("rules", "for pull on demo/a: | for push on demo/a, tag latest:"),
        ("  allows", "reads | writes"),
        (
            "answer",
            "from the registry; the request would be forwarded; \
             reason allowed | the rule writes allows it",
        ),
    ] {
        assert_eq!(allowed.about(label), value, "{label}: {}", allowed.out);
    }

    let refused = explain(&gate, "PUT", PUT_V1, Some(READ_WRITE)).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .about("  does not")
            .ends_with("writes: it is for other tags (`tags`, `except_tags`)"),
        "{refused:?}"
    );
    assert_eq!(refused.answer(), (Some(403), "denied_by_policy".into()));
    assert!(
        refused.about("answer").ends_with("no rule of this registry lets you push the tag v1"),
        "{refused:?}"
    );
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn explain_shows_a_refusal_because_of_the_credential() {
    let gate = gate(&[], Setup::default()).await;
    let lacks = explain(&gate, "POST", UPLOADS, Some(READ_ONLY)).await;
    assert_eq!((lacks.code, lacks.answer()), (Some(1), (Some(403), "insufficient_rights".into())));
    assert_eq!(
        (lacks.about("has"), lacks.about("subject")),
        ("pull on demo/a".into(), "alice".into())
    );
    assert!(lacks.about("answer").contains("GitLab granted no push"), "{lacks:?}");

    let wrong = explain(&gate, "GET", TAGS, Some(("alice", "glpat-no-such"))).await;
    assert_eq!((wrong.code, wrong.answer()), (Some(1), (Some(401), "wrong_credential".into())));
    assert_eq!(wrong.about("provider"), "none accepts the credential");
    assert_eq!(wrong.about("subject"), "");

    // The secret contains a space, so no client can send it as Bearer.
    let malformed = run(&gate, &["--method", "GET", "--path", TAGS], "two words").await;
    assert_eq!(
        (malformed.code, malformed.answer()),
        (Some(1), (Some(401), "malformed_credential".into()))
    );
    assert_eq!(malformed.about("provider"), "none was asked");
}

#[tokio::test]
async fn explain_answers_for_callers_without_a_credential() {
    let gate = gate(&[], Setup::default()).await;
    let public = explain(&gate, "GET", "/v2/public/a/tags/list", None).await;
    assert_eq!((public.code, public.about("  allows")), (Some(0), "public".into()), "{public:?}");
    assert_eq!(public.about("subject"), "anonymous: no credential");
    let private = explain(&gate, "GET", TAGS, None).await;
    assert_eq!((private.code, private.answer()), (Some(1), (Some(401), "no_credential".into())));
    assert!(private.out.contains("public: it is for other repositories"), "{private:?}");
}

#[tokio::test]
async fn explain_exits_with_69_if_a_provider_gives_no_answer() {
    let identity =
        Some("- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true, timeout: 5s }");
    let gate = TestGate::start(Setup { identity, ..Setup::default() }).await;
    // The command does not use the running gate's cache.
    assert_eq!(gate.get(TAGS, Some(READ_WRITE)).await.status, 404);
    gate.gitlab.always(Some(Scripted::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers: vec![],
        body: "".into(),
    }));
    let down = explain(&gate, "GET", TAGS, Some(READ_WRITE)).await;
    assert_eq!(
        (down.code, down.answer()),
        (Some(69), (Some(503), "provider_unavailable".into())),
        "{down:?}"
    );
    assert_eq!(down.about("provider"), "gitlab, which gave no usable answer");
    // The gate does not report the outage to a caller without a credential.
    let nobody = explain(&gate, "GET", TAGS, None).await;
    assert_eq!(
        (nobody.code, nobody.answer()),
        (Some(69), (Some(401), "no_credential".into())),
        "{nobody:?}"
    );
    let withheld = nobody.about("withheld");
    assert!(
        withheld.starts_with(
            "the service that checks credentials gives no usable answer now; try again in "
        ),
        "{withheld}"
    );
}

#[tokio::test]
async fn shadow_mode_says_what_would_be_refused() {
    let gate = gate(&["mode: shadow"], Setup::default()).await;
    let shadow = explain(&gate, "PUT", PUT_V1, Some(READ_WRITE)).await;
    assert_eq!((shadow.code, shadow.answer()), (Some(0), (None, "shadow_denied".into())));
    let answer = shadow.about("answer");
    assert!(
        answer.contains("would refuse it") && answer.ends_with("push the tag v1"),
        "{shadow:?}"
    );
}

#[tokio::test]
async fn explain_shows_whether_a_mount_becomes_a_plain_upload() {
    let gate = gate(&[], Setup::default()).await;
    let mount = |from: &str| format!("{UPLOADS}?mount={}&from={from}", some_digest());
    let kept = explain(&gate, "POST", &mount("demo/b"), Some(READ_WRITE)).await;
    assert_eq!((kept.code, kept.about("mount")), (Some(0), String::new()), "{kept:?}");
    assert!(kept.about("rules").ends_with("for pull on demo/b:"), "{kept:?}");
    let stripped = explain(&gate, "POST", &mount("elsewhere/b"), Some(READ_WRITE)).await;
    assert_eq!(stripped.code, Some(0));
    assert!(
        stripped.about("mount").contains(
            "plain upload, because the pull from the source is refused: | the credential is valid"
        ),
        "{stripped:?}"
    );
}

#[tokio::test]
async fn explain_applies_tag_rules_and_looks_up_immutable_tags() {
    let gate = TestGate::plain().await;
    gate.gitlab.set_meta(json!({
        "tag_immutable_patterns": ["^v\\d"],
        "tag_deny_access_patterns": { "push": ["^prod"] },
    }));
    let put = |tag: &str| format!("/v2/demo/a/manifests/{tag}");
    let protected = explain(&gate, "PUT", &put("prod"), Some(READ_WRITE)).await;
    assert_eq!(
        (protected.code, protected.answer()),
        (Some(1), (Some(403), "tag_protected".into()))
    );
    assert_eq!(protected.about("tags"), "protected from push: ^prod | immutable: ^v\\d");
    assert_eq!(gate.forwarded(), 0);
    let absent = explain(&gate, "PUT", &put("v1"), Some(READ_WRITE)).await;
    assert_eq!(
        (absent.code, absent.about("look-up")),
        (Some(0), "the registry has no tag v1 yet".into())
    );
    let asked: Vec<_> =
        gate.ledger.entries().iter().map(|it| format!("{} {}", it.method, it.target)).collect();
    assert_eq!(asked, [format!("HEAD {}", put("v1"))], "nothing is written");
    assert_eq!(
        gate.send("PUT", &put("v1"), Some(READ_WRITE), INDEX_TYPE, EMPTY_INDEX).await.status,
        201
    );
    let exists = explain(&gate, "PUT", &put("v1"), Some(READ_WRITE)).await;
    assert_eq!((exists.code, exists.answer()), (Some(1), (Some(403), "tag_immutable".into())));
}
