# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-oci: every system call of create, start, exec and delete failed once, as test_faults.py does it with tasks."""

import contextlib
import os
import subprocess
import sys
import time
import unittest

import faults
import runtime

WHICH = os.environ.get("DAVIT_FAULTS", "")
LIMIT = 6  # seconds for the sample of one verb
SHOW = "grep -E '^(Cap|Uid|Gid|Groups|NoNew|Seccomp:)' /proc/self/status; pwd; umask; hostname; env; cat /proc/self/oom_score_adj /proc/self/cgroup"


class Faults(runtime.RuntimeTest):
    time_limit = 3600 if WHICH == "all" else 120

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("DAVIT_SEED") or 1)

    def setUp(self):
        super().setUp()
        self.tried = self.told = 0
        self.config(f"{SHOW}; echo end; exec sleep 1000")
        self.before = self.processes()
        self.right = self.whole_life()

    def processes(self):
        """Whatever is davit-oci's, or in the container's root."""
        found = set()
        for pid in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if pid.isdigit() and (os.readlink(f"/proc/{pid}/root") == self.rootfs or "davit-" in os.readlink(f"/proc/{pid}/exe")
                                      or self.name in open(f"/proc/{pid}/cgroup", encoding="utf-8").read()):
                    found.add(int(pid))
        return found

    def traced(self, options, *arguments):
        """davit-oci under fail-call: (status, what it said, log). The container's output goes to the bundle's file."""
        log = os.path.join(self.bundle, "log")
        with open(os.path.join(self.bundle, "output"), "ab") as out, open(os.path.join(self.bundle, "errors"), "wb") as err:
            done = subprocess.run([faults.fail_call(), "--log", log, "--follow", *options, "--", "davit-oci", "--root", runtime.ROOT,
                                   *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.bundle, timeout=30, check=False)
        with open(os.path.join(self.bundle, "errors"), encoding="utf-8", errors="replace") as f:
            return done.returncode, f.read(), log

    def fresh_output(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.bundle, "output"))

    def seen(self):
        self.wait_output("end\n")
        return self.output()

    def whole_life(self):
        self.fresh_output()
        self.assertEqual(self.detached("create", self.name), 0, self.output())
        self.start()
        seen = self.seen()
        executed = self.oci("exec", self.name, "sh", "-c", SHOW).stdout
        self.oci("delete", "--force", self.name)
        return seen, executed

    def prepare(self, verb):
        self.fresh_output()
        if verb != "create":
            self.assertEqual(self.detached("create", self.name), 0, self.output())
        if verb in ("exec", "delete"):
            self.start()
            self.seen()
        if verb == "delete":
            self.oci("kill", self.name, "KILL")
            self.wait_status("stopped")

    VERBS = {"create": ("create",), "start": ("start",), "exec": ("exec",), "delete": ("delete",)}

    def arguments(self, verb):
        return [verb, self.name, *(("sh", "-c", SHOW) if verb == "exec" else ())]

    def points(self, verb):
        """The processes in the order of their birth: davit-oci, the maker, the container's process."""
        self.prepare(verb)
        status, said, log = self.traced([], *self.arguments(verb))
        self.assertEqual(status, 0, said)
        record = faults.Record(log)
        self.oci("delete", "--force", self.name)
        found = []
        for process in record.processes():
            programs = [(at, program) for at, k, program in record.programs if k == process]
            role = ("davit-oci", "maker", "process")[min(process, 2)]
            if process < 2:
                calls = self.loaded(record, process, programs)
            elif process == 2:
                end = programs[0][0] if programs else len(record.calls)
                calls = [c for c in record.calls[:end] if c[0] == 2]
            else:
                continue
            role = f"{process} {role}"
            found += faults.points(role, calls)
            if process:
                found += faults.points(role, calls, kill=True)
        return found

    @staticmethod
    def loaded(record, process, programs):
        """A process's calls but for what the dynamic loader does before the program begins: until it unmaps its cache."""
        calls, loading = [], False
        for i, call in enumerate(record.calls):
            if any(at == i for at, _ in programs):
                loading = any(c[0] == process and c[3] == "/etc/ld.so.cache" for c in record.calls[i:])
            if call[0] != process:
                continue
            if not loading and (process or i >= programs[0][0]):
                calls.append(call)
            if call[1] == "munmap" and i >= programs[0][0]:
                loading = False
        return calls

    def attempt(self, verb, point):
        try:
            self.one(verb, point)
        except BaseException:
            self.oci("delete", "--force", self.name, check=False)
            subprocess.run(["sh", "-c", f"rm -rf {runtime.ROOT}/{self.name}; find /sys/fs/cgroup -depth -name '*{self.name}*' -exec rmdir {{}} ';'"],
                           check=False, stderr=subprocess.DEVNULL)
            self.before = self.processes()
            raise

    def one(self, verb, point):
        self.prepare(verb)
        status, said, log = self.traced(point.options(int(point.role[0])), *self.arguments(verb))
        if status:
            self.told += 1
            # The sentence itself may be what cannot be written; a process killed right before its program counts as that.
            if point.name not in ("write", "writev") and not (point.kill and status == 137):
                self.assertRegex(said, r"\S.{15,}")
        getattr(self, "judge_" + verb)(point, status, said)
        done = self.oci("delete", "--force", self.name, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        os.unlink(log)
        end = time.monotonic() + 5
        while (left := self.processes() - self.before) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(left, set())
        self.check_leaks()
        self.assertEqual(self.whole_life(), self.right)

    def judge_create(self, point, status, said):
        if status:
            self.check_leaks()
            self.refused("does not exist", "state", self.name)
            return
        if point.kill and point.role[0] == "2":  # while it waits to be started, which counts as its end
            self.wait_status("stopped")
            return
        self.start()
        self.assertEqual(self.seen(), self.right[0])

    def judge_start(self, point, status, said):
        if status == 0:
            self.assertEqual(self.seen(), self.right[0])

    def judge_exec(self, point, status, said):
        if status == 0:
            self.assertEqual(self.output()[len(self.right[0]):], self.right[1])
        self.assertEqual(self.status(), "running")

    def judge_delete(self, point, status, said):
        if status == 0:
            self.refused("does not exist", "state", self.name)
        else:
            self.oci("delete", self.name)

    def over(self, verb):
        all_points = self.points(verb)
        wanted = os.environ.get("DAVIT_POINT")
        if wanted:
            chosen = [p for p in all_points if wanted in str(p)]
        else:
            chosen = all_points if WHICH == "all" else faults.sample(all_points, int(WHICH or 40), self.seed)
        begun = time.monotonic()
        for point in chosen:
            if WHICH == "" and not wanted and time.monotonic() - begun > LIMIT:
                break
            with self.subTest(str(point)):
                self.tried += 1
                self.attempt(verb, point)
        print(f"davit-oci {verb}: {self.tried} of {len(all_points)} points, {self.told} told, {time.monotonic() - begun:.0f} s, "
              f"DAVIT_SEED={self.seed}", file=sys.stderr, flush=True)
        self.assertGreater(self.tried, 0)

    def test_create(self):
        self.over("create")

    def test_start(self):
        self.over("start")

    def test_exec(self):
        self.over("exec")

    def test_delete(self):
        self.over("delete")


if __name__ == "__main__":
    unittest.main()
