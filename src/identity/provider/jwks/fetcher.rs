//! The current keys of an issuer: from a file, or fetched and refreshed in the background.
//!
//! Start-up does not wait for an issuer. An issuer that is down or sends an invalid answer does not
//! remove a good key.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use jsonwebtoken::Algorithm;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

use super::{JwksError, KeyMatch, KeySet, MAX_JWKS_BYTES, PublicKey};
use crate::http_client::{AskError, HttpClient};
use crate::identity::provider::common::last_fault::LastFault;

/// The intervals between fetches of keys.
#[derive(Clone, Copy, Debug)]
pub struct RefreshIntervals {
    /// The time between two fetches in the background. A key that the issuer retires remains valid
    /// for at most this long.
    pub refresh: Duration,
    /// The shortest time between two fetches because of a token that names an unknown key. Any
    /// caller can send such tokens.
    pub unknown_key: Duration,
}

impl Default for RefreshIntervals {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(300), unknown_key: Duration::from_secs(10) }
    }
}

/// The result of a lookup of the key of a token.
#[derive(Clone, Debug)]
pub enum KeyLookup {
    /// The key is one of these.
    Keys(Vec<Arc<PublicKey>>),
    /// The issuer has no such key.
    NoSuchKey,
    /// The known keys do not include this key, and the issuer could not be asked for new ones. The
    /// caller may retry after this time.
    NotNow(Duration),
    /// No keys are known yet, because the issuer could not be asked since the start.
    NoKeysYet,
}

/// The keys of one issuer. Dropping this value ends the fetching.
pub struct Keys {
    known: watch::Receiver<Option<Arc<KeySet>>>,
    remote: Option<Remote>,
    last_fault: Arc<LastFault>,
}

struct Remote {
    fetcher: Arc<Fetcher>,
    refreshing: JoinHandle<()>,
}

struct Fetcher {
    provider: Arc<str>,
    url: String,
    client: HttpClient,
    intervals: RefreshIntervals,
    known: watch::Sender<Option<Arc<KeySet>>>,
    last_fault: Arc<LastFault>,
    /// The past fetches. The lock is held during a fetch, so that there is only one at a time and
    /// callers share it.
    fetches: Arc<Mutex<Fetches>>,
}

#[derive(Default)]
struct Fetches {
    /// The start of the latest fetch because of an unknown key.
    for_unknown_key: Option<Instant>,
    /// The end of the latest fetch of any kind. `failed` is `true` if that fetch failed.
    ended: Option<Instant>,
    failed: bool,
}

/// The reason why a fetch returned no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the gate cannot build a request for this address")]
    Address,
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("status {0}; it must be 200, and the gate follows no redirect")]
    Status(StatusCode),
    #[error(transparent)]
    Jwks(#[from] JwksError),
}

impl Keys {
    /// Creates keys that never change.
    pub fn fixed(keys: KeySet) -> Self {
        let known = watch::channel(Some(Arc::new(keys))).1;
        Self { known, remote: None, last_fault: Arc::default() }
    }

    /// Creates the keys at `url`, for the provider of this name. Fetching begins at once, on the
    /// runtime of the caller, and the call does not wait for it.
    pub fn fetched(
        provider: Arc<str>,
        url: String,
        client: HttpClient,
        intervals: RefreshIntervals,
    ) -> Self {
        let (sender, known) = watch::channel(None);
        let last_fault = Arc::<LastFault>::default();
        let fetcher = Arc::new(Fetcher {
            provider,
            url,
            client,
            intervals,
            known: sender,
            last_fault: last_fault.clone(),
            fetches: Arc::default(),
        });
        // Locked before any caller can ask, so that the first caller waits for this fetch and does
        // not begin another one.
        let first = fetcher.fetches.clone().try_lock_owned().ok();
        let refreshing = tokio::spawn(fetcher.clone().refresh_for_ever(first));
        Self { known, remote: Some(Remote { fetcher, refreshing }), last_fault }
    }

    /// Returns the last error of a fetch.
    pub fn last_fault(&self) -> &LastFault {
        &self.last_fault
    }

    /// Returns the key for a token whose header has this `kid` and `alg`. If the key is unknown,
    /// the issuer is asked for its keys, at most once per [`RefreshIntervals::unknown_key`] and for
    /// as long as the client's time-out allows.
    pub async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> KeyLookup {
        if let Some(answer) = self.known_key(id, algorithm) {
            return answer;
        }
        let failed = match &self.remote {
            Some(remote) => remote.fetcher.fetch_for_unknown_key().await,
            None => false,
        };
        match self.known_key(id, algorithm) {
            Some(answer) => answer,
            None if self.known.borrow().is_none() => KeyLookup::NoKeysYet,
            // `NoSuchKey` would be wrong: during an outage it would refuse a caller whose token has
            // a new key.
            None if failed => KeyLookup::NotNow(
                self.remote
                    .as_ref()
                    .map_or(Duration::ZERO, |remote| remote.fetcher.intervals.unknown_key),
            ),
            None => KeyLookup::NoSuchKey,
        }
    }

