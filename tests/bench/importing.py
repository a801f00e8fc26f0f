# SPDX-License-Identifier: LGPL-2.1-or-later
"""Importing one archive with Davit and with containerd, each into a fresh ext4 with a journal, synced at the end.

Both tools end at the same point: the image can be run and everything is durable. The file system lies in a file behind
a loop device, so that neither inherits the state of the machine's own.
"""

import os
import time

from loopfs import DAVIT_ROOT, LoopFs, start_davit, stop_davit
from measure import Unable, boot_cpu, call, sync, used


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
    stop_davit()
    try:
        with LoopFs(image, DAVIT_ROOT, size):
            start_davit()
            try:
                return _measure(davit.import_command(archive), DAVIT_ROOT)
            finally:
                stop_davit()
    finally:
        davit.mode = None
        start_davit()


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
