# SPDX-License-Identifier: LGPL-2.1-or-later
"""Execs: what they take over from their container, what they have of their own, and what is left of them: nothing."""

import os
import signal
import time

import davit
from test_recovery import end_unseen, shim_of
from test_task import TaskTest, descriptors

#: Execs of the test of what is left; the long form of all tests asks for more.
MANY = int(os.environ.get("DAVIT_MANY", "300"))


def zombies(pid):
    """Children of a process that nobody has reaped."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        children = f.read().split()
    found = []
    for child in children:
        try:
            with open(f"/proc/{child}/stat", encoding="utf-8") as f:
                found += [child] if f.read().rpartition(")")[2].split()[0] == "Z" else []
        except FileNotFoundError:
            pass
    return found


class ExecTest(TaskTest):
    def exec_output(self, task, command, **opts):
        """What an exec writes to both streams, and its end."""
        reader, writer = os.pipe()
        try:
            _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", command,
                                      davit.options(Stdout=0, Stderr=0, AutoRemove=True, **opts), fds=[writer])
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        return text, davit.read_exit(end)


class Inherits(ExecTest):
    def setUp(self):
        super().setUp()
        _, self.task, _, _ = self.run_one(["sleep", "1000"], Env=["KEPT=1", "CHANGED=old", "REMOVED=1"], User="1000:1000",
                                          WorkingDir="/var", CapDrop=["ALL"], CapAdd=["NET_BIND_SERVICE"])

    def status(self, *fields, **opts):
        text, _ = self.exec_output(self.task, ["cat", "/proc/self/status"], **opts)
        lines = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        return [lines[f] for f in fields]

    def test_everything(self):
        """S-X07."""
        self.assertEqual(self.exec_output(self.task, ["pwd"]), ("/var\n", (0, "exited")))
        self.assertEqual(self.exec_output(self.task, ["sh", "-c", "echo $KEPT $CHANGED $REMOVED; id -u; id -g"])[0],
                         "1 old 1\n1000\n1000\n")
        with open(f"/proc/{davit.get(self.task, 'Process.Pid')}/status", encoding="ascii") as f:
            own = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        fields = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups")
        self.assertEqual(self.status(*fields), [own[f] for f in fields])

    def test_update_meanwhile(self):
        """S-X07: of its container as it runs, not as it is defined since."""
        container = davit.manager("GetContainer", "(ss)", "", davit.get(self.task, "Task.Id"))
        davit.call(container, "Container.Update", "(a{sv})", davit.options(Env=["KEPT=new", "ADDED=1"], User="7:8"))
        self.assertIn("KEPT=new", davit.get(container, "Container.Spec"))
        script = "echo $KEPT ${ADDED-none}; id -u; id -g"
        self.assertEqual(self.exec_output(self.task, ["sh", "-c", script])[0], "1 none\n1000\n1000\n")
        davit.kill_davitd()
        self.assertEqual(self.exec_output(self.task, ["sh", "-c", script])[0], "1 none\n1000\n1000\n")

    def test_environment(self):
        """S-X08."""
        text, _ = self.exec_output(self.task, ["env"], Env=["CHANGED=new", "ADDED=2", "REMOVED", "NEVER"])
        shown = dict(line.split("=", 1) for line in text.splitlines())
        self.assertEqual((shown["KEPT"], shown["CHANGED"], shown["ADDED"]), ("1", "new", "2"))
        self.assertFalse({"REMOVED", "NEVER"} & set(shown))
        self.assertError("InvalidArgument", self.exec_output, self.task, ["env"], Env=["=x"])

    def test_working_directory(self):
        """S-X09."""
        self.assertEqual(self.exec_output(self.task, ["pwd"], WorkingDir="/tmp")[0], "/tmp\n")
        self.assertEqual(self.exec_output(self.task, ["pwd"], WorkingDir="")[0], "/var\n")

    def test_user_and_capabilities(self):
        """S-X07: other ones where it asks for them, and for itself alone."""
        self.assertEqual(self.exec_output(self.task, ["sh", "-c", "id -u; id -g"], User="0:0")[0], "0\n0\n")
        bounding = int(self.status("CapBnd", User="0:0", CapAdd=["SYS_TIME"])[0], 16)
        self.assertEqual(bounding, 1 << 10 | 1 << 25)
        self.assertEqual(int(self.status("CapBnd")[0], 16), 1 << 10)

    def test_command(self):
        """S-X06."""
        for command in ([], [""]):
            with self.subTest(command=command), self.assertRaises(davit.DavitError) as caught:
                self.exec_output(self.task, command)
            self.assertIn(caught.exception.name, ("InvalidArgument", "NotFound"))
        self.assertError("InvalidArgument", self.exec_output, self.task, [])


class Own(ExecTest):
    def test_two_phases(self):
        """S-X01: an object and no process, until it is started, and once."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        id, process = davit.call(task, "Task.Exec", "(sasa{sv})", "two", ["sleep", "1000"], {})
        self.assertEqual(id, "two")
        self.assertEqual(len(davit.call(task, "Task.ListProcesses")), 1)
        self.assertError("FailedPrecondition", davit.call, process, "Process.Kill", "(s)", "TERM")
        davit.call(process, "Process.Start")
        shown = davit.get_all(process, "Process")
        self.assertEqual((shown["Status"], shown["ExecId"], shown["Command"]), ("running", "two", ["sleep", "1000"]))
        self.assertIn((shown["Pid"], "two"), davit.call(task, "Task.ListProcesses"))
        self.assertError("FailedPrecondition", davit.call, process, "Process.Start")
        davit.call(process, "Process.Kill", "(s)", "KILL")
        davit.call(process, "Process.Wait")

    def test_generated_ids(self):
        """S-X11."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        made = [davit.call(task, "Task.Exec", "(sasa{sv})", "", ["true"], {}) for _ in range(5)]
        self.assertEqual(len({id for id, _ in made}), 5)
        for id, process in made:
            self.assertTrue(process.startswith(task + "/exec/"))
            self.assertEqual(davit.get(process, "Process.ExecId"), id)

    def test_state(self):
        """S-X15, S-X16: one that has ended is stopped while its task runs; then it can go, for good, and its id is free."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "three", ["sh", "-c", "exit 3"], {})
        davit.read_exit(end)
        self.assertEqual((davit.get(process, "Process.Status"), davit.get(process, "Process.ExitStatus")), ("stopped", 3))
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        with davit.Signals(interface="org.freedesktop.DBus.ObjectManager") as objects:
            self.assertEqual(davit.call(process, "Process.Delete", "(a{sv})", {})[:2], (3, "exited"))
            objects.wait(lambda _, member, body: member == "InterfacesRemoved" and body[0] == process)
        self.assertNotIn(process, davit.managed_objects())
        davit.kill_davitd()
        self.assertNotIn(process, davit.managed_objects())
        _, again, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "three", ["sleep", "1000"], {})
        self.assertEqual(again, process)
        self.assertError("FailedPrecondition", davit.call, again, "Process.Delete", "(a{sv})", {})
        self.assertError("InvalidArgument", davit.call, again, "Process.Delete", "(a{sv})", davit.options(Force=True))

    def test_of_a_paused_task(self):
        """S-X16: it is the task that is paused; its exec stays running, also for the next manager."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        davit.call(task, "Task.Pause")
        self.assertEqual([davit.get(p, "Process.Status") for p in (task, process)], ["paused", "running"])
        davit.kill_davitd()
        self.assertEqual([davit.get(p, "Process.Status") for p in (task, process)], ["paused", "running"])
        davit.call(task, "Task.Resume")

    def test_processes_and_objects(self):
        """S-X02, S-X13, S-X14."""
        _, task, pid, _ = self.run_one(["sh", "-c", "sleep 1000 & wait"])
        started = {name: davit.call(task, "Task.ExecStart", "(sasa{sv})", name, ["sleep", "1000"], {}) for name in ("a", "b")}
        davit.wait_until(lambda: len(davit.call(task, "Task.ListProcesses")) == 4, what="the sleeps")
        listed = {name: number for number, name in davit.call(task, "Task.ListProcesses")}
        self.assertEqual((listed["init"], listed["a"], listed["b"]), (pid, started["a"][2], started["b"][2]))
        objects = davit.managed_objects()
        for name, (_, process, number, _) in started.items():
            self.assertEqual(objects[process][f"{davit.NAME}.Process"]["ExecId"], name)
            self.assertEqual(objects[process][f"{davit.NAME}.Process"]["Pid"], number)

    def test_terminal(self):
        """S-X10, S-X17: of its own, there as long as it runs."""
        _, task, _, _ = self.run_one(["sleep", "1000"], Terminal=True, ConsoleSize=(80, 24))
        _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", "read x; stty size; tty"],
                                davit.options(Terminal=True, ConsoleSize=(100, 30)))
        self.assertError("FailedPrecondition", davit.call, process, "Process.Resize", "(uu)", 10, 10)
        davit.call(process, "Process.Start")
        master = davit.call(process, "Process.OpenTerminal")
        davit.call(process, "Process.Resize", "(uu)", 132, 50)
        os.write(master, b"\n")
        davit.call(process, "Process.Wait")
        text = davit.read_terminal(master)
        self.assertIn("50 132\n", text)
        self.assertIn("/dev/pts/", text)
        self.assertTrue(davit.get(process, "Process.Terminal"))
        _, plain, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        self.assertError("FailedPrecondition", davit.call, plain, "Process.OpenTerminal")

    def size(self, process):
        """Columns and rows of its terminal, opened anew."""
        master = davit.call(process, "Process.OpenTerminal")
        try:
            return tuple(os.get_terminal_size(master))
        finally:
            os.close(master)

    def test_sizes_of_terminals(self):
        """S-X10, S-X17, S-I04: a task's and an exec's are as they were asked for and resized for themselves, also by the next
        manager."""
        _, task, _, _ = self.run_one(["sleep", "1000"], Terminal=True, ConsoleSize=(80, 24))
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"],
                                      davit.options(Terminal=True, ConsoleSize=(100, 30)))
        self.assertEqual((self.size(task), self.size(process)), ((80, 24), (100, 30)))
        davit.call(process, "Process.Resize", "(uu)", 132, 50)
        self.assertEqual((self.size(task), self.size(process)), ((80, 24), (132, 50)))
        davit.kill_davitd()
        davit.call(task, "Process.Resize", "(uu)", 10, 11)
        self.assertEqual((self.size(task), self.size(process)), ((10, 11), (132, 50)))
        davit.call(process, "Process.Resize", "(uu)", 12, 13)
        self.assertEqual((self.size(task), self.size(process)), ((10, 11), (12, 13)))

    def test_stdin_is_empty_without_one(self):
        """S-I09."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.assertEqual(self.exec_output(task, ["sh", "-c", "readlink /proc/self/fd/0; cat; echo end"])[0], "/dev/null\nend\n")


