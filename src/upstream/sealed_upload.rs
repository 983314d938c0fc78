//! The addresses of uploads that lead to another path or host. The gate hands out an address of its
//! own in the repository, in which the registry's is sealed.

use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use zeroize::Zeroizing;

use super::Upstream;
use super::elsewhere::Elsewhere;
use super::location::MAX_UPLOAD_ADDRESS_BYTES;
use super::web_address::WebAddress;
use crate::denial::Denial;
use crate::identity::Principal;
use crate::identity::model::unix_time::unix_now;
use crate::record::Record;
use crate::registry::{RegistryRequest, RepositoryName};
use crate::sealing::{SealedKind, TokenKeys};

/// The time for which a sealed address is valid, in seconds.
const LIFETIME: u64 = 24 * 60 * 60;

/// The largest difference between the clocks of two replicas, in seconds.
const LEEWAY: u64 = 60;

/// The seal of the addresses of uploads.
pub struct UploadSeal {
    pub keys: Arc<TokenKeys>,
    /// The name of the registry for its clients. An address of one registry is not valid at
    /// another one that shares the keys.
    pub service: String,
    /// `true` if the keys belong to this process alone.
    pub is_of_process: bool,
}

/// The place to which a sealed address leads.
pub(super) struct SealedTarget {
    pub(super) address: WebAddress,
    /// The server, if it is not the registry.
    pub(super) server: Option<Rc<Elsewhere>>,
    /// The path and query for the server.
    pub(super) target: String,
}

/// The repository and the caller that a sealed address is bound to.
#[derive(Clone, Copy)]
pub(super) struct BoundTo<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) principal: &'a Principal,
}

impl UploadSeal {
    /// Returns the path for an address, at the time `now` (Unix time, seconds). `None` if it would
    /// be longer than the gate takes back.
    pub(super) fn seal(&self, address: &WebAddress, to: BoundTo<'_>, now: u64) -> Option<String> {
        let text = format!("{now}\n{}", address.text());
        let bytes = Zeroizing::new(text.into_bytes());
        let sealed = self.keys.seal_bytes(SealedKind::Upload, &self.context(to), bytes)?;
        let path = format!("/v2/{}/blobs/uploads/{}", to.repository, *sealed);
        (path.len() <= MAX_UPLOAD_ADDRESS_BYTES).then_some(path)
    }

    /// Returns the address within the id of an upload, if it was sealed for this repository and
    /// principal, and not too long ago.
    pub(super) fn open(&self, id: &str, to: BoundTo<'_>, now: u64) -> Option<WebAddress> {
        let bytes = self.keys.open_bytes(SealedKind::Upload, &self.context(to), id)?;
        let (sealed_at, address) = str::from_utf8(&bytes).ok()?.split_once('\n')?;
        let sealed_at: u64 = sealed_at.parse().ok()?;
        let is_valid =
            sealed_at <= now.saturating_add(LEEWAY) && now <= sealed_at.saturating_add(LIFETIME);
        WebAddress::parse(address).filter(|_| is_valid)
    }

    /// Returns what is authenticated with an address. Each part but the last contains no line feed,
    /// or has its length before it.
    fn context(&self, to: BoundTo<'_>) -> String {
        let Principal { source, subject } = to.principal;
        let subject = if source.folds_case { subject.to_lowercase() } else { subject.to_string() };
        let (service, provider) = (&self.service, &source.provider);
        format!("{service}\n{}\n{}:{provider}\n{subject}", to.repository, provider.len())
    }
}

impl Upstream {
    /// Opens the sealed address that a request names as its upload, and judges by the config of now
    /// where it leads.
    pub(super) fn unseal(
        &self,
        id: &str,
        wanted: &RegistryRequest,
        record: &Record,
    ) -> Result<SealedTarget, Denial> {
        let bound_to = bound_to(wanted, record).ok_or(Denial::UnknownUpload)?;
        let address = self.settings.seal.open(id, bound_to, unix_now());
        let address = address.ok_or(Denial::UnknownUpload)?;
        let registry = self.settings.origins.address();
        let server = if registry.is_some_and(|registry| registry.is_same_origin(&address)) {
            // The rule by which it was sealed holds for a forged address too.
            let origins = &self.settings.origins;
            if !origins.may_be_sealed(&address.target, wanted.repository()) {
                return Err(Denial::UnknownUpload);
            }
            None
        } else {
            let server = self.settings.uploads.server(&address, &self.upload_servers);
            Some(server.map_err(|_| Denial::UnknownUpload)?)
        };
        let target = target(&address, wanted);
        Ok(SealedTarget { address, server, target })
    }

