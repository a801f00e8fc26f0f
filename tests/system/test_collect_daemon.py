# SPDX-License-Identifier: LGPL-2.1-or-later
"""Collection as the manager runs it: when, with what roots, and what a failure or a crash leaves."""

import fcntl
import json
import os
import threading

import davit
import images

DUE = f"{davit.STATE}/collection-due"


class CollectTest(davit.TestCase):
    def setUp(self):
        self.ns = davit.unique("collect")
        self.addCleanup(self.collect)

    def archive(self, name, size=5000):
        """An image of one layer that nothing else has; its path and chain id."""
        layer = images.layer([images.entry("etc"), images.entry("etc/" + name.replace(":", "-"), os.urandom(size))])
        path = images.oci_archive(f"/tmp/{davit.unique(self.ns)}.tar", [layer], name)
        self.addCleanup(os.unlink, path)
        return path, images.digest(layer)

    def bring(self, name, **opts):
        path, chain = self.archive(name)
        davit.import_image(path, namespace=self.ns, **opts)
        return davit.manager("GetImage", "(ss)", self.ns, name), chain

    def there(self, chain):
        return any(os.path.lexists(f"{davit.STATE}/{form}/{chain[7:]}") for form in ("checkouts", "erofs"))

    def delete(self, image, synchronous=True):
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Synchronous=synchronous), timeout=60)

    def collect(self, **opts):
        return davit.call(davit.manager("Collect", "(a{sv})", davit.options(**opts)), "Job.Wait", timeout=60)

    def why(self, type, id):
        return sorted(davit.manager("WhyKept", "(sss)", self.ns, type, id))

    def file_of(self, image, size=5000):
        """The one object that the store says is kept by the image alone. Equal in size may be what other tests left."""
        paths = [os.path.join(top, n) for top, _, names in os.walk(f"{davit.STATE}/repo/objects") for n in names
                 if n.endswith(".file") and os.lstat(os.path.join(top, n)).st_size == size]
        kept = {p: self.why("object", os.path.basename(os.path.dirname(p)) + os.path.basename(p)[:62]) for p in paths}
        own = [p for p, reasons in kept.items() if reasons == [("image", self.ns, image)]]
        self.assertEqual(len(own), 1, kept)
        return own[0]

    def idle(self):
        davit.wait_until(lambda: not os.path.exists(DUE), what="the mark to go")


