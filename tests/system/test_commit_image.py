# SPDX-License-Identifier: LGPL-2.1-or-later
"""Container.Commit, containers on snapshots that were there before, and what failures leave."""

import contextlib
import json
import os
import socket
import struct
import threading

import davit
import images

from test_snapshot import StoreTest

SNAPSHOT_SOCKET = f"{davit.RUNTIME}/store-snapshot"


@contextlib.contextmanager
def played_store(path=SNAPSHOT_SOCKET, unit="davit-store-snapshot.socket"):
    """Instead of a worker the test answers: yields the listening socket."""
    davit.systemctl("stop", unit)
    davit.systemctl("mask", "--runtime", unit)  # a manager that starts wants it
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.settimeout(davit.TIMEOUT)
    try:
        listener.bind(path)
        listener.listen(8)
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        davit.systemctl("unmask", "--runtime", unit)
        davit.systemctl("reset-failed", unit, check=False)
        davit.systemctl("start", unit)


def receive(listener):
    """The next worker's connection and its request."""
    connection, _ = listener.accept()
    connection.settimeout(davit.TIMEOUT)
    data = connection.recv(1 << 17)
    return connection, json.loads(data[16:])


def answer(connection, kind, text):
    data = json.dumps(text).encode()
    connection.send(struct.pack("=IHHII", 1, kind, 0, len(data), 0) + data)


class CommitTest(StoreTest):
    def setUp(self):
        super().setUp()
        self.cid = davit.unique("c")
        self.made = []

    def clean(self):
        davit.remove_container(self.cid, self.ns)
        for name in self.made:
            with contextlib.suppress(davit.DavitError):
                davit.call(davit.manager("GetImage", "(ss)", self.ns, name), "Image.Delete", "(a{sv})", {})
        super().clean()

    def start(self, command, **opts):
        _, task, _, end = davit.run_container(command, id=self.cid, image="busybox", namespace=self.ns, **opts)
        os.close(end)
        return task

    def container(self, id=None):
        return davit.manager("GetContainer", "(ss)", self.ns, id or self.cid)

    def begin(self, name, **opts):
        return davit.call(self.container(), "Container.Commit", "(sa{sv})", name, davit.options(**opts))

    def commit(self, name, **opts):
        self.made.append(name)
        return davit.call(self.begin(name, **opts), "Job.Wait", timeout=60)

    def output(self, command, **opts):
        return davit.output_of(command, namespace=self.ns, **opts)

    def changes(self, seen):
        return [body[1]["Status"] for _, _, body in seen.seen if "Status" in body[1]]

    def upper_of(self):
        for root in (davit.STATE, davit.RUNTIME):
            path = f"{root}/namespaces/{self.ns}/snapshots/{self.cid}.json"
            if os.path.exists(path):
                with open(path) as f:
                    return f"{davit.STATE}/snapshots/{json.load(f)['dir']}/fs"
        raise AssertionError("no snapshot")

    def marks(self):
        path = f"{davit.RUNTIME}/namespaces/{self.ns}/frozen"
        return os.listdir(path) if os.path.isdir(path) else []



