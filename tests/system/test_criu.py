# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints and restores as criu makes them: only on a host whose kernel it knows, which the virtual machine is."""

import contextlib
import glob
import os
import select
import signal
import socket
import subprocess
import threading
import time
import unittest

import davit
from test_checkpoint import DIRECTORY
from test_events import last, since, types
from test_task import TaskTest
from test_wait import Waiter

#: Counts in memory, a line each; what it has counted to is nowhere else.
COUNT = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"]


def host_can():
    with contextlib.suppress(OSError):
        return subprocess.run(["criu", "check"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0
    return False


class Lines:
    """The reading end of a container's stdout."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.rest = b""

    def sent(self):
        os.close(self.writer)

    def next(self, timeout=davit.TIMEOUT):
        while b"\n" not in self.rest:
            if not select.select([self.reader], [], [], timeout)[0]:
                raise AssertionError("no line comes")
            data = os.read(self.reader, 4096)
            if not data:
                raise AssertionError(f"it has ended after {self.rest}")
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return int(line)

    def last(self):
        """What is there by now; the last line."""
        number = self.next()
        while b"\n" in self.rest or select.select([self.reader], [], [], 0)[0]:
            try:
                number = self.next()
            except AssertionError:
                break
        return number

    def close(self):
        os.close(self.reader)


@unittest.skipUnless(host_can(), "criu cannot on this host")
class CriuTest(TaskTest):
    time_limit = 120

    def start(self, command=tuple(COUNT), **opts):
        """A container of the image that runs; its lines."""
        self.own, self.container = self.define(list(command), image=davit.busybox_image(), **opts)
        lines = Lines()
        self.addCleanup(lines.close)
        task, _, self.end = davit.call(self.container, "Container.Start", "(a{sv})", davit.options(Stdout=0),
                                       fds=[lines.writer])
        self.addCleanup(lambda fd=self.end: os.close(fd))
        lines.sent()
        return task, lines

    def checkpoint(self, task, name, timeout=60 * 5, **opts):
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", name, davit.options(**opts))
        return davit.call(job, "Job.Wait", timeout=timeout)

    def restore(self, name, **opts):
        lines = Lines()
        self.addCleanup(lines.close)
        task, pid = davit.call(self.container, "Container.CreateTask", "(a{sv})",
                               davit.options(Checkpoint=name, Stdout=0, **opts), fds=[lines.writer])
        lines.sent()
        self.assertEqual((pid, davit.get(task, "Process.Status")), (0, "created"))
        return task, lines

    def names(self):
        return sorted(row[0] for row in davit.call(self.container, "Container.ListCheckpoints"))

    def assertAsBefore(self, task, lines, left=()):  # pylint: disable=invalid-name
        """Runs, counts on, and nothing of a checkpoint is left."""
        davit.wait_until(lambda: davit.get(task, "Process.Status") == "running", what="the task to run on")
        lines.last()
        lines.next()
        self.assertEqual(self.names(), sorted(left))
        directory = f"{DIRECTORY}/default/{self.own}"
        davit.wait_until(lambda: not glob.glob(f"{directory}/.new-*"), what="the half one to go")
        self.assertFalse(glob.glob(f"{davit.RUNTIME}/namespaces/default/frozen/{self.own}*"))


class GoesOn(CriuTest):
    def test_goes_on(self):
        """S-P01, S-P03, S-P05, S-P17, S-P19, S-T02, S-T06: counted on from where it was, with other streams."""
        task, lines = self.start()
        lines.next()
        begun, before = last(), time.time_ns() // 1000
        result = self.checkpoint(task, "one")
        self.assertGreater(result["Bytes"], 4096)
        self.assertAsBefore(task, lines, ["one"])
        self.checkpoint(task, "two", Exit=True)
        self.assertEqual(davit.read_exit(os.dup(self.end)), (137, "signalled"))
        seen = types(since(begun), self.own)
        self.assertEqual(seen, ["task.paused", "task.checkpointed", "task.resumed", "task.paused", "task.checkpointed",
                                "task.exit"])
        rows = {row[0]: row for row in davit.call(self.container, "Container.ListCheckpoints")}
        self.assertEqual(sorted(rows), ["one", "two"])
        self.assertTrue(before < rows["one"][1] < rows["two"][1] < time.time_ns() // 1000)
        number = self.drain(lines)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        task, more = self.restore("two")
        waiter, end = Waiter(task), davit.call(task, "Process.WaitFD")
        davit.call(task, "Process.Start")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertIn(more.next(), (number, number + 1))
        self.assertEqual(davit.ctl("exec", self.own, "sh", "-c", "exit 7").returncode, 7)
        davit.call(task, "Task.Stop", "(a{sv})", davit.options(TimeoutUSec=0))
        self.assertEqual(davit.read_exit(end), (137, "signalled"))
        self.assertEqual(waiter.result(), (137, "signalled"))
        davit.call(task, "Process.Delete", "(a{sv})", {})
        # It has been written to since.
        self.assertError("FailedPrecondition", self.restore, "two", contains="later start")

    def drain(self, lines):
        number = 0
        with contextlib.suppress(AssertionError):
            while True:
                number = lines.next(timeout=1)
        return number

    def test_paused(self):
        """S-P02."""
        task, lines = self.start()
        lines.next()
        davit.call(task, "Task.Pause")
        made = davit.ctl("checkpoint", "create", "--quiet", self.own, "one", check=True, timeout=300)
        self.assertEqual(made.stdout, "one\n")
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        davit.call(task, "Task.Resume")
        self.assertAsBefore(task, lines, ["one"])

    def test_survives(self):
        """S-P19, S-T03: restored again and again from one that nothing has written to, with the manager killed between."""
        task, lines = self.start(ReadOnly=True)
        lines.next()
        self.checkpoint(task, "one", Exit=True)
        for _ in range(2):
            davit.call(task, "Process.Delete", "(a{sv})", {})
            task, lines = self.restore("one", Output="null")
            davit.call(task, "Process.Start")
            first = lines.next()
            davit.kill_davitd()
            self.assertEqual(davit.get(task, "Process.Status"), "running")
            self.assertGreater(lines.last(), first)
            davit.call(task, "Process.Kill", "(s)", "KILL")
            self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))

    def test_davitctl(self):
        """S-T06, S-P19: output that went to the journal does so again."""
        self.own, _ = self.define(["sh", "-c", "while :; do sleep 0.1; done"], image=davit.busybox_image())
        davit.ctl("start", self.own, check=True)
        davit.ctl("checkpoint", "create", "--exit", self.own, "one", check=True, timeout=300)
        davit.ctl("start", "--checkpoint", "one", self.own, check=True, timeout=300)
        task = davit.manager("GetTask", "(ss)", "", self.own)
        self.assertEqual(davit.get(task, "Process.Status"), "running")


    def test_streams_that_do_not_fit(self):
        """S-T03: refused in words of ours."""
        task, lines = self.start()
        lines.next()
        self.checkpoint(task, "one", Exit=True)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        task, _ = davit.call(self.container, "Container.CreateTask", "(a{sv})", davit.options(Checkpoint="one"))
        self.assertError("NotSupported", davit.call, task, "Process.Start", contains="stdout was a pipe")
        davit.call(task, "Process.Delete", "(a{sv})", {})
        task, lines = self.restore("one")
        davit.call(task, "Process.Start")
        lines.next()


class Allowed(CriuTest):
    """S-P06: what leads out of the container has to be allowed."""

    def refused_then(self, task, option, **opts):
        self.assertError("FailedPrecondition", self.checkpoint, task, "one")
        done = davit.ctl("checkpoint", "create", "--quiet", self.own, "one", timeout=300)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(self.names(), [])
        self.checkpoint(task, "one", **opts)
        self.assertEqual(davit.ctl("checkpoint", "create", "--quiet", option, self.own, "two", check=True, timeout=300).stdout, "two\n")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(self.names(), ["one", "two"])

    def test_tcp(self):
        script = "sleep 1000 | nc -l -p 7 >/dev/null & sleep 1; sleep 1000 | nc 127.0.0.1 7 & sleep 1; echo 1; wait"
        task, lines = self.start(["sh", "-c", script])
        lines.next()
        self.refused_then(task, "--tcp", AllowTcp=True)

    def test_locks(self):
        host = [("bind", path, path, "rbind,ro") for path in ("/usr", "/lib", "/lib64")]  # busybox has no flock
        task, lines = self.start(["/usr/bin/flock", "/lock", "/bin/sh", "-c", "echo 1; sleep 1000"], Mounts=host)
        lines.next()
        self.refused_then(task, "--file-locks", FileLocks=True)

    def test_unix_sockets(self):
        path = f"{davit.FIXTURES}/{davit.unique('socket')}"
        self.own, self.container = self.define(["sleep", "1000"], image=davit.busybox_image(), Network="host")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
            ours.bind(path)
            self.addCleanup(os.unlink, path)
            theirs.connect(path)
            task, _, end = davit.call(self.container, "Container.Start", "(a{sv})", davit.options(ListenFDs=[0]),
                                      fds=[theirs.fileno()])
            os.close(end)
            theirs.close()
            self.refused_then(task, "--unix-sockets", AllowUnixSockets=True)

    def test_terminal(self):
        self.own, self.container = self.define(["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"],
                                               image=davit.busybox_image(), Terminal=True)
        task, _, end = davit.call(self.container, "Container.Start", "(a{sv})", {})
        os.close(end)
        self.assertError("FailedPrecondition", self.checkpoint, task, "one")
        davit.ctl("checkpoint", "create", "--quiet", "--terminal", "--exit", self.own, "one", check=True, timeout=300)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        task, _ = davit.call(self.container, "Container.CreateTask", "(a{sv})", davit.options(Checkpoint="one"))
        davit.call(task, "Process.Start")
        os.close(davit.call(task, "Process.OpenTerminal"))
        davit.call(task, "Task.Stop", "(a{sv})", {})
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (3, "exited"))


class Cut(CriuTest):
    """S-P14, S-P18: whatever is killed or full, the task goes on and nothing is left."""

    def test_disk_full(self):
        task, lines = self.start()
        filler = f"{davit.STATE}/filler"
        with open(filler, "wb") as f:
            self.addCleanup(lambda: os.path.exists(filler) and os.unlink(filler))
            size = os.statvfs(davit.STATE)
            left = size.f_bavail * size.f_frsize
            while left > 65536:
                try:
                    os.posix_fallocate(f.fileno(), f.tell(), left)
                    f.seek(left, os.SEEK_CUR)
                except OSError:
                    left //= 2
        self.assertError("ResourceExhausted", self.checkpoint, task, "one")
        os.unlink(filler)
        self.assertAsBefore(task, lines)
        self.checkpoint(task, "one")

    def kill_criu(self, after, over):
        """Kills the first criu that comes, so much later; unless that is over before."""
        while not over.is_set():
            for pid in davit.processes("criu"):
                time.sleep(after)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return

    def test_criu_killed(self):
        task, lines = self.start()
        failed = 0
        for i in range(3):
            over = threading.Event()
            thread = threading.Thread(target=self.kill_criu, args=(0.1 * i, over))
            thread.start()
            try:
                self.checkpoint(task, f"n{i}")
            except davit.DavitError:
                failed += 1
            over.set()
            thread.join()
            self.assertAsBefore(task, lines, self.names())
        self.assertGreater(failed, 0)
        self.checkpoint(task, "last")

    def test_cancelled(self):
        task, lines = self.start()
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", davit.options(Exit=True))
        davit.call(job, "Job.Cancel")
        self.assertError("FailedPrecondition", davit.call, job, "Job.Wait", contains="cancelled", timeout=300)
        self.assertAsBefore(task, lines)

    def test_shim_killed(self):
        """A supervisor killed while it restores: nothing of it is left, and the task can be started again."""
        task = self.restorable()
        thread = threading.Thread(target=self.try_start, args=(task,))
        thread.start()
        davit.wait_until(lambda: davit.processes("criu"), what="criu to restore")
        group = davit.unit_show(davit.get(task, "Task.Scope"), "ControlGroup")["ControlGroup"]
        with open(f"/sys/fs/cgroup{group}/supervisor/cgroup.procs", encoding="utf-8") as f:
            shims = set(map(int, f.read().split())) & davit.processes("davit-shim")
        self.assertTrue(shims)
        for pid in shims:
            os.kill(pid, signal.SIGKILL)
        thread.join()
        davit.wait_until(lambda: not davit.processes("criu"), what="criu to end")
        self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("created", 0))
        davit.call(task, "Process.Start")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))

    def test_manager_killed(self):
        """The next manager lets the task run on; what was half written goes."""
        task, lines = self.start()
        for i in range(3):
            davit.call(task, "Task.Checkpoint", "(sa{sv})", f"n{i}", davit.options(Exit=True))
            time.sleep(0.2 * i)
            davit.kill_davitd()
            self.assertAsBefore(task, lines, self.names())
            for name in self.names():
                davit.call(self.container, "Container.DeleteCheckpoint", "(s)", name)
        self.checkpoint(task, "last", Exit=True)
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))

    def test_launcher_killed(self):
        """What dumps outlives the launcher; the task runs on once it has gone. So it does where the manager is stopped."""
        task, lines = self.start()
        for how in ("kill", "restart", "manager"):
            with self.subTest(how):
                job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {})
                davit.wait_until(lambda: glob.glob(f"{DIRECTORY}/default/{self.own}/.new-*/images/*"), what="the dump")
                if how == "manager":
                    davit.restart_davitd()
                elif how == "kill":
                    os.kill(davit.main_pid("davit-launcher.service"), signal.SIGKILL)
                else:
                    davit.systemctl("restart", "davit-launcher.service")
                if how != "manager":
                    with contextlib.suppress(davit.DavitError):  # it may have been faster
                        davit.call(job, "Job.Wait", timeout=300)
                davit.wait_until(lambda: not davit.processes("davit-dump"), what="the dump to end")
                self.assertAsBefore(task, lines, self.names())
                for name in self.names():
                    davit.call(self.container, "Container.DeleteCheckpoint", "(s)", name)

    def kill_both(self):
        pid = davit.main_pid()
        for one in (pid, davit.main_pid("davit-launcher.service")):
            os.kill(one, signal.SIGKILL)
        davit.wait_until(lambda: davit.main_pid() not in (0, pid), what="a new manager")
        davit.start_davitd()

    def test_both_killed(self):
        """Manager and launcher at the same moment, while criu dumps, and while it restores."""
        task, lines = self.start()
        davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {})
        davit.wait_until(lambda: glob.glob(f"{DIRECTORY}/default/{self.own}/.new-*/images/*"), what="the dump")
        self.kill_both()
        davit.wait_until(lambda: not davit.processes("davit-dump", "criu"), what="the dump to end")
        self.assertAsBefore(task, lines)
        self.checkpoint(task, "two", Exit=True)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        task, _ = davit.call(self.container, "Container.CreateTask", "(a{sv})",
                             davit.options(Checkpoint="two", Output="null"))
        thread = threading.Thread(target=self.try_start, args=(task,))
        thread.start()
        davit.wait_until(lambda: davit.processes("criu"), what="criu to restore")
        self.kill_both()
        thread.join()
        davit.wait_until(lambda: not davit.processes("criu"), what="criu to end")
        self.assertRestored(task)

    def test_stopped(self):
        """A criu that stands still while it dumps is killed, with what it holds let go."""
        task, lines = self.start()
        job = davit.call(task, "Task.Checkpoint", "(sa{sv})", "one", {})
        davit.wait_until(lambda: glob.glob(f"{DIRECTORY}/default/{self.own}/.new-*/images/*"), what="the dump")
        for pid in davit.processes("criu"):
            os.kill(pid, signal.SIGSTOP)
        davit.call(job, "Job.Cancel")
        with contextlib.suppress(davit.DavitError):  # it may have been faster
            davit.call(job, "Job.Wait", timeout=300)
        davit.wait_until(lambda: not davit.processes("davit-dump", "criu"), what="the dump to end")
        self.assertAsBefore(task, lines, self.names())

    def test_restore_cut_off(self):
        """A manager killed while it restores: the task runs, or waits to be started as before."""
        task = self.restorable()
        for i in range(3):
            thread = threading.Thread(target=self.try_start, args=(task,))
            thread.start()
            time.sleep(0.15 * i)
            davit.kill_davitd()
            thread.join()
            status = davit.get(task, "Process.Status")
            self.assertIn(status, ("created", "running"))
            if status == "running":
                break
        self.assertRestored(task)

    def assertRestored(self, task):  # pylint: disable=invalid-name
        """It runs, or does when it is started once more; and goes."""
        if davit.get(task, "Process.Status") == "created":
            davit.call(task, "Process.Start")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=True))

    def restorable(self):
        """A task that waits to be started from a checkpoint."""
        task, lines = self.start()
        lines.next()
        self.checkpoint(task, "one", Exit=True)
        davit.call(task, "Process.Delete", "(a{sv})", {})
        return davit.call(self.container, "Container.CreateTask", "(a{sv})",
                          davit.options(Checkpoint="one", Output="null"))[0]

    def try_start(self, task):
        with contextlib.suppress(davit.DavitError):
            davit.call_on(davit.NAME, task, f"{davit.NAME}.Process", "Start", connection=davit.connect())
