# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images for power cuts: small, sharing layers and files with each other, each with the listing a container must see."""

import hashlib
import json
import os
import random
import shutil
import stat
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import images  # noqa: E402

IMAGES = 6

#: What a container runs: a listing of /tree as lines that listing() below writes too, and their digest.
SCRIPT = """#!/bin/busybox sh
cd /tree || exit 1
{
    busybox find . | busybox sort | busybox xargs busybox stat -c '%n %f %u %g'
    busybox find . -type f | busybox sort | busybox xargs busybox sha256sum
    busybox find . -type l | busybox sort | while read -r link; do echo "$link $(busybox readlink "$link")"; done
} | busybox sha256sum
"""

#: What a container does before it is committed, in /tree; committed() below does it too.
CHANGE = """#!/bin/busybox sh
cd /tree || exit 1
busybox printf added >added
busybox chmod 600 added
busybox rm -r {gone}
busybox mv {renamed} renamed
busybox chmod 711 {changed}
"""


def listing(tree):
    """`tree`: path -> (tarfile type, mode, uid, gid, data or link target)."""
    kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.REGTYPE: stat.S_IFREG, tarfile.SYMTYPE: stat.S_IFLNK}
    paths = sorted(tree)
    lines = [f"{p} {kinds[tree[p][0]] | tree[p][1]:x} {tree[p][2]} {tree[p][3]}" for p in paths]
    lines += [f"{hashlib.sha256(tree[p][4]).hexdigest()}  {p}" for p in paths if tree[p][0] == tarfile.REGTYPE]
    lines += [f"{p} {tree[p][4]}" for p in paths if tree[p][0] == tarfile.SYMTYPE]
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


class Layers:
    """Layers under construction beside the tree they add up to."""

    def __init__(self):
        self.tree = {}
        self.layers = []
        self.entries = []

    def add(self, path, kind, mode, uid=0, gid=0, content=None):
        info = tarfile.TarInfo("tree" + path[1:])
        info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, 1700000000
        if kind == tarfile.SYMTYPE:
            info.linkname = content
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        self.entries.append((info, content if kind == tarfile.REGTYPE else None))
        self.tree[path] = (kind, mode, uid, gid, content)

    def remove(self, path):
        directory, _, name = path.rpartition("/")
        self.entries.append(images.entry("tree" + directory[1:] + "/.wh." + name, b""))
        for gone in [p for p in self.tree if p == path or p.startswith(path + "/")]:
            del self.tree[gone]

    def close(self):
        self.layers.append(images.layer(self.entries))
        self.entries = []


def fill(layers, chance, directory, files):
    layers.add(directory, tarfile.DIRTYPE, chance.choice([0o755, 0o700, 0o1777]), chance.choice([0, 33]))
    for number in range(files):
        size = chance.choice([0, 17, 900, 4096, 5000, 20000, 70000])
        layers.add(f"{directory}/f{number}", tarfile.REGTYPE, chance.choice([0o644, 0o600, 0o755, 0o4755]),
                   chance.choice([0, 1000]), chance.choice([0, 1000]), chance.randbytes(size))
    layers.add(f"{directory}/link", tarfile.SYMTYPE, 0o777, content=f"f{files - 1}")


def base(chance):
    layers = Layers()
    with open(shutil.which("busybox"), "rb") as busybox:
        layers.entries += [images.entry("bin"), images.entry("bin/busybox", busybox.read(), mode=0o755),
                           images.entry("list", SCRIPT.encode(), mode=0o755)]
    layers.add(".", tarfile.DIRTYPE, 0o755)
    for number in range(4):
        fill(layers, chance, f"./base{number}", 4)
    layers.close()
    return layers


def change(number):
    """Names for CHANGE: directories that image `number` has."""
    bases = [f"base{other % 4}" for other in range(number + 1, number + 4)]
    return {"gone": bases[0], "renamed": bases[1], "changed": f"own{number}"}


def committed(tree, number):
    """The tree after CHANGE."""
    names = change(number)
    tree = {p: entry for p, entry in tree.items() if not (p + "/").startswith(f"./{names['gone']}/")}
    old = f"./{names['renamed']}"
    tree = {"./renamed" + p[len(old):] if (p + "/").startswith(old + "/") else p: entry for p, entry in tree.items()}
    kind, _, uid, gid, content = tree[f"./{names['changed']}"]
    tree[f"./{names['changed']}"] = (kind, 0o711, uid, gid, content)
    tree["./added"] = (tarfile.REGTYPE, 0o600, 0, 0, b"added")
    return tree


def make(directory):
    """Writes image0.tar... and expect.json: name of the archive -> digest of its listing, and name+ -> that of the image that
    is committed after /change has run in it."""
    expect = {}
    for number in range(IMAGES):
        layers = base(random.Random(1))
        # Half of the own files are those of the image before, so that imports run into each other's objects.
        for part in (number, number + 1):
            fill(layers, random.Random(100 + part), f"./own{part}", 12)
        layers.entries.append(images.entry("change", CHANGE.format(**change(number)).encode(), mode=0o755))
        layers.remove(f"./base{number % 4}")
        layers.remove("./base3/f1" if number % 4 != 3 else "./base2/f1")
        layers.add("./base0/f0" if number % 4 != 0 else "./base1/f0", tarfile.REGTYPE, 0o640, content=b"changed %d" % number)
        layers.close()
        images.oci_archive(os.path.join(directory, f"image{number}.tar"), layers.layers, f"power:{number}",
                           {"Cmd": ["/bin/busybox", "sh", "/list"], "Env": ["PATH=/bin"],
                            "Labels": {"archive": f"image{number}"}})
        expect[f"image{number}"] = listing(layers.tree)
        expect[f"image{number}+"] = listing(committed(layers.tree, number))
    with open(os.path.join(directory, "expect.json"), "w") as out:
        json.dump(expect, out)
