//! An unmodified GitLab, asked through its token endpoint, the one interface that knows all six kinds of credential.
//!
//! `GET /jwt/auth` with the caller's own credential and the one scope that the request needs. What counts is what the
//! reply's token lists as granted, not that there is a reply: an empty list is a 200 too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::credential::{Credential, basic};
use super::provider_client::{ProviderClient, Reply};
use super::sources::Sources;
use super::{Granted, Lifetime, Principal, Question, RepositoryGrant, TokenServerKind, Verdict, Verified};
use crate::registry::{Access, Action, Actions, RepositoryName};

/// The user name with which GitLab takes both personal access tokens and job tokens, and whose failures it does not count.
const TOKEN_USER: &str = "gitlab-ci-token";

/// What GitLab calls a credential that is the password of an account. One that leaks opens everything, and no second
/// factor is asked for here.
const ACCOUNT_PASSWORD: &str = "gitlab_or_ldap";

/// One GitLab.
pub struct GitLab {
    sources: Sources,
    /// `URL/jwt/auth?service=SERVICE`
    endpoint: String,
    service: String,
    client: ProviderClient,
}

impl GitLab {
    /// A GitLab whose base address is `url` (it may have a path, and no slash at its end).
    pub fn new(name: Arc<str>, url: &str, service: String, client: ProviderClient) -> Self {
        Self { sources: Sources::new(name), endpoint: format!("{url}/jwt/auth?service={service}"), service, client }
    }

    /// Asks what the credential is granted.
    pub async fn ask(&self, question: &Question) -> Verdict {
        let (user, secret) = match &question.credential {
            Credential::Anonymous => return Verdict::NotMine,
            Credential::Basic { user, password } => (&**user, password),
            Credential::Bearer(token) => (TOKEN_USER, token),
        };
        let unavailable = |why: &str| {
            tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, "GitLab gave no answer: {why}");
            Verdict::Unavailable
        };
        let Some(request) = self.request(question, user, secret) else {
            return unavailable("the question cannot be put into a request");
        };
        let reply = match self.client.ask(request).await {
            Ok(reply) => reply,
            Err(error) => return unavailable(&error.to_string()),
        };
        match reply.status {
            StatusCode::OK => match self.granted(question, &reply) {
                Ok(verdict) => verdict,
                Err(why) => unavailable(why),
            },
            StatusCode::UNAUTHORIZED => Verdict::NotMine,
            StatusCode::FORBIDDEN if is_denied(&reply.body) => {
                self.verified(question.id.fingerprint().to_string().into(), None, Granted::Nothing, None)
            }
            status => unavailable(&format!("status {status}")),
        }
    }

    fn request(&self, question: &Question, user: &str, secret: &SecretString) -> Option<Request<Full<Bytes>>> {
        let mut uri = self.endpoint.clone();
        if let Some((repository, asked)) = asked(&question.access) {
            uri.push_str(&format!("&scope=repository:{repository}:{}", words(asked)));
        }
        let request = Request::get(uri)
            .header(header::AUTHORIZATION, basic(user, secret)?)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("moorgate/", env!("CARGO_PKG_VERSION")))
            // Exactly one address: GitLab's own address rules and its counting of failures then fall on the client.
            .header("x-forwarded-for", question.client.to_string())
            .header("x-request-id", &*question.request_id);
        request.body(Full::default()).ok()
    }

    fn granted(&self, question: &Question, reply: &Reply) -> Result<Verdict, &'static str> {
        let token: TokenReply =
            serde_json::from_slice(&reply.body).map_err(|_| "the reply is not the JSON of a token")?;
        let token = Zeroizing::new(token.token);
        let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token.as_bytes())
            .map_err(|_| "the token in the reply cannot be read")?;
        if !claims.aud.is(&self.service) {
            return Err("the token in the reply is for another service");
        }
        if claims.auth_type.as_deref() == Some(ACCOUNT_PASSWORD) {
            tracing::info!(provider = %self.sources.provider(), request_id = %question.request_id, "an account password was refused: tokens alone are accepted");
            return Ok(Verdict::NotMine);
        }
        let granted = match asked(&question.access) {
            Some((repository, asked)) => {
                let actions = claims.granted(repository).intersect(asked);
                let repository = repository.clone();
                Granted::Repository(Box::new(RepositoryGrant { repository, actions, server: TokenServerKind::GitLab }))
            }
            None => Granted::Identity,
        };
        // By GitLab's own clock, so that a clock of ours that is wrong neither extends nor ends it.
        let lifetime = claims.exp.checked_sub(claims.iat).filter(|seconds| *seconds > 0);
        let lifetime = Duration::from_secs(lifetime.ok_or("the token in the reply ends before it begins")?);
        let subject = match claims.sub {
            Some(subject) if !subject.is_empty() => subject.into(),
            _ => question.id.fingerprint().to_string().into(),
        };
        Ok(self.verified(subject, claims.auth_type.as_deref(), granted, Some(lifetime)))
    }

    fn verified(
        &self,
        subject: Box<str>,
        credential_type: Option<&str>,
        granted: Granted,
        lifetime: Option<Duration>,
    ) -> Verdict {
        let principal = Principal { source: self.sources.of(credential_type), subject };
        let lifetime = Lifetime { answer: lifetime, credential: None };
        Verdict::Verified(Arc::new(Verified { principal, granted, attributes: None }), lifetime)
    }
}

/// What GitLab is asked for. Never push in order to decide a pull: a granted push creates the repository's record.
fn asked(access: &Access) -> Option<(&RepositoryName, Actions)> {
    let Access::Repository(repository, action) = access else { return None };
    let actions = match action {
        Action::Pull => Actions { pull: true, ..Actions::default() },
        Action::Push => Actions { pull: true, push: true, ..Actions::default() },
        Action::Delete => Actions { delete: true, ..Actions::default() },
    };
    Some((repository, actions))
}

fn words(actions: Actions) -> String {
    let words = [(actions.pull, "pull"), (actions.push, "push"), (actions.delete, "delete")];
    words.iter().filter(|(asked, _)| *asked).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}

/// GitLab's way to say that the credential is good and the access is not: `{"errors": [{"code": "DENIED", …}]}`.
fn is_denied(body: &[u8]) -> bool {
    let errors: Result<Errors, _> = serde_json::from_slice(body);
    errors.is_ok_and(|reply| reply.errors.iter().any(|error| error.code == "DENIED"))
}

#[derive(Deserialize)]
struct TokenReply {
    token: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

/// What is read of the token in the reply. Its signature is not checked: it came from GitLab itself, over the
/// connection on which it was asked for, and goes nowhere else.
#[derive(Deserialize)]
struct Claims {
    aud: Audience,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    auth_type: Option<String>,
    exp: u64,
    iat: u64,
    #[serde(default)]
    access: Vec<AccessEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct AccessEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Audience {
    fn is(&self, service: &str) -> bool {
        match self {
            Self::One(audience) => audience == service,
            Self::Several(audiences) => matches!(&**audiences, [audience] if audience == service),
        }
    }
}

impl Claims {
    fn granted(&self, repository: &RepositoryName) -> Actions {
        let mut granted = Actions::default();
        for entry in self.access.iter().filter(|entry| entry.kind == "repository" && entry.name == repository.as_str())
        {
            for action in &entry.actions {
                match action.as_str() {
                    "pull" => granted.pull = true,
                    "push" => granted.push = true,
                    "delete" => granted.delete = true,
                    // "*" too: it is not what was asked for.
                    _ => {}
                }
            }
        }
        granted
    }
}
