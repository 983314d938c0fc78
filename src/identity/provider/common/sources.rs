//! The [`Source`]s of one provider, each created once, because every cached verdict refers to one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::model::Source;

/// The largest number of stored types. A provider has a handful, and a provider that invents types
/// must not fill the memory.
const MAX_TYPES: usize = 64;

/// The name of a provider, with each credential type that the provider has named so far.
pub struct Sources {
    provider: Arc<str>,
    untyped: Arc<Source>,
    typed: Mutex<HashMap<Box<str>, Arc<Source>>>,
}

impl Sources {
    /// Creates the sources of the provider of this name, whose subjects are case-sensitive.
    pub fn new(provider: Arc<str>) -> Self {
        Self::build(provider, false)
    }

    /// Creates the sources of a provider for which two subjects that differ only in case are one.
    pub fn folding_case(provider: Arc<str>) -> Self {
        Self::build(provider, true)
    }

    fn build(provider: Arc<str>, folds_case: bool) -> Self {
        let untyped =
            Arc::new(Source { provider: provider.clone(), credential_type: None, folds_case });
        Self { provider, untyped, typed: Mutex::default() }
    }

    /// Returns the provider's name in the config.
    pub fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// Returns the source of credentials of this type.
    pub fn typed(&self, credential_type: Option<&str>) -> Arc<Source> {
        let Some(credential_type) = credential_type else { return self.untyped.clone() };
        let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = typed.get(credential_type) {
            return source.clone();
        }
        let source = Arc::new(Source {
            credential_type: Some(credential_type.into()),
            ..Source::clone(&self.untyped)
        });
        if typed.len() < MAX_TYPES {
            typed.insert(credential_type.into(), source.clone());
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_one_type_are_shared_and_their_number_is_bounded() {
        let sources = Sources::new("gitlab".into());
        assert!(Arc::ptr_eq(&sources.typed(Some("build")), &sources.typed(Some("build"))));
        assert!(!Arc::ptr_eq(&sources.typed(Some("build")), &sources.typed(None)));
        for number in 0..1000 {
            assert_eq!(
                sources.typed(Some(&number.to_string())).credential_type.as_deref(),
                Some(&*number.to_string())
            );
        }
        assert!(sources.typed.lock().unwrap().len() <= MAX_TYPES);
    }
}
