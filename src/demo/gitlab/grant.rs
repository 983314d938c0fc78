//! The decision which access GitLab grants to a credential. It performs no I/O: it turns
//! credentials and a question into a verdict.

use serde::Serialize;
use serde_json::{Value, json};

use super::credential::lies_in;
use super::{Kind, Question, SampleCredential};
use crate::demo::claims::changed;
use crate::registry::{Actions, CATALOG_SCOPE, RepositoryName};

/// GitLab's answer to a question.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The credential is wrong, expired or revoked: 401.
    NotMine,
    /// The credential's scopes give no access to registries; or the question has no credential, and
    /// nothing is public or no scope is requested: 403.
    Denied,
    /// The answer is 200, even if no access was granted.
    Granted(Grant),
}

/// The contents of the token.
#[derive(Debug, PartialEq)]
pub(super) struct Grant {
    pub(super) auth_type: &'static str,
    /// The user that the credential acts as. Empty for callers without a credential.
    pub(super) user_name: String,
    /// The number of the deploy token. Set only for deploy tokens, which do not belong to a user.
    pub(super) deploy_token_id: Option<usize>,
    pub(super) access: Vec<Access>,
}

/// The access granted for one scope.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Access {
    r#type: &'static str,
    name: String,
    actions: Vec<String>,
    meta: Value,
}

/// Judges a question. All callers may pull from the group `public`. Every granted entry has the
/// members of `meta` in its `meta`, beside the project.
pub(super) fn judge(
    credentials: &[SampleCredential],
    public: Option<&str>,
    meta: &Value,
    question: &Question,
) -> Verdict {
    let pull = Actions { pull: true, ..Actions::default() };
    let is_public = |repository: &str| public.is_some_and(|group| lies_in(repository, group));
    let everybodys =
        |repository: &str| if is_public(repository) { pull } else { Actions::default() };
    if question.user.is_none() || question.secret.is_none() {
        if public.is_none() || question.scopes.is_empty() {
            return Verdict::Denied;
        }
        return Verdict::Granted(Grant {
            auth_type: "none",
            user_name: String::new(),
            deploy_token_id: None,
            access: question
                .scopes
                .iter()
                .filter_map(|scope| granted(scope, meta, everybodys))
                .collect(),
        });
    }
    let Some((credential, number)) = find(credentials, question) else { return Verdict::NotMine };
    let abilities = credential.abilities();
    if abilities == Actions::default() {
        return Verdict::Denied;
    }
    let able = |repository: &str| {
        if credential.reaches(repository) {
            abilities
        } else {
            abilities.intersect(everybodys(repository))
        }
    };
    let listed = |scope: &str| {
        (credential.is_administrators() && scope == CATALOG_SCOPE).then(Access::catalog)
    };
    Verdict::Granted(Grant {
        auth_type: credential.kind.auth_type(),
        user_name: credential.acts_as().to_owned(),
        deploy_token_id: (credential.kind == Kind::DeployToken).then_some(number),
        access: question
            .scopes
            .iter()
            .filter_map(|scope| listed(scope).or_else(|| granted(scope, meta, able)))
            .collect(),
    })
}

/// Returns the credential that the question presents, and its number.
pub(super) fn find<'a>(
    credentials: &'a [SampleCredential],
    question: &Question,
) -> Option<(&'a SampleCredential, usize)> {
    let (user, secret) = (question.user.as_ref()?, question.secret.as_ref()?);
    credentials.iter().zip(1..).find(|(credential, _)| credential.is(user, secret))
}

impl Access {
    /// Returns the access to the list of all repositories.
    fn catalog() -> Self {
        Self {
            r#type: "registry",
            name: "catalog".into(),
            actions: vec!["*".into()],
            meta: json!({}),
        }
    }
}

impl Grant {
    /// Returns the repositories for which push was granted.
    pub(super) fn pushed(&self) -> impl Iterator<Item = &str> {
        let pushed = self
            .access
            .iter()
            .filter(|access| access.actions.iter().any(|action| action == "push"));
        pushed.map(|access| access.name.as_str())
    }
}

