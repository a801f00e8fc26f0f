# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a power cut has left on a disk. Usage: check.py DEVICE FORM. One line of JSON:
{"acknowledged", "removed", "trees", "damaged": [...], "bad_starts": [...], "findings": [...], "errors": [...], "took"}
"acknowledged" and "removed": how many images were promised to be there, and how many names to be gone. "findings": of the
store's own check and of libostree's.

Everything that was promised must hold: images that were there are there, whole, and start; those that were removed are
gone; the store has no fault; and what the cut left behind goes with the next collection."""

import json
import os
import sys
import time

import journal
import state


def compare(known, listed, result):
    for name, (certain, _) in known.items():
        if certain == "present" and name not in listed:
            result["damaged"].append(f"{name} was imported and is not there")
        elif certain == "absent" and name in listed:
            result["damaged"].append(f"{name} was removed and is there")
    for name in listed:
        if name not in known:
            result["damaged"].append(f"{name} came from nowhere")


def verify(result):
    """The store by its own check, which counts what it has looked at."""
    said = json.loads(state.run("davitctl", "system", "check", "--json", may_fail=True) or "null")
    if not isinstance(said, dict) or "Objects" not in said or said["Damaged"] or said["Records"]:
        result["findings"].append(f"check: {said}")


def collect(result):
    """The store by libostree's check. It takes a commit that is kept by nothing for one that has lost its files, so what
    the cut left behind goes first."""
    state.run("davitctl", "system", "collect")
    try:
        state.run("ostree", f"--repo={state.STATE}/repo", "fsck", "-q")
    except state.StateError as error:
        result["findings"].append(str(error))


def start(name, images, expect, result):
    """Runs a container that lists its own tree."""
    try:
        said = state.run("davitctl", "run", "--rm", name).split(" ")[0]
    except state.StateError as error:
        result["bad_starts"].append(str(error))
        return
    if said not in [expect[image] for image in images]:
        result["bad_starts"].append(f"{name}: its tree is none of {images}")


def leftovers(listed, result):
    """With all containers and images removed, a collection must find its way to an empty store."""
    for container in state.containers():
        state.run("davitctl", "rm", "-f", container)
    for name in listed:
        state.run("davitctl", "image", "rm", "--sync", name)
    state.run("davitctl", "system", "collect")
    kept = [path for path in state.lists_nothing("repo/objects", "checkouts", "erofs", "work", "ingest", "repo/refs")]
    kept += [path for path in state.lists_nothing("repo/tmp") if "/staging-" in path]
    if kept:
        result["errors"].append(f"left behind: {len(kept)}: {kept[:5]}")


def check(device, result):
    with open(f"{state.DATA}/expect.json") as expected:
        expect = json.load(expected)
    known = journal.state(journal.read(device))
    for key, wanted in (("acknowledged", "present"), ("removed", "absent")):
        result[key] = sum(certain == wanted for certain, _ in known.values())
    state.mount(device)
    try:
        state.start()
        listed = state.images()
        compare(known, listed, result)
        verify(result)
        if os.path.exists(f"{state.STATE}/repo/config"):
            collect(result)
        result["trees"] = state.trees()
        for name in listed:
            start(name, known.get(name, ("", []))[1], expect, result)
        leftovers(listed, result)
    finally:
        state.stop()
        state.unmount(device)


def main():
    state.configure(sys.argv[2])
    begun = time.monotonic()
    result = {"acknowledged": 0, "removed": 0, "trees": "", "damaged": [], "bad_starts": [], "findings": [], "errors": []}
    try:
        check(sys.argv[1], result)
    except Exception as error:  # whatever it is, it is what the outside wants to know
        result["errors"].append(f"{type(error).__name__}: {error}")
    result["took"] = round(time.monotonic() - begun, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
