# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root file systems and OCI archives for the benchmark, made from files of this machine."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile

from measure import Unable

APPLETS = ("sh", "true", "false", "sleep", "cat", "echo", "id", "ls", "mkdir")


def busybox_rootfs(directory):
    """A root file system of one static program and its links, for the tools that take a directory."""
    source = shutil.which("busybox")
    if not source:
        raise Unable("busybox is not installed (package busybox-static)")
    if os.path.exists(os.path.join(directory, "bin/busybox")):
        return directory
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "run"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    shutil.copy2(source, os.path.join(directory, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(directory, "bin", applet))
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")):
        with open(os.path.join(directory, "etc", name), "w", encoding="ascii") as f:
            f.write(text)
    return directory


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def oci_archive(path, rootfs, name, command):
    """Writes a one-layer OCI image archive of a small directory."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(os.listdir(rootfs)):
            tar.add(os.path.join(rootfs, entry), arcname=entry, filter=_root_owned)
    plain = layer.getvalue()
    packed = gzip.compress(plain, 6, mtime=0)
    config = _json({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(plain)]},
        "history": [{"created_by": "davit bench"}],
    })
    manifest = _json({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
    })
    index = _json({
        "schemaVersion": 2,
        "manifests": [{**_descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
                       "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}}],
    })
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        for blob in (config, manifest, packed):
            _add(tar, "blobs/sha256/" + sha256(blob)[7:], blob)
    return path


def entries_in(archive):
    """How many entries the layers of an OCI archive hold."""
    count = 0
    with tarfile.open(archive) as tar:
        members = {m.name.lstrip("./"): m for m in tar.getmembers()}
        index = json.load(tar.extractfile(members["index.json"]))
        manifest = json.load(tar.extractfile(members[_blob(index["manifests"][0]["digest"])]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=tar.extractfile(members[_blob(layer["digest"])]), mode="r|*") as inner:
                count += sum(1 for _ in inner)
    return count


def _blob(digest):
    return "blobs/" + digest.replace(":", "/")


def _root_owned(info):
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 1700000000
    return info


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _descriptor(media_type, data):
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def _add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = 1700000000
    tar.addfile(info, io.BytesIO(data))
