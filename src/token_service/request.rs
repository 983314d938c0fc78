//! Requests to the token service: the query of a GET (Distribution, "Token Authentication
//! Specification"), or the form of a POST ("Oauth2 Token Authentication"; RFC 6749, section 4.3).
//! This module is pure.

use std::borrow::Cow;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::denial::TokenRequestError;
use crate::identity::model::credential::Credential;
use crate::registry::{Access, Actions, RepositoryName, Scope};

/// The largest number of scopes in one request. A client that mirrors a whole catalog asks for
/// about 150 at once.
const MAX_SCOPES: usize = 256;

/// The largest number of repositories in one question to a provider, because servers limit the
/// length of a question.
const SCOPES_IN_A_QUESTION: usize = 32;

/// The largest form, in bytes. A larger form contains no valid credential.
pub const MAX_FORM_BYTES: usize = 64 * 1024;

/// The contents of a token request.
#[derive(Debug, Default)]
pub struct TokenRequest {
    /// The registry that the token is for, if the client names it.
    pub service: Option<String>,
    /// The requested actions on each repository, as far as they can be granted at all.
    pub repositories: Vec<(RepositoryName, Actions)>,
    /// `true` if the list of all repositories is requested.
    pub catalog: bool,
    /// `true` if the request names any repository, even one for which nothing can be granted.
    pub names_repositories: bool,
    /// The grant in the form of a POST; `None`: the credential is in `Authorization`.
    pub grant: Option<Grant>,
    /// `true` if the client asks for a refresh token.
    pub offline: bool,
}

/// The grant that a form presents (RFC 6749, 1.3).
#[derive(Debug)]
pub enum Grant {
    /// The credential of the caller (`grant_type=password`).
    Password(Credential),
    /// A refresh token, or any other text (`grant_type=refresh_token`).
    RefreshToken(SecretString),
}

impl TokenRequest {
    /// Returns the accesses that the providers are asked about, usually one. If the request asks
    /// for repositories and for the list of all repositories, the access for the list is not among
    /// them.
    pub fn questions(&self) -> Vec<Access> {
        let mut distinct: Vec<(RepositoryName, Actions)> = Vec::new();
        for (name, actions) in &self.repositories {
            match distinct.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = known.union(*actions),
                None => distinct.push((name.clone(), *actions)),
            }
        }
        match distinct.chunks(SCOPES_IN_A_QUESTION) {
            chunks if chunks.len() > 0 => {
                chunks.map(|some| Access::several(some.to_vec())).collect()
            }
            _ if self.catalog => vec![Access::Catalog],
            _ => vec![Access::Login],
        }
    }

    /// Reads the query of a GET. Parameters that the token service does not use (`account`,
    /// `client_id`) are ignored.
    ///
    /// # Errors
    /// - [`TokenRequestError::Repeated`] if a parameter other than `scope` occurs twice.
    /// - [`TokenRequestError::TooManyScopes`] if the request has more scopes than are granted at
    ///   once.
    /// - [`TokenRequestError::Encoding`] if a parameter is not UTF-8.
    pub fn from_query(query: &str) -> Result<Self, TokenRequestError> {
        let mut fields = Fields::read(query.as_bytes())?;
        let offline = fields.take("offline_token").as_deref() == Some("true");
        fields.request(None, offline)
    }

    /// Reads the form of a POST.
    ///
    /// # Errors
    /// The errors of [`from_query`](Self::from_query), and:
    /// - [`TokenRequestError::GrantType`] if the grant type is neither `password` nor
    ///   `refresh_token`.
    /// - [`TokenRequestError::NoPassword`] if the user name or the password is missing.
    /// - [`TokenRequestError::NoRefreshToken`] if the refresh token is missing.
    /// - [`TokenRequestError::Credential`] if they do not form a valid credential.
    pub fn from_form(form: &[u8]) -> Result<Self, TokenRequestError> {
        let mut fields = Fields::read(form)?;
        let grant = match fields.take("grant_type").as_deref() {
            Some("password") => Grant::Password(fields.credential()?),
            Some("refresh_token") => {
                let token = fields.take("refresh_token").filter(|token| !token.is_empty());
                Grant::RefreshToken(token.ok_or(TokenRequestError::NoRefreshToken)?.into())
            }
            _ => return Err(TokenRequestError::GrantType),
        };
        let offline = fields.take("access_type").as_deref() == Some("offline");
        fields.request(Some(grant), offline)
    }
}