class Image(CommitTest):
    def test_commit(self):
        """What was written runs again; what the image said is kept but for what was changed."""
        davit.run_container(["sh", "-c", "echo new > /etc/new; rm /etc/group; mkdir /srv; chmod 750 /srv"], id=self.cid,
                            image="busybox", namespace=self.ns, AutoRemove="no")
        davit.wait_until(lambda: davit.get(davit.manager("GetTask", "(ss)", self.ns, self.cid), "Process.Status") == "stopped",
                         what="the end")
        done = self.commit("mine:1", Author="me", Message="first", Changes=['CMD ["cat", "/etc/new"]', "ENV ADDED=1"])
        self.assertEqual(done["Image"], "mine:1")
        image = davit.manager("GetImage", "(ss)", self.ns, "mine:1")
        self.assertEqual(davit.get(image, "Image.Digest"), done["Digest"])
        self.assertEqual(len(davit.get(image, "Image.Layers")), len(davit.get(self.image, "Image.Layers")) + 1)
        self.assertEqual(self.output([], image="mine:1"), ("new\n", (0, "exited")))
        text, _ = self.output(["sh", "-c", "echo $ADDED $FROM_IMAGE; ls /etc; stat -c %a /srv"], image="mine:1")
        self.assertEqual(text, "1 yes\nnew\nos-release\npasswd\n750\n")
        config = json.loads(davit.get(image, "Image.Config"))
        self.assertEqual(config["Cmd"], ["cat", "/etc/new"])
        davit.kill_davitd()
        self.assertEqual(self.output([], image="mine:1"), ("new\n", (0, "exited")))

    def test_running(self):
        """Held still while it is read, then it runs on."""
        task = self.start(["sh", "-c", "echo x > /file; while true; do sleep 0.1; done"])
        davit.wait_until(lambda: os.path.exists(self.upper_of() + "/file"), what="the file")
        with davit.Signals(interface="org.freedesktop.DBus.Properties", signal_name="PropertiesChanged", path=task) as seen:
            self.commit("mine:1")
            seen.wait(lambda path, member, body: body[1].get("Status") == "running")
            self.assertIn("paused", self.changes(seen))
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(self.output(["cat", "/file"], image="mine:1"), ("x\n", (0, "exited")))
        self.assertFalse(self.marks())

    def test_paused_stays_paused(self):
        task = self.start(["sleep", "1000"])
        davit.call(task, "Task.Pause")
        self.commit("mine:1")
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        davit.call(task, "Task.Resume")

    def test_without_pause(self):
        task = self.start(["sleep", "1000"])
        with davit.Signals(interface="org.freedesktop.DBus.Properties", signal_name="PropertiesChanged", path=task) as seen:
            self.commit("mine:1", Pause=False)
            davit.call(task, "Task.Pause")
            seen.wait(lambda path, member, body: body[1].get("Status") == "paused")
            self.assertEqual([s for s in self.changes(seen) if s != "pausing"], ["paused"])

    def test_twice(self):
        """A commit of a commit has one more layer; the name means the newer one."""
        self.start(["sh", "-c", "echo 1 > /one; sleep 1000"])
        davit.wait_until(lambda: os.path.exists(self.upper_of() + "/one"), what="the file")
        first = self.commit("mine:1")
        with open(self.upper_of() + "/two", "w") as f:
            f.write("2\n")
        second = self.commit("mine:1")
        self.assertNotEqual(first["Digest"], second["Digest"])
        self.assertEqual(self.output(["cat", "/one", "/two"], image="mine:1"), ("1\n2\n", (0, "exited")))

    def test_image_has_been_replaced(self):
        """The container's own image is what it is built on, whatever the name means by now."""
        self.start(["sleep", "1000"])
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry("other", b"x")])]
        path = images.oci_archive(f"/tmp/{self.ns}.tar", layers, "busybox:latest", {"Cmd": ["other"]})
        self.addCleanup(os.unlink, path)
        davit.import_image(path, namespace=self.ns)
        davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait")
        self.commit("mine:1")
        image = davit.manager("GetImage", "(ss)", self.ns, "mine:1")
        self.assertEqual(json.loads(davit.get(image, "Image.Config"))["Cmd"], ["/bin/sh"])


