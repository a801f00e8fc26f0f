# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest: imports images, starts each and compares its tree; then the store must empty itself.
Usage: test-store.py [FORM]   FORM: what davit.conf says of root file systems (auto, erofs, checkout...)"""

import json
import sys

import check
import state

DEVICE = "/dev/vdb"


def main():
    result = {"damaged": [], "bad_starts": [], "errors": []}
    with open(f"{state.DATA}/expect.json") as expected:
        expect = json.load(expected)
    state.configure(sys.argv[1] if len(sys.argv) > 1 else "auto")
    state.mount(DEVICE)
    try:
        state.start()
        for image in sorted(expect)[:3]:
            state.run("davitctl", "image", "import", "-q", "--name", f"{image}:latest", f"{state.DATA}/{image}.tar")
            check.start(f"{image}:latest", [image], expect, result)
            print(f"{image}: imported and started", flush=True)
        check.verify(result)
        check.collect(result)
        check.leftovers(state.images(), result)
    finally:
        state.stop()
        state.unmount()
    for fault in sum(result.values(), []):
        print(f"FAIL {fault}")
    return 1 if any(result.values()) else 0


sys.exit(main())
