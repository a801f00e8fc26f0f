# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of an overlay's upper: commit, diff, apply and usage, on real mounts, against what the mount showed."""

import array
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import tarfile
import tempfile
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
        self.count = 0

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
        subprocess.run(["mount", *arguments, path], check=True)
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


class CommitCheckout(Commit):
    form = "checkout"


if __name__ == "__main__":
    unittest.main()
