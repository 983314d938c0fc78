//! The configuration: the texts that load, the texts that are refused with their messages, and the
//! files under config/.
//!
//! `UPDATE_EXPECTED=1 cargo test` rewrites the expected messages. Review the diff afterwards.

pub mod files;
mod fixtures;
mod limits;
mod policy;
mod reference;
mod tokens;

use std::path::Path;

use jsonwebtoken::Algorithm;
use moorgate::config::{
    self, AccessLogTarget, ChallengeScheme, Config, Loaded, Scheme, TlsVersion,
    UpstreamAuthorization,
};
use moorgate::identity::authenticator::Accepts;
use moorgate::identity::provider::ProviderSettings;
use moorgate::identity::provider::gitlab::GitLabSettings;
use moorgate::identity::provider::htpasswd::HtpasswdSettings;
use moorgate::identity::provider::introspection::{Expected, IntrospectionSettings};
use moorgate::identity::provider::jwt::{JwksSource, JwtSettings, Tenants, TokenRules};
use moorgate::identity::provider::registry_token::RegistryTokenSettings;
use proptest::prelude::*;
use secrecy::ExposeSecret;

use self::files::{KEY_IN_USE, folder};

/// A small valid configuration that the tests below add to.
const MINIMAL: &str = include_str!("../fixtures/config/valid/minimal.yml");

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config::load_text(text, Path::new("moorgate.yml"), folder(), environment)
        .map_err(|problems| problems.to_string())
}

fn ready(text: &str) -> Config {
    load(text, &[]).expect(text).config
}

