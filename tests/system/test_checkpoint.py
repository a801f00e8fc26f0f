# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints as far as they need no criu: names, records, directories, tasks that wait to be started from one.

What this host's criu would make of them is tested in the virtual machine; here a restore fails, as it does where criu
is missing or refuses, and a dump is made by a criu that the tests play."""

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import threading
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
    parts = [(spec, "root"), (spec, "mounts")]
    parts += [(spec.get("process", {}), name) for name in ("terminal", "user", "capabilities", "rlimits",
                                                           "noNewPrivileges", "selinuxLabel", "apparmorProfile")]
    parts += [(linux, name) for name in ("namespaces", "uidMappings", "gidMappings", "timeOffsets", "devices",
                                         "maskedPaths", "readonlyPaths", "seccomp")]
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

    def test_namespaces(self):
        """What a restore could not make again is refused as long as nothing is lost by it."""
        ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
        own = json.loads(davit.get(self.container, "Container.Spec"))["linux"]["namespaces"]
        for kind in ("pid", "ipc", "uts", "user"):
            with self.subTest(kind):
                names = [one for one in own if one["type"] != kind]
                names.append({"type": kind} if kind == "user" else {"type": kind, "path": f"/proc/1/ns/{kind}"})
                maps = {"uidMappings": ids, "gidMappings": ids} if kind == "user" else {}
                patch = {"hostname": None} if kind == "uts" else {}
                _, task, _, _ = self.run_one(["sleep", "1000"],
                                             SpecPatch=json.dumps({"linux": {"namespaces": names, **maps}, **patch}))
                begun = last()
                for opts in ({}, {"Exit": True}):
                    self.assertError("NotSupported", self.checkpoint, task, contains=f"{kind} namespace", **opts)
                self.assertEqual(davit.get(task, "Process.Status"), "running")
                self.assertNotIn("task.paused", types(since(begun), task.rsplit("/", 1)[-1]))

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

    def test_sockets(self):
        """Sockets cannot be handed to processes that go on with what they had: that is said, and nothing is created."""
        with socket.socket() as listening:
            listening.listen()
            for method in ("CreateTask", "Start"):
                self.assertError("NotSupported", davit.call, self.container, f"Container.{method}", "(a{sv})",
                                 davit.options(Checkpoint="one", ListenFDs=[0]), fds=[listening.fileno()],
                                 contains="ListenFDs")
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.own)

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

    def test_other_rights(self):
        """What its processes may do is in the images: a container that is to have less now does not get it back."""
        before = json.loads(davit.get(self.container, "Container.Spec"))["process"]
        for patch in ({"capabilities": {"bounding": []}}, {"noNewPrivileges": not before.get("noNewPrivileges", False)},
                      {"user": {"uid": 7, "gid": 7}}, {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]}):
            with self.subTest(patch=patch):
                self.call("Update", "(a{sv})", davit.options(SpecPatch=json.dumps({"process": patch})))
                self.assertError("FailedPrecondition", self.create, contains="rights")
                undo = {key: before.get(key) for key in patch}
                self.call("Update", "(a{sv})", davit.options(SpecPatch=json.dumps({"process": undo})))
        self.assertWaits(self.create())

    def test_other_mounts(self):
        """Mounts come from the container, never from the checkpoint; they have to be those it was made with."""
        self.call("Update", "(a{sv})", davit.options(Mounts=[("tmpfs", "tmpfs", "/more", "")]))
        self.assertError("FailedPrecondition", self.create, contains="Mounts")


class SilentMount:
    """A file system that can be mounted and never answers: who looks for a file in it is in the kernel's hands, beyond
    any signal."""

    FORCE, DETACH = 1, 2
    LOOKUP, FORGET, GETATTR, INTERRUPT = 1, 2, 3, 36

    def __init__(self, path):
        self.path, self.asked = path, threading.Event()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if self.libc.mount(b"silent", path.encode(), b"fuse", 0, options.encode()) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.answer(os.read(self.fd, 65536), 0, struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 4096, 1, 1, 0, *[0] * 8))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def answer(self, request, error=0, data=b""):
        os.write(self.fd, struct.pack("<Ii", 16 + len(data), -error) + request[8:16] + data)

    def serve(self):
        """What has been read cannot be called back by who has asked."""
        with contextlib.suppress(OSError):
            while True:
                request = os.read(self.fd, 65536)
                kind = struct.unpack_from("<I", request, 4)[0]
                if kind == self.LOOKUP:
                    self.asked.set()
                elif kind == self.GETATTR:
                    self.answer(request, 0, struct.pack("<Q2I6Q10I", 0, 0, 0, 1, *[0] * 8, stat.S_IFDIR | 0o755, 2, *[0] * 5))
                elif kind not in (self.FORGET, self.INTERRUPT):
                    self.answer(request, errno.ENOSYS)

    def let_go(self):
        """Whoever has asked is told that nobody is there."""
        if self.fd < 0:
            return
        self.libc.umount2(self.path.encode(), self.FORCE)
        self.thread.join()
        os.close(self.fd)
        self.fd = -1
        self.libc.umount2(self.path.encode(), self.DETACH)


#: As far as davit-dump talks with it. What a test has written into PLACE is what comes of it.
PLAYED = r"""#!/usr/bin/python3
import ctypes, os, socket, sys, time

