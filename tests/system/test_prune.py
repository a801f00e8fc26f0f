# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pruning by a plan, disk usage, and images that leave and come back through the bus."""

import os

import davit
import images
from test_content import ContentTest
from test_image import BASE, TOP, ImageTest, chain_id

Variant = davit.GLib.Variant


class PruneTest(ContentTest):
    def prune(self, dry_run=False, namespace=None, **opts):
        types = {"Kinds": "as", "Label": "as", "Until": "t", "Dangling": "b"}
        options = {k: Variant(types[k], v) for k, v in opts.items()}
        job = davit.manager("Prune", "(sa{sv})", self.ns if namespace is None else namespace,
                            {"DryRun": Variant("b", dry_run), **options})
        result = davit.call(job, "Job.Wait", timeout=60)
        self.assertEqual(result["DryRun"], dry_run)
        return [row[:3] for row in result["Plan"] if row[0] != "space"], result["Freed"]

    def row(self, kind, id):
        return (kind, self.ns, id)


class Prune(PruneTest):
    def test_plan_first(self):
        """What the dry run says is what goes, and nothing goes before."""
        davit.busybox_image(self.ns)
        self.bring(self.archive("unused:1"))
        self.put(b"loose")
        id, _ = davit.create_container(["true"], image="busybox", namespace=self.ns)
        everything = [self.row("containers", id), self.row("images", "busybox:latest"), self.row("images", "unused:1")]
        plan, _ = self.prune(dry_run=True, Kinds=["containers", "images"])
        self.assertEqual(plan, everything)
        self.assertEqual(self.list_names(), ["busybox:latest", "unused:1"])
        plan, freed = self.prune(Kinds=["containers", "images", "space"])
        self.assertEqual(plan, everything)
        self.assertGreater(freed, 0)
        self.assertEqual(self.list_names(), [])
        self.assertEqual(davit.manager("ListContainers", "(sa{sv})", self.ns, {}), [])

    def test_used_images_stay(self):
        davit.busybox_image(self.ns)
        id, _ = davit.create_container(["true"], image="busybox", namespace=self.ns)
        self.addCleanup(davit.remove_container, id, self.ns)
        self.assertEqual(self.prune(Kinds=["images"])[0], [])
        self.assertEqual(self.list_names(), ["busybox:latest"])

    def test_running_containers_stay(self):
        davit.busybox_image(self.ns)
        run, _, _, _ = davit.run_container(["sleep", "1000"], image="busybox", namespace=self.ns)
        self.addCleanup(davit.remove_container, run, self.ns)
        ended, _, _, end = davit.run_container(["true"], image="busybox", namespace=self.ns)
        davit.read_exit(end)
        self.assertEqual(self.prune()[0], [self.row("containers", ended)])
        self.assertEqual([row[1] for row in davit.manager("ListContainers", "(sa{sv})", self.ns, {})], [run])

    def test_pinned_and_leased_stay(self):
        self.bring(self.archive("pinned:1"))
        self.bring(self.archive("leased:1"))
        self.bring(self.archive("gone:1"))
        davit.call(self.image("pinned:1"), "Image.SetPinned", "(b)", True)
        _, lease = davit.manager("CreateLease", "(ssa{sv})", self.ns, "mine", {})
        davit.call(lease, "Lease.Add", "(ss)", "image", "leased:1")
        self.write("held", b"held")
        held = self.commit("held", Lease="mine")
        kept = self.put(b"kept", Labels={"davit.gc.root": ""})
        try:
            self.assertEqual(self.prune()[0], [self.row("images", "gone:1")])
            self.assertEqual(self.list_names(), ["leased:1", "pinned:1"])
            self.assertEqual(self.contents(Kind=["blob"]), sorted([held, kept]))
        finally:
            davit.call(lease, "Lease.Delete", "(a{sv})", {})
            davit.call(self.image("pinned:1"), "Image.SetPinned", "(b)", False)

    def test_filters(self):
        self.bring(self.archive("web:1", settings={"Labels": {"tier": "web"}}))
        self.bring(self.archive("db:1", settings={"Labels": {"tier": "db"}}))
        self.assertEqual(self.prune(dry_run=True, Label=["tier=web"])[0], [self.row("images", "web:1")])
        self.assertEqual(self.prune(dry_run=True, Label=["tier", "none"])[0], [])
        came = davit.get(self.image("db:1"), "Image.ImportedAt")
        self.assertEqual(self.prune(dry_run=True, Until=came)[0], [self.row("images", "web:1")])
        digest = davit.get(self.image("web:1"), "Image.Digest")
        davit.call(self.image("web:1"), "Image.Tag", "(s)", "web@" + digest)
        self.assertEqual(self.prune(dry_run=True, Dangling=True)[0], [self.row("images", "web@" + digest)])
        self.assertEqual(self.list_names(), ["db:1", "web:1", "web@" + digest])

    def test_kept_snapshots_go(self):
        davit.busybox_image(self.ns)
        id, container = davit.create_container(["true"], image="busybox", namespace=self.ns)
        davit.call(container, "Container.Delete", "(a{sv})", davit.options(KeepSnapshot=True))
        keys = [row[1] for row in davit.manager("ListSnapshots", "(sa{sv})", self.ns, {})]
        self.assertEqual(len(keys), 1)
        self.assertEqual(self.prune(Kinds=["snapshots"])[0], [self.row("snapshots", keys[0])])
        self.assertEqual(davit.manager("ListSnapshots", "(sa{sv})", self.ns, {}), [])

    def test_bad_kinds(self):
        self.bring(self.archive())
        self.assertError("InvalidArgument", self.prune, Kinds=["volumes"], contains="volumes")
        self.assertError("NotFound", self.prune, namespace="nobodys-namespace")


