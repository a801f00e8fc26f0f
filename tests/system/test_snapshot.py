# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots: they come and go with containers, stay when asked to, and leave nothing behind."""

import json
import os

import davit
import images


def directories():
    """Names below snapshots/ and trash/."""
    found = set()
    for top in ("snapshots", "trash"):
        path = f"{davit.STATE}/{top}"
        if os.path.isdir(path):
            found.update(f"{top}/{n}" for n in os.listdir(path))
    return found


class SnapshotTest(davit.TestCase):
    def setUp(self):
        self.image = davit.busybox_image()
        self.chain = davit.get(davit.manager("GetImage", "(ss)", "", self.image), "Image.ChainId")
        self.key = davit.unique("snap")
        self.before = directories()

    def create(self, command=("true",), **opts):
        self.addCleanup(davit.remove_container, self.key)
        return davit.create_container(command, id=self.key, image=self.image, **opts)[1]

    def rows(self, **filters):
        return davit.manager("ListSnapshots", "(sa{sv})", "", davit.options(**filters))

    def row(self):
        found = [r for r in self.rows() if r[1] == self.key]
        return found[0] if found else None

    def upper(self, root=davit.STATE):
        with open(f"{root}/namespaces/default/snapshots/{self.key}.json") as f:
            return f"{davit.STATE}/snapshots/{json.load(f)['dir']}/fs"

    def start(self, container, **opts):
        _, _, end = davit.call(container, "Container.Start", "(a{sv})", davit.options(**opts))
        return davit.read_exit(end)

    def gone(self):
        davit.wait_until(lambda: directories() <= self.before, what="the directories to go")


class Kept(SnapshotTest):
    def test_life(self):
        """S-C02, S-C06, S-N06."""
        with davit.LeakCheck():
            container = self.create(["sh", "-c", "echo x > /new; rm /etc/group"])
            row = self.row()
            self.assertEqual(row[:4], ("default", self.key, "active", self.chain))
            props = davit.get_all(row[5], "Snapshot")
            self.assertEqual((props["Namespace"], props["Key"], props["Kind"], props["Parent"]), row[:4])
            self.assertEqual(props["CreatedAt"], row[4])
            self.assertEqual(davit.get(container, "Container.SnapshotKey"), self.key)
            self.assertIn(row[5], davit.managed_objects())
            self.assertEqual(self.start(container), (0, "exited"))
            with open(self.upper() + "/new") as f:
                self.assertEqual(f.read(), "x\n")
            self.assertEqual(os.stat(self.upper() + "/etc/group", follow_symlinks=False).st_rdev, 0)
            self.assertError("FailedPrecondition", davit.call, row[5], "Snapshot.Delete", contains=self.key)
            davit.remove_container(self.key)
            self.assertIsNone(self.row())
            self.gone()

    def test_content_stays_between_starts(self):
        """S-T20."""
        container = self.create(["sh", "-c", "cat /count; echo x >> /count; test $(wc -l < /count) -eq 2"])
        self.assertEqual(self.start(container), (1, "exited"))
        task = davit.manager("GetTask", "(ss)", "", self.key)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        davit.kill_davitd()
        self.assertEqual(self.start(davit.manager("GetContainer", "(ss)", "", self.key)), (0, "exited"))

    def test_keep(self):
        """S-C09."""
        with davit.LeakCheck():
            container = self.create(["sh", "-c", "echo kept > /file"])
            self.assertEqual(self.start(container), (0, "exited"))
            upper = self.upper()
            davit.call(container, "Container.Delete", "(a{sv})", davit.options(Force=True, KeepSnapshot=True))
            self.assertEqual(self.row()[1], self.key)
            with open(upper + "/file") as f:
                self.assertEqual(f.read(), "kept\n")
            davit.restart_davitd()
            davit.call(self.row()[5], "Snapshot.Delete")
            self.assertIsNone(self.row())
            self.gone()

    def test_root_directory(self):
        """Owner and mode of the image's root are those of the upper directory, or nobody could enter it."""
        ns = davit.unique("root")
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry(".", mode=0o1751, uid=7, gid=8)])]
        path = f"/tmp/{ns}.tar"
        self.addCleanup(os.unlink, images.oci_archive(path, layers, "odd:1"))
        davit.import_image(path)
        odd = davit.manager("GetImage", "(ss)", "", "odd:1")
        self.addCleanup(davit.call, odd, "Image.Delete", "(a{sv})", davit.options(Synchronous=True))
        text, end = davit.output_of(["stat", "-c", "%a %u %g", "/"], image="odd:1")
        self.assertEqual((text, end), ("1751 7 8\n", (0, "exited")))

    def test_filters(self):
        self.create()
        self.assertEqual([r[1] for r in self.rows(Key=[self.key])], [self.key])
        self.assertEqual(self.rows(Key=["none"]), [])
        self.assertIn(self.key, [r[1] for r in self.rows(Kind="active")])
        self.assertEqual(self.rows(Kind="committed"), [])
        self.assertError("InvalidArgument", self.rows, contains="Parents", Parents=davit.GLib.Variant("s", "x"))
        self.assertIn(self.key, [r[1] for r in davit.manager("ListSnapshots", "(sa{sv})", "*", {})])


