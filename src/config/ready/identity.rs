//! The identity providers of the configuration.

use crate::identity::authenticator::Accepts;
use crate::identity::provider::ProviderSettings;

/// An identity provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name in logs and metrics.
    pub name: String,
    /// The only credentials that the provider is asked about; `None` for all.
    pub accepts: Option<Accepts>,
    /// The settings of its type.
    pub settings: ProviderSettings,
}
