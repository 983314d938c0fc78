//! The stages that authenticate and authorise a request.

use std::sync::Arc;

use super::Gate;
use crate::denial::{Denial, Uncovered};
use crate::identity::authenticator::CacheUse;
use crate::identity::model::credential::Credential;
use crate::identity::{Question, Verified, Vouched};
use crate::policy::Decision;
use crate::record::Record;
use crate::registry::{Access, RegistryRequest};
use crate::token_service::Presented;
use crate::token_service::gate_token::TokenScope;
use crate::upstream::ClientInfo;

/// The names of the spans of both stages.
const AUTHENTICATE: &str = "authenticate";
pub(super) const AUTHORIZE: &str = "authorize";

impl Gate {
    /// Authenticates and authorises a request. An access that a gate token does not list is refused
    /// even if its credential allows it. Returns the decision and the question whose verdict
    /// decided.
    pub(super) async fn decide(
        &self,
        wanted: RegistryRequest,
        presented: Presented,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<(Decision, Question), Denial> {
        let Presented { credential, token_scope, vouched, sealed_at } = presented;
        let is_listed = |access: &Access| {
            token_scope.as_ref().is_none_or(|token_scope| token_scope.allows(access))
        };
        let uncovered = |access: &Access| {
            let scope = token_scope.as_ref();
            let why = scope.map_or(Uncovered::NotRequested, |scope| scope.uncovered(access));
            Denial::InsufficientScope(why)
        };
        let question = self.question((credential, vouched), wanted.required(), client, record);
        // A gate token that was issued before its credential was revoked is refused, even if the
        // provider still accepts the credential.
        let is_revoked =
            || sealed_at.is_some_and(|time| self.identity.has_revoked_sealed(&question, time));
        if is_revoked() {
            return Err(Denial::InvalidToken);
        }
        if matches!(question.credential, Credential::Anonymous) && !is_listed(&question.access) {
            return Err(Denial::InsufficientScope(Uncovered::Anonymous));
        }
        // No provider is asked about a repository that the token does not list, because GitLab
        // records every question about a push.
        if token_scope.as_ref().is_some_and(|token_scope| !token_scope.mentions(&question.access)) {
            return Err(uncovered(&question.access));
        }
        // The verdict comes first: a missing right of the credential is the more useful reason,
        // because another token would not help.
        let verified = self.authenticate(&question, record).await?;
        // The operator may have revoked the credential while the request waited for the verdict.
        if is_revoked() {
            return Err(Denial::InvalidToken);
        }
        record.stage_begins(AUTHORIZE);
        let mut decision = self.policy.authorize(wanted, &verified)?;
        if !is_listed(&question.access) {
            return Err(uncovered(&question.access));
        }
        if let (Access::Catalog, Some(names)) =
            (&question.access, token_scope.as_ref().and_then(TokenScope::shown))
        {
            decision.show_at_most(names);
        }
        let Some(source) = decision.unchecked_mount_source() else {
            return Ok((decision, question));
        };
        let of_mount = Question { access: source, ..question.clone() };
        // Boxed because mounts are rare, and it would enlarge every request's future.
        let verified = Box::pin(self.identity.verify(&of_mount, &mut CacheUse::None)).await?;
        let decision = self.policy.allow_mount(decision, &verified);
        match decision.request().mount_source() {
            Some(source) if !is_listed(&source) => Err(uncovered(&source)),
            Some(_) => Ok((decision, of_mount)),
            None => Ok((decision, question)),
        }
    }

    /// Creates the question to the providers, and records the credential's fingerprint.
    pub(super) fn question(
        &self,
        presented: (Credential, Option<Vouched>),
        access: Access,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Question {
        let request_id = record.request_id().clone();
        let mut question =
            self.identity.question_about(presented, access, client.address, request_id);
        question.trace = record.question_trace();
        if !matches!(question.credential, Credential::Anonymous) {
            record.set_credential(question.known_as.fingerprint);
        }
        question
    }

    /// Returns the identity of the caller and what its credential allows for the needed access.
    pub(super) async fn authenticate(
        &self,
        question: &Question,
        record: &mut Record,
    ) -> Result<Arc<Verified>, Denial> {
        let mut cache = CacheUse::None;
        record.stage_begins(AUTHENTICATE);
        let verified = self.identity.verify(question, &mut cache).await;
        record.set_cache_use(cache);
        record.stage_ends(&verified);
        let verified = verified?;
        record.set_caller(verified.clone());
        Ok(verified)
    }
}
