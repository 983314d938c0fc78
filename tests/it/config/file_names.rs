//! Keys that name a file: a secret that an operator writes there in place of the name of its file
//! is in no message.

use super::files::folder;
use super::{MINIMAL, load};

/// A text that is in no message, however it is cut off.
const SECRET: &str = "hunter2";

/// The place of a value in a config, and every key that names a file.
fn configs(value: &str) -> Vec<(&'static str, String)> {
    let with = |from: &str, to: String| MINIMAL.replace(from, &to);
    let section = |text: &str| format!("{MINIMAL}{text}\n");
    let provider = |keys: &str| {
        let start = MINIMAL.find("identity:").expect("providers");
        format!("{}identity: [{{ name: x, {keys} }}]\n", &MINIMAL[..start])
    };
    vec![
        (
            "http.tls.certificate",
            with(
                "external_url",
                format!("tls: {{ certificate: {value}, key: tls.key }}, external_url"),
            ),
        ),
        (
            "http.tls.key",
            with(
                "external_url",
                format!("tls: {{ certificate: tls.crt, key: {value} }}, external_url"),
            ),
        ),
        ("admin.token_file", section(&format!("admin: {{ token_file: {value} }}"))),
        (
            "upstream.password_file",
            with(
                "urls",
                format!("authorization: basic, username: x, password_file: {value}, urls"),
            ),
        ),
        ("upstream.ca", with("urls", format!("ca: {value}, urls"))),
        ("tokens.key_file", section(&format!("tokens: {{ key_file: {value} }}"))),
        (
            "identity[0].file",
            provider(&format!("type: htpasswd, scopes: [read_registry], file: {value}")),
        ),
        (
            "identity[0].client_secret_file",
            provider(&format!(
                "type: introspection, url: \"https://sso.example.com\", client_secret_file: {value}"
            )),
        ),
        (
            "identity[0].jwks_file",
            provider(&format!(
                "type: jwt, issuer: \"https://sso.example.com\", audience: x, any_tenant: true, \
                 jwks_file: {value}"
            )),
        ),
        (
            "identity[0].ca",
            provider(&format!("type: gitlab, url: \"https://gitlab.example.com\", ca: {value}")),
        ),
        (
            "redis.password_file",
            section(&format!("redis: {{ url: \"redis://127.0.0.1\", password_file: {value} }}")),
        ),
        ("redis.ca", section(&format!("redis: {{ url: \"rediss://127.0.0.1\", ca: {value} }}"))),
        ("log.access", section(&format!("log: {{ access: {value} }}"))),
        ("log.audit", section(&format!("log: {{ audit: {value} }}"))),
    ]
}

#[test]
fn a_secret_in_place_of_a_file_name_is_not_quoted() {
    let long = format!("\"{SECRET}{}\"", "x".repeat(300));
    for (value, told) in [
        ("\"/no-such-folder/hunter2\"", "the folder of this file does not exist"),
        ("\"no-such-folder/../hunter2/hunter2\"", "does not exist"),
        (&*long, "too long"),
        ("\"-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\\n\"", "line breaks"),
        ("-----BEGIN PRIVATE KEY----- hunter2 -----END PRIVATE KEY-----", "content of a PEM file"),
        ("\"hunter2\\0\"", "NUL"),
        ("[hunter2]", "is a list"),
        ("{ hunter2: hunter2 }", "is a section of keys"),
    ] {
        for (key, text) in configs(value) {
            let problems = load(&text, &[]).expect_err(&text);
            assert!(!problems.contains(SECRET), "{key}: {problems}");
            let told = problems.lines().find(|line| line.contains(key) && line.contains(told));
            assert!(told.is_some(), "{key}: {value}: {problems}");
        }
    }
    // A log may be created, so only the other keys need a file that exists.
    for (key, text) in configs(SECRET).iter().filter(|(key, _)| !key.starts_with("log.")) {
        let problems = load(text, &[]).expect_err(text);
        assert!(!problems.contains(SECRET), "{key}: {problems}");
        assert!(
            problems.contains(&format!("`{key}`: this file does not exist; name a readable file")),
            "{key}: {problems}"
        );
    }
    for number in ["12345678", "1.5", "true", "0x1f"] {
        for (key, text) in configs(number) {
            match load(&text, &[]) {
                Err(problems) => {
                    assert!(!problems.contains(number) || number == "true", "{key}: {problems}");
                }
                Ok(_) => assert!(number == "0x1f" && key.starts_with("log."), "{key}: {number}"),
            }
        }
    }
    let environment = [("MOORGATE_ADMIN_TOKEN_FILE", SECRET), ("MOORGATE_LOG_AUDIT", "/x/hunter2")];
    let problems = load(MINIMAL, &environment).expect_err("no such files");
    assert!(!problems.contains(SECRET) && problems.lines().count() == 2, "{problems}");
}

