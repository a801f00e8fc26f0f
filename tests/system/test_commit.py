# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of an overlay's upper: commit, diff, apply and usage, on real mounts, against what the mount showed."""

import array
import io
import json
import os
import resource
import shutil
import socket
import stat
import struct
import subprocess
import tarfile
import tempfile
import threading
import unittest

import images
import reference

WORKER = os.environ.get("DAVIT_STORE", "/usr/libexec/davit/davit-store")
ROOT = "/var/lib/davit-tests"
REQUEST, CANCEL, PROGRESS, DONE, ERROR = range(1, 6)
HEAD = struct.Struct("=IHHII")
EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
LINUX_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
entry = images.entry


class Failed(Exception):
    def __init__(self, word, message):
        self.word, self.message = word, message
        super().__init__(f"{word}: {message}")


def exchange(sock, fds, members):
    """One request on a connection: the result."""
    text = json.dumps(members).encode()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.settimeout(120)
    sock.sendmsg([HEAD.pack(1, REQUEST, len(fds), len(text), 0) + text], control)
    while True:
        data, received, _, _ = socket.recv_fds(sock, 1 << 17, 4)
        if not data:
            raise Failed("Gone", "the worker ended without an answer")
        _, kind, _, size, _ = HEAD.unpack_from(data)
        text = data[HEAD.size:HEAD.size + size]
        for fd in received:
            text = os.pread(fd, 1 << 23, 0)
            os.close(fd)
        if kind == ERROR:
            failure = json.loads(text)
            raise Failed(failure["error"], failure["message"])
        if kind == DONE:
            return json.loads(text)


class StoreTest(unittest.TestCase):
    time_limit = 180

    def setUp(self):
        os.makedirs(ROOT, exist_ok=True)
        self.top = tempfile.mkdtemp(prefix="commit-", dir=ROOT)
        self.addCleanup(subprocess.run, ["rm", "-rf", self.top], check=True)
        self.dir = self.top + "/state"
        self.count = self.lost = 0

    def path(self, name):
        self.count += 1
        return f"{self.top}/{name}{self.count}"

    def directory(self, name):
        path = self.path(name)
        os.mkdir(path)
        return path

    def call(self, operation, *fds, snapshots=True, **members):
        """An operation of a worker of its own."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [WORKER, "--directory=" + self.dir, *(["--snapshots"] if snapshots else [])]
        with subprocess.Popen(argv, stdin=theirs, stderr=subprocess.DEVNULL):
            theirs.close()
            with ours:
                return exchange(ours, fds, {"operation": operation, **members})

    def bring(self, *layers, archive=None):
        """Imports layers or an archive: the image's record."""
        archive = archive or images.oci_archive(self.path("image"), list(layers))
        fd = os.open(archive, os.O_RDONLY)
        try:
            return self.call("import", fd, snapshots=False, name="t", format="oci", rootfs=self.form)["images"][0]
        finally:
            os.close(fd)

    form = "erofs"

    def mount(self, *arguments):
        path = self.directory("mount")
        # Loop devices are the whole machine's: mount(8) may lose the one it found to somebody else.
        while subprocess.run(["mount", *arguments, path], check=False).returncode != 0:
            self.lost += 1
            self.assertLess(self.lost, 10)
        self.addCleanup(subprocess.run, ["umount", path], check=True)
        return path

    def lower(self, rootfs):
        """The lower layers of an overlay, by the record of a root file system."""
        if rootfs["form"] == "checkout":
            return rootfs["path"]
        return self.mount("-t", "erofs", "-o", "ro,loop", rootfs["path"]) + f"::{self.dir}/repo/objects"

    def view(self, rootfs):
        """A chain mounted read-only."""
        lower = self.lower(rootfs)
        if "::" not in lower:
            return self.mount("--bind", "-o", "ro", lower)
        return self.mount("-t", "overlay", "overlay", "-o", f"ro,metacopy=on,redirect_dir=follow,lowerdir={lower}")

    def snapshot(self, rootfs):
        """A new upper on a chain, mounted: (mount point, upper)."""
        upper, work = self.directory("upper"), self.directory("work")
        lower = self.lower(rootfs)
        st = os.stat(lower if "::" not in lower else lower.split("::")[0])
        os.chown(upper, st.st_uid, st.st_gid)
        os.chmod(upper, stat.S_IMODE(st.st_mode))
        options = f"metacopy=on,redirect_dir=on,lowerdir={lower},upperdir={upper},workdir={work}"
        return self.mount("-t", "overlay", "overlay", "-o", options), upper

    def commit(self, parent, upper):
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return self.call("commit", fd, parent=parent, rootfs=self.form)
        finally:
            os.close(fd)

    def assertSame(self, wanted, got, ignore_times=()):  # pylint: disable=invalid-name
        problems = reference.differences(wanted, got, ignore_times)
        self.assertEqual(problems[:10], [], f"{len(problems)} of {len(wanted)} paths")

    def untimed(self, *descriptions):
        """Paths whose times say nothing: a checkout's objects are shared, and the root is as old as its directory."""
        return {p for d in descriptions for p in d} if self.form == "checkout" else {b""}


