//! The tokens with which the gate answers the registry's challenges (Distribution, "Token
//! Authentication Specification"). All workers share them.

mod learned;
mod question;
mod realm;
mod scope;
mod turns;

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use moka::Expiry;
use moka::future::Cache;

use super::Origins;
use super::challenge::{BearerChallenge, RegistryChallenge};
use crate::denial::UpstreamFault;
use crate::http_client::HttpClient;
use crate::log_throttle::LogThrottle;
use crate::net::host_list::HostList;
use crate::registry::{RegistryRequest, RepositoryName};
use learned::Learned;
use realm::Realm;
pub(super) use scope::RequestScopes;
pub(super) use turns::Asker;
use turns::Turns;

/// The largest number of tokens that are kept, and of scopes that are known to be refused.
const MAX_KEPT: u64 = 10_000;

/// The largest size of all tokens that are kept, in bytes, and the size as which a shorter one
/// counts, so that there are at most [`MAX_KEPT`].
const MAX_TOKEN_BYTES: u64 = 32 * 1024 * 1024;
const MIN_WEIGHT: u32 = (MAX_TOKEN_BYTES / MAX_KEPT) as u32;

/// The settings for `authorization: token`.
pub struct TokenSettings {
    /// The `Authorization` value of the gate's own account; `None`: the gate asks as an anonymous
    /// caller.
    pub account: Option<HeaderValue>,
    /// The user name of that account, or an empty text.
    pub user: String,
    /// The hosts that may be asked for tokens, beside the registry's own.
    pub realms: HostList,
    /// `true` if these may be asked over plain http.
    pub insecure: bool,
    /// The client that asks the registry's own token server. It proves with the certificate of the
    /// config who it is.
    pub own_client: HttpClient,
    /// The client that asks other token servers.
    pub client: HttpClient,
    /// The time for which the registry's refusal of a scope is remembered.
    pub negative_ttl: Duration,
}

/// The tokens for one registry.
pub struct RegistryTokens {
    settings: TokenSettings,
    tokens: Cache<TokenQuestion, Arc<IssuedToken>>,
    /// The times at which the registry refused a token that was just issued.
    refused: moka::sync::Cache<RequestScopes, Instant>,
    /// The times of the last writes.
    written: moka::sync::Cache<RepositoryName, Instant>,
    learned: Learned,
    turns: Turns,
    log_throttle: LogThrottle,
    /// The last error.
    said: Mutex<Option<String>>,
}

/// The question that a token answers. The account is that of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TokenQuestion {
    realm: String,
    service: Option<String>,
    scope: RequestScopes,
}

/// A token of the registry's token server.
struct IssuedToken {
    authorization: HeaderValue,
    lifetime: Duration,
    obtained: Instant,
}

/// The credential for one request to the registry.
#[derive(Clone)]
pub(super) enum RegistryCredential {
    /// The password of the gate's own account.
    Basic(HeaderValue),
    Token(TokenUse),
}

/// A token, and the question that it answers.
#[derive(Clone)]
pub(super) struct TokenUse {
    key: TokenQuestion,
    token: Arc<IssuedToken>,
}

struct TokenExpiry;

impl Expiry<TokenQuestion, Arc<IssuedToken>> for TokenExpiry {
    fn expire_after_create(
        &self,
        _: &TokenQuestion,
        token: &Arc<IssuedToken>,
        _: Instant,
    ) -> Option<Duration> {
        Some(token.lifetime)
    }
}

impl RegistryCredential {
    /// Returns the `Authorization` value.
    pub(super) fn authorization(&self) -> HeaderValue {
        match self {
            Self::Basic(authorization) => authorization.clone(),
            Self::Token(used) => used.token.authorization.clone(),
        }
    }
}

impl TokenUse {
    /// Returns whether the token was issued after this time.
    pub(super) fn is_newer_than(&self, time: Instant) -> bool {
        self.token.obtained >= time
    }

    /// Returns whether the token answers this challenge.
    pub(super) fn answers(&self, challenge: &BearerChallenge) -> bool {
        self.key.realm == challenge.realm && self.key.service == challenge.service
    }
}

