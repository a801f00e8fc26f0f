# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits as the program that is limited feels them, on a host where every controller is of cgroup version 2: CPU time,
processes, block devices, access to devices, a profile of AppArmor. What the files say is in test_resources.py."""

import contextlib
import json
import os
import subprocess
import unittest

import davit
import runtime
from test_resources import MIB, UNIFIED, Base, read, update

PROFILES = "/sys/kernel/security/apparmor/profiles"


@contextlib.contextmanager
def loop_device(size=16 * MIB):
    """A block device of nothing but zeros: (path, major, minor)."""
    os.makedirs(davit.FIXTURES, exist_ok=True)
    path = f"{davit.FIXTURES}/{davit.unique('disk')}"
    with open(path, "wb") as disk:
        disk.truncate(size)
    device = davit.run("losetup", "--find", "--show", path).stdout.strip()
    try:
        number = os.stat(device).st_rdev
        yield device, os.major(number), os.minor(number)
    finally:
        davit.run("losetup", "--detach", device)
        os.unlink(path)


class Limited(Base):
    def inside(self, task, script):
        """What a script writes as an exec of the task."""
        reader, writer = os.pipe()
        try:
            _, _, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", script],
                                      davit.options(Stdout=0, Stderr=0), fds=[writer])
        finally:
            os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        davit.read_exit(end, self.time_limit)
        return text


@unittest.skipUnless(UNIFIED, "needs cgroup version 2")
class Hold(Limited):
    def test_cpu_time(self):
        """H01, E06: a program that never rests gets the share it was given, and a larger one as soon as it is given that."""
        task = self.task(["sh", "-c", "while :; do :; done"], CPUQuotaPerSecUSec=100000)

        def used(seconds):
            """Share of a CPU during this time; the kernel's own clock of the group's periods says how long it was."""
            def periods():
                text = dict(line.split() for line in read(task, "cpu.stat").splitlines())
                return int(text["nr_periods"]), int(text["nr_throttled"])
            first, before = periods(), self.stats(task, "cpu")["CPUUsageUSec"]
            davit.wait_until(lambda: periods()[0] >= first[0] + seconds * 10, self.time_limit, "the periods")
            last, after = periods(), self.stats(task, "cpu")["CPUUsageUSec"]
            self.assertGreater(last[1], first[1], "it was held back")
            return (after - before) / ((last[0] - first[0]) * 100000)

        self.assertLess(used(2), 0.2)
        update(task, CPUQuotaPerSecUSec=500000)
        self.assertTrue(0.2 < used(2) < 0.7)

    def test_cpu_set(self):
        """H01: the processes of a task run where they may, those of later execs too."""
        task = self.task()
        update(task, {"cpu": {"cpus": "1"}})
        self.assertEqual(self.inside(task, "grep Cpus_allowed_list /proc/1/status /proc/self/status").split()[1::2], ["1", "1"])
        update(task, AllowedCPUs="0")
        self.assertEqual(self.inside(task, "grep Cpus_allowed_list /proc/1/status /proc/self/status").split()[1::2], ["0", "0"])

    def test_number_of_processes(self):
        """H03, E06: nothing more can be started, Davit's own exec included, until there may be more."""
        task = self.task(TasksMax=8)
        script = "i=0; while [ $i -lt 30 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done"
        self.assertIn("fork", self.inside(task, script))
        # The shell itself gives up when it cannot fork.
        self.assertIn(self.stats(task, "tasks")["TasksCurrent"], (7, 8))
        self.assertGreater(int(read(task, "pids.events").split()[1]), 0)
        update(task, TasksMax=50)
        self.assertEqual(self.inside(task, "echo again"), "again\n")

    def test_memory_that_is_held_back(self):
        """H02: above memory.high a program is slowed down and its pages go, but nobody is killed."""
        with loop_device(32 * MIB) as (device, major, minor):
            patch = {"linux": {"devices": [{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}],
                               "resources": {"devices": [{"allow": True, "type": "b", "major": major, "minor": minor,
                                                          "access": "r"}]}}}
            task = self.task(SpecPatch=json.dumps(patch))
            update(task, MemoryHigh=12 * MIB)
            self.assertIn(str(32 * MIB), self.inside(task, "cat /dev/disk | wc -c"))
            events = dict(line.split() for line in read(task, "memory.events").splitlines())
            self.assertGreater(int(events["high"]), 0, device)
            self.assertEqual(int(events["oom_kill"]), 0)

    def test_block_devices(self):
        """H03, S-H09: what is read from a device goes as fast as it may, and is counted."""
        with loop_device() as (_, major, minor):
            numbers = {"major": major, "minor": minor}
            patch = {"linux": {
                "devices": [{"path": "/dev/disk", "type": "b", **numbers}],
                "resources": {"devices": [{"allow": True, "type": "b", **numbers, "access": "r"}],
                              "blockIO": {"throttleReadBpsDevice": [{**numbers, "rate": MIB}]}}}}
            task = self.task(SpecPatch=json.dumps(patch))
            self.assertIn(f"{major}:{minor} rbps={MIB}", read(task, "io.max"))
            script = "read a </proc/uptime; dd if=/dev/disk of=/dev/null bs=64k count=48 2>/dev/null; read b </proc/uptime;" \
                     "echo $a $b"
            words = self.inside(task, script).split()
            self.assertGreater(float(words[2]) - float(words[0]), 1.9, "3 MiB at 1 MiB a second")
            stats = self.stats(task, "io")
            self.assertGreaterEqual(stats["IOReadBytes"], 3 * MIB)
            self.assertGreater(stats["IOReadOperations"], 0)
            update(task, {"blockIO": {"throttleReadBpsDevice": [{**numbers, "rate": 64 * MIB}]}})
            self.assertIn(f"{major}:{minor} rbps={64 * MIB}", read(task, "io.max"))
            pressure = self.stats(task, "pressure")["IOPressure"]["some"]
            self.assertGreater(pressure[3], 0, "it has waited for the device")

    def test_what_systemd_does_not_hand_down(self):
        """H03: a limit that nobody would enforce is refused by the name of its controller, at the start and later."""
        patch = json.dumps({"linux": {"resources": {"unified": {"hugetlb.2MB.max": "0"}}}})
        error = self.assertError("NotSupported", self.task, SpecPatch=patch, contains="hugetlb")
        self.assertIn("hugetlb.2MB.max", error.message)
        task = self.task()
        self.assertError("NotSupported", update, task, unified={"hugetlb.2MB.max": "0"}, contains="hugetlb")

    def test_scope(self):
        """A newer systemd would stop a scope in which somebody was killed for want of memory."""
        task = self.task()
        shown = davit.unit_show(davit.get(task, "Task.Scope"), "OOMPolicy", "Delegate", "KillSignal")
        self.assertEqual((shown.pop("OOMPolicy", "continue"), shown["Delegate"], shown["KillSignal"]), ("continue", "yes", "23"))


