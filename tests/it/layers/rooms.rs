//! The rooms of the source, and what each of them may use.

/// A room of the source.
pub(super) struct Room {
    /// The module path, with `/` between its parts.
    pub(super) name: &'static str,
    /// The rooms that its files use.
    pub(super) uses: &'static [&'static str],
    /// Crates, and parts of std, that its files must not use.
    pub(super) must_not_use: &'static [&'static str],
}

/// Crates and parts of std that do input or output, wait, keep state or read a clock.
pub(super) const IMPURE: &[&str] = &[
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

/// Every room, the lowest first: each uses only rooms above it in this table, so that no two use
/// each other.
pub(super) const ROOMS: &[Room] = &[
    Room { name: "log_throttle", uses: &[], must_not_use: &["tokio", "hyper", "moka", "http"] },
    Room { name: "recent", uses: &[], must_not_use: &["tokio", "hyper", "moka", "http"] },
    Room { name: "terminal", uses: &[], must_not_use: IMPURE },
    Room { name: "hex", uses: &[], must_not_use: IMPURE },
    Room { name: "request_id", uses: &["hex"], must_not_use: IMPURE },
    Room { name: "net", uses: &[], must_not_use: &["hyper", "moka"] },
    Room {
        name: "rate_limit",
        uses: &[],
        must_not_use: &["tokio", "hyper", "moka", "http", "tracing"],
    },
    Room { name: "registry", uses: &[], must_not_use: IMPURE },
    Room { name: "denial", uses: &["registry"], must_not_use: IMPURE },
    Room { name: "body", uses: &["denial"], must_not_use: &["moka", "rustls", "tracing"] },
    Room { name: "framing", uses: &["denial"], must_not_use: IMPURE },
    Room {
        name: "metrics",
        uses: &["denial", "registry"],
        must_not_use: &["tokio", "hyper", "moka", "tracing"],
    },
    Room {
        name: "identity/model",
        uses: &["denial", "hex", "registry", "request_id"],
        must_not_use: &["tokio", "hyper", "moka", "rustls", "tracing"],
    },
    Room {
        name: "identity/cache",
        uses: &["identity/model"],
        must_not_use: &["hyper", "http", "tracing"],
    },
    Room {
        name: "identity/guard",
        uses: &["net", "identity/model", "rate_limit", "recent"],
        must_not_use: &["hyper", "moka", "http", "tracing"],
    },
    // A provider knows neither the cache nor the other providers' order.
    Room {
        name: "identity/provider",
        uses: &["net", "identity/guard", "log_throttle", "identity/model", "registry"],
        must_not_use: &["moka"],
    },
    Room {
        name: "identity/authenticator",
        uses: &[
            "denial",
            "identity/cache",
            "identity/guard",
            "log_throttle",
            "identity/model",
            "identity/provider",
            "metrics",
            "rate_limit",
            "registry",
            "request_id",
        ],
        must_not_use: &["moka", "hyper", "http"],
    },
    Room { name: "identity", uses: &[], must_not_use: IMPURE },
    Room { name: "policy", uses: &["denial", "identity", "registry"], must_not_use: IMPURE },
    Room {
        name: "limits",
        uses: &["net", "denial", "identity", "policy", "rate_limit"],
        must_not_use: &["hyper", "moka", "http", "tracing"],
    },
    // A token is a credential and a list: it knows no provider and no rule.
    Room {
        name: "token_service",
        uses: &["denial", "identity/model", "registry"],
        must_not_use: &["tokio", "hyper", "moka"],
    },
    Room {
        name: "respond",
        uses: &["body", "denial", "identity/model", "registry", "request_id", "token_service"],
        must_not_use: &["tokio", "hyper", "moka", "tracing"],
    },
    Room {
        name: "record",
        uses: &[
            "body",
            "net",
            "denial",
            "identity",
            "identity/authenticator",
            "identity/model",
            "limits",
            "log_throttle",
            "metrics",
            "recent",
            "registry",
            "request_id",
            "terminal",
        ],
        must_not_use: &["hyper", "moka"],
    },
    Room {
        name: "upstream",
        uses: &[
            "body",
            "denial",
            "policy",
            "record",
            "registry",
            "request_id",
            "net",
            "log_throttle",
            "terminal",
        ],
        must_not_use: &["moka"],
    },
    // The table of contents knows every stage, and no sockets, TLS or config.
    Room {
        name: "gate",
        uses: &[
            "body",
            "net",
            "denial",
            "framing",
            "identity",
            "identity/authenticator",
            "identity/model",
            "limits",
            "metrics",
            "policy",
            "record",
            "registry",
            "respond",
            "token_service",
            "upstream",
        ],
        must_not_use: &["tokio", "rustls", "moka", "tracing"],
    },
    Room {
        name: "server",
        uses: &["body", "net", "gate", "log_throttle", "recent", "record", "upstream", "net"],
        must_not_use: &["moka"],
    },
    Room {
        name: "admin",
        uses: &[
            "framing",
            "gate",
            "identity/authenticator",
            "identity/model",
            "metrics",
            "recent",
            "record",
            "server",
            "upstream",
        ],
        must_not_use: &["moka", "rustls"],
    },
    // The config knows the constructors that it checks values with.
    Room {
        name: "config",
        uses: &[
            "identity/authenticator",
            "identity/cache",
            "identity/provider",
            "limits",
            "net",
            "policy",
            "rate_limit",
            "record",
            "registry",
            "token_service",
            "terminal",
        ],
        must_not_use: &["tokio", "hyper", "moka"],
    },
    Room {
        name: "run",
        uses: &[
            "admin",
            "net",
            "config",
            "gate",
            "identity/authenticator",
            "identity/model",
            "identity/provider",
            "limits",
            "metrics",
            "policy",
            "record",
            "respond",
            "server",
            "token_service",
            "upstream",
            "log_throttle",
        ],
        must_not_use: &["moka", "hyper"],
    },
    Room {
        name: "demo",
        uses: &["config", "net", "registry", "run", "server"],
        must_not_use: &["moka"],
    },
    Room {
        name: "cli",
        uses: &[
            "config",
            "demo",
            "denial",
            "gate",
            "identity",
            "identity/model",
            "identity/provider",
            "net",
            "policy",
            "record",
            "registry",
            "run",
            "upstream",
            "terminal",
            "token_service",
        ],
        must_not_use: &["moka", "hyper"],
    },
];

/// Files and folders that read or decide, and do nothing else, in rooms that are not pure as a
/// whole.
pub(super) const PURE: &[&str] = &[
    "admin/metrics_format",
    "admin/page",
    "admin/status",
    "admin/trouble",
    "cli/explain/text",
    "identity/model/credential",
    "identity/model/grant",
    "identity/model/keyed_hash",
    "identity/model/principal",
    "identity/model/question",
    "identity/model/tag_rules",
    "identity/model/verdict",
    "identity/provider/common/claims",
    "identity/provider/common/strict_json",
    "identity/provider/htpasswd/file",
    "identity/provider/introspection/reply",
    "identity/provider/jwks/key",
    "identity/provider/jwt/compact",
    "identity/provider/jwt/pasted",
    "identity/provider/jwt/rules",
    "identity/provider/registry_token/reply",
    "limits/settings",
    "net/client_address",
    "rate_limit/gcra",
    "respond/challenge",
    "server/proxy_header",
    "token_service/request",
    "upstream/fault",
    "upstream/headers",
    "upstream/location",
];

/// Single files with a stricter rule than their room.
pub(super) const STRICTER: &[(&str, &[&str])] = &[
    ("admin/collect", &["tokio", "hyper", "moka", "rustls"]),
    ("identity/guard/breaker", &["tokio", "hyper", "moka", "http"]),
    ("identity/guard/health", &["tokio", "hyper", "moka", "http"]),
    ("identity/model/revocation", &["tokio", "hyper", "moka", "http"]),
    ("identity/model/unix_time", &["tokio", "hyper", "moka", "http"]),
    ("identity/provider/common/scope_lists", &["tokio", "hyper", "moka", "http"]),
    ("identity/provider/common/sources", &["tokio", "hyper", "moka", "http"]),
    ("identity/provider/gitlab", &["tokio", "hyper", "moka"]),
    ("identity/provider/htpasswd", &["hyper", "moka"]),
    ("identity/provider/introspection", &["tokio", "hyper", "moka"]),
    ("identity/provider/jwks", IMPURE),
    ("identity/provider/jwks/fetcher", &["hyper", "moka"]),
    ("identity/provider/jwt", &["tokio", "hyper", "moka"]),
    ("identity/provider/registry_token", &["hyper", "moka"]),
    ("net/client_tls", &["tokio", "hyper", "moka"]),
    ("net/monitored_io", &["hyper", "http"]),
    ("net/open_files", &["tokio", "hyper", "moka"]),
    ("record", &["tokio", "hyper", "moka"]),
    ("record/access_log", &["tokio", "hyper", "moka"]),
    ("token_service", &["tokio", "hyper", "moka", "http"]),
    ("token_service/gate_token", &["tokio", "hyper", "moka", "http"]),
    ("upstream/health", &["tokio", "hyper", "moka"]),
];

/// The provider types, and the pairs of which the first may use the second.
pub(super) const PROVIDERS: &[&str] =
    &["gitlab", "htpasswd", "introspection", "jwks", "jwt", "registry_token"];
pub(super) const RELATED: &[(&str, &str)] =
    &[("gitlab", "registry_token"), ("registry_token", "gitlab"), ("jwt", "jwks")];
