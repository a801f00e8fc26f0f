# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of guests: files that QEMU is given, with room for a journal behind the file system (tests/vm/guest/journal.py)."""

import subprocess

SIZE = 1 << 30
JOURNAL = 1 << 20


def make(path):
    """An empty file system of Debian's defaults, but without anything left to be initialised later."""
    with open(path, "wb") as disk:
        disk.truncate(SIZE)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", path,
                    str((SIZE - JOURNAL) // 4096)], check=True, stdout=subprocess.DEVNULL)


def raw(path):
    """A disk whose flushes stay within QEMU: the machine outside does not lose power."""
    quiet = {"no-flush": True}
    return {"driver": "raw", "cache": quiet, "file": {"driver": "file", "filename": path, "cache": quiet}}
