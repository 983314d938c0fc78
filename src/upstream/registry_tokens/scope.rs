//! The scope of a token for a request to the registry (Distribution, "Token Scope Documentation").

use crate::registry::{CATALOG_SCOPE, Operation, RegistryRequest, RepositoryName};

/// The scopes of one request: none, one, or two for a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct RequestScopes(Vec<String>);

impl RequestScopes {
    /// Returns the scope of exactly this request. `actions`: those that the registry asks for in
    /// place of the operation's own.
    pub(super) fn of(wanted: &RegistryRequest, actions: Option<&str>) -> Self {
        let repository =
            |name: &RepositoryName, actions: &str| format!("repository:{name}:{actions}");
        let mut scopes = Vec::new();
        match wanted {
            RegistryRequest::Catalog { .. } => scopes.push(CATALOG_SCOPE.to_owned()),
            _ => scopes.extend(wanted.repository().map(|name| {
                repository(name, actions.unwrap_or_else(|| own_actions(wanted.operation())))
            })),
        }
        if let RegistryRequest::UploadStart { mount: Some(mount), name, .. } = wanted
            && mount.from != *name
        {
            scopes.push(repository(&mount.from, "pull"));
        }
        Self(scopes)
    }

    /// Returns each scope.
    pub(super) fn each(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Returns the actions that an operation needs.
fn own_actions(operation: Operation) -> &'static str {
    match operation {
        Operation::Ping
        | Operation::Catalog
        | Operation::Tags
        | Operation::Referrers
        | Operation::ManifestGet
        | Operation::BlobGet => "pull",
        Operation::ManifestDelete | Operation::BlobDelete => "delete",
        _ => "pull,push",
    }
}

/// Returns the actions that a challenge asks for, if they may take the place of the operation's
/// own: Azure wants `metadata_read` for a list of tags, Google `pull,push` and zot `push` for a
/// delete. `None` if the challenge asks for anything else, or for more than the request needs.
pub(super) fn actions_instead(wanted: &RegistryRequest, scope: &str) -> Option<String> {
    let allowed: &[&str] = match wanted.operation() {
        Operation::Tags => &["pull", "metadata_read"],
        Operation::ManifestDelete | Operation::BlobDelete => &["pull", "push", "delete"],
        _ => return None,
    };
    let name = wanted.repository()?.as_str();
    let actions = scope.strip_prefix("repository:")?.strip_prefix(name)?.strip_prefix(':')?;
    let is_allowed = actions.split(',').all(|action| allowed.contains(&action));
    is_allowed.then(|| actions.to_owned())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn parse(method: &str, target: &str) -> RegistryRequest {
        let target = target.replace("DIGEST", DIGEST);
        let (path, query) = target.split_once('?').map_or((&*target, None), |(p, q)| (p, Some(q)));
        RegistryRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), path, query)
            .unwrap()
    }

    #[test]
    fn each_request_has_exactly_its_own_scope() {
        for (method, target, scopes) in [
            ("GET", "/v2/", &[][..]),
            ("GET", "/v2/_catalog", &["registry:catalog:*"]),
            ("GET", "/v2/a/b/tags/list", &["repository:a/b:pull"]),
            ("HEAD", "/v2/a/b/manifests/v1", &["repository:a/b:pull"]),
            ("GET", "/v2/a/b/blobs/DIGEST", &["repository:a/b:pull"]),
            ("GET", "/v2/a/b/referrers/DIGEST", &["repository:a/b:pull"]),
            ("PUT", "/v2/a/b/manifests/v1", &["repository:a/b:pull,push"]),
            ("POST", "/v2/a/b/blobs/uploads/", &["repository:a/b:pull,push"]),
            ("PATCH", "/v2/a/b/blobs/uploads/1", &["repository:a/b:pull,push"]),
            ("GET", "/v2/a/b/blobs/uploads/1", &["repository:a/b:pull,push"]),
            ("DELETE", "/v2/a/b/manifests/v1", &["repository:a/b:delete"]),
            ("DELETE", "/v2/a/b/blobs/DIGEST", &["repository:a/b:delete"]),
            (
                "POST",
                "/v2/a/b/blobs/uploads/?mount=DIGEST&from=c",
                &["repository:a/b:pull,push", "repository:c:pull"],
            ),
            ("POST", "/v2/a/b/blobs/uploads/?mount=DIGEST&from=a/b", &["repository:a/b:pull,push"]),
        ] {
            let scope = RequestScopes::of(&parse(method, target), None);
            assert_eq!(scope.each().collect::<Vec<_>>(), scopes, "{method} {target}");
        }
    }

    #[test]
    fn a_challenge_changes_only_what_the_request_needs_anyway() {
        let tags = parse("GET", "/v2/a/tags/list");
        let delete = parse("DELETE", "/v2/a/manifests/v1");
        for (request, scope, actions) in [
            (&tags, "repository:a:metadata_read", Some("metadata_read")),
            (&tags, "repository:a:pull,metadata_read", Some("pull,metadata_read")),
            (&tags, "repository:a:pull", Some("pull")),
            (&tags, "repository:a:pull,push", None),
            (&tags, "repository:b:metadata_read", None),
            (&tags, "repository:a:", None),
            (&tags, "registry:catalog:*", None),
            (&delete, "repository:a:pull,push", Some("pull,push")),
            (&delete, "repository:a:push", Some("push")),
            (&delete, "repository:a:*", None),
            (&delete, "repository:a:push repository:b:push", None),
            (&parse("GET", "/v2/a/manifests/v1"), "repository:a:pull,push", None),
            (&parse("PUT", "/v2/a/manifests/v1"), "repository:a:delete", None),
        ] {
            assert_eq!(actions_instead(request, scope).as_deref(), actions, "{scope}");
        }
    }
}
