# SPDX-License-Identifier: LGPL-2.1-or-later
"""Collection: what goes, what stays, and that it and everything else may run at the same time, or die."""

import itertools
import json
import os
import random
import select
import shutil
import subprocess
import threading
import unittest

import images
from test_store import DONE, ERROR, PROGRESS, READY, ROOTS, WORKER, Connection, Failed, StoreTest, entry, layer, snapshot


def space(top):
    """Bytes that a tree takes on the disk, each inode once."""
    seen = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            st = os.lstat(f"{where}/{name}")
            seen[st.st_ino] = st.st_blocks * 512
    return sum(seen.values())


class Manager:
    """What davitd does: writes an image down before it lets go of the worker, and tells collections what it has."""

    def __init__(self, directory):
        self.directory = directory
        self.lock = threading.Lock()
        self.images = {}
        self.collections = 0

    def bring(self, path, name, keep=True, **members):
        c = Connection(self.directory)
        try:
            with open(path, "rb") as f:
                c.request([f.fileno()], operation="import", name=name, rootfs="checkout", **members)
            kind, body, _ = c.result()
            if kind != DONE:
                raise AssertionError(body)
            image = body["images"][0]
            with self.lock:
                if keep:
                    self.images[name] = image
            return image
        finally:
            c.close()

    def remove(self, name):
        with self.lock:
            del self.images[name]

    def roots(self):
        with self.lock:
            kept = list(self.images.values())
        return {"chains": [i["chain_id"] for i in kept], "contents": [i[k] for i in kept for k in ("digest", "config_digest")]}

    def collect(self, **members):
        c = Connection(self.directory)
        try:
            c.request(operation="collect", **members)
            kind, body = c.receive()
            while kind in (READY, PROGRESS):
                if kind == READY:
                    c.send(ROOTS, json.dumps(self.roots()).encode())
                kind, body = c.receive()
            if kind != DONE:
                raise AssertionError(body)
            self.collections += 1
            return body
        finally:
            c.close()

    def check(self):
        c = Connection(self.directory)
        try:
            c.request(operation="check", **self.roots())
            return c.result()[1]
        finally:
            c.close()


class CollectTest(StoreTest):
    def setUp(self):
        super().setUp()
        self.manager = Manager(self.dir)

    def archive(self, name, *layers):
        return images.oci_archive(self.path(name + ".tar"), list(layers))

    def running(self, tasks):
        """Runs callables side by side: the failures."""
        failures = []

        def run(task):
            try:
                task()
            except (AssertionError, OSError, Failed) as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(t,)) for t in tasks]
        for t in threads:
            t.start()
        return threads, failures


class Freed(CollectTest):
    def test_bytes(self):
        """A dry run says what goes, a run frees that, and the disk agrees."""
        shared = layer([entry("shared", os.urandom(300000))] + [entry(f"s{i}", b"%d" % i) for i in range(50)])
        own = layer([entry("own", os.urandom(200000)), entry("twice", b"t" * 9000), entry("again", b"t" * 9000)])
        for form in ("checkout", "erofs"):
            with self.subTest(form):
                one = self.layers(shared, name="one", rootfs=form)
                self.layers(shared, own, name="two", rootfs=form)
                before = space(self.dir)
                planned = self.collect(one, dry_run=True)
                self.assertEqual(space(self.dir), before)
                done = self.collect(one)
                self.assertEqual(done, planned)
                self.assertEqual(before - space(self.dir), done["freed"] + self.refs_of(2) * 4096)
                self.assertGreater(done["freed"], 200000)
                self.assertLess(done["freed"], 300000)
                self.assertWhole()
                self.collect()
                self.assertNothingLeft()

    def refs_of(self, layers):  # two per layer but the shared one's, the chain, the image of an EROFS form, two contents
        return 2 * (layers - 1) + 1 + 2 + (1 if os.path.exists(self.dir + "/erofs") and os.listdir(self.dir + "/erofs") else 0)

    def test_what_dead_workers_left(self):
        """Working directories, staging directories of libostree, half-written refs."""
        image = self.layers(layer([entry("a", b"1")]))
        for path in ("ingest/dead/objects/aa", "repo/tmp/staging-0-x/bb", "damaged/x"):
            os.makedirs(f"{self.dir}/{path}")
            self.path(f"state/{path}/file", b"x" * 10000)
        self.path("state/repo/refs/heads/davit/layer/.tmp1234", b"")
        with open(self.dir + "/repo/objects/notes", "w", encoding="ascii") as f:
            f.write("not an object")
        self.collect(image)
        self.assertEqual(os.listdir(self.dir + "/ingest") + os.listdir(self.dir + "/damaged"), [])
        self.assertEqual([n for n in os.listdir(self.dir + "/repo/tmp") if n != "cache" and not n.startswith(".")], [])
        self.assertFalse(os.path.exists(self.dir + "/repo/refs/heads/davit/layer/.tmp1234"))
        self.assertTrue(os.path.exists(self.dir + "/repo/objects/notes"))
        self.assertWhole()

    def test_nobody_says_what_stays(self):
        image = self.layers(layer([entry("a", b"1")]))
        with self.assertRaises(Failed):
            self.run_worker("collect")
        for text in (b"{}", b"[]", b'{"chains":[]}', b'{"chains":["x"],"contents":[]}', b"x"):
            with self.subTest(text):
                c = Connection(self.dir)
                c.request(operation="collect")
                self.assertEqual(c.receive()[0], READY)
                c.send(ROOTS, text)
                self.assertEqual(c.result()[0], ERROR)
                c.close()
        c = Connection(self.dir)
        c.request(operation="collect")
        self.assertEqual(c.receive()[0], READY)
        c.close()  # the manager dies instead of answering
        self.assertEqual(self.collect(image)["objects"], 0)


