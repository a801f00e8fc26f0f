# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every system call that creating, starting, entering, stopping and deleting a container costs, failed once: the caller is
told, or it does not matter; nothing is left; the same name can be used again. The manager and the shim are also killed at each
of them.

DAVIT_FAULTS=all: every call there is. Else a sample, whose seed is printed; DAVIT_SEED repeats it, DAVIT_FAULTS=N sets its
size, and DAVIT_POINT="role: call N" takes those whose names contain that."""

import contextlib
import difflib
import glob
import os
import re
import sys
import time
import unittest

import davit
import faults

WHICH = os.environ.get("DAVIT_FAULTS", "")
LAZY = 3  # descriptors that come with the first use of something, and stay
LIMIT = 14  # seconds for the sample of one operation
SHOW = ("cat /proc/self/status /proc/self/mountinfo /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj; pwd; umask; id; env; "
        "hostname; ls /; ls -ln /dev /proc/self/fd; echo end-of-show")
FIELDS = re.compile(r"(Name|Umask|Uid|Gid|Groups|Cap\w+|NoNewPrivs|Seccomp|SigBlk|SigIgn|Cpus_allowed|Mems_allowed):")
#: What a part that lacks memory, descriptors or room is to be called. Nobody has asked for something wrong.
LIBRARY = "org.freedesktop.DBus.Error.NoMemory"  # of sd-bus, in place of an answer that cannot be sent
NAMES = ("ResourceExhausted", "Unavailable", "Internal", "FailedPrecondition", "PermissionDenied")


def normal(text):
    """What a container sees of itself, without what differs from one to the next."""
    lines = []
    for line in text.splitlines():
        if re.match(r"\w+:\s", line) and not FIELDS.match(line):
            continue
        line = re.sub(r"^\d+ \d+ \d+:\d+ ", "", line)  # of mountinfo
        line = re.sub(r"/snapshots/[^,\s]*|,uuid=on|(ino|size|nr_inodes)=\w+|(shared|master):\d+|\[\d+\]|\w{3} +\d+ \d\d:\d\d|/proc/\d+", "", line)
        # Where the container's own cannot be opened a stream stays the host's.
        lines.append(" ".join(line.split()).replace("-> /null", "-> /dev/null"))
    return lines


def differences(seen, right):
    return [line for line in difflib.unified_diff(right, seen, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]


class Faults(davit.TestCase):
    time_limit = 3600 if WHICH == "all" else 150

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image = davit.busybox_image()
        cls.configured = davit.configuration(WarmShims=1, ParkedScopes=0, KeepWarmUSec=0, StartTimeoutUSec=5000000)
        cls.configured.__enter__()
        cls.seed = int(os.environ.get("DAVIT_SEED") or 1)
        cls.name = davit.unique("faults")
        cls.started = {}

    @classmethod
    def tearDownClass(cls):
        cls.configured.__exit__(None, None, None)

    def setUp(self):
        self.tried = self.told = self.died = 0
        self.baseline = None
        self.whole_life()
        self.right = self.whole_life()
        self.baseline = self.left()

    # --- the operations ---

    def create_container(self):
        davit.create_container(["sh", "-c", SHOW + "; exec sleep 1000"], id=self.name, image=self.image, Env=["A=b"])

    def container(self):
        return davit.manager("GetContainer", "(ss)", "", self.name)

    def task(self):
        return davit.manager("GetTask", "(ss)", "", self.name)

    def create_task(self):
        reader, writer = os.pipe()
        try:
            davit.call(self.container(), "Container.CreateTask", "(a{sv})", davit.options(Stdout=0), fds=[writer], timeout=20)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.close_output()
        self.output = reader

    output = -1

    def close_output(self):
        if self.output >= 0:
            os.close(self.output)
        self.output = -1

    def shown(self, fd):
        """What the payload has said of itself."""
        text = b""
        while b"end-of-show\n" not in text:
            if not davit.select_exit(fd, 10):
                raise AssertionError(f"the payload says no more than {text!r}")
            piece = os.read(fd, 65536)
            if not piece:
                raise AssertionError(f"the payload ends with {text!r}")
            text += piece
        return normal(text.decode())

    def start(self):
        davit.call(self.task(), "Process.Start", timeout=20)

    def exec(self):
        reader, writer = os.pipe()
        try:
            _, _, _, end = davit.call(self.task(), "Task.ExecStart", "(sasa{sv})", "e", ["sh", "-c", SHOW],
                                      davit.options(Stdout=0, AutoRemove=True), fds=[writer], timeout=20)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return reader, end

    def exec_shown(self, begun):
        reader, end = begun
        try:
            return self.shown(reader), davit.read_exit(end)
        finally:
            os.close(reader)

    def assert_right(self):
        self.assertEqual(differences(self.shown(self.output), self.right[0]), [])

    def assert_exec_right(self, begun):
        shown, end = self.exec_shown(begun)
        self.assertEqual((differences(shown, self.right[1][0]), end.status), ([], 0))

    def delete(self):
        davit.call(self.container(), "Container.Delete", "(a{sv})", davit.options(Force=True), timeout=20)

    def whole_life(self):
        """All of it without a fault, which has to go well: what the container and the exec have seen."""
        self.create_container()
        self.create_task()
        self.start()
        seen = self.shown(self.output), self.exec_shown(self.exec())
        self.delete()
        self.close_output()
        return seen

    # --- processes ---

    def launcher(self):
        return davit.main_pid("davit-launcher.service")

    def warm(self):
        """The one shim that waits for the next container."""
        launcher = self.launcher()

        def only():
            with contextlib.suppress(OSError), open(self.launcher_group(), encoding="ascii") as f:
                pids = [int(pid) for pid in f.read().split() if int(pid) != launcher]
                return pids[0] if len(pids) == 1 and davit._exe(pids[0]).startswith("davit-shim") else 0
            return 0

        return davit.wait_until(only, what="one warm shim")

    def launcher_group(self):
        path = davit.unit_show("davit-launcher.service", "ControlGroup")["ControlGroup"]
        places = [f"/sys/fs/cgroup{path}/cgroup.procs", f"/sys/fs/cgroup/unified{path}/cgroup.procs"]
        return next(place for place in places if os.path.exists(place))

    def shim(self):
        return faults.parent(davit.get(self.task(), "Process.Pid"))

    def another_shim(self, pid):
        """Whether the task has a shim, and it is not that process."""
        with contextlib.suppress(davit.DavitError, OSError):
            shim = self.shim()
            return shim != pid and davit._exe(shim).startswith("davit-shim")
        return False

    # --- leaks ---

    def left(self):
        """What stands: everything that the leak check of all tests looks at, and what its processes hold."""
        self.warm()
        left = dict(davit.snapshot())
        left["files"] = {path for path in left["files"] if not path.startswith("/run/davit/events/")}  # take turns
        left["objects"] = {path for path in davit.managed_objects() if "/job/" not in path}
        left["descriptors"] = {f"{process} {what} {n}" for process, pid in (("davitd", davit.main_pid()), ("launcher", self.launcher()))
                               for n, what in enumerate(faults.descriptors(pid))}
        return left

    def check_left(self, manager):
        """Nothing may be more than before. Descriptors are compared as long as it is the same process."""
        missing = {}

        def same():
            missing.clear()
            now = self.left()
            for kind in now:
                more = now[kind] - self.baseline[kind]
                if kind == "descriptors":
                    more = {} if len(now[kind]) <= len(self.baseline[kind]) + LAZY or manager != davit.main_pid() else more
                if more:
                    missing[kind] = sorted(more, key=str)
            return not missing

        with contextlib.suppress(AssertionError):
            davit.wait_until(same, 15, "what was before")
        if missing:
            self.baseline = self.left()  # told once
            raise AssertionError(f"left behind: {missing}")

    # --- one point ---

    def attempt(self, function, point, process=0, target=None, follow=False):
        """The operation with its fault: (whether it has happened, its result, its error)."""
        result = error = None
        killed = os.pidfd_open(target) if point and point.kill and process == 0 else -1
        with faults.Attached(target, *(point.options(process) if point else []), follow=follow) as attached:
            try:
                result = function()
            except davit.DavitError as caught:
                error = caught
            if point is None and target == self.launcher():
                self.warm()
            attached.ended(0.15 if error is None or point is None else 0.02)
        hit = point is None or attached.hit()
        if killed >= 0 and hit:
            davit.wait_pidfd(killed)  # it may still answer, or hold its name, for a moment
        elif killed >= 0:
            os.close(killed)
        record = faults.Record(attached.log) if point is None else None
        attached.remove()
        davit.start_davitd()
        return hit, result, error, record

    def judge(self, error, manager, killed):
        """An error has to be of the family, and no blame; one without a name only where the manager has died of it."""
        if error is None:
            return
        self.told += 1
        if manager != davit.main_pid():
            self.died += 1
            return
        if error.name == LIBRARY:
            return
        self.assertIn(error.name, NAMES, error.message)
        self.assertTrue(error.message.isprintable() and len(error.message) > 20, error.message)
        if killed:
            self.assertIn(error.name, ("Unavailable", "FailedPrecondition", "Internal"), error.message)

    def over(self, all_points, operation):
        wanted = os.environ.get("DAVIT_POINT")
        if wanted:
            chosen = [p for p in all_points if wanted in str(p)]
        elif WHICH == "all":
            chosen = all_points
        else:
            chosen = faults.sample(all_points, int(WHICH or 40), self.seed)
        begun = time.monotonic()
        for point in chosen:
            if WHICH == "" and not wanted and time.monotonic() - begun > LIMIT:
                break
            with self.subTest(str(point)):
                self.tried += 1
                operation(point)
        print(f"{self._testMethodName}: {self.tried} of {len(all_points)} points, {self.told} told, {self.died} cost the manager, "
              f"{time.monotonic() - begun:.0f} s, DAVIT_SEED={self.seed}", file=sys.stderr, flush=True)
        self.assertGreater(self.tried, 0)

    def rescue(self):
        """After a failed test: by any means to where the next one can begin."""
        davit.systemctl("kill", "--signal=KILL", f"davit-default-{self.name}.scope", check=False)
        davit.start_davitd()
        with contextlib.suppress(davit.DavitError, AssertionError):
            davit.remove_container(self.name)
            self.warm()
            self.whole_life()

    @contextlib.contextmanager
    def clean(self, manager):
        """Whatever happens in the block, the container is gone afterwards, and one of its name can live."""
        try:
            yield
        except BaseException:
            self.rescue()
            raise
        self.close_output()
        davit.start_davitd()
        davit.remove_container(self.name)
        self.assertError("NotFound", self.container)
        seen = self.whole_life()
        self.assertEqual(differences(seen[0], self.right[0]) + differences(seen[1][0], self.right[1][0]), [])
        self.check_left(manager)

    def run_task(self):
        """The rest of a life, which has to be right."""
        self.create_task()
        self.start()
        self.assert_right()

    # --- create ---

    CREATE = {"davitd": (0, False), "shim": (0, False), "init": (1, True), "launcher": (0, False), "warm": (1, True)}

    def target(self, role):
        return {"davitd": davit.main_pid, "launcher": self.launcher, "warm": self.launcher}.get(role, self.warm)()

    def record(self, role, function, process, follow, target=None):
        hit, result, error, record = self.attempt(function, None, process, target or self.target(role), follow)
        self.assertIsNone(error)
        # What a process is before its payload is what it does until execve.
        calls = record.of(process)
        ends = [at for at, k, _ in record.programs if k == process]
        if ends and role in ("init", "exec"):
            calls = [c for c in record.calls[:ends[0]] if c[0] == process]
        return calls, result

    def create(self):
        self.create_container()
        self.create_task()

    def points(self, roles, before, function, target, then=lambda _: None, least=3):
        """All points of an operation, from a recording of it by each role. then: is given what it has returned."""
        found = []
        for role, (process, follow) in roles.items():
            before()
            calls, result = self.record(role, function, process, follow, target(role))
            then(result)
            self.delete()
            self.assertGreater(len(calls), least, role)
            found += faults.points(role, calls) + faults.points(role, calls, kill=True)
        return found

    def create_one(self, point):
        process, follow = self.CREATE[point.role]
        self.warm()
        manager = davit.main_pid()
        with self.clean(manager):
            target = self.target(point.role)
            hit, _, error, _ = self.attempt(self.create, point, process, target, follow)
            self.judge(error, manager, point.kill and point.role in ("shim", "init"))
            if error is None:
                # Killed where it waits to be started. A shim that died before it was given the task is no loss: the next one has it.
                if point.kill and point.role in ("shim", "init") and hit and not self.another_shim(target):
                    self.assert_over(point)
                else:
                    self.assertEqual(davit.get(self.task(), "Process.Status"), "created")
                    self.start()
                    self.assert_right()
            elif manager == davit.main_pid() and error.name != LIBRARY:
                self.assertError("NotFound", self.task)
                with contextlib.suppress(davit.DavitError):
                    self.create_container()
                self.run_task()

    def test_create(self):
        self.over(self.points(self.CREATE, lambda: None, self.create, self.target), self.create_one)

    # --- start ---

    START = {"davitd": (0, False), "shim": (0, False), "init": (0, False)}

    def start_target(self, role):
        return {"davitd": davit.main_pid, "shim": self.shim, "init": lambda: davit.get(self.task(), "Process.Pid")}[role]()

    def start_one(self, point):
        manager = davit.main_pid()
        with self.clean(manager):
            self.create()
            _, _, error, _ = self.attempt(self.start, point, 0, self.start_target(point.role))
            self.judge(error, manager, point.kill)
            if error is None and (not point.kill or point.role == "davitd"):
                self.assertEqual(davit.get(self.task(), "Process.Status"), "running")
                self.assert_right()
            elif manager == davit.main_pid() and (error is None or error.name != LIBRARY):
                if point.kill:
                    self.assert_over(point)
                else:
                    self.assert_not_begun()

    #: How a task ends of which this has been killed.
    ENDS = {"shim": (255, "lost"), "init": (137, "signalled")}

    def assert_over(self, point):
        """A task of which shim or first process has been killed ends, and says how."""
        self.assertEqual(davit.call(self.task(), "Process.Wait", timeout=10)[:2], self.ENDS[point.role])
        self.assertEqual(davit.get(self.task(), "Process.Status"), "stopped")

    def assert_not_begun(self):
        """A task whose start has failed is gone; or the shim was not asked, and it can be started again."""
        try:
            task = self.task()
        except davit.DavitError as error:
            self.assertEqual(error.name, "NotFound")
            return
        self.assertEqual(davit.get(task, "Process.Status"), "created")
        self.start()
        self.assert_right()

    def test_start(self):
        self.over(self.points(self.START, self.create, self.start, self.start_target, least=1), self.start_one)

    # --- exec ---

    EXEC = {"davitd": (0, False), "shim": (0, False), "exec": (1, True)}

    def running(self):
        self.create()
        self.start()
        self.assert_right()

    def exec_target(self, role):
        return davit.main_pid() if role == "davitd" else self.shim()

    def exec_one(self, point):
        process, follow = self.EXEC[point.role]
        manager = davit.main_pid()
        with self.clean(manager):
            self.running()
            _, begun, error, _ = self.attempt(self.exec, point, process, self.exec_target(point.role), follow)
            self.judge(error, manager, point.kill)
            if point.kill and point.role == "shim":
                self.assert_over(point)
                for fd in begun or ():
                    os.close(fd)
                return
            if manager != davit.main_pid():
                for fd in begun or ():
                    os.close(fd)
                return
            if error is None and not point.kill:
                self.assert_exec_right(begun)
            elif begun:
                for fd in begun:
                    os.close(fd)
            self.assertEqual(davit.get(self.task(), "Process.Status"), "running")
            davit.wait_until(lambda: "e" not in [row[1] for row in davit.call(self.task(), "Task.ListProcesses")], 10, "the exec's end")
            self.assert_exec_right(self.exec())

    def test_exec(self):
        self.over(self.points(self.EXEC, self.running, self.exec, self.exec_target, self.exec_shown), self.exec_one)

    # --- stop ---

    STOP = {"davitd": (0, False), "shim": (0, False)}

    def stop(self):
        davit.call(self.task(), "Task.Stop", "(a{sv})", davit.options(TimeoutUSec=1000), timeout=20)

    def stop_one(self, point):
        manager = davit.main_pid()
        with self.clean(manager):
            self.running()
            _, _, error, _ = self.attempt(self.stop, point, 0, self.exec_target(point.role))
            self.judge(error, manager, False)
            if error is not None:
                self.stop()
            self.assertEqual(davit.get(self.task(), "Process.Status"), "stopped")
            ends = [(137, "signalled")] + ([(255, "lost")] if point.kill and point.role == "shim" else [])
            self.assertIn(davit.call(self.task(), "Process.Wait")[:2], ends)

    def test_stop(self):
        self.over(self.points(self.STOP, self.running, self.stop, self.exec_target), self.stop_one)

    # --- delete ---

    DELETE = {"davitd": (0, False), "sync": (0, False), "shim": (0, False), "launcher": (0, False), "remover": (1, True)}

    def delete_target(self, role):
        return {"davitd": davit.main_pid, "sync": self.sync_thread, "launcher": self.launcher, "remover": self.launcher}.get(role, self.shim)()

    def sync_thread(self):
        """The thread of davitd in which records and directories go."""
        for directory in glob.glob(f"/proc/{davit.main_pid()}/task/*"):
            with open(f"{directory}/comm", encoding="ascii") as f:
                if f.read() == "sync\n":
                    return int(os.path.basename(directory))
        raise AssertionError("davitd has no thread for removals")

    def delete_points(self):
        found = []
        for role, (process, follow) in self.DELETE.items():
            self.running()
            calls, _ = self.record(role, self.delete, process, follow, self.delete_target(role))
            self.assertGreater(len(calls), 3, role)
            found += faults.points(role, calls)
            if role != "sync":
                found += faults.points(role, calls, kill=True)
        return found

    def delete_one(self, point):
        process, follow = self.DELETE[point.role]
        manager = davit.main_pid()
        with self.clean(manager):
            self.running()
            hit, _, error, _ = self.attempt(self.delete, point, process, self.delete_target(point.role), follow)
            self.judge(error, manager, False)
            if error is not None and (manager != davit.main_pid() or error.name == LIBRARY):
                return
            there = self.is_there()
            if error is None:
                self.assertFalse(there)
            if point.role == "sync" and hit:  # what the next davitd finds is what this one has told
                davit.kill_davitd()
                self.assertEqual(self.is_there(), there)
            if there:
                self.delete()

    def is_there(self):
        try:
            self.container()
        except davit.DavitError as error:
            self.assertEqual(error.name, "NotFound")
            return False
        return True

    def test_delete(self):
        self.over(self.delete_points(), self.delete_one)


if __name__ == "__main__":
    unittest.main()
