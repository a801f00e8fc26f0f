# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tasks as objects: what they are and say, and what a call on one never waits for."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time

import davit
import fuse
import images
import shim as protocol
from gi.repository import Gio, GLib
from test_events import last, since, types
from test_recovery import shim_of

#: What a call that waits for nothing may take, in seconds; and at most, where the machine is doing something else, which is
#: less than whatever the manager itself waits for.
AT_ONCE, AT_MOST = 0.05, davit.TIMEOUT / 15


def took(function, *args, **kwargs):
    begun = time.monotonic()
    function(*args, **kwargs)
    return time.monotonic() - begun


def parent_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("PPid:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class TaskTest(davit.TestCase):
    def setUp(self):
        self.leaks()

    def run_one(self, command, **opts):
        id = opts.pop("id", None) or davit.unique("task")
        result = davit.run_container(command, id=id, **opts)
        self.addCleanup(davit.remove_container, id)
        return result

    def define(self, command, **opts):
        id, container = davit.create_container(command, id=davit.unique("task"), **opts)
        self.addCleanup(davit.remove_container, id)
        return id, container

    def deaf(self):
        """A task that hears its stop signal and goes on."""
        reader, writer = os.pipe()
        started = self.run_one(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], fds=[writer], Stdout=0)
        os.close(writer)
        with os.fdopen(reader) as out:
            out.readline()
        return started

    def begin(self, answers, path, method, *args):
        """A call whose reply, or error, comes into `answers` while wait_until() waits. It is sent before any other call."""
        def on_reply(bus, result):
            try:
                answers[method] = bus.call_finish(result).unpack()
            except GLib.Error as error:
                answers[method] = davit.DavitError(error)

        interface, _, member = method.rpartition(".")
        davit.bus().call(davit.NAME, path, f"{davit.NAME}.{interface}", member, *(args or [None]), None,
                         Gio.DBusCallFlags.NONE, int(davit.TIMEOUT * 1000), None, on_reply)

    @contextlib.contextmanager
    def standing(self, pid):
        """A process that does nothing meanwhile."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def held(self, task):
        """The task's shim answers nothing meanwhile."""
        return self.standing(shim_of(task))

    def assert_at_once(self, function, *args, **kwargs):
        """Of several tries, because the machine may be doing something else; but none waits for what is stuck."""
        times = sorted(took(function, *args, **kwargs) for _ in range(9))
        self.assertLess(statistics.median(times), AT_ONCE, times)
        self.assertLess(times[-1], AT_MOST, times)


