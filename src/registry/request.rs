//! The requests of the protocol: one variant per operation, the access that each one needs, and its
//! rendering for the upstream. [`parse`](super::parse) builds them.

use http::Method;

use super::query::{OpaqueQuery, QueryWriter};
use super::{
    Access, Action, Algorithm, Digest, Operation, Reference, RepositoryName, Tag, UploadPath,
};

/// An operation of the OCI distribution API with all its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryRequest {
    /// `GET` or `HEAD` `/v2/`
    Ping,
    /// `GET` `/v2/_catalog`
    Catalog { page: Page, query: OpaqueQuery },
    /// `GET` `/v2/NAME/tags/list`
    Tags { name: RepositoryName, query: OpaqueQuery },
    /// `GET` `/v2/NAME/referrers/DIGEST`
    Referrers { name: RepositoryName, digest: Digest, query: OpaqueQuery },
    /// `GET` or `HEAD` `/v2/NAME/manifests/REFERENCE`
    ManifestGet { name: RepositoryName, reference: Reference, head: bool },
    /// `PUT` `/v2/NAME/manifests/REFERENCE`. The `tags` are from the query of a PUT by digest.
    ManifestPut { name: RepositoryName, reference: Reference, tags: Vec<Tag> },
    /// `DELETE` `/v2/NAME/manifests/REFERENCE`
    ManifestDelete { name: RepositoryName, reference: Reference },
    /// `GET` or `HEAD` `/v2/NAME/blobs/DIGEST`
    BlobGet { name: RepositoryName, digest: Digest, head: bool },
    /// `DELETE` `/v2/NAME/blobs/DIGEST`
    BlobDelete { name: RepositoryName, digest: Digest },
    /// `POST` `/v2/NAME/blobs/uploads/`
    UploadStart {
        name: RepositoryName,
        digest: Option<Digest>,
        algorithm: Option<Algorithm>,
        mount: Option<Mount>,
    },
    /// `PATCH` `/v2/NAME/blobs/uploads/ID`
    UploadChunk { name: RepositoryName, upload: UploadPath, query: OpaqueQuery },
    /// `PUT` `/v2/NAME/blobs/uploads/ID`
    UploadFinish {
        name: RepositoryName,
        upload: UploadPath,
        query: OpaqueQuery,
        digest: Option<Digest>,
    },
    /// `GET` or `HEAD` `/v2/NAME/blobs/uploads/ID`
    UploadStatus { name: RepositoryName, upload: UploadPath, query: OpaqueQuery, head: bool },
    /// `DELETE` `/v2/NAME/blobs/uploads/ID`
    UploadCancel { name: RepositoryName, upload: UploadPath, query: OpaqueQuery },
}

/// A cross-repository mount: a blob and the repository that it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The digest of the blob.
    pub digest: Digest,
    /// The repository that holds the blob.
    pub from: RepositoryName,
}

/// The requested part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The largest number of entries.
    pub count: Option<u32>,
    /// The entry after which the part starts.
    pub last: Option<String>,
}

impl RegistryRequest {
    /// Returns the access that the request needs. Every operation is listed, so none can need no
    /// access by omission. The repository that a mount reads from is checked separately, or the
    /// mount is left out (see `policy`).
    pub fn required(&self) -> Access {
        let on = |name: &RepositoryName, action| Access::Repository(name.clone(), action);
        match self {
            Self::Ping => Access::Login,
            Self::Catalog { .. } => Access::Catalog,
            Self::Tags { name, .. }
            | Self::Referrers { name, .. }
            | Self::ManifestGet { name, .. }
            | Self::BlobGet { name, .. } => on(name, Action::Pull),
            Self::ManifestPut { name, .. }
            | Self::UploadStart { name, .. }
            | Self::UploadChunk { name, .. }
            | Self::UploadFinish { name, .. }
            | Self::UploadStatus { name, .. }
            | Self::UploadCancel { name, .. } => on(name, Action::Push),
            Self::ManifestDelete { name, .. } | Self::BlobDelete { name, .. } => {
                on(name, Action::Delete)
            }
        }
    }

