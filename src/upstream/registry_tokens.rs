//! The tokens with which the gate answers the registry's challenges (Distribution, "Token
//! Authentication Specification"). All workers share them.

mod question;
mod realm;
mod scope;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use moka::Expiry;
use moka::future::Cache;

use super::Origins;
use super::challenge::{BearerChallenge, Challenge};
use crate::denial::UpstreamFault;
use crate::http_client::HttpClient;
use crate::log_throttle::LogThrottle;
use crate::net::host_list::HostList;
use crate::rate_limit::{Clock, Nanos, Quota};
use crate::registry::{Operation, RegistryRequest};
use realm::Realm;
pub(super) use scope::Scope;

/// The largest number of tokens that are kept, and of scopes that are known to be refused.
const MAX_KEPT: u64 = 10_000;

/// The largest number of questions to token servers in a second.
const QUESTIONS_A_SECOND: u32 = 20;

/// The longest wait for a turn to ask.
const PATIENCE: Duration = Duration::from_secs(1);

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
    /// The client that asks.
    pub client: HttpClient,
    /// The time for which the registry's refusal of a scope is remembered.
    pub negative_ttl: Duration,
}

/// The tokens for one registry.
pub struct RegistryTokens {
    settings: TokenSettings,
    tokens: Cache<TokenKey, Arc<Token>>,
    refused: moka::sync::Cache<Scope, ()>,
    learned: RwLock<Learned>,
    clock: Clock,
    turn: Mutex<Nanos>,
    log_throttle: LogThrottle,
}

/// What the registry's answers have shown.
#[derive(Default)]
struct Learned {
    /// The challenge for everything but the catalog.
    challenge: Option<Arc<Challenge>>,
    /// The challenge for the catalog. Harbor takes Basic there, and Bearer elsewhere.
    catalog: Option<Arc<Challenge>>,
    /// The actions that the registry asks for where they are not those of the operation.
    actions: Vec<(Operation, String)>,
}

/// The question that a token answers. The account is that of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TokenKey {
    realm: String,
    service: Option<String>,
    scope: Scope,
}

/// A token of the registry's token server.
struct Token {
    authorization: HeaderValue,
    lifetime: Duration,
    obtained: Instant,
}

/// The credential for one request to the registry.
#[derive(Clone)]
pub(super) enum Presented {
    /// The password of the gate's own account.
    Basic(HeaderValue),
    Token(TokenUse),
}

/// A token, and the question that it answers.
#[derive(Clone)]
pub(super) struct TokenUse {
    key: TokenKey,
    token: Arc<Token>,
}

struct TokenExpiry;

impl Expiry<TokenKey, Arc<Token>> for TokenExpiry {
    fn expire_after_create(
        &self,
        _: &TokenKey,
        token: &Arc<Token>,
        _: Instant,
    ) -> Option<Duration> {
        Some(token.lifetime)
    }
}

