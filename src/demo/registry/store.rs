//! The content of the registry: blobs in a folder, everything else in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::{NamedTempFile, TempDir};

use super::upload::Upload;
use crate::demo::ledger::lock;

/// The content of the registry. Its folder is deleted when it is dropped.
pub(super) struct Store {
    folder: TempDir,
    index: Mutex<Index>,
}

/// The index of the content. Each blob is one file, even if several repositories have it.
#[derive(Default)]
pub(super) struct Index {
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) uploads: HashMap<String, Arc<Upload>>,
}

#[derive(Default)]
pub(super) struct Repository {
    /// The digests of the repository's blobs. A blob of another repository is unknown here until
    /// it is mounted.
    pub(super) blobs: BTreeSet<String>,
    pub(super) manifests: BTreeMap<String, Manifest>,
    /// The tags, each with the digest of its manifest.
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(super) struct Manifest {
    pub(super) content_type: String,
    pub(super) content: Bytes,
    /// The digest of the manifest that this one refers to (`subject`), if there is one.
    pub(super) subject: Option<String>,
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: Option<serde_json::Value>,
}

impl Store {
    pub(super) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("moorgate-registry-").tempdir()?;
        Ok(Self { folder, index: Mutex::default() })
    }

    /// Reads or changes the index. `work` runs under the lock, so it must not be slow.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(&mut lock(&self.index))
    }

    /// Creates an empty file for an upload. The file is deleted when it is dropped.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix("upload-").tempfile_in(self.folder.path())
    }

    /// Adds a finished upload to a repository as a blob.
    pub(super) fn add_blob(
        &self,
        repository: &str,
        digest: &str,
        file: NamedTempFile,
    ) -> io::Result<()> {
        let path = self.blob_path(digest);
        self.with(|index| {
            // The file is moved under the lock, so that deleting the same blob elsewhere cannot
            // remove it.
            file.persist(path)?;
            index.repositories.entry(repository.into()).or_default().blobs.insert(digest.into());
            Ok(())
        })
    }

    /// Mounts a blob of one repository in another. Returns `false` if `from` does not have the
    /// blob.
    pub(super) fn mount_blob(&self, repository: &str, digest: &str, from: &str) -> bool {
        self.with(|index| {
            let found = index.has_blob(from, digest);
            if found {
                index
                    .repositories
                    .entry(repository.into())
                    .or_default()
                    .blobs
                    .insert(digest.into());
            }
            found
        })
    }

    /// Opens a blob of a repository. Returns `None` if the repository does not have it.
    pub(super) fn open_blob(&self, repository: &str, digest: &str) -> io::Result<Option<File>> {
        let path = self.blob_path(digest);
        self.with(|index| index.has_blob(repository, digest).then(|| File::open(path)).transpose())
    }

    /// Removes a blob from a repository, and its file if no other repository has it. Returns
    /// `false` if the repository does not have the blob.
    pub(super) fn delete_blob(&self, repository: &str, digest: &str) -> io::Result<bool> {
        let path = self.blob_path(digest);
        self.with(|index| {
            let found = index
                .repositories
                .get_mut(repository)
                .is_some_and(|found| found.blobs.remove(digest));
            let elsewhere =
                index.repositories.values().any(|repository| repository.blobs.contains(digest));
            if found && !elsewhere {
                std::fs::remove_file(path)?;
            }
            Ok(found)
        })
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.folder.path().join(digest.replace(':', "-"))
    }
}

impl Index {
    pub(super) fn has_blob(&self, repository: &str, digest: &str) -> bool {
        self.repositories
            .get(repository)
            .is_some_and(|repository| repository.blobs.contains(digest))
    }
}

impl Repository {
    /// Returns the digest of a manifest that a tag or a digest names.
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.manifests.contains_key(digest).then(|| digest.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_blobs_and_dropped_stores_leave_no_files() {
        let store = Store::new().unwrap();
        let folder = store.folder.path().to_owned();
        let files = || std::fs::read_dir(&folder).map(Iterator::count);

        let unfinished = store.new_file().unwrap();
        store.add_blob("a", "sha256:1", store.new_file().unwrap()).unwrap();
        store.add_blob("b", "sha256:1", store.new_file().unwrap()).unwrap();
        assert_eq!(files().unwrap(), 2, "one file per digest, and the unfinished upload");
        drop(unfinished);
        assert!(store.delete_blob("a", "sha256:1").unwrap());
        assert_eq!(files().unwrap(), 1, "the other repository still has the blob");
        assert!(store.delete_blob("b", "sha256:1").unwrap());
        assert_eq!(files().unwrap(), 0);
        drop(store);
        assert!(files().is_err(), "the folder is gone");
    }
}
