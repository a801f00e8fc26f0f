# SPDX-License-Identifier: LGPL-2.1-or-later
"""The store worker by itself: what it makes of archives, good and hostile, and that a failure leaves nothing."""

import array
import contextlib
import ctypes
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest

import images

WORKER = os.environ.get("DAVIT_STORE", "/usr/libexec/davit/davit-store")
SOCKET = "/run/davit/store"
REQUEST, CANCEL, PROGRESS, DONE, ERROR, READY, ROOTS = range(1, 8)
HEAD = struct.Struct("=IHHII")
entry, layer, digest = images.entry, images.layer, images.digest


def link(name, target, kind=tarfile.SYMTYPE, **attributes):
    return entry(name, kind=kind, linkname=target, mode=0o777, **attributes)


def header(name, kind=b"0", size=b"00000000000\0", mode=b"0000644\0", magic=b"ustar\x0000", linkname=b"", prefix=b""):
    """A header block made by hand, for what no program would write; checksum included."""
    h = bytearray(512)
    fields = ((0, name), (100, mode), (108, b"0000000\0"), (116, b"0000000\0"), (124, size), (136, b"00000000000\0"),
              (156, kind), (157, linkname), (257, magic), (345, prefix))
    for at, value in fields:
        h[at:at + len(value)] = value
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def block(data):
    return data + b"\0" * (-len(data) % 512)


def pax(*records):
    """An extended header of (key, value) records."""
    body = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        size = len(rest) + 1
        while len(str(size)) + len(rest) != size:
            size = len(str(size)) + len(rest)
        body += str(size).encode() + rest
    return header(b"pax", b"x", b"%011o\0" % len(body)) + block(body)


END = b"\0" * 1024


class Failed(Exception):
    def __init__(self, word, message):
        self.word, self.message = word, message
        super().__init__(f"{word}: {message}")


class StoreTest(unittest.TestCase):
    time_limit = 120

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="davit-store-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.top)
        self.dir = self.top + "/state"

    def path(self, name, data=None):
        path = f"{self.top}/{name}"
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        return path

    def run_worker(self, *argv, data=None):
        """Root file systems are directories, which can be looked at; EROFS images have tests of their own."""
        if argv[0] in ("import", "rootfs"):
            argv = (argv[0], "--rootfs=checkout", *argv[1:])
        done = subprocess.run([WORKER, "--directory=" + self.dir, *argv], input=data, capture_output=True, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        self.assertEqual(done.returncode, 1, f"died: {done.returncode} {done.stderr}")
        text = done.stderr.decode(errors="replace").strip().removeprefix("davit-store: ")
        raise Failed(*text.split(": ", 1))

    def bring(self, archive, name="t", **options):
        """Imports bytes or a path: the image records. Tests look at checkouts where they do not say otherwise."""
        options.setdefault("rootfs", "checkout")
        if isinstance(archive, bytes):
            archive = self.path("archive", archive)
        argv = [f"--{k}={v}" for k, v in options.items()]
        return self.run_worker("import", *([f"--name={name}"] if name else []), *argv, archive)["images"]

    def tree(self, archive, **options):
        """Imports a root file system and gives the directory it became."""
        return self.bring(archive, format="rootfs", **options)[0]["rootfs"]["path"]

    def layers(self, *all_layers, **options):
        return self.bring(images.oci_archive(self.path("oci.tar"), list(all_layers)), **options)[0]

    def assertFails(self, word, archive, contains="", **options):  # pylint: disable=invalid-name
        before = self.left()
        with self.assertRaises(Failed) as caught:
            self.bring(archive, **options)
        self.assertEqual(caught.exception.word, word, caught.exception.message)
        self.assertIn(contains, caught.exception.message)
        self.assertEqual(self.left(), before)

    def left(self):
        """What is in the state directory beside an empty repository."""
        found = []
        if not os.path.exists(self.dir):
            return found
        for top in ("repo/objects", "repo/refs/heads", "repo/tmp", "checkouts", "erofs", "ingest"):
            for where, _, files in os.walk(f"{self.dir}/{top}"):
                found += [f"{where}/{f}" for f in files if not f.endswith("-lock") and "/repo/tmp/cache" not in where]
        return sorted(found + [n for top in ("checkouts", "erofs", "ingest") for n in os.listdir(f"{self.dir}/{top}")])

    def assertNothingLeft(self):  # pylint: disable=invalid-name
        self.assertEqual(self.left(), [])

    def assertWhole(self):  # pylint: disable=invalid-name
        self.assertEqual(self.run_worker("check")["damaged"], [])

    def collect(self, *keep, **options):
        """Frees all but these image records and chains."""
        argv = [f"--chain={k if isinstance(k, str) else k['chain_id']}" for k in keep] or ["--keep-none"]
        argv += [f"--content={k[i]}" for k in keep if not isinstance(k, str) for i in ("digest", "config_digest")]
        return self.run_worker("collect", *argv, *(f"--{o.replace('_', '-')}" for o in options))


def snapshot(top):
    """Everything a tree is, by path."""
    found = {}
    top = os.fsencode(top)
    for where, dirs, files in os.walk(top):
        for name in [b"."] + files + [d for d in dirs if os.path.islink(os.path.join(where, d))]:
            path = os.path.normpath(os.path.join(where, name))
            st = os.lstat(path)
            what = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what.append(f.read())
            elif stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                what.append(st.st_rdev)
            what.append({n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)})
            found[os.path.relpath(path, top)] = what
    return found


