//! The rights that a credential has by itself, before the policy narrows them.

use std::sync::Arc;

use secrecy::SecretString;

use super::tag_rules::TagRules;
use crate::registry::{Actions, RepositoryName};

/// What a credential allows by itself. Policy can only narrow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Scopes that hold for every repository; the `scopes` section of the config reads them. One
    /// list serves all whose scopes are the same.
    Scopes(Arc<Vec<String>>),
    /// What a token server granted for the one repository that was asked about, and for no other.
    Repository(Box<RepositoryGrant>),
    /// The same for each of several repositories, possibly nothing. One pointer, for all verdicts
    /// are as large as this.
    Repositories(Arc<Vec<RepositoryGrant>>),
    /// The list of all repositories, with the token that says so where it is kept.
    Catalog(Option<IssuedToken>),
    /// No repository was asked about: it proves who the caller is.
    Identity,
    /// The provider vouches for the credential, and lets it do nothing.
    Nothing,
}

impl Granted {
    /// Whether there is nothing that it allows.
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

    /// What was granted repository by repository. Empty where it was not asked so.
    pub fn repositories(&self) -> &[RepositoryGrant] {
        match self {
            Self::Repository(grant) => std::slice::from_ref(grant),
            Self::Repositories(grants) => grants,
            Self::Scopes(_) | Self::Catalog(_) | Self::Identity | Self::Nothing => &[],
        }
    }

    /// What was granted for this repository, where that was asked.
    pub fn repository(&self, name: &RepositoryName) -> Option<&RepositoryGrant> {
        self.repositories().iter().find(|grant| grant.repository == *name)
    }

    /// The token to send upstream, where it was kept.
    pub fn token(&self) -> Option<&IssuedToken> {
        match self {
            Self::Catalog(token) => token.as_ref(),
            granted => granted.repositories().first()?.token.as_ref(),
        }
    }
}

/// What a token server granted for one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryGrant {
    /// The repository that was asked about.
    pub repository: RepositoryName,
    /// What was granted of what was asked.
    pub actions: Actions,
    /// Who granted it, for the words of a refusal.
    pub server: TokenServerKind,
    /// Which tags may not be written or deleted, where that was asked about. As old as the grant
    /// itself.
    pub tags: TagRules,
    /// The token that says so, where the server's own tokens are sent upstream and there is
    /// something in it. A token for several repositories is in each of their grants.
    pub token: Option<IssuedToken>,
}

/// The very token that a token server issued for one question, whatever it was about. Equal to
/// itself alone.
#[derive(Clone, Debug)]
pub struct IssuedToken(Arc<SecretString>);

impl IssuedToken {
    /// Keeps a token.
    pub fn new(token: SecretString) -> Self {
        Self(Arc::new(token))
    }

    /// The token.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl PartialEq for IssuedToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for IssuedToken {}

/// The kinds of server that speak the registry token protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenServerKind {
    /// What a grant takes there is known.
    GitLab,
    /// Any other.
    Other,
}
