//! Workload tokens of an OpenID Connect issuer: GitLab `id_tokens`, GitHub Actions, Kubernetes
//! service accounts.
//!
//! A caller sends the JWT as a Bearer token, or as the password of Basic under any user name, so
//! that `docker login --password-stdin` works in CI. The gate checks the token itself. It asks the
//! issuer for its keys, and for nothing else.

mod claim_pattern;
mod compact;
mod pasted;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret, SecretString};

pub use claim_pattern::{ClaimPattern, ClaimPatternError};
pub use compact::Compact;
use rules::LEEWAY;
pub use rules::{RequiredClaim, Tenants, TokenRules, Workload};

use super::common::claims::ClaimError;
use super::common::last_fault::LastFault;
use super::common::log_topic::LogTopic;
use super::common::scope_lists::ScopeLists;
use super::common::sources::Sources;
use super::jwks::KeySet;
use super::jwks::fetcher::{KeyLookup, Keys, RefreshIntervals};
use crate::http_client::{HttpClient, HttpServer};
use crate::identity::model::credential::Credential;
use crate::identity::model::revocation::{Moment, Revocation};
use crate::identity::model::unix_time::unix_now;
use crate::identity::model::{
    Attributes, Granted, Lifetime, NotNow, PackedScopes, Principal, Question, Verdict, Verified,
};
use crate::log_throttle::LogThrottle;

/// The largest size of a token, in bytes. The tokens of workloads have 1 to 3 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The reason why a token of the issuer is refused. It prints names from the config, and nothing of
/// the token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("it has more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    #[error("its header has `crit`: the gate supports no extension")]
    Critical,
    #[error("its header has a `b64` that is not true")]
    Unencoded,
    #[error("its `typ` is neither JWT nor at+jwt nor application/at+jwt")]
    Type,
    #[error("its `alg` is not one of the config's algorithms")]
    Algorithm,
    #[error("its `kid` is too long")]
    KeyId,
    #[error("{0}")]
    Claim(#[from] ClaimError),
    #[error("its `iss` is not the config's issuer")]
    Issuer,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("its `aud` is not the config's audience alone")]
    Audience,
    #[error("its `{0}` does not match a value in required_claims")]
    Tenant(String),
    #[error(
        "the issuer has no key with its `kid` for its `alg`; or it has no `kid`, and the issuer \
         has none or several keys for its `alg`"
    )]
    NoSuchKey,
    #[error("an operator has revoked it, or every token that was issued before a certain time")]
    Revoked,
    #[error("its signature is wrong")]
    Signature,
}

/// The share of a question's time that a fetch of keys may take. The fetch ends before the question
/// that waits for it, so that an issuer which does not answer does not look like an outage of the
/// provider. An open breaker would also refuse tokens with known keys, which need no answer of the
/// issuer.
const FETCH_SHARE: f64 = 0.8;

/// The settings of a provider with `type: jwt`.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The source of the issuer's keys.
    pub keys: JwksSource,
    /// The time for one question, including the fetch of keys.
    pub timeout: Duration,
    /// The requirements on a token.
    pub rules: TokenRules,
}

/// The source of an issuer's keys.
#[derive(Clone, Debug)]
pub enum JwksSource {
    /// The keys are fetched from this URL, and from no other one.
    Url(HttpServer),
    /// The keys come from a file.
    File(KeySet),
}

impl JwtSettings {
    /// Creates the provider.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub fn build(self, name: Arc<str>) -> io::Result<Jwt> {
        let keys = match self.keys {
            JwksSource::File(keys) => Keys::fixed(keys),
            JwksSource::Url(server) => {
                let timeout = self.timeout.mul_f64(FETCH_SHARE);
                let client = HttpClient::for_server(&HttpServer { timeout, ..server.clone() })?;
                let url = server.endpoint.url();
                Keys::fetched(name.clone(), url, client, RefreshIntervals::default())
            }
        };
        Ok(Jwt::new(name, self.rules, keys))
    }
}

/// The provider for one issuer.
pub struct Jwt {
    sources: Sources,
    rules: TokenRules,
    keys: Keys,
    /// The scopes of the rules; `None` if the rules have none.
    granted: Option<PackedScopes>,
    scopes: ScopeLists,
    log_throttle: LogThrottle,
}

/// Returns the `iss` that a credential claims, if its secret is a JWT with an `iss`. Nothing in the
/// token is verified: the result only decides which provider is shown the secret. It is shown to
/// this issuer's provider and to no other one, even if the token is too large for that provider.
/// The limit for the size of a request's header bounds the work.
pub fn issuer_of(credential: &Credential) -> Option<String> {
    let secret = secret_of(credential)?.expose_secret();
    // A secret with other characters beside the token is not a token; see `holds_token_of`.
    let is_plain = secret
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let token = if is_plain { Compact::read(secret) } else { None };
    token?.claims.get("iss")?.as_str().map(str::to_owned)
}

/// Returns whether the secret or the user name contains a token of one of these issuers, in any
/// spelling and with any text around it. Nothing in the token is verified.
pub fn holds_token_of(credential: &Credential, is_issuer: impl Fn(&str) -> bool) -> bool {
    let user = if let Credential::Basic { user, .. } = credential { Some(&**user) } else { None };
    let secret = secret_of(credential).map(|secret| secret.expose_secret());
    [user, secret]
        .into_iter()
        .flatten()
        .any(|text| pasted::issuers(text).any(|issuer| is_issuer(&issuer)))
}

