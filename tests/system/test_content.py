# SPDX-License-Identifier: LGPL-2.1-or-later
"""Contents on the bus: what images are made of, writers that go on after a restart, labels, reading, collection."""

import hashlib
import json
import os
import subprocess
import sys
import time

import davit
import images
from test_image import BASE, TOP, ImageTest

DATA = b"some data\n" * 1000


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class ContentTest(ImageTest):
    def forget(self):
        super().forget()
        try:
            for row in davit.manager("ListContentWriters", "(s)", self.ns):
                davit.manager("AbortContent", "(ss)", self.ns, row[0])
            for row in davit.manager("ListContent", "(sa{sv})", self.ns, {}):
                davit.call(row[-1], "Content.Delete")
        except davit.DavitError as error:
            self.assertEqual(error.name, "NotFound")

    @staticmethod
    def variants(**opts):
        types = {"Size": "t", "Digest": "s", "MediaType": "s", "Labels": "a{ss}", "Lease": "s"}
        return {k: davit.GLib.Variant(types[k], v) for k, v in opts.items()}

    def open(self, ref, **opts):
        return davit.manager("WriteContent", "(ssa{sv})", self.ns, ref, self.variants(**opts))

    def write(self, ref, data, **opts):
        fd, offset = self.open(ref, **opts)
        with os.fdopen(fd, "wb", buffering=0) as f:
            f.write(data)
        return offset

    def commit(self, ref, **opts):
        job = davit.manager("CommitContent", "(ssa{sv})", self.ns, ref, self.variants(**opts))
        result = davit.call(job, "Job.Wait", timeout=60)
        self.assertEqual(result["Content"], davit.manager("GetContent", "(ss)", self.ns, result["Digest"]))
        return result["Digest"]

    def put(self, data, ref="put", **opts):
        self.write(ref, data, **opts)
        return self.commit(ref)

    def content(self, digest):
        return davit.manager("GetContent", "(ss)", self.ns, digest)

    def contents(self, **filters):
        rows = davit.manager("ListContent", "(sa{sv})", self.ns,
                             {k: davit.GLib.Variant("as", v) for k, v in filters.items()})
        return sorted(row[1] for row in rows)

    def writers(self):
        return {row[0]: row[1:] for row in davit.manager("ListContentWriters", "(s)", self.ns)}

    def read(self, digest, offset=0, length=0):
        fd, size = davit.call(self.content(digest), "Content.Read", "(tt)", offset, length)
        with os.fdopen(fd, "rb") as f:
            return f.read(), size

    def collect(self):
        return davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait", timeout=60)


