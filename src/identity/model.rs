//! The types of the identity subsystem: values that do no I/O.

pub mod claim_path;
pub mod credential;
mod grant;
pub mod keyed_hash;
mod packed_scopes;
mod principal;
mod question;
pub mod revocation;
pub mod tag_rules;
pub mod trail;
pub mod unix_time;
mod verdict;

pub use claim_path::ClaimPath;
pub use grant::{Granted, RepositoryGrant, TokenServerKind, UpstreamToken};
pub use packed_scopes::PackedScopes;
pub use principal::{Attributes, Principal, Source, Verified};
pub use question::{Question, QuestionKind, ReplicaWaits, Vouched};
pub use verdict::{Lifetime, NotNow, Verdict};
