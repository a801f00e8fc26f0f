# SPDX-License-Identifier: LGPL-2.1-or-later
"""Davit on a disk of its own, in a guest or in a private systemd: mount, start, stop, and what davitctl says."""

import errno
import json
import os
import stat
import subprocess
import time

STATE = "/var/lib/davit"
DATA = os.environ.get("DAVIT_VM_DATA", "/davit/data")
# Not how long anything may take, but when nothing more will come: machines that run tests stand still for minutes.
LIMIT = 300
UNITS = ["davitd.service", "davit-launcher.service"]


class StateError(Exception):
    pass


def run(*command, limit=LIMIT, may_fail=False):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0 and not may_fail:
        raise StateError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def sockets():
    units = "/usr/lib/systemd/system"
    return [name for name in os.listdir(units) if name.startswith("davit-") and name.endswith(".socket")]


def mount(device):
    """The journal of the file system is played back here; what the cache still has of an older disk is dropped first. A
    manager that runs already would go on with what it has read from elsewhere."""
    stop()
    if stat.S_ISBLK(os.stat(device).st_mode):
        run("blockdev", "--flushbufs", device)
        run("mount", "-t", "ext4", device, STATE)
    else:
        run("mount", "-t", "ext4", "-o", "loop", device, STATE)


def start():
    # A disk is looked at in two seconds: systemd takes so many starts for a unit that fails.
    run("systemctl", "reset-failed", may_fail=True)
    run("systemctl", "start", *sockets())
    try:
        run("systemctl", "start", UNITS[0])
    except StateError as error:
        said = run("journalctl", "-b", "--no-pager", "-n", "20", "-u", "davit*", may_fail=True)
        raise StateError(f"{error}\n{said}") from None


def stop():
    run("systemctl", "stop", *UNITS, *sockets())


def released(device):
    """Whether the file system has gone. It outlives its mount here while a process that is just ending has it mounted in a
    namespace of its own, and would be written to under whatever is done with the disk next."""
    if not stat.S_ISBLK(os.stat(device).st_mode):
        return not run("losetup", "--associated", device)
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def unmount(device):
    deadline = time.monotonic() + LIMIT
    for done in (lambda: subprocess.run(["umount", STATE], capture_output=True).returncode == 0, lambda: released(device)):
        while not done():
            if time.monotonic() > deadline:
                raise StateError(f"{STATE} stays busy")
            time.sleep(0.05)


def images():
    """name -> description"""
    return {one["Name"]: one for one in json.loads(run("davitctl", "image", "ls", "--json"))}


def containers():
    return [one["Id"] for one in json.loads(run("davitctl", "ps", "-a", "--json"))]


def trees():
    """How many root file systems of each form are kept."""
    found = {form: len(os.listdir(f"{STATE}/{form}")) for form in ("checkouts", "erofs") if os.path.isdir(f"{STATE}/{form}")}
    return " and ".join(f"{number} {form}" for form, number in found.items() if number) or "no trees"


def lists_nothing(*directories):
    """Files below directories of the state; a directory that is missing has none."""
    found = []
    for directory in directories:
        for top, _, names in os.walk(os.path.join(STATE, directory)):
            found += [os.path.join(top, name) for name in names]
    return found


def configure(form):
    """Which root file systems are made and mounted."""
    os.makedirs("/etc/davit", exist_ok=True)
    with open("/etc/davit/davit.conf", "w") as out:
        out.write(f"[Store]\nRootFilesystem={form}\n")