@unittest.skipUnless(UNIFIED, "needs cgroup version 2")
class Devices(Limited):
    #: Of the device that rules allow to be read, and of one that nobody has allowed; who may open them is for rules alone.
    SCRIPT = """
        cd /dev; rm -f one other; mknod one b {major} {minor} && echo made; mknod other b {major} {other} && echo made
        (exec 3<one) && echo read; (exec 3<>one) || echo not written; (exec 3<other) || echo not read
        echo x >/dev/null && head -c 1 /dev/urandom >/dev/null && echo usual"""
    REFUSAL = "Operation not permitted"

    def access(self, text, refusals, *expected):
        refused = [self.REFUSAL in line for line in text.splitlines()]
        self.assertEqual([line for line in text.splitlines() if self.REFUSAL not in line], list(expected), text)
        self.assertEqual(sum(refused), refusals, text)

    def test_access(self):
        """U-01: what rules allow can be opened, nothing else, also after systemd has read its units again."""
        with loop_device() as (_, major, minor), loop_device() as (_, _, other):
            rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"}]
            script = self.SCRIPT.format(major=major, minor=minor, other=other)
            expected = ["made", "made", "read", "not written", "not read", "usual"]
            task = self.task(SpecPatch=json.dumps({"linux": {"resources": {"devices": rules}}}))
            self.access(self.inside(task, script), 2, *expected)
            davit.systemctl("daemon-reload")
            update(task, TasksMax=60)
            self.access(self.inside(task, script), 2, *expected)
            # Without rules there are the usual ones alone.
            self.access(self.inside(self.task(), script), 3, "made", "made", "not written", "not read", "usual")


