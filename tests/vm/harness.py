# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all tests in guests share: a place for their files that does not outlive them, a deadline, and the guest itself."""

import contextlib
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))


class Deadline(BaseException):
    pass


def build_directory():
    return os.environ.get("DAVIT_BUILD", os.path.join(CHECKOUT, "build"))


@contextlib.contextmanager
def workspace(limit):
    """A directory for disks and logs. Those of tests that were killed are removed by the next one."""
    top = os.environ.get("TMPDIR", "/var/tmp")
    for old in glob.glob(os.path.join(top, "davit-vm-*")):
        with contextlib.suppress(OSError), open(os.path.join(old, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)

    def late(number, _):
        raise Deadline(f"not done within {limit} s" if number == signal.SIGALRM else "interrupted")

    directory = tempfile.mkdtemp(prefix="davit-vm-", dir=top)
    with open(os.path.join(directory, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, late)
        signal.alarm(limit)
        try:
            yield directory
        finally:
            signal.alarm(0)
            shutil.rmtree(directory, ignore_errors=True)


def prepare(guest, directory, data=None):
    """What a guest boots: (its base, its initial RAM disk)"""
    base = subprocess.run([os.path.join(HERE, "guest-base"), guest], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    initrd = os.path.join(directory, "initrd")
    subprocess.run([os.path.join(HERE, "guest-initrd"), guest, base, initrd, *([data] if data else [])], check=True)
    return base, initrd
