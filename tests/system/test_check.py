# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a check of the store finds, and what a repair makes of it. Every damage is done by hand, to the files."""

import gzip
import json
import os
import random
import shutil
import subprocess
import tarfile

import images
from test_store import WORKER, Failed, StoreTest, entry, layer, link, snapshot


def flip(path, at=None):
    """One bit of a file, behind its owner's back: time and links stay."""
    st = os.stat(path)
    with open(path, "r+b") as f:
        f.seek(st.st_size // 2 if at is None else at)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 0x10]))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def read(path):
    with open(path, "rb") as f:
        return f.read()


class CheckTest(StoreTest):
    def objects(self, suffix=".file", smallest=1):
        found = []
        for where, _, files in os.walk(self.dir + "/repo/objects"):
            found += [f"{where}/{f}" for f in files if f.endswith(suffix) and os.lstat(f"{where}/{f}").st_size >= smallest
                      and not os.path.islink(f"{where}/{f}")]
        return sorted(found)

    @staticmethod
    def name(path):
        return os.path.basename(os.path.dirname(path)) + os.path.basename(path).split(".")[0]

    def check(self, *options):
        return self.run_worker("check", *options)["damaged"]

    def ref(self, kind, digest):
        return f"{self.dir}/repo/refs/heads/davit/{kind}/{digest[7:]}"

    def refused(self, image):
        """No root file system is made of a damaged chain."""
        with self.assertRaises(Failed) as caught:
            self.run_worker("rootfs", "--rootfs=checkout", image["chain_id"])
        return caught.exception.message


class Tampering(CheckTest):
    BASE = layer([entry("usr")] + [entry(f"usr/f{i}", b"%d " % i * (200 + i)) for i in range(200)])
    TOP = layer([entry("etc"), entry("etc/own", b"own"), entry("usr/f1", b"other"), link("l", "etc/own")])

    def test_hundred_objects(self):
        image = self.layers(self.BASE, self.TOP)
        self.assertWhole()
        before = snapshot(image["rootfs"]["path"])
        chosen = random.Random(1).sample([p for p in self.objects(smallest=600) if read(p)[:1].isdigit()], 100)
        for path in chosen:
            flip(path)
        damaged = self.check()
        self.assertEqual(sorted(d["id"] for d in damaged), sorted(self.name(p) for p in chosen))
        self.assertEqual(len(damaged), 100)
        for d in damaged:
            self.assertEqual((d["kind"], d["chains"], d["repaired"]), ("object", [image["chain_id"]], False), d)
            self.assertRegex(d["path"], r"^usr/f\d+$")
        self.assertEqual(self.check(), damaged, "a check changes nothing")
        after = self.check("--repair")
        self.assertEqual([d["repaired"] for d in after], [False] * 100)
        self.refused(image)
        self.layers(self.BASE, self.TOP)
        self.assertWhole()
        self.assertEqual(snapshot(image["rootfs"]["path"]), before)
        self.collect(image)
        self.assertWhole()
        self.collect()
        self.assertEqual(os.listdir(self.dir + "/damaged"), [])
        self.assertNothingLeft()

    def test_every_format_is_whole(self):
        """A repair throws away what a check calls damaged, so it must read whatever an import has read."""
        name = "/".join(["d" * 90] * 20)
        for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            image = self.layers(layer([entry(name, b"x" * 600), entry("h", kind=tarfile.LNKTYPE, linkname=name)], kind))
            self.assertWhole()
            self.assertEqual(self.check("--repair"), [])

    def test_lack_of_descriptors_is_no_damage(self):
        image = self.layers(layer([entry("/".join(["d"] * 100) + "/f", b"x")]))
        done = subprocess.run(["prlimit", "--nofile=60", WORKER, "--directory=" + self.dir, "check", "--repair"],
                              capture_output=True, check=False)
        self.assertIn("Too many open files", done.stderr.decode())
        self.assertEqual(done.returncode, 1)
        self.assertTrue(os.path.exists(image["rootfs"]["path"]))
        self.assertWhole()

    def test_path_of_an_overwritten_file(self):
        """It is in no chain's tree, yet the image that has the layer cannot be saved without it."""
        image = self.layers(self.BASE, self.TOP)
        hidden = [p for p in self.objects() if os.stat(p).st_size == len(b"1 ") * 201]
        flip(hidden[0])
        damaged = self.check()
        self.assertEqual([(d["path"], d["chains"]) for d in damaged], [("usr/f1", [image["chain_id"]])])

    def test_truncated_objects(self):
        """What a power cut leaves of files that were not on the disk yet."""
        image = self.layers(self.BASE, self.TOP)
        before = snapshot(image["rootfs"]["path"])
        chosen = self.objects(smallest=400)[:30]
        for i, path in enumerate(chosen):
            os.truncate(path, 0 if i % 2 else 100)
        self.assertEqual(sorted(d["id"] for d in self.check()), sorted(self.name(p) for p in chosen))
        self.check("--repair")
        self.layers(self.BASE, self.TOP)
        self.assertWhole()
        self.assertEqual(snapshot(image["rootfs"]["path"]), before)

    def test_missing_and_changed(self):
        self.layers(self.BASE)
        paths = self.objects(smallest=400)
        os.unlink(paths[0])
        os.chmod(paths[1], 0o600)
        os.chown(paths[2], 5, 0)
        os.setxattr(paths[3], "user.a", b"1")
        self.assertEqual(sorted(d["id"] for d in self.check()), sorted(self.name(p) for p in paths[:4]))

    def test_directories_are_made_again(self):
        image = self.layers(self.BASE, self.TOP)
        for suffix in (".dirtree", ".dirmeta"):
            for path in self.objects(suffix):
                flip(path)
        damaged = self.check()
        self.assertTrue(damaged)
        for d in damaged:
            self.assertEqual(d["kind"], "object")
        with self.assertRaises(Failed) as caught:
            self.collect(image)
        self.assertIn("Nothing is freed", caught.exception.message)
        self.check("--repair")
        self.layers(self.BASE, self.TOP)
        self.assertWhole()

    def test_directories_of_chains_alone(self):
        """The records of the layers are sound: nothing has to be imported again."""
        image = self.layers(self.BASE, self.TOP)
        only = [p for p in self.objects(".dirtree") if self.run_worker("why", self.name(p))["layers"] == []
                and self.run_worker("why", self.name(p))["chains"] != []]
        self.assertTrue(only)
        for path in only:
            flip(path)
        self.assertEqual([d["repaired"] for d in self.check("--repair")], [True] * len(only))
        self.assertWhole()
        self.run_worker("rootfs", "--rootfs=checkout", image["chain_id"])

    def test_every_kind_of_object(self):
        """One flipped bit anywhere is found, and after a repair and an import all is well."""
        image = self.layers(self.BASE, self.TOP)
        before = snapshot(image["rootfs"]["path"])
        for suffix in (".file", ".dirtree", ".dirmeta", ".commit"):
            for path in self.objects(suffix)[::20]:
                with self.subTest(suffix=suffix, object=self.name(path)):
                    flip(path)
                    self.assertIn(self.name(path), [d["id"] for d in self.check()])
                    self.check("--repair")
                    self.layers(self.BASE, self.TOP)
                    self.assertWhole()
                    self.assertEqual(snapshot(image["rootfs"]["path"]), before)


class Copies(CheckTest):
    def test_same_content_elsewhere(self):
        """Another owner's file of the same content, and a file that is in an image twice."""
        image = self.layers(layer([entry("a", b"same" * 999), entry("b", b"same" * 999, mode=0o4711, uid=7, mtime=5),
                                   entry("c", b"twice" * 999), entry("d", b"twice" * 999), link("s", "a")]))
        before = snapshot(image["rootfs"]["path"])
        for path in self.objects(smallest=3000):
            with self.subTest(self.name(path)):
                flip(path)
                got = self.check("--repair")
                self.assertEqual([(d["id"], d["repaired"]) for d in got], [(self.name(path), True)])
                self.assertWhole()
                self.assertEqual(snapshot(image["rootfs"]["path"]), before)

    def test_symbolic_link(self):
        image = self.layers(layer([entry("d"), link("l", "to/here", uid=3)]))
        links = [f"{w}/{f}" for w, _, files in os.walk(self.dir + "/repo/objects") for f in files if os.path.islink(f"{w}/{f}")]
        os.unlink(links[0])
        os.symlink("elsewhere", links[0])
        self.assertEqual([d["repaired"] for d in self.check("--repair")], [True])
        self.assertWhole()
        self.assertEqual(os.readlink(image["rootfs"]["path"] + "/l"), "to/here")

    def test_stored_blob(self):
        """The archive of the layer itself, as a client of the content service may have left it."""
        data = layer([entry("a", os.urandom(5000)), entry("b", os.urandom(6000), uid=3, mode=0o4755)])
        image = self.layers(data)
        before = snapshot(image["rootfs"]["path"])
        self.run_worker("request", json.dumps({"operation": "content-commit"}), self.path("blob", gzip.compress(data)))
        bad = [p for p in self.objects(smallest=5000) if os.stat(p).st_size in (5000, 6000)]
        for path in bad:
            flip(path)
        self.assertEqual([d["repaired"] for d in self.check("--repair")], [True, True])
        self.assertWhole()
        self.assertEqual(snapshot(image["rootfs"]["path"]), before)

    def test_two_images(self):
        """Each damage names the images that suffer, and no other."""
        shared, own = entry("shared", os.urandom(5000)), entry("own", os.urandom(6000))
        one, two = self.layers(layer([shared]), name="one"), self.layers(layer([shared, own]), name="two")
        for path in self.objects(smallest=4000):
            flip(path)
        got = {d["path"]: sorted(d["chains"]) for d in self.check()}
        self.assertEqual(got, {"shared": sorted([one["chain_id"], two["chain_id"]]), "own": [two["chain_id"]]})


class Refs(CheckTest):
    LAYER = layer([entry("f", b"f" * 100)])

    def test_broken_refs(self):
        image = self.layers(self.LAYER)
        for kind, digest in (("layer", image["layers"][0]["diff_id"]), ("tarsplit", image["layers"][0]["diff_id"]),
                             ("chain", image["chain_id"]), ("content", image["digest"])):
            for data in (b"", b"x" * 65, b"0" * 64 + b"\n", None):
                with self.subTest(kind=kind, data=data):
                    path = self.ref(kind, digest)
                    if data is None:
                        os.unlink(path)
                    else:
                        with open(path, "wb") as f:
                            f.write(data)
                    self.assertTrue(self.check("--chain=" + image["chain_id"], "--content=" + image["digest"]), "not seen")
                    self.check("--repair")
                    self.layers(self.LAYER)
                    self.assertWhole()
        self.collect()
        self.assertNothingLeft()

    def test_refs_that_were_exchanged(self):
        """Each commit is sound; it is another's."""
        one, two = self.layers(self.LAYER), self.layers(layer([entry("g", b"g" * 100)]), name="two")
        for kind, a, b in (("layer", one["layers"][0]["diff_id"], two["layers"][0]["diff_id"]),
                           ("tarsplit", one["layers"][0]["diff_id"], two["layers"][0]["diff_id"]),
                           ("chain", one["chain_id"], two["chain_id"])):
            with self.subTest(kind):
                shutil.copy(self.ref(kind, b), self.ref(kind, a))
                self.assertTrue(self.check())
                self.check("--repair")
                self.layers(self.LAYER)
                self.layers(layer([entry("g", b"g" * 100)]), name="two")
                self.assertWhole()


class Checkouts(CheckTest):
    LAYER = layer([entry("d"), entry("d/a", b"same" * 99), entry("d/b", b"same" * 99), entry("dev", kind=tarfile.CHRTYPE, devmajor=1,
                                                                                          devminor=3)])

    def test_every_difference(self):
        top = self.layers(self.LAYER)["rootfs"]["path"]
        before = snapshot(top)

        def rename():
            os.rename(top + "/d/a", top + "/d/c")

        def device():
            os.unlink(top + "/dev")
            os.mknod(top + "/dev", 0o644 | 0o020000, os.makedev(1, 5))

        copy = "b" if os.stat(top + "/d/a").st_nlink > 1 else "a"
        for change in (rename, device, lambda: os.chmod(top + "/d", 0o700), lambda: os.unlink(f"{top}/d/{copy}"),
                       lambda: flip(f"{top}/d/{copy}"), lambda: os.mkdir(top + "/new"), lambda: os.chown(top, 3, 3)):
            change()
            found = self.check()
            self.assertEqual([d["kind"] for d in found], ["checkout"], found)
            self.assertEqual([d["repaired"] for d in self.check("--repair")], [True])
            self.run_worker("rootfs", "--rootfs=checkout", "sha256:" + os.path.basename(top))
            self.assertEqual(snapshot(top), before)
            self.assertWhole()


class Erofs(CheckTest):
    LAYER = layer([entry("d"), entry("d/a", b"a" * 5000), link("l", "d/a")])

    def test_every_difference(self):
        image = self.layers(self.LAYER, rootfs="erofs")
        place = image["rootfs"]["path"]
        before = read(place)
        self.assertWhole()

        def other():
            os.unlink(place)
            self.path("state/erofs/" + os.path.basename(place), b"other")

        for change in (lambda: flip(place), lambda: os.truncate(place, 1000), lambda: os.unlink(place), other):
            change()
            found = self.check()
            self.assertEqual([(d["kind"], d["id"]) for d in found], [("erofs", image["chain_id"])], found)
            self.assertEqual([d["repaired"] for d in self.check("--repair")], [True])
            self.assertWhole()
            got = self.run_worker("rootfs", "--rootfs=erofs", image["chain_id"])
            self.assertEqual(got["rootfs"], image["rootfs"])
            self.assertEqual(read(place), before)
            self.assertWhole()

    def test_object_of_a_chain(self):
        """The image is as it should be, the file it leads to is not: the chain is refused until it is brought again."""
        image = self.layers(self.LAYER, rootfs="erofs")
        flip([p for p in self.objects() if read(p)[:2] == b"aa"][0])
        self.assertEqual([d["path"] for d in self.check("--repair")], ["d/a"])
        self.assertFalse(os.path.exists(image["rootfs"]["path"]))
        with self.assertRaises(Failed):
            self.run_worker("rootfs", "--rootfs=erofs", image["chain_id"])
        self.assertEqual(self.layers(self.LAYER, rootfs="erofs"), image)
        self.assertWhole()


class Why(CheckTest):
    def test_who_uses_an_object(self):
        image = self.layers(layer([entry("f", b"f" * 100)]))
        self.bring(images.oci_archive(self.path("b.tar"), [layer([entry("g", b"g" * 100)])]), name="two")
        path = [p for p in self.objects() if read(p) == b"f" * 100]
        got = self.run_worker("why", self.name(path[0]))
        self.assertEqual(got, {"chains": [image["chain_id"]], "contents": [], "layers": [image["layers"][0]["diff_id"]]})
        manifest = [p for p in self.objects() if b"schemaVersion" in read(p)]
        for path in manifest:
            self.assertEqual(len(self.run_worker("why", self.name(path))["contents"]), 1)
        self.assertEqual(self.run_worker("why", "0" * 64), {"chains": [], "contents": [], "layers": []})
        with self.assertRaises(Failed):
            self.run_worker("why", "x")
