//! The exchanges of docker and containerd, as they send them.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::script::Sites;
use crate::harness::{Reply, TestGate, digest_of, read_to_close, request};

/// The client's own credential, which only the gate may see.
pub const CLIENT: (&str, &str) = ("carol", "the-password-of-the-client");
/// The blobs of the image: its configuration and its layer.
pub const BLOBS: [&str; 2] = ["{\"os\":\"linux\"}", "the content of a layer"];
const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Uploads with POST, PATCH and an empty PUT.
    Docker,
    /// Uploads with POST and one PUT.
    Containerd,
}

pub struct Client<'a> {
    pub gate: &'a TestGate,
    pub sites: Sites,
    pub tls: bool,
    pub kind: Kind,
}

/// Returns the manifest of the image.
pub fn manifest() -> String {
    let [config, layer] = BLOBS.map(|blob| {
        format!("\"digest\":\"{}\",\"size\":{}", digest_of(blob.as_bytes()), blob.len())
    });
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MEDIA_TYPE}\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",{layer}}}]}}"
    )
}

impl Client<'_> {
    pub async fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Reply {
        // A 401 would be the gate's own: what the registry refuses never reaches a client as one.
        let text = request(method, target, Some(CLIENT), headers, body);
        let answer = if self.tls {
            let mut stream = self.gate.connect_tls(&[b"http/1.1"]).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            read_to_close(&mut stream).await
        } else {
            self.gate.raw(text).await
        };
        let reply = Reply::parse(&answer);
        assert_ne!(reply.status, 401, "{method} {target}: {reply:?}");
        assert_eq!(reply.header("www-authenticate"), None);
        reply
    }

    /// Pushes the image with the tag `v1`.
    pub async fn push(&self, name: &str) {
        for blob in BLOBS {
            let digest = digest_of(blob.as_bytes());
            let reply = self.ask("HEAD", &format!("/v2/{name}/blobs/{digest}"), "", "").await;
            assert_eq!(reply.status, 404, "{reply:?}");
            let uploads = format!("/v2/{name}/blobs/uploads/");
            let reply = self.ask("POST", &uploads, "Content-Length: 0\r\n", "").await;
            assert_eq!(reply.status, 202, "{reply:?}");
            let mut address = self.leads_here(&reply);
            let octets = "Content-Type: application/octet-stream\r\n";
            let (body, escaped) = match self.kind {
                Kind::Containerd => (blob, digest.replace(':', "%3A")),
                Kind::Docker => {
                    let reply = self.ask("PATCH", &address, octets, blob).await;
                    assert!(matches!(reply.status, 201 | 202), "{reply:?}");
                    address = self.leads_here(&reply);
                    ("", digest.clone())
                }
            };
            let separator = if address.contains('?') { '&' } else { '?' };
            let last = format!("{address}{separator}digest={escaped}");
            let length = if body.is_empty() { "Content-Length: 0\r\n" } else { "" };
            let reply = self.ask("PUT", &last, &format!("{octets}{length}"), body).await;
            assert_eq!(reply.status, 201, "{reply:?}");
            assert_eq!(reply.header("docker-content-digest"), Some(&*digest));
            if reply.header("location").is_some() {
                assert_eq!(self.leads_here(&reply), format!("/v2/{name}/blobs/{digest}"));
            }
        }
        let typed = format!("Content-Type: {MEDIA_TYPE}\r\n");
        let target = format!("/v2/{name}/manifests/v1");
        let reply = self.ask("PUT", &target, &typed, &manifest()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let digest = digest_of(manifest().as_bytes());
        assert_eq!(reply.header("docker-content-digest"), Some(&*digest));
        if reply.header("location").is_some() {
            self.leads_here(&reply);
        }
    }

    /// Pulls the image with the tag `v1`, and checks that it is the one that was pushed.
    pub async fn pull(&self, name: &str) {
        let digest = digest_of(manifest().as_bytes());
        let accept = format!("Accept: {MEDIA_TYPE}\r\n");
        let head = self.ask("HEAD", &format!("/v2/{name}/manifests/v1"), &accept, "").await;
        assert_eq!((head.status, head.header("docker-content-digest")), (200, Some(&*digest)));
        assert_eq!(head.header("content-length"), Some(&*manifest().len().to_string()));
        let reply = self.fetch(&format!("/v2/{name}/manifests/{digest}"), &accept).await;
        assert_eq!((reply.status, &*reply.body), (200, &*manifest()));
        assert_eq!(reply.header("content-type"), Some(MEDIA_TYPE));
        for blob in BLOBS {
            let digest = digest_of(blob.as_bytes());
            let reply = self.fetch(&format!("/v2/{name}/blobs/{digest}"), "").await;
            assert_eq!((reply.status, &*reply.body), (200, blob));
        }
    }

    /// Sends a GET and follows a redirect without a credential, as clients do.
    async fn fetch(&self, target: &str, headers: &str) -> Reply {
        let reply = self.ask("GET", target, headers, "").await;
        if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
            return reply;
        }
        let location = reply.header("location").expect("a redirect without an address");
        let rest = location.strip_prefix("http://").unwrap_or_else(|| panic!("{location}"));
        let (host, _) = rest.split_once('/').unwrap();
        let hosts = [self.sites.storage, self.sites.registry].map(|host| host.to_string());
        assert!(hosts.iter().any(|known| known == host), "redirected to {host}");
        send(host, &request("GET", &rest[host.len()..], None, "", "")).await
    }

    /// Returns the path and query of the `Location`, which must lead to the gate.
    pub fn leads_here(&self, reply: &Reply) -> String {
        let location = reply.header("location").unwrap_or_else(|| panic!("{reply:?}"));
        let origin = if self.tls { "https://registry.test" } else { "http://registry.test" };
        let target = location.strip_prefix(origin).unwrap_or(location);
        assert!(target.starts_with("/v2/"), "{location} leads away from the gate");
        target.to_owned()
    }
}

/// Sends a request to another server than the gate.
pub async fn send(host: &str, request: &str) -> Reply {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = request.replace("Host: registry.test", &format!("Host: {host}"));
    stream.write_all(request.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await)
}
