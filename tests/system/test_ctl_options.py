# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options of davitctl, each by what comes of it: limits that update changes, variables, who is shown."""

import glob
import json
import os
import unittest

import davit
import test_ctl
from test_ctl import ROOTFS
from test_resources import MIB, UNIFIED, directory, read, tasks_limit


class Update(test_ctl.CtlCase):
    def setUp(self):
        super().setUp()
        self.name = self.sleeper()
        self.task = davit.manager("GetTask", "(ss)", "", self.name)

    def unit(self, name):
        return davit.unit_show(davit.get(self.task, "Task.Scope"), name)[name]

    def definition(self):
        return json.loads(self.ctl("inspect", self.name))[0]["Spec"].get("linux", {}).get("resources", {}).get("unified", {})

    def test_memory_of_version_2(self):
        """E06, H02."""
        for option, value, name, file in (("--memory-high", 50, "MemoryHigh", "memory.high"),
                                          ("--memory-low", 8, "MemoryLow", "memory.low")):
            with self.subTest(option=option):
                before = self.unit(name)
                self.refused("update", option, "much", self.name, contains="'much' is no size")
                if UNIFIED:
                    self.assertEqual(self.ctl("update", option, f"{value}m", self.name), self.name)
                    self.assertEqual((read(self.task, file), self.unit(name)), (str(value * MIB),) * 2)
                    self.assertEqual(self.definition()[file], str(value * MIB))
                else:
                    self.refused("update", option, f"{value}m", self.name,
                                 contains=f"davitctl: {option} asks for a limit, but this host has no means to enforce {name}")
                    self.assertEqual((self.unit(name), self.definition()), (before, {}))

    def test_lifted(self):
        """E06: no limit is there already where there can be none; memory that is kept for a container is no limit."""
        for option, name, file in (("--memory-high", "MemoryHigh", "memory.high"), ("--memory-swap", "MemorySwapMax", "memory.swap.max")):
            with self.subTest(option=option):
                self.assertEqual(self.ctl("update", option, "max", self.name), self.name)
                self.assertEqual((self.unit(name), self.definition()[file]), ("infinity", "max"))
        self.ctl("stop", "-t", "0", self.name)
        self.ctl("start", self.name)
        self.assertEqual(self.unit("MemoryHigh"), "infinity")
        if not UNIFIED:
            self.refused("update", "--memory-low", "max", self.name, contains="--memory-low asks for a limit, but this host has no means")

    def quota(self):
        """Processor time in a period, both in microseconds; nothing where there is no limit."""
        if UNIFIED:
            found = read(self.task, "cpu.max").split()
        elif os.path.exists(directory(self.task, "cpu")):
            found = [read(self.task, f"cpu.cfs_{name}_us", "cpu") for name in ("quota", "period")]
        else:
            return []
        return found if found[0] not in ("max", "-1") else []

    def test_cpus(self):
        """E06, S-V01: as run and create have it, and at once where it runs."""
        self.name = self.sleeper("--cpus", "0.5")
        self.task = davit.manager("GetTask", "(ss)", "", self.name)
        self.assertEqual(self.quota(), ["50000", "100000"])
        self.assertEqual(self.ctl("update", "--cpus=1.25", self.name), self.name)
        self.assertEqual((self.quota(), self.unit("CPUQuotaPerSecUSec"), self.definition()),
                         (["125000", "100000"], "1.250000s", {"cpu.max": "125000 100000"}))
        self.ctl("update", "--runtime", "--cpus", "max", self.name)
        self.assertEqual((self.quota(), self.definition()["cpu.max"]), ([], "125000 100000"))
        for wrong in "0", "-1", "many", "":
            self.refused("update", "--cpus", wrong, self.name, contains=f"'{wrong}' is no number of processors")
            self.refused("run", "--cpus", wrong, ROOTFS, "true", status=125, contains=f"'{wrong}' is no number of processors")
        self.name = davit.unique("ctl")
        self.addCleanup(davit.remove_container, self.name)
        self.ctl("create", "--name", self.name, "--cpus", "2", ROOTFS, "sleep", "1000")
        self.ctl("start", self.name)
        self.task = davit.manager("GetTask", "(ss)", "", self.name)
        self.assertEqual(self.quota(), ["200000", "100000"])

    def test_cpu_weight(self):
        """E06: version 1 counts in shares, of which 1024 are the weight 100."""
        self.name = self.sleeper("--cpus", "0.5")  # which has a group for it on every host
        self.task = davit.manager("GetTask", "(ss)", "", self.name)

        def share():
            return read(self.task, "cpu.weight") if UNIFIED else str(int(read(self.task, "cpu.shares", "cpu")) * 100 // 1024)
        self.assertEqual(self.ctl("update", "--cpu-weight", "50", self.name), self.name)
        self.assertEqual((share(), self.unit("CPUWeight"), self.definition()), ("50", "50", {"cpu.weight": "50"}))
        self.ctl("update", "--runtime", "--cpu-weight=200", self.name)
        self.assertEqual((share(), self.definition()), ("200", {"cpu.weight": "50"}))
        for wrong in "0", "10001", "max":
            self.refused("update", "--cpu-weight", wrong, self.name, contains="--cpu-weight")
        self.refused("update", "--cpu-weight", "heavy", self.name, contains="'heavy' is no number")
        self.assertEqual(share(), "200")

    def test_cpuset(self):
        """E06."""
        self.refused("update", "--cpuset-cpus", "0-", self.name, contains='--cpuset-cpus: "0-" is not a list')
        if UNIFIED:
            self.assertEqual(self.ctl("update", "--cpuset-cpus", "0", self.name), self.name)
            self.assertEqual((read(self.task, "cpuset.cpus"), self.unit("AllowedCPUs"), self.definition()),
                             ("0", "0", {"cpuset.cpus": "0"}))
        else:
            self.refused("update", "--cpuset-cpus", "0", self.name, contains="davitctl: --cpuset-cpus asks for a limit")
            self.assertEqual((self.unit("AllowedCPUs"), self.definition()), ("", {}))

    def weights(self):
        """What the kernel has, in whichever file; nothing where the task has no group for it."""
        found = {}
        for path in glob.glob(directory(self.task, "blkio") + ("/io.*weight" if UNIFIED else "/blkio.*weight")):
            with open(path) as f:
                found[os.path.basename(path)] = f.read()
        return found

    def changed(self, before):
        now = self.weights()
        if now:  # a kernel without a scheduler that knows weights has no file for them
            self.assertNotEqual(now, before)
        return now

    def test_io_weight(self):
        """E06: at once where the task has a group for it, as on hosts of version 2, and for the next start."""
        before = self.weights()
        self.refused("update", "--io-weight", "0", self.name, contains="--io-weight: 0 is not between 1 and 10000")
        self.refused("update", "--io-weight", "heavy", self.name, contains="'heavy' is no number")
        done = davit.ctl("update", "--io-weight", "80", self.name)
        if UNIFIED or done.returncode == 0:
            self.assertEqual((done.stdout, done.stderr, self.unit("IOWeight")), (self.name + "\n", "", "80"))
            self.changed(before)
        else:
            self.assertIn('--io-weight cannot be changed while it runs: the task was started outside the "io" hierarchy', done.stderr)
            self.assertNotEqual(self.unit("IOWeight"), "80")
            self.assertEqual(self.definition(), {})
        self.ctl("stop", "-t", "0", self.name)
        self.ctl("update", "--io-weight", "50", self.name)
        self.assertEqual(self.definition(), {"io.weight": "50"})
        self.ctl("start", self.name)
        self.assertEqual(self.unit("IOWeight"), "50")
        first = self.changed(before)
        self.ctl("update", "--runtime", "--io-weight", "90", self.name)
        self.assertEqual((self.unit("IOWeight"), self.definition()), ("90", {"io.weight": "50"}))
        self.changed(first)

    def test_files(self):
        """E06, H04."""
        self.assertEqual(self.ctl("update", "--cgroup-conf", "pids.max=33", self.name), self.name)
        self.assertEqual((tasks_limit(self.task), self.unit("TasksMax")), (33, "33"))
        self.assertEqual(self.definition(), {"pids.max": "33"})
        if UNIFIED:
            self.ctl("update", "--cgroup-conf", "memory.oom.group=1", "--cgroup-conf", "pids.max=34", self.name)
            self.assertEqual((read(self.task, "payload/memory.oom.group"), tasks_limit(self.task)), ("1", 34))
        else:
            self.refused("update", "--cgroup-conf", "memory.oom.group=1", "--cgroup-conf", "pids.max=34", self.name,
                         contains='davitctl: --cgroup-conf memory.oom.group asks for a limit, but this host has no "memory" cgroup controller of version 2')
            self.assertEqual((tasks_limit(self.task), self.definition()), (33, {"pids.max": "33"}))
        for file, value, says in (("no/such", "1", "is not the name of a file"), ("pids.max", "0", '"0" is not a value'),
                                  ("memory.max", "100", "100 bytes are too few"), ("cgroup.kill", "1", "is no limit")):
            self.refused("update", "--cgroup-conf", f"{file}={value}", self.name, contains=f"davitctl: --cgroup-conf {file}: {says}")
        self.refused("update", "--cgroup-conf", "pids.max=x", "--pids-limit", "9", self.name, contains="davitctl: --")
        for wrong in ("pids.max", "=34", ""):
            self.refused("update", "--cgroup-conf", wrong, self.name, contains=f"'{wrong}' is not of the form FILE=VALUE")


class Stats(test_ctl.CtlCase):
    def test_of_every_namespace(self):
        """S-H09, H06."""
        ns, id, other = davit.unique("ns"), self.sleeper(), davit.unique("ctl")
        self.addCleanup(davit.ctl, "namespace", "rm", ns)
        self.addCleanup(davit.remove_container, other, ns)
        self.ctl("-n", ns, "run", "-d", "--name", other, ROOTFS, "sleep", "1000")

        def shown(*options):
            return {(one["Namespace"], one["Id"]) for one in json.loads(self.ctl("stats", "--no-stream", "--json", *options))}
        self.assertLessEqual({("default", id), (ns, other)}, shown("-A"))
        self.assertEqual(shown("-A"), shown("--all-namespaces"))
        self.assertEqual(shown("-n", ns), {(ns, other)})
        self.assertNotIn((ns, other), shown())
        names = [line.split()[0] for line in self.ctl("stats", "-A", "--no-stream").splitlines()[1:]]
        self.assertLessEqual({f"default/{id}", f"{ns}/{other}"}, set(names))
        self.refused("stats", "-A", "--no-stream", id, contains="not both")


class Environment(test_ctl.CtlCase):
    def file(self, text):
        path = f"{davit.FIXTURES}/{davit.unique('env')}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        self.addCleanup(os.unlink, path)
        return path

    def test_file(self):
        path = self.file('A=b c\n# C=no\n\n  INDENTED=1\nFROM_HERE\nNOT_HERE\nEMPTY=\nQUOTED="x" $A\nLAST=without end')
        expected = {"A=b c", "INDENTED=1", "FROM_HERE=yes", "EMPTY=", 'QUOTED="x" $A', "LAST=without end"}
        environment = {**os.environ, "FROM_HERE": "yes"}
        out = set(self.ctl("run", "--rm", "--env-file", path, ROOTFS, "env", env=environment).splitlines())
        self.assertLessEqual(expected, out)
        self.assertEqual({line.split("=")[0] for line in out} & {"C", "# C", "NOT_HERE", ""}, set())
        self.assertLessEqual(expected, set(self.ctl("exec", "--env-file", path, self.sleeper(), "env",
                                                    env=environment).splitlines()))

    def test_what_stands_last_holds(self):
        path = self.file("A=file\nB=file\n")
        out = self.ctl("run", "--rm", "-e", "A=before", "--env-file", path, "-e", "B=after", ROOTFS, "sh", "-c", "echo $A $B")
        self.assertEqual(out, "file after")

    def test_wrong_files(self):
        for path, sentence in (("/no/such", "cannot open '/no/such'"), (davit.FIXTURES, f"cannot read '{davit.FIXTURES}'"),
                               (self.file("A=b\n=c\n"), "'=c' is no environment variable")):
            self.refused("run", "--rm", "--env-file", path, ROOTFS, "true", status=125, contains=sentence)

    def test_unset(self):
        self.assertIn("FROM_IMAGE=yes", self.ctl("run", "--rm", "busybox", "env").splitlines())
        self.assertNotIn("FROM_IMAGE", self.ctl("run", "--rm", "--unsetenv", "FROM_IMAGE", "busybox", "env"))
        self.assertNotIn("MINE", self.ctl("run", "--rm", "-e", "MINE=1", "--unsetenv", "MINE", "--unsetenv=NO_SUCH", "busybox",
                                          "env"))
        for wrong in ("FROM_IMAGE=no", ""):
            self.refused("run", "--rm", "--unsetenv", wrong, "busybox", "env", status=125,
                         contains=f"'{wrong}' is no name of an environment variable")


if __name__ == "__main__":
    unittest.main()
