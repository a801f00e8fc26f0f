# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-oci and cgroups: its three drivers, limits and their update, devices, what is left of them."""

import json
import os
import subprocess
import time

import davit
import runtime


UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
MIB = 1 << 20
#: Hierarchies that systemd and davit-oci put a container in.
CONTROLLERS = ("",) if UNIFIED else ("", "memory", "pids")


def group_of(pid, controller=""):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                return path
    return None


def directory(pid, controller=""):
    if UNIFIED:
        return "/sys/fs/cgroup" + group_of(pid)
    return f"/sys/fs/cgroup/{controller or 'unified'}{group_of(pid, controller)}"


class Limits:
    """The same for each driver that limits anything."""

    def value(self, controller, name):
        with open(f"{directory(self.state()['pid'], controller)}/{name}", encoding="ascii") as f:
            return f.read().strip()

    def memory(self):
        return int(self.value("memory", "memory.max" if UNIFIED else "memory.limit_in_bytes"))

    def tasks(self):
        return self.value("pids", "pids.max")

    def quota(self):
        if UNIFIED:
            quota, period = self.value("cpu", "cpu.max").split()
        else:
            quota, period = (self.value("cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        return int(quota) / int(period)

    def limited(self, **resources):
        self.config(["sleep", "1000"], linux__resources=resources, **self.place())
        self.create()
        self.start()

    def setUp(self):
        if not UNIFIED and not os.path.isdir("/sys/fs/cgroup/memory"):
            self.skipTest("nobody limits memory here")
        super().setUp()

    def test_limits(self):
        self.limited(memory={"limit": 64 * MIB}, pids={"limit": 33}, cpu={"quota": 50000, "period": 100000})
        self.assertEqual((self.memory(), self.tasks(), self.quota()), (64 * MIB, "33", 0.5))

    def test_limits_of_version_2(self):
        """H01, H02, H03: what version 2 has beside, and that files without a property are written as well."""
        if not UNIFIED:
            self.skipTest("needs cgroup version 2")
        self.limited(memory={"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 8 * MIB}, cpu={"shares": 2048, "cpus": "0"},
                     unified={"memory.high": str(60 * MIB)})
        self.assertEqual([self.value("", f"memory.{name}") for name in ("swap.max", "low", "high")],
                         [str(32 * MIB), str(8 * MIB), str(60 * MIB)])
        self.assertEqual((self.value("", "cpu.weight"), self.value("", "cpuset.cpus")), ("79", "0"))
        self.assertEqual(self.oci("exec", self.name, "grep", "Cpus_allowed_list", "/proc/self/status").stdout.split()[1], "0")

    def test_they_hold(self):
        """H02, H03, E14: too many processes are refused, too much memory is the end of who takes it, and is told."""
        self.limited(memory={"limit": 24 * MIB, "swap": 24 * MIB} if UNIFIED else {"limit": 24 * MIB}, pids={"limit": 9})
        with subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "events", "--interval", "1s", self.name],
                              stdout=subprocess.PIPE, text=True) as events:
            self.assertEqual(json.loads(events.stdout.readline())["type"], "stats")
            script = "i=0; while [ $i -lt 20 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done"
            self.assertIn("fork", self.oci("exec", self.name, "sh", "-c", script, check=False).stderr)
            self.oci("kill", "--all", self.name, "USR1")
            self.assertEqual(self.oci("exec", self.name, "sh", "-c", "exec tail /dev/zero", check=False, timeout=120).returncode, 137)
            found = [json.loads(line)["type"] for line in self.until(events, "oom")]
            self.oci("kill", self.name, "KILL")
            events.communicate()
        self.assertEqual(found.count("oom"), 1)

    @staticmethod
    def until(events, kind):
        for line in events.stdout:
            yield line
            if json.loads(line)["type"] == kind:
                return

    def test_update(self):
        self.limited(memory={"limit": 64 << 20}, pids={"limit": 33})
        self.oci("update", "--memory", "80m", "--pids-limit", "44", self.name)
        self.assertEqual((self.memory(), self.tasks()), (80 * MIB, "44"))
        self.oci("update", "--resources", "-", self.name, stdin=None, input='{"pids": {"limit": 55}}')
        self.assertEqual((self.memory(), self.tasks()), (80 * MIB, "55"))
        self.refused("--memory", "update", "--memory", "lots", self.name, status=2)
        self.oci("kill", self.name, "KILL")
        self.wait_status("stopped")
        self.refused("container not running", "update", "--pids-limit", "5", self.name)

    def test_update_of_cpu_time(self):
        self.limited(cpu={"quota": 50000, "period": 100000})
        self.oci("update", "--cpu-quota", "20000", "--cpu-period", "50000", self.name)
        self.assertEqual(self.quota(), 0.4)

    def test_exec_in_a_group_below(self):
        self.limited(pids={"limit": 33})
        controller = "" if UNIFIED else "pids"
        inner = directory(self.state()["pid"], controller) + "/inner/most"
        prefix = controller and controller + ":"
        os.makedirs(inner)
        try:
            groups = self.oci("exec", "--cgroup", prefix + "/inner/./most", self.name, "cat", "/proc/self/cgroup").stdout
            self.assertEqual([line.split(":", 2)[1:] for line in groups.splitlines() if line.endswith("/inner/most")],
                             [[controller, "/inner/most"]])
            for options, text, status in ((["inner/../.."], "no group below", 2), (["a:b:c"], "no group below", 2),
                                          ([":x"], "controller is missing", 2), (["nosuch:x"], '"nosuch" has no hierarchy', 1),
                                          ([prefix + "inner"] * 2, "given twice", 2), ([prefix + "other"], "No such file", 1)):
                arguments = [word for option in options for word in ("--cgroup", option)]
                self.refused(text, "exec", *arguments, self.name, "true", status=status)
        finally:
            os.rmdir(inner)
            os.rmdir(os.path.dirname(inner))

    def test_stats(self):
        self.limited(pids={"limit": 33}, memory={"limit": 64 << 20})
        event = json.loads(self.oci("events", "--stats", self.name).stdout)
        self.assertEqual((event["type"], event["id"]), ("stats", self.name))
        self.assertEqual(event["data"]["pids"], {"current": 1, "limit": 33})
        self.assertEqual(event["data"]["memory"]["usage"]["limit"], 64 << 20)
        self.assertGreater(event["data"]["cpu"]["usage"]["total"], 0)

    def test_events_until_the_end(self):
        self.limited()
        child = subprocess.Popen(["davit-oci", "--root", runtime.ROOT, "events", "--interval", "50ms", self.name],
                                 stdout=subprocess.PIPE, text=True)
        for _ in range(2):
            self.assertEqual(json.loads(child.stdout.readline())["type"], "stats")
        self.oci("kill", self.name, "KILL")
        child.communicate(timeout=10)
        self.assertEqual(child.returncode, 0)

    def test_devices(self):
        """U-01: what the rules allow can be opened, nothing else; any node can be made."""
        self.limited(devices=[{"allow": False, "access": "rwm"},
                              {"allow": True, "type": "b", "major": 7, "minor": 0, "access": "r"},
                              {"allow": True, "type": "c", "major": 10, "access": "rw"}])
        self.assertEqual(self.oci("exec", self.name, "sh", "-c", "echo x >/dev/null; head -c 1 /dev/zero | wc -c").stdout, "1\n")
        # Who is let through may still find no such device: that is another error.
        script = "cd /dev; rm -f a b c; mknod a b 7 0; mknod b b 7 1; mknod c c 10 200;" \
                 "for i in '<a' '<>a' '<b' '<c'; do echo \"$i\"; eval \"(exec 3$i) 2>&1\" | grep -o 'not permitted'; done"
        for _ in range(2):
            said = self.oci("exec", "--cap", "CAP_MKNOD", self.name, "sh", "-c", script, check=False)
            self.assertEqual(said.stdout.replace("\nnot permitted", "!").split(), ["<a", "<>a!", "<b!", "<c"], said.stderr)
            davit.systemctl("daemon-reload")
            self.oci("update", "--pids-limit", "44", self.name)

    def test_everything_is_in_the_group(self):
        self.limited()
        pid = self.state()["pid"]
        self.assertEqual(self.detached("exec", "-d", "--pid-file", f"{self.bundle}/pid", self.name, "sleep", "99"), 0)
        with open(f"{self.bundle}/pid", encoding="ascii") as f:
            other = int(f.read())
        for controller in CONTROLLERS:
            self.assertEqual(group_of(other, controller), group_of(pid, controller))
        self.oci("kill", "--all", self.name, "KILL")
        self.wait_status("stopped")

    def test_pause_stops_everything(self):
        self.limited()
        self.oci("pause", self.name)
        self.assertIn("frozen 1", self.value("", "cgroup.events"))
        davit.systemctl("daemon-reload")
        self.assertIn("frozen 1", self.value("", "cgroup.events"))
        self.oci("kill", self.name, "KILL")
        self.wait_status("stopped")

    def test_limit_that_is_none(self):
        self.config(linux__resources={"memory": {"limit": 1 << 20, "swap": 1 << 10}}, **self.place())
        self.refused("memory.swap", "run", self.name)

    def test_too_little_memory_to_begin_with_is_said(self):
        for verb in ("create", "run"):
            self.config(linux__resources={"memory": {"limit": 1000}}, **self.place())
            self.refused("linux.resources.memory.limit may be too small (1000 bytes)", verb, self.name)

    def test_too_little_memory_by_a_file_is_said(self):
        """Which outweighs memory.limit; systemd knows the file on version 1 too."""
        if not UNIFIED and isinstance(self, Cgroupfs):
            self.skipTest("needs cgroup version 2")
        for memory in ({}, {"limit": 64 * MIB}):
            self.config(linux__resources={"memory": memory, "unified": {"memory.max": "1000"}}, **self.place())
            self.refused("linux.resources.unified.memory.max may be too small (1000 bytes)", "run", self.name)

    def test_what_is_no_property_of_a_unit(self):
        """With either driver; 0 is a value here."""
        if UNIFIED:
            self.skipTest("version 2 has no swappiness")
        self.limited(memory={"limit": 64 << 20, "swappiness": 0})
        self.assertEqual(self.value("memory", "memory.swappiness"), "0")
        resources = os.path.join(self.bundle, "resources.json")
        with open(resources, "w", encoding="ascii") as f:
            json.dump({"memory": {"swappiness": 37}}, f)
        self.oci("update", "--resources", resources, self.name)
        self.assertEqual(self.value("memory", "memory.swappiness"), "37")
        self.assertEqual(self.memory(), 64 << 20)


class Cgroupfs(Limits, runtime.RuntimeTest):
    def place(self):
        return {"linux__cgroupsPath": f"/davit-test/{self.name}"}

    def test_path(self):
        self.limited()
        for controller in CONTROLLERS:
            self.assertEqual(group_of(self.state()["pid"], controller), f"/davit-test/{self.name}")

    def test_update_of_files(self):
        """Of the limits that are a file each."""
        self.limited(memory={"limit": 64 * MIB})
        self.oci("update", "--cpu-share", "2048", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--memory-reservation", "8m",
                 "--kernel-memory", "1m", "--kernel-memory-tcp", "1m", self.name)
        names = ("cpu.weight", "memory.low") if UNIFIED else ("cpu.shares", "memory.soft_limit_in_bytes")
        self.assertEqual([self.value(name.split(".", 1)[0], name) for name in (*names, "cpuset.cpus", "cpuset.mems")],
                         ["79" if UNIFIED else "2048", str(8 * MIB), "0", "0"])
        self.assertEqual(self.memory(), 64 * MIB)

    def test_default_path(self):
        self.config(["sleep", "1000"])
        self.create()
        self.assertEqual(group_of(self.state()["pid"], CONTROLLERS[-1]), f"/davit-oci/{self.name}")

    def test_refused_paths(self):
        for path in ("/", "/..", "/a/../..", "a:b:c"):
            self.config(linux__cgroupsPath=path)
            self.refused("linux.cgroupsPath", "run", self.name)

    def test_a_group_in_use_is_left_alone(self):
        for hierarchy in ("",) if UNIFIED else ("unified", "pids"):
            inner = f"/sys/fs/cgroup/{hierarchy}/davit-test/{self.name}/inner"
            os.makedirs(inner)
            child = subprocess.Popen(["sleep", "1000"])
            try:
                with open(f"{inner}/cgroup.procs", "w", encoding="ascii") as f:
                    f.write(str(child.pid))
                self.config(["nosuch"], linux__cgroupsPath=f"//davit-test/./{self.name}/")
                self.refused("is not empty", "run", self.name)
                self.assertIsNone(child.poll(), "a process that is not the container's was killed")
            finally:
                child.kill()
                child.wait()
                os.rmdir(inner)
                os.rmdir(os.path.dirname(inner))

    def test_groups_made_by_the_container_go_too(self):
        self.limited()
        os.makedirs(f"{directory(self.state()['pid'])}/inner/deeper")
        self.oci("delete", "--force", self.name)


class Systemd(Limits, runtime.RuntimeTest):
    options = ("--systemd-cgroup",)

    def place(self):
        return {"linux__cgroupsPath": f"davit-test.slice:oci:{self.name}"}

    def check_leaks(self):
        end = time.monotonic() + 10
        while self.unit_state() != "inactive":
            self.assertLess(time.monotonic(), end, "the scope is still there")
            time.sleep(0.05)
        super().check_leaks()

    def unit_state(self):
        return subprocess.run(["systemctl", "is-active", f"oci-{self.name}.scope"], capture_output=True, text=True,
                              check=False).stdout.strip()

    def test_scope(self):
        self.limited(memory={"limit": 64 << 20})
        self.assertEqual(self.unit_state(), "active")
        shown = davit.systemctl("show", "-p", "Slice,MemoryMax,Delegate", f"oci-{self.name}.scope").stdout
        self.assertEqual(sorted(shown.split()), ["Delegate=yes", f"MemoryMax={64 << 20}", "Slice=davit-test.slice"])

    def test_form_of_the_path(self):
        self.config(linux__cgroupsPath=f"/davit-test/{self.name}")
        self.refused("slice:prefix:name", "run", self.name)

    def test_a_unit_of_the_same_name_is_left_alone(self):
        subprocess.run(["systemd-run", "--quiet", "--scope", f"--unit=oci-{self.name}.scope", "--", "sh", "-c",
                        "exec sleep 1000 >/dev/null 2>&1 </dev/null &"], check=True)
        try:
            self.config(**self.place())
            self.refused(f"oci-{self.name}.scope", "run", self.name)
            self.assertEqual(self.unit_state(), "active")
            self.config(root__path="/nosuch", **self.place())  # fails before a unit is asked for
            self.refused("/nosuch", "run", self.name)
            self.config(process__cwd="/proc/self/fd", mounts=[{"destination": "/x", "source": "/nosuch",
                                                               "type": "bind", "options": ["bind"]}], **self.place())
            self.refused("/nosuch", "run", self.name)
            self.assertEqual(self.unit_state(), "active")
        finally:
            davit.systemctl("stop", f"oci-{self.name}.scope")

    def test_failed_create_leaves_no_scope(self):
        self.config(["nosuch"], **self.place())
        self.refused("nosuch", "run", self.name, status=127)

    def test_annotations(self):
        self.config(["sleep", "1000"], annotations={"org.systemd.property.TimeoutStopUSec": "uint64 7000000"},
                    **self.place())
        self.create()
        self.assertIn("7s", davit.systemctl("show", "-p", "TimeoutStopUSec", f"oci-{self.name}.scope").stdout)

    def test_annotations_do_no_more_than_they_may(self):
        for name, value in (("ExecStartPre", "['/bin/x']"), ("OnFailure", "['reboot.target']"),
                            ("FailureAction", "'reboot'"), ("MemoryMax", "uint64 1"), ("KillSignal", "nothing")):
            key = f"org.systemd.property.{name}"
            self.config(annotations={key: value}, **self.place())
            self.refused(f"annotations.{key}", "run", self.name)

    def test_daemon_reload_changes_nothing(self):
        self.limited(memory={"limit": 64 << 20}, pids={"limit": 33})
        davit.systemctl("daemon-reload")
        self.assertEqual((self.memory(), self.tasks()), (64 * MIB, "33"))


class Disabled(runtime.RuntimeTest):
    options = ("--cgroup-manager=disabled",)

    def test_run(self):
        with open("/proc/self/cgroup", encoding="ascii") as f:
            own = f.read()
        self.assertEqual(self.says("cat /proc/self/cgroup",
                                   linux__namespaces=lambda n: [x for x in n if x["type"] != "cgroup"]), own)

    def test_limits_are_refused(self):
        self.config(linux__resources={"memory": {"limit": 64 << 20}})
        self.refused("linux.resources.memory", "run", self.name)

    def test_pause_is_refused(self):
        self.config(["sleep", "1000"])
        self.create()
        self.start()
        self.refused("without a cgroup", "pause", self.name)
        self.refused("has no cgroup", "ps", self.name)
        self.oci("kill", "--all", self.name, "KILL")
        self.wait_status("stopped")