class Objects(TaskTest):
    def test_container_has_no_state_of_a_process(self):
        """S-O02."""
        id, _, _, _ = self.run_one(["sleep", "1000"])
        container = davit.manager("GetContainer", "(ss)", "", id)
        shown = davit.managed_objects()[container]
        self.assertEqual([name for name in shown if name.startswith(davit.NAME)], [f"{davit.NAME}.Container"])
        self.assertEqual(set(shown[f"{davit.NAME}.Container"]) & {"Pid", "Status", "ExitStatus", "Task"}, set())

    def test_interfaces(self):
        """S-O05, S-O07, S-X14."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "mine", ["sleep", "1000"], {})
        objects = davit.managed_objects()
        self.assertNotEqual(task, davit.manager("GetContainer", "(ss)", "", id))
        self.assertLessEqual({f"{davit.NAME}.Task", f"{davit.NAME}.Process"}, set(objects[task]))
        self.assertIn(f"{davit.NAME}.Process", objects[process])
        self.assertNotIn(f"{davit.NAME}.Task", objects[process])
        text = davit.call_on(davit.NAME, task + "/exec", "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        self.assertIn('node name="mine"', text)

    def test_states(self):
        """S-O08, S-T04, S-T09: each is announced, and the pid with the start."""
        id, container = self.define(["sh", "-c", "while :; do sleep 0.01; done"])
        with davit.Signals(interface="org.freedesktop.DBus.Properties") as changes:
            task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
            self.assertEqual(davit.get(task, "Process.Status"), "created")
            davit.call(task, "Process.Start")
            davit.call(task, "Task.Pause")
            davit.call(task, "Task.Resume")
            davit.call(task, "Process.Kill", "(s)", "KILL")
            davit.call(task, "Process.Wait")
            changes.wait(lambda path, _, body: path == task and body[1].get("Status") == "stopped")
            mine = [body[1] for path, _, body in changes.seen if path == task]
        self.assertEqual([b["Status"] for b in mine if "Status" in b], ["running", "pausing", "paused", "running", "stopped"])
        self.assertEqual([b["Pid"] for b in mine if "Pid" in b], [pid])

    def test_paused_processes_stand_still(self):
        """S-T09: the first one, its child and an exec."""
        def forever(word):
            return f"while :; do echo {word}; sleep 0.01; done"

        def wait_for_all(heard=b""):
            while set(heard.split()) != {b"first", b"child", b"exec"}:
                self.assertTrue(davit.select_exit(reader, davit.TIMEOUT), heard)
                heard += os.read(reader, 65536)

        reader, writer = os.pipe()
        _, task, _, _ = self.run_one(["sh", "-c", f"({forever('child')}) & {forever('first')}"], fds=[writer], Stdout=0)
        davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", forever("exec")], davit.options(Stdout=0), fds=[writer])
        os.close(writer)
        wait_for_all()
        davit.call(task, "Task.Pause")
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(reader, 65536):
                pass
        self.assertFalse(davit.select_exit(reader, 0.3))
        self.assertError("FailedPrecondition", davit.call, task, "Task.Pause")
        davit.call(task, "Task.Resume")
        wait_for_all()
        self.assertError("FailedPrecondition", davit.call, task, "Task.Resume")
        os.close(reader)

    def test_what_it_really_runs(self):
        """S-O12, S-C16: the task's configuration is that of its start, the container's that of the next one."""
        id, task, _, _ = self.run_one(["sleep", "1000"], Env=["WHICH=first"])
        container = davit.manager("GetContainer", "(ss)", "", id)
        davit.call(container, "Container.Update", "(a{sv})", davit.options(Env=["WHICH=second"]))
        self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))
        self.assertIn("WHICH=second", davit.get(container, "Container.Spec"))
        self.assertTrue(davit.get(task, "Task.Runtime"))
        davit.kill_davitd()
        self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))

    def test_one_call_tells_all(self):
        """S-O13."""
        mark = davit.unique("mark")
        ended, ended_task, _, end = self.run_one(["sh", "-c", "exit 5"], Labels={"set": mark})
        running, _, pid, _ = self.run_one(["sleep", "1000"], Labels={"set": mark})
        when = davit.read_exit(end).exited_at
        rows = {row[1]: row for row in davit.manager("ListTasks", "(sa{sv})", "", davit.options(Label=[f"set={mark}"]))}
        self.assertEqual(rows[ended][3:7], ("stopped", 5, "exited", when))
        self.assertEqual(rows[ended][8], ended_task)
        self.assertEqual((rows[running][2], rows[running][3], rows[running][6]), (pid, "running", 0))

    def test_container_without_labels(self):
        """S-C13: also where they were taken away, and for the next manager."""
        id, container = self.define(["true"])
        record = f"{davit.STATE}/namespaces/default/containers/{id}.json"
        for labels in ({}, {"x": "y"}, {}):
            if labels or davit.get(container, "Container.Labels"):
                davit.call(container, "Container.SetLabels", "(a{ss})", labels)
            self.assertEqual(davit.get(container, "Container.Labels"), labels)
            with open(record, encoding="utf-8") as f:
                self.assertEqual(json.load(f).get("labels"), labels or None)
        davit.kill_davitd()
        self.assertEqual(davit.get(container, "Container.Labels"), {})
        self.assertNotIn(id, [c[1] for c in davit.manager("ListContainers", "(sa{sv})", "", davit.options(Label=["x"]))])

    def test_nothing_to_run(self):
        """S-C01, S-E05."""
        self.assertError("InvalidArgument", davit.manager, "CreateContainer", "(sssasa{sv})", "", "", "", ["true"], {})
        self.assertError("InvalidArgument", davit.manager, "GetContainer", "(ss)", "", "")

    def test_deleted_container_leaves_nothing(self):
        """S-C17, S-T08: the leak check ends the test; neither does one whose program is not there."""
        id, container = davit.create_container(["true"], id=davit.unique("task"), image=davit.busybox_image())
        davit.call(container, "Container.Delete", "(a{sv})", {})
        for opts in ({"image": davit.busybox_image()}, {}):
            id = davit.unique("task")
            self.assertError("NotFound", davit.run_container, ["/no/such/program"], id=id, contains="command:", **opts)
            self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)
            self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)

    def test_reading_opens_nothing(self):
        """S-T12: neither descriptors of the manager nor of the shim."""
        id, task, _, _ = self.run_one(["cat"], Terminal=True)
        manager, shim = davit.main_pid(), shim_of(task)
        davit.get_all(task, "Process")
        before = descriptors(manager), descriptors(shim)
        for _ in range(20):
            davit.manager("GetTask", "(ss)", "", id)
            davit.get_all(task, "Process")
            davit.get_all(task, "Task")
        davit.wait_until(lambda: (descriptors(manager), descriptors(shim)) == before, what="the same descriptors")


class Stuck(TaskTest):
    time_limit = 120

    def assert_others_answer(self, id, task):
        container = davit.manager("GetContainer", "(ss)", "", id)
        self.assert_at_once(davit.manager, "ListContainers", "(sa{sv})", "", {})
        self.assert_at_once(davit.manager, "ListTasks", "(sa{sv})", "", {})
        self.assert_at_once(davit.call, container, "Container.SetLabels", "(a{ss})", {"while": "stuck"})
        self.assert_at_once(davit.get, task, "Process.Status")
        self.assert_at_once(self.assertError, "FailedPrecondition", davit.call, container, "Container.Delete", "(a{sv})", {})
        other = davit.unique("task")
        self.assert_at_once(lambda: (davit.create_container(["true"], id=other), davit.remove_container(other)))

    def test_in_a_stop(self):
        """S-O04."""
        id, task, _, _ = self.deaf()
        job = davit.call(task, "Task.BeginStop", "(a{sv})", davit.options(TimeoutUSec=60000000))
        self.assert_others_answer(id, task)
        self.assertEqual(davit.get(job, "Job.State"), "running")
        davit.call(job, "Job.Cancel")

    def test_in_a_start(self):
        """S-O04, S-T11: the shim answers nothing while it is asked to execute the program."""
        id, container = self.define(["sleep", "1000"])
        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        ended = []
        with self.held(task):
            thread = threading.Thread(target=lambda: ended.append(davit.call(task, "Process.Start")))
            thread.start()
            self.assert_others_answer(id, task)
            self.assertEqual(ended, [])
        thread.join(30)
        self.assertEqual(ended, [None])
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_with_a_launcher_that_stands(self):
        """S-O04: a new manager is given no shims, so that no task can be made."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        _, container = self.define(["sleep", "1000"])
        answers = {}
        with self.standing(davit.main_pid("davit-launcher.service")):
            davit.kill_davitd()
            self.begin(answers, container, "Container.CreateTask", GLib.Variant("(a{sv})", ({},)))
            self.assert_others_answer(id, task)
            self.assert_at_once(self.assertError, "FailedPrecondition", davit.call, container, "Container.Delete", "(a{sv})", {})
            self.assertEqual(answers, {})
        created, _ = davit.wait_until(lambda: answers, what="the answer")["Container.CreateTask"]
        self.assertEqual(davit.get(created, "Process.Status"), "created")

    def test_changed_before_it_is_made(self):
        """S-O12: a start goes on with the configuration it was begun with, and the task says so, whoever asks and when."""
        id, container = self.define(["sleep", "1000"], Env=["WHICH=first"])
        answers = {}
        with self.standing(davit.main_pid("davit-launcher.service")):
            davit.kill_davitd()
            self.begin(answers, container, "Container.Start", GLib.Variant("(a{sv})", ({},)))
            davit.call(container, "Container.Update", "(a{sv})", davit.options(Env=["WHICH=second"]))
            self.assertEqual(answers, {})
        task, pid, _ = davit.wait_until(lambda: answers, what="the answer")["Container.Start"]
        with open(f"/proc/{pid}/environ", encoding="utf-8") as f:
            self.assertIn("WHICH=first", f.read())
        self.assertIn("WHICH=second", davit.get(container, "Container.Spec"))
        self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))
        os.unlink(f"{davit.RUNTIME}/task/default/{id}/config.json")
        davit.restart_davitd()
        self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))

    def test_on_a_dead_file_system(self):
        """S-O04: one that answers nothing holds a start, and a program, and nobody else."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        for name, opts in (("mount", lambda path: {"Mounts": [("bind", path, "/mnt", "bind")]}),
                           ("root", lambda path: {"Rootfs": path}), ("log", lambda path: {"LogPath": path})):
            with self.subTest(name), fuse.dead() as path:
                other, ended = davit.unique("task"), []

                def run(opts=opts(f"{path}/{name}"), other=other, ended=ended):
                    try:
                        davit.run_container(["true"], id=other, **opts)
                    except davit.DavitError as error:
                        ended.append(error)

                thread = threading.Thread(target=run)
                thread.start()
                self.assert_others_answer(id, task)
                self.assertEqual(ended, [])
            thread.join(30)
            self.assertIn(f"{path}/{name}", ended[0].message)
            self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", other)

    def test_a_program_on_a_dead_file_system(self):
        """S-O04: nothing can kill the program, so neither its stop nor its deletion ends, and nobody else waits for them."""
        ended = []
        with fuse.deaf() as (path, asked):
            id, task, pid, _ = self.run_one(["cat", "/mnt/data"], Mounts=[("bind", path, "/mnt", "bind")])
            self.assertTrue(asked.wait(10))
            davit.call(task, "Process.Kill", "(s)", "KILL")
            stop = davit.call(task, "Task.BeginStop", "(a{sv})", davit.options(TimeoutUSec=1000))
            container = davit.manager("GetContainer", "(ss)", "", id)
            thread = threading.Thread(target=lambda: ended.append(
                davit.call(container, "Container.Delete", "(a{sv})", davit.options(Force=True))))
            thread.start()
            self.assert_others_answer(id, task)
            self.assertEqual((ended, davit.get(stop, "Job.State")), ([], "running"))
            os.kill(pid, 0)
        thread.join(30)
        self.assertEqual(ended, [None])
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)

    def test_state_that_nobody_has_seen(self):
        """S-O10: a shim that says nothing to a new manager has a task of unknown state, until it speaks."""
        id, task, pid, _ = self.run_one(["sleep", "1000"])
        with self.held(task):
            davit.kill_davitd()
            self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "unknown")
            self.assertEqual([row[3] for row in davit.manager("ListTasks", "(sa{sv})", "", davit.options(Id=[id]))], ["unknown"])
            os.kill(pid, 0)
        davit.wait_until(lambda: davit.get(task, "Process.Status") == "running", what="the state")
        self.assertEqual(davit.get(task, "Process.Pid"), pid)

    def test_state_of_a_newer_version(self):
        """S-O10: a shim says what this manager does not know: the state is unknown, and the container goes on."""
        id, task, pid, _ = self.run_one(["sleep", "1000"])
        path = f"{davit.RUNTIME}/task/default/{id}/shim"
        davit.systemctl("stop", "davitd.service")
        os.rename(path, f"{path}.real")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=self.pretend, args=(listener, f"{path}.real"))
            thread.start()
            davit.start_davitd()
            self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("unknown", pid))
            davit.systemctl("stop", "davitd.service")
            thread.join(30)
        os.kill(pid, 0)
        os.rename(f"{path}.real", path)
        davit.start_davitd()
        self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("running", pid))

    def pretend(self, listener, path):
        """Stands between a manager and a shim until the former goes; every state becomes one that nobody knows."""
        manager = protocol.Socket(listener.accept()[0])
        real = protocol.seqpacket(path)
        while True:
            ready, _, _ = select.select([manager.sock, real.sock], [], [])
            for source, target in ((manager.sock, real.sock), (real.sock, manager.sock)):
                if source not in ready:
                    continue
                data, fds, _, _ = socket.recv_fds(source, 8192, 64)
                if not data:
                    manager.close()
                    real.close()
                    return
                if protocol.HEAD.unpack_from(data)[1] == protocol.STATE:
                    data = data[:protocol.HEAD.size] + struct.pack("=I", 99) + data[protocol.HEAD.size + 4:]
                socket.send_fds(target, [data], fds)
                for fd in fds:
                    os.close(fd)


class FailedStart(TaskTest):
    """A created task whose program cannot be executed: the caller hears why, and no task is left, least of all a lost one."""

    def setUp(self):
        super().setUp()
        self.begun, self.cursor = time.time(), last()

    def garbage(self, command=("/mnt/garbage",), **opts):
        """A container with a program that no kernel takes."""
        directory = tempfile.mkdtemp(dir="/run")
        self.addCleanup(shutil.rmtree, directory)
        with open(f"{directory}/garbage", "wb", opener=lambda path, flags: os.open(path, flags, 0o755)) as f:
            f.write(b"\x7fELF garbage")
        return self.define(command, Mounts=[("bind", directory, "/mnt", "bind")], **{"image": "busybox", **opts})

    def begin_to_start(self, task, pid):
        """The shim has passed it on to the first process, which goes on with SIGCONT."""
        answers = {}
        os.kill(pid, signal.SIGSTOP)
        self.begin(answers, task, "Process.Start")
        davit.call(task, "Task.ListProcesses")
        return answers

    def assert_told(self, id, *expected):
        """These events, the failure with its cause; and nobody took the end of the shim for an accident."""
        events = [e for e in since(self.cursor) if e["DAVIT_ID"] == id and e["DAVIT_EVENT"].startswith("task.")]
        self.assertEqual(types(events), list(expected))
        failed = next(e for e in events if e["DAVIT_EVENT"] == "task.failed")
        self.assertEqual(failed["ERROR_NAME"], davit.ERROR + "PermissionDenied")
        self.assertIn("Exec format error", failed["ERROR"])
        davit.wait_until(lambda: davit.journal(f"MESSAGE_ID={failed['MESSAGE_ID']}", f"DAVIT_ID={id}", since=self.begun), what="the entry")
        told = davit.journal("_SYSTEMD_UNIT=davitd.service", since=self.begun)
        self.assertEqual([line for line in told.splitlines() if id in line and "without a word" in line], [])

    def test_nothing_is_left(self):
        """S-T08, S-O14, S-T21, S-E08, S-H03: neither the task nor what it was made of; its container is as it was."""
        for opts in ({}, {"AutoRemove": "task"}, {"AutoRemove": "container"}, {"Terminal": True}, {"image": ""}):
            with self.subTest(**opts):
                id, container = self.garbage(**opts)
                self.assertError("PermissionDenied", davit.call, container, "Container.Start", "(a{sv})", {})  # makes mount points
                for _ in range(2):
                    with davit.LeakCheck(), davit.Signals("InterfacesRemoved", interface="org.freedesktop.DBus.ObjectManager") as removed:
                        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
                        self.cursor = last()
                        self.assertError("PermissionDenied", davit.call, task, "Process.Start", contains="Exec format error")
                        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
                        removed.wait(lambda _path, _member, body, task=task: body[0] == task)
                    self.assert_told(id, "task.failed", "task.delete")
                davit.call(container, "Container.Delete", "(a{sv})", {})

    def test_those_who_wait(self):
        """S-W03, S-W08: for the end, for a stop: each gets an answer, and none that says it has run."""
        for _ in range(5):
            _, container = self.garbage()
            task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
            end, answers = davit.call(task, "Process.WaitFD"), {}
            self.begin(answers, task, "Process.Wait")
            self.begin(answers, task, "Process.Start")
            for method in ("Task.Stop", "Task.BeginStop"):
                self.begin(answers, task, method, GLib.Variant("(a{sv})", ({},)))
            davit.wait_until(lambda answers=answers: len(answers) == 4, what="answers")
            with os.fdopen(end) as pipe:
                line = pipe.read()
            if isinstance(answers["Process.Wait"], davit.DavitError):
                self.assertEqual((answers["Process.Wait"].name, line), ("NotFound", ""))
                self.assertEqual(answers["Process.Start"].name, "PermissionDenied")
                self.assertIn(answers["Task.Stop"].name, ("NotFound", "UnknownObject"))
            else:  # the stop came first, and killed what waited
                self.assertEqual((answers["Process.Wait"][:2], line.split()[:2]), ((137, "signalled"), ["137", "signalled"]))
                self.assertEqual(answers["Task.Stop"], ())
            if not isinstance(answers["Task.BeginStop"], davit.DavitError):
                job, = answers["Task.BeginStop"]
                davit.wait_until(lambda job=job: davit.get(job, "Job.State") in ("done", "failed"), what="the job's end")

    def test_deleted_meanwhile(self):
        """S-T16: a deletion by force succeeds, whether it was faster than the failure or not."""
        for method in ("Process.Delete", "Container.Delete") * 4:
            _, container = self.garbage()
            task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
            answers = {}
            self.begin(answers, task, "Process.Start")
            self.begin(answers, task if method == "Process.Delete" else container, method,
                       GLib.Variant("(a{sv})", (davit.options(Force=True),)))
            davit.wait_until(lambda answers=answers: len(answers) == 2, what="answers")
            self.assertNotIsInstance(answers[method], davit.DavitError)

    def test_asked_by_the_last_manager(self):
        """S-T08, S-E08, S-T21: the next one hears of the failure, and keeps no task either."""
        id, container = self.garbage()
        task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        self.begin_to_start(task, pid)
        davit.kill_davitd()
        self.assertEqual(davit.get(task, "Process.Status"), "created")
        os.kill(pid, signal.SIGCONT)
        davit.wait_until(lambda: "task.delete" in types(since(self.cursor), id), what="the end of the task")
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
        self.assert_told(id, "task.create", "task.failed", "task.delete")

    def test_killed_while_it_waits(self):
        """S-W08: an end like any other, and no start that has failed."""
        id, container = self.garbage()
        task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        answers = self.begin_to_start(task, pid)
        os.kill(pid, signal.SIGKILL)
        davit.wait_until(lambda: answers, what="the answer")
        self.assertEqual(answers["Process.Start"].name, "FailedPrecondition")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
        self.assertNotIn("task.failed", types(since(self.cursor), id))

    def test_exec(self):
        """S-T08, S-E08: an exec goes likewise, and its task goes on."""
        id, container = self.garbage(["sleep", "1000"])
        task, _, _ = davit.call(container, "Container.Start", "(a{sv})", {})
        exec_id, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["/mnt/garbage"], {})
        self.cursor = last()
        self.assertError("PermissionDenied", davit.call, process, "Process.Start", contains="Exec format error")
        self.assert_told(id, "task.failed", "task.exec-deleted")
        self.assertEqual(since(self.cursor)[0]["EXEC_ID"], exec_id)
        self.assertEqual(davit.get(task, "Process.Status"), "running")


class Ends(TaskTest):
    def test_auto_remove_of_the_task(self):
        """S-O06: the task goes, the container stays."""
        id, task, _, end = self.run_one(["sh", "-c", "exit 3"], AutoRemove="task")
        self.assertEqual(davit.read_exit(end), (3, "exited"))
        davit.wait_until(lambda: not davit.manager("ListTasks", "(sa{sv})", "", davit.options(Id=[id])), what="the task's end")
        davit.manager("GetContainer", "(ss)", "", id)
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)

    def test_auto_removals_at_the_same_time(self):
        """S-T18: by the end of the program and by a caller."""
        for _ in range(10):
            id, task, _, end = self.run_one(["sleep", "1000"], AutoRemove="container")
            davit.call(task, "Process.Kill", "(s)", "KILL")
            try:
                davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))
            except davit.DavitError as error:
                # Not there any more, not for that call, or being deleted.
                if error.name not in ("NotFound", "FailedPrecondition", "org.freedesktop.DBus.Error.UnknownObject"):
                    raise
            davit.remove_container(id)
            self.assertEqual(davit.read_exit(end), (137, "signalled"))
            self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)

    def test_force(self):
        """S-T16: one call, which answers with the end; the container stays."""
        id, task, pid, _ = self.run_one(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
        status, kind, when = davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))
        self.assertEqual((status, kind), (137, "signalled"))
        self.assertAlmostEqual(when / 1e6, time.time(), delta=10)
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
        davit.manager("GetContainer", "(ss)", "", id)
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_streams_stay_until_it_has_gone(self):
        """S-T14: a deletion that is refused closes nothing."""
        _, task, _, end = self.run_one(["cat"], Terminal=True)
        self.assertError("FailedPrecondition", davit.call, task, "Process.Delete", "(a{sv})", {})
        master = davit.call(task, "Process.OpenTerminal")
        os.write(master, b"still\n")
        text = b""
        while b"still\r\nstill" not in text:
            self.assertTrue(davit.select_exit(master, 10), text)
            text += os.read(master, 4096)
        os.write(master, b"\x04")
        self.assertEqual(davit.read_exit(end), (0, "exited"))
        os.close(master)
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (0, "exited"))

    def assert_lost(self, id, task, pids):
        """Told within a second or two, nothing of the payload left."""
        fds = [os.pidfd_open(pid) for pid in pids]
        end, scope = davit.call(task, "Process.WaitFD"), davit.get(task, "Task.Scope")
        # A first process that has not been started looks like the shim, which is its parent.
        os.kill(parent_of(pids[0]), signal.SIGKILL)
        self.assertEqual(davit.read_exit(end, 2), (255, "lost"))
        for fd in fds:
            davit.wait_pidfd(fd, 3)
        davit.wait_until(lambda: not davit.unit_exists(scope), 3, "the scope's end")
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (255, "lost"))
        davit.remove_container(id)

    def test_shim_killed_in_each_state(self):
        """S-O14, S-R05."""
        with self.subTest("created"):
            id, container = self.define(["sleep", "1000"])
            task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
            self.assert_lost(id, task, [pid])
        with self.subTest("running, with an exec"):
            id, task, pid, _ = self.run_one(["sleep", "1000"])
            _, process, other, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
            waited = davit.call(process, "Process.WaitFD")
            self.assert_lost(id, task, [pid, other])
            self.assertEqual(davit.read_exit(waited), (255, "lost"))
        with self.subTest("paused"):
            id, task, pid, _ = self.run_one(["sleep", "1000"])
            davit.call(task, "Task.Pause")
            self.assert_lost(id, task, [pid])
        with self.subTest("stopping"):
            id, task, pid, _ = self.deaf()
            job = davit.call(task, "Task.BeginStop", "(a{sv})", davit.options(TimeoutUSec=60000000))
            self.assert_lost(id, task, [pid])
            davit.call(job, "Job.Wait")

    def test_deletion_of_what_nobody_saw_end(self):
        """S-T15."""
        _, task, _, end = self.run_one(["sleep", "1000"])
        os.kill(shim_of(task), signal.SIGKILL)
        davit.read_exit(end)
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (255, "lost"))


class Gone(TaskTest):
    def leave(self, path, method, body, delay):
        """Sends a call and leaves the bus after that time."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gone.py")
        davit.run(sys.executable, script, str(delay), input=json.dumps([(path, method, body)]))

    def whole(self, condition):
        """Whether it comes to that within a moment."""
        try:
            return davit.wait_until(condition, 2)
        except AssertionError:
            return False

    def status(self, id):
        return [row[3] for row in davit.manager("ListTasks", "(sa{sv})", "", davit.options(Id=[id]))]

    def known(self, id):
        return davit.manager("ListContainers", "(sa{sv})", "", davit.options(Id=[id]))

    def test_while_it_is_done(self):
        """S-E11: a caller that has gone before it is known who it was is nobody; what was begun is done to its end."""
        done = 0
        for delay in (0, 0.002, 0.005, 0.01, 0.5):
            id = davit.unique("task")
            self.addCleanup(davit.remove_container, id)
            self.leave(davit.ROOT, "Manager.Run", f"('', '{id}', '', ['sleep', '1000'], {{'Rootfs': <'{davit.rootfs()}'>}})", delay)
            if not self.whole(lambda id=id: self.status(id) == ["running"]):
                self.assertEqual((self.known(id), self.status(id)), ([], []))
                continue
            done += 1
            task = davit.manager("GetTask", "(ss)", "", id)
            self.leave(task, "Task.Stop", "({'TimeoutUSec': <uint64 10000>},)", delay)
            if not self.whole(lambda id=id: self.status(id) == ["stopped"]):
                self.assertEqual(self.status(id), ["running"])
            self.leave(davit.manager("GetContainer", "(ss)", "", id), "Container.Delete", "({'Force': <true>},)", delay)
            if not self.whole(lambda id=id: not self.known(id)):
                self.assertEqual(len(self.known(id)), 1)
        self.assertGreater(done, 0)


