# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-shim by its own protocol: create, start, exec, terminal, stop, pause, pool, recovery. No manager takes part."""

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import davit
import shim


class ShimTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        davit.systemctl("stop", "davitd.service", check=False)
        os.makedirs(davit.FIXTURES, exist_ok=True)
        cls.directory = tempfile.mkdtemp(dir=davit.FIXTURES, prefix="shim-")
        cls.root = shim.busybox_root(os.path.join(cls.directory, "root"))
        cls.launcher = shim.Launcher()

    @classmethod
    def tearDownClass(cls):
        cls.launcher.close()
        shutil.rmtree(cls.directory)

    def task(self, root=None):
        task = shim.Task(root or self.root, self.launcher)
        self.addCleanup(task.end)
        return task

    @staticmethod
    def patch(command, **process):
        return {"process": {"args": ["sh", "-c", command] if isinstance(command, str) else command, **process}}

    def started(self, message, kind=None):
        self.assertEqual(message.type, kind or shim.STARTED, message)
        return message

    def output(self, command, extra=None, arguments=(), **process):
        """What a container writes; it has to end with 0."""
        patch = self.patch(command, **process)
        patch.update(extra or {})
        task = self.task()
        self.started(task.run(patch, *arguments))
        text = task.read()
        self.assertEqual(task.exited(), (0, "exited"), text)
        self.assertTrue(task.gone())
        return text

    def failure(self, patch, *arguments, root=None):
        """(errno, step, sentence) of a container that cannot be made."""
        task = self.task(root)
        m = task.run(patch, *arguments)
        self.assertEqual(m.type, shim.FAILED, m)
        self.assertTrue(task.gone(), "the shim is still there")
        return -m.error, shim.STEPS[m.step], m.text


class Life(ShimTest):
    def test_exit_status_and_record(self):
        task = self.task()
        m = self.started(task.run(self.patch("exit 7")))
        self.assertGreater(m.pid, 0)
        self.assertEqual(task.exited(), (7, "exited"))
        self.assertEqual(task.record()["status"], "7")
        self.assertEqual(task.record()["kind"], "exited")
        self.assertTrue(task.gone())
        self.assertFalse(os.path.exists(task.directory + "/shim"))

    def test_record_stands_before_anyone_is_told(self):
        task = self.task()
        self.started(task.run(self.patch("exit 3")))
        task.exited()
        self.assertEqual(task.record()["status"], "3")

    def test_killed_by_signal(self):
        task = self.task()
        self.started(task.run(self.patch("kill -USR1 $$; sleep 1; sleep 1000")))
        task.control.send(shim.KILL, struct.pack("=iI64s", 9, 0, b""))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (137, "signalled"))

    def test_plan_of_an_exec_is_no_launch(self):
        """S-H04: only the parts that an exec has were checked of it."""
        self.assertEqual(self.failure(self.patch("true"), "--exec", "e1")[:2], (22, "plan"))

    def test_create_then_start(self):
        """S-H01."""
        task = self.task()
        marker = os.path.join(self.root, "tmp/started")
        m = self.started(task.run(self.patch("touch /tmp/started; sleep 0.1"), start=False), shim.CREATED)
        self.assertTrue(os.path.exists(f"/proc/{m.pid}"))
        self.assertFalse(os.path.exists(marker))
        self.assertIn(f"/{task.unit}/payload/init", open(f"/proc/{m.pid}/cgroup").read())
        self.assertIn(f"/{task.unit}/supervisor", open(f"/proc/{task.pid}/cgroup").read())
        task.control.send(shim.START)
        self.started(task.control.recv())
        self.assertEqual(task.exited(), (0, "exited"))
        os.unlink(marker)

    def test_missing_command_is_known_at_create(self):
        for command, error in ((["/no/such"], 2), (["nosuch"], 2), (["/etc/passwd"], 13), (["/bin"], 13)):
            with self.subTest(command=command):
                task = self.task()
                m = task.run(self.patch(command), start=False)
                self.assertEqual((m.type, -m.error, shim.STEPS[m.step]), (shim.FAILED, error, "command"), m.text)
                self.assertTrue(task.gone())

    def test_scope_before_launch_is_done(self):
        task = self.task()
        shim.start_scope(task.unit, task.pid)
        task.launch(self.patch("exit 5"))
        task.control.send(shim.SCOPE, text=task.unit.encode())
        self.started(task.control.recv())
        self.assertEqual(task.exited(), (5, "exited"))

    def test_parked_shim(self):
        task = self.task()
        directory = os.open(task.directory, os.O_RDONLY | os.O_DIRECTORY)
        task.control.send(shim.PARK, fds=[directory])
        os.close(directory)
        shim.start_scope(task.unit, task.pid)
        task.control.send(shim.SCOPE, text=task.unit.encode())
        self.assertEqual(task.control.recv().error, 0)
        task.launch(self.patch("cat /proc/self/cgroup; exit 6"))
        m = self.started(task.control.recv())
        self.assertIn("0::/\n", task.read())
        self.assertEqual(task.exited(), (6, "exited"))
        self.assertGreater(m.pid, 0)

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_failure_in_a_parked_shim_is_said(self):
        """The first process may be gone before the shim has told it of its scope: what it said last still counts."""
        patch = {**self.patch("true"), "mounts": [
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["foo=bar"]}]}
        for _ in range(2):
            task = self.task()
            directory = os.open(task.directory, os.O_RDONLY | os.O_DIRECTORY)
            task.control.send(shim.PARK, fds=[directory])
            os.close(directory)
            shim.start_scope(task.unit, task.pid)
            task.control.send(shim.SCOPE, text=task.unit.encode())
            self.assertEqual(task.control.recv().error, 0)
            tracer = subprocess.Popen(["strace", "-p", str(task.pid), "-e", "trace=bind", "-e", "inject=bind:delay_enter=200000"],
                                      stderr=subprocess.PIPE)
            self.assertIn(b"attached", tracer.stderr.readline())
            task.launch(patch)
            m = task.control.recv()
            self.assertEqual((m.type, -m.error, shim.STEPS[m.step]), (shim.FAILED, 22, "mount"), m)
            self.assertEqual(m.text, "mount tmpfs at /a: option foo=bar: Invalid argument")
            self.assertTrue(task.gone(), "the shim is still there")
            tracer.communicate()

    def test_wrong_scope_is_refused(self):
        task = self.task()
        task.launch(self.patch("true"))
        shim.start_scope(task.unit, task.pid)
        task.control.send(shim.SCOPE, text=b"davit-default-other.scope")
        m = task.control.recv()
        self.assertEqual((m.type, shim.STEPS[m.step]), (shim.FAILED, "cgroup"))
        self.assertTrue(task.gone())

    def test_warm_shim_ends_with_its_socket(self):
        pid, sock, pidfd = self.launcher.shim()
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        sock.close()
        self.assertTrue(select.select([pidfd], [], [], 5)[0])
        os.close(pidfd)

    def test_failed_shim_stays_until_the_scope_is_done(self):
        task = self.task()
        task.launch(self.patch(["/no/such"]), "--lower", "/nonexistent", "--upper", "/nonexistent", "--work", "/nonexistent")
        task.root = self.root
        shim.start_scope(task.unit, task.pid)
        self.assertFalse(task.gone(0.2))
        task.control.send(shim.SCOPE, text=task.unit.encode())
        self.assertTrue(task.gone())

    def test_discard(self):
        for start in (False, True):
            task = self.task()
            task.run(self.patch("sleep 1000"), start=start)
            task.control.send(shim.DISCARD)
            self.assertEqual(task.control.recv().error, 0)
            self.assertEqual(task.exited(), (137, "signalled"))
            self.assertTrue(task.gone())


