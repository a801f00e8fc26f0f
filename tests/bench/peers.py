# SPDX-License-Identifier: LGPL-2.1-or-later
"""The other container tools, each brought to the state where one command runs or enters a container.

Every tool has the same face: setup() makes it ready or raises Unable, run_command() starts a container of the busybox
image that runs `true` and removes it, start_idle()/exec_command()/remove_idle() do for a container that stays,
keepers() names the processes that hold idle containers. "%n" in a command becomes a number that is never used twice.
"""

import json
import os
import shutil
import subprocess

from measure import Unable, call, pids_of, wait_until

IMAGE = "docker.io/library/davit-bench:latest"


class Tool:
    name = ""
    program = ""
    run_comparable = True  # a full container; a floor otherwise

    def __init__(self, work, rootfs, archive):
        self.work = os.path.join(work, self.name.replace(" ", "-"))
        self.run_directory = os.path.join("/run/davit-bench", self.name.replace(" ", "-"))
        self.rootfs = rootfs
        self.archive = archive

    def setup(self):
        if not shutil.which(self.program):
            raise Unable(f"{self.program} is not installed")
        os.makedirs(self.work, exist_ok=True)
        os.makedirs(self.run_directory, exist_ok=True)

    def teardown(self):
        """Leaves no process and no mount of the tool behind."""

    def version(self):
        return call([self.program, "--version"]).splitlines()[0]

    def run_command(self):
        raise NotImplementedError

    def exec_command(self, _container):
        return None

    def keepers(self):
        return []


