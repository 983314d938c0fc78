//! What the command says about addresses, immutable tags and maintenance.

use super::{Said, run};
use crate::harness::{EMPTY_INDEX, INDEX_TYPE, Setup, TestGate, digest_of};

const ALICE: (&str, &str) = ("alice", "password-of-alice");
const V1: &str = "/v2/demo/a/manifests/v1";
const READ: [&str; 4] = ["--method", "GET", "--path", V1];
const AS_ALICE: [&str; 2] = ["--as", "local/alice"];

async fn gate(policy: &[&'static str]) -> TestGate {
    TestGate::start(Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry, delete_registry] }",
        ),
        htpasswd_users: vec![ALICE],
        http: vec!["trusted_proxies: [172.16.0.0/12]"],
        policy: policy.to_vec(),
        ..Setup::default()
    })
    .await
}

/// Runs the command with Alice's password, or for the assumed caller of these arguments.
async fn explain(gate: &TestGate, arguments: &[&str]) -> Said {
    if arguments.contains(&"--as") {
        return run(gate, arguments, "").await;
    }
    run(gate, &[arguments, &["-u", ALICE.0]].concat(), ALICE.1).await
}

#[tokio::test]
async fn the_address_is_the_one_that_the_arguments_name() {
    let rules = [
        "rules:",
        "  - { name: office, repositories: [\"**\"], who: [authenticated, anonymous], \
         from: [10.0.0.0/8, 172.16.0.0/12], allow: [pull] }",
    ];
    let gate = gate(&rules).await;
    for (from, allowed, shown) in [
        (&["--from", "10.1.2.3"][..], true, "10.1.2.3 (--from names another one)"),
        (&["--from", "::ffff:10.1.2.3"], true, "10.1.2.3 (--from names another one)"),
        (&["--from", "192.0.2.1"], false, "192.0.2.1 (--from names another one)"),
        (&[], false, "127.0.0.1 (--from names another one)"),
        (
            &["--from", "172.16.0.1"],
            false,
            "172.16.0.1 is a proxy's (http.trusted_proxies); no rule with `from` is for it",
        ),
    ] {
        let token = ["--method", "GET", "--path", "/token?scope=repository:demo/a:pull"];
        for request in [READ, token] {
            for who in [&[][..], &AS_ALICE] {
                let said = explain(&gate, &[&request[..], from, who].concat()).await;
                let context = format!("{from:?} {who:?}: {said:?}");
                assert_eq!(said.about("address"), shown, "{context}");
                if allowed {
                    assert_eq!(said.about("  allows"), "office", "{context}");
                } else {
                    let why = "office: it is for other addresses (`from`)";
                    assert_eq!(said.about("  does not"), why, "{context}");
                }
                if request == READ {
                    assert_eq!(said.code, Some(i32::from(!allowed)), "{context}");
                } else {
                    let granted = said.about("answer").contains("valid for pull on demo/a");
                    assert_eq!(granted, allowed, "{context}");
                }
            }
        }
    }
    let wrong = explain(&gate, &[&READ[..], &["--from", "office"]].concat()).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""), "{wrong:?}");
}

#[tokio::test]
async fn the_address_is_not_shown_if_no_rule_looks_at_it() {
    let rules =
        ["rules: [{ name: all, repositories: [\"**\"], who: [authenticated], allow: [pull] }]"];
    let gate = gate(&rules).await;
    let said = explain(&gate, &[&READ[..], &["--from", "192.0.2.1"]].concat()).await;
    assert_eq!((said.code, said.about("address")), (Some(0), String::new()), "{said:?}");
}

const IMMUTABLE: [&str; 2] = [
    "rules:",
    "  - { name: all, repositories: [\"**\"], who: [authenticated], \
     allow: [pull, push, delete], immutable: true }",
];

#[tokio::test]
async fn an_immutable_tag_is_looked_up_unless_the_caller_is_assumed() {
    let gate = gate(&IMMUTABLE).await;
    let put = ["--method", "PUT", "--path", V1];
    let made = "by all: the tag v1 may be made, and not moved or deleted";

    let absent = explain(&gate, &put).await;
    assert_eq!((absent.code, &*absent.about("immutable")), (Some(0), made), "{absent:?}");
    assert_eq!(absent.about("look-up"), "the registry has no tag v1 yet");
    let reply = gate.send("PUT", V1, Some(ALICE), INDEX_TYPE, EMPTY_INDEX).await;
    assert_eq!(reply.status, 201);
    let exists = explain(&gate, &put).await;
    assert_eq!((exists.code, exists.answer()), (Some(1), (Some(403), "tag_immutable".into())));
    assert!(exists.about("answer").contains("exists and is immutable by a rule"), "{exists:?}");

    let forwarded = gate.forwarded();
    let assumed = explain(&gate, &[&put[..], &AS_ALICE].concat()).await;
    assert_eq!((assumed.code, &*assumed.about("immutable")), (Some(0), made), "{assumed:?}");
    assert_eq!(
        assumed.about("look-up"),
        "the registry is not asked about the tag v1: if it exists, the request is denied"
    );
    assert_eq!(gate.forwarded(), forwarded, "the registry was asked");

    let by_digest = format!("/v2/demo/a/manifests/{}", digest_of(EMPTY_INDEX.as_bytes()));
    for who in [&[][..], &AS_ALICE] {
        let delete = [&["--method", "DELETE", "--path", &by_digest], who].concat();
        let delete = explain(&gate, &delete).await;
        assert_eq!((delete.code, delete.answer()), (Some(1), (Some(403), "tag_immutable".into())));
        assert_eq!(delete.about("immutable"), "by all: nothing may be deleted by digest here");
    }
}

#[tokio::test]
async fn shadow_mode_shows_what_an_immutable_rule_would_refuse() {
    let gate = gate(&[&IMMUTABLE[..], &["mode: shadow"]].concat()).await;
    let put = ["--method", "PUT", "--path", V1];
    assert_eq!(explain(&gate, &put).await.answer(), (None, "allowed".into()));
    let reply = gate.send("PUT", V1, Some(ALICE), INDEX_TYPE, EMPTY_INDEX).await;
    assert_eq!(reply.status, 201);
    let exists = explain(&gate, &put).await;
    assert_eq!((exists.code, exists.answer()), (Some(0), (None, "shadow_denied".into())));
    assert!(exists.about("answer").contains("the tag v1 exists and is immutable"), "{exists:?}");
    assert_eq!(exists.about("look-up"), "");
    let assumed = explain(&gate, &[&put[..], &AS_ALICE].concat()).await;
    assert!(
        assumed.about("look-up").contains("if it exists, the request is logged"),
        "{assumed:?}"
    );
}

#[tokio::test]
async fn maintenance_is_explained_without_a_look_at_the_caller() {
    let gate = gate(&["read_only: true"]).await;
    for who in [&[][..], &AS_ALICE] {
        let put = explain(&gate, &[&["--method", "PUT", "--path", V1], who].concat()).await;
        assert_eq!((put.code, put.answer()), (Some(1), (Some(405), "read_only".into())), "{put:?}");
        assert!(put.about("answer").contains("read-only for maintenance"), "{put:?}");
        assert_eq!(explain(&gate, &[&READ[..], who].concat()).await.code, Some(0));
    }
}
