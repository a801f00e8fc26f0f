# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input and failing parts: a clear error on the bus and on the terminal, and nothing left behind."""

import gzip
import io
import json
import os
import signal
import subprocess
import tarfile
import unittest

import davit
import images
from security import NOT_EXECUTABLE, NOT_FOUND, SecurityTest, create, scope_of, task_of


class Commands(SecurityTest):
    def test_missing_command(self):
        """S-H03."""
        result = self.run_in(self.rootfs(), "no-such-command")
        self.assert_refused(result, "no-such-command", status=NOT_FOUND)

    def test_missing_path(self):
        result = self.run_in(self.rootfs(), "/no/such/command")
        self.assert_refused(result, "/no/such/command", status=NOT_FOUND)

    def test_not_executable(self):
        root = self.rootfs()
        with open(os.path.join(root, "bin/data"), "w", encoding="utf-8") as f:
            f.write("data\n")
        self.assert_refused(self.run_in(root, "/bin/data"), "/bin/data", status=NOT_EXECUTABLE)

    def test_directory_as_command(self):
        self.assert_refused(self.run_in(self.rootfs(), "/bin"), "/bin", status=NOT_EXECUTABLE)

    def test_wrong_format(self):
        root = self.rootfs()
        path = os.path.join(root, "bin/garbage")
        with open(path, "wb") as f:
            f.write(b"\x7fELF garbage")
        os.chmod(path, 0o755)
        self.assert_refused(self.run_in(root, "/bin/garbage"), "/bin/garbage", status=NOT_EXECUTABLE)

    def test_exec_of_missing_commands(self):
        root = self.rootfs()
        with open(os.path.join(root, "bin/data"), "w", encoding="utf-8") as f:
            f.write("data\n")
        name = self.start(root, "sleep", "1000")
        self.assert_refused(self.ctl("exec", name, "no-such-command"), "no-such-command", status=NOT_FOUND)
        self.assert_refused(self.ctl("exec", name, "/bin/data"), "/bin/data", status=NOT_EXECUTABLE)
        self.assert_ran(self.ctl("exec", name, "echo", "alive"), "alive")

    def test_the_programs_own_statuses_pass(self):
        root = self.rootfs()
        for status in (0, 1, 42, 125, 126, 127, 255):
            self.assertEqual(self.run_in(root, "sh", "-c", f"exit {status}").status, status)

    def test_a_signal_is_128_and_its_number(self):
        self.assertEqual(self.run_in(self.rootfs(), "sh", "-c", "sh -c 'kill -9 $$'; exit $?").status, 137)

    def test_missing_working_directory_is_said(self):
        root = self.rootfs()
        with open(os.path.join(root, "file"), "w", encoding="utf-8"):
            pass
        self.assert_refused(self.run_in(root, "true", options=["-w", "/file"]), "/file")