@unittest.skipUnless(os.path.exists(PROFILES), "needs a kernel with AppArmor")
class AppArmor(Limited):
    NAME = "davit-test"
    PROFILE = f"""profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
        file,
        capability,
        signal,
        unix,
        deny /dev/shm/secret r,
    }}
    """
    LOOK = "cat /proc/self/attr/current; cat /dev/shm/secret 2>&1; cat /dev/shm/open"
    #: What there is to be looked at, and time for it.
    MAKE = ["sh", "-c", "echo secret >/dev/shm/secret; echo open >/dev/shm/part; mv /dev/shm/part /dev/shm/open; sleep 1000"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=cls.PROFILE, text=True, check=True)

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["apparmor_parser", "--remove"], input=cls.PROFILE, text=True, check=True)

    def look(self, text):
        lines = text.splitlines()
        self.assertEqual((lines[0], lines[-1]), (self.NAME + " (enforce)", "open"), text)
        self.assertIn("Permission denied", lines[1])

    def test_container(self):
        """process.apparmorProfile confines the first process and execs; one that is not loaded is refused by its name."""
        task = self.task(self.MAKE, SpecPatch=json.dumps({"process": {"apparmorProfile": self.NAME}}))
        pid = davit.get(task, "Process.Pid")
        with open(f"/proc/{pid}/attr/current") as f:
            self.assertEqual(f.read().strip(), self.NAME + " (enforce)")
        davit.wait_until(lambda: "open" in self.inside(task, "ls /dev/shm").split(), what="the files")
        self.look(self.inside(task, self.LOOK))
        self.assertError("FailedPrecondition", self.task, contains="no-such-profile",
                         SpecPatch=json.dumps({"process": {"apparmorProfile": "no-such-profile"}}))

    def test_without_a_profile(self):
        """Nobody is confined who was not asked to be."""
        self.assertEqual(self.inside(self.task(), "cat /proc/self/attr/current").strip(), "unconfined")


@unittest.skipUnless(os.path.exists(PROFILES), "needs a kernel with AppArmor")
class AppArmorRuntime(runtime.RuntimeTest):
    """The same with davit-oci."""

    NAME = AppArmor.NAME
    look = AppArmor.look

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=AppArmor.PROFILE, text=True, check=True)

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["apparmor_parser", "--remove"], input=AppArmor.PROFILE, text=True, check=True)
        super().tearDownClass()

    def begin(self, **changes):
        self.config(AppArmor.MAKE, **changes)
        self.create()
        self.start()
        davit.wait_until(lambda: "open" in self.oci("exec", self.name, "ls", "/dev/shm").stdout.split(), what="the files")

    def test_profiles(self):
        """Of the container, of its execs, of an exec that asks for it; and one that is not there."""
        self.begin(process__apparmorProfile=self.NAME)
        self.look(self.oci("exec", self.name, "sh", "-c", AppArmor.LOOK).stdout)
        self.oci("delete", "--force", self.name)
        self.begin()
        self.assertEqual(self.oci("exec", self.name, "cat", "/dev/shm/secret").stdout, "secret\n")
        self.look(self.oci("exec", "--apparmor", self.NAME, self.name, "sh", "-c", AppArmor.LOOK).stdout)
        self.refused("no-such-profile", "exec", "--apparmor", "no-such-profile", self.name, "true", status=1)
        self.oci("delete", "--force", self.name)
        self.config(["true"], process__apparmorProfile="no-such-profile")
        self.refused("no-such-profile", "run", self.name)
