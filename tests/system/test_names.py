# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names: containers get others, the latest needs none; namespaces keep apart, with labels and defaults; whose log it is."""

import json
import os
import re
import time

import davit
from test_ctl import ROOTFS, CtlCase


class Rename(CtlCase):
    def make(self, command=("sleep", "1000"), **opts):
        id, path = davit.create_container(list(command), id=davit.unique("name"), **opts)
        self.addCleanup(davit.remove_container, id)
        return id, path

    def test_rename(self):
        """S-O01, S-O03: a container that has ended gets another id, path and record, and keeps everything else, also over
        a restart; its old id is free again."""
        davit.busybox_image()
        id, path = self.make(["sh", "-c", "echo kept >/kept"], image="busybox:latest", Labels={"a": "b"})
        _, _, fd = davit.call(path, "Container.Start", "(a{sv})", {})
        davit.read_exit(fd)
        to = davit.unique("renamed")
        self.addCleanup(davit.remove_container, to)
        with davit.Signals(interface="org.freedesktop.DBus.ObjectManager") as signals:
            new = davit.call(path, "Container.Rename", "(s)", to)
            signals.wait(lambda p, member, body: member == "InterfacesAdded" and body[0] == new)
            signals.wait(lambda p, member, body: member == "InterfacesRemoved" and body[0] == path)
        self.assertEqual(davit.get(new, "Container.Id"), to)
        self.assertEqual(davit.manager("GetContainer", "(ss)", "", to), new)
        self.assertEqual(davit.get(new, "Container.Labels"), {"a": "b"})
        with self.assertRaises(davit.DavitError) as caught:
            davit.manager("GetContainer", "(ss)", "", id)
        self.assertEqual(caught.exception.name, "NotFound")
        with self.assertRaises(davit.DavitError):
            davit.manager("GetTask", "(ss)", "", to)
        davit.restart_davitd()
        ids = [row[1] for row in davit.manager("ListContainers", "(sa{sv})", "", {})]
        self.assertIn(to, ids)
        self.assertNotIn(id, ids)
        again, _ = davit.create_container(["true"], id=id, image="busybox:latest")
        self.assertEqual(again, id)
        self.assertNotEqual(davit.get(davit.manager("GetContainer", "(ss)", "", id), "Container.SnapshotKey"),
                            davit.get(new, "Container.SnapshotKey"))
        davit.remove_container(id)
        _, _, fd = davit.call(new, "Container.Start", "(a{sv})", {})
        self.assertEqual(davit.read_exit(fd), (0, "exited"))
        self.assertIn("A /kept", self.ctl("diff", to))

    def test_refused(self):
        """S-E05, S-E07: what cannot be a name, is one already, or runs; nothing has changed."""
        id, path = self.make()
        other, _ = self.make()
        task, _, fd = davit.call(path, "Container.Start", "(a{sv})", {})
        os.close(fd)
        for to, error in ((davit.unique("x"), "FailedPrecondition"), (other, "AlreadyExists"), (id, "AlreadyExists"),
                          ("", "InvalidArgument"), ("a b", "InvalidArgument"), ("a\nb", "InvalidArgument"),
                          ("../a", "InvalidArgument"), ("a" * 65, "InvalidArgument")):
            begun = time.monotonic()
            with self.assertRaises(davit.DavitError) as caught:
                davit.call(path, "Container.Rename", "(s)", to)
            self.assertEqual(caught.exception.name, error, to)
            self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(davit.get(path, "Container.Id"), id)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        self.refused("rename", id, davit.unique("x"), contains="stop it first")

    def test_command(self):
        """S-E06: davitctl rename, by the beginning of an id; the name after it."""
        id, _ = self.make()
        to = davit.unique("renamed")
        self.addCleanup(davit.remove_container, to)
        self.assertEqual(self.ctl("rename", id, to), to)
        self.assertIn(to, self.ctl("ps", "-a", "-q").splitlines())
        self.refused("rename", id, to, contains="no container")


