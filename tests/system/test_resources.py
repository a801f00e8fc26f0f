# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of running tasks, what tasks use, and who is killed when memory is short. Runs on cgroup version 2 and on a hybrid
host, where each test expects what systemd does there."""

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from gi.repository import GLib

import davit
import faults

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
NO_LIMIT = 2 ** 64 - 1
MIB = 1 << 20
#: Takes all the memory it can get, and is what the kernel chooses.
HOG = "tail /dev/zero"


def directory(task, controller="memory"):
    top = "/sys/fs/cgroup" if UNIFIED else f"/sys/fs/cgroup/{controller}"
    return f"{top}/davit.slice/davit-default.slice/{davit.get(task, 'Task.Scope')}"


def read(task, name, controller="memory"):
    with open(f"{directory(task, controller)}/{name}") as f:
        return f.read().strip()


def memory_limit(task):
    return int(read(task, "memory.max" if UNIFIED else "memory.limit_in_bytes"))


def tasks_limit(task):
    return int(read(task, "pids.max", "pids"))


def update(task, resources=None, unified=None, **limits):
    options = {key: GLib.Variant("s" if isinstance(value, str) else "t", value) for key, value in limits.items()}
    if resources is not None:
        options["Resources"] = GLib.Variant("s", json.dumps(resources))
    if unified is not None:
        options["Unified"] = GLib.Variant("a{ss}", unified)
    davit.call(task, "Task.Update", "(a{sv})", options)


class Base(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.leaks()

    def task(self, command=("sleep", "1000"), **opts):
        id, task, _, end = davit.run_container(list(command), id=davit.unique("res"), **opts)
        self.addCleanup(davit.remove_container, id)
        self.addCleanup(os.close, end)
        return task

    def stats(self, task, *parts):
        options = {"Parts": GLib.Variant("as", parts)} if parts else {}
        return davit.call(task, "Task.Stats", "(a{sv})", options)


class Update(Base):
    def test_what_is_given_changes_and_nothing_else(self):
        """E06, H02, H03: limits change while the program runs; the reply comes when the kernel has them."""
        task = self.task(MemoryMax=64 * MIB, TasksMax=50)
        pid = davit.get(task, "Process.Pid")
        update(task, MemoryMax=96 * MIB)
        self.assertEqual((memory_limit(task), tasks_limit(task)), (96 * MIB, 50))
        update(task, TasksMax=77)
        self.assertEqual((memory_limit(task), tasks_limit(task)), (96 * MIB, 77))
        self.assertEqual(davit.get(task, "Task.MemoryMax"), 96 * MIB)
        self.assertEqual(davit.get(task, "Task.TasksMax"), 77)
        self.assertEqual(davit.unit_show(davit.get(task, "Task.Scope"), "MemoryMax", "TasksMax"),
                         {"MemoryMax": str(96 * MIB), "TasksMax": "77"})
        update(task, MemoryMax=NO_LIMIT)
        self.assertEqual(davit.get(task, "Task.MemoryMax"), NO_LIMIT)
        update(task)
        self.assertEqual(davit.get(task, "Process.Pid"), pid)

    def test_oci_resources(self):
        """E06: the words of a runtime configuration; what is not in them stays."""
        task = self.task(MemoryMax=64 * MIB, TasksMax=50)
        update(task, {"pids": {"limit": 60}})
        self.assertEqual((memory_limit(task), tasks_limit(task)), (64 * MIB, 60))
        update(task, {"memory": {"limit": 80 * MIB}, "pids": {"limit": -1}})
        self.assertEqual(davit.get(task, "Task.MemoryMax"), 80 * MIB)
        self.assertEqual(davit.get(task, "Task.TasksMax"), NO_LIMIT)
        update(task, {"memory": {"limit": 80 * MIB}}, MemoryMax=90 * MIB)
        self.assertEqual(memory_limit(task), 90 * MIB, "the option outweighs the resources")

    def test_a_refused_limit_changes_nothing(self):
        """E06: all of a change happens or nothing does, and the refusal says which part it was."""
        task = self.task(MemoryMax=64 * MIB, TasksMax=50)
        cases = [
            ("InvalidArgument", {"TasksMax": 60, "MemoryMax": 4 * MIB - 1},
             "MemoryMax: 4194303 bytes are too few: the minimum is 4194304 (4 MiB)."),
            ("InvalidArgument", {"TasksMax": 60, "CPUQuotaPerSecUSec": 999},
             "CPUQuotaPerSecUSec: 999 microseconds a second are too few: the minimum is 1000 "),
            ("InvalidArgument", {"TasksMax": 60, "CPUWeight": 10001}, "CPUWeight: 10001 is not between 1 and 10000."),
            ("InvalidArgument", {"TasksMax": 60, "CPUWeight": NO_LIMIT}, "is not between 1 and 10000."),
            ("InvalidArgument", {"MemoryMax": 70 * MIB, "TasksMax": 0}, "TasksMax: 0 is too few: the minimum is 1."),
            ("InvalidArgument", {"TasksMax": 60, "AllowedCPUs": "0-"}, "cpuset.cpus"),
            ("InvalidArgument", {"TasksMax": 60, "resources": {"memory": {"limit": 80 * MIB, "swap": 70 * MIB}}}, "swap"),
            ("InvalidArgument", {"TasksMax": 60, "unified": {"no/such": "1"}}, "no/such"),
            ("NotSupported", {"TasksMax": 60, "unified": {"cgroup.kill": "1"}}, "cgroup.kill"),
            ("NotSupported", {"TasksMax": 60, "unified": {"nothere.max": "1"}}, "nothere"),
            ("NotSupported", {"TasksMax": 60, "resources": {"devices": [{"allow": False}]}}, "devices"),
            ("FailedPrecondition", {"TasksMax": 60, "resources": {
                "memory": {"limit": 4 * MIB, "checkBeforeUpdate": True}}}, "memory.limit"),
        ]
        if UNIFIED:
            cases += [("InvalidArgument", {"TasksMax": 60, "unified": {"memory.oom.group": "7"}}, "memory.oom.group")]
        else:
            cases += [("NotSupported", {"TasksMax": 60, "AllowedCPUs": "0"}, "AllowedCPUs"),
                      ("NotSupported", {"TasksMax": 60, "MemoryHigh": MIB * 50}, "MemoryHigh"),
                      ("NotSupported", {"TasksMax": 60, "MemorySwapMax": MIB * 50}, "no swap accounting"),
                      ("NotSupported", {"TasksMax": 60, "unified": {"memory.oom.group": "1"}}, "memory.oom.group")]
        # More than the smallest limit, so that it can be seen to be in use.
        davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "head -c 9000000 /dev/zero >/dev/shm/a"], {})
        davit.wait_until(lambda: self.stats(task, "memory")["MemoryCurrent"] > 9000000, what="the file")
        for name, arguments, contains in cases:
            with self.subTest(arguments=arguments):
                begun = time.monotonic()
                self.assertError(name, update, task, contains=contains, **arguments)
                if not UNIFIED:
                    self.assertLess(time.monotonic() - begun, 2)
                self.assertEqual((memory_limit(task), tasks_limit(task)), (64 * MIB, 50))
                self.assertEqual(davit.get(task, "Task.TasksMax"), 50)

    def test_a_refused_limit_leaves_devices_alone(self):
        """E06: limits that the kernel refuses when systemd has set others, which only systemd knows."""
        task = self.task(MemoryMax=64 * MIB)
        scope = davit.get(task, "Task.Scope")
        davit.systemctl("set-property", "--runtime", scope, "IOWriteBandwidthMax=/dev/null 1M")
        before = davit.unit_show(scope, "IOReadBandwidthMax", "IOWriteBandwidthMax")
        self.assertIn("1000000", before["IOWriteBandwidthMax"])
        davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "head -c 9000000 /dev/zero >/dev/shm/a"], {})
        davit.wait_until(lambda: self.stats(task, "memory")["MemoryCurrent"] > 9000000, what="the file")
        device = os.stat("/dev/null").st_rdev
        limit = [{"major": os.major(device), "minor": os.minor(device), "rate": 2000000}]
        resources = {"memory": {"limit": 5 * MIB}, "blockIO": {"throttleReadBpsDevice": limit, "throttleWriteBpsDevice": limit}}
        with contextlib.suppress(davit.DavitError):
            update(task, resources)
            self.skipTest("this kernel takes a memory limit below what is in use")
        self.assertEqual(davit.unit_show(scope, *before), before)
        self.assertEqual(memory_limit(task), 64 * MIB)

    def test_states(self):
        """E06: a created and a paused task can be changed, one that has ended cannot."""
        id, container = davit.create_container(["sleep", "1000"], id=davit.unique("res"), MemoryMax=64 * MIB)
        self.addCleanup(davit.remove_container, id)
        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        update(task, MemoryMax=70 * MIB)
        davit.call(task, "Process.Start")
        self.assertEqual(memory_limit(task), 70 * MIB)
        davit.call(task, "Task.Pause")
        update(task, MemoryMax=71 * MIB)
        self.assertEqual(memory_limit(task), 71 * MIB)
        davit.call(task, "Task.Resume")
        davit.call(task, "Task.KillAll", "(s)", "KILL")
        davit.call(task, "Process.Wait")
        self.assertError("FailedPrecondition", update, task, MemoryMax=72 * MIB)
        self.assertError("FailedPrecondition", self.stats, task)

    def test_bad_options(self):
        task = self.task()
        for key, value in (("NoSuchLimit", GLib.Variant("t", 1)), ("MemoryMax", GLib.Variant("s", "1")),
                           ("Resources", GLib.Variant("s", "[]")), ("Resources", GLib.Variant("s", "{")),
                           ("Unified", GLib.Variant("a{ss}", {"": "1"}))):
            with self.subTest(key=key):
                self.assertError("InvalidArgument", davit.call, task, "Task.Update", "(a{sv})", {key: value})
        self.assertError("InvalidArgument", self.stats, task, "everything", contains="everything")

    def test_many_changes_follow_one_another(self):
        """E06: the last one holds, whoever else changed limits at the same time."""
        task = self.task(MemoryMax=64 * MIB)
        calls = [subprocess.Popen(["busctl", "call", davit.NAME, task, davit.NAME + ".Task", "Update", "a{sv}", "1",
                                   "TasksMax", "t", str(100 + i)]) for i in range(8)]
        for call in calls:
            self.assertEqual(call.wait(davit.TIMEOUT), 0)
        update(task, TasksMax=99)
        self.assertEqual((tasks_limit(task), memory_limit(task)), (99, 64 * MIB))

    def test_limits_outlive_the_manager(self):
        """H05: after kill -9 of the manager they hold, and are told as they are."""
        task = self.task(MemoryMax=64 * MIB)
        update(task, MemoryMax=80 * MIB, TasksMax=60)
        davit.kill_davitd()
        self.assertEqual(davit.get(task, "Task.MemoryMax"), 80 * MIB)
        self.assertEqual(davit.get(task, "Task.TasksMax"), 60)
        update(task, TasksMax=61)
        self.assertEqual((tasks_limit(task), memory_limit(task)), (61, 80 * MIB))

    def test_cpu(self):
        """H01: quota, period and weight."""
        if not UNIFIED:
            task = self.task(CPUQuotaPerSecUSec=500000)
            update(task, CPUQuotaPerSecUSec=250000)
            self.assertEqual(davit.get(task, "Task.CPUQuotaPerSecUSec"), 250000)
            davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "head -c 9000000 /dev/zero >/dev/shm/a"], {})
            davit.wait_until(lambda: self.stats(task, "memory")["MemoryCurrent"] > 9000000, what="the file")
            self.assertError("FailedPrecondition", update, task, {"cpu": {"quota": 20000, "period": 50000}},
                             MemoryMax=5 * MIB)
            self.assertEqual((read(task, "cpu.cfs_quota_us", "cpu"), read(task, "cpu.cfs_period_us", "cpu")),
                             ("25000", "100000"))
            # Whether systemd takes the processes of one that had no such limit along is up to it; what is said has to be true.
            late = self.task()
            try:
                update(late, CPUQuotaPerSecUSec=250000, TasksMax=60)
                self.assertIn(str(davit.get(late, "Process.Pid")), read(late, "cgroup.procs", "cpu").split())
            except davit.DavitError as error:
                self.assertEqual((error.name, tasks_limit(late) == 60), ("NotSupported", False))
            return
        task = self.task()
        update(task, {"cpu": {"quota": 20000}})
        self.assertEqual(read(task, "cpu.max"), "20000 100000")
        update(task, {"cpu": {"period": 50000}})
        self.assertEqual(read(task, "cpu.max"), "20000 50000")
        self.assertEqual(davit.get(task, "Task.CPUQuotaPerSecUSec"), 400000)
        update(task, {"cpu": {"quota": -1, "shares": 2048, "cpus": "0"}})
        self.assertEqual(read(task, "cpu.max").split()[0], "max")
        self.assertEqual(read(task, "cpuset.cpus"), "0")
        self.assertEqual(davit.get(task, "Task.AllowedCPUs"), "0")
        self.assertEqual(davit.get(task, "Task.CPUWeight"), int(read(task, "cpu.weight")))

    def test_memory_of_version_2(self):
        """H02: high, low and swap, and OCI's swap that counts memory in."""
        if not UNIFIED:
            self.skipTest("needs cgroup version 2")
        task = self.task(MemoryMax=64 * MIB)
        update(task, MemoryHigh=60 * MIB, MemoryLow=8 * MIB, MemorySwapMax=0)
        self.assertEqual([read(task, f"memory.{name}") for name in ("high", "low", "swap.max", "max")],
                         [str(60 * MIB), str(8 * MIB), "0", str(64 * MIB)])
        update(task, {"memory": {"swap": 96 * MIB}})
        self.assertEqual(read(task, "memory.swap.max"), str(32 * MIB), "the limit that holds is taken off")

    def test_files_of_version_2(self):
        """H04, U-01: what systemd has no property for is written below the scope, and taken back with the rest."""
        if not UNIFIED:
            self.skipTest("needs cgroup version 2")
        spec = json.dumps({"linux": {"resources": {"unified": {"memory.oom.group": "1"}}}})
        task = self.task(SpecPatch=spec)
        self.assertEqual(read(task, "payload/memory.oom.group"), "1")
        self.assertEqual(read(task, "memory.oom.group"), "0")
        update(task, unified={"memory.oom.group": "0", "memory.swap.high": "4194304"})
        self.assertEqual(read(task, "payload/memory.oom.group"), "0")
        self.assertEqual(read(task, "payload/memory.swap.high"), "4194304")
        self.assertError("InvalidArgument", update, task, unified={"memory.oom.group": "1", "memory.swap.high": "x"},
                         contains="memory.swap.high")
        self.assertEqual(read(task, "payload/memory.oom.group"), "0")
        self.assertEqual(read(task, "payload/memory.swap.high"), "4194304")