class Collect(CollectTest):
    def test_dry_run(self):
        """What a dry run says would go is what goes."""
        image, chain = self.bring("a:1")
        davit.systemctl("stop", "davit-store.socket")
        try:
            self.assertError("Unavailable", self.delete, image)  # what is tried again comes much later
        finally:
            davit.systemctl("start", "davit-store.socket")
        plan = self.collect(DryRun=True)
        self.assertEqual(plan["Chains"], [chain])
        self.assertEqual(len(plan["Contents"]), 2)
        self.assertTrue(self.there(chain))
        done = self.collect()
        self.assertEqual((done["Chains"], sorted(done["Contents"])), (plan["Chains"], sorted(plan["Contents"])))
        self.assertFalse(self.there(chain))
        self.assertGreater(done["Freed"], 5000)
        again = self.collect()
        self.assertEqual((again["Chains"], again["Contents"]), ([], []))

    def test_delete_is_collected_soon(self):
        image, chain = self.bring("a:1")
        kept, other = self.bring("b:1")
        self.delete(image, synchronous=False)
        davit.wait_until(lambda: not self.there(chain), what="the chain to go")
        self.idle()
        self.assertTrue(self.there(other))
        self.delete(kept)

    def test_replaced_meaning(self):
        """A name that means something else keeps nothing of what it meant."""
        _, chain = self.bring("a:1")
        image, other = self.bring("a:1")
        davit.wait_until(lambda: not self.there(chain), what="the old chain to go")
        self.assertTrue(self.there(other))
        self.delete(image)

    def test_many_wait_for_one(self):
        made = [self.bring(f"a{i}:1") for i in range(5)]
        threads = [threading.Thread(target=self.delete, args=(image,)) for image, _ in made]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([self.there(chain) for _, chain in made], [False] * 5)
        self.idle()

    def test_import_is_not_waited_for(self):
        """A collection ends while an import runs, and takes nothing from it."""
        image, chain = self.bring("a:1")
        path, other = self.archive("b:1", size=3 << 20)
        with open(path, "rb") as f:
            data = f.read()
        reader, writer = os.pipe()
        job = davit.manager("ImportImage", "(ssha{sv})", self.ns, "", 0, {}, fds=[reader])
        os.close(reader)
        os.write(writer, data[:65536])
        self.delete(image)
        self.assertFalse(self.there(chain))
        self.assertEqual(davit.get(job, "Job.State"), "running")
        with os.fdopen(writer, "wb") as f:
            f.write(data[65536:])
        self.assertEqual(davit.call(job, "Job.Wait", timeout=60)["Images"], ["b:1"])
        self.assertTrue(self.there(other))
        self.delete(davit.manager("GetImage", "(ss)", self.ns, "b:1"))

    def test_imports_and_collections(self):
        """Collections all the while never take what an import has just brought."""
        path, chain = self.archive("same:1")
        stop = threading.Event()
        failed = []

        def sweep():
            while not stop.is_set():
                try:
                    self.collect()
                except davit.DavitError as error:
                    failed.append(error)
                    return

        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        try:
            for _ in range(8):
                davit.import_image(path, namespace=self.ns)
                self.assertTrue(self.there(chain))
                self.delete(davit.manager("GetImage", "(ss)", self.ns, "same:1"))
        finally:
            stop.set()
            sweeper.join()
        self.assertEqual(failed, [])

    def test_cancel_stops_to_wait(self):
        """The job ends at once, though the store's lock is somebody else's; the collection goes on and does its work."""
        image, chain = self.bring("a:1")
        with open(f"{davit.STATE}/lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.delete(image, synchronous=False)
            job, other = davit.manager("Collect", "(a{sv})", {}), davit.manager("Collect", "(a{sv})", {})
            self.assertEqual([davit.get(j, "Job.State") for j in (job, other)], ["running"] * 2)
            davit.call(job, "Job.Cancel")
            self.assertError("FailedPrecondition", davit.call, job, "Job.Wait", timeout=10, contains="cancel")
            self.assertEqual([davit.get(j, "Job.State") for j in (job, other)], ["cancelled", "running"])
            self.assertTrue(self.there(chain))
        davit.call(other, "Job.Wait", timeout=60)
        self.assertFalse(self.there(chain))


class Why(CollectTest):
    def test_reasons(self):
        image, chain = self.bring("a:1")
        reason = [("image", self.ns, "a:1")]
        digest = davit.get(image, "Image.Digest")
        layer = davit.get(image, "Image.Layers")[0]
        for type, id in (("chain", chain), ("content", digest), ("layer", layer[0]), ("layer", layer[1])):
            with self.subTest(type):
                self.assertEqual(self.why(type, id), reason)
        self.assertEqual(self.why("image", "a:1"), [])
        davit.call(image, "Image.SetPinned", "(b)", True)
        self.assertEqual(self.why("image", "a:1"), reason)
        davit.call(image, "Image.SetPinned", "(b)", False)
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", self.ns, "s", "image:a:1", {})
        _, lease = davit.manager("CreateLease", "(ssa{sv})", self.ns, "l", {})
        davit.call(lease, "Lease.Add", "(ss)", "snapshot", "s")
        davit.call(lease, "Lease.Add", "(ss)", "image", "a:1")
        self.assertEqual(self.why("image", "a:1"), [("lease", self.ns, "l")])
        self.assertEqual(self.why("snapshot", "s"), [("lease", self.ns, "l")])
        self.assertEqual(self.why("chain", chain), sorted(reason + [("lease", self.ns, "l"), ("snapshot", self.ns, "s")]))
        davit.call(lease, "Lease.Delete", "(a{sv})", {})
        davit.call(snapshot, "Snapshot.Delete")
        self.delete(image)
        self.assertEqual(self.why("chain", chain), [])

    def test_object(self):
        image, _ = self.bring("a:1")
        self.file_of("a:1")
        self.delete(image)

    def test_refused(self):
        image, _ = self.bring("a:1")
        for name, type, id, word in (("InvalidArgument", "thing", "x", "thing"), ("InvalidArgument", "chain", "x", "x"),
                                     ("InvalidArgument", "object", "x", "x"), ("NotFound", "image", "b:1", "b:1"),
                                     ("NotFound", "snapshot", "s", "s")):
            self.assertError(name, self.why, type, id, contains=word)
        self.delete(image)


class Check(CollectTest):
    def check(self, **opts):
        return davit.call(davit.manager("CheckStore", "(a{sv})", davit.options(**opts)), "Job.Wait", timeout=60)

    def test_clean(self):
        image, _ = self.bring("a:1")
        found = self.check()
        self.assertEqual((found["Damaged"], found["Records"]), ([], []))
        self.assertGreater(found["Objects"], 2)
        self.assertGreater(found["Bytes"], 5000)
        self.delete(image)

    def test_damaged_file(self):
        """The file is named with the image that uses it."""
        image, _ = self.bring("a:1")
        path = self.file_of("a:1")
        with open(path, "r+b") as f:
            first = f.read(1)
            f.seek(0)
            f.write(bytes([first[0] ^ 1]))
        try:
            damaged = [d for d in self.check()["Damaged"] if f"{self.ns}/a:1" in d[4]]
            self.assertTrue(damaged)
            self.assertTrue(any("etc/a-1" in d[2] for d in damaged), damaged)
        finally:
            with open(path, "r+b") as f:
                f.write(first)
        self.assertEqual(self.check()["Damaged"], [])
        self.delete(image)

    def test_broken_records(self):
        image, _ = self.bring("a:1")
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", self.ns, "s", "image:a:1", {})
        broken = f"{davit.STATE}/namespaces/{self.ns}/images/cut%3A1.json"
        with open(f"{davit.STATE}/namespaces/{self.ns}/snapshots/s.json") as f:
            work = f"{davit.STATE}/snapshots/{json.load(f)['dir']}/work"
        with open(broken, "w") as f:
            f.write('{"version":1,"name":"cu')
        os.rename(work, work + ".away")
        try:
            records = [r[0] for r in self.check()["Records"]]
        finally:
            os.unlink(broken)
            os.rename(work + ".away", work)
        self.assertEqual(sorted(records), [f"namespaces/{self.ns}/images/cut%3A1.json", f"namespaces/{self.ns}/snapshots/s"])
        self.assertEqual(self.check()["Records"], [])
        davit.call(snapshot, "Snapshot.Delete")
        self.delete(image)


class Failure(CollectTest):
    def test_no_store(self):
        image, chain = self.bring("a:1")
        with davit.LeakCheck(timeout=20):
            davit.systemctl("stop", "davit-store.socket")
            try:
                self.assertError("Unavailable", self.collect)
                self.assertError("Unavailable", self.delete, image)
                self.assertTrue(os.path.exists(DUE))
            finally:
                davit.systemctl("start", "davit-store.socket")
            self.assertTrue(self.there(chain))
            davit.restart_davitd()
            davit.wait_until(lambda: not self.there(chain), what="the chain to go")
            self.idle()

    def test_manager_killed(self):
        """Killed between the record's end and the collection's: the next one frees the space."""
        image, chain = self.bring("a:1")
        davit.systemctl("stop", "davit-store.socket")
        try:
            self.delete(image, synchronous=False)
            davit.kill_davitd()
        finally:
            davit.systemctl("start", "davit-store.socket")
        davit.kill_davitd()
        davit.wait_until(lambda: not self.there(chain), what="the chain to go")
        self.idle()

    def test_unknown_option(self):
        self.assertError("InvalidArgument", self.collect, contains="Force", Force=True)
