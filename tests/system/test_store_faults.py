# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that is full or broken at every single call of an import that writes: a sentence, and nothing left."""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

import images
import test_store

#: What changes a file system, or waits for it. Calls that merely open are left out but for those that create.
CALLS = ("write", "pwrite64", "writev", "copy_file_range", "fallocate", "ftruncate", "mkdir", "mkdirat", "mknodat", "linkat",
         "symlinkat", "rename", "renameat", "renameat2", "fsync", "fdatasync", "syncfs", "fchmod", "fchown", "fchownat",
         "fsetxattr", "lsetxattr", "utimensat", "openat", "link", "symlink", "flock", "fchmodat")
EACH = 24  # of one call; beyond it, evenly spread ones


class Faults(test_store.StoreTest):
    time_limit = 500

    def setUp(self):
        # Not on a disk: what a sync costs is not looked at here.
        self.top = tempfile.mkdtemp(prefix="davit-store-faults-", dir="/run")
        self.addCleanup(shutil.rmtree, self.top)
        self.dir = self.top + "/state"
        e = images.entry
        base = [e("d", mode=0o750), e("d/small", b"small"), e("d/large", os.urandom(700000)), e("d/twin", b"small"),
                e("d/link", kind=tarfile.SYMTYPE, linkname="small"), e("d/hard", kind=tarfile.LNKTYPE, linkname="d/small")]
        top = [e("d/.wh.twin", b""), e("d/fifo", kind=tarfile.FIFOTYPE),
               e("d/attributes", b"x", pax_headers={"SCHILY.xattr.user.a": "b"})]
        self.archive = images.oci_archive(self.path("oci.tar"), [test_store.layer(base), test_store.layer(top)])
        self.argv = [test_store.WORKER, "--directory=" + self.dir, "import", "--name=t", self.archive]

    def strace(self, *options):
        return subprocess.run(["strace", "-f", "-qq", *options, *self.argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, check=False, text=True, errors="replace")

    def counted(self):
        """{call: ordinals worth failing} from an import that goes well."""
        log = self.path("log")
        self.assertEqual(self.strace("-o", log, "-e", "trace=?" + ",?".join(CALLS)).returncode, 0)
        found = {}
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f:
                match = re.match(r"\d+ +(\w+)\((.*)", line)
                if not match:
                    continue
                numbers = found.setdefault(match.group(1), [0])
                numbers[0] += 1
                if match.group(1) != "openat" or "O_CREAT" in line or "O_TMPFILE" in line:
                    numbers.append(numbers[0])
        return {call: self.spread(numbers[1:]) for call, numbers in found.items() if len(numbers) > 1}

    @staticmethod
    def spread(numbers):
        if len(numbers) <= EACH:
            return numbers
        return sorted({numbers[i * (len(numbers) - 1) // (EACH - 1)] for i in range(EACH)})

    def fail_one(self, call, number, error):
        """The import with one call failed: whether it was told of; whatever happened, nothing may stay."""
        done = self.strace("-o", "/dev/null", "-e", f"inject={call}:error={error}:when={number}")
        where = f"{call} {number} {error}: {done.returncode} {done.stderr}"
        self.assertIn(done.returncode, (0, 1), where)
        if done.returncode == 0:
            self.assertWhole()
        else:
            # strace counts in each thread for itself: the first write of the main thread may be that of the sentence.
            if call != "write" or done.stderr:
                self.assertRegex(done.stderr, r"^davit-store: [A-Z]\w+: \S", where)
        self.assertEqual(os.listdir(self.dir + "/ingest") if os.path.exists(self.dir + "/ingest") else [], [], where)
        self.collect()
        self.assertEqual(self.left(), [], where)
        return done.returncode == 1

    def test_every_write(self):
        calls = self.counted()
        self.collect()
        self.assertIn("syncfs", calls)
        self.assertIn("write", calls)
        told = tried = 0
        for call, numbers in sorted(calls.items()):
            for number in numbers:
                for error in ("ENOSPC", "EIO"):
                    with self.subTest(call=call, number=number, error=error):
                        told += self.fail_one(call, number, error)
                        tried += 1
        # Writing a message, say, may fail unheard; most of it must not.
        self.assertGreater(told, tried // 2, f"{told} of {tried}")
        self.bring(self.archive)
        self.assertWhole()

    def test_full_file_system(self):
        """A real one: 24 MB for an image of 60."""
        image, mount_point = self.path("disk"), self.path("mounted")
        os.mkdir(mount_point)
        with open(image, "wb") as f:
            f.truncate(24 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount_point], check=True)
        self.addCleanup(subprocess.run, ["umount", mount_point], check=True)
        self.dir = mount_point + "/state"
        self.bring(test_store.layer([test_store.entry("first", b"1")]), format="rootfs")
        self.collect()
        free = os.statvfs(mount_point).f_bavail
        large = test_store.layer([test_store.entry(f"f{i}", os.urandom(3 << 20)) for i in range(20)])
        for _ in range(3):
            self.assertFails("ResourceExhausted", large, format="rootfs")
        self.collect()
        self.assertGreaterEqual(os.statvfs(mount_point).f_bavail, free - 64)
        self.bring(test_store.layer([test_store.entry("fits", b"1")]), format="rootfs")
        self.assertWhole()


if __name__ == "__main__":
    unittest.main()
