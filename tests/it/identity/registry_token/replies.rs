//! The content of a reply: the access that it lists, its subject, its lifetime and its tag rules.

use std::time::Duration;

use moorgate::demo::gitlab::GitLab;
use moorgate::identity::model::tag_rules::{ProjectRules, TagRules};
use moorgate::identity::{Granted, TokenServerKind, Verdict};
use moorgate::registry::{Access, Action, Actions};
use serde_json::{Value, json};

use super::{SERVICE, ask, at, basic, on, question, reading, reply, token, verified};
use crate::harness::listener;
use crate::identity::{answer, unsigned};

#[tokio::test]
async fn an_unreadable_reply_makes_the_server_unavailable() {
    let gitlab = GitLab::start(listener()).unwrap();
    let (one, two) = (token(json!({})), token(json!({ "sub": "bob" })));
    let audience_twice =
        unsigned("{\"aud\":\"container_registry\",\"aud\":\"container_registry\",\"sub\":\"a\"}");
    let bodies = [
        String::new(),
        "<html>".into(),
        "[]".into(),
        "{}".into(),
        format!("{{\"token\":\"{one}\",\"token\":\"{one}\"}}"),
        format!("{{\"token\":\"{one}\",\"x\":{{\"a\":1,\"a\":2}}}}"),
        json!({ "token": one, "access_token": two }).to_string(),
        json!({ "token": 7 }).to_string(),
        json!({ "token": "a.b" }).to_string(),
        json!({ "token": format!("{one}.x") }).to_string(),
        json!({ "token": audience_twice }).to_string(),
        json!({ "token": token(json!({ "aud": null })) }).to_string(),
        json!({ "token": token(json!({ "aud": "other" })) }).to_string(),
        json!({ "token": token(json!({ "aud": [SERVICE, "other"] })) }).to_string(),
        json!({ "token": token(json!({ "aud": [] })) }).to_string(),
        json!({ "token": token(json!({ "exp": 1000 })) }).to_string(),
        json!({ "token": token(json!({ "exp": "1300" })) }).to_string(),
        json!({ "token": token(json!({ "access": "all" })) }).to_string(),
        format!("{{\"token\":\"{one}\"}}{}", " ".repeat(65 * 1024)),
    ];
    for reading in [true, false] {
        let server = at(gitlab.address(), reading.then(self::reading));
        for body in &bodies {
            gitlab.script([answer(200, body.as_str())]);
            let verdict = ask(&server, &question(basic("u", "p"), on(Action::Pull))).await;
            assert_eq!(verdict, Verdict::Unavailable, "{}", &body[..body.len().min(200)]);
        }
    }
}

#[tokio::test]
async fn only_the_asked_part_of_the_listed_access_is_granted() {
    fn entry(name: &str, words: &[&str]) -> Value {
        json!({ "type": "repository", "name": name, "actions": words })
    }

    let gitlab = GitLab::start(listener()).unwrap();
    let actions = |pull, push, delete| Actions { pull, push, delete };
    let everything = || json!([entry("demo/a", &["pull", "push", "delete", "*"])]);
    for (access, action, expected) in [
        (everything(), Action::Pull, actions(true, false, false)),
        (everything(), Action::Push, actions(true, true, false)),
        (everything(), Action::Delete, actions(false, false, true)),
        (json!([entry("demo/a", &["*"])]), Action::Pull, Actions::default()),
        (json!([entry("demo/b", &["pull"])]), Action::Pull, Actions::default()),
        (
            json!([{ "type": "registry", "name": "demo/a", "actions": ["pull"] }]),
            Action::Pull,
            Actions::default(),
        ),
        (
            json!([entry("demo/a", &["pull"]), entry("demo/a", &["push"])]),
            Action::Push,
            actions(true, true, false),
        ),
        (
            json!([{ "type": "repository", "name": "demo/a", "actions": null }]),
            Action::Pull,
            Actions::default(),
        ),
        (json!([]), Action::Pull, Actions::default()),
        (json!(null), Action::Pull, Actions::default()),
    ] {
        for (reading, kind) in
            [(Some(reading()), TokenServerKind::GitLab), (None, TokenServerKind::Other)]
        {
            gitlab.script([reply(json!({ "access": access.clone() }))]);
            let server = at(gitlab.address(), reading);
            let (verified, _) =
                verified(ask(&server, &question(basic("u", "p"), on(action))).await);
            let Granted::Repository(grant) = &verified.granted else { panic!("{verified:?}") };
            assert_eq!(
                (grant.repository.as_str(), grant.actions, grant.server),
                ("demo/a", expected, kind),
                "{access}"
            );
            assert_eq!(&*verified.principal.subject, "alice");
        }
    }
    gitlab.script([reply(json!({}))]);
    let login =
        at(gitlab.address(), None).ask(&question(basic("u", "p"), Access::Login), false).await.0;
    assert_eq!(verified(login).0.granted, Granted::Identity);
}

