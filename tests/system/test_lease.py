# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases: what they name stays; they end when they are deleted, in time, or with their caller."""

import json
import os
import struct
import time

import davit
import images
from davit import GLib
from test_commit_image import answer, played_store, receive


class LeaseTest(davit.TestCase):
    def setUp(self):
        self.ns = davit.unique("lease")
        self.layer = images.layer([images.entry("etc"), images.entry("etc/" + self.ns, os.urandom(5000))])
        self.path = images.oci_archive(f"/tmp/{self.ns}.tar", [self.layer], "app:1")
        self.addCleanup(os.unlink, self.path)
        self.chain = images.digest(self.layer)

    def bring(self, **opts):
        davit.import_image(self.path, namespace=self.ns, **opts)
        return davit.manager("GetImage", "(ss)", self.ns, "app:1")

    def lease(self, id="", **opts):
        return davit.manager("CreateLease", "(ssa{sv})", self.ns, id, davit.options(**opts))

    def list(self, **filters):
        return [row[1] for row in davit.manager("ListLeases", "(sa{sv})", self.ns, davit.options(**filters))]

    def there(self):
        """Whether the store still has the layers: a checkout or an image file of the chain."""
        hex = self.chain[7:]
        return any(os.path.lexists(f"{davit.STATE}/{form}/{hex}") for form in ("checkouts", "erofs"))

    def collect(self):
        return davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait", timeout=60)

    def delete_image(self, image):
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Synchronous=True))

    def end(self, lease, **opts):
        davit.call(lease, "Lease.Delete", "(a{sv})", davit.options(**opts))


class Life(LeaseTest):
    def test_properties_and_list(self):
        with davit.Signals("Manager.JobRemoved"):
            id, path = self.lease("mine", Labels={"a": "b"}, ExpireUSec=3600 * 1000000)
        self.addCleanup(self.end, path)
        self.assertEqual(id, "mine")
        props = davit.get_all(path, "Lease")
        self.assertEqual((props["Namespace"], props["Id"], props["Owner"], props["Labels"], props["Resources"]),
                         (self.ns, "mine", "", {"a": "b"}, []))
        self.assertAlmostEqual(props["ExpiresAt"] - props["CreatedAt"], 3600 * 1000000)
        self.assertEqual(davit.manager("GetLease", "(ss)", self.ns, "mine"), path)
        row = davit.manager("ListLeases", "(sa{sv})", self.ns, {})[0]
        self.assertEqual(row, (self.ns, "mine", "", {"a": "b"}, props["CreatedAt"], props["ExpiresAt"], path))
        self.assertEqual(self.list(Label=["a=b"]), ["mine"])
        self.assertEqual(self.list(Label=["a=c"]), [])
        self.assertEqual(self.list(Id=["other"]), [])
        self.assertIn(path, davit.managed_objects())
        davit.call(path, "Lease.SetLabels", "(a{ss})", {"c": "d"})
        davit.kill_davitd()
        self.assertEqual(davit.get_all(path, "Lease"), props | {"Labels": {"c": "d"}})

    def test_errors(self):
        _, path = self.lease("x")
        self.addCleanup(self.end, path)
        self.assertError("AlreadyExists", self.lease, "x", contains="x")
        self.assertError("InvalidArgument", self.lease, "../x")
        self.assertError("NotFound", davit.manager, "GetLease", "(ss)", self.ns, "y", contains="y")
        add = lambda *resource: davit.call(path, "Lease.Add", "(ss)", *resource)
        self.assertError("InvalidArgument", add, "object", "x", contains="object")
        self.assertError("InvalidArgument", add, "chain", "abc", contains="abc")
        self.assertError("NotFound", add, "image", "none:1", contains="none:1")
        self.assertError("NotFound", add, "snapshot", "none", contains="none")
        for type in ("chain", "content"):
            self.assertError("NotFound", add, type, "sha256:" + "0" * 64, contains=f"no {type}")
        self.assertError("NotFound", davit.call, path, "Lease.Remove", "(ss)", "chain", self.chain, contains="chain")
        self.assertEqual(davit.get(path, "Lease.Resources"), [])

    def test_made_up_ids(self):
        made = [self.lease() for _ in range(3)]
        self.assertEqual(sorted(self.list()), sorted(id for id, _ in made))
        for _, path in made:
            self.end(path)
        self.assertEqual(self.list(), [])

    def test_nothing_is_left(self):
        image = self.bring()
        self.lease()
        with davit.LeakCheck():
            _, path = self.lease("gone", BusName=True, ExpireUSec=10 ** 9)
            davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
            self.end(path, Synchronous=True)
        self.end(davit.manager("GetLease", "(ss)", self.ns, self.list()[0]))
        self.assertError("FailedPrecondition", self.namespace_with_a_lease)
        self.delete_image(image)

    def namespace_with_a_lease(self):
        _, path = self.lease("last")
        try:
            davit.call(f"{davit.ROOT}/ns/{self.ns.replace('-', '_2d')}", "Namespace.Delete")
        finally:
            self.end(path)


