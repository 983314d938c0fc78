//! The servers of a scripted registry: its listeners, the ledger of their requests, the token
//! server and the check of tokens. `content.rs` has the repositories.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::content::Content;
use super::script::{Asked, MISSING, Missing, Realm, Script, Site, Sites};
use crate::harness::basic;

/// The password of the gate's credential at the registry.
pub const PASSWORD: &str = "the-password-of-the-gate";
/// The beginning of each token that the token server issues.
pub const TOKEN: &str = "registry-token-of-the-gate-";

pub type Answer = Response<Full<Bytes>>;

/// A request that one of the servers received.
#[derive(Clone, Debug)]
pub struct Entry {
    pub site: Site,
    pub authorization: Option<String>,
    /// The method, the target and all headers, which the tests search for secrets.
    pub text: String,
    pub status: u16,
}

/// A question to the token server.
#[derive(Clone, Debug)]
pub struct Question {
    /// The values of `scope`, one for each parameter.
    pub scopes: Vec<String>,
    pub service: Option<String>,
}

pub struct StandIn {
    pub script: Script,
    pub sites: Sites,
    pub content: Mutex<Content>,
    ledger: Mutex<Vec<Entry>>,
    questions: Mutex<Vec<Question>>,
    /// The challenges that the registry has sent.
    challenges: Mutex<Vec<String>>,
    tokens: Mutex<HashMap<String, Vec<String>>>,
}

impl StandIn {
    /// Starts the servers on the current runtime, which ends them.
    pub fn start(script: Script) -> Arc<Self> {
        // Each has a host of its own, because some rules are about hosts and not about ports.
        let listeners = [
            (Site::Registry, "127.0.0.1:0"),
            (Site::Realm, "127.0.0.2:0"),
            (Site::Storage, "127.0.0.3:0"),
            (Site::Uploads, "127.0.0.4:0"),
        ]
        .map(|(site, address)| (site, std::net::TcpListener::bind(address).unwrap()));
        let [registry, realm, storage, uploads] =
            listeners.each_ref().map(|(_, listener)| listener.local_addr().unwrap());
        let stand_in = Arc::new(Self {
            script,
            sites: Sites { registry, realm, storage, uploads },
            content: Mutex::default(),
            ledger: Mutex::default(),
            questions: Mutex::default(),
            challenges: Mutex::default(),
            tokens: Mutex::default(),
        });
        for (site, listener) in listeners {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::spawn(serve(Arc::clone(&stand_in), site, listener));
        }
        stand_in
    }

    pub fn ledger(&self) -> Vec<Entry> {
        self.ledger.lock().unwrap().clone()
    }

    pub fn questions(&self) -> Vec<Question> {
        self.questions.lock().unwrap().clone()
    }

    /// Refuses all tokens that were issued so far.
    pub fn forget_tokens(&self) {
        self.tokens.lock().unwrap().clear();
    }

    /// Returns whether a challenge of the registry named this service, or named none.
    pub fn has_named(&self, service: Option<&str>) -> bool {
        let challenges = self.challenges.lock().unwrap();
        challenges.iter().any(|challenge| match service {
            None => !challenge.contains("service="),
            Some(service) => challenge
                .split(',')
                .filter_map(|parameter| parameter.strip_prefix("service="))
                .any(|named| named.trim_matches('"') == service),
        })
    }

    fn address(&self, site: Site) -> SocketAddr {
        match site {
            Site::Registry => self.sites.registry,
            Site::Realm => self.sites.realm,
            Site::Storage => self.sites.storage,
            Site::Uploads => self.sites.uploads,
        }
    }

    fn handle(&self, site: Site, head: &Parts, body: &Bytes) -> (Site, Answer) {
        let path = head.uri.path();
        let realm = match self.script.realm {
            Realm::Here(realm) => site == Site::Registry && path == realm,
            Realm::Elsewhere(realm) => site == Site::Realm && path == realm,
            Realm::None => false,
        };
        if realm {
            return (Site::Realm, self.token(head));
        }
        // A proxy must send the name of the server that it talks to.
        if header(head, "host") != Some(&*self.address(site).to_string()) {
            return (site, answer(421, &[], "another host"));
        }
        let mut content = self.content.lock().unwrap();
        let target = head.uri.to_string();
        let found = match (site, path.strip_prefix(self.script.prefix)) {
            (Site::Registry, Some(path)) if path == "/v2/" || path.starts_with("/v2/") => {
                let asked = Asked::new(self.sites, head, path);
                match self.refuse(&asked, head) {
                    Some(refusal) => Some(refusal),
                    None => content.answer(&self.script, &asked, site, &target, head, body),
                }
            }
            _ => content.answer_elsewhere(&self.script, self.sites, site, &target, head, body),
        };
        (site, found.unwrap_or_else(|| answer(404, &[], "nothing is here")))
    }