fn warnings(text: &str) -> Vec<String> {
    load(text, &[]).expect(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_minimal_config_has_the_expected_defaults() {
    let config = ready(MINIMAL);
    let seconds = std::time::Duration::from_secs;
    assert_eq!(config.http.addr.to_string(), "0.0.0.0:8443");
    assert!(
        config.http.tls.is_none() && config.http.http2 && config.http.trusted_proxies.is_empty()
    );
    assert!(!config.http.proxy_protocol);
    assert_eq!(config.http.workers, std::thread::available_parallelism().expect("a CPU").get());
    assert_eq!((config.http.max_connections, config.http.max_header_bytes), (10_000, 32_768));
    assert_eq!(
        (config.http.handshake_timeout, config.http.header_timeout),
        (seconds(10), seconds(10))
    );
    assert_eq!((config.http.idle_timeout, config.http.stall_timeout), (seconds(60), seconds(60)));
    assert_eq!(config.http.drain_timeout, seconds(300));
    assert_eq!(config.admin.addr.to_string(), "127.0.0.1:9464");
    assert!(matches!(config.upstream.authorization, UpstreamAuthorization::Strip));
    assert_eq!(config.upstream.connect_timeout, seconds(5));
    assert_eq!(config.upstream.response_timeout, seconds(60));
    assert_eq!(config.upstream.upload_response_timeout, seconds(900));
    assert!(config.upstream.endpoint.roots.is_none());
    let ProviderSettings::GitLab(GitLabSettings {
        server,
        service,
        accept_passwords,
        anonymous,
        forward_client_address,
        failure_budget,
    }) = &config.identity[0].settings
    else {
        panic!("not gitlab")
    };
    assert!(!anonymous, "nobody is let in unasked");
    assert_eq!((service.as_str(), server.timeout), ("container_registry", seconds(2)));
    assert_eq!(
        (server.endpoint.https, server.endpoint.authority().as_str()),
        (true, "gitlab.example.com")
    );
    assert!(!accept_passwords && *forward_client_address && failure_budget.is_none());
    assert!(config.identity[0].accepts.is_none());
    assert_eq!(config.scopes.pull, ["read_registry"]);
    assert_eq!(config.scopes.push, ["read_registry", "write_registry"]);
    assert_eq!(config.scopes.delete, ["delete_registry"]);
    assert!(config.scopes.equivalents.is_empty(), "`api` of another server is not GitLab's");
    assert_eq!(
        (config.tokens.challenge, config.tokens.lifetime),
        (ChallengeScheme::Bearer, seconds(3600))
    );
    assert!(config.tokens.keys.is_none());
    assert_eq!((config.cache.ttl, config.cache.negative_ttl), (seconds(60), seconds(10)));
    assert_eq!(config.cache.stale_if_error, seconds(600));
    assert_eq!((config.cache.capacity, config.cache.negative_capacity), (100_000, 10_000));
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(
        (config.log.format, config.log.access),
        (config::LogFormat::Json, AccessLogTarget::Stdout)
    );
}

#[test]
fn every_value_in_the_file_reaches_the_config() {
    let config = ready(include_str!("../fixtures/config/valid/everything-changed.yml"));
    let seconds = std::time::Duration::from_secs;
    let http = &config.http;
    assert_eq!(http.addr.to_string(), "[::1]:443");
    assert_eq!(
        (http.external_url.scheme, http.external_url.service()),
        (Scheme::Https, "registry.example.com:8443")
    );
    assert_eq!(http.tls.as_ref().expect("TLS").minimum_version, TlsVersion::V1_3);
    assert!(http.tls.as_ref().expect("TLS").not_after > std::time::SystemTime::now());
    assert_eq!(http.tls.as_ref().expect("TLS").certified_key.cert.len(), 1);
    assert_eq!(
        (http.http2, http.workers, http.max_connections, http.max_header_bytes),
        (false, 4, 7, 4096)
    );
    assert_eq!((http.trusted_proxies.len(), http.proxy_protocol), (2, true));
    assert_eq!([http.handshake_timeout, http.header_timeout], [seconds(1), seconds(2)]);
    assert_eq!(
        [http.idle_timeout, http.stall_timeout, http.drain_timeout],
        [seconds(3), seconds(4), seconds(3600)]
    );
    let upstream = &config.upstream;
    assert_eq!(
        (upstream.endpoint.https, upstream.endpoint.authority().as_str()),
        (true, "registry.internal:5443")
    );
    assert_eq!(upstream.endpoint.roots.as_ref().expect("roots").len(), 1);
    let UpstreamAuthorization::Basic { username, password } = &upstream.authorization else {
        panic!("not basic")
    };
    assert_eq!((username.as_str(), password.expose_secret()), ("gate", "s3cret with spaces "));
    assert_eq!(upstream.connect_timeout, std::time::Duration::from_millis(500));
    assert_eq!(
        [upstream.response_timeout, upstream.upload_response_timeout],
        [seconds(61), seconds(1800)]
    );
    let names: Vec<_> = config.identity.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["local", "workloads", "cluster", "inside", "harbor", "sso", "outside"]);
    let ProviderSettings::Htpasswd(HtpasswdSettings { users, scopes }) =
        &config.identity[0].settings
    else {
        panic!("not htpasswd")
    };
    assert!(
        users
            .hash_of("alice")
            .is_some_and(|hash| bcrypt::verify("wonderland", hash).expect("a hash"))
    );
    assert_eq!(scopes, &["pull:any", "all"]);
    assert_eq!(config.scopes.equivalents.len(), 1);
    assert_eq!(
        (config.tokens.challenge, config.tokens.lifetime),
        (ChallengeScheme::Basic, seconds(30 * 24 * 3600))
    );
    assert!(config.tokens.keys.is_some());
    assert_eq!((config.cache.capacity, config.cache.negative_capacity), (5, 6));
    assert_eq!(config.cache.stale_if_error, seconds(0));
    assert_eq!(config.log.access, AccessLogTarget::File(folder().join("access.log")));
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains(KEY_IN_USE), "{shown}");
}