class Keeps(LeaseTest):
    def test_chain(self):
        """Named by nothing but a lease, over a restart; gone when that has gone."""
        image = self.bring()
        _, path = self.lease("keep")
        davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
        self.delete_image(image)
        self.assertTrue(self.there())
        davit.kill_davitd()
        self.collect()
        self.assertTrue(self.there())
        self.assertEqual(davit.get(path, "Lease.Resources"), [("chain", self.chain)])
        davit.call(path, "Lease.Remove", "(ss)", "chain", self.chain)
        davit.wait_until(lambda: not self.there(), what="the chain to go")
        self.end(path)

    def test_names(self):
        """An image and a snapshot that a lease names stay under their names, over a restart, until it lets go."""
        image = self.bring()
        name = davit.get(image, "Image.Name")
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", self.ns, "held", "image:app:1", {})
        _, path = self.lease("keep")
        for resource in (("image", "app:1"), ("snapshot", "held")):
            davit.call(path, "Lease.Add", "(ss)", *resource)
        davit.kill_davitd()
        refused = lambda *call: self.assertError("FailedPrecondition", davit.call, *call, contains='"keep"')
        refused(image, "Image.Delete", "(a{sv})", {})
        refused(image, "Image.Rename", "(s)", "other:1")
        refused(snapshot, "Snapshot.Delete")
        self.assertEqual(davit.get(image, "Image.Name"), name)
        davit.call(path, "Lease.Remove", "(ss)", "snapshot", "held")
        davit.call(snapshot, "Snapshot.Delete")
        self.assertError("FailedPrecondition", davit.call, image, "Image.Delete", "(a{sv})", {}, contains="or force it.")
        davit.call(image, "Image.Delete", "(a{sv})", davit.options(Force=True, Synchronous=True))
        self.assertFalse(self.there())
        self.end(path)

    def test_parts_of_images(self):
        """A manifest is a content that stays; a layer lives with its image, and a check finds it by no other name."""
        image = self.bring()
        digest = davit.get(image, "Image.Digest")
        _, path = self.lease("parts")
        davit.call(path, "Lease.Add", "(ss)", "content", digest)
        self.assertError("InvalidArgument", davit.call, path, "Lease.Add", "(ss)", "content", self.chain, contains="layer")
        self.delete_image(image)
        again, _ = self.lease("again")
        davit.call(davit.manager("GetLease", "(ss)", self.ns, again), "Lease.Add", "(ss)", "content", digest)
        self.end(path)
        self.end(davit.manager("GetLease", "(ss)", self.ns, again))

    def put(self, data):
        """A content that nothing but its label keeps; its digest and its object."""
        with open(self.path + ".data", "wb") as f:
            f.write(data)
        self.addCleanup(os.unlink, f.name)
        digest = davit.ctl("-n", self.ns, "content", "put", f.name, check=True).stdout.strip()
        return digest, davit.manager("GetContent", "(ss)", self.ns, digest)

    def test_while_a_collection_sweeps(self):
        """What the worker was not told to keep may be going already: no lease says that it is kept."""
        self.bring()
        _, path = self.lease("late")
        gone, content = self.put(self.ns.encode())
        with played_store(f"{davit.RUNTIME}/store", "davit-store.socket") as store:
            job = davit.manager("Collect", "(a{sv})", {})
            connection, request = receive(store)
            self.assertEqual(request["operation"], "collect")
            davit.call(path, "Lease.Add", "(ss)", "content", gone)
            davit.call(path, "Lease.Remove", "(ss)", "content", gone)
            davit.call(content, "Content.SetLabels", "(a{ss})", {})
            connection.send(struct.pack("=IHHII", 1, 6, 0, 0, 0))  # STORE_READY: the roots are wanted
            told = json.loads(connection.recv(1 << 20)[16:])
            self.assertIn(self.chain, told["chains"])
            davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
            self.assertError("Unavailable", davit.call, path, "Lease.Add", "(ss)", "content", gone, contains=gone)
            self.assertError("InvalidArgument", davit.call, path, "Lease.Add", "(ss)", "content", "sha256:00")
            connection.close()
            self.assertError("Internal", davit.call, job, "Job.Wait")
            davit.call(path, "Lease.Add", "(ss)", "content", gone)
        self.end(path)
        self.collect()

    def test_name_after_the_end(self):
        image = self.bring()
        _, path = self.lease("keep")
        davit.call(path, "Lease.Add", "(ss)", "image", "app:1")
        self.end(path)
        renamed = davit.call(image, "Image.Rename", "(s)", "other:1")
        self.delete_image(renamed)
        self.assertFalse(self.there())

    def test_expiry(self):
        """Nobody calls; the time is over, and the space is free."""
        image = self.bring()
        _, path = self.lease("short", ExpireUSec=1500000)
        davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
        self.delete_image(image)
        self.assertTrue(self.there())
        davit.wait_until(lambda: not self.there(), what="the chain to go")
        self.assertEqual(self.list(), [])

    def test_expiry_while_there_is_no_manager(self):
        image = self.bring()
        _, path = self.lease("short", ExpireUSec=1000000)
        davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
        self.delete_image(image)
        expires = davit.get(path, "Lease.ExpiresAt")
        davit.systemctl("stop", "davitd.service")
        davit.wait_until(lambda: time.time() * 1000000 > expires, what="the time to be over")
        davit.start_davitd()
        davit.wait_until(lambda: not self.there(), what="the chain to go")
        self.assertEqual(self.list(), [])

    def bound(self, connection):
        """A lease that ends with this connection."""
        return davit.call_on(davit.NAME, davit.ROOT, f"{davit.NAME}.Manager", "CreateLease", "(ssa{sv})",
                             (self.ns, "bound", {"BusName": GLib.Variant("b", True)}), connection=connection)[1]

    def test_caller_leaves(self):
        """S-E11."""
        image = self.bring()
        connection = davit.connect()
        path = self.bound(connection)
        self.assertEqual(davit.get(path, "Lease.Owner"), connection.get_unique_name())
        davit.call(path, "Lease.Add", "(ss)", "chain", self.chain)
        self.delete_image(image)
        davit.kill_davitd()
        self.assertEqual(self.list(), ["bound"])
        self.assertTrue(self.there())
        connection.close_sync(None)
        davit.wait_until(lambda: not self.there(), what="the chain to go")
        self.assertEqual(self.list(), [])

    def test_caller_leaves_while_there_is_no_manager(self):
        connection = davit.connect()
        self.bound(connection)
        davit.systemctl("stop", "davitd.service")
        connection.close_sync(None)
        davit.start_davitd()
        davit.wait_until(lambda: self.list() == [], what="the lease to go")
