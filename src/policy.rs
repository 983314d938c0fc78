//! The decision: whether a verified credential may do what a request wants. Pure.
//!
//! The result is a [`Permit`], which only [`Policy::authorize`] can build and without which nothing is forwarded.

use std::collections::{BTreeMap, BTreeSet};

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, TokenServerKind, Verified};
use crate::registry::{Access, Action, Mount, RegistryRequest};

/// What each action needs of a credential whose provider speaks in scopes (section `scopes` of the config).
#[derive(Clone, Debug)]
pub struct Policy {
    pull: Vec<String>,
    push: Vec<String>,
    delete: Vec<String>,
    /// A scope that stands for others.
    equivalents: BTreeMap<String, Vec<String>>,
}

/// Proof that this request may go to the registry.
#[derive(Debug)]
pub struct Permit {
    /// Never with a mount that was not [proved](Policy::allow_mount).
    request: RegistryRequest,
    /// What the client asked to mount, as long as nobody has judged its source.
    mount: Option<Mount>,
}

impl Permit {
    /// What may be done.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
    }

    /// What must be allowed for the mount that the client asked for. Without it the request goes on as a plain upload:
    /// the registry's answer to that is the spec's own fallback, and every client then uploads.
    pub fn mount_source(&self) -> Option<Access> {
        self.mount.as_ref().map(|mount| Access::Repository(mount.from.clone(), Action::Pull))
    }
}

impl Policy {
    /// A policy from the lists of the config.
    pub fn new(
        pull: Vec<String>,
        push: Vec<String>,
        delete: Vec<String>,
        equivalents: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self { pull, push, delete, equivalents }
    }

    /// Decides. `verified` is the answer about what the request [requires](RegistryRequest::required).
    ///
    /// # Errors
    /// [`Denial::InsufficientRights`] says what is missing; the catalog is closed to everybody.
    pub fn authorize(&self, request: RegistryRequest, verified: &Verified) -> Result<Permit, Denial> {
        self.check(&request.required(), verified)?;
        let (request, mount) = request.split_mount();
        Ok(Permit { request, mount })
    }

    /// Gives the permit its mount where the credential may pull from the source. `verified` is the answer about
    /// [`Permit::mount_source`].
    #[must_use]
    pub fn allow_mount(&self, permit: Permit, verified: &Verified) -> Permit {
        let allowed = permit.mount_source().is_some_and(|source| self.check(&source, verified).is_ok());
        match permit {
            Permit { request, mount: Some(mount) } if allowed => {
                Permit { request: request.with_mount(mount), mount: None }
            }
            Permit { request, .. } => Permit { request, mount: None },
        }
    }

    /// The lines that decide whether a push is allowed, and everything else. What a grant allows is
    /// [`Actions::allow`](crate::registry::Actions::allow).
    fn check(&self, access: &Access, verified: &Verified) -> Result<(), Denial> {
        match (access, &verified.granted) {
            (Access::Login, _) => Ok(()),
            (Access::Catalog, _) => Err(Denial::CatalogClosed),
            (Access::Repository(wanted, action), Granted::Repository(grant))
                if grant.repository == *wanted && grant.actions.allow(*action) =>
            {
                Ok(())
            }
            (Access::Repository(_, action), Granted::Repository(grant)) if grant.server == TokenServerKind::Other => {
                Err(Denial::InsufficientRights(Missing::Grant(verified.principal.source.provider.clone(), *action)))
            }
            (Access::Repository(_, action), Granted::Repository(_) | Granted::Identity | Granted::Nothing) => {
                Err(Denial::InsufficientRights(Missing::GitLabGrant(*action)))
            }
            (Access::Repository(_, action), Granted::Scopes(scopes)) => {
                let missing = self.missing(*action, scopes);
                if missing.is_empty() { Ok(()) } else { Err(Denial::InsufficientRights(Missing::Scopes(missing))) }
            }
        }
    }

    fn needed(&self, action: Action) -> &[String] {
        match action {
            Action::Pull => &self.pull,
            Action::Push => &self.push,
            Action::Delete => &self.delete,
        }
    }

    fn missing(&self, action: Action, scopes: &[String]) -> Vec<String> {
        let needed = self.needed(action);
        if needed.iter().all(|scope| scopes.contains(scope)) {
            return Vec::new();
        }
        let held = self.closure(scopes);
        needed.iter().filter(|scope| !held.contains(scope.as_str())).cloned().collect()
    }

