# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest: for each form of root file systems imports images, starts each and compares its tree; then the store must
empty itself. Usage: test-store.py [FORM...]   FORM: what davit.conf says of root file systems (auto, erofs, checkout...)"""

import json
import sys

import check
import state

DEVICE = "/dev/vdb"


def one_form(form, expect):
    result = {"damaged": [], "bad_starts": [], "findings": [], "errors": []}
    state.configure(form)
    state.mount(DEVICE)
    try:
        state.start()
        for image in sorted(expect)[:4]:
            if image.endswith("+"):
                continue
            state.run("davitctl", "image", "import", "-q", "--name", f"{image}:latest", f"{state.DATA}/{image}.tar")
            check.start(f"{image}:latest", [image], expect, result)
        print(f"{form}: {state.trees()}", flush=True)
        check.verify(result)
        check.collect(result)
        check.leftovers(state.images(), result)
    finally:
        state.stop()
        state.unmount(DEVICE)
    return sum(result.values(), [])


def main():
    with open(f"{state.DATA}/expect.json") as expected:
        expect = json.load(expected)
    passed = failed = 0
    for form in sys.argv[1:] or ["auto"]:
        try:
            faults = one_form(form, expect)
        except state.StateError as error:
            faults = [str(error)]
        print("ok  " if not faults else "FAIL", form, *faults, sep="\n     " if faults else " ", flush=True)
        passed, failed = passed + (not faults), failed + bool(faults)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
