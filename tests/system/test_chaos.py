# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manager is killed at random while eight clients use it: what was acknowledged holds, and nothing is left over.

DAVIT_KILLS: how often, 50 without it. DAVIT_SEED: the seed that a failed run has printed."""

import os
import sys
import threading
import time

import chaos
import davit

KILLS = int(os.environ.get("DAVIT_KILLS", "50"))


class Witness:
    """A container that counts, into a pipe of ours and into a file, all the while."""

    def __init__(self, test):
        self.id = davit.unique("witness").replace("-", "")
        self.log = f"{davit.FIXTURES}/{self.id}.log"
        self.text = b""
        reader, writer = os.pipe()
        count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
        _, self.piped, self.pid, _ = davit.run_container(["sh", "-c", count], id=self.id, fds=[writer], Stdout=0)
        _, self.filed, _, _ = davit.run_container(["sh", "-c", count], id=self.id + "File", LogPath=self.log)
        os.close(writer)
        self.reader = threading.Thread(target=self.read, args=(reader,), daemon=True)
        self.reader.start()
        for id in (self.id, self.id + "File"):
            test.addCleanup(davit.remove_container, id)
        test.addCleanup(lambda: os.path.exists(self.log) and os.unlink(self.log))

    def read(self, fd):
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65536):
                self.text += chunk

    def check(self, test):
        for task in (self.piped, self.filed):
            test.assertEqual(davit.get(task, "Process.Status"), "running")
        test.assertEqual(davit.get(self.piped, "Process.Pid"), self.pid)
        for task in (self.piped, self.filed):
            davit.call(task, "Process.Kill", "(s)", "KILL")
            test.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
        self.reader.join(davit.TIMEOUT)
        with open(self.log, "rb") as f:
            for text in (self.text, f.read()):
                numbers = [int(n) for n in text.split()]
                test.assertEqual(numbers, list(range(1, len(numbers) + 1)))
                test.assertGreater(len(numbers), 100)


class Kills(davit.TestCase):
    time_limit = max(120, KILLS * 3)

    def prepare(self):
        davit.rootfs()
        self.leaks(timeout=20)

    def test_random_kills(self):
        """S-R01, S-R03, S-R04, S-R05, S-R06, S-R07, S-T21."""
        self.prepare()
        self.survive(chaos.Chaos(KILLS))

    def test_random_upgrades(self):
        """S-R07: the manager is restarted, as another program, in the midst of whatever is being done."""
        self.prepare()
        c = chaos.Upgrades(max(10, KILLS // 10))
        self.addCleanup(c.undo)
        self.survive(c)

    def survive(self, c):
        begun = time.monotonic()
        witness = Witness(self)
        self.addCleanup(c.remove_all)
        print(f"seed {c.seed}", file=sys.stderr, flush=True)
        try:
            c.run(every=10 if KILLS <= 100 else 50)
        finally:
            print(f"seed {c.seed}: {c.killed} kills, {sum(x.acknowledged for x in c.clients)} calls acknowledged, "
                  f"{sum(x.cut for x in c.clients)} cut off, {time.monotonic() - begun:.0f} s, the manager away for at most "
                  f"{c.longest:.2f} s", file=sys.stderr, flush=True)
        witness.check(self)
        self.check_descriptors(c)

    def check_descriptors(self, c):
        """A manager that has seen calls come and go has no more open than the next one, which has not."""
        c.remove_all()
        used = self.descriptors_after_a_run()
        davit.kill_davitd()
        self.assertEqual(used, self.descriptors_after_a_run())

    def descriptors_after_a_run(self):
        davit.output_of(["true"])
        # With the first deletion of what was kept comes the thread for removals.
        davit.create_container(["true"], id="descriptors")
        davit.remove_container("descriptors")
        chaos.audit()
        pid = davit.main_pid()
        since, last = 0, None

        # The pool is filled again a moment after the run.
        def settled():
            nonlocal since, last
            found = chaos.descriptors(pid)
            if found != last:
                since, last = time.monotonic(), found
            return time.monotonic() - since > 0.5 and found

        return davit.wait_until(settled, what="descriptors that stay")
