//! The accesses that a gate token lists. The token allows no other, even if its credential does.

use crate::registry::{Access, Actions, CATALOG_SCOPE, RepositoryName};

/// The limit of what a gate token may be used for. Every token proves the identity of the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// The allowed actions on each repository.
    pub repositories: Vec<(RepositoryName, Actions)>,
    /// The part of the list of all repositories that may be read.
    pub catalog: CatalogShare,
}

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

    /// Removes repositories, the last ones first, until the sealed text is shorter by this number
    /// of bytes.
    pub(super) fn drop_bytes(&mut self, mut bytes: usize) {
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
