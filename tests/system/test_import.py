# SPDX-License-Identifier: LGPL-2.1-or-later
"""Layers inside images that are cut, padded or written by another program's habits."""

import gzip
import json
import os
import random
import subprocess
import tarfile

import images
import test_store
from test_store import END, Failed, block, header, pax

entry, layer, digest = images.entry, images.layer, images.digest


def zstd(data, *options):
    return subprocess.run(["zstd", "-qc", *options], input=data, capture_output=True, check=True).stdout


class Blobs(test_store.StoreTest):
    LAYER = layer([entry("d"), *(entry(f"d/f{i}", os.urandom(3000)) for i in range(40))])

    def image(self, blob, media="", plain=None, **changes):
        """An OCI archive of one layer blob as it is given."""
        files = [(n, d) for n, d in images.oci_files([self.LAYER if plain is None else plain], compress=False) if n != "index.json"]
        manifest = json.loads(next(d for n, d in reversed(files)))
        files = [(n, d) for n, d in files if n.startswith("oci-layout") or d != self.LAYER][:-1]
        manifest["layers"] = [{"mediaType": "application/vnd.oci.image.layer.v1.tar" + media, "digest": digest(blob), "size": len(blob), **changes}]
        data = json.dumps(manifest).encode()
        index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], "digest": digest(data), "size": len(data)}]}
        files += [("blobs/sha256/" + digest(blob)[7:], blob), ("blobs/sha256/" + digest(data)[7:], data), ("index.json", json.dumps(index).encode())]
        path = self.path("image.tar")
        with tarfile.open(path, "w") as tar:
            for name, content in dict(files).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, test_store.io.BytesIO(content))
        return path

    def test_compressions(self):
        half = len(self.LAYER) // 2 + 77
        for blob, media in ((self.LAYER, ""), (gzip.compress(self.LAYER), "+gzip"), (zstd(self.LAYER), "+zstd"),
                            (gzip.compress(self.LAYER[:half]) + gzip.compress(self.LAYER[half:]), "+gzip"),
                            (zstd(self.LAYER[:half]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(self.LAYER[half:]), "+zstd")):
            with self.subTest(media=media, size=len(blob)):
                record = self.bring(self.image(blob, media))[0]
                self.assertEqual(record["layers"], [{"diff_id": digest(self.LAYER), "digest": digest(blob), "size": len(blob)}])

    def test_cut(self):
        """Whatever is missing of a layer, the digest of what is there being right."""
        where = random.Random(5)
        for blob in (self.LAYER, gzip.compress(self.LAYER), zstd(self.LAYER)):
            for _ in range(12):
                self.assertFails("InvalidArgument", self.image(blob[:where.randrange(len(blob) - 10240 if blob is self.LAYER else len(blob))]))
            for wrong in (-1, 1):
                self.assertFails("InvalidArgument", self.image(blob, size=len(blob) + wrong))

    def test_padded(self):
        for blob in (self.LAYER + b"\0\0x", gzip.compress(self.LAYER) + b"more", gzip.compress(self.LAYER) + b"\0", zstd(self.LAYER) + b"more"):
            self.assertFails("InvalidArgument", self.image(blob))

    def test_cut_archive(self):
        with open(self.image(gzip.compress(self.LAYER), "+gzip"), "rb") as f:
            whole = f.read().rstrip(b"\0")
        where = random.Random(6)
        for data in (whole, gzip.compress(whole), zstd(whole)):
            for _ in range(8):
                cut = data[:where.randrange(1, len(data) - 600)]
                self.assertFails("InvalidArgument", cut, format="oci")

    def test_window_of_two_gigabytes(self):
        blob = zstd(self.LAYER, "--ultra", "--long=31")
        frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3]) + b"\x01\0\0"  # no content size, window of 2^31, an empty last block
        for data in (blob, frame):
            before = self.left()
            with self.assertRaises(Failed) as caught:
                self.bring(self.image(data, "+zstd", plain=self.LAYER if data is blob else b""))
            self.assertEqual((caught.exception.word, self.left()), ("ResourceExhausted", before), caught.exception.message)


class Habits(test_store.StoreTest):
    def test_names_in_the_plain_locale(self):
        """systemd gives no locale; names are bytes all the same."""
        name = "d\N{LATIN SMALL LETTER E WITH ACUTE}/\N{HIRAGANA LETTER A}" + "x" * 120
        data = layer([entry(name, b"1"), test_store.link("s", name)])
        argv = [test_store.WORKER, "--directory=" + self.dir, "import", "--name=t", "--format=rootfs", "--rootfs=checkout", self.path("a", data)]
        done = subprocess.run(argv, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, capture_output=True, check=True)
        top = json.loads(done.stdout)["images"][0]["rootfs"]["path"]
        self.assertEqual(os.readlink(top + "/s"), name)
        with open(f"{top}/{name}", "rb") as f:
            self.assertEqual(f.read(), b"1")

    def test_parents_nobody_describes(self):
        got = test_store.snapshot(self.tree(layer([entry("a/b/f", b"", uid=7, gid=8, mode=0o600)]), rootfs="checkout"))
        self.assertEqual([got[n][1:4] for n in (b".", b"a", b"a/b", b"a/b/f")], [[0o755, 0, 0]] * 3 + [[0o600, 7, 8]])

    def test_empty_name(self):
        for data in (header(b""), pax((b"path", b"")) + header(b"")):
            before = self.left()
            with self.assertRaises(Failed) as caught:
                self.bring(data + header(b"f") + END, format="rootfs")
            self.assertEqual((caught.exception.word, self.left()), ("InvalidArgument", before))
        # An empty value takes the record back: the header's own name counts (POSIX.1, pax).
        self.assertEqual(os.listdir(self.tree(pax((b"path", b"")) + header(b"x") + END, rootfs="checkout")), ["x"])

    def test_attributes_out_of_order(self):
        data = pax((b"SCHILY.xattr.user.z", b"1"), (b"SCHILY.xattr.user.a", b"2"), (b"LIBARCHIVE.xattr.user.m", b"Mw==")) + \
            header(b"f", size=b"00000000003\0") + block(b"abc") + END
        top = self.tree(data, rootfs="checkout")
        self.assertEqual({n: os.getxattr(top + "/f", n) for n in os.listxattr(top + "/f")}, {"user.z": b"1", "user.a": b"2", "user.m": b"3"})
        self.assertWhole()


if __name__ == "__main__":
    test_store.unittest.main()