class Together(CollectTest):
    def test_published_and_not_written_down(self):
        """Between a worker's result and the manager's record nothing names the image but the worker's pins."""
        path = self.archive("a", layer([entry("a", b"1" * 5000)]))
        c = Connection(self.dir)
        with open(path, "rb") as f:
            c.request([f.fileno()], operation="import", name="n", rootfs="checkout")
        kind, body, _ = c.result()
        self.assertEqual(kind, DONE)
        self.assertEqual(self.manager.collect()["objects"], 0)
        self.assertTrue(os.path.exists(body["images"][0]["rootfs"]["path"] + "/a"))
        self.assertWhole()
        c.close()
        self.assertGreater(self.manager.collect()["objects"], 0)
        self.assertNothingLeft()

    def test_beside_a_stalled_import(self):
        """An import that waits for its input holds nothing up, and loses nothing that it has read."""
        data = layer([entry("f", os.urandom(300000)), entry("g", b"2")])
        old = self.layers(layer([entry("old", b"o" * 5000)]))
        c = Connection(self.dir)
        read, write = os.pipe()
        c.request([read], operation="import", name="n", format="rootfs", rootfs="checkout")
        os.close(read)
        at = os.write(write, data[:65536])
        while c.receive()[0] != PROGRESS:
            pass
        self.assertEqual(self.manager.collect()["chains"], [old["chain_id"]])
        while at < len(data):
            at += os.write(write, data[at:at + 65536])
        os.close(write)
        kind, body, _ = c.result()
        self.assertEqual(kind, DONE, body)
        self.manager.images["n"] = body["images"][0]
        c.close()
        self.assertEqual(self.manager.collect()["objects"], 0)
        self.assertEqual(self.manager.check()["damaged"], [])

    def test_collection_waits_for_roots(self):
        """While a collection holds the store an import reads on, and publishes afterwards."""
        c = Connection(self.dir)
        c.request(operation="collect")
        self.assertEqual(c.receive()[0], READY)
        path = self.archive("a", layer([entry("a", b"1" * 5000)]))
        threads, failures = self.running([lambda: self.manager.bring(path, "n")])
        self.assertEqual(select.select([c.sock], [], [], 0.3)[0], [])
        self.assertEqual(self.manager.images, {})
        c.send(ROOTS, b'{"chains":[],"contents":[]}')
        self.assertEqual(c.result()[0], DONE)
        c.close()
        threads[0].join()
        self.assertEqual(failures, [])
        self.assertEqual(self.manager.check()["damaged"], [])

    def test_many(self):
        """32 imports of overlapping images, removals and collections, all at once."""
        rng = random.Random(7)
        pool = [entry(f"f{i}", rng.randbytes(3000)) for i in range(60)]
        layers = [layer(rng.sample(pool, 30) + [entry(f"own{i}", b"%d" % i)]) for i in range(8)]
        archives = [self.archive(f"a{i}", *rng.sample(layers, 3)) for i in range(16)]
        ended = threading.Event()

        def collect():
            while not ended.is_set():
                self.manager.collect()

        def bring(i):
            name = f"n{i}"
            self.manager.bring(archives[i % 16], name)
            if i % 4 == 0:  # an image that is removed, and brought again
                self.manager.remove(name)
                self.manager.bring(archives[i % 16], name)
            elif i % 4 == 1:
                self.manager.remove(name)

        collector, collector_failures = self.running([collect])
        threads, failures = self.running([lambda i=i: bring(i) for i in range(32)])
        for t in threads:
            t.join()
        ended.set()
        collector[0].join()
        self.assertEqual(failures + collector_failures, [])
        self.assertEqual(len(self.manager.images), 24)
        self.assertGreater(self.manager.collections, 2, "collections were starved")
        self.assertEqual(self.manager.check()["damaged"], [])
        for i, image in enumerate(self.manager.images.values()):
            if i % 6 == 0:
                self.assertTrue(snapshot(image["rootfs"]["path"]))
        self.manager.collect()
        again = Manager(self.dir)
        again.images = dict(self.manager.images)
        self.assertEqual(again.collect()["objects"], 0)
        self.manager.images.clear()
        self.manager.collect()
        self.assertNothingLeft()


