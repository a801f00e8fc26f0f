# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another OCI runtime behind the same interface: runc, crun, davit-oci and one that takes no OCI configuration."""

import json
import os
import re
import shutil
import signal
import stat
import tempfile
import time
import unittest

from gi.repository import GLib

import davit
from test_events import last, since, types

RECORDS = f"{davit.RUNTIME}/runtime"


def runtime_options(**kwargs):
    kinds = {"Arguments": "as"}
    return GLib.Variant("a{sv}", {k: v if isinstance(v, GLib.Variant) else
                                  GLib.Variant("b" if isinstance(v, bool) else kinds.get(k, "s"), v)
                                  for k, v in kwargs.items()})


def program(name):
    if not shutil.which(name):
        raise unittest.SkipTest(f"there is no {name}")
    return name


def script(directory, name, text):
    path = f"{directory}/{name}"
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


class RuntimeTest(davit.TestCase):
    runtime = "runc"

    def setUp(self):
        program(self.runtime)
        self.leaks()
        self.name = davit.unique()
        self.addCleanup(davit.remove_container, self.name)

    def directory(self):
        path = tempfile.mkdtemp(dir="/run")
        self.addCleanup(shutil.rmtree, path)
        return path

    def run_one(self, *command, **opts):
        """A task of this runtime; its object and exit descriptor."""
        opts.setdefault("Runtime", self.runtime)
        _, task, _, end = davit.run_container(command, id=self.name, **opts)
        return task, end

    def output(self, *command, **opts):
        return davit.output_of(command, id=self.name, Runtime=self.runtime, **opts)

    def sleeper(self, **opts):
        """One that ends with 7 when it is asked to, from now on: a runtime's start may come back before the program."""
        with tempfile.TemporaryDirectory() as directory:
            ready = f"{directory}/ready"
            os.mkfifo(ready)
            opts["Mounts"] = [("bind", directory, "/mnt", "")]
            task, end = self.run_one("/bin/sh", "-c", "trap 'exit 7' TERM; sleep 1000 & echo >/mnt/ready; wait", **opts)
            self.addCleanup(os.close, end)
            with open(ready, encoding="ascii") as fifo:
                fifo.read()
        return task

    def exec_one(self, task, *command, **opts):
        """What an exec wrote, and how it ended."""
        reader, writer = os.pipe()
        try:
            _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", list(command),
                                      davit.options(Stdout=0, Stderr=0, AutoRemove=True, **opts), fds=[writer])
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        with os.fdopen(reader, errors="replace") as stream:
            text = stream.read()
        return text, davit.read_exit(end)


