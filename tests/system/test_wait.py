# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ends and those who wait for them: before the start, after the end, without a manager, in another boot."""

import contextlib
import glob
import json
import os
import shutil
import threading
import time

from gi.repository import Gio, GLib

import davit
from test_recovery import warnings
from test_task import TaskTest


class Waiter:
    """Process.Wait in a thread; what it ended with is in `ended`. It has been sent before anything that comes after."""

    LIMIT = 2 * davit.TIMEOUT

    def __init__(self, path):
        self.ended, self.sent = [], threading.Event()
        self.thread = threading.Thread(target=self.wait, args=(path,))
        self.thread.start()
        self.sent.wait(self.LIMIT)

    def wait(self, path):
        context = GLib.MainContext.new()
        context.push_thread_default()
        davit.bus().call(davit.NAME, path, f"{davit.NAME}.Process", "Wait", None, None, Gio.DBusCallFlags.NONE,
                         self.LIMIT * 1000, None, self.on_reply)
        self.sent.set()
        while not self.ended:
            context.iteration(True)
        context.pop_thread_default()

    def on_reply(self, connection, result):
        try:
            self.ended.append(connection.call_finish(result).unpack()[:2])
        except GLib.Error as error:
            self.ended.append(davit.DavitError(error))

    def result(self):
        self.thread.join(self.LIMIT)
        return self.ended[0]


class Before(TaskTest):
    def test_task(self):
        """S-W03: by a call and by a descriptor, of a program that ends at once."""
        for i in range(10):
            _, container = self.define(["sh", "-c", f"exit {i}"])
            task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
            waiter, end = Waiter(task), davit.call(task, "Process.WaitFD")
            davit.call(task, "Process.Start")
            self.assertEqual(davit.read_exit(end), (i, "exited"))
            self.assertEqual(waiter.result(), (i, "exited"))

    def test_exec(self):
        """S-W09, S-X01."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        for i in range(10):
            _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", f"exit {i}"], {})
            self.assertEqual((davit.get(process, "Process.Status"), davit.get(process, "Process.Pid")), ("created", 0))
            waiter, end = Waiter(process), davit.call(process, "Process.WaitFD")
            davit.call(process, "Process.Start")
            self.assertEqual(davit.read_exit(end), (i, "exited"))
            self.assertEqual(waiter.result(), (i, "exited"))

    def test_deleted_before(self):
        """Who waits for what is deleted without having run is told so."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["true"], {})
        waiter, end = Waiter(process), davit.call(process, "Process.WaitFD")
        davit.wait_until(lambda: waiter.thread.is_alive())
        davit.call(process, "Process.Delete", "(a{sv})", {})
        self.assertEqual(waiter.result().name, "NotFound")
        with os.fdopen(end, "rb") as pipe:
            self.assertEqual(pipe.read(), b"")


class Whose(TaskTest):
    def test_exec_and_task(self):
        """S-W02."""
        _, task, _, end = self.run_one(["sleep", "1000"])
        _, process, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "exit 4"], {})
        waiter = Waiter(task)
        self.assertEqual(davit.read_exit(exec_end), (4, "exited"))
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (4, "exited"))
        self.assertFalse(davit.select_exit(end, 0))
        self.assertEqual(waiter.ended, [])
        _, other, _, other_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(waiter.result(), (137, "signalled"))
        self.assertEqual(davit.read_exit(other_end), (137, "signalled"))
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (4, "exited"))
        self.assertEqual(davit.call(other, "Process.Wait")[:2], (137, "signalled"))

    def test_signals_are_of_their_object(self):
        """S-W06, S-E02: who listens to one path is sent what is of that alone."""
        tasks = [self.run_one(["sleep", "1000"])[1] for _ in range(3)]
        rule = f"type='signal',sender='{davit.NAME}',interface='{davit.NAME}.Process',member='Exited',path='{tasks[1]}'"
        with davit.Matched(rule) as one, davit.Signals("Process.Exited") as every:
            for task in tasks:
                davit.call(task, "Process.Kill", "(s)", "KILL")
            for task in tasks:
                every.wait(lambda path, *_, task=task: path == task)
            self.assertEqual([path for path, *_ in one.all()], [tasks[1]])


