# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts that die at a bad moment, and systemd's own commands where no manager is: each state of a task, and what is said of it."""

import os
import signal
import subprocess
import threading
import time

import davit
from test_recovery import kill_and_wait, shim_of

#: Seconds within which the end of a shim has to be told.
NOTICED = 1.0


def hold(scope, still):
    """systemctl freeze or thaw; where systemd cannot (version 1 hierarchies are there), what it would do."""
    done = davit.systemctl("freeze" if still else "thaw", scope, check=False)
    if done.returncode == 0:
        return
    if "does not support freezing" not in done.stderr:
        raise AssertionError(done.stderr)
    for root, names, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(root) == scope and os.path.exists(f"{root}/cgroup.freeze"):
            with open(f"{root}/cgroup.freeze", "w", encoding="utf-8") as f:
                f.write("1" if still else "0")
            return
        names[:] = [n for n in names if n in scope or n in ("unified", "davit.slice") or n.startswith("davit-")]
    raise AssertionError(f"{scope} has no cgroup")


class SurvivalTest(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.leaks()

    def create(self, command, **opts):
        """(id, container, task) of a created task."""
        id, container = davit.create_container(command, id=davit.unique("survive"), **opts)
        self.addCleanup(davit.remove_container, id)
        return id, container, davit.call(container, "Container.CreateTask", "(a{sv})", {})[0]

    def start(self, command, **opts):
        """(id, container, task) of a running task."""
        id, container, task = self.create(command, **opts)
        davit.call(task, "Process.Start")
        return id, container, task

    def without_manager(self):
        davit.systemctl("stop", "davitd.service")
        self.addCleanup(davit.start_davitd)


class Shim(SurvivalTest):
    """kill -9 of the shim in each state: told within a second, nothing of the container left, and it can start again."""

    def kill_shim(self, container, task):
        scope = davit.get(task, "Task.Scope")
        init = os.pidfd_open(davit.get(task, "Process.Pid"))
        end = davit.call(task, "Process.WaitFD")
        shim = os.pidfd_open(shim_of(task))
        begun = time.monotonic()
        signal.pidfd_send_signal(shim, signal.SIGKILL)
        self.assertEqual(davit.read_exit(end), (255, "lost"))
        self.assertLess(time.monotonic() - begun, NOTICED)
        davit.wait_pidfd(shim)
        davit.wait_pidfd(init)
        self.assertEqual(davit.get(task, "Process.Status"), "stopped")
        davit.wait_until(lambda: not davit.unit_exists(scope), what="the scope's end")
        self.assertNotIn(scope, davit._scopes())
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (255, "lost"))
        davit.call(container, "Container.Start", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_created(self):
        """S-H03, S-W08."""
        _, container, task = self.create(["sleep", "1000"])
        self.kill_shim(container, task)

    def test_running(self):
        _, container, task = self.start(["sh", "-c", "sleep 1000 & sleep 1000"])
        self.kill_shim(container, task)

    def test_paused(self):
        _, container, task = self.start(["sleep", "1000"])
        davit.call(task, "Task.Pause")
        self.kill_shim(container, task)

    def test_with_a_running_exec(self):
        _, container, task = self.start(["sleep", "1000"])
        _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "e", ["sleep", "1000"], {})
        davit.call(task, "Task.Exec", "(sasa{sv})", "defined", ["sleep", "1000"], {})
        with davit.Signals("Process.Exited", path=process) as signals:
            self.kill_shim(container, task)
            self.assertEqual(davit.read_exit(end), (255, "lost"))
            self.assertEqual(signals.wait()[2][:2], (255, "lost"))

    def test_stopping(self):
        _, container, task = self.start(["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait; done"])
        stopped = []

        def stop():
            stopped.append(davit.call_on(davit.NAME, task, f"{davit.NAME}.Task", "Stop", "(a{sv})",
                                         (davit.options(TimeoutUSec=60000000),), timeout=60, connection=private))

        private = davit.connect()
        thread = threading.Thread(target=stop)
        thread.start()
        time.sleep(0.3)  # the stop is under way, which nothing announces
        self.assertEqual(stopped, [])
        self.kill_shim(container, task)
        thread.join(davit.TIMEOUT)
        self.assertEqual(stopped, [()])
        private.close_sync()

    def test_while_the_manager_is_dead(self):
        """S-R04, S-T15: the next manager finds a scope without a shim."""
        for pause in (False, True):
            _, container, task = self.start(["sleep", "1000"])
            if pause:
                davit.call(task, "Task.Pause")
            scope, init = davit.get(task, "Task.Scope"), os.pidfd_open(davit.get(task, "Process.Pid"))
            shim = shim_of(task)
            davit.systemctl("stop", "davitd.service")
            kill_and_wait(shim)
            davit.start_davitd()
            self.assertEqual(davit.call(task, "Process.Wait")[:2], (255, "lost"))
            davit.wait_pidfd(init)
            davit.wait_until(lambda scope=scope: not davit.unit_exists(scope), what="the scope's end")
            davit.call(container, "Container.Delete", "(a{sv})", {})

    def test_both_at_once(self):
        """Who restarts is told what has happened, not what was hoped."""
        _, _, task = self.start(["sleep", "1000"])
        shim = shim_of(task)
        fd = os.pidfd_open(davit.main_pid())
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        kill_and_wait(shim)
        davit.wait_pidfd(fd)
        davit.start_davitd()
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (255, "lost"))


