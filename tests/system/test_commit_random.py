# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random changes of random trees: a commit is what the mount showed, and what diff writes leads there and back."""

import ctypes
import os
import random
import shutil
import tarfile
import unittest

import images
import reference
import test_commit

RENAME_EXCHANGE = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def random_layer(rng):
    """Directories, files, links; every time with nanoseconds."""
    entries, directories, files = [], [""], []
    for i in range(12):
        directories.append(os.path.join(rng.choice(directories), f"d{i}"))
        entries.append(images.entry(directories[-1]))
    for i in range(40):
        files.append(os.path.join(rng.choice(directories), f"f{i}"))
        what = rng.random()
        if what < 0.15 and i > 0:
            entries.append(images.entry(files[-1], kind=tarfile.LNKTYPE, linkname=rng.choice(files[:-1])))
        elif what < 0.25:
            entries.append(images.entry(files[-1], kind=tarfile.SYMTYPE, linkname=rng.choice(["x", "/y"])))
        else:
            entries.append(images.entry(files[-1], rng.randbytes(rng.choice([0, 5, 100]))))
    for i, (info, _) in enumerate(entries):
        info.mtime = 1600000000 + i + 0.123456789
    return images.layer(entries)


def exchange(a, b):
    LIBC.renameat2(-100, a.encode(), -100, b.encode(), RENAME_EXCHANGE)


def write(path, mode, data):
    with open(path, mode) as f:
        f.write(data)


class Mutator:
    """One random change at a time; what the file system refuses is no change."""

    def __init__(self, rng, top):
        self.rng, self.top = rng, top

    def look(self):
        self.directories, self.files = [], []
        for path, names, files in os.walk(self.top):
            self.directories.append(path)
            self.files += [os.path.join(path, n) for n in files]
            self.files += [os.path.join(path, n) for n in names if os.path.islink(os.path.join(path, n))]
        self.below = [d for d in self.directories if d != self.top]
        self.regular = [f for f in self.files if os.path.isfile(f) and not os.path.islink(f)]

    def step(self):
        self.look()
        one, new = self.rng.choice, os.path.join(self.rng.choice(self.directories), f"n{self.rng.randrange(60)}")

        def again(path):
            shutil.rmtree(path)
            os.mkdir(path)

        def directory_for(path):
            os.unlink(path)
            os.mkdir(path)

        change = one([
            lambda: write(new, "wb", self.rng.randbytes(10)), lambda: os.mkdir(new), lambda: os.mkfifo(new),
            lambda: os.symlink("t" * self.rng.randrange(1, 200), new), lambda: os.unlink(one(self.files)),
            lambda: os.chmod(one(self.regular), one([0o600, 0o4755, 0o640])), lambda: shutil.rmtree(one(self.below)),
            lambda: os.chmod(one(self.below), one([0o700, 0o1777])), lambda: os.rename(one(self.files), new),
            lambda: os.rename(one(self.below), new), lambda: os.link(one(self.files), new, follow_symlinks=False),
            lambda: write(one(self.regular), "ab", b"more"), lambda: again(one(self.below)),
            lambda: os.setxattr(one(self.regular + self.below), "user.x", self.rng.randbytes(4)),
            lambda: os.utime(one(self.regular + self.below), ns=(1, self.rng.randrange(10 ** 18))),
            lambda: os.rename(one(self.regular), one(self.regular)), lambda: directory_for(one(self.files)),
            lambda: exchange(one(self.files + self.below), one(self.files + self.below))])
        try:
            change()
        except (OSError, IndexError):
            pass


class Random(test_commit.StoreTest):
    """The root is as old as the directory that holds it, so its time is left out."""

    def lead(self, begin, end, wanted):
        """Diff of two chains, applied on the first: it has to show what the second does."""
        mount, _ = self.snapshot(begin["rootfs"])
        fds = [os.open(self.path("layer"), os.O_RDWR | os.O_CREAT), os.open(mount, os.O_RDONLY | os.O_DIRECTORY)]
        self.call("diff", fds[0], **{"from": begin["chain_id"], "to": end["chain_id"]})
        self.call("apply", *fds, snapshots=False)
        for fd in fds:
            os.close(fd)
        self.assertSame(wanted, reference.describe(mount), {b""})

    def check(self, seed):
        rng = random.Random(seed)
        first = at = self.bring(random_layer(rng))
        origin = reference.describe(self.view(first["rootfs"]))
        for _ in range(3):
            mount, upper = self.snapshot(at["rootfs"])
            mutator = Mutator(rng, mount)
            for _ in range(rng.choice([3, 20, 60])):
                mutator.step()
            wanted = reference.describe(mount)
            done = self.commit(at["chain_id"], upper)
            self.assertSame(wanted, reference.describe(self.view(done["rootfs"])), {b""})
            self.lead(at, done, wanted)
            at = done
        self.lead(at, first, origin)

    def test_seeds(self):
        for seed in (11, 32, 1001, 1002):
            with self.subTest(seed):
                self.check(seed)
                self.doCleanups()
                self.setUp()


if __name__ == "__main__":
    unittest.main()
