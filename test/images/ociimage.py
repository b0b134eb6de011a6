"""An image as a list of layers and a config, written in any of its forms.

Output depends on the input alone, never on the clock or on a directory's
order.  Sources: OCI image-spec 1.1 (config.md, manifest.md, image-index.md,
image-layout.md); docker image spec 1.2 for docker-archive.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

MEDIA = "application/vnd.oci.image."
LAYER_MEDIA = {"plain": "layer.v1.tar", "gzip": "layer.v1.tar+gzip",
               "zstd": "layer.v1.tar+zstd"}
EPOCH = "2024-01-01T00:00:00Z"


def dumps(obj):
    return json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()


def sha256_file(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def compress_file(source, dest, how):
    """The same bytes each time: no name and no time in the gzip header."""
    if how == "plain":
        shutil.copyfile(source, dest)
    elif how == "gzip":
        with open(source, "rb") as i, open(dest, "wb") as o, \
                gzip.GzipFile("", "wb", 3, o, mtime=0) as z:
            shutil.copyfileobj(i, z, 1 << 20)
    elif how == "zstd":
        subprocess.run(["zstd", "-q", "-f", "-3", "-T1", "-o", dest, source], check=True)
    else:
        raise ValueError(f"compression {how}")


class Image:
    """`layers`: paths of uncompressed tar files, the lowest first."""

    def __init__(self, name, layers, config=None, arch="amd64", history=None):
        self.name, self.layers = name, layers
        self.diff_ids = ["sha256:" + sha256_file(p) for p in layers]
        self.config = dumps({
            "architecture": arch, "os": "linux", "created": EPOCH,
            "config": {"Cmd": ["/bin/sh"], "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            "history": [{"created": EPOCH, "created_by": h} for h in
                        (history or [f"layer {i}" for i in range(len(layers))])],
        })
        self.id = hashlib.sha256(self.config).hexdigest()

    # OCI ------------------------------------------------------------------

    def write_manifest(self, dest, how):
        """Blobs into the layout `dest`; returns the manifest's descriptor."""
        blobs = os.path.join(dest, "blobs", "sha256")
        os.makedirs(blobs, exist_ok=True)
        layers = []
        for i, path in enumerate(self.layers):
            # "mixed": every way in one image.
            each = ("gzip", "zstd", "plain")[i % 3] if how == "mixed" else how
            tmp = os.path.join(blobs, "tmp")
            compress_file(path, tmp, each)
            digest = sha256_file(tmp)
            os.rename(tmp, os.path.join(blobs, digest))
            layers.append({"mediaType": MEDIA + LAYER_MEDIA[each],
                           "digest": "sha256:" + digest,
                           "size": os.path.getsize(os.path.join(blobs, digest))})
        manifest = dumps({
            "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
            "config": {**put_blob(dest, self.config),
                       "mediaType": MEDIA + "config.v1+json"},
            "layers": layers})
        return {**put_blob(dest, manifest), "mediaType": MEDIA + "manifest.v1+json"}

    def write_oci(self, dest, how):
        os.makedirs(dest)
        desc = self.write_manifest(dest, how)
        desc["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        write_layout(dest, [desc])

    # docker ----------------------------------------------------------------

    def write_docker_archive(self, dest):
        names = [d.removeprefix("sha256:") + ".tar" for d in self.diff_ids]
        manifest = dumps([{"Config": self.id + ".json", "Layers": names,
                           "RepoTags": [f"localhost/{self.name}:latest"]}])
        with tarfile.open(dest, "w", format=tarfile.GNU_FORMAT) as t:
            done = set()
            for name, path in zip(names, self.layers):
                if name not in done:
                    done.add(name)
                    add_plain(t, name, path=path)
            add_plain(t, self.id + ".json", data=self.config)
            add_plain(t, "manifest.json", data=manifest)

    def write(self, dest, form, how):
        if form == "docker-archive":
            self.write_docker_archive(dest)
        elif form == "oci":
            self.write_oci(dest, how)
        elif form == "oci-archive":
            self.write_oci(dest + ".d", how)
            archive_directory(dest + ".d", dest)
            shutil.rmtree(dest + ".d")
        elif form == "config":
            with open(dest, "wb") as f:
                f.write(self.config)
        else:
            raise ValueError(f"format {form}")


def put_blob(dest, data):
    blobs = os.path.join(dest, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def write_layout(dest, manifests):
    with open(os.path.join(dest, "oci-layout"), "wb") as f:
        f.write(dumps({"imageLayoutVersion": "1.0.0"}))
    with open(os.path.join(dest, "index.json"), "wb") as f:
        f.write(dumps({"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json",
                       "manifests": manifests}))


def write_multi_platform(dest, images, how):
    """`images`: {"amd64": Image, …}; an index of platforms in a layout."""
    os.makedirs(dest)
    entries = []
    for arch in sorted(images):
        platform = {"architecture": arch.split("/")[0], "os": "linux"}
        if "/" in arch:
            platform["variant"] = arch.split("/")[1]
        entries.append({**images[arch].write_manifest(dest, how), "platform": platform})
    index = put_blob(dest, dumps({"schemaVersion": 2, "manifests": entries,
                                  "mediaType": MEDIA + "index.v1+json"}))
    write_layout(dest, [{**index, "mediaType": MEDIA + "index.v1+json", "annotations":
                         {"org.opencontainers.image.ref.name": "latest"}}])


def add_plain(t, name, data=None, path=None):
    info = tarfile.TarInfo(name)
    info.size = len(data) if data is not None else os.path.getsize(path)
    info.mode, info.mtime = 0o644, 0
    if data is not None:
        t.addfile(info, io.BytesIO(data))
    else:
        with open(path, "rb") as f:
            t.addfile(info, f)


def archive_directory(source, dest):
    with tarfile.open(dest, "w", format=tarfile.GNU_FORMAT) as t:
        for top, dirs, files in os.walk(source):
            dirs.sort()
            for name in sorted(files):
                path = os.path.join(top, name)
                add_plain(t, os.path.relpath(path, source), path=path)
