# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root file systems of images in every form a host can mount: EROFS as a file, behind a loop device, checkouts."""

import glob
import json
import os
import re
import tarfile
import tempfile

import davit
import images
import shim

CONFIGURATION = "/etc/davit/davit.conf.d/50-form.conf"
SH = ("sh", "-c")
SAME = b"the same content, twice\n"
CAPABILITY = b"\x01\x00\x00\x02" + b"\x00\x04\x00\x00" + bytes(12)  # revision 2: cap_net_bind_service, effective
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USERNS = {"linux": {"namespaces": [{"type": t} for t in ("mount", "pid", "uts", "ipc", "network", "cgroup", "user")],
                    "uidMappings": IDS, "gidMappings": IDS}}


def supported():
    """The forms that the launcher says the kernel mounts; it serves one manager at a time."""
    davit.systemctl("stop", "davitd.service")
    launcher = shim.Launcher()
    try:
        return launcher.features()
    finally:
        launcher.close()
        davit.start_davitd()


def configure(form):
    """davitd with this RootFilesystem=, or without any."""
    if form:
        os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
        with open(CONFIGURATION, "w") as f:
            f.write(f"[Store]\nRootFilesystem={form}\n")
    else:
        os.unlink(CONFIGURATION)
    davit.restart_davitd()


def content(unique):
    """Entries of a layer with one of each kind of thing; `unique` makes it a chain of its own."""
    def link(name, target):
        return images.entry(name, kind=tarfile.LNKTYPE, linkname=target, mtime=1600000000)

    pax = {"mtime": "1600000000.123456789", "SCHILY.xattr.user.colour": "blue",
           "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    return [
        images.entry("d", mode=0o751, mtime=1500000000, uid=3, gid=4),
        images.entry("d/one", SAME, mtime=1600000000),
        images.entry("d/two", SAME, mtime=1600000001),
        images.entry("d/three", SAME, mtime=1600000002, uid=70000, mode=0o4750),
        images.entry("d/four", b"four\n", mtime=1600000003), link("d/five", "d/four"), link("six", "d/four"),
        images.entry("d/attributes", b"x", pax_headers=pax),
        images.entry("d/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        images.entry("d/fifo", kind=tarfile.FIFOTYPE, mode=0o620),
        images.entry("d/link", kind=tarfile.SYMTYPE, linkname="../" + "x" * 3900),
        images.entry("d/empty", b"", mtime=1600000004), images.entry("d/sub"), images.entry("d/sub/file", b"sub\n"),
        images.entry("large", bytes(range(256)) * 8192), images.entry("unique", unique.encode()),
    ]


class FormTest(davit.TestCase):
    """What holds in any form. Subclasses say which."""

    FORM = None  # of davit.conf
    WANTED = None  # of the launcher
    time_limit = 120

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.WANTED not in supported():
            raise davit.unittest.SkipTest(f"this kernel does not mount {cls.FORM}")
        configure(cls.FORM)
        cls.ns = davit.unique("form")
        cls.archive = f"/tmp/{cls.ns}.tar"
        cls.bring()
        cls.chain = davit.get(davit.manager("GetImage", "(ss)", cls.ns, "form:1"), "Image.ChainId")

    @classmethod
    def bring(cls):
        if not os.path.exists(cls.archive):
            layers = [images.layer_of(davit.rootfs()), images.layer(content(cls.ns))]
            images.oci_archive(cls.archive, layers, "form:1")
        davit.import_image(cls.archive, namespace=cls.ns)

    @classmethod
    def tearDownClass(cls):
        image = davit.manager("GetImage", "(ss)", cls.ns, "form:1")
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True), timeout=60)
        os.unlink(cls.archive)
        configure(None)

    def inside(self, script, status=0, patch=None, **opts):
        if patch:
            opts["SpecPatch"] = json.dumps(patch)
        text, end = davit.output_of([*SH, script], image="form:1", namespace=self.ns, **opts)
        self.assertEqual(end, (status, "exited"), text)
        return text

    def running(self, script="exec sleep 1000", patch=None, **opts):
        """(id, the container's root as the host sees it)"""
        if patch:
            opts["SpecPatch"] = json.dumps(patch)
        id, _, pid, end = davit.run_container([*SH, script], image="form:1", namespace=self.ns, **opts)
        self.addCleanup(davit.remove_container, id, self.ns)
        os.close(end)
        return id, f"/proc/{pid}/root"

    def source(self):
        return f"{davit.STATE}/{'checkouts' if self.FORM == 'checkout' else 'erofs'}/{self.chain[7:]}"

    def chain_mount(self):
        """Type and source of the launcher's mount of the chain; there is one."""
        pid = davit.main_pid("davit-launcher.service")
        with open(f"/proc/{pid}/mountinfo") as f:
            lines = [line for line in f if f"/chains/{self.chain} " in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], r" ro,(?!.*nosuid.* - )")
        return lines[0].split(" - ")[1].split()[:2]

    def forms(self):
        return {form for form in ("checkouts", "erofs") if os.path.lexists(f"{davit.STATE}/{form}/{self.chain[7:]}")}


