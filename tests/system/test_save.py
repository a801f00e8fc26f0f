# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images on their way out of the store: bit by bit the same, and what other programs make of them."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import unittest

import images
import test_store
from davit import CACHE
from test_store import CANCEL, DONE, ERROR, PROGRESS, Failed

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import peers  # noqa: E402 pylint: disable=wrong-import-position

entry, layer, link, digest = images.entry, images.layer, test_store.link, images.digest
FORMATS, COMPRESSIONS = ("oci", "docker", "rootfs"), ("none", "gzip", "zstd")
MEMORY_MAX = 64 << 20
FAMILY = (("debian", True), ("app", True), ("files", False))  # whether it goes in again


def strange_layers():
    """What layers can hold: whiteouts, links within and across layers, names that are no UTF-8, devices, attributes, times."""
    base = [entry("d", mode=0o1777, uid=7), entry("d/a", b"a" * 700000, mtime=1700000000.25), entry("d/b", b"b", uid=4294967294),
            link("d/hard", "d/a", kind=tarfile.LNKTYPE), link("s", "d/b"), entry("gone", b"1"), entry("opaque"),
            entry("opaque/old", b"2"), entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3), entry("p", kind=tarfile.FIFOTYPE),
            entry("su", b"x", mode=0o6755), entry("attr", b"y", pax_headers={"SCHILY.xattr.user.k": "v"}),
            entry("long/" + "n" * 200 + "/" + "m" * 200, b"z"), entry("twice", b"old"), entry("twice", b"new")]
    data = layer(base)[:-10240].rstrip(b"\0")
    raw = test_store.block(data) + test_store.header(b"caf\xe9/l\xffatin") + test_store.header(b"caf\xe9/link", kind=b"2", linkname=b"\xe9")
    top = [entry(".wh.gone", b""), entry("opaque"), entry("opaque/.wh..wh..opq", b""), entry("opaque/new", b"3"),
           link("across", "d/a", kind=tarfile.LNKTYPE), entry("d", mode=0o700), entry("empty", b"")]
    return [raw + test_store.END, layer(top), layer([entry("empty", b"")])]


def members(archive):
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isreg()}


def blob(files, descriptor):
    data = files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert digest(data) == descriptor["digest"] and len(data) == descriptor["size"]
    return data


def manifests(files):
    """Of an OCI layout: (name or None, manifest, descriptor) of all images."""
    found = []
    for d in json.loads(files["index.json"])["manifests"]:
        name = d.get("annotations", {}).get("io.containerd.image.name")
        found.append((name, json.loads(blob(files, d)), d))
    return found


class SaveTest(test_store.StoreTest):
    def request(self, operation, *files, **request):
        return self.run_worker("request", json.dumps({"operation": operation, **request}), *files)

    def save(self, images_, name="saved.tar", form="oci", compression="none"):
        """Saves records, those of one digest under all their names."""
        wanted = {}
        for i in images_:
            one = wanted.setdefault(i["digest"], {"names": [], "digest": i["digest"]})
            one["names"].append(i["name"])
            if "index" in i:
                one["index"] = i["index"]
        path = self.path(name)
        self.request("save", ">" + path, images=list(wanted.values()), format=form, compression=compression)
        return path

    def fresh(self):
        shutil.rmtree(self.dir)

    def checkout(self, image):
        return self.request("rootfs", chain_id=image["chain_id"], rootfs="checkout")["rootfs"]["path"]

    def assertSame(self, a, b):  # pylint: disable=invalid-name
        self.assertEqual(subprocess.run(["cmp", a, b], capture_output=True, check=False).stdout, b"")


