# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts die and come back: the containers go on, and what is said about them afterwards is true."""

import json
import os
import shutil
import signal
import time

import davit


def shim_of(task):
    """PID of the shim that holds a task. A first process that waits to be started has its program, too."""
    scope = davit.get(task, "Task.Scope")
    pids = [p for p in davit._scopes()[scope] if davit._exe(p).startswith("davit-shim") and p != davit.get(task, "Process.Pid")]
    return pids[0]


def kill_and_wait(pid, number=signal.SIGKILL):
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, number)
    davit.wait_pidfd(fd)


def warnings(since):
    """What the manager has warned of."""
    return davit.journal("-u", "davitd.service", "-p", "warning", since=since)


def end_unseen(record, pid, number=signal.SIGKILL):
    """Ends a process while no manager is there. Between which times, in microseconds, its shim has written the record."""
    begun = time.time_ns() // 1000
    kill_and_wait(pid, number)
    davit.wait_until(lambda: os.path.exists(record), what="the record of the end")
    return begun, time.time_ns() // 1000


class Manager(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.leaks()

    def start(self, command, **opts):
        id = davit.unique("recover")
        result = davit.run_container(command, id=id, **opts)
        self.addCleanup(davit.remove_container, id)
        return result

    def test_container_outlives_the_manager(self):
        """S-R01, S-R07."""
        id, task, pid, _ = self.start(["sleep", "1000"])
        before = davit.get_all(task, "Process")
        davit.kill_davitd()
        os.kill(pid, 0)
        self.assertEqual(davit.get_all(task, "Process"), before)
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))

    def test_exit_while_the_manager_is_dead(self):
        """S-R06, S-W07."""
        id, task, pid, _ = self.start(["sh", "-c", "read x < /tmp/go; exit 23"],
                                      Mounts=[("tmpfs", "tmpfs", "/tmp", "mode=1777")], SpecPatch='{"process":{"args":["sh","-c",'
                                      '"trap \\"exit 23\\" USR1; while :; do sleep 0.05; done"]}}')
        davit.wait_trap(task, signal.SIGUSR1)
        owner = davit.name_owner()
        kill_and_wait(davit.main_pid())
        davit.wait_until(lambda: davit.name_owner() != owner, what="the old name to go")
        begun, ended = end_unseen(f"{davit.RUNTIME}/task/default/{id}/exit", pid, signal.SIGUSR1)
        davit.start_davitd()
        status, kind, when = davit.call(task, "Process.Wait")
        self.assertEqual((status, kind), (23, "exited"))
        self.assertTrue(begun <= when <= ended, (begun, when, ended))
        self.assertEqual(davit.get(task, "Process.Status"), "stopped")

    def orphan(self, record):
        """A container whose record has become @record: None for no record; the manager starts after it. Its id."""
        id = davit.unique("orphan")
        davit.create_container(["true"], id=id, image=davit.busybox_image())
        path = f"{davit.STATE}/namespaces/default/containers/{id}.json"
        davit.systemctl("stop", "davitd.service")
        with open(path, encoding="utf-8") as f:
            whole = f.read()
        if record is None:
            os.unlink(path)
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(record)
        davit.start_davitd()
        return id, path, whole

    def test_snapshot_of_a_container_that_was_never_made(self):
        """What a power cut leaves between the two records; the leak check finds the directory."""
        id, _, _ = self.orphan(None)
        self.assertError("NotFound", davit.manager, "GetSnapshot", "(ss)", "", id)

    def test_snapshot_of_a_container_that_cannot_be_read(self):
        id, path, whole = self.orphan("{")
        davit.manager("GetSnapshot", "(ss)", "", id)
        davit.systemctl("stop", "davitd.service")
        with open(path, "w", encoding="utf-8") as f:
            f.write(whole)
        davit.start_davitd()
        davit.remove_container(id)
        self.assertError("NotFound", davit.manager, "GetSnapshot", "(ss)", "", id)

    def test_systemctl_stop_while_the_manager_is_dead(self):
        id, task, _, _ = self.start(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"])
        scope = davit.get(task, "Task.Scope")
        davit.wait_trap(task)
        davit.systemctl("stop", "davitd.service")
        davit.systemctl("stop", scope)
        self.assertFalse(davit.unit_exists(scope))
        davit.start_davitd()
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (7, "exited"))

    def test_log_goes_on_without_the_manager(self):
        """S-R03."""
        since = time.time() - 1
        id, task, _, _ = self.start(["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"])
        davit.systemctl("stop", "davitd.service")
        seen = davit.journal(f"CONTAINER_ID={id}", since=since).count("line ")
        davit.wait_until(lambda: davit.journal(f"CONTAINER_ID={id}", since=since).count("line ") > seen + 3, what="further lines")
        davit.start_davitd()
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_execs_survive_the_manager(self):
        """S-X04: what is said of an exec that runs, of one that has ended and of a task that has ended stays the same."""
        _, task, _, _ = self.start(["sleep", "1000"])
        _, process, pid, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "kept", ["sleep", "1000"], {})
        _, ended, ended_pid, fd = davit.call(task, "Task.ExecStart", "(sasa{sv})", "ended", ["sh", "-c", "exit 7"], {})
        self.assertEqual(davit.read_exit(fd), (7, "exited"))
        _, gone, gone_pid, fd = self.start(["sh", "-c", "exit 8"])
        self.assertEqual(davit.read_exit(fd), (8, "exited"))
        before = [davit.get_all(p, "Process") for p in (process, ended, gone)]
        self.assertEqual([p["Pid"] for p in before], [pid, ended_pid, gone_pid])
        for p in before:
            self.assertLess(time.time() - p["StartedAt"] / 1e6, 60)
        for p in before[1:]:
            self.assertLessEqual(p["StartedAt"], p["ExitedAt"])
        davit.kill_davitd()
        self.assertEqual([davit.get_all(p, "Process") for p in (process, ended, gone)], before)
        davit.call(process, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (137, "signalled"))

    def test_created_task_can_be_started_by_the_next_manager(self):
        id, container = davit.create_container(["sh", "-c", "exit 19"], id=davit.unique("recover"))
        self.addCleanup(davit.remove_container, id)
        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        davit.kill_davitd()
        self.assertEqual(davit.get(task, "Process.Status"), "created")
        davit.call(task, "Process.Start")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (19, "exited"))

    def test_containers_and_labels_are_durable(self):
        """S-O01, S-O03."""
        id, container = davit.create_container(["true"], id=davit.unique("recover"), Labels={"k": "v"}, Env=["A=b"])
        self.addCleanup(davit.remove_container, id)
        before = davit.get_all(container, "Container")
        davit.kill_davitd()
        self.assertEqual(davit.get_all(container, "Container"), before)

    def test_auto_removed_container_goes_though_the_manager_was_dead(self):
        """S-R04, S-R05, S-T18."""
        id, task, pid, _ = self.start(["sleep", "1000"], AutoRemove="container")
        davit.systemctl("stop", "davitd.service")
        kill_and_wait(pid)
        davit.start_davitd()
        davit.wait_until(lambda: not davit.manager("ListContainers", "(sa{sv})", "", davit.options(Id=[id])), what="removal")

    def test_kills_in_the_middle_of_runs(self):
        """S-R05, S-T21: whatever was being done when the manager died: afterwards it is whole or gone."""
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
            id = davit.unique("middle")
            argv = ["busctl", "call", davit.NAME, davit.ROOT, f"{davit.NAME}.Manager", "Run", "sssasa{sv}", "", id, "", "2", "sleep",
                    "1000", "1", "Rootfs", "s", davit.rootfs()]
            pid = davit.main_pid()
            client = davit.subprocess.Popen(argv, stdout=davit.subprocess.DEVNULL, stderr=davit.subprocess.DEVNULL)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            client.wait()
            davit.wait_until(lambda: davit.main_pid() not in (0, pid), what="a new manager")
            davit.start_davitd()
            for row in davit.manager("ListTasks", "(sa{sv})", "", davit.options(Id=[id])):
                self.assertEqual((row[1], row[3]), (id, "running"))
                os.kill(row[2], 0)
            davit.remove_container(id)

    def test_broken_record_hides_no_other(self):
        """S-R02."""
        id, container = davit.create_container(["true"], id=davit.unique("recover"))
        self.addCleanup(davit.remove_container, id)
        other, _ = davit.create_container(["true"], id=davit.unique("recover"))
        self.addCleanup(davit.remove_container, other)
        paths = [os.path.join(d, n) for d, _, names in os.walk(davit.STATE) for n in names if id in os.path.join(d, n)]
        self.assertTrue(paths)
        saved = {}
        davit.systemctl("stop", "davitd.service")
        for path in paths:
            with open(path, "rb") as f:
                saved[path] = f.read()
            with open(path, "wb") as f:
                f.write(b"\0garbage{")
        since = time.time()
        davit.start_davitd()
        self.assertIn(f"namespaces/default/containers/{id}.json", warnings(since))
        self.assertEqual([c[1] for c in davit.manager("ListContainers", "(sa{sv})", "", davit.options(Id=[other]))], [other])
        davit.systemctl("stop", "davitd.service")
        for path, data in saved.items():
            with open(path, "wb") as f:
                f.write(data)
        davit.start_davitd()
        self.assertEqual(davit.get(container, "Container.Id"), id)

    def test_broken_record_ends_no_task(self):
        """S-R02: what runs does not end for a record that cannot be read, and is found again when it can."""
        id = davit.unique("recover").replace("-", "")
        _, task, pid, _ = davit.run_container(["sleep", "1000"], id=id, Output="journal")
        self.addCleanup(davit.remove_container, id)
        path = f"{davit.STATE}/namespaces/default/containers/{id}.json"
        davit.systemctl("stop", "davitd.service")
        with open(path, "rb") as f:
            record = f.read()
        with open(path, "wb") as f:
            f.write(b"\0garbage{")
        since = time.time()
        davit.start_davitd()
        self.assertIn(f"namespaces/default/containers/{id}.json", warnings(since))
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
        davit.output_of(["true"])  # whatever recovery has asked for has been done
        self.assertEqual(davit.unit_show(f"davit-default-{id}.scope", "ActiveState")["ActiveState"], "active")
        os.kill(pid, 0)
        davit.systemctl("stop", "davitd.service")
        with open(path, "wb") as f:
            f.write(record)
        davit.start_davitd()
        self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("running", pid))

    def test_broken_files_of_tasks(self):
        """S-R02: what runs goes on, each file is named, and what goes later goes whole. Of a kept task there is a record."""
        for remove in ("no", "task"):
            id, task, pid, _ = self.start(["sleep", "1000"], AutoRemove=remove, Env=["WHICH=first"], Output="journal")
            _, process, exec_pid, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "e", ["sleep", "1000"], {})
            container = davit.manager("GetContainer", "(ss)", "", id)
            davit.call(container, "Container.Update", "(a{sv})", davit.options(Env=["WHICH=second"]))
            before = davit.get(task, "Task.CreatedAt")
            davit.systemctl("stop", "davitd.service")
            names = ("task.json", "config.json", "exec-e.json")
            for name in names:
                with open(f"{davit.RUNTIME}/task/default/{id}/{name}", "wb") as f:
                    f.write(b"\0garbage{")
            since = time.time()
            davit.start_davitd()
            told = warnings(since)
            for name in names:
                self.assertEqual(told.count(f"task/default/{id}/{name} cannot be used"), 1, told)
            for path, number in ((task, pid), (process, exec_pid)):
                self.assertEqual((davit.get(path, "Process.Status"), davit.get(path, "Process.Pid")), ("running", number))
            self.assertTrue(davit.get(task, "Task.Journal"))
            if remove == "no":
                self.assertEqual(davit.get(task, "Task.CreatedAt"), before)
                self.assertIn("WHICH=first", davit.get(task, "Task.Spec"))
            else:
                self.assertEqual(davit.get(task, "Task.Spec"), "")