class Definitions(SecurityTest):
    def test_unknown_image(self):
        self.assertError("NotFound", create, davit.unique(), "no-such-image:latest", ["true"], contains="no-such-image")
        result = self.ctl("run", "--rm", "no-such-image:latest", "true")
        self.assert_refused(result, "no-such-image")

    def test_unknown_container(self):
        """S-E06."""
        for verb in (["exec", "no-such", "true"], ["kill", "no-such"], ["stop", "no-such"], ["rm", "no-such"],
                     ["inspect", "no-such"], ["wait", "no-such"], ["logs", "no-such"]):
            with self.subTest(verb=verb[0]):
                result = self.ctl(*verb)
                self.assertNotEqual(result.status, 0, result)
                self.assertIn("no-such", result.err)

    def test_duplicate_id(self):
        root = self.rootfs()
        name = self.start(root, "sleep", "1000")
        self.assertError("AlreadyExists", create, name, "", ["true"], Rootfs=root)
        self.assert_refused(self.ctl("run", "--rm", "--name", name, "--rootfs", root, "true"), name)
        self.assert_ran(self.ctl("exec", name, "echo", "alive"), "alive")

    def test_missing_rootfs(self):
        self.assert_refused(self.run_in(os.path.join(self.work, "no-such-root"), "true"), "no-such-root")

    def test_rootfs_that_is_a_file(self):
        path = os.path.join(self.work, "file")
        with open(path, "w", encoding="utf-8"):
            pass
        self.assert_refused(self.run_in(path, "true"), path)

    def test_malformed_specs(self):
        root = self.rootfs()
        good = {"ociVersion": "1.0.2", "root": {"path": root},
                "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
                "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}
        for text in ("", "{", "[]", "null", '"x"', json.dumps(good)[:-3], "{}" * 2, "[" * 100000,
                     '{"process":' * 1000, json.dumps({**good, "process": "x"}),
                     json.dumps({**good, "process": {"args": []}}),
                     json.dumps({**good, "process": {"args": [1], "cwd": "/"}}),
                     json.dumps({**good, "process": {"args": ["true"], "cwd": "relative"}}),
                     json.dumps({**good, "process": {"args": ["true\x00x"], "cwd": "/"}}),
                     json.dumps({**good, "mounts": {}}), json.dumps({**good, "mounts": [{"type": "tmpfs"}]}),
                     json.dumps({**good, "linux": []}),
                     json.dumps({**good, "linux": {"namespaces": [{"type": "nope"}]}}),
                     json.dumps({**good, "linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}}),
                     json.dumps({**good, "root": {}})):
            with self.subTest(text=text[:60]):
                self.assertError("InvalidArgument", create, davit.unique(), "", [], Spec=text)
        self.assertError("NotSupported", create, davit.unique(), "", [],
                         Spec=json.dumps({**good, "ociVersion": "99.0"}))

    def test_unsupported_fields_are_named(self):
        """What a spec asks for and we do not do is an error with the field's name, never ignored."""
        root = self.rootfs()
        for patch, word in (({"hooks": {"prestart": [{"path": "/bin/true"}]}}, "hooks"),
                            ({"linux": {"intelRdt": {"closID": "x"}}}, "intelRdt"),
                            ({"vm": {"kernel": {"path": "/x"}}}, "vm"),
                            ({"windows": {"layerFolders": ["x"]}}, "windows"),
                            ({"process": {"selinuxLabel": "x:x:x:x"}}, "selinuxLabel"),
                            ({"process": {"apparmorProfile": "davit-none"}}, "apparmorProfile")):
            with self.subTest(word=word):
                self.assert_refused(self.run_in(root, "true", patch=patch), word)

    def test_limits_that_nothing_would_enforce(self):
        """S-H08."""
        root = self.rootfs()
        controllers = davit.get(davit.ROOT, "Manager.Controllers")
        for resources, words, controller in (
                ({"memory": {"limit": 1 << 26}}, "memory", "memory"), ({"pids": {"limit": 50}}, "pids", "pids"),
                ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu"),
                ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 21}]}, "huge", "hugetlb"),
                ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "rdma", "rdma"),
                ({"unified": {"no.such": "1"}}, "no.such", None)):
            with self.subTest(resources=resources):
                result = self.run_in(root, "true", patch={"linux": {"resources": resources}})
                if controller in controllers and controller != "hugetlb":
                    self.assert_ran(result)
                elif controller not in controllers:
                    self.assert_refused(result, words)

    def test_a_limit_is_enforced(self):
        """Where the host has the controller, the limit bites; where it has not, it was refused above."""
        if "pids" not in davit.get(davit.ROOT, "Manager.Controllers"):
            self.skipTest("no pids controller")
        result = self.run_in(self.rootfs(), "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 3 & done; wait",
                             options=["--pids-limit", "6"])
        self.assertIn("fork", result.err, result)


