# SPDX-License-Identifier: LGPL-2.1-or-later
"""System calls that a container's filter refuses: told with name, number and architecture, exactly, at no cost to it."""

import errno
import json
import os
import signal
import time
import uuid

import davit
import faults
from test_events import last, shown, since, types

REBOOT, ADD_KEY, MOUNT, CLONE3 = 169, 248, 165, 435
DEFAULTS = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}


def profile(*rules, **more):
    return {"linux": {"seccomp": {**DEFAULTS, **more, "syscalls": [
        {"names": [name], "action": action, **rest} for name, action, rest in rules]}}}


def told(cursor, id):
    """What was told of a container's refused calls after an event."""
    return [e for e in since(cursor) if e["DAVIT_EVENT"] == "task.seccomp" and e["DAVIT_ID"] == id]


def calls(events):
    """How many calls that stands for."""
    return sum(1 + int(e.get("SECCOMP_DROPPED", 0)) for e in events)


class SeccompTest(davit.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = f"{davit.FIXTURES}/refused"
        if not os.path.exists(cls.root):
            part = f"{cls.root}.{uuid.uuid4().hex}"
            davit.run("cp", "-a", davit.rootfs(), part)  # others may have made devices there
            davit.run("cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", f"{part}/bin/refused",
                      os.path.join(os.path.dirname(os.path.abspath(__file__)), "refused.c"))
            os.rename(part, cls.root)

    def setUp(self):
        leaks = davit.LeakCheck()
        leaks.__enter__()
        self.addCleanup(leaks.check)

    def run_it(self, *argv, patch=None, **options):
        """(id, the lines it wrote, its end) of a container that is gone then."""
        id = davit.unique("sec")
        if patch:
            options["SpecPatch"] = json.dumps(patch)
        reader, writer = os.pipe()
        try:
            end = davit.run_container(["refused", *map(str, argv)], id, fds=[writer], Stdout=0, Rootfs=self.root,
                                      AutoRemove="container", **options)[3]
        finally:
            os.close(writer)
        with os.fdopen(reader) as f:
            lines = f.read().splitlines()
        return id, lines, davit.read_exit(end)

    def test_names(self):
        """S-V01: name and number by the table of the architecture that the call was made in; who, and what became of it."""
        cursor = last()
        with davit.Signals("Task.SeccompViolation") as signals:
            id, lines, end = self.run_it(64, REBOOT, 32, 88, "x32", REBOOT, 64, MOUNT, 32, 21, "x32", MOUNT)
            body = signals.wait(lambda *a: True)
        self.assertEqual((lines, end.status), (["1"] * 6, 0))
        events = told(cursor, id)
        scope = f"davit-default-{id}.scope".replace(id, id.replace("-", "\\x2d"))
        self.assertEqual([(e["SECCOMP_SYSCALL"], int(e["SECCOMP_NUMBER"]) & 0xffff, e["SECCOMP_ARCH"]) for e in events],
                         [("reboot", 169, "x86_64"), ("reboot", 88, "x86"), ("reboot", 169, "x32"),
                          ("mount", 165, "x86_64"), ("mount", 21, "x86"), ("mount", 165, "x32")])
        for e in events:
            self.assertEqual((e["SECCOMP_ACTION"], e["SECCOMP_COMMAND"], e["OBJECT_SYSTEMD_UNIT"]),
                             ("EPERM", "refused", scope))
            self.assertNotIn("SECCOMP_DROPPED", e)
        started = next(e for e in since(cursor) if e["DAVIT_EVENT"] == "task.start" and e["DAVIT_ID"] == id)
        self.assertEqual({e["SECCOMP_PID"] for e in events}, {started["CONTAINER_PID"]})
        self.assertEqual(tuple(body[2][:6]), ("reboot", 169, "x86_64", "EPERM", int(started["CONTAINER_PID"]), "refused"))
        self.assertEqual([e["Details"]["SECCOMP_SYSCALL"] for e in shown("--since=1m", "--until=0s", "-f", "type=task.seccomp")
                          if e["Id"] == id], [e["SECCOMP_SYSCALL"] for e in events])
        davit.wait_until(lambda: "refused system call mount: EPERM" in davit.journal(
            f"MESSAGE_ID={events[0]['MESSAGE_ID']}", f"CONTAINER_ID={id}"), what="the journal's entry")

    def test_what_is_told(self):
        """Calls that fail as on an older kernel are not; other errors are, each as the profile says."""
        cursor = last()
        patch = profile(("add_key", "SCMP_ACT_ERRNO", {"errnoRet": 13}), ("reboot", "SCMP_ACT_ERRNO", {"errnoRet": 38}),
                        ("mount", "SCMP_ACT_ERRNO", {"args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}))
        id, lines, _ = self.run_it(64, ADD_KEY, 64, REBOOT, 64, MOUNT, 64, 39, patch=patch)
        self.assertEqual(lines, ["13", "38", "1", "0"])
        self.assertEqual([(e["SECCOMP_SYSCALL"], e["SECCOMP_ACTION"]) for e in told(cursor, id)],
                         [("add_key", "EACCES"), ("mount", "EPERM")])
        id, lines, _ = self.run_it(64, CLONE3)
        self.assertEqual((lines, told(cursor, id)), (["38"], []))

    def test_caller_that_has_gone(self):
        """S-V01: what has the number of a caller that is dead by the time it is looked at is not taken for it."""
        cursor, id = last(), davit.unique("sec")
        (stdin, go), (reader, writer) = os.pipe(), os.pipe()
        _, _, pid, end = davit.run_container(["sh", "-c", f"read x; exec refused 64 {REBOOT}"], id, fds=[stdin, writer], Stdin=0,
                                                Stdout=1, Rootfs=self.root, AutoRemove="container")
        os.close(stdin)
        os.close(writer)
        ioctl = str(faults.call_numbers()["ioctl"])  # to receive it, to ask whether it waits, and to answer it
        with faults.Attached(faults.parent(pid), "--call", ioctl, "--nth", "2", "--error", str(errno.ENOENT)) as attached:
            os.write(go, b"go\n")
            os.close(go)
            with os.fdopen(reader) as f:
                self.assertEqual(f.read(), "1\n")
            self.assertEqual(davit.read_exit(end).status, 0)
            self.assertTrue(attached.hit())
        attached.remove()
        event, = told(cursor, id)
        self.assertEqual((event["SECCOMP_SYSCALL"], event.get("SECCOMP_COMMAND", "")), ("reboot", ""))

    def test_killed(self):
        """S-W08: a process that is killed: once, before its end, and the kind of the end is seccomp."""
        cursor = last()
        for action in ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"):
            id, _, end = self.run_it(64, REBOOT, patch=profile(("reboot", action, {})))
            self.assertEqual((end.status, end.kind), (128 + signal.SIGSYS, "seccomp"))
            events = [e for e in since(cursor) if e["DAVIT_ID"] == id and e["DAVIT_EVENT"] in ("task.seccomp", "task.exit")]
            self.assertEqual([e["DAVIT_EVENT"] for e in events], ["task.seccomp", "task.exit"])
            self.assertEqual((events[0]["SECCOMP_SYSCALL"], events[0]["SECCOMP_ACTION"]), ("unknown", "kill"))

    def test_sent(self):
        """S-W08: SIGSYS that somebody sends, or that no filter can have sent, is a signal like any other."""
        no_core = {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}}
        for patch in (profile(("reboot", "SCMP_ACT_KILL_PROCESS", {})), {"annotations": {"org.davit.seccomp": None}}):
            patch.update(no_core)
            cursor = last()
            command = ["sh", "-c", "trap : SYS; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"]
            reader, writer = os.pipe()
            id, task, _, end = davit.run_container(command, davit.unique("sec"), fds=[writer], Stdout=0, AutoRemove="container",
                                                   SpecPatch=json.dumps(patch))
            os.close(writer)
            with os.fdopen(reader) as stream:
                self.assertEqual(stream.readline(), "ready\n")
            for kill in (lambda process: davit.call(process, "Process.Kill", "(s)", "SYS"),
                         lambda process, task=task: davit.call(task, "Task.KillAll", "(s)", "SYS")):
                _, process, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
                kill(process)
                self.assertEqual(davit.read_exit(exec_end), (128 + signal.SIGSYS, "signalled"))
            if "annotations" in patch:
                _, _, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "kill -SYS $$"], {})
                self.assertEqual(davit.read_exit(exec_end), (128 + signal.SIGSYS, "signalled"))
            davit.call(task, "Task.Stop", "(a{sv})", {})
            self.assertEqual(davit.read_exit(end), (3, "exited"))
            self.assertNotIn("task.seccomp", types(since(cursor), id))

    def test_loop(self):
        """S-V02: of many few are told, all are counted; another call in the midst of them is not lost."""
        cursor = last()
        started = time.monotonic()
        id, lines, _ = self.run_it("loop", 20000, REBOOT, 64, MOUNT, "loop", 5000, REBOOT)
        took = time.monotonic() - started
        self.assertEqual([line.split()[0] for line in (lines[0], lines[2])], ["0", "0"])
        events = told(cursor, id)
        self.assertEqual(calls(events), 25001)
        self.assertLess(len(events), 15 + 12 * took)
        self.assertEqual([e["SECCOMP_SYSCALL"] for e in events].count("mount"), 1)

    def test_signals(self):
        """A call that signals interrupt again and again is made again where the program wants that, and counted once."""
        cursor = last()
        id, lines, _ = self.run_it("timer", "loop", 3000, REBOOT)
        wrong, _, ticked = lines[0].split()
        self.assertEqual((wrong, ticked, calls(told(cursor, id))), ("0", "1", 3000))

    def test_exec(self):
        """An exec's calls, those too that the shim's own filter refuses, with its id; descriptors do not pile up."""
        id = davit.unique("sec")
        davit.run_container(["sleep", "600"], id, Rootfs=self.root)
        self.addCleanup(davit.remove_container, id)
        task = davit.manager("GetTask", "(ss)", "", id)
        with open(f"/proc/{davit.get(task, 'Process.Pid')}/status") as f:
            shim = int(f.read().split("PPid:")[1].split()[0])
        cursor, before = last(), None
        for i in range(12):
            out = davit.ctl("exec", id, "refused", "64", str(REBOOT), "64", "321", check=True).stdout
            self.assertEqual(out, "1\n1\n")
            if i == 3:
                before = len(os.listdir(f"/proc/{shim}/fd"))
        davit.wait_until(lambda: len(os.listdir(f"/proc/{shim}/fd")) <= before, what="as few descriptors as before")
        davit.wait_until(lambda: calls(told(cursor, id)) == 24, what="all calls")
        events = told(cursor, id)
        self.assertEqual({e["SECCOMP_SYSCALL"] for e in events}, {"reboot", "bpf"})
        self.assertTrue(all(e.get("EXEC_ID") for e in events))
        self.assertEqual(davit.get(task, "Task.SeccompViolations"), 24)

    def test_without_manager(self):
        """S-V03: while the manager is stopped or dead calls are answered at once; nothing is told twice or missed."""
        id = davit.unique("sec")
        reader, writer = os.pipe()
        davit.run_container(["sh", "-c", f"read x; refused loop 2000 {REBOOT}; read x; refused 64 {MOUNT} 32 21; read x"],
                            id, Rootfs=self.root, fds=[writer], Stdout=0, Pipes=True)
        os.close(writer)
        self.addCleanup(davit.remove_container, id)
        out = os.fdopen(reader)
        self.addCleanup(out.close)
        task = davit.manager("GetTask", "(ss)", "", id)
        fd = self.stdin_of(task)
        self.addCleanup(os.close, fd)
        cursor = last()
        pid = davit.main_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            os.write(fd, b"\n")
            self.assertEqual(out.readline().split()[0], "0")
        finally:
            os.kill(pid, signal.SIGCONT)
        davit.wait_until(lambda: calls(told(cursor, id)) == 2000, what="calls while the manager stood still")
        davit.kill_davitd()
        os.write(fd, b"\n")
        self.assertEqual([out.readline(), out.readline()], ["1\n", "1\n"])
        davit.start_davitd()
        davit.wait_until(lambda: calls(told(cursor, id)) == 2002, what="calls while the manager was dead")
        davit.kill_davitd()
        os.write(fd, b"\n")
        davit.wait_until(lambda: not davit.unit_exists(f"davit-default-{id}.scope"), what="the end")
        davit.start_davitd()
        self.assertEqual(calls(told(cursor, id)), 2002)

    def stdin_of(self, task):
        from gi.repository import Gio, GLib
        reply, fds = davit.bus().call_with_unix_fd_list_sync(
            davit.NAME, task, davit.NAME + ".Process", "OpenStreams", None, None, Gio.DBusCallFlags.NONE, 30000, None, None)
        got = [fds.get(i) for i in range(fds.get_length())]
        for other in got[1:]:
            os.close(other)
        return got[0]

    def test_off(self):
        """Not told where the container, its namespace or davit.conf says so; refused all the same."""
        cursor = last()
        id, lines, _ = self.run_it(64, REBOOT, SeccompReport="no")
        self.assertEqual((lines, told(cursor, id)), (["1"], []))
        self.assertError("InvalidArgument", davit.run_container, ["true"], SeccompReport="maybe", contains="SeccompReport")
        name = davit.unique("sec")
        ns = davit.manager("CreateNamespace", "(sa{ss})", name, {})
        self.addCleanup(davit.call, ns, "Namespace.Delete")
        davit.call(ns, "Namespace.SetDefaults", "(a{sv})", davit.options(SeccompReport="no"))
        for options, n in (({}, 0), ({"SeccompReport": "yes"}, 1)):
            id, lines, _ = self.run_it(64, REBOOT, namespace=name, **options)
            self.assertEqual((lines, len(told(cursor, id))), (["1"], n))
        with davit.configuration(SeccompReport="no"):
            cursor = last()
            id, lines, _ = self.run_it(64, REBOOT)
            self.assertEqual((lines, told(cursor, id)), (["1"], []))
            id, lines, _ = self.run_it(64, REBOOT, SeccompReport="yes")
            self.assertEqual((lines, len(told(cursor, id))), (["1"], 1))

    def test_profiles_that_do_not_fit(self):
        """One that refuses what the report needs holds without it; one with a listener of its own is not for the manager."""
        cursor = last()
        id, lines, _ = self.run_it(64, REBOOT, patch=profile(("sendmsg", "SCMP_ACT_ERRNO", {}), ("reboot", "SCMP_ACT_ERRNO", {})))
        self.assertEqual((lines, told(cursor, id)), (["1"], []))
        patch = profile(("reboot", "SCMP_ACT_NOTIFY", {}), listenerPath="/run/none")
        self.assertError("NotSupported", davit.run_container, ["true"], SpecPatch=json.dumps(patch), contains="seccomp")
