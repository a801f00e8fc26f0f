# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulling one image with Davit, containerd and podman from the same registry on loopback, each into a fresh ext4.

The registry is docker-registry, filled by skopeo before any time begins; its own work is the same for all. Every tool
ends with a root file system that can be used and everything durable.
"""

import json
import os
import shutil
import socket
import subprocess

from importing import measured, on_ctr, on_davit
from loopfs import LoopFs
from measure import Unable, call, wait_until


class Registry:
    """A docker-registry with one image, for the time of a block."""

    def __init__(self, directory, archive):
        self.directory, self.archive = directory, archive
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{s.getsockname()[1]}"
        self.image = f"{self.host}/davit-bench/pull:latest"

    def _answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", int(self.host.split(":")[1]))) == 0

    def __enter__(self):
        for program in ("docker-registry", "skopeo"):
            if not shutil.which(program):
                raise Unable(f"{program} is not installed")
        os.makedirs(self.directory)
        config = os.path.join(self.directory, "config.yml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}}, "http": {"addr": self.host},
                       "storage": {"filesystem": {"rootdirectory": os.path.join(self.directory, "data")}}}, f)
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(self._answers, "docker-registry")
            call(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"oci-archive:{self.archive}",
                  f"docker://{self.image}"], timeout=300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)


def _pull_podman(_program, name, image, size):
    mount_point = "/run/davit-bench/pull-podman"
    with LoopFs(image, mount_point, size):
        root = os.path.join(mount_point, "root")
        try:
            return measured([["podman", "--root", root, "--runroot", "/run/davit-bench/pull-runroot", "--storage-driver",
                              "overlay", "pull", "--quiet", "--tls-verify=false", name]], mount_point)
        finally:
            subprocess.run(["umount", os.path.join(root, "overlay")], check=False, stderr=subprocess.DEVNULL)


def pull_rows(davit, ctr, archive, work, loop_directory, rounds, size, note):
    """{tool: [{wall, wall_synced, cpu, disk, rss}]}, as import_rows()."""
    rows, image = {}, os.path.join(loop_directory, "import.ext4")
    tools = [("davit", davit, lambda tool, name: on_davit(tool, [["davitctl", "pull", "--quiet", name]], image, size)),
             ("ctr", ctr, lambda tool, name: on_ctr(tool, [tool.pull_command(name)], image, size)),
             ("podman", shutil.which("podman"), lambda tool, name: _pull_podman(tool, name, image, size))]
    try:
        with Registry(os.path.join(work, "registry"), archive) as registry:
            for i in range(rounds):
                for name, tool, function in tools if i % 2 == 0 else reversed(tools):
                    if not tool:
                        continue
                    note(f"pull, round {i + 1} of {rounds}: {name}")
                    call(["sync"])
                    try:
                        rows.setdefault(name, []).append(function(tool, registry.image))
                    except Unable as e:
                        note(f"{name}: {e}")
    except Unable as e:
        note(f"pull: {e}")
    return rows
