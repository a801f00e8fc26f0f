# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes image archives by hand, so that a test decides about every byte: OCI layouts and docker archives."""

import gzip
import hashlib
import io
import json
import os
import tarfile


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(entries, kind=tarfile.PAX_FORMAT):
    """An uncompressed layer tar of (tarfile.TarInfo, bytes or None)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def entry(name, data=None, kind=None, mode=None, **attributes):
    """A TarInfo with its data: a file where data is given, otherwise a directory unless `kind` says something else."""
    info = tarfile.TarInfo(name)
    info.type = kind or (tarfile.DIRTYPE if data is None else tarfile.REGTYPE)
    info.mode = mode if mode is not None else 0o755 if info.type == tarfile.DIRTYPE else 0o644
    info.size = len(data) if data is not None else 0
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def layer_of(directory):
    """A layer tar of a directory tree, owned by root, in sorted order."""
    out = io.BytesIO()

    def plain(info):
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 1700000000
        return info

    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for top, names, files in os.walk(directory):
            names.sort()
            for name in sorted(names + files):
                path = os.path.join(top, name)
                if name in files or os.path.islink(path) or os.path.isdir(path):
                    tar.add(path, os.path.relpath(path, directory), recursive=False, filter=plain)
    return out.getvalue()


def config(layers, settings=None, **more):
    return json.dumps({"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
                       "config": settings or {}, "rootfs": {"type": "layers", "diff_ids": [digest(l) for l in layers]},
                       **more}).encode()


def _write(path, files):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))


def oci_files(layers, name="image:latest", settings=None, compress=True, config_data=None, manifest_changes=None):
    """The files of an OCI layout as a list of (name, bytes), blobs before what refers to them."""
    blobs, descriptors = [], []
    for data in layers:
        blob = gzip.compress(data, 1, mtime=0) if compress else data
        blobs.append(blob)
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else ""),
                            "digest": digest(blob), "size": len(blob)})
    conf = config_data if config_data is not None else config(layers, settings)
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(conf),
                           "size": len(conf)}, "layers": descriptors}
    manifest.update(manifest_changes or {})
    manifest_data = json.dumps(manifest).encode()
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest_data),
         "size": len(manifest_data), "annotations": {"org.opencontainers.image.ref.name": name}}]}
    files = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]
    files += [("blobs/sha256/" + digest(b)[7:], b) for b in blobs + [conf, manifest_data]]
    return files + [("index.json", json.dumps(index).encode())]


def oci_ordered(files):
    """The same files, documents before what they describe."""
    by_name = dict(files)
    manifests = [m["digest"] for m in json.loads(by_name["index.json"])["manifests"]]
    documents = ["oci-layout", "index.json"] + ["blobs/sha256/" + d[7:] for d in manifests]
    documents += ["blobs/sha256/" + json.loads(by_name["blobs/sha256/" + d[7:]])["config"]["digest"][7:] for d in manifests]
    return [(name, by_name[name]) for name in documents] + [f for f in files if f[0] not in documents]


def oci_archive(path, layers, name="image:latest", settings=None, **kwargs):
    """Writes an OCI layout as a tar; replaces a file only when it is whole."""
    _write(path + ".part", oci_files(layers, name, settings, **kwargs))
    os.rename(path + ".part", path)
    return path


def docker_archive(path, layers, name="image:latest", settings=None):
    """Writes what `docker save` writes, in its form without an OCI layout."""
    conf = config(layers, settings)
    names = [digest(l)[7:] + "/layer.tar" for l in layers]
    manifest = [{"Config": digest(conf)[7:] + ".json", "RepoTags": [name], "Layers": names}]
    _write(path, [*zip(names, layers), (digest(conf)[7:] + ".json", conf), ("manifest.json", json.dumps(manifest).encode())])
    return path
