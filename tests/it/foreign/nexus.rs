//! Sonatype Nexus Repository 3.
//!
//! From help.sonatype.com, "Docker Repository Reverse Proxy Strategies" and "Docker Registry": a
//! repository lies below `/repository/NAME/`, and its `/v2/` there. From a capture of Nexus 3.31
//! and sonatype/nexus-public#921: without the Docker Bearer Token Realm, and by default in new
//! versions, the challenge is `BASIC realm="Sonatype Nexus Repository Manager"`, in upper case, and
//! a Bearer token is not known. The 401 is OCI JSON.
//! Not found in a source: the `Location` of an upload. Sonatype's recipes for nginx and Apache map
//! requests from `/v2/` to `/repository/NAME/v2/` and no address of an answer, so the addresses
//! here have no prefix.

use super::script::{Realm, Script};

fn nexus() -> Script {
    Script {
        prefix: "/repository/docker-hosted",
        realm: Realm::None,
        challenge: |_| Some("BASIC realm=\"Sonatype Nexus Repository Manager\"".to_owned()),
        refusal: (
            "application/json",
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"not authorized","detail":null}]}"#,
        ),
        upload: |asked, id, _| format!("/v2/{}/blobs/uploads/{id}", asked.name),
        created: |_, path| path.to_owned(),
        ..Script::distribution()
    }
}

/// The addresses have the prefix, as those of Distribution's `http.prefix` have.
fn with_prefix() -> Script {
    Script {
        upload: |asked, id, step| {
            let path = format!("/v2/{}/blobs/uploads/{id}?step={step}", asked.name);
            format!("http://{}/repository/docker-hosted{path}", asked.sites.registry)
        },
        created: |_, path| format!("/repository/docker-hosted{path}"),
        ..nexus()
    }
}

super::exchanges!(nexus);

mod prefix {
    super::super::exchanges!(super::with_prefix);
}