class Archives(SecurityTest):
    def import_file(self, data, name="broken:latest"):
        path = os.path.join(self.work, "archive")
        with open(path, "wb") as f:
            f.write(data)
        return self.ctl("image", "import", "--name", name, path)

    def archive(self, change, **kwargs):
        """An OCI archive of one small layer, whose files `change` edits: {name: bytes} in place."""
        layer = images.layer([images.entry("etc"), images.entry("etc/file", b"content\n")])
        files = dict(images.oci_files([layer], **kwargs))
        change(files)
        path = os.path.join(self.work, "changed.tar")
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in files.items():
                tar.addfile(images.entry(name, data)[0], io.BytesIO(data))
        with open(path, "rb") as f:
            return f.read()

    def assert_not_imported(self, result, *words):
        self.assertNotEqual(result.status, 0, result)
        self.assertTrue(result.err.strip())
        for word in words:
            self.assertIn(word, result.err)
        self.assertError("NotFound", davit.manager, "GetImage", "(ss)", "", "broken:latest")

    def test_garbage(self):
        for data in (b"", b"x", os.urandom(100000), b"\x1f\x8b" + os.urandom(5000),
                     b"\x28\xb5\x2f\xfd" + os.urandom(5000), gzip.compress(b"not a tar")):
            with self.subTest(data=data[:8]):
                self.assert_not_imported(self.import_file(data))

    def test_wrong_layer_digest(self):
        def change(files):
            blob = next(n for n in files if n.startswith("blobs/") and files[n][:2] == b"\x1f\x8b")
            other = images.layer([images.entry("etc"), images.entry("etc/file", b"different\n")])
            files[blob] = gzip.compress(other, 1)
        self.assert_not_imported(self.import_file(self.archive(change)), "blobs/sha256/")

    def test_flipped_byte_in_a_layer(self):
        def change(files):
            name = next(n for n in files if n.startswith("blobs/"))
            data = bytearray(files[name])
            data[data.index(b"content\n")] ^= 1
            files[name] = bytes(data)
        self.assert_not_imported(self.import_file(self.archive(change, compress=False)), "digest")

    def test_wrong_diff_id(self):
        layer = images.layer([images.entry("etc")])
        config = images.config([layer + b"x"])
        self.assert_not_imported(self.import_file(self.archive(lambda files: None, config_data=config)))

    def test_wrong_manifest_digest(self):
        def change(files):
            index = json.loads(files["index.json"])
            name = "blobs/" + index["manifests"][0]["digest"].replace(":", "/")
            files[name] += b" "
        self.assert_not_imported(self.import_file(self.archive(change)), "digest")

    def test_missing_blob(self):
        def change(files):
            del files[next(n for n in files if n.startswith("blobs/"))]
        self.assert_not_imported(self.import_file(self.archive(change)))

    def test_digests_that_are_paths(self):
        for digest in ("sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha256:abc", "md5:" + "0" * 32,
                       "sha256:", "x", "sha256:" + "0" * 63 + "/"):
            with self.subTest(digest=digest):
                def change(files, digest=digest):
                    index = json.loads(files["index.json"])
                    index["manifests"][0]["digest"] = digest
                    files["index.json"] = json.dumps(index).encode()
                self.assert_not_imported(self.import_file(self.archive(change)))

    def test_ambiguous_manifest(self):
        self.assert_not_imported(self.import_file(self.archive(lambda files: None, manifest_changes={"manifests": []})))

    def test_truncated_at_many_places(self):
        whole = self.archive(lambda files: None)
        for part in (1, 511, 512, 513, 1024, 2000, 4096, len(whole) // 2, len(whole) - 12000):
            if 0 < part < len(whole) - 10240:
                with self.subTest(part=part):
                    self.assert_not_imported(self.import_file(whole[:part]))

    def test_deep_json(self):
        def change(files):
            files["index.json"] = b"[" * 200000
        self.assert_not_imported(self.import_file(self.archive(change)))

    def test_the_next_import_works(self):
        self.assert_not_imported(self.import_file(b"garbage"))
        self.assert_ran(self.import_file(self.archive(lambda files: None), name="whole:latest"))
        self.assert_ran(self.ctl("image", "rm", "whole:latest"))


class Crashes(SecurityTest):
    """kill -9 of the manager: containers go on, and afterwards their state, logs and exit statuses are right."""

    time_limit = 120

    def test_running_container_goes_on(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        pid = self.pid(name)
        davit.kill_davitd()
        os.kill(pid, 0)
        task = task_of(name)
        self.assertEqual((davit.get(task, "Process.Pid"), davit.get(task, "Process.Status")), (pid, "running"))
        self.assert_ran(self.ctl("exec", name, "echo", "alive"), "alive")

    def test_exit_while_the_manager_is_dead(self):
        root = self.rootfs()
        name = davit.unique()
        self.assert_ran(self.ctl("run", "-d", "--name", name, "--rootfs", root, "sh", "-c",
                                 "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 42"))
        self.addCleanup(self.ctl, "rm", "-f", name)
        end = os.pidfd_open(self.pid(name))
        scope = scope_of(name)
        davit.systemctl("kill", "--signal=KILL", "--kill-who=main", "davitd.service")
        davit.systemctl("stop", "davitd.service")
        with open(os.path.join(root, "tmp/go"), "w", encoding="utf-8"):
            pass
        davit.wait_pidfd(end)
        davit.wait_until(lambda: davit.unit_show(scope, "ActiveState")["ActiveState"] != "active",
                         what="the scope's end")
        davit.start_davitd()
        status, kind, _ = davit.call(task_of(name), "Process.Wait")
        self.assertEqual((status, kind), (42, "exited"))
        self.assertEqual(self.ctl("logs", name).out.split(), ["before", "after"])

    def test_kill_of_the_manager_in_the_middle_of_runs(self):
        """Whatever a run had come to, afterwards it is there or it is not, and it can be removed."""
        root = self.rootfs()
        for i in range(10):
            name = f"crash-{i}-{os.getpid()}"
            client = subprocess.Popen(["davitctl", "run", "-d", "--name", name, "--log", "null", "--rootfs", root,
                                       "sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                client.wait(timeout=0.002 * i)
            except subprocess.TimeoutExpired:
                pass
            davit.kill_davitd()
            client.wait(timeout=30)
            known = {row[1]: row[3] for row in davit.manager("ListTasks", "(sa{sv})", "", {})}
            if client.returncode == 0:
                self.assertEqual(known.get(name), "running")
            self.ctl("rm", "-f", name)

    def test_a_broken_record_hides_no_other(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        found = [os.path.join(top, entry) for top, _, files in os.walk(davit.STATE) for entry in files
                 if name in os.path.join(top, entry)]
        self.assertTrue(found, "no record of the container")
        broken = found[0].replace(name, "broken-record")
        os.makedirs(os.path.dirname(broken), exist_ok=True)
        with open(broken, "w", encoding="utf-8") as f:
            f.write("{ this is not a record")
        self.addCleanup(lambda: os.path.exists(broken) and os.unlink(broken))
        davit.kill_davitd()
        listed = [row[1] for row in davit.manager("ListTasks", "(sa{sv})", "", {})]
        self.assertIn(name, listed)

    def test_kill_of_the_shim(self):
        """The payload goes with its keeper, and the exit is said to be lost."""
        name = self.start(self.rootfs(), "sleep", "1000")
        task = task_of(name)
        pid = self.pid(name)
        end = os.pidfd_open(pid)
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            parent = next(int(line.split()[1]) for line in f if line.startswith("PPid"))
        os.kill(parent, signal.SIGKILL)
        davit.wait_pidfd(end)
        status, kind, _ = davit.call(task, "Process.Wait")
        self.assertEqual((status, kind), (255, "lost"))

    def test_stop_of_the_scope(self):
        """systemctl stop, with the manager and without it; the status is recorded."""
        for alive in (True, False):
            with self.subTest(manager=alive):
                name = davit.unique()
                self.assert_ran(self.ctl("run", "-d", "--name", name, "--rootfs", self.rootfs(name), "sh", "-c",
                                         "trap 'exit 7' TERM; while :; do sleep 0.05; done"))
                self.addCleanup(self.ctl, "rm", "-f", name)
                scope = scope_of(name)
                davit.wait_trap(name)
                if not alive:
                    davit.systemctl("kill", "--signal=KILL", "--kill-who=main", "davitd.service")
                    davit.systemctl("stop", "davitd.service")
                davit.systemctl("stop", scope)
                davit.start_davitd()
                status, kind, _ = davit.call(task_of(name), "Process.Wait")
                self.assertEqual((status, kind), (7, "exited"))

    def test_launcher_may_die(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        davit.systemctl("kill", "--signal=KILL", "--kill-who=main", "davit-launcher.service")
        self.assert_ran(self.run_in(self.rootfs("second"), "echo", "works"), "works")
        self.assert_ran(self.ctl("exec", name, "echo", "alive"), "alive")

    def test_reload_and_reexec_of_systemd(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        davit.systemctl("daemon-reload")
        davit.systemctl("daemon-reexec")
        self.assert_ran(self.ctl("exec", name, "echo", "alive"), "alive")
        self.assert_ran(self.run_in(self.rootfs("second"), "echo", "works"), "works")


class Clients(SecurityTest):
    def test_a_client_that_goes_away(self):
        """S-E11: a container outlives the connection of its client."""
        client = subprocess.Popen(["davitctl", "run", "--rm", "--name", "gone", "--rootfs", self.rootfs(), "sleep",
                                   "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(self.ctl, "rm", "-f", "gone")
        davit.wait_until(lambda: any(row[1] == "gone" and row[3] == "running"
                                     for row in davit.manager("ListTasks", "(sa{sv})", "", {})), what="the container")
        client.kill()
        client.wait()
        self.assert_ran(self.ctl("exec", "gone", "echo", "alive"), "alive")

    def test_fork_bomb(self):
        if "pids" not in davit.get(davit.ROOT, "Manager.Controllers"):
            self.skipTest("no pids controller")
        name = self.start(self.rootfs(), "sh", "-c", "f() { f | f & }; f; sleep 1000", options=["--pids-limit", "64"])
        self.assert_ran(self.ctl("rm", "-f", name, timeout=20))

    def test_removal_of_a_paused_container(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        davit.call(task_of(name), "Task.Pause")
        self.assert_ran(self.ctl("rm", "-f", name, timeout=20))

    def test_a_thousand_orphans_are_reaped(self):
        name = self.start(self.rootfs(), "sh", "-c",
                          "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; touch /tmp/done; sleep 1000")
        davit.wait_until(lambda: self.ctl("exec", name, "test", "-e", "/tmp/done").status == 0, what="the orphans")
        task = task_of(name)
        davit.wait_until(lambda: len(davit.call(task, "Task.ListProcesses")) <= 2, what="the zombies' end")

    def test_statuses_of_quick_execs_are_not_lost(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        for i in range(50):
            self.assertEqual(self.ctl("exec", name, "sh", "-c", f"exit {i % 7}").status, i % 7)


if __name__ == "__main__":
    unittest.main()
