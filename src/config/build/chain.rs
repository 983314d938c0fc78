//! Checks the providers together: their names, their issuers, and whether one provider receives
//! credentials that are meant for another.

use std::collections::HashMap;

use super::Build;
use crate::config::problem::shown;
use crate::config::raw::{JwtSection, ProviderSection};

impl Build<'_> {
    /// Checks the list of providers as a whole.
    pub(super) fn chain(&mut self, providers: &[Option<ProviderSection>]) {
        self.unique(providers);
        self.order(providers);
    }

    /// Reports each name and each issuer that occurs twice.
    fn unique(&mut self, providers: &[Option<ProviderSection>]) {
        let (mut names, mut issuers) = (HashMap::new(), HashMap::new());
        for (index, provider) in providers.iter().enumerate() {
            let Some(provider) = provider else { continue };
            if let Some(name) = &provider.common().name
                && let Some(first) = names.insert(&name.0, index)
            {
                let message =
                    format!("`{name}` is already the name of identity[{first}]; write another one");
                self.problem(&format!("identity[{index}].name"), message);
            }
            if let ProviderSection::Jwt(JwtSection { issuer: Some(issuer), .. }) = provider
                && let Some(first) = issuers.insert(&issuer.0, index)
            {
                let message = format!(
                    "`{}` is already the issuer of identity[{first}], and only one provider can \
                     verify the tokens of an issuer; merge the two entries into one",
                    shown(&issuer.0)
                );
                self.problem(&format!("identity[{index}].issuer"), message);
            }
        }
    }

    /// Warns if one provider receives credentials that are meant for another. A workload token goes
    /// only to the provider of its issuer, independent of the order.
    fn order(&mut self, providers: &[Option<ProviderSection>]) {
        for (index, provider) in providers.iter().enumerate() {
            let Some(provider) =
                provider.as_ref().filter(|provider| is_asked_over_the_network(provider))
            else {
                continue;
            };
            let common = provider.common();
            let (Some(name), None) = (&common.name, &common.accepts) else { continue };
            for (later, behind) in providers.iter().enumerate().skip(index + 1) {
                let Some(behind) = behind else { continue };
                let Some(behind_name) = &behind.common().name else { continue };
                if matches!(behind, ProviderSection::Htpasswd(_)) {
                    let message = format!(
                        "`{behind_name}` verifies passwords offline but is listed after `{name}`: \
                         wrong passwords of its users are sent to `{name}`, and while `{name}` \
                         cannot be reached, the gate answers them with 503 instead of 401; list \
                         `{behind_name}` first"
                    );
                    self.warn(&format!("identity[{later}].name"), message);
                } else if is_asked_over_the_network(behind) {
                    let message = format!(
                        "`{name}` also receives the credentials that are meant for \
                         `{behind_name}`, which is listed after it; restrict `{name}` to its own \
                         credentials, e.g. accepts: {{ prefixes: [glpat-] }}"
                    );
                    self.warn(&format!("identity[{index}].name"), message);
                    break;
                }
            }
        }
    }
}

/// Returns whether the provider sends every credential that it accepts to its server.
fn is_asked_over_the_network(provider: &ProviderSection) -> bool {
    match provider {
        ProviderSection::Gitlab(_)
        | ProviderSection::RegistryToken(_)
        | ProviderSection::Introspection(_) => true,
        ProviderSection::Jwt(_) | ProviderSection::Htpasswd(_) => false,
    }
}
