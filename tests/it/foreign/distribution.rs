//! Distribution with `auth.token.autoredirect`, behind a gate that serves TLS.
//!
//! From distribution/distribution, "Configuring a registry", section `token`, and
//! `registry/auth/token/accesscontroller.go`: the realm has the `Host` of the request and the path
//! `/auth/token`, and its scheme is `X-Forwarded-Proto`. So the registry, which is asked over plain
//! http, names an https address of its own as its token server. The addresses of uploads are built
//! in the same way (`registry/api/v2/urls.go`), from `X-Forwarded-Host` too.

use super::script::{Realm, Script, bearer};

fn distribution() -> Script {
    Script {
        tls: true,
        realm: Realm::Here("/auth/token"),
        challenge: |asked| {
            let realm = format!("{}://{}/auth/token", asked.forwarded_proto, asked.sites.registry);
            assert!(realm.starts_with("https://"), "{realm}");
            Some(bearer(&realm, "registry.test", &asked.scope()))
        },
        created: |asked, path| format!("{}://registry.test{path}", asked.forwarded_proto),
        ..Script::distribution()
    }
}

super::token_exchanges!(distribution);
