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

import power_images

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))


class Deadline(BaseException):
    pass


def build_directory():
    return os.environ.get("DAVIT_BUILD", os.path.join(CHECKOUT, "build"))


def cache_directory():
    return os.environ.get("DAVIT_CACHE", "/var/cache/davit-quickstart")


@contextlib.contextmanager
def deadline(limit):
    """Ends the block by Deadline when it takes too long, or is asked to end."""

    def late(number, _):
        raise Deadline(f"not done within {limit} s" if number == signal.SIGALRM else "interrupted")

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, late)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def workspace():
    """A directory for disks and logs. Those of tests that were killed are removed by the next one."""
    top = os.path.join(cache_directory(), "vm")
    os.makedirs(top, exist_ok=True)
    for old in glob.glob(os.path.join(top, "run-*")):
        with contextlib.suppress(OSError), open(os.path.join(old, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
    directory = tempfile.mkdtemp(prefix="run-", dir=top)
    with open(os.path.join(directory, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def prepare(guest, directory):
    """What a guest boots: (its base, its initial RAM disk). The images of power_images.py are in /davit/data of the guest,
    and in `data` of the directory."""
    base = subprocess.run([os.path.join(HERE, "guest-base"), guest], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    data, initrd = os.path.join(directory, "data"), os.path.join(directory, "initrd")
    os.mkdir(data)
    power_images.make(data)
    subprocess.run([os.path.join(HERE, "guest-initrd"), guest, base, initrd, data], check=True)
    return base, initrd
