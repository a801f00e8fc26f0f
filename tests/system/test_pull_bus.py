# SPDX-License-Identifier: LGPL-2.1-or-later
"""PullImage on the bus, with a registry worker that the test plays: what the manager asks it, what becomes of what it
sends, whose error ends a job, and that a pull which does not become whole leaves nothing, whoever is killed."""

import contextlib
import io
import json
import os
import signal
import socket
import struct
import tarfile
import threading

import davit
import images

SOCKET = "/run/davit/registry"
REQUEST, CANCEL, PROGRESS, DONE, ERROR = range(1, 6)
HEAD = struct.Struct("=IHHII")
BASE = images.layer([images.entry("etc"), images.entry("etc/base", b"pulled\n"), images.entry("gone", b"gone\n")])
TOP = images.layer([images.entry("etc/top", b"pulled\n"), images.entry(".wh.gone", b"")])
HOST = "registry.example:5000"


def fresh():
    """A layer that nobody has."""
    return images.layer([images.entry(name, os.urandom(20)) for name in "abcd"])


class Worker:
    """One connection of the manager's."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(60)
        data, fds, _, _ = socket.recv_fds(sock, 1 << 17, 8)
        _, kind, n_fds, size, _ = HEAD.unpack_from(data)
        text = data[HEAD.size:HEAD.size + size]
        if not size:
            text = os.pread(fds[-1], 1 << 23, 0)
            os.close(fds.pop())
        assert (kind, len(fds)) in ((REQUEST, n_fds), (REQUEST, n_fds - 1)), (kind, n_fds, fds)
        self.request = json.loads(text)
        self.output = None if self.request.get("digest_only") else fds.pop(0)
        self.secret = fds.pop(0) if self.request.get("credentials") else None
        assert not fds

    def say(self, kind, body=None, raw=b""):
        text = json.dumps(body).encode() if body is not None else b""
        self.sock.send(HEAD.pack(1, kind, 0, len(text), 0) + raw + text)

    def progress(self, *numbers):
        self.say(PROGRESS, raw=struct.pack("=QQII", *numbers))

    def write(self, data):
        data = memoryview(data)
        while data:
            data = data[os.write(self.output, data[:1 << 16]):]

    def end(self, kind, body):
        if self.output is not None:
            os.close(self.output)
            self.output = None
        self.say(kind, body)
        self.close()

    def fail(self, word, message):
        self.end(ERROR, {"error": word, "message": message})

    def hung_up(self):
        """Waits until the manager has closed; whether it has."""
        try:
            while True:
                if not self.sock.recv(1 << 17):
                    return True
        except TimeoutError:
            return False

    def close(self):
        self.sock.close()
        for fd in (self.output, self.secret):
            if fd is not None:
                os.close(fd)
        self.output = self.secret = None


class Image:
    """What a registry has under a name."""

    def __init__(self, layers, settings=None, compress=True):
        files = images.oci_ordered(images.oci_files(layers, "x", settings, compress))
        self.files = files
        self.descriptor = json.loads(dict(files)["index.json"])["manifests"][0]
        self.digest = self.descriptor["digest"]
        manifest = json.loads(dict(files)["blobs/sha256/" + self.digest[7:]])
        self.blobs = [one["digest"] for one in manifest["layers"]]

    def size(self, have=()):
        """Bytes of what a worker fetches."""
        return sum(len(data) for name, data in self.files if "sha256:" + name.rsplit("/", 1)[-1] not in have)

    def stream(self, have=()):
        out = io.BytesIO()
        left_out = {"blobs/sha256/" + d[7:] for d in have if d in self.blobs}
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in self.files:
                if name in left_out:
                    continue
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def answer(self, fetched=0, **more):
        return {"digest": self.digest, "manifest": self.digest, "media_type": self.descriptor["mediaType"],
                "size": 1, "fetched": fetched, **more}

    def serve(self, worker):
        """As an honest worker does."""
        if worker.output is None:
            worker.end(DONE, self.answer())
            return
        data = self.stream(worker.request["have"])
        worker.progress(0, len(data), 0, len(self.blobs))
        worker.write(data)
        worker.progress(len(data), len(data), len(self.blobs), len(self.blobs))
        worker.end(DONE, self.answer(self.size(worker.request["have"])))


class PullTest(davit.TestCase):
    time_limit = 120

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        davit.start_davitd()
        davit.run("systemctl", "mask", "--runtime", "--now", "davit-registry.socket", check=False)

    @classmethod
    def tearDownClass(cls):
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)
        davit.systemctl("unmask", "--runtime", "davit-registry.socket")
        davit.run("systemctl", "start", "davit-registry.socket", check=False)
        super().tearDownClass()

    def setUp(self):
        self.ns = davit.unique("pull")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)
        self.listener.bind(SOCKET)
        self.listener.listen(64)
        self.listener.settimeout(30)
        self.addCleanup(self.listener.close)
        self.addCleanup(self.forget)

    def forget(self):
        for row in davit.manager("ListImages", "(sa{sv})", self.ns, {}):
            davit.call(row[-1], "Image.Delete", "(a{sv})", davit.options(Synchronous=True))

    def begin(self, name=HOST + "/app:1", fds=(), **opts):
        return davit.manager("PullImage", "(ssa{sv})", self.ns, name, davit.options(**opts), fds=fds)

    def wait(self, job):
        return davit.call(job, "Job.Wait", timeout=60)

    def accept(self):
        worker = Worker(self.listener.accept()[0])
        self.addCleanup(worker.close)
        return worker

    def nobody_asks(self):
        self.listener.settimeout(0.2)
        self.assertRaises(TimeoutError, self.listener.accept)
        self.listener.settimeout(30)

    @contextlib.contextmanager
    def serving(self, serve):
        """Whoever asks for a worker meanwhile gets one, which is `serve` in a thread of its own."""
        over, threads = [], []

        def listen():
            self.listener.settimeout(0.1)
            while not over:
                try:
                    worker = self.accept()
                except TimeoutError:
                    continue
                threads.append(threading.Thread(target=serve, args=(worker,)))
                threads[-1].start()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            over.append(True)
            listener.join(60)
            for thread in threads:
                thread.join(60)
            self.listener.settimeout(30)

    def pull(self, image, name=HOST + "/app:1", fds=(), **opts):
        """A whole pull: the job's result, and what the workers were asked."""
        job, asked = self.begin(name, fds, **opts), []

        def serve(worker):
            asked.append(worker.request)
            image.serve(worker)

        with self.serving(serve):
            return self.wait(job), asked

    def assertJobFails(self, job, word, contains=""):  # pylint: disable=invalid-name
        with self.assertRaises(davit.DavitError) as caught:
            self.wait(job)
        self.assertEqual(caught.exception.name, word, caught.exception.message)
        self.assertIn(contains, caught.exception.message)

    def names(self):
        return sorted(row[1] for row in davit.manager("ListImages", "(sa{sv})", self.ns, {}))

    def props(self, name):
        return davit.get_all(davit.manager("GetImage", "(ss)", self.ns, name), "Image")

    def assertNothingLeft(self):  # pylint: disable=invalid-name
        """No image, no working directory, and the repository is as it should be."""
        self.assertEqual(self.names(), [])
        davit.wait_until(lambda: os.listdir(f"{davit.STATE}/ingest") == [], what="working directories to go")


