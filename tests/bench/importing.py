# SPDX-License-Identifier: LGPL-2.1-or-later
"""Importing one archive with Davit and with containerd, each into a fresh ext4 with a journal, synced at the end.

Both tools end at the same point: the image can be run and everything is durable. The file system lies in a file behind
a loop device, so that neither inherits the state of the machine's own.
"""

import os
import time

from davit_tool import UNIT
from measure import Unable, boot_cpu, call, sync, used

DAVIT_ROOT = "/var/lib/davit"


class LoopFs:
    """A fresh ext4 mounted on a directory for the time of one import."""

    def __init__(self, image, mount_point, size):
        self.image, self.mount_point, self.size = image, mount_point, size

    def __enter__(self):
        os.makedirs(self.mount_point, exist_ok=True)
        with open(self.image, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, self.size)
        # Without lazy initialisation nothing of mkfs's work is left to the time that is measured.
        call(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image])
        call(["mount", "-o", "loop,noatime", self.image, self.mount_point])
        return self

    def __exit__(self, *_exc):
        call(["umount", self.mount_point])
        os.unlink(self.image)


def import_rows(davit, ctr, archive, loop_directory, rounds, size, note):
    """{tool: [{wall, wall_synced, cpu, disk}]}: milliseconds and bytes of every round."""
    rows = {}
    image = os.path.join(loop_directory, "import.ext4")
    for i in range(rounds):
        tools = [("davit", davit, _import_davit), ("ctr", ctr, _import_ctr)]
        for name, tool, function in tools if i % 2 == 0 else reversed(tools):
            if not tool:
                continue
            note(f"import, round {i + 1} of {rounds}: {name}")
            call(["sync"])
            try:
                rows.setdefault(name, []).append(function(tool, archive, image, size))
            except Unable as e:
                note(f"{name}: {e}")
                rows.setdefault(name, [])
    return rows


def _measure(command, directory):
    before, cpu, start = used(directory), boot_cpu(), time.monotonic_ns()
    call(command, timeout=600)
    returned = time.monotonic_ns()
    sync(directory)
    end = time.monotonic_ns()
    return {"wall": (returned - start) / 1e6, "wall_synced": (end - start) / 1e6, "cpu": boot_cpu() - cpu,
            "disk": used(directory) - before}


def _import_davit(davit, archive, image, size):
    _stop_davit()
    try:
        with LoopFs(image, DAVIT_ROOT, size):
            os.chmod(DAVIT_ROOT, 0o700)
            call(["systemctl", "start", UNIT])
            call(["davitctl", "ps"])
            try:
                return _measure(davit.import_command(archive), DAVIT_ROOT)
            finally:
                _stop_davit()
    finally:
        davit.mode = None
        call(["systemctl", "start", UNIT])


def _stop_davit():
    """Everything that may hold the file system, in a mount namespace of its own: manager, workers, launcher."""
    call(["systemctl", "stop", UNIT, "davit-store.socket", "davit-store@*.service", "davit-launcher.socket",
          "davit-launcher.service"])


def _import_ctr(ctr, archive, image, size):
    mount_point = os.path.join(ctr.work, "import")
    ctr.stop_daemon()
    try:
        with LoopFs(image, mount_point, size):
            ctr.start_daemon(os.path.join(mount_point, "root"))
            try:
                return _measure(ctr.import_command(archive), mount_point)
            finally:
                ctr.stop_daemon()
    finally:
        ctr.start_daemon(os.path.join(ctr.work, "root"))
