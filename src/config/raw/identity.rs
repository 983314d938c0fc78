//! `identity`: the kinds of provider and their keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ScopeList;
use crate::config::format::{Duration, ProviderName};
use crate::config::url::ServerUrl;

/// Who verifies credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(in crate::config) enum Provider {
    Gitlab(Gitlab),
    Htpasswd(Htpasswd),
}

/// Any unmodified GitLab, through its token endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Gitlab {
    /// What logs and metrics call it; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<ProviderName>,
    /// Where GitLab is; it may have a path.
    #[schemars(required)]
    pub(in crate::config) url: Option<ServerUrl>,
    /// The service that tokens are asked for.
    #[schemars(length(min = 1), extend("examples" = ["container_registry"]))]
    pub(in crate::config) service: String,
    /// How long one question may take.
    pub(in crate::config) timeout: Duration,
    /// A PEM file of the authorities that its certificate may come from; null: the system's.
    #[schemars(length(min = 1), extend("examples" = ["ca.pem"]))]
    pub(in crate::config) ca: Option<String>,
    /// Allows plain http to another machine: credentials then cross the network in the clear.
    pub(in crate::config) insecure: bool,
}

impl Default for Gitlab {
    fn default() -> Self {
        Self {
            name: None,
            url: None,
            // What GitLab itself calls its registry.
            service: "container_registry".to_owned(),
            timeout: Duration::seconds(2),
            ca: None,
            insecure: false,
        }
    }
}

/// Users and bcrypt hashes in a file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Htpasswd {
    /// What logs and metrics call it; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<ProviderName>,
    /// The file: USER:HASH lines, bcrypt only.
    #[schemars(required, length(min = 1), extend("examples" = ["htpasswd"]))]
    pub(in crate::config) file: Option<String>,
    /// What its users have.
    #[schemars(required)]
    pub(in crate::config) scopes: Option<ScopeList>,
}