class Write(ContentTest):
    def test_write_commit_read(self):
        """S-B01, S-B03: a reference, bytes, and what they are."""
        self.assertEqual(self.write("blob", DATA), 0)
        labels = {"a": "b", "davit.gc.root": ""}  # any collection may take what nothing keeps
        digest = self.commit("blob", MediaType="text/plain", Labels=labels)
        self.assertEqual(digest, digest_of(DATA))
        props = davit.get_all(self.content(digest), "Content")
        self.assertEqual({k: props[k] for k in ("Namespace", "Digest", "Kind", "MediaType", "Size", "Labels")},
                         {"Namespace": self.ns, "Digest": digest, "Kind": "blob", "MediaType": "text/plain",
                          "Size": len(DATA), "Labels": labels})
        self.assertGreater(props["CreatedAt"], 0)
        self.assertEqual(self.writers(), {})
        self.assertEqual(self.read(digest), (DATA, len(DATA)))
        self.assertEqual(self.read(digest, 5, 7)[0], DATA[5:12])
        self.assertEqual(self.read(digest, len(DATA) - 3)[0], DATA[-3:])
        self.assertError("InvalidArgument", self.read, digest, len(DATA) + 1)
        self.assertError("InvalidArgument", self.read, digest, 1, len(DATA))

    def test_resume(self):
        """A writer goes on where it was, after a restart and after kill -9 of the manager."""
        self.write("part", DATA[:100], Size=len(DATA), Digest=digest_of(DATA))
        davit.restart_davitd()
        self.assertEqual(self.write("part", DATA[100:300]), 100)
        davit.kill_davitd()
        offset, total, digest, _, started, updated = self.writers()["part"]
        self.assertEqual((offset, total, digest), (300, len(DATA), digest_of(DATA)))
        self.assertGreaterEqual(updated, started)
        self.assertError("FailedPrecondition", self.commit, "part", contains="300")
        self.assertEqual(self.write("part", DATA[300:]), 300)
        self.assertEqual(self.commit("part"), digest_of(DATA))

    def test_digest_is_always_verified(self):
        """S-B02: said when the writer is opened, or at the commit; a mismatch keeps the writer."""
        other = digest_of(b"other")
        self.write("one", DATA, Digest=other)
        self.assertRaises(davit.DavitError, self.commit, "one")
        self.write("two", DATA)
        self.assertRaises(davit.DavitError, self.commit, "two", Digest=other)
        self.assertEqual(sorted(self.writers()), ["one", "two"])
        self.assertEqual(self.contents(), [])
        self.assertError("FailedPrecondition", self.open, "one", Digest=digest_of(DATA), contains="abort")
        davit.manager("AbortContent", "(ss)", self.ns, "one")
        self.assertEqual(self.put(DATA, "one", Digest=digest_of(DATA)), digest_of(DATA))

    def test_size_is_verified(self):
        self.write("short", DATA[:10])
        self.assertError("FailedPrecondition", self.commit, "short", Size=11)
        self.write("short", DATA[10:11])
        self.assertEqual(self.commit("short"), digest_of(DATA[:11]))

    def test_present_already(self):
        """S-B05: success, and labels are added."""
        digest = self.put(DATA, Labels={"davit.gc.root": "1"})
        self.assertEqual(self.put(DATA, Labels={"b": "2"}), digest)
        self.assertEqual(davit.get(self.content(digest), "Content.Labels"), {"davit.gc.root": "1", "b": "2"})
        self.assertEqual(self.contents(), [digest])

    def test_descriptor(self):
        """S-B04: a document is known by its media type."""
        index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
        digest = self.put(index, MediaType="application/vnd.oci.image.index.v1+json")
        self.assertEqual(davit.get(self.content(digest), "Content.Kind"), "index")

    def test_two_writers(self):
        """S-E11: one connection at a time has a writer, until it goes."""
        program = ("import sys; sys.path.insert(0, sys.argv[1]); import davit; "
                   "davit.manager('WriteContent', '(ssa{sv})', sys.argv[2], 'shared', {}); print('has it', flush=True); "
                   "sys.stdin.read()")
        with subprocess.Popen([sys.executable, "-c", program, os.path.dirname(__file__), self.ns], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            self.assertEqual(other.stdout.readline(), "has it\n")
            self.assertError("FailedPrecondition", self.open, "shared", contains="connection")
            other.stdin.close()
            other.wait()

        def mine():
            try:
                os.close(self.open("shared")[0])
                return True
            except davit.DavitError:
                return False

        davit.wait_until(mine, what="the writer to be free")
        os.close(self.open("shared")[0])

    def test_abort(self):
        files = set(os.listdir(f"{davit.STATE}/ingest-content")) if os.path.exists(f"{davit.STATE}/ingest-content") else set()
        self.write("gone", DATA)
        davit.manager("AbortContent", "(ss)", self.ns, "gone")
        self.assertEqual(set(os.listdir(f"{davit.STATE}/ingest-content")), files)
        self.assertError("NotFound", davit.manager, "AbortContent", "(ss)", self.ns, "gone")
        self.assertError("NotFound", self.commit, "gone")

    def test_files_of_nobody_are_swept(self):
        self.write("kept", DATA)
        stray = f"{davit.STATE}/ingest-content/nobodys"
        with open(stray, "wb") as f:
            f.write(DATA)
        davit.restart_davitd()
        self.assertFalse(os.path.exists(stray))
        self.assertEqual(self.commit("kept"), digest_of(DATA))

    def test_bad_arguments(self):
        for ref in ("", "x" * 256, "a\nb"):
            with self.subTest(ref=ref):
                self.assertError("InvalidArgument", self.open, ref)
        for opts in ({"Digest": "sha256:abc"}, {"Digest": "md5:" + "0" * 32}, {"Labels": {"": "x"}},
                     {"Labels": {"davit.gc.expire": "tomorrow"}}, {"Labels": {"davit.gc.ref.content.0": "x"}},
                     {"MediaType": "x" * 256}):
            with self.subTest(opts=opts):
                self.assertError("InvalidArgument", self.open, "ref", **opts)
        self.assertEqual(self.writers(), {})
        self.assertError("NotFound", self.content, "x", contains=self.ns)
        self.put(b"there")
        self.assertError("InvalidArgument", self.content, "x")
        self.assertError("NotFound", self.content, "sha256:" + "0" * 64)

    def test_namespace_is_not_empty(self):
        self.write("w", DATA)
        self.assertError("FailedPrecondition", davit.call, f"{davit.ROOT}/ns/{self.ns.replace('-', '_2d')}", "Namespace.Delete")


class Images(ContentTest):
    def test_what_an_image_is_made_of(self):
        config = images.config([BASE, TOP])
        self.bring(self.archive())
        props = davit.get_all(self.image("app:1"), "Image")
        layers = sorted([images.digest(BASE), images.digest(TOP)])
        self.assertEqual(self.contents(Kind=["layer"]), layers)
        self.assertEqual(self.contents(Kind=["manifest"]), [props["Digest"]])
        self.assertEqual(self.contents(Kind=["config"]), [props["ConfigDigest"]])
        self.assertEqual(self.read(props["ConfigDigest"]), (config, len(config)))
        self.assertEqual(digest_of(self.read(props["Digest"])[0]), props["Digest"])
        self.assertEqual(self.read(images.digest(TOP))[0], TOP)
        self.assertEqual(self.read(images.digest(BASE), 512, 100)[0], BASE[512:612])
        self.assertError("FailedPrecondition", davit.call, self.content(props["Digest"]), "Content.Delete", contains="image")

    def test_they_go_with_the_image(self):
        self.bring(self.archive())
        digest = davit.get(self.image("app:1"), "Image.Digest")
        davit.call(self.content(digest), "Content.SetLabels", "(a{ss})", {"a": "b"})
        davit.call(self.content(images.digest(TOP)), "Content.SetLabels", "(a{ss})", {"a": "b"})
        self.assertError("NotSupported", davit.call, self.content(images.digest(TOP)), "Content.SetLabels", "(a{ss})",
                         {"davit.gc.root": ""})
        davit.restart_davitd()
        self.assertEqual(self.contents(Label=["a=b"]), sorted([digest, images.digest(TOP)]))
        self.delete("app:1")
        self.assertEqual(self.contents(), [])

    def test_a_label_keeps_the_manifest(self):
        self.bring(self.archive())
        digest = davit.get(self.image("app:1"), "Image.Digest")
        davit.call(self.content(digest), "Content.SetLabels", "(a{ss})", {"davit.gc.root": ""})
        self.delete("app:1")
        self.assertEqual(self.contents(), [digest])
        self.assertEqual(digest_of(self.read(digest)[0]), digest)

    def test_signals(self):
        with davit.Signals("InterfacesAdded", interface="org.freedesktop.DBus.ObjectManager") as added:
            digest = self.put(DATA)
            path = self.content(digest)
            added.wait(lambda _p, _m, body: body[0] == path)
        with davit.Signals("InterfacesRemoved", interface="org.freedesktop.DBus.ObjectManager") as removed:
            davit.call(path, "Content.Delete")
            removed.wait(lambda _p, _m, body: body[0] == path)
        self.assertError("NotFound", self.content, digest)


class Collection(ContentTest):
    def test_without_a_root_it_goes(self):
        kept, gone = self.put(b"kept", Labels={"davit.gc.root": ""}), self.put(b"gone")
        self.assertNotEqual(kept, gone)
        # One that an earlier test has asked for may just run and take it along.
        self.assertNotIn(kept, self.collect()["Contents"])
        self.assertEqual(self.contents(), [kept])
        davit.restart_davitd()
        self.assertEqual(self.contents(), [kept])
        self.assertEqual(self.read(kept)[0], b"kept")

    def test_references(self):
        """What a kept content refers to stays, over several steps; what refers to it does not."""
        leaf = self.put(b"leaf")
        middle = self.put(b"middle", Labels={"davit.gc.ref.content.leaf": leaf})
        top = self.put(b"top", Labels={"davit.gc.root": "", "davit.gc.ref.content": middle})
        self.put(b"fan", Labels={"davit.gc.ref.content": top})
        self.collect()
        self.assertEqual(self.contents(), sorted([leaf, middle, top]))
        davit.call(self.content(top), "Content.SetLabels", "(a{ss})", {"davit.gc.root": ""})
        self.collect()
        self.assertEqual(self.contents(), [top])

    def test_expiry(self):
        kept = self.put(b"kept", Labels={"davit.gc.expire": "2199-01-31T12:00:00Z"})
        self.put(b"gone", Labels={"davit.gc.expire": "2001-01-31T12:00:00+01:00"})
        self.collect()
        self.assertEqual(self.contents(), [kept])

    def test_expiry_while_idle(self):
        """Nobody asks for a collection: it happens when the time is over, also when that was before the manager began."""
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        self.put(b"first", Labels={"davit.gc.expire": soon})
        davit.wait_until(lambda: self.contents() == [], what="the content to go")
        then = time.time() + 2
        self.put(b"second", Labels={"davit.gc.expire": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then))})
        davit.systemctl("stop", "davitd.service")
        davit.wait_until(lambda: time.time() > then + 1, what="the time to be over")
        davit.start_davitd()
        davit.wait_until(lambda: self.contents() == [], what="the content to go")

    def test_lease(self):
        _, lease = davit.manager("CreateLease", "(ssa{sv})", self.ns, "mine", {})
        self.write("held", b"held")
        digest = self.commit("held", Lease="mine")
        self.collect()
        self.assertEqual(self.contents(), [digest])
        self.assertError("FailedPrecondition", davit.call, self.content(digest), "Content.Delete", contains="mine")
        self.write("other", b"other")
        self.assertError("NotFound", self.commit, "other", Lease="nolease")
        davit.call(lease, "Lease.Delete", "(a{sv})", {"Synchronous": davit.GLib.Variant("b", True)})
        self.collect()
        self.assertEqual(self.contents(), [])