def busy(top):
    """All that a container can do to what lies in base_layer()."""
    def p(name):
        return os.path.join(top, name)

    def write(name, text):
        with open(p(name), "w", encoding="utf-8") as f:
            f.write(text)

    os.rename(p("d1"), p("moved"))                      # a directory that was moved
    os.rename(p("moved/sub"), p("out"))                 # another moved out of it
    write("moved/new", "in a moved directory\n")
    os.unlink(p("moved/gone"))
    os.rename(p("d2"), p("d3/d2"))                      # into another directory
    os.rename(p("d3/d2/deep"), p("d3/d2/deeper"))       # and moved again inside
    os.chmod(p("meta/mode"), 0o4711)                    # metadata alone
    os.chown(p("meta/owner"), 12, 34)
    os.setxattr(p("meta/caps"), "security.capability", LINUX_CAPABILITY)
    os.setxattr(p("meta/attribute"), "user.note", b"\0\1=\xff")
    os.utime(p("meta/time"), ns=(1, 1234567890123456789))
    os.chmod(p("meta/renamed"), 0o600)
    os.rename(p("meta/renamed"), p("meta/other-name"))
    os.chmod(p("meta/far"), 0o640)
    os.rename(p("meta/far"), p("d3/from-far"))
    os.chmod(p("out/s2"), 0o611)
    os.chmod(p("meta/linked"), 0o604)
    os.link(p("meta/linked"), p("d3/linked-too"))
    os.chmod(p("meta"), 0o700)
    shutil.rmtree(p("opaque"))                          # deleted and made again
    os.mkdir(p("opaque"))
    write("opaque/only", "what is left\n")
    os.unlink(p("again"))
    write("again", "other content\n")
    os.unlink(p("file-dir"))                            # changes of type
    os.mkdir(p("file-dir"))
    write("file-dir/x", "x")
    shutil.rmtree(p("dir-file"))
    write("dir-file", "was a directory\n")
    shutil.rmtree(p("dir-link"))
    os.symlink("d3", p("dir-link"))
    os.unlink(p("link-dir"))
    os.mkdir(p("link-dir"))
    os.unlink(p("file-fifo"))
    os.mkfifo(p("file-fifo"), 0o640)
    os.unlink(p("hard/a"))                              # one of three names of an inode
    write("hard/fresh", "two names\n")
    os.link(p("hard/fresh"), p("hard/fresh-2"))
    os.link(p("hard/lone"), p("hard/lone-2"))
    os.mkfifo(p("fifo"), 0o600)
    os.mknod(p("device"), 0o660 | stat.S_IFCHR, os.makedev(4095, 1048575))
    os.mknod(p("block"), 0o660 | stat.S_IFBLK, os.makedev(7, 1))
    os.symlink("/nowhere/" + "x" * 300, p("link"))
    write("ü", "UTF-8\n")
    with open(os.fsencode(top) + b"/bad\xff\xfename", "wb") as f:
        f.write(b"bytes\n")
    os.symlink(b"\xff\xfe", os.fsencode(top) + b"/bad-link")
    write("n" * 255, "a long name\n")
    write("empty", "")
    with open(p("sparse"), "wb") as f:
        f.truncate(1 << 20)
        f.seek(1 << 19)
        f.write(b"middle")
    with open(p("append"), "a", encoding="utf-8") as f:
        f.write("more\n")
    os.mkdir(p("many"))
    for i in range(500):
        write(f"many/{i}", f"number {i}\n")
    server = socket.socket(socket.AF_UNIX)
    server.bind(p("socket"))
    server.close()


