//! The [`Source`]s of one provider, each made once: every cached verdict names one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::model::Source;

/// Types that are kept. A provider has a handful; one that makes them up must not fill the memory.
const MAX_TYPES: usize = 64;

/// A provider's name, with each credential type that it has named so far.
pub struct Sources {
    provider: Arc<str>,
    untyped: Arc<Source>,
    typed: Mutex<HashMap<Box<str>, Arc<Source>>>,
}

impl Sources {
    /// For the provider of this name, whose subjects are told apart by case too.
    pub fn new(provider: Arc<str>) -> Self {
        Self::build(provider, false)
    }

    /// The same for a provider to which two subjects that differ in case alone are one.
    pub fn folding_case(provider: Arc<str>) -> Self {
        Self::build(provider, true)
    }

    fn build(provider: Arc<str>, folds_case: bool) -> Self {
        let untyped =
            Arc::new(Source { provider: provider.clone(), credential_type: None, folds_case });
        Self { provider, untyped, typed: Mutex::default() }
    }

    /// The provider's name in the config.
    pub fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// The source of credentials of this type.
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
    fn one_for_each_type_and_bounded() {
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
