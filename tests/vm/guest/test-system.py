# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest, where systemd is the first process and every controller is of cgroup version 2: tests of tests/system.
Usage: test-system.py NAME...   NAME: as tests/run-system takes it, "resources" or "resources.Oom" """

import os
import subprocess
import sys

import state

DEVICE = "/dev/vdb"
#: How many times as long as on the machine itself anything may take here.
SLOWNESS = "5"
#: They are skipped where criu cannot: here it has to.
NEED_CRIU = {"criu", "shim_checkpoint"}


def main():
    if NEED_CRIU & {name.split(".")[0] for name in sys.argv[1:]}:
        subprocess.run(["criu", "check"], check=True)
    state.configure("auto")
    state.mount(DEVICE)
    # By this run-system knows that it may use what it finds.
    os.makedirs("/run/quickstart", exist_ok=True)
    try:
        state.start()
        done = subprocess.run(["/davit/tests/run-system", "--verbose", *sys.argv[1:]], check=False,
                              env={**os.environ, "DAVIT_SLOWNESS": SLOWNESS, "PYTHONDONTWRITEBYTECODE": "1"})
    finally:
        state.stop()
        state.unmount(DEVICE)
    if done.returncode != 0:
        print(state.run("journalctl", "-b", "--no-pager", "-n", "60", "-o", "short-monotonic", may_fail=True))
    return done.returncode


sys.exit(main())