def base_layer():
    names = [
        entry("d1"), entry("d1/f", b"f"), entry("d1/gone", b"g"), entry("d1/sub"), entry("d1/sub/s", b"s"),
        entry("d1/sub/s2", b"second"), entry("d1/twin", b"three names"), entry("d2"), entry("d2/deep"),
        entry("d2/deep/x", b"x"), entry("d3"), entry("d3/kept", b"kept"), entry("meta"),
        *(entry("meta/" + n, f"content of {n}".encode()) for n in
          ("mode", "owner", "caps", "attribute", "time", "renamed", "far", "linked", "untouched")),
        entry("opaque"), entry("opaque/a", b"a"), entry("opaque/b", b"b"), entry("opaque/c"), entry("opaque/c/d", b"d"),
        entry("again", b"old content"), entry("file-dir", b"x"), entry("dir-file"), entry("dir-file/y", b"y"),
        entry("dir-link"), entry("dir-link/z", b"z"), entry("link-dir", kind=tarfile.SYMTYPE, linkname="d3"),
        entry("file-fifo", b"x"), entry("hard"), entry("hard/a", b"inode"),
        entry("hard/b", kind=tarfile.LNKTYPE, linkname="hard/a"), entry("hard/c", kind=tarfile.LNKTYPE, linkname="hard/a"),
        entry("hard/lone", b"alone"), entry("hard/pair", kind=tarfile.LNKTYPE, linkname="d1/twin"),
        entry("append", b"line\n"), entry("node", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
    ]
    for i, (info, _) in enumerate(names):
        info.mtime = 1600000000 + i + 0.123456789
    return images.layer(names)


class Commit(StoreTest):
    def check(self, image, change):
        """Commits what @change does to a mount: the new chain is what the mount showed."""
        mount, upper = self.snapshot(image["rootfs"])
        change(mount)
        wanted = reference.describe(mount)
        wanted.pop(b"socket", None)
        done = self.commit(image["chain_id"], upper)
        got = reference.describe(self.view(done["rootfs"]))
        self.assertSame(wanted, got, self.untimed(wanted, got))
        return done

    def test_everything(self):
        image = self.bring(base_layer())
        done = self.check(image, busy)
        self.assertEqual([l["diff_id"] for l in done["layers"]],
                         [l["diff_id"] for l in image["layers"]] + [done["diff_id"]])
        self.assertEqual(done["layers"][0]["size"], len(base_layer()))

    def test_again_on_top(self):
        """A committed chain is a parent like any other."""
        first = self.check(self.bring(base_layer()), busy)

        def more(top):
            os.rename(top + "/moved", top + "/moved-again")
            os.rename(top + "/d3/d2", top + "/d2")
            shutil.rmtree(top + "/many")
            os.chmod(top + "/hard/fresh", 0o600)
            os.unlink(os.fsencode(top) + b"/bad\xff\xfename")

        second = self.check({"rootfs": first["rootfs"], "chain_id": first["chain_id"]}, more)
        self.assertEqual(len(second["layers"]), 3)

    def test_nothing(self):
        image = self.bring(base_layer())
        done = self.check(image, lambda top: None)
        self.assertEqual((done["diff_id"], done["size"], done["inodes"]), (EMPTY_LAYER, 1024, 0))

    def test_from_nothing(self):
        upper = self.directory("upper")
        with open(upper + "/f", "w", encoding="utf-8") as f:
            f.write("x")
        done = self.commit("", upper)
        self.assertEqual(done["chain_id"], done["diff_id"])
        self.assertSame(reference.describe(upper), reference.describe(self.view(done["rootfs"])), self.untimed({b"f"}))


class Diff(StoreTest):
    def setUp(self):
        super().setUp()
        self.image = self.bring(base_layer())
        mount, self.upper = self.snapshot(self.image["rootfs"])
        busy(mount)
        self.wanted = reference.describe(mount)
        self.wanted.pop(b"socket")

    def diff(self, begin, end, upper=None, **members):
        """(result, bytes) of a diff."""
        path = self.path("diff")
        fds = [os.open(path, os.O_WRONLY | os.O_CREAT)]
        if upper:
            fds.append(os.open(upper, os.O_RDONLY | os.O_DIRECTORY))
        try:
            result = self.call("diff", *fds, **{"from": begin, "to": end}, **members)
        finally:
            for fd in fds:
                os.close(fd)
        with open(path, "rb") as f:
            return result, f.read()

    def overlaid(self, *layers):
        """What tar and the kernel make of layers."""
        directory = self.directory("overlay")
        overlay = reference.Overlay(directory)
        self.addCleanup(overlay.close)
        for data in layers:
            overlay.add(data)
        return reference.describe(overlay.merged), overlay.stale

    def assertOverlaid(self, wanted, *layers):  # pylint: disable=invalid-name
        got, stale = self.overlaid(*layers)
        self.assertSame(wanted, got, {os.fsencode(p) for p in stale} | {b""})

    def test_of_an_upper(self):
        chain = self.image["chain_id"]
        result, data = self.diff(chain, chain, self.upper)
        self.assertEqual((result["diff_id"], result["digest"], result["size"]),
                         (images.digest(data), images.digest(data), len(data)))
        self.assertEqual(result["media_type"], "application/vnd.oci.image.layer.v1.tar")
        self.assertOverlaid(self.wanted, base_layer(), data)
        self.assertEqual(self.commit(chain, self.upper)["diff_id"], result["diff_id"])

    def test_compressed(self):
        chain = self.image["chain_id"]
        _, plain = self.diff(chain, chain, self.upper)
        for name, program in (("gzip", "gzip"), ("zstd", "zstd")):
            with self.subTest(name):
                result, data = self.diff(chain, chain, self.upper, compression=name)
                self.assertEqual(result["digest"], images.digest(data))
                self.assertEqual(result["diff_id"], images.digest(plain))
                self.assertEqual(result["media_type"], f"application/vnd.oci.image.layer.v1.tar+{name}")
                unpacked = subprocess.run([program, "-dc"], input=data, capture_output=True, check=True).stdout
                self.assertEqual(unpacked, plain)

    def test_between_chains(self):
        """Either way, and from nothing: on the first it gives the second."""
        base, done = self.image["chain_id"], self.commit(self.image["chain_id"], self.upper)
        before = reference.describe(self.view(self.image["rootfs"]))
        _, forth = self.diff(base, done["chain_id"])
        self.assertEqual(images.digest(forth), done["diff_id"])
        _, back = self.diff(done["chain_id"], base)
        self.assertOverlaid(before, base_layer(), forth, back)
        _, whole = self.diff("", done["chain_id"])
        self.assertOverlaid(self.wanted, whole)
        again = self.bring(base_layer(), forth, back)
        self.assertSame(before, reference.describe(self.view(again["rootfs"])), {b""})
        result, nothing = self.diff(base, base)
        self.assertEqual((result["diff_id"], nothing), (EMPTY_LAYER, bytes(1024)))
        self.assertEqual(self.diff("", "")[0]["diff_id"], EMPTY_LAYER)

    def test_other_programs_read_it(self):
        if not shutil.which("umoci"):
            self.skipTest("umoci is not installed")
        chain = self.image["chain_id"]
        _, data = self.diff(chain, chain, self.upper)
        layout, bundle = self.directory("layout"), self.path("bundle")
        archive = images.oci_archive(self.path("image"), [base_layer(), data], name="t")
        subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
        subprocess.run(["umoci", "unpack", "--image", layout + ":t", bundle], check=True, stderr=subprocess.DEVNULL)
        self.assertSame(self.wanted, reference.describe(bundle + "/rootfs"), {b""})

    def test_list(self):
        chain = self.image["chain_id"]
        result, data = self.diff(chain, chain, self.upper, format="list")
        self.assertEqual(result, {"size": len(data)})
        listed = {}
        for record in data.rstrip(b"\0").split(b"\0"):
            listed.setdefault(record[:1].decode(), set()).add(record[2:])
        before = {b"/" + p: d for p, d in reference.describe(self.view(self.image["rootfs"])).items() if p}
        after = {b"/" + p: d for p, d in self.wanted.items() if p}
        self.assertEqual(listed["A"], after.keys() - before.keys())
        gone = before.keys() - after.keys()
        self.assertEqual(listed["D"], {p for p in gone if os.path.dirname(p) not in gone and
                                       (os.path.dirname(p) == b"/" or after[os.path.dirname(p)][0].startswith("0o4"))})
        for path in (b"/meta/mode", b"/meta/caps", b"/again", b"/file-dir", b"/dir-file", b"/append", b"/meta"):
            self.assertIn(path, listed["C"])
        self.assertNotIn(b"/meta/untouched", listed["C"])
        self.assertNotIn(b"/d3/kept", listed["C"])

    def test_a_reader_that_leaves(self):
        chain = self.image["chain_id"]
        out, into = os.pipe()
        os.close(out)
        try:
            with self.assertRaises(Failed) as caught:
                self.call("diff", into, **{"from": "", "to": chain})
        finally:
            os.close(into)
        self.assertEqual(caught.exception.word, "Unavailable")

    def test_unknown_chain(self):
        with self.assertRaises(Failed) as caught:
            self.diff("sha256:" + "0" * 64, "")
        self.assertEqual(caught.exception.word, "NotFound")


class Apply(StoreTest):
    def apply(self, data, root, **members):
        path = self.path("layer")
        with open(path, "wb") as f:
            f.write(data)
        fds = [os.open(path, os.O_RDONLY), os.open(root, os.O_RDONLY | os.O_DIRECTORY)]
        try:
            return self.call("apply", *fds, snapshots=False, **members)
        finally:
            for fd in fds:
                os.close(fd)

    def exported(self, image, change):
        """(layer, description) of what @change does to a snapshot."""
        mount, upper = self.snapshot(image["rootfs"])
        change(mount)
        wanted = reference.describe(mount)
        wanted.pop(b"socket", None)
        path, chain = self.path("diff"), image["chain_id"]
        fds = [os.open(path, os.O_WRONLY | os.O_CREAT), os.open(upper, os.O_RDONLY | os.O_DIRECTORY)]
        self.call("diff", *fds, **{"from": chain, "to": chain})
        for fd in fds:
            os.close(fd)
        with open(path, "rb") as f:
            return f.read(), wanted

    def test_what_was_exported(self):
        """On a second snapshot it gives the same, and a commit of that the same layer."""
        image = self.bring(base_layer())
        data, wanted = self.exported(image, busy)
        mount, upper = self.snapshot(image["rootfs"])
        result = self.apply(data, mount, digest=images.digest(data))
        self.assertEqual(result, {"diff_id": images.digest(data), "size": len(data)})
        self.assertSame(wanted, reference.describe(mount))
        self.assertEqual(self.commit(image["chain_id"], upper)["diff_id"], images.digest(data))
        packed = subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
        again, _ = self.snapshot(image["rootfs"])
        self.apply(packed, again, digest=images.digest(packed))
        self.assertSame(wanted, reference.describe(again))

    def test_as_an_import_would(self):
        """Links, odd orders and opaque marks of strangers mean on a snapshot what they mean in an image."""
        layer = images.layer([
            entry("d3/.wh..wh..opq", b""), entry("d3/new", b"new"), entry("hard/.wh.a", b""),
            entry("lower", kind=tarfile.LNKTYPE, linkname="hard/lone"), entry("lower-2", kind=tarfile.LNKTYPE, linkname="lower"),
            entry("link-dir/below", b"a directory in place of a link"), entry("d1", mode=0o2750, uid=5, gid=6),
            entry("file-dir", b"same type"), entry("implicit/parents/f", b"f"), entry("append/x", b"file becomes directory"),
            entry("d2/deep/x", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), entry("./", mode=0o711)])
        image, whole = self.bring(base_layer()), self.bring(base_layer(), layer)
        mount, _ = self.snapshot(image["rootfs"])
        self.apply(layer, mount)
        got, wanted = reference.describe(mount), reference.describe(self.view(whole["rootfs"]))
        self.assertSame(wanted, got, {b"hard", b"d3", b"d2/deep", b"", b"implicit", b"implicit/parents", b"link-dir",
                                      b"append"})

    def test_refusals_touch_nothing(self):
        good = images.layer([entry("f", b"x")])
        mount, upper = self.snapshot(self.bring(base_layer())["rootfs"])
        for data, members in ((good, {"digest": images.digest(b"")}), (good[:1024], {}), (good[:600], {}),
                              (images.layer([entry("f", b"x"), entry("../f", b"y")]), {}),
                              (images.layer([entry("f", b"x"), entry("g", b"y")]), {"limits": {"entries": 1}})):
            with self.assertRaises(Failed) as caught:
                self.apply(data, mount, **members)
            self.assertIn(caught.exception.word, ("InvalidArgument", "ResourceExhausted"))
            self.assertEqual(os.listdir(upper), [])

    def test_failure_says_what_it_leaves(self):
        image = self.bring(base_layer())
        view = self.view(image["rootfs"])
        with self.assertRaises(Failed) as caught:
            self.apply(images.layer([entry("f", b"x")]), view)
        self.assertIn("now holds a part of the layer", caught.exception.message)

    def test_links_are_not_followed(self):
        canary = self.directory("canary")
        mount, _ = self.snapshot(self.bring(base_layer())["rootfs"])
        for name in ("escape", "escape2", "d1/escape"):
            os.symlink(canary, f"{mount}/{name}")
        self.apply(images.layer([entry("escape/f", b"x"), entry("escape2", b"x"), entry("d1/escape"), entry("d1/escape/f", b"x"),
                                 entry("h", kind=tarfile.LNKTYPE, linkname="d1/f")]), mount)
        self.assertEqual(os.listdir(canary), [])
        self.assertTrue(os.path.isdir(mount + "/escape") and not os.path.islink(mount + "/escape"))


class Usage(StoreTest):
    def test_counts(self):
        first, second = self.directory("upper"), self.directory("upper")
        with open(first + "/a", "wb") as f:
            f.write(b"x" * 10000)
        os.link(first + "/a", first + "/b")
        os.mkdir(first + "/d")
        os.symlink("/etc", first + "/link")
        os.mknod(first + "/gone", stat.S_IFCHR, 0)
        wanted = sum(os.lstat(first + "/" + n).st_blocks * 512 for n in ("", "a", "d", "link", "gone"))
        fds = [os.open(p, os.O_RDONLY | os.O_DIRECTORY) for p in (first, second)]
        result = self.call("usage", *fds)
        for fd in fds:
            os.close(fd)
        self.assertEqual(result, {"usage": [{"bytes": wanted, "inodes": 5},
                                            {"bytes": os.stat(second).st_blocks * 512, "inodes": 1}]})


class Live(StoreTest):
    """An upper that is not left alone, and one that is large."""

    def interrupted(self, change):
        """A diff whose reader waits until @change has been made: its failure."""
        upper = self.directory("upper")
        for name in ("a", "z"):
            with open(f"{upper}/{name}", "wb") as f:
                f.truncate(16 << 20)
        read, write = os.pipe()
        failure = []

        def run():
            fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.call("diff", write, fd, **{"from": "", "to": ""})
            except Failed as e:
                failure.append(e)
            finally:
                os.close(fd)
                os.close(write)

        thread = threading.Thread(target=run)
        thread.start()
        with open(read, "rb", buffering=0) as f:
            f.read(1 << 16)
            change(upper)
            while f.read(1 << 20):
                pass
        thread.join()
        self.assertEqual([e.word for e in failure], ["InvalidArgument"])
        return failure[0].message

    def test_what_changes_while_it_is_read(self):
        def append(path):
            with open(path, "ab") as f:
                f.write(b"more")

        for name, change in (("a", lambda top: append(top + "/a")), ("z", lambda top: append(top + "/z")),
                             ("z", lambda top: os.unlink(top + "/z")), ("a", lambda top: os.truncate(top + "/a", 100)),
                             ("z", lambda top: (os.unlink(top + "/z"), os.symlink("/etc/passwd", top + "/z")))):
            self.assertIn(f"'/{name}' of the snapshot changed", self.interrupted(change))

    def test_costs_what_changed(self):
        files = [entry(f"d{i}") for i in range(500)]
        files += [entry(f"d{i % 500}/{i}", b"content %d" % i) for i in range(9500)]
        image = self.bring(images.layer(files))
        mount, upper = self.snapshot(image["rootfs"])
        for i in range(250):
            with open(f"{mount}/d{i}/{i}", "a", encoding="utf-8") as f:
                f.write("changed")
            with open(f"{mount}/d0/new-{i}", "w", encoding="utf-8") as f:
                f.write("new")
        took = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = self.commit(image["chain_id"], upper)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        self.assertEqual(done["inodes"], 750)
        # Processor time, for what a loaded machine waits is not ours; unloaded, it is about a fifth of a second in all.
        self.assertLess(min(took), 0.6)


class Sockets(StoreTest):
    """The units: what each of the two sockets takes, and that its sandbox lets it."""

    SNAPSHOTS, STORE = "/run/davit/store-snapshot", "/run/davit/store"

    def ask(self, path, operation, *fds, **members):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            try:
                sock.connect(path)
            except FileNotFoundError:
                self.skipTest("the units are not installed here")
            return exchange(sock, fds, {"operation": operation, **members})

    def test_each_has_its_own_operations(self):
        fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, fd)
        for path, operations in ((self.STORE, ("commit", "diff", "usage")),
                                 (self.SNAPSHOTS, ("import", "rootfs", "collect", "check", "why", "save", "compose",
                                                   "content-commit", "content-read", "apply"))):
            for operation in operations:
                with self.subTest(operation):
                    with self.assertRaises(Failed) as caught:
                        self.ask(path, operation, fd)
                    self.assertEqual(caught.exception.word, "InvalidArgument")
                    self.assertIn("belongs to the other socket", caught.exception.message)

    def test_the_sandbox_suffices(self):
        """Overlay attributes are seen, a layer is applied, through the units as they are installed."""
        layer = images.layer([entry("d"), entry("d/lower", b"x"), entry("kept", b"x")])
        lower, upper, work = self.directory("lower"), self.directory("upper"), self.directory("work")
        subprocess.run(["tar", "-x", "-C", lower], input=layer, check=True)
        mount = self.mount("-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}")
        shutil.rmtree(mount + "/d")
        os.mkdir(mount + "/d")
        with open(mount + "/d/new", "w", encoding="utf-8") as f:
            f.write("new\n")
        os.mknod(mount + "/node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        read, write = os.pipe()
        fds = [os.open(p, os.O_RDONLY | os.O_DIRECTORY) for p in (upper, mount)]
        for fd in fds:
            self.addCleanup(os.close, fd)
        usage = self.ask(self.SNAPSHOTS, "usage", fds[0])["usage"]
        self.assertEqual(usage[0]["inodes"], 4)
        with open(read, "rb") as f:
            result = self.ask(self.SNAPSHOTS, "diff", write, fds[0], **{"from": "", "to": ""})
            os.close(write)
            data = f.read()
        self.assertEqual(result["digest"], images.digest(data))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.assertEqual(tar.getnames(), [".", "d", "d/new", "node"])
        self.assertEqual(self.ask(self.STORE, "apply", *self.pipe_of(layer), fds[1])["size"], len(layer))
        self.assertEqual(sorted(os.listdir(mount + "/d")), ["lower", "new"])

    def pipe_of(self, data):
        path = self.path("layer")
        with open(path, "wb") as f:
            f.write(data)
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        return (fd,)


class CommitCheckout(Commit):
    form = "checkout"


if __name__ == "__main__":
    unittest.main()
