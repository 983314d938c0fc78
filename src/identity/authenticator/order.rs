//! The providers that may be shown a credential, and their order.

use std::sync::Arc;

use super::{Authenticator, ManagedProvider};
use crate::denial::Denial;
use crate::identity::model::Question;
use crate::identity::model::credential::Credential;
use crate::identity::provider::common::log_topic::LogTopic;
use crate::identity::provider::jwt;

/// The longest part of an unknown issuer that is logged, in characters. The sender of a token
/// chooses the issuer freely.
const MAX_ISSUER_SHOWN: usize = 200;

impl Authenticator {
    /// Returns the providers that may be asked a question, in order.
    ///
    /// # Errors
    /// [`Denial::MalformedCredential`] if the credential contains a token of a configured issuer in
    /// another spelling or with extra characters around it. The provider of the issuer does not
    /// accept such a token, and no other provider may see it.
    pub(super) fn order(&self, question: &Question) -> Result<Vec<&Arc<ManagedProvider>>, Denial> {
        let credential = &question.credential;
        let issuer = jwt::issuer_of(credential);
        let alone = issuer.as_ref().and_then(|issuer| self.issuer(issuer));
        if let (Some(issuer), None) = (issuer, alone) {
            self.say_whose_it_is(&issuer);
        }
        let is_an_issuer =
            |issuer: &str| self.providers.iter().any(|provider| provider.is_issuer(issuer));
        if alone.is_none() && self.verify_jwts() && jwt::holds_token_of(credential, is_an_issuer) {
            return Err(Denial::MalformedCredential(
                "it contains a workload token with other text around it, such as a space, quotes \
                 or `Bearer `: send the token alone",
            ));
        }
        let may_be_asked =
            |it: &&Arc<ManagedProvider>| alone.is_none_or(|alone| it.number == alone.number);
        Ok(self
            .providers
            .iter()
            .filter(may_be_asked)
            .filter(|provider| provider.accepts(credential))
            .filter(|it| !question.excludes(&it.name))
            .collect())
    }

    /// Returns the provider of this issuer.
    fn issuer(&self, issuer: &str) -> Option<&Arc<ManagedProvider>> {
        self.providers.iter().find(|it| it.is_issuer(issuer))
    }

    /// Returns the provider of the credential's issuer, if the credential is a JWT. No other
    /// provider is asked.
    pub(super) fn issuer_in_chain(&self, credential: &Credential) -> Option<&Arc<ManagedProvider>> {
        self.issuer(&jwt::issuer_of(credential)?)
    }

    fn verify_jwts(&self) -> bool {
        self.providers.iter().any(|provider| provider.verifies_jwts())
    }

    /// Logs an unknown issuer. Without the log line, an issuer in the config that differs from that
    /// in the tokens by a slash would look like a wrong credential.
    fn say_whose_it_is(&self, issuer: &str) {
        let Some(provider) = self.providers.iter().find(|provider| provider.verifies_jwts()) else {
            return;
        };
        if let Some(left_out) = provider.log_line(LogTopic::UnknownIssuer) {
            let issuer: String = issuer.chars().take(MAX_ISSUER_SHOWN).collect();
            tracing::info!(
                left_out,
                "the `iss` of a token is {issuer:?}; no provider in the config has this `issuer`"
            );
        }
    }

    /// Returns whether a provider before this one knows the user as its own.
    pub(super) fn earlier_provider_knows_user(
        &self,
        provider: &ManagedProvider,
        credential: &Credential,
    ) -> bool {
        let mut before =
            self.providers.iter().take_while(|before| before.number != provider.number);
        before.any(|before| before.knows_user(credential) && before.accepts(credential))
    }
}

/// Returns the providers that are asked before their turn: the one that verified the secret last,
/// and the first one that knows the user as its own. Providers behind the latter are left out: the
/// secret of another user, sent with a user name of an htpasswd file, must not reach a provider
/// behind that file.
pub(super) fn asked_early<'a>(
    order: &[&'a Arc<ManagedProvider>],
    last: Option<&Arc<ManagedProvider>>,
    credential: &Credential,
) -> Vec<&'a Arc<ManagedProvider>> {
    let is_last =
        |provider: &ManagedProvider| last.is_some_and(|last| last.number == provider.number);
    let mut asked_early = Vec::new();
    for provider in order.iter().copied() {
        let knows_user = provider.knows_user(credential);
        if knows_user || is_last(provider) {
            asked_early.push(provider);
        }
        if knows_user {
            break;
        }
    }
    asked_early
}