class RoundTrip(SaveTest):
    def test_bit_identical(self):
        source = images.oci_archive(self.path("a.tar"), strange_layers(), name="x.example/strange:1")
        for form in ("oci", "docker"):
            for compression in COMPRESSIONS:
                with self.subTest(form=form, compression=compression):
                    first = self.save(self.bring(source, name=None), "1.tar", form, compression)
                    self.fresh()
                    again = self.bring(first, name=None)
                    self.assertEqual([i["name"] for i in again], ["x.example/strange:1"])
                    self.assertSame(first, self.save(again, "2.tar", form, compression))
                    self.assertWhole()
                    self.fresh()

    def test_layers_and_configuration(self):
        layers = strange_layers()
        record = self.bring(images.oci_archive(self.path("a.tar"), layers, settings={"Labels": {"ä": "\u2028"}}))[0]
        files = members(self.save([record]))
        name, manifest, _ = manifests(files)[0]
        self.assertEqual(name, "t:latest")
        self.assertEqual([blob(files, l) for l in manifest["layers"]], layers)
        self.assertEqual(manifest["config"]["digest"], record["config_digest"])
        self.assertEqual([l["diff_id"] for l in record["layers"]], [digest(l) for l in layers])
        docker = members(self.save([record], form="docker"))
        self.assertEqual([docker[l] for l in json.loads(docker["manifest.json"])[0]["Layers"]], layers)

    def test_manifest_is_kept_when_it_can_be(self):
        layers = strange_layers()
        more = {"annotations": {"org.example.k": "v"}, "unknown": [1, {"a": None}]}
        plain = images.oci_archive(self.path("a.tar"), layers, compress=False, manifest_changes=more)
        record = self.bring(plain)[0]
        files = members(self.save([record]))
        self.assertEqual(manifests(files)[0][2]["digest"], record["digest"])
        packed = images.oci_archive(self.path("b.tar"), layers, manifest_changes=more)
        record = self.bring(packed)[0]
        _, manifest, descriptor = manifests(members(self.save([record])))[0]
        self.assertNotEqual(descriptor["digest"], record["digest"])
        self.assertEqual({k: manifest[k] for k in more}, more)
        # Once the content service has the blobs, they are what leaves.
        for data in set(layers):
            self.request("content-commit", self.path("blob", gzip.compress(data, 1, mtime=0)))
        for compression in COMPRESSIONS:
            files = members(self.save([record], compression=compression))
            self.assertEqual(manifests(files)[0][2]["digest"], record["digest"])
            self.assertEqual([gzip.decompress(blob(files, l)) for l in manifests(files)[0][1]["layers"]], layers)

    def test_several_images_and_names(self):
        shared, own = layer([entry("shared", b"s" * 5000)]), layer([entry("own", b"o")])
        one = self.bring(images.oci_archive(self.path("a.tar"), [shared]), name="one:1")
        one += self.bring(self.path("a.tar"), name="host:5000/one:2")
        two = self.bring(images.oci_archive(self.path("b.tar"), [shared, own]), name="two")
        digested = self.bring(self.path("b.tar"), name="two@" + two[0]["digest"])
        first = self.save([*one, *two, *digested], "1.tar")
        self.assertSame(first, self.save([*digested, *two, *reversed(one)], "2.tar"))
        with tarfile.open(first) as tar:
            names = tar.getnames()
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(sorted(n for n, _, _ in manifests(members(first))),
                         sorted(["host:5000/one:2", "one:1", "two:latest", digested[0]["name"]]))
        docker = json.loads(members(self.save([*one, *two, *digested], form="docker"))["manifest.json"])
        self.assertEqual(sorted(sorted(i["RepoTags"]) for i in docker), [["host:5000/one:2", "one:1"], ["two:latest"]])
        self.fresh()
        self.assertEqual(sorted(i["name"] for i in self.bring(first, name=None)),
                         sorted(["host:5000/one:2", "one:1", "two:latest", digested[0]["name"]]))

    def test_what_came_in_goes_out(self):
        """Limits hold for what strangers bring; who has raised them can use what he has."""
        layers = [layer([entry("d/" * 300 + "f", b"")]), *(layer([entry(str(i), b"")]) for i in range(260))]
        path = images.oci_archive(self.path("a.tar"), layers)
        record = self.run_worker("import", "--name=t", "--limit=layers=300", "--limit=depth=400", path)["images"][0]
        for form in FORMATS:
            self.save([record], form=form)
        self.checkout(record)
        self.assertWhole()
        got = self.request("compose", parent=record["digest"], diff_ids=[l["diff_id"] for l in record["layers"]])
        self.assertEqual(got["image"]["chain_id"], record["chain_id"])

    def test_outputs(self):
        record = self.bring(images.oci_archive(self.path("a.tar"), strange_layers()))[0]
        with open(self.save([record]), "rb") as f:
            wanted = f.read()
        argv = [test_store.WORKER, "--directory=" + self.dir, "request",
                json.dumps({"operation": "save", "format": "oci", "images": [{"names": ["t"], "digest": record["digest"]}]}), "+"]
        done = subprocess.run(argv, capture_output=True, check=True)
        self.assertEqual(done.stdout, wanted)
        self.assertEqual(json.loads(done.stderr), {"bytes": len(wanted)})
        ours, theirs = socket.socketpair()
        with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.DEVNULL) as worker:
            theirs.close()
            got = b"".join(iter(lambda: ours.recv(1 << 16), b""))
            self.assertEqual(worker.wait(), 0)
        ours.close()
        self.assertEqual(got, wanted)
        os.mkdir(self.path("layout"))
        os.chown(self.path("layout"), 1234, 5678)
        self.request("save", self.path("layout"), images=[{"names": ["t"], "digest": record["digest"]}], format="oci")
        for name, data in members(self.save([record])).items():
            with open(self.path("layout/" + name), "rb") as f:
                self.assertEqual(f.read(), data)
            self.assertEqual(os.stat(self.path("layout/" + name))[4:6], (1234, 5678))
        self.assertEqual(self.bring(self.path("layout"))[0]["layers"][0]["diff_id"], record["layers"][0]["diff_id"])

    def test_rootfs(self):
        layers = strange_layers()
        record = self.bring(images.oci_archive(self.path("a.tar"), layers))[0]
        wanted = test_store.snapshot(self.checkout(record))
        for compression in COMPRESSIONS:
            saved = self.save([record], form="rootfs", compression=compression)
            again = self.bring(saved, name="again", format="rootfs")[0]
            self.assertEqual(test_store.snapshot(self.checkout(again)), wanted)
        os.mkdir(self.path("out"))
        self.save([record], "plain.tar", form="rootfs")
        subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-C", self.path("out"), "-xpf", self.path("plain.tar")], check=True)
        self.assertEqual(test_store.snapshot(self.path("out")), wanted)
        self.assertEqual(os.stat(self.path("out/across")).st_ino, os.stat(self.path("out/d/a")).st_ino)
        self.assertEqual(os.stat(self.path("out/d/a")).st_mtime, 1700000000.25)

    def test_refusals(self):
        record = self.bring(images.oci_archive(self.path("a.tar"), [layer([entry("f", b"")])]))[0]
        one = {"names": ["t"], "digest": record["digest"]}
        other = {"names": ["o"], "digest": digest(b"nothing")}
        os.makedirs(self.path("full/blobs"))
        for request, word in (({"images": []}, "InvalidArgument"), ({"images": [{}]}, "InvalidArgument"), ({"images": [other]}, "NotFound"),
                              ({"format": "squashfs"}, "NotSupported"), ({"compression": "xz"}, "NotSupported"),
                              ({"images": [{**one, "names": ["A b"]}]}, "InvalidArgument"), ({"extra": 1}, "InvalidArgument"),
                              ({"images": [one, {**one, "digest": "x"}]}, "InvalidArgument")):
            with self.subTest(request), self.assertRaises(Failed) as caught:
                self.request("save", ">" + self.path("o"), **{"images": [one], "format": "oci", **request})
            self.assertEqual(caught.exception.word, word, caught.exception.message)
        for request, target in (({}, self.path("full")), ({"format": "docker"}, self.top), ({}, self.path("a.tar")), ({}, "/dev/sda")):
            with self.subTest(target), self.assertRaises(Failed):
                self.request("save", target, **{"images": [one], "format": "oci", **request})
        self.assertEqual(os.listdir(self.path("full")), ["blobs"])
        self.assertEqual(os.listdir(self.dir + "/ingest"), [])

    def test_damage_does_not_leave_unnoticed(self):
        record = self.bring(images.oci_archive(self.path("a.tar"), [layer([entry("f", b"right" * 1000)])]))[0]
        for where, _, files in os.walk(self.dir + "/repo/objects"):
            for f in files:
                path = f"{where}/{f}"
                if os.path.getsize(path) == 5000:
                    with open(path, "r+b") as damaged:
                        damaged.write(b"wrong")
        os.mkdir(self.path("layout"))
        for target in (">" + self.path("o.tar"), self.path("layout")):
            with self.assertRaises(Failed) as caught:
                self.request("save", target, images=[{"names": ["t"], "digest": record["digest"]}], format="oci")
            self.assertIn("is damaged", caught.exception.message)
        self.assertEqual(os.listdir(self.path("layout")), [])


