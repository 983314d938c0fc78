//! The report about a TLS connection that fails: in plain words, with what to change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moorgate::demo::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{Canned, LOCAL, check_trusting, urls};
use crate::harness::listener;
use crate::tls::tls_front_with;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A self-signed certificate: its DER, its PEM and its key.
struct Made {
    der: Vec<u8>,
    pem: String,
    key: Vec<u8>,
}

fn made(names: &[&str], change: impl Fn(&mut CertificateParams)) -> Made {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made { der: certificate.der().to_vec(), pem: certificate.pem(), key: key.serialize_der() }
}

/// Starts a TLS server with this certificate in front of a registry. Returns its port.
fn serve(made: &Made) -> u16 {
    let target = Canned::start("200 OK", "", "{}").address;
    let key = PrivateKeyDer::try_from(made.key.clone()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let chain = vec![CertificateDer::from(made.der.clone())];
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    tls_front_with(target, Arc::new(resolver))
}

fn upstream_at(port: u16) -> String {
    format!("urls: [\"https://localhost:{port}\"], ca: ca.pem")
}

fn gitlab_at(port: u16) -> String {
    format!("name: a, type: gitlab, url: \"https://localhost:{port}\", timeout: 1m, ca: ca.pem")
}

/// Each certificate is its own `ca`, so only its flaw makes the check fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_reported_in_plain_words() {
    let now = SystemTime::now();
    let good = made(&["localhost"], |_| {});
    let authority =
        made(&["localhost"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let nameless = made(&[], |_| {});
    let of_client = made(&["localhost"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let other_name = made(&["other.example.com", "192.0.2.7"], |_| {});
    let expired = made(&["localhost"], |params| {
        (params.not_before, params.not_after) = ((now - 3 * DAY).into(), (now - 2 * DAY).into());
    });
    let early = made(&["localhost"], |params| {
        (params.not_before, params.not_after) = ((now + DAY).into(), (now + 2 * DAY).into());
    });
    // The library looks at the version first, so the signature need not match.
    let mut old = made(&["localhost"], |_| {});
    let version = [0xa0, 3, 2, 1, 2];
    let at = old.der.windows(5).position(|bytes| bytes == version).unwrap();
    old.der[at + 4] = 0;
    let stranger = made(&["localhost"], |params| {
        params.distinguished_name.push(DnType::CommonName, "somebody else");
    });

    for (certificate, ca, key, parts) in [
        (&authority, &authority, "url", &["CA:TRUE", "even if `ca` names it"][..]),
        (&nameless, &nameless, "url", &["no subjectAltName", "localhost"]),
        (&of_client, &of_client, "url", &["is not for servers"]),
        (
            &other_name,
            &other_name,
            "url",
            &["is for `other.example.com`, `192.0.2.7`, and not for `localhost`"],
        ),
        (&expired, &expired, "url", &["has expired on 20", "renew"]),
        (&early, &early, "url", &["is not valid before 20", "clock"]),
        (&old, &good, "url", &["X.509 version 1", "subjectAltName"]),
        (&good, &stranger, "ca", &["not of an authority that the gate trusts"]),
    ] {
        let port = serve(certificate);
        let said = check_trusting(&ca.pem, &upstream_at(port), &[gitlab_at(port)]).await;
        assert_eq!(said.code, Some(78), "{parts:?}: {}", said.stdout);
        let of_upstream = if key == "url" { "urls[0]" } else { key };
        for key in [format!("`upstream.{of_upstream}`"), format!("`identity[0].{key}`")] {
            let problem = said.problem(&key);
            for part in parts {
                assert!(problem.contains(part), "{part}: {problem}");
            }
        }
        let of_library = ["CaUsed", "CertVersion", "invalid peer", "UnknownIssuer", "Context"];
        assert!(!of_library.iter().any(|word| said.stderr.contains(word)), "{}", said.stderr);
    }
    let port = serve(&good);
    let said = check_trusting(&good.pem, &upstream_at(port), &[LOCAL.to_owned()]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_https_that_were_mixed_up_are_reported() {
    let good = made(&["localhost"], |_| {});
    let registry = Registry::start(listener()).unwrap();
    let plain = registry.address().port();
    let said = check_trusting(&good.pem, &upstream_at(plain), &[gitlab_at(plain)]).await;
    for key in ["`upstream.urls[0]`", "`identity[0].url`"] {
        assert!(said.problem(key).contains("does not use TLS on this port"), "{}", said.stderr);
    }
    // The first server answers with a TLS alert, the others in words.
    let words = |text: &'static str| Canned::start("400 Bad Request", "", text).address;
    for address in [
        SocketAddr::from(([127, 0, 0, 1], serve(&good))),
        words("Client sent an HTTP request to an HTTPS server.\n"),
        words("<html>The plain HTTP request was sent to HTTPS port</html>"),
        words("Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"),
    ] {
        let gitlab = super::gitlab(address);
        let said = check_trusting(&good.pem, &urls(address), &[gitlab]).await;
        for key in ["`upstream.urls[0]`", "`identity[0].url`"] {
            assert!(said.problem(key).contains("write https://"), "{}", said.stderr);
        }
    }
}

/// The program log of the gate uses the same words.
#[test]
fn an_error_of_the_library_is_found_inside_other_errors() {
    use moorgate::net::tls_fault::{TlsFault, in_plain_words};
    let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    let outer = std::io::Error::other(inner);
    assert!(in_plain_words(&outer).contains("not of an authority that the gate trusts"));
    let other = std::io::Error::other("connection refused");
    assert_eq!(TlsFault::find(&other), None);
    assert_eq!(in_plain_words(&other), "connection refused");
}