PLACE = "@place@"


def number(n):
    data = b""
    while n >= 0x80:
        data, n = data + bytes([n & 0x7f | 0x80]), n >> 7
    return data + bytes([n])


def field(key, value):
    if isinstance(value, int):
        return number(key << 3) + number(value)
    return number(key << 3 | 2) + number(len(value)) + value


def fields(data):
    found, at = {}, 0

    def take():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7f) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        key, value = take(), take()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        found[key >> 3] = value
    return found


def say(what):
    try:
        with open(f"{PLACE}/{what}") as f:
            return f.read()
    except OSError:
        return ""


if sys.argv[-1] == "--version":
    print("Version: 3.17.1")
    sys.exit()
if sys.argv[-1] == "check":
    while os.path.exists(f"{PLACE}/hang"):
        time.sleep(0.02)
    if os.path.exists(f"{PLACE}/killed"):
        number = 19 if os.fork() == 0 else 9
        os.kill(os.getpid(), number)
    sys.stderr.write(say("check"))
    sys.exit(1 if say("check") else 0)
sock = socket.socket(fileno=int(sys.argv[-1]))
request = fields(sock.recv(1 << 20))
options = fields(request[2])


def step(name):
    sock.send(field(1, 6) + field(2, 1) + field(5, field(1, name)))
    return fields(sock.recv(1 << 20)).get(3)


