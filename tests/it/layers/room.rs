//! What the tests know of a room.

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