impl Presented {
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
            tokens: Cache::builder().max_capacity(MAX_KEPT).expire_after(TokenExpiry).build(),
            refused: moka::sync::Cache::builder()
                .max_capacity(MAX_KEPT)
                .time_to_live(settings.negative_ttl.max(Duration::from_millis(1)))
                .build(),
            settings,
            learned: RwLock::default(),
            clock: Clock::default(),
            turn: Mutex::default(),
            log_throttle: LogThrottle::default(),
        }
    }

    /// Returns the scope of a request.
    pub(super) fn scope(&self, wanted: &RegistryRequest) -> Scope {
        let operation = wanted.operation();
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let actions = learned.actions.iter().find(|(of, _)| *of == operation);
        Scope::of(wanted, actions.map(|(_, actions)| actions.as_str()))
    }

    /// Returns whether the registry's challenge for such a request is known.
    pub(super) fn knows_challenge(&self, wanted: &RegistryRequest) -> bool {
        self.challenge(wanted).is_some()
    }

    fn challenge(&self, wanted: &RegistryRequest) -> Option<Arc<Challenge>> {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        match wanted {
            RegistryRequest::Catalog { .. } => learned.catalog.clone(),
            _ => learned.challenge.clone(),
        }
    }

    /// Takes note of the challenge in a 401 to a request.
    pub(super) fn learn(&self, wanted: &RegistryRequest, challenge: Challenge) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if let Challenge::Bearer(BearerChallenge { scope: Some(scope), .. }) = &challenge
            && let Some(actions) = scope::actions_instead(wanted, scope)
        {
            let operation = wanted.operation();
            learned.actions.retain(|(of, _)| *of != operation);
            learned.actions.push((operation, actions));
        }
        let place = match wanted {
            RegistryRequest::Catalog { .. } => &mut learned.catalog,
            _ => &mut learned.challenge,
        };
        if place.as_deref() != Some(&challenge) {
            *place = Some(Arc::new(challenge));
        }
    }

    /// Returns whether the registry has just refused a token for this scope.
    pub(super) fn is_refused(&self, scope: &Scope) -> bool {
        self.refused.contains_key(scope)
    }

    /// Remembers that the registry refused a token that was just issued for this scope.
    pub(super) fn refuse(&self, scope: &Scope) {
        if !self.settings.negative_ttl.is_zero() {
            self.refused.insert(scope.clone(), ());
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
    /// However many requests wait for the same token, its question is asked once.
    ///
    /// # Errors
    /// The fault of the token server, or [`UpstreamFault::RefusedTheGate`] if the registry asks for
    /// a password and the config has none.
    pub(super) async fn credential(
        &self,
        wanted: &RegistryRequest,
        scope: &Scope,
        own: &Origins,
        request_id: &str,
    ) -> Result<Option<Presented>, UpstreamFault> {
        let Some(challenge) = self.challenge(wanted) else { return Ok(None) };
        let bearer = match &*challenge {
            Challenge::Basic => {
                let account = self.settings.account.clone();
                let account = account.ok_or(UpstreamFault::RefusedTheGate)?;
                return Ok(Some(Presented::Basic(account)));
            }
            Challenge::Bearer(bearer) => bearer,
        };
        let key = TokenKey {
            realm: bearer.realm.clone(),
            service: bearer.service.clone(),
            scope: scope.clone(),
        };
        let asked = self.tokens.try_get_with(key.clone(), self.ask(&key, own, request_id)).await;
        let token = asked.map_err(|fault| *fault)?;
        Ok(Some(Presented::Token(TokenUse { key, token })))
    }

    /// Does what the challenge of `GET /v2/` asks for, for a check of the config. Returns words for
    /// its output.
    ///
    /// # Errors
    /// The reason why the gate would get no token.
    pub async fn check(&self, headers: &HeaderMap, own: &Origins) -> Result<String, String> {
        let bearer = match Challenge::find(headers) {
            Some(Challenge::Bearer(bearer)) => bearer,
            Some(Challenge::Basic) if self.settings.account.is_some() => {
                return Ok("asks for the password".to_owned());
            }
            Some(Challenge::Basic) => {
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
        let key =
            TokenKey { realm: bearer.realm, service: bearer.service, scope: Scope::default() };
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
        key: &TokenKey,
        own: &Origins,
        request_id: &str,
    ) -> Result<Arc<Token>, UpstreamFault> {
        let realm = Realm::judge(&key.realm, &self.settings, own).map_err(|why| {
            self.log(request_id, &key.realm, format_args!("is not asked for a token: {why}"));
            UpstreamFault::TokenServerNotAllowed
        })?;
        let wait = self.turn().map_err(|()| {
            let what = "is not asked for a token, because it was asked 20 times in a second";
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

    fn turn(&self) -> Result<Duration, ()> {
        let quota = Quota::new(QUESTIONS_A_SECOND, Duration::from_secs(1), QUESTIONS_A_SECOND);
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = quota.reserve(&mut turn, self.clock.now(), PATIENCE);
        reserved.map(|(_, wait)| wait).map_err(|_| ())
    }

    /// Logs a fault of the token server, unless the same one was logged recently.
    fn log(&self, request_id: &str, realm: &str, what: std::fmt::Arguments<'_>) {
        let subject = (realm, what.to_string());
        if let Some(left_out) = self.log_throttle.line(&subject, Instant::now()) {
            let realm = realm::shown(realm);
            tracing::error!(
                request_id,
                left_out = left_out.same,
                "the token server {realm} of the registry {what}"
            );
        }
    }
}