#[test]
fn a_named_pipe_in_place_of_a_file_is_not_opened() {
    let pipe = folder().join("named.pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for (key, text) in configs("named.pipe") {
        let problems = load(&text, &[]).expect_err(&text);
        assert!(problems.contains(&format!("`{key}`: this is a pipe")), "{key}: {problems}");
    }
}

#[test]
fn a_value_with_superfluous_quotes_says_so() {
    for (config, told) in [
        (
            "http: { http2: \"true\" }",
            "`http.http2`: \"true\" in quotes is text; write true without quotes",
        ),
        ("http: { http2: 'False' }", "`http.http2`: \"False\" in quotes"),
        (
            "http: { max_connections: \"100\" }",
            "\"100\" in quotes is text; write 100 without quotes",
        ),
        (
            "http: { tls: \"null\" }",
            "`http.tls`: \"null\" in quotes is text; write null without quotes",
        ),
        ("admin: { token_file: '~' }", "`admin.token_file`: \"~\" in quotes"),
        ("upstream: { username: \"null\" }", "`upstream.username`: \"null\" in quotes"),
        ("limits: { per_client: \"null\" }", "`limits.per_client`: \"null\" in quotes"),
        ("cache: { capacity: '5' }", "`cache.capacity`: \"5\" in quotes"),
        (
            "identity: [{ name: a, type: gitlab, accepts: \"null\", failure_budget: \"null\" }]",
            "`identity[0].accepts`: \"null\" in quotes",
        ),
        (
            "identity: [{ name: a, type: gitlab, accepts: \"null\", failure_budget: \"null\" }]",
            "`identity[0].failure_budget`: \"null\" in quotes",
        ),
        ("http: { http2: \"yes\" }", "`yes` is neither true nor false; write true or false"),
        ("http: { max_connections: \"many\" }", "`many` is not a whole number"),
    ] {
        let problems = load(&format!("version: 1\n{config}\n"), &[]).expect_err(config);
        assert!(problems.contains(told), "{config}: {problems}");
    }
}

/// The providers are missing, so what they would know is not judged.
#[test]
fn without_providers_their_names_are_not_judged() {
    let start = MINIMAL.find("identity:").expect("providers");
    let rest = "policy:\n  rules:\n    - name: a\n      repositories: [\"${user}/**\"]\n      \
                who: [\"user:gitlab/alice\", \"group:devs\", \"provider:x\", \"user:y\"]\n      \
                allow: [pull]\nlimits:\n  overrides:\n    - { who: [\"user:sso/alice\", bob] }\n";
    let provider = &MINIMAL[start + "identity: ".len()..];
    for (providers, told) in [
        (format!("indentity: {provider}"), "did you mean `identity`?"),
        ("identity: []\n".to_owned(), "is an empty list"),
        ("identity:\n".to_owned(), "has no value"),
        ("identity: gitlab\n".to_owned(), "is a single value"),
        ("identity: [gitlab]\n".to_owned(), "is a single value"),
        (String::new(), "`identity` is missing"),
    ] {
        let text = format!("{}{providers}{rest}", &MINIMAL[..start]);
        let problems = load(&text, &[]).expect_err(&text);
        assert!(problems.contains(told), "{providers}: {problems}");
        assert!(problems.contains("`bob`: it is not a kind of caller"), "{providers}: {problems}");
        for nonsense in ["write one of", "several providers", "not a provider", "different callers"]
        {
            assert!(!problems.contains(nonsense), "{providers}: {problems}");
        }
        let expected = if providers.starts_with("indentity") { 3 } else { 2 };
        assert_eq!(problems.lines().count(), expected, "{providers}: {problems}");
    }
}