    /// Returns a path of the gate's own for the address of an upload, if the upload may lead there.
    pub(super) fn seal(
        &self,
        address: &WebAddress,
        wanted: &RegistryRequest,
        record: &Record,
    ) -> Option<String> {
        let registry = self.settings.origins.address()?;
        // A request for this target must be possible later.
        Uri::try_from(&address.target).ok()?;
        if !address.is_same_origin(&registry) {
            self.settings.uploads.judge(address).ok()?;
        }
        let seal = &self.settings.seal;
        if seal.is_of_process
            && let Some(left_out) = self.may_log(&"sealed uploads without a key")
        {
            tracing::warn!(
                left_out,
                "the registry leads uploads elsewhere, and the addresses that the gate hands out \
                 for them are valid only in this process; set tokens.key_file, so that an upload \
                 outlasts a restart and works with several gates"
            );
        }
        seal.seal(address, bound_to(wanted, record)?, unix_now())
    }
}

fn bound_to<'a>(wanted: &'a RegistryRequest, record: &'a Record) -> Option<BoundTo<'a>> {
    Some(BoundTo { repository: wanted.repository()?, principal: record.principal()? })
}

/// Returns the sealed address that a request names as its upload, if it names one.
pub(super) fn sealed_id(wanted: &RegistryRequest) -> Option<&str> {
    let id = wanted.upload()?.as_str().strip_prefix("uploads/")?;
    id.starts_with(SealedKind::Upload.prefix()).then_some(id)
}

/// Returns the path and query for the server: those that the registry gave, followed by the
/// parameters of the protocol that the client added.
pub(super) fn target(address: &WebAddress, wanted: &RegistryRequest) -> String {
    let mut target = address.target.clone();
    for parameter in wanted.upload_parameters() {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(parameter);
    }
    target
}

#[cfg(test)]
impl UploadSeal {
    /// Returns a seal with keys of its own.
    pub(super) fn random() -> Self {
        let keys = Arc::new(TokenKeys::random().unwrap());
        Self { keys, service: "registry.test".into(), is_of_process: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(provider: &str, subject: &str) -> Principal {
        let source = crate::identity::model::Source {
            provider: provider.into(),
            credential_type: None,
            folds_case: false,
        };
        Principal { source: source.into(), subject: subject.into() }
    }

    #[test]
    fn an_address_is_valid_only_for_what_it_was_sealed_for() {
        let seal = UploadSeal::random();
        let address = WebAddress::parse("https://storage.test/x?y=1").unwrap();
        let (name, other) =
            (RepositoryName::parse("a/b").unwrap(), RepositoryName::parse("a/c").unwrap());
        let carol = principal("idp", "carol");
        let to = BoundTo { repository: &name, principal: &carol };
        let path = seal.seal(&address, to, 1000).unwrap();
        let id = path.strip_prefix("/v2/a/b/blobs/uploads/").unwrap();
        assert_eq!(seal.open(id, to, 1000), Some(address.clone()));
        assert_eq!(seal.open(id, to, 1000 + LIFETIME), Some(address.clone()));
        assert_eq!(seal.open(id, to, 1001 + LIFETIME), None);
        assert_eq!(seal.open(id, to, 1000 - LEEWAY - 1), None);
        assert_eq!(seal.open(id, BoundTo { repository: &other, ..to }, 1000), None);
        for who in
            [principal("idp", "dave"), principal("other", "carol"), principal("idp\ncarol", "")]
        {
            assert_eq!(seal.open(id, BoundTo { principal: &who, ..to }, 1000), None);
        }
        let elsewhere = UploadSeal { service: "other.test".into(), ..seal };
        assert_eq!(elsewhere.open(id, to, 1000), None);
    }

    #[test]
    fn an_address_that_would_become_too_long_is_not_sealed() {
        let (seal, carol) = (UploadSeal::random(), principal("idp", "carol"));
        let name = RepositoryName::parse("a").unwrap();
        let to = BoundTo { repository: &name, principal: &carol };
        let of = |length: usize| {
            WebAddress::parse(&format!("https://a/{}", "x".repeat(length))).unwrap()
        };
        assert!(seal.seal(&of(6000), to, 0).is_some());
        assert!(seal.seal(&of(6200), to, 0).is_none());
    }
}