/// The lifetime of an answer is measured by the server's own clock, even if the gate's clock
/// differs.
#[tokio::test]
async fn the_lifetime_of_an_answer_follows_the_servers_own_clock() {
    let gitlab = GitLab::start(listener()).unwrap();
    for (body, seconds) in [
        (json!({ "token": token(json!({})) }), 300),
        (json!({ "access_token": token(json!({})), "expires_in": 7 }), 300),
        (json!({ "token": token(json!({ "iat": null })), "expires_in": 7 }), 7),
        (json!({ "token": token(json!({ "exp": null })) }), 60),
    ] {
        gitlab.script([answer(200, body.to_string())]);
        let verdict = at(gitlab.address(), None)
            .ask(&question(basic("u", "p"), on(Action::Pull)), false)
            .await
            .0;
        assert_eq!(verified(verdict).1, Some(Duration::from_secs(seconds)), "{body}");
    }
    let both = token(json!({}));
    gitlab.script([answer(200, json!({ "token": both, "access_token": both }).to_string())]);
    verified(
        at(gitlab.address(), None).ask(&question(basic("u", "p"), on(Action::Pull)), false).await.0,
    );
}

/// A server may issue a token with public access and without a subject to a caller whose password
/// is wrong. Such a token does not verify the user name beside the password.
#[tokio::test]
async fn a_token_without_a_subject_does_not_verify_the_user_name() {
    let gitlab = GitLab::start(listener()).unwrap();
    for subject in [json!(""), json!(null)] {
        gitlab.script([reply(json!({ "sub": subject }))]);
        let verdict = at(gitlab.address(), None)
            .ask(&question(basic("alice", "wrong"), on(Action::Pull)), false)
            .await
            .0;
        assert_eq!(verdict, Verdict::NotMine, "{subject}");
    }
}

#[tokio::test]
async fn the_subject_of_a_gitlab_credential_comes_from_its_claims() {
    let gitlab = GitLab::start(listener()).unwrap();
    let user = |info: Value| unsigned(&json!({ "user_info": info }).to_string());
    let nobody = question(basic("u", "p"), on(Action::Pull)).id;
    assert_ne!(nobody.fingerprint().to_string(), "alice");
    for (claims, subject, kind) in [
        (json!({ "auth_type": "build" }), Some("alice"), "build"),
        (
            json!({
                "auth_type": "deploy_token", "sub": null,
                "user": user(json!({ "deploy_token_id": 42 })),
            }),
            Some("deploy_token:42"),
            "deploy_token",
        ),
        (
            json!({ "auth_type": "deploy_token", "sub": null, "user": user(json!({})) }),
            None,
            "deploy_token",
        ),
        (
            json!({ "auth_type": "deploy_token", "sub": "", "user": "nonsense" }),
            None,
            "deploy_token",
        ),
    ] {
        gitlab.script([reply(claims.clone())]);
        let asked = question(basic("u", "p"), on(Action::Pull));
        let fingerprint = asked.id.fingerprint().to_string();
        let (verified, _) =
            verified(at(gitlab.address(), Some(reading())).ask(&asked, false).await.0);
        assert_eq!(&*verified.principal.subject, subject.unwrap_or(&fingerprint), "{claims}");
        assert_eq!(verified.principal.source.credential_type.as_deref(), Some(kind));
    }
}

/// Only GitLab has tag rules, and they are not kept for a read.
#[tokio::test]
async fn tag_rules_are_read_only_from_gitlab_and_only_for_writes() {
    fn access(meta: Value) -> Value {
        json!([{ "type": "repository", "name": "demo/a", "actions": ["pull"], "meta": meta }])
    }

    let gitlab = GitLab::start(listener()).unwrap();
    let rules = |verdict| match &verified(verdict).0.granted {
        Granted::Repository(grant) => grant.tags.clone(),
        other => panic!("{other:?}"),
    };
    for (meta, reading, action, readable) in [
        (json!({ "tag_immutable_patterns": ["^v"] }), true, Action::Push, Some(true)),
        (json!({ "tag_immutable_patterns": ["^v"] }), true, Action::Delete, Some(true)),
        (json!({ "tag_immutable_patterns": ["^v"] }), true, Action::Pull, None),
        (json!({ "tag_immutable_patterns": ["("] }), true, Action::Push, Some(false)),
        (json!({ "tag_immutable_patterns": ["("] }), true, Action::Pull, None),
        (json!({ "tag_other": 1 }), true, Action::Push, Some(false)),
        (json!({ "tag_other": 1 }), false, Action::Push, None),
        (json!({ "project_path": "demo/a" }), true, Action::Push, None),
    ] {
        gitlab.script([reply(json!({ "access": access(meta.clone()) }))]);
        let server = at(gitlab.address(), reading.then(self::reading));
        let rules = rules(ask(&server, &question(basic("u", "p"), on(action))).await);
        let found = match rules {
            TagRules::None => None,
            TagRules::Of(rules) => Some(*rules != ProjectRules::Unreadable),
        };
        assert_eq!(found, readable, "{meta} {action:?}");
    }
}
