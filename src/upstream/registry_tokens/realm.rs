//! The judgement about an address that the registry names as its token server. A hostile registry
//! must not be able to have the password sent to a host of its choice.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::TokenSettings;
use crate::terminal::printable;
use crate::upstream::Origins;
use crate::upstream::web_address::WebAddress;

/// The longest address of a token server, in bytes.
const MAX_REALM_BYTES: usize = 2 * 1024;

/// A token server that may be asked.
pub(super) struct Realm {
    pub(super) address: WebAddress,
    /// `true` if it is a part of the registry.
    pub(super) is_own: bool,
}

/// The reason why a token server is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RealmRefusal {
    #[error("this is not an http or https address without user information, of 2 KiB at most")]
    Malformed,
    #[error("its query has `{0}`, which would change what the gate asks for")]
    Query(&'static str),
    #[error(
        "its host is neither the registry's own nor listed in upstream.token_realms; list it there \
         if the gate may ask it for tokens, with the password if there is one"
    )]
    NotListed,
    #[error(
        "it is plain http, and not on this machine; if this network is trusted, set \
         upstream.insecure: true"
    )]
    Plain,
}

impl Realm {
    /// Judges the address in a challenge.
    ///
    /// # Errors
    /// [`RealmRefusal`] if the token server must not be asked.
    pub(super) fn judge(
        realm: &str,
        settings: &TokenSettings,
        own: &Origins,
    ) -> Result<Self, RealmRefusal> {
        let named = WebAddress::parse(realm).filter(|_| realm.len() <= MAX_REALM_BYTES);
        let named = named.ok_or(RealmRefusal::Malformed)?;
        if let Some(key) = own_parameter(&named.target) {
            return Err(RealmRefusal::Query(key));
        }
        let registry = own.address().ok_or(RealmRefusal::Malformed)?;
        // Registries build this address from the name that the gate tells them, as they do with
        // the addresses of uploads: it is then their own.
        let scheme = if named.https { "https" } else { "http" };
        let address = if own.knows(scheme, &named.authority()) {
            WebAddress { target: named.target, ..registry }
        } else if named.host == registry.host || settings.realms.lists_host(&named.host, named.port)
        {
            named
        } else {
            return Err(RealmRefusal::NotListed);
        };
        if !address.https && !address.is_on_loopback() && !settings.insecure {
            return Err(RealmRefusal::Plain);
        }
        let is_own = own.address().is_some_and(|registry| registry.is_same_origin(&address));
        Ok(Self { address, is_own })
    }
}

/// Returns the parameter in the query of a realm that the question has itself, or that would change
/// what it asks for. Keys count in every spelling that a program may read as this one.
fn own_parameter(target: &str) -> Option<&'static str> {
    const OWN: [&str; 10] = [
        "scope",
        "service",
        "account",
        "client_id",
        "offline_token",
        "access_type",
        "grant_type",
        "username",
        "password",
        "refresh_token",
    ];
    let (_, query) = target.split_once('?')?;
    query.split(['&', ';']).find_map(|parameter| {
        let key = parameter.split('=').next().unwrap_or_default().replace('+', " ");
        let key = percent_decode_str(&key).decode_utf8_lossy().trim().to_ascii_lowercase();
        // Some programs read `scope[]` as `scope`.
        let key = key.split('[').next().unwrap_or_default();
        OWN.into_iter().find(|own| *own == key)
    })
}

/// Returns the address in a challenge for the log: without its query and user information, and
/// short.
pub(super) fn shown(realm: &str) -> impl fmt::Display {
    let shown = match WebAddress::parse(realm) {
        Some(address) => address.shown(),
        None => "with an address that cannot be read".to_owned(),
    };
    printable(&shown).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;

    use super::*;
    use crate::http_client::HttpClient;
    use crate::net::client_tls;
    use crate::net::host_list::HostList;

    fn judge(registry: &str, insecure: bool, realm: &str) -> Result<String, RealmRefusal> {
        let tls = client_tls::config(Arc::new(RootCertStore::empty())).unwrap();
        let realms = ["auth.example.net", "127.0.0.2:5001"];
        let settings = TokenSettings {
            account: None,
            user: String::new(),
            realms: HostList::new(realms.map(|host| host.parse().unwrap()).into()),
            insecure,
            own_client: HttpClient::new(tls.clone(), Duration::from_secs(1)),
            client: HttpClient::new(tls, Duration::from_secs(1)),
            negative_ttl: Duration::from_secs(1),
        };
        let authority = registry.split("://").nth(1).unwrap().to_owned();
        let own = Origins {
            names: vec!["gate.example.com".into(), authority],
            own: registry.to_owned(),
            base: String::new(),
        };
        Realm::judge(realm, &settings, &own).map(|realm| realm.address.text())
    }

    #[test]
    fn only_the_registrys_own_host_and_listed_hosts_are_asked() {
        use RealmRefusal::{Malformed, NotListed, Plain};
        let https = "https://registry.example.com";
        let same = |realm: &'static str| (realm, Ok(realm));
        for (realm, judged) in [
            same("https://registry.example.com/token"),
            same("https://registry.example.com:5001/auth"),
            same("https://auth.example.net/token?x=y"),
            ("https://auth.example.net/token?a=b&scope=x", Err(RealmRefusal::Query("scope"))),
            ("https://auth.example.net/token?%73Cope=x", Err(RealmRefusal::Query("scope"))),
            ("https://auth.example.net/token?a;service=x", Err(RealmRefusal::Query("service"))),
            ("https://auth.example.net/token?account", Err(RealmRefusal::Query("account"))),
            ("https://auth.example.net/token?scope[]=x", Err(RealmRefusal::Query("scope"))),
            ("https://auth.example.net/token?+scope=x", Err(RealmRefusal::Query("scope"))),
            same("https://auth.example.net:8443/token"),
            same("http://127.0.0.2:5001/auth"),
            // The gate told the registry this name.
            ("https://gate.example.com/auth/token", Ok("https://registry.example.com/auth/token")),
            ("https://127.0.0.2:5002/auth", Err(NotListed)),
            ("https://evil.example/token", Err(NotListed)),
            ("https://auth.example.net.evil.example/token", Err(NotListed)),
            ("https://sub.auth.example.net/token", Err(NotListed)),
            ("https://169.254.169.254/token", Err(NotListed)),
            ("http://127.0.0.1/token", Err(NotListed)),
            ("http://auth.example.net/token", Err(Plain)),
            ("https://auth.example.net@evil.example/token", Err(Malformed)),
            ("https://user:password@auth.example.net/token", Err(Malformed)),
            ("file:///etc/passwd", Err(Malformed)),
            ("/token", Err(Malformed)),
            ("", Err(Malformed)),
        ] {
            assert_eq!(judge(https, false, realm), judged.map(str::to_owned), "{realm}");
        }
        assert!(judge(https, true, "http://auth.example.net/token").is_ok());
        let plain = "http://registry.example.com:5000";
        assert_eq!(judge(plain, false, "http://registry.example.com:5000/token"), Err(Plain));
        assert!(judge(plain, true, "http://registry.example.com:5000/token").is_ok());
        let local = "http://127.0.0.1:5000";
        assert_eq!(
            judge(local, false, "https://gate.example.com/token"),
            Ok("http://127.0.0.1:5000/token".to_owned())
        );
    }
}