class Scope(SurvivalTest):
    """systemctl on a scope while no manager is there, and what the next one says."""

    def test_kill_of_a_scope_tells_the_container_alone(self):
        """A signal for the container does not end who keeps it."""
        for number, status in (("USR1", (21, "exited")), ("HUP", (22, "exited")), ("KILL", (137, "signalled"))):
            # What the shell waits for is not told of the signal, as it is a child that ignores it.
            _, _, task = self.start(["sh", "-c", "trap 'exit 21' USR1; trap 'exit 22' HUP; echo ready > /tmp/ready; "
                                     "while :; do sleep 0.05; done"], Mounts=[("tmpfs", "tmpfs", "/tmp", "")])
            pid, scope = davit.get(task, "Process.Pid"), davit.get(task, "Task.Scope")
            davit.wait_until(lambda pid=pid: os.path.exists(f"/proc/{pid}/root/tmp/ready"), what="the shell's traps")
            end = os.pidfd_open(pid)
            self.without_manager()
            davit.systemctl("kill", "-s", number, scope)
            davit.wait_pidfd(end)
            davit.wait_until(lambda scope=scope: not davit.unit_exists(scope), what="the scope's end")
            davit.start_davitd()
            # SIGKILL spares nobody, so perhaps nobody is left to say what has ended how.
            self.assertIn(davit.call(task, "Process.Wait")[:2], (status, (255, "lost")) if number == "KILL" else (status,))

    def test_what_is_not_the_containers_goes_with_the_task(self):
        """Something beside payload/ would keep the scope, and its name, when the shim has gone."""
        root = "/sys/fs/cgroup/unified" if os.path.exists("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
        for ended in (False, True):
            id, _, task = self.start(["sleep", "1000"])
            scope = davit.get(task, "Task.Scope")
            with subprocess.Popen(["sleep", "1000"]) as stray:
                with open(f"{root}/davit.slice/davit-default.slice/{scope}/supervisor/cgroup.procs", "w", encoding="ascii") as f:
                    f.write(str(stray.pid))
                if ended:
                    davit.call(task, "Process.Kill", "(s)", "KILL")
                    davit.call(task, "Process.Wait")
                davit.call(task, "Process.Delete", "(a{sv})", davit.options(Force=not ended))
                self.assertEqual(stray.wait(10), -signal.SIGKILL)
            davit.wait_until(lambda scope=scope: not davit.unit_exists(scope), what="the scope's end")
            davit.remove_container(id)

    def test_kill_with_the_manager(self):
        _, _, task = self.start(["sleep", "1000"])
        scope, end = davit.get(task, "Task.Scope"), davit.call(task, "Process.WaitFD")
        davit.systemctl("kill", "-s", "USR2", scope)
        self.assertEqual(davit.call(task, "Task.ListProcesses")[0][1], "init")
        davit.systemctl("kill", "-s", "KILL", scope)
        end = davit.read_exit(end)
        self.assertIn((end.status, end.kind), ((137, "signalled"), (255, "lost")))
        davit.wait_until(lambda: not davit.unit_exists(scope), what="the scope's end")

    def test_stop_in_each_state(self):
        """S-R06: the stop signal, the timeout and the status are the container's own."""
        created, running, paused, stubborn = (make(["sh", "-c", command], StopTimeoutUSec=500000) for make, command in (
            (self.create, "exit 1"), (self.start, "trap 'exit 31' TERM; : > /tmp/ready; while :; do sleep 0.05; done"),
            (self.start, "trap 'exit 32' TERM; : > /tmp/ready; while :; do sleep 0.05; done"),
            (self.start, "trap '' TERM; : > /tmp/ready; while :; do sleep 0.05; done")))
        tasks = [t for _, _, t in (created, running, paused, stubborn)]
        for task in tasks[1:]:
            pid = davit.get(task, "Process.Pid")
            davit.wait_until(lambda pid=pid: not pid or "S" in open(f"/proc/{pid}/stat").read() and davit.handles(pid, signal.SIGTERM), what="traps")
        davit.call(paused[2], "Task.Pause")
        scopes = [davit.get(t, "Task.Scope") for t in tasks]
        self.without_manager()
        begun = time.time_ns() // 1000
        davit.systemctl("stop", *scopes)
        for scope in scopes:
            self.assertFalse(davit.unit_exists(scope))
        ended = time.time_ns() // 1000
        davit.start_davitd()
        ends = [davit.call(t, "Process.Wait") for t in tasks]
        self.assertEqual([end[:2] for end in ends], [(137, "signalled"), (31, "exited"), (32, "exited"), (137, "signalled")])
        for *_, when in ends:
            self.assertTrue(begun <= when <= ended, (begun, when, ended))

    def test_freeze(self):
        """Held still by systemd with no manager there, it is found, and goes on when it is let go."""
        _, _, task = self.start(["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.02; done"],
                                Mounts=[("tmpfs", "tmpfs", "/tmp", "")])
        pid, scope = davit.get(task, "Process.Pid"), davit.get(task, "Task.Scope")
        self.without_manager()

        def count():
            try:
                with open(f"/proc/{pid}/root/tmp/count", encoding="utf-8") as f:
                    return int(f.read() or 0)
            except FileNotFoundError:
                return 0

        davit.wait_until(lambda: count() > 2, what="counting")
        hold(scope, True)
        before = count()
        time.sleep(0.2)
        self.assertLessEqual(count() - before, 1)
        davit.start_davitd()
        hold(scope, False)
        davit.wait_until(lambda: count() > before + 2, what="counting again")
        davit.wait_until(lambda: davit.get(task, "Process.Status") == "running", what="a state")
        self.assertEqual(davit.call(task, "Task.ListProcesses")[0], (pid, "init"))
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))


