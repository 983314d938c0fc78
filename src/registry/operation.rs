//! The closed list of operations.

/// The operations, as logs and metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Ping,
    Catalog,
    Tags,
    Referrers,
    ManifestGet,
    ManifestPut,
    ManifestDelete,
    BlobGet,
    BlobDelete,
    UploadStart,
    UploadChunk,
    UploadFinish,
    UploadStatus,
    UploadCancel,
    /// A request to the token service.
    Token,
    /// A request that could not be interpreted.
    Unknown,
}

impl Operation {
    /// All operations, for tables in metrics and tests.
    pub const ALL: [Self; 16] = [
        Self::Ping,
        Self::Catalog,
        Self::Tags,
        Self::Referrers,
        Self::ManifestGet,
        Self::ManifestPut,
        Self::ManifestDelete,
        Self::BlobGet,
        Self::BlobDelete,
        Self::UploadStart,
        Self::UploadChunk,
        Self::UploadFinish,
        Self::UploadStatus,
        Self::UploadCancel,
        Self::Token,
        Self::Unknown,
    ];

    /// Returns the name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Catalog => "catalog",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::ManifestGet => "manifest_get",
            Self::ManifestPut => "manifest_put",
            Self::ManifestDelete => "manifest_delete",
            Self::BlobGet => "blob_get",
            Self::BlobDelete => "blob_delete",
            Self::UploadStart => "upload_start",
            Self::UploadChunk => "upload_chunk",
            Self::UploadFinish => "upload_finish",
            Self::UploadStatus => "upload_status",
            Self::UploadCancel => "upload_cancel",
            Self::Token => "token",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the path with placeholders, as the OCI specification writes it; `None` if the path
    /// is not known.
    pub fn route(self) -> Option<&'static str> {
        Some(match self {
            Self::Ping => "/v2/",
            Self::Catalog => "/v2/_catalog",
            Self::Tags => "/v2/<name>/tags/list",
            Self::Referrers => "/v2/<name>/referrers/<digest>",
            Self::ManifestGet | Self::ManifestPut | Self::ManifestDelete => {
                "/v2/<name>/manifests/<reference>"
            }
            Self::BlobGet | Self::BlobDelete => "/v2/<name>/blobs/<digest>",
            Self::UploadStart => "/v2/<name>/blobs/uploads/",
            Self::UploadChunk | Self::UploadFinish | Self::UploadStatus | Self::UploadCancel => {
                "/v2/<name>/blobs/uploads/<reference>"
            }
            Self::Token => "/token",
            Self::Unknown => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and scripts depend on these words.
    #[test]
    fn the_names_of_operations_in_logs_and_metrics_are_fixed() {
        let names = Operation::ALL.map(Operation::as_str).join(" ");
        assert_eq!(
            names,
            "ping catalog tags referrers manifest_get manifest_put manifest_delete blob_get \
             blob_delete upload_start upload_chunk upload_finish upload_status upload_cancel token \
             unknown"
        );
    }
}
