# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-oci: the life of a container, its states, what is refused in which words, and what is left afterwards."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import runtime


class Life(runtime.RuntimeTest):
    def test_run_ends_with_the_status(self):
        self.assertEqual(self.run_it("echo hello; exit 7"), (7, "hello\n", ""))
        self.assertEqual(self.run_it(["sh", "-c", "echo oops >&2"]), (0, "", "oops\n"))

    def test_run_ends_with_128_and_the_signal(self):
        self.config(["sleep", "1000"])
        child = subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "run", self.name], cwd=self.bundle,
                                 stdin=subprocess.DEVNULL)
        self.wait_running()
        self.oci("kill", self.name, "KILL")
        self.assertEqual(child.wait(10), 128 + 9)

    def wait_running(self):
        end = time.monotonic() + 10
        while self.oci("state", self.name, check=False).returncode or self.status() != "running":
            self.assertLess(time.monotonic(), end)

    def test_run_passes_signals_on(self):
        self.config("trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.01; done")
        child = subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "run", self.name], cwd=self.bundle,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "ready\n")
        child.send_signal(signal.SIGUSR1)
        self.assertEqual(child.communicate(timeout=10)[0], "got it\n")
        self.assertEqual(child.returncode, 3)

    def test_create_waits_for_the_start(self):
        self.config("echo started; exec sleep 1000")
        self.create("--pid-file", os.path.join(self.bundle, "pid"))
        with open(os.path.join(self.bundle, "pid"), encoding="ascii") as f:
            pid = int(f.read())
        state = self.state()
        self.assertEqual((state["status"], state["pid"], state["id"]), ("created", pid, self.name))
        self.assertEqual((state["bundle"], state["ociVersion"]), (self.bundle, "1.2.0"))
        time.sleep(0.1)
        self.assertEqual(self.output(), "")
        self.start()
        self.wait_output("started")
        self.assertEqual(self.status(), "running")
        self.oci("kill", self.name, "SIGKILL")
        self.wait_status("stopped")
        self.assertEqual(self.state()["pid"], 0)
        self.oci("delete", self.name)
        self.refused(f'container "{self.name}" does not exist', "state", self.name)

    def under_a_subreaper(self, program):
        """Runs a program in which `oci` calls davit-oci and `name` is the container, whose parent it becomes."""
        head = ("import ctypes, os, subprocess, sys\n"
                "assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n"
                "*oci, name = sys.argv[1:]\n")
        return subprocess.run(["python3", "-c", head + program, "davit-oci", "--root", runtime.ROOT, self.name], cwd=self.bundle,
                              capture_output=True, text=True, timeout=30, check=False)

    def test_the_process_belongs_to_the_subreaper(self):
        self.config("exit 5")
        done = self.under_a_subreaper("subprocess.run(oci + ['create', '--pid-file', 'pid', name], check=True)\n"
                                      "subprocess.run(oci + ['start', name], check=True)\n"
                                      "pid, status = os.waitpid(-1, 0)\n"
                                      "print(pid == int(open('pid').read()), os.waitstatus_to_exitcode(status))\n")
        self.assertEqual(done.stdout.split(), ["True", "5"], done.stderr)
        self.assertEqual(self.status(), "stopped")

    def test_states_refuse_what_they_do_not_allow(self):
        self.config(["sleep", "1000"])
        self.refused("does not exist", "start", self.name)
        self.refused("does not exist", "delete", self.name)
        self.refused("does not exist", "kill", self.name)
        self.assertEqual(self.oci("delete", "--force", self.name).stderr, "")
        self.create()
        self.refused("already exists", "create", self.name)
        self.refused("that is not stopped: created", "delete", self.name)
        self.refused("container not paused", "resume", self.name)
        self.start()
        self.refused("cannot start an already running container", "start", self.name)
        self.refused("that is not stopped: running", "delete", self.name)
        self.refused("unknown signal", "kill", self.name, "NOSUCH")
        self.oci("kill", self.name, "9")
        self.wait_status("stopped")
        self.refused("container not running", "kill", self.name)
        self.refused("cannot start a container that has stopped", "start", self.name)
        self.refused("cannot exec in a stopped container", "exec", self.name, "true")
        self.refused("container not running", "pause", self.name)

    def test_signal_0_asks_whether_it_is_there(self):
        self.config("trap 'echo heard' TERM; echo ready; while :; do sleep 0.01; done")
        self.refused("does not exist", "kill", self.name, "0")
        self.create()
        self.assertEqual(self.oci("kill", self.name, "0").stderr, "")
        self.start()
        self.wait_output("ready")
        self.assertEqual(self.oci("kill", "--all", self.name, "0").stderr, "")
        self.refused("unknown signal", "kill", self.name, "-0")
        self.assertEqual((self.status(), self.output()), ("running", "ready\n"))
        self.oci("kill", self.name, "KILL")
        self.wait_status("stopped")
        self.refused("container not running", "kill", self.name, "0")
        self.refused("container not running", "kill", "--all", self.name, "0")

    def end_before_the_start(self, *namespaces):
        """How the subreaper sees a container end that was only created."""
        self.config("exit 5", linux__namespaces=[{"type": name} for name in namespaces])
        done = self.under_a_subreaper("for words in (['create', name], ['kill', name, 'TERM']):\n"
                                      "    subprocess.run(oci + words, check=True, stdin=subprocess.DEVNULL)\n"
                                      "print(os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))\n")
        self.oci("delete", self.name)
        return int(done.stdout)

    def test_signals_before_the_start(self):
        """What asks to end ends what only waits to be started; what a program would have to handle changes nothing."""
        self.config("exit 5")
        for name in ("TERM", "HUP", "INT", "QUIT"):
            self.create()
            self.oci("kill", self.name, "USR1")
            self.assertEqual(self.status(), "created")
            self.oci("kill", self.name, name)
            self.wait_status("stopped")
            self.refused("cannot start a container that has stopped", "start", self.name)
            self.oci("delete", self.name)
        self.assertEqual((self.end_before_the_start("mount", "pid"), self.end_before_the_start("mount")), (128 + 15, -15))
        self.config(["sleep", "1000"])
        self.create()
        self.start()
        self.oci("kill", self.name, "TERM")  # now the program's, which does not heed it
        self.assertEqual(self.status(), "running")
        self.oci("delete", "--force", self.name)

    def test_force_deletes_what_runs(self):
        for started in (False, True):
            self.config("sleep 1000 & sleep 1000")
            self.create()
            if started:
                self.start()
            self.oci("delete", "--force", self.name)
            self.refused("does not exist", "state", self.name)

    def test_ids(self):
        self.config()
        for bad in ("", ".", "..", "a/b", "a b", "a\n", "ä"):
            done = self.oci("create", bad, check=False)
            self.assertNotEqual(done.returncode, 0, bad)
            self.assertIn("container id", done.stderr)
        self.name = self.name + "_+-.x"
        self.assertEqual(self.oci("run", self.name).returncode, 0)

    def test_keep(self):
        self.config("exit 3")
        self.assertEqual(self.oci("run", "--keep", self.name, check=False).returncode, 3)
        self.assertEqual(self.status(), "stopped")
        self.oci("delete", self.name)

    def test_regular_expressions(self):
        names = [self.name, self.name + "+x", self.name + "+y"]
        self.config(["sleep", "1000"])
        for name in names:
            self.assertEqual(self.detached("run", "--detach", name), 0, self.output())
        status = lambda: [json.loads(self.oci("state", name).stdout)["status"] for name in names]
        try:
            self.oci("kill", "--regex", self.name + "[+](x|z)$", "KILL")
            end = time.monotonic() + 10
            while status() != ["running", "stopped", "running"]:
                self.assertLess(time.monotonic(), end, status())
            done = self.oci("delete", "--regex", self.name + "[+]")
            self.assertIn("that is not stopped: running", done.stderr)
            self.assertEqual(json.loads(self.oci("state", names[2]).stdout)["status"], "running")
            self.refused("does not exist", "state", names[1])
            self.assertEqual(self.oci("delete", "--force", "--regex", "^nothing of that$").stderr, "")
            self.refused("--regex", "kill", "--regex", "(", status=2)
        finally:
            self.oci("delete", "--force", "--regex", f"^{self.name}")
        for name in names:
            self.refused("does not exist", "state", name)

    def test_options_of_others(self):
        """What means nothing here and is given by those who call runc or crun."""
        self.config("echo ran")
        for options in (("--rootless=false",), ("--criu", "/usr/sbin/criu"), ("--debug",), ("--log-level", "trace"),
                        ("--cgroup-manager=cgroupfs",)):
            self.assertEqual(self.oci(*options, "run", "--no-subreaper", self.name).stdout, "ran\n")
        self.create("--no-subreaper")
        self.refused("--log-level", "--log-level", "loud", "list", status=2)
        self.refused("--log-format", "--log-format", "xml", "list", status=2)
        self.refused("--cgroup-manager", "--cgroup-manager", "nobody", "list", status=2)

    def test_usage(self):
        self.refused("no command was given", status=2)
        self.refused("unknown command", "frobnicate", status=2)
        self.refused("Unknown option", "create", "--frobnicate", status=2)
        self.refused("id is missing", "create", status=2)
        self.refused("too many arguments", "start", "a", "b", status=2)
        self.assertIn("spec: 1.2.0", self.oci("--version").stdout)

    def test_list(self):
        self.config(["sleep", "1000"], annotations={"a": "b"})
        self.create()
        rows = json.loads(self.oci("list", "--format", "json").stdout)
        row = [r for r in rows if r["id"] == self.name][0]
        self.assertEqual((row["status"], row["owner"], row["annotations"]), ("created", "root", {"a": "b"}))
        self.assertIn(self.name, self.oci("list", "-q").stdout.split())
        self.assertIn("created", self.oci("list").stdout)

    def test_a_root_that_is_not_there_is_not_made(self):
        """Who only looks makes nothing; there it has no containers. The first container makes it."""
        root = os.path.join(self.bundle, "not/there")
        oci = lambda *words: subprocess.run(["davit-oci", "--root", root, *words], cwd=self.bundle, capture_output=True,
                                            text=True, check=False, timeout=30)
        self.assertEqual((oci("list", "-q").stdout, oci("list", "-f", "json").stdout), ("", "[]\n"))
        for words in (("state",), ("start",), ("kill",), ("delete",), ("ps",), ("exec", self.name), ("update",)):
            done = oci(*words, self.name)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn(f'container "{self.name}" does not exist', done.stderr)
        self.assertEqual(runtime.result(oci("delete", "--force", self.name)), (0, "", ""))
        self.assertEqual(runtime.result(oci("kill", "--regex", ".")), (0, "", ""))
        self.assertFalse(os.path.exists(os.path.dirname(root)))
        self.config()
        self.assertEqual(runtime.result(oci("run", self.name)), (0, "", ""))
        self.assertEqual(os.listdir(root), [])

    def test_arguments_too_many(self):
        for verb in ("features", "list", "spec"):
            self.refused(f'{verb}: too many arguments: "x"', verb, "x", status=2)
        self.assertEqual(os.listdir(self.bundle), [])

    def test_a_start_that_died_harms_nobody(self):
        self.config("echo started")
        self.create()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(f"{runtime.ROOT}/{self.name}/start")
        self.assertEqual(self.status(), "created")
        self.start()
        self.wait_output("started")
        self.wait_status("stopped")

    def test_two_starts_run_it_once(self):
        self.config("echo started >>/dev/stdout; exec sleep 1000")
        self.create()
        results = []
        threads = [threading.Thread(target=lambda: results.append(self.oci("start", self.name, check=False).returncode))
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(results), [0, 1, 1, 1])
        self.wait_output("started")
        self.assertEqual(self.output().count("started"), 1)

    def test_kill_all(self):
        self.config("sleep 1000 & echo $!; wait", linux__namespaces=lambda n: [x for x in n if x["type"] != "pid"])
        self.create()
        self.start()
        self.wait_output("\n")
        pid = int(self.output())
        self.oci("kill", "--all", self.name, "KILL")
        self.wait_status("stopped")
        end = time.monotonic() + 5
        while os.path.exists(f"/proc/{pid}"):
            self.assertLess(time.monotonic(), end, "a process was left")