fn secret_of(credential: &Credential) -> Option<&SecretString> {
    match credential {
        Credential::Anonymous => None,
        Credential::Basic { password, .. } => Some(password),
        Credential::Bearer(token) => Some(token),
    }
}

impl Jwt {
    /// Creates the provider for the issuer of `rules`, whose keys are `keys`.
    pub fn new(name: Arc<str>, rules: TokenRules, keys: Keys) -> Self {
        let granted = rules.scopes.as_ref().map(|scopes| scopes.iter().collect());
        Self {
            sources: Sources::new(name),
            rules,
            keys,
            granted,
            scopes: ScopeLists::default(),
            log_throttle: LogThrottle::default(),
        }
    }

    /// Returns whether the provider can check tokens: there are keys, or the issuer returns them
    /// when asked.
    pub async fn is_up(&self) -> bool {
        self.keys.are_known().await
    }

    /// Returns the last error of a fetch of the issuer's keys.
    pub fn last_fault(&self) -> &LastFault {
        self.keys.last_fault()
    }

    /// Returns whether `issuer` is the issuer of this provider, byte for byte.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.rules.issuer == issuer
    }

    /// Checks a Bearer token, or the password of Basic under any user name. A signature check takes
    /// about 30 µs of CPU (RSA; up to 0.5 ms with 8192 bits), which is too little to move it to
    /// another thread.
    pub async fn ask(&self, question: &Question) -> Verdict {
        let Some(secret) = secret_of(&question.credential) else { return Verdict::NotMine };
        let token = Compact::read(secret.expose_secret())
            .filter(|token| self.rules.is_of_issuer(&token.claims));
        let Some(token) = token else { return Verdict::NotMine };
        let in_session = question
            .vouched
            .as_ref()
            .is_some_and(|vouched| vouched.in_session && *vouched.by == **self.sources.provider());
        let verdict = self.verify(token, unix_now(), in_session, &question.revocation).await;
        verdict.unwrap_or_else(|flaw| {
            tracing::info!(
                provider = %self.sources.provider(),
                request_id = %question.request_id,
                "a token of the issuer was refused: {flaw}"
            );
            Verdict::Rejected
        })
    }

    async fn verify(
        &self,
        token: Compact<'_>,
        now: u64,
        in_session: bool,
        revocation: &Revocation,
    ) -> Result<Verdict, JwtError> {
        if token.signed.len() + token.signature.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::TooLarge);
        }
        let (algorithm, key_id) = token.algorithm_and_key_id(&self.rules.algorithms)?;
        // The claims are checked first: a refusal because of the claims needs no key, so such a
        // token cannot cause a fetch of keys.
        let workload = self.rules.check(&token.claims, now, in_session)?;
        // Without a session, a sealed token is as good as the token by itself.
        let in_session = in_session && workload.session_ends.is_some();
        // The gate refuses a revoked token itself, because the issuer would accept it until its
        // end. The issuer's clock may be ahead, so the token's `iat` may be later than the time at
        // which the gate first saw it.
        let is_before = |floor: Moment| workload.issued <= floor.unix().saturating_add(LEEWAY);
        let before_floor = revocation.floor.is_some_and(is_before);
        if revocation.number.is_some() || before_floor {
            return Err(JwtError::Revoked);
        }
        if !in_session
            && let Some(verdict) = self.check_signature(&token, algorithm, key_id).await?
        {
            return Ok(verdict);
        }
        if let Some(odd) = workload.odd.text()
            && let Some(left_out) =
                self.log_throttle.line(&LogTopic::Odd, Instant::now()).map(|left_out| left_out.same)
        {
            tracing::warn!(
                provider = %self.sources.provider(),
                left_out,
                "the claims are unusual and were accepted: {odd}"
            );
        }
        let scopes = match (&self.granted, workload.scopes) {
            (Some(granted), _) => granted.clone(),
            (None, scopes) => self.scopes.shared(&scopes.unwrap_or_default()),
        };
        let verified = Verified {
            principal: Principal {
                source: self.sources.typed(None),
                subject: workload.subject.into(),
            },
            granted: Granted::Scopes(scopes),
            attributes: Some(Box::new(Attributes {
                groups: workload.groups,
                claims: token.claims,
                session_ends: workload.session_ends,
            })),
        };
        let ends = workload.session_ends.filter(|_| in_session).unwrap_or(workload.expires);
        let lifetime = Lifetime { answer: None, credential: Some(ends) };
        Ok(Verdict::Verified(Arc::new(verified), lifetime))
    }

    /// Checks the signature with the issuer's keys. Returns the verdict if they cannot be had now.
    async fn check_signature(
        &self,
        token: &Compact<'_>,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Result<Option<Verdict>, JwtError> {
        let keys = match self.keys.find(key_id, algorithm).await {
            KeyLookup::Keys(keys) => keys,
            KeyLookup::NoSuchKey => return Err(JwtError::NoSuchKey),
            KeyLookup::NotNow(retry_after) => {
                self.keys.last_fault().again();
                return Ok(Some(Verdict::NotNow(NotNow::Busy, retry_after)));
            }
            KeyLookup::NoKeysYet => {
                self.keys.last_fault().again();
                return Ok(Some(Verdict::Unavailable));
            }
        };
        if !keys.iter().any(|key| key.has_signed(token.signed, token.signature, algorithm)) {
            return Err(JwtError::Signature);
        }
        Ok(None)
    }
}
