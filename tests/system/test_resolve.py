# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of images: tag, rename, pin, and which image a caller means by a name, in every call that takes one."""

import json
import os

import davit
import images
from test_image import ImageTest

ONE = images.layer([images.entry("one", b"1\n")])
TWO = images.layer([images.entry("two", b"2\n")])


class Names(ImageTest):
    def tag(self, name, new):
        return davit.call(self.image(name), "Image.Tag", "(s)", new)

    def rename(self, name, new):
        return davit.call(self.image(name), "Image.Rename", "(s)", new)

    def pin(self, name, pinned=True):
        davit.call(self.image(name), "Image.SetPinned", "(b)", pinned)

    def unpinned(self, name):
        self.addCleanup(lambda: name in self.list_names() and self.pin(name, False))

    def test_tag(self):
        self.bring(self.archive(layers=[ONE]))
        with davit.Signals("InterfacesAdded", interface="org.freedesktop.DBus.ObjectManager") as added:
            path = self.tag("app:1", "copy")
            added.wait(lambda _p, _m, body: body[0] == path)
        self.assertEqual(davit.get(path, "Image.Name"), "copy:latest")
        self.assertEqual(davit.get(path, "Image.Digest"), davit.get(self.image("app:1"), "Image.Digest"))
        self.assertEqual(self.list_names(), ["app:1", "copy:latest"])
        self.delete("app:1")
        self.assertEqual(self.list_names(), ["copy:latest"])
        root = davit.get(self.image("copy"), "Image.ChainId")
        davit.restart_davitd()
        self.assertEqual(davit.get(self.image("copy"), "Image.ChainId"), root)

    def test_tag_moves_a_name(self):
        self.bring(self.archive("a:1", layers=[ONE]))
        self.bring(self.archive("b:1", layers=[TWO]))
        self.tag("a:1", "b:1")
        self.assertEqual(davit.get(self.image("b:1"), "Image.Digest"), davit.get(self.image("a:1"), "Image.Digest"))

    def test_bad_tags(self):
        self.bring(self.archive(layers=[ONE]))
        for name in ("../x", "a b", "", "x@sha256:" + "0" * 64):
            with self.subTest(name):
                self.assertError("InvalidArgument", self.tag, "app:1", name)
        digest = davit.get(self.image("app:1"), "Image.Digest")
        self.tag("app:1", "x@" + digest)
        self.assertEqual(self.list_names(), ["app:1", "x@" + digest])

    def test_rename(self):
        self.bring(self.archive(layers=[ONE]))
        old = self.image("app:1")
        with davit.Signals("InterfacesRemoved", interface="org.freedesktop.DBus.ObjectManager") as removed:
            self.rename("app:1", "other:2")
            removed.wait(lambda _p, _m, body: body[0] == old)
        self.assertEqual(self.list_names(), ["other:2"])
        self.bring(self.archive(layers=[ONE]))
        self.assertError("AlreadyExists", self.rename, "app:1", "other:2")

    def test_rename_in_use(self):
        davit.busybox_image(self.ns)
        id, _ = davit.create_container(["true"], image="busybox", namespace=self.ns)
        self.addCleanup(davit.remove_container, id, self.ns)
        self.assertError("FailedPrecondition", self.rename, "busybox", "other", contains=id)

    def test_pin(self):
        self.bring(self.archive(layers=[ONE]))
        self.unpinned("app:1")
        with davit.Signals("PropertiesChanged", path=self.image("app:1"), interface="org.freedesktop.DBus.Properties") as s:
            self.pin("app:1")
            self.assertEqual(s.wait()[2][1], {"Pinned": True})
        davit.restart_davitd()
        self.assertTrue(davit.get(self.image("app:1"), "Image.Pinned"))
        self.assertError("FailedPrecondition", self.delete, "app:1", contains="pinned")
        self.bring(self.archive(layers=[TWO]))
        self.assertTrue(davit.get(self.image("app:1"), "Image.Pinned"))
        davit.call(self.image("app:1"), "Image.Delete", "(a{sv})", davit.options(Force=True))
        self.assertEqual(self.list_names(), [])

    def test_history(self):
        self.bring(self.archive(layers=[ONE], config_data=images.config([ONE], history=[
            {"created": "2024-01-01T00:00:00Z", "created_by": "ADD one", "author": "somebody", "comment": "c"},
            {"created_by": "CMD", "empty_layer": True}])))
        self.assertEqual(davit.get(self.image("app:1"), "Image.History"),
                         [(1704067200 * 1000000, "ADD one", "somebody", "c", False), (0, "CMD", "", "", True)])
        self.assertEqual(davit.get(self.image("app:1"), "Image.Platforms"), ["linux/amd64"])
        self.assertEqual(davit.get(self.image("app:1"), "Image.Index"), "")