    /// Returns whether there are keys. Asks the issuer for them first if there are none: without
    /// keys the provider cannot give any answer.
    pub async fn are_known(&self) -> bool {
        if self.known.borrow().is_none()
            && let Some(remote) = &self.remote
        {
            remote.fetcher.fetch_for_unknown_key().await;
        }
        self.known.borrow().is_some()
    }

    /// Returns the answer from the known keys; `None` if new keys might change it.
    fn known_key(&self, id: Option<&str>, algorithm: Algorithm) -> Option<KeyLookup> {
        match self.known.borrow().as_ref()?.find(id, algorithm) {
            KeyMatch::Keys(keys) => Some(KeyLookup::Keys(keys)),
            KeyMatch::Unfit => Some(KeyLookup::NoSuchKey),
            KeyMatch::UnknownId => None,
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

impl Fetcher {
    async fn refresh_for_ever(self: Arc<Self>, mut first: Option<OwnedMutexGuard<Fetches>>) {
        loop {
            let due = Instant::now();
            let mut fetches = match first.take() {
                Some(fetches) => fetches,
                None => self.fetches.clone().lock_owned().await,
            };
            // Two fetches in a row would make the callers that wait for the lock wait too long.
            if fetches.ended.is_none_or(|ended| ended < due) {
                self.fetch(&mut fetches).await;
            }
            drop(fetches);
            tokio::time::sleep(self.intervals.refresh).await;
        }
    }

    /// Fetches the keys, unless another fetch ended or began a moment ago, and returns whether the
    /// latest fetch failed.
    async fn fetch_for_unknown_key(self: &Arc<Self>) -> bool {
        let asked = Instant::now();
        let mut fetches = self.fetches.clone().lock_owned().await;
        let ended_meanwhile = fetches.ended.is_some_and(|ended| ended >= asked);
        let too_soon = fetches
            .for_unknown_key
            .is_some_and(|began| began.elapsed() < self.intervals.unknown_key);
        if ended_meanwhile || too_soon {
            return fetches.failed;
        }
        fetches.for_unknown_key = Some(Instant::now());
        // The fetch runs in a task, because a caller that hangs up must not cancel it: the next
        // caller would then have to wait until another fetch is allowed.
        let fetcher = self.clone();
        let fetch = tokio::spawn(async move {
            fetcher.fetch(&mut fetches).await;
            fetches.failed
        });
        fetch.await.unwrap_or(true)
    }

    /// Fetches the keys. If that fails, the old keys stay.
    async fn fetch(&self, fetches: &mut Fetches) {
        let fetched = self.fetch_once().await;
        fetches.failed = fetched.is_err();
        fetches.ended = Some(Instant::now());
        if let Err(error) = &fetched {
            self.last_fault.note(&format!("the issuer's keys cannot be fetched: {error}"));
        }
        let (provider, url) = (&self.provider, &self.url);
        match fetched {
            Ok(keys) => {
                tracing::debug!(%provider, url, keys = keys.len(), "fetched the issuer's keys");
                let known_unused = self
                    .known
                    .borrow()
                    .as_ref()
                    .is_some_and(|known| known.unused() == keys.unused());
                if !known_unused && !keys.unused().is_empty() {
                    tracing::info!(
                        %provider,
                        url,
                        "the gate does not use these keys of the issuer: {}",
                        keys.unused().join("; ")
                    );
                }
                self.known.send_replace(Some(Arc::new(keys)));
            }
            Err(error) if self.known.borrow().is_some() => {
                tracing::warn!(
                    %provider,
                    url,
                    "fetching the issuer's keys failed; the earlier keys stay in use: {error}"
                );
            }
            Err(error) => {
                tracing::warn!(
                    %provider,
                    url,
                    "fetching the issuer's keys failed; the gate cannot check its tokens: {error}"
                );
            }
        }
    }

    async fn fetch_once(&self) -> Result<KeySet, FetchError> {
        let request = Request::get(&self.url)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::<Bytes>::default())
            .map_err(|_| FetchError::Address)?;
        let reply = self.client.ask_for(MAX_JWKS_BYTES, request).await?;
        match reply.status {
            StatusCode::OK => Ok(KeySet::parse(&reply.body)?),
            status => Err(FetchError::Status(status)),
        }
    }
}
