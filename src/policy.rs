//! The decision: whether a verified credential may do what a request wants. Pure.
//!
//! The result is a [`Permit`], which only [`Policy::authorize`] can build and without which nothing is forwarded.

use std::collections::{BTreeMap, BTreeSet};

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, Verified};
use crate::registry::{Access, Action, RegistryRequest};

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
    request: RegistryRequest,
}

impl Permit {
    /// What may be done: the request as understood, without a mount that the credential may not read from.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
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

    /// Decides. `verified` is the answer about the repository that is acted on, `mount_source` the one about where a
    /// mount reads from.
    ///
    /// # Errors
    /// [`Denial::InsufficientRights`] says what is missing; the catalog is closed to everybody.
    pub fn authorize(
        &self,
        request: RegistryRequest,
        verified: &Verified,
        mount_source: Option<&Verified>,
    ) -> Result<Permit, Denial> {
        let required = request.required();
        self.check(&required.access, verified)?;
        let request = match required.mount_source {
            None => request,
            Some(source) if mount_source.is_some_and(|verified| self.check(&source, verified).is_ok()) => request,
            // The registry's answer to a plain upload is the spec's own fallback, and every client then uploads.
            Some(_) => request.without_mount(),
        };
        Ok(Permit { request })
    }

    /// The line that decides whether a push is allowed, and everything else.
    fn check(&self, access: &Access, verified: &Verified) -> Result<(), Denial> {
        match (access, &verified.granted) {
            (Access::Login, _) => Ok(()),
            (Access::Catalog, _) => Err(Denial::CatalogClosed),
            (Access::Repository(_, action), Granted::Actions(actions)) if actions.allow(*action) => Ok(()),
            (Access::Repository(repository, action), Granted::Actions(_)) => {
                Err(Denial::InsufficientRights(Missing::Grant {
                    provider: verified.principal.provider.to_string(),
                    repository: repository.clone(),
                    action: *action,
                    needed: self.needed(*action).to_vec(),
                }))
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
    use http::Method;

    use super::*;
    use crate::identity::Principal;
    use crate::registry::Actions;

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
        Verified { principal: Principal { provider: "p".into(), subject: "s".into(), credential_type: None }, granted }
    }

    fn scopes(words: &[&str]) -> Verified {
        verified(Granted::Scopes(words.iter().map(|word| (*word).to_owned()).collect()))
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
            let allowed = methods
                .map(|method| policy.authorize(request(method, "/v2/a/manifests/v1"), &scopes(held), None).is_ok());
            assert_eq!(allowed, expected, "{held:?}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        let denial = policy()
            .authorize(request(Method::PUT, "/v2/a/manifests/v1"), &scopes(&["read_registry"]), None)
            .unwrap_err();
        assert_eq!(denial.detail().unwrap(), "token lacks write_registry");
        let nothing = verified(Granted::Actions(Actions::default()));
        let denial = policy().authorize(request(Method::PUT, "/v2/a/manifests/v1"), &nothing, None).unwrap_err();
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
            assert_eq!(policy().authorize(mount(), &all, source.as_ref()).unwrap().request().render(), rendered);
        }
    }

    #[test]
    fn the_catalog_is_closed() {
        assert_eq!(
            policy().authorize(request(Method::GET, "/v2/_catalog"), &scopes(&["api"]), None).unwrap_err(),
            Denial::CatalogClosed
        );
    }
}