class Ephemeral(SnapshotTest):
    def setUp(self):
        super().setUp()
        # Directories of the namespace in /run come with its first container and stay.
        davit.output_of(["true"], image=self.image)
        self.gone()

    def test_goes_with_its_container(self):
        """S-C09."""
        with davit.LeakCheck():
            text, end = davit.output_of(["sh", "-c", "echo x > /new; ls /new"], id=self.key, image=self.image)
            self.assertEqual((text, end), ("/new\n", (0, "exited")))
            davit.wait_until(lambda: self.row() is None, what="the snapshot to go")
            self.gone()

    def test_record_is_in_run(self):
        self.addCleanup(davit.remove_container, self.key)
        _, _, _, end = davit.run_container(["sleep", "1000"], id=self.key, image=self.image, AutoRemove="container")
        self.assertTrue(os.path.isdir(self.upper(davit.RUNTIME)))
        self.assertFalse(os.path.exists(f"{davit.STATE}/namespaces/default/snapshots/{self.key}.json"))
        davit.kill_davitd()
        self.assertEqual(self.row()[1], self.key)
        self.assertTrue(os.path.isdir(self.upper(davit.RUNTIME)))
        os.close(end)
        task = davit.manager("GetTask", "(ss)", "", self.key)
        end = davit.call(task, "Process.WaitFD")
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.read_exit(end), (137, "signalled"))
        davit.wait_until(lambda: self.row() is None, what="the snapshot to go")
        self.gone()


class Sweep(SnapshotTest):
    def test_nobodys_directories(self):
        """What a crash left without a record is removed by the next manager, and nothing else."""
        self.create(["true"])
        mine = self.upper()
        stray = f"{davit.STATE}/snapshots/{os.urandom(6).hex()}"
        os.makedirs(f"{stray}/fs/deep/er")
        trash = f"{davit.STATE}/trash/{os.urandom(6).hex()}"
        os.makedirs(f"{trash}/x")
        davit.kill_davitd()
        davit.wait_until(lambda: not os.path.exists(stray) and not os.path.exists(trash), what="the sweep")
        davit.wait_until(lambda: not os.path.exists(stray.replace("/snapshots/", "/trash/")), what="the removal")
        self.assertTrue(os.path.isdir(mine))

    def test_image_is_pinned_by_a_kept_snapshot(self):
        """Nothing but the snapshot names the chain: it stays until the snapshot has gone."""
        ns = davit.unique("pin")
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry("pin-" + ns, b"x")])]
        path = images.oci_archive(f"/tmp/{ns}.tar", layers, "pin:1")
        self.addCleanup(os.unlink, path)
        davit.import_image(path, namespace=ns)
        image = davit.manager("GetImage", "(ss)", ns, "pin:1")
        chain = davit.get(image, "Image.ChainId")
        id, container = davit.create_container(["true"], image="pin:1", namespace=ns)
        davit.call(container, "Container.Delete", "(a{sv})", davit.options(KeepSnapshot=True))
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True))
        self.assertTrue(davit.chain_exists(chain))
        davit.call(davit.manager("ListSnapshots", "(sa{sv})", ns, davit.options(Key=[id]))[0][5], "Snapshot.Delete")
        davit.import_image(path, namespace=ns)
        davit.call(davit.manager("GetImage", "(ss)", ns, "pin:1"), "Image.Delete", "(a{sv})", davit.options(Synchronous=True))
        self.assertFalse(davit.chain_exists(chain))