class Latest(CtlCase):
    def test_latest(self):
        """S-E09: --latest stands for the container created last, wherever one is named."""
        self.sleeper()
        id = self.sleeper()
        self.assertEqual(self.ctl("exec", "--latest", "echo", "here"), "here")
        self.assertEqual(json.loads(self.ctl("inspect", "-l"))[0]["Id"], id)
        self.assertIn("sleep", self.ctl("top", "-l"))
        self.assertEqual(self.ctl("pause", "-l"), id)
        self.assertEqual(self.ctl("unpause", "-l"), id)
        self.assertEqual(self.ctl("ps", "-l", "-q"), id)
        self.assertEqual(self.ctl("restart", "-t", "0", "-l"), id)
        self.assertEqual([one["Id"] for one in json.loads(self.ctl("--json", "stats", "--no-stream", "-l"))], [id])
        self.assertEqual(self.ctl("update", "-l", "--pids-limit", "77"), id)
        self.assertEqual(json.loads(self.ctl("inspect", "-l"))[0]["Task"]["TasksMax"], 77)
        self.assertEqual(self.ctl("kill", "-l"), id)
        self.assertEqual(self.ctl("wait", "-l"), "137")
        self.assertEqual(self.ctl("ps", "-l", "-q"), id)
        self.assertEqual(self.ctl("rename", "-l", id + "x"), id + "x")
        self.addCleanup(davit.remove_container, id + "x")
        self.assertEqual(self.ctl("logs", "-l"), "")
        self.assertEqual(self.ctl("rm", "-l"), id + "x")
        self.assertNotEqual(self.ctl("ps", "-l", "-q"), id)
        self.refused("--namespace", davit.unique("nowhere"), "stop", "--latest", contains="no container")
        self.refused("kill", "--latest", self.sleeper(), contains="not both")

    def test_beginnings(self):
        """S-E06: the beginning of an id that was made up is enough where it is the only one."""
        id, other = "0ddba11c0001", "0ddba11d0002"
        for name in (id, other):
            self.addCleanup(davit.remove_container, name)
            self.ctl("run", "-d", "--name", name, ROOTFS, "sleep", "1000")
        self.assertEqual(self.ctl("exec", id[:-1], "echo", "here"), "here")
        self.refused("stop", os.path.commonprefix([id, other]), contains="more than one")
        self.assertEqual(self.ctl("stop", "-t", "0", id[:-1]), id)


