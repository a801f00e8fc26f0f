# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system of the benchmark's own: ext4 with a journal, in a file behind a loop device.

On ext4 without a journal making files is slow for seconds after others were removed, for every tool that does so; and
what one round leaves behind must not decide about the next.
"""

import os

from measure import call

DAVIT_ROOT = "/var/lib/davit"
DAVIT_UNITS = ("davitd.service", "davit-store.socket", "davit-store@*.service", "davit-store-snapshot.socket",
               "davit-store-snapshot@*.service", "davit-launcher.socket", "davit-launcher.service")


class LoopFs:
    """A fresh ext4 mounted on a directory for the time of a block."""

    def __init__(self, image, mount_point, size):
        self.image, self.mount_point, self.size = image, mount_point, size

    def __enter__(self):
        os.makedirs(self.mount_point, exist_ok=True)
        try:
            with open(self.image, "wb") as f:
                os.posix_fallocate(f.fileno(), 0, self.size)
            # Without lazy initialisation nothing of mkfs's work is left to the time that is measured.
            call(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image])
            call(["mount", "-o", "loop,noatime", self.image, self.mount_point])
        except BaseException:
            os.unlink(self.image)
            raise
        return self

    def __exit__(self, *_exc):
        call(["umount", self.mount_point])
        os.unlink(self.image)


class DavitRoot:
    """Davit's state directory on another file system for the time of a block."""

    def __init__(self, directory):
        self.directory = directory

    def __enter__(self):
        stop_davit()
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        call(["mount", "--bind", self.directory, DAVIT_ROOT])
        start_davit()
        return self

    def __exit__(self, *_exc):
        stop_davit()
        call(["umount", DAVIT_ROOT])
        start_davit()


def stop_davit():
    """Everything that may hold the file system, in a mount namespace of its own: manager, workers, launcher."""
    call(["systemctl", "stop", *DAVIT_UNITS])


def start_davit():
    os.chmod(DAVIT_ROOT, 0o700)
    call(["systemctl", "start", DAVIT_UNITS[0]])
    call(["davitctl", "ps"])
