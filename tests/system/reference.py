# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the layers of an image amount to by the kernel's and tar's own account, and a way to compare trees.

Each layer is unpacked by tar(1) into a real overlay mount over the layers below it, as container engines do it; nothing
of Davit takes part.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile

PRIVATE = b"trusted.overlay."


def layers_of(archive):
    """Uncompressed tars of an OCI archive's first image, lowest first."""
    with tarfile.open(archive) as tar:
        def blob(descriptor):
            return tar.extractfile("blobs/" + descriptor["digest"].replace(":", "/")).read()

        manifest = json.loads(blob(json.load(tar.extractfile("index.json"))["manifests"][0]))
        for descriptor in manifest["layers"]:
            data = blob(descriptor)
            yield gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


class Overlay:
    """A stack of real overlay mounts below @directory; merged is the topmost."""

    def __init__(self, directory):
        self.directory, self.uppers, self.mounts = directory, [], []
        self.merged = None
        self.stale = set()  # directories whose time is that of the unpacking

    def add(self, data):
        number = len(self.uppers)
        upper, work, merged = (os.path.join(self.directory, f"{kind}{number}") for kind in ("upper", "work", "merged"))
        for path in (upper, work, merged):
            os.mkdir(path)
        if number == 0:
            subprocess.run(["mount", "--bind", upper, merged], check=True)
        else:
            os.rmdir(work)
            os.mkdir(work)
            shutil.copystat(self.uppers[-1], upper)
            st = os.stat(self.merged)
            os.chown(upper, st.st_uid, st.st_gid)
            lower = ":".join(reversed(self.uppers))
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                            f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=on", merged], check=True)
        self.mounts.append(merged)
        self.uppers.append(upper)
        self.merged = merged
        self._apply(data)

    def _apply(self, data):
        touched, listed = set(), set()
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
            members = [(m.name.strip("/").removeprefix("./"), m) for m in tar]
        for name, member in members:
            head, base = os.path.split(name)
            touched.add(head)
            while head and not os.path.lexists(os.path.join(self.merged, head)):  # made on the way
                head = os.path.dirname(head)
                touched.add(head)
            if member.isdir():
                listed.add(name if name != "." else "")
            if base.startswith(".wh."):
                self._whiteout(head, base)
        for name, member in members:
            path = os.path.join(self.merged, name)
            if os.path.lexists(path) and stat.S_ISDIR(os.lstat(path).st_mode) != member.isdir():
                self._remove(path)
        subprocess.run(["tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=.wh.*",
                        "-C", self.merged], input=data, check=True)
        self.stale = (self.stale | {t if t != "." else "" for t in touched}) - listed

    def _whiteout(self, head, base):
        top = os.path.join(self.merged, head)
        if base == ".wh..wh..opq":
            for name in os.listdir(top) if os.path.isdir(top) else []:
                self._remove(os.path.join(top, name))
        else:
            self._remove(os.path.join(top, base[4:]))

    @staticmethod
    def _remove(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def close(self):
        for merged in reversed(self.mounts):
            subprocess.run(["umount", merged], check=True)
        self.mounts.clear()


def _digest(path):
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW)) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def describe(top):
    """{path: (type and mode, owner, times, device or size, target or digest, attributes, first path of the inode)}"""
    top, found, inodes = os.fsencode(top), {}, {}

    def visit(path, name):
        st = os.lstat(path)
        attributes = tuple(sorted((a, os.getxattr(path, a, follow_symlinks=False))
                                  for a in map(os.fsencode, os.listxattr(path, follow_symlinks=False))
                                  if not a.startswith(PRIVATE)))
        rest, first = None, name
        if stat.S_ISREG(st.st_mode):
            rest = (st.st_size, _digest(path))
        elif stat.S_ISLNK(st.st_mode):
            rest = os.readlink(path)
        elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            rest = (os.major(st.st_rdev), os.minor(st.st_rdev))
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            first = inodes.setdefault((st.st_dev, st.st_ino), name)
        found[name] = (oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, rest, attributes, first)
        if stat.S_ISDIR(st.st_mode):
            for child in sorted(os.listdir(path)):
                visit(path + b"/" + child, (name + b"/" if name else b"") + child)

    visit(top, b"")
    return found


def differences(wanted, got, ignore_times=()):
    """Sentences; @ignore_times are paths whose modification time says nothing."""
    ignore_times = {os.fsencode(p) for p in ignore_times}
    problems = []
    for name in sorted(wanted.keys() | got.keys()):
        a, b = wanted.get(name), got.get(name)
        if a and b and name in ignore_times:
            a, b = a[:3] + a[4:], b[:3] + b[4:]
        if a != b:
            problems.append(f"{name!r}: wanted {a}, got {b}")
    return problems