/// The parameters that the token service uses. Each may occur once, except for `scope`.
struct Fields {
    known: Vec<(&'static str, String)>,
    scopes: Vec<String>,
}

impl Fields {
    fn read(encoded: &[u8]) -> Result<Self, TokenRequestError> {
        const ONCE: [&str; 7] = [
            "service",
            "grant_type",
            "username",
            "password",
            "refresh_token",
            "access_type",
            "offline_token",
        ];
        let mut fields = Self { known: Vec::new(), scopes: Vec::new() };
        for (name, value) in form_urlencoded::parse(encoded) {
            // The replacement character stands for bytes that are not UTF-8.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(TokenRequestError::Encoding);
            }
            if name == "scope" {
                fields
                    .scopes
                    .extend(value.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned));
                if fields.scopes.len() > MAX_SCOPES {
                    return Err(TokenRequestError::TooManyScopes);
                }
            } else if let Some(name) = ONCE.into_iter().find(|known| *known == name) {
                if fields.known.iter().any(|(known, _)| *known == name) {
                    return Err(TokenRequestError::Repeated(name));
                }
                fields.known.push((name, Cow::into_owned(value)));
            }
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.known.iter().position(|(known, _)| *known == name)?;
        Some(self.known.swap_remove(place).1)
    }

    fn credential(&mut self) -> Result<Credential, TokenRequestError> {
        let (Some(user), Some(password)) = (self.take("username"), self.take("password")) else {
            return Err(TokenRequestError::NoPassword);
        };
        Credential::of_user(&user, &Zeroizing::new(password)).map_err(TokenRequestError::Credential)
    }