class Pull(PullTest):
    def test_pull(self):
        """S-G01, S-C04: pulled, taken apart, and there already the second time."""
        image = Image([BASE, TOP], {"Cmd": ["/bin/true"]})
        result, asked = self.pull(image)
        self.assertEqual((result["Images"], result["Digest"]), ([HOST + "/app:1"], image.digest))
        self.assertEqual(result["Fetched"], image.size(asked[0]["have"]))
        self.assertEqual(asked[0]["reference"], HOST + "/app:1")
        self.assertEqual(asked[0]["limits"]["bytes"], 64 << 30)
        self.assertNotIn("insecure", asked[0])
        props = self.props(HOST + "/app:1")
        self.assertEqual(props["Digest"], image.digest)
        with davit.chain_tree(props["ChainId"]) as root:
            self.assertEqual(sorted(os.listdir(root + "/etc")), ["base", "top"])
            self.assertFalse(os.path.exists(root + "/gone"))
        result, asked = self.pull(image)
        self.assertEqual((result["Fetched"], result["Digest"]), (0, image.digest))
        self.assertEqual([one.get("digest_only") for one in asked], [True])
        self.assertEqual(self.props(HOST + "/app:1")["ImportedAt"], props["ImportedAt"])

    def test_layers_here(self):
        """What changed is fetched, what is here is not."""
        old, new = Image([BASE]), Image([BASE, TOP])
        self.pull(old)
        result, asked = self.pull(new)
        self.assertEqual(asked[0].get("digest_only"), True)
        self.assertIn(old.blobs[0], asked[1]["have"])
        self.assertEqual(result["Fetched"], new.size(old.blobs))
        self.assertEqual(self.props(HOST + "/app:1")["Digest"], new.digest)
        davit.manager("Collect", "(a{sv})", {})
        with davit.chain_tree(self.props(HOST + "/app:1")["ChainId"]) as root:
            self.assertEqual(sorted(os.listdir(root + "/etc")), ["base", "top"])
        # Under another name nothing but documents comes.
        result, _ = self.pull(new, HOST + "/other:2")
        self.assertEqual(result["Fetched"], new.size(new.blobs))
        self.assertEqual(self.names(), [HOST + "/app:1", HOST + "/other:2"])

    def test_image_goes_meanwhile(self):
        """An image whose layers a pull counts on may be deleted: they stay for as long as the pull lasts."""
        layer = fresh()
        self.pull(Image([layer]), HOST + "/first:1")
        chain = self.props(HOST + "/first:1")["ChainId"]
        job = self.begin(HOST + "/second:1")
        worker = self.accept()
        davit.call(davit.manager("GetImage", "(ss)", self.ns, HOST + "/first:1"), "Image.Delete", "(a{sv})",
                   davit.options(Synchronous=True))
        Image([layer, TOP]).serve(worker)
        self.assertEqual(self.wait(job)["Images"], [HOST + "/second:1"])
        with davit.chain_tree(self.props(HOST + "/second:1")["ChainId"]) as root:
            self.assertIn("a", os.listdir(root))
        davit.wait_until(lambda: not davit.chain_exists(chain), what="the chain that was held to go")

    def test_policy(self):
        """S-C03: "missing" takes what is here, by the names that a run would take, and asks nobody."""
        image = Image([BASE])
        self.assertEqual(self.pull(image, "debian:12")[1][0]["reference"], "docker.io/library/debian:12")
        self.assertEqual(self.names(), ["docker.io/library/debian:12"])
        for name in ("debian:12", "docker.io/debian:12", "docker.io/library/debian:12", image.digest[7:27]):
            if ":" in name:
                job = self.begin(name, Policy="missing")
                self.assertEqual(self.wait(job), {"Images": ["docker.io/library/debian:12"], "Digest": image.digest,
                                                  "Fetched": 0})
        self.pull(image, "team/app")
        self.assertIn("docker.io/team/app:latest", self.names())
        self.assertEqual(self.props("team/app")["Name"], "docker.io/team/app:latest")
        job = self.begin("team/app", Policy="missing")
        self.assertEqual(self.wait(job)["Images"], ["docker.io/team/app:latest"])
        self.nobody_asks()
        job = self.begin("debian:12", Policy="missing", Platform="linux/s390x")
        self.assertEqual(self.accept().request["platform"], "linux/s390x")
        davit.call(job, "Job.Cancel")

    def test_by_digest(self):
        image, other = Image([BASE]), Image([TOP])
        name = f"{HOST}/app@{image.digest}"
        job = self.begin(name)
        other.serve(self.accept())
        self.assertJobFails(job, "InvalidArgument", other.digest)
        self.assertNothingLeft()
        # One that says the right thing and sends another.
        job = self.begin(name)
        worker = self.accept()
        worker.write(other.stream())
        worker.end(DONE, image.answer())
        self.assertJobFails(job, "Internal")
        self.assertNothingLeft()
        self.assertEqual(self.pull(image, name)[0]["Digest"], image.digest)
        self.assertEqual(self.wait(self.begin(name))["Fetched"], 0)
        self.nobody_asks()

    def test_kinds(self):
        """S-G02, S-G03: which root file system is made of it, or none before it is needed."""
        for kind, there in (("none", []), ("checkout", ["checkouts"]), ("erofs", ["erofs"])):
            image = Image([fresh()])
            self.pull(image, f"{HOST}/{kind}:1", RootFilesystem=kind)
            chain = self.props(f"{HOST}/{kind}:1")["ChainId"][7:]
            self.assertEqual([d for d in ("checkouts", "erofs") if os.path.lexists(f"{davit.STATE}/{d}/{chain}")], there)
        # Also of one that is here.
        self.assertEqual(self.pull(image, f"{HOST}/erofs:1", RootFilesystem="checkout")[0]["Fetched"], 0)
        self.assertTrue(os.path.lexists(f"{davit.STATE}/checkouts/{chain}"))

    def test_unpacked_later(self):
        """S-G02: what was only fetched runs."""
        layer = images.layer_of(davit.rootfs())
        self.pull(Image([layer]), RootFilesystem="none")
        ident, task, _, fd = davit.run_container(["/bin/true"], image=HOST + "/app:1", namespace=self.ns)
        self.assertEqual(davit.read_exit(fd), (0, "exited"))
        davit.call(davit.manager("GetContainer", "(ss)", self.ns, ident), "Container.Delete", "(a{sv})", davit.options(Force=True))

    def test_lease(self):
        _, lease = davit.manager("CreateLease", "(ssa{sv})", self.ns, "l", {})
        self.addCleanup(davit.call, lease, "Lease.Delete", "(a{sv})", {})
        self.pull(Image([BASE]), Lease="l")
        self.assertIn(("image", HOST + "/app:1"), davit.get(lease, "Lease.Resources"))

    def test_many_at_once(self):
        """Pulls that share layers, some of the same name, while the store is swept again and again."""
        shared = [fresh() for _ in range(3)]
        made = {f"{HOST}/many-{i}:1": Image([*shared[:i % 3 + 1], fresh()]) for i in range(6)}
        jobs = [self.begin(name) for name in [*made, *made]]
        with self.serving(lambda worker: made[worker.request["reference"]].serve(worker)):
            for job in jobs:
                davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait", timeout=60)
                self.assertEqual(len(self.wait(job)["Images"]), 1)
        self.assertEqual(self.names(), sorted(made))
        for name, image in made.items():
            self.assertEqual(self.props(name)["Digest"], image.digest)
        result = davit.call(davit.manager("CheckStore", "(a{sv})", {}), "Job.Wait", timeout=100)
        self.assertEqual(result["Damaged"], [])

    def check(self, **opts):
        return davit.call(davit.manager("CheckStore", "(a{sv})", davit.options(**opts)), "Job.Wait", timeout=100)["Damaged"]

    def test_damaged_layer(self):
        """What the store has lost is fetched, although the records say that it is here."""
        content = os.urandom(3000)
        layer = images.layer([images.entry("lost", content)])
        one, other = Image([layer]), Image([layer, fresh()])
        self.pull(one, HOST + "/one:1")
        self.pull(other, HOST + "/other:1")
        found = []
        for where, _, files in os.walk(f"{davit.STATE}/repo/objects"):
            for path in (f"{where}/{f}" for f in files if f.endswith(".file")):
                if os.path.isfile(path) and os.path.getsize(path) == len(content):
                    with open(path, "rb") as f:
                        found += [path] if f.read() == content else []
        os.unlink(*found)
        self.assertNotEqual(self.check(Repair=True), [])
        self.pull(one, HOST + "/one:1")
        self.assertEqual(self.check(), [])
        with davit.chain_tree(self.props(HOST + "/one:1")["ChainId"]) as root, open(root + "/lost", "rb") as f:
            self.assertEqual(f.read(), content)

    def test_lost_chain(self):
        """A chain whose commit is gone is not here: that a pull of the same digest finds out, and mends."""
        image = Image([fresh()])
        self.pull(image)
        chain = self.props(HOST + "/app:1")["ChainId"][7:]
        with open(f"{davit.STATE}/repo/refs/heads/davit/chain/{chain}", encoding="ascii") as f:
            commit = f.read().strip()
        os.unlink(f"{davit.STATE}/repo/objects/{commit[:2]}/{commit[2:]}.commit")
        result, asked = self.pull(image)
        self.assertEqual([one.get("digest_only", False) for one in asked], [True, False])
        self.assertEqual(result["Fetched"], image.size())
        self.assertEqual(self.check(), [])

    def test_progress_and_limits(self):
        image = Image([fresh()])
        job = self.begin(Limits=davit.GLib.Variant("a{st}", {"entries": 3}))
        worker = self.accept()
        self.assertEqual(worker.request["limits"]["entries"], 3)
        worker.progress(5, 10, 1, 2)
        davit.wait_until(lambda: davit.get(job, "Job.Progress")[:2] == (5, 10), what="progress")
        self.assertEqual((davit.get(job, "Job.Type"), davit.get(job, "Job.Subject")), ("pull", HOST + "/app:1"))
        image.serve(worker)
        self.assertJobFails(job, "ResourceExhausted")
        self.assertNothingLeft()

    def test_authorization(self):
        """What is in it goes to the worker as it is, and to no message, journal or file of ours."""
        secret = f"hunter-{davit.unique()}"
        text = json.dumps({"username": "me", "password": secret}).encode()
        fd = os.memfd_create("authorization")
        self.addCleanup(os.close, fd)
        os.write(fd, text)
        image, seen = Image([BASE]), []
        job = self.begin(fds=[fd], Authorization=davit.GLib.Variant("h", 0))
        worker = self.accept()
        seen.append(os.pread(worker.secret, 1 << 16, 0))
        self.assertNotIn(secret, json.dumps(worker.request))
        image.serve(worker)
        self.wait(job)
        self.assertEqual(seen, [text])
        self.assertNotIn(secret, davit.journal("-u", "davitd"))
        for top in (davit.STATE + "/namespaces", davit.RUNTIME):
            self.assertEqual(davit.run("grep", "-rl", secret, top, check=False).stdout, "")

    def test_insecure(self):
        for name, allowed in ((HOST + "/a", False), ("localhost:5000/a", True), ("127.0.0.1:5000/a", True),
                              ("127.0.0.1.example/a", False)):
            job = self.begin(name)
            worker = self.accept()
            self.assertEqual(worker.request.get("insecure", False), allowed, name)
            worker.fail("NotFound", "no")
            self.assertJobFails(job, "NotFound")


