//! The repositories of a scripted registry: manifests, blobs and uploads in progress.

use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::script::{Asked, Blob, MISSING, Missing, Script, Site, Sites};
use super::stand_in::{Answer, answer, header};
use crate::harness::digest_of;

#[derive(Default)]
pub struct Content {
    /// By repository and digest.
    blobs: HashMap<(String, String), Bytes>,
    /// By repository and reference: media type and bytes.
    manifests: HashMap<(String, String), (String, Bytes)>,
    uploads: Vec<Upload>,
    /// What the addresses lead to that blobs were redirected to: by server, path and query.
    downloads: HashMap<(String, String), Bytes>,
}

/// An upload in progress.
struct Upload {
    id: String,
    /// The request that began it.
    asked: Asked,
    /// The server, path and query of its next request.
    place: (Site, String, String),
    step: usize,
    bytes: Vec<u8>,
}

impl Content {
    /// Stores a blob that was not pushed through the gate.
    pub fn seed(&mut self, name: &str, content: &str) {
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        self.blobs.insert((name.to_owned(), digest_of(&bytes)), bytes);
    }

    /// Answers an authorized request below `/v2/`. `None` if there is nothing at its path.
    pub fn answer(
        &mut self,
        script: &Script,
        asked: &Asked,
        site: Site,
        target: &str,
        head: &Parts,
        body: &Bytes,
    ) -> Option<Answer> {
        let read = matches!(asked.method, Method::GET | Method::HEAD);
        if asked.name == MISSING
            && let Missing::NotFound(code) = script.missing
        {
            return Some(unknown(script, code));
        }
        let (kind, item) = asked.rest.split_once('/').unwrap_or((&asked.rest, ""));
        let key = (asked.name.clone(), item.to_owned());
        let found = match kind {
            "" if asked.path == "/v2/_catalog" => answer(
                200,
                &[("content-type", "application/json")],
                "{\"repositories\":[\"demo/app\"]}",
            ),
            "" => answer(200, script.headers, "{}"),
            "tags" => {
                let name = &asked.name;
                answer(200, script.headers, format!("{{\"name\":\"{name}\",\"tags\":[\"v1\"]}}"))
            }
            "manifests" if asked.method == Method::PUT => {
                let media_type = header(head, "content-type").unwrap_or_default().to_owned();
                let digest = digest_of(body);
                for reference in [item, &digest] {
                    let key = (asked.name.clone(), reference.to_owned());
                    self.manifests.insert(key, (media_type.clone(), body.clone()));
                }
                created(script, asked, &format!("/v2/{}/manifests/{digest}", asked.name), &digest)
            }
            "manifests" if asked.method == Method::DELETE => {
                answer(if self.manifests.remove(&key).is_some() { 202 } else { 404 }, &[], "")
            }
            "manifests" if read => match self.manifests.get(&key) {
                Some((media_type, bytes)) => with_digest(script, media_type, bytes),
                None => unknown(script, "MANIFEST_UNKNOWN"),
            },
            "blobs" if item == "uploads/" && asked.method == Method::POST => {
                self.start(script, asked, head)
            }
            "blobs" if read && item.starts_with("sha256:") => match self.blobs.get(&key) {
                Some(bytes) => match (script.blob)(asked) {
                    Blob::Redirect(status, location) => {
                        self.downloads
                            .insert(split(&location, asked.sites.registry), bytes.clone());
                        let headers = [("location", &*location), ("docker-content-digest", item)];
                        answer(status, &headers, "elsewhere")
                    }
                    Blob::Here => with_digest(script, "application/octet-stream", bytes),
                },
                None => unknown(script, "BLOB_UNKNOWN"),
            },
            _ => return self.progress(script, asked.sites, site, target, head, body),
        };
        Some(found)
    }

    /// Answers a request to a path outside `/v2/`, or to another server: an upload, or a blob that
    /// was redirected here.
    pub fn answer_elsewhere(
        &mut self,
        script: &Script,
        sites: Sites,
        site: Site,
        target: &str,
        head: &Parts,
        body: &Bytes,
    ) -> Option<Answer> {
        let host = header(head, "host").unwrap_or_default().to_owned();
        match self.downloads.get(&(host, target.to_owned())) {
            Some(bytes) if matches!(head.method, Method::GET | Method::HEAD) => {
                Some(answer(200, &[("content-type", "binary/octet-stream")], bytes.clone()))
            }
            _ => self.progress(script, sites, site, target, head, body),
        }
    }