class Forms(FormTest):
    def test_only_this_form_is_there(self):
        self.inside("true")
        self.assertEqual(self.forms(), {"checkouts" if self.FORM == "checkout" else "erofs"})
        kind, source = self.chain_mount()
        self.assertEqual(kind == "erofs", self.FORM != "checkout")
        self.assertEqual(source.startswith("/dev/loop"), self.FORM == "erofs-loop")

    def test_metadata(self):
        """Types, owners, modes, links, devices and attributes are the archive's; with EROFS so are all times."""
        _, root = self.running()
        def stat(name):
            return os.lstat(f"{root}/{name}")
        d = stat("d")
        self.assertEqual((d.st_mode & 0o7777, d.st_uid, d.st_gid, d.st_mtime), (0o751, 3, 4, 1500000000))
        three = stat("d/three")
        self.assertEqual((three.st_mode & 0o7777, three.st_uid), (0o4750, 70000))
        links = [stat(name) for name in ("d/four", "d/five", "six")]
        self.assertEqual(len({st.st_ino for st in links}), 1)
        self.assertEqual(links[0].st_nlink, 4 if self.FORM == "checkout" else 3)  # the object is a link there
        self.assertEqual((stat("d/null").st_rdev, stat("d/fifo").st_mode & 0o7777), (os.makedev(1, 3), 0o620))
        self.assertEqual(os.readlink(f"{root}/d/link"), "../" + "x" * 3900)
        self.assertEqual(os.getxattr(f"{root}/d/attributes", "user.colour"), b"blue")
        self.assertEqual(os.getxattr(f"{root}/d/attributes", "security.capability"), CAPABILITY)
        self.assertEqual(sorted(os.listxattr(f"{root}/d/attributes")), ["security.capability", "user.colour"])
        with open(f"{root}/large", "rb") as f:
            self.assertEqual(f.read(), bytes(range(256)) * 8192)
        self.assertEqual(stat("d/attributes").st_mtime_ns, 1600000000123456789)
        if self.FORM != "checkout":
            self.assertEqual([stat(f"d/{n}").st_mtime for n in ("one", "two", "three", "four", "empty")],
                             [1600000000.0 + n for n in range(5)])

    def test_equal_files_are_two(self):
        """Two files of one content are not "the same file" to anybody."""
        self.assertEqual(self.inside("cd /d && cp one two && mv one two && cat two && ls one two 2>/dev/null || true"),
                         SAME.decode() + "two\n")

    def execute(self, id, script):
        return davit.ctl("-n", self.ns, "exec", id, *SH, script, check=True).stdout

    @staticmethod
    def objects():
        """All of each object but its links and what follows from them: a collection may run beside the test."""
        found = {}
        for path in glob.glob(f"{davit.STATE}/repo/objects/*/*.file"):
            st = os.lstat(path)
            attributes = tuple(sorted((n, os.getxattr(path, n, follow_symlinks=False))
                                      for n in os.listxattr(path, follow_symlinks=False)))
            found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, attributes)
        return found

    def test_changes_stay_above(self):
        """Whatever a container does to its files, the store's objects stay as they are."""
        before = self.objects()
        id, root = self.running()
        text = self.execute(id, """set -e; cd /d
            chmod 0600 one; chown 5:6 two; echo more >> three; : > four; rm attributes; mv sub renamed
            cat one renamed/file; stat -c "%a %u %g" one two; wc -c < three""")
        self.assertEqual(text.splitlines(), [SAME.decode().rstrip(), "sub", "600 0 0", "644 5 6", str(len(SAME) + 5)])
        self.assertTrue(os.path.exists(f"{root}/d/renamed/file"))
        self.assertFalse(os.path.exists(f"{root}/d/sub"))
        after = self.objects()
        both = before.keys() & after.keys()
        self.assertTrue(both)
        self.assertEqual({path: before[path] for path in both}, {path: after[path] for path in both})
        self.assertEqual(self.inside("cat /d/one /d/four /d/five; ls /d/sub"), SAME.decode() + "four\nfour\nfile\n")

    def test_only_metadata_is_copied(self):
        """chmod of a large file takes no space."""
        _, root = self.running()
        os.chmod(f"{root}/large", 0o600)
        found = glob.glob(f"{davit.STATE}/snapshots/*/fs/large")
        self.assertEqual(len(found), 1, found)
        st = os.stat(found[0])
        self.assertEqual((st.st_size, st.st_mode & 0o777), (2 << 20, 0o600))
        self.assertLess(st.st_blocks, 64)
        with open(f"{root}/large", "rb") as f:
            self.assertEqual(f.read(256), bytes(range(256)))

    def test_user_namespace(self):
        """Owners are the container's own, in the image's files and in what is changed above them."""
        script = """set -e; stat -c "%u %g" /d /d/one; cat /d/one; echo x >> /d/one; chown 7:8 /d/two; mv /d/sub /d/moved
            stat -c "%u %g" /d/one /d/two /d/moved; cat /d/moved/file"""
        self.assertEqual(self.inside(script, patch=USERNS).splitlines(),
                         ["3 4", "0 0", SAME.decode().rstrip(), "0 0", "7 8", "0 0", "sub"])
        id, root = self.running(patch=USERNS)
        self.assertEqual((os.stat(f"{root}/d").st_uid, os.stat(f"{root}/d/one").st_uid), (100003, 100000))
        davit.remove_container(id, self.ns)
        self.inside("true")

    def test_nested_overlay(self):
        """An overlay inside a container, above its own files."""
        script = """set -e; mount -t tmpfs t /tmp; mkdir /tmp/u /tmp/w /tmp/m
            mount -t overlay o -o lowerdir=/d,upperdir=/tmp/u,workdir=/tmp/w /tmp/m
            cat /tmp/m/one; echo in > /tmp/m/one; cat /d/one"""
        self.assertEqual(self.inside(script, CapAdd=["CAP_SYS_ADMIN"]), 2 * SAME.decode())

    def test_mount_is_shared(self):
        for _ in range(2):
            self.running()
        self.chain_mount()

    def test_start_needs_no_worker(self):
        self.inside("true")
        before = davit.unit_show("davit-store.socket", "NAccepted")
        self.inside("true")
        self.assertEqual(davit.unit_show("davit-store.socket", "NAccepted"), before)

    def test_what_is_missing_is_made(self):
        """The file or directory has gone, with its mount standing or not: a start has it made again."""
        for restart in (False, True):
            self.inside("true")
            os.rename(self.source(), f"{davit.STATE}/trash-{self.ns}")
            self.addCleanup(davit.run, "rm", "-rf", f"{davit.STATE}/trash-{self.ns}")
            if restart:
                davit.systemctl("restart", "davit-launcher.service")
            self.assertEqual(self.inside("cat /d/four"), "four\n")
            self.assertTrue(os.path.exists(self.source()))
            davit.run("rm", "-rf", f"{davit.STATE}/trash-{self.ns}")

    def test_launcher_starts_again(self):
        """Containers keep their files, and new ones get them."""
        _, root = self.running()
        davit.systemctl("kill", "--signal=KILL", "--kill-whom=main", "davit-launcher.service")
        self.assertEqual(self.inside("cat /d/four"), "four\n")
        with open(f"{root}/d/four") as f:
            self.assertEqual(f.read(), "four\n")


