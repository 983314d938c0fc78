//! JFrog Artifactory.
//!
//! From containerd/containerd#6339 (Artifactory 7.12): `Bearer realm="https://HOST:443/artifactory/
//! api/docker/REPOSITORY/v2/token",service="HOST:443",scope="repository:NAME:pull"`, so the token
//! server is on the registry's own host, below the repository's path, and the service has the port.
//! From GoogleContainerTools/jib#4153: the reply is `{"token":…,"expires_in":9000}`. From
//! jetstack/version-checker#318: 404 `MANIFEST_UNKNOWN`. From jfrog/artifactory-docker-examples,
//! `nginx.ftl`: `/v2/` is mapped to `/artifactory/api/docker/REPOSITORY/v2/`, and no address of an
//! answer is.
//! Not found in a source: the `Location` of an upload. By that recipe it has no prefix here.

use super::script::{Missing, Realm, Script, bearer};

const TOKEN_PATH: &str = "/artifactory/api/docker/docker-local/v2/token";

fn artifactory() -> Script {
    Script {
        prefix: "/artifactory/api/docker/docker-local",
        realm: Realm::Here(TOKEN_PATH),
        challenge: |asked| {
            let host = asked.sites.registry.to_string();
            Some(bearer(&format!("http://{host}{TOKEN_PATH}"), &host, &asked.scope()))
        },
        reply: ("application/json;charset=ISO-8859-1", r#"{"token":"TOKEN","expires_in":9000}"#),
        missing: Missing::NotFound("MANIFEST_UNKNOWN"),
        upload: |asked, id, _| {
            format!("http://{}/v2/{}/blobs/uploads/{id}", asked.sites.registry, asked.name)
        },
        headers: &[
            ("docker-distribution-api-version", "registry/2.0"),
            ("x-artifactory-id", "0123456789abcdef"),
            ("x-jfrog-version", "Artifactory/7.90.8 79008900"),
        ],
        ..Script::distribution()
    }
}

super::token_exchanges!(artifactory);