class Failure(CommitTest):
    """Each leaves container, snapshot and images as they were."""

    def setUp(self):
        super().setUp()
        self.task = self.start(["sleep", "1000"])
        davit.call(davit.manager("GetSnapshot", "(ss)", self.ns, self.cid), "Snapshot.SetLabels", "(a{ss})", {})
        self.names = self.list_images()

    def list_images(self):
        return sorted(row[1] for row in davit.manager("ListImages", "(sa{sv})", self.ns, {}))

    def as_before(self):
        davit.wait_until(lambda: davit.get(self.task, "Process.Status") == "running", what="the container to run on")
        davit.wait_until(lambda: not self.marks(), what="the mark to go")
        self.assertEqual(self.list_images(), self.names)
        self.assertEqual(self.keys(), [self.cid])

    def test_refused(self):
        for name, args, opts, word in (("InvalidArgument", "../x", {}, "../x"),
                                       ("InvalidArgument", "a@sha256:" + "0" * 64, {}, "digest"),
                                       ("InvalidArgument", "mine:1", {"Force": True}, "Force")):
            self.assertError(name, self.begin, args, contains=word, **opts)
        self.assertError("NotSupported", self.commit, "mine:1", contains="WHAT", Changes=["WHAT is this"])
        self.as_before()

    def test_no_store(self):
        with davit.LeakCheck():
            davit.systemctl("stop", "davit-store-snapshot.socket")
            try:
                self.assertError("Unavailable", self.commit, "mine:1")
            finally:
                davit.systemctl("start", "davit-store-snapshot.socket")
            self.as_before()

    def test_worker_dies(self):
        with davit.LeakCheck(), played_store() as store:
            job = self.begin("mine:1")
            connection, request = receive(store)
            self.assertEqual((request["operation"], request["parent"]), ("commit", self.chain))
            self.assertEqual(davit.get(self.task, "Process.Status"), "paused")
            connection.close()
            self.assertError("Unavailable", davit.call, job, "Job.Wait")
            self.as_before()

    def test_worker_lies(self):
        diff = "sha256:" + "1" * 64
        good = {"diff_id": diff, "chain_id": diff, "size": 1, "inodes": 1, "rootfs": {"root": {"uid": 0, "gid": 0, "mode": 493}},
                "layers": [{"diff_id": diff, "digest": diff, "size": 1}]}
        for changed in ({}, {"chain_id": "../../etc"}, {"layers": []}, {"rootfs": {}}, {"size": -1}):
            with self.subTest(changed), played_store() as store:
                job = self.begin("mine:1")
                connection, _ = receive(store)
                answer(connection, 4, good | changed)
                self.assertError("Internal", davit.call, job, "Job.Wait")
                connection.close()
                self.as_before()

    def test_cancel(self):
        with davit.LeakCheck(), played_store() as store:
            job = self.begin("mine:1")
            connection, _ = receive(store)
            davit.call(job, "Job.Cancel")
            self.assertEqual(struct.unpack("=IHHII", connection.recv(1000)[:16])[1], 2)
            answer(connection, 5, {"error": "FailedPrecondition", "message": "cancelled"})
            davit.wait_until(lambda: davit.get(job, "Job.State") == "cancelled", what="the job's end")
            connection.close()
            self.as_before()

    def test_manager_killed(self):
        """Held still by a manager that is killed: the next one lets it run on, and nothing was committed."""
        with played_store() as store:
            self.begin("mine:1")
            connection, _ = receive(store)
            davit.wait_until(lambda: davit.get(self.task, "Process.Status") == "paused", what="the container to stand still")
            self.assertTrue(self.marks())
            davit.kill_davitd()
            self.assertEqual(connection.recv(1000), b"")
            connection.close()
            self.as_before()
        self.commit("mine:1")

    def test_killed_while_paused_by_its_user(self):
        davit.call(self.task, "Task.Pause")
        with played_store() as store:
            self.begin("mine:1")
            connection, _ = receive(store)
            davit.kill_davitd()
            connection.close()
        self.assertEqual(davit.get(self.task, "Process.Status"), "paused")
        davit.call(self.task, "Task.Resume")
        self.as_before()

    def still(self, group):
        """Whether the kernel holds it still, whatever davitd says."""
        with open(f"{group}/cgroup.events") as f:
            return "frozen 1" in f.read()

    def group(self):
        """The cgroup that is held still: all of what runs in the container."""
        with open(f"/proc/{davit.get(self.task, 'Process.Pid')}/cgroup") as f:
            path = [line.split(":", 2)[2] for line in f.read().splitlines() if ".scope" in line]
        for root in davit.cgroup_roots():
            for p in path:
                p = p[:p.index(".scope")] + ".scope/payload"
                if os.path.exists(f"{root}{p}/cgroup.events"):
                    return root + p
        raise AssertionError(f"no cgroup with a freezer: {path}")

    def test_again_at_once(self):
        """The next commit holds it still itself, though the end of the one before has not yet let it run."""
        group = self.group()
        for _ in range(20):
            with played_store() as store:
                first = self.begin("mine:1")
                connection, _ = receive(store)
                ended = threading.Thread(target=self.assertError, args=("Unavailable", davit.call, first, "Job.Wait"))
                ended.start()
                connection.close()
                ended.join()
                second = self.begin("mine:1")
                connection, _ = receive(store)
                self.assertTrue(self.still(group))
                self.assertEqual(davit.get(self.task, "Process.Status"), "paused")
                self.assertTrue(self.marks())
                connection.close()
                self.assertError("Unavailable", davit.call, second, "Job.Wait")
            self.as_before()

    def test_manager_stops(self):
        """An orderly stop does not leave it standing still."""
        group = self.group()
        with played_store() as store:
            self.begin("mine:1")
            connection, _ = receive(store)
            self.assertTrue(self.still(group))
            davit.systemctl("stop", "davitd.service")
            try:
                davit.wait_until(lambda: not self.still(group), what="the container to run on")
            finally:
                davit.start_davitd()
                connection.close()
            self.as_before()
        self.commit("mine:1")

    def test_only_one_at_a_time(self):
        with played_store() as store:
            job = self.begin("mine:1")
            connection, _ = receive(store)
            self.assertError("FailedPrecondition", self.begin, "mine:2", contains="committed")
            connection.close()
            self.assertError("Unavailable", davit.call, job, "Job.Wait")
        self.as_before()

    def test_container_goes_meanwhile(self):
        """Deleted while it is read: the snapshot stays until the worker has gone."""
        with played_store() as store:
            job = self.begin("mine:1")
            connection, _ = receive(store)
            upper = self.upper_of()
            deleted = threading.Thread(target=davit.remove_container, args=(self.cid, self.ns))
            deleted.start()
            deleted.join()
            self.assertTrue(os.path.isdir(upper))
            connection.close()
            self.assertError("Unavailable", davit.call, job, "Job.Wait")
        davit.wait_until(lambda: not os.path.exists(upper), what="the snapshot to go")
        self.assertEqual(self.keys(), [])

    def test_caller_goes(self):
        """S-E11: the job ends without whoever has begun it."""
        self.made.append("mine:1")
        connection = davit.connect()
        davit.call_on(davit.NAME, self.container(), f"{davit.NAME}.Container", "Commit", "(sa{sv})", ("mine:1", {}),
                      connection=connection)
        connection.close_sync(None)
        davit.wait_until(lambda: "mine:1" in self.list_images(), what="the image")

    def test_no_snapshot(self):
        other = davit.unique("r")
        davit.create_container(["true"], id=other, namespace=self.ns, Rootfs=davit.rootfs())
        self.addCleanup(davit.remove_container, other, self.ns)
        self.assertError("FailedPrecondition", davit.call, self.container(other), "Container.Commit", "(sa{sv})", "mine:1", {},
                         contains="snapshot")