    /// Returns the method of the request to the upstream.
    pub fn method(&self) -> Method {
        match self {
            Self::ManifestGet { head: true, .. }
            | Self::BlobGet { head: true, .. }
            | Self::UploadStatus { head: true, .. } => Method::HEAD,
            Self::Ping
            | Self::Catalog { .. }
            | Self::Tags { .. }
            | Self::Referrers { .. }
            | Self::ManifestGet { .. }
            | Self::BlobGet { .. }
            | Self::UploadStatus { .. } => Method::GET,
            Self::ManifestPut { .. } | Self::UploadFinish { .. } => Method::PUT,
            Self::UploadStart { .. } => Method::POST,
            Self::UploadChunk { .. } => Method::PATCH,
            Self::ManifestDelete { .. } | Self::BlobDelete { .. } | Self::UploadCancel { .. } => {
                Method::DELETE
            }
        }
    }

    /// Returns whether the request changes nothing in the registry.
    pub fn is_read(&self) -> bool {
        matches!(self.method(), Method::GET | Method::HEAD)
    }

    /// Returns the operation, as logs and metrics name it.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Ping => Operation::Ping,
            Self::Catalog { .. } => Operation::Catalog,
            Self::Tags { .. } => Operation::Tags,
            Self::Referrers { .. } => Operation::Referrers,
            Self::ManifestGet { .. } => Operation::ManifestGet,
            Self::ManifestPut { .. } => Operation::ManifestPut,
            Self::ManifestDelete { .. } => Operation::ManifestDelete,
            Self::BlobGet { .. } => Operation::BlobGet,
            Self::BlobDelete { .. } => Operation::BlobDelete,
            Self::UploadStart { .. } => Operation::UploadStart,
            Self::UploadChunk { .. } => Operation::UploadChunk,
            Self::UploadFinish { .. } => Operation::UploadFinish,
            Self::UploadStatus { .. } => Operation::UploadStatus,
            Self::UploadCancel { .. } => Operation::UploadCancel,
        }
    }

    /// Returns the repository that the request is about.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping | Self::Catalog { .. } => None,
            Self::Tags { name, .. }
            | Self::Referrers { name, .. }
            | Self::ManifestGet { name, .. }
            | Self::ManifestPut { name, .. }
            | Self::ManifestDelete { name, .. }
            | Self::BlobGet { name, .. }
            | Self::BlobDelete { name, .. }
            | Self::UploadStart { name, .. }
            | Self::UploadChunk { name, .. }
            | Self::UploadFinish { name, .. }
            | Self::UploadStatus { name, .. }
            | Self::UploadCancel { name, .. } => Some(name),
        }
    }

    /// Returns the upload that the request continues, if it does.
    pub fn upload(&self) -> Option<&UploadPath> {
        match self {
            Self::UploadChunk { upload, .. }
            | Self::UploadFinish { upload, .. }
            | Self::UploadStatus { upload, .. }
            | Self::UploadCancel { upload, .. } => Some(upload),
            _ => None,
        }
    }

    /// Returns the parameters that the protocol lets a client add to the address of an upload:
    /// `digest` and `digest-algorithm`.
    pub fn upload_parameters(&self) -> impl Iterator<Item = &str> {
        let query = match self {
            Self::UploadChunk { query, .. }
            | Self::UploadFinish { query, .. }
            | Self::UploadStatus { query, .. }
            | Self::UploadCancel { query, .. } => query.as_str(),
            _ => "",
        };
        query.split('&').filter(|parameter| {
            matches!(parameter.split('=').next(), Some("digest" | "digest-algorithm"))
        })
    }

    /// Returns the additional access that the mount of this request needs, if it has one.
    pub fn mount_source(&self) -> Option<Access> {
        match self {
            Self::UploadStart { mount: Some(mount), .. } => {
                Some(Access::Repository(mount.from.clone(), Action::Pull))
            }
            _ => None,
        }
    }

    /// Returns the request without its mount, and the mount.
    pub fn split_mount(self) -> (Self, Option<Mount>) {
        match self {
            Self::UploadStart { name, digest, algorithm, mount } => {
                (Self::UploadStart { name, digest, algorithm, mount: None }, mount)
            }
            other => (other, None),
        }
    }

    /// Returns the request with this mount. A request that does not start an upload is returned
    /// unchanged.
    #[must_use]
    pub fn with_mount(self, mount: Mount) -> Self {
        match self {
            Self::UploadStart { name, digest, algorithm, mount: _ } => {
                Self::UploadStart { name, digest, algorithm, mount: Some(mount) }
            }
            other => other,
        }
    }

    /// Returns the path and query of the request to the upstream.
    pub fn render(&self) -> String {
        self.render_behind("")
    }

    /// Returns the path and query of the request to an upstream whose `/v2/` lies behind this path.
    pub fn render_behind(&self, base: &str) -> String {
        let mut target = String::with_capacity(192);
        target.push_str(base);
        target.push_str("/v2/");
        if let Some(name) = self.repository() {
            target.push_str(name.as_str());
        }
        match self {
            Self::Ping => {}
            Self::Catalog { query, .. } => {
                target.push_str("_catalog");
                QueryWriter::new(&mut target).opaque(query);
            }
            Self::Tags { query, .. } => {
                target.push_str("/tags/list");
                QueryWriter::new(&mut target).opaque(query);
            }
            Self::Referrers { digest, query, .. } => {
                target.push_str("/referrers/");
                target.push_str(digest.as_str());
                QueryWriter::new(&mut target).opaque(query);
            }
            Self::ManifestGet { reference, .. } | Self::ManifestDelete { reference, .. } => {
                target.push_str("/manifests/");
                target.push_str(reference.as_str());
            }
            Self::ManifestPut { reference, tags, .. } => {
                target.push_str("/manifests/");
                target.push_str(reference.as_str());
                let mut query = QueryWriter::new(&mut target);
                for tag in tags {
                    query.value("tag", tag.as_str());
                }
            }
            Self::BlobGet { digest, .. } | Self::BlobDelete { digest, .. } => {
                target.push_str("/blobs/");
                target.push_str(digest.as_str());
            }
            Self::UploadStart { digest, algorithm, mount, .. } => {
                target.push_str("/blobs/uploads/");
                let mut query = QueryWriter::new(&mut target);
                if let Some(digest) = digest {
                    query.value("digest", digest.as_str());
                }
                if let Some(algorithm) = algorithm {
                    query.value("digest-algorithm", algorithm.as_str());
                }
                if let Some(mount) = mount {
                    query.value("mount", mount.digest.as_str());
                    query.value("from", mount.from.as_str());
                }
            }
            Self::UploadChunk { upload, query, .. }
            | Self::UploadFinish { upload, query, .. }
            | Self::UploadStatus { upload, query, .. }
            | Self::UploadCancel { upload, query, .. } => {
                target.push_str("/blobs/");
                target.push_str(upload.as_str());
                QueryWriter::new(&mut target).opaque(query);
            }
        }
        target
    }
}

impl Page {
    /// Returns the request for this part of the list of all repositories.
    pub(super) fn of_catalog(self) -> RegistryRequest {
        let mut text = String::new();
        let mut query = QueryWriter::new(&mut text);
        if let Some(count) = self.count {
            query.value("n", &count.to_string());
        }
        if let Some(last) = &self.last {
            query.value("last", last);
        }
        RegistryRequest::Catalog { page: self, query: OpaqueQuery::written(text) }
    }
}