#[test]
fn every_value_of_a_provider_reaches_the_config() {
    let config = ready(include_str!("../fixtures/config/valid/everything-changed.yml"));
    let seconds = std::time::Duration::from_secs;
    let [_, workloads, cluster, inside, harbor, sso, _] = &config.identity[..] else {
        panic!("not seven")
    };

    let ProviderSettings::Jwt(JwtSettings { keys, timeout, rules }) = &workloads.settings else {
        panic!("not jwt")
    };
    let TokenRules { issuer, audience, tenants, algorithms, .. } = rules;
    let JwksSource::Url(server) = keys else { panic!("not a URL") };
    assert_eq!(
        (server.endpoint.path.as_str(), server.timeout, *timeout),
        ("/keys/", seconds(4), seconds(4))
    );
    assert!(server.endpoint.https && server.endpoint.roots.is_some());
    assert_eq!((issuer.as_str(), audience.as_str()), ("https://Tenant.example.com/", "registry"));
    let values =
        |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let required =
        [("namespace_id".to_owned(), values(&["42", "43"])), ("ref".to_owned(), values(&["main"]))];
    assert_eq!(*tenants, Tenants::Required(required.into()));
    assert_eq!(algorithms[..], [Algorithm::EdDSA, Algorithm::PS512]);
    let TokenRules { subject_claim, groups_claim, scopes, .. } = rules;
    assert_eq!((subject_claim.as_str(), groups_claim.as_deref()), ("user_login", Some("roles")));
    assert_eq!(scopes.as_deref(), Some(&["pull:any".to_owned()][..]));
    assert_eq!(workloads.accepts, None);

    let ProviderSettings::Jwt(JwtSettings { keys, rules, .. }) = &cluster.settings else {
        panic!("not jwt")
    };
    let TokenRules { tenants, algorithms, subject_claim, groups_claim, scopes, .. } = rules;
    let JwksSource::File(known) = keys else { panic!("not a file") };
    assert_eq!(known.len(), 1);
    assert_eq!(
        (tenants, &algorithms[..]),
        (&Tenants::Any, &[Algorithm::RS256, Algorithm::ES256][..])
    );
    assert_eq!((subject_claim.as_str(), groups_claim, scopes), ("sub", &None, &None));

    let ProviderSettings::GitLab(GitLabSettings {
        server,
        service,
        accept_passwords,
        anonymous,
        forward_client_address,
        failure_budget,
    }) = &inside.settings
    else {
        panic!("not gitlab")
    };
    let endpoint = &server.endpoint;
    assert_eq!(
        (endpoint.path.as_str(), endpoint.port, service.as_str()),
        ("/gitlab", 80, "my registry")
    );
    assert!(*accept_passwords && *anonymous && !forward_client_address);
    assert_eq!((server.timeout, *failure_budget), (seconds(3), Some((8, seconds(60)))));
    let accepts =
        Accepts { users: values(&["gitlab-ci-token"]), prefixes: values(&["glpat-", "gldt-"]) };
    assert_eq!(inside.accepts, Some(accepts));

    let ProviderSettings::RegistryToken(RegistryTokenSettings { server, service }) =
        &harbor.settings
    else {
        panic!("not registry_token")
    };
    assert_eq!(
        (server.endpoint.path.as_str(), service.as_str()),
        ("/service/token", "harbor-registry")
    );
    assert_eq!(harbor.accepts, Some(Accepts { users: values(&["robot"]), prefixes: vec![] }));

    let ProviderSettings::Introspection(IntrospectionSettings {
        server,
        client_id,
        client_secret,
        expected: Expected { audience, match_username, groups_claim },
    }) = &sso.settings
    else {
        panic!("not introspection")
    };
    assert_eq!((server.endpoint.path.as_str(), client_id.as_str()), ("/introspect/", "gate"));
    assert_eq!(client_secret.expose_secret(), "s3cret with spaces ");
    assert_eq!(
        (audience.as_deref(), *match_username, groups_claim),
        (Some("registry"), true, &None)
    );
}

