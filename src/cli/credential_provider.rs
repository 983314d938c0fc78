//! `moorgate credential-provider`: a credential provider plugin of kubelet, which gives the pod's
//! service account token to the registry as a password.
//!
//! kubelet runs the command for each image that matches its `CredentialProviderConfig`, writes a
//! `CredentialProviderRequest` to its standard input, and reads a `CredentialProviderResponse` from
//! its standard output (`credentialprovider.kubelet.k8s.io/v1`). It logs what is on standard error
//! if the exit code is not 0.

use std::fmt;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{failed, say};
use crate::identity::model::unix_time::unix_now;
use crate::identity::provider::common::claims;
use crate::identity::provider::jwt::Compact;
use crate::net::host::{parse_host, split_port};
use crate::strict_json;

/// The version of the API, of requests and responses.
const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// The longest request, in bytes. A token and the annotations of a service account are shorter.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The longest time for which kubelet is told to keep the token, in seconds: the longest life that
/// Kubernetes gives a token. A much longer one would be no duration that kubelet can read.
const MAX_CACHE_SECONDS: u64 = 1 << 32;

/// The port of a registry whose name has none.
const HTTPS_PORT: u16 = 443;

#[derive(Args)]
pub(super) struct CredentialProvider {
    /// The host that clients reach the gate by, with its port unless it is 443, such as
    /// registry.example.com. The token is given for images of this registry and of no other
    #[arg(long, value_name = "HOST")]
    registry: Registry,
    /// The user name that goes with the token. The gate accepts any
    #[arg(long, value_name = "NAME", default_value = "oidc", value_parser = user_name)]
    username: String,
}

/// The host and port of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registry {
    host: String,
    port: u16,
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        if *port == HTTPS_PORT { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl FromStr for Registry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        split_port(text)
            .and_then(|(host, port)| {
                Some(Self { host: parse_host(host)?, port: port.unwrap_or(HTTPS_PORT) })
            })
            .ok_or(
                "it is not a host; write the host and its port alone, such as \
                 registry.example.com:8443",
            )
    }
}

/// Reads a user name that Basic authentication can carry (RFC 7617, 2).
fn user_name(text: &str) -> Result<String, &'static str> {
    let is_wrong = text.is_empty() || text.contains(':') || text.contains(char::is_control);
    (!is_wrong)
        .then(|| text.to_owned())
        .ok_or("it must not be empty, or contain a colon or a control character")
}

/// Answers the request on standard input.
pub(super) fn credential_provider(arguments: &CredentialProvider) -> ExitCode {
    match read().and_then(|request| answer(&request, arguments, unix_now())) {
        Ok(response) => say(&response),
        Err(error) => failed(&error),
    }
}

fn read() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut stdin = io::stdin();
    ensure!(
        !stdin.is_terminal(),
        "kubelet runs this command with a request on standard input; moorgate credential-provider \
         --help says how to configure kubelet"
    );
    let mut request = Zeroizing::new(Vec::new());
    let limit = u64::try_from(MAX_REQUEST_BYTES + 1).unwrap_or(u64::MAX);
    (&mut stdin).take(limit).read_to_end(&mut request).context("standard input cannot be read")?;
    Ok(request)
}

/// Returns the response to a request at the time `now`, Unix time in seconds. An error names the
/// field that is wrong, and prints nothing of the token.
fn answer(
    request: &[u8],
    arguments: &CredentialProvider,
    now: u64,
) -> anyhow::Result<Zeroizing<String>> {
    ensure!(
        request.len() <= MAX_REQUEST_BYTES,
        "the request on standard input is larger than 1 MiB; pass a CredentialProviderRequest"
    );
    let mut request = strict_json::object(request).map_err(|error| {
        anyhow!(
            "the request on standard input cannot be read: {error}; pass a \
             CredentialProviderRequest"
        )
    })?;
    ensure!(
        text(&mut request, "apiVersion")? == API_VERSION,
        "`apiVersion` is not {API_VERSION}; set apiVersion: {API_VERSION} for this provider in \
         kubelet's CredentialProviderConfig"
    );
    ensure!(
        text(&mut request, "kind")? == "CredentialProviderRequest",
        "`kind` is not CredentialProviderRequest; pass the request that kubelet writes"
    );
    let image = text(&mut request, "image")?;
    let (registry, _) = image.split_once('/').context(
        "`image` has no registry; list only the registry of --registry in matchImages of \
         kubelet's CredentialProviderConfig",
    )?;
    ensure!(
        registry.parse() == Ok(arguments.registry.clone()),
        "`image` is not of the registry {}; list only this registry in matchImages of kubelet's \
         CredentialProviderConfig",
        arguments.registry
    );
    let token = SecretString::from(text(&mut request, "serviceAccountToken").context(
        "kubelet sent no token of the pod's service account; set tokenAttributes with \
         serviceAccountTokenAudience, requireServiceAccount: true and cacheType: Token in its \
         CredentialProviderConfig",
    )?);
    let expires = Compact::read(token.expose_secret())
        .and_then(|token| claims::seconds(&token.claims, "exp").ok().flatten())
        .context(
            "`serviceAccountToken` is not a JWT with `exp`; pass the token of a service account",
        )?;
    let response = json!({
        "apiVersion": API_VERSION,
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": format!("{}s", expires.saturating_sub(now).min(MAX_CACHE_SECONDS)),
        "auth": {
            registry: { "username": arguments.username, "password": token.expose_secret() },
        },
    });
    Ok(Zeroizing::new(format!("{response}\n")))
}