class Stop(ShimTest):
    TRAP = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"

    def ready(self, task, *arguments, command=TRAP):
        self.started(task.run(self.patch(command), *arguments))
        self.assertEqual(os.read(task.output, 6), b"ready\n")

    def test_stop_signal_of_the_plan(self):
        task = self.task()
        self.ready(task, "--stop-signal", "SIGUSR1")
        task.control.send(shim.STOP, struct.pack("=iIQ", 0, 1, 5000000))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (9, "exited"))

    def test_timeout_kills(self):
        task = self.task()
        self.ready(task, command="trap '' TERM; echo ready; sleep 1000 & while :; do wait; sleep 0.05; done")
        task.control.send(shim.STOP, struct.pack("=iIQ", 0, 1, 200000))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (137, "signalled"))

    def test_without_force_it_goes_on(self):
        task = self.task()
        self.ready(task, command="trap '' TERM; echo ready; while :; do sleep 0.05; done")
        task.control.send(shim.STOP, struct.pack("=iIQ", 0, 0, 100000))
        self.assertEqual(task.control.recv().error, 0)
        self.assertFalse(task.gone(0.4))

    def test_systemctl_stop_without_manager(self):
        task = self.task()
        self.ready(task, "--stop-signal", "SIGUSR1")
        task.control.sock.shutdown(socket.SHUT_RDWR)
        davit.systemctl("stop", task.unit)
        self.assertTrue(task.gone())
        self.assertEqual(task.record()["status"], "9")

    def test_stop_of_a_paused_container(self):
        task = self.task()
        self.ready(task, "--stop-signal", "SIGUSR1")
        task.control.send(shim.PAUSE)
        self.assertEqual(task.control.recv().error, 0)
        task.control.send(shim.STOP, struct.pack("=iIQ", 0, 1, 5000000))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (9, "exited"))


