//! The accesses that a gate token lists. The token allows no other, even if its credential does.

use crate::denial::Uncovered;
use crate::registry::{Access, Action, Actions, CATALOG_SCOPE, RepositoryName};

/// The limit of what a gate token may be used for. Every token proves the identity of the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// The allowed actions on each repository.
    pub repositories: Vec<(RepositoryName, Actions)>,
    /// The part of the list of all repositories that may be read.
    pub catalog: CatalogShare,
    /// The accesses that the client asked for and was refused, as far as they fit.
    pub refused: Vec<RefusedAccess>,
}

/// An access that the client asked for and was refused when the token was issued. The token names
/// it, so that a later request gets the true reason without another question to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAccess {
    /// The action on a repository; `None` for the list of all repositories.
    pub action: Option<(RepositoryName, Action)>,
    /// The message for the user.
    pub message: Box<str>,
}

/// The largest number of refused accesses in a token. A client usually asks for one repository.
pub const MAX_REFUSED: usize = 8;

/// The part of the list of all repositories that a gate token shows at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatalogShare {
    /// Nothing: the list was not asked for, or it was not granted.
    #[default]
    None,
    /// The repositories that the token lists, because the client asked for repositories too.
    Listed,
    /// Everything that the credential may see.
    All,
}

impl TokenScope {
    /// Returns the scopes in the format of the registry token protocol, separated by spaces.
    pub fn scopes(&self) -> String {
        let repositories = self.repositories.iter();
        let repositories =
            repositories.map(|(name, actions)| format!("repository:{name}:{}", actions.words()));
        let catalog = (self.catalog != CatalogShare::None).then(|| CATALOG_SCOPE.to_owned());
        repositories.chain(catalog).collect::<Vec<_>>().join(" ")
    }

    /// Returns the repositories that the list of all repositories may show with the token; `None`:
    /// everything that the credential may see.
    pub fn shown(&self) -> Option<Vec<RepositoryName>> {
        let pullable = || self.repositories.iter().filter(|(_, actions)| actions.pull);
        (self.catalog != CatalogShare::All)
            .then(|| pullable().map(|(name, _)| name.clone()).collect())
    }

    /// Removes refused accesses and then repositories, the last ones first, until the sealed text
    /// is shorter by this number of bytes.
    pub(super) fn drop_bytes(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some(RefusedAccess { message, .. }) = self.refused.pop()
        {
            bytes = bytes.saturating_sub(message.len());
        }
        while bytes > 0
            && let Some((name, actions)) = self.repositories.pop()
        {
            // The entry in JSON is `["name","pull,push"],`.
            bytes = bytes.saturating_sub(name.as_str().len() + actions.words().len() + 8);
        }
    }

    /// Returns whether the token lists every repository of an access, with any actions.
    pub fn mentions(&self, access: &Access) -> bool {
        access
            .repositories()
            .all(|(wanted, _)| self.repositories.iter().any(|(name, _)| name == wanted))
    }

    /// Returns the reason why the token does not cover an access of a caller with a credential.
    pub fn uncovered(&self, access: &Access) -> Uncovered {
        let is_refused = |refused: &&RefusedAccess| match (&refused.action, access) {
            (None, Access::Catalog) => true,
            (Some((name, action)), Access::Repository(wanted, needed)) => {
                wanted == name && action == needed
            }
            (Some((name, action)), Access::Repositories(several)) => {
                several.iter().any(|(wanted, needed)| wanted == name && needed.allow(*action))
            }
            _ => false,
        };
        match self.refused.iter().find(is_refused) {
            Some(refused) => Uncovered::Refused(refused.message.clone()),
            None => Uncovered::NotRequested,
        }
    }

    /// Returns whether the token lists an access. Its credential may still lack the right.
    pub fn allows(&self, access: &Access) -> bool {
        match access {
            Access::Login => true,
            Access::Catalog => self.catalog != CatalogShare::None,
            Access::Repository(wanted, action) => self
                .repositories
                .iter()
                .any(|(name, actions)| name == wanted && actions.allow(*action)),
            Access::Repositories(several) => several.iter().all(|(wanted, needed)| {
                self.repositories
                    .iter()
                    .any(|(name, actions)| name == wanted && actions.contain(*needed))
            }),
        }
    }
}
