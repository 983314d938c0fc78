//! `moorgate check-config` with several configs, and on another machine than the gate's.

use std::path::Path;

use super::{run, text};

const CONFIG: &str = "version: 1
http:
  external_url: https://registry.example.com
  tls: { certificate: tls.crt, key: /etc/no-such-folder/tls.key }
upstream:
  urls: [https://registry-1.example.com]
  authorization: token
  username: gate
  password_file: password
identity:
  - { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }
  - name: sso
    type: introspection
    url: https://sso.example.com/introspect
    client_id: gate
    client_secret_file: secret
tokens: { key_file: keys }
redis: { url: rediss://redis.example.com, password_file: redis }
log: { access: /var/log/no-such-folder/access.log }
policy:
  rules:
    - { name: all, repositories: [\"**\"], who: [authenticated], allow: [pull] }
";

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// A config in version control lies there without its certificates and secrets.
#[test]
fn files_that_are_not_here_are_warnings_if_they_are_allowed_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "moorgate.yml", CONFIG);
    let strict = run(&["check-config", &config], "");
    assert_eq!(strict.status.code(), Some(78));
    let lenient = run(&["check-config", "--allow-missing-files", &config], "");
    let errors = text(&lenient.stderr);
    assert_eq!(lenient.status.code(), Some(0), "{errors}");
    assert!(text(&lenient.stdout).starts_with(&format!("{config}: valid (")), "{lenient:?}");
    for key in [
        "http.tls.certificate",
        "http.tls.key",
        "upstream.password_file",
        "identity[0].file",
        "identity[1].client_secret_file",
        "tokens.key_file",
        "redis.password_file",
    ] {
        let warning = format!("warning: `{key}`: this file is not here");
        assert!(errors.contains(&warning), "{key}: {errors}");
    }
}

#[test]
fn other_problems_remain_problems_without_the_files() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to, problem) in [
        ("version: 1", "version: 2", "`version`"),
        ("[authenticated]", "[\"user:nobody/alice\"]", "`nobody` is not a provider"),
        ("http:", "htp:", "did you mean `http`"),
        ("certificate: tls.crt", "certificate: .", "this is a folder"),
    ] {
        let config = write(folder.path(), "moorgate.yml", &CONFIG.replacen(from, to, 1));
        let output = run(&["check-config", "--allow-missing-files", &config], "");
        let errors = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(78), String::new()));
        assert!(errors.contains(problem), "{problem}: {errors}");
    }
    // A file that is there is checked.
    let config = write(folder.path(), "moorgate.yml", CONFIG);
    write(folder.path(), "keys", "short\n");
    let output = run(&["check-config", "--allow-missing-files", &config], "");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("keys:1:1: "), "{output:?}");
}

#[test]
fn several_configs_are_checked_and_one_bad_one_sets_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good.yml", CONFIG);
    let bad = write(folder.path(), "bad.yml", "version: 2\n");
    let output = run(&["check-config", "--allow-missing-files", &bad, &good], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stdout).starts_with(&format!("{good}: valid")), "{output:?}");
    assert!(text(&output.stderr).contains(&format!("{bad}:1:10: ")), "{output:?}");
    let both = run(&["check-config", "--config", &good, &good], "");
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    let online = run(&["check-config", "--online", "--allow-missing-files", &good], "");
    assert_eq!(online.status.code(), Some(2), "{online:?}");
}