class Systemd(SurvivalTest):
    def test_daemon_reexec_among_starts(self):
        """What is being started while PID 1 executes itself again starts or is undone, and nothing takes a minute."""
        _, _, task = self.start(["sleep", "1000"])
        ids = [davit.unique("reexec") for _ in range(24)]
        for id in ids:
            self.addCleanup(davit.remove_container, id)
        begun = time.monotonic()
        clients = []
        reexec = None
        for i, id in enumerate(ids):
            clients.append(subprocess.Popen(
                ["busctl", "call", "--timeout=30", davit.NAME, davit.ROOT, f"{davit.NAME}.Manager", "Run", "sssasa{sv}", "", id, "",
                 "2", "sleep", "1000", "1", "Rootfs", "s", davit.rootfs()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
            time.sleep(0.02)
            if i == 6:
                reexec = subprocess.Popen(["systemctl", "daemon-reexec"])
        errors = [c.communicate()[1] for c in clients]
        reexec.wait()
        self.assertLess(time.monotonic() - begun, davit.TIMEOUT)
        davit.wait_until(lambda: davit.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded"))
        there = {t[1]: t[3] for t in davit.manager("ListTasks", "(sa{sv})", "", {}) if t[1] in ids}
        for id, client, error in zip(ids, clients, errors):
            self.assertEqual(there.get(id), "running" if client.returncode == 0 else None, error)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(davit.output_of(["echo", "again"])[0], "again\n")