class Forms(StoreTest):
    BASE = layer([entry("etc"), entry("etc/base", b"base\n"), entry("usr"), entry("usr/gone", b"gone\n")])
    TOP = layer([entry("etc/top", b"top\n"), entry("usr/.wh.gone", b"")])

    def check(self, image):
        path = image["rootfs"]["path"]
        self.assertEqual(sorted(snapshot(path)), [b".", b"etc", b"etc/base", b"etc/top", b"usr"])
        self.assertEqual(image["layers"][0]["diff_id"], digest(self.BASE))
        self.assertEqual(image["chain_id"], digest(f"{digest(self.BASE)} {digest(self.TOP)}".encode()))

    def test_oci_archive(self):
        for compress in (True, False):
            with self.subTest(compress=compress):
                path = images.oci_archive(self.path("a.tar"), [self.BASE, self.TOP], compress=compress)
                image = self.bring(path, name=None)[0]
                self.assertEqual(image["name"], "image:latest")
                self.check(image)
        self.assertWhole()

    def test_oci_directory(self):
        for name, data in images.oci_files([self.BASE, self.TOP]):
            path = self.path("layout/" + name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.path("layout/" + name, data)
        self.check(self.bring(self.path("layout"))[0])

    def test_docker_archive(self):
        path = images.docker_archive(self.path("d.tar"), [self.BASE, self.TOP], name="app:2")
        image = self.bring(path, name=None)[0]
        self.assertEqual(image["name"], "app:2")
        self.check(image)

    def test_compressed_archives_and_pipes(self):
        with open(images.oci_archive(self.path("a.tar"), [self.BASE, self.TOP]), "rb") as f:
            plain = f.read()
        zstd = subprocess.run(["zstd", "-qc"], input=plain, capture_output=True, check=True).stdout
        for data in (plain, gzip.compress(plain), zstd):
            for piped in (False, True):
                with self.subTest(head=data[:2], piped=piped):
                    if piped:
                        image = self.run_worker("import", "--name=t", "--rootfs=checkout", "-", data=data)["images"][0]
                    else:
                        image = self.bring(data)[0]
                    self.check(image)

    def test_rootfs(self):
        plain = layer([entry("./"), entry("./bin"), entry("./bin/sh", b"#!", mode=0o755)])
        zstd = subprocess.run(["zstd", "-qc"], input=plain, capture_output=True, check=True).stdout
        for data in (plain, gzip.compress(plain), gzip.compress(plain[:700]) + gzip.compress(plain[700:]), zstd):
            for piped in (False, True):
                with self.subTest(head=data[:2], piped=piped):
                    image = (self.run_worker("import", "--name=t", "--rootfs=checkout", "-", data=data)["images"] if piped
                             else self.bring(data))[0]
                    self.assertEqual(image["layers"], [{"diff_id": digest(plain), "digest": digest(data), "size": len(data)}])
                    self.assertEqual(snapshot(image["rootfs"]["path"])[b"bin/sh"][1:5], [0o755, 0, 0, b"#!"])

    def test_gzip_members_at_every_border(self):
        plain = layer([entry("f", os.urandom(5000))])
        for at in range(0, len(plain), 499):
            self.tree(gzip.compress(plain[:at], 1) + gzip.compress(plain[at:], 1))

    def test_foreign_compression(self):
        self.assertFails("NotSupported", subprocess.run(["xz", "-c"], input=layer([entry("a")]), capture_output=True,
                                                        check=True).stdout, "xz")

    def test_config(self):
        settings = {"Cmd": ["a"], "Env": None, "User": "7:8", "Labels": {"k": "v"}, "Volumes": {"/v": {}}}
        path = images.oci_archive(self.path("a.tar"), [self.BASE], settings=settings)
        image = self.bring(path)[0]
        self.assertEqual(image["config"], {"Entrypoint": [], "Cmd": ["a"], "Env": [], "WorkingDir": "", "User": "7:8",
                                           "StopSignal": "", "Volumes": ["/v"], "ExposedPorts": [], "Labels": {"k": "v"}})
        self.assertEqual(image["created"], 1704067200 * 1000000)


class Entries(StoreTest):
    """What a layer's entries mean; each row of the table is one that some importer gets wrong."""

    def names(self, *entries):
        found = snapshot(self.tree(layer(list(entries))))
        return {k.decode("utf-8", "surrogateescape"): v for k, v in found.items()}

    def test_later_entry_wins(self):
        got = self.names(entry("x", b"file"), entry("x"), entry("x/in", b"1"), entry("y"), entry("y/in", b"2"), entry("y", b"file"),
                         entry("z", b"one"), entry("z", b"two"))
        self.assertEqual(sorted(got), [".", "x", "x/in", "y", "z"])
        self.assertEqual((got["y"][4], got["z"][4]), (b"file", b"two"))
        self.assertWhole()

    def test_link_in_the_middle(self):
        got = self.names(entry("d"), link("s", "d"), entry("s/inner", b"1"), link("up", "../../.."), entry("up/top", b"2"),
                         link("abs", "/d/new"), entry("abs/deep", b"3"))
        self.assertEqual(sorted(got), [".", "abs", "d", "d/inner", "d/new", "d/new/deep", "s", "top", "up"])

    def test_link_loop(self):
        self.assertFails("InvalidArgument", layer([link("a", "b"), link("b", "a"), entry("a/x", b"")]), "symbolic links")

    def test_file_as_parent(self):
        self.assertFails("InvalidArgument", layer([entry("f", b""), entry("f/x", b"")]), "not a directory")

    def test_hard_links(self):
        got = self.names(entry("d"), entry("d/a", b"old"), link("b", "d/../d/a", tarfile.LNKTYPE), entry("d/a", b"new"),
                         link("c", "./b", tarfile.LNKTYPE), entry("e", b""), link("f", "e", tarfile.LNKTYPE))
        self.assertEqual((got["b"][4], got["c"][4], got["d/a"][4]), (b"old", b"old", b"new"))
        top = self.tree(self.path("archive"))
        self.assertEqual(os.stat(top + "/b").st_ino, os.stat(top + "/c").st_ino)
        self.assertEqual(os.stat(top + "/e").st_ino, os.stat(top + "/f").st_ino)
        self.assertWhole()

    def test_hard_link_out(self):
        for target in ("../../etc/passwd", "", "nowhere", "d"):
            with self.subTest(target):
                self.assertFails("InvalidArgument", layer([entry("d"), link("x", target, tarfile.LNKTYPE)]))

    def test_equal_files_are_two_files(self):
        top = self.tree(layer([entry("a", b"same"), entry("b", b"same", mtime=7), entry("e1", b""), entry("e2", b""), link("l1", "x"),
                               link("l2", "x")]))
        self.assertNotEqual(os.stat(top + "/a").st_ino, os.stat(top + "/b").st_ino)
        self.assertNotEqual(os.stat(top + "/e1").st_ino, os.stat(top + "/e2").st_ino)
        self.assertEqual(os.stat(top + "/b").st_mtime, 7)
        subprocess.run(["cp", top + "/a", top + "/b"], check=True)

    def test_names(self):
        got = self.names(entry("/abs/x", b"1"), entry("./a//b/./c", b"2"), entry("q/../r", b"3"), entry("n" * 255, b""),
                         entry("long/" * 60 + "end", b"4"))
        self.assertIn("abs/x", got)
        self.assertEqual((got["a/b/c"][4], got["r"][4]), (b"2", b"3"))
        self.assertEqual(got["a"][1:4], [0o755, 0, 0])
        for name in ("../x", "a/../../x", "/../x"):
            self.assertFails("InvalidArgument", layer([entry(name, b"")]), "leads out")
        self.assertFails("InvalidArgument", layer([entry("n" * 256, b"")]), "255")

    def test_root_entry(self):
        got = self.names(entry("./", mode=0o700, uid=5, gid=6), entry("f", b""))
        self.assertEqual(got["."][1:4], [0o700, 5, 6])
        image = self.bring(self.path("archive"))[0]
        self.assertEqual(image["rootfs"]["root"], {"uid": 5, "gid": 6, "mode": 0o700})
        self.assertFails("InvalidArgument", layer([link(".", "/etc")]), "not a directory")

    def test_names_that_are_not_text(self):
        name = b"bad-\xff"
        data = header(name + b"/", b"5", mode=b"0000755\0") + header(name + b"/f", size=b"00000000003\0") + block(b"abc") + \
            header(b"link", b"2", linkname=b"to-\xfe") + END
        top = os.fsencode(self.tree(data))
        with open(top + b"/" + name + b"/f", "rb") as f:
            self.assertEqual(f.read(), b"abc")
        self.assertEqual(os.readlink(top + b"/link"), b"to-\xfe")
        self.assertWhole()
        shutil.rmtree(top)
        self.run_worker("rootfs", "--rootfs=checkout", "sha256:" + os.path.basename(top).decode())
        self.assertEqual(os.listdir(top + b"/" + name), [b"f"])

    def test_devices(self):
        got = self.names(entry("dev"), entry("dev/null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
                         entry("dev/sda", kind=tarfile.BLKTYPE, mode=0o660, gid=6, devmajor=8, devminor=1),
                         entry("pipe", kind=tarfile.FIFOTYPE, mode=0o600), entry("wh", kind=tarfile.CHRTYPE, devmajor=0, devminor=0))
        self.assertEqual(got["dev/null"][:5], [stat.S_IFCHR, 0o666, 0, 0, os.makedev(1, 3)])
        self.assertEqual(got["dev/sda"][:5], [stat.S_IFBLK, 0o660, 0, 6, os.makedev(8, 1)])
        self.assertEqual(got["pipe"][:2], [stat.S_IFIFO, 0o600])
        self.assertNotIn("wh", got, "overlayfs would take it for a whiteout")

    def test_modes_owners_and_attributes(self):
        capability = bytes.fromhex("0100000200200000000000000000000000000000")
        records = {"SCHILY.xattr.user.b": "2", "SCHILY.xattr.user.a": "1", "SCHILY.xattr.trusted.overlay.opaque": "y",
                   "SCHILY.xattr.security.selinux": "x"}
        got = self.names(entry("su", b"x", mode=0o6755, uid=1, gid=2), entry("none", b"y", mode=0), entry("t", mode=0o1777),
                         entry("big", b"z", uid=4294967294, gid=4294967294), entry("x", b"x", pax_headers=records))
        self.assertEqual(got["su"][1:4], [0o6755, 1, 2])
        self.assertEqual((got["none"][1], got["t"][1]), (0, 0o1777))
        self.assertEqual(got["big"][2:4], [4294967294] * 2)
        self.assertEqual(got["x"][5], {"user.a": b"1", "user.b": b"2"})
        top = self.tree(pax((b"SCHILY.xattr.security.capability", capability)) + header(b"ping") + END)
        self.assertEqual(os.getxattr(top + "/ping", "security.capability"), capability)
        self.assertWhole()

    def test_numbers_out_of_range(self):
        for data in (header(b"f", size=b"\x80" + b"\0" * 3 + b"\xff" * 8), header(b"f", size=b"-0000000001\0"),
                     pax((b"size", b"9223372036854775808")) + header(b"f"), pax((b"uid", b"4294967295")) + header(b"f"),
                     pax((b"path", b"a\0b")) + header(b"f"), header(b"f", b"x", b"00000000003\0") + block(b"9 x")):
            self.assertFails("InvalidArgument", data + END)
        for data in (pax((b"size", b"9223372036854775807")) + header(b"f"), header(b"f", b"x", b"77777777777\0"),
                     header(b"f", b"L", b"00000100000\0"), pax((b"path", b"x" * 5000)) + header(b"f")):
            self.assertFails("ResourceExhausted", data + END)

    def test_header_kinds(self):
        got = snapshot(self.tree(header(b"L", b"L", b"%011o\0" % 201) + block(b"l" * 200 + b"\0") + header(b"short") +
                                 header(b"name", prefix=b"pre/fix") + header(b"old/", b"\0", magic=b"\0" * 8) +
                                 header(b"cont", b"7", b"00000000001\0") + block(b"c") +
                                 header(b"g", b"g", b"%011o\0" % 11) + block(b"11 a=bcdef\n") + END))
        self.assertEqual(sorted(got), [b".", b"cont", b"l" * 200, b"old", b"pre", b"pre/fix", b"pre/fix/name"])
        self.assertFails("NotSupported", header(b"v", b"V") + END)
        self.assertFails("InvalidArgument", b"\1" * 512 + END, "checksum")

    def test_sparse(self):
        source = self.path("sparse")
        with open(source, "wb") as f:
            f.truncate(3 << 20)
            for at in (0, 1 << 20, (3 << 20) - 5):
                f.seek(at)
                f.write(b"data%d" % (at % 7))
        for options in (["--format=gnu"], *(["--format=posix", "--sparse-version=" + v] for v in ("0.0", "0.1", "1.0"))):
            with self.subTest(options):
                archive = self.path("sparse.tar")
                subprocess.run(["tar", "-S", *options, "-C", self.top, "-cf", archive, "sparse"], check=True)
                self.assertLess(os.stat(archive).st_size, 1 << 20)
                with open(source, "rb") as a, open(self.tree(archive) + "/sparse", "rb") as b:
                    self.assertEqual(a.read(), b.read())
                self.assertWhole()


class Chains(StoreTest):
    def overlay(self, *layers):
        """The same layers as overlayfs merges them: whiteouts by hand, the rest by tar."""
        lowers = []
        top = self.path("overlay")  # /var/tmp may itself be an overlay, which takes no whiteouts
        os.mkdir(top)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top], check=True)
        self.addCleanup(subprocess.run, ["umount", top], check=True)
        for i, data in enumerate(layers):
            path = f"{top}/lower{i}"
            os.mkdir(path)
            subprocess.run(["tar", "--numeric-owner", "--xattrs", "-C", path, "-xf", "-"], input=data, check=True)
            for where, _, files in os.walk(path):
                for name in files:
                    if name == ".wh..wh..opq":
                        os.setxattr(where, "trusted.overlay.opaque", b"y")
                    elif name.startswith(".wh.") and name[4:] not in files:
                        os.mknod(f"{where}/{name[4:]}", stat.S_IFCHR, 0)
                    if name.startswith(".wh."):
                        os.unlink(f"{where}/{name}")
            lowers.insert(0, path)
        merged = top + "/merged"
        os.mkdir(merged)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + ":".join(lowers), merged], check=True)
        self.addCleanup(subprocess.run, ["umount", merged], check=True)
        return snapshot(merged)

    def test_like_overlayfs(self):
        one = layer([entry("./", mode=0o751), entry("a", mode=0o700, uid=3), entry("a/1", b"1"), entry("a/2", b"2"), entry("b"),
                     entry("b/in"), entry("b/in/x", b"x"), entry("c", b"file"), entry("d"), entry("d/y", b"y"), link("s", "a"),
                     entry("keep", b"k", mode=0o4755), entry("o"), entry("o/old", b"o"), entry("o/sub"), entry("o/sub/f", b"f")])
        two = layer([entry("./", mode=0o711), entry("a", mode=0o755, uid=4), entry("a/.wh.1", b""), entry("a/3", b"3"), entry(".wh.b", b""), entry("c"),
                     entry("c/now", b"dir"), entry("d", b"now a file"), entry("s"), entry("s/real", b"r"),
                     entry("o"), entry("o/.wh..wh..opq", b""), entry("o/new", b"n"), entry(".wh.nothing", b"")])
        three = layer([entry("./", mode=0o705), entry("b"), entry("b/again", b"again"), entry(".wh.-dash", b""), entry("-dash", b"stays"),
                       entry("a"), entry("a/2", b"two"), entry("o"), entry("o/sub"), entry("o/sub/g", b"g")])
        got = snapshot(self.layers(one, two, three)["rootfs"]["path"])
        want = self.overlay(one, two, three)
        # A file added and whited out in the same layer: the addition wins, overlayfs cannot say that.
        self.assertEqual(got.pop(b"-dash")[4], b"stays")
        want.pop(b"-dash", None)
        self.assertEqual(got, want)
        self.assertWhole()

    def test_hard_link_to_lower_layer(self):
        image = self.layers(layer([entry("a", b"1"), entry("d"), entry("d/b", b"2")]),
                            layer([link("c", "a", tarfile.LNKTYPE), link("e", "d/b", tarfile.LNKTYPE), link("f", "c", tarfile.LNKTYPE)]))
        top = image["rootfs"]["path"]
        self.assertEqual(len({os.stat(f"{top}/{n}").st_ino for n in "acf"}), 1)
        self.assertEqual(os.stat(top + "/e").st_ino, os.stat(top + "/d/b").st_ino)

    def test_implicit_directory_keeps_lower_owner(self):
        image = self.layers(layer([entry("home"), entry("home/u", mode=0o700, uid=1000)]), layer([entry("home/u/f", b"")]))
        self.assertEqual(snapshot(image["rootfs"]["path"])[b"home/u"][1:3], [0o700, 1000])

    def test_hostile_whiteouts(self):
        for name in (".wh.", ".wh..", ".wh..."):
            self.assertFails("InvalidArgument", images.oci_archive(self.path("a.tar"), [layer([entry(name, b"")])]), "names no file")
        self.assertFails("InvalidArgument", images.oci_archive(self.path("a.tar"), [layer([entry(".wh.d"), entry(".wh.d/x", b"")])]))

    def test_symlink_of_lower_layer_is_not_followed(self):
        outside = self.path("outside")
        os.mkdir(outside)
        image = self.layers(layer([link("x", outside)]), layer([entry("x"), entry("x/evil", b"")]))
        self.assertEqual(os.listdir(outside), [])
        self.assertEqual(os.listdir(image["rootfs"]["path"] + "/x"), ["evil"])

    def test_rootfs_again(self):
        image = self.layers(layer([entry("a", b"1"), entry("p", kind=tarfile.FIFOTYPE)]), layer([entry("b", b"2")]))
        before = snapshot(image["rootfs"]["path"])
        shutil.rmtree(image["rootfs"]["path"])
        self.assertEqual(self.run_worker("rootfs", "--rootfs=checkout", image["chain_id"])["rootfs"], image["rootfs"])
        self.assertEqual(snapshot(image["rootfs"]["path"]), before)
        with self.assertRaises(Failed) as caught:
            self.run_worker("rootfs", "sha256:" + "0" * 64)
        self.assertEqual(caught.exception.word, "NotFound")