class After(TaskTest):
    time_limit = 120

    def test_manager_goes_away_meanwhile(self):
        """S-W05: the call fails, the descriptor ends, the next manager knows."""
        _, task, _, end = self.run_one(["sleep", "1000"])
        waiter = Waiter(task)
        davit.call(task, "Process.WaitFD")
        davit.kill_davitd()
        self.assertIsInstance(waiter.result(), davit.DavitError)
        with os.fdopen(end, "rb") as pipe:
            self.assertEqual(pipe.read(), b"")
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))

    def test_after_restarts(self):
        """S-W07: an end is told again by every manager that follows."""
        _, task, _, end = self.run_one(["sh", "-c", "exit 21"])
        first = davit.read_exit(end)
        for _ in range(2):
            davit.kill_davitd()
            status, kind, when = davit.call(task, "Process.Wait")
            self.assertEqual((status, kind, when), (21, "exited", first.exited_at))
            self.assertEqual(davit.read_exit(davit.call(task, "Process.WaitFD")), (21, "exited"))

    @contextlib.contextmanager
    def other_boot(self):
        """What a boot leaves of this one: /var. The block does what happens before the lights go out."""
        yield
        davit.systemctl("stop", "davitd.service", "davit-launcher.service", "davit-launcher.socket")
        scopes = davit.systemctl("list-units", "--plain", "--no-legend", "davit-*.scope").stdout.split("\n")
        for scope in [line.split()[0] for line in scopes if line]:
            davit.systemctl("kill", "-s", "KILL", scope, check=False)
            davit.systemctl("stop", scope, check=False)
        for path in glob.glob(f"{davit.RUNTIME}/task/*") + glob.glob(f"{davit.RUNTIME}/namespaces/*"):
            shutil.rmtree(path)
        for path in glob.glob(f"{davit.STATE}/namespaces/*/tasks/*.json"):
            with open(path, encoding="utf-8") as f:
                record = json.load(f)
            record["boot_id"] = "00000000-1111-2222-3333-444444444444"
            with open(path, "w", encoding="utf-8") as f:
                json.dump(record, f)
        davit.systemctl("start", "davit-launcher.socket")
        davit.start_davitd()

    def test_other_boot(self):
        """S-O01, S-O12, S-W07: a container is there, its task has ended, with its exit where that was seen and the
        configuration it had, whatever its container's is, and can go."""
        ended, ended_task, _, end = self.run_one(["sh", "-c", "exit 9"], Labels={"a": "b"}, Env=["WHICH=first"])
        ran, ran_task, _, _ = self.run_one(["sleep", "1000"], Env=["WHICH=first"])
        never, _ = self.define(["sh", "-c", "exit 8"])
        gone, _, _, _ = self.run_one(["sleep", "1000"], AutoRemove="container")
        when = davit.read_exit(end).exited_at
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            self.assertEqual(davit.get(ran_task, "Task.BootId"), f.read().strip().replace("-", ""))
        _, sized_task, _, sized_end = self.run_one(["true"], Terminal=True, ConsoleSize=(91, 37))
        davit.read_exit(sized_end)

        def update(id):
            container = davit.manager("GetContainer", "(ss)", "", id)
            davit.call(container, "Container.Update", "(a{sv})", davit.options(Env=["WHICH=second"]))
            self.assertIn("WHICH=second", davit.get(container, "Container.Spec"))
        update(ended)
        with self.other_boot():
            pass
        update(ran)
        davit.restart_davitd()
        self.assertIn('"width":91', davit.get(sized_task, "Task.Spec"))
        self.assertEqual({c[1] for c in davit.manager("ListContainers", "(sa{sv})", "", {})} & {ended, ran, never, gone},
                         {ended, ran, never})
        for id, task, expected in ((ended, ended_task, (9, "exited", when)), (ran, ran_task, (255, "lost", 0))):
            self.assertEqual(davit.get(task, "Process.Status"), "stopped")
            self.assertEqual(davit.call(task, "Process.Wait"), expected)
            self.assertEqual(davit.get(task, "Task.BootId"), "00000000111122223333444444444444")
            self.assertIn("exit 9" if id == ended else "sleep", davit.get(task, "Task.Spec"))
            self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))
            self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {}), expected)
        for id in (ended, never):
            _, _, end = davit.call(davit.manager("GetContainer", "(ss)", "", id), "Container.Start", "(a{sv})", {})
            self.assertEqual(davit.read_exit(end), (9 if id == ended else 8, "exited"))

    def test_broken_record_of_another_boot(self):
        """S-R02: it is named, in the journal and by a check; other tasks are there, and its container can be started."""
        broken, broken_task, _, end = self.run_one(["sh", "-c", "exit 6"])
        _, other, _, other_end = self.run_one(["sh", "-c", "exit 7"])
        davit.read_exit(end)
        davit.read_exit(other_end)
        with self.other_boot():
            pass
        name = f"namespaces/default/tasks/{broken}.json"
        davit.systemctl("stop", "davitd.service")
        with open(f"{davit.STATE}/{name}", "wb") as f:
            f.write(b"\0garbage{")
        since = time.time()
        davit.start_davitd()
        self.assertIn(name, warnings(since))
        self.assertEqual(davit.call(other, "Process.Wait")[:2], (7, "exited"))
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", broken)

        def records():
            return [r[0] for r in davit.call(davit.manager("CheckStore", "(a{sv})", {}), "Job.Wait", timeout=60)["Records"]]
        self.assertEqual(records(), [name])
        _, _, end = davit.call(davit.manager("GetContainer", "(ss)", "", broken), "Container.Start", "(a{sv})", {})
        self.assertEqual(davit.read_exit(end), (6, "exited"))
        self.assertEqual((davit.call(broken_task, "Process.Wait")[:2], records()), ((6, "exited"), []))


class Kinds(TaskTest):
    def test_dumped(self):
        """S-W08: a signal that leaves a core, and the same signal where none may be left."""
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            if f.read(1) in "|/":
                self.skipTest("cores are not left where the program runs")
        for limit, kind in (("unlimited", "dumped"), ("0", "signalled")):
            _, task, _, _ = self.run_one(["sleep", "1000"], Mounts=[("tmpfs", "tmpfs", "/tmp", "mode=1777")])
            _, _, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", [
                "sh", "-c", f"ulimit -c {limit}; cd /tmp; kill -SEGV $$; sleep 1000"], {})
            self.assertEqual(davit.read_exit(exec_end), (139, kind))

    def test_time(self):
        """S-W08: the time of an end is the same wherever it is told."""
        with davit.Signals("Process.Exited") as exits:
            _, task, _, end = self.run_one(["sh", "-c", "exit 1"])
            when = davit.read_exit(end).exited_at
            self.assertEqual(exits.wait(lambda path, *_: path == task)[2], (1, "exited", when))
        self.assertEqual(davit.call(task, "Process.Wait")[2], when)
        self.assertEqual(davit.get(task, "Process.ExitedAt"), when)
        self.assertLessEqual(davit.get(task, "Process.StartedAt"), when)
