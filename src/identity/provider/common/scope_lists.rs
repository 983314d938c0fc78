//! Lists of scopes, each stored once: every cached verdict refers to a list, and callers have few
//! different lists.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::identity::model::PackedScopes;

/// The largest number of stored lists. A server that invents lists must not fill the memory.
const MAX_LISTS: usize = 256;

/// The lists that one provider has named so far.
#[derive(Default)]
pub struct ScopeLists(Mutex<HashSet<PackedScopes>>);

impl ScopeLists {
    /// Returns the stored list that is equal to `scopes`.
    pub fn shared(&self, scopes: &[String]) -> PackedScopes {
        let list: PackedScopes = scopes.iter().collect();
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(&list) {
            return list.clone();
        }
        if lists.len() < MAX_LISTS {
            lists.insert(list.clone());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scope_lists_are_shared_and_their_number_is_bounded() {
        let lists = ScopeLists::default();
        let shared = |word: &str| lists.shared(&["read_registry".to_owned(), word.to_owned()]);
        assert!(shared("a").is_same(&shared("a")));
        assert!(!shared("a").is_same(&shared("b")));
        for number in 0..1000 {
            let word = number.to_string();
            assert!(shared(&word).iter().eq(["read_registry", &word]));
        }
        assert!(lists.0.lock().unwrap().len() <= MAX_LISTS);
    }
}