/// Returns the access granted for a scope such as `repository:demo/app:pull,push`, or `None` if no
/// action is granted.
fn granted(scope: &str, meta: &Value, able: impl Fn(&str) -> Actions) -> Option<Access> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    // An image lies in a project, and a project lies in a group, so a name with one segment cannot
    // name an image.
    let repository = RepositoryName::parse(name)?;
    let mut segments = repository.as_str().split('/');
    let project_path = format!("{}/{}", segments.next()?, segments.next()?);
    let abilities = able(name);
    let able = |action: &&str| match *action {
        "pull" => abilities.pull,
        "push" => abilities.push,
        "delete" => abilities.delete,
        _ => false,
    };
    let actions: Vec<_> = actions.split(',').filter(able).map(str::to_owned).collect();
    (!actions.is_empty()).then(|| Access {
        r#type: "repository",
        name: name.into(),
        actions,
        meta: changed(json!({ "project_path": project_path }), meta),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Scope, State, sample_credentials};
    use super::*;

    fn ask(
        credentials: &[SampleCredential],
        basic: Option<(&str, &str)>,
        scopes: &[&str],
    ) -> Verdict {
        let question = Question {
            user: basic.map(|(user, _)| user.into()),
            secret: basic.map(|(_, password)| password.into()),
            service: None,
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
            account: None,
            client_id: None,
            forwarded_for: Vec::new(),
            request_id: None,
            asked_at: Instant::now(),
        };
        judge(credentials, Some("open"), &json!({}), &question)
    }

    fn access(verdict: Verdict) -> Vec<String> {
        let Verdict::Granted(grant) = verdict else { panic!("{verdict:?}") };
        grant
            .access
            .into_iter()
            .map(|access| format!("{}:{}", access.name, access.actions.join(",")))
            .collect()
    }

    fn token(scopes: &[Scope]) -> [SampleCredential; 1] {
        [SampleCredential {
            kind: Kind::PersonalAccessToken,
            user: "bob".into(),
            password: "secret".into(),
            scopes: scopes.into(),
            reach: "team/app".into(),
            state: State::Active,
            note: String::new(),
        }]
    }

    #[test]
    fn every_sample_grants_what_its_scopes_say() {
        let samples = sample_credentials();
        for sample in &samples {
            let verdict = ask(
                &samples,
                Some((&sample.user, &sample.password)),
                &["repository:demo/a:pull,push,delete"],
            );
            if sample.state != State::Active {
                assert_eq!(verdict, Verdict::NotMine, "{}", sample.password);
                continue;
            }
            let granted = if sample.scopes.len() == 2 { "demo/a:pull,push" } else { "demo/a:pull" };
            assert_eq!(access(verdict), [granted], "{}", sample.password);
        }
    }

    #[test]
    fn the_samples_have_each_kind_of_credential_with_two_sets_of_scopes() {
        let samples = sample_credentials();
        for (first, second) in samples.iter().take(6).zip(samples.iter().skip(6)) {
            assert_eq!(first.kind, second.kind);
            assert_ne!(first.scopes, second.scopes);
        }
        assert_eq!(samples.len(), 14);
    }

    #[test]
    fn a_scope_grants_exactly_its_actions() {
        for (scopes, granted) in [
            (&[Scope::ReadRegistry][..], "team/app/x:pull"),
            (&[Scope::ReadApi], "team/app/x:pull"),
            (&[Scope::WriteRegistry], "team/app/x:push"),
            (&[Scope::Api], "team/app/x:pull,push,delete"),
        ] {
            let verdict = ask(
                &token(scopes),
                Some(("bob", "secret")),
                &["repository:team/app/x:pull,push,delete,admin"],
            );
            assert_eq!(access(verdict), [granted], "{scopes:?}");
        }
    }

    #[test]
    fn a_token_without_a_registry_scope_is_denied() {
        assert_eq!(
            ask(&token(&[]), Some(("bob", "secret")), &["repository:team/app:pull"]),
            Verdict::Denied
        );
    }

    #[test]
    fn scopes_out_of_reach_or_without_a_valid_image_name_are_not_granted() {
        let api = token(&[Scope::Api]);
        for scope in [
            "repository:team/application:pull",
            "repository:team:pull",
            "repository:other/app:pull",
            "repository:team/APP:pull",
            "repository:team/app:",
            "repository:team/app",
            "registry:catalog:*",
            "nonsense",
        ] {
            assert_eq!(access(ask(&api, Some(("bob", "secret")), &[scope])), [""; 0], "{scope}");
        }
        let several = [
            "repository:team/app/x/y:pull",
            "repository:other/app:pull",
            "repository:team/app:delete",
        ];
        assert_eq!(
            access(ask(&api, Some(("bob", "secret")), &several)),
            ["team/app/x/y:pull", "team/app:delete"]
        );
        let administrators = [SampleCredential { reach: String::new(), ..api[0].clone() }];
        let both = ["registry:catalog:*", "registry:catalog:pull", "repository:other/app:pull"];
        assert_eq!(
            access(ask(&administrators, Some(("bob", "secret")), &both)),
            ["catalog:*", "other/app:pull"]
        );
        let one_segment = [SampleCredential { reach: "team".into(), ..api[0].clone() }];
        assert_eq!(
            access(ask(&one_segment, Some(("bob", "secret")), &["repository:team:pull"])),
            [""; 0]
        );
    }

    #[test]
    fn deploy_and_job_tokens_need_their_user_name_and_access_tokens_do_not() {
        let samples = sample_credentials();
        let known = |user, password| ask(&samples, Some((user, password)), &[]) != Verdict::NotMine;
        for user in ["alice", "anybody", "gitlab-ci-token", ""] {
            assert!(known(user, "glpat-demo-personal-read-write"), "{user}");
            assert!(known(user, "glpat-demo-project-read-write"), "{user}");
            assert!(known(user, "glpat-demo-group-read-write"), "{user}");
        }
        assert!(known("gitlab+deploy-token-1", "gldt-demo-deploy-read-write"));
        assert!(!known("gitlab+deploy-token-2", "gldt-demo-deploy-read-write"));
        assert!(!known("gitlab-ci-token", "gldt-demo-deploy-read-write"));
        assert!(known("gitlab-ci-token", "glcbt-demo-job-read-write"));
        assert!(!known("alice", "glcbt-demo-job-read-write"));
        assert!(!known("alice", "glpat-demo-personal-read-writ"));
    }

    #[test]
    fn an_account_needs_its_own_name_and_password() {
        let account =
            [SampleCredential { kind: Kind::AccountPassword, ..token(&[Scope::Api])[0].clone() }];
        assert_eq!(ask(&account, Some(("alice", "secret")), &[]), Verdict::NotMine);
        let Verdict::Granted(grant) = ask(&account, Some(("bob", "secret")), &[]) else {
            panic!("not granted")
        };
        assert_eq!((grant.auth_type, &*grant.user_name), ("gitlab_or_ldap", "bob"));
    }

    #[test]
    fn a_grant_names_the_user_and_the_type_of_the_credential() {
        let samples = sample_credentials();
        let who = |index: usize| {
            let Verdict::Granted(grant) =
                ask(&samples, Some((&samples[index].user, &samples[index].password)), &[])
            else {
                panic!("sample {index}")
            };
            (grant.auth_type, grant.user_name, grant.deploy_token_id)
        };
        assert_eq!(who(0), ("personal_access_token", "alice".into(), None));
        assert_eq!(who(1), ("personal_access_token", "project_1_bot_demo".into(), None));
        assert_eq!(who(3), ("deploy_token", "gitlab+deploy-token-1".into(), Some(4)));
        assert_eq!(who(4), ("build", "alice".into(), None));
        assert_eq!(who(5), ("build", "alice".into(), None));
    }

    #[test]
    fn an_anonymous_caller_is_granted_no_private_repository_and_no_write() {
        let scopes =
            ["repository:demo/a:pull", "repository:open/a:push,delete", "repository:opener/a:pull"];
        assert_eq!(access(ask(&[], None, &scopes)), [""; 0]);
        assert_eq!(ask(&[], None, &[]), Verdict::Denied);
    }

    #[test]
    fn a_public_repository_can_be_pulled_unless_the_token_lacks_read_scope() {
        let scopes = ["repository:open/a:pull,push", "repository:demo/a:pull"];
        assert_eq!(access(ask(&[], None, &scopes)), ["open/a:pull"]);
        let known = Some(("bob", "secret"));
        assert_eq!(access(ask(&token(&[Scope::Api]), known, &scopes)), ["open/a:pull"]);
        assert_eq!(access(ask(&token(&[Scope::WriteRegistry]), known, &scopes)), [""; 0]);
    }
}
