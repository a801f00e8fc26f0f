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
        container = self.create(["sh", "-c", "cat /count; echo x >> /count; test $(wc -l < /count) -eq 2"])
        self.assertEqual(self.start(container), (1, "exited"))
        task = davit.manager("GetTask", "(ss)", "", self.key)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        davit.kill_davitd()
        self.assertEqual(self.start(davit.manager("GetContainer", "(ss)", "", self.key)), (0, "exited"))

    def test_keep(self):
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
        self.assertError("InvalidArgument", self.rows, contains="Parent", Parent=davit.GLib.Variant("s", "x"))
        self.assertIn(self.key, [r[1] for r in davit.manager("ListSnapshots", "(sa{sv})", "*", {})])


class Ephemeral(SnapshotTest):
    def setUp(self):
        super().setUp()
        # Directories of the namespace in /run come with its first container and stay.
        davit.output_of(["true"], image=self.image)
        self.gone()

    def test_goes_with_its_container(self):
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
        checkout = f"{davit.STATE}/checkouts/{davit.get(image, 'Image.ChainId')[7:]}"
        id, container = davit.create_container(["true"], image="pin:1", namespace=ns)
        davit.call(container, "Container.Delete", "(a{sv})", davit.options(KeepSnapshot=True))
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True))
        self.assertTrue(os.path.isdir(checkout))
        davit.call(davit.manager("ListSnapshots", "(sa{sv})", ns, davit.options(Key=[id]))[0][5], "Snapshot.Delete")
        davit.import_image(path, namespace=ns)
        davit.call(davit.manager("GetImage", "(ss)", ns, "pin:1"), "Image.Delete", "(a{sv})", davit.options(Synchronous=True))
        self.assertFalse(os.path.exists(checkout))
