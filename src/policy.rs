//! The decision: whether a verified credential may do what a request wants. Pure.
//!
//! The result is a [`Decision`], and in the end a [`Permit`], which nothing else can build and without which nothing is
//! forwarded.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderValue, StatusCode};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::denial::{Denial, Missing, TagRefusal, UpstreamFault};
use crate::identity::{Granted, IssuedToken, TokenServerKind, Verified};
use crate::registry::{Access, Action, Actions, Mount, Reference, RegistryRequest, RepositoryName, Tag};

/// What each action needs of a credential whose provider speaks in scopes (section `scopes` of the config).
#[derive(Clone, Debug)]
pub struct Policy {
    pull: Vec<String>,
    push: Vec<String>,
    delete: Vec<String>,
    /// A scope that stands for others.
    equivalents: BTreeMap<String, Vec<String>>,
}

/// A request that the credential allows, as far as that can be told without asking the registry.
#[derive(Debug)]
pub struct Decision {
    /// Never with a mount that was not [proved](Policy::allow_mount).
    request: RegistryRequest,
    /// What the client asked to mount, as long as nobody has judged its source.
    mount: Option<Mount>,
    /// Tags that are immutable once they exist.
    must_not_exist: Vec<Tag>,
    /// What the registry is shown, where it takes the tokens of the server that granted this.
    grant: Option<IssuedToken>,
}

/// Proof that this request may go to the registry.
#[derive(Debug)]
pub struct Permit {
    request: RegistryRequest,
    grant: Option<IssuedToken>,
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

    /// The token that the registry will be shown, where it takes such.
    pub fn grant(&self) -> Option<&IssuedToken> {
        self.grant.as_ref()
    }

    /// What must be allowed for the mount that the client asked for. Without it the request goes on as a plain upload:
    /// the registry's answer to that is the spec's own fallback, and every client then uploads.
    ///
    /// Where the registry is shown the token of the grant, one token must hold both: it is the source and the upload.
    pub fn mount_source(&self) -> Option<Access> {
        let source = self.mount.as_ref()?.from.clone();
        Some(match (&self.grant, self.request.repository()) {
            (Some(_), Some(target)) => {
                Access::several(vec![(target.clone(), Action::Push.needs()), (source, Action::Pull.needs())])
            }
            _ => Access::Repository(source, Action::Pull),
        })
    }

    /// What the registry must be asked before the request may go on. Mostly nothing.
    pub fn look_ups(&self) -> Vec<TagLookUp> {
        let Some(name) = self.request.repository() else { return Vec::new() };
        let look_up = |tag: &Tag| {
            let reference = Reference::Tag(tag.clone());
            let request = RegistryRequest::ManifestGet { name: name.clone(), reference, head: true };
            TagLookUp { request, grant: self.grant.clone() }
        };
        self.must_not_exist.iter().map(look_up).collect()
    }

    /// Lets the request go on, given the registry's answers to the [look-ups](Self::look_ups), in their order.
    ///
    /// # Errors
    /// [`Denial::TagRules`] where an immutable tag exists; [`UpstreamFault::TagLookUp`] where that is not known.
    pub fn permit(self, answers: &[StatusCode]) -> Result<Permit, Denial> {
        let mut answers = answers.iter();
        for tag in self.must_not_exist {
            match answers.next() {
                Some(&StatusCode::NOT_FOUND) => {}
                Some(&StatusCode::OK) => return Err(Denial::TagRules(TagRefusal::Immutable(tag, Action::Push))),
                _ => return Err(Denial::Upstream(UpstreamFault::TagLookUp)),
            }
        }
        Ok(Permit { request: self.request, grant: self.grant })
    }
}

