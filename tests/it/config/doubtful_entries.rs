//! The warnings about entries that match nothing, and about a certificate for another host.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::files::{folder, write, write_private};
use super::{load, warnings};

const HTTP: &str = "version: 1\nhttp: { external_url: \"https://registry.example.com\", \
                    tls: { certificate: tls.crt, key: tls.key } }\n\
                    upstream: { urls: [\"http://127.0.0.1:5000\"] }\n";
const LOCAL: &str = "{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
const GITLAB: &str = "{ name: gitlab, type: gitlab, url: \"https://gitlab.example.com\" }";
const HARBOR: &str = "{ name: harbor, type: registry_token, \
                      realm: \"https://harbor.example.com/token\", service: x, \
                      accepts: { prefixes: [x-] } }";
const SSO: &str = "{ name: sso, type: introspection, url: \"https://sso.example.com\", \
                   client_secret_file: introspection.secret, accepts: { prefixes: [y-] } }";
const JWT: &str = "{ name: jobs, type: jwt, issuer: \"https://ci.example.com\", \
                   jwks_file: jwks.json, audience: a, any_tenant: true }";

fn config(providers: &[&str], rest: &str) -> String {
    format!("{HTTP}identity: [{}]\n{rest}\n", providers.join(", "))
}

/// Returns the warnings about a rule with these keys.
fn rule(providers: &[&str], keys: &str) -> Vec<String> {
    let keys = [("name", "a"), ("repositories", "[a/b]"), ("who", "[authenticated]")]
        .iter()
        .filter(|(key, _)| !keys.contains(&format!("{key}:")))
        .fold(keys.to_owned(), |keys, (key, value)| format!("{keys}, {key}: {value}"));
    let text = format!("policy: {{ rules: [{{ {keys}, allow: [pull, push] }}] }}");
    warnings(&config(providers, &text))
}

fn who(providers: &[&str], who: &str) -> Vec<String> {
    let of_rule = rule(providers, &format!("who: [{who}]"));
    let limit = format!("limits: {{ overrides: [{{ who: [{who}], per_identity: null }}] }}");
    let of_limit = warnings(&config(providers, &limit));
    assert_eq!(of_rule.len(), of_limit.len(), "{of_rule:?} {of_limit:?}");
    of_rule
}

#[test]
fn an_entry_that_matches_no_caller_has_a_warning() {
    let all = [LOCAL, JWT, HARBOR, SSO, GITLAB];
    for right in [
        "\"user:local/alice\"",
        "\"user:gitlab/anyone\"",
        "\"group:sso/ci\"",
        "\"credential:build\"",
        "\"credential:deploy_token\"",
        "\"credential:personal_access_token\"",
        "authenticated",
        "\"provider:local\"",
    ] {
        assert_eq!(who(&all, right), [""; 0], "{right}");
    }
    for (entry, told) in [
        ("user:local/bob", "the file of `local` has no user `bob`; add the user"),
        ("user:local/Alice", "compared exactly: did you mean `alice`?"),
        ("group:local/x", "callers of this provider have no groups; write user:PROVIDER/NAME"),
        ("group:gitlab/x", "have no groups"),
        ("group:harbor/x", "have no groups"),
        ("group:jobs/x", "set identity[1].groups_claim"),
        ("credential:password", "`password` is not a type of credential"),
    ] {
        let found = who(&all, &format!("authenticated, \"{entry}\""));
        assert_eq!(found.len(), 1, "{entry}: {found:?}");
        assert!(found[0].contains("who[1]`") && found[0].contains(told), "{entry}: {found:?}");
    }
    let without = SSO.replace("accepts", "groups_claim: null, accepts");
    assert!(who(&[&without], "\"group:sso/x\"")[0].contains("set identity[0].groups_claim"));
    let with = JWT.replace("any_tenant", "groups_claim: groups, any_tenant");
    assert_eq!(who(&[&with], "\"group:jobs/x\""), [""; 0]);

    let of_type =
        |providers: &[&str], kind: &str| who(providers, &format!("\"credential:{kind}\""));
    assert!(of_type(&[LOCAL, JWT], "build")[0].contains("only providers of type gitlab"));
    assert!(of_type(&[GITLAB], "gitlab_or_ldap")[0].contains("accept_passwords: true"));
    let passwords = GITLAB.replace("name:", "accept_passwords: true, name:");
    assert_eq!(of_type(&[&passwords], "gitlab_or_ldap"), [""; 0]);

    let accepts = LOCAL.replace("name:", "accepts: { users: [alice, ALICE, carol] }, name:");
    let found = warnings(&config(&[&accepts], ""));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("`identity[0].accepts.users[1]`") && found[0].contains("`alice`?"));
    assert!(found[1].contains("has no user `carol`"), "{found:?}");
}