class OciRuntime(Tool):
    """runc, crun and davit-oci: a bundle directory and no daemon."""

    options = []

    def setup(self):
        super().setup()
        self._bundle("run", ["true"])
        self._bundle("idle", ["sleep", "1000000"])
        call(self.run_command()[:-1] + ["probe"])

    def _bundle(self, name, command):
        directory = os.path.join(self.work, name)
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "config.json")
        if os.path.exists(path):
            os.unlink(path)
        call([self.program, "spec"], cwd=directory)
        with open(path, encoding="utf-8") as f:
            spec = json.load(f)
        spec["root"] = {"path": self.rootfs, "readonly": False}
        spec["process"]["terminal"] = False
        spec["process"]["args"] = command
        spec.pop("annotations", None)  # davit-oci's own would have a seccomp profile, which the others' have not
        if self.options:
            spec["linux"]["cgroupsPath"] = ""
        with open(path, "w", encoding="utf-8") as f:
            json.dump(spec, f)

    def _command(self, *rest):
        return [self.program, "--root", self.run_directory, *self.options, *rest]

    def run_command(self):
        return self._command("run", "--bundle", os.path.join(self.work, "run"), "bench-%n")

    def start_idle(self, name):
        # --detach hands our stdout to the container: the pipe would never end.
        subprocess.run(self._command("run", "--detach", "--bundle", os.path.join(self.work, "idle"), name),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def exec_command(self, container):
        return self._command("exec", container, "true")

    def remove_idle(self, name):
        call(self._command("delete", "--force", name))


class Runc(OciRuntime):
    name = program = "runc"


class RuncScope(OciRuntime):
    name = "runc systemd"
    program = "runc"
    options = ["--systemd-cgroup"]


class Crun(OciRuntime):
    name = program = "crun"


class CrunDisabled(OciRuntime):
    """Where it makes no cgroups; it wants a limit raised for them that this machine may refuse."""

    name = "crun disabled"
    program = "crun"
    options = ["--cgroup-manager=disabled"]


class DavitOci(OciRuntime):
    name = program = "davit-oci"


class DavitOciScope(OciRuntime):
    name = "davit-oci systemd"
    program = "davit-oci"
    options = ["--systemd-cgroup"]


class DavitOciDisabled(OciRuntime):
    name = "davit-oci disabled"
    program = "davit-oci"
    options = ["--cgroup-manager=disabled"]


class Ctr(Tool):
    """containerd, in a daemon of our own with a root directory of its own."""

    name = program = "ctr"
    unit = "davit-bench-containerd.service"

    def setup(self):
        super().setup()
        if not shutil.which("containerd"):
            raise Unable("containerd is not installed")
        self.start_daemon(os.path.join(self.work, "root"))
        call(self.ctr("images", "import", self.archive))
        call(self.ctr(*self.run_command()[3:-2], "probe", "true"))

    def start_daemon(self, root):
        """Starts containerd on a root directory and waits until it answers."""
        os.makedirs(root, exist_ok=True)
        self.socket = os.path.join(self.run_directory, "containerd.sock")
        config = os.path.join(self.run_directory, "config.toml")
        with open(config, "w", encoding="ascii") as f:
            f.write(f'version = 2\nroot = "{root}"\nstate = "{self.run_directory}/state"\n'
                    'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    f'[grpc]\n  address = "{self.socket}"\n')
        call(["systemd-run", "--quiet", f"--unit={self.unit}", "-p", "Delegate=yes", "-p", "KillMode=process",
              "-p", "LimitNOFILE=infinity", "-p", "TasksMax=infinity", "containerd", "--config", config])
        wait_until(self._answers, "containerd")

    def _answers(self):
        try:
            call(self.ctr("version"))
            return True
        except Unable:
            return False

    def stop_daemon(self):
        subprocess.run(["systemctl", "stop", self.unit], check=False, stderr=subprocess.DEVNULL)

    def teardown(self):
        self.stop_daemon()

    def ctr(self, *rest):
        return ["ctr", "--address", self.socket, *rest]

    def run_command(self):
        return self.ctr("run", "--rm", IMAGE, "bench-%n", "true")

    def start_idle(self, name):
        call(self.ctr("run", "--detach", IMAGE, name, "sleep", "1000000"))

    def exec_command(self, container):
        return self.ctr("task", "exec", "--exec-id", "e%n", container, "true")

    def remove_idle(self, name):
        call(self.ctr("task", "kill", "--all", "--signal", "SIGKILL", name))
        subprocess.run(self.ctr("task", "delete", "--force", name), check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        call(self.ctr("container", "delete", name))

    def keepers(self):
        return pids_of("containerd-shim-runc-v2")

    def log_command(self, where, name, command):
        if where != "file":
            raise NotImplementedError  # it has no journal
        return self.ctr("run", "--detach", "--log-uri", f"file://{self.work}/log", IMAGE, name, *command)

    def pid_of(self, name):
        for line in call(self.ctr("task", "ls")).splitlines():
            if line.split()[0] == name:
                return int(line.split()[1])
        raise Unable(f"no task {name}")

    def list_command(self):
        return self.ctr("task", "ls")

    def remove_command(self, names):
        return self.ctr("task", "delete", "--force", *names)

    def remove_all(self, names):
        for name in names:
            self.remove_idle(name)

    def import_command(self, archive):
        return self.ctr("images", "import", "--snapshotter", "overlayfs", archive)

    def pull_command(self, name):
        return self.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", name)


class Podman(Tool):
    name = program = "podman"

    def setup(self):
        super().setup()
        call(self.podman("load", "--quiet", "--input", self.archive))
        call(self.podman("run", "--rm", "--network=none", IMAGE, "true"))

    def podman(self, *rest):
        return ["podman", "--root", os.path.join(self.work, "root"), "--runroot", self.run_directory,
                "--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "systemd",
                "--events-backend", "file", *rest]

    def run_command(self):
        return self.podman("run", "--rm", "--network=none", IMAGE, "true")

    def start_idle(self, name):
        subprocess.run(self.podman("run", "--detach", "--network=none", "--name", name, IMAGE, "sleep", "1000000"),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def teardown(self):
        subprocess.run(self.podman("rm", "--all", "--force", "--time", "0"), check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        # The driver keeps its home a mount of its own.
        subprocess.run(["umount", os.path.join(self.work, "root/overlay")], check=False, stderr=subprocess.DEVNULL)

    def exec_command(self, container):
        return self.podman("exec", container, "true")

    def remove_idle(self, name):
        call(self.podman("rm", "--force", "--time", "0", name))

    def keepers(self):
        return pids_of("conmon")

    def log_command(self, where, name, command):
        log = ["--log-driver", "journald"] if where == "journal" else ["--log-driver", "k8s-file", "--log-opt",
                                                                       f"path={self.work}/log"]
        return self.podman("run", "--detach", *log, "--network=none", "--name", name, IMAGE, *command)

    def pid_of(self, name):
        return int(call(self.podman("inspect", "--format", "{{.State.Pid}}", name)))

    def list_command(self):
        return self.podman("ps")

    def remove_command(self, names):
        return self.podman("rm", "--force", "--time", "0", *names)

    def remove_all(self, names):
        call(self.remove_command(names), timeout=600)


class Bwrap(Tool):
    name = program = "bwrap"
    run_comparable = False

    def setup(self):
        super().setup()
        call(self.run_command())

    def run_command(self):
        return ["bwrap", "--unshare-all", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "true"]


class SystemdRun(Tool):
    """No container at all: what a scope alone costs."""

    name = "systemd-run"
    program = "systemd-run"
    run_comparable = False

    def setup(self):
        super().setup()
        call(self.run_command())

    def run_command(self):
        return ["systemd-run", "--scope", "--quiet", "--", "true"]


PEERS = (Runc, RuncScope, Crun, CrunDisabled, DavitOci, DavitOciScope, DavitOciDisabled, Ctr, Podman, Bwrap, SystemdRun)
