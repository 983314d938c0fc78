//! What one registry does in its own way. Each registry's file fills a [`Script`] in.

use std::net::SocketAddr;

use http::Method;

/// The repository that the tests push to and pull from.
pub const NAME: &str = "demo/app";
/// A repository that no registry has, or that the gate's credential may not see.
pub const MISSING: &str = "demo/missing";

/// The listeners of a stand-in. A registry that does without one of them must never be sent there.
#[derive(Clone, Copy, Debug)]
pub struct Sites {
    pub registry: SocketAddr,
    /// The token server, if it is not on the registry's own host.
    pub realm: SocketAddr,
    /// The object storage or CDN that blobs are redirected to.
    pub storage: SocketAddr,
    /// The host that takes uploads, if it is not the registry.
    pub uploads: SocketAddr,
}

/// The server that received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Registry,
    Realm,
    Storage,
    Uploads,
}

/// A request to the registry, as the functions of a script see it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub sites: Sites,
    pub method: Method,
    /// The path below the script's prefix.
    pub path: String,
    /// The repository. Empty for `/v2/` and the catalog.
    pub name: String,
    /// The part of the path behind the repository, such as `tags/list`.
    pub rest: String,
    /// The repository that a mount names in `from`.
    pub from: Option<String>,
    /// Whether the request has an `Authorization` header.
    pub authorized: bool,
    /// The scheme that clients use, as the gate reports it.
    pub forwarded_proto: String,
}

/// Where the token server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// At this path of the registry's own host.
    Here(&'static str),
    /// At this path of another host, which the gate's config must list.
    Elsewhere(&'static str),
    /// There is none: the registry takes Basic.
    None,
}

/// How a registry answers a read of a repository that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// 404 with this code.
    NotFound(&'static str),
    /// 401, although the token is fresh and for this scope.
    Unauthorized,
    /// 403 from the token server.
    RealmForbids,
}

/// The answer to GET of a blob.
pub enum Blob {
    Here,
    /// A redirect with this status to this `Location`.
    Redirect(u16, String),
}

pub struct Script {
    /// Whether clients speak TLS with the gate. The registry is asked over plain http all the
    /// same.
    pub tls: bool,
    /// The path below which `/v2/` lies, such as `/repository/docker`. Empty for none.
    pub prefix: &'static str,
    /// The user name of the gate's credential.
    pub username: &'static str,
    pub realm: Realm,
    /// `WWW-Authenticate` of a 401. `None`: the registry sends a 401 without it.
    pub challenge: fn(&Asked) -> Option<String>,
    /// Media type and body of a 401.
    pub refusal: (&'static str, &'static str),
    /// Media type and body of the token server's reply, in which `TOKEN` becomes the token.
    pub reply: (&'static str, &'static str),
    /// The actions that the token server knows. It answers 400 to a scope with any other.
    pub actions: &'static [&'static str],
    /// The actions that a token must have for this request in its repository.
    pub needs: fn(&Asked) -> &'static [&'static str],
    pub missing: Missing,
    /// Whether the catalog takes Basic instead of a token.
    pub basic_catalog: bool,
    pub blob: fn(&Asked) -> Blob,
    /// The `Location` of the upload with this ID, after this many requests.
    pub upload: fn(&Asked, &str, usize) -> String,
    /// The name of the header with the ID of an upload.
    pub upload_id: Option<&'static str>,
    /// The status of the answer to PATCH.
    pub patched: u16,
    /// The `Location` of what a PUT created. Empty for none.
    pub created: fn(&Asked, &str) -> String,
    /// Further headers of each answer of the registry.
    pub headers: &'static [(&'static str, &'static str)],
    /// Further lines of the gate's section `upstream`.
    pub upstream: fn(&Sites) -> Vec<String>,
}

impl Script {
    /// A registry with Distribution's answers and token authentication on its own host, which the
    /// other scripts deviate from.
    pub fn distribution() -> Self {
        Self {
            tls: false,
            prefix: "",
            username: "moorgate",
            realm: Realm::Here("/token"),
            challenge: |asked| {
                let realm = format!("http://{}/token", asked.sites.registry);
                Some(bearer(&realm, "registry.test", &asked.scope()))
            },
            refusal: (
                "application/json; charset=utf-8",
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
            ),
            reply: ("application/json", r#"{"token":"TOKEN"}"#),
            actions: &["pull", "push", "delete", "*"],
            needs: |asked| match asked.method {
                Method::GET | Method::HEAD => &["pull"],
                Method::DELETE => &["delete"],
                _ => &["pull", "push"],
            },
            missing: Missing::NotFound("NAME_UNKNOWN"),
            basic_catalog: false,
            blob: |_| Blob::Here,
            upload: |asked, id, step| {
                let path = format!("/v2/{}/blobs/uploads/{id}?_state=s{step}%3D-_", asked.name);
                format!("http://{}{path}", asked.sites.registry)
            },
            upload_id: Some("docker-upload-uuid"),
            patched: 202,
            created: |asked, path| format!("http://{}{path}", asked.sites.registry),
            headers: &[("docker-distribution-api-version", "registry/2.0")],
            upstream: |_| Vec::new(),
        }
    }
}

impl Asked {
    /// The scope that Distribution's challenge names. Empty for `/v2/`.
    pub fn scope(&self) -> String {
        let actions = match self.method {
            Method::GET | Method::HEAD => "pull",
            Method::DELETE => "delete",
            _ => "pull,push",
        };
        self.scope_for(actions)
    }

    /// The scope of a challenge that asks for these actions. Empty for `/v2/`.
    pub fn scope_for(&self, actions: &str) -> String {
        if self.path == "/v2/_catalog" {
            return "registry:catalog:*".to_owned();
        }
        if self.name.is_empty() {
            return String::new();
        }
        let own = format!("repository:{}:{actions}", self.name);
        match &self.from {
            Some(from) => format!("{own} repository:{from}:pull"),
            None => own,
        }
    }
}

/// A Bearer challenge. The scope is left out if it is empty.
pub fn bearer(realm: &str, service: &str, scope: &str) -> String {
    let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
    format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}")
}