    /// The scopes with everything that they stand for.
    fn closure<'a>(&'a self, scopes: &'a [String]) -> BTreeSet<&'a str> {
        let mut held = BTreeSet::new();
        let mut open: Vec<&str> = scopes.iter().map(String::as_str).collect();
        while let Some(scope) = open.pop() {
            if held.insert(scope) {
                open.extend(self.equivalents.get(scope).into_iter().flatten().map(String::as_str));
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::identity::{Principal, RepositoryGrant, Source};
    use crate::registry::{Actions, RepositoryName};

    fn policy() -> Policy {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let equivalents = BTreeMap::from([
            ("api".to_owned(), list(&["read_registry", "write_registry", "delete_registry"])),
            ("admin".to_owned(), list(&["api", "admin"])),
        ]);
        Policy::new(
            list(&["read_registry"]),
            list(&["read_registry", "write_registry"]),
            list(&["delete_registry"]),
            equivalents,
        )
    }

    fn verified(granted: Granted) -> Verified {
        let source = Source { provider: "p".into(), credential_type: None };
        let principal = Principal { source: source.into(), subject: "s".into() };
        Verified { principal, granted, attributes: None }
    }

    fn scopes(words: &[&str]) -> Verified {
        verified(Granted::Scopes(Arc::new(words.iter().map(|word| (*word).to_owned()).collect())))
    }

    fn request(method: Method, target: &str) -> RegistryRequest {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        RegistryRequest::parse(&method, path, query).unwrap()
    }

    #[test]
    fn scopes_are_containment_and_no_hierarchy() {
        let policy = policy();
        let table: [(&[&str], [bool; 3]); 7] = [
            (&[], [false, false, false]),
            (&["read_registry"], [true, false, false]),
            (&["write_registry"], [false, false, false]),
            (&["read_registry", "write_registry"], [true, true, false]),
            (&["delete_registry"], [false, false, true]),
            (&["api"], [true, true, true]),
            (&["admin"], [true, true, true]),
        ];
        for (held, expected) in table {
            let methods = [Method::GET, Method::PUT, Method::DELETE];
            let allowed =
                methods.map(|method| policy.authorize(request(method, "/v2/a/manifests/v1"), &scopes(held)).is_ok());
            assert_eq!(allowed, expected, "{held:?}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        let denial =
            policy().authorize(request(Method::PUT, "/v2/a/manifests/v1"), &scopes(&["read_registry"])).unwrap_err();
        assert_eq!(denial.detail().unwrap(), "token lacks write_registry");
        let nothing = verified(Granted::Nothing);
        let denial = policy().authorize(request(Method::PUT, "/v2/a/manifests/v1"), &nothing).unwrap_err();
        assert!(denial.detail().unwrap().contains("granted no push"), "{denial:?}");
    }

    #[test]
    fn a_mount_without_its_source_becomes_a_plain_upload() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mount = || request(Method::POST, &format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"));
        let all = scopes(&["api"]);
        for (source, rendered) in [
            (None, "/v2/a/b/blobs/uploads/".to_owned()),
            (Some(scopes(&["write_registry"])), "/v2/a/b/blobs/uploads/".to_owned()),
            (Some(scopes(&["read_registry"])), format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d")),
        ] {
            let permit = policy().authorize(mount(), &all).unwrap();
            assert_eq!(permit.request().render(), "/v2/a/b/blobs/uploads/");
            let permit = match source {
                Some(source) => policy().allow_mount(permit, &source),
                None => permit,
            };
            assert_eq!(permit.request().render(), rendered);
        }
    }

    /// What was granted for one repository is no permit for another, nor is being somebody.
    #[test]
    fn a_grant_is_for_its_repository() {
        let everything = Actions { pull: true, push: true, delete: true };
        let of = |name| {
            let repository = RepositoryName::parse(name).unwrap();
            let server = TokenServerKind::GitLab;
            Granted::Repository(Box::new(RepositoryGrant { repository, actions: everything, server }))
        };
        for (granted, allowed) in [(of("a"), true), (of("b"), false), (of("a/a"), false), (Granted::Identity, false)] {
            let decided = policy().authorize(request(Method::GET, "/v2/a/manifests/v1"), &verified(granted.clone()));
            assert_eq!(decided.is_ok(), allowed, "{granted:?}");
        }
    }

    #[test]
    fn the_catalog_is_closed() {
        assert_eq!(
            policy().authorize(request(Method::GET, "/v2/_catalog"), &scopes(&["api"])).unwrap_err(),
            Denial::CatalogClosed
        );
    }
}