class Failure(runtime.RuntimeTest):
    """What cannot be made says why, with the status a shell would give it, and leaves nothing."""

    def fails(self, text, status=1, verb="run", **changes):
        self.config(**changes)
        done = self.oci(verb, self.name, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(text, done.stderr)
        self.refused("does not exist", "state", self.name)

    def test_command(self):
        self.fails("No such file or directory", status=127, command=["nosuch"])
        self.fails("Permission denied", status=126, command=["/etc/passwd"])

    def test_create_tells_of_the_command_too(self):
        self.fails("No such file or directory", status=127, verb="create", command=["nosuch"])

    def test_exec_format_is_told_by_start(self):
        with open(os.path.join(self.rootfs, "bin/noformat"), "wb") as f:
            f.write(b"\0\0\0\0")
        os.chmod(os.path.join(self.rootfs, "bin/noformat"), 0o755)
        self.config(["noformat"])
        self.create()
        self.refused("Exec format error", "start", self.name, status=126)
        self.assertEqual(self.status(), "stopped")

    def test_configuration(self):
        self.refused("config.json", "run", self.name)
        self.fails("ociVersion", ociVersion="2.0.0")
        self.fails("process.cwd", process__cwd="relative")
        self.fails("/nonexistent", root__path="/nonexistent")
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="ascii") as f:
            f.write("{ no json")
        self.refused("config.json", "run", self.name)

    def test_bundles_that_are_none(self):
        """For create and run alike: one line, status 1, and nothing left."""
        path = os.path.join(self.bundle, "config.json")
        texts = {"": "unexpected end", "[]": "not an object", "{": "config.json", '{"ociVersion": "1': "unterminated"}
        fields = {"root": None, "ociVersion": "9.0.0", "process.cwd": "relative", "process.args": "text",
                  "root.path": "/nowhere", "linux.namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}],
                  "linux.intelRdt": {"closID": "x"}, "linux.netDevices": {"eth0": {}}}
        for verb in ("create", "run"):
            for text, words in texts.items():
                with open(path, "w", encoding="ascii") as f:
                    f.write(text)
                with self.subTest(verb=verb, text=text):
                    self.refused(words, verb, self.name)
            for field, value in fields.items():
                self.config(**{field.replace(".", "__"): value})
                with self.subTest(verb=verb, field=field):
                    self.refused(field, verb, self.name)
            with self.subTest(verb=verb):
                self.refused("/nowhere", verb, "--bundle", "/nowhere", self.name)

    def test_mount(self):
        self.fails("/nonexistent", mounts=lambda m: m + [{"destination": "/mnt", "source": "/nonexistent",
                                                          "type": "bind", "options": ["bind"]}])

    def test_log(self):
        log = os.path.join(self.bundle, "log")
        self.config(["nosuch"])
        self.oci("--log", log, "--log-format", "json", "run", self.name, check=False)
        with open(log, encoding="utf-8") as f:
            line = json.loads(f.read())
        self.assertEqual(line["level"], "error")
        self.assertIn("nosuch", line["msg"])
        self.oci("--log", log + "2", "run", self.name, check=False)
        with open(log + "2", encoding="utf-8") as f:
            self.assertIn("level=error msg=", f.read())

    def test_a_log_that_cannot_be_written_is_told_first(self):
        self.config("echo ran")
        for log, why in (("/nonexistent/log", "No such file or directory"), (self.bundle, "Is a directory")):
            for words in (("run", self.name), ("create", self.name), ("list",), ("nosuch",)):
                self.refused(f"--log {log}: {why}", "--log", log, *words)
            self.refused("does not exist", "state", self.name)
        log = os.path.join(self.bundle, "log")
        self.assertEqual(self.oci("--log", log, "run", "--preserve-fds", "0", self.name).stdout, "ran\n")
        self.assertEqual(os.path.getsize(log), 0)
        self.refused("--preserve-fds: descriptor 3", "--log", log, "run", "--preserve-fds", "1", self.name)

    def test_a_directory_in_place_of_a_file(self):
        self.config(["sleep", "1000"])
        self.refused("Is a directory", "run", "--config", self.bundle, self.name)
        self.create()
        self.start()
        for words in (("exec", "--process"), ("update", "--resources")):
            self.refused(f"{self.bundle}: Is a directory", *words, self.bundle, self.name)

    def test_a_killed_run_leaves_no_process(self):
        """davit-oci dies while it makes a container: its process notices and goes."""
        self.config("exec sleep 1000", hooks={"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]})
        child = subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "create", self.name], cwd=self.bundle,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while self.oci("state", self.name, check=False).returncode or not self.state()["pid"]:
            self.assertLess(time.monotonic(), end)
        self.assertEqual(self.status(), "creating")
        pid = self.state()["pid"]
        child.kill()
        child.wait()
        while self.status() != "stopped":
            self.assertLess(time.monotonic(), end, f"process {pid} is still there")
        subprocess.run(["pkill", "-x", "-f", "sleep 1000"], check=False)
        self.oci("delete", self.name)


class Exec(runtime.RuntimeTest):
    def setUp(self):
        super().setUp()
        self.config("echo ready; exec sleep 1000", process__env=["PATH=/bin", "OF=container"])
        self.create()
        self.start()
        self.wait_output("ready")

    def exec(self, *arguments, check=True, **options):
        return self.oci("exec", *arguments, check=check, **options)

    def test_status_and_streams(self):
        done = self.exec(self.name, "sh", "-c", "cat; echo err >&2; exit 9", check=False, stdin=None, input="in\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (9, "in\n", "err\n"))

    def test_options(self):
        script = "echo $OF $A; pwd; id -u; id -g; id -G; grep NoNewPrivs /proc/self/status"
        done = self.exec("-e", "A=b", "--cwd", "/tmp", "--user", "1000:1001", "-g", "7", "--no-new-privs", self.name,
                         "sh", "-c", script)
        self.assertEqual(done.stdout.split("\n")[:5], ["container b", "/tmp", "1000", "1001", "1001 7"])
        self.assertIn("NoNewPrivs:\t1", done.stdout)

    def test_values_are_bytes(self):
        done = self.exec("-e", "A=ä", self.name, "sh", "-c", "echo $A ö", env={**os.environ, "LC_ALL": "C"})
        self.assertEqual(done.stdout, "ä ö\n")

    def test_capability(self):
        bits = lambda *o: int(self.exec(*o, self.name, "grep", "CapEff", "/proc/self/status").stdout.split()[1], 16)
        self.assertEqual(bits() & 1 << 12, 0)
        self.assertNotEqual(bits("--cap", "CAP_NET_ADMIN") & 1 << 12, 0)

    def test_process_file(self):
        path = os.path.join(self.bundle, "process.json")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"args": ["sh", "-c", "echo $X; id -u"], "env": ["PATH=/bin", "X=y"], "cwd": "/",
                       "user": {"uid": 5, "gid": 6}}, f)
        self.assertEqual(self.exec("--process", path, self.name).stdout, "y\n5\n")

    def test_detach(self):
        pid_file = os.path.join(self.bundle, "exec-pid")
        self.assertEqual(self.detached("exec", "--detach", "--pid-file", pid_file, self.name, "sleep", "1000"), 0)
        with open(pid_file, encoding="ascii") as f:
            pid = int(f.read())
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            self.assertEqual(f.read(), b"sleep\x001000\0")
        pids = json.loads(self.oci("ps", "--format", "json", self.name).stdout)
        self.assertEqual(sorted(pids), sorted([pid, self.state()["pid"]]))
        self.assertIn("sleep 1000", self.oci("ps", self.name).stdout)

    def test_failures(self):
        for command, status, text in ((["nosuch"], 127, "No such file"), (["/etc/passwd"], 126, "Permission denied")):
            done = self.exec(self.name, *command, check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(text, done.stderr)
        self.refused("neither a command nor", "exec", self.name, status=2)
        self.refused("--user", "exec", "--user", "name", self.name, "true", status=2)
        self.refused("--console-socket", "exec", "--detach", "--tty", self.name, "true")

    def test_container_that_ends_meanwhile(self):
        """The first process has let go of all it had, and is kept by one that its parent does not collect."""
        pid = self.state()["pid"]
        with subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "exec", self.name, "sh", "-c", "echo in; sleep 1000"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as other:
            self.assertEqual(other.stdout.readline(), "in\n")
            other.send_signal(signal.SIGSTOP)
            try:
                self.oci("kill", self.name, "KILL")
                end = time.monotonic() + 10
                while os.path.exists(f"/proc/{pid}/root/bin"):
                    self.assertLess(time.monotonic(), end, "it does not end")
                self.assertNotEqual(self.status(), "stopped")
                self.refused("cannot exec in a stopped container", "exec", self.name, "true")
            finally:
                other.send_signal(signal.SIGCONT)
            self.assertEqual(other.wait(10), 128 + 9)
        self.wait_status("stopped")

    def test_groups_and_namespaces(self):
        own = self.exec(self.name, "sh", "-c", "for n in pid mnt net; do readlink /proc/self/ns/$n; done").stdout
        with open(f"/proc/{self.state()['pid']}/cgroup", encoding="ascii") as f:
            groups = f.read()
        pid = self.state()["pid"]
        self.assertEqual(own.split(), [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("pid", "mnt", "net")])
        self.assertEqual(self.detached("exec", "--detach", "--pid-file", f"{self.bundle}/p", self.name, "sleep", "99"), 0)
        with open(f"{self.bundle}/p", encoding="ascii") as f, open(f"/proc/{f.read()}/cgroup", encoding="ascii") as g:
            self.assertEqual(g.read(), groups)

    def test_paused(self):
        self.oci("pause", self.name)
        self.assertEqual(self.status(), "paused")
        self.refused("cannot exec in a paused container", "exec", self.name, "true")
        self.refused("container not running", "pause", self.name)
        with subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "exec", "--ignore-paused", self.name, "echo", "later"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as later:
            self.assertEqual(select.select([later.stdout], [], [], 0.3)[0], [])
            self.oci("resume", self.name)
            self.assertEqual(later.communicate(timeout=10)[0], "later\n")
        self.assertEqual(self.status(), "running")
        self.assertEqual(self.exec(self.name, "true").returncode, 0)

    def test_preserved_descriptors(self):
        path = os.path.join(self.bundle, "through")
        command = (f"exec 3>{path}; davit-oci --root {runtime.ROOT} exec --preserve-fds 1 {self.name} "
                   "sh -c 'echo through >&3; ls /proc/self/fd'")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=30)
        with open(path, encoding="ascii") as f:
            self.assertEqual(f.read(), "through\n")
        self.assertEqual(done.stdout.split()[:4], ["0", "1", "2", "3"])
        self.refused("--preserve-fds: descriptor", "exec", "--preserve-fds", "9", self.name, "true")