class FromSnapshot(CommitTest):
    def create(self, id, command, key, image="busybox", **opts):
        self.addCleanup(davit.remove_container, id, self.ns)
        return davit.create_container(command, id=id, image=image, namespace=self.ns, Snapshot=key, **opts)[1]

    def run_in(self, container):
        _, _, end = davit.call(container, "Container.Start", "(a{sv})", {})
        status = davit.read_exit(end)
        davit.call(davit.manager("GetTask", "(ss)", self.ns, davit.get(container, "Container.Id")), "Process.Delete", "(a{sv})", {})
        return status

    def test_life(self):
        """S-C11, S-N07: it runs on what is there, and leaves it there."""
        self.prepare("mine")
        self.write("mine", "given", b"from outside\n")
        container = self.create("one", ["sh", "-c", "cat /given && echo written > /made"], "mine")
        self.assertEqual(davit.get(container, "Container.SnapshotKey"), "mine")
        self.assertEqual(self.run_in(container), (0, "exited"))
        snapshot = davit.manager("GetSnapshot", "(ss)", self.ns, "mine")
        self.assertError("FailedPrecondition", davit.call, snapshot, "Snapshot.Delete", contains="one")
        self.assertError("FailedPrecondition", self.commit_snapshot, snapshot, "c", contains="one")
        davit.kill_davitd()
        davit.call(self.container("one"), "Container.Delete", "(a{sv})", {})
        self.assertEqual(self.keys(), ["mine"])
        with open(self.upper("mine") + "/made") as f:
            self.assertEqual(f.read(), "written\n")

    def commit_snapshot(self, snapshot, key, **opts):
        job = davit.call(snapshot, "Snapshot.Commit", "(sa{sv})", key, davit.options(**opts))
        return davit.call(job, "Job.Wait", timeout=60)

    def test_on_a_committed_parent(self):
        self.prepare("a")
        self.write("a", "base", b"below\n")
        self.commit_snapshot(davit.manager("GetSnapshot", "(ss)", self.ns, "a"), "c")
        self.prepare("b", "c")
        self.assertEqual(self.run_in(self.create("one", ["grep", "below", "/base"], "b")), (0, "exited"))

    def test_without_an_image(self):
        self.prepare("a")
        self.assertEqual(self.run_in(self.create("one", ["/bin/true"], "a", image="")), (0, "exited"))

    def test_on_nothing(self):
        """A root file system that was made by hand."""
        root = self.mount(self.prepare("a", ""))
        os.mkdir(root + "/bin")
        with open("/bin/busybox", "rb") as source, open(root + "/bin/busybox", "wb") as target:
            target.write(source.read())
        os.chmod(root + "/bin/busybox", 0o755)
        self.doCleanups_first()
        self.assertEqual(self.run_in(self.create("one", ["/bin/busybox", "true"], "a", image="")), (0, "exited"))

    def doCleanups_first(self):
        """Closes what mount() has opened."""
        function, args, kwargs = self._cleanups.pop()
        function(*args, **kwargs)

    def test_goes_with_its_task(self):
        """A container that goes leaves a snapshot that it has not made."""
        self.prepare("a")
        text, end = self.output(["sh", "-c", "echo x > /file; cat /file"], image="busybox", Snapshot="a")
        self.assertEqual((text, end), ("x\n", (0, "exited")))
        self.assertTrue(os.path.exists(self.upper("a") + "/file"))

    def test_two_at_a_time(self):
        self.prepare("a")
        one, two = (self.create(id, ["sleep", "1000"], "a") for id in ("one", "two"))
        davit.call(one, "Container.Start", "(a{sv})", {})
        self.assertError("FailedPrecondition", davit.call, two, "Container.Start", "(a{sv})", {}, contains="one")
        snapshot = davit.manager("GetSnapshot", "(ss)", self.ns, "a")
        self.assertError("FailedPrecondition", self.mount, snapshot, contains="one")
        with open("/dev/null", "rb") as null:
            self.assertError("FailedPrecondition", davit.call, snapshot, "Snapshot.Apply", "(ha{sv})", 0, {}, contains="one",
                             fds=[null.fileno()])
        self.commit_snapshot(snapshot, "c", Continue=True)
        davit.wait_until(lambda: davit.get(davit.manager("GetTask", "(ss)", self.ns, "one"), "Process.Status") == "running",
                         what="the container to run on")
        davit.remove_container("one", self.ns)
        davit.call(two, "Container.Start", "(a{sv})", {})

    def test_refused(self):
        self.prepare("v", View=True)
        for name, opts, word in (("NotFound", {"Snapshot": "none"}, "none"),
                                 ("FailedPrecondition", {"Snapshot": "v"}, "view")):
            self.assertError(name, davit.create_container, ["true"], image="busybox", namespace=self.ns, contains=word, **opts)
        self.assertError("InvalidArgument", davit.create_container, ["true"], namespace=self.ns, contains="Rootfs",
                         Rootfs=davit.rootfs(), Snapshot="v")
        self.assertError("NotFound", davit.create_container, ["true"], image="none", namespace=self.ns, contains="none",
                         Snapshot="v")

    def test_not_started_while_it_is_read(self):
        """A task that was only made does not begin to write behind the back of whoever reads."""
        davit.create_container(["sleep", "1000"], id=self.cid, image="busybox", namespace=self.ns)
        task = davit.call(self.container(), "Container.CreateTask", "(a{sv})", {})[0]
        with played_store() as store:
            job = self.begin("mine:1")
            connection, _ = receive(store)
            self.assertError("FailedPrecondition", davit.call, task, "Process.Start", contains="committed")
            self.assertEqual(davit.get(task, "Process.Status"), "created")
            connection.close()
            self.assertError("Unavailable", davit.call, job, "Job.Wait")
        davit.call(task, "Process.Start")
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_keep_what_goes_with_its_task(self):
        task = self.start(["sleep", "1000"], AutoRemove="container")
        self.assertError("FailedPrecondition", davit.call, self.container(), "Container.Delete", "(a{sv})",
                         davit.options(Force=True, KeepSnapshot=True), contains="goes")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
