//! Lists of scopes, each stored once: every cached verdict refers to a list, and callers have few
//! different lists.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest number of stored lists. A server that invents lists must not fill the memory.
const MAX_LISTS: usize = 256;

/// The lists that one provider has named so far.
#[derive(Default)]
pub struct ScopeLists(Mutex<HashSet<Arc<Vec<String>>>>);

impl ScopeLists {
    /// Returns the stored list that is equal to `scopes`.
    pub fn shared(&self, scopes: Vec<String>) -> Arc<Vec<String>> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(&scopes) {
            return list.clone();
        }
        let list = Arc::new(scopes);
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
        let scopes = |word: &str| vec!["read_registry".to_owned(), word.to_owned()];
        assert!(Arc::ptr_eq(&lists.shared(scopes("a")), &lists.shared(scopes("a"))));
        assert!(!Arc::ptr_eq(&lists.shared(scopes("a")), &lists.shared(scopes("b"))));
        for number in 0..1000 {
            assert_eq!(*lists.shared(scopes(&number.to_string())), *scopes(&number.to_string()));
        }
        assert!(lists.0.lock().unwrap().len() <= MAX_LISTS);
    }
}