@unittest.skipUnless(shutil.which("strace"), "strace is missing")
class Killed(CollectTest):
    """Workers that die at a system call: what is left is whole images and garbage, and garbage goes."""

    def killed(self, call, when, *argv, how="signal=KILL"):
        """Whether the worker got so far."""
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:{how}:when={when}", WORKER,
                               "--directory=" + self.dir, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return done.returncode != 0

    def test_imports(self):
        base = layer([entry(f"f{i}", b"%d" % i * 500) for i in range(40)])
        kept = self.layers(base, name="kept")
        before = snapshot(kept["rootfs"]["path"])
        path = self.archive("new", base, layer([entry(f"g{i}", b"%d" % i * 600) for i in range(40)]))
        for form, (call, whens) in itertools.product(
                ("checkout", "erofs"), (("linkat", (1, 50, 100)), ("renameat2", (1, 20, 60)), ("syncfs", (1, 2)), ("fdatasync", (1, 3)),
                                        ("mkdirat", (2, 30)), ("fchmod", (1, 40)))):
            for when in whens:
                with self.subTest(form=form, call=call, when=when):
                    if not self.killed(call, when, "import", "--name=t", f"--rootfs={form}", path):
                        continue
                    self.assertWhole()
                    self.collect(kept)
                    self.assertEqual(os.listdir(self.dir + "/ingest"), [])
                    self.assertEqual(os.listdir(self.dir + "/checkouts"), [os.path.basename(kept["rootfs"]["path"])])
                    self.assertWhole()
                    self.assertEqual(self.collect(kept)["freed"], 0)
        self.assertEqual(snapshot(kept["rootfs"]["path"]), before)
        self.collect()
        self.assertNothingLeft()

    def test_repairs(self):
        """A repair that dies, or meets a broken disk, can be done again."""
        content = [b"%d" % i * 500 for i in range(10)]
        data = layer([entry("d")] + [entry(f"d/f{i}", c) for i, c in enumerate(content)] + [entry("d/copy", content[0], mode=0o600)])
        kept = self.layers(data)
        before = snapshot(kept["rootfs"]["path"])
        for how, (call, whens) in itertools.product(("signal=KILL", "error=EIO"), (("renameat", (1, 2, 4)), ("syncfs", (1, 2)),
                                                                                    ("renameat2", (1, 2)), ("fsync", (1,)))):
            for when in whens:
                with self.subTest(how=how, call=call, when=when):
                    for where, _, files in os.walk(self.dir + "/repo/objects"):
                        for name in files:
                            path = f"{where}/{name}"
                            with open(path, "rb") as f:
                                old = f.read()
                            if old in content[:2] or (name.endswith(".dirtree") and b"copy" in old):
                                with open(path, "r+b") as f:
                                    f.write(b"x")
                    self.killed(call, when, "check", "--repair", how=how)
                    self.run_worker("check", "--repair")
                    self.layers(data)
                    self.assertWhole()
                    self.assertEqual(snapshot(kept["rootfs"]["path"]), before)
        self.collect()
        self.assertNothingLeft()

    def test_broken_disk(self):
        """A collection that cannot remove something says so, and the next one goes on; a check names what it cannot read."""
        data = layer([entry(f"f{i}", b"%d" % i * 500) for i in range(20)])
        kept = self.layers(layer([entry("a", b"a" * 500)]), name="kept")
        argv = ["collect", f"--chain={kept['chain_id']}", f"--content={kept['digest']}", f"--content={kept['config_digest']}"]
        for call, whens in (("unlinkat", (1, 4, 20)), ("fsync", (1,)), ("renameat", (1,))):
            for when in whens:
                with self.subTest(call=call, when=when):
                    self.layers(data, name="gone")
                    self.assertTrue(self.killed(call, f"{when}..{when}", *argv, how="error=EIO"))
                    self.assertWhole()
                    self.collect(kept)
                    self.assertEqual(self.collect(kept)["freed"], 0)
        inode = os.stat(kept["rootfs"]["path"] + "/a").st_ino
        path = [f"{w}/{f}" for w, _, files in os.walk(self.dir + "/repo/objects") for f in files if os.lstat(f"{w}/{f}").st_ino == inode]
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-P", path[0], "-e", "inject=pread64:error=EIO", WORKER,
                               "--directory=" + self.dir, "check"], capture_output=True, check=True)
        self.assertEqual([d["path"] for d in json.loads(done.stdout)["damaged"]], ["a"])
        self.assertWhole()

    def test_collections(self):
        base, top = layer([entry(f"f{i}", b"%d" % i * 500) for i in range(40)]), layer([entry("g", b"g" * 9000)])
        kept = self.layers(base, name="kept")
        before = snapshot(kept["rootfs"]["path"])
        argv = ["collect", f"--chain={kept['chain_id']}", f"--content={kept['digest']}", f"--content={kept['config_digest']}"]
        for call, whens in (("unlinkat", (1, 3, 8, 15, 25)), ("fsync", (1, 2)), ("renameat", (1,))):
            for when in whens:
                with self.subTest(call=call, when=when):
                    self.layers(base, top, name="gone")
                    self.killed(call, when, *argv)
                    self.assertWhole()
                    self.collect(kept)
                    self.assertEqual(self.collect(kept)["freed"], 0)
                    self.assertEqual(snapshot(kept["rootfs"]["path"]), before)
        self.collect()
        self.assertNothingLeft()


