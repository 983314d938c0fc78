//! Authentication: who a caller is, and what the credential allows by itself.
//!
//! | room | contents |
//! |---|---|
//! | [`model`] | the types: credential, question, verdict, principal, grant |
//! | [`authenticator`] | asks the providers in their order, through the cache and the guards |
//! | [`provider`] | the provider types of the config |
//! | [`shared_verdicts`] | verdicts that replicas of the gate share |
//! | [`cache`] | verdicts that were given lately |
//! | [`guard`] | limits on questions and wrong logins, circuit breaker, health |

pub mod authenticator;
pub mod cache;
pub mod guard;
pub mod model;
pub mod provider;
pub mod shared_verdicts;

pub use model::{
    Attributes, ClaimPath, Granted, Lifetime, NotNow, PackedScopes, Principal, Question,
    RepositoryGrant, Source, TokenServerKind, UpstreamToken, Verdict, Verified, Vouched,
};