    /// Answers a question to the token server.
    fn token(&self, head: &Parts) -> Answer {
        if head.method != "GET" {
            return answer(405, &[], "");
        }
        let query = head.uri.query().unwrap_or_default();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let all = |key: &str| {
            let values = pairs.iter().filter(|(name, _)| name == key);
            values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let (scopes, service) = (all("scope"), all("service").pop());
        self.questions.lock().unwrap().push(Question { scopes: scopes.clone(), service });
        let credential = header(head, "authorization");
        if credential.is_some_and(|line| line != basic((self.script.username, PASSWORD))) {
            return answer(401, &[], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        }
        let actions = scopes.iter().flat_map(|scope| actions_of(scope));
        if actions.clone().any(|action| !self.script.actions.contains(&action)) {
            return answer(400, &[], r#"{"errors":[{"code":"INVALID_REQUEST"}]}"#);
        }
        let missing = scopes.iter().any(|scope| scope.contains(MISSING));
        if missing && self.script.missing == Missing::RealmForbids {
            return answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"denied"}]}"#);
        }
        let mut tokens = self.tokens.lock().unwrap();
        let token = format!("{TOKEN}{}", self.questions.lock().unwrap().len());
        tokens.insert(token.clone(), scopes.clone());
        let (media_type, reply) = self.script.reply;
        answer(200, &[("content-type", media_type)], reply.replace("TOKEN", &token))
    }

    /// Returns the 401 for a request that is not authorized.
    fn refuse(&self, asked: &Asked, head: &Parts) -> Option<Answer> {
        let line = header(head, "authorization").unwrap_or_default();
        let catalog = asked.path == "/v2/_catalog";
        let basic_alone = self.script.realm == Realm::None || catalog && self.script.basic_catalog;
        let authorized = match basic_alone {
            true => line == basic((self.script.username, PASSWORD)),
            false => {
                let token = line.strip_prefix("Bearer ").unwrap_or_default();
                self.tokens.lock().unwrap().get(token).is_some_and(|scopes| {
                    let grants = |name: &str, action: &str| {
                        let scopes = scopes.iter().filter(|scope| name_of(scope) == name);
                        scopes.flat_map(|scope| actions_of(scope)).any(|given| given == action)
                    };
                    let needs = (self.script.needs)(asked);
                    let own = match &*asked.name {
                        "" => !catalog || grants("catalog", "*"),
                        name => needs.iter().all(|action| grants(name, action)),
                    };
                    own && asked.from.iter().all(|from| grants(from, "pull"))
                })
            }
        };
        let hidden = asked.name == MISSING && self.script.missing == Missing::Unauthorized;
        if authorized && !hidden {
            return None;
        }
        let (media_type, body) = self.script.refusal;
        let mut headers = vec![("content-type", media_type)];
        let challenge = (self.script.challenge)(asked);
        headers.extend(challenge.as_deref().map(|line| ("www-authenticate", line)));
        self.challenges.lock().unwrap().extend(challenge.clone());
        headers.extend(self.script.headers);
        Some(answer(401, &headers, body))
    }
}

/// Returns the repository of a scope.
fn name_of(scope: &str) -> &str {
    scope.split(':').nth(1).unwrap_or_default()
}

/// Returns the actions of a scope.
pub fn actions_of(scope: &str) -> impl Iterator<Item = &str> + Clone {
    scope.rsplit(':').next().unwrap_or_default().split(',')
}

pub fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).map(|value| value.to_str().unwrap())
}

pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).unwrap()
}

async fn serve(stand_in: Arc<StandIn>, site: Site, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let stand_in = Arc::clone(&stand_in);
        let service = service_fn(move |request: Request<Incoming>| {
            let stand_in = Arc::clone(&stand_in);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (site, answer) = stand_in.handle(site, &head, &body);
                stand_in.ledger.lock().unwrap().push(Entry {
                    site,
                    authorization: header(&head, "authorization").map(str::to_owned),
                    text: format!("{} {} {:?}", head.method, head.uri, head.headers),
                    status: answer.status().as_u16(),
                });
                Ok::<_, hyper::Error>(answer)
            }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