    fn request(
        &mut self,
        grant: Option<Grant>,
        offline: bool,
    ) -> Result<TokenRequest, TokenRequestError> {
        // A scope that cannot be parsed cannot be granted, and a token for the other scopes is a
        // valid answer (the specification: a subset is not an error).
        let mut request = TokenRequest {
            service: self.take("service"),
            grant,
            offline,
            ..TokenRequest::default()
        };
        request.names_repositories =
            self.scopes.iter().any(|scope| scope.starts_with("repository"));
        for scope in self.scopes.iter().filter_map(|scope| Scope::parse(scope)) {
            match scope {
                Scope::Repository(name, actions) if actions != Actions::default() => {
                    request.repositories.push((name, actions));
                }
                Scope::Repository(..) => {}
                Scope::Catalog => request.catalog = true,
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn names(request: &TokenRequest) -> Vec<String> {
        request
            .repositories
            .iter()
            .map(|(name, actions)| format!("{name}:{}", actions.words()))
            .collect()
    }

    #[test]
    fn scopes_are_repeated_or_joined() {
        let request = TokenRequest::from_query(
            "service=registry.test&scope=repository:a:pull\
             &scope=repository%3Ab%3Apull%2Cpush+repository:c:*\
             &account=alice&client_id=docker&offline_token=true&scope=registry:catalog:*\
             &scope=&scope=nonsense",
        )
        .unwrap();
        assert_eq!(request.service.as_deref(), Some("registry.test"));
        assert_eq!(names(&request), ["a:pull", "b:pull,push", "c:pull,push,delete"]);
        assert!(request.catalog && request.offline && request.grant.is_none());
        assert!(
            !TokenRequest::from_query("scope=repository:catalog:*&scope=registry:other:*")
                .unwrap()
                .catalog
        );
        assert!(
            TokenRequest::from_query("scope=repository:a:+repository:b:other")
                .unwrap()
                .repositories
                .is_empty()
        );
    }

    /// A login asks for no scope, so the only question is the identity of the caller.
    #[test]
    fn a_token_request_becomes_questions_of_at_most_32_repositories() {
        let questions = |query: &str| TokenRequest::from_query(query).unwrap().questions();
        let access = |query| {
            let [question] = questions(query).try_into().unwrap();
            question
        };
        let pull = |name| {
            Access::Repository(RepositoryName::parse(name).unwrap(), crate::registry::Action::Pull)
        };
        assert_eq!(access("account=alice"), Access::Login);
        assert_eq!(access("scope=registry:catalog:*"), Access::Catalog);
        assert_eq!(access("scope=repository:a:pull"), pull("a"));
        assert_eq!(access("scope=registry:catalog:*&scope=repository:a:pull"), pull("a"));
        assert_eq!(access("scope=repository:a:pull&scope=repository:a:pull"), pull("a"));
        let many = |count: usize| {
            let scopes =
                (0..count).map(|number| format!("scope=repository:r{}:pull&", number % 200));
            questions(&scopes.collect::<String>())
                .iter()
                .map(|it| it.repositories().count())
                .collect::<Vec<_>>()
        };
        assert_eq!(many(32), [32]);
        assert_eq!(many(33), [32, 1]);
        assert_eq!(many(150), [32, 32, 32, 32, 22]);
        assert_eq!(many(256), [32, 32, 32, 32, 32, 32, 8], "each once");
    }

    /// A token for the catalog and a repository shows at most that repository, even if it is not
    /// granted.
    #[test]
    fn a_request_records_whether_it_names_repositories() {
        for (query, named) in [
            ("", false),
            ("scope=registry:catalog:*", false),
            ("scope=registry:catalog:*+repository:a:pull", true),
            ("scope=registry:catalog:*+repository:A:pull", true),
            ("scope=registry:catalog:*+repository:a:other", true),
            ("scope=registry:catalog:*+repository(plugin):a:pull", true),
        ] {
            assert_eq!(
                TokenRequest::from_query(query).unwrap().names_repositories,
                named,
                "{query}"
            );
        }
        for query in
            ["scope=registry:catalog:pull", "scope=registry:catalog:", "scope=registry:catalog"]
        {
            assert!(!TokenRequest::from_query(query).unwrap().catalog, "{query}");
        }
    }

    #[test]
    fn a_form_holds_a_password() {
        let form = "grant_type=password&username=al%20ice&password=p%26w%3D+%C3%A4&service=s\
                    &client_id=x&scope=repository:a:pull";
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let Some(Grant::Password(Credential::Basic { user, password })) = &request.grant else {
            panic!("no credential")
        };
        assert!(!request.offline);
        assert_eq!((user.as_str(), password.expose_secret()), ("al ice", "p&w= \u{e4}"));
        assert_eq!(names(&request), ["a:pull"]);
        let empty = TokenRequest::from_form(b"grant_type=password&username=&password=").unwrap();
        assert!(matches!(empty.grant, Some(Grant::Password(Credential::Anonymous))));
    }

    #[test]
    fn a_form_holds_a_refresh_token() {
        let form = "grant_type=refresh_token&refresh_token=mgr1.x%2By&client_id=containerd-client\
                    &access_type=offline&scope=repository:a:pull";
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let Some(Grant::RefreshToken(token)) = &request.grant else { panic!("no token") };
        assert_eq!((token.expose_secret(), request.offline), ("mgr1.x+y", true));
        assert_eq!(names(&request), ["a:pull"]);
    }

    #[test]
    fn a_client_asks_for_a_refresh_token() {
        let offline = |query| TokenRequest::from_query(query).unwrap().offline;
        assert!(offline("offline_token=true"));
        for query in ["", "offline_token=false", "offline_token=1", "access_type=offline"] {
            assert!(!offline(query), "{query}");
        }
        let offline = |more: &str| {
            let form = format!("grant_type=password&username=a&password=b{more}");
            TokenRequest::from_form(form.as_bytes()).unwrap().offline
        };
        assert!(offline("&access_type=offline"));
        for more in ["", "&access_type=online", "&offline_token=true"] {
            assert!(!offline(more), "{more}");
        }
    }

    /// The longest form for which a token can be made is accepted, even if all of its characters
    /// are percent-encoded.
    #[test]
    fn the_longest_form_that_can_be_granted_is_read() {
        let password = "%41".repeat(crate::token_service::gate_token::MAX_SECRET_BYTES);
        let scope = format!("&scope=repository%3A{}%3Apull%2Cpush%2Cdelete", "a".repeat(255));
        let form =
            format!("grant_type=password&username=u&password={password}{}", scope.repeat(32));
        assert!(form.len() <= MAX_FORM_BYTES, "{}", form.len());
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        assert_eq!(request.repositories.len(), 32);
    }

    #[test]
    fn invalid_token_requests_are_refused() {
        use TokenRequestError as E;
        let many = "scope=repository:a:pull&".repeat(257);
        let joined = format!("scope={}", "repository:a:pull+".repeat(10_000));
        for (query, error) in [
            ("service=a&service=a", E::Repeated("service")),
            ("scope=repository:a:pull&service=%ff", E::Encoding),
            (&many, E::TooManyScopes),
            (&joined, E::TooManyScopes),
        ] {
            assert_eq!(TokenRequest::from_query(query).unwrap_err(), error);
        }
        for (form, error) in [
            ("", E::GrantType),
            ("grant_type=authorization_code&code=x", E::GrantType),
            ("grant_type=refresh_token", E::NoRefreshToken),
            ("grant_type=refresh_token&refresh_token=", E::NoRefreshToken),
            (
                "grant_type=refresh_token&refresh_token=a&refresh_token=b",
                E::Repeated("refresh_token"),
            ),
            ("grant_type=password", E::NoPassword),
            ("grant_type=password&username=a", E::NoPassword),
            ("grant_type=password&username=a&password=b&password=c", E::Repeated("password")),
            (
                "grant_type=password&grant_type=password&username=a&password=b",
                E::Repeated("grant_type"),
            ),
            ("grant_type=password&username=a&password=", E::Credential("the password is empty")),
            (
                "grant_type=password&username=a:b&password=c",
                E::Credential("there is a colon in the user name"),
            ),
        ] {
            assert_eq!(TokenRequest::from_form(form.as_bytes()).unwrap_err(), error, "{form}");
        }
        assert_eq!(E::GrantType.oauth_code(), "unsupported_grant_type");
    }
}