class Others(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.leaks()

    def start(self, command, **opts):
        id = davit.unique("recover")
        result = davit.run_container(command, id=id, **opts)
        self.addCleanup(davit.remove_container, id)
        return result

    def test_killed_shim_takes_its_container_along(self):
        """S-O14, S-W08."""
        _, task, pid, end = self.start(["sleep", "1000"])
        fd = os.pidfd_open(pid)
        kill_and_wait(shim_of(task))
        davit.wait_pidfd(fd)
        ended = davit.read_exit(end)
        self.assertEqual((ended.status, ended.kind), (255, "lost"))
        self.assertEqual(davit.get(task, "Process.Status"), "stopped")

    def test_record_of_a_task_whose_container_has_gone(self):
        """It goes at the next start, unless its container may be one whose record cannot be read."""
        id, _, _, end = self.start(["true"])
        davit.read_exit(end)
        records = f"{davit.STATE}/namespaces/default"
        container, task, unreadable = f"{records}/containers/{id}.json", f"{records}/tasks/{id}.json", f"{records}/containers/unreadable.json"
        davit.systemctl("stop", "davitd.service")
        with open(task, encoding="utf-8") as f:
            left = json.dumps(json.load(f) | {"boot_id": "0" * 32})
        os.unlink(container)
        shutil.rmtree(f"{davit.RUNTIME}/task/default/{id}")
        for path, text in ((task, left), (unreadable, "{")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        davit.start_davitd()
        self.assertTrue(os.path.exists(task))
        found = davit.call(davit.manager("CheckStore", "(a{sv})", {}), "Job.Wait", timeout=60)
        self.assertEqual([r[0] for r in found["Records"]], ["namespaces/default/containers/unreadable.json"])
        os.unlink(unreadable)
        davit.restart_davitd()
        self.assertFalse(os.path.exists(task))

        davit.create_container(["true"], id=id)  # it is not the end of this one's task
        with open(task, "w", encoding="utf-8") as f:
            f.write(left)
        davit.restart_davitd()
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
        self.assertFalse(os.path.exists(task))

    def test_stopped_launcher_harms_no_task(self):
        _, task, pid, _ = self.start(["sleep", "1000"])
        davit.systemctl("stop", "davit-launcher.service")
        os.kill(pid, 0)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        text, end = davit.output_of(["echo", "again"])
        self.assertEqual((text, end), ("again\n", (0, "exited")))

    def test_killed_launcher_is_replaced(self):
        _, task, pid, _ = self.start(["sleep", "1000"])
        kill_and_wait(davit.main_pid("davit-launcher.service"))
        self.assertEqual(davit.wait_until(lambda: self.echo(), what="a run after the launcher's death"), "again\n")
        os.kill(pid, 0)

    def echo(self):
        try:
            return davit.output_of(["echo", "again"])[0]
        except davit.DavitError:
            return None

    def test_daemon_reload_changes_nothing(self):
        _, task, pid, _ = self.start(["sleep", "1000"], MemoryMax=64 << 20)
        scope = davit.get(task, "Task.Scope")
        before = davit.unit_show(scope, "MemoryMax", "Delegate", "ControlGroup", "TasksMax")
        davit.systemctl("daemon-reload")
        self.assertEqual(davit.unit_show(scope, "MemoryMax", "Delegate", "ControlGroup", "TasksMax"), before)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        os.kill(pid, 0)
        self.assertEqual(davit.output_of(["echo", "again"])[0], "again\n")

    def test_daemon_reexec_changes_nothing(self):
        _, task, pid, _ = self.start(["sleep", "1000"])
        davit.systemctl("daemon-reexec")
        davit.wait_until(lambda: davit.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded"))
        os.kill(pid, 0)
        self.assertEqual(davit.wait_until(lambda: self.echo(), what="a run after daemon-reexec"), "again\n")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