class Restart(ExecTest):
    def test_ended_meanwhile(self):
        """S-X04, S-R06: execs that ended before a restart, or while no manager was there, still say how."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        _, before, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "before", ["sh", "-c", "exit 2"], {})
        davit.read_exit(end)
        _, while_dead, pid, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "dead", ["sleep", "1000"], {})
        _, one_shot, other, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "gone", ["sleep", "1000"],
                                           davit.options(AutoRemove=True))
        _, running, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "on", ["sleep", "1000"], {})
        davit.systemctl("stop", "davitd.service")
        records = f"{davit.RUNTIME}/task/default/{id}/exec"
        end_unseen(f"{records}/gone/exit", other)
        begun, ended = end_unseen(f"{records}/dead/exit", pid)
        davit.start_davitd()
        self.assertEqual(davit.call(before, "Process.Wait")[:2], (2, "exited"))
        self.assertEqual(davit.get(before, "Process.Command"), ["sh", "-c", "exit 2"])
        status, kind, when = davit.call(while_dead, "Process.Wait")
        self.assertEqual((status, kind), (137, "signalled"))
        self.assertTrue(begun <= when <= ended, (begun, when, ended))
        self.assertEqual(davit.get(running, "Process.Status"), "running")
        self.assertNotIn(one_shot, davit.managed_objects())
        for process in (before, while_dead):
            davit.call(process, "Process.Delete", "(a{sv})", {})
        davit.call(running, "Process.Kill", "(s)", "KILL")
        davit.call(running, "Process.Wait")
        davit.call(running, "Process.Delete", "(a{sv})", {})

    def test_of_an_ended_task(self):
        """S-X04: also where the task has gone with its shim meanwhile."""
        id, task, pid, _ = self.run_one(["sleep", "1000"])
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        scope = davit.get(task, "Task.Scope")
        davit.systemctl("stop", "davitd.service")
        begun, _ = end_unseen(f"{davit.RUNTIME}/task/default/{id}/exit", pid)
        davit.wait_until(lambda: not davit.unit_exists(scope), what="the scope's end")
        ended = time.time_ns() // 1000
        davit.start_davitd()
        for path in (task, process):
            status, kind, when = davit.call(path, "Process.Wait")
            self.assertEqual((status, kind), (137, "signalled"))
            self.assertTrue(begun <= when <= ended, (begun, when, ended))


class Nothing(ExecTest):
    time_limit = 300 + MANY // 10

    def counts(self, task):
        shim, manager = shim_of(task), davit.main_pid()
        return descriptors(shim), descriptors(manager)

    def settled(self, task):
        """What is open when nothing is under way any more, also of the spare ones in the making: for a while the same."""
        seen = []
        davit.wait_until(lambda: seen.append(self.counts(task)) or (len(seen) >= 10 and len(set(seen[-10:])) == 1), what="rest")
        return seen[-1]

    def files(self, directory):
        return sorted(os.path.join(d, n) for d, names, files in os.walk(directory) for n in names + files)

    def groups(self, task):
        scope = davit.get(task, "Task.Scope")
        return sorted(os.path.join(d, n) for root in davit.cgroup_roots() for d, names, _ in os.walk(root)
                      if f"/{scope}" in d for n in names if n.startswith("exec-"))

    def test_of_many(self):
        """S-X12: descriptors flat, no zombie, no group, no object, no file; also where callers leave half-way."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        directory = f"{davit.RUNTIME}/task/default/{id}"
        self.exec_output(task, ["true"])
        before, files = self.settled(task), self.files(directory)
        for i in range(MANY):
            self.assertEqual(self.exec_output(task, ["sh", "-c", f"sleep 0 & exit {i % 9}"]), ("", (i % 9, "exited")))
            if i % 10 == 0:
                # Nobody waits, reads or looks: the descriptors of the answer are closed at once.
                _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["cat"],
                                                davit.options(Terminal=True, AutoRemove=True))
                os.close(end)
                os.close(davit.call(process, "Process.OpenTerminal"))
                davit.call(process, "Process.Kill", "(s)", "KILL")
                _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["true"], {})
                os.close(davit.call(process, "Process.WaitFD"))
                davit.call(process, "Process.Delete", "(a{sv})", {})
        davit.wait_until(lambda: self.counts(task) == before, what=f"descriptors as before ({before})")
        self.assertEqual(zombies(shim_of(task)), [])
        davit.wait_until(lambda: self.groups(task) == [], what="the groups to go")
        self.assertEqual(self.files(directory), files)
        self.assertEqual([p for p in davit.managed_objects() if p.startswith(task + "/exec/")], [])

    def test_of_what_it_leaves_behind(self):
        """S-X12: the group of an exec that its own children outlive goes with the last of them, and nobody has to come."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.exec_output(task, ["true"])
        before = self.settled(task)
        for i in range(3):
            command = ["sh", "-c", f"sleep 1000 & exit {i}"]
            _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", f"left-{i}", command, davit.options(AutoRemove=True))
            self.assertEqual(davit.read_exit(end), (i, "exited"))
        groups = self.groups(task)
        self.assertEqual([os.path.basename(g) for g in groups], ["exec-left-0", "exec-left-1", "exec-left-2"])
        for n, group in enumerate(groups):
            with open(f"{group}/cgroup.procs", encoding="utf-8") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            davit.wait_until(lambda: self.groups(task) == groups[n + 1:], what="the group to go")
        davit.wait_until(lambda: self.counts(task) == before, what=f"descriptors as before ({before})")

    def test_of_callers_that_die(self):
        """S-E11, S-X12: the exec goes on and is reaped; what waited for it goes."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.exec_output(task, ["true"])
        before = self.settled(task)
        for i in range(10):
            client = davit.subprocess.Popen(["davitctl", "exec", davit.get(task, "Task.Id"), "sleep", "0.3"],
                                            stdin=davit.subprocess.DEVNULL, stdout=davit.subprocess.DEVNULL,
                                            stderr=davit.subprocess.DEVNULL)
            time.sleep(0.01 * i)  # wherever it is then
            client.kill()
            client.wait()
        davit.wait_until(lambda: len(davit.call(task, "Task.ListProcesses")) == 1, what="the execs' end")
        davit.wait_until(lambda: self.counts(task) == before, what=f"descriptors as before ({before})")
        self.assertEqual(zombies(shim_of(task)), [])
