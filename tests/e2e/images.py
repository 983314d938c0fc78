"""Images that the run makes itself, so that it needs no registry on the internet."""

import gzip
import hashlib
import io
import json
import os
import tarfile

from report import check

OCI = "application/vnd.oci.image"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zeros_digest(size):
    """Returns the digest of `size` zero bytes."""
    piece, whole = bytes(10**6), hashlib.sha256()
    for _ in range(size // len(piece)):
        whole.update(piece)
    return "sha256:" + whole.hexdigest()


def random_tar(path, size=2000):
    """Writes a tar with one file of random content, so that a push uploads a new layer."""
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("random")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return path


class Image:
    """An image with a config and one or more layers of the same size."""

    def __init__(self, folder, size=2000, layers=1):
        tars = [random_tar(folder / "layer.tar", size).read_bytes() for _ in range(layers)]
        # Without compression: random data does not shrink, and compressing 500 MB takes long.
        self.layers = [gzip.compress(tar, compresslevel=0, mtime=0) for tar in tars]
        self.layer = self.layers[0]
        config = {"architecture": "amd64", "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]}}
        self.config = json.dumps(config).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
            "config": descriptor(f"{OCI}.config.v1+json", self.config),
            "layers": [descriptor(f"{OCI}.layer.v1.tar+gzip", layer) for layer in self.layers]}).encode()

    @property
    def digest(self):
        return digest(self.manifest)

    def write_layout(self, folder, name):
        """Writes an OCI image layout, with this name in its index."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in (*self.layers, self.config, self.manifest):
            (blobs / digest(blob).removeprefix("sha256:")).write_bytes(blob)
        entry = descriptor(f"{OCI}.manifest.v1+json", self.manifest)
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return folder

    def write_docker_archive(self, path, name):
        """Writes an archive for `docker load`, with this name."""
        files = {f"{number}.tar.gz": layer for number, layer in enumerate(self.layers)}
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(files)}]
        files |= {"config.json": self.config, "manifest.json": json.dumps(manifest).encode()}
        with tarfile.open(path, "w") as tar:
            for file, content in files.items():
                entry = tarfile.TarInfo(file)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return path

    def push(self, gate, login, repository, tag):
        """Pushes the image through a gate, without a client."""
        for blob in (*self.layers, self.config):
            start = gate.request("POST", f"/v2/{repository}/blobs/uploads/", login=login)
            check(start.status == 202, f"the upload did not start: {start.status} {start.text()}")
            location = start.headers["Location"]
            url = f"{location}{'&' if '?' in location else '?'}digest={digest(blob)}"
            headers = {"Content-Type": "application/octet-stream"}
            end = gate.request("PUT", url, login=login, headers=headers, body=blob)
            check(end.status == 201, f"the upload did not finish: {end.status} {end.text()}")
        headers = {"Content-Type": f"{OCI}.manifest.v1+json"}
        put = gate.request(
            "PUT", f"/v2/{repository}/manifests/{tag}", login=login, headers=headers, body=self.manifest)
        check(put.status == 201, f"the manifest was not accepted: {put.status} {put.text()}")


def descriptor(media_type, data):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def layout_digest(folder):
    """Returns the digest of the only image of a layout."""
    [manifest] = json.loads((folder / "index.json").read_text())["manifests"]
    return manifest["digest"]