class File(Forms):
    FORM, WANTED = "erofs-file", shim.EROFS_FILE


class Loop(Forms):
    FORM, WANTED = "erofs-loop", shim.EROFS_LOOP

    def test_device_goes_with_its_mount(self):
        """The containers and the image gone, the device is free."""
        _, root = self.running()
        self.assertTrue(os.path.exists(root))
        _, device = self.chain_mount()
        block = f"/sys/block/{os.path.basename(device)}"
        with open(f"{block}/loop/backing_file") as f:
            self.assertIn(self.chain[7:], f.read())
        with open(f"{block}/ro") as f:
            self.assertEqual(f.read(), "1\n")
        self.doCleanups()
        davit.call(davit.manager("GetImage", "(ss)", self.ns, "form:1"), "Image.Delete", "(a{sv})",
                   davit.options(Synchronous=True), timeout=60)
        davit.wait_until(lambda: not os.path.exists(f"{block}/loop/backing_file"), what="the loop device to be free")
        self.bring()


class Checkout(Forms):
    FORM, WANTED = "checkout", shim.CHECKOUT


del Forms


class Objects(FormTest):
    FORM, WANTED = "auto", shim.EROFS_FILE

    def test_missing_object(self):
        """One file cannot be read while its object is missing, and can again once it is there, without a new mount."""
        _, root = self.running()
        digest = re.search(rb"\.\./objects|(/[0-9a-f]{2}/[0-9a-f]{62}\.file)", self.redirect("six")).group(1).decode()
        path = f"{davit.STATE}/repo/objects{digest}"
        os.rename(path, f"{davit.STATE}/kept-{self.ns}")
        try:
            with self.assertRaises(OSError):
                open(f"{root}/d/four")
            with open(f"{root}/d/one", "rb") as f:
                self.assertEqual(f.read(), SAME)
        finally:
            os.rename(f"{davit.STATE}/kept-{self.ns}", path)
        with open(f"{root}/d/four") as f:
            self.assertEqual(f.read(), "four\n")

    def redirect(self, name):
        with tempfile.TemporaryDirectory() as directory:
            davit.run("mount", "-t", "erofs", "-o", "ro,loop", self.source(), directory)
            try:
                return os.getxattr(f"{directory}/{name}", "trusted.overlay.redirect")
            finally:
                davit.run("umount", directory)

    def test_change_of_form(self):
        """What a container has changed it finds again when the host mounts another form, and back."""
        script = "cat /d/one; cd /d; test -d renamed || { chmod 600 one; mv sub renamed; }; stat -c %a one; cat renamed/file"
        id, container = davit.create_container([*SH, script], image="form:1", namespace=self.ns)
        self.addCleanup(davit.remove_container, id, self.ns)
        for form in ("auto", "checkout", "auto"):
            configure(form)
            reader, writer = os.pipe()
            _, _, end = davit.call(container, "Container.Start", "(a{sv})",
                                   davit.options(Stdout=0, Stderr=0, AutoRemove="task"), fds=[writer])
            os.close(writer)
            with os.fdopen(reader) as stream:
                self.assertEqual(stream.read(), SAME.decode() + "600\nsub\n", form)
            self.assertEqual(davit.read_exit(end), (0, "exited"))
            davit.wait_until(lambda: not davit.managed_objects().get(container, {}).get(f"{davit.NAME}.Task"),
                             what="the task to go")


