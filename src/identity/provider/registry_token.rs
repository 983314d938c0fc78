//! Any server of the registry token protocol (Distribution's "Token Authentication Specification"):
//! Harbor, docker_auth, GitLab.
//!
//! The gate sends it the caller's own credential and all scopes that the request needs, in one
//! question. The access that the token in the reply lists decides, not the existence of a token: a
//! reply with an empty list is a 200 too. The behavior of GitLab beyond the protocol is in
//! [`gitlab`](super::gitlab).

mod one_by_one;
pub mod reply;

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};

use super::common::http_client::{ProviderClient, ProviderServer, RETRY_AFTER, Reply};
use super::common::log_topic::LogTopic;
use super::common::sources::Sources;
use super::common::strict_json;
use super::gitlab::{Forbidden, GitLabReading, TOKEN_USER};
use crate::identity::guard::failure_budget::BudgetPlace;
use crate::identity::model::credential::{Credential, basic};
use crate::identity::model::keyed_hash::SecretId;
use crate::identity::model::tag_rules::TagRules;
use crate::identity::model::{
    Granted, IssuedToken, Lifetime, NotNow, Principal, Question, RepositoryGrant, TokenServerKind,
    Verdict, Verified,
};
use crate::log_throttle::LogThrottle;
use crate::registry::{Access, Actions, CATALOG_SCOPE, RepositoryName};
use reply::Token;

/// The largest length of the user name and the secret together, in bytes. A longer credential does
/// not belong to this provider. In base64, it would not fit into the 8 KiB that web servers
/// commonly accept for a header. Some of them then close the connection, which looks like an
/// outage.
const MAX_CREDENTIAL_BYTES: usize = 5 * 1024;

/// The time before the end of a token that is sent upstream at which the gate requests another one:
/// the registry may be slow, and its clock may differ.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// The settings of a provider with `type: registry_token`.
#[derive(Clone, Debug)]
pub struct RegistryTokenSettings {
    /// The token endpoint, the realm.
    pub server: ProviderServer,
    /// The service that tokens are requested for.
    pub service: String,
}

impl RegistryTokenSettings {
    /// Creates the provider.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub fn build(self, name: Arc<str>, keep_tokens: bool) -> io::Result<TokenServer> {
        let client = ProviderClient::for_server(&self.server)?;
        let realm = self.server.endpoint.url();
        Ok(TokenServer::new(name, &realm, self.service, client, None).keep_tokens(keep_tokens))
    }
}

/// A token server.
pub struct TokenServer {
    sources: Sources,
    realm: String,
    service: String,
    /// `REALM?service=SERVICE`
    endpoint: String,
    client: ProviderClient,
    gitlab: Option<GitLabReading>,
    keeps_tokens: bool,
    log_throttle: LogThrottle,
}

impl TokenServer {
    /// Creates a provider whose token endpoint is `realm`. If `gitlab` is present, the server is
    /// asked and its replies are read as those of a GitLab.
    pub fn new(
        name: Arc<str>,
        realm: &str,
        service: String,
        client: ProviderClient,
        gitlab: Option<GitLabReading>,
    ) -> Self {
        Self {
            sources: if gitlab.is_some() {
                Sources::folding_case(name)
            } else {
                Sources::new(name)
            },
            realm: realm.to_owned(),
            endpoint: endpoint(realm, &service),
            service,
            client,
            gitlab,
            keeps_tokens: false,
            log_throttle: LogThrottle::default(),
        }
    }

    /// Sets whether the tokens that the server issues are kept with their grants, to be sent
    /// upstream. The default is `false`.
    #[must_use]
    pub fn keep_tokens(self, keeps_tokens: bool) -> Self {
        Self { keeps_tokens, ..self }
    }

