//! The reasons for which a TLS connection to a server fails, in plain words, each with its remedy.
//! The library's words, such as `CaUsedAsEndEntity`, tell an operator nothing.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// A failed TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    pub concerns: Concerns,
    what: String,
    remedy: String,
}

/// The setting that a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// The certificate authorities that the gate trusts.
    Authorities,
    /// The address, the server's certificate, or its TLS settings.
    Server,
}

impl TlsFault {
    /// Returns the fault that an error contains, as itself or as a cause; `None` if TLS is not the
    /// reason.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of(error));
            }
            next = match error.downcast_ref::<io::Error>() {
                // `source` of this error would leave out the error inside it.
                Some(error) if error.get_ref().is_some() => {
                    if is_cut_handshake(error) {
                        return Some(Self::cut_handshake());
                    }
                    error.get_ref().map(|inner| inner as &(dyn Error + 'static))
                }
                _ => error.source(),
            };
        }
        None
    }

    fn new(concerns: Concerns, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { concerns, what: what.into(), remedy: remedy.into() }
    }

    fn server(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Concerns::Server, what, remedy)
    }

    fn of(error: &rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(error) => Self::of_certificate(error),
            E::NoCertificatesPresented => Self::server(
                "the server shows no certificate",
                "give the server a certificate and a key",
            ),
            E::InvalidMessage(_) => Self::server(
                "the server does not use TLS on this port: its answer is not a TLS message",
                "write the port on which it uses TLS, or http:// if it has none",
            ),
            E::PeerIncompatible(_) => Self::nothing_in_common(),
            E::AlertReceived(alert) => Self::of_alert(*alert),
            error => Self::server(
                format!("the TLS handshake with the server failed ({error})"),
                "check the TLS settings of the server",
            ),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::ProtocolVersion => Self::server(
                "the server offers neither TLS 1.2 nor TLS 1.3",
                "turn on TLS 1.2 or newer at the server",
            ),
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                Self::nothing_in_common()
            }
            AlertDescription::CertificateRequired => Self::server(
                "the server demands a client certificate",
                "let the server accept the gate without one",
            ),
            AlertDescription::UnrecognisedName => Self::server(
                "the server does not serve the host name in the address",
                "write a host name that it serves",
            ),
            alert => Self::server(
                format!("the server ended the TLS handshake with the alert {alert:?}"),
                "see the log of the server",
            ),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as C;
        let renew = "renew the certificate of the server";
        match error {
            C::UnknownIssuer => Self::new(
                Concerns::Authorities,
                "the certificate of the server is not of an authority that the gate trusts",
                "name a file with the certificate of its authority in `ca`; a self-signed \
                 certificate is its own authority",
            ),
            C::BadSignature => Self::new(
                Concerns::Authorities,
                "the certificate of the server names an authority that the gate trusts, but \
                 another key has signed it",
                "name a file with the present certificate of its authority in `ca`",
            ),
            C::ExpiredContext { not_after, .. } => Self::server(
                format!("the certificate of the server has expired on {}", day(*not_after)),
                renew,
            ),
            C::Expired => Self::server("the certificate of the server has expired", renew),
            C::NotValidYetContext { not_before, .. } => Self::server(
                format!("the certificate of the server is not valid before {}", day(*not_before)),
                "correct the clock of this machine, or renew the certificate",
            ),
            C::NotValidYet => Self::server(
                "the certificate of the server is not valid yet",
                "correct the clock of this machine, or renew the certificate",
            ),
            C::Revoked => Self::server("the certificate of the server was revoked", renew),
            C::NotValidForNameContext { expected, presented } => {
                Self::of_name(&expected.to_str(), presented)
            }
            C::NotValidForName => Self::server(
                "the certificate of the server is for another host name",
                "write a host name of the certificate",
            ),
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::server(
                "the certificate of the server is not for servers: its extended key usage does \
                 not list serverAuth, as that of a client's certificate",
                "give the server a certificate for servers",
            ),
            C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::server(
                "the certificate of the server is signed with an algorithm that the gate does not \
                 accept, such as SHA-1",
                "give the server a certificate that is signed with SHA-256 or better",
            ),
            C::UnhandledCriticalExtension => Self::server(
                "the certificate of the server has a critical extension that the gate does not \
                 know",
                "give the server a certificate without it",
            ),
            C::BadEncoding => Self::server(
                "the certificate of the server cannot be read: it breaks the rules of X.509",
                "give the server another certificate",
            ),
            C::Other(other) => Self::of_other(&other.to_string()),
            error => Self::server(
                format!("the gate does not accept the certificate of the server ({error})"),
                "give the server another certificate",
            ),
        }
    }

    /// Returns the fault for an error that has no variant of its own. The text contains the name
    /// of the error.
    fn of_other(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        if has("CaUsedAsEndEntity") {
            return Self::server(
                "the certificate of the server is one of an authority (CA:TRUE), which a server \
                 must not show as its own, even if `ca` names it",
                "give the server a certificate with CA:FALSE, self-signed (openssl req -x509 \
                 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:…) or \
                 signed by that authority",
            );
        }
        if has("UnsupportedCertVersion") {
            return Self::server(
                "the certificate of the server is of X.509 version 1, which cannot name the host",
                "give the server a certificate of version 3 with a subjectAltName",
            );
        }
        if has("EndEntityUsedAsCa") {
            return Self::server(
                "the certificate of the server is signed by one that is not of an authority \
                 (CA:FALSE)",
                "give the server a certificate of an authority",
            );
        }
        if has("NameConstraint") {
            return Self::server(
                "the authority of the server's certificate may not issue certificates for this \
                 host name",
                "give the server a certificate of another authority",
            );
        }
        Self::server(
            format!("the gate does not accept the certificate of the server ({name})"),
            "give the server another certificate",
        )
    }

    /// Returns the fault for a certificate without the host name. Its names are in the form
    /// `DnsName("a")` or `IpAddress(192.0.2.1)`.
    fn of_name(expected: &str, presented: &[String]) -> Self {
        let names: Vec<String> = presented
            .iter()
            .filter(|name| name.starts_with("DnsName(") || name.starts_with("IpAddress("))
            .filter_map(|name| name.split_once('(')?.1.strip_suffix(')'))
            .map(|name| format!("`{}`", name.trim_matches('"')))
            .collect();
        if names.is_empty() {
            return Self::server(
                "the certificate of the server has no subjectAltName with a host name; a common \
                 name alone does not count",
                format!("give the server a certificate with the subjectAltName {expected}"),
            );
        }
        Self::server(
            format!(
                "the certificate of the server is for {}, and not for `{expected}`",
                names.join(", ")
            ),
            "write one of these names in the address, or give the server a certificate for this \
             one",
        )
    }

    fn nothing_in_common() -> Self {
        Self::server(
            "the server and the gate have no TLS version, cipher or signature algorithm in common",
            "turn on TLS 1.2 or 1.3 with current ciphers at the server",
        )
    }

    fn cut_handshake() -> Self {
        Self::server(
            "the server closed the connection during the TLS handshake",
            "check that it uses TLS on this port, with TLS 1.2 or newer",
        )
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// Returns an error of a connection in plain words if TLS is the reason, else in its own words.
pub fn in_plain_words(error: &io::Error) -> String {
    TlsFault::find(error).map_or_else(|| error.to_string(), |fault| fault.to_string())
}

/// Returns whether the server closed the connection before the end of the handshake.
fn is_cut_handshake(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("handshake")
}

fn day(time: UnixTime) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(time.as_secs());
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