class Readers(SaveTest):
    """The other end of a pipe is somebody else."""

    def begin(self):
        record = self.bring(images.oci_archive(self.path("a.tar"), [layer([entry("f", os.urandom(3000000))])]))[0]
        c = test_store.Connection(self.dir)
        self.addCleanup(c.close)
        read, write = os.pipe()
        c.request([write], operation="save", format="oci", images=[{"names": ["t"], "digest": record["digest"]}])
        os.close(write)
        os.read(read, 100000)
        return c, read

    def test_gone(self):
        c, read = self.begin()
        os.close(read)
        self.assertEqual(c.result()[:2], (ERROR, {"error": "Unavailable", "message": "The reader has gone"}))
        self.assertEqual(os.listdir(self.dir + "/ingest"), [])

    def test_cancel(self):
        c, read = self.begin()
        c.send(CANCEL)
        self.assertEqual(c.result()[1]["error"], "Unavailable")
        os.close(read)
        self.assertEqual(os.listdir(self.dir + "/ingest"), [])

    def test_cancelled_in_the_kernel(self):
        """A terminal nobody reads: the write waits for ever, the worker does not."""
        record = self.bring(images.oci_archive(self.path("a.tar"), [layer([entry("f", os.urandom(3000000))])]))[0]
        c = test_store.Connection(self.dir)
        self.addCleanup(c.close)
        master, terminal = os.openpty()
        self.addCleanup(os.close, master)
        c.request([terminal], operation="save", format="oci", images=[{"names": ["t"], "digest": record["digest"]}])
        os.close(terminal)
        os.read(master, 1)
        begun = time.monotonic()
        c.send(CANCEL)
        kind = c.result()[0]
        if kind is None:  # it was in the kernel, and given up
            self.assertGreater(time.monotonic() - begun, 25)
            self.assertEqual(c.worker.wait(10), 1)
        else:  # it was not, yet
            self.assertEqual(kind, ERROR)
            c.worker.wait(10)
        self.bring(self.path("a.tar"))
        self.assertEqual(os.listdir(self.dir + "/ingest"), [])
        self.assertWhole()

    def test_collection_waits_for_nobody(self):
        """A slow reader keeps its image, not the repository: collection runs, and what is read stays whole."""
        c, read = self.begin()
        freed = self.collect()
        self.assertEqual((freed["contents"], len(freed["chains"])), ([], 1))
        got = hashlib.sha256()
        rest = iter(lambda: os.read(read, 1 << 16), b"")
        for piece in rest:
            got.update(piece)
        kind, body, progress = c.result()
        self.assertEqual(kind, DONE, body)
        self.assertLessEqual(progress[-1][0], progress[-1][1])
        os.close(read)
        c.close()
        self.collect()
        self.assertNothingLeft()

    def test_flags_of_the_pipe_are_left_alone(self):
        c, read = self.begin()
        self.assertTrue(os.get_blocking(read))
        while os.read(read, 1 << 16):
            pass
        self.assertEqual(c.result()[0], DONE)
        os.close(read)


@unittest.skipUnless(os.path.exists(test_store.SOCKET), "outside the private systemd")
class Sandbox(SaveTest):
    """The real worker, whose unit takes everything away that it does not need."""

    def ask(self, fds, **request):
        c = test_store.Connection()
        self.addCleanup(c.close)
        c.request(fds, **request)
        kind, body, _ = c.result()
        self.assertEqual(kind, DONE, body)
        return body

    def test_outputs(self):
        source = images.oci_archive(self.path("a.tar"), [layer([entry("f", os.urandom(500000))])], compress=False)
        with open(source, "rb") as f:
            record = self.ask([f.fileno()], operation="import", name="sandbox-save", format="oci", rootfs="erofs")["images"][0]
        request = {"operation": "save", "format": "oci", "images": [{"names": ["t"], "digest": record["digest"]}]}
        with open(self.path("file.tar"), "wb") as f:
            self.ask([f.fileno()], **request)
        with open(self.path("file.tar"), "rb") as f:
            wanted = f.read()
        read, write = os.pipe()
        got = []
        thread = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(read, 1 << 16), b"")))
        thread.start()
        c = test_store.Connection()
        c.request([write], **request)
        os.close(write)
        self.assertEqual(c.result()[0], DONE)
        thread.join()
        c.close()
        os.close(read)
        self.assertEqual(b"".join(got), wanted)
        os.mkdir(self.path("layout"), 0o700)
        os.chown(self.path("layout"), 1234, 1234)
        directory = os.open(self.path("layout"), os.O_RDONLY)
        self.ask([directory], **request)
        os.close(directory)
        self.assertEqual(sorted(os.listdir(self.path("layout"))), ["blobs", "index.json", "oci-layout"])
        self.assertEqual(os.stat(self.path("layout/blobs")).st_uid, 1234)
        memory = os.memfd_create("content")
        os.write(memory, b"content")
        self.assertEqual(self.ask([memory], operation="content-commit")["digest"], digest(b"content"))
        os.close(memory)
        out = self.ask([], operation="compose", parent=record["digest"], diff_ids=[l["diff_id"] for l in record["layers"]],
                       changes=["CMD x"], rootfs="erofs")["image"]
        self.assertEqual(out["chain_id"], record["chain_id"])