    /// Starts an upload, or mounts a blob.
    fn start(&mut self, script: &Script, asked: &Asked, head: &Parts) -> Answer {
        let query = head.uri.query().unwrap_or_default();
        let mount = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "mount");
        if let (Some((_, digest)), Some(from)) = (mount, &asked.from)
            && let Some(bytes) = self.blobs.get(&(from.clone(), digest.to_string())).cloned()
        {
            self.blobs.insert((asked.name.clone(), digest.to_string()), bytes);
            return created(script, asked, &format!("/v2/{}/blobs/{digest}", asked.name), &digest);
        }
        let id = format!("upload-{}", self.uploads.len());
        let location = (script.upload)(asked, &id, 0);
        let place = place(script, asked.sites, Site::Registry, &location);
        self.uploads.push(Upload { id, asked: asked.clone(), place, step: 0, bytes: Vec::new() });
        accepted(script, 202, &location, &self.uploads[self.uploads.len() - 1])
    }

    /// Answers PATCH and PUT of an upload. Its address must have come back byte for byte.
    fn progress(
        &mut self,
        script: &Script,
        sites: Sites,
        site: Site,
        target: &str,
        head: &Parts,
        body: &Bytes,
    ) -> Option<Answer> {
        let (_, path, query) = place(script, sites, site, target);
        let mut uploads = self.uploads.iter_mut();
        let upload = uploads.find(|upload| upload.place.0 == site && upload.place.1 == path)?;
        let Some(added) = query.strip_prefix(&*upload.place.2) else {
            return Some(answer(400, &[], "another state"));
        };
        let added = added.trim_start_matches('&').as_bytes();
        let added: Vec<_> = form_urlencoded::parse(added).collect();
        upload.bytes.extend_from_slice(body);
        match (head.method.as_str(), &added[..]) {
            ("PATCH", []) => {
                upload.step += 1;
                let location = (script.upload)(&upload.asked, &upload.id, upload.step);
                upload.place = place(script, sites, site, &location);
                Some(accepted(script, script.patched, &location, upload))
            }
            ("PUT", [(key, digest)]) if key == "digest" => {
                if digest_of(&upload.bytes) != *digest {
                    return Some(answer(400, &[], r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#));
                }
                let name = upload.asked.name.clone();
                let bytes = Bytes::from(std::mem::take(&mut upload.bytes));
                let path = format!("/v2/{name}/blobs/{digest}");
                let answer = created(script, &upload.asked, &path, digest);
                self.blobs.insert((name, digest.to_string()), bytes);
                Some(answer)
            }
            _ => Some(answer(400, &[], "neither PATCH nor PUT with a digest alone")),
        }
    }
}

/// Returns the server, path and query of an address. The path is that below the script's prefix.
fn place(script: &Script, sites: Sites, asked: Site, location: &str) -> (Site, String, String) {
    let (site, target) = match location.strip_prefix("http://") {
        None => (asked, location),
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap();
            let site = if host == sites.uploads.to_string() {
                Site::Uploads
            } else {
                assert_eq!(host, sites.registry.to_string(), "a script leads elsewhere");
                Site::Registry
            };
            (site, &rest[host.len()..])
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix(script.prefix).unwrap_or(path);
    (site, path.to_owned(), query.to_owned())
}

/// Returns the host and the path and query of a redirect.
fn split(location: &str, registry: std::net::SocketAddr) -> (String, String) {
    match location.strip_prefix("http://") {
        None => (registry.to_string(), location.to_owned()),
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap();
            (host.to_owned(), rest[host.len()..].to_owned())
        }
    }
}

fn unknown(script: &Script, code: &str) -> Answer {
    let body = format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"unknown\"}}]}}");
    let own = [("content-type", "application/json")];
    answer(404, &[&own[..], script.headers].concat(), body)
}

fn with_digest(script: &Script, media_type: &str, bytes: &Bytes) -> Answer {
    let digest = digest_of(bytes);
    let own = [("content-type", media_type), ("docker-content-digest", &*digest)];
    answer(200, &[&own[..], script.headers].concat(), bytes.clone())
}

fn created(script: &Script, asked: &Asked, path: &str, digest: &str) -> Answer {
    let location = (script.created)(asked, path);
    let mut headers = vec![("docker-content-digest", digest)];
    headers.extend((!location.is_empty()).then_some(("location", &*location)));
    headers.extend(script.headers);
    answer(201, &headers, "")
}

fn accepted(script: &Script, status: u16, location: &str, upload: &Upload) -> Answer {
    let range = format!("0-{}", upload.bytes.len().saturating_sub(1));
    let mut headers = vec![("location", location), ("range", &*range)];
    headers.extend(script.upload_id.map(|name| (name, &*upload.id)));
    headers.extend(script.headers);
    answer(status, &headers, "")
}

impl Asked {
    /// Reads the path and query of a request below `/v2/`.
    pub fn new(sites: Sites, head: &Parts, path: &str) -> Self {
        let kinds = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
        let below = path.strip_prefix("/v2/").unwrap_or_default();
        let at = kinds.iter().filter_map(|kind| below.rfind(kind)).max();
        let (name, rest) = at.map_or(("", ""), |at| (&below[..at], &below[at + 1..]));
        let query = head.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        Self {
            sites,
            method: head.method.clone(),
            path: path.to_owned(),
            name: name.to_owned(),
            rest: rest.to_owned(),
            from: pairs.find(|(key, _)| key == "from").map(|(_, from)| from.into_owned()),
            forwarded_proto: header(head, "x-forwarded-proto").unwrap_or_default().to_owned(),
            authorized: head.headers.contains_key("authorization"),
        }
    }
}
