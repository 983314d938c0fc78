//! Properties that hold for all rules.

use proptest::prelude::*;

use super::rules::{caller, rule, with_rules};
use super::*;

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let repositories = prop::sample::select(vec![
        "a",
        "**",
        "a/**",
        "*",
        "b,a/b",
        "${user}/**",
        "${claims.project_path}/**",
    ]);
    let who = prop::sample::select(vec![
        "anonymous",
        "authenticated",
        "user:p/alice",
        "group:q/dev",
        "provider:p",
        "credential:build",
        "anonymous,authenticated",
    ]);
    let allow = prop::sample::select(vec!["pull", "push", "delete", "pull,push", "*", "catalog"]);
    let tags = prop::sample::select(vec![None, Some("v*"), Some("*,-v*")]);
    let rule = (repositories, who, allow, tags)
        .prop_map(|(repositories, who, allow, tags)| rule("r", repositories, who, allow, tags));
    prop::collection::vec(rule, 1..5)
}

fn callers() -> impl Strategy<Value = Verified> {
    prop::sample::select(vec![
        caller("p", "", None, &[]),
        caller("p", "alice", None, &[]),
        caller("p", "alice", Some("build"), &[]),
        caller("q", "bob", None, &["dev"]),
        Verified { granted: scopes(&["read_registry"]).granted, ..caller("p", "alice", None, &[]) },
        Verified { granted: Granted::Nothing, ..caller("p", "alice", None, &[]) },
    ])
}

fn requests() -> impl Strategy<Value = RegistryRequest> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let targets = vec![
        (Method::GET, "manifests/v1".to_owned()),
        (Method::PUT, "manifests/v1".to_owned()),
        (Method::PUT, "manifests/latest".to_owned()),
        (Method::PUT, format!("manifests/{digest}?tag=v1&tag=x")),
        (Method::DELETE, "manifests/v1".to_owned()),
        (Method::DELETE, format!("manifests/{digest}")),
        (Method::DELETE, format!("blobs/{digest}")),
        (Method::POST, "blobs/uploads/".to_owned()),
    ];
    let names = prop::sample::select(vec!["a", "a/b", "b", "alice/x", "group/app/x"]);
    (names, prop::sample::select(targets))
        .prop_map(|(name, (method, target))| request(method, &format!("/v2/{name}/{target}")))
}

fn allowed(rules: Vec<Rule>, mode: Mode, request: &RegistryRequest, caller: &Verified) -> bool {
    with_rules(rules, mode).authorize(request.clone(), caller).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 1000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn another_rule_never_takes_anything_away(
        rules in rules(), more in rules(), request in requests(), caller in callers(),
    ) {
        let together = [rules.clone(), more].concat();
        let before = allowed(rules, Mode::Enforce, &request, &caller);
        prop_assert!(!before || allowed(together, Mode::Enforce, &request, &caller));
    }

    #[test]
    fn rules_never_allow_more_than_the_credential(
        rules in rules(),
        request in requests(),
        caller in callers(),
    ) {
        prop_assume!(!caller.principal.is_anonymous());
        let alone = policy().authorize(request.clone(), &caller).is_ok();
        for mode in [Mode::Enforce, Mode::Shadow] {
            prop_assert!(alone || !allowed(rules.clone(), mode, &request, &caller));
        }
        let shadow = allowed(rules, Mode::Shadow, &request, &caller);
        prop_assert_eq!(alone, shadow, "shadow mode denies nothing");
    }

    #[test]
    fn an_anonymous_caller_never_writes(rules in rules(), request in requests()) {
        let nobody = caller("p", "", None, &[]);
        for mode in [Mode::Enforce, Mode::Shadow] {
            let allowed = allowed(rules.clone(), mode, &request, &nobody);
            prop_assert!(request.method() == Method::GET || !allowed);
        }
        let in_mode = |mode| allowed(rules.clone(), mode, &request, &nobody);
        prop_assert_eq!(in_mode(Mode::Enforce), in_mode(Mode::Shadow));
    }

    #[test]
    fn the_order_does_not_matter(rules in rules(), request in requests(), caller in callers()) {
        let mut reversed = rules.clone();
        reversed.reverse();
        let decided =
            |rules| with_rules(rules, Mode::Enforce).authorize(request.clone(), &caller).map(drop);
        prop_assert_eq!(decided(rules), decided(reversed));
    }

    /// A request is allowed if and only if a token would list its action, except that its tag may
    /// be refused.
    #[test]
    fn tokens_list_what_requests_are_allowed(
        rules in rules(), request in requests(), caller in callers(),
    ) {
        let access = request.required();
        let policy = with_rules(rules, Mode::Enforce);
        let granted = policy.granted(&access, &caller);
        let Access::Repository(name, action) = &access else { panic!("no repository") };
        let listed = granted.iter().any(|(it, actions)| it == name && actions.allow(*action));
        match policy.authorize(request.clone(), &caller) {
            Ok(_) => prop_assert!(listed),
            Err(
                Denial::DeniedByPolicy(crate::denial::RuleRefusal::Action(_))
                | Denial::NoCredential,
            ) => prop_assert!(!listed),
            Err(_) => {}
        }
    }
}
