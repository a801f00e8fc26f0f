# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-oci below podman and containerd, as the distribution has them."""

import os
import shutil
import subprocess
import tempfile
import time
import unittest
import unittest.mock

import davit

RUNTIME = "/usr/bin/davit-oci"


def call(*command, check=True, timeout=60):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Podman(unittest.TestCase):
    time_limit = 120
    manager = "cgroupfs"

    @classmethod
    def setUpClass(cls):
        if not shutil.which("podman") or not shutil.which("conmon"):
            raise unittest.SkipTest("podman is not installed")
        cls.directory = tempfile.mkdtemp(dir=davit.FIXTURES, prefix="podman-")
        cls.run_directory = tempfile.mkdtemp(dir="/run", prefix="podman-")
        archive = os.path.join(cls.directory, "root.tar")
        call("tar", "-C", davit.rootfs(), "-cf", archive, ".")
        cls.podman(cls, "import", archive, "localhost/busybox:latest")

    @classmethod
    def tearDownClass(cls):
        cls.podman(cls, "rm", "--all", "--force", "--time", "0", check=False)
        call("umount", os.path.join(cls.directory, "root/overlay"), check=False)
        shutil.rmtree(cls.directory)
        shutil.rmtree(cls.run_directory)

    def podman(self, *arguments, check=True):
        return call("podman", "--root", f"{self.directory}/root", "--runroot", self.run_directory, "--storage-driver",
                    "overlay", "--events-backend", "file", "--cgroup-manager", self.manager, "--runtime", RUNTIME,
                    *arguments, check=check)

    def run_it(self, *arguments, options=(), check=False):
        return self.podman("run", "--rm", "--network=none", *options, "localhost/busybox", *arguments, check=check)

    def test_run(self):
        done = self.run_it("sh", "-c", "echo out; echo err >&2; exit 4")
        self.assertEqual((done.returncode, done.stdout), (4, "out\n"))
        self.assertIn("err", done.stderr)
        self.assertEqual(self.podman("ps", "-aq").stdout, "")

    def test_command_that_is_not_there(self):
        self.assertEqual(self.run_it("nosuch").returncode, 127)
        self.assertEqual(self.run_it("/etc/passwd").returncode, 126)

    def test_options(self):
        done = self.run_it("sh", "-c", "id -u; pwd; echo $A; hostname; tty", check=True,
                           options=("-t", "--user", "1000", "--workdir", "/tmp", "-e", "A=b", "--hostname", "name",
                                    "--memory", "64m", "--pids-limit", "50", "--read-only", "--cap-drop", "all"))
        self.assertEqual(done.stdout.replace("\r", "").split("\n")[:5], ["1000", "/tmp", "b", "name", "/dev/pts/0"])

    def test_privileged_and_host_namespaces(self):
        done = self.run_it("sh", "-c", "ls /dev | grep -c .; readlink /proc/self/ns/pid", check=True,
                           options=("--privileged", "--pid=host"))
        self.assertEqual(done.stdout.split()[1], os.readlink("/proc/self/ns/pid"))

    def test_runtime_by_name(self):
        """As davit-oci(8) has it: a name is what containers.conf makes of it."""
        path = os.path.join(self.directory, "containers.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write(f'[engine.runtimes]\ndavit-oci = ["{RUNTIME}"]\n')
        with unittest.mock.patch.dict(os.environ, CONTAINERS_CONF=path):
            done = self.podman("--runtime", "davit-oci", "run", "--rm", "--network=none", "localhost/busybox", "echo", "named")
        self.assertEqual(done.stdout, "named\n")

    def test_life(self):
        name = "life"
        self.podman("run", "--detach", "--network=none", "--name", name, "localhost/busybox", "sleep", "1000")
        status = lambda: self.podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip()
        self.assertEqual(status(), "running")
        done = self.podman("exec", name, "sh", "-c", "echo in; exit 5", check=False)
        self.assertEqual((done.returncode, done.stdout), (5, "in\n"))
        self.assertEqual(self.podman("exec", name, "nosuch", check=False).returncode, 127)
        self.podman("pause", name)
        self.assertEqual(status(), "paused")
        self.podman("unpause", name)
        self.assertIn("sleep 1000", self.podman("top", name).stdout)
        self.podman("stop", "--time", "1", name)
        self.assertEqual(self.podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip(), "137")
        self.podman("start", name)
        self.assertEqual(status(), "running")
        self.podman("rm", "--force", "--time", "0", name)

    def test_two_in_a_pod_share_namespaces(self):
        self.podman("create", "--name", "first", "--network=none", "localhost/busybox", "sleep", "1000")
        self.podman("start", "first")
        # Its own --network=none would contradict.
        done = self.podman("run", "--rm", "--pid=container:first", "--ipc=container:first", "--network=container:first",
                           "localhost/busybox", "ps")
        self.assertIn("sleep 1000", done.stdout)
        self.podman("rm", "--force", "--time", "0", "first")


class PodmanWithSystemd(Podman):
    manager = "systemd"

    def test_scope(self):
        self.podman("run", "--detach", "--network=none", "--name", "scope", "--memory", "64m", "localhost/busybox",
                    "sleep", "1000")
        pid = self.podman("inspect", "--format", "{{.State.Pid}}", "scope").stdout.strip()
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
            unit = f.read().strip().split("\n")[-1].split("/")[-1]
        self.assertTrue(unit.startswith("libpod-") and unit.endswith(".scope"), unit)
        self.assertEqual(davit.systemctl("show", "-P", "MemoryMax", unit).stdout.strip(), str(64 << 20))
        self.podman("rm", "--force", "--time", "0", "scope")


class Containerd(unittest.TestCase):
    time_limit = 120
    unit = "davit-tests-containerd.service"

    @classmethod
    def setUpClass(cls):
        if not shutil.which("containerd") or not shutil.which("ctr"):
            raise unittest.SkipTest("containerd is not installed")
        cls.directory = tempfile.mkdtemp(dir=davit.FIXTURES, prefix="containerd-")
        cls.run_directory = tempfile.mkdtemp(dir="/run", prefix="containerd-")
        cls.addClassCleanup(cls.remove)
        config = os.path.join(cls.directory, "config.toml")
        with open(config, "w", encoding="ascii") as f:
            f.write(f'version = 2\nroot = "{cls.directory}/root"\nstate = "{cls.run_directory}/state"\n'
                    f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{cls.run_directory}/sock"\n')
        call("systemd-run", "--quiet", f"--unit={cls.unit}", "-p", "Delegate=yes", "-p", "KillMode=process", "containerd",
             "--config", config)
        end = time.monotonic() + 20
        while cls.ctr(cls, "version", check=False).returncode:
            assert time.monotonic() < end, "containerd does not answer"
        cls.image = "localhost/busybox:latest"
        cls.ctr(cls, "images", "import", "--index-name", cls.image, davit.busybox_archive())

    @classmethod
    def remove(cls):
        call("systemctl", "stop", cls.unit, check=False)
        shutil.rmtree(cls.directory, ignore_errors=True)
        shutil.rmtree(cls.run_directory, ignore_errors=True)

    def ctr(self, *arguments, check=True):
        return call("ctr", "--address", f"{self.run_directory}/sock", *arguments, check=check)

    def run_it(self, *arguments, name="c", options=("--rm",), check=False):
        return self.ctr("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", RUNTIME, *options, self.image, name,
                        *arguments, check=check)

    def test_run(self):
        done = self.run_it("sh", "-c", "echo out; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "out\n"), done.stderr)
        self.assertEqual(self.ctr("containers", "ls", "-q").stdout, "")

    def test_command_that_is_not_there(self):
        done = self.run_it("nosuch")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nosuch: No such file or directory", done.stderr)

    def test_scope(self):
        done = self.run_it("true", name="scoped", options=("--rm", "--runc-systemd-cgroup", "--cgroup",
                                                            "system.slice:davit-test:scoped"))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_life(self):
        self.run_it("sleep", "1000", name="life", options=("--detach",), check=True)
        status = lambda: self.ctr("tasks", "ls").stdout.split("\n")[1].split()[2]
        self.assertEqual(status(), "RUNNING")
        done = self.ctr("task", "exec", "--exec-id", "e1", "life", "sh", "-c", "echo in; exit 6", check=False)
        self.assertEqual((done.returncode, done.stdout), (6, "in\n"))
        self.assertIn("No such file", self.ctr("task", "exec", "--exec-id", "e2", "life", "nosuch", check=False).stderr)
        self.ctr("task", "pause", "life")
        self.assertEqual(status(), "PAUSED")
        self.ctr("task", "resume", "life")
        self.assertIn("memory.usage_in_bytes", self.ctr("task", "metrics", "life").stdout)
        self.assertEqual(len(self.ctr("task", "ps", "life").stdout.strip().split("\n")), 2)
        self.ctr("task", "kill", "--signal", "KILL", "life")
        end = time.monotonic() + 10
        while status() != "STOPPED":
            self.assertLess(time.monotonic(), end)
        self.assertIn("137", self.ctr("task", "delete", "life", check=False).stderr)
        self.ctr("container", "delete", "life")
