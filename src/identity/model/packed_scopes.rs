//! The scopes of a credential.

use std::fmt;
use std::sync::Arc;

/// The end of each scope in the text of a list.
const END: char = '\0';

/// The scopes of a credential, in the order of the provider. The type is one piece of memory,
/// because every cached verdict has a list, and each may have another one.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PackedScopes(Arc<str>);

impl PackedScopes {
    /// Returns whether the list has no scopes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator(END)
    }

    /// Returns whether the list has this scope.
    pub fn contains(&self, scope: &str) -> bool {
        self.iter().any(|held| held == scope)
    }

    /// Returns whether both lists are one piece of memory.
    #[cfg(test)]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the text that holds the scopes.
    pub(in crate::identity) fn as_text(&self) -> &str {
        &self.0
    }
}

impl<S: AsRef<str>> FromIterator<S> for PackedScopes {
    /// Creates a list. In the scopes, U+FFFD replaces the character that ends a scope in the text;
    /// the scope remains one scope, and one that no config names.
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        let mut text = String::new();
        for scope in scopes {
            let shown = |character| if character == END { '\u{fffd}' } else { character };
            text.extend(scope.as_ref().chars().map(shown));
            text.push(END);
        }
        Self(text.into())
    }
}

impl fmt::Debug for PackedScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_scopes_that_it_was_created_from() {
        for scopes in [&[][..], &["a"], &["read_registry", "b c", "b c"], &["", "ü\n"], &[""]] {
            let list: PackedScopes = scopes.iter().collect();
            assert_eq!(list.iter().collect::<Vec<_>>(), scopes);
            assert_eq!(list.is_empty(), scopes.is_empty());
            assert!(scopes.iter().all(|scope| list.contains(scope)) && !list.contains("b"));
        }
    }

    #[test]
    fn a_scope_with_a_nul_is_one_scope_and_none_of_its_parts() {
        let list: PackedScopes = ["read\0write\0"].iter().collect();
        assert_eq!(list.iter().count(), 1);
        assert!(!list.contains("read") && !list.contains("write") && !list.contains(""));
    }
}