class Platforms(SaveTest):
    """Indexes: one image for several machines."""

    def archive(self, *platforms, name="multi:1", extra=(), nested=False, change=None):
        """An OCI archive of an index; a platform is os/arch[/variant], each has a layer of its own above a shared one."""
        files, entries = {}, []

        def put(data, media, **more):
            files["blobs/sha256/" + digest(data)[7:]] = data
            return {"mediaType": media, "digest": digest(data), "size": len(data), **more}

        for p in platforms:
            words = p.split("/")
            layers = [layer([entry("shared", b"s")]), layer([entry("own", p.encode())])]
            conf = images.config(layers, architecture=words[1], os=words[0])
            manifest = {"schemaVersion": 2, "mediaType": images_manifest, "config": put(conf, images_config),
                        "layers": [put(l, "application/vnd.oci.image.layer.v1.tar") for l in layers]}
            platform = {"os": words[0], "architecture": words[1], **({"variant": words[2]} if len(words) > 2 else {})}
            entries.append(put(json.dumps(manifest).encode(), images_manifest, platform=platform))
        entries += [put(data, images_manifest, platform={"os": "unknown", "architecture": "unknown"}) for data in extra]
        index = json.dumps({"schemaVersion": 2, "mediaType": images_index, "manifests": entries}).encode()
        if change:
            index = change(index)
        top = put(index, images_index)
        if nested:
            top = put(json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(), images_index)
        top["annotations"] = {"org.opencontainers.image.ref.name": name}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        path = self.path("index.tar")
        with tarfile.open(path, "w") as tar:
            for n, data in files.items():
                info = tarfile.TarInfo(n)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    def chosen(self, path, platform=None, **options):
        record = self.bring(path, name=None, **({"platform": platform} if platform else {}), **options)[0]
        with open(self.checkout(record) + "/own", encoding="ascii") as f:
            return f.read()

    def test_choice(self):
        path = self.archive("linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8", "linux/amd64", "linux/amd64/v3",
                            "windows/amd64", extra=[b"{}"])
        for wanted, got in ((None, "linux/amd64"), ("linux/amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
                            ("linux/amd64/v2", "linux/amd64"), ("linux/amd64/v4", "linux/amd64/v3"), ("linux/arm", "linux/arm/v7"),
                            ("linux/arm/v6", "linux/arm/v6"), ("linux/arm/v8", "linux/arm/v7"), ("linux/arm64", "linux/arm64/v8"),
                            ("linux/aarch64", "linux/arm64/v8")):
            with self.subTest(wanted):
                self.assertEqual(self.chosen(path, wanted), got)
        for wanted, word in (("linux/riscv64", "NotFound"), ("linux/arm/v4", "NotFound"), ("windows/amd64", "NotSupported"),
                             ("linux", "InvalidArgument"), ("linux/amd64/v1/x", "InvalidArgument"), ("Linux/../x", "InvalidArgument")):
            with self.subTest(wanted), self.assertRaises(Failed) as caught:
                self.chosen(path, wanted)
            self.assertEqual(caught.exception.word, word, caught.exception.message)

    def test_nested_and_statements(self):
        self.assertEqual(self.chosen(self.archive("linux/arm64", "linux/amd64", nested=True, extra=[b"[]"])), "linux/amd64")
        self.assertFails("NotFound", self.archive(extra=[b"{}"]), "no image", name=None)

    def test_all(self):
        path = self.archive("linux/arm64/v8", "linux/amd64", "linux/arm/v7", extra=[b"{}"])
        record = self.bring(path, name=None, platform="all")[0]
        self.assertEqual(record["platform"], {"os": "linux", "architecture": "amd64"})
        self.assertEqual([p["platform"]["architecture"] for p in record["platforms"]], ["arm64", "arm"])
        self.assertEqual(len({p["chain_id"] for p in record["platforms"]} | {record["chain_id"]}), 3)
        for p in record["platforms"]:
            self.assertNotIn("name", p)
            self.assertTrue(os.path.exists(p["rootfs"]["path"]))
        first = self.save([record], "1.tar")
        _, index, _ = manifests(members(first))[0]
        self.assertEqual([m["platform"]["architecture"] for m in index["manifests"]], ["arm64", "amd64", "arm"])
        self.fresh()
        again = self.bring(first, name=None, platform="all")
        self.assertSame(first, self.save(again, "2.tar"))
        # Without statements about the image there is nothing to leave out: the index itself is kept.
        self.fresh()
        record = self.bring(self.archive("linux/amd64", "linux/arm64"), name=None, platform="all")[0]
        self.assertEqual(manifests(members(self.save([record])))[0][2]["digest"], record["index"])
        docker = members(self.save([record], form="docker"))
        self.assertEqual(len(json.loads(docker["manifest.json"])), 1)
        for compression in ("gzip", "zstd"):
            first = self.save([record], "1.tar", compression=compression)
            self.fresh()
            record = self.bring(first, name=None, platform="all")[0]
            self.assertSame(first, self.save([record], "2.tar", compression=compression))

    def test_one_of_several_is_no_index(self):
        self.assertNotIn("index", self.bring(self.archive("linux/arm64", "linux/amd64"), name=None)[0])
        self.assertIn("index", self.bring(self.archive("linux/amd64", extra=[b"{}"]), name=None)[0])

    def test_ambiguous_index(self):
        def both(index):
            return json.dumps({**json.loads(index), "layers": []}).encode()

        self.assertFails("InvalidArgument", self.archive("linux/amd64", change=both), "ambiguous", name=None)

    def test_what_is_no_image(self):
        data = layer([entry("f", b"")])
        for changes, contains in (
                ({"layers": [{"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}]}, "not distributed"),
                ({"layers": [{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]}, "not distributed"),
                ({"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}]}, "encrypted"),
                ({"layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar"}]}, "not supported"),
                ({"config": {"mediaType": "application/vnd.oci.empty.v1+json"}}, "not that of an image")):
            with self.subTest(changes):
                good = json.loads(dict(images.oci_files([data]))["blobs/sha256/" + self.manifest_digest(data)[7:]])
                for key, value in changes.items():
                    good[key] = [{**good[key][0], **value[0]}] if key == "layers" else {**good[key], **value}
                path = images.oci_archive(self.path("a.tar"), [data], manifest_changes={k: good[k] for k in changes})
                self.assertFails("NotSupported", path, contains)

    def manifest_digest(self, data):
        return json.loads(dict(images.oci_files([data]))["index.json"])["manifests"][0]["digest"]

    def test_history(self):
        steps = [{"created": "2024-01-01T00:00:00Z", "created_by": "first"}, {"created_by": "second", "empty_layer": True, "author": "a",
                                                                           "comment": "c", "unknown": 1}, {"created_by": "x" * 100000}]
        data = layer([entry("f", b"")])
        record = self.bring(images.oci_archive(self.path("a.tar"), [data], config_data=images.config([data], history=steps)))[0]
        self.assertEqual(record["history"][:2], [{"created": 1704067200000000, "created_by": "first"},
                                                 {"created": 0, "created_by": "second", "empty_layer": True, "author": "a", "comment": "c"}])
        self.assertLess(len(record["history"][2]["created_by"]), 20000)
        for bad in (["x"], [{"created_by": 1}], [{"empty_layer": "yes"}], {}):
            path = images.oci_archive(self.path("a.tar"), [data], config_data=images.config([data], history=bad))
            self.assertFails("InvalidArgument", path, "history")
        path = images.oci_archive(self.path("a.tar"), [data], config_data=images.config([data], history=[{}] * 1025))
        self.assertFails("ResourceExhausted", path, "history")

    def test_annotations_are_not_labels(self):
        data = layer([entry("f", b"")])
        path = images.oci_archive(self.path("a.tar"), [data], settings={"Labels": {"l": "1"}},
                                  manifest_changes={"annotations": {"org.davit.secret": "x", "davit.gc.root": "1"}})
        record = self.bring(path)[0]
        self.assertEqual(record["config"]["Labels"], {"l": "1"})
        self.assertNotIn("org.davit.secret", json.dumps(record))

    def test_layout_changed_while_it_is_read(self):
        """What was verified is what is stored, or nothing is."""
        big = layer([entry(f"f{i}", os.urandom(20000)) for i in range(200)])
        for name, data in images.oci_files([big], compress=False):
            os.makedirs(os.path.dirname(self.path("layout/" + name)), exist_ok=True)
            self.path("layout/" + name, data)
        blob_path = self.path("layout/blobs/sha256/" + digest(big)[7:])
        stop = threading.Event()

        def change():
            n = 0
            with open(blob_path, "r+b") as f:
                while not stop.is_set():
                    n = (n + 77777) % len(big)
                    os.pwrite(f.fileno(), bytes([n % 251]), n)
                    os.pwrite(f.fileno(), big[n:n + 1], n)

        for _ in range(5):
            thread = threading.Thread(target=change)
            thread.start()
            try:
                self.bring(self.path("layout"))
            except Failed as failure:
                self.assertEqual(failure.word, "InvalidArgument", failure.message)
            finally:
                stop.set()
                thread.join()
                stop.clear()
        os.truncate(blob_path, 1000)
        with self.assertRaises(Failed):
            self.bring(self.path("layout"), name="cut")
        if os.path.exists(self.dir + "/repo"):
            self.assertWhole()


images_manifest = "application/vnd.oci.image.manifest.v1+json"
images_index = "application/vnd.oci.image.index.v1+json"
images_config = "application/vnd.oci.image.config.v1+json"


class Content(SaveTest):
    def commit(self, data, **members_):
        return self.request("content-commit", self.path("blob", data), **members_)

    def read(self, what, **members_):
        argv = [test_store.WORKER, "--directory=" + self.dir, "request",
                json.dumps({"operation": "content-read", "digest": what, **members_}), "+"]
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failed(*done.stderr.decode().removeprefix("davit-store: ").split(": ", 1))
        self.assertEqual(json.loads(done.stderr), {"size": len(done.stdout)})
        return done.stdout

    def test_commit_and_read(self):
        for data in (b"", b"x", os.urandom(100), os.urandom(3000000)):
            for more in ({}, {"digest": digest(data)}, {"digest": digest(data), "size": len(data)}):
                self.assertEqual(self.commit(data, **more), {"digest": digest(data), "size": len(data)})
            self.assertEqual(self.read(digest(data)), data)
            self.assertEqual(self.read(digest(data), kind="blob", offset=len(data)), b"")
        for offset, length in ((0, 1), (1, 0), (2999999, 1), (1000000, 70000), (2999999, 99)):
            self.assertEqual(self.read(digest(data), offset=offset, length=length), data[offset:offset + length if length else None])
        self.assertWhole()
        self.collect()
        self.assertNothingLeft()

    def test_refusals(self):
        before = None
        for more, word in (({"digest": digest(b"other")}, "InvalidArgument"), ({"size": 4}, "InvalidArgument"), ({"digest": "md5:x"}, "InvalidArgument"),
                           ({"ref": "x"}, "InvalidArgument")):
            with self.assertRaises(Failed) as caught:
                self.commit(b"data!", **more)
            self.assertEqual(caught.exception.word, word)
            before = before or self.left()
            self.assertEqual(self.left(), before)
        self.commit(b"data!")
        for what, more, word in ((digest(b"none"), {}, "NotFound"), (digest(b"none"), {"kind": "layer"}, "NotFound"), ("x", {}, "InvalidArgument"),
                                 (digest(b"data!"), {"offset": 6}, "InvalidArgument"), (digest(b"data!"), {"kind": "file"}, "InvalidArgument")):
            with self.assertRaises(Failed) as caught:
                self.read(what, **more)
            self.assertEqual(caught.exception.word, word)

    def test_layer(self):
        data = strange_layers()[0]
        self.layers(data)
        self.assertEqual(self.read(digest(data), kind="layer"), data)
        for offset in (1, 511, 512, 700000, 700001, len(data) - 1, len(data)):
            for length in (0, 1, 513, 100000):
                wanted = data[offset:offset + length if length else None]
                self.assertEqual(self.read(digest(data), kind="layer", offset=offset, length=length), wanted)


class Compose(SaveTest):
    def compose(self, above, **members_):
        ids = [l["diff_id"] for l in above["layers"]] if above else []
        return self.request("compose", **{"parent": above["digest"] if above else "", "diff_ids": ids, **members_})["image"]

    def test_changes(self):
        data = layer([entry("f", b"")])
        settings = {"Env": ["PATH=/bin", "A=1"], "Cmd": ["old"], "Unknown": {"kept": [1]}, "Labels": {"a": "1", "b": "2"}, "WorkingDir": "/w"}
        conf = images.config([data], settings, history=[{"created_by": "base"}], container_config={"kept": True})
        parent = self.bring(images.oci_archive(self.path("a.tar"), [data], config_data=conf))[0]
        got = self.compose(parent, author="me", message="why", created=1700000000000001, changes=[
            'CMD ["sh", "-c", "echo"]', "ENV PATH=$PATH:/x B='$A' C=\"${A}2\" D=a\\ b", "env E  f g", 'LABEL a=3 "c d"="e f"', "EXPOSE 80 53/UDP 90-91",
            "WORKDIR sub", "VOLUME /v1 /v2", 'VOLUME ["/v 3"]', "USER 1:2", "STOPSIGNAL SIGQUIT"])
        config = got["config"]
        self.assertEqual(config["Env"], ["PATH=/bin:/x", "A=1", "B=$A", "C=12", "D=a b", "E=f g"])
        self.assertEqual((config["Cmd"], config["Entrypoint"]), (["sh", "-c", "echo"], []))
        self.assertEqual(config["Labels"], {"a": "3", "b": "2", "c d": "e f"})
        self.assertEqual((config["ExposedPorts"], config["Volumes"]), (["53/udp", "80/tcp", "90/tcp", "91/tcp"], ["/v 3", "/v1", "/v2"]))
        self.assertEqual((config["WorkingDir"], config["User"], config["StopSignal"]), ("/w/sub", "1:2", "SIGQUIT"))
        self.assertEqual(got["created"], 1700000000000001)
        self.assertEqual(got["history"][0]["created_by"], "base")
        self.assertEqual({k: got["history"][1][k] for k in ("author", "comment", "empty_layer")},
                         {"author": "me", "comment": "why", "empty_layer": True})
        self.assertNotIn("name", got)
        got["name"] = "c:1"
        files = members(self.save([got]))
        whole = json.loads(blob(files, manifests(files)[0][1]["config"]))
        self.assertEqual((whole["config"]["Unknown"], whole["container_config"], whole["author"]), ({"kept": [1]}, {"kept": True}, "me"))
        self.assertWhole()

    def test_entry_point_takes_the_command_away(self):
        data = layer([entry("f", b"")])
        parent = self.bring(images.oci_archive(self.path("a.tar"), [data], settings={"Cmd": ["old"], "Shell": ["/bin/bash", "-ec"]}))[0]
        got = self.compose(parent, changes=["ENTRYPOINT run it"])["config"]
        self.assertEqual((got["Entrypoint"], got["Cmd"]), (["/bin/bash", "-ec", "run it"], []))
        got = self.compose(parent, changes=["CMD new", 'ENTRYPOINT ["/x"]'])["config"]
        self.assertEqual((got["Entrypoint"], got["Cmd"]), (["/x"], ["/bin/bash", "-ec", "new"]))

    def test_stop_signals(self):
        parent = self.layers(layer([entry("f", b"")]))
        for value in ("SIGTERM", "TERM", "15", "64", "SIGRTMIN+3", "RTMAX-2"):
            self.assertEqual(self.compose(parent, changes=["STOPSIGNAL " + value])["config"]["StopSignal"], value)

    def test_history_has_a_step_for_each_layer(self):
        data = [layer([entry(n, b"")]) for n in "abc"]
        self.layers(*data, name="top")
        padding, empty = {"comment": "layer of the parent image"}, {"created_by": "e", "empty_layer": True}
        for history, wanted in ((None, [padding, padding]), ([], [padding, padding]), ([empty, {"created_by": "1"}], [empty, {"created_by": "1"}, padding]),
                                ([{"created_by": "1"}, empty, {"created_by": "2", "empty_layer": False}], None)):
            conf = images.config(data[:2], history=history)
            parent = self.bring(images.oci_archive(self.path("a.tar"), data[:2], config_data=conf))[0]
            for layers in (data[:2], data):
                got = self.compose(parent, diff_ids=[digest(l) for l in layers])
                got["name"] = "c:1"
                files = members(self.save([got]))
                written = json.loads(blob(files, manifests(files)[0][1]["config"]))
                self.assertEqual(written["history"][:-1], history if wanted is None else wanted)
                self.assertEqual(sum(not s.get("empty_layer") for s in written["history"]), len(written["rootfs"]["diff_ids"]))

    def test_new_layers(self):
        base, top = layer([entry("a", b"1")]), layer([entry("b", b"2")])
        parent = self.bring(images.oci_archive(self.path("a.tar"), [base]))[0]
        both = self.bring(images.oci_archive(self.path("b.tar"), [base, top]), name="both")[0]
        one = self.compose(parent, diff_ids=[digest(base), digest(top)], chain_id=both["chain_id"], rootfs="checkout")
        self.assertEqual(one["layers"], [parent["layers"][0], {"diff_id": digest(top), "digest": digest(top), "size": len(top)}])
        self.assertEqual(one["chain_id"], both["chain_id"])
        self.assertEqual(sorted(test_store.snapshot(one["rootfs"]["path"])), [b".", b"a", b"b"])
        self.assertNotIn("empty_layer", one["history"][-1])
        two = self.compose(parent, diff_ids=[], layer=digest(top), created=1)
        self.assertEqual(two["layers"], one["layers"])
        with self.assertRaises(Failed) as caught:
            self.compose(None, diff_ids=[digest(top)])
        self.assertIn("Chain", caught.exception.message)
        self.layers(top, name="top")
        self.assertEqual(self.compose(None, diff_ids=[digest(top)])["layers"][0]["diff_id"], digest(top))

    def test_refusals(self):
        data = layer([entry("f", b"")])
        parent = self.bring(images.oci_archive(self.path("a.tar"), [data], settings={"Env": ["A=1"]}))[0]
        before = self.left()
        for changes, word in (["FROM x"], "NotSupported"), (["HEALTHCHECK NONE"], "NotSupported"), (["ENV A"], "InvalidArgument"), \
                (["ENV ="], "InvalidArgument"), (["ENV A='x"], "InvalidArgument"), (["EXPOSE 0"], "InvalidArgument"), (["EXPOSE 9-8"], "InvalidArgument"), \
                (["EXPOSE 1/icmp"], "InvalidArgument"), (["USER"], "InvalidArgument"), (["STOPSIGNAL a b"], "InvalidArgument"), ([1], "InvalidArgument"), \
                (["LABEL x"], "InvalidArgument"), ([""], "NotSupported"), (["STOPSIGNAL FOO"], "InvalidArgument"), \
                (["STOPSIGNAL 0"], "InvalidArgument"), (["STOPSIGNAL 65"], "InvalidArgument"), (["STOPSIGNAL RTMIN+31"], "InvalidArgument"), \
                (["CMD [foo"], "InvalidArgument"), (["CMD [foo]"], "InvalidArgument"), (['ENTRYPOINT ["a", 1]'], "InvalidArgument"), \
                (['ENTRYPOINT ["a"] b'], "InvalidArgument"):
            with self.subTest(changes), self.assertRaises(Failed) as caught:
                self.compose(parent, changes=changes)
            self.assertEqual(caught.exception.word, word, caught.exception.message)
            if changes[0] and changes[0] != 1:
                self.assertIn(changes[0].split()[0], caught.exception.message + "A quote is not closed ENV")
        for more, word in (({"diff_ids": []}, "InvalidArgument"), ({"diff_ids": [digest(b"x")]}, "NotFound"), ({"chain_id": digest(b"y")}, "InvalidArgument"),
                           ({"parent": digest(b"z")}, "NotFound"), ({"parent": "x"}, "InvalidArgument")):
            with self.subTest(more), self.assertRaises(Failed) as caught:
                self.compose(parent, **more)
            self.assertEqual(caught.exception.word, word, caught.exception.message)
        self.assertEqual(self.left(), before)


class Memory(SaveTest):
    """Real images: whole after the way out and in again, within bounds of memory."""

    time_limit = 400

    def setUp(self):
        """A file system of its own: it is gone at once, where removing 100,000 files may take minutes."""
        super().setUp()
        image, self.top = self.path("fs.img"), self.path("fs")
        os.mkdir(self.top)
        with open(image, "wb") as f:
            os.truncate(f.fileno(), 8 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", image, self.top], check=True)
        self.addCleanup(subprocess.run, ["umount", self.top], check=True)
        self.dir = self.top + "/state"

    def measured(self, *argv):
        """Runs the worker: its result; its greatest resident set is within bounds."""
        with subprocess.Popen([test_store.WORKER, "--directory=" + self.dir, *argv], stdout=subprocess.PIPE) as worker:
            out = worker.stdout.read()
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = status
        self.assertEqual(status, 0)
        self.assertLessEqual(usage.ru_maxrss * 1024, MEMORY_MAX, argv)
        return json.loads(out)

    def saved(self, name, record, form, compression="none"):
        path = self.path(f"{name}.tar")
        request = {"operation": "save", "images": [{"names": ["x"], "digest": record["digest"]}], "format": form, "compression": compression}
        self.measured("request", json.dumps(request), ">" + path)
        return path

    def family(self, name, again):
        self.dir = self.path("first-" + name)
        record = self.measured("import", "--name=x", f"{CACHE}/{name}.oci.tar")["images"][0]
        first = self.saved(name + "-1", record, "oci")
        files = self.digests(first)
        for l in record["layers"]:
            self.assertIn("blobs/" + l["diff_id"].replace(":", "/"), files)
        self.saved(name + "-rootfs", record, "rootfs", "zstd")
        if again:
            self.dir = self.path("second-" + name)
            self.assertSame(first, self.saved(name + "-2", self.measured("import", first)["images"][0], "oci"))

    def test_family(self):
        found = [(n, again) for n, again in FAMILY if os.path.exists(f"{CACHE}/{n}.oci.tar")]
        self.assertNotEqual(found, [], "there is no image to try")
        for name, again in found:
            with self.subTest(name):
                self.family(name, again)

    def digests(self, archive):
        """Names of the blobs, whose content is compared with them."""
        names = set()
        with tarfile.open(archive) as tar:
            for m in tar:
                if not m.isreg() or not m.name.startswith("blobs/"):
                    continue
                got = hashlib.sha256()
                f = tar.extractfile(m)
                for piece in iter(lambda f=f: f.read(1 << 20), b""):
                    got.update(piece)
                self.assertEqual("blobs/sha256/" + got.hexdigest(), m.name)
                names.add(m.name)
        return names


class Peers(SaveTest):
    """What we write is what others read."""

    time_limit = 300

    def saved(self):
        busybox = shutil.which("busybox")
        if not busybox:
            self.skipTest("busybox is not installed")
        with open(busybox, "rb") as f:
            program = f.read()
        base = layer([entry("bin"), entry("bin/busybox", program, mode=0o755), entry("etc"), entry("etc/gone", b"x"), entry("lib"),
                      entry("lib/old", b"x")])
        top = layer([link("bin/sh", "busybox"), link("bin/true", "busybox"), entry("etc/kept", b"k"), link("etc/same", "etc/kept", kind=tarfile.LNKTYPE),
                     entry("etc/.wh.gone", b""), entry("lib"), entry("lib/.wh..wh..opq", b""), entry("lib/new", b"y", uid=7, mode=0o640)])
        path = images.oci_archive(self.path("a.tar"), [base, top], settings={"Cmd": ["/bin/true"], "Env": ["PATH=/bin"]})
        return self.bring(path, name="docker.io/library/davit-saved:1")[0]

    def need(self, program):
        if not shutil.which(program):
            self.skipTest(program + " is not installed")

    def call(self, *argv):
        done = subprocess.run(argv, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace")[-2000:])
        return done.stdout

    def layout(self, record, compression):
        directory = self.path("layout-" + compression)
        os.mkdir(directory)
        self.request("save", directory, images=[{"names": [record["name"]], "digest": record["digest"]}], format="oci", compression=compression)
        return directory

    def test_umoci(self):
        self.need("umoci")
        record = self.saved()
        wanted = test_store.snapshot(self.checkout(record))
        for compression in ("none", "gzip"):
            self.call("umoci", "unpack", "--image", self.layout(record, compression) + ":1", self.path("bundle-" + compression))
            self.assertEqual(test_store.snapshot(self.path(f"bundle-{compression}/rootfs")), wanted)

    def test_skopeo(self):
        self.need("skopeo")
        record = self.saved()
        for compression in COMPRESSIONS:
            directory = self.layout(record, compression)
            archive = self.save([record], form="oci", compression=compression)
            docker = self.save([record], "docker.tar", form="docker", compression=compression)
            for source in (f"oci:{directory}:1", f"oci-archive:{archive}:1", f"docker-archive:{docker}"):
                with self.subTest(source, compression=compression):
                    got = json.loads(self.call("skopeo", "inspect", "--config", source))
                    self.assertEqual(got["rootfs"]["diff_ids"], [l["diff_id"] for l in record["layers"]])
                    shutil.rmtree(self.path("copy"), ignore_errors=True)
                    self.call("skopeo", "--insecure-policy", "copy", source, f"oci:{self.path('copy')}:x")
                    self.assertEqual(self.bring(self.path("copy"), name="copy")[0]["chain_id"], record["chain_id"])

    def test_podman(self):
        self.need("podman")
        record = self.saved()
        podman = ("podman", "--root", self.path("podman"), "--runroot", self.path("podman-run"), "--storage-driver", "vfs", "--events-backend", "file")
        for form in ("docker", "oci"):
            for compression in ("none", "gzip"):
                with self.subTest(form=form, compression=compression):
                    out = self.call(*podman, "load", "--input", self.save([record], form=form, compression=compression))
                    self.assertIn(b"davit-saved:1", out)
                    got = json.loads(self.call(*podman, "image", "inspect", "docker.io/library/davit-saved:1"))[0]
                    self.assertEqual((got["Id"], got["RootFS"]["Layers"]), (record["config_digest"][7:], [l["diff_id"] for l in record["layers"]]))
                    self.call(*podman, "rmi", "--force", "docker.io/library/davit-saved:1")

    def test_containerd(self):
        self.need("containerd")
        record = self.saved()
        tool = peers.Ctr(self.top, None, None)
        tool.unit = "davit-test-containerd.service"
        tool.run_directory = "/run/davit-test-containerd"
        os.makedirs(tool.run_directory, exist_ok=True)
        self.addCleanup(shutil.rmtree, tool.run_directory, ignore_errors=True)
        tool.start_daemon(self.path("containerd"))
        self.addCleanup(tool.teardown)
        for form in ("oci", "docker"):
            for compression in COMPRESSIONS:
                with self.subTest(form=form, compression=compression):
                    saved = self.save([record], form=form, compression=compression)
                    self.call(*tool.ctr("images", "import", saved))
                    out = self.call(*tool.ctr("run", "--rm", record["name"], f"c-{form}-{compression}", "/bin/busybox", "ls", "-ln", "/lib", "/etc"))
                    self.assertEqual([l.split()[0:4:2] + [l.split()[-1]] for l in out.decode().splitlines() if " new" in l], [["-rw-r-----", "7", "new"]])
                    self.assertNotIn(b"gone", out)
                    self.call(*tool.ctr("images", "rm", "--sync", record["name"]))


if __name__ == "__main__":
    unittest.main()
