//! The result of a decision, up to the proof that a request may go to the upstream.

use http::{HeaderValue, StatusCode};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::catalog::CatalogFilter;
use super::immutable::{ImmutableBy, ImmutableTag};
use super::rules::Ruling;
use crate::denial::{Denial, RuleRefusal, TagRefusal, UpstreamFault};
use crate::identity::UpstreamToken;
use crate::registry::{Access, Action, Mount, Reference, RegistryRequest, RepositoryName, Tag};

/// A request that the credential allows, as far as this can be known without asking the upstream.
#[derive(Debug)]
pub struct Decision {
    /// The request. It never contains a mount that was not [checked](super::Policy::allow_mount).
    pub(super) request: RegistryRequest,
    /// The mount that the client asked for, until its source has been checked.
    pub(super) mount: Option<Mount>,
    /// The reason why the mount was removed.
    pub(super) mount_refusal: Option<Denial>,
    /// The tags that are immutable once they exist.
    pub(super) must_not_exist: Vec<ImmutableTag>,
    /// The token for the upstream, if the upstream accepts tokens of the server that granted the
    /// request.
    pub(super) upstream_token: Option<UpstreamToken>,
    /// The filter for the list of all repositories; `None`: the caller sees everything.
    pub(super) catalog: Option<CatalogFilter>,
    pub(super) ruling: Ruling,
}

/// The proof that a request may go to the upstream.
#[derive(Debug)]
pub struct Permit {
    request: RegistryRequest,
    upstream_token: Option<UpstreamToken>,
    catalog: Option<CatalogFilter>,
}

/// A question to the upstream whether a tag exists.
#[derive(Debug)]
pub struct TagLookUp {
    /// `true` if the answer decides about a write; `false` if shadow mode only logs it.
    pub decides: bool,
    request: RegistryRequest,
    /// The write that depends on the answer.
    write: RegistryRequest,
    upstream_token: Option<UpstreamToken>,
}

impl Decision {
    /// Returns the request that was decided about.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// Returns what the rules say about the request.
    pub fn ruling(&self) -> &Ruling {
        &self.ruling
    }

    /// Returns the reason why the mount that the client asked for was removed, if it was removed.
    pub fn mount_refusal(&self) -> Option<&Denial> {
        self.mount_refusal.as_ref()
    }

    /// Returns the token that the upstream will receive, if it accepts such tokens.
    pub fn upstream_token(&self) -> Option<&UpstreamToken> {
        self.upstream_token.as_ref()
    }

    /// Returns the access that must be allowed for the mount that the client asked for. Without
    /// this access the request goes on as a plain upload: the upstream's answer to a plain upload
    /// is the fallback that the OCI specification defines, and every client then uploads the blob.
    ///
    /// If the upstream receives the token of the grant, one token must allow both: the pull from
    /// the source and the upload.
    pub fn unchecked_mount_source(&self) -> Option<Access> {
        let source = self.mount.as_ref()?.from.clone();
        Some(match (&self.upstream_token, self.request.repository()) {
            (Some(_), Some(target)) => Access::several(vec![
                (target.clone(), Action::Push.needs()),
                (source, Action::Pull.needs()),
            ]),
            _ => Access::Repository(source, Action::Pull),
        })
    }

    /// Returns the tags that must not exist in the upstream for the request to go on.
    pub fn must_not_exist(&self) -> impl Iterator<Item = &Tag> {
        self.must_not_exist.iter().map(|immutable| &immutable.tag)
    }

    /// Limits the list of all repositories to these names.
    pub fn show_at_most(&mut self, names: Vec<RepositoryName>) {
        self.catalog.get_or_insert(CatalogFilter { pullable: None, at_most: None }).at_most =
            Some(names);
    }

    /// Returns the only names that the list of all repositories may show; `None`: any name.
    pub fn shows_at_most(&self) -> Option<&[RepositoryName]> {
        self.catalog.as_ref()?.at_most.as_deref()
    }

