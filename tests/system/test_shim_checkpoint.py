# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dumps by the launcher and restores by a shim, by their own protocol. Where criu can: in the guest, not on every machine."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import shim
from test_shim import ShimTest

COUNT = "i=0; while sleep 0.2; do i=$((i+1)); echo n $i; done"
#: What a container has, and mounts below mounts, by a link, and of a single file.
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]},
    {"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
]


def criu_works():
    return shutil.which("criu") and subprocess.run(["criu", "check"], capture_output=True, check=False).returncode == 0


def table(pid):
    """The mounts of a process, without what is different each time."""
    found = []
    with open(f"/proc/{pid}/mountinfo") as lines:
        for line in lines:
            own, fs = line.rstrip("\n").split(" - ")
            _, _, _, root, point, options, *_ = own.split(" ")
            root = "group" if fs.startswith("cgroup2") else re.sub(r".*/fixtures/", "", root)
            found.append((point, root, options, fs.split(" ")[0]))
    return sorted(found)


def rights(pid):
    """Who a process is, what it may, and what it has open."""
    found = sorted(os.listdir(f"/proc/{pid}/fd"))
    for name in ("status", "limits", "oom_score_adj", "cgroup"):
        with open(f"/proc/{pid}/{name}") as lines:
            text = lines.read()
        if name == "status":
            text = "\n".join(re.findall(r"^(?:Uid|Gid|Groups|Cap\w+|NoNewPrivs|Seccomp\w*):.*$", text, re.MULTILINE))
        found.append(re.sub(r"test-\w+|davit-[^/]*\.scope", "", text))
    return found


class CheckpointTest(ShimTest):
    @classmethod
    def setUpClass(cls):
        if not criu_works():
            raise unittest.SkipTest("criu cannot dump here")
        super().setUpClass()

    def setUp(self):
        self.images = os.path.join(self.directory, "images")
        os.mkdir(self.images)
        self.addCleanup(shutil.rmtree, self.images)

    def begin(self, command=COUNT, arguments=(), root=None, patch=None, process=None, **keywords):
        task = self.task(root)
        m = self.started(task.run({**(patch or {}), **self.patch(command, **(process or {}))}, *arguments, **keywords))
        task.init, task.start_time = m.pid, m.start_time
        task.fds = m.fds
        return task

    def ask(self, task, kind, body=b""):
        task.control.send(kind, body)
        m = task.control.recv(60)
        self.assertEqual((m.type, m.error), (shim.REPLY, 0), m)

    def frozen(self, task):
        with open(f"/proc/{task.init}/cgroup") as f:
            group = f.read().strip().removeprefix("0::").removesuffix("/init")
        with open(f"/sys/fs/cgroup{group}/cgroup.events") as f:
            return "frozen 1" in f.read()

    def dump(self, task, flags=0, error=0, cause=None, directory=None):
        """Paused, dumped, and still held then."""
        self.ask(task, shim.PAUSE)
        fd = os.open(directory or self.images, os.O_RDONLY | os.O_DIRECTORY)
        serial = self.launcher.dump(flags, fd, task)
        os.close(fd)
        m = self.launcher.recv(120)
        self.assertEqual((m.type, m.serial), (shim.LAUNCHER_DUMP_DONE, serial))
        self.assertEqual((m.error, shim.CAUSES[m.cause]), (-error, cause), m.text)
        if not flags & shim.DUMP_EXIT or error:
            self.assertTrue(self.frozen(task))
        return m

    def goes_on(self, task):
        """It writes again."""
        os.set_blocking(task.output, False)
        try:
            while os.read(task.output, 65536):
                pass
        except BlockingIOError:
            pass
        os.set_blocking(task.output, True)
        self.assertRegex(os.read(task.output, 100).decode(), r"^n \d+\n")

    def end(self, task):
        """What it has written until it was killed."""
        task.control.send(shim.KILL, b"\x09\0\0\0\1\0\0\0" + bytes(64))
        self.assertEqual(task.control.recv().error, 0)
        self.assertEqual(task.exited(), (137, "signalled"))
        self.assertTrue(task.gone())
        return task.read() if hasattr(task, "output") else None

    def restore(self, command=COUNT, arguments=(), root=None, patch=None, process=None, images=None, **keywords):
        task = self.task(root)
        fd = os.open(images or self.images, os.O_RDONLY | os.O_DIRECTORY)
        task.launch({**(patch or {}), **self.patch(command, **(process or {}))}, *arguments, images=fd, **keywords)
        os.close(fd)
        task.scope()
        m = task.control.recv(120)
        if m.type == shim.STARTED:
            task.init, task.start_time, task.fds = m.pid, m.start_time, m.fds
        return task, m

    def nothing_left(self):
        names = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as f:
                    names.append(f.read().strip())
            except OSError:
                pass
        self.assertNotIn("criu", names)
        self.assertNotIn("davit-dump", names)
        self.assertEqual([name for name in os.listdir("/tmp") if "criu" in name], [])


