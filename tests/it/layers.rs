//! Who may know whom. The parts that decide are pure, data flows one way, and this table holds it.

use std::fs;
use std::path::{Path, PathBuf};

/// A part of the source, and what its files may name of this crate and of others.
struct Part {
    /// Files whose path under `src/` begins so.
    files: &'static [&'static str],
    /// Modules of this crate that they may name, besides what is in the same part.
    may_know: &'static [&'static str],
    /// Crates (and parts of std) that they may not name.
    must_not_know: &'static [&'static str],
}

/// What does I/O, waits, or looks at a clock or the config.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "hyper_rustls",
    "moka",
    "rustls",
    "tracing",
    "saphyr_parser",
    "std::net::Tcp",
    "std::fs",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::sync::Mutex",
];

const TABLE: &[Part] = &[
    // Pure: values in, values out.
    Part { files: &["registry.rs", "registry/"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["denial.rs", "denial/"], may_know: &["registry"], must_not_know: IMPURE },
    Part { files: &["framing.rs", "framing/"], may_know: &["denial"], must_not_know: IMPURE },
    Part { files: &["client_address.rs"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["rate_limit/gcra.rs"], may_know: &[], must_not_know: IMPURE },
    Part {
        files: &["rate_limit.rs", "rate_limit/"],
        may_know: &[],
        must_not_know: &["tokio", "hyper", "moka", "http"],
    },
    Part { files: &["metrics.rs"], may_know: &["denial"], must_not_know: &["tokio", "hyper", "moka"] },
    Part { files: &["limits/settings.rs"], may_know: &["identity", "policy", "rate_limit"], must_not_know: IMPURE },
    Part {
        files: &["limits.rs", "limits/"],
        may_know: &["client_address", "denial", "identity", "rate_limit"],
        must_not_know: &["hyper", "moka", "http"],
    },
    Part { files: &["identity.rs"], may_know: &["registry"], must_not_know: IMPURE },
    Part { files: &["identity/credential.rs"], may_know: &["denial"], must_not_know: IMPURE },
    Part { files: &["identity/fingerprint.rs"], may_know: &["registry"], must_not_know: IMPURE },
    Part { files: &["identity/revoked.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/sources.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/htpasswd_file.rs"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["identity/strict_json.rs"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["identity/claims.rs"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["identity/scope_lists.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    // Tests alone, in files of their own.
    Part {
        files: &[
            "identity/jwt/signing.rs",
            "identity/failed_logins/tests.rs",
            "identity/jwt/tests.rs",
            "identity/failed_logins/tests.rs",
            "identity/introspection/tests.rs",
            "identity/test_server.rs",
        ],
        may_know: &["client_tls", "registry"],
        must_not_know: &["moka", "hyper"],
    },
    Part { files: &["identity/introspection/"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["identity/jwks/live.rs", "identity/jwks/live/"], may_know: &[], must_not_know: &["moka", "hyper"] },
    Part { files: &["identity/jwks.rs", "identity/jwks/"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["identity/jwt/"], may_know: &[], must_not_know: IMPURE },
    Part { files: &["policy.rs", "policy/"], may_know: &["denial", "identity", "registry"], must_not_know: IMPURE },
    Part { files: &["upstream/health.rs"], may_know: &["denial"], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["upstream/location.rs"], may_know: &["denial", "registry"], must_not_know: IMPURE },
    // Tests alone: they build the settings of a registry that is never asked.
    Part {
        files: &["upstream/headers/tests.rs", "upstream/headers/properties.rs"],
        may_know: &["registry"],
        must_not_know: &["tokio", "hyper"],
    },
    Part { files: &["upstream/headers.rs"], may_know: &["registry"], must_not_know: IMPURE },
    // Providers know neither the policy nor each other.
    Part {
        files: &["identity/registry_token.rs", "identity/registry_token/one_by_one.rs", "identity/gitlab.rs"],
        may_know: &["registry"],
        must_not_know: &["moka", "hyper", "super::htpasswd", "super::chain", "super::cache"],
    },
    Part {
        files: &["identity/registry_token/reply.rs", "identity/registry_token/reply/"],
        may_know: &["identity", "registry"],
        must_not_know: IMPURE,
    },
    Part {
        files: &[
            "identity/failed_logins.rs",
            "identity/failed_logins/",
            "identity/question_rate.rs",
            "identity/turns.rs",
        ],
        may_know: &["client_address", "rate_limit"],
        must_not_know: &["hyper", "moka", "http"],
    },
    Part { files: &["identity/failure_budget.rs"], may_know: &[], must_not_know: &["hyper", "moka", "http"] },
    Part {
        files: &["identity/tag_rules.rs", "identity/tag_rules/"],
        may_know: &["denial", "registry"],
        must_not_know: IMPURE,
    },
    Part {
        files: &["identity/htpasswd.rs"],
        may_know: &["client_address"],
        must_not_know: &["moka", "hyper", "super::registry_token", "super::chain", "super::cache"],
    },
    Part {
        files: &["identity/introspection.rs"],
        may_know: &[],
        must_not_know: &[
            "moka",
            "tokio",
            "hyper",
            "super::registry_token",
            "super::htpasswd",
            "super::chain",
            "super::cache",
        ],
    },
    Part {
        files: &["identity/jwt.rs"],
        may_know: &[],
        must_not_know: &[
            "moka",
            "tokio",
            "hyper",
            "super::registry_token",
            "super::htpasswd",
            "super::chain",
            "super::cache",
        ],
    },
    Part { files: &["identity/provider_client.rs"], may_know: &[], must_not_know: &["moka"] },
    Part { files: &["identity/clock.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/health.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/log_pace.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/breaker.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka", "http"] },
    Part { files: &["identity/cache.rs", "identity/cache/"], may_know: &[], must_not_know: &["hyper"] },
    Part {
        files: &["identity/chain.rs", "identity/chain/"],
        may_know: &["denial", "metrics", "rate_limit", "registry"],
        must_not_know: &["moka", "hyper", "http"],
    },
    // A token is a credential and a list: it knows no provider and no rule.
    Part { files: &["token_service/request.rs"], may_know: &["denial", "identity", "registry"], must_not_know: IMPURE },
    Part {
        files: &["token_service.rs", "token_service/gate_token.rs", "token_service/gate_token/"],
        may_know: &["denial", "identity", "registry"],
        must_not_know: &["tokio", "hyper", "moka", "http"],
    },
    Part { files: &["respond/challenge.rs"], may_know: &["registry"], must_not_know: IMPURE },
    // The shell: sockets without rules, forwarding without credentials.
    Part { files: &["body.rs", "body/"], may_know: &[], must_not_know: &["moka", "rustls"] },
    Part { files: &["watched.rs"], may_know: &[], must_not_know: &["hyper", "http"] },
    Part {
        files: &["upstream.rs", "upstream/"],
        may_know: &["body", "denial", "policy", "record", "registry", "watched"],
        must_not_know: &["moka"],
    },
    Part { files: &["server/proxy_header.rs"], may_know: &[], must_not_know: IMPURE },
    Part {
        files: &["server.rs", "server/"],
        may_know: &["body", "client_address", "gate", "record", "upstream", "watched"],
        must_not_know: &["moka"],
    },
    Part {
        files: &["respond.rs"],
        may_know: &["body", "denial", "registry", "token_service"],
        must_not_know: &["tokio", "hyper", "moka"],
    },
    // What a write waits for.
    Part {
        files: &["record/audit.rs", "record/audit/"],
        may_know: &["denial", "record", "registry"],
        must_not_know: &["hyper", "moka"],
    },
    Part {
        files: &["record.rs", "record/"],
        may_know: &["body", "client_address", "denial", "identity", "limits", "metrics", "registry"],
        must_not_know: &["tokio", "hyper", "moka"],
    },
    Part {
        files: &["admin/collect.rs"],
        may_know: &["denial", "identity", "metrics", "server", "upstream"],
        must_not_know: &["tokio", "hyper", "moka", "rustls"],
    },
    // What it shows is a value, and the page is made of nothing else.
    Part { files: &["admin/status.rs", "admin/page.rs"], may_know: &[], must_not_know: IMPURE },
    Part {
        files: &["admin.rs", "admin/"],
        may_know: &["framing", "gate", "identity", "server"],
        must_not_know: &["moka", "rustls"],
    },
    // The table of contents knows every stage, and no sockets, TLS or config.
    Part {
        files: &["gate.rs", "gate/"],
        may_know: &[
            "body",
            "client_address",
            "denial",
            "framing",
            "identity",
            "limits",
            "policy",
            "record",
            "registry",
            "respond",
            "token_service",
            "upstream",
        ],
        must_not_know: &["tokio", "rustls", "moka"],
    },
    // The config knows the constructors that it checks values with.
    Part {
        files: &["config.rs", "config/"],
        may_know: &["identity", "limits", "policy", "rate_limit", "registry", "token_service"],
        must_not_know: &["tokio", "hyper", "moka"],
    },
    // What puts it together, what shows it, and the commands.
    Part {
        files: &["run.rs", "run/"],
        may_know: &[
            "admin",
            "client_address",
            "client_tls",
            "config",
            "gate",
            "identity",
            "limits",
            "metrics",
            "policy",
            "record",
            "respond",
            "server",
            "token_service",
            "upstream",
        ],
        must_not_know: &["moka", "hyper"],
    },
    Part { files: &["demo.rs", "demo/"], may_know: &["config", "registry", "run", "server"], must_not_know: &["moka"] },
    Part { files: &["client_tls.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka"] },
    Part { files: &["open_files.rs"], may_know: &[], must_not_know: &["tokio", "hyper", "moka"] },
    Part {
        files: &["cli/explain/text.rs"],
        may_know: &["denial", "gate", "identity", "policy", "record", "registry"],
        must_not_know: IMPURE,
    },
    Part {
        files: &["cli.rs", "cli/"],
        may_know: &["config", "demo", "gate", "identity", "open_files", "run", "upstream"],
        must_not_know: &["moka", "hyper"],
    },
    Part { files: &["lib.rs", "main.rs"], may_know: &["cli"], must_not_know: IMPURE },
];

#[test]
fn the_table_holds() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for file in files_below(&src) {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let part = part_of(&name);
        let text = fs::read_to_string(&file).unwrap();
        // Tests beside the code may know more.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for module in named_modules(line) {
                if !part.may_know.contains(&&*module) && !own(part, &module) {
                    broken.push(format!("src/{name} names crate::{module}: {}", line.trim()));
                }
            }
            for stranger in part.must_not_know {
                if names_crate(line, stranger) {
                    broken.push(format!("src/{name} names {stranger}: {}", line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn part_of(name: &str) -> &'static Part {
    // The longest match: `identity/cache.rs` before `identity.rs`.
    let matches = |part: &&Part| {
        part.files.iter().any(|file| if file.ends_with('/') { name.starts_with(file) } else { name == *file })
    };
    TABLE.iter().find(matches).unwrap_or_else(|| panic!("src/{name} is in no part of the table"))
}

fn own(part: &Part, module: &str) -> bool {
    part.files.iter().any(|file| file.trim_end_matches(".rs").trim_end_matches('/').split('/').next() == Some(module))
}

fn named_modules(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    line.match_indices("crate::")
        .map(|(at, found)| word(&line[at + found.len()..]))
        .filter(|word| !word.is_empty())
        .collect()
}

fn names_crate(line: &str, name: &str) -> bool {
    let bare = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let ends = |at: usize| name.contains("::") || line[at + name.len()..].starts_with("::");
    line.match_indices(name).any(|(at, _)| bare(at) && ends(at))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
