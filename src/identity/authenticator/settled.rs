//! The questions that a worker has lately found answered in the cache.
//!
//! Each worker keeps a few of them for itself, with everything by which the answer was found valid.
//! The same question then gets the same answer after one keyed hash, without a lock and without a
//! write to memory that workers share. Nothing is decided here: the answer is that of the cache,
//! and it is used only as long as the cache would give it. Otherwise the cache is asked.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Authenticator, ManagedProvider};
use crate::identity::cache::{AnswersVersion, CachedVerdict};
use crate::identity::guard::failed_logins::GoodLogin;
use crate::identity::model::keyed_hash::{CredentialId, DependsOn, KnownAs, SecretId};
use crate::identity::model::revocation::Revocation;
use crate::identity::model::{Question, Verified};
use crate::registry::Access;

/// The number of credentials that a worker remembers to have seen once.
const SEEN: usize = 4096;

/// The number of sets in a worker's table. A credential belongs to one of them.
const SETS: usize = 512;

/// The number of questions in a set, each in a way of its own.
const WAYS: usize = 4;

thread_local! {
    static TABLE: RefCell<SettledTable> = const { RefCell::new(SettledTable::new()) };
}

/// The questions of a worker. The sets are created with the first question.
struct SettledTable {
    sets: Vec<[CacheWay; WAYS]>,
    /// The tags of credentials that the cache has answered about. A question is kept when its
    /// credential comes again, so that many credentials that come once do not take the places of
    /// others.
    seen: Vec<u32>,
    /// The place in its set that the next question takes if all are taken.
    next: usize,
}

/// The room for one question, with the tag of its credential. Most questions about other
/// credentials are passed over by their tags.
#[derive(Default)]
struct CacheWay {
    tag: u32,
    settled: Option<Box<Settled>>,
}

/// A question that the cache has answered.
struct Settled {
    /// The number of the [`Authenticator`] whose providers were asked.
    chain: u64,
    credential: CredentialId,
    facts: CredentialFacts,
    about: About,
    answer: CachedVerdict<Arc<Verified>>,
    /// The version of the answers about the secret.
    version: AnswersVersion,
    /// The number of the latest revocation, of any credential.
    revision: u64,
    good_login: Option<GoodLogin>,
}

/// The facts that depend on a credential alone.
#[derive(Clone, Copy)]
pub(super) struct CredentialFacts {
    pub(super) secret: SecretId,
    pub(super) known_as: KnownAs,
    pub(super) revocation: Revocation,
}

/// The inputs, besides the credential, that the answer depends on.
#[derive(PartialEq, Eq)]
enum About {
    Credential,
    Access(Access),
    AccessFrom(Access, IpAddr),
}

/// Returns what follows from a credential, if the worker has it in its table and no operator has
/// revoked any credential since the revocation of this number.
pub(super) fn facts(credential: CredentialId, revision: u64) -> Option<CredentialFacts> {
    find(credential, |settled| (settled.revision == revision).then_some(settled.facts))
}

impl Authenticator {
    /// Returns the answer to a question that the cache has answered before, if it would give the
    /// same answer now.
    pub(super) fn settled(&self, question: &Question) -> Option<Arc<Verified>> {
        self.settled_at(question, Instant::now())
    }

    fn settled_at(&self, question: &Question, now: Instant) -> Option<Arc<Verified>> {
        if question.vouched.as_ref().is_some_and(|vouched| vouched.alone) {
            return None;
        }
        let revision = self.shared.revocations.revision();
        find(question.id, |settled| {
            let is_valid = settled.chain == self.number
                && settled.about.includes(question)
                && settled.revision == revision
                && settled.facts.revocation == question.revocation
                && self.shared.cache.is_current(question.secret, settled.version)
                && settled.answer.is_fresh(now)
                && (self.failed_logins.is_none()
                    || settled.good_login.is_some_and(|good| {
                        self.shared.logins.covers(&good, question.client, now)
                    }));
            is_valid.then(|| settled.answer.value().clone())
        })
    }