#[test]
fn the_environment_beats_the_file() {
    let environment = [
        ("MOORGATE_HTTP_ADDR", "127.0.0.1:0"),
        ("MOORGATE_HTTP_TLS_CERTIFICATE", "tls.crt"),
        ("MOORGATE_HTTP_TLS_KEY", "tls.key"),
        ("MOORGATE_HTTP_WORKERS", "2"),
        ("MOORGATE_HTTP_MAX_CONNECTIONS", "12"),
        ("MOORGATE_LOG_ACCESS", "off"),
    ];
    let config = load(MINIMAL, &environment).expect("valid overrides").config;
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:0");
    assert!(config.http.tls.is_some(), "a section that the file lacks comes into being");
    assert_eq!((config.http.workers, config.http.max_connections), (2, 12));
    assert_eq!(config.log.access, AccessLogTarget::Off);
}

#[test]
fn the_printed_config_is_redacted_and_loads_to_the_same_config() {
    for name in ["minimal", "everything-changed", "anchors"] {
        let text = std::fs::read_to_string(files::fixture("valid", name)).expect(name);
        let first = load(&text, &[]).expect(name);
        let printed = first.print();
        assert!(
            !printed.contains("s3cret") && !printed.contains("$2") && !printed.contains(KEY_IN_USE),
            "{printed}"
        );
        let elsewhere = Path::new("/");
        let again =
            config::load_text(&printed, Path::new("printed.yml"), elsewhere, []).expect(&printed);
        assert_eq!(again.print(), printed);
        assert_eq!(format!("{:?}", again.config), format!("{:?}", first.config));
    }
    let printed = load(MINIMAL, &[("MOORGATE_CACHE_TTL", "5m")]).expect("valid").print();
    for line in [
        "  lifetime: 1h",
        "  key_file: null",
        "  ttl: 5m",
        "  idle_timeout: 60s",
        "  max_header_bytes: 32KiB",
        "  tls: null",
        "  - type: gitlab",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} in {printed}");
    }
}

#[test]
fn each_doubtful_setting_has_its_warning() {
    let tls = |certificate: &str, key: &str| {
        let tls = format!("tls: {{ certificate: {certificate}, key: {key} }}, external_url");
        warnings(&MINIMAL.replace("external_url", &tls))
    };
    assert_eq!(tls("tls.crt", "tls.key"), [""; 0]);
    assert_eq!(warnings(MINIMAL).len(), 1);
    assert!(warnings(MINIMAL)[0].starts_with(
        "moorgate.yml:2:1: `http.tls`: no TLS: credentials cross the network in the clear"
    ));
    assert!(tls("soon.crt", "soon.key")[0].starts_with(
        "moorgate.yml:2:29: `http.tls.certificate`: the certificate expires in 9 days, on "
    ));
    assert!(tls("expired.crt", "expired.key")[0].contains("THE CERTIFICATE EXPIRED on "));
    assert!(tls("future.crt", "future.key")[0].contains("the certificate becomes valid on "));
    if cfg!(unix) {
        assert!(
            tls("tls.crt", "open.key")[0]
                .contains("every user of this machine may read `open.key`; chmod o-r")
        );
    }

    let with_tls = MINIMAL
        .replace("external_url", "tls: { certificate: tls.crt, key: tls.key }, external_url");
    let only = |from: &str, to: &str| {
        let warnings = warnings(&with_tls.replace(from, to));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings[0].clone()
    };
    assert!(
        only("https://registry", "http://registry")
            .contains("the URL directs clients to http although http.tls is set")
    );
    let networks = only("external_url", "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0], external_url");
    assert!(networks.contains("any client could claim any address"), "{networks}");
    let identity = "}, { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry, read_regsitry] }]";
    let both = warnings(&with_tls.replace("}]", identity));
    assert!(
        both[0].contains("`local` verifies passwords offline but is listed after `gitlab`"),
        "{both:?}"
    );
    assert!(both[1].contains("`read_regsitry` has no effect: no operation"), "{both:?}");
    providers_warn(&with_tls);
    let basic = "authorization: basic, username: gate, password_file: upstream.password, urls: [\"http://registry";
    assert!(
        only("urls: [\"http://127.0.0.1", basic)
            .contains("the upstream's password crosses the network")
    );
    let grant = "authorization: grant, urls: [\"http://registry";
    assert!(
        only("urls: [\"http://127.0.0.1", grant)
            .contains("the tokens for the upstream cross the network in the")
    );
    if cfg!(unix) {
        let open = only("version: 1\n", "version: 1\ntokens: { key_file: open.keys }\n");
        assert!(
            open.contains("`tokens.key_file`: every user of this machine may read `open.keys`"),
            "{open}"
        );
    }
    assert!(
        only("upstream: {", "upstream: { ca: ca.pem,")
            .contains("has no effect because the URL is http")
    );

    let in_the_clear = warnings(&MINIMAL.replace("https://registry", "http://registry"));
    assert!(
        in_the_clear
            .iter()
            .any(|warning| warning.contains("clients send their credentials in the clear"))
    );
    assert_eq!(
        warnings(&MINIMAL.replace("https://registry.example.com", "http://localhost")).len(),
        1,
        "loopback"
    );
}

