//! Rules: that they reach the gate, and the warnings about them.

use moorgate::policy::{Mode, Who};

use super::{MINIMAL, ready, warnings};

#[test]
fn rules_reach_the_policy() {
    let policy = ready(include_str!("../../fixtures/config/valid/rules.yml")).policy;
    assert_eq!((policy.mode, policy.grant_needed), (Mode::Shadow, false));
    let [everybody, own, lists] = &policy.rules[..] else { panic!("not three") };
    assert_eq!(everybody.who, [Who::Anonymous, Who::Authenticated]);
    assert!(
        everybody.tags.is_none()
            && everybody.allow.pull
            && !everybody.allow.push
            && !everybody.catalog
    );
    let group = Who::Group { provider: "sso".into(), name: "a/b".into() };
    let user = Who::User { provider: "sso".into(), name: "dana".into() };
    assert_eq!(own.who, [Who::Provider("sso".into()), user, group]);
    assert_eq!(
        own.tags.as_ref().map(|choice| (choice.tags.len(), choice.except.len())),
        Some((1, 2))
    );
    assert!(own.allow.push && own.allow.delete && own.repositories[0].takes_user());
    assert!(lists.catalog && !lists.allow.pull);
    assert_eq!(&*lists.name, "lists");
    assert!(ready(MINIMAL).policy.rules.is_empty());
    assert_eq!(ready(MINIMAL).policy.mode, Mode::Enforce);
    let grant = MINIMAL.replace("upstream: {", "upstream: { authorization: grant,");
    assert!(ready(&grant).policy.grant_needed);
}

#[test]
fn rules_with_doubtful_effect_have_warnings() {
    let of = |more: &str, who: &str, repositories: &str, allow: &str| {
        let rule = format!(
            "{{ name: r, who: [{who}], repositories: [\"{repositories}\"], allow: [{allow}] }}"
        );
        let text = format!("{MINIMAL}policy: {{ {more}rules: [{rule}] }}\n");
        warnings(&text)[1..].to_vec()
    };
    assert_eq!(of("", "anonymous", "a/**", "pull"), [""; 0]);
    assert_eq!(of("", "authenticated", "**", "pull, catalog"), [""; 0]);
    assert_eq!(of("", "anonymous", "**/public", "pull"), [""; 0]);
    assert_eq!(of("", "\"user:alice\"", "users/${user}/**", "pull"), [""; 0]);
    for (found, expected) in [
        (
            of("mode: shadow, ", "authenticated", "a", "pull"),
            "`policy.mode`: a request that the rules deny but the credential allows",
        ),
        (
            of("", "anonymous", "a", "pull, push"),
            "`policy.rules[0].allow`: anonymous callers may only pull; move the other",
        ),
        (
            of("", "anonymous", "**", "pull"),
            "`policy.rules[0].repositories`: any client may pull every image without",
        ),
        (
            of("", "authenticated", "a/**", "catalog"),
            "`policy.rules[0].allow`: catalog shows the names of all",
        ),
        (
            of("", "authenticated", "${claims.x}", "pull"),
            "it matches nothing, because only providers of type jwt have claims",
        ),
    ] {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    let alone = warnings(&format!("{MINIMAL}policy: {{ mode: shadow }}\n"));
    assert!(alone[1].contains("`policy.mode`: it has no effect without rules"), "{alone:?}");
    let rule =
        "policy: { rules: [{ name: r, who: [anonymous], repositories: [a], allow: [pull] }] }\n";
    let basic = warnings(&format!("{MINIMAL}{rule}tokens: {{ challenge: basic }}\n"));
    assert!(
        basic[1].contains("`policy.rules[0].who`: docker and podman pull without a login only"),
        "{basic:?}"
    );
    let anonymous = MINIMAL.replace("type: gitlab,", "type: gitlab, anonymous: true,");
    let useless = warnings(&format!("{anonymous}{rule}"));
    assert!(
        useless[1].contains("`identity[0].anonymous`: it has no effect with policy.rules"),
        "{useless:?}"
    );
    let grant = anonymous.replace("upstream: {", "upstream: { authorization: grant,");
    assert_eq!(warnings(&format!("{grant}{rule}")).len(), 1, "no TLS");
    assert_eq!(
        warnings(&format!("{grant}{}", rule.replace("[a]", "[\"**\"]"))).len(),
        1,
        "GitLab must grant it too"
    );
}

#[test]
fn a_rule_over_claims_of_several_issuers_has_a_warning() {
    let issuer = |name: &str| {
        format!(
            "  - {{ name: {name}, type: jwt, issuer: \"https://{name}.example.com\", \
             jwks_url: \"https://{name}.example.com/keys\", audience: a, any_tenant: true }}\n"
        )
    };
    let of_claims = |issuers: &[&str], who: &str| {
        let identity: String = issuers.iter().map(|name| issuer(name)).collect();
        let rule = format!(
            "{{ name: r, who: [{who}], repositories: [\"${{claims.path}}/**\"], allow: [pull] }}"
        );
        let base = MINIMAL
            .split_inclusive('\n')
            .filter(|line| !line.contains("gitlab"))
            .collect::<String>();
        warnings(&format!(
            "{}identity:\n{identity}policy: {{ rules: [{rule}] }}\n",
            base.replace("identity:\n", "")
        ))
    };
    for (issuers, who, told) in [
        (&["one"][..], "authenticated", false),
        (&["one", "two"], "\"provider:one\"", false),
        (&["one", "two"], "\"provider:one\", \"provider:two\"", true),
        (&["one", "two"], "authenticated", true),
    ] {
        let found = of_claims(issuers, who);
        let is_told = found.iter().any(|warning| {
            warning.contains("one claim value may belong to different callers at different issuers")
        });
        assert_eq!(is_told, told, "{who}: {found:?}");
    }
}
