# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints as far as they need no criu: names, records, directories, tasks that wait to be started from one.

What this host's criu would make of them is tested in the virtual machine; here a restore fails, as it does where criu
is missing or refuses."""

import hashlib
import json
import os
import time

import davit
from test_events import last, since, types
from test_task import TaskTest
from test_wait import Waiter

DIRECTORY = f"{davit.STATE}/checkpoints"


def shape(spec):
    """The digest of what has to stay the same, as checkpoint.json has it."""
    digest = hashlib.sha256()
    linux = spec.get("linux", {})
    parts = [(spec, "root"), (spec, "mounts"), (spec.get("process", {}), "terminal")]
    parts += [(linux, name) for name in ("namespaces", "uidMappings", "gidMappings", "timeOffsets", "devices",
                                         "maskedPaths", "readonlyPaths")]
    for parent, name in parts:
        text = json.dumps(parent[name], separators=(",", ":")) if name in parent else ""
        digest.update(name.encode() + text.encode() + b"\0")
    return digest.hexdigest()


class CheckpointTest(TaskTest):
    def setUp(self):
        super().setUp()
        self.own, self.container = self.define(["sleep", "1000"], image=davit.busybox_image())

    def call(self, method, signature="()", *args):
        return davit.call(self.container, f"Container.{method}", signature, *args)

    def write(self, name, load=True, **changes):
        """A checkpoint as davitd keeps one, with images that are none."""
        record = {"version": 1, "name": name, "namespace": "default", "container": self.own,
                  "container_created_at": davit.get(self.container, "Container.CreatedAt"),
                  "created": time.time_ns() // 1000, "bytes": 4096, "starts": 0,
                  "shape": shape(json.loads(davit.get(self.container, "Container.Spec"))), "kernel": "none",
                  "criu": "none", "options": []} | changes
        os.makedirs(f"{DIRECTORY}/default/{self.own}/{name}/images", mode=0o700)
        with open(f"{DIRECTORY}/default/{self.own}/{name}/checkpoint.json", "w", encoding="utf-8") as f:
            json.dump(record, f)
        if load:
            davit.restart_davitd()
        return record

    def names(self):
        return sorted(row[0] for row in self.call("ListCheckpoints"))

    def create(self, name="one", **opts):
        return davit.call(self.container, "Container.CreateTask", "(a{sv})", davit.options(Checkpoint=name, **opts))[0]

    def assertWaits(self, task):  # pylint: disable=invalid-name
        self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("created", 0))


class Kept(CheckpointTest):
    def test_listed_deleted(self):
        """S-P15, S-P17."""
        one, two = self.write("one", load=False), self.write("two", bytes=8192)
        self.assertEqual(sorted(self.call("ListCheckpoints")),
                         [("one", one["created"], 4096), ("two", two["created"], 8192)])
        self.assertError("NotFound", self.call, "DeleteCheckpoint", "(s)", "three")
        self.assertError("NotFound", self.call, "DeleteCheckpoint", "(s)", "../one")
        self.call("DeleteCheckpoint", "(s)", "one")
        self.assertEqual(self.names(), ["two"])
        self.assertEqual(davit.ctl("checkpoint", "ls", "-q", self.own, check=True).stdout, "two\n")
        self.assertEqual(davit.ctl("checkpoint", "rm", self.own, "two", check=True).stdout, "two\n")
        self.assertEqual(self.names(), [])
        self.assertFalse(os.path.exists(f"{DIRECTORY}/default/{self.own}"))

    def test_half(self):
        """S-P18: what was cut off is swept away; a record that cannot be read hides no other."""
        self.write("whole", load=False)
        self.write("torn", load=False)
        self.write("newer", load=False, version=99)
        self.write("another", load=False, container_created_at=1)
        os.truncate(f"{DIRECTORY}/default/{self.own}/torn/checkpoint.json", 20)
        os.makedirs(f"{DIRECTORY}/default/{self.own}/.new-half/images")
        os.makedirs(f"{DIRECTORY}/default/nobody/left/images")
        davit.restart_davitd()
        self.assertEqual(self.names(), ["whole"])
        self.assertEqual(sorted(os.listdir(f"{DIRECTORY}/default/{self.own}")), ["newer", "torn", "whole"])
        self.assertFalse(os.path.exists(f"{DIRECTORY}/default/nobody"))
        self.assertError("FailedPrecondition", self.create, "torn", contains="torn")
        self.call("DeleteCheckpoint", "(s)", "torn")
        self.call("DeleteCheckpoint", "(s)", "newer")

    def test_renamed(self):
        self.write("one")
        self.container = self.call("Rename", "(s)", f"{self.own}-b")
        before, self.own = self.own, f"{self.own}-b"
        self.addCleanup(davit.remove_container, self.own)
        self.assertEqual(self.names(), ["one"])
        davit.restart_davitd()
        self.assertEqual(self.names(), ["one"])
        self.assertFalse(os.path.exists(f"{DIRECTORY}/default/{before}"))


class Refused(CheckpointTest):
    def checkpoint(self, task, name="one", **opts):
        return davit.call(task, "Task.Checkpoint", "(sa{sv})", name, davit.options(**opts))

    def test_before_anything(self):
        """S-P04, S-P16: what can be refused is, and the task has not been touched."""
        self.write("one")
        task, _, _ = self.call("Start", "(a{sv})", {})
        begun = last()
        for name in ("", ".hidden", "a/b", "x" * 65, "a\nb"):
            self.assertError("InvalidArgument", self.checkpoint, task, name)
        self.assertError("InvalidArgument", davit.call, task, "Task.Checkpoint", "(sa{sv})", "two",
                         {"Exits": davit.options(Exit=True)["Exit"]}, contains="Exits")
        self.assertError("AlreadyExists", self.checkpoint, task, "one", contains="one")
        davit.call(task, "Task.ExecStart", "(sasa{sv})", "more", ["sleep", "1000"], {})
        self.assertError("FailedPrecondition", self.checkpoint, task, "two", contains="more")
        seen = types(since(begun), self.own)
        self.assertIn("task.exec-started", seen)
        self.assertNotIn("task.paused", seen)
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_states(self):
        task, _ = self.call("CreateTask", "(a{sv})", {})
        self.assertError("FailedPrecondition", self.checkpoint, task, contains="not been started")
        davit.call(task, "Process.Start")
        davit.call(task, "Process.Kill", "(s)", "KILL")
        davit.call(task, "Process.Wait")
        self.assertError("FailedPrecondition", self.checkpoint, task, contains="ended")
        _, task, _, _ = self.run_one(["sleep", "1000"], AutoRemove="container")
        self.assertError("FailedPrecondition", self.checkpoint, task, contains="goes with its task")
        _, task, _, _ = self.run_one(["sleep", "1000"], Terminal=True)
        self.assertError("FailedPrecondition", self.checkpoint, task, contains="AllowTerminal")

    def test_other_runtime(self):
        _, task, _, _ = self.run_one(["sleep", "1000"], Runtime="runc")
        self.assertError("NotSupported", self.checkpoint, task, contains="runc")


class Waiting(CheckpointTest):
    """Tasks that were created from a checkpoint."""

    def setUp(self):
        super().setUp()
        self.write("one")

    def test_created(self):
        """S-T02: it is there without a process; what needs one says so."""
        self.assertError("NotFound", self.create, "two", contains="two")
        task = self.create()
        self.assertWaits(task)
        for method, signature, args in (("Task.Stop", "(a{sv})", ({},)), ("Process.Kill", "(s)", ("TERM",)),
                                        ("Task.KillAll", "(s)", ("TERM",)), ("Task.Pause", "()", ()),
                                        ("Task.Resume", "()", ()), ("Task.Stats", "(a{sv})", ({},)),
                                        ("Task.Update", "(a{sv})", (davit.options(TasksMax=10),)),
                                        ("Task.Exec", "(sasa{sv})", ("", ["true"], {})),
                                        ("Task.ListProcesses", "()", ()),
                                        ("Task.Checkpoint", "(sa{sv})", ("two", {}))):
            self.assertError("FailedPrecondition", davit.call, task, method, signature, *args)
        self.assertError("AlreadyExists", self.create)
        self.assertError("FailedPrecondition", self.call, "DeleteCheckpoint", "(s)", "one", contains="one")
        self.assertError("FailedPrecondition", self.call, "Rename", "(s)", f"{self.own}-b")
        self.assertWaits(task)

    def test_deleted(self):
        """S-T02: who waits for what is deleted without having run is told so."""
        task = self.create()
        waiter, end = Waiter(task), davit.call(task, "Process.WaitFD")
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {}), (0, "", 0))
        self.assertEqual(waiter.result().name, "NotFound")
        with os.fdopen(end) as f:
            self.assertEqual(f.read(), "")
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.own)
        self.create()
        self.call("Delete", "(a{sv})", {})

    def test_start_fails(self):
        """S-T03, S-P19: a restore that fails leaves the task as it was, to be tried again."""
        task = self.create(Pipes=True)
        end = davit.call(task, "Process.WaitFD")
        for _ in range(3):
            with self.assertRaises(davit.DavitError) as caught:
                davit.call(task, "Process.Start")
            self.assertIn(caught.exception.name, ("NotSupported", "FailedPrecondition", "Internal"))
            self.assertWaits(task)
        self.assertEqual([name for name, _ in davit.call(task, "Process.OpenStreams")], ["stdin", "stdout", "stderr"])
        self.assertFalse(davit.select_exit(end, 0))
        os.close(end)
        scope = davit.get(task, "Task.Scope")
        davit.wait_until(lambda: not davit.unit_exists(scope), what="systemd to forget the scope")
        davit.call(task, "Process.Delete", "(a{sv})", {})

    def test_start_at_once(self):
        """S-T06: Start with a checkpoint leaves no task behind when it fails."""
        with self.assertRaises(davit.DavitError):
            self.call("Start", "(a{sv})", davit.options(Checkpoint="one"))
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.own)
        done = davit.ctl("start", "--checkpoint", "one", self.own)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.own)

    def test_manager_killed(self):
        """S-R05, S-T02: the next manager has it too, and can try to start it."""
        task = self.create()
        created = davit.get(task, "Task.CreatedAt")
        davit.kill_davitd()
        self.assertWaits(task)
        self.assertEqual(davit.get(task, "Task.CreatedAt"), created)
        with self.assertRaises(davit.DavitError):
            davit.call(task, "Process.Start")
        self.assertWaits(task)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        davit.kill_davitd()
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.own)

    def test_descriptors_lost(self):
        """A caller's descriptors do not outlive the manager; the task says so."""
        with open("/dev/null", "wb") as null:
            task = davit.call(self.container, "Container.CreateTask", "(a{sv})",
                              davit.options(Checkpoint="one", Stdout=0), fds=[null.fileno()])[0]
        davit.restart_davitd()
        self.assertError("FailedPrecondition", davit.call, task, "Process.Start", contains="streams")
        self.assertWaits(task)
        davit.call(task, "Process.Delete", "(a{sv})", {})

    def test_written_to(self):
        """A later start may have written to the files: the checkpoint does not fit them; one that ran nothing has not."""
        self.call("Update", "(a{sv})", davit.options(SpecPatch='{"process":{"args":["/no/such/program"]}}'))
        self.assertError("NotFound", self.call, "Start", "(a{sv})", {})
        davit.call(self.create(), "Process.Delete", "(a{sv})", {})
        self.call("Update", "(a{sv})", davit.options(SpecPatch='{"process":{"args":["true"]}}'))
        task, _, end = self.call("Start", "(a{sv})", {})
        self.assertEqual(davit.read_exit(end), (0, "exited"))
        davit.call(task, "Process.Delete", "(a{sv})", {})
        for _ in range(2):
            self.assertError("FailedPrecondition", self.create, contains="later start")
            davit.restart_davitd()

    def test_other_mounts(self):
        """Mounts come from the container, never from the checkpoint; they have to be those it was made with."""
        self.call("Update", "(a{sv})", davit.options(Mounts=[("tmpfs", "tmpfs", "/more", "")]))
        self.assertError("FailedPrecondition", self.create, contains="Mounts")