/// Asserts the warnings about a provider that is shown secrets meant for another one, and about
/// secrets that cross the network without TLS.
fn providers_warn(with_tls: &str) {
    const GITLAB: &str = "{ name: gitlab, type: gitlab, url: \"https://gitlab.example.com\" }";
    const HARBOR: &str = "{ name: harbor, type: registry_token, realm: \"https://harbor.example.com/token\", service: harbor }";
    const SSO: &str = "{ name: sso, type: introspection, url: \"https://sso.example.com\" }";
    const JWT: &str = "{ name: jobs, type: jwt, issuer: \"https://ci.example.com\", jwks_file: jwks.json, audience: a, any_tenant: true }";
    const LOCAL: &str = "{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let start = with_tls.find("identity:").expect("a chain");
    let of = |chain: &[&str]| {
        warnings(&format!("{}identity: [{}]\n", &with_tls[..start], chain.join(", ")))
    };
    let accepting = |provider: &str| provider.replace(" }", ", accepts: { prefixes: [x-] } }");

    for quiet in [
        vec![LOCAL.to_owned(), GITLAB.to_owned()],
        vec![LOCAL.to_owned(), JWT.to_owned(), GITLAB.to_owned()],
        vec![GITLAB.to_owned(), JWT.to_owned()],
        vec![JWT.to_owned(), LOCAL.to_owned()],
        vec![accepting(GITLAB), accepting(HARBOR), SSO.to_owned()],
        vec![accepting(SSO), LOCAL.to_owned()],
    ] {
        let chain: Vec<&str> = quiet.iter().map(String::as_str).collect();
        assert_eq!(of(&chain), [""; 0], "{quiet:?}");
    }
    for (earlier, later) in
        [(GITLAB, SSO), (SSO, HARBOR), (HARBOR, GITLAB), (GITLAB, &accepting(SSO))]
    {
        let warnings = of(&[earlier, later]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("receives the credentials that are meant for"),
            "{warnings:?}"
        );
        assert!(warnings[0].starts_with("moorgate.yml:4:20: `identity[0].name`"), "{warnings:?}");
    }
    let mistyped = of(&[SSO, JWT, LOCAL]);
    assert_eq!(mistyped.len(), 1, "{mistyped:?}");
    assert!(
        mistyped[0].contains("`local` verifies passwords offline but is listed after `sso`"),
        "{mistyped:?}"
    );

    let clear = GITLAB.replace("https://", "http://").replace(" }", ", insecure: true }");
    assert!(
        of(&[&clear])[0]
            .contains("credentials cross the network in the clear, as insecure: true allows")
    );
    let clear = JWT.replace(
        "jwks_file: jwks.json",
        "jwks_url: \"http://ci.example.com/keys\", insecure: true",
    );
    assert!(
        of(&[&clear])[0].contains("an attacker on the network could replace the keys"),
        "{:?}",
        of(&[&clear])
    );
    let useless = of(&[&JWT.replace(" }", ", scopes: [read_registry, raed] }")]);
    assert!(
        useless.len() == 1 && useless[0].contains("`raed` has no effect: no operation"),
        "{useless:?}"
    );
    if cfg!(unix) {
        let open = of(&[&SSO
            .replace(" }", ", client_secret_file: open.key }")
            .replace("open.key", "open.secret")]);
        assert!(
            open.len() == 1
                && open[0].contains("every user of this machine may read `open.secret`"),
            "{open:?}"
        );
    }
}

