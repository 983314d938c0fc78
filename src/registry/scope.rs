//! The scopes of the registry token protocol, which a client requests for a token (Distribution,
//! "Token Scope Documentation").

use super::{Actions, RepositoryName};

/// The scope for the list of all repositories.
pub const CATALOG_SCOPE: &str = "registry:catalog:*";

/// One scope: `repository:NAME:pull,push`, or `registry:catalog:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Actions on a repository.
    Repository(RepositoryName, Actions),
    /// The list of all repositories.
    Catalog,
}

impl Scope {
    /// Parses one scope. Returns `None` if it can never be granted here: another type, a name that
    /// violates the grammar, or the catalog with any other action than `*`. Unknown actions are
    /// ignored; `*` stands for all actions.
    pub fn parse(text: &str) -> Option<Self> {
        if text == CATALOG_SCOPE {
            return Some(Self::Catalog);
        }
        // The scope is split from both ends, because the name may start with a host and a port.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        match kind {
            // A class in parentheses describes the content of the repository.
            "repository" | "repository(plugin)" => {
                Some(Self::Repository(RepositoryName::parse(name)?, Actions::asked(actions)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_for_repositories_and_for_the_catalog_are_parsed() {
        let repository = |name: &str, actions: &str| {
            Some(Scope::Repository(RepositoryName::parse(name).unwrap(), Actions::asked(actions)))
        };
        for (text, scope) in [
            ("repository:a/b:pull,push", repository("a/b", "pull,push")),
            ("repository(plugin):a:pull", repository("a", "pull")),
            ("repository:a:*", repository("a", "pull,push,delete")),
            ("repository:a:pull,other", repository("a", "pull")),
            ("repository:a:", repository("a", "")),
            ("registry:catalog:*", Some(Scope::Catalog)),
            ("registry:other:*", None),
            ("registry:catalog:pull", None),
            ("registry:catalog:*,pull", None),
            ("registry:catalog:", None),
            ("registry(class):catalog:*", None),
            ("repository:A:pull", None),
            ("repository:a/../b:pull", None),
            ("repository:host:5000/a:pull", None),
            ("repository:a", None),
            ("aws:a:pull", None),
            ("", None),
        ] {
            assert_eq!(Scope::parse(text), scope, "{text}");
        }
    }
}
