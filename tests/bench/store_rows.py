# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of the benchmark about snapshots: how soon a root file system stands, what a commit costs."""

import os
import statistics
import time

from measure import Unable, call

CHANGED = 500


def _timed(function, *arguments):
    start = time.monotonic_ns()
    result = function(*arguments)
    return (time.monotonic_ns() - start) / 1e6, result


def ready_rows(davit, archives, rounds, note):
    """{image: {first, median, max, prepare}} milliseconds from the call to a mounted root file system in the caller's hand:
    chain mounted where it is not yet, overlay above it. "first" is of a chain that nobody has mounted before; "prepare" is
    what it costs before that to make the snapshot durable, which depends on the disk."""
    rows = {}
    for name, archive in archives.items():
        note(f"root file system of {name}, {rounds} times")
        image = f"davit-bench/ready-{name}:latest"
        try:
            call(davit.import_command(archive, image), timeout=600)
            times = [_ready(davit.bus, image, f"ready-{i}") for i in range(rounds + 1)]
        except Unable as e:
            note(f"{name}: {e}")
            continue
        finally:
            call(["davitctl", "image", "rm", "--sync", image], timeout=600)
        mounts = [mount for _, mount in times]
        rows[name] = {"first": mounts[0], "median": statistics.median(mounts[1:]), "max": max(mounts[1:]),
                      "prepare": statistics.median(prepare for prepare, _ in times)}
    return rows


def _ready(bus, image, key):
    prepare, snapshot = _timed(bus.prepare, key, f"image:{image}")
    mount, descriptor = _timed(bus.open_mount, snapshot)
    try:
        top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
        try:
            if not os.listdir(top):
                raise Unable("the root file system is empty")
        finally:
            os.close(top)
    finally:
        os.close(descriptor)
        bus.delete(snapshot, "Snapshot")
    return prepare, mount


def commit_rows(davit, archive, rounds, note):
    """Milliseconds of committing a snapshot in which CHANGED files of an image have been appended to; entries in it."""
    image, container = "davit-bench/commit:latest", "bench-commit"
    note(f"commit of {CHANGED} changed files, {rounds} times")
    call(davit.import_command(archive, image), timeout=600)
    times = []
    try:
        script = (f"find /usr/share /usr/lib -xdev -type f | head -n {CHANGED} | "
                  "while read -r f; do echo changed >> \"$f\"; done; find / -xdev | wc -l")
        # The container stays after its program has ended; its snapshot holds what was changed.
        entries = call(["davitctl", "run", "--name", container, image, "sh", "-c", script], timeout=300)
        snapshot = davit.bus.snapshot(container)
        for i in range(rounds):
            call(["sync"])  # as before imports: what the last collection left to be written is not a commit's
            elapsed, committed = _timed(davit.bus.commit, snapshot, f"bench-committed-{i}")
            times.append(elapsed)
            davit.bus.delete(committed, "Snapshot")
            call(["davitctl", "system", "collect"], timeout=300)
    finally:
        call(["davitctl", "rm", "--force", container])
        call(["davitctl", "image", "rm", "--sync", image], timeout=300)
    return {"entries": int(entries.split()[-1]), "changed": CHANGED, "median": statistics.median(times), "max": max(times)}
