//! Builds the settings of the token service: its keys and the lifetimes of its tokens.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Build;
use crate::config::raw;
use crate::config::ready::Tokens;
use crate::sealing::TokenKeys;

/// The allowed lifetimes of a token. Clients treat a shorter lifetime as a minute. The operator
/// must keep a key for as long as a token may live.
const LIFETIME: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);

impl Build<'_> {
    /// Builds the settings; `None` if the key file is wrong.
    pub(super) fn tokens(
        &mut self,
        raw: &raw::TokensSection,
        providers: &[Option<raw::ProviderSection>],
    ) -> Option<Tokens> {
        if !LIFETIME.contains(&raw.lifetime.to_std()) {
            let message =
                format!("`{}` is out of range; write 60s to 720h (30 days)", raw.lifetime);
            self.problem("tokens.lifetime", message);
        }
        for (index, provider) in providers.iter().enumerate() {
            if let (
                raw::ChallengeScheme::Basic,
                Some(raw::ProviderSection::Gitlab(raw::GitlabSection { anonymous: true, .. })),
            ) = (&raw.challenge, provider)
            {
                let message = "docker and podman pull without a login only if tokens.challenge is \
                               bearer; write tokens.challenge: bearer";
                self.warn(&format!("identity[{index}].anonymous"), message);
            }
        }
        let keys = match &raw.key_file {
            Some(file) => Some(Arc::new(self.token_keys("tokens.key_file", file)?)),
            None => None,
        };
        let session = self.session("tokens.session", raw.session.to_std());
        if session.is_some() {
            self.needs_of_sessions(raw);
        }
        Some(Tokens { challenge: raw.challenge, keys, lifetime: raw.lifetime.to_std(), session })
    }

    /// Returns the length of a session, which tokens count in whole seconds; `None` for sessions
    /// that are off.
    pub(super) fn session(&mut self, path: &str, session: Duration) -> Option<Duration> {
        if !session.is_zero() && session < Duration::from_secs(1) {
            self.problem(path, "it is shorter than a second; write 0s, 1s or more");
        }
        Some(session).filter(|session| !session.is_zero())
    }

    /// Reports settings with which refresh tokens would not work.
    fn needs_of_sessions(&mut self, raw: &raw::TokensSection) {
        if raw.key_file.is_none() && !self.is_reported("tokens.key_file") {
            let message = "it needs tokens.key_file, because a key that only this process has \
                           would log every client out at the next restart; write key_file: FILE";
            self.problem("tokens.session", message);
        }
        if let raw::ChallengeScheme::Basic = raw.challenge {
            let message = "it needs tokens.challenge: bearer, because clients ask for a refresh \
                           token only after a challenge that names a token service; write \
                           challenge: bearer";
            self.problem("tokens.session", message);
        }
    }

    /// Reads the keys of a file. A problem in the file is reported at its place in that file, not
    /// at the key that names the file.
    fn token_keys(&mut self, key: &str, file: &str) -> Option<TokenKeys> {
        let text = self.read_text(key, file)?;
        self.warn_if_others_read(key, file);
        match TokenKeys::parse(&text) {
            Ok(keys) => Some(keys),
            Err(error) => {
                self.problem_within(file, error.line(), 1, error.to_string());
                None
            }
        }
    }
}
