//! The identity providers of the configuration.

use crate::identity::authenticator::Accepts;
use crate::identity::provider::ProviderSettings;

/// An identity provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name of the provider in logs and metrics.
    pub name: String,
    /// The only credentials that the provider is asked about; `None`: all credentials.
    pub accepts: Option<Accepts>,
    /// The settings of the provider's type.
    pub settings: ProviderSettings,
}