class StoreTest(davit.TestCase):
    """Snapshots without containers, in a namespace of their own."""

    def setUp(self):
        self.ns = davit.unique("sn")
        davit.busybox_image(self.ns)
        self.image = davit.manager("GetImage", "(ss)", self.ns, "busybox:latest")
        self.chain = davit.get(self.image, "Image.ChainId")
        self.before = directories()
        self.addCleanup(self.clean)

    def clean(self):
        """Children first; nothing stays in the way of the namespace's end."""
        for _ in range(8):
            for row in davit.manager("ListSnapshots", "(sa{sv})", self.ns, {}):
                try:
                    davit.call(row[5], "Snapshot.Delete")
                except davit.DavitError as error:
                    self.assertEqual(error.name, "FailedPrecondition")
        self.assertEqual(self.keys(), [])
        davit.call(self.image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True), timeout=60)
        davit.call(f"{davit.ROOT}/ns/{self.ns.replace('-', '_2d')}", "Namespace.Delete")

    def prepare(self, key, parent="image:busybox", **opts):
        return davit.manager("PrepareSnapshot", "(sssa{sv})", self.ns, key, parent, davit.options(**opts))

    def keys(self, **filters):
        return sorted(r[1] for r in davit.manager("ListSnapshots", "(sa{sv})", self.ns, davit.options(**filters)))

    def commit(self, snapshot, key, **opts):
        job = davit.call(snapshot, "Snapshot.Commit", "(sa{sv})", key, davit.options(**opts))
        return davit.call(job, "Job.Wait", timeout=60)

    def upper(self, key):
        with open(f"{davit.STATE}/namespaces/{self.ns}/snapshots/{key}.json") as f:
            return f"{davit.STATE}/snapshots/{json.load(f)['dir']}/fs"

    def write(self, key, name, data=b"x"):
        path = f"{self.upper(key)}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)

    def mount(self, snapshot, **opts):
        """A directory of the mount, through the descriptor."""
        fd = davit.call(snapshot, "Snapshot.OpenMount", "(a{sv})", davit.options(**opts))
        self.addCleanup(os.close, fd)
        return f"/proc/self/fd/{fd}"

    def content_of(self, snapshot):
        """What a view of a committed snapshot shows: relative path -> content of files."""
        root = self.mount(snapshot, ReadOnly=True)
        found = {}
        for top, _, names in os.walk(root):
            for name in names:
                path = os.path.join(top, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 100:
                    with open(path, "rb") as f:
                        found[os.path.relpath(path, root)] = f.read()
        return found


class Kinds(StoreTest):
    def test_prepare(self):
        """S-N02."""
        with davit.LeakCheck():
            path = self.prepare("a", Labels={"x": "1"})
            props = davit.get_all(path, "Snapshot")
            self.assertEqual((props["Kind"], props["Parent"], props["ParentKey"], props["ChainId"], props["Labels"], props["Size"]),
                             ("active", self.chain, "", "", {"x": "1"}, 0))
            self.assertEqual(davit.manager("GetSnapshot", "(ss)", self.ns, "a"), path)
            self.assertEqual(props["CreatedAt"], props["UpdatedAt"])
            self.assertEqual(davit.get(self.prepare("by chain", self.chain), "Snapshot.Parent"), self.chain)
            self.assertEqual(davit.get(self.prepare("scratch", ""), "Snapshot.Parent"), "")
            self.assertEqual(davit.get(self.prepare("v", View=True), "Snapshot.Kind"), "view")
            self.assertEqual(self.keys(), ["a", "by chain", "scratch", "v"])
            self.assertEqual(self.keys(Kind="view"), ["v"])
            self.assertEqual(self.keys(Label=["x=1"]), ["a"])
            self.assertEqual(self.keys(Parent=""), ["scratch"])
            self.assertEqual(self.keys(Parent=self.chain), ["a", "by chain", "v"])
            davit.kill_davitd()
            self.assertEqual(davit.get_all(path, "Snapshot"), props)
            davit.call(path, "Snapshot.SetLabels", "(a{ss})", {"y": "2"})
            self.assertEqual(self.keys(Label=["y"]), ["a"])
            self.assertGreater(davit.get(path, "Snapshot.UpdatedAt"), props["UpdatedAt"])
            for key in self.keys():
                davit.call(davit.manager("GetSnapshot", "(ss)", self.ns, key), "Snapshot.Delete")
            davit.wait_until(lambda: directories() <= self.before, what="the directories to go")

    def test_refused(self):
        self.prepare("a")
        before = self.keys()
        for name, args, word in (("AlreadyExists", ("a", ""), "a"),
                                 ("InvalidArgument", ("", ""), "key"),
                                 ("InvalidArgument", ("x" * 256, ""), "key"),
                                 ("InvalidArgument", ("a\nb", ""), "key"),
                                 ("InvalidArgument", ("image:a", ""), "image:"),
                                 ("NotFound", ("b", "none"), "none"),
                                 ("NotFound", ("b", "image:none"), "none"),
                                 ("NotFound", ("b", "sha256:" + "0" * 64), "0"),
                                 ("FailedPrecondition", ("b", "a"), "active")):
            with self.subTest(args):
                self.assertError(name, self.prepare, *args, contains=word)
        self.assertError("NotFound", self.prepare, "b", "", contains="none", Lease="none")
        self.assertError("InvalidArgument", self.prepare, "b", "", contains="Force", Force=True)
        self.assertError("NotFound", davit.manager, "GetSnapshot", "(ss)", self.ns, "b", contains="b")
        self.assertEqual(self.keys(), before)
        self.assertLessEqual(len(directories() - self.before), 1)

    def test_wrong_kinds(self):
        view = self.prepare("v", View=True)
        self.prepare("a")
        done = self.commit(davit.manager("GetSnapshot", "(ss)", self.ns, "a"), "c")
        committed = done["Snapshot"]
        self.assertError("FailedPrecondition", self.commit, view, "x", contains="view")
        self.assertError("FailedPrecondition", self.commit, committed, "x", contains="committed")
        self.assertError("FailedPrecondition", davit.call, committed, "Snapshot.Mounts", contains="view")
        self.assertError("FailedPrecondition", self.mount, committed, contains="view")
        with open("/dev/null", "rb") as null:
            for path in (view, committed):
                self.assertError("FailedPrecondition", davit.call, path, "Snapshot.Apply", "(ha{sv})", 0, {}, fds=[null.fileno()])

    def test_children(self):
        self.prepare("a")
        self.write("a", "one", b"1")
        one = self.commit(davit.manager("GetSnapshot", "(ss)", self.ns, "a"), "one")["Snapshot"]
        child = self.prepare("child", "one")
        self.assertEqual(davit.get(child, "Snapshot.ParentKey"), "one")
        self.assertEqual(self.keys(Parent="one"), ["child"])
        self.assertError("FailedPrecondition", davit.call, one, "Snapshot.Delete", contains="child")
        davit.call(child, "Snapshot.Delete")
        davit.call(one, "Snapshot.Delete")
        self.assertEqual(self.keys(), [])


class Commit(StoreTest):
    def test_commit(self):
        """S-N01: what was written is in the chain, stands below the next, and stays when the active one has gone."""
        active = self.prepare("a")
        self.write("a", "etc/new", b"new")
        os.mknod(self.upper("a") + "/etc/group", 0o600 | 0o020000, 0)
        done = self.commit(active, "c", Labels={"l": "1"})
        self.assertEqual(self.keys(), ["c"])
        self.assertEqual(self.keys(Kind="committed", Label=["l=1"]), ["c"])
        props = davit.get_all(done["Snapshot"], "Snapshot")
        self.assertEqual((props["Kind"], props["Parent"], props["ChainId"], props["Size"]),
                         ("committed", self.chain, done["ChainId"], done["Size"]))
        self.assertGreater(done["Size"], 0)
        shown = self.content_of(self.prepare("v", "c", View=True))
        self.assertEqual(shown["etc/new"], b"new")
        self.assertNotIn("etc/group", shown)
        self.assertIn("etc/passwd", shown)
        davit.kill_davitd()
        self.assertEqual(davit.get_all(done["Snapshot"], "Snapshot"), props)
        davit.wait_until(lambda: len(directories() - self.before) == 1, what="the active one's directory to go")

    def test_continue(self):
        """S-O18."""
        active = self.prepare("a")
        self.write("a", "one", b"1")
        one = self.commit(active, "one", Continue=True)
        self.write("a", "two", b"2")
        two = self.commit(active, "two", Continue=True)
        self.assertEqual(self.keys(), ["a", "one", "two"])
        self.assertNotEqual(one["ChainId"], two["ChainId"])
        shown = {key: self.content_of(self.prepare("v" + key, key, View=True)) for key in ("one", "two")}
        self.assertEqual([(s.get("one"), s.get("two")) for s in shown.values()], [(b"1", None), (b"1", b"2")])

    def test_from_nothing(self):
        active = self.prepare("a", "")
        self.write("a", "dir/file", b"alone")
        done = self.commit(active, "c")
        self.assertEqual(done["ChainId"], done["DiffId"])
        self.assertEqual(self.content_of(self.prepare("v", "c", View=True)), {"dir/file": b"alone"})

    def test_same_again(self):
        """The same changes on the same parent are the same chain; nothing is kept twice, one of two may go."""
        for key in ("a", "b"):
            self.prepare(key)
            self.write(key, "file", b"same")
            for path in (self.upper(key) + "/file", self.upper(key)):
                os.utime(path, (1000000000, 1000000000))
        chains = [self.commit(davit.manager("GetSnapshot", "(ss)", self.ns, key), "c" + key)["ChainId"] for key in ("a", "b")]
        self.assertEqual(chains[0], chains[1])
        davit.call(davit.manager("GetSnapshot", "(ss)", self.ns, "ca"), "Snapshot.Delete")
        davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait")
        self.assertEqual(self.content_of(self.prepare("v", "cb", View=True))["file"], b"same")

    def test_refused(self):
        active = self.prepare("a")
        self.prepare("b")
        self.write("a", "file", b"1")
        with davit.LeakCheck():
            self.assertError("AlreadyExists", self.commit, active, "b", contains="b")
            self.assertError("AlreadyExists", self.commit, active, "a", contains="a")
            self.assertError("InvalidArgument", self.commit, active, "", contains="key")
            self.assertError("NotFound", self.commit, active, "c", contains="none", Lease="none")
            self.assertError("InvalidArgument", self.commit, active, "c", contains="Force", Force=True)
            davit.systemctl("stop", "davit-store-snapshot.socket")
            try:
                self.assertError("Unavailable", self.commit, active, "c")
            finally:
                davit.systemctl("start", "davit-store-snapshot.socket")
        self.assertEqual(self.keys(), ["a", "b"])
        self.assertEqual(os.listdir(self.upper("a")), ["file"])
        self.commit(active, "c")

    def test_lease(self):
        """A lease keeps the chain when the snapshot has gone."""
        _, lease = davit.manager("CreateLease", "(ssa{sv})", self.ns, "keep", {})
        active = self.prepare("a")
        self.write("a", "file", os.urandom(10))
        done = self.commit(active, "c", Lease="keep")
        self.assertEqual(sorted(davit.get(lease, "Lease.Resources")), [("chain", done["ChainId"]), ("snapshot", "c")])
        davit.call(lease, "Lease.Remove", "(ss)", "snapshot", "c")
        davit.call(done["Snapshot"], "Snapshot.Delete")
        davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait")
        again = self.prepare("again", done["ChainId"], View=True)
        self.assertIn("file", self.content_of(again))
        davit.call(again, "Snapshot.Delete")
        davit.call(lease, "Lease.Delete", "(a{sv})", davit.options(Synchronous=True))
        self.assertError("NotFound", self.prepare, "late", done["ChainId"])

    def test_space_goes_with_the_last(self):
        """S-C10."""
        active = self.prepare("a")
        self.write("a", "file", os.urandom(100000))
        done = self.commit(active, "c")
        davit.call(done["Snapshot"], "Snapshot.Delete")
        davit.wait_until(lambda: not os.path.exists(f"{davit.STATE}/collection-due"), what="the collection")
        self.assertError("NotFound", self.prepare, "late", done["ChainId"])


class Mounts(StoreTest):
    def test_open_mount(self):
        """S-N03: written through the descriptor, seen by the next mount; nothing is left of it afterwards."""
        with davit.LeakCheck():
            active = self.prepare("a")
            fd = davit.call(active, "Snapshot.OpenMount", "(a{sv})", {})
            root = f"/proc/self/fd/{fd}"
            self.assertIn("busybox", os.listdir(root + "/bin"))
            with open(root + "/etc/new", "w") as f:
                f.write("new")
            os.unlink(root + "/etc/group")
            os.close(fd)
            fd = davit.call(active, "Snapshot.OpenMount", "(a{sv})", davit.options(ReadOnly=True))
            self.assertEqual(os.listdir(f"/proc/self/fd/{fd}/etc").count("new"), 1)
            self.assertNotIn("group", os.listdir(f"/proc/self/fd/{fd}/etc"))
            os.close(fd)
            davit.call(active, "Snapshot.Delete")

    def test_read_only(self):
        for key, opts in (("a", {}), ("v", {"View": True})):
            root = self.mount(self.prepare(key, **opts), ReadOnly=True)
            with self.assertRaises(OSError) as caught:
                open(root + "/etc/new", "w")
            self.assertEqual(caught.exception.errno, 30)

    def test_scratch(self):
        """S-N02."""
        active = self.prepare("a", "")
        root = self.mount(active)
        self.assertEqual(os.listdir(root), [])
        os.mkdir(root + "/dir")
        self.assertEqual(os.listdir(self.mount(active, ReadOnly=True)), ["dir"])
        self.assertEqual(os.listdir(self.mount(self.prepare("v", "", View=True))), [])

    def test_description(self):
        """S-N03."""
        mounts = davit.call(self.prepare("a", ""), "Snapshot.Mounts")
        self.assertEqual([(m[0], m[1], m[2]) for m in mounts], [("bind", self.upper("a"), "")])
        mounts = davit.call(self.prepare("b"), "Snapshot.Mounts")
        self.assertEqual(mounts[-1][0], "overlay")
        self.assertIn("upperdir=" + self.upper("b"), mounts[-1][3])
        view = davit.call(self.prepare("v", View=True), "Snapshot.Mounts")
        self.assertNotIn("upperdir", str(view))

    def test_description_works(self):
        """Mounted by hand as it says, in a mount namespace of one's own, the snapshot is what OpenMount gives."""
        for key, opts in (("a", {}), ("v", {"View": True})):
            script = ["set -e; mkdir -p /mnt/snapshot"]
            for kind, source, target, options in davit.call(self.prepare(key, **opts), "Snapshot.Mounts"):
                kind = "" if kind == "bind" else f"-t {kind}"
                script.append(f"mkdir -p '{target or '/mnt/snapshot'}'")
                script.append(f"mount {kind} -o '{','.join(options)}' '{source}' '{target or '/mnt/snapshot'}'")
            script.append("cat /mnt/snapshot/etc/group; touch /mnt/snapshot/new 2>/dev/null && echo written || true")
            text = davit.run("unshare", "--mount", "sh", "-c", "\n".join(script)).stdout
            self.assertIn("root:", text)
            self.assertEqual("written" in text, key == "a")
        self.assertTrue(os.path.exists(self.upper("a") + "/new"))


class Usage(StoreTest):
    def test_usage(self):
        active = self.prepare("a")
        empty = davit.call(active, "Snapshot.Usage")
        self.write("a", "dir/file", os.urandom(1 << 20))
        bytes, inodes = davit.call(active, "Snapshot.Usage")
        self.assertGreaterEqual(bytes - empty[0], 1 << 20)
        self.assertLess(bytes - empty[0], (1 << 20) + 65536)
        self.assertEqual(inodes - empty[1], 2)
        done = self.commit(active, "c")
        self.assertEqual(davit.call(done["Snapshot"], "Snapshot.Usage")[0], done["Size"])


class DiffAndApply(StoreTest):
    def diff(self, snapshot, path, source="", **opts):
        with open(path, "wb") as output:
            job = davit.call(snapshot, "Snapshot.Diff", "(sha{sv})", source, 0, davit.options(**opts), fds=[output.fileno()])
            return davit.call(job, "Job.Wait", timeout=60)

    def apply(self, snapshot, path, **opts):
        with open(path, "rb") as layer:
            job = davit.call(snapshot, "Snapshot.Apply", "(ha{sv})", 0, davit.options(**opts), fds=[layer.fileno()])
            return davit.call(job, "Job.Wait", timeout=60)

    def setUp(self):
        super().setUp()
        self.path = f"/tmp/{self.ns}.layer"
        self.addCleanup(lambda: os.path.exists(self.path) and os.unlink(self.path))

    def test_there_and_back(self):
        """A difference applied to another snapshot of the same parent makes it the same."""
        a, b = self.prepare("a"), self.prepare("b")
        self.write("a", "etc/new", b"new")
        os.mknod(self.upper("a") + "/etc/group", 0o600 | 0o020000, 0)
        done = self.diff(a, self.path, Compression="gzip")
        self.assertEqual(done["Size"], os.path.getsize(self.path))
        with davit.LeakCheck(ignore=(davit.STATE,)):
            applied = self.apply(b, self.path, Digest=done["Digest"])
        self.assertEqual(applied["DiffId"], done["DiffId"])
        shown = self.content_of(b)
        self.assertEqual(shown["etc/new"], b"new")
        self.assertNotIn("etc/group", shown)
        self.assertIn("etc/passwd", shown)

    def test_root_of_the_layer(self):
        """What a layer says of the root itself holds for the snapshot: attributes, and that nothing below shows."""
        a = self.prepare("a")
        with open(self.path, "wb") as f:
            f.write(images.layer([images.entry("./", mode=0o751, mtime=1500000000), images.entry("./new", b"new")]))
        self.apply(a, self.path)
        found = os.stat(self.upper("a"))
        self.assertEqual((found.st_mode & 0o7777, int(found.st_mtime)), (0o751, 1500000000))
        self.assertEqual(self.content_of(a)["new"], b"new")
        with open(self.path, "wb") as f:
            f.write(images.layer([images.entry(".wh..wh..opq", b""), images.entry("only", b"only")]))
        self.apply(a, self.path)
        self.assertEqual({name: data for name, data in self.content_of(a).items() if data is not None}, {"only": b"only"})

    def test_list(self):
        a = self.prepare("a")
        self.write("a", "new", b"new")
        os.mknod(self.upper("a") + "/bin", 0o600 | 0o020000, 0)
        self.diff(a, self.path, Format="list")
        with open(self.path, "rb") as f:
            self.assertEqual(sorted(filter(None, f.read().split(b"\0")))[0][:2], b"A ")
        self.diff(self.prepare("v", View=True), self.path, Format="list")
        self.assertEqual(os.path.getsize(self.path), 0)

    def test_refused(self):
        a = self.prepare("a")
        for opts in ({"Format": "zip"}, {"Compression": "rar"}):
            self.assertError("InvalidArgument", self.diff, a, self.path, contains=list(opts.values())[0], **opts)
        self.assertError("NotFound", self.diff, a, self.path, "none", contains="none")
        with open("/dev/null", "rb") as closed:
            self.assertError("InvalidArgument", davit.call, a, "Snapshot.Diff", "(sha{sv})", "", 0, {}, contains="writing",
                             fds=[closed.fileno()])
        with open(self.path, "wb") as f:
            f.write(b"no layer at all" * 100)
        self.assertError("InvalidArgument", self.apply, a, self.path)
        self.assertError("InvalidArgument", self.apply, a, self.path, contains="abc", Digest="abc")
        self.write("a", "still", b"usable")
        self.assertGreater(self.commit(a, "c")["Size"], 0)


class Kind(SnapshotTest):
    """S-N04: what a snapshot stands on is chosen by name, whatever this host would take."""

    def setUp(self):
        super().setUp()
        self.name = davit.unique("kind") + ":1"
        path = f"/tmp/{self.name}.tar"
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry("unique", os.urandom(20))])]
        self.addCleanup(os.unlink, images.oci_archive(path, layers, self.name))
        davit.import_image(path, RootFilesystem="none")
        image = davit.manager("GetImage", "(ss)", "", self.name)
        self.chain = davit.get(image, "Image.ChainId")
        self.addCleanup(self.mounts_go)
        self.addCleanup(davit.call, image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True))

    def mounts_go(self):
        davit.wait_until(lambda: not [n for n in os.listdir(f"{davit.RUNTIME}/chains") if n.startswith(self.chain)],
                         what="the mounts to go")

    def prepare(self, kind, **opts):
        key = davit.unique(kind)
        path = davit.manager("PrepareSnapshot", "(sssa{sv})", "", key, "image:" + self.name,
                             davit.options(RootFilesystem=kind, **opts))
        self.addCleanup(davit.call, path, "Snapshot.Delete")
        return key, path

    def run_on(self, key):
        """Runs on a snapshot; gives the container's root mount and its files."""
        text, end = davit.output_of(["sh", "-c", "grep ' / / ' /proc/self/mountinfo; ls /; echo x >/written"], image=self.name,
                                    Snapshot=key)
        self.assertEqual(end, (0, "exited"))
        return text

    def test_kinds(self):
        there = {"erofs": "erofs", "checkout": "checkouts"}
        prepared = [(kind, *self.prepare(kind)) for kind in there for _ in range(2)]
        self.assertFalse(davit.chain_exists(self.chain))
        for turn in range(2):
            for kind, key, path in prepared:
                text = self.run_on(key)
                self.assertIn(f"/run/davit/chains/{self.chain}.{kind}", text)
                self.assertIn("unique\n", text)
                self.assertEqual("written\n" in text, turn > 0)
                self.assertEqual(davit.get(path, "Snapshot.RootFilesystem"), kind)
                self.assertIn(f"{davit.STATE}/{there[kind]}/{self.chain[7:]}", str(davit.call(path, "Snapshot.Mounts")))
                self.assertTrue(os.path.lexists(f"{davit.STATE}/{there[kind]}/{self.chain[7:]}"))
            davit.restart_davitd()

    def test_open_mount(self):
        for kind in ("erofs", "checkout"):
            _, path = self.prepare(kind, View=True)
            fd = davit.call(path, "Snapshot.OpenMount", "(a{sv})", {})
            try:
                self.assertIn("unique", os.listdir(f"/proc/self/fd/{fd}"))
            finally:
                os.close(fd)

    def test_names(self):
        _, path = self.prepare("auto")
        self.assertEqual(davit.get(path, "Snapshot.RootFilesystem"), "auto")
        for kind in ("", "none", "btrfs", "erofs-loop"):
            self.assertError("InvalidArgument", davit.manager, "PrepareSnapshot", "(sssa{sv})", "", davit.unique("bad"), "",
                             davit.options(RootFilesystem=kind), contains="RootFilesystem")