class Platforms(ImageTest):
    """An index of two platforms: one of them, or all under one name."""

    def index_archive(self):
        blobs, manifests = {}, []
        for n, architecture in enumerate(("amd64", "riscv64")):
            layer = (ONE, TWO)[n]
            config = images.config([layer]).replace(b'"amd64"', b'"%s"' % architecture.encode())
            manifest = json.dumps({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": images.digest(config),
                           "size": len(config)},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": images.digest(layer),
                            "size": len(layer)}]}).encode()
            blobs.update({images.digest(b): b for b in (layer, config, manifest)})
            manifests.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": images.digest(manifest),
                              "size": len(manifest), "platform": {"os": "linux", "architecture": architecture}})
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                            "manifests": manifests}).encode()
        blobs[images.digest(index)] = index
        top = {"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": images.digest(index), "size": len(index),
             "annotations": {"org.opencontainers.image.ref.name": "multi:1"}}]}
        images._write(self.path("multi.tar"), [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
                                               *((f"blobs/sha256/{d[7:]}", b) for d, b in blobs.items()),
                                               ("index.json", json.dumps(top).encode())])
        return self.path("multi.tar"), images.digest(index)

    def test_one(self):
        archive, _ = self.index_archive()
        for platform in ("linux/amd64", "linux/riscv64"):
            with self.subTest(platform):
                self.bring(archive, Platform=platform)
                props = davit.get_all(self.image("multi:1"), "Image")
                self.assertEqual((props["Platform"], props["Platforms"], props["Index"]), (platform, [platform], ""))

    def test_all(self):
        archive, index = self.index_archive()
        self.assertEqual(self.bring(archive, Platform="all"), ["multi:1"])
        davit.restart_davitd()
        props = davit.get_all(self.image("multi:1"), "Image")
        self.assertEqual(props["Index"], index)
        self.assertEqual((props["Platform"], sorted(props["Platforms"])), ("linux/amd64", ["linux/amd64", "linux/riscv64"]))
        kinds = {row[1]: row[2] for row in davit.manager("ListContent", "(sa{sv})", self.ns, {})}
        self.assertEqual(sorted(kinds.values()), ["config"] * 2 + ["index"] + ["layer"] * 2 + ["manifest"] * 2)
        self.assertEqual(kinds[index], "index")
        davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait", timeout=60)
        with open(self.path("saved.tar"), "wb") as f:
            job = davit.manager("SaveImages", "(sasha{sv})", self.ns, [index], 0, {}, fds=[f.fileno()])
            davit.call(job, "Job.Wait", timeout=60)
        self.delete("multi:1")
        self.assertEqual(self.bring(self.path("saved.tar"), Platform="all"), ["multi:1"])
        self.assertEqual(davit.get(self.image("multi:1"), "Image.Index"), index)


class Resolve(ImageTest):
    """The table is that of the unit test; here the callers."""

    def setUp(self):
        super().setUp()
        self.bring(self.archive("docker.io/library/tool:1", layers=[images.layer_of(davit.rootfs())]))

    def callers(self, name):
        """Everything that takes the name of an image; each gives the whole name it found."""
        yield lambda: davit.get(self.image(name), "Image.Name")
        yield lambda: self.container_image(name)
        yield lambda: self.saved(name)
        yield lambda: self.on_a_snapshot(name)

    def container_image(self, name, **opts):
        id, path = davit.create_container(["true"], image=name, namespace=self.ns, **opts)
        try:
            return davit.get(path, "Container.Image")
        finally:
            davit.remove_container(id, self.ns)

    def on_a_snapshot(self, name):
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", self.ns, "there", "", {})
        try:
            return self.container_image(name, Snapshot="there")
        finally:
            davit.call(snapshot, "Snapshot.Delete")

    def saved(self, name):
        with open(self.path("saved.tar"), "wb") as f:
            job = davit.manager("SaveImages", "(sasha{sv})", self.ns, [name], 0, {}, fds=[f.fileno()])
            self.assertGreater(davit.call(job, "Job.Wait", timeout=60)["Bytes"], 0)
        other = davit.unique("saved")
        try:
            return davit.import_image(self.path("saved.tar"), namespace=other)[0]
        finally:
            for row in davit.manager("ListImages", "(sa{sv})", other, {}):
                davit.call(row[-1], "Image.Delete", "(a{sv})", {})

    def test_every_caller(self):
        """S-G08, S-C11."""
        digest = davit.get(self.image("docker.io/library/tool:1"), "Image.Digest")
        for name in ("docker.io/library/tool:1", "tool:1", digest, digest[7:19], "tool:1@" + digest):
            for n, caller in enumerate(self.callers(name)):
                with self.subTest(name=name, caller=n):
                    if "@" in name:
                        self.assertError("NotFound", caller)
                    else:
                        self.assertEqual(caller(), "docker.io/library/tool:1")

    def test_other_registries(self):
        """S-G10, S-G11."""
        for n, caller in enumerate(self.callers("evil.example/tool:1")):
            with self.subTest(caller=n):
                self.assertError("NotFound", caller, contains="evil.example/tool:1")

    def test_ambiguous(self):
        """S-G07, S-G09."""
        davit.call(self.image("tool:1"), "Image.Tag", "(s)", "localhost/tool:1")
        for n, caller in enumerate(self.callers("tool:1")):
            with self.subTest(caller=n):
                self.assertError("InvalidArgument", caller, contains='"docker.io/library/tool:1", "localhost/tool:1"')
        davit.call(self.image("localhost/tool:1"), "Image.Tag", "(s)", "tool:1")
        self.assertEqual(davit.get(self.image("tool:1"), "Image.Name"), "tool:1")

    def test_configuration(self):
        """S-G08."""
        path = "/etc/davit/davit.conf.d/50-names.conf"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "w") as f:
                f.write("[Images]\nShortNameRegistries=registry.example:5000/team\n")
            davit.restart_davitd()
            self.assertError("NotFound", self.image, "tool:1")
            davit.call(self.image("docker.io/library/tool:1"), "Image.Tag", "(s)", "registry.example:5000/team/tool:1")
            self.assertEqual(davit.get(self.image("tool:1"), "Image.Name"), "registry.example:5000/team/tool:1")
        finally:
            os.unlink(path)
            davit.restart_davitd()