    /// Keeps a question that this provider's answer in the cache has settled. `version` and
    /// `revision` were read before the answer. If failed logins are limited, `good_login` says that
    /// the credential needs no admission.
    pub(super) fn settle(
        &self,
        question: &Question,
        provider: &ManagedProvider,
        answer: &CachedVerdict<Arc<Verified>>,
        version: AnswersVersion,
        revision: u64,
        good_login: Option<GoodLogin>,
    ) {
        let Some(about) = About::of(question, provider.depends_on()) else { return };
        let Question { id: credential, secret, known_as, revocation, .. } = *question;
        let settled = Settled {
            chain: self.number,
            credential,
            facts: CredentialFacts { secret, known_as, revocation },
            about,
            answer: answer.with(own_copy(answer.value())),
            version,
            revision,
            good_login,
        };
        TABLE.with_borrow_mut(|table| table.keep(settled));
    }
}

impl About {
    /// Returns what the answer to a question is about; `None` if that would take much memory.
    fn of(question: &Question, depends: DependsOn) -> Option<Self> {
        let access = || match &question.access {
            Access::Repositories(_) => None,
            access => Some(access.clone()),
        };
        Some(match depends {
            DependsOn::Credential => Self::Credential,
            DependsOn::Repository => Self::Access(access()?),
            DependsOn::RepositoryAndAddress => Self::AccessFrom(access()?, question.client),
        })
    }

    /// Returns whether a question about the same credential has the same answer.
    fn includes(&self, question: &Question) -> bool {
        match self {
            Self::Credential => true,
            Self::Access(access) => *access == question.access,
            Self::AccessFrom(access, client) => {
                *access == question.access && *client == question.client
            }
        }
    }
}

impl SettledTable {
    const fn new() -> Self {
        Self { sets: Vec::new(), seen: Vec::new(), next: 0 }
    }

    /// Keeps a question in place of the same one. Another question takes a place only if its
    /// credential was seen before: that of nothing, or of another question.
    fn keep(&mut self, settled: Settled) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Default::default);
            self.seen.resize(SEEN, 0);
        }
        let credential = settled.credential;
        let Some(set) = self.sets.get_mut(set_of(credential)) else { return };
        let is_same = |place: &CacheWay| {
            place
                .settled
                .as_ref()
                .is_some_and(|other| other.credential == credential && other.about == settled.about)
        };
        let way = match set.iter().position(is_same) {
            Some(way) => way,
            None => {
                let Some(seen) = self.seen.get_mut(seen_of(credential)) else { return };
                if *seen != tag_of(credential) {
                    *seen = tag_of(credential);
                    return;
                }
                set.iter().position(|place| place.settled.is_none()).unwrap_or_else(|| {
                    self.next = (self.next + 1) % WAYS;
                    self.next
                })
            }
        };
        let Some(place) = set.get_mut(way) else { return };
        place.tag = tag_of(credential);
        match &mut place.settled {
            Some(known) => **known = settled,
            free => *free = Some(Box::new(settled)),
        }
    }
}

/// Returns a copy that no other worker counts the owners of. A verdict with attributes may be
/// large, so it stays shared.
fn own_copy(verified: &Arc<Verified>) -> Arc<Verified> {
    match &verified.attributes {
        None => Arc::new(Verified::clone(verified)),
        Some(_) => verified.clone(),
    }
}

/// Returns the first result of `read` with a question about this credential.
fn find<R>(credential: CredentialId, mut read: impl FnMut(&Settled) -> Option<R>) -> Option<R> {
    TABLE.with_borrow(|table| {
        let set = table.sets.get(set_of(credential))?;
        let tagged = set.iter().filter(|place| place.tag == tag_of(credential));
        let mut all = tagged.filter_map(|place| place.settled.as_ref());
        all.find_map(|settled| if settled.credential == credential { read(settled) } else { None })
    })
}

fn set_of(credential: CredentialId) -> usize {
    credential.as_number() as usize % SETS
}

/// Returns the place of a credential among those that were seen once. Credentials of one set have
/// different places.
fn seen_of(credential: CredentialId) -> usize {
    (credential.as_number() as usize / SETS) % SEEN
}

fn tag_of(credential: CredentialId) -> u32 {
    u32::try_from(credential.as_number() >> u32::BITS).unwrap_or_default()
}