def restore():
    # A sibling that sleeps, once it may be there, and an answer once that may be given.
    open(f"{PLACE}/restoring", "w").close()
    while not os.path.exists(f"{PLACE}/make"):
        time.sleep(0.02)
    pid = ctypes.CDLL(None).syscall(56, 0x8000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os.closerange(3, 100)
        os.execv("/bin/sleep", ["sleep", "1000"])
    open(f"{PLACE}/made", "w").close()
    while not os.path.exists(f"{PLACE}/finish"):
        time.sleep(0.02)
    step(b"post-restore")
    sock.send(field(1, 2) + field(2, 1) + field(4, field(1, pid)))
    sys.exit()


if request[1] == 2:
    restore()
with open(f"{PLACE}/asked", "w") as asked:
    asked.write(" ".join(str(key) for key, value in options.items() if value == 1))
with open(f"/proc/{os.getppid()}/fd/{options[1]}/played.img", "w") as image:
    image.write("no image")
open(f"{PLACE}/dumping", "w").close()
if os.path.ismount(f"{PLACE}/silent"):
    os.stat(f"{PLACE}/silent/file")


go_on = step(b"network-lock")
while go_on and not os.path.exists(f"{PLACE}/finish"):
    time.sleep(0.05)
    go_on = step(b"network-lock")
go_on = go_on and step(b"post-dump")
if not go_on:
    time.sleep(0.5)
elif not options[3]:
    if os.path.exists(f"{PLACE}/stop"):
        os.kill(os.getpid(), 19)
    os.kill(options[2], 9)
sock.send(field(1, 1) + field(2, 1 if go_on else 0))
"""
CRIU = "/usr/local/sbin/criu"


class PlayedTest(CheckpointTest):
    def setUp(self):
        super().setUp()
        self.place = tempfile.mkdtemp(prefix="played-", dir="/var/tmp")  # a restore has a /tmp of its own
        self.addCleanup(shutil.rmtree, self.place)
        with open(CRIU, "w", encoding="utf-8") as f:
            self.addCleanup(os.unlink, CRIU)
            f.write(PLAYED.replace("@place@", self.place))
        os.chmod(CRIU, 0o755)
        self.directory = f"{DIRECTORY}/default/{self.own}"

    def say(self, what, text=""):
        with open(f"{self.place}/{what}", "w", encoding="utf-8") as f:
            f.write(text)

    def start(self):
        return self.call("Start", "(a{sv})", {})[0]

    def begin(self, task, name="one", **opts):
        """A checkpoint that is being made, until it is told to finish or given up."""
        for what in ("dumping", "finish"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.place}/{what}")
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", name, davit.options(**opts))
        davit.wait_until(lambda: os.path.exists(f"{self.place}/dumping"), what="the dump")
        self.assertTrue(self.held(task))
        return job

    def held(self, task):
        group = davit.unit_show(davit.get(task, "Task.Scope"), "ControlGroup")["ControlGroup"]
        root = next(root for root in davit.cgroup_roots() if os.path.exists(f"{root}{group}/payload/cgroup.freeze"))
        with open(f"{root}{group}/payload/cgroup.freeze", encoding="utf-8") as f:
            return f.read() == "1\n"

    def assertRunsOn(self, task):  # pylint: disable=invalid-name
        """It runs when nothing of the dump is there any more, which has left nothing."""
        davit.wait_until(lambda: not davit.processes("criu", "davit-dump"), what="the dump to end")
        self.assertRunsBeside(task)

    def assertRunsBeside(self, task):  # pylint: disable=invalid-name
        davit.wait_until(lambda: not self.held(task), what="the container to run")
        davit.wait_until(lambda: davit.get(task, "Process.Status") == "running", what="the task to run on")
        davit.wait_until(lambda: not os.path.exists(self.directory), what="the half one to go")
        marks = f"{davit.RUNTIME}/namespaces/default/frozen/{self.own}*"
        davit.wait_until(lambda: not glob.glob(marks), what="the mark to go")
        self.assertEqual(self.names(), [])


class Played(PlayedTest):
    """What is killed, or fails, while a criu that is played holds a container."""

    def test_made(self):
        """S-P05: the task ends once the checkpoint is there; what was left of another one is no part of it."""
        os.makedirs(f"{self.directory}/.new-one/images/left")
        task = self.start()
        job = self.begin(task, Exit=True)
        self.assertEqual(self.names(), [])
        self.say("finish")
        davit.call(job, "Job.Wait")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
        self.assertEqual(self.names(), ["one"])
        self.assertEqual(sorted(os.listdir(f"{self.directory}/one/images")), ["davit.dump", "played.img"])
        self.call("DeleteCheckpoint", "(s)", "one")

    def test_options_of_davitctl(self):
        """S-P05, S-P06: each asks criu for one thing more, and is kept for the restore."""
        self.start()
        self.say("finish")

        def asked(name, *options):
            made = davit.ctl("checkpoint", "create", "--quiet", *options, self.own, name, check=True)
            self.assertEqual((made.stdout, made.stderr), (f"{name}\n", ""))
            with open(f"{self.place}/asked", encoding="utf-8") as f, \
                    open(f"{self.directory}/{name}/checkpoint.json", encoding="utf-8") as g:
                return set(map(int, f.read().split())), json.load(g)["options"]
        plain, kept = asked("plain")
        self.assertEqual(kept, [])
        single = {"--unix-sockets": 4, "--tcp": 5, "--file-locks": 8, "--terminal": 50}  # of criu's rpc.proto
        words = []
        for option, number in single.items():
            now, kept = asked(option[2:], option)
            self.assertEqual((option, now - plain, plain - now, len(kept)), (option, {number}, set(), 1))
            words += kept
        now, kept = asked("all", *single)
        self.assertEqual((now - plain, sorted(kept)), (set(single.values()), sorted(words)))
        self.assertEqual(len(set(words)), len(single))

    def test_terminal(self):
        """S-P06."""
        self.own, self.container = self.define(["sleep", "1000"], image=davit.busybox_image(), Terminal=True)
        task = self.start()
        self.say("finish")
        made = davit.ctl("checkpoint", "create", "--quiet", self.own, "one")
        self.assertEqual((made.returncode, made.stdout, self.names()), (1, "", []))
        self.assertRegex(made.stderr, r"\Adavitctl: .*terminal.*\n\Z")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(davit.ctl("checkpoint", "create", "--quiet", "--terminal", self.own, "one", check=True).stdout, "one\n")
        self.assertEqual(self.names(), ["one"])

    def test_launcher_gone(self):
        """S-P18: what dumps outlives the launcher, and would hold the container still once more."""
        task = self.start()
        for how in ("kill", "restart"):
            with self.subTest(how):
                job = self.begin(task, Exit=how == "kill")
                if how == "kill":
                    os.kill(davit.main_pid("davit-launcher.service"), signal.SIGKILL)
                else:
                    davit.systemctl("restart", "davit-launcher.service")
                self.assertError("Unavailable", davit.call, job, "Job.Wait", contains="launcher")
                self.assertRunsOn(task)

    def test_manager_gone(self):
        """S-P18, S-R05."""
        task = self.start()
        for end in (davit.restart_davitd, davit.kill_davitd):
            with self.subTest(end.__name__):
                self.begin(task, Exit=True)
                end()
                self.assertRunsOn(task)

    def test_dump_killed(self):
        """S-P18."""
        task = self.start()
        for name in ("davit-dump", "criu"):
            with self.subTest(name):
                job = self.begin(task)
                for pid in davit.processes(name):
                    os.kill(pid, signal.SIGKILL)
                with self.assertRaises(davit.DavitError):
                    davit.call(job, "Job.Wait")
                self.assertRunsOn(task)

    def test_not_kept(self):
        """S-P18: the processes that wait for their end at the dump run on where the checkpoint cannot be kept."""
        task = self.start()
        job = self.begin(task, Exit=True)
        os.mkdir(f"{self.directory}/one")
        self.say("finish")
        self.assertError("AlreadyExists", davit.call, job, "Job.Wait", contains="cannot be kept")
        self.assertRunsOn(task)

    def test_stopped(self):
        """A stop that comes meanwhile is heard when the dump is over."""
        self.own, self.container = self.define(["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"],
                                               image=davit.busybox_image())
        task = self.start()
        pid = davit.get(task, "Process.Pid")
        davit.wait_trap(task)
        os.kill(pid, signal.SIGSTOP)  # as criu would keep it from hearing
        job = self.begin(task)
        with subprocess.Popen(["davitctl", "stop", "--time", "30", self.own], stdout=subprocess.DEVNULL) as stop:
            davit.wait_until(lambda: not self.held(task), what="the stop")
            davit.call(job, "Job.Cancel")
            with self.assertRaises(davit.DavitError):
                davit.call(job, "Job.Wait")
            davit.wait_until(lambda: not davit.processes("davit-dump") and not self.held(task), what="the dump to end")
            os.kill(pid, signal.SIGCONT)
            self.assertEqual(stop.wait(davit.TIMEOUT), 0)
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (3, "exited"))

    def test_cannot(self):
        """The host's criu says what is missing: the first of its errors is the cause."""
        task = self.start()
        self.say("check", "Error (criu/vdso.c:381): vdso: Unexpected bounds\nWarn  (criu/x.c:1): no matter\n"
                          "Error (criu/crtools.c:260): Could not initialize.\n")
        error = self.assertError("NotSupported", davit.call, task, "Task.Checkpoint", "(sa{sv})", "one", {})
        self.assertIn("criu", error.message)
        self.assertIn("vdso: Unexpected bounds; Could not initialize", error.message)
        self.assertRunsOn(task)

    def test_streams_that_do_not_fit(self):
        """S-T03: a socket in the place of a pipe is refused in words of ours, before criu is asked."""
        self.own, self.container = self.define(["sleep", "1000"], image=davit.busybox_image(), ReadOnly=True)
        task, _, end = self.call("Start", "(a{sv})", davit.options(Pipes=True))
        os.close(end)
        self.say("finish")
        davit.call(davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", davit.options(Exit=True)), "Job.Wait")
        davit.call(task, "Process.Wait")
        davit.call(task, "Process.Delete", "(a{sv})", {})
        self.say("make")
        task = self.create(Output="journal")
        self.assertError("NotSupported", davit.call, task, "Process.Start", contains="stdout was a pipe")
        self.assertWaits(task)
        self.assertFalse(os.path.exists(f"{self.place}/restoring"))
        davit.call(task, "Process.Delete", "(a{sv})", {})
        for opts in ({"Pipes": True}, {"Output": "null"}):
            with self.subTest(opts):
                task = self.create(**opts)
                davit.call(task, "Process.Start")
                self.assertEqual(davit.get(task, "Process.Status"), "running")
                davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))

    def test_hangs(self):
        """A criu that does not answer holds up no later manager."""
        self.say("hang")
        self.start()
        with subprocess.Popen(["davitctl", "checkpoint", "create", self.own, "one"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as waits:
            davit.wait_until(lambda: davit.processes("criu"), what="criu")
            davit.kill_davitd()
            self.assertNotEqual(waits.wait(davit.TIMEOUT), 0)
        for _ in range(3):  # more than there are warm shims
            self.run_one(["true"])
        davit.wait_until(lambda: not davit.processes("criu", "davit-dump"), what="criu to end")


class Late(PlayedTest):
    """S-P18: a dump that does not end of itself is ended, and the task runs on."""

    def stop(self, name):
        for pid in davit.processes(name):
            os.kill(pid, signal.SIGSTOP)

    def silent(self):
        path = f"{self.place}/silent"
        os.mkdir(path)
        mount = SilentMount(path)
        self.addCleanup(mount.let_go)
        return mount

    def test_too_long(self):
        """In order where criu listens, by force where it does not; and nothing is left but an error that says so."""
        task = self.start()
        with davit.configuration(CheckpointTimeoutUSec=1500000):
            job = self.begin(task)
            error = self.assertError("Unavailable", davit.call, job, "Job.Wait", contains="CheckpointTimeoutUSec")
            self.assertIn("within 1.5 s", error.message)
            self.assertIn("has undone", error.message)
            self.assertRunsOn(task)
            job = self.begin(task, Exit=True)
            self.stop("criu")
            self.assertError("Unavailable", davit.call, job, "Job.Wait", contains="was killed")
            self.assertRunsOn(task)
        self.say("finish")
        davit.call(davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {}), "Job.Wait")
        self.assertEqual(self.names(), ["one"])

    def test_check(self):
        self.say("hang")
        task = self.start()
        with davit.configuration(CheckpointTimeoutUSec=1000000):
            self.assertError("Unavailable", davit.call, task, "Task.Checkpoint", "(sa{sv})", "one", {},
                             contains='"criu check" did not answer')
            self.assertRunsOn(task)

    def test_check_killed(self):
        """S-P18: what it has started goes with it, also where that is stopped and would be writing."""
        self.say("killed")
        task = self.start()
        self.assertError("NotSupported", davit.call, task, "Task.Checkpoint", "(sa{sv})", "one", {}, contains="gives no reason")
        davit.wait_until(lambda: not davit.processes("criu"), what="the end of what it has started")
        self.assertRunsOn(task)

    def test_check_answers_late(self):
        """That it can be done comes when it has been given up: no dump begins, which nobody would end."""
        self.say("hang")
        task = self.start()
        launcher = davit.main_pid("davit-launcher.service")
        with davit.configuration(CheckpointTimeoutUSec=1000000):
            with subprocess.Popen(["davitctl", "checkpoint", "create", self.own, "one"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True) as client:
                davit.wait_until(lambda: davit.processes("criu"), what="criu")
                begun = time.monotonic()
                os.kill(launcher, signal.SIGSTOP)
                os.unlink(f"{self.place}/hang")
                davit.wait_until(lambda: not davit.processes("criu"), what="the answer of criu")
                davit.wait_until(lambda: time.monotonic() > begun + 2, what="the manager to give up")
                os.kill(launcher, signal.SIGCONT)
                self.assertIn("answered too late", client.communicate(timeout=davit.TIMEOUT)[1])
            self.assertRunsOn(task)

    def test_cancelled(self):
        """Whoever of them does not listen."""
        task = self.start()
        for name in ("criu", "davit-dump"):
            with self.subTest(name):
                job = self.begin(task)
                self.stop(name)
                davit.call(job, "Job.Cancel")
                self.assertError("FailedPrecondition", davit.call, job, "Job.Wait", contains="cancelled")
                self.assertRunsOn(task)

    def test_kernel(self):
        """What the kernel keeps from ending is not waited for."""
        task = self.start()
        mount = self.silent()
        for end in ("timeout", "manager"):
            with self.subTest(end), davit.configuration(CheckpointTimeoutUSec=1000000):
                job = self.begin(task)
                self.assertTrue(mount.asked.wait(davit.TIMEOUT))
                if end == "timeout":
                    self.assertError("Unavailable", davit.call, job, "Job.Wait", contains="even when it is killed")
                else:
                    davit.kill_davitd()
                self.assertRunsBeside(task)
                self.assertTrue(davit.processes("criu"))
        mount.let_go()
        self.assertRunsOn(task)

    def test_not_still(self):
        """A process that the kernel keeps cannot be held still: nothing has begun, and the others run on."""
        mount = self.silent()
        self.own, self.container = self.define(["stat", "/silent/file"], image=davit.busybox_image(),
                                               Mounts=[("bind", mount.path, "/silent", "rbind")])
        task = self.start()
        self.assertTrue(mount.asked.wait(davit.TIMEOUT))
        with davit.configuration(CheckpointTimeoutUSec=1000000):
            job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {})
            self.assertError("Unavailable", davit.call, job, "Job.Wait", contains="could not be held still")
            self.assertRunsOn(task)
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {})
        davit.call(job, "Job.Cancel")
        self.assertError("FailedPrecondition", davit.call, job, "Job.Wait", contains="cancelled")
        self.assertRunsOn(task)
        mount.let_go()
        davit.call(task, "Process.Wait")

    def test_end(self):
        """The checkpoint is there, and what was to end does, though criu does not do it."""
        task = self.start()
        self.say("stop")
        job = self.begin(task, Exit=True)
        self.say("finish")
        davit.call(job, "Job.Wait")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
        self.assertEqual(self.names(), ["one"])