class Life:
    """S-H05: the same behaviour, whoever makes the container."""

    def test_output_and_status(self):
        text, end = self.output("/bin/sh", "-c", "echo out; echo err >&2; id -u; exit 3")
        self.assertEqual((text, end.status, end.kind), ("out\nerr\n0\n", 3, "exited"))

    def test_user_of_the_image(self):
        text, end = self.output("/bin/id", User="user")
        self.assertIn("uid=1000(user) gid=1000(user)", text)
        self.assertIn("2000(extra)", text)
        self.assertEqual(end.status, 0)
        self.assertEqual(self.output("/bin/sh", "-c", "id -u; id -g", User="7:8")[0], "7\n8\n")

    def test_image(self):
        text, _ = self.output("/bin/sh", "-c", "echo $FROM_IMAGE; echo x >/root/file && cat /root/file",
                              image=davit.busybox_image())
        self.assertEqual(text, "yes\nx\n")

    def test_confined(self):
        """The built-in profile, the scope's limits and the task's own cgroup hold."""
        text, _ = self.output("/bin/sh", "-c", "grep -E '^(Seccomp|CapEff):' /proc/self/status; "
                              "grep ^0:: /proc/self/cgroup", MemoryMax=64 << 20)
        self.assertIn("Seccomp:\t2", text)
        self.assertIn("CapEff:\t00000000a80425fb", text)
        self.assertIn("0::/\n", text)

    def test_network_and_sockets(self):
        text, _ = self.output("/bin/sh", "-c", "ls /sys/class/net", Network="host")
        self.assertEqual(text.split(), sorted(os.listdir("/sys/class/net")))
        reader, writer = os.pipe()
        passed, other = os.pipe()
        with os.fdopen(reader) as stream, os.fdopen(passed, "rb"):
            _, end = self.run_one("/bin/sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; echo through >&3",
                                  Stdout=0, ListenFDs=[1], fds=[writer, other])
            os.close(writer)
            os.close(other)
            self.assertEqual(stream.read().split()[0], "1")  # crun says nothing of LISTEN_PID
            self.assertEqual(os.read(passed, 100), b"through\n")
            self.assertEqual(davit.read_exit(end).status, 0)

    def test_two_phases(self):
        _, container = davit.create_container(["/bin/sh", "-c", "exit 4"], id=self.name, Runtime=self.runtime)
        task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.Status"), "created")
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        self.assertEqual(os.listdir(f"{RECORDS}/{self.runtime}/default"), [self.name])  # S-H06
        davit.call(task, "Process.Start")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (4, "exited"))
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (4, "exited"))

    #: Whether it is the runtime's start that tells of a program which the kernel does not take, or its end.
    tells_of_program = False

    def test_no_program(self):
        """S-T08, S-O14: where that is the start there is no task any more; it is never lost."""
        with tempfile.TemporaryDirectory(dir="/run") as directory:
            with open(f"{directory}/garbage", "wb", opener=lambda path, flags: os.open(path, flags, 0o755)) as f:
                f.write(b"\x7fELF garbage")
            _, container = davit.create_container(["/mnt/garbage"], id=self.name, Runtime=self.runtime,
                                                  Mounts=[("bind", directory, "/mnt", "bind")])
            for _ in range(5):
                task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
                if self.tells_of_program:
                    self.assertError("PermissionDenied", davit.call, task, "Process.Start", contains="Exec format error")
                    self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.name)
                else:
                    davit.call(task, "Process.Start")
                    self.assertEqual(davit.call(task, "Process.Wait")[:2], (1, "exited"))
                    davit.call(task, "Process.Delete", "(a{sv})", {})

    def test_kill_stop_and_scope(self):
        task = self.sleeper()
        scope, pid = davit.get(task, "Task.Scope"), davit.get(task, "Process.Pid")
        self.assertEqual(davit.get(task, "Task.Runtime"), self.runtime)
        with open(f"/proc/{pid}/cgroup") as f:
            self.assertRegex(f.read(), f"(?m)^0::.*/{re.escape(scope)}/payload/init$")
        davit.call(task, "Task.Stop", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.ExitStatus"), 7)

    def test_systemctl_stop(self):
        task = self.sleeper()
        davit.systemctl("stop", davit.get(task, "Task.Scope"))
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (7, "exited"))

    def test_deletion_after_a_kill(self):
        """The runtime deletes what it has made, and runs the last hooks, also where everything has been killed."""
        hook = script(self.directory(), "hook", 'cat >"$0.ran"\n')
        patch = json.dumps({"hooks": {"poststop": [{"path": hook}]}})
        for method, signature, argument in (("Task.KillAll", "(s)", "KILL"),
                                            ("Task.Stop", "(a{sv})", davit.options(TimeoutUSec=0)),
                                            ("Process.Delete", "(a{sv})", davit.options(Force=True))):
            with self.subTest(method):
                davit.call(self.sleeper(SpecPatch=patch), method, signature, argument)
                davit.remove_container(self.name)
                davit.wait_until(lambda: os.path.exists(f"{hook}.ran"), what="the hook")
                os.unlink(f"{hook}.ran")

    def test_pause(self):
        """S-T10"""
        task = self.sleeper()
        pid = davit.get(task, "Process.Pid")
        davit.call(task, "Task.Pause")
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        group = [line for line in open(f"/proc/{pid}/cgroup") if line.startswith("0::")][0].strip()[3:]
        base = "/sys/fs/cgroup/unified" if os.path.exists("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
        with open(f"{base}{group}/cgroup.events") as f:
            self.assertIn("frozen 1", f.read())
        self.assertError("FailedPrecondition", self.exec_one, task, "/bin/true", contains="paused")
        davit.call(task, "Task.Resume")
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        davit.call(task, "Task.Pause")
        davit.call(task, "Task.Stop", "(a{sv})", davit.options(TimeoutUSec=20_000_000))
        self.assertEqual(davit.get(task, "Process.ExitStatus"), 7)

    def test_exec(self):
        task = self.sleeper(Env=["A=b"])
        text, end = self.exec_one(task, "/bin/sh", "-c", "echo $A; id -un; exit 9", User="user")
        self.assertEqual((text, end.status), ("b\nuser\n", 9))
        for _ in range(3):
            self.assertEqual(self.exec_one(task, "/bin/true")[1].status, 0)
        exec_id, process = davit.call(task, "Task.Exec", "(sasa{sv})", "two", ["/bin/sleep", "1000"], {})
        self.assertEqual(davit.get(process, "Process.Status"), "created")
        davit.call(process, "Process.Start")
        self.assertIn((davit.get(process, "Process.Pid"), exec_id), davit.call(task, "Task.ListProcesses"))
        davit.call(process, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (137, "signalled"))
        self.assertError("NotFound", self.exec_one, task, "/no/such", contains="/no/such")

    def test_terminals(self):
        """Through the console socket, of the first process and of an exec, each of the size that was asked for."""
        with tempfile.TemporaryFile() as out:
            done = davit.run("script", "-qec", f"stty rows 19 cols 71; davitctl run --rm --name {self.name} -t --runtime "
                             f"{self.runtime} --rootfs {davit.rootfs()} /bin/sh -c 'tty; stty size; exit 5'", "/dev/null",
                             check=False, stdin=out)
        self.assertEqual((done.stdout.split(), done.returncode), (["/dev/pts/0", "19", "71"], 5), done.stdout)
        task = self.sleeper(Terminal=True)
        self.assertTrue(davit.get(task, "Process.Terminal"))
        davit.call(task, "Process.Resize", "(uu)", 91, 33)
        master = davit.call(task, "Process.OpenTerminal")
        self.addCleanup(os.close, master)
        self.assertEqual(os.get_terminal_size(master), (91, 33))
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "tty", ["/bin/sh", "-c", "read x; tty; stty size"],
                                      davit.options(Terminal=True, ConsoleSize=(70, 20)))
        other = davit.call(process, "Process.OpenTerminal")
        os.write(other, b"\n")
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))
        self.assertIn("/dev/pts/1\n20 70\n", davit.read_terminal(other))
        self.assertEqual(os.get_terminal_size(master), (91, 33))

    def test_stats_and_update(self):
        task = self.sleeper()
        stats = davit.call(task, "Task.Stats", "(a{sv})", {})
        self.assertGreaterEqual(stats["TasksCurrent"], 3)  # the shell, its child and the shim
        self.assertGreater(stats["CPUUsageUSec"], 0)
        self.assertGreater(stats["MemoryCurrent"], 0)
        davit.call(task, "Task.Update", "(a{sv})", davit.options(TasksMax=50))
        self.assertEqual(davit.unit_show(davit.get(task, "Task.Scope"), "TasksMax")["TasksMax"], "50")

    def test_restart_of_the_manager(self):
        task = self.sleeper()
        davit.kill_davitd()
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertEqual(davit.get(task, "Task.Runtime"), self.runtime)
        self.assertEqual(self.exec_one(task, "/bin/echo", "x"), ("x\n", (0, "exited")))
        davit.call(task, "Task.Stop", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.ExitStatus"), 7)


class Runc(Life, RuntimeTest):
    runtime = "runc"


class Crun(Life, RuntimeTest):
    runtime = "crun"


class DavitOci(Life, RuntimeTest):
    tells_of_program = True
    runtime = "davit-oci"


class Choice(RuntimeTest):
    """S-C07"""

    def made(self, namespace="", **opts):
        _, container = davit.create_container(["/bin/true"], id=self.name, namespace=namespace, **opts)
        try:
            return davit.get(container, "Container.Runtime")
        finally:
            davit.remove_container(self.name, namespace)

    def test_order(self):
        name = davit.unique()
        ns = davit.manager("CreateNamespace", "(sa{ss})", name, {})
        self.addCleanup(davit.call, ns, "Namespace.Delete")
        self.assertEqual(self.made(name), "davit")
        davit.call(ns, "Namespace.SetDefaults", "(a{sv})", davit.options(Runtime="crun"))
        self.assertEqual(davit.get(ns, "Namespace.Defaults"), {"Runtime": "crun"})
        self.assertEqual(self.made(name), "crun")
        self.assertEqual(self.made(name, Runtime="runc"), "runc")
        path = "/etc/davit/davit.conf.d/60-runtime.conf"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write("[Container]\nRuntime=runc\n")
        try:
            davit.restart_davitd()
            self.assertEqual(self.made(), "runc")
            self.assertEqual(self.made(name), "crun")
            self.assertEqual(self.made(Runtime="davit"), "davit")
        finally:
            os.unlink(path)
            davit.restart_davitd()
        self.assertEqual(self.made(), "davit")

    def test_update(self):
        _, container = davit.create_container(["/bin/true"], id=self.name, Runtime="runc",
                                              RuntimeOptions=runtime_options(NoNewKeyring=True))
        davit.call(container, "Container.Update", "(a{sv})", davit.options(Labels={"a": "b"}))
        self.assertEqual(davit.get(container, "Container.RuntimeOptions"), {"NoNewKeyring": True})
        davit.kill_davitd()
        self.assertEqual(davit.get(container, "Container.RuntimeOptions"), {"NoNewKeyring": True})
        davit.call(container, "Container.Update", "(a{sv})", davit.options(Runtime="davit"))
        self.assertEqual(davit.get(container, "Container.Runtime"), "davit")
        self.assertEqual(davit.get(container, "Container.RuntimeOptions"), {})

    def test_bad_options(self):
        """S-H05: every option has its type; what is not known is refused by name."""
        text = GLib.Variant("s", "x")
        for name, contains, opts in (
                ("InvalidArgument", "Rubbish", runtime_options(Rubbish="x")),
                ("InvalidArgument", "NoPivotRoot", runtime_options(NoPivotRoot=text)),
                ("InvalidArgument", "BinaryName", runtime_options(BinaryName=True)),
                ("InvalidArgument", "BinaryName", runtime_options(BinaryName="a/b")),
                ("InvalidArgument", "Root", runtime_options(Root="relative")),
                ("InvalidArgument", "Root", runtime_options(Root="/run/../etc")),
                ("InvalidArgument", "Root", runtime_options(Root="/run/davit/task")),
                ("InvalidArgument", "Arguments", runtime_options(Arguments=text)),
                ("NotSupported", "SystemdCgroup", runtime_options(SystemdCgroup=True))):
            with self.subTest(contains=contains, opts=opts):
                self.assertError(name, davit.create_container, ["/bin/true"], id=self.name, Runtime="runc",
                                 RuntimeOptions=opts, contains=contains)
        for name in ("../x", "a b", "-x", "", "/", "/usr/bin/", "x\n"):
            if name:
                self.assertError("InvalidArgument", davit.create_container, ["/bin/true"], id=self.name, Runtime=name)
        self.assertError("InvalidArgument", davit.create_container, ["/bin/true"], id=self.name,
                         RuntimeOptions=runtime_options(NoPivotRoot=True), contains="RuntimeOptions")
        self.assertError("InvalidArgument", davit.create_container, ["/bin/true"], id=self.name, RuntimeConfig="x",
                         contains="RuntimeConfig")

    def test_options_reach_it(self):
        """S-H05: those of the program before the sub-command, those of create with create, and none that nobody has set."""
        def wrapper():
            return script(self.directory(), "wrapper", 'echo "$@" >>"$0.argv"\nexec runc "$@"\n')

        def read(path):
            with open(f"{path}.argv", encoding="utf-8") as f:
                lines = [line.split() for line in f]
            return {word: (set(words[:words.index(word)]), set(words[words.index(word):]))
                    for words in lines for word in words if word in ("create", "start", "delete")}

        def calls(path):
            """Words before and after the sub-command, of the calls of a life."""
            return davit.wait_until(lambda: len(read(path)) == 3 and read(path), what="the runtime's delete")

        making = {"--no-pivot", "--no-new-keyring"}
        for expected, opts in ((set(), {}), ({"--no-pivot"}, {"NoPivotRoot": True, "NoNewKeyring": False}),
                               ({"--no-new-keyring"}, {"NoNewKeyring": True}), (making, dict.fromkeys(("NoPivotRoot", "NoNewKeyring"), True))):
            with self.subTest(opts):
                path = wrapper()
                arguments = {"Arguments": ["--debug", "--systemd-cgroup=false"]} if opts else {}
                _, end = self.output("/bin/true", RuntimeOptions=runtime_options(BinaryName=path, **arguments, **opts))
                self.assertEqual(end, (0, "exited"))
                seen = calls(path)
                self.assertEqual(seen["create"][1] & making, expected)
                for before, after in seen.values():
                    self.assertEqual(before & {"--debug", "--systemd-cgroup=false"}, set(arguments.get("Arguments", [])))
                    self.assertFalse({"--debug", "--systemd-cgroup=false"} & after)
        path = wrapper()
        davit.ctl("run", "--rm", "--runtime=runc", f"--runtime-opt=BinaryName={path}", "--runtime-opt=NoPivotRoot=yes",
                  "--runtime-opt=NoNewKeyring=yes", "--runtime-opt=Arguments=--debug", "--rootfs", davit.rootfs(), "/bin/true",
                  check=True)
        before, after = calls(path)["create"]
        self.assertIn("--debug", before)
        self.assertEqual(after & making, making)

    def test_seccomp_report(self):
        self.assertError("NotSupported", self.run_one, "/bin/true", SeccompReport="yes", contains="SeccompReport")

    def test_command_line(self):
        done = davit.ctl("run", "--rm", "--runtime", "runc", "--runtime-opt", "NoNewKeyring=yes", "--rootfs",
                         davit.rootfs(), "/bin/echo", "hello", check=True)
        self.assertEqual(done.stdout, "hello\n")
        done = davit.ctl("run", "--rm", "--runtime", "runc", "--runtime-opt", "Colour=red", "--rootfs", davit.rootfs(),
                         "/bin/echo", "hello")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Colour", done.stderr)
        self.sleeper()
        self.assertIn('"runc"', davit.ctl("inspect", self.name, check=True).stdout)

    def test_command_line_errors(self):
        """The exit status says what it was, and the runtime's words come once."""
        task = self.sleeper()
        common = ["--runtime", "runc", "--rootfs", davit.rootfs()]
        for argv in (["run", "--rm", *common], ["run", "--rm", "-d", *common], ["exec", self.name], ["exec", "-d", self.name]):
            for command, status in (("no-such", 127), ("/no/such", 127), ("/etc", 126)):
                done = davit.ctl(*argv, command)
                self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
                self.assertEqual(done.stderr.count('exec: "'), 1, done.stderr)
        self.assertEqual(davit.get(task, "Process.Status"), "running")


class Roots(RuntimeTest):
    """S-H06"""

    def test_namespaces(self):
        name = davit.unique()
        ns = davit.manager("CreateNamespace", "(sa{ss})", name, {})
        self.addCleanup(davit.call, ns, "Namespace.Delete")
        self.addCleanup(davit.remove_container, self.name, name)
        self.sleeper()
        _, _, _, end = davit.run_container(["/bin/sleep", "1000"], id=self.name, namespace=name, Runtime="runc")
        os.close(end)
        for namespace in ("default", name):
            listed = davit.run("runc", "--root", f"{RECORDS}/runc/{namespace}", "list", "-q").stdout.split()
            self.assertEqual(listed, [self.name])

    def test_own_root(self):
        with tempfile.TemporaryDirectory(dir="/run") as root:
            self.sleeper(RuntimeOptions=runtime_options(Root=root))
            self.assertEqual(os.listdir(f"{root}/davit-default"), [self.name])
            davit.remove_container(self.name)
            self.assertEqual(os.listdir(f"{root}/davit-default"), [])


class Failures(RuntimeTest):
    """Whatever a runtime does, the error says so and nothing is left."""

    def fails(self, contains, **opts):
        return self.assertError("FailedPrecondition", self.run_one, "/bin/sleep", "1000", contains=contains, **opts)

    def wrapper(self, text):
        return script(self.directory(), "wrapper", text)

    def test_program(self):
        self.fails("davit-no-such-runtime", Runtime="davit-no-such-runtime")
        self.fails("/no/such/runtime", RuntimeOptions=runtime_options(BinaryName="/no/such/runtime"))
        self.fails("exit status 1", Runtime="/bin/false")
        self.fails("pid file", Runtime="/bin/true")

    def test_create(self):
        self.assertError("NotFound", self.run_one, "/no/such/program", contains="/no/such/program")
        self.fails("exit status", RuntimeOptions=runtime_options(Arguments=["--no-such-option"]))

    def test_start(self):
        self.fails("start: exit status 5", Runtime=self.wrapper(
            'for a; do [ "$a" = start ] && exit 5; done; exec runc "$@"'))

    def test_start_of_a_created_task(self):
        """S-T08, S-O14, S-E08: the task goes, with an event that says why; its container can be started by another runtime."""
        wrapper = self.wrapper('for a; do [ "$a" = start ] && exit 5; done; exec runc "$@"')
        _, container = davit.create_container(["/bin/sleep", "1000"], id=self.name, Runtime=wrapper)
        begun, cursor = time.time(), last()
        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        end = davit.call(task, "Process.WaitFD")
        self.assertError("FailedPrecondition", davit.call, task, "Process.Start", contains="start: exit status 5")
        with os.fdopen(end) as pipe:
            self.assertEqual(pipe.read(), "")
        self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", self.name)
        events = [e for e in since(cursor) if e["DAVIT_ID"] == self.name]
        self.assertEqual(types(events), ["task.create", "task.failed", "task.delete"])
        self.assertIn("start: exit status 5", events[1]["ERROR"])
        told = davit.journal("_SYSTEMD_UNIT=davitd.service", since=begun)
        self.assertEqual([line for line in told.splitlines() if self.name in line and "without a word" in line], [])
        davit.call(container, "Container.Update", "(a{sv})", davit.options(Runtime="runc"))
        davit.call(container, "Container.Start", "(a{sv})", {})

    def test_foreign_process(self):
        """A pid that is none of the shim's children is not taken, and not killed."""
        self.fails("pid file", Runtime=self.wrapper(
            'while [ $# -gt 0 ]; do [ "$1" = --pid-file ] && echo 1 >"$2"; shift; done'))

    def test_records_behind_a_link(self):
        """What is left of a runtime's records is looked for where they were made, and nowhere that a link leads to."""
        wrapper = self.wrapper('for a; do [ "$a" = delete ] && exit 0; done; exec runc "$@"')
        with tempfile.TemporaryDirectory(dir="/run") as top:
            task = self.sleeper(Runtime=wrapper, RuntimeOptions=runtime_options(Root=f"{top}/root"))
            os.makedirs(f"{top}/other/davit-default/{self.name}")
            os.rename(f"{top}/root", f"{top}/away")
            os.symlink("other", f"{top}/root")
            os.kill(davit.get(task, "Process.Pid"), signal.SIGKILL)
            davit.remove_container(self.name)
            davit.wait_until(lambda: not os.path.exists(f"{davit.RUNTIME}/task/default/{self.name}"), what="the shim's end")
            self.assertEqual(os.listdir(f"{top}/other/davit-default"), [self.name])

    def test_process_that_has_ended(self):
        """How one ended before its runtime told of it is known, but not after hundreds of others have."""
        text = """
        for a; do [ "$last" = --pid-file ] && file=$a; [ "$a" = exec ] && exec=yes; last=$a; done
        [ "$exec" ] || exec runc "$@"
        pid=$(sh -c '{ sleep 0.05; exit 5; } >/dev/null & echo $!')
        while kill -0 "$pid"; do :; done 2>/dev/null
        for i in $(seq %i); do ( : & ); done
        echo "$pid" >"$file" """
        for others in (10, 500):
            task = self.sleeper(Runtime=self.wrapper(text % others))
            call = [task, "Task.ExecStart", "(sasa{sv})", "", ["true"], davit.options(AutoRemove=True)]
            if others == 10:
                self.assertEqual(davit.read_exit(davit.call(*call)[3]), (5, "exited"))
            else:
                self.assertError("FailedPrecondition", davit.call, *call, contains="of its pid file")
            davit.remove_container(self.name)

    def test_killed_in_the_middle(self):
        wrapper = self.wrapper('for a; do [ "$a" = create ] && sleep 1000; done; exec runc "$@"')
        _, container = davit.create_container(["/bin/sleep", "1000"], id=self.name, Runtime=wrapper)
        with davit.Signals("Manager.Rubbish"):
            pid = os.fork()
            if pid == 0:
                os.execvp("davitctl", ["davitctl", "start", self.name])
            sleeping = davit.wait_until(lambda: davit.run("pgrep", "-f", wrapper, check=False).stdout.split(),
                                        what="the runtime")
            for one in sleeping:
                os.kill(int(one), signal.SIGKILL)
            self.assertNotEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(davit.get(container, "Container.Runtime"), wrapper)

    def test_shim_killed(self):
        """Lost, its scope clean, its record gone; the id can be used again."""
        task = self.sleeper()
        scope = davit.get(task, "Task.Scope")
        shim = int(davit.run("pgrep", "-f", f"davit-shim.*{self.name}").stdout.split()[0])
        os.kill(shim, signal.SIGKILL)
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (255, "lost"))
        davit.call(task, "Process.Delete", "(a{sv})", {})
        davit.wait_until(lambda: not davit.unit_exists(scope), what="the scope to go")
        davit.remove_container(self.name)
        self.sleeper()

    def test_runtime_removed(self):
        """A container can be stopped and deleted when its runtime has gone."""
        path = script(self.directory(), "gone", 'exec runc "$@"')
        task = self.sleeper(Runtime=path)
        os.unlink(path)
        self.assertError("FailedPrecondition", davit.call, task, "Task.Pause", contains="gone pause")
        davit.call(task, "Task.Stop", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.ExitStatus"), 7)


OPAQUE = """
verb= last= bundle= pid=
while [ $# -gt 0 ]; do
    case $1 in
        create|start|kill|delete|pause|resume) verb=$1 ;;
        --bundle) bundle=$2; shift ;;
        --pid-file) pid=$2; shift ;;
    esac
    last=$1; shift
done
case $verb in
    create)
        read -r word <"$bundle/config.json"
        cp "$bundle/config.json" "${0%/*}/seen"
        setsid sh -c "while [ ! -e '$bundle/go' ]; do sleep 0.05; done; echo $word; ls '$bundle/rootfs' | head -1; exit 6" &
        echo $! >"$pid" ;;
    start) touch /run/davit/bundle/go ;;
esac
"""


class Opaque(RuntimeTest):
    """S-H07: a configuration that is not OCI's reaches the runtime as it is."""

    def test_text(self):
        directory = self.directory()
        path = script(directory, "opaque", OPAQUE)
        self.assertTrue(os.stat(path).st_mode & stat.S_IXUSR)
        for given in ("not-json: {\nsecond line\n", "not-json: {\r\n\ttäglich \\u0041 \"☃\" \n\n  no newline"):
            text, end = davit.output_of(["unused"], id=self.name, Runtime=path, RuntimeConfig=given)
            self.assertEqual((text, end), ("not-json: {\nbin\n", (6, "exited")))
            self.assertEqual(self.seen(directory), given.encode())
            with open(f"{directory}/given", "w+b", buffering=0) as f:
                f.write(given.encode())
                f.seek(0)
                _, end = self.run_one("unused", Runtime=path, fds=[f.fileno()], RuntimeConfig=GLib.Variant("h", 0))
            self.assertEqual(davit.read_exit(end), (6, "exited"))
            self.assertEqual(self.seen(directory), given.encode())
            davit.remove_container(self.name)

    @staticmethod
    def seen(directory):
        """What the runtime has found, once."""
        with open(f"{directory}/seen", "rb") as f:
            os.unlink(f.name)
            return f.read()
