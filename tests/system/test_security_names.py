# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names, annotations and paths that callers choose never become more than that: no path, no unit property."""

import json
import os
import stat
import unittest

import davit
from security import FAILED, SecurityTest, create, scope_of, task_of

BAD_IDS = ("../x", "..", ".", "a/b", "/abs", "x%n", "%s", "a b", "a\nb", "a\x1b[31m", "-dash", ".dot", "x" * 65,
           "x" * 4096, "ü", "a;b", "$(id)", "a\\x2db", "*", "a:b", "@")


class Ids(SecurityTest):
    def test_bad_ids_are_refused(self):
        root = self.rootfs()
        for name in BAD_IDS:
            with self.subTest(name=name):
                self.assertError("InvalidArgument", create, name, "", ["true"], Rootfs=root)

    def test_bad_namespaces_are_refused(self):
        root = self.rootfs()
        for name in BAD_IDS:
            if name == "*":
                continue
            with self.subTest(name=name):
                self.assertError("InvalidArgument", create, "a", "", ["true"], namespace=name, Rootfs=root)
                self.assertError("InvalidArgument", davit.manager, "CreateNamespace", "(sa{ss})", name, {})

    def test_bad_exec_ids_are_refused(self):
        task = task_of(self.start(self.rootfs(), "sleep", "1000"))
        for name in BAD_IDS:
            with self.subTest(name=name):
                self.assertError("InvalidArgument", davit.call, task, "Task.Exec", "(sasa{sv})", name, ["true"], {})

    def remove(self, namespace, name):
        self.assert_ran(self.ctl("rm", "-f", "-n", namespace, name))
        objects = {row[0]: row[2] for row in davit.manager("ListNamespaces")}
        davit.call(objects[namespace], "Namespace.Delete")

    def test_names_with_a_dash_do_not_meet(self):
        """"a-b"/"c" and "a"/"b-c" are two containers, in two units."""
        root = self.rootfs()
        pairs = (("a-b", "c"), ("a", "b-c"))
        scopes = set()
        for namespace, name in pairs:
            davit.manager("Run", "(sssasa{sv})", namespace, name, "", ["sleep", "1000"],
                          davit.options(Rootfs=root))
            self.addCleanup(self.remove, namespace, name)
            scopes.add(scope_of(name, namespace))
        self.assertEqual(len(scopes), 2, scopes)
        for scope in scopes:
            self.assertEqual(davit.unit_show(scope, "ActiveState")["ActiveState"], "active")

    def test_log_path_is_not_followed(self):
        """A log path that is a link is refused: what it points at is not ours to append to."""
        target = os.path.join(self.work, "target")
        with open(target, "w", encoding="utf-8") as f:
            f.write("as it was\n")
        os.symlink(target, os.path.join(self.work, "log"))
        _, container = create(davit.unique(), "", ["echo", "written"], Rootfs=self.rootfs())
        self.addCleanup(davit.call, container, "Container.Delete", "(a{sv})", {})
        for path in (f"{self.work}/log", "/dev/null", self.work, "relative"):
            with self.subTest(path=path):
                with self.assertRaises(davit.DavitError):
                    davit.call(container, "Container.Start", "(a{sv})", {"LogPath": davit.GLib.Variant("s", path)})
        with open(target, encoding="utf-8") as f:
            self.assertEqual(f.read(), "as it was\n")


