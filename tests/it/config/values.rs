//! The values of the file, of the environment and of the defaults reach the config.

use jsonwebtoken::Algorithm;
use moorgate::config::{
    AccessLogTarget, ChallengeScheme, Scheme, TlsVersion, UpstreamAuthorization,
};
use moorgate::identity::authenticator::Accepts;
use moorgate::identity::provider::ProviderSettings;
use moorgate::identity::provider::gitlab::GitLabSettings;
use moorgate::identity::provider::htpasswd::HtpasswdSettings;
use moorgate::identity::provider::introspection::{Expected, IntrospectionSettings};
use moorgate::identity::provider::jwt::{
    JwksSource, JwtSettings, RequiredClaim, Tenants, TokenRules,
};
use moorgate::identity::provider::registry_token::RegistryTokenSettings;
use secrecy::ExposeSecret;

use super::files::{KEY_IN_USE, folder};
use super::{MINIMAL, load, ready};

/// Returns the settings of a provider that is a GitLab.
fn gitlab_settings(settings: &ProviderSettings) -> &GitLabSettings {
    let ProviderSettings::GitLab(gitlab) = settings else { panic!("not gitlab") };
    gitlab
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
    let gitlab = gitlab_settings(&config.identity[0].settings);
    assert!(!gitlab.anonymous, "nobody is let in unasked");
    let server = &gitlab.server;
    assert_eq!((gitlab.service.as_str(), server.timeout), ("container_registry", seconds(2)));
    assert_eq!(
        (server.endpoint.https, server.endpoint.authority().as_str()),
        (true, "gitlab.example.com")
    );
    assert!(!gitlab.accept_passwords && gitlab.forward_client_address);
    assert!(gitlab.failure_budget.is_none());
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
        (moorgate::record::LogFormat::Json, AccessLogTarget::Stdout)
    );
    assert!(config.telemetry.is_none());
}

#[test]
fn every_value_in_the_file_reaches_the_config() {
    let config = ready(include_str!("../../fixtures/config/valid/everything-changed.yml"));
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
    let telemetry = config.telemetry.as_ref().unwrap();
    let url = telemetry.collector.endpoint.url();
    assert_eq!(url, "https://collector.example.com:4318/otlp/v1/traces");
    assert!((telemetry.sample - 0.5).abs() < f64::EPSILON);
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains(KEY_IN_USE), "{shown}");
}

#[test]
fn every_value_of_a_provider_reaches_the_config() {
    let config = ready(include_str!("../../fixtures/config/valid/everything-changed.yml"));
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
    let required = |path: &str, allowed: &[&str]| RequiredClaim {
        path: path.parse().expect("a path"),
        allowed: allowed.iter().map(|value| value.parse().expect("a pattern")).collect(),
    };
    let required = [
        required("/kubernetes.io/namespace", &["team-*"]),
        required("namespace_id", &["42", "43"]),
    ];
    assert_eq!(*tenants, Tenants::Required(required.into()));
    assert_eq!(algorithms[..], [Algorithm::EdDSA, Algorithm::PS512]);
    let TokenRules { subject_claim, groups_claim, scopes, .. } = rules;
    let groups_claim = groups_claim.as_ref().map(ToString::to_string);
    assert_eq!(
        (subject_claim.to_string().as_str(), groups_claim.as_deref()),
        ("/user/login", Some("/realm_access/roles"))
    );
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
    assert_eq!((subject_claim.to_string().as_str(), groups_claim, scopes), ("sub", &None, &None));

    let gitlab = gitlab_settings(&inside.settings);
    let endpoint = &gitlab.server.endpoint;
    assert_eq!(
        (endpoint.path.as_str(), endpoint.port, gitlab.service.as_str()),
        ("/gitlab", 80, "my registry")
    );
    assert!(gitlab.accept_passwords && gitlab.anonymous && !gitlab.forward_client_address);
    assert_eq!(
        (gitlab.server.timeout, gitlab.failure_budget),
        (seconds(3), Some((8, seconds(60))))
    );
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
