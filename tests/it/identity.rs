//! Who is believed, what is asked of whom, and what is remembered. The ledgers of GitLab and of the registry tell.

mod asking;
mod cache;
mod chain;
mod failures;
mod htpasswd;
mod introspection;
mod jwt;
mod outages;
mod rights;
mod several;
mod verdict_cache;