class Launcher(davit.TestCase):
    """The launcher by its protocol."""

    def setUp(self):
        davit.systemctl("stop", "davitd.service")
        self.addCleanup(davit.start_davitd)
        self.launcher = shim.Launcher()
        self.addCleanup(self.launcher.close)
        self.base = tempfile.mkdtemp(dir=davit.STATE)
        self.addCleanup(davit.shutil.rmtree, self.base, ignore_errors=True)

    def test_bad_images(self):
        """What is no image is an error and leaves nothing, be it a directory, a link or rubbish."""
        os.mkdir(f"{self.base}/directory")
        os.symlink("/etc/passwd", f"{self.base}/link")
        os.mkfifo(f"{self.base}/fifo")
        for name, data in (("empty", b""), ("rubbish", os.urandom(65536)), ("zeros", bytes(65536))):
            with open(f"{self.base}/{name}", "wb") as f:
                f.write(data)
        before = davit.run("losetup", "--list", "--noheadings", check=False).stdout
        for name in ("directory", "link", "fifo", "empty", "rubbish", "zeros"):
            for form in (shim.EROFS_FILE, shim.EROFS_LOOP):
                self.assertLess(self.launcher.chain(form, "bad", f"{self.base}/{name}", fall_back=True), 0, name)
        self.assertEqual(self.launcher.chain(shim.EROFS_FILE, "bad", f"{self.base}/none"), -2)
        self.assertEqual(self.launcher.chain(7, "bad", f"{self.base}/rubbish"), -95)
        with open(f"/proc/{davit.main_pid('davit-launcher.service')}/mountinfo") as f:
            self.assertNotIn("/chains/bad", f.read())
        self.assertEqual(davit.run("losetup", "--list", "--noheadings", check=False).stdout, before)

    def test_mount(self):
        """A detached overlay, writable or not; paths outside Davit's directories are refused."""
        for name in ("lower", "fs", "work"):
            os.mkdir(f"{self.base}/{name}")
        with open(f"{self.base}/lower/file", "w") as f:
            f.write("x")
        fd = self.launcher.mount([f"{self.base}/lower"], upper=f"{self.base}/fs", work=f"{self.base}/work")
        self.assertGreaterEqual(fd, 0)
        with open(f"/proc/self/fd/{fd}/file", "a") as f:
            f.write("y")
        os.close(fd)
        with open(f"{self.base}/fs/file") as f:
            self.assertEqual(f.read(), "xy")
        fd = self.launcher.mount([f"{self.base}/fs", f"{self.base}/lower"])
        with open(f"/proc/self/fd/{fd}/file") as f:
            self.assertEqual(f.read(), "xy")
        with self.assertRaises(OSError):
            open(f"/proc/self/fd/{fd}/new", "w")
        os.close(fd)
        for lowers in (["/etc"], [f"{self.base}/../../../../etc"], [], [f"{self.base}/none"], [f"{self.base}/lower"] * 65):
            self.assertLess(self.launcher.mount(lowers), 0, lowers)


del FormTest