class Units(SecurityTest):
    ANNOTATIONS = {"org.systemd.property.ExecStartPre": "['/bin/touch /run/davit-pwned']",
                   "org.systemd.property.MemoryMax": "uint64 1048576",
                   "org.systemd.property.TimeoutStopUSec": "uint64 1",
                   "org.systemd.property.": "1", "run.oci.systemd.subgroup": "x", "io.davit.unit": "MemoryMax=1"}

    def test_annotations_are_not_properties(self):
        plain = self.start(self.rootfs("plain"), "sleep", "1000")
        noted = self.start(self.rootfs("noted"), "sleep", "1000", patch={"annotations": self.ANNOTATIONS})
        keys = ("MemoryMax", "TimeoutStopUSec", "TasksMax", "CPUQuotaPerSecUSec", "Delegate", "DevicePolicy", "Slice")
        scopes = [scope_of(name) for name in (plain, noted)]
        self.assertEqual(davit.unit_show(scopes[0], *keys), davit.unit_show(scopes[1], *keys))
        self.assertFalse(os.path.exists("/run/davit-pwned"))

    def test_labels_are_only_labels(self):
        name = self.start(self.rootfs(), "sleep", "1000",
                          options=["--label", "org.davit.Davit1.unit.MemoryMax=1",
                                   "--label", "io.containerd.image=../../x"])
        scope = scope_of(name)
        self.assertEqual(davit.unit_show(scope, "MemoryMax")["MemoryMax"], "infinity")

    def test_a_user_namespace_stays_in_its_scope(self):
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        root = self.rootfs()
        for top, dirs, files in os.walk(root):
            for entry in dirs + files + ["."]:
                os.lchown(os.path.join(top, entry), 100000, 100000)
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup", "user")]
        name = self.start(root, "sleep", "1000",
                          patch={"linux": {"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps}})
        scope = scope_of(name)
        with open(f"/proc/{self.pid(name)}/cgroup", encoding="utf-8") as f:
            groups = [line.split(":", 2)[2].strip() for line in f if line.startswith("0::") or "name=systemd" in line]
        for group in groups:
            self.assertIn(scope, group)
        self.assertEqual(os.stat(f"/proc/{self.pid(name)}").st_uid, 100000)

    def test_the_hosts_mount_table_is_left_alone(self):
        """A container that mounts a lot, at long paths, is not seen by PID 1."""
        with open("/proc/1/mountinfo", encoding="utf-8") as f:
            before = len(f.readlines())
        script = (f"i=0; d=/tmp; while [ $i -lt 12 ]; do d=$d/{'a' * 60}; "
                  "mkdir $d && mount -t tmpfs none $d; i=$((i+1)); done; touch /tmp/ready; sleep 1000")
        root = self.rootfs()
        self.start(root, "sh", "-c", script, options=["--cap-add", "CAP_SYS_ADMIN"])
        davit.wait_until(lambda: os.path.exists(os.path.join(root, "tmp/ready")), what="the mounts")
        with open("/proc/1/mountinfo", encoding="utf-8") as f:
            self.assertEqual(len(f.readlines()), before)


class Values(SecurityTest):
    def test_control_characters_in_a_hostname(self):
        for name in ("a\nb", "a b", "a:b", "x" * 65, "a/b", "a\x01"):
            with self.subTest(name=name):
                result = self.run_in(self.rootfs(davit.unique()), "true", options=["--hostname", name])
                self.assertEqual(result.status, FAILED, result)

    def test_environment_needs_a_name(self):
        root = self.rootfs()
        for entry in ("=x", ""):
            with self.subTest(entry=entry):
                self.assertError("InvalidArgument", create, davit.unique(), "", ["true"], Rootfs=root, Env=[entry])

    def test_options_are_not_read_from_names(self):
        """What follows the command's name is the command's own."""
        self.assert_ran(self.run_in(self.rootfs(), "echo", "--rm", "--rootfs", "/"), "--rm --rootfs /")

    def test_unknown_options_are_named(self):
        self.assertError("InvalidArgument", create, davit.unique(), "", ["true"], contains="NoSuchKey",
                         NoSuchKey=davit.GLib.Variant("s", "x"))

    def test_mount_targets(self):
        root = self.rootfs()
        for target in ("relative", "", "/../../etc/x", "/a\nb"):
            with self.subTest(target=target):
                before = sorted(os.listdir("/etc"))
                result = self.run_in(root, "true", patch={"mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": target, "type": "tmpfs", "source": "none"}]})
                self.assertIn(result.status, (0, FAILED), result)
                if not target:
                    self.assertEqual(result.status, FAILED, result)
                self.assertEqual(sorted(os.listdir("/etc")), before)


class Files(SecurityTest):
    def test_directories_are_the_roots_alone(self):
        self.start(self.rootfs(), "sleep", "1000")
        for path in (davit.STATE, davit.RUNTIME):
            st = os.stat(path)
            self.assertEqual((st.st_mode & 0o066, st.st_uid, st.st_gid), (0, 0, 0), path)

    def test_sockets_are_the_roots_alone(self):
        self.start(self.rootfs(), "sleep", "1000")
        found = []
        for top, _, files in os.walk(davit.RUNTIME):
            for name in files:
                st = os.lstat(os.path.join(top, name))
                if stat.S_ISSOCK(st.st_mode):
                    found.append((os.path.join(top, name), stat.S_IMODE(st.st_mode), st.st_uid))
        self.assertTrue(found)
        self.assertEqual([entry for entry in found if entry[1] & 0o077 or entry[2] != 0], [])

    def test_nobody_sees_nothing(self):
        """Whoever is not root neither walks our directories nor calls the manager."""
        self.start(self.rootfs(), "sleep", "1000")
        list_tasks = ["busctl", "call", davit.NAME, davit.ROOT, f"{davit.NAME}.Manager", "ListTasks", "sa{sv}", "", "0"]
        for command in (["ls", davit.STATE], ["ls", davit.RUNTIME], list_tasks):
            with self.subTest(command=command):
                done = davit.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command,
                                 check=False)
                self.assertNotEqual(done.returncode, 0, done.stdout)

    def test_nobody_learns_no_path(self):
        """Errors about a path that exists and one that does not read the same to somebody who may not call."""
        said = []
        for path in ("/root/exists", "/root/does-not"):
            if path.endswith("exists"):
                os.makedirs(path, exist_ok=True)
                self.addCleanup(os.rmdir, path)
            done = davit.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "call",
                             davit.NAME, davit.ROOT, f"{davit.NAME}.Manager", "CreateContainer", "sssasa{sv}", "", "x",
                             "", "0", "1", "Rootfs", "s", path, check=False)
            self.assertNotEqual(done.returncode, 0)
            said.append(done.stderr)
        self.assertEqual(said[0], said[1])

    def test_the_record_of_a_container_holds_no_more_than_was_said(self):
        name = self.start(self.rootfs(), "sleep", "1000", options=["-e", "SECRET=very-secret-value"])
        for top, _, files in os.walk(davit.RUNTIME):
            for entry in files:
                path = os.path.join(top, entry)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    self.assertEqual(os.lstat(path).st_mode & 0o077, 0, path)
        container = davit.manager("GetContainer", "(ss)", "", name)
        self.assertIn("SECRET=very-secret-value", json.loads(davit.get(container, "Container.Spec"))["process"]["env"])


if __name__ == "__main__":
    unittest.main()