class Running(ShimTest):
    def setUp(self):
        self.running = self.task()
        self.init = self.started(self.running.run(self.patch("echo up; sleep 1000"))).pid
        self.assertEqual(os.read(self.running.output, 3), b"up\n")

    def request(self, kind, body=b"", **keywords):
        serial = self.running.control.send(kind, body, **keywords)
        m = self.running.control.recv()
        self.assertEqual(m.serial, serial, m)
        return m

    def execute(self, command, exec_id="e1", stdio=None, fds=(), arguments=(), **process):
        memfd = self.running.plan(self.patch(command, **process), "--exec", exec_id, *arguments)
        if stdio is None:
            self.reader, writer = os.pipe()
            stdio, fds = (shim.NULL, shim.FD, shim.SAME), [writer]
        m = self.request(shim.EXEC, struct.pack("=BBBBI64s", *stdio, 0, 0, exec_id.encode()), fds=[memfd, *fds])
        for fd in (memfd, *fds):
            os.close(fd)
        return m

    def read(self):
        self.running.output = self.reader
        return self.running.read()

    def test_exec(self):
        m = self.started(self.execute("id -u; hostname; cat /proc/self/cgroup; exit 4"))
        self.assertEqual(m.exec_id, "e1")
        text = self.read()
        self.assertTrue(text.startswith("0\n"), text)
        self.assertIn("0::/../exec-e1\n", text)
        self.assertEqual(self.running.exited(), (4, "exited"))
        self.assertEqual(self.running.record("e1")["status"], "4")

    def test_exec_sees_the_container(self):
        names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
        self.started(self.execute("for n in %s; do readlink /proc/self/ns/$n; done" % " ".join(names)))
        self.assertEqual(self.read().split(), [os.readlink(f"/proc/{self.init}/ns/{n}") for n in names])
        self.running.exited()

    def test_exec_as_user_of_the_image(self):
        self.started(self.execute("id; pwd; echo $HOME", user={"username": "user"}, cwd="/tmp"))
        self.assertEqual(self.read(), "uid=1000(user) gid=1000(user) groups=29(audio),44(video),1000(user)\n/tmp\n/srv/user\n")
        self.running.exited()

    def test_exec_failures_leave_nothing(self):
        before = os.listdir(f"/proc/{self.running.pid}/fd")
        for command, process, step in ((["/no/such"], {}, "command"), ("true", {"cwd": "/no/such/dir/x"}, "cwd"),
                                       ("true", {"cwd": "/proc/self/fd/5"}, "cwd"), ("true", {"user": {"username": "nobody9"}}, "user")):
            m = self.execute(command, **process)
            self.assertEqual((m.type, shim.STEPS[m.step]), (shim.FAILED, step), m.text)
            os.close(self.reader)
        self.assertEqual(len(os.listdir(f"/proc/{self.running.pid}/fd")), len(before))
        self.assertEqual(self.children(), [self.init])

    def children(self):
        with open(f"/proc/{self.running.pid}/task/{self.running.pid}/children") as f:
            return [int(p) for p in f.read().split()]

    def test_many_execs_leave_nothing(self):
        self.started(self.execute("true", exec_id="warm"))
        self.running.exited()
        self.assertEqual(self.state().status, 2)  # it has done with the first one
        before = os.listdir(f"/proc/{self.running.pid}/fd")
        for i in range(100):
            self.started(self.execute(["true"], exec_id=f"x{i}"))
            self.assertEqual(self.running.exited(), (0, "exited"))
            os.close(self.reader)
        self.assertEqual(self.state().status, 2)  # it has done with the last one
        self.assertEqual(len(os.listdir(f"/proc/{self.running.pid}/fd")), len(before))
        self.assertEqual(self.children(), [self.init])
        self.assertEqual(self.exec_groups(), [])

    def payload(self):
        group = open(f"/proc/{self.running.pid}/cgroup").read().split("0::")[1].split()[0]
        unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        return ("/sys/fs/cgroup" if unified else "/sys/fs/cgroup/unified") + os.path.dirname(group) + "/payload"

    def exec_groups(self):
        return [e for e in os.listdir(self.payload()) if e.startswith("exec-")]

    def test_group_left_behind_goes_with_what_is_in_it(self):
        before = os.listdir(f"/proc/{self.running.pid}/fd")
        self.started(self.execute("sleep 1000 >/dev/null 2>&1 & exit 0", exec_id="left"))
        self.assertEqual(self.running.exited(), (0, "exited"))
        self.assertEqual(self.state().status, 2)
        self.assertEqual(self.exec_groups(), ["exec-left"])
        with open(self.payload() + "/exec-left/cgroup.procs") as f:
            os.kill(int(f.read()), signal.SIGKILL)
        davit.wait_until(lambda: self.exec_groups() == [], what="the group to go")
        davit.wait_until(lambda: len(os.listdir(f"/proc/{self.running.pid}/fd")) == len(before), what="descriptors as before")

    def test_exec_id_in_use(self):
        self.started(self.execute("sleep 1000"))
        m = self.execute("true")
        self.assertEqual((m.type, -m.error), (shim.FAILED, 17))
        self.assertEqual(self.request(shim.KILL, struct.pack("=iI64s", 9, 0, b"e1")).error, 0)
        self.assertEqual(self.running.exited(), (137, "signalled"))

    def test_processes(self):
        """S-X13."""
        self.started(self.execute("sleep 1000 & sleep 1000"))
        deadline = time.monotonic() + 5
        while True:
            m = self.request(shim.PROCESSES)
            with os.fdopen(m.fds[0], "rb") as f:
                records = list(struct.iter_unpack("=iI64s", f.read()))
            names = sorted(r[2].split(b"\0")[0].decode() for r in records)
            if len(names) >= 3 or time.monotonic() > deadline:
                break
        self.assertEqual([n for n in names if n], ["e1", "init"])
        self.assertIn(self.init, [r[0] for r in records])

    def test_init_takes_execs_with_it(self):
        self.started(self.execute("sleep 1000"))
        self.running.control.send(shim.KILL, struct.pack("=iI64s", 9, 0, b""))
        messages = [self.running.control.recv() for _ in range(3)]
        self.assertEqual(sorted((m.type, getattr(m, "exec_id", "")) for m in messages),
                         [(shim.REPLY, ""), (shim.EXITED, ""), (shim.EXITED, "e1")])
        self.assertTrue(self.running.gone())
        self.assertEqual(self.running.record("e1")["status"], "137")

    def test_kill_all(self):
        self.assertEqual(self.request(shim.KILL, struct.pack("=iI64s", 9, 1, b"")).error, 0)
        self.assertEqual(self.running.exited(), (137, "signalled"))

    def test_pause_and_resume(self):
        self.assertEqual(self.request(shim.PAUSE).error, 0)
        self.assertEqual(self.state().status, 4)
        self.assertEqual(-self.execute("true").error, 16)
        self.assertEqual(self.request(shim.PAUSE).error, 0)
        self.assertEqual(self.request(shim.RESUME).error, 0)
        self.assertEqual(self.state().status, 2)
        self.assertEqual(self.request(shim.RESUME).error, 0)

    def test_discard_of_a_paused_container(self):
        self.assertEqual(self.request(shim.PAUSE).error, 0)
        self.assertEqual(self.request(shim.DISCARD).error, 0)
        self.assertEqual(self.running.exited(), (137, "signalled"))
        self.assertTrue(self.running.gone())

    def state(self):
        serial = self.running.control.send(shim.QUERY)
        m = self.running.control.recv()
        self.assertEqual((m.type, m.serial), (shim.STATE, serial))
        while self.running.control.recv().type == shim.STATE:
            pass
        return m

    def test_a_later_manager(self):
        self.running.control.close()
        self.running.control = shim.seqpacket(self.running.directory + "/shim")
        m = self.state()
        self.assertEqual((m.status, m.pid), (2, self.init))
        other = shim.seqpacket(self.running.directory + "/shim")
        self.assertIsNone(self.running.control.recv())
        self.running.control.close()
        self.running.control = other
        self.started(self.execute("exit 8"))
        self.assertEqual(self.running.exited(), (8, "exited"))

    def test_exit_without_manager(self):
        self.running.control.close()
        os.kill(self.init, signal.SIGKILL)
        self.assertTrue(self.running.gone())
        self.running.control = shim.Socket(socket.socketpair()[0])
        self.assertEqual(self.running.record()["status"], "137")

    def test_socket_is_for_root_alone(self):
        path = self.running.directory + "/shim"
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        os.chmod(path, 0o666)
        for d in (self.running.directory, "/run/davit/task/default", "/run/davit/task", "/run/davit"):
            self.addCleanup(os.chmod, d, stat.S_IMODE(os.stat(d).st_mode))
            os.chmod(d, 0o755)
        pid = os.fork()
        if pid == 0:
            os.setresuid(1000, 1000, 1000)
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(path)
            os._exit(0 if s.recv(1) == b"" else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(self.state().status, 2)

    def test_malformed_packets_end_the_connection(self):
        for data in (b"x", b"\0" * 16, shim.HEAD.pack(2, shim.QUERY, 0, 1, 0), shim.HEAD.pack(1, 999, 0, 1, 0),
                     shim.HEAD.pack(1, shim.KILL, 0, 1, 0), shim.HEAD.pack(1, shim.QUERY, 0, 1, 5000),
                     shim.HEAD.pack(1, shim.KILL, 0, 1, 0) + struct.pack("=iI64s", 9, 0, b"x" * 64)):
            s = shim.seqpacket(self.running.directory + "/shim")
            s.sock.send(data)
            self.assertIsNone(s.recv())
            s.close()
        self.running.control = shim.seqpacket(self.running.directory + "/shim")
        self.assertEqual(self.state().status, 2)

    def test_exec_with_terminal(self):
        m = self.execute("tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo all", terminal=True,
                         consoleSize={"width": 100, "height": 30}, stdio=(shim.PTY,) * 3)
        self.started(m)
        self.assertEqual(len(m.fds), 1)
        self.assertEqual(drain(m.fds[0]).split(), ["/dev/pts/0", "30", "100", "all"])
        self.running.exited()


def drain(master):
    text = b""
    while select.select([master], [], [], 5)[0]:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(master)
    return text.decode()


class Streams(ShimTest):
    def test_terminal(self):
        task = self.task()
        m = task.run(self.patch("tty; stty size; ls -l /dev/console | cut -c1; read x; echo got $x", terminal=True,
                                consoleSize={"width": 80, "height": 24}), stdio=(shim.PTY,) * 3)
        self.started(m)
        master = m.fds[0]
        os.write(master, b"hello\n")
        self.assertIn("got hello", drain(master))
        self.assertEqual(task.exited(), (0, "exited"))

    def test_resize_and_terminal_request(self):
        task = self.task()
        m = self.started(task.run(self.patch("stty size; read x; stty size", terminal=True), stdio=(shim.PTY,) * 3))
        os.close(m.fds[0])
        task.control.send(shim.TERMINAL, struct.pack("=64s", b""))
        master = task.control.recv().fds[0]
        task.control.send(shim.RESIZE, struct.pack("=HHI64s", 33, 99, 0, b""))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(struct.unpack("HH", fcntl.ioctl(master, termios.TIOCGWINSZ, b"\0" * 4)), (33, 99))
        os.write(master, b"\n")
        self.assertIn("33 99", drain(master))

    def test_journal(self):
        task = self.task()
        self.started(task.run(self.patch("echo to-out; echo to-err >&2; sleep 0.1"), stdio=(shim.NULL, shim.JOURNAL, shim.JOURNAL), fds=()))
        self.assertEqual(task.exited(), (0, "exited"))
        davit.run("journalctl", "--sync")
        lines = davit.run("journalctl", "-o", "json", f"_SYSTEMD_UNIT={task.unit}", "_TRANSPORT=stdout").stdout
        entries = {e["MESSAGE"]: e for e in map(json.loads, lines.splitlines())}
        self.assertEqual((entries["to-out"]["PRIORITY"], entries["to-err"]["PRIORITY"]), ("6", "3"))
        self.assertEqual(entries["to-out"]["SYSLOG_IDENTIFIER"], task.id)

    def test_null_and_descriptors(self):
        self.assertEqual(self.output("readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"), "/dev/null\n4\n")

    def test_listen_fds(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        task = self.task()
        read, write = os.pipe()
        task.output = read
        task.launch(self.patch("echo $LISTEN_FDS $LISTEN_PID $$; readlink /proc/self/fd/3"), "--listen-fds", "1",
                    stdio=(shim.NULL, shim.FD, shim.SAME), fds=(write, os.dup(listener.fileno())), listen=1)
        task.scope()
        self.started(task.control.recv())
        text = task.read().split()
        self.assertEqual(text[:3], ["1", "1", "1"])
        self.assertTrue(text[3].startswith("socket:"))

    def test_user_can_reopen_its_pipe(self):
        self.assertEqual(self.output("echo again > /dev/stdout", user={"uid": 1000, "gid": 1000}), "again\n")


class Identity(ShimTest):
    def test_users(self):
        for user, expected in (("user", "1000 1000 29 44 1000"), ("user:audio", "1000 29 29"), ("1000", "1000 1000 29 44 1000"),
                               ("1000:5", "1000 5 5"), ("4000000000", "4000000000 0 0"), ("root", "0 0 0"), ("5:user", "5 1000 1000")):
            with self.subTest(user=user):
                uid, gid, *groups = self.output("id -u; id -g; grep Groups /proc/self/status | cut -f2", user={"username": user}).split()
                self.assertEqual([uid, gid, *sorted(groups, key=int)], expected.split()[:2] + sorted(expected.split()[2:], key=int))

    def test_bad_users(self):
        for user in ("1:", ":1", "0x0", "1000abc", "4294967296", "4294967295", "-1", " 5", "1:2:3", "nobody9", "user:nogroup9"):
            with self.subTest(user=user):
                try:
                    self.assertEqual(self.failure(self.patch("true", user={"username": user}))[1], "user")
                except ValueError as refused:  # the plan knows already
                    self.assertIn("process.user.username", str(refused))

    def test_additional_groups(self):
        text = self.output("grep Groups /proc/self/status | cut -f2", user={"uid": 5, "gid": 6, "additionalGids": [7, 8]})
        self.assertEqual(sorted(text.split()), ["6", "7", "8"])

    def test_home_and_umask(self):
        self.assertEqual(self.output("echo $HOME; umask", user={"uid": 1000, "gid": 1000, "umask": 0o27}), "/srv/user\n0027\n")

    def test_hostile_account_files(self):
        for kind in ("fifo", "zero", "huge"):
            root = shim.busybox_root(os.path.join(self.directory, kind))
            os.unlink(root + "/etc/passwd")
            if kind == "fifo":
                os.mkfifo(root + "/etc/passwd")
            elif kind == "zero":
                os.symlink("/dev/zero", root + "/etc/passwd")
            else:
                os.truncate(os.open(root + "/etc/passwd", os.O_CREAT | os.O_RDWR), 1 << 30)
            begun = time.monotonic()
            self.assertEqual(self.failure(self.patch("true", user={"username": "user"}), root=root)[1], "user")
            self.assertLess(time.monotonic() - begun, 5)

    def test_capabilities(self):
        text = self.output("grep Cap /proc/self/status")
        caps = {line.split()[0]: int(line.split()[1], 16) for line in text.splitlines()}
        self.assertEqual(caps["CapInh:"], 0)
        self.assertEqual(caps["CapAmb:"], 0)
        self.assertEqual(caps["CapPrm:"], caps["CapBnd:"])
        text = self.output("grep Cap /proc/self/status", user={"uid": 1000, "gid": 1000})
        caps = {line.split()[0]: int(line.split()[1], 16) for line in text.splitlines()}
        self.assertEqual((caps["CapInh:"], caps["CapPrm:"], caps["CapEff:"], caps["CapAmb:"]), (0, 0, 0, 0))

    def test_ambient(self):
        one = ["CAP_NET_BIND_SERVICE"]
        text = self.output("grep Cap /proc/self/status", user={"uid": 1000, "gid": 1000},
                           capabilities={k: one for k in ("bounding", "effective", "permitted", "inheritable", "ambient")})
        self.assertEqual({line.split()[1] for line in text.splitlines()}, {"%016x" % (1 << 10)})

    def test_no_new_privs_and_seccomp(self):
        text = self.output("grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status; unshare -r true 2>&1 | head -1", noNewPrivileges=True)
        self.assertIn("NoNewPrivs:\t1\nSeccomp:\t2\n", text)
        text = self.output("grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status", noNewPrivileges=False)
        self.assertIn("NoNewPrivs:\t0\nSeccomp:\t2\n", text)

    def test_rlimits(self):
        self.assertEqual(self.output("ulimit -n; ulimit -Hn", rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]), "77\n99\n")

    def test_oom_score(self):
        self.assertEqual(self.output("cat /proc/self/oom_score_adj", oomScoreAdj=321), "321\n")


class Files(ShimTest):
    def mounts(self, *mounts):
        base = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ]
        return {"mounts": [*base, *mounts]}

    def test_bind(self):
        source = os.path.join(self.directory, "source")
        os.makedirs(source, exist_ok=True)
        with open(source + "/file", "w") as f:
            f.write("content\n")
        text = self.output("cat /a/b/file; touch /a/b/x 2>&1; cat /single; grep -c ' /a/b ro' /proc/self/mountinfo; true", self.mounts(
            {"destination": "/a/b", "type": "bind", "source": source, "options": ["rbind", "ro"]},
            {"destination": "/single", "type": "bind", "source": source + "/file", "options": ["bind"]}))
        self.assertTrue(text.startswith("content\n"))
        self.assertIn("Read-only file system", text)
        self.assertTrue(text.endswith("content\n1\n"), text)

    def test_propagation(self):
        """What a container mounts below a shared bind is seen outside, below any other it is not; the host's mounts come in."""
        base = os.path.join(self.directory, "propagation")
        for name in ("shared", "slave"):
            os.makedirs(f"{base}/{name}/in")
            os.makedirs(f"{base}/{name}/out")
        davit.run("mount", "-t", "tmpfs", "tmpfs", base + "/slave")
        self.addCleanup(davit.run, "umount", "-R", base + "/slave")
        davit.run("mount", "--make-shared", base + "/slave")
        os.makedirs(base + "/slave/in")
        os.makedirs(base + "/slave/out")
        davit.run("mount", "--bind", base + "/shared", base + "/shared")
        self.addCleanup(davit.run, "umount", "-R", base + "/shared")
        davit.run("mount", "--make-shared", base + "/shared")
        caps = ["CAP_SYS_ADMIN"]
        task = self.task()
        patch = self.patch("mount -t tmpfs x /shared/in && mount -t tmpfs x /slave/in; echo done; read x < /slave/in/none; sleep 1000",
                           capabilities={k: caps for k in ("bounding", "effective", "permitted")})
        patch.update(self.mounts({"destination": "/shared", "type": "bind", "source": base + "/shared", "options": ["rbind", "rshared"]},
                                 {"destination": "/slave", "type": "bind", "source": base + "/slave", "options": ["rbind", "rslave"]}))
        patch["linux"] = {"seccomp": None, "rootfsPropagation": "shared"}
        m = self.started(task.run(patch))
        self.assertEqual(os.read(task.output, 5), b"done\n")
        outside = open("/proc/self/mountinfo").read()
        self.assertIn(f"{base}/shared/in ", outside)
        self.assertNotIn(f"{base}/slave/in ", outside)
        davit.run("mount", "-t", "tmpfs", "tmpfs", base + "/slave/out")
        self.assertIn(" /slave/out ", open(f"/proc/{m.pid}/mountinfo").read())

    def test_propagation_of_the_root(self):
        """The root alone, or with everything that is mounted in it."""
        for word, shared in (("shared", {"/"}), ("rshared", None)):
            patch = self.patch("echo done; exec sleep 1000")
            patch["linux"] = {"rootfsPropagation": word}
            task = self.task()
            m = self.started(task.run(patch))
            self.assertEqual(os.read(task.output, 5), b"done\n")
            with open(f"/proc/{m.pid}/mountinfo", encoding="utf-8") as f:
                rows = [line.split() for line in f]
            self.assertGreater(len(rows), 3)
            self.assertEqual({row[4] for row in rows if row[6].startswith("shared:")}, shared or {row[4] for row in rows})

    def test_mapped_bind(self):
        source = os.path.join(self.directory, "idmapped")
        os.makedirs(source)
        with open(source + "/file", "w") as f:
            f.write("x")
        ids = [{"containerID": 0, "hostID": 3000, "size": 10}]
        text = self.output("stat -c %u:%g /m/file; touch /m/new", {**self.mounts(
            {"destination": "/m", "type": "bind", "source": source, "options": ["bind", "idmap"], "uidMappings": ids,
             "gidMappings": ids})}, user={"uid": 3000, "gid": 3000}, capabilities={
                 k: ["CAP_DAC_OVERRIDE"] for k in ("bounding", "effective", "permitted", "inheritable", "ambient")})
        self.assertEqual(text, "3000:3000\n")
        self.assertEqual(os.stat(source + "/new").st_uid, 0)

    def test_recursive_readonly(self):
        source = os.path.join(self.directory, "recursive")
        os.makedirs(source + "/below")
        davit.run("mount", "-t", "tmpfs", "tmpfs", source + "/below")
        self.addCleanup(davit.run, "umount", source + "/below")
        for option, words in (("ro", ""), ("rro", "Read-only file system")):
            text = self.output("touch /m/below/x 2>&1; touch /m/x 2>&1 | grep -o Read-only; true", self.mounts(
                {"destination": "/m", "type": "bind", "source": source, "options": ["rbind", option]}))
            self.assertTrue(text.endswith("Read-only\n"))
            self.assertIn(words, text)
            self.assertEqual(text.count("Read-only"), 2 if words else 1)

    def test_devices(self):
        text = self.output("stat -c '%a %u:%g %t:%T %F' /dev/mine /dev/sub/pipe; test -c /dev/null && echo null", {"linux": {"devices": [
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/sub/pipe", "type": "p", "fileMode": 0o622, "uid": 0, "gid": 0}]}})
        self.assertEqual(text, "640 7:8 1:5 character special file\n622 0:0 0:0 fifo\nnull\n")

    def test_cgroup_without_a_namespace(self):
        task = self.task()
        self.started(task.run({**self.patch("grep ^0: /proc/self/cgroup; ls /sys/fs/cgroup | grep -c -e system.slice -e cgroup.procs"),
                               "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")]}}))
        text = task.read()
        self.assertIn(f"{task.unit}/payload/init\n", text)
        self.assertTrue(text.endswith("\n1\n"), text)
        self.assertEqual(task.exited(), (0, "exited"))

    def test_mask_below_the_cgroup_mount(self):
        self.assertEqual(self.output("cat /sys/fs/cgroup/cgroup.procs | wc -l", {"linux": {
            "maskedPaths": ["/sys/fs/cgroup/cgroup.procs"]}}), "0\n")

    def test_missing_source(self):
        error, step, text = self.failure({**self.patch("true"), **self.mounts(
            {"destination": "/a", "type": "bind", "source": "/no/such/thing", "options": ["bind"]})})
        self.assertEqual((error, step), (2, "mount"))
        self.assertIn("/no/such/thing", text)

    def test_tmpfs_and_copy_up(self):
        text = self.output("cat /etc/passwd | head -1; echo x > /etc/new; cat /etc/new; stat -c %a /scratch", self.mounts(
            {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
            {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1711", "size=1m"]}))
        self.assertEqual(text, "root:x:0:0:root:/root:/bin/sh\nx\n1711\n")
        self.assertFalse(os.path.exists(self.root + "/etc/new"))

    def test_readonly_root(self):
        text = self.output("touch /x 2>&1; touch /dev/shm/x && echo shm", {"root": {"readonly": True}})
        self.assertIn("Read-only file system", text)
        self.assertIn("shm", text)

    def test_masks(self):
        text = self.output("cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo x 2>&1 > /proc/sys/kernel/hostname; true")
        self.assertIn("0\n0\n", text)

    def test_overlay(self):
        base = os.path.join(self.directory, "overlay")
        os.makedirs(base)
        root = ("--lower", self.root, "--upper", base + "/upper", "--work", base + "/w")
        task = self.task(root)
        self.started(task.run(self.patch("echo kept > /kept; cat /etc/passwd | wc -l")))
        self.assertEqual(task.read(), "2\n")
        task.exited()
        self.assertTrue(task.gone())
        self.assertEqual(open(base + "/upper/kept").read(), "kept\n")
        self.assertFalse(os.path.exists(self.root + "/kept"))
        task = self.task((*root, "--ephemeral"))
        self.started(task.run(self.patch("cat /kept; echo y > /y")))
        task.exited()
        self.assertTrue(task.gone())
        self.assertEqual(os.listdir(base), [])

    def test_nothing_mounted_outside(self):
        before = open("/proc/self/mountinfo").read()
        pid = davit.main_pid("davit-launcher.service")
        launcher = open(f"/proc/{pid}/mountinfo").read()
        self.output("true")
        self.assertEqual(open("/proc/self/mountinfo").read(), before)
        self.assertEqual(open(f"/proc/{pid}/mountinfo").read(), launcher)

    def test_links_in_the_way(self):
        for name, target in (("proc", "/tmp"), ("sys", ".."), ("dev", "/etc"), ("dev", "../../tmp")):
            with self.subTest(name=name, target=target):
                root = tempfile.mkdtemp(dir=self.directory)
                shim.busybox_root(root + "/r")
                os.rmdir(f"{root}/r/{name}")
                os.symlink(target, f"{root}/r/{name}")
                before = sorted(os.listdir(root + "/r/etc"))
                error, step, text = self.failure(self.patch("true"), root=root + "/r")
                self.assertIn(step, ("mount", "device"))
                self.assertIn("symbolic link", text)
                self.assertEqual(sorted(os.listdir(root + "/r/etc")), before)

    def test_image_dev_without_a_mount(self):
        for name in ("dev", "dev/pts"):
            root = tempfile.mkdtemp(dir=self.directory) + "/r"
            shim.busybox_root(root)
            os.rmdir(root + "/dev")
            if name == "dev":
                os.symlink("/etc", root + "/dev")
            else:
                os.makedirs(root + "/dev")
                os.symlink("/etc", root + "/dev/pts")
            task = self.task(root)
            patch = {**self.patch("ls /dev"), "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]}
            m = task.run(patch)
            if name == "dev":
                self.assertEqual((m.type, shim.STEPS[m.step]), (shim.FAILED, "device"), m)
            else:
                self.started(m)
                self.assertIn("null", task.read())
            self.assertEqual(sorted(os.listdir(root + "/etc")), ["group", "passwd"])

    def test_cwd(self):
        self.assertEqual(self.output("pwd", cwd="/made/here"), "/made/here\n")
        for number in range(3, 20):
            error, step, text = self.failure(self.patch("true", cwd=f"/proc/self/fd/{number}"))
            self.assertEqual(step, "cwd", text)

    def test_sysctl(self):
        text = self.output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", {"linux": {"sysctl": {
            "net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}}})
        self.assertEqual(text, "1\n12345\n")

    def test_hostname_and_network(self):
        text = self.output("hostname; ls /sys/class/net", {"hostname": "box"})
        self.assertEqual(text.split(), ["box", "lo"])

    def test_user_namespace(self):
        root = shim.busybox_root(os.path.join(self.directory, "userns"))
        for directory, names, files in os.walk(root):
            for name in ["", *names, *files]:
                os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
        ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        task = self.task(root)
        self.started(task.run({**self.patch("id -u; cat /proc/self/uid_map; touch /mine; ls -ln /dev/null; sleep 5"), "linux": {
            "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup", "user")],
            "uidMappings": ids, "gidMappings": ids}}))
        text = b""
        while b"null" not in text:
            text += os.read(task.output, 4096)
        self.assertEqual(text.decode().split()[:4], ["0", "0", "100000", "65536"])
        self.assertEqual(os.stat(root + "/mine").st_uid, 100000)
        memfd = task.plan({**self.patch("id -u; echo in > /tmp/x"), "linux": {"uidMappings": ids, "gidMappings": ids, "namespaces": [
            {"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup", "user")]}}, "--exec", "u1")
        read, write = os.pipe()
        task.control.send(shim.EXEC, struct.pack("=BBBBI64s", shim.NULL, shim.FD, shim.SAME, 0, 0, b"u1"), fds=[memfd, write])
        os.close(write)
        self.started(task.control.recv())
        task.output = read
        self.assertEqual(task.read(), "0\n")
        self.assertEqual(task.exited(), (0, "exited"))

    def test_user_namespace_on_an_overlay(self):
        """The image's files are root's on disk and in the container, and so is what it writes."""
        base = os.path.join(self.directory, "mapped")
        os.makedirs(base)
        ids = [{"containerID": 0, "hostID": 200000, "size": 65536}]
        task = self.task(("--lower", self.root, "--upper", base + "/upper", "--work", base + "/w"))
        self.started(task.run({**self.patch("stat -c %u /etc/passwd; echo x > /new; stat -c %u /new; cat /proc/self/uid_map; mkdir /d && "
                                            "chown 5:6 /d && rm /etc/group && ls /etc"), "linux": {
            "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup", "user")],
            "uidMappings": ids, "gidMappings": ids}}))
        self.assertEqual(task.read().split(), ["0", "0", "0", "200000", "65536", "passwd"])
        self.assertEqual(task.exited(), (0, "exited"))
        self.assertEqual(os.stat(base + "/upper/new").st_uid, 0)
        self.assertEqual((os.stat(base + "/upper/d").st_uid, os.stat(base + "/upper/d").st_gid), (5, 6))

    def test_joined_namespace(self):
        first = self.task()
        pid = self.started(first.run(self.patch("sleep 1000"))).pid
        for name, key in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
            with self.subTest(name=name):
                kinds = [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup") if t != name]
                kinds.append({"type": name, "path": f"/proc/{pid}/ns/{key}"})
                text = self.output(f"readlink /proc/self/ns/{key}", {"linux": {"namespaces": kinds}})
                self.assertEqual(text.strip(), os.readlink(f"/proc/{pid}/ns/{key}"))
        error, step, text = self.failure({**self.patch("true"), "linux": {"namespaces": [
            {"type": "mount"}, {"type": "network", "path": f"/proc/{pid}/ns/uts"}]}})
        self.assertEqual(step, "namespace")


class Memory(ShimTest):
    LIMIT = [("MemoryMax", "t", 24 << 20), ("MemorySwapMax", "t", 0)]

    def hog(self, command):
        task = self.task()
        task.launch(self.patch(command))
        task.scope(self.LIMIT)
        self.started(task.control.recv())
        return task

    def test_first_process_killed_for_memory(self):
        """S-H09, S-W08: told before the end, written before it is told."""
        task = self.hog("exec tail /dev/zero")
        self.assertEqual(task.killed(), (1, "init"))
        self.assertEqual(task.exited(), (137, "oom"))
        self.assertEqual(task.record()["oom_kills"], "1")

    def test_child_killed_for_memory(self):
        """S-H09: the container goes on, no kill is told twice, and what is told stands in the task's directory."""
        task = self.hog("tail /dev/zero; sleep 1; tail /dev/zero; exit 3")
        self.assertEqual([task.killed(), task.killed()], [(1, "child"), (2, "child")])
        self.assertEqual(task.exited(), (3, "exited"))
        with open(os.path.join(task.directory, "oom")) as f:
            lines = f.read().splitlines()
        self.assertEqual(lines[0], "version=1")
        self.assertEqual([line.split()[:2] + line.split()[3:] for line in lines[1:]],
                         [["1", "1", "child"], ["2", "2", "child"]])

    def test_kills_are_told_again_to_who_asks(self):
        """S-R: a manager that comes later hears what has been."""
        task = self.hog("tail /dev/zero; sleep 1000; true")
        self.assertEqual(task.killed(), (1, "child"))
        task.control.send(shim.QUERY)
        self.assertEqual(task.killed(), (1, "child"))
        self.assertEqual(task.control.recv().type, shim.STATE)
        self.assertEqual(task.control.recv().type, shim.REPLY)

    def test_kill_after_a_child_was_killed_for_memory(self):
        """Who was killed on demand was not killed for memory, whatever happened in the scope before."""
        task = self.task()
        task.launch(self.patch("tail /dev/zero; sleep 1000; true"))
        task.scope(self.LIMIT)
        pid = self.started(task.control.recv()).pid

        def sleeps():
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                children = f.read().split()
            return any("sleep" in davit.run("cat", f"/proc/{c}/cmdline", check=False).stdout for c in children)
        davit.wait_until(sleeps, what="the end of the hog")
        self.assertEqual(task.killed(), (1, "child"))
        task.control.send(shim.KILL, struct.pack("=iI64s", 9, 0, b""))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (137, "signalled"))


class Pieces(ShimTest):
    def test_chain_and_removal(self):
        base = tempfile.mkdtemp(dir="/var/lib/davit")
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        os.makedirs(base + "/tree")
        name = "test-" + os.path.basename(base)
        for _ in range(2):
            self.launcher.send(shim.LAUNCHER_CHAIN, struct.pack("=II", 1, 0), f"{name}\0{base}/tree".encode())
            self.assertEqual(self.launcher.recv().error, 0)
        pid = davit.main_pid("davit-launcher.service")
        lines = [l for l in open(f"/proc/{pid}/mountinfo") if f"/run/davit/chains/{name} " in l]
        self.assertEqual(len(lines), 1)
        self.assertIn(" ro,", lines[0])
        self.assertNotIn("nosuid", lines[0].split(" - ")[0])
        self.assertNotIn(name, open("/proc/self/mountinfo").read())
        for source in ("/etc", f"{base}/../../../etc", "/var/lib/davit/../../etc"):
            self.launcher.send(shim.LAUNCHER_CHAIN, struct.pack("=II", 1, 0), f"bad\0{source}".encode())
            self.assertLess(self.launcher.recv().error, 0)

        os.makedirs("/var/lib/davit/trash", exist_ok=True)
        os.rename(base + "/tree", f"/var/lib/davit/trash/{name}")
        os.makedirs(f"/var/lib/davit/trash/{name}/a/b")
        os.symlink("/etc", f"/var/lib/davit/trash/{name}/a/link")
        self.launcher.send(shim.LAUNCHER_REMOVE, text=name.encode())
        m = self.launcher.recv()
        self.assertEqual((m.type, m.error), (shim.LAUNCHER_REMOVE_DONE, 0), m)
        self.assertFalse(os.path.exists(f"/var/lib/davit/trash/{name}"))
        self.assertTrue(os.path.exists("/etc/passwd"))
        for bad in ("../x", "..", "a/b"):
            self.launcher.send(shim.LAUNCHER_REMOVE, text=bad.encode())
            self.assertEqual(self.launcher.recv().error, -22)

    def test_runs_from_a_sealed_copy(self):
        pid = davit.main_pid("davit-launcher.service")
        self.assertIn("memfd:", os.readlink(f"/proc/{pid}/exe"))
        with self.assertRaises(OSError):
            os.open(f"/proc/{pid}/exe", os.O_RDWR)

    def test_starts_itself_anew(self):
        """After so many forks the launcher executes itself, and the connection it serves goes on."""
        pid = davit.main_pid("davit-launcher.service")
        for _ in range(4100 // 64 + 1):
            self.launcher.send(shim.LAUNCHER_HELLO, struct.pack("=II", 64, 0))
            shims = [self.launcher.recv() for _ in range(64)]
            for m in shims:
                for fd in m.fds:
                    os.close(fd)
        self.assertEqual(davit.main_pid("davit-launcher.service"), pid)
        self.assertRegex(open(f"/proc/{pid}/cmdline", "rb").read(), rb"--manager=[0-9]")
        self.output("true")

    def test_shows_whose_shim_it_is(self):
        task = self.task()
        self.started(task.run(self.patch("sleep 1000")))
        line = open(f"/proc/{task.pid}/cmdline", "rb").read()
        self.assertTrue(line.startswith(b"davit-shim default/"), line)
        self.assertEqual(line.rstrip(b"\0").count(b"\0"), 0)

    def test_launcher_restart_harms_no_task(self):
        task = self.task()
        self.started(task.run(self.patch("sleep 1000")))
        davit.systemctl("restart", "davit-launcher.service")
        type(self).launcher.close()
        type(self).launcher = shim.Launcher()
        self.assertFalse(task.gone(0.2))
        task.control.send(shim.KILL, struct.pack("=iI64s", 9, 0, b""))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (137, "signalled"))
        self.output("true")


if __name__ == "__main__":
    unittest.main()