class Namespaces(CtlCase):
    def setUp(self):
        super().setUp()
        self.name = davit.unique("names")
        self.path = f"{davit.ROOT}/ns/{self.name.replace('-', '_2d')}"
        self.ctl("namespace", "create", "-l", "who=me", self.name)
        self.addCleanup(davit.ctl, "namespace", "rm", self.name)

    def test_labels(self):
        """S-E10: labels of a namespace are shown, set and removed, and last."""
        self.assertEqual(self.ctl("namespace", "label", self.name), "who=me")
        self.ctl("namespace", "label", self.name, "a=b", "-r", "who")
        davit.kill_davitd()
        self.assertEqual(self.ctl("namespace", "label", self.name), "a=b")
        self.assertEqual(next(n["Labels"] for n in json.loads(self.ctl("namespace", "ls", "--json")) if n["Name"] == self.name),
                         {"a": "b"})
        self.refused("namespace", "label", "no-such-one", contains="no namespace")

    def test_defaults(self):
        """S-E09, S-K05: what is not said comes from the namespace; what is said wins; it lasts."""
        with davit.Signals(interface="org.freedesktop.DBus.Properties") as signals:
            self.ctl("namespace", "default", self.name, "--network=host", "--stop-signal=INT", "--stop-timeout=3",
                     "--log-rate=5/1m")
            signals.wait(lambda path, member, body: path == self.path and "Defaults" in body[1])
        davit.kill_davitd()
        shown = json.loads(self.ctl("namespace", "default", self.name))
        self.assertEqual(shown, {"Network": "host", "StopSignal": "INT", "StopTimeoutUSec": 3000000,
                                 "LogRateLimitIntervalUSec": 60000000, "LogRateLimitBurst": 5})
        self.addCleanup(davit.ctl, "-n", self.name, "rm", "-f", "one", "two", "three")
        self.ctl("-n", self.name, "create", "--name=one", ROOTFS, "true")
        self.ctl("-n", self.name, "create", "--name=two", "--network=none", "--stop-timeout=4", "--log-rate=0", ROOTFS, "true")
        one, two = (json.loads(self.ctl("-n", self.name, "inspect", id))[0] for id in ("one", "two"))
        networks = [{n["type"] for n in c["Spec"]["linux"]["namespaces"]} & {"network"} for c in (one, two)]
        self.assertEqual(networks, [set(), {"network"}])
        self.assertEqual((one["StopSignal"], one["StopTimeoutUSec"], one["LogRateLimitBurst"]), ("INT", 3000000, 5))
        self.assertEqual((two["StopSignal"], two["StopTimeoutUSec"], two["LogRateLimitIntervalUSec"]), ("INT", 4000000, 0))
        self.ctl("namespace", "default", self.name, "--reset")
        self.assertEqual(json.loads(self.ctl("namespace", "default", self.name)), {})
        self.ctl("-n", self.name, "create", "--name=three", ROOTFS, "true")
        three = json.loads(self.ctl("-n", self.name, "inspect", "three"))[0]
        self.assertEqual((three["StopSignal"], three["StopTimeoutUSec"]), ("SIGTERM", 10000000))

    def test_default_limits(self):
        """S-E09: limits are of the namespace too, where neither an option nor a whole configuration says otherwise."""
        self.ctl("namespace", "default", self.name, "--memory=64m", "--cpus=0.5", "--pids-limit=77", "--seccomp-report=no")
        davit.kill_davitd()
        self.assertEqual(json.loads(self.ctl("namespace", "default", self.name)),
                         {"MemoryMax": 64 << 20, "CPUQuotaPerSecUSec": 500000, "TasksMax": 77, "SeccompReport": "no"})
        self.addCleanup(davit.ctl, "-n", self.name, "rm", "-f", "one", "two", "three")
        spec = json.loads(davit.get(davit.create_container(["sleep", "1000"], id="three", namespace=self.name)[1], "Container.Spec"))
        self.ctl("-n", self.name, "rm", "three")
        spec["linux"].pop("resources")
        spec["root"]["path"] = davit.rootfs()
        for name, options, limits in (("one", [ROOTFS, "sleep", "1000"], (64 << 20, 77)),
                                      ("two", ["--memory=32m", ROOTFS, "sleep", "1000"], (32 << 20, 77)),
                                      ("three", ["--spec", "-"], None)):
            self.ctl("-n", self.name, "run", "-d", f"--name={name}", *options, input=json.dumps(spec))
            scope = davit.get(davit.manager("GetTask", "(ss)", self.name, name), "Task.Scope")
            shown = davit.unit_show(scope, "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax")
            if limits:
                self.assertEqual(shown, {"MemoryMax": str(limits[0]), "CPUQuotaPerSecUSec": "500ms", "TasksMax": str(limits[1])})
            else:
                self.assertEqual((shown["MemoryMax"], shown["CPUQuotaPerSecUSec"]), ("infinity", "infinity"))
                self.assertNotEqual(shown["TasksMax"], "77")

    def test_defaults_are_checked(self):
        """S-E05: what no container could be made with is refused at once, by name, and changes nothing."""
        self.ctl("namespace", "default", self.name, "--stop-timeout=3")
        for key, value in (("Network", davit.GLib.Variant("s", "moon")), ("Image", davit.GLib.Variant("s", "a")),
                           ("MemoryMax", davit.GLib.Variant("s", "much")), ("MemoryMax", davit.GLib.Variant("t", 1024)), ("StopSignal", davit.GLib.Variant("s", "SIGNOPE"))):
            with self.assertRaises(davit.DavitError) as caught:
                davit.call(self.path, "Namespace.SetDefaults", "(a{sv})", {key: value})
            self.assertIn(caught.exception.name, ("InvalidArgument", "NotSupported"))
        for runtime in ("no-such-runtime", "usr/bin/true", "/usr/../bin/true", "/usr/bin/"):
            self.refused("namespace", "default", self.name, "--runtime", runtime, contains=f'"{runtime}"')
        self.assertEqual(davit.get(self.path, "Namespace.Defaults"), {"StopTimeoutUSec": 3000000})
        for runtime in ("davit", "true", "/usr/bin/true", "/usr/bin/runtime-to-come"):
            self.ctl("namespace", "default", self.name, "--runtime", runtime)
        with davit.configuration(Runtime="runtime-to-come", section="Container"):
            self.ctl("namespace", "default", self.name, "--runtime", "runtime-to-come")