/// Takes a text that is not empty from the request.
fn text(request: &mut Map<String, Value>, name: &str) -> anyhow::Result<String> {
    match request.swap_remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None => Err(anyhow!("`{name}` is missing; pass the request that kubelet writes")),
        Some(value) => Err(anyhow!(
            "`{name}` is {}; it must be a text that is not empty",
            claims::shape(&value)
        )),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn token(claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.Y2FuYXJ5", part(&json!({ "alg": "RS256", "kid": "x" })), part(claims))
    }

    /// Answers a good request with these members added or replaced; null removes a member.
    fn answer_to(members: Value, registry: &str) -> anyhow::Result<Value> {
        let mut request = json!({
            "kind": "CredentialProviderRequest",
            "apiVersion": API_VERSION,
            "image": "registry.example.com:8443/group/app",
            "serviceAccountToken": token(&json!({ "exp": NOW + 3600 })),
            "serviceAccountAnnotations": { "example.com/role": "puller" },
        });
        for (name, value) in members.as_object().unwrap().clone() {
            request[name] = value;
        }
        request.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let arguments =
            CredentialProvider { registry: registry.parse().unwrap(), username: "oidc".to_owned() };
        let response = answer(request.to_string().as_bytes(), &arguments, NOW)?;
        Ok(serde_json::from_str(&response).unwrap())
    }

    #[test]
    fn the_token_is_the_password_for_the_registry_of_the_image_until_its_end() {
        let token = token(&json!({ "exp": NOW + 3600 }));
        assert_eq!(
            answer_to(json!({}), "Registry.Example.com:8443").unwrap(),
            json!({
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "kind": "CredentialProviderResponse",
                "cacheKeyType": "Registry",
                "cacheDuration": "3600s",
                "auth": {
                    "registry.example.com:8443": { "username": "oidc", "password": token },
                },
            })
        );
        let port = json!({ "image": "registry.example.com:443/a" });
        let response = answer_to(port, "registry.example.com").unwrap();
        assert!(response["auth"]["registry.example.com:443"].is_object(), "{response}");
    }

    #[test]
    fn a_token_that_has_ended_is_not_cached_and_one_without_end_is_refused() {
        for (exp, duration) in [
            (json!(NOW), Some("0s")),
            (json!(NOW - 1), Some("0s")),
            (json!(NOW + 1), Some("1s")),
            (json!(1e300), Some("4294967296s")),
            (json!(-1), None),
            (json!("soon"), None),
            (Value::Null, None),
        ] {
            let token = token(&json!({ "exp": exp }));
            let response =
                answer_to(json!({ "serviceAccountToken": token }), "registry.example.com:8443");
            let said = response.ok().map(|response| response["cacheDuration"].clone());
            assert_eq!(said, duration.map(Value::from), "{exp}");
        }
    }

    #[test]
    fn a_wrong_request_is_refused_with_the_field_and_without_the_token() {
        let canary = token(&json!({ "exp": NOW + 1, "sub": "canary" }));
        for (members, field) in [
            (json!({ "apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1" }), "apiVersion"),
            (json!({ "apiVersion": canary }), "apiVersion"),
            (json!({ "kind": "CredentialProviderResponse" }), "kind"),
            (json!({ "kind": [canary] }), "kind"),
            (json!({ "image": "other.example.com/group/app" }), "image"),
            (json!({ "image": "registry.example.com/group/app" }), "image"),
            (json!({ "image": "registry.example.com:8443" }), "image"),
            (json!({ "image": "user@registry.example.com:8443/a" }), "image"),
            (json!({ "image": "a.registry.example.com:8443/a" }), "image"),
            (json!({ "image": "alpine" }), "image"),
            (json!({ "image": format!("{canary}/a") }), "image"),
            (json!({ "image": null }), "image"),
            (json!({ "image": 5 }), "image"),
            (json!({ "serviceAccountToken": null }), "tokenAttributes"),
            (json!({ "serviceAccountToken": "" }), "tokenAttributes"),
            (json!({ "serviceAccountToken": [canary] }), "serviceAccountToken"),
            (json!({ "serviceAccountToken": format!("{canary}.x") }), "serviceAccountToken"),
        ] {
            let error = answer_to(members.clone(), "registry.example.com:8443").unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(field) && error.contains("; "), "{field}: {error}");
            let parts = canary.split('.').chain(["canary"]);
            assert!(parts.into_iter().all(|part| !error.contains(part)), "{error}");
        }
    }

    #[test]
    fn input_that_is_not_one_json_object_is_refused() {
        let arguments =
            CredentialProvider { registry: "a".parse().unwrap(), username: "oidc".to_owned() };
        let twice = br#"{"kind": "canary", "kind": "canary"}"#;
        let large = vec![b' '; MAX_REQUEST_BYTES + 1];
        for input in [&b""[..], b"\"canary\"", b"{\"canary\"}", b"[]", b"\xff", twice, &large] {
            let error = format!("{:#}", answer(input, &arguments, NOW).unwrap_err());
            assert!(error.contains("; ") && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_registry_is_a_host_and_a_port_and_a_user_name_has_no_colon() {
        for text in ["", "https://a", "a/b", "a:0", "a:b", "a b", "*.example.com"] {
            assert!(text.parse::<Registry>().is_err(), "{text}");
        }
        assert_eq!("[::1]:5000".parse::<Registry>().unwrap().to_string(), "[::1]:5000");
        assert_eq!("A.example.com:443".parse::<Registry>().unwrap().to_string(), "a.example.com");
        assert!(user_name("oidc").is_ok());
        assert!(["", "a:b", "a\n"].iter().all(|name| user_name(name).is_err()));
    }
}