class Usage(PruneTest):
    def usage(self):
        result = davit.call(davit.manager("DiskUsage"), "Job.Wait", timeout=120)
        return {row[0]: row[1:] for row in result["Rows"]}, result["Repository"]

    def test_disk_usage(self):
        davit.busybox_image(self.ns)
        before, _ = self.usage()
        self.bring(self.archive("a:1", layers=[BASE]))
        self.bring(self.archive("b:1", layers=[BASE, TOP]))
        id, _, _, end = davit.run_container(["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=3"], image="busybox",
                                            namespace=self.ns)
        self.addCleanup(davit.remove_container, id, self.ns)
        self.assertEqual(davit.read_exit(end), (0, "exited"))
        loose = self.put(b"x" * 5000, Labels={"davit.gc.root": ""})
        rows, repository = self.usage()
        self.assertEqual(set(rows), {"containers", "images", "snapshots", "content", "space"})
        self.assertEqual(rows["images"][0], before["images"][0] + 2)
        sizes = {name: davit.get(self.image(name), "Image.Size") for name in ("a:1", "b:1")}
        self.assertLess(rows["images"][2] - before["images"][2], sum(sizes.values()), "the shared layer counts once")
        self.assertGreaterEqual(rows["containers"][1] - before["containers"][1], 3 << 20)
        self.assertGreaterEqual(rows["containers"][2] - before["containers"][2], 3 << 20)
        self.assertEqual(rows["content"][0], before["content"][0] + 1)
        self.assertEqual(rows["content"][1] - before["content"][1], 5000)
        self.assertEqual(rows["content"][2], before["content"][2])
        self.assertGreater(repository, 0)
        self.assertEqual(self.contents(Kind=["blob"]), [loose])


class Save(ImageTest):
    def save(self, path, *names, **opts):
        directory = os.path.isdir(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY) if directory else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            job = davit.manager("SaveImages", "(sasha{sv})", self.ns, list(names), 0, davit.options(**opts), fds=[fd])
            return davit.call(job, "Job.Wait", timeout=60)
        finally:
            os.close(fd)

    def test_round_trip(self):
        """Out in every form and in again: the same layers, and saved again the same bytes."""
        self.bring(self.archive())
        for form in ("oci", "docker"):
            with self.subTest(form):
                first, second = self.path("first.tar"), self.path("second.tar")
                result = self.save(first, "app:1", Format=form)
                self.assertEqual(result["Bytes"], os.path.getsize(first))
                self.delete("app:1")
                self.assertEqual(self.bring(first), ["app:1"])
                self.assertEqual(davit.get(self.image("app:1"), "Image.ChainId"), chain_id([BASE, TOP]))
                self.save(second, "app:1", Format=form)
                with open(first, "rb") as a, open(second, "rb") as b:
                    self.assertEqual(a.read(), b.read())

    def test_directory_and_rootfs(self):
        self.bring(self.archive())
        os.mkdir(self.path("layout"))
        self.save(self.path("layout"), "app:1")
        self.assertEqual(self.bring(self.path("layout")), ["app:1"])
        self.save(self.path("root.tar"), "app:1", Format="rootfs")
        self.assertEqual(davit.run("tar", "tf", self.path("root.tar")).stdout.split(), ["./", "etc/", "etc/base", "etc/top"])

    def test_several_names(self):
        self.bring(self.archive("a:1", layers=[BASE]))
        self.bring(self.archive("b:1", layers=[TOP]))
        davit.call(self.image("a:1"), "Image.Tag", "(s)", "c:1")
        self.save(self.path("all.tar"), "a:1", "b:1", "c:1")
        for name in self.list_names():
            self.delete(name)
        self.assertEqual(sorted(self.bring(self.path("all.tar"))), ["a:1", "b:1", "c:1"])

    def test_refused(self):
        self.bring(self.archive())
        path = self.path("out.tar")
        self.assertError("InvalidArgument", self.save, path)
        self.assertError("InvalidArgument", self.save, path, "app:1", Format="zip", contains="zip")
        self.assertError("InvalidArgument", self.save, path, "app:1", Compression="xz", contains="xz")
        self.assertError("NotFound", self.save, path, "app:1", "other:1", contains="other:1")
        with open(path, "rb") as f:
            self.assertError("InvalidArgument", davit.manager, "SaveImages", "(sasha{sv})", self.ns, ["app:1"], 0, {},
                             fds=[f.fileno()], contains="writing")

    def test_cancel(self):
        """A reader that takes nothing: the job is cancelled, the worker goes."""
        self.bring(self.archive(layers=[images.layer([images.entry("big", os.urandom(1 << 20))])]))
        with davit.LeakCheck():
            reader, writer = os.pipe()
            try:
                job = davit.manager("SaveImages", "(sasha{sv})", self.ns, ["app:1"], 0, {}, fds=[writer])
                os.close(writer)
                davit.call(job, "Job.Cancel")
                self.assertRaises(davit.DavitError, davit.call, job, "Job.Wait", timeout=20)
                self.assertEqual(davit.get(job, "Job.State"), "cancelled")
            finally:
                os.close(reader)
