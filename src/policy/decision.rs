//! What was decided, up to the proof that a request may go to the registry.

use http::{HeaderValue, StatusCode};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::catalog::CatalogFilter;
use super::rules::Ruling;
use crate::denial::{Denial, TagRefusal, UpstreamFault};
use crate::identity::IssuedToken;
use crate::registry::{Access, Action, Mount, Reference, RegistryRequest, RepositoryName, Tag};

/// A request that the credential allows, as far as that can be told without asking the registry.
#[derive(Debug)]
pub struct Decision {
    /// Never with a mount that was not [proved](super::Policy::allow_mount).
    pub(super) request: RegistryRequest,
    /// What the client asked to mount, as long as nobody has judged its source.
    pub(super) mount: Option<Mount>,
    /// Why there is none any more.
    pub(super) mount_refusal: Option<Denial>,
    /// Tags that are immutable once they exist.
    pub(super) must_not_exist: Vec<Tag>,
    /// What the registry is shown, where it takes the tokens of the server that granted this.
    pub(super) grant: Option<IssuedToken>,
    /// What of the list of all repositories is shown; `None`: everything.
    pub(super) catalog: Option<CatalogFilter>,
    pub(super) ruling: Ruling,
}

/// Proof that this request may go to the registry.
#[derive(Debug)]
pub struct Permit {
    request: RegistryRequest,
    grant: Option<IssuedToken>,
    catalog: Option<CatalogFilter>,
}

/// A question to the registry that decides about a write: whether a tag exists.
#[derive(Debug)]
pub struct TagLookUp {
    request: RegistryRequest,
    grant: Option<IssuedToken>,
}

impl Decision {
    /// What was decided about.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// What the rules say.
    pub fn ruling(&self) -> &Ruling {
        &self.ruling
    }

    /// Why the mount that the client asked for was taken out, if it was.
    pub fn mount_refusal(&self) -> Option<&Denial> {
        self.mount_refusal.as_ref()
    }

    /// The token that the registry will be shown, where it takes such.
    pub fn grant(&self) -> Option<&IssuedToken> {
        self.grant.as_ref()
    }

    /// What must be allowed for the mount that the client asked for. Without it the request goes on
    /// as a plain upload: the registry's answer to that is the spec's own fallback, and every
    /// client then uploads.
    ///
    /// Where the registry is shown the token of the grant, one token must hold both: it is the
    /// source and the upload.
    pub fn unchecked_mount_source(&self) -> Option<Access> {
        let source = self.mount.as_ref()?.from.clone();
        Some(match (&self.grant, self.request.repository()) {
            (Some(_), Some(target)) => Access::several(vec![
                (target.clone(), Action::Push.needs()),
                (source, Action::Pull.needs()),
            ]),
            _ => Access::Repository(source, Action::Pull),
        })
    }

    /// Tags that the registry must not have for the request to go on.
    pub fn must_not_exist(&self) -> &[Tag] {
        &self.must_not_exist
    }

    /// Of the list of all repositories these at most are shown.
    pub fn show_at_most(&mut self, names: Vec<RepositoryName>) {
        self.catalog.get_or_insert(CatalogFilter { pullable: None, at_most: None }).at_most =
            Some(names);
    }

    /// What the registry must be asked before the request may go on. Mostly nothing.
    pub fn look_ups(&self) -> Vec<TagLookUp> {
        let Some(name) = self.request.repository() else { return Vec::new() };
        let look_up = |tag: &Tag| {
            let reference = Reference::Tag(tag.clone());
            let request =
                RegistryRequest::ManifestGet { name: name.clone(), reference, head: true };
            TagLookUp { request, grant: self.grant.clone() }
        };
        self.must_not_exist.iter().map(look_up).collect()
    }

    /// Lets the request go on, given the registry's answers to the [look-ups](Self::look_ups), in
    /// their order.
    ///
    /// # Errors
    /// [`Denial::TagRules`] where an immutable tag exists; [`UpstreamFault::TagLookUp`] where that
    /// is not known.
    pub fn permit(self, answers: &[StatusCode]) -> Result<Permit, Denial> {
        let mut answers = answers.iter();
        for tag in self.must_not_exist {
            match answers.next() {
                Some(&StatusCode::NOT_FOUND) => {}
                Some(&StatusCode::OK) => {
                    return Err(Denial::TagRules(TagRefusal::Immutable(tag, Action::Push)));
                }
                _ => return Err(Denial::Upstream(UpstreamFault::TagLookUp)),
            }
        }
        Ok(Permit { request: self.request, grant: self.grant, catalog: self.catalog })
    }
}

impl Permit {
    /// What may be done.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// What of the list of all repositories is shown; `None`: everything.
    pub fn catalog_filter(&self) -> Option<&CatalogFilter> {
        self.catalog.as_ref()
    }

    /// `Authorization` with the token that was issued for this very request, where there is one.
    pub fn grant(&self) -> Option<HeaderValue> {
        self.grant.as_ref().and_then(bearer)
    }
}

impl TagLookUp {
    /// A HEAD of the tag's manifest.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// `Authorization` with the token of the write that depends on it: a write takes pull too.
    pub fn grant(&self) -> Option<HeaderValue> {
        self.grant.as_ref().and_then(bearer)
    }
}

/// RFC 6750, 2.1
fn bearer(token: &IssuedToken) -> Option<HeaderValue> {
    let line = Zeroizing::new(format!("Bearer {}", token.secret().expose_secret()));
    let mut value = HeaderValue::from_str(&line).ok()?;
    value.set_sensitive(true);
    Some(value)
}
