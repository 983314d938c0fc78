//! Rules: that they reach the gate, and the warnings about them.

use moorgate::policy::{Mode, Who};

use super::{MINIMAL, ready, warnings};

#[test]
fn rules_reach_the_policy() {
    let policy = ready(include_str!("../../fixtures/config/valid/rules.yml")).policy;
    assert_eq!((policy.mode, policy.grant_needed), (Mode::Shadow, false));
    let [everybody, own, releases, lists] = &policy.rules[..] else { panic!("not four") };
    assert!(releases.immutable && releases.from.len() == 2 && !own.immutable);
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
fn addresses_immutable_tags_and_maintenance_reach_the_policy() {
    let of = |keys: &str| {
        let rule = format!("name: r, repositories: [a], who: [authenticated], allow: [pull]{keys}");
        ready(&format!("{MINIMAL}policy: {{ read_only: true, rules: [{{ {rule} }}] }}\n")).policy
    };
    let policy = of("");
    let rule = &policy.rules[0];
    assert!(policy.read_only && rule.from.is_empty() && !rule.immutable);
    let policy = of(", from: [10.0.0.0/8, \"::ffff:192.0.2.0/120\"], immutable: true");
    let rule = &policy.rules[0];
    let networks: Vec<_> = rule.from.iter().map(ToString::to_string).collect();
    assert_eq!(
        (networks, rule.immutable),
        (vec!["10.0.0.0/8".into(), "192.0.2.0/24".into()], true)
    );
    let signature = moorgate::registry::Tag::parse(&format!("sha256-{}.sig", "a".repeat(64)));
    let tags = |keys: &str| of(keys).rules.remove(0).tags.unwrap();
    let named = tags(", tags: [\"${signatures}\"]");
    assert!(named.tags[0].matches(signature.as_ref().unwrap()) && named.tags[0].is_of_signatures());
    let excepted = tags(", except_tags: [\"${signatures}\"]");
    assert!(excepted.except[0].is_of_signatures() && !excepted.tags[0].is_of_signatures());
    assert!(!ready(MINIMAL).policy.read_only);
}

#[test]
fn a_rule_that_can_match_no_client_or_no_tag_has_a_warning() {
    let of = |proxies: &str, keys: &str| {
        let rule = format!("name: r, repositories: [a], who: [authenticated], allow: [pull]{keys}");
        let http = MINIMAL.replace("http: {", &format!("http: {{ trusted_proxies: [{proxies}],"));
        warnings(&format!("{http}policy: {{ rules: [{{ {rule} }}] }}\n"))[1..].to_vec()
    };
    for (proxies, keys) in [
        ("", ", from: [10.0.0.0/8]"),
        ("10.1.0.0/16", ", from: [10.0.0.0/8]"),
        ("192.0.2.0/24", ", from: [10.0.0.0/8, \"fd00::/8\"]"),
        ("10.0.0.0/8", ""),
        ("", ", immutable: true"),
        ("", ", immutable: true, tags: [\"v*\", \"${signatures}\"]"),
        ("", ", immutable: true, except_tags: [\"${signatures}\"]"),
        ("", ", tags: [\"${signatures}\"]"),
    ] {
        assert_eq!(of(proxies, keys), [""; 0], "{proxies} {keys}");
    }
    let one_signature = format!(", immutable: true, tags: [sha256-{}.att]", "a".repeat(64));
    for (proxies, keys, told) in [
        (
            "10.0.0.0/8",
            ", from: [192.0.2.0/24, 10.1.0.0/16]",
            "`policy.rules[0].from[1]`: it matches no client, because the whole network is in",
        ),
        (
            "192.0.2.1/32",
            ", from: [192.0.2.1/32]",
            "`policy.rules[0].from[0]`: it matches no client",
        ),
        (
            "",
            ", immutable: true, tags: [\"${signatures}\"]",
            "`policy.rules[0].immutable`: tags of ${signatures} are exempt",
        ),
        ("", &one_signature, "`policy.rules[0].immutable`: tags of ${signatures} are exempt"),
        (
            "",
            ", tags: [\"${signatures}\"], except_tags: [\"sha256-*\"]",
            "`policy.rules[0].tags[0]`: except_tags takes out every tag",
        ),
    ] {
        let found = of(proxies, keys);
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
        assert!(found[0].contains(told), "{found:?}");
    }
    let read_only = warnings(&format!("{MINIMAL}policy: {{ read_only: true }}\n"));
    assert_eq!(read_only.len(), 2, "{read_only:?}");
    assert!(
        read_only[1].contains("`policy.read_only`: every push and delete is refused with 405"),
        "{read_only:?}"
    );
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
    assert_eq!(of("", "anonymous", "**", "pull], from: [10.0.0.0/8"), [""; 0]);
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