class BothGone(PlayedTest):
    """S-P18, S-R05: manager and launcher are killed at the same moment."""

    def kill_both(self):
        pids = [davit.main_pid(), davit.main_pid("davit-launcher.service")]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        davit.wait_until(lambda: davit.main_pid() not in (0, pids[0]), what="a new manager")
        davit.start_davitd()

    def test_dump(self):
        """What dumps ends later than the next manager has begun, and holds the container still once more."""
        task = self.start()
        for opts in ({}, {"Exit": True}):
            with self.subTest(opts):
                self.begin(task, **opts)
                self.kill_both()
                self.assertError("FailedPrecondition", davit.call, task, "Task.Checkpoint", "(sa{sv})", "two", {},
                                 contains="being made already")
                self.assertRunsOn(task)

    def test_dump_that_does_not_listen(self):
        task = self.start()
        self.begin(task)
        for pid in davit.processes("criu"):
            os.kill(pid, signal.SIGSTOP)
        self.kill_both()
        self.assertRunsOn(task)

    def test_paused(self):
        """One that was paused before stays so, and can be resumed when it is over."""
        task = self.start()
        davit.call(task, "Task.Pause")
        self.begin(task)
        self.kill_both()
        davit.wait_until(lambda: not davit.processes("criu", "davit-dump"), what="the dump to end")
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        davit.wait_until(lambda: not self.dumps(), what="the manager")
        davit.call(task, "Task.Resume")
        self.assertRunsOn(task)

    def dumps(self):
        return glob.glob(f"{davit.RUNTIME}/dumps/default:{self.own}*")

    def test_next_task(self):
        """The container's next task is dumped when the end of that dump is seen: a later manager still sees this one."""
        task = self.start()
        self.begin(task)
        for pid in davit.processes("criu"):
            os.kill(pid, signal.SIGSTOP)  # it is killed for that, some seconds later
        first = self.dumps()
        self.kill_both()
        davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))
        task = self.start()
        self.begin(task)
        davit.wait_until(lambda: len(self.dumps()) == 1, what="the end of the first to be seen")
        self.assertNotEqual(self.dumps(), first)
        self.kill_both()
        self.assertError("FailedPrecondition", davit.call, task, "Task.Checkpoint", "(sa{sv})", "two", {},
                         contains="being made already")
        self.assertRunsOn(task)

    def test_any_moment(self):
        """Before, while and after there is a dump; whatever has come of it, the task runs."""
        task = self.start()
        for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16):
            with self.subTest(delay):
                with subprocess.Popen(["davitctl", "checkpoint", "create", self.own, "one"], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL) as client:
                    time.sleep(delay)
                    self.kill_both()
                    self.assertNotEqual(client.wait(davit.TIMEOUT), 0)
                self.assertRunsOn(task)

    def restore(self):
        """A task that waits to be started from a checkpoint."""
        self.own, self.container = self.define(["sleep", "1000"], image=davit.busybox_image(), ReadOnly=True)
        task = self.start()
        self.say("finish")
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", davit.options(Exit=True))
        davit.call(job, "Job.Wait")
        davit.call(task, "Process.Wait")
        davit.call(task, "Process.Delete", "(a{sv})", {})
        return self.create(Output="null")

    def cut_off(self, task, when):
        """Its start, cut off when there is a file of this name, or so much later."""
        for what in ("restoring", "make", "made", "finish"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.place}/{what}")
        if when != "restoring":
            self.say("make")
        if not isinstance(when, str):
            self.say("finish")
        with subprocess.Popen(["busctl", "call", davit.NAME, task, f"{davit.NAME}.Process", "Start"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            if isinstance(when, str):
                davit.wait_until(lambda: os.path.exists(f"{self.place}/{when}"), what=when)
            else:
                time.sleep(when)
            self.kill_both()
            client.wait(davit.TIMEOUT)
        for what in ("make", "finish"):
            self.say(what)

    def test_restore(self):
        """The task waits to be started as before, or runs; nothing else of it is there."""
        task = self.restore()
        scope = davit.get(task, "Task.Scope")
        for when in ("restoring", "made", 0, 0.005, 0.01, 0.02, 0.04, 0.08):
            with self.subTest(when):
                self.cut_off(task, when)
                status = davit.get(task, "Process.Status")
                self.assertIn(status, ("created", "running"))
                if status == "running":
                    davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))
                    task = self.create(Output="null")
                davit.wait_until(lambda: not davit.processes("criu"), what="criu to end")
                davit.wait_until(lambda: not davit.unit_exists(scope), what="the scope to go")
        davit.call(task, "Process.Start")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