class Full(CollectTest):
    def test_not_a_byte_left(self):
        """What would free space must not need any."""
        os.mkdir(self.dir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", self.dir], check=True)
        self.addCleanup(subprocess.run, ["umount", self.dir], check=True)
        kept = self.layers(layer([entry("a", b"a" * 5000)]), name="kept")
        self.layers(layer([entry("b", os.urandom(1 << 20)), entry("d"), entry("d/b", b"b")]), name="gone")
        with open(self.dir + "/ballast", "wb", buffering=0) as f:
            while True:
                try:
                    f.write(bytes(4096))
                except OSError:
                    break
        self.assertEqual(os.statvfs(self.dir).f_bavail, 0)
        self.assertGreater(self.collect(kept)["freed"], 1 << 20)
        os.unlink(self.dir + "/ballast")
        self.assertWhole()

    def test_no_space(self):
        """A store that is full says so, keeps nothing of the import, and collects."""
        os.mkdir(self.dir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", self.dir], check=True)
        self.addCleanup(subprocess.run, ["umount", self.dir], check=True)
        kept = self.layers(layer([entry("a", os.urandom(20 << 20))]), name="kept")
        used = space(self.dir)
        with self.assertRaises(Failed) as caught:
            self.layers(layer([entry(f"b{i}", os.urandom(10 << 20)) for i in range(9)]), name="much")
        self.assertEqual(caught.exception.word, "ResourceExhausted", caught.exception.message)
        self.collect(kept)
        self.assertLessEqual(space(self.dir), used + 65536)
        self.assertWhole()
        self.assertGreater(self.collect()["freed"], 20 << 20)
        self.assertNothingLeft()


if __name__ == "__main__":
    unittest.main()