class Checkpoint(CheckpointTest):
    def test_runs_on_and_goes_on_elsewhere(self):
        """S-P01, S-P02, S-T06: memory, mounts, masks, binds, namespaces, filter, and all a shim does after a start."""
        directory = tempfile.mkdtemp(dir="/var/lib/davit", prefix="test-")
        self.addCleanup(shutil.rmtree, directory)
        root = shim.busybox_root(directory + "/root")
        for name in ("up", "work", "root/var"):
            os.mkdir(f"{directory}/{name}")
        os.makedirs(os.path.join(self.directory, "shared/below"), exist_ok=True)
        os.symlink("../run", root + "/var/run")
        binds = [{"destination": "/var/run/shared", "type": "bind", "source": self.directory + "/shared", "options": ["rbind"]},
                 {"destination": "/etc/host", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]}]
        command = ("echo kept >/dev/shm/f; echo kept >/run/f; trap 'cat /dev/shm/f /run/f; hostname; unshare -n true; "
                   "echo told >/run/shared/told; ip addr show lo' USR1; " + COUNT)
        how = {"command": command, "arguments": ("--upper", directory + "/up", "--work", directory + "/work"),
               "root": ("--lower", root), "patch": {"mounts": MOUNTS + binds, "hostname": "box"},
               "process": {"noNewPrivileges": True}}
        task = self.begin(**how)
        self.goes_on(task)
        before = table(task.init)
        may = rights(task.init)
        self.assertIn("NoNewPrivs:\t1", "\n".join(may))
        m = self.dump(task)
        self.assertGreater(m.bytes, 10000)
        self.assertRegex(m.text, r"^\d+\.\d+")
        self.ask(task, shim.RESUME)
        self.goes_on(task)
        self.end(task)
        self.assertEqual(sum(os.stat(os.path.join(self.images, n)).st_size for n in os.listdir(self.images)), m.bytes)
        kept = os.listdir(self.images)

        task, m = self.restore(**how)
        self.started(m)
        self.assertEqual(table(m.pid), before)
        self.assertEqual(rights(m.pid), may)
        self.assertIn(f"/{task.unit}/payload/init", open(f"/proc/{m.pid}/cgroup").read())
        self.assertIn(f"PPid:\t{task.pid}\n", open(f"/proc/{m.pid}/status").read())
        self.goes_on(task)
        os.kill(m.pid, signal.SIGUSR1)
        time.sleep(2)
        memfd = shim.plan(self.patch("cat /proc/1/comm /proc/1/cgroup; exit 5"), "--exec", "e1", "--id", task.id, "--directory", "/")
        read, write = os.pipe()
        task.control.send(shim.EXEC, bytes([shim.NULL, shim.FD, shim.SAME, 0]) + bytes(4) + b"e1".ljust(64, b"\0"), fds=[memfd, write])
        os.close(memfd)
        os.close(write)
        self.assertEqual(task.control.recv().type, shim.STARTED)
        m = task.control.recv()
        self.assertEqual((m.type, m.status, m.exec_id), (shim.EXITED, 5, "e1"))
        self.assertEqual(os.read(read, 1000), b"sh\n0::/\n")
        os.close(read)
        text = self.end(task)
        self.assertIn("kept\nkept\nbox\n", text)
        self.assertIn("Operation not permitted", text)
        self.assertIn("LOOPBACK,UP", text)
        self.assertTrue(os.path.exists(self.directory + "/shared/told"))
        numbers = [int(n) for n in re.findall(r"^n (\d+)$", text, re.MULTILINE)]
        self.assertGreater(numbers[0], 1)
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertEqual(sorted(os.listdir(self.images)), sorted(kept), "the images were written to")
        self.nothing_left()

    def test_streams(self):
        """Sockets of the journal and files are replaced by those of the restore; a read-only root stays one."""
        out = [os.path.join(self.directory, name) for name in ("out1", "out2")]
        for modes in ((shim.NULL, shim.JOURNAL, shim.JOURNAL), (shim.NULL, shim.FD, shim.SAME)):
            with self.subTest(modes=modes):
                def fds(path):
                    return [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)] if shim.FD in modes else []
                patch = {"root": {"readonly": True}}
                task = self.begin(stdio=modes, fds=fds(out[0]), patch=patch)
                self.dump(task)
                self.end(task)
                task, m = self.restore(stdio=modes, fds=fds(out[1]), patch=patch)
                self.started(m)
                self.assertRegex(next(mount[2] for mount in table(m.pid) if mount[0] == "/"), "^ro")
                time.sleep(1)
                self.end(task)
                shutil.rmtree(self.images)
                os.mkdir(self.images)
                if shim.FD in modes:
                    self.assertRegex(open(out[1]).read(), r"^n \d+\n")
                else:
                    said = subprocess.run(["journalctl", "-q", "-o", "cat", f"SYSLOG_IDENTIFIER={task.id}"], capture_output=True, text=True,
                                          check=True).stdout
                    self.assertRegex(said, r"^n \d+\n")

    def test_terminal(self):
        """S-P06: only with the flag; the new shim has the master."""
        command = "while read a; do echo got $a; done"
        how = {"command": command, "stdio": (shim.PTY,) * 3, "patch": {}}
        patch = {"process": {"terminal": True, "args": ["sh", "-c", command]}}
        task = self.task()
        m = self.started(task.run(patch, stdio=how["stdio"]))
        task.init, task.start_time = m.pid, m.start_time
        m = self.dump(task, error=16, cause="refused")
        self.assertIn("tty", m.text)
        self.ask(task, shim.RESUME)
        shutil.rmtree(self.images)
        os.mkdir(self.images)
        self.dump(task, shim.DUMP_TERMINAL)
        self.end(task)
        task = self.task()
        fd = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY)
        task.launch(patch, stdio=how["stdio"], images=fd)
        os.close(fd)
        task.scope()
        m = self.started(task.control.recv(60))
        os.write(m.fds[0], b"word\n")
        text = b""
        while b"got word" not in text:
            text += os.read(m.fds[0], 1000)
        self.end(task)

    def test_exit(self):
        """S-P05: criu holds all until it is told whether the images are kept."""
        task = self.begin()
        m = self.dump(task, shim.DUMP_EXIT)
        self.launcher.dump_end(m.serial, 0)
        self.assertEqual(self.launcher.recv(60).type, shim.LAUNCHER_DUMP_ENDED)
        self.assertTrue(self.frozen(task))
        self.ask(task, shim.RESUME)
        self.goes_on(task)
        shutil.rmtree(self.images)
        os.mkdir(self.images)
        m = self.dump(task, shim.DUMP_EXIT)
        self.launcher.dump_end(m.serial, 1)
        self.assertEqual(self.launcher.recv(60).type, shim.LAUNCHER_DUMP_ENDED)
        self.assertEqual(task.exited(), (137, "signalled"))
        self.assertTrue(task.gone())
        task, m = self.restore()
        self.started(m)
        self.goes_on(task)

    def refused_without(self, flag, word, command, ready, patch=None):
        task = self.begin(command, patch=patch)
        end = time.monotonic() + 60
        while not ready(task) and time.monotonic() < end:
            time.sleep(0.1)
        m = self.dump(task, error=16, cause="refused")
        self.assertIn(word, m.text.lower())
        self.ask(task, shim.RESUME)
        self.goes_on(task)
        shutil.rmtree(self.images)
        os.mkdir(self.images)
        self.dump(task, flag)
        self.end(task)
        task, m = self.restore(command, patch=patch)
        self.started(m)
        self.goes_on(task)

    def test_connections(self):
        """S-P06."""
        def established(task):
            with open(f"/proc/{task.init}/net/tcp") as f:
                return " 01 " in f.read()
        self.refused_without(shim.DUMP_TCP, "tcp", "sleep 1000 | nc -l -p 7 >/dev/null & sleep 1; (while sleep 0.2; do echo x; done) | nc 127.0.0.1 7 & "
                             + COUNT, established)

    def test_locks(self):
        """S-P06."""
        for name in ("lib", "lib64"):
            if not os.path.islink(os.path.join(self.root, name)):
                os.symlink("usr/" + name, os.path.join(self.root, name))
        usr = {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}
        self.refused_without(shim.DUMP_LOCKS, "lock", "exec 9>/dev/shm/lock; /usr/bin/flock -x 9; touch /dev/shm/done; " + COUNT,
                             lambda task: os.path.exists(f"/proc/{task.init}/root/dev/shm/done"), {"mounts": MOUNTS + [usr]})


