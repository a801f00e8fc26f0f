# SPDX-License-Identifier: LGPL-2.1-or-later
"""Thousands of hostile archives: each unpacks to what the model says or is refused, and touches nothing else."""

import os
import subprocess
import tempfile
import threading
import unittest

import corpus

BUILD = os.environ["DAVIT_BUILD"]
TRIPLES = int(os.environ.get("DAVIT_CORPUS_TRIPLES", "4000"))


def listing_of(path):
    """All that could be changed by somebody who gets out: names, types, modes, times, content."""
    found = []
    for top, dirs, files in os.walk(path):
        dirs.sort()
        for name in sorted(dirs + files):
            whole = os.path.join(top, name)
            st = os.lstat(whole)
            content = b""
            if os.path.isfile(whole) and not os.path.islink(whole):
                with open(whole, "rb") as f:
                    content = f.read()
            found.append((whole, st.st_mode, st.st_uid, st.st_ino, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns, content))
    return found


class Corpus(unittest.TestCase):
    time_limit = 400

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="davit-corpus-", dir="/var/tmp")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.top], check=True)
        self.work = os.path.join(self.top, "deep", "work")
        os.makedirs(self.work)
        # beside the place where archives are unpacked, above it, and where absolute names of the corpus lead
        self.canaries = [os.path.join(self.top, "deep", "canary"), os.path.join(self.top, "canary"), "/canary"]
        for canary in self.canaries:
            os.makedirs(canary)
            self.addCleanup(subprocess.run, ["rm", "-rf", canary], check=True)
            with open(os.path.join(canary, "file"), "w") as f:
                f.write("untouched")
        for name in ("a", "b"):
            with open(os.path.join(self.top, "deep", name), "w") as f:
                f.write("untouched")

    def outside(self):
        found = [row for canary in self.canaries for row in listing_of(canary)]
        return found + sorted(os.listdir(self.top)) + sorted(os.listdir(os.path.join(self.top, "deep")))

    def run_cases(self, all_cases):
        """[lines or None] from the unpacker."""
        process = subprocess.Popen([os.path.join(BUILD, "tests/system/unpack")], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, cwd=self.work)

        def feed():
            for layers in all_cases:
                process.stdin.write(b"CASE %d\n" % len(layers))
                for entries in layers:
                    data = corpus.tar(entries)
                    process.stdin.write(b"%d\n" % len(data) + data)
            process.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        results, lines = [], []
        for line in process.stdout:
            line = line.decode().rstrip("\n")
            if line:
                lines.append(line)
                continue
            results.append(None if lines[0].startswith("refused ") else lines)
            lines = []
        feeder.join()
        process.stdout.close()
        self.assertEqual(process.wait(), 0, f"the unpacker died at case {len(results)}")
        return results

    def test_corpus(self):
        all_cases = list(corpus.cases(TRIPLES))
        before = self.outside()
        got = self.run_cases(all_cases)
        self.assertEqual(len(got), len(all_cases))
        refused = wrong = 0
        for layers, lines in zip(all_cases, got):
            want = corpus.expected(layers)
            refused += want is None
            if lines != want:
                wrong += 1
                if wrong <= 5:
                    print(f"{layers}\n  wanted {want}\n  got    {lines}")
        self.assertEqual(wrong, 0, f"{wrong} of {len(all_cases)} cases")
        # a model that refuses everything would agree with an unpacker that refuses everything
        self.assertGreater(refused, len(all_cases) // 20)
        self.assertGreater(len(all_cases) - refused, len(all_cases) // 4)
        self.assertEqual(self.outside(), before)
        self.assertEqual(os.listdir(self.work), [])


if __name__ == "__main__":
    unittest.main()