class Damage(StoreTest):
    LAYER = layer([entry("f", os.urandom(3000)), entry("big", b"b" * 700000)])

    def archive(self, change, compress=True):
        files = images.oci_files([self.LAYER], compress=compress)
        images._write(self.path("bad.tar"), [change(n, d) for n, d in files])  # pylint: disable=protected-access
        return self.path("bad.tar")

    def test_blob_changed(self):
        for compress in (True, False):
            blob = gzip.compress(self.LAYER, 1, mtime=0) if compress else self.LAYER
            name = "blobs/sha256/" + digest(blob)[7:]
            other = gzip.compress(self.LAYER[:-1] + b"x", 1, mtime=0) if compress else self.LAYER[:600] + b"x" + self.LAYER[601:]
            self.assertFails("InvalidArgument", self.archive(lambda n, d: (n, other if n == name else d), compress))
            self.assertFails("InvalidArgument", self.archive(lambda n, d: (n, d[:-20] if n == name else d), compress))
            self.assertFails("InvalidArgument", self.archive(lambda n, d: (n, d + b"x" if n == name else d), compress))

    def test_wrong_diff_id(self):
        conf = images.config([self.LAYER + b"x"])
        for compress in (True, False):
            path = self.path("a.tar")
            images._write(path, images.oci_files([self.LAYER], config_data=conf, compress=compress))  # pylint: disable=protected-access
            self.assertFails("InvalidArgument", path, "diff id")

    def test_truncated(self):
        whole = gzip.compress(self.LAYER)
        for size in range(1, len(whole), len(whole) // 23):
            self.assertFails("InvalidArgument", whole[:size], format="rootfs")
        for size in range(1, len(self.LAYER) - 1024 * 10, len(self.LAYER) // 23):
            self.assertFails("InvalidArgument", self.LAYER[:size], format="rootfs")

    def test_trailing_data(self):
        for data in (self.LAYER + b"x", self.LAYER + self.LAYER, gzip.compress(self.LAYER) + b"x", gzip.compress(self.LAYER + b"\1")):
            self.assertFails("InvalidArgument", data, format="rootfs")

    def test_not_an_archive(self):
        for data in (b"", b"x", os.urandom(5000), b"{}", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", gzip.compress(b"")):
            self.assertFails("InvalidArgument", data)
        os.mkdir(self.path("empty"))
        self.assertFails("InvalidArgument", self.path("empty"))

    def test_check_sees_a_flipped_bit(self):
        self.tree(self.LAYER)
        self.assertWhole()
        for where, _, files in os.walk(self.dir + "/repo/objects"):
            for name in files:
                if name.endswith(".file") and os.stat(f"{where}/{name}").st_size == 3000:
                    with open(f"{where}/{name}", "r+b") as f:
                        byte = f.read(1)
                        f.seek(0)
                        f.write(bytes([byte[0] ^ 1]))
        self.assertIn("object", [d["kind"] for d in self.run_worker("check")["damaged"]])


class Documents(StoreTest):
    LAYER = layer([entry("f", b"1")])

    def assertRefused(self, word="InvalidArgument", contains="", **changes):  # pylint: disable=invalid-name
        path = images.oci_archive(self.path("a.tar"), [self.LAYER], manifest_changes=changes)
        self.assertFails(word, path, contains)

    def test_ambiguous_manifests(self):
        self.assertRefused(manifests=[], contains="ambiguous")
        self.assertRefused(mediaType="application/vnd.oci.image.index.v1+json", contains="ambiguous")
        self.assertRefused("NotSupported", schemaVersion=1)
        self.assertRefused(layers=[])
        self.assertRefused(layers={})
        self.assertRefused(config=None)

    def test_digests(self):
        good = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1}
        for bad in ("sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "", "sha256:" + "a" * 65):
            self.assertRefused(layers=[{**good, "digest": bad}], contains="digest")

    def config_refused(self, text, word="InvalidArgument", contains=""):
        path = self.path("a.tar")
        images._write(path, images.oci_files([self.LAYER], config_data=text))  # pylint: disable=protected-access
        self.assertFails(word, path, contains)

    def test_configurations(self):
        whole = json.loads(images.config([self.LAYER]))
        self.config_refused(json.dumps({**whole, "config": {"Env": "A=b"}}).encode(), contains="Env")
        self.config_refused(json.dumps({**whole, "config": {"Cmd": [1]}}).encode(), contains="Cmd")
        self.config_refused(json.dumps({**whole, "os": "windows"}).encode(), "NotSupported", "windows")
        self.config_refused(json.dumps({**whole, "rootfs": {"type": "layers", "diff_ids": []}}).encode(), contains="layers")
        self.config_refused(json.dumps(whole).encode()[:-1] + b',"os":"linux"}', contains="twice")
        self.config_refused(json.dumps({**whole, "x": "\0"}).encode(), contains="JSON")
        self.config_refused(json.dumps(whole).encode() + b"x", contains="JSON")
        self.config_refused(b"[" * 100000, "ResourceExhausted")
        self.config_refused(json.dumps({**whole, "history": [{}] * 200000}).encode(), "ResourceExhausted")
        self.config_refused(b" " * (5 << 20), "ResourceExhausted")

    def test_platforms(self):
        files = dict(images.oci_files([self.LAYER]))
        index = json.loads(files["index.json"])
        index["manifests"][0]["platform"] = {"os": "linux", "architecture": "s390x"}
        files["index.json"] = json.dumps(index).encode()
        images._write(self.path("p.tar"), files.items())  # pylint: disable=protected-access
        self.assertFails("NotFound", self.path("p.tar"), "no image for")
        self.bring(self.path("p.tar"), platform="linux/s390x")

    def test_names(self):
        path = images.oci_archive(self.path("a.tar"), [self.LAYER], name="bad name")
        self.assertFails("InvalidArgument", path, name=None)
        self.assertFails("InvalidArgument", layer([entry("f", b"")]), "name", name=None)

    def test_duplicate_member(self):
        files = images.oci_files([self.LAYER])
        images._write(self.path("a.tar"), files + files[-1:])  # pylint: disable=protected-access
        self.assertFails("InvalidArgument", self.path("a.tar"), "twice")


class Limits(StoreTest):
    def test_bomb(self):
        archive = self.path("bomb.gz")
        with open(archive, "wb") as f:
            packed = subprocess.Popen(["gzip", "-1"], stdin=subprocess.PIPE, stdout=f)
            packed.stdin.write(header(b"zeros", size=b"%011o\0" % (3 << 30)))
            for _ in range(600):
                packed.stdin.write(bytes(1 << 20))
            packed.stdin.close()
            packed.wait()
        self.assertFails("ResourceExhausted", archive, "times", format="rootfs", limit="ratio=100")
        self.assertFails("ResourceExhausted", archive, "bytes", format="rootfs", limit="bytes=100000000")

    def test_sparse_bomb(self):
        data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"4611686018427387904")) + \
            header(b"s", size=b"%011o\0" % 512) + block(b"0\n") + END
        self.assertFails("ResourceExhausted", data, format="rootfs")

    def test_entries_depth_and_path(self):
        many = layer([entry(f"f{i}", b"") for i in range(50)])
        self.assertFails("ResourceExhausted", many, "entries", limit="entries=40")
        self.assertFails("ResourceExhausted", layer([entry("d/" * 300 + "f", b"")]), "components")
        self.assertFails("ResourceExhausted", layer([entry("d" * 90, b"")]), limit="path=80")
        self.assertFails("ResourceExhausted", pax(*((b"SCHILY.xattr.user.a%d" % i, b"x" * 60000) for i in range(3))) + header(b"f") + END)

    def test_memory(self):
        """What is kept of headers until the import ends: links, attributes, and what cannot be compressed."""
        attributes = pax(*((b"SCHILY.xattr.user.a%d" % i, b"x" * 1000) for i in range(2)))
        for many in (b"".join(header(b"l%d" % i, kind=b"2", linkname=b"t" * 100) for i in range(300)),
                     b"".join(attributes + header(b"f%d" % i) for i in range(20)),
                     b"".join(pax((b"comment", os.urandom(30000).hex().encode())) + header(b"f%d" % i) for i in range(60))):
            self.bring(many + END, format="rootfs")
            self.assertFails("ResourceExhausted", many + END, "memory", format="rootfs", limit="memory=20000")

    def test_zstd_window(self):
        data = subprocess.run(["zstd", "-qc", "--ultra", "--long=31"], input=layer([entry("f", bytes(1 << 20))]), capture_output=True,
                              check=True).stdout
        self.assertFails("ResourceExhausted", data, "window", format="rootfs")


class Life(StoreTest):
    def test_remove_leaves_nothing(self):
        base, top = layer([entry("a", b"1"), entry("big", b"b" * 600000)]), layer([entry("b", b"2")])
        one = self.layers(base, name="one")
        two = self.layers(base, top, name="two")
        got = self.collect(one, two["chain_id"])
        self.assertEqual((got["chains"], sorted(got["contents"])), ([], sorted([two["digest"], two["config_digest"]])))
        self.assertTrue(os.path.exists(two["rootfs"]["path"]), "a chain in use has been removed")
        self.layers(base, top, name="two")
        self.assertEqual(self.collect(one)["chains"], [two["chain_id"]])
        self.assertFalse(os.path.exists(two["rootfs"]["path"]))
        self.assertWhole()
        self.assertGreater(self.collect()["freed"], 600000)
        self.assertNothingLeft()
        self.assertEqual(self.collect(), {"freed": 0, "objects": 0, "chains": [], "contents": []})

    def test_again_is_the_same(self):
        data = layer([entry("a", b"1"), entry("d"), entry("d/b", b"2")])
        first = self.layers(data)
        inode = os.stat(first["rootfs"]["path"] + "/a").st_ino
        self.assertEqual(self.layers(data), first)
        self.assertEqual(os.stat(first["rootfs"]["path"] + "/a").st_ino, inode)

    def test_objects_are_shared(self):
        one = self.layers(layer([entry("a", b"shared" * 1000)]), name="one")
        two = self.layers(layer([entry("b", b"shared" * 1000)]), name="two")
        self.assertEqual(os.stat(one["rootfs"]["path"] + "/a").st_ino, os.stat(two["rootfs"]["path"] + "/b").st_ino)

    def test_concurrent_imports(self):
        shared = entry("shared", os.urandom(100000))
        archives = [images.oci_archive(self.path(f"{i}.tar"), [layer([shared, entry(f"own{i}", b"%d" % i)])]) for i in range(3)]
        failures = []

        def bring(i):
            try:
                self.bring(archives[i % 3], name=f"n{i}")
            except (Failed, AssertionError) as failure:
                failures.append(failure)

        threads = [threading.Thread(target=bring, args=(i,)) for i in range(9)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertWhole()
        self.collect()
        self.assertNothingLeft()

    def test_killed(self):
        data = self.path("a.tar.gz", gzip.compress(layer([entry(f"f{i}", os.urandom(2000)) for i in range(3000)]), 1))
        for delay in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
            with subprocess.Popen([WORKER, "--directory=" + self.dir, "import", "--name=t", data], stdout=subprocess.DEVNULL) as worker:
                time.sleep(delay)
                worker.kill()
        self.layers(layer([entry("x", b"")]), name="other")
        self.bring(data)
        self.assertWhole()
        self.assertEqual(os.listdir(self.dir + "/ingest"), [])
        self.collect()
        self.assertNothingLeft()

    def test_killed_while_the_repository_is_made(self):
        """What is left of it is no obstacle; with strace, at each step."""
        data = self.path("a.tar", layer([entry("f", b"1")]))
        os.makedirs(self.dir + "/repo.new/objects")
        self.path("state/repo.new/config", b"[core]\n")
        self.bring(data)
        self.assertWhole()
        self.assertFalse(os.path.exists(self.dir + "/repo.new"))
        argv = [WORKER, "--directory=" + self.dir, "import", "--name=t", data]
        for call in ("renameat:when=1", "syncfs:when=1", "mkdirat:when=4", "mkdirat:when=7", "fdatasync:when=1"):
            if not shutil.which("strace"):
                break
            shutil.rmtree(self.dir)
            subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call.replace(':', ':signal=KILL:')}", *argv],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            self.bring(data)
            self.assertWhole()

    def test_directories_are_private(self):
        self.tree(layer([entry("su", b"", mode=0o4755)]))
        self.assertEqual(stat.S_IMODE(os.stat(self.dir).st_mode), 0o700)


class Connection:
    """The manager's end of a worker's connection."""

    def __init__(self, directory=None):
        self.worker = None
        if directory is None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.sock.connect(SOCKET)
        else:
            self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.worker = subprocess.Popen([WORKER, "--directory=" + directory], stdin=theirs, stderr=subprocess.DEVNULL)
            theirs.close()
        self.sock.settimeout(60)

    def send(self, kind, text=b"", fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([HEAD.pack(1, kind, len(fds), len(text), 0) + text], control)

    def request(self, fds=(), **members):
        self.send(REQUEST, json.dumps(members).encode(), fds)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 17, 4)
        if not data:
            return None, None
        _, kind, _, size, _ = HEAD.unpack_from(data)
        if kind == PROGRESS:
            return kind, struct.unpack("=QQII", data[HEAD.size:])
        text = data[HEAD.size:HEAD.size + size]
        if fds:
            with open(fds[0], "rb") as f:
                text = os.pread(f.fileno(), 1 << 23, 0)
        return kind, json.loads(text) if text else None

    def result(self):
        progress = []
        while True:
            kind, body = self.receive()
            if kind != PROGRESS:
                return kind, body, progress
            progress.append(body)

    def close(self):
        self.sock.close()
        if self.worker:
            self.worker.wait(30)


class ConnectionTest(StoreTest):
    def connect(self, real=False):
        c = Connection(None if real else self.dir)
        self.addCleanup(c.close)
        return c


class Protocol(ConnectionTest):
    def test_import(self):
        path = images.oci_archive(self.path("a.tar"), [layer([entry(f"f{i}", os.urandom(50000)) for i in range(300)])])
        c = self.connect()
        with open(path, "rb") as f:
            c.request([f.fileno()], operation="import", name="n", format="auto", limits={})
            kind, body, progress = c.result()
        self.assertEqual(kind, DONE, body)
        self.assertEqual(body["images"][0]["name"], "n:latest")
        for row in progress:
            self.assertLessEqual(row[0], row[1])
            self.assertLessEqual(row[3], 1)  # 0 while it is looked at
        self.assertEqual(progress[-1][3], 1)
        c.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(c.receive(), (None, None))

    def test_no_rootfs(self):
        """S-G02: an image whose root file system is not made yet; it is made later."""
        path = images.oci_archive(self.path("a.tar"), [layer([entry("f", b"x")])])
        record = self.bring(path, rootfs="none")[0]
        self.assertNotIn("path", record["rootfs"])
        self.assertEqual(record["rootfs"]["root"], {"uid": 0, "gid": 0, "mode": 0o755})
        self.assertEqual([os.listdir(f"{self.dir}/{form}") for form in ("checkouts", "erofs")], [[], []])
        self.assertWhole()
        self.run_worker("rootfs", record["chain_id"])
        self.assertEqual(os.listdir(f"{self.dir}/checkouts"), [record["chain_id"][7:]])

    def test_refusals(self):
        for members, word in (({}, "NotFound"), ({"operation": "import"}, "InvalidArgument"),
                              ({"operation": "import", "namespace": "x"}, "InvalidArgument"),
                              ({"operation": "collect", "dry_run": 1}, "InvalidArgument"),
                              ({"operation": "check", "extra": 1}, "InvalidArgument"),
                              ({"operation": "check", "chains": ["x"]}, "InvalidArgument"),
                              ({"operation": "rootfs", "chain_id": "../.."}, "InvalidArgument")):
            with self.subTest(members):
                c = self.connect()
                c.request(**members)
                kind, body, _ = c.result()
                self.assertEqual((kind, body["error"]), (ERROR, word), body)

    def test_large_request_and_result(self):
        labels = {f"label{i}": "v" * 1000 for i in range(200)}
        path = images.oci_archive(self.path("a.tar"), [layer([entry("f", b"")])], settings={"Labels": labels})
        c = self.connect()
        with open(path, "rb") as f:
            c.request([f.fileno()], operation="import", name="n")
            kind, body, _ = c.result()
        self.assertEqual((kind, body["images"][0]["config"]["Labels"]), (DONE, labels))
        text = json.dumps({"operation": "check", "chains": [], "contents": [body["images"][0]["digest"]] * 2000}).encode()
        memory = os.memfd_create("request", os.MFD_ALLOW_SEALING)
        os.write(memory, text)
        ctypes.CDLL(None).fcntl(memory, 1033, 15)
        c = self.connect()
        c.send(REQUEST, b"", [memory])
        os.close(memory)
        self.assertEqual(c.result()[0], DONE)

    def stalled(self, end):
        """A sender that stops in the middle must not keep the worker."""
        c = self.connect()
        read, write = os.pipe()
        data = layer([entry("f", os.urandom(300000)), entry("g", b"")])
        threading.Thread(target=os.write, args=(write, data[:250000]), daemon=True).start()
        c.request([read], operation="import", name="n", format="rootfs")
        os.close(read)
        while c.receive()[0] != PROGRESS:
            pass
        end(c)
        self.assertEqual(c.worker.wait(10), 0)  # nobody's failure, also where the one who asked has gone
        os.close(write)
        self.assertNothingLeft()
        return c

    def test_cancel(self):
        self.assertEqual(self.stalled(lambda c: c.send(CANCEL)).result()[1]["error"], "Unavailable")

    def test_manager_gone(self):
        self.stalled(socket_close)

    def test_sigterm(self):
        self.assertEqual(self.stalled(lambda c: c.worker.send_signal(signal.SIGTERM)).result()[1]["error"], "Unavailable")

    def test_garbage(self):
        for data in (b"", b"x", HEAD.pack(9, REQUEST, 0, 0, 0), HEAD.pack(1, REQUEST, 0, 100, 0), HEAD.pack(1, CANCEL, 0, 0, 0)):
            c = self.connect()
            c.sock.send(data)
            self.assertIn(c.result()[0], (None, ERROR))

    @unittest.skipUnless(os.path.exists(SOCKET), "outside the private systemd")
    def test_in_its_sandbox(self):
        capability = bytes.fromhex("0100000200200000000000000000000000000000")
        data = layer([entry("d", uid=7, mode=0o1777), entry("su", b"x", mode=0o6755, uid=1, gid=2), entry("same", b"x", mode=0o600),
                      entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3), entry("p", kind=tarfile.FIFOTYPE),
                      entry("sda", kind=tarfile.BLKTYPE, devmajor=8, devminor=0), link("l", "su"),
                      entry("ua", b"u", pax_headers={"SCHILY.xattr.user.a": "1"}, uid=9)]).rstrip(b"\0")
        data = block(data) + pax((b"SCHILY.xattr.security.capability", capability)) + header(b"ping") + END
        c = self.connect(real=True)
        with open(self.path("rootfs.tar", data), "rb") as f:
            c.request([f.fileno()], operation="import", name="sandbox-test", format="rootfs", rootfs="checkout")
            kind, body, _ = c.result()
        self.assertEqual(kind, DONE, body)
        got = snapshot(body["images"][0]["rootfs"]["path"])
        self.assertEqual(got[b"su"][1:4], [0o6755, 1, 2])
        self.assertEqual(got[b"null"][4], os.makedev(1, 3))
        self.assertEqual(got[b"ping"][5], {"security.capability": capability})
        c = self.connect(real=True)
        c.request(operation="check")
        kind, body, _ = c.result()
        self.assertEqual((kind, body.get("damaged")), (DONE, []), body)


