//! Any server of the registry token protocol (Distribution's "Token Authentication Specification"):
//! Harbor, docker_auth, GitLab.
//!
//! The gate sends it the caller's own credential and all scopes that the request needs, in one
//! question. The access that the token in the reply lists decides, not the existence of a token: a
//! reply with an empty list is a 200 too. The behavior of GitLab beyond the protocol is in
//! [`gitlab`](super::gitlab).

mod one_by_one;
pub mod reply;
mod verdict;

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};

use super::common::last_fault::LastFault;
use super::common::sources::Sources;
use super::gitlab::{Forbidden, GitLabReading, TOKEN_USER};
use crate::http_client::{HttpClient, HttpServer, RETRY_AFTER, Reply};
use crate::identity::guard::failure_budget::BudgetPlace;
use crate::identity::model::credential::{Credential, basic};
use crate::identity::model::{NotNow, Question, Verdict};
use crate::log_throttle::LogThrottle;
use crate::registry::{Access, CATALOG_SCOPE};
use crate::strict_json;

/// The largest length of the user name and the secret together, in bytes. A longer credential does
/// not belong to this provider. In base64, it would not fit into the 8 KiB that web servers
/// commonly accept for a header. Some of them then close the connection, which looks like an
/// outage.
const MAX_CREDENTIAL_BYTES: usize = 5 * 1024;

/// The settings of a provider with `type: registry_token`.
#[derive(Clone, Debug)]
pub struct RegistryTokenSettings {
    /// The token endpoint, the realm.
    pub server: HttpServer,
    /// The service that tokens are requested for.
    pub service: String,
}

impl RegistryTokenSettings {
    /// Creates the provider.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub fn build(self, name: Arc<str>, keep_tokens: bool) -> io::Result<TokenServer> {
        let client = HttpClient::for_server(&self.server)?;
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
    client: HttpClient,
    gitlab: Option<GitLabReading>,
    keeps_tokens: bool,
    log_throttle: LogThrottle,
    last_fault: LastFault,
}

impl TokenServer {
    /// Creates a provider whose token endpoint is `realm`. If `gitlab` is present, the server is
    /// asked and its replies are read as those of a GitLab.
    pub fn new(
        name: Arc<str>,
        realm: &str,
        service: String,
        client: HttpClient,
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
            last_fault: LastFault::default(),
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

    /// Returns the last error.
    pub fn last_fault(&self) -> &LastFault {
        &self.last_fault
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
            return Err(self.unavailable(question, "the gate cannot build the request"));
        };
        let place = match presented {
            Some(_) => self.place(question, known).await?,
            // A question without a credential cannot count as a wrong one.
            None => None,
        };
        question.sends(&request);
        let reply = self
            .client
            .ask(request)
            .await
            .map_err(|error| self.unavailable(question, &error.to_string()))?;
        question.receives(reply.status);
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
        question: &Question,
        known: bool,
    ) -> Result<Option<BudgetPlace<'_>>, Verdict> {
        let Some(budget) = self.gitlab.as_ref().and_then(|gitlab| gitlab.failure_budget.as_ref())
        else {
            return Ok(None);
        };
        // The wait may take a quarter of the time of the question: half of it may have passed, and
        // the rest is for asking it.
        let limit = self.client.timeout() / 4;
        match tokio::time::timeout(
            limit,
            budget.reserve(question.secret, known, limit / 2, question.waits.as_deref()),
        )
        .await
        {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(free_in)) => Err(Verdict::NotNow(NotNow::FailureBudgetSpent, free_in)),
            Err(_) => Err(Verdict::NotNow(NotNow::NoTurn, RETRY_AFTER)),
        }
    }
}

/// Returns the URL at which a token for `service` is requested.
pub fn endpoint(realm: &str, service: &str) -> String {
    let first = if realm.contains('?') { '&' } else { '?' };
    // Some services have a name like `Docker registry`, with a space.
    let service: String = form_urlencoded::byte_serialize(service.as_bytes()).collect();
    format!("{realm}{first}service={service}")
}