class Failures(CheckpointTest):
    def half_way(self, task):
        """Stops criu once it has made the first process, which is the shim's child beside it."""
        end = time.monotonic() + 60
        while True:
            with open(f"/proc/{task.pid}/task/{task.pid}/children") as f:
                children = f.read().split()
            if len(children) == 2:
                break
            self.assertLess(time.monotonic(), end)
        subprocess.run(["pkill", "-STOP", "-x", "criu"], check=True)

    def test_dump_that_is_cut_off(self):
        """The container runs on: the dump given up, no room, the manager gone; where criu is killed it may have gone as a whole."""
        task = self.begin()
        for how in ("cancel", "room", "manager", "kill"):
            with self.subTest(how):
                directory = os.path.join(self.directory, how)
                os.mkdir(directory)
                if how == "room":
                    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", directory], check=True)
                    self.addCleanup(subprocess.run, ["umount", directory], check=True)
                self.ask(task, shim.PAUSE)
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                serial = self.launcher.dump(0, fd, task)
                os.close(fd)
                end = time.monotonic() + 60
                while how != "room" and not os.path.exists(directory + "/core-1.img") and time.monotonic() < end:
                    time.sleep(0.001)
                if how == "kill":
                    subprocess.run(["pkill", "-9", "-x", "criu"], check=True)
                elif how == "cancel":
                    self.launcher.dump_end(serial, 0)
                elif how == "manager":
                    self.launcher.close()
                    type(self).launcher = shim.Launcher()
                    self.launcher.features()
                if how != "manager":
                    m = self.launcher.recv(60)
                    self.assertEqual((m.type, m.serial), (shim.LAUNCHER_DUMP_DONE, serial))
                    self.assertEqual(shim.CAUSES[m.cause], "cancelled" if how == "cancel" else "failed", m.text)
                    self.assertEqual(m.error == -28, how == "room", m.text)
                self.nothing_left()
                if how == "kill" and task.gone(1):
                    self.assertEqual(task.control.recv().type, shim.EXITED)
                    continue
                self.ask(task, shim.RESUME)
                self.goes_on(task)

    def test_restore_that_fails_can_be_tried_again(self):
        """S-T03: nothing is left of it."""
        task = self.begin()
        self.dump(task)
        self.end(task)
        broken = os.path.join(self.directory, "broken")
        shutil.copytree(self.images, broken)
        os.truncate(broken + "/core-1.img", 50)
        task, m = self.restore(images=broken)
        self.assertEqual((m.type, shim.STEPS[m.step]), (shim.FAILED, "restore"), m)
        self.assertTrue(task.gone())
        self.nothing_left()
        task, m = self.restore()
        self.started(m)
        self.goes_on(task)

    def test_cut_off_restore(self):
        """criu or the shim is killed, or the task discarded: no process stays."""
        task = self.begin()
        self.dump(task)
        self.end(task)
        for how in ("criu", "shim", "discard"):
            with self.subTest(how):
                task = self.task()
                fd = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY)
                task.launch(self.patch(COUNT), images=fd)
                os.close(fd)
                task.scope()
                self.half_way(task)
                if how == "criu":
                    subprocess.run(["pkill", "-9", "-x", "criu"], check=True)
                elif how == "shim":
                    os.kill(task.pid, signal.SIGKILL)
                else:
                    task.control.send(shim.DISCARD)
                    self.assertEqual(task.control.recv().error, 0)
                if how != "shim":
                    m = task.control.recv(60)
                    self.assertEqual(m.type, shim.FAILED, m)
                self.assertTrue(task.gone())
                if how == "shim":  # what a manager does with a task that is lost
                    subprocess.run(["systemctl", "kill", "--signal=KILL", task.unit], check=False, stderr=subprocess.DEVNULL)
                end = time.monotonic() + 20
                while subprocess.run(["systemctl", "is-active", "-q", task.unit]).returncode == 0 and time.monotonic() < end:
                    time.sleep(0.1)
                self.assertNotEqual(subprocess.run(["systemctl", "is-active", "-q", task.unit]).returncode, 0)
                self.nothing_left()