class Refusals(PullTest):
    def test_bad_calls(self):
        pipe = os.pipe()
        large = os.memfd_create("large")
        os.ftruncate(large, (64 << 10) + 1)
        for fd in (*pipe, large):
            self.addCleanup(os.close, fd)
        handle = davit.GLib.Variant("h", 0)
        for word, name, fds, opts in (
                ("InvalidArgument", "", (), {}),
                ("InvalidArgument", "app/UPPER", (), {}),
                ("InvalidArgument", "host/a@sha256:12", (), {}),
                ("InvalidArgument", "x" * 250, (), {}),
                ("InvalidArgument", "a", (), {"Policy": "never"}),
                ("InvalidArgument", "a", (), {"Platform": "amd64"}),
                ("InvalidArgument", "a", (), {"RootFilesystem": "btrfs"}),
                ("InvalidArgument", "a", (), {"Format": "oci"}),
                ("InvalidArgument", "a", (), {"Limits": davit.GLib.Variant("a{st}", {"speed": 1})}),
                ("InvalidArgument", "a", (pipe[0],), {"Authorization": handle}),
                ("InvalidArgument", "a", (large,), {"Authorization": handle}),
                ("NotFound", "a", (), {"Lease": "none"})):
            with self.subTest(name=name[:20], opts=str(opts)), self.assertRaises(davit.DavitError) as caught:
                self.begin(name, fds, **opts)
            self.assertEqual(caught.exception.name, word, caught.exception.message)
        self.nobody_asks()

    def test_no_default_registry(self):
        with davit.configuration("Registry", Default=""):
            with self.assertRaises(davit.DavitError) as caught:
                self.begin("debian")
            self.assertEqual(caught.exception.name, "InvalidArgument")
            self.assertIn("Default=", caught.exception.message)
            job = self.begin("host.example/debian")
            self.accept().fail("NotFound", "no")
            self.assertJobFails(job, "NotFound")

    def test_no_worker(self):
        self.listener.close()
        self.assertJobFails(self.begin(), "Unavailable", "davit-registry.socket")
        self.assertNothingLeft()

    def test_registry_fails(self):
        """The registry's error is the job's, wherever the stream was cut."""
        data = Image([BASE, TOP]).stream()
        for cut in (0, 1, 700, len(data) // 2, len(data) - 1, len(data)):
            job = self.begin()
            worker = self.accept()
            worker.write(data[:cut])
            worker.fail("PermissionDenied", "registry.example:5000 wants credentials")
            self.assertJobFails(job, "PermissionDenied", "wants credentials")
        self.assertNothingLeft()

    def test_store_fails(self):
        """An image that cannot be imported is the store's to refuse; the registry's side is stopped."""
        broken = Image([fresh()])
        broken.files = [(n, d[:-1] + b"x" if n.endswith(broken.blobs[0][7:]) else d) for n, d in broken.files]
        job = self.begin()
        broken.serve(self.accept())
        self.assertJobFails(job, "InvalidArgument")
        # No tar at all, while the registry's side goes on writing.
        job = self.begin()
        worker = self.accept()
        worker.write(b"\1" * (1 << 20))
        os.close(worker.output)
        worker.output = None
        worker.say(DONE, Image([BASE]).answer())
        self.assertJobFails(job, "InvalidArgument")
        self.assertNothingLeft()

    def test_left_out_and_not_here(self):
        """A worker that leaves out what nobody has."""
        image = Image([fresh()])
        job = self.begin()
        worker = self.accept()
        worker.write(image.stream(image.blobs))
        worker.end(DONE, image.answer())
        self.assertJobFails(job, "NotFound")
        self.assertNothingLeft()

    def test_cancel(self):
        data = Image([BASE, TOP]).stream()
        for cut in (None, 0, len(data) // 2, len(data)):
            job = self.begin()
            if cut is not None:
                worker = self.accept()
                worker.write(data[:cut])
            davit.call(job, "Job.Cancel")
            with self.assertRaises(davit.DavitError):
                self.wait(job)
            self.assertEqual(davit.get(job, "Job.State"), "cancelled")
            if cut is None:
                worker = self.accept()
            self.assertTrue(worker.hung_up())
            worker.close()
        self.assertNothingLeft()


class Kills(PullTest):
    """Whole or absent, whoever dies."""

    def half(self):
        data = Image([BASE, TOP, images.layer([images.entry("big", os.urandom(3 << 20))])]).stream()
        job = self.begin()
        worker = self.accept()
        worker.write(data[:len(data) // 2])
        return job, worker

    def store_pid(self):
        units = davit.systemctl("list-units", "--plain", "--no-legend", "davit-store@*").stdout.split("\n")
        names = [line.split()[0] for line in units if line]
        return davit.main_pid(names[0])

    def test_registry_worker(self):
        job, worker = self.half()
        worker.close()
        self.assertJobFails(job, "Unavailable", "registry worker")
        self.assertNothingLeft()

    def test_store_worker(self):
        job, worker = self.half()
        os.kill(self.store_pid(), signal.SIGKILL)
        with self.assertRaises(davit.DavitError) as caught:
            self.wait(job)
        # Whether it had said something before shows in the name.
        self.assertIn(caught.exception.name, ("Unavailable", "Internal"))
        self.assertIn("store worker", caught.exception.message)
        self.assertTrue(worker.hung_up())
        davit.manager("Collect", "(a{sv})", {})
        image = Image([BASE])
        self.assertEqual(self.pull(image)[0]["Digest"], image.digest)  # and sweeps what the dead one has left
        self.forget()
        self.assertNothingLeft()

    def test_manager(self):
        _, worker = self.half()
        davit.kill_davitd()
        self.assertTrue(worker.hung_up())
        self.assertNothingLeft()
        job = self.begin()
        Image([BASE, TOP]).serve(self.accept())
        self.assertEqual(self.wait(job)["Images"], [HOST + "/app:1"])

    def test_manager_stops(self):
        _, worker = self.half()
        davit.restart_davitd()
        self.assertTrue(worker.hung_up())
        self.assertNothingLeft()