class Terminal(runtime.RuntimeTest):
    def read(self, fd, wanted):
        text, end = b"", time.monotonic() + 10
        while wanted not in text:
            self.assertLess(time.monotonic(), end, text)
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    text += os.read(fd, 4096)
                except OSError:
                    break
        self.assertIn(wanted, text)
        return text

    def test_console_socket(self):
        self.config("tty; stty size; read line; echo got $line", process__terminal=True,
                    process__consoleSize={"width": 91, "height": 17})
        console = runtime.Console(self.bundle)
        self.create("--console-socket", console.path)
        master = console.master()
        console.close()
        self.start()
        self.read(master, b"17 91")
        os.write(master, b"line\n")
        self.read(master, b"got line")
        os.close(master)
        self.wait_status("stopped")

    def test_terminal_wants_a_socket(self):
        self.config(process__terminal=True)
        self.refused("--console-socket", "create", self.name)
        self.config()
        self.refused("--console-socket", "create", "--console-socket", "/nonexistent", self.name)

    def test_run_joins_our_terminal(self):
        self.config("stty size; read line; echo got $line; exit 4", process__terminal=True)
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.bundle)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 23, 71, 0, 0))
            os.execlp("davit-oci", "davit-oci", "--root", runtime.ROOT, "run", self.name)
        self.read(fd, b"23 71")
        os.write(fd, b"word\r")
        self.read(fd, b"got word")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 4)
        os.close(fd)

    def test_terminal_takes_more_than_it_holds(self):
        """The program waits for its words to be read while we wait for it to read ours."""
        lines = "".join(f"{i}\n" for i in range(20000))
        self.config("stty -echo; cat", process__terminal=True)
        done = self.oci("run", self.name, stdin=None, input=lines + "\4")
        self.assertEqual(done.stdout.split()[-1], "19999")

    def test_exec_joins_our_terminal(self):
        self.config(["sleep", "1000"])
        self.create()
        self.start()
        pid, fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 67, 0, 0))
            os.execlp("davit-oci", "davit-oci", "--root", runtime.ROOT, "exec", "--tty", "--env", "A=b", self.name, "sh", "-c",
                      "stty size; read line; echo got $line $A; exit 5")
        self.read(fd, b"21 67")
        os.write(fd, b"word\r")
        self.read(fd, b"got word b")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5)
        os.close(fd)

    def test_exec_with_terminal(self):
        self.config(["sleep", "1000"])
        self.create()
        self.start()
        console = runtime.Console(self.bundle)
        self.assertEqual(self.detached("exec", "--detach", "--tty", "--console-socket", console.path, self.name, "sh",
                                       "-c", "test -t 0 && echo is a tty"), 0)
        master = console.master()
        console.close()
        self.read(master, b"is a tty")
        os.close(master)