impl RegistryTokens {
    /// Creates the tokens for a registry that has not been asked yet.
    pub fn new(settings: TokenSettings) -> Self {
        Self {
            tokens: Cache::builder()
                .max_capacity(MAX_TOKEN_BYTES)
                .weigher(|question: &TokenQuestion, token: &Arc<IssuedToken>| {
                    let bytes = question.realm.len() + token.authorization.len();
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    bytes.max(MIN_WEIGHT)
                })
                .expire_after(TokenExpiry)
                .build(),
            refused: for_a_while(settings.negative_ttl),
            written: for_a_while(settings.negative_ttl),
            settings,
            learned: Learned::default(),
            turns: Turns::default(),
            log_throttle: LogThrottle::default(),
            said: Mutex::default(),
        }
    }

    /// Returns the last error, for the status: of the token server, or of the gate's own settings.
    pub(super) fn last_error(&self) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, error: String) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns the scopes of a request.
    pub(super) fn scope(&self, wanted: &RegistryRequest) -> RequestScopes {
        self.learned.scopes(wanted)
    }

    /// Returns whether the gate knows how the registry wants to be asked.
    pub(super) fn knows_challenge(&self, wanted: &RegistryRequest) -> bool {
        self.learned.is_open() || self.learned.challenge(wanted).is_some()
    }

    /// Takes note that the registry answered `GET /v2/` without a challenge.
    pub(super) fn note_open(&self) {
        self.learned.note_open();
    }

    /// Takes note of the challenge in a 401 to a request. One that the gate cannot answer does
    /// not replace a known one.
    pub(super) fn learn(
        &self,
        wanted: &RegistryRequest,
        challenge: RegistryChallenge,
        own: &Origins,
    ) {
        let is_answerable = match &challenge {
            RegistryChallenge::Basic => true,
            RegistryChallenge::Bearer(bearer) => {
                Realm::judge(&bearer.realm, &self.settings, own).is_ok()
            }
        };
        if is_answerable || self.learned.challenge(wanted).is_none() {
            self.learned.learn(wanted, challenge);
        }
    }

    /// Returns whether the registry has just refused a token for this scope, and nothing was
    /// written to the repository since.
    pub(super) fn is_refused(&self, wanted: &RegistryRequest, scope: &RequestScopes) -> bool {
        let Some(refused) = self.refused.get(scope) else { return false };
        let written = wanted.repository().and_then(|name| self.written.get(name));
        written.is_none_or(|written| written < refused)
    }

    /// Remembers that the registry refused a token that was just issued for this scope.
    pub(super) fn refuse(&self, scope: &RequestScopes) {
        if !self.settings.negative_ttl.is_zero() {
            self.refused.insert(scope.clone(), Instant::now());
        }
    }

    /// Takes note of a write, which may have created the repository.
    pub(super) fn note_written(&self, wanted: &RegistryRequest) {
        if let Some(name) = wanted.repository() {
            self.written.insert(name.clone(), Instant::now());
        }
    }

    /// Drops a token that the registry refused, unless another one has taken its place.
    pub(super) async fn drop_token(&self, used: &TokenUse) {
        if let Some(kept) = self.tokens.get(&used.key).await
            && Arc::ptr_eq(&kept, &used.token)
        {
            self.tokens.invalidate(&used.key).await;
        }
    }

    /// Returns the credential for a request, or `None` if the registry's challenge is not known.
    /// Requests that wait for the same token share one question.
    ///
    /// # Errors
    /// The fault of the token server, or [`UpstreamFault::RefusedTheGate`] if the registry asks for
    /// a password and the config has none.
    pub(super) async fn credential(
        &self,
        wanted: &RegistryRequest,
        scope: &RequestScopes,
        own: &Origins,
        asker: Asker<'_>,
        request_id: &str,
    ) -> Result<Option<RegistryCredential>, UpstreamFault> {
        let Some(challenge) = self.learned.challenge(wanted) else { return Ok(None) };
        let bearer = match &*challenge {
            RegistryChallenge::Basic => {
                let account = self.password(own, request_id);
                return match account {
                    Ok(account) => Ok(Some(RegistryCredential::Basic(account))),
                    Err(fault) => {
                        self.learned.forget(wanted, &challenge);
                        Err(fault)
                    }
                };
            }
            RegistryChallenge::Bearer(bearer) => bearer,
        };
        let key = TokenQuestion {
            realm: bearer.realm.clone(),
            service: bearer.service.clone(),
            scope: scope.clone(),
        };
        let question = self.ask(&key, own, asker, request_id);
        match self.tokens.try_get_with_by_ref(&key, question).await {
            Ok(token) => Ok(Some(RegistryCredential::Token(TokenUse { key, token }))),
            Err(fault) => {
                let is_of_request = matches!(
                    *fault,
                    UpstreamFault::TokenServerBusy | UpstreamFault::TokenServerForbids
                );
                if !is_of_request {
                    // The registry may name another token server by now.
                    self.learned.forget(wanted, &challenge);
                }
                Err(*fault)
            }
        }
    }

    /// Returns the password of the gate's own account for the registry.
    fn password(&self, own: &Origins, request_id: &str) -> Result<HeaderValue, UpstreamFault> {
        let is_private = self.settings.insecure
            || own.address().is_some_and(|registry| registry.https || registry.is_on_loopback());
        let account = self.settings.account.clone().filter(|_| is_private);
        account.ok_or_else(|| {
            let why = if is_private {
                "asks for a password; set upstream.username and upstream.password_file"
            } else {
                "asks for the password over plain http; write https://… in upstream.urls, or set \
                 upstream.insecure: true if this network is trusted"
            };
            if let Some(left_out) = self.log_throttle.line(&why, Instant::now()) {
                tracing::error!(request_id, left_out = left_out.same, "the registry {why}");
            }
            self.say(format!("the registry {why}"));
            UpstreamFault::RefusedTheGate
        })
    }

    /// Does what the challenge of `GET /v2/` asks for, for a check of the config. Returns words for
    /// its output.
    ///
    /// # Errors
    /// The reason why the gate would get no token.
    pub async fn check(&self, headers: &HeaderMap, own: &Origins) -> Result<String, String> {
        let bearer = match RegistryChallenge::find(headers) {
            Some(RegistryChallenge::Bearer(bearer)) => bearer,
            Some(RegistryChallenge::Basic) if self.settings.account.is_some() => {
                return Ok("asks for the password".to_owned());
            }
            Some(RegistryChallenge::Basic) => {
                return Err("the registry asks for a password; set upstream.username and \
                            upstream.password_file"
                    .to_owned());
            }
            None => {
                return Err("the registry answers 401 with a challenge that the gate cannot \
                            answer; it must be Bearer or Basic"
                    .to_owned());
            }
        };
        let shown = realm::shown(&bearer.realm).to_string();
        let realm = Realm::judge(&bearer.realm, &self.settings, own);
        let realm = realm.map_err(|why| {
            format!("the registry's token server {shown} is not asked for a token: {why}")
        })?;
        let key = TokenQuestion {
            realm: bearer.realm,
            service: bearer.service,
            scope: RequestScopes::default(),
        };
        match question::ask(&self.settings, &realm, &key, "check-config").await {
            Ok(_) => Ok(format!("its token server {shown} answers")),
            Err(failure) => {
                Err(format!("the registry's token server {shown} gave no token: {failure}"))
            }
        }
    }

    /// Asks the token server, after a wait for a turn.
    async fn ask(
        &self,
        key: &TokenQuestion,
        own: &Origins,
        asker: Asker<'_>,
        request_id: &str,
    ) -> Result<Arc<IssuedToken>, UpstreamFault> {
        let realm = Realm::judge(&key.realm, &self.settings, own).map_err(|why| {
            self.log(request_id, &key.realm, format_args!("is not asked for a token: {why}"));
            UpstreamFault::TokenServerNotAllowed
        })?;
        let wait = self.turns.take(asker).ok_or_else(|| {
            let what = "is not asked for a token now, because too many questions wait for it; \
                        the gate asks 20 times a second";
            self.log(request_id, &key.realm, format_args!("{what}"));
            UpstreamFault::TokenServerBusy
        })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let answer = question::ask(&self.settings, &realm, key, request_id).await;
        answer.map(Arc::new).map_err(|failure| {
            self.log(request_id, &key.realm, format_args!("gave no token: {failure}"));
            failure.fault()
        })
    }

    /// Logs a fault of the token server, unless the same one was logged recently.
    fn log(&self, request_id: &str, realm: &str, what: std::fmt::Arguments<'_>) {
        let subject = (realm, what.to_string());
        let shown = realm::shown(realm);
        if let Some(left_out) = self.log_throttle.line(&subject, Instant::now()) {
            tracing::error!(
                request_id,
                left_out = left_out.same,
                "the token server {shown} of the registry {what}"
            );
        }
        self.say(format!("the token server {shown} {what}"));
    }
}

/// Returns a store that forgets each entry after this time.
fn for_a_while<K>(time: Duration) -> moka::sync::Cache<K, Instant>
where
    K: Eq + Hash + Send + Sync + 'static,
{
    let time = time.max(Duration::from_millis(1));
    moka::sync::Cache::builder().max_capacity(MAX_KEPT).time_to_live(time).build()
}
