//! Scopes of the registry token protocol: what a token is asked for (Distribution, "Token Scope
//! Documentation").

use super::{Actions, RepositoryName};

/// The scope that the list of all repositories takes.
pub const CATALOG_SCOPE: &str = "registry:catalog:*";

/// One scope: `repository:NAME:pull,push`, or `registry:catalog:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To act on a repository.
    Repository(RepositoryName, Actions),
    /// To list all repositories.
    Catalog,
}

impl Scope {
    /// Reads one scope. `None` for what nobody can be granted here: another type, a name that
    /// breaks the grammar, the catalog with any other action. Actions that are not known count
    /// for nothing; `*` is all of them.
    pub fn parse(text: &str) -> Option<Self> {
        if text == CATALOG_SCOPE {
            return Some(Self::Catalog);
        }
        // From both ends, for a name may begin with a host and its port.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        match kind {
            // A class in parentheses says what the repository holds.
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
    fn repositories_and_the_catalog() {
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