impl Permit {
    /// What may be done.
    pub fn request(&self) -> &RegistryRequest {
        &self.request
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
    /// [`Denial::InsufficientRights`] says what is missing, [`Denial::NoCredential`] that nothing was presented;
    /// [`Denial::TagRules`] which tag may not be touched; the catalog is closed to everybody.
    pub fn authorize(&self, request: RegistryRequest, verified: &Verified) -> Result<Decision, Denial> {
        self.check(&request.required(), verified)?;
        let grant = request.repository().and_then(|name| verified.granted.repository(name));
        let must_not_exist =
            grant.map(|grant| grant.tags.check(&request)).transpose().map_err(Denial::TagRules)?.unwrap_or_default();
        let grant = verified.granted.token().cloned();
        let (request, mount) = request.split_mount();
        Ok(Decision { request, mount, must_not_exist, grant })
    }

    /// Gives the request its mount where the credential may pull from the source. `verified` is the answer about
    /// [`Decision::mount_source`].
    #[must_use]
    pub fn allow_mount(&self, mut decision: Decision, verified: &Verified) -> Decision {
        let allowed = decision.mount_source().is_some_and(|source| self.check(&source, verified).is_ok());
        if let Some(mount) = decision.mount.take().filter(|_| allowed) {
            decision.request = decision.request.with_mount(mount);
            decision.grant = verified.granted.token().cloned();
        }
        decision
    }

    /// What of this the credential has: never more than was asked, and nothing that a request would be refused. A
    /// repository for which there is nothing is left out. `verified` is the answer about `asked`.
    pub fn granted(&self, asked: &Access, verified: &Verified) -> Vec<(RepositoryName, Actions)> {
        let granted = asked.repositories().map(|(name, actions)| {
            (name.clone(), actions.filter(|action| self.check_action(name, action, verified).is_ok()))
        });
        granted.filter(|(_, actions)| *actions != Actions::default()).collect()
    }

    fn check(&self, access: &Access, verified: &Verified) -> Result<(), Denial> {
        let checked = match access {
            Access::Login => Ok(()),
            Access::Catalog => Err(Denial::CatalogClosed),
            Access::Repository(name, action) => self.check_action(name, *action, verified),
            Access::Repositories(several) => several
                .iter()
                .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)))
                .try_for_each(|(name, action)| self.check_action(name, action, verified)),
        };
        // Who has shown no credential is asked for one, and told nothing of what is there.
        checked.map_err(|denial| if verified.principal.is_anonymous() { Denial::NoCredential } else { denial })
    }

    /// The lines that decide whether a push is allowed, and everything else. What a grant allows is
    /// [`Actions::allow`].
    fn check_action(&self, name: &RepositoryName, action: Action, verified: &Verified) -> Result<(), Denial> {
        let missing = match &verified.granted {
            Granted::Scopes(scopes) => match self.missing(action, scopes) {
                missing if missing.is_empty() => return Ok(()),
                missing => Missing::Scopes(missing),
            },
            granted => match granted.repository(name) {
                Some(grant) if grant.actions.allow(action) => return Ok(()),
                _ if granted.repositories().iter().any(|grant| grant.server == TokenServerKind::Other) => {
                    Missing::Grant(verified.principal.source.provider.clone(), action)
                }
                _ => Missing::GitLabGrant(action),
            },
        };
        Err(Denial::InsufficientRights(missing))
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
    use crate::identity::tag_rules::TagRules;
    use crate::identity::{Principal, RepositoryGrant, Source};

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
            let decision = policy().authorize(mount(), &all).unwrap();
            assert_eq!(decision.request().render(), "/v2/a/b/blobs/uploads/");
            let decision = match source {
                Some(source) => policy().allow_mount(decision, &source),
                None => decision,
            };
            assert_eq!(decision.permit(&[]).unwrap().request().render(), rendered);
        }
    }

    /// What was granted for one repository is no permit for another, nor is being somebody.
    #[test]
    fn a_grant_is_for_its_repository() {
        let everything = Actions { pull: true, push: true, delete: true };
        let of = |name| {
            let repository = RepositoryName::parse(name).unwrap();
            let server = TokenServerKind::GitLab;
            let tags = TagRules::None;
            Granted::Repository(Box::new(RepositoryGrant {
                repository,
                actions: everything,
                server,
                tags,
                token: None,
            }))
        };
        for (granted, allowed) in [(of("a"), true), (of("b"), false), (of("a/a"), false), (Granted::Identity, false)] {
            let decided = policy().authorize(request(Method::GET, "/v2/a/manifests/v1"), &verified(granted.clone()));
            assert_eq!(decided.is_ok(), allowed, "{granted:?}");
        }
    }

    fn of_project(meta: serde_json::Value) -> Verified {
        let everything = Actions { pull: true, push: true, delete: true };
        verified(Granted::Repository(Box::new(RepositoryGrant {
            repository: RepositoryName::parse("a").unwrap(),
            actions: everything,
            server: TokenServerKind::GitLab,
            tags: TagRules::read([&meta]).unwrap_or(TagRules::Unreadable),
            token: None,
        })))
    }

    /// Nothing but the registry's 404 lets an immutable tag be written, and each tag needs its own.
    #[test]
    fn an_immutable_tag_is_written_once() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let project = of_project(serde_json::json!({ "tag_immutable_patterns": ["^v"] }));
        let decide = |target: &str| policy().authorize(request(Method::PUT, target), &project).unwrap();
        let one = || decide("/v2/a/manifests/v1");
        let look_ups: Vec<_> = one().look_ups().iter().map(|look_up| look_up.request().clone()).collect();
        assert_eq!(look_ups, [request(Method::HEAD, "/v2/a/manifests/v1")]);
        let exists = Denial::TagRules(TagRefusal::Immutable(Tag::parse("v1").unwrap(), Action::Push));
        let unknown = || Denial::Upstream(UpstreamFault::TagLookUp);
        assert!(one().permit(&[StatusCode::NOT_FOUND]).is_ok());
        assert_eq!(one().permit(&[StatusCode::OK]).unwrap_err(), exists);
        for status in [401, 403, 500, 503, 307, 204, 304, 429] {
            assert_eq!(one().permit(&[StatusCode::from_u16(status).unwrap()]).unwrap_err(), unknown(), "{status}");
        }
        assert_eq!(one().permit(&[]).unwrap_err(), unknown());

        let two = || decide(&format!("/v2/a/manifests/{digest}?tag=v1&tag=x&tag=v2"));
        assert_eq!(two().look_ups().len(), 2);
        assert_eq!(two().permit(&[StatusCode::NOT_FOUND]).unwrap_err(), unknown());
        assert_eq!(two().permit(&[StatusCode::OK, StatusCode::NOT_FOUND]).unwrap_err(), exists);
        assert!(two().permit(&[StatusCode::NOT_FOUND; 2]).is_ok());
        assert!(decide("/v2/a/manifests/latest").permit(&[]).is_ok());
    }

    /// One answer about several repositories: each has its own rights and its own rules.
    fn of_several(grants: &[(&str, &str)]) -> Verified {
        let immutable = serde_json::json!({ "tag_immutable_patterns": ["^v"] });
        let grant = |(name, words): &(&str, &str)| RepositoryGrant {
            repository: RepositoryName::parse(name).unwrap(),
            actions: Actions::asked(words),
            server: TokenServerKind::GitLab,
            tags: if *name == "a" { TagRules::read([&immutable]).unwrap() } else { TagRules::None },
            token: None,
        };
        verified(Granted::Repositories(Arc::new(grants.iter().map(grant).collect())))
    }

    #[test]
    fn each_of_several_repositories_has_its_own_grant() {
        let several = of_several(&[("a", "pull,push"), ("b", "pull"), ("c", "")]);
        for (method, name, allowed) in [
            (Method::PUT, "a", true),
            (Method::GET, "a", true),
            (Method::DELETE, "a", false),
            (Method::PUT, "b", false),
            (Method::GET, "b", true),
            (Method::GET, "c", false),
            (Method::GET, "d", false),
        ] {
            let decided = policy().authorize(request(method.clone(), &format!("/v2/{name}/manifests/v1")), &several);
            assert_eq!(decided.is_ok(), allowed, "{method} {name}");
            let look_ups = decided.map_or(0, |decision| decision.look_ups().len());
            assert_eq!(look_ups, usize::from(method == Method::PUT && name == "a"), "{method} {name}");
        }
    }

    #[test]
    fn what_is_granted_of_what_was_asked() {
        type Asked<'a> = &'a [(&'a str, &'a str)];
        let table: [(Verified, Asked<'_>, &str); 14] = [
            (scopes(&["read_registry"]), &[("a", "pull,push"), ("b", "pull")], "a:pull b:pull"),
            (scopes(&["read_registry", "write_registry"]), &[("a", "*"), ("b", "push")], "a:pull,push b:push"),
            (scopes(&["write_registry"]), &[("a", "*"), ("b", "push")], ""),
            (scopes(&["delete_registry"]), &[("a", "*"), ("b", "pull")], "a:delete"),
            (scopes(&["api"]), &[("a", "pull"), ("b", "delete")], "a:pull b:delete"),
            (scopes(&["api"]), &[], ""),
            (scopes(&[]), &[("a", "pull")], ""),
            (of_several(&[("a", "pull,push"), ("b", "pull")]), &[("a", "*"), ("b", "*")], "a:pull,push b:pull"),
            (of_several(&[("a", "*"), ("b", "pull")]), &[("b", "pull,push"), ("a", "pull")], "b:pull a:pull"),
            (of_several(&[("a", "push"), ("b", "delete")]), &[("a", "*"), ("b", "*")], "b:delete"),
            (of_several(&[("a", "pull"), ("b", "")]), &[("a", "pull"), ("b", "pull"), ("c", "pull")], "a:pull"),
            (of_several(&[("a", "pull")]), &[("a", "pull,push")], "a:pull"),
            (verified(Granted::Identity), &[("a", "pull")], ""),
            (verified(Granted::Nothing), &[("a", "pull")], ""),
        ];
        for (verified, asked, expected) in table {
            let wanted =
                asked.iter().map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
            let asked = Access::several(wanted.collect());
            let granted = policy().granted(&asked, &verified);
            let words: Vec<_> = granted.iter().map(|(name, actions)| format!("{name}:{}", actions.words())).collect();
            assert_eq!(words.join(" "), expected, "{asked:?} of {:?}", verified.granted);
            // Nothing in it is refused to a request, and all of it was asked.
            for (name, actions) in &granted {
                let wanted = asked.repositories().find(|(wanted, _)| *wanted == name).unwrap().1;
                assert!(wanted.contain(*actions), "{name}");
                for action in actions.each() {
                    policy().check(&Access::Repository(name.clone(), action), &verified).unwrap();
                }
            }
        }
    }

    #[test]
    fn several_are_allowed_together_or_not() {
        let asked = |scopes: &[(&str, &str)]| {
            let wanted =
                scopes.iter().map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
            Access::several(wanted.collect())
        };
        let several = of_several(&[("a", "pull,push"), ("b", "pull")]);
        for (scopes, allowed) in [
            (&[("a", "pull,push"), ("b", "pull")][..], true),
            (&[("a", "pull"), ("b", "pull")], true),
            (&[("a", "pull,push"), ("b", "pull,push")], false),
            (&[("b", "pull"), ("c", "pull")], false),
        ] {
            assert_eq!(policy().check(&asked(scopes), &several).is_ok(), allowed, "{scopes:?}");
        }
    }

    /// Whoever shows nothing may do what was granted, and is asked for a credential for all else.
    #[test]
    fn nobody_is_asked_for_a_credential() {
        let mut nobody = of_several(&[("a", "pull"), ("b", "")]);
        nobody.principal.subject = "".into();
        for (method, target, denial) in [
            (Method::GET, "/v2/a/manifests/v1", None),
            (Method::PUT, "/v2/a/manifests/v1", Some(Denial::NoCredential)),
            (Method::DELETE, "/v2/a/manifests/v1", Some(Denial::NoCredential)),
            (Method::GET, "/v2/b/manifests/v1", Some(Denial::NoCredential)),
            (Method::GET, "/v2/_catalog", Some(Denial::NoCredential)),
        ] {
            assert_eq!(policy().authorize(request(method, target), &nobody).err(), denial, "{target}");
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