#[test]
fn config_files_that_are_not_text_are_refused_with_the_position() {
    let load = |name: &str| {
        let path = folder().join(name);
        let problems = config::load(&path, []).expect_err(name).to_string();
        problems.replace(&format!("{}", path.display()), "FILE")
    };
    assert_eq!(load("no.yml"), "FILE:1:1: the file does not exist; name one with --config");
    assert_eq!(load("folder"), "FILE:1:1: this is a folder; name the file in it");
    assert_eq!(load("latin1.yml"), "FILE:2:7: this is not UTF-8; save the file as UTF-8");
    assert_eq!(
        load("huge.yml"),
        "FILE:1:1: the file is larger than 1 MiB; name a configuration file with --config"
    );
}

#[test]
fn byte_order_mark_and_crlf_are_read() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    ready(&text);
    let problems = load(&text.replace("version: 1", "version: 2"), &[]).expect_err("version 2");
    assert_eq!(problems, "moorgate.yml:1:10: `version`: `2` is not known; write 1");
}

#[test]
fn deep_and_wide_text_ends_in_a_problem_and_not_in_a_crash() {
    for text in
        ["- ".repeat(400_000), "[".repeat(500_000), "{a: ".repeat(250_000), "? ".repeat(400_000)]
    {
        load(&text, &[]).expect_err("nested");
    }
    let wide: String = (0..100_000).map(|number| format!("k{number}: 1\n")).collect();
    assert!(load(&wide, &[]).expect_err("wide").contains("more than 10000 values"));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for number in 1..9_000 {
        chain.push_str(&format!("a{number}: &a{number} [*a{}]\n", number - 1));
    }
    load(&chain, &[]).expect_err("a chain of aliases");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loading_any_text_never_panics(text in any::<String>()) {
        let _ = load(&text, &[]);
    }

    #[test]
    fn yaml_marks_never_panic(text in "[-a-c:{}\\[\\]&*!|>'\"%@`#?,~ \t\n\r\u{0}\u{feff}\u{85}.0-9]{0,80}") {
        let _ = load(&text, &[]);
    }

    #[test]
    fn loading_a_mutated_config_never_panics(
        start in 0..1_000_usize,
        length in 0..40_usize,
        with in "[-a-c:{}\\[\\]&*!|>'\"%@`#?,~ \t\n.0-9]{0,10}",
        value in any::<String>(),
    ) {
        let reference = include_str!("../fixtures/config/valid/everything-changed.yml");
        let characters: Vec<char> = reference.chars().collect();
        let start = start.min(characters.len());
        let end = (start + length).min(characters.len());
        let mut text: String = characters[..start].iter().collect();
        text.push_str(&with);
        text.extend(&characters[end..]);
        let _ = load(&text, &[("MOORGATE_HTTP_EXTERNAL_URL", &value), ("MOORGATE_HTTP_ADDR", &with)]);
    }
}
