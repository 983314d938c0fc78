//! An image that is in the registry before anything was pushed.

use std::io::{self, Write};

use serde_json::json;

use super::Registry;
use super::hash;
use super::manifests::OCI_MANIFEST;
use super::store::Manifest;

/// The size of a block of a tar archive.
const BLOCK: usize = 512;

impl Registry {
    /// Stores an image with one layer, which has one file, as if it had been pushed. The image is
    /// for Linux on this machine's architecture, because clients refuse to pull an image of
    /// another one.
    ///
    /// # Errors
    /// Returns an error if the file's name is too long for an archive, or the blobs cannot be
    /// written.
    pub fn seed(&self, name: &str, tag: &str, (file, content): (&str, &str)) -> io::Result<()> {
        let layer = archive(file, content.as_bytes())?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [hash::sha256(&layer)] },
        })
        .to_string();
        let blob = |media_type: &str, bytes: &[u8]| {
            json!({
                "mediaType": media_type,
                "digest": hash::sha256(bytes),
                "size": bytes.len(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": blob("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string();
        for bytes in [&layer, config.as_bytes()] {
            let mut blob = self.store.new_file()?;
            blob.write_all(bytes)?;
            self.store.add_blob(name, &hash::sha256(bytes), blob)?;
        }
        let digest = hash::sha256(manifest.as_bytes());
        let manifest = Manifest {
            content_type: OCI_MANIFEST.to_owned(),
            content: manifest.into(),
            subject: None,
            artifact_type: None,
            annotations: None,
        };
        self.store.with(|index| {
            let repository = index.repositories.entry(name.to_owned()).or_default();
            repository.manifests.insert(digest.clone(), manifest);
            repository.tags.insert(tag.to_owned(), digest);
        });
        Ok(())
    }
}

/// Returns this machine's architecture in the words of Go, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Returns a tar archive (POSIX ustar) with one file that everybody may read.
fn archive(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(BLOCK);
    // Name, mode, owner, group, size, time, checksum, type, linked name, magic and version.
    for (value, length) in [
        (name, 100),
        ("0000644", 8),
        ("0000000", 8),
        ("0000000", 8),
        (&format!("{:011o}", content.len()), 12),
        ("00000000000", 12),
        // The checksum is computed as if its field had eight spaces.
        ("        ", 8),
        ("0", 1),
        ("", 100),
        ("ustar\x0000", 8),
    ] {
        let padding = usize::checked_sub(length, value.len())
            .ok_or_else(|| io::Error::other(format!("{name} is too long for an archive")))?;
        header.extend_from_slice(value.as_bytes());
        header.resize(header.len() + padding, 0);
    }
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(sum.as_bytes());
    }
    let mut archive = header;
    archive.extend_from_slice(content);
    // Content is padded to whole blocks, and two empty blocks end an archive.
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_whole_blocks_and_the_checksum_of_its_header() {
        let archive = archive("hello.txt", b"hello\n").unwrap();
        assert_eq!(archive.len(), 4 * BLOCK);
        let sum = |bytes: &[u8]| bytes.iter().copied().map(u32::from).sum::<u32>();
        let expected = sum(&archive[..148]) + 8 * u32::from(b' ') + sum(&archive[156..BLOCK]);
        let stated = std::str::from_utf8(&archive[148..154]).unwrap();
        assert_eq!(u32::from_str_radix(stated, 8), Ok(expected));
        assert!(archive[BLOCK..].starts_with(b"hello\n\0"));
    }

    #[test]
    fn a_name_that_does_not_fit_is_an_error() {
        assert!(archive(&"x".repeat(101), b"").is_err());
    }
}
