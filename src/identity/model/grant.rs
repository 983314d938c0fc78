//! The rights that a credential has by itself, before the policy narrows them.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::packed_scopes::PackedScopes;
use super::tag_rules::TagRules;
use crate::registry::{Actions, RepositoryName};

/// The rights that a credential has by itself. The policy can only narrow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Scopes that hold for every repository; the `scopes` section of the config interprets them.
    Scopes(PackedScopes),
    /// The grant of a token server for the one repository in the question. It holds for no other
    /// repository.
    Repository(Box<RepositoryGrant>),
    /// The grants of a token server for the several repositories in the question; each may be
    /// empty. The variant is a single pointer, because its size is part of the size of every
    /// verdict.
    Repositories(Arc<Vec<RepositoryGrant>>),
    /// The right to list all repositories, with the token that grants it, if that token is kept.
    Catalog(Option<UpstreamToken>),
    /// The identity of the caller only: the question was not about a repository.
    Identity,
    /// No rights: the provider vouches for the credential, but grants it nothing.
    Nothing,
}

impl Granted {
    /// Returns whether the credential has no rights at all.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Repository(_) | Self::Repositories(_) => {
                self.repositories().iter().all(|grant| grant.actions == Actions::default())
            }
            Self::Scopes(scopes) => scopes.is_empty(),
            Self::Nothing => true,
            Self::Catalog(_) | Self::Identity => false,
        }
    }

    /// Returns the grants of single repositories. Empty if the rights are not granted by
    /// repository.
    pub fn repositories(&self) -> &[RepositoryGrant] {
        match self {
            Self::Repository(grant) => std::slice::from_ref(grant),
            Self::Repositories(grants) => grants,
            Self::Scopes(_) | Self::Catalog(_) | Self::Identity | Self::Nothing => &[],
        }
    }

    /// Returns the grant for this repository, if the question was about it.
    pub fn repository(&self, name: &RepositoryName) -> Option<&RepositoryGrant> {
        self.repositories().iter().find(|grant| grant.repository == *name)
    }

    /// Returns the token to send upstream, if it was kept.
    pub fn token(&self) -> Option<&UpstreamToken> {
        match self {
            Self::Catalog(token) => token.as_ref(),
            granted => granted.repositories().first()?.token.as_ref(),
        }
    }
}

/// The rights that a token server granted for one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryGrant {
    /// The repository in the question.
    pub repository: RepositoryName,
    /// The granted subset of the requested actions.
    pub actions: Actions,
    /// The kind of server that granted them; refusal messages depend on it.
    pub server: TokenServerKind,
    /// The tags that may not be written or deleted, if the question was about writing or deleting.
    /// The rules are as old as the grant itself.
    pub tags: TagRules,
    /// The token that carries this grant. Present if the tokens of the server itself are sent
    /// upstream and this one grants anything. A token for several repositories is in each of their
    /// grants.
    pub token: Option<UpstreamToken>,
}

/// A token exactly as a token server issued it for one question. Two values are equal only if they
/// are clones of the same value; the token text is not compared.
#[derive(Clone, Debug)]
pub struct UpstreamToken(Arc<SecretString>);

impl UpstreamToken {
    /// Wraps a token.
    pub fn new(token: SecretString) -> Self {
        Self(Arc::new(token))
    }

    /// Returns the token.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// Returns whether the texts are equal, even if they come from different answers.
    pub fn has_text_of(&self, other: &Self) -> bool {
        self.secret().expose_secret() == other.secret().expose_secret()
    }
}

impl PartialEq for UpstreamToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for UpstreamToken {}

/// The kinds of server that implement the registry token protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenServerKind {
    /// GitLab, whose rules for granting each action are known.
    GitLab,
    /// Any other server.
    Other,
}
