//! TLS on both sides: the offer to clients, and the servers that the gate trusts behind it.

use std::net::SocketAddr;
use std::sync::Arc;

use moorgate::demo::gitlab::GitLab;
use moorgate::demo::registry::Registry;
use moorgate::demo::self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{READ_WRITE, Setup, TestGate, basic, listener};

const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

async fn connect(
    gate: &TestGate,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(gate.certificate.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), gate.connect().await).await
}

#[tokio::test]
async fn the_gate_offers_tls_1_2_and_1_3_with_a_post_quantum_group() {
    let gate = TestGate::tls().await;
    let newest = connect(&gate, BOTH, &[b"h2", b"http/1.1"]).await.unwrap();
    let session = newest.get_ref().1;
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let oldest = connect(&gate, ONLY_12, &[b"http/1.1"]).await.unwrap();
    assert_eq!(oldest.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(oldest.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_failed_handshake_tells_the_client_the_reason() {
    let gate = TestGate::tls().await;
    for versions in [BOTH, ONLY_12] {
        let error = connect(&gate, versions, &[b"smtp"]).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
}

#[tokio::test]
async fn http2_is_not_offered_if_the_config_turns_it_off() {
    let http = vec!["http2: false"];
    let gate = TestGate::start(Setup { tls: true, http, ..Setup::default() }).await;
    let stream = connect(&gate, BOTH, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

/// Starts a TLS server in front of a server without TLS. Returns its port and its certificate.
pub fn tls_front(target: SocketAddr) -> (u16, &'static str) {
    let (certificate, key) = self_signed().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let port = tls_front_with(target, Arc::new(resolver));
    (port, Box::leak(certificate.into_boxed_str()))
}

/// Starts a TLS server with this certificate in front of a server without TLS. Returns its port.
pub fn tls_front_with(target: SocketAddr, certificate: Arc<SingleCertAndKey>) -> u16 {
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(certificate);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(socket).await else { return };
                let mut outside = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn only_a_trusted_https_registry_gets_the_gates_own_credential() {
    let registry = Registry::start(listener()).unwrap();
    registry.ledger().keep();
    let (port, certificate) = tls_front(registry.address());
    let (_, stranger) = tls_front(registry.address());
    for (ca, status) in [(certificate, 404), (stranger, 502)] {
        let setup = Setup {
            upstream_url: Some(format!("https://localhost:{port}")),
            upstream: vec![
                "ca: ca.pem",
                "authorization: basic",
                "username: gate",
                "password_file: password",
            ],
            files: vec![("ca.pem", ca), ("password", "of the gate\n")],
            ..Setup::default()
        };
        let gate = TestGate::start(setup).await;
        assert_eq!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status, status);
    }
    let entries = registry.ledger().entries();
    assert_eq!(entries.len(), 1, "who is not believed is told nothing");
    assert_eq!(entries[0].headers["authorization"], basic(("gate", "of the gate")));
    assert_eq!(entries[0].headers["host"], format!("localhost:{port}"));
}

#[tokio::test]
async fn an_https_gitlab_with_an_untrusted_certificate_is_asked_nothing() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.ledger().keep();
    let (port, certificate) = tls_front(gitlab.address());
    let (_, stranger) = tls_front(gitlab.address());
    let identity = format!(
        "- {{ name: gitlab, type: gitlab, url: \"https://localhost:{port}\", ca: ca.pem }}"
    );
    let identity: &'static str = Box::leak(identity.into_boxed_str());
    for (ca, status, questions) in [(stranger, 503, 0), (certificate, 200, 1)] {
        let setup =
            Setup { identity: Some(identity), files: vec![("ca.pem", ca)], ..Setup::default() };
        let gate = TestGate::start(setup).await;
        assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, status);
        assert_eq!(gitlab.ledger().count(), questions);
    }
}