class Cleanup(TaskTest):
    def test_that_fails(self):
        """S-E04: what cannot be removed is in the journal, the rest goes, and its end is told as ever."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        directory = f"{davit.RUNTIME}/task/default/{id}"
        os.mkdir(f"{directory}/busy")
        davit.run("mount", "-t", "tmpfs", "tmpfs", f"{directory}/busy")
        gone = f"{davit.RUNTIME}/task/default/.gone-{id}"
        self.addCleanup(lambda: (davit.run("umount", f"{gone}/busy", check=False), shutil.rmtree(gone, ignore_errors=True)))
        begun, before = time.time() - 1, last()
        container = davit.manager("GetContainer", "(ss)", "", id)
        with davit.Signals("InterfacesRemoved", interface="org.freedesktop.DBus.ObjectManager") as removed:
            self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))[:2], (137, "signalled"))
            davit.call(container, "Container.Delete", "(a{sv})", {})
            for path in (task, container):
                removed.wait(lambda _path, _member, body, path=path: body[0] == path)
        self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)
        self.assertEqual(types(since(before), id), ["task.exit", "task.delete", "container.delete"])
        self.assertIn(f"Cannot remove the directory of task default/{id}",
                      davit.journal("-u", "davitd.service", "-p", "warning", since=begun))


class Signals(TaskTest):
    def test_first_process_alone(self):
        """S-K04."""
        reader, writer = os.pipe()
        script = "trap 'echo parent' USR1; sh -c \"trap 'echo child' USR1; echo ready; while :; do sleep 0.02; done\" & " \
                 "while :; do sleep 0.02; done"
        _, task, _, _ = self.run_one(["sh", "-c", script], fds=[writer], Stdout=0)
        os.close(writer)
        with os.fdopen(reader) as out:
            self.assertEqual(out.readline(), "ready\n")
            davit.call(task, "Process.Kill", "(s)", "USR1")
            self.assertEqual(out.readline(), "parent\n")
            davit.call(task, "Task.KillAll", "(s)", "USR1")
            self.assertEqual({out.readline(), out.readline()}, {"parent\n", "child\n"})

    def test_all_are_killed(self):
        """S-K01: with no PID namespace whose end would take them along, and by the signal, before the first process has ended,
        which nothing can kill yet."""
        kinds = [{"type": kind} for kind in ("mount", "ipc", "uts", "network", "cgroup")]
        with fuse.deaf() as (path, asked):
            _, task, pid, end = self.run_one(["sh", "-c", "sleep 1000 & setsid sleep 1000 & exec cat /mnt/data"],
                                             Mounts=[("bind", path, "/mnt", "bind")],
                                             SpecPatch=json.dumps({"linux": {"namespaces": kinds}}))
            self.assertEqual(os.readlink(f"/proc/{pid}/ns/pid"), os.readlink("/proc/self/ns/pid"))
            davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
            self.assertTrue(asked.wait(davit.TIMEOUT))
            first = os.pidfd_open(pid)
            others = [number for number, _ in davit.call(task, "Task.ListProcesses") if number != pid]
            self.assertEqual(len(others), 3)
            fds = [os.pidfd_open(number) for number in others]
            davit.call(task, "Task.KillAll", "(s)", "KILL")
            for fd in fds:
                davit.wait_pidfd(fd)
            self.assertFalse(davit.select_exit(first, 0))
        davit.wait_pidfd(first)
        self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_all_of_a_fork_storm(self):
        """S-K01."""
        if "pids" not in davit.get(davit.ROOT, "Manager.Controllers"):
            self.skipTest("no pids controller")
        _, task, _, end = self.run_one(["sh", "-c", "f() { f | f & }; f; sleep 1000"], TasksMax=64, Output="null")
        davit.call(task, "Task.KillAll", "(s)", "KILL")
        self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_nobody_else_is_signalled(self):
        """S-K03: neither an exec that has ended nor a task that has."""
        _, task, _, end = self.run_one(["sleep", "1000"])
        _, process, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["true"], {})
        davit.read_exit(exec_end)
        self.assertError("FailedPrecondition", davit.call, process, "Process.Kill", "(s)", "KILL")
        davit.call(task, "Process.Kill", "(s)", "KILL")
        davit.read_exit(end)
        self.assertError("FailedPrecondition", davit.call, task, "Process.Kill", "(s)", "KILL")
        self.assertError("FailedPrecondition", davit.call, task, "Task.KillAll", "(s)", "KILL")

    def test_stop_signals(self):
        """S-K05: the image's, the container's before it, the call's before both; ten seconds when nobody says more."""
        archive = f"{davit.FIXTURES}/stop-signal.tar"
        if not os.path.exists(archive):
            images.oci_archive(archive, [images.layer_of(davit.rootfs())], "stop-signal:1",
                               {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "StopSignal": "SIGUSR2"})
        davit.import_image(archive)
        self.addCleanup(lambda: davit.call(davit.manager("GetImage", "(ss)", "", "stop-signal:1"), "Image.Delete", "(a{sv})", {}))
        script = "for s in TERM USR1 USR2 HUP; do trap \"echo $s; exit 0\" $s; done; echo ready; while :; do sleep 0.02; done"
        for image, opts, stop, expected in (("", {}, {}, "TERM"), ("stop-signal:1", {}, {}, "USR2"),
                                            ("stop-signal:1", {"StopSignal": "SIGUSR1"}, {}, "USR1"),
                                            ("stop-signal:1", {"StopSignal": "SIGUSR1"}, {"Signal": "HUP"}, "HUP")):
            with self.subTest(expected=expected):
                reader, writer = os.pipe()
                id, task, _, end = self.run_one(["sh", "-c", script], image=image, fds=[writer], Stdout=0, **opts)
                os.close(writer)
                container = davit.manager("GetContainer", "(ss)", "", id)
                self.assertEqual(davit.get(container, "Container.StopTimeoutUSec"), 10000000)
                with os.fdopen(reader) as out:
                    self.assertEqual(out.readline(), "ready\n")
                    davit.call(task, "Task.Stop", "(a{sv})", davit.options(**stop))
                    self.assertEqual(out.read(), expected + "\n")
                self.assertEqual(davit.read_exit(end), (0, "exited"))
                davit.remove_container(id)

    def test_stop_meets_the_end(self):
        """S-K06, S-K10: of programs that end while they are being stopped; the task is still there, with its exit."""
        for i in range(20):
            id, task, _, _ = self.run_one(["sh", "-c", f"usleep {i * 300}; exit 6"])
            davit.call(task, "Task.Stop", "(a{sv})", davit.options(Signal="KILL"))
            self.assertEqual(davit.get(task, "Process.Status"), "stopped")
            self.assertIn(davit.call(task, "Process.Wait")[:2], ((6, "exited"), (137, "signalled")))
            davit.remove_container(id)
