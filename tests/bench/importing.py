# SPDX-License-Identifier: LGPL-2.1-or-later
"""Importing one archive with Davit, containerd and umoci, each into a fresh ext4 with a journal, synced at the end.

Every tool ends at the same point: the image's files can be used and everything is durable. The file system lies in a
file behind a loop device, so that none inherits the state of the machine's own. Archives are unpacked for umoci, which
takes a directory, before its time begins.
"""

import os
import shutil
import threading
import time

from loopfs import DAVIT_ROOT, LoopFs, start_davit, stop_davit
from measure import Unable, boot_cpu, call, peak_rss, sync, used


def import_rows(davit, ctr, archives, loop_directory, rounds, size, note, with_umoci=True):
    """{tool: [{wall, wall_synced, cpu, disk, rss}]}: milliseconds, bytes and KB of every round; several archives go into
    one store, one after another."""
    rows = {}
    image = os.path.join(loop_directory, "import.ext4")
    for i in range(rounds):
        tools = [("davit", davit, _import_davit), ("ctr", ctr, _import_ctr)]
        if with_umoci:
            tools.append(("umoci", shutil.which("umoci"), _import_umoci))
        for name, tool, function in tools if i % 2 == 0 else reversed(tools):
            if not tool:
                continue
            note(f"import, round {i + 1} of {rounds}: {name}")
            call(["sync"])
            try:
                rows.setdefault(name, []).append(function(tool, archives, image, size))
            except Unable as e:
                note(f"{name}: {e}")
                rows.setdefault(name, [])
    return rows


class _Watch:
    """The largest resident set of any process of a name while the body runs; 0 when there was none."""

    def __init__(self, name):
        self.name, self.peak, self.over = name, 0, threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, peak_rss(self.name))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def measured(commands, directory, watched=None):
    """What it costs to run these commands, one after another, and to have all of it on disk."""
    before, cpu, start = used(directory), boot_cpu(), time.monotonic_ns()
    for command in commands:
        call(command, timeout=600)
    returned = time.monotonic_ns()
    sync(directory)
    end = time.monotonic_ns()
    return {"wall": (returned - start) / 1e6, "wall_synced": (end - start) / 1e6, "cpu": boot_cpu() - cpu,
            "disk": used(directory) - before, "rss": watched.peak if watched else 0}


def on_davit(davit, commands, image, size):
    """The same with Davit on a fresh file system."""
    stop_davit()
    try:
        with LoopFs(image, DAVIT_ROOT, size):
            start_davit()
            try:
                sample = measured(commands, DAVIT_ROOT)
            finally:
                stop_davit()
    finally:
        davit.mode = None
        start_davit()
    return sample


def _import_davit(davit, archives, image, size):
    return on_davit(davit, [davit.import_command(archive, f"davit-bench/import-{i}") for i, archive in enumerate(archives)],
                    image, size)


def import_memory(davit, archive, loop_directory, size):
    """Peak resident set of the store worker in KB, in a run of its own: looking at /proc costs time."""
    stop_davit()
    try:
        with LoopFs(os.path.join(loop_directory, "import.ext4"), DAVIT_ROOT, size):
            start_davit()
            try:
                with _Watch("davit-store") as watched:
                    measured([davit.import_command(archive, "davit-bench/import-0")], DAVIT_ROOT)
            finally:
                stop_davit()
    finally:
        davit.mode = None
        start_davit()
    return watched.peak


def on_ctr(ctr, commands, image, size):
    """The same with containerd."""
    mount_point = os.path.join(ctr.work, "import")
    ctr.stop_daemon()
    try:
        with LoopFs(image, mount_point, size):
            ctr.start_daemon(os.path.join(mount_point, "root"))
            try:
                return measured(commands, mount_point)
            finally:
                ctr.stop_daemon()
    finally:
        ctr.start_daemon(os.path.join(ctr.work, "root"))


def _import_ctr(ctr, archives, image, size):
    return on_ctr(ctr, [ctr.import_command(archive) for archive in archives], image, size)


def _import_umoci(_program, archives, image, size):
    mount_point = "/run/davit-bench/umoci"
    with LoopFs(image, mount_point, size):
        commands = []
        for i, archive in enumerate(archives):
            layout = os.path.join(mount_point, f"layout{i}")
            os.makedirs(layout)
            call(["tar", "-xf", archive, "-C", layout])
            tag = call(["umoci", "ls", "--layout", layout]).split()[0]
            commands.append(["umoci", "unpack", "--image", f"{layout}:{tag}", os.path.join(mount_point, f"bundle{i}")])
        sync(mount_point)
        return measured(commands, mount_point)