    /// Returns the `type` of such a provider in the config.
    pub fn type_name(&self) -> &'static str {
        if self.gitlab.is_some() { "gitlab" } else { "registry_token" }
    }

    /// Asks what the credential is granted. `known` is `true` if this server has verified the
    /// secret before. It may then be asked about the secret again, even if the failures of other
    /// secrets have used up the failure budget. Also returns the number of questions beyond the
    /// first.
    pub async fn ask(self: &Arc<Self>, question: &Question, known: bool) -> (Verdict, u32) {
        let reply = match self.exchange(question, known).await {
            Ok(reply) => reply,
            Err(verdict) => return (verdict, 0),
        };
        let several = question.access.repositories().count() > 1;
        if several && self.forbids(&reply) == Some(Forbidden::OneOfSeveral) {
            return self.ask_one_by_one(question, known).await;
        }
        (self.verdict(question, &reply), 0)
    }

    /// Returns whether the server answers at all. The question is for a token without a credential
    /// and without scopes, so no caller can influence the outcome.
    pub async fn is_up(&self) -> bool {
        let request = Request::get(&self.endpoint).header(header::ACCEPT, "application/json");
        let Ok(request) = request.body(Full::default()) else { return false };
        let Ok(reply) = self.client.ask(request).await else { return false };
        match reply.status {
            // Some servers return a token for another service, or an unreadable one, if the
            // question has no credential.
            StatusCode::OK => strict_json::object(&reply.body).is_ok(),
            _ if self.turns_the_gate_away(&reply) => false,
            status => !status.is_server_error(),
        }
    }

    /// Sends a question and returns the reply. If the question cannot be asked or answered, the
    /// error is the verdict.
    async fn exchange(&self, question: &Question, known: bool) -> Result<Reply, Verdict> {
        let presented = match (&question.credential, &self.gitlab) {
            (Credential::Basic { user, password }, _) => Some((&**user, password)),
            (Credential::Bearer(token), Some(_)) => Some((TOKEN_USER, token)),
            (Credential::Anonymous, Some(gitlab)) if gitlab.anonymous => None,
            // Other servers have no user name under which a bare token can be presented.
            (Credential::Bearer(_), None) | (Credential::Anonymous, _) => {
                return Err(Verdict::NotMine);
            }
        };
        if presented.is_some_and(|(user, secret)| {
            user.len() + secret.expose_secret().len() > MAX_CREDENTIAL_BYTES
        }) {
            return Err(Verdict::NotMine);
        }
        let Some(request) = self.request(question, presented) else {
            return Err(self.unavailable(question, "the question cannot be put into a request"));
        };
        let place = match presented {
            Some(_) => self.place(question.secret, known).await?,
            // A question without a credential cannot count as a wrong one.
            None => None,
        };
        let reply = self
            .client
            .ask(request)
            .await
            .map_err(|error| self.unavailable(question, &error.to_string()))?;
        if let Some(place) = place.filter(|_| reply.status == StatusCode::UNAUTHORIZED) {
            place.fail(Instant::now());
        }
        Ok(reply)
    }

    /// Returns the meaning of a 403; `None` for any other status.
    fn forbids(&self, reply: &Reply) -> Option<Forbidden> {
        (reply.status == StatusCode::FORBIDDEN).then(|| Forbidden::read(&reply.body))
    }

    /// Returns whether a refusal without a verdict is directed at the gate. A GitLab that is not
    /// told the client's address bans or throttles the gate, and with it all callers.
    fn turns_the_gate_away(&self, reply: &Reply) -> bool {
        let sees_the_gate_alone =
            self.gitlab.as_ref().is_some_and(|gitlab| !gitlab.forward_client_address);
        let without_a_verdict = reply.status == StatusCode::TOO_MANY_REQUESTS
            || self.forbids(reply) == Some(Forbidden::NoVerdict);
        sees_the_gate_alone && without_a_verdict
    }

    /// Returns whether the server is asked which repositories callers without a credential may
    /// pull.
    pub fn answers_anonymous(&self) -> bool {
        self.gitlab.as_ref().is_some_and(|gitlab| gitlab.anonymous)
    }

    /// Returns whether the server is told the client's address, so that its answers may depend on
    /// it.
    pub fn forwards_client_address(&self) -> bool {
        self.gitlab.as_ref().is_some_and(|gitlab| gitlab.forward_client_address)
    }

    fn request(
        &self,
        question: &Question,
        presented: Option<(&str, &SecretString)>,
    ) -> Option<Request<Full<Bytes>>> {
        let mut uri = self.endpoint.clone();
        // Push is never asked for to decide a pull: a granted push can create records on the
        // server.
        for (repository, asked) in question.access.repositories() {
            let _ = write!(uri, "&scope=repository:{repository}:{}", asked.words());
        }
        if question.access == Access::Catalog {
            let _ = write!(uri, "&scope={CATALOG_SCOPE}");
        }
        let mut request = Request::get(uri)
            .header(header::ACCEPT, "application/json")
            .header("x-request-id", &*question.request_id);
        if let Some((user, secret)) = presented {
            request = request.header(header::AUTHORIZATION, basic(user, secret)?);
        }
        if self.forwards_client_address() {
            // Exactly one address is sent, so that address rules and the counting of failures apply
            // to the client.
            request = request.header("x-forwarded-for", question.client.to_string());
        }
        request.body(Full::default()).ok()
    }

    /// Waits for a place in the failure budget; `None` without a budget.
    async fn place(
        &self,
        secret: SecretId,
        known: bool,
    ) -> Result<Option<BudgetPlace<'_>>, Verdict> {
        let Some(budget) = self.gitlab.as_ref().and_then(|gitlab| gitlab.failure_budget.as_ref())
        else {
            return Ok(None);
        };
        // The wait may take a quarter of the time of the question: half of it may have passed, and
        // the rest is for asking it.
        match tokio::time::timeout(self.client.timeout() / 4, budget.reserve(secret, known)).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(free_in)) => Err(Verdict::NotNow(NotNow::FailureBudgetSpent, free_in)),
            Err(_) => Err(Verdict::NotNow(NotNow::NoTurn, RETRY_AFTER)),
        }
    }

    fn verdict(&self, question: &Question, reply: &Reply) -> Verdict {
        let retry_after = reply.retry_after();
        let (provider, request_id) = (self.sources.provider(), &question.request_id);
        match reply.status {
            StatusCode::OK => match reply::read(&reply.body, &self.service) {
                Ok(token) => {
                    if let Some(odd) = token.odd.text()
                        && let Some(left_out) = self.line(LogTopic::Odd)
                    {
                        tracing::warn!(%provider, %request_id, left_out, "an odd reply, which was read all the same: {odd}");
                    }
                    self.judge(question, &token)
                }
                Err(error) => self.unavailable(question, &error.to_string()),
            },
            // Both statuses tell a caller without a credential that nothing is public.
            StatusCode::UNAUTHORIZED if is_anonymous(question) => self.nothing(question),
            StatusCode::UNAUTHORIZED => Verdict::NotMine,
            StatusCode::FORBIDDEN if self.forbids(reply) != Some(Forbidden::NoVerdict) => self.nothing(question),
            status if self.turns_the_gate_away(reply) => self.unavailable(
                question,
                &format!("status {status}: it turns the gate away, whose address is all that it sees; see its bans and rate limits, or forward_client_address"),
            ),
            StatusCode::FORBIDDEN => {
                if let Some(left_out) = self.line(LogTopic::Barred) {
                    tracing::warn!(%provider, %request_id, left_out, "it lets this caller ask nothing: 403, such as for an address that is blocked; see there whether it is the caller's or the gate's");
                }
                Verdict::NotNow(NotNow::Barred, retry_after)
            }
            StatusCode::TOO_MANY_REQUESTS => {
                if let Some(left_out) = self.line(LogTopic::Busy) {
                    tracing::warn!(%provider, %request_id, left_out, "it is asked too much: 429; see its rate limits");
                }
                Verdict::NotNow(NotNow::Busy, retry_after)
            }
            StatusCode::NOT_FOUND => {
                if let Some(left_out) = self.line(LogTopic::Misconfigured) {
                    tracing::error!(%provider, %request_id, left_out, "there is no service `{}` at {}: 404; check both in the config", self.service, self.realm);
                }
                Verdict::NotNow(NotNow::Misconfigured, retry_after)
            }
            // The status concerns this question alone. If it counted as an outage, a caller could
            // cause one by sending what the server does not accept.
            status if status.is_client_error() => {
                if let Some(left_out) = self.line(LogTopic::Barred) {
                    tracing::warn!(%provider, %request_id, left_out, status = status.as_u16(), "it does not take this question");
                }
                Verdict::NotNow(NotNow::Barred, retry_after)
            }
            status => self.unavailable(question, &format!("status {status}")),
        }
    }

    fn judge(&self, question: &Question, token: &Token) -> Verdict {
        let refused = |why| {
            tracing::info!(provider = %self.sources.provider(), request_id = %question.request_id, "{why}");
            Verdict::NotMine
        };
        let subject = match (&self.gitlab, &token.subject) {
            _ if is_anonymous(question) => "".into(),
            (Some(gitlab), _) if gitlab.refuses(token) => {
                return refused("the password of an account was refused: only tokens are accepted");
            }
            (_, Some(subject)) => subject.as_str().into(),
            (Some(_), None) if super::gitlab::is_nobodys(token) => {
                return refused("its token names nobody, so it did not take the credential");
            }
            (Some(_), None) => {
                super::gitlab::deploy_token(token).unwrap_or_else(|| fingerprint(question))
            }
            // By the specification, a token without a subject means that the client did not
            // authenticate. Some servers issue such a token if the password is wrong, with access
            // to what is public.
            (None, None) => {
                return refused("its token names nobody, so it did not take the credential");
            }
        };
        let credential_type = token.credential_type.as_deref().filter(|_| !is_anonymous(question));
        let granted = self.granted(question, Some(token));
        let lifetime = match granted.token() {
            None => Lifetime { answer: Some(token.lifetime), credential: None },
            Some(_) => Lifetime {
                answer: Some(token.lifetime.saturating_sub(TOKEN_MARGIN)),
                credential: token.ends.map(|ends| ends.saturating_sub(TOKEN_MARGIN.as_secs())),
            },
        };
        self.verified(subject, credential_type, granted, lifetime)
    }

    /// Returns the verdict that the credential is valid and is granted nothing of what was asked.
    fn nothing(&self, question: &Question) -> Verdict {
        let granted = self.granted(question, None);
        self.verified(fingerprint(question), None, granted, Lifetime::default())
    }

    /// Returns what the answer grants: never more than was asked, even if the token lists more.
    /// Without a token, nothing is granted.
    fn granted(&self, question: &Question, token: Option<&Token>) -> Granted {
        let server =
            if self.gitlab.is_some() { TokenServerKind::GitLab } else { TokenServerKind::Other };
        let of_one = |(repository, asked): (&RepositoryName, Actions)| RepositoryGrant {
            repository: repository.clone(),
            actions: token
                .map(|token| token.granted(repository).intersect(asked))
                .unwrap_or_default(),
            server,
            tags: token
                .map(|token| self.tag_rules(question, repository, asked, token))
                .unwrap_or_default(),
            token: None,
        };
        let mut grants: Vec<_> = question.access.repositories().map(of_one).collect();
        if let Some(token) = token.filter(|_| self.keeps_tokens)
            && grants.iter().any(|grant| grant.actions != Actions::default())
        {
            let issued = IssuedToken::new(token.issued.clone());
            grants.iter_mut().for_each(|grant| grant.token = Some(issued.clone()));
        }
        match &question.access {
            Access::Login if token.is_some() => Granted::Identity,
            Access::Catalog => match token.filter(|token| token.grants_catalog()) {
                Some(token) => Granted::Catalog(
                    self.keeps_tokens.then(|| IssuedToken::new(token.issued.clone())),
                ),
                None => Granted::Nothing,
            },
            Access::Login => Granted::Nothing,
            Access::Repository(..) => {
                grants.pop().map_or(Granted::Nothing, |grant| Granted::Repository(grant.into()))
            }
            Access::Repositories(_) => Granted::Repositories(grants.into()),
        }
    }

    /// Returns the tag rules in the token. Reads change no tag, so no rules are kept for them.
    fn tag_rules(
        &self,
        question: &Question,
        repository: &RepositoryName,
        asked: Actions,
        token: &Token,
    ) -> TagRules {
        if self.gitlab.is_none() || !(asked.push || asked.delete) {
            return TagRules::None;
        }
        TagRules::read(token.meta(repository)).unwrap_or_else(|error| {
            tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, %repository, "tag rules that cannot be read, so nothing is written or deleted: {error}");
            TagRules::Unreadable
        })
    }

    fn verified(
        &self,
        subject: Box<str>,
        credential_type: Option<&str>,
        granted: Granted,
        lifetime: Lifetime,
    ) -> Verdict {
        let principal = Principal { source: self.sources.typed(credential_type), subject };
        Verdict::Verified(Arc::new(Verified { principal, granted, attributes: None }), lifetime)
    }

    fn unavailable(&self, question: &Question, why: &str) -> Verdict {
        if let Some(left_out) = self.line(LogTopic::NoAnswer) {
            tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, left_out, "no answer: {why}");
        }
        Verdict::Unavailable
    }

    fn line(&self, trouble: LogTopic) -> Option<u64> {
        self.log_throttle.line(&trouble, Instant::now()).map(|left_out| left_out.same)
    }
}

/// Returns the URL at which a token for `service` is requested.
pub fn endpoint(realm: &str, service: &str) -> String {
    let first = if realm.contains('?') { '&' } else { '?' };
    // Some services have a name like `Docker registry`, with a space.
    let service: String = form_urlencoded::byte_serialize(service.as_bytes()).collect();
    format!("{realm}{first}service={service}")
}

/// Returns the subject for a credential without a name. It is empty for callers without a
/// credential.
fn fingerprint(question: &Question) -> Box<str> {
    if is_anonymous(question) {
        "".into()
    } else {
        question.known_as.fingerprint.to_string().into()
    }
}

fn is_anonymous(question: &Question) -> bool {
    matches!(question.credential, Credential::Anonymous)
}