class Systemd(Base):
    time_limit = 180

    def test_set_property_is_seen(self):
        """N-04: what systemctl set-property changes is a PropertiesChanged of the task, once."""
        task = self.task(MemoryMax=64 * MIB)
        scope = davit.get(task, "Task.Scope")
        update(task, TasksMax=60)  # the task is watched by now: this has been told
        with davit.Signals("PropertiesChanged", path=task, interface="org.freedesktop.DBus.Properties") as signals:
            davit.systemctl("set-property", "--runtime", scope, "MemoryMax=80M", "TasksMax=70")
            changed = {}
            davit.wait_until(lambda: [changed.update(body[1]) for _, _, body in signals.seen] and
                             {"MemoryMax", "TasksMax"} <= set(changed), what="the change")
            self.assertEqual(changed, {"MemoryMax": 80 * MIB, "TasksMax": 70})
            count = len(signals.seen)
            self.assertEqual(davit.get(task, "Task.MemoryMax"), 80 * MIB)
            davit.systemctl("daemon-reload")
            davit.systemctl("daemon-reload")
            self.assertEqual(len(signals.seen), count, "the same once more is no change")

    def tree(self, scope):
        """Every file of the scope that can be written, in all hierarchies."""
        found = {}
        for top in glob.glob(f"/sys/fs/cgroup/**/{scope}", recursive=True):
            for path in glob.glob(f"{top}/**", recursive=True):
                name = os.path.basename(path)
                if not os.path.isfile(path) or not os.stat(path).st_mode & 0o222 or name in (
                        "memory.force_empty", "cgroup.event_control", "cgroup.pressure", "memory.peak", "pids.peak",
                        "memory.swap.peak") or name.endswith((".pressure", "usage_in_bytes", ".failcnt", ".reclaim")):
                    continue
                try:
                    with open(path) as f:
                        found[path] = f.read()
                except OSError:
                    pass
        return found

    def devices(self, task):
        """Any device may be named, opened only what the rules allow, if the machine has it."""
        script = "cd /dev; rm -f disk tun; mknod disk b 7 0 && mknod tun c 10 200; (exec 3<disk) 2>shm/a; (exec 3<tun) 2>shm/b;" \
                 "grep -q 'not permitted' shm/a && ! grep -q 'not permitted' shm/b"
        _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", script], {})
        self.assertEqual(davit.read_exit(end), (0, "exited"))

    def test_daemon_reload_changes_nothing(self):
        """U-01, H05: every limit set, paused, 100 times daemon-reload: no file of the scope is other than before, nobody has
        moved, devices are allowed and refused as they were."""
        limits = {"MemoryMax": 64 * MIB, "TasksMax": 50, "CPUQuotaPerSecUSec": 500000}
        patch = {"linux": {"resources": {"devices": [
            {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"}]}}}
        if UNIFIED:
            patch["linux"]["resources"]["unified"] = {"memory.oom.group": "1", "memory.high": str(60 * MIB),
                                                      "memory.swap.max": str(8 * MIB), "io.weight": "300",
                                                      "cpuset.cpus": "0"}
        task = self.task(["sh", "-c", "sleep 10000"], SpecPatch=json.dumps(patch), **limits)
        update(task, TasksMax=60)
        scope = davit.get(task, "Task.Scope")
        self.devices(task)
        davit.call(task, "Task.Pause")
        before = self.tree(scope)
        self.assertGreater(len(before), 10)
        with davit.Signals("PropertiesChanged", path=task, interface="org.freedesktop.DBus.Properties") as signals:
            for _ in range(100):
                davit.call_on("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                              "Reload", timeout=self.time_limit)
            self.assertEqual(self.tree(scope), before)
            self.assertEqual(signals.seen, [])
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        davit.call(task, "Task.Resume")
        self.devices(task)
        # An exec, with a terminal and a device, works as it did.
        _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["true"], davit.options(Terminal=True))
        self.assertEqual(davit.read_exit(end), (0, "exited"))


class Stats(Base):
    def test_what_is_told(self):
        """S-H09, H06, H07: cpu, memory, tasks, io and pressure with their types, as the kernel counts them."""
        task = self.task(["sh", "-c", "head -c 20000000 /dev/zero >/dev/shm/a; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done;"
                          "sleep 1000 & sleep 1000; true"], MemoryMax=64 * MIB, TasksMax=50)
        davit.wait_until(lambda: self.stats(task, "tasks")["TasksCurrent"] >= 4, what="the processes")
        stats = davit.call_on(davit.NAME, task, davit.NAME + ".Task", "Stats", "(a{sv})", ({},))[0]
        self.assertGreater(stats["CPUUsageUSec"], 0)
        self.assertEqual(stats["MemoryMax"], 64 * MIB)
        self.assertTrue(20000000 < stats["MemoryCurrent"] <= 64 * MIB, stats)
        self.assertGreaterEqual(stats["MemoryPeak"] if "MemoryPeak" in stats else stats["MemoryCurrent"],
                                stats["MemoryCurrent"] // 2)
        self.assertGreater(stats["MemoryShmem"] if UNIFIED else stats["MemoryFile"], 19000000)
        self.assertEqual((stats["TasksCurrent"], stats["TasksMax"], stats["OomKills"]), (4, 50, 0))
        self.assertLess(abs(stats["At"] - time.time() * 1e6), 60e6)
        for name in ("CPUPressure", "MemoryPressure", "IOPressure"):
            self.assertIn("some", stats[name])
            self.assertEqual(len(stats[name]["some"]), 4)
        if UNIFIED:
            self.assertIn("IOReadBytes", stats)
            self.assertGreater(stats["MemoryKernel"] if "MemoryKernel" in stats else 1, 0)
        again = self.stats(task)
        self.assertGreaterEqual(again["CPUUsageUSec"], stats["CPUUsageUSec"])

    def test_parts(self):
        """H06: only what is asked for is read."""
        task = self.task()
        self.assertNotIn("MemoryCurrent", self.stats(task, "cpu"))
        self.assertEqual({"At", "TasksCurrent", "TasksMax"}, set(self.stats(task, "tasks")) - {"TasksPeak"})
        self.assertEqual({"At", "CPUPressure", "MemoryPressure", "IOPressure"}, set(self.stats(task, "pressure")))

    def test_many_in_one_call(self):
        """H06: a list of running tasks only, filtered like any list."""
        tasks = [self.task(Labels={"tier": "front" if i % 2 else "back"}) for i in range(4)]
        gone = self.task(["true"])
        davit.call(gone, "Process.Wait")
        rows = davit.manager("ListStats", "(sa{sv})", "", {})
        mine = {row[2]: row for row in rows if row[2] in tasks}
        self.assertEqual(set(mine), set(tasks))
        self.assertNotIn(gone, [row[2] for row in rows])
        for row in mine.values():
            self.assertEqual(row[0], "default")
            self.assertEqual(row[3]["TasksCurrent"], 2)
        rows = davit.manager("ListStats", "(sa{sv})", "*", davit.options(
            Label=["tier=front"], Parts=GLib.Variant("as", ["cpu"])))
        self.assertEqual({row[2] for row in rows}, set(tasks[1::2]))
        self.assertNotIn("MemoryCurrent", rows[0][3])
        self.assertError("InvalidArgument", davit.manager, "ListStats", "(sa{sv})", "no/such", {})
        self.assertError("InvalidArgument", davit.manager, "ListStats", "(sa{sv})", "",
                         {"Parts": GLib.Variant("as", ["x"])})


class Ctl(Base):
    def ctl(self, *argv, status=0):
        done = davit.ctl(*argv)
        self.assertEqual(done.returncode, status, (argv, done.stdout, done.stderr))
        return done.stdout if status == 0 else done.stderr

    def test_stats(self):
        """H06: a table of numbers, and everything as JSON."""
        task = self.task(["sh", "-c", "while :; do :; done"], MemoryMax=64 * MIB)
        id = davit.get(task, "Task.Id")
        lines = self.ctl("stats", "--no-stream", id).splitlines()
        self.assertEqual(lines[0].split(), ["CONTAINER", "CPU", "MEMORY", "LIMIT", "STALLED", "READ", "WRITTEN", "TASKS"])
        cells = dict(zip(lines[0].split(), lines[1].split("  ")[0:1]))
        self.assertEqual(cells["CONTAINER"].strip(), id)
        self.assertRegex(lines[1], r"[1-9][0-9.]*%")
        self.assertIn("67.1 MB", lines[1])
        found = json.loads(self.ctl("--json", "stats", "--no-stream", id))
        self.assertEqual([(one["Id"], one["MemoryMax"]) for one in found], [(id, 64 * MIB)])
        self.assertEqual(len(found[0]["CPUPressure"]["some"]), 4)
        self.assertIn("no container", self.ctl("stats", "--no-stream", "no-such", status=1))

    def test_stats_until_the_end(self):
        """H06: a line at a time where nobody looks at a screen; it ends with the containers that were named."""
        reader, writer = os.pipe()
        task = self.task(["cat"], fds=[reader], Stdin=0)
        os.close(reader)
        id = davit.get(task, "Task.Id")
        with subprocess.Popen(["davitctl", "--json", "stats", "-i", "1", id], stdout=subprocess.PIPE, text=True) as stats:
            one, other = json.loads(stats.stdout.readline()), json.loads(stats.stdout.readline())
            os.close(writer)
            davit.call(task, "Process.Wait")
            self.assertEqual(stats.wait(davit.TIMEOUT), 0)
        self.assertGreater(other["At"], one["At"])
        self.assertEqual(one["Id"], id)

    def test_update(self):
        """E06: now, and for the next start; with --runtime only now; and nothing where it is refused."""
        id, container = davit.create_container(["sleep", "1000"], id=davit.unique("res"), MemoryMax=64 * MIB)
        self.addCleanup(davit.remove_container, id)
        task, _, end = davit.call(container, "Container.Start", "(a{sv})", {})
        os.close(end)
        self.assertEqual(self.ctl("update", "-m", "80m", "--pids-limit", "60", id), id + "\n")
        self.assertEqual((memory_limit(task), tasks_limit(task)), (80 * 10 ** 6 // 4096 * 4096 if memory_limit(task) % MIB
                                                                  else 80 * MIB, 60))
        now = memory_limit(task)
        self.ctl("update", "--runtime", "--pids-limit", "61", id)
        self.assertEqual(tasks_limit(task), 61)
        self.assertIn("--cpu-weight: 0 is not between 1 and 10000", self.ctl("update", "--cpu-weight", "0", "--pids-limit", "99", id, status=1))
        self.assertIn("say with --memory", self.ctl("update", "--memory-swap", "1g", "--pids-limit", "99", id, status=1))
        if not UNIFIED:
            self.assertIn("--memory-swap asks for a limit",
                          self.ctl("update", "-m", "80m", "--memory-swap", "1g", "--pids-limit", "99", id, status=1))
        self.assertEqual(tasks_limit(task), 61)
        self.ctl("restart", "-t", "0", id)
        self.assertEqual((memory_limit(task), tasks_limit(task)), (now, 60))
        self.ctl("stop", "-t", "0", id)
        self.assertIn("not running", self.ctl("update", "--runtime", "-m", "90m", id, status=1))
        self.assertIn("--cpu-weight: ", self.ctl("update", "--cpu-weight", "0", id, status=1))
        self.ctl("update", "-m", "max", id)
        self.ctl("start", id)
        self.assertEqual(davit.get(task, "Task.MemoryMax"), NO_LIMIT)
        self.assertIn("which limit", self.ctl("update", id, status=1))

    def test_top(self):
        """S-X13: processes with the ids of execs."""
        task = self.task()
        id = davit.get(task, "Task.Id")
        _, _, pid, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "side", ["sleep", "1001"], {})
        self.addCleanup(os.close, end)
        found = {one["Pid"]: one for one in json.loads(self.ctl("--json", "top", id))}
        self.assertEqual((found[pid]["ExecId"], found[pid]["Command"]), ("side", "sleep 1001"))
        self.assertEqual(found[davit.get(task, "Process.Pid")]["ExecId"], "init")
        self.assertEqual(self.ctl("top", id).splitlines()[0].split(), ["PID", "UID", "EXEC", "COMMAND"])


class Processes(Base):
    def test_who_is_who(self):
        """S-X13, S-X14: host pids, the first process and execs by their ids, what they have started without."""
        task = self.task(["sh", "-c", "sleep 1000 & wait"])
        _, _, pid, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "side", ["sh", "-c", "sleep 1001 & wait"], {})
        self.addCleanup(os.close, end)
        for _ in range(2):
            davit.wait_until(lambda: len(davit.call(task, "Task.ListProcesses")) == 4, what="the processes")
            found = davit.call(task, "Task.ListProcesses")
            self.assertEqual(sorted(id for _, id in found), ["", "", "init", "side"])
            self.assertIn((davit.get(task, "Process.Pid"), "init"), found)
            self.assertIn((pid, "side"), found)
            for one, _ in found:
                self.assertTrue(os.path.exists(f"/proc/{one}"))
            davit.kill_davitd()


class Oom(Base):
    LIMITS = {"MemoryMax": 24 * MIB}

    def hungry(self, script, unified=()):
        """A task with little memory that waits for a byte, so that a test can listen first."""
        opts = {}
        if UNIFIED:
            patch = {"linux": {"resources": {"unified": {"memory.swap.max": "0", **dict(unified)}}}}
            opts["SpecPatch"] = json.dumps(patch)
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.writer)
        task = self.task(["sh", "-c", "read go; " + script], fds=[self.reader], Stdin=0, **self.LIMITS, **opts)
        os.close(self.reader)
        return task

    def go(self):
        os.write(self.writer, b"\n")

    def told(self, task, signals, *expected):
        """Exactly these, also a moment later."""
        davit.wait_until(lambda: len(signals.seen) >= len(expected), what="OomKilled")
        davit.call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId")
        self.assertEqual([body[:2] for _, _, body in signals.seen], list(expected))
        kills = [body[2] for _, _, body in signals.seen]
        self.assertEqual(kills, sorted(set(kills)))
        self.assertEqual(davit.get(task, "Task.OomKills"), kills[-1])
        entries = davit.journal("MESSAGE_ID=c8e363c713c0475fac23dfc4d3434ecb", "CONTAINER_ID=" + davit.get(task, "Task.Id"),
                                "--output-fields=OOM_CULPRIT", "-o", "export")
        self.assertEqual(entries.count("OOM_CULPRIT="), len(expected), entries)

    def untouched(self, task):
        """systemd, which hears of the kill as well, has made nothing of it when it answers."""
        scope = davit.get(task, "Task.Scope")
        for _ in range(3):
            self.assertEqual(davit.unit_show(scope, "ActiveState", "SubState"), {"ActiveState": "active", "SubState": "running"})
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.assertNotIn("Stopping", davit.journal("UNIT=" + scope))

    def test_the_first_process(self):
        """S-H09, E14, S-W08: the task ends as "oom", and the signal comes once, before the end."""
        task = self.hungry("exec " + HOG)
        with davit.Signals("Task.OomKilled", path=task) as signals, davit.Signals("Process.Exited", path=task) as exits:
            self.go()
            self.assertEqual(davit.call(task, "Process.Wait", timeout=self.time_limit)[:2], (137, "oom"))
            exits.wait()
            self.told(task, signals, ("init", ""))
            self.assertEqual(len(exits.seen), 1)
        id = davit.get(task, "Task.Id")
        with open(f"/run/davit/task/default/{id}/oom") as f:
            self.assertIn("init", f.read())
        with open(f"/run/davit/task/default/{id}/exit") as f:
            self.assertIn("kind=oom", f.read())

    def test_a_child(self):
        """E14: a child's death is told at once, and the task goes on."""
        task = self.hungry(HOG + "; sleep 1000; true")
        with davit.Signals("Task.OomKilled", path=task) as signals:
            self.go()
            self.told(task, signals, ("child", ""))
            self.untouched(task)
            # Who is killed on demand now was not killed for memory.
            davit.call(task, "Process.Kill", "(s)", "KILL")
            self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
            self.told(task, signals, ("child", ""))

    def test_an_exec(self):
        """E14, S-X16: an exec's death is the exec's, the task goes on."""
        task = self.hungry("sleep 1000; true")
        self.go()
        with davit.Signals("Task.OomKilled", path=task) as signals:
            _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "greedy", HOG.split(), {})
            self.assertEqual(davit.read_exit(end, self.time_limit), (137, "oom"))
            self.told(task, signals, ("exec", "greedy"))
        self.assertEqual(davit.get(process, "Process.ExitKind"), "oom")
        self.untouched(task)

    def test_an_exec_beside_a_first_process(self):
        """E14: when the first process is killed its execs go with it, and none of them is the culprit."""
        task = self.hungry("exec " + HOG)
        _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "bystander", ["sleep", "1000"], {})
        with davit.Signals("Task.OomKilled", path=task) as signals:
            self.go()
            self.assertEqual(davit.call(task, "Process.Wait", timeout=self.time_limit)[:2], (137, "oom"))
            self.assertEqual(davit.read_exit(end), (137, "signalled"))
            self.told(task, signals, ("init", ""))

    def test_all_together(self):
        """H02, E14: with memory.oom.group a child's hunger is the end of all, told once, as the end of the first process."""
        if not UNIFIED:
            self.skipTest("needs cgroup version 2")
        task = self.hungry(HOG + "; sleep 1000; true", unified={"memory.oom.group": "1"})
        _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "bystander", ["sleep", "1000"], {})
        with davit.Signals("Task.OomKilled", path=task) as signals:
            self.go()
            self.assertEqual(davit.call(task, "Process.Wait", timeout=self.time_limit)[:2], (137, "oom"))
            self.assertEqual(davit.read_exit(end).status, 137)
            self.told(task, signals, ("init", ""))

    @staticmethod
    def kills_of(task):
        """None while a manager that is just being killed does not answer."""
        try:
            return davit.get(task, "Task.OomKills")
        except davit.DavitError as error:
            if error.name != "org.freedesktop.DBus.Error.NoReply":
                raise
            return None

    @unittest.skipUnless(shutil.which("cc"), "system calls are counted by a program that a compiler makes; guests have none")
    def test_manager_is_killed_while_it_tells(self):
        """E14: whichever of its writes it is killed at, the event is told once, and counted."""
        events = f"{davit.RUNTIME}/events/log"
        for nth in (1, 2, 3):
            with self.subTest(nth=nth):
                task = self.hungry(HOG + "; sleep 1000")
                id, pid = davit.get(task, "Task.Id"), davit.main_pid()
                options = ["--call", str(faults.call_numbers()["write"]), "--nth", str(nth), "--kill"]
                with faults.Attached(pid, *options) as attached:
                    self.go()
                    attached.ended(2 if nth > 1 else self.time_limit)
                attached.remove()
                davit.start_davitd()
                davit.wait_until(lambda: self.kills_of(task) == 1, self.time_limit, "the count")
                with open(events, encoding="utf-8") as f:
                    told = [e for e in f.read().split("\n\n") if f"DAVIT_ID={id}\n" in e and "DAVIT_EVENT=task.oom" in e]
                self.assertEqual(len(told), 1)
                self.assertIn("TASK_EVENT_NUMBER=1\n", told[0] + "\n")

    def test_without_a_manager(self):
        """E14, S-W07: what happens while there is no manager is told by the next one, once."""
        task = self.hungry(HOG + "; read again; exec " + HOG)
        directory = f"{davit.RUNTIME}/task/default/{davit.get(task, 'Task.Id')}"
        pid = davit.main_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            for record in ("oom", "exit"):
                self.go()
                davit.wait_until(lambda record=record: os.path.exists(f"{directory}/{record}"), self.time_limit, record)
        finally:
            davit.kill_davitd()
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "oom"))
        self.assertEqual(davit.get(task, "Task.OomKills"), 2)
        davit.kill_davitd()
        self.assertEqual(davit.get(task, "Task.OomKills"), 2)
        entries = davit.journal("MESSAGE_ID=c8e363c713c0475fac23dfc4d3434ecb", "CONTAINER_ID=" + davit.get(task, "Task.Id"),
                                "-o", "export")
        self.assertEqual([entries.count(f"OOM_CULPRIT={c}\n") for c in ("child", "init")], [1, 1], entries)