def socket_close(c):
    c.sock.close()


if __name__ == "__main__":
    unittest.main()


class LeftOut(ConnectionTest):
    """Layers that the archive does not hold, because they are here."""

    def leave_out(self, files, *blobs):
        """An archive without these layers, and what may be said of them to who imports it."""
        files = images.oci_ordered(files)
        names = {"blobs/sha256/" + digest(gzip.compress(b, 1, mtime=0))[7:]: b for b in blobs}
        path = self.path("part.tar")
        images._write(path, [f for f in files if f[0] not in names])  # pylint: disable=protected-access
        return path, [{"digest": "sha256:" + name[13:], "diff_id": digest(names[name]), "size": len(data)}
                      for name, data in files if name in names]

    #: Read as it arrives, or at will.
    ordered = False

    def import_part(self, path, have, **more):
        c = self.connect()
        with open(path, "rb") as f:
            c.request([f.fileno()], operation="import", name="part", format="oci", have=have, rootfs="checkout",
                      ordered=self.ordered, **more)
            kind, body, _ = c.result()
        c.close()
        return (kind, body["images"][0]) if kind == DONE else (kind, body["error"])

    def test_left_out(self):
        """A layer that is here need not be in the archive; what it is said to hold is compared with the configuration."""
        base = layer([entry("etc", None), entry("etc/base", b"base\n"), entry("gone", b"")])
        top = layer([entry("etc/top", b"top\n"), entry(".wh.gone", b"")])
        files = images.oci_files([base, top])
        path, have = self.leave_out(files, base)
        self.assertEqual(self.import_part(path, have), (ERROR, "FailedPrecondition"))
        self.assertEqual(self.import_part(path, []), (ERROR, "NotFound"))
        self.assertNothingLeft()
        self.layers(base)
        kept = self.left()
        for wrong in ({"diff_id": digest(top)}, {"size": 7}, {"digest": digest(b"")}, {"digest": "sha256:x"}, {"size": -1}):
            kind, word = self.import_part(path, [{**have[0], **wrong}])
            self.assertEqual((kind, word), (ERROR, "NotFound" if wrong == {"digest": digest(b"")} else "InvalidArgument"), wrong)
            self.assertEqual(self.left(), kept)
        kind, record = self.import_part(path, have)
        self.assertEqual(kind, DONE, record)
        tree = record["rootfs"]["path"]
        self.assertEqual(sorted(os.listdir(tree + "/etc")), ["base", "top"])
        self.assertFalse(os.path.exists(tree + "/gone"))
        self.assertEqual([one["digest"] for one in record["layers"]],
                         [one["digest"] for one in json.loads(self.manifest(files))["layers"]])
        self.assertEqual(record["source"], digest(self.manifest(files)))
        self.assertWhole()
        # All of it is here: nothing but documents comes.
        path, have = self.leave_out(files, base, top)
        self.assertEqual(self.import_part(path, have)[1]["chain_id"], record["chain_id"])
        # What is there all the same is read and verified.
        path, _ = self.leave_out(files)
        self.assertEqual(self.import_part(path, have)[0], DONE)

    def manifest(self, files):
        wanted = json.loads(dict(files)["index.json"])["manifests"][0]["digest"]
        return dict(files)["blobs/sha256/" + wanted[7:]]

    def test_left_out_broken(self):
        """A left-out layer does not hide what is wrong with the others."""
        base, top = layer([entry("a", b"a")]), layer([entry("b", b"b" * 100000)])
        self.layers(base)
        files = images.oci_files([base, top])
        kept = self.left()
        path, have = self.leave_out([(n, d[:-1] + b"x" if n.endswith(digest(gzip.compress(top, 1, mtime=0))[7:]) else d)
                                     for n, d in files], base)
        self.assertEqual(self.import_part(path, have), (ERROR, "InvalidArgument"))
        path, have = self.leave_out(files, base)
        os.truncate(path, os.path.getsize(path) // 2)
        self.assertEqual(self.import_part(path, have)[0], ERROR)
        self.assertEqual(self.left(), kept)


class Ordered(LeftOut):
    """The same of an archive that is read as it arrives, and what is right there alone."""

    ordered = True

    def stream(self, files, pause=None):
        """Imports what is written to a pipe; `pause` is called before each member."""
        c = self.connect()
        reader, writer = os.pipe()
        c.request([reader], operation="import", name="s", format="oci", rootfs="checkout", ordered=True)
        os.close(reader)

        def write():
            with open(writer, "wb") as out, contextlib.suppress(BrokenPipeError):
                with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                    for name, data in files:
                        if pause:
                            pause(name)
                        info = tarfile.TarInfo(name)
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))

        thread = threading.Thread(target=write)
        thread.start()
        kind, body, _ = c.result()
        thread.join()
        c.close()
        return kind, body["images"][0] if kind == DONE else body["error"]

    def test_as_it_arrives(self):
        """A layer is in the stage before the next one has come, and nothing is spooled."""
        layers = [layer([entry(f"f{i}", os.urandom(300000))]) for i in range(3)]
        files = images.oci_ordered(images.oci_files(layers, compress=False))
        seen = []

        def pause(name):
            if name == files[-1][0]:
                def staged():
                    return [f for where, _, names in os.walk(f"{self.dir}/ingest") for f in names if f.endswith(".file")]
                deadline = time.monotonic() + 20
                while not staged() and time.monotonic() < deadline:
                    time.sleep(0.02)
                seen.extend(staged())

        kind, record = self.stream(files, pause)
        self.assertEqual(kind, DONE, record)
        self.assertGreaterEqual(len(seen), 1)
        self.assertEqual(sorted(os.listdir(record["rootfs"]["path"])), ["f0", "f1", "f2"])
        self.assertWhole()

    def test_same_layer_twice(self):
        data = layer([entry("f", b"x")])
        kind, record = self.stream(images.oci_ordered(list(dict(images.oci_files([data, data])).items())))
        self.assertEqual(kind, DONE, record)
        self.assertEqual(len(record["layers"]), 2)
        # The same blob under two diff ids.
        conf = images.config([data, layer([entry("g", b"y")])])
        files = images.oci_files([data, data], config_data=conf)
        self.assertEqual(self.stream(images.oci_ordered(list(dict(files).items()))), (ERROR, "InvalidArgument"))

    def test_out_of_order(self):
        files = images.oci_files([layer([entry("f", os.urandom(5 << 20))])], compress=False)
        self.assertEqual(self.stream(files), (ERROR, "InvalidArgument"))
        ordered = images.oci_ordered(files)
        self.assertEqual(self.stream([f for f in ordered if f[0] != "index.json"] + [("x", b"")]), (ERROR, "InvalidArgument"))
        self.assertEqual(self.stream(ordered[:-1]), (ERROR, "NotFound"))
        self.assertEqual(self.stream(ordered + ordered[-1:]), (ERROR, "InvalidArgument"))
        self.assertEqual(self.stream([("oci-layout", b"")]), (ERROR, "InvalidArgument"))
        self.assertNothingLeft()

    def test_bad_layer_while_the_rest_is_slow(self):
        """What is wrong with a layer is told at once, not when its sender has sent all of it."""
        bad = b"this is no tar" + os.urandom(3 << 20)
        files = images.oci_ordered(images.oci_files([bad], compress=False))
        c = self.connect()
        reader, writer = os.pipe()
        c.request([reader], operation="import", name="s", format="oci", ordered=True)
        os.close(reader)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with contextlib.suppress(BrokenPipeError):
            os.write(writer, out.getvalue()[:1 << 20])
        begun = time.monotonic()
        kind, body, _ = c.result()
        self.assertEqual((kind, body["error"]), (ERROR, "InvalidArgument"))
        self.assertLess(time.monotonic() - begun, 10)
        os.close(writer)
        self.assertNothingLeft()
