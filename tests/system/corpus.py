# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile archives, made of every entry type and every form of a name, and a model of what has to come of them.

The model is written from the rules (OCI image specification, "Image Layer Filesystem Changeset"; store/layer.c says what
is chosen where the specification is silent) and knows nothing of a file system: trees are dictionaries.
"""

import io
import random
import tarfile

TYPES = "fdlhcpWO"  # file, directory, symbolic and hard link, device, FIFO, whiteout, opaque mark
NAMES = [b"a", b"b", b"a/b", b"./a", b"/a", b"a/", b"a/../b", b"../a", b"/../a", b"a/..", b".", b"a//b", b"a/\xff", b"b/a/c"]
TARGETS = {"l": [b"a", b"b", b"..", b"/", b"/canary", b".", b"../../canary"],
           "h": [b"a", b"b", b"../a", b"/canary/file", b"a/b", b"missing", b"./b"]}
TAR = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "c": tarfile.CHRTYPE,
       "p": tarfile.FIFOTYPE, "W": tarfile.REGTYPE, "O": tarfile.REGTYPE}
MODES = {"f": 0o640, "d": 0o711, "c": 0o600, "p": 0o620, "W": 0o640, "O": 0o640}


class Refused(Exception):
    pass


class Entry:
    def __init__(self, kind, name, target=b"", content=b""):
        self.kind, self.target, self.content = kind, target, content
        self.name = self._with_mark(name, b".wh.") if kind == "W" else name
        if kind == "O":
            self.name = name + b"/.wh..wh..opq"

    @staticmethod
    def _with_mark(name, mark):
        stripped = name.rstrip(b"/")
        head, slash, tail = stripped.rpartition(b"/")
        return head + slash + mark + tail + name[len(stripped):]

    def __repr__(self):
        return f"{self.kind} {self.name!r}" + (f" > {self.target!r}" if self.target else "")


def tar(entries):
    out = io.BytesIO()
    archive = tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape", bufsize=512)
    for e in entries:
        info = tarfile.TarInfo(e.name.decode("utf-8", "surrogateescape"))
        info.type, info.linkname, info.size = TAR[e.kind], e.target.decode(), len(e.content)
        info.mode, info.mtime, info.devmajor, info.devminor = MODES.get(e.kind, 0o777), 1000000000, 1, 3
        # tarfile takes a directory's or a name's trailing slash away; what is written is what is meant
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        header[0:100] = e.name.ljust(100, b"\0")
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header[:512])
        out.write(bytes(header))
        out.write(e.content.ljust(-(-len(e.content) // 512) * 512, b"\0"))
    out.write(b"\0" * 1024)
    del archive
    return out.getvalue()


class Inode:
    def __init__(self, kind, mode, text=b"", implicit=False):
        self.kind, self.mode, self.text, self.implicit = kind, mode, text, implicit
        self.foreign = None


class Node:
    def __init__(self, inode, parent=None):
        self.inode, self.parent, self.below = inode, parent, {}

    def replace(self, inode):
        if inode.kind != "d":
            self.below.clear()
        self.inode = inode


def normalise(path):
    parts = []
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise Refused("leads out")
            parts.pop()
        else:
            parts.append(part)
    return parts


def walk(root, parts, create):
    """The directory at @parts, symbolic links followed below @root; None: not there."""
    at, rest, hops = root, list(parts), 0
    while rest:
        name = rest.pop(0)
        if name in (b"", b"."):
            continue
        if name == b"..":
            at = at.parent or at
            continue
        node = at.below.get(name)
        if node is None:
            if not create:
                return None
            if name.startswith(b".wh."):
                raise Refused("whiteout as a directory")
            node = at.below[name] = Node(Inode("d", 0o755, implicit=True), at)
        if node.inode.kind == "d":
            at = node
        elif node.inode.kind == "l":
            hops += 1
            if hops > 40:
                raise Refused("too many links")
            rest = node.inode.text.split(b"/") + rest
            at = root if node.inode.text.startswith(b"/") else at
        elif create:
            raise Refused("below a file")
        else:
            return None
    return at


def put(root, e):
    parts = normalise(e.name)
    inode = Inode({"W": "f", "O": "f"}.get(e.kind, e.kind), MODES.get(e.kind, 0o777),
                  e.target if e.kind == "l" else e.content)
    if not parts:
        if e.kind != "d":
            raise Refused("the root is a directory")
        root.replace(inode)
        return
    name = parts[-1]
    if name.startswith(b".wh."):
        if e.kind not in "fhWO" or name[4:] in (b"", b".", b".."):
            raise Refused("no whiteout")
    at = walk(root, parts[:-1], True)
    if e.kind == "h":
        inode = linked(root, e)
    if name in at.below:
        if at.below[name].inode is not inode:
            at.below[name].replace(inode)
    else:
        at.below[name] = Node(inode, at)


def linked(root, e):
    target = normalise(e.target)
    if not target:
        raise Refused("link to the root")
    at = walk(root, target[:-1], False)
    node = at.below.get(target[-1]) if at else None
    if node:
        if node.inode.kind == "d":
            raise Refused("link to a directory")
        return node.inode
    inode = Inode("?", 0)
    inode.foreign = target
    return inode


def apply(to, layer, waiting):
    if b".wh..wh..opq" in layer.below:
        to.below.clear()
    for name in layer.below:
        if name.startswith(b".wh.") and not name.startswith(b".wh..wh."):
            to.below.pop(name[4:], None)
    for name, node in layer.below.items():
        if name.startswith(b".wh."):
            continue
        under = to.below.get(name)
        if under is None:
            under = to.below[name] = Node(node.inode, to)
        elif not (node.inode.kind == "d" and under.inode.kind == "d" and node.inode.implicit):
            under.replace(node.inode)
        if node.inode.foreign is not None:
            waiting.append(under)
        if node.inode.kind == "d":
            apply(under, node, waiting)


def settle(root, waiting):
    while waiting:
        again = []
        for node in waiting:
            target = root
            for part in node.inode.foreign:
                target = target.below.get(part) if target else None
            if target is None or target.inode.kind == "d":
                raise Refused("link to nothing")
            if target.inode.foreign is not None:
                again.append(node)
            else:
                node.replace(target.inode)
        if len(again) == len(waiting):
            raise Refused("links in a circle")
        waiting = again


def escape(raw):
    return "".join(chr(c) if 33 <= c < 127 and c != 37 else f"%{c:02x}" for c in raw)


def listing(root):
    lines, numbers = [], {}

    def visit(node, path):
        i, number = node.inode, 0
        if i.kind != "d":
            number = numbers.setdefault(id(i), len(numbers) + 1)
        text = f"{'-' if i.kind == 'f' else i.kind} {i.mode:04o} {number} {escape(path)}"
        if i.kind == "l":
            text += " > " + escape(i.text)
        elif i.kind == "f":
            text += " = " + escape(i.text)
        lines.append(text)
        for name in sorted(node.below):
            visit(node.below[name], path + b"/" + name)

    visit(root, b"")
    return lines


def expected(layers):
    """Lines as the unpacker prints them, or None where it has to refuse."""
    chain = Node(Inode("d", 0o755, implicit=True))
    try:
        for entries in layers:
            root = Node(Inode("d", 0o755, implicit=True))
            for e in entries:
                put(root, e)
            if not root.inode.implicit:
                chain.replace(root.inode)
            waiting = []
            apply(chain, root, waiting)
            settle(chain, waiting)
    except Refused:
        return None
    return listing(chain)


def _entry(rng, kind, name, number):
    targets = TARGETS.get(kind)
    return Entry(kind, name, rng.choice(targets) if targets else b"", b"%d" % number if kind in "fWO" else b"")


def cases(n_triples, seed=1):
    """Every ordered pair of (type, name form) in one layer, and triples drawn from them over one to three layers."""
    rng = random.Random(seed)
    forms = [(kind, name) for kind in TYPES for name in NAMES]
    for first in forms:
        for second in forms:
            yield [[_entry(rng, *first, 1), _entry(rng, *second, 2)]]
    for _ in range(n_triples):
        three = [_entry(rng, *rng.choice(forms), i) for i in range(3)]
        cut = sorted(rng.choice([(3, 3), (1, 3), (2, 3), (1, 2)]))
        layers = [three[:cut[0]], three[cut[0]:cut[1]], three[cut[1]:]]
        yield [layer for layer in layers if layer]
