//! Google Artifact Registry and gcr.io.
//!
//! From the answers of the service that e6qu/sockerless-cloud quotes in its simulator of Artifact
//! Registry: `/v2/` is challenged with `Bearer realm="https://HOST/v2/token"` alone, a repository
//! with service and scope, DELETE with `pull,push`; a token that is refused gets 401 without a
//! challenge; a token is good for any scope, and its account decides; the token server takes GET
//! alone, replies with `token` and `expires_in`, and answers 403 `DENIED` to an anonymous caller
//! for a scope that is missing or forbidden. The service is not quoted
//! (cloudflare/serverless-registry#122). A blob is 302 to the relative address
//! `/artifacts-downloads/namespaces/P/repositories/R/downloads/…`, which needs no token
//! (ahmetb/serverless-registry-proxy#8). The `Location` of an upload is the relative
//! `/artifacts-uploads/namespaces/P/repositories/R/uploads/…`, of a kilobyte
//! (gitpod-io/gitpod#10214).
//!
//! The gate passes on a 403 of the token server as 502, for an image that is missing too: the same
//! answer would mean that the gate's own account is refused.
//! Not found in a source: the `Location` in the answer to PATCH, which changes here, and the token
//! server's answer to an account for what is missing, which is that to anonymous callers here.

use http::Method;

use super::harness::{deletes, follows};
use super::script::{Blob, Missing, Realm, Script};

/// The namespace of a signed address.
const NAMESPACE: &str = "namespaces/demo/repositories/app";

fn google() -> Script {
    Script {
        username: "oauth2accesstoken",
        realm: Realm::Here("/v2/token"),
        challenge: |asked| {
            let host = asked.sites.registry;
            let actions = match asked.method {
                Method::GET | Method::HEAD => "pull",
                _ => "pull,push",
            };
            let more = match &*asked.scope_for(actions) {
                "" => String::new(),
                scope => format!(",service={host},scope=\"{scope}\""),
            };
            (!asked.authorized).then(|| format!("Bearer realm=\"http://{host}/v2/token\"{more}"))
        },
        refusal: (
            "application/json",
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"not authenticated"}]}"#,
        ),
        reply: ("application/json", r#"{"token":"TOKEN","expires_in":3600}"#),
        needs: |_| &[],
        missing: Missing::RealmForbids,
        blob: |asked| match asked.method {
            Method::GET => {
                let signed = format!("{}{}", &asked.rest[13..], "A-z_09".repeat(150));
                Blob::Redirect(
                    302,
                    format!("/artifacts-downloads/{NAMESPACE}/downloads/{signed}=="),
                )
            }
            _ => Blob::Here,
        },
        upload: |_, id, step| {
            let signed = "AHf3wE4n-_".repeat(100);
            format!("/artifacts-uploads/{NAMESPACE}/uploads/{signed}{id}{step}==")
        },
        ..Script::distribution()
    }
}

super::forbidding_exchanges!(google);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(google()).await;
}

#[tokio::test]
async fn a_delete_has_a_token() {
    deletes(google(), &["push", "delete"]).await;
}
