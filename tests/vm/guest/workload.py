# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest: imports, commits, removals, prunes and collections on a disk, side by side, until the power goes.

Usage: workload.py DEVICE FORM SEED SECONDS. One line for each promise; the same promises stand in the disk's journal."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import journal
import state

LIVE = 5  # images at a time, about


class Workload:
    def __init__(self, device, seed, seconds):
        self.journal = journal.Journal(device)
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.until = time.monotonic() + seconds
        self.busy = set()
        self.failed = []
        self.number = len(self.journal.records)
        self.archives = sorted(name[:-4] for name in os.listdir(state.DATA) if name.endswith(".tar"))

    def note(self, event, name, images):
        with self.lock:
            self.journal.write(event=event, name=name, images=images)
            number = len(self.journal.records)
        if event in ("imported", "removed"):
            print(number, event, name, flush=True)

    def davitctl(self, *arguments):
        done = subprocess.run(["davitctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            self.failed.append(f"davitctl {' '.join(arguments)}: {done.stderr.strip()}")
            print("FAILED", self.failed[-1], flush=True)
        return done.returncode == 0

    @staticmethod
    def made_of(known, archive):
        """What a prune by the label of an archive takes; nothing when that is not certain."""
        found = {n: {one.rstrip("+") for one in images} for n, (certain, images) in known.items() if certain != "absent"}
        found = {n: archives for n, archives in found.items() if archive in archives}
        return [] if any(len(archives) > 1 for archives in found.values()) else list(found)

    def choose(self):
        """The next step, whose name nobody else works on meanwhile."""
        with self.lock:
            known = journal.state(self.journal.records)
            live = [n for n, (certain, _) in known.items() if certain != "absent" and n not in self.busy]
            if len(live) + len(self.busy) >= LIVE and live:
                step, name, image = "remove", self.random.choice(live), None
                archive = known[name][1][0].rstrip("+")
                others = self.made_of(known, archive)
                if others and self.random.random() < 0.4 and not self.busy & {*others, archive}:
                    self.busy |= {*others, archive}
                    return "prune", others, archive
            elif live and self.random.random() < 0.4:
                self.number += 1
                step, name, image = "commit", f"c{self.number}:latest", self.random.choice(live)
            else:
                self.number += 1
                image = self.random.choice(self.archives)
                # Names are given a second time too: an image takes the place of another, or of itself.
                name = self.random.choice(live) if live and self.random.random() < 0.1 else f"p{self.number}:latest"
                step = "import"
            self.busy |= {name, image}
        return step, name, image

    def commit(self, name, source):
        """A container of one image changes its tree and becomes another image."""
        with self.lock:
            originals = journal.state(self.journal.records)[source][1]
        # Of an image that is itself a commit, or was being replaced, only the start is tried.
        if len(originals) != 1 or originals[0].endswith("+"):
            self.davitctl("run", "--rm", source)
            return
        container = "box-" + name.partition(":")[0]
        self.note("import", name, [originals[0] + "+"])
        if self.davitctl("run", "--name", container, source, "/bin/busybox", "sh", "/change") and \
                self.davitctl("commit", "-q", container, name):
            self.note("imported", name, [originals[0] + "+"])
        self.davitctl("rm", "-f", container)

    def step(self, step, name, image):
        if step == "commit":
            self.commit(name, image)
        elif step == "prune":
            for one in name:
                self.note("remove", one, [])
            if self.davitctl("image", "prune", "-y", "-q", f"--label=archive={image}"):
                for one in name:
                    self.note("removed", one, [])
        elif step == "import":
            self.note("import", name, [image])
            if self.davitctl("image", "import", "-q", "--name", name, f"{state.DATA}/{image}.tar"):
                self.note("imported", name, [image])
        else:
            self.note("remove", name, [])
            if self.davitctl("image", "rm", *(["--sync"] if self.random.random() < 0.5 else []), name):
                self.note("removed", name, [])

    def work(self):
        while time.monotonic() < self.until:
            step, name, image = self.choose()
            self.step(step, name, image)
            with self.lock:
                self.busy -= {*(name if step == "prune" else [name]), image}

    def collect(self):
        kinds = [f"--kind={kind}" for kind in ("images", "snapshots", "content", "space")]
        commands = [["system", "collect", "-q"], ["system", "prune", "-y", "-q", "--dangling", *kinds]]
        while time.monotonic() < self.until:
            if not self.davitctl(*self.random.choice(commands)):
                return
            time.sleep(self.random.random())

    def run(self):
        threads = [threading.Thread(target=step) for step in (self.work, self.work, self.collect)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main():
    device, form, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    state.configure(form)
    state.mount(device)
    state.start()
    workload = Workload(device, seed, seconds)
    # What the last cut left undecided is decided again: only a settled name may be used further.
    for container in state.containers():
        state.run("davitctl", "rm", "-f", container)
    listed = state.images()
    for name, (certain, images) in journal.state(workload.journal.records).items():
        if certain is None:
            workload.note("imported" if name in listed else "removed", name, images if name in listed else [])
    print("begun", flush=True)
    workload.run()
    print(json.dumps({"failed": workload.failed}))
    return 1 if workload.failed else 0


sys.exit(main())
