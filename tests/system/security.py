# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the security and failure tests share: hostile root file systems, runs of them, a watch on the host's files."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid

import davit

APPLETS = ("sh", "true", "false", "sleep", "cat", "echo", "id", "ls", "mkdir", "grep", "stat", "find", "mount", "head",
           "readlink", "ln", "rm", "touch", "env", "pwd", "kill", "setsid", "test", "wc")

# Exit statuses of davitctl run and exec that are not the program's.
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def probe_program():
    """The hostile helper as a static program, compiled once in a boot."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = f"{davit.FIXTURES}/probe"
    if not os.path.exists(path):
        os.makedirs(davit.FIXTURES, exist_ok=True)
        part = f"{path}.{uuid.uuid4().hex}"
        davit.run("cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
                  f"-I{here}/../..", "-o", part, f"{here}/probe.c")
        os.rename(part, path)
    return path


def create(name, image, command, namespace="", **options):
    """Manager.CreateContainer with an option dictionary."""
    return davit.manager("CreateContainer", "(sssasa{sv})", namespace, name, image, command, davit.options(**options))


def task_of(name, namespace=""):
    return davit.manager("GetTask", "(ss)", namespace, name)


def scope_of(name, namespace=""):
    return davit.get(task_of(name, namespace), "Task.Scope")


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"status {self.status}, stdout {self.out[:2000]!r}, stderr {self.err[:2000]!r}"


class SecurityTest(davit.TestCase):
    """Runs containers of throw-away root file systems; the framework's leak check ends every test."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        probe_program()
        # What stands from the first container on, such as the namespace's directories, is no leak of a test.
        davit.ctl("run", "--rm", "--rootfs", davit.rootfs(), "true", check=True)

    def setUp(self):
        super().setUp()
        self.leaks()
        self.work = tempfile.mkdtemp(prefix="security-", dir=davit.FIXTURES)
        os.chmod(self.work, 0o755)
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def rootfs(self, name="root"):
        """A root file system of busybox and the probe, writable by the test."""
        directory = os.path.join(self.work, name)
        for entry in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "run", "var"):
            os.makedirs(os.path.join(directory, entry))
        shutil.copy2(shutil.which("busybox"), os.path.join(directory, "bin/busybox"))
        shutil.copy2(probe_program(), os.path.join(directory, "bin/probe"))
        for applet in APPLETS:
            os.symlink("busybox", os.path.join(directory, "bin", applet))
        for entry, text in ((".davit-probe", ""), ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
                            ("etc/group", "root:x:0:\n")):
            with open(os.path.join(directory, entry), "w", encoding="utf-8") as f:
                f.write(text)
        return directory

    def ctl(self, *args, stdin=subprocess.DEVNULL, timeout=60):
        done = subprocess.run(["davitctl", *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout, check=False)
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def run_in(self, rootfs, *command, options=(), patch=None, timeout=60):
        """davitctl run --rm of a root file system directory."""
        extra = ["--spec-patch", json.dumps(patch)] if patch is not None else []
        return self.ctl("run", "--rm", "--rootfs", rootfs, *options, *extra, *command, timeout=timeout)

    def start(self, rootfs, *command, options=(), patch=None):
        """A detached container that the end of the test removes; its id."""
        name = f"security-{uuid.uuid4().hex[:12]}"
        extra = ["--spec-patch", json.dumps(patch)] if patch is not None else []
        result = self.ctl("run", "-d", "--name", name, "--log", "null", "--rootfs", rootfs, *options, *extra, *command)
        self.assertEqual(result.status, 0, result)
        self.addCleanup(self.ctl, "rm", "-f", name)
        return name

    def pid(self, name):
        """The host's pid of a container's first process."""
        return davit.get(task_of(name), "Process.Pid")

    def assert_ran(self, result, out=None):
        self.assertEqual(result.status, 0, result)
        if out is not None:
            self.assertEqual(result.out.strip(), out, result)

    def assert_refused(self, result, *words, status=FAILED):
        """A clear error: the status of Davit's own failures and a sentence that names what is wrong."""
        self.assertEqual(result.status, status, result)
        self.assertTrue(result.err.strip(), "nothing was said")
        for word in words:
            self.assertIn(word, result.err)

    def tries(self, rootfs, *names, options=(), patch=None):
        """What the probe's attempts came to: {name: "ok" or errno}."""
        result = self.run_in(rootfs, "probe", "try", *names, options=options, patch=patch)
        self.assert_ran(result)
        return dict(line.split() for line in result.out.splitlines())


def snapshot(directory):
    """Every entry below a directory with what would change if somebody wrote there."""
    found = {}
    for top, dirs, files in os.walk(directory):
        for name in dirs + files:
            path = os.path.join(top, name)
            try:
                st = os.lstat(path)
            except FileNotFoundError:
                continue
            found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_ino,
                           0 if os.path.isdir(path) else st.st_mtime_ns)
    return found


def mounts(pid="self"):
    """Mount points of a process, without those that come and go by themselves."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        return sorted(line.split()[4] for line in f)