class Logs(CtlCase):
    def lines(self, id, *argv):
        davit.run("journalctl", "--sync")
        return self.ctl("logs", *argv, id).splitlines()

    def test_since_until_tail(self):
        """F06: logs from a time, up to a time, the last lines, with times."""
        id = davit.unique("logs")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", "echo one; sleep 2; echo two; sleep 1000")
        davit.wait_until(lambda: self.lines(id) == ["one", "two"], what="both lines")
        stamped = self.lines(id, "--timestamps")
        self.assertRegex(stamped[0], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+.* one$")
        begun = davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.StartedAt") / 1e6
        between = f"@{begun + 1:.6f}"
        self.assertEqual(self.lines(id, "--since", between), ["two"])
        self.assertEqual(self.lines(id, "--until", between), ["one"])
        self.assertEqual(self.lines(id, "--tail", "1"), ["two"])
        self.assertEqual(self.lines(id, "--tail", "0"), [])

    def test_one_container(self):
        """F06: a container's own lines, under whatever name it wrote them, and none of an earlier one of its name."""
        first, second = davit.unique("logs"), davit.unique("logs")
        self.addCleanup(davit.ctl, "rm", "-f", first, second)
        self.ctl("run", "--rm", "-d", "--name", first, ROOTFS, "echo", "earlier")
        davit.wait_until(lambda: self.ctl("ps", "-qa", "-f", f"id={first}") == "", what="the first one to go")
        self.ctl("run", "-d", "--name", first, ROOTFS, "echo", "before")
        self.ctl("wait", first)
        for since in ("1h", "-1h", "yesterday", "2025-01-31 10:00:00", "2025-01-31T10:00:00Z", "@1700000000"):
            self.assertEqual(self.lines(first, "--since", since), ["before"])
        self.ctl("rename", first, second)
        self.assertEqual(self.lines(second), ["before"])
        self.ctl("start", second)
        self.ctl("wait", second)
        self.ctl("run", "-d", "--name", first, ROOTFS, "echo", "later")
        self.ctl("wait", first)
        self.assertEqual(self.lines(second, "--since=1h", "--until=+1m"), ["before", "before"])
        self.assertEqual(self.lines(first, "--since=1h"), ["later"])
        self.assertEqual(self.lines(second, "--until=today"), [])
        self.ctl("rm", first)
        self.ctl("rename", second, first)
        self.assertEqual(self.lines(first), ["before", "before"])
        self.refused("logs", "--since", "some day", second, contains="some day")
        self.refused("events", "--since", "some day", contains="some day")

    def test_left_out(self):
        """F08: lines that the journal did not take are told of."""
        id = davit.unique("rate")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "--name", id, "-d", "--log-rate", "10/1s", ROOTFS, "sh", "-c",
                 "seq 20000; while :; do sleep 0.3; echo more; done")
        davit.wait_until(lambda: any(re.match(r"Suppressed \d+ messages", line) for line in self.lines(id)),
                         what="what was left out")

    def test_rate(self):
        """F08: the journal takes no more lines than the container may write, and all where it may."""
        script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"
        ids = []
        for rate in ("10/10m", "0"):
            id = davit.unique("rate")
            self.addCleanup(davit.remove_container, id)
            self.ctl("run", "--name", id, "-d", "--log-rate", rate, ROOTFS, "sh", "-c", script)
            ids.append(id)
        for id in ids:
            self.ctl("wait", id)
        davit.wait_until(lambda: len(self.lines(ids[1])) == 20000, what="all lines of one")
        few = len(self.lines(ids[0]))
        self.assertGreaterEqual(few, 10)
        self.assertLess(few, 200)
        for id in ids:
            scope = davit.get(davit.manager("GetTask", "(ss)", "", id), "Task.Scope")
            link = f"/run/systemd/units/log-rate-limit-burst:{scope}"
            self.assertTrue(os.path.lexists(link))
            self.ctl("rm", id)
            self.assertFalse(os.path.lexists(link))
        self.refused("run", "--rm", "--log-rate", "many", ROOTFS, "true", status=125, contains="no rate")