#[test]
fn a_host_in_a_repository_pattern_is_named() {
    for (pattern, rest) in [
        ("registry.example.com/group/**", "group/**"),
        ("registry.example.com", "group/**"),
        ("localhost/x", "e.g. x"),
        ("docker.io/library/nginx", "library/nginx"),
        ("192.0.2.1/x", "e.g. x"),
    ] {
        let found = rule(&[GITLAB], &format!("repositories: [\"{pattern}\"]"));
        assert_eq!(found.len(), 1, "{pattern}: {found:?}");
        assert!(found[0].contains("leave the host out") && found[0].contains(rest), "{found:?}");
    }
    for pattern in ["group/**", "**", "v1.0/x", "localhost", "a.b", "${user}/x", "x/docker.io/y"] {
        assert_eq!(
            rule(&[GITLAB], &format!("repositories: [\"{pattern}\"]")),
            [""; 0],
            "{pattern}"
        );
    }
    for pattern in [
        "https://registry.example.com/group/**",
        "registry.example.com:5000/group/**",
        "localhost:5000/x",
        "Registry.example.com/x",
        "[::1]:5000/x",
        "[::1]/x",
        "127.0.0.1:5000/x",
    ] {
        let rules = format!(
            "policy: {{ rules: [{{ name: a, repositories: [\"{pattern}\"], who: [authenticated], \
             allow: [pull] }}] }}"
        );
        let problems = load(&config(&[GITLAB], &rules), &[]).expect_err(pattern);
        assert!(problems.contains("host of the registry; leave them out"), "{problems}");
    }
}

#[test]
fn tags_that_are_wholly_excluded_have_a_warning() {
    for (keys, place) in [
        ("tags: [\"v*\"], except_tags: [\"v*\"]", "tags[0]`"),
        ("tags: [latest, \"v1*\"], except_tags: [\"v*\"]", "tags[1]`"),
        ("tags: [\"*\"], except_tags: [x, \"*\"]", "tags[0]`"),
        ("except_tags: [\"*\"]", "except_tags`"),
    ] {
        let found = rule(&[GITLAB], keys);
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
        assert!(found[0].contains(place) && found[0].contains("takes out every tag"), "{found:?}");
    }
    for keys in ["tags: [\"*\"], except_tags: [\"v*\"]", "tags: [\"v*\"], except_tags: [\"v1*\"]"] {
        assert_eq!(rule(&[GITLAB], keys), [""; 0], "{keys}");
    }
}

#[test]
fn an_override_behind_one_that_always_matches_has_a_warning() {
    let of = |entries: &[&str]| {
        let entries: Vec<String> =
            entries.iter().map(|who| format!("{{ who: [{who}], per_identity: null }}")).collect();
        let limits = format!("limits: {{ overrides: [{}] }}", entries.join(", "));
        warnings(&config(&[LOCAL, GITLAB], &limits))
    };
    let alice = "\"user:local/alice\"";
    for hidden in [
        ["authenticated", alice],
        ["authenticated", "\"credential:build\""],
        ["anonymous, authenticated", "anonymous, \"provider:gitlab\""],
        ["\"provider:local\"", alice],
        ["\"provider:local\", \"provider:gitlab\"", "authenticated"],
        [alice, alice],
    ] {
        let found = of(&hidden);
        assert_eq!(found.len(), 1, "{hidden:?}: {found:?}");
        assert!(
            found[0].contains("`limits.overrides[1].who`: it never applies"),
            "{hidden:?}: {found:?}"
        );
    }
    for right in [
        [alice, "authenticated"],
        ["authenticated", "anonymous"],
        ["\"provider:gitlab\"", alice],
        ["\"provider:gitlab\"", "authenticated"],
    ] {
        assert_eq!(of(&right), [""; 0], "{right:?}");
    }
}

#[test]
fn a_certificate_for_another_host_has_a_warning() {
    let of = |names: &[SanType], url: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "registry.example.com");
        params.not_after = (std::time::SystemTime::now() + 100 * super::files::DAY).into();
        let certificate = params.self_signed(&key).expect("a certificate");
        write(folder(), "named.crt", certificate.pem());
        write_private(folder(), "named.key", &key.serialize_pem());
        let text = config(&[GITLAB], "")
            .replace("tls.crt, key: tls.key", "named.crt, key: named.key")
            .replace("https://registry.example.com", url);
        warnings(&text)
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("a name"));
    let ip = |address: &str| SanType::IpAddress(address.parse().expect("an address"));
    let registry = "https://registry.example.com";
    for (names, url) in [
        (vec![dns("other.example.com"), dns("Registry.Example.com")], registry),
        (vec![dns("*.example.com")], registry),
        (vec![dns("registry.example.com")], "https://registry.example.com:8443"),
        (vec![ip("192.0.2.1")], "https://192.0.2.1"),
        (vec![ip("2001:db8::1")], "https://[2001:db8::1]:8443"),
    ] {
        assert_eq!(of(&names, url), [""; 0], "{names:?} {url}");
    }
    for (names, url, told) in [
        (vec![dns("other.example.com")], registry, "is for `other.example.com`, but"),
        (vec![], registry, "no subject alternative name, and clients ignore its common name"),
        (vec![dns("*.com")], registry, "is for `*.com`"),
        (vec![dns("*.registry.example.com")], registry, "`*.registry.example.com`"),
        (vec![dns("*.example.com")], "https://a.b.example.com", "`*.example.com`"),
        (vec![ip("192.0.2.1")], "https://192.0.2.2", "`192.0.2.1`"),
        (vec![dns("192.0.2.2")], "https://192.0.2.2", "`192.0.2.2`"),
        (vec![ip("192.0.2.1")], registry, "`192.0.2.1`"),
    ] {
        let found = of(&names, url);
        assert_eq!(found.len(), 1, "{names:?} {url}: {found:?}");
        assert!(
            found[0].contains("`http.tls.certificate`: the certificate ")
                && found[0].contains(told)
                && found[0].contains("the host of http.external_url, and refuse it; use"),
            "{found:?}"
        );
    }
}