    /// Returns the questions that the upstream must answer before the request may go on. There are
    /// usually none.
    pub fn look_ups(&self) -> Vec<TagLookUp> {
        let Some(name) = self.request.repository() else { return Vec::new() };
        let look_up = |ImmutableTag { tag, by }: &ImmutableTag| {
            let reference = Reference::Tag(tag.clone());
            let request =
                RegistryRequest::ManifestGet { name: name.clone(), reference, head: true };
            let decides = *by != ImmutableBy::ShadowRule;
            let upstream_token = self.upstream_token.clone();
            TagLookUp { decides, request, write: self.request.clone(), upstream_token }
        };
        self.must_not_exist.iter().map(look_up).collect()
    }

    /// Changes the [ruling](Self::ruling) to what the rules say about the upstream's answers to the
    /// [look-ups](Self::look_ups) in shadow mode.
    pub fn note_answers(&mut self, answers: &[StatusCode]) {
        let mut asked = self.must_not_exist.iter().zip(answers);
        let moved = asked.find(|(immutable, answer)| {
            immutable.by == ImmutableBy::ShadowRule && says_that_it_exists(**answer)
        });
        if let Some((ImmutableTag { tag, .. }, _)) = moved {
            let refusal = RuleRefusal::Immutable(tag.clone(), Action::Push);
            self.ruling = Ruling::ShadowDenied(refusal);
        }
    }

    /// Lets the request go on, given the upstream's answers to the [look-ups](Self::look_ups), in
    /// their order.
    ///
    /// # Errors
    /// [`Denial::TagRules`] or [`Denial::DeniedByPolicy`] if an immutable tag exists;
    /// [`UpstreamFault::TagLookUp`] if an answer does not tell whether the tag exists.
    pub fn permit(self, answers: &[StatusCode]) -> Result<Permit, Denial> {
        let mut answers = answers.iter();
        for ImmutableTag { tag, by } in self.must_not_exist {
            match (by, answers.next()) {
                (ImmutableBy::ShadowRule, _) | (_, Some(&StatusCode::NOT_FOUND)) => {}
                (ImmutableBy::Project, Some(status)) if says_that_it_exists(*status) => {
                    return Err(Denial::TagRules(TagRefusal::Immutable(tag, Action::Push)));
                }
                (ImmutableBy::Rule, Some(status)) if says_that_it_exists(*status) => {
                    let refusal = RuleRefusal::Immutable(tag, Action::Push);
                    return Err(Denial::DeniedByPolicy(refusal));
                }
                _ => return Err(Denial::Upstream(UpstreamFault::TagLookUp)),
            }
        }
        Ok(Permit {
            request: self.request,
            upstream_token: self.upstream_token,
            catalog: self.catalog,
        })
    }
}

impl Permit {
    /// Returns the permitted request.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// Returns the filter for the list of all repositories; `None`: the caller sees everything.
    pub fn catalog_filter(&self) -> Option<&CatalogFilter> {
        self.catalog.as_ref()
    }

    /// Returns the `Authorization` value with the token that was issued for this request, if there
    /// is one.
    pub fn upstream_token(&self) -> Option<HeaderValue> {
        self.upstream_token.as_ref().and_then(bearer)
    }
}

impl TagLookUp {
    /// Returns the write that depends on the answer.
    pub fn write(&self) -> &RegistryRequest {
        &self.write
    }

    /// Returns the HEAD request for the tag's manifest.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// Returns the `Authorization` value with the token of the write that depends on this look-up.
    /// The token of a write allows pull too.
    pub fn upstream_token(&self) -> Option<HeaderValue> {
        self.upstream_token.as_ref().and_then(bearer)
    }
}

/// Returns whether the answer to a look-up says that the tag exists. A registry redirects to a
/// manifest that it has.
fn says_that_it_exists(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 301 | 302 | 303 | 307 | 308)
}

/// Returns the `Authorization` value for a Bearer token (RFC 6750, section 2.1).
fn bearer(token: &UpstreamToken) -> Option<HeaderValue> {
    let line = Zeroizing::new(format!("Bearer {}", token.secret().expose_secret()));
    let mut value = HeaderValue::from_str(&line).ok()?;
    value.set_sensitive(true);
    Some(value)
}
