# SPDX-License-Identifier: LGPL-2.1-or-later
"""The OCI runtime configuration, asked for from inside: what the specification says is what the program sees."""

import json
import os
import re

import davit

BUSYBOX_SH = ("sh", "-c")


class OciTest(davit.TestCase):
    def setUp(self):
        self.leaks()

    def inside(self, script, patch=None, status=0, **opts):
        """Standard output of a shell script run by the default configuration with this merge patch."""
        if patch is not None:
            opts["SpecPatch"] = json.dumps(patch)
        text, end = davit.output_of([*BUSYBOX_SH, script], **opts)
        self.assertEqual(end, (status, "exited"), text)
        return text

    def refused(self, patch, contains, error=("NotSupported", "InvalidArgument")):
        """A configuration that is an error naming its field, not something that is passed over."""
        try:
            davit.run_container(["true"], SpecPatch=json.dumps(patch), AutoRemove="container")
        except davit.DavitError as caught:
            self.assertIn(caught.name, error, caught.message)
            self.assertIn(contains, caught.message)
        else:
            self.fail(f"accepted: {patch}")

    def capabilities(self, text):
        return {k: int(v, 16) for k, v in re.findall(r"^(Cap\w+):\s+(\w+)$", text, re.M)}


class Process(OciTest):
    def test_environment(self):
        text = self.inside("env", Env=["A=1", "B=two words", "EMPTY="])
        self.assertLessEqual({"A=1", "B=two words", "EMPTY="}, set(text.splitlines()))
        self.assertIn("PATH=", text)
        self.assertNotIn("NOTIFY_SOCKET", text)
        self.assertNotIn("INVOCATION_ID", text)

    def test_home_is_resolved_inside(self):
        self.assertIn("HOME=/root\n", self.inside("env"))

    def test_working_directory(self):
        self.assertEqual(self.inside("pwd", WorkingDir="/var"), "/var\n")

    def test_users(self):
        self.assertEqual(self.inside("id -u; id -g; id -G", User="user"), "1000\n1000\n1000 2000\n")
        self.assertEqual(self.inside("id -u; id -g", User="1234:5678"), "1234\n5678\n")
        self.assertEqual(self.inside("id -u; id -g", User="user:extra"), "1000\n2000\n")

    def test_unknown_user_is_said(self):
        with self.assertRaises(davit.DavitError) as caught:
            davit.run_container(["true"], User="nobody-knows", AutoRemove="container")
        self.assertIn(caught.exception.name, ("InvalidArgument", "FailedPrecondition"))
        self.assertIn("nobody-knows", caught.exception.message)

    def test_additional_groups(self):
        text = self.inside("id -G", {"process": {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}}})
        self.assertEqual(text.split(), ["6", "7", "8"])

    def test_umask(self):
        self.assertEqual(self.inside("umask", {"process": {"user": {"umask": 0o027}}}), "0027\n")

    def test_default_capabilities(self):
        caps = self.capabilities(self.inside("cat /proc/self/status"))
        self.assertEqual(caps["CapBnd"], caps["CapEff"])
        self.assertEqual(caps["CapInh"], 0)
        self.assertEqual(caps["CapAmb"], 0)
        self.assertEqual(caps["CapBnd"] & (1 << 21), 0, "CAP_SYS_ADMIN")

    def test_added_and_dropped_capabilities(self):
        caps = self.capabilities(self.inside("cat /proc/self/status", CapAdd=["CAP_SYS_TIME"], CapDrop=["CHOWN"]))
        self.assertTrue(caps["CapEff"] & (1 << 25))
        self.assertFalse(caps["CapBnd"] & (1 << 0))
        self.assertEqual(self.capabilities(self.inside("cat /proc/self/status", CapDrop=["ALL"]))["CapBnd"], 0)

    def test_five_capability_sets(self):
        names = {"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                 "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]}
        caps = self.capabilities(self.inside("cat /proc/self/status", {"process": {
            "capabilities": names, "user": {"uid": 1000, "gid": 1000}}}))
        kill, chown, fowner = 1 << 5, 1 << 0, 1 << 3
        self.assertEqual(caps["CapBnd"], kill | chown | fowner)
        self.assertEqual(caps["CapInh"], kill | chown)
        # After execve by another user than root, what is ambient is what there is.
        self.assertEqual((caps["CapAmb"], caps["CapPrm"], caps["CapEff"]), (kill, kill, kill))

    def test_rlimits(self):
        text = self.inside("ulimit -n; ulimit -c", {"process": {"rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}})
        self.assertEqual(text.split(), ["100", "0"])

    def test_duplicate_rlimits_are_refused(self):
        limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
        self.refused({"process": {"rlimits": [limit, limit]}}, "RLIMIT_NOFILE")

    def test_no_new_privileges(self):
        self.assertIn("NoNewPrivs:\t1", self.inside("cat /proc/self/status", {"process": {"noNewPrivileges": True}}))
        self.assertIn("NoNewPrivs:\t0", self.inside("cat /proc/self/status", {"process": {"noNewPrivileges": False}}))

    def test_oom_score(self):
        self.assertEqual(self.inside("cat /proc/self/oom_score_adj", {"process": {"oomScoreAdj": 300}}), "300\n")

    def test_signals_are_at_their_defaults(self):
        text, _ = davit.output_of(["cat", "/proc/self/status"])
        self.assertRegex(text, r"SigIgn:\s+0+\n")
        self.assertRegex(text, r"SigBlk:\s+0+\n")

    def test_first_process_is_one(self):
        self.assertEqual(self.inside("echo $$"), "1\n")


class Seccomp(OciTest):
    def test_default_filter_is_there(self):
        text = self.inside("cat /proc/self/status")
        self.assertIn("Seccomp:\t2\n", text)

    def test_default_filter_denies(self):
        text = self.inside("mkdir /tmp/m; mount -t tmpfs tmpfs /tmp/m; unshare -m true; echo done", CapAdd=["SYS_CHROOT"])
        self.assertRegex(text, "(?s)(not permitted|denied).*(not permitted|denied)")

    def test_a_profile_of_ones_own(self):
        text = self.inside("mkdir /tmp/x; rmdir /tmp/x; echo $?", {"linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}}})
        self.assertIn("No space left", text)

    def test_killed_by_the_filter_is_said(self):
        """S-W08: whether or not refused calls are told."""
        for report in ("yes", "no"):
            text, end = davit.output_of(["sh", "-c", "exec rmdir /tmp"], SeccompReport=report, SpecPatch=json.dumps({"linux": {
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                            "syscalls": [{"names": ["rmdir"], "action": "SCMP_ACT_KILL_PROCESS"}]}}}))
            self.assertEqual(end, (128 + 31, "seccomp"), text)

    def test_unconfined(self):
        self.assertIn("Seccomp:\t0\n", self.inside("cat /proc/self/status", {"annotations": {"org.davit.seccomp": None}}))

    def test_unknown_action_is_refused(self):
        self.refused({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_PERHAPS"}}}, "SCMP_ACT_PERHAPS")


class Namespaces(OciTest):
    def test_all_but_the_time_are_new(self):
        text = self.inside("for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done")
        ours = [os.readlink(f"/proc/self/ns/{n}") for n in ("cgroup", "ipc", "mnt", "net", "pid", "uts")]
        self.assertEqual(set(text.split()) & set(ours), set())

    def test_host_network(self):
        self.assertEqual(self.inside("readlink /proc/self/ns/net", Network="host").strip(), os.readlink("/proc/1/ns/net"))

    def test_network_none_has_loopback(self):
        self.assertEqual(self.inside("ls /sys/class/net").split(), ["lo"])

    def test_joined_by_path(self):
        id, _, pid, _ = davit.run_container(["sleep", "1000"], id=davit.unique("oci"))
        self.addCleanup(davit.remove_container, id)
        text = self.inside("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc", {"linux": {"namespaces": [
            {"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "cgroup"},
            {"type": "network", "path": f"/proc/{pid}/ns/net"}, {"type": "ipc", "path": f"/proc/{pid}/ns/ipc"}]}})
        self.assertEqual(text.split(), [os.readlink(f"/proc/{pid}/ns/net"), os.readlink(f"/proc/{pid}/ns/ipc")])

    def test_path_of_another_kind_is_refused(self):
        self.refused({"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/proc/1/ns/uts"}]}}, "network",
                     ("NotSupported", "InvalidArgument", "FailedPrecondition"))

    def test_user_namespace(self):
        text = self.inside("id -u; cat /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x", {"linux": {
            "namespaces": [{"type": t} for t in ("mount", "pid", "uts", "ipc", "network", "cgroup", "user")],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}},
            Mounts=[("tmpfs", "tmpfs", "/tmp", "mode=1777")])
        self.assertEqual(text.split(), ["0", "0", "100000", "65536", "0"])

    def test_hostname_and_domainname(self):
        self.assertEqual(self.inside("hostname", Hostname="named"), "named\n")
        self.assertEqual(self.inside("cat /proc/sys/kernel/domainname", {"domainname": "example.test"}), "example.test\n")

    def test_cgroup_namespace_shows_its_root(self):
        self.assertIn("0::/\n", self.inside("cat /proc/self/cgroup"))


class Mounts(OciTest):
    def setUp(self):
        super().setUp()
        self.dir = f"{davit.FIXTURES}/{davit.unique('mount')}"
        os.makedirs(self.dir)
        self.addCleanup(davit.shutil.rmtree, self.dir)
        with open(f"{self.dir}/file", "w") as f:
            f.write("content\n")

    def test_bind(self):
        self.assertEqual(self.inside("cat /mnt/file; echo new > /mnt/made", Mounts=[("bind", self.dir, "/mnt", "rbind,rw")]), "content\n")
        self.assertTrue(os.path.exists(f"{self.dir}/made"))

    def test_bind_of_a_file(self):
        self.assertEqual(self.inside("cat /etc/one", Mounts=[("bind", f"{self.dir}/file", "/etc/one", "bind,ro")]), "content\n")

    def test_read_only_bind(self):
        text = self.inside("touch /mnt/x; echo $?", Mounts=[("bind", self.dir, "/mnt", "rbind,ro")])
        self.assertIn("Read-only", text)
        self.assertFalse(os.path.exists(f"{self.dir}/x"))

    def test_recursive_read_only(self):
        os.mkdir(f"{self.dir}/sub")
        davit.run("mount", "-t", "tmpfs", "tmpfs", f"{self.dir}/sub")
        self.addCleanup(davit.run, "umount", f"{self.dir}/sub")
        text = self.inside("touch /mnt/sub/x; echo $?", Mounts=[("bind", self.dir, "/mnt", "rbind,rro")])
        self.assertIn("Read-only", text)

    def test_tmpfs_options(self):
        text = self.inside("grep ' /scratch ' /proc/self/mountinfo; stat -c %a /scratch",
                           Mounts=[("tmpfs", "tmpfs", "/scratch", "nosuid,nodev,noexec,size=1m,mode=700")])
        self.assertRegex(text, r"nosuid,nodev,noexec")
        self.assertIn("size=1024k", text)
        self.assertTrue(text.endswith("700\n"))

    def test_tmpcopyup(self):
        text = self.inside("cat /etc/os-release; touch /etc/new", Mounts=[("tmpfs", "tmpfs", "/etc", "tmpcopyup")])
        self.assertIn("ID=busybox", text)
        self.assertFalse(os.path.exists(davit.rootfs() + "/etc/new"))

    def test_propagation(self):
        text = self.inside("cat /proc/self/mountinfo | grep ' /mnt '", Mounts=[("bind", self.dir, "/mnt", "rbind,rslave")])
        self.assertIn("master:", text)
        text = self.inside("cat /proc/self/mountinfo | grep ' /mnt '", Mounts=[("bind", self.dir, "/mnt", "rbind,rprivate")])
        self.assertNotIn("master:", text)
        self.assertNotIn("shared:", text)

    def test_unknown_option_is_refused(self):
        self.refused({"mounts": [{"destination": "/mnt", "type": "bind", "source": self.dir, "options": ["bind", "sparkling"]}]},
                     "sparkling")

    def test_missing_source_is_said(self):
        self.refused({"mounts": [{"destination": "/mnt", "type": "bind", "source": "/no/such/place", "options": ["bind"]}]},
                     "/no/such/place", ("NotFound", "InvalidArgument", "FailedPrecondition", "Internal"))

    def test_default_mounts(self):
        text = self.inside("cat /proc/self/mountinfo")
        kinds = {line.split()[4]: line.split(" - ")[1].split()[0] for line in text.splitlines()}
        for path, kind in (("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"),
                           ("/dev/mqueue", "mqueue")):
            self.assertEqual(kinds.get(path), kind, path)

    def test_read_only_root(self):
        self.assertIn("Read-only", self.inside("touch /x; echo $?", ReadOnly=True))

    def test_masked_and_read_only_paths(self):
        self.assertEqual(self.inside("cat /proc/keys | wc -c; ls /sys/firmware | wc -l").split(), ["0", "0"])
        self.assertIn("Read-only", self.inside("echo 1 > /proc/sys/kernel/printk; echo $?"))

    def test_nothing_of_the_host_is_mounted(self):
        text = self.inside("cat /proc/self/mountinfo")
        self.assertNotIn("/var/lib/davit ", text.replace("upperdir", ""))
        for line in text.splitlines():
            self.assertNotIn("shared:", line)


class Devices(OciTest):
    def test_default_devices(self):
        text = self.inside("stat -c '%n %t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; ls -l /dev/ptmx /dev/fd")
        for line in ("/dev/null 1:3 666", "/dev/zero 1:5 666", "/dev/full 1:7 666", "/dev/random 1:8 666", "/dev/urandom 1:9 666",
                     "/dev/tty 5:0 666"):
            self.assertIn(line, text)
        self.assertIn("pts/ptmx", text)
        self.assertIn("/proc/self/fd", text)

    def test_device_of_the_configuration(self):
        text = self.inside("stat -c '%t:%T %a %u' /dev/mine; head -c 1 /dev/mine | wc -c", {"linux": {"devices": [
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 0}],
            "resources": {"devices": [{"allow": False, "access": "rwm"},
                                      {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"}]}}})
        self.assertEqual(text.split(), ["1:5", "640", "0", "1"])

    def test_others_are_denied(self):
        text = self.inside("mknod /tmp/kmsg c 1 11; cat /tmp/kmsg | head -c 1; echo end")
        self.assertRegex(text, "not permitted|denied")


class System(OciTest):
    def test_namespaced_sysctl(self):
        text = self.inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni", {"linux": {"sysctl": {
            "net.ipv4.ip_unprivileged_port_start": "81", "kernel.shmmni": "1234"}}})
        self.assertEqual(text.split(), ["81", "1234"])

    def test_sysctl_of_the_whole_machine_is_refused(self):
        self.refused({"linux": {"sysctl": {"kernel.panic": "10"}}}, "kernel.panic")

    def test_sysctl_of_the_hosts_network_is_refused(self):
        try:
            davit.run_container(["true"], Network="host", SpecPatch='{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}')
        except davit.DavitError as caught:
            self.assertIn("net.ipv4.ip_forward", caught.message)
        else:
            self.fail("accepted")

    def test_what_is_not_done_is_refused_by_name(self):
        for patch, field in (
                ({"linux": {"intelRdt": {"closID": "x"}}}, "intelRdt"),
                ({"hooks": {"prestart": [{"path": "/bin/true"}]}}, "hooks"),
                ({"solaris": {"milestone": "x"}}, "solaris"),
                ({"windows": {"layerFolders": ["x"]}}, "windows"),
                ({"linux": {"personality": {"domain": "LINUX", "flags": ["x"]}}}, "personality.flags"),
                ({"process": {"selinuxLabel": "system_u:object_r:x_t:s0"}}, "selinuxLabel"),
                ({"linux": {"mountLabel": "x"}}, "mountLabel")):
            with self.subTest(field):
                self.refused(patch, field)

    def test_malformed_configurations(self):
        for spec in ("{", "[]", '"x"', "{}", '{"ociVersion":"1.0.2"}', '{"ociVersion":1}',
                     '{"ociVersion":"1.0.2","process":{"args":[]},"root":{"path":"/"},"linux":{"namespaces":[{"type":"mount"}]}}'):
            with self.subTest(spec):
                with self.assertRaises(davit.DavitError) as caught:
                    davit.create_container(["true"], Spec=spec)
                # What lacks a mount namespace is well-formed, but not something we do.
                self.assertIn(caught.exception.name, ("InvalidArgument", "NotSupported"))

    def test_malformed_patches(self):
        """S-C14."""
        for patch in ("{", "[]", '{"process":{"args":"sh"}}', '{"process":{"user":{"uid":-1}}}', '{"process":{"cwd":"relative"}}',
                      '{"mounts":[{"destination":5,"type":"tmpfs","source":"x"}]}'):
            with self.subTest(patch):
                with self.assertRaises(davit.DavitError) as caught:
                    davit.run_container(["true"], SpecPatch=patch, AutoRemove="container")
                self.assertEqual(caught.exception.name, "InvalidArgument")

    def test_whole_configuration(self):
        """S-C14, S-C18."""
        id, container = davit.create_container(["echo", "given"], id=davit.unique("oci"))
        spec = json.loads(davit.get(container, "Container.Spec"))
        davit.remove_container(id)
        self.assertEqual(spec["process"]["args"], ["echo", "given"])
        spec["process"]["args"] = ["echo", "whole"]
        spec["root"]["path"] = davit.rootfs()
        for command, args in (([], ["echo", "whole"]), (["id"], ["id"]), (["whole"], ["whole"]), (["echo", "whole"], ["echo", "whole"])):
            with self.subTest(command=command):
                id, container = davit.create_container(command, id=davit.unique("oci"), Spec=json.dumps(spec))
                self.addCleanup(davit.remove_container, id)
                self.assertEqual(json.loads(davit.get(container, "Container.Spec"))["process"]["args"], args)
        self.assertEqual(davit.output_of([], Spec=json.dumps(spec)), ("whole\n", (0, "exited")))

    def test_patch_comes_last(self):
        """S-C05: a caller's options go before a configuration, a patch before both, and null takes away."""
        id, container = davit.create_container(["sh", "-c", "echo $A ${B-none}; hostname; umask"], id=davit.unique("oci"))
        spec = json.loads(davit.get(container, "Container.Spec"))
        davit.remove_container(id)
        spec["root"]["path"] = davit.rootfs()
        spec["process"]["env"] += ["A=spec", "B=spec"]
        spec["process"]["user"]["umask"] = 0o27
        spec["hostname"] = "spec"
        opts = {"Spec": json.dumps(spec), "Env": ["A=caller"], "Hostname": "caller"}
        self.assertEqual(davit.output_of([], **opts), ("caller spec\ncaller\n0027\n", (0, "exited")))
        patch = {"hostname": "patch", "process": {"env": ["PATH=/bin", "A=patch"], "user": {"umask": None}}}
        self.assertEqual(davit.output_of([], **opts, SpecPatch=json.dumps(patch)), ("patch none\npatch\n0022\n", (0, "exited")))

    def test_whole_configuration_by_descriptor(self):
        id, container = davit.create_container(["echo", "by descriptor"], id=davit.unique("oci"))
        spec = json.loads(davit.get(container, "Container.Spec"))
        spec["root"]["path"] = davit.rootfs()
        davit.remove_container(id)
        fd = os.memfd_create("spec")
        os.write(fd, json.dumps(spec).encode())
        os.lseek(fd, 0, os.SEEK_SET)
        self.addCleanup(os.close, fd)
        made, _, _, end = davit.run_container([], fds=[fd], Spec=davit.GLib.Variant("h", 0))
        self.addCleanup(davit.remove_container, made)
        self.assertEqual(davit.read_exit(end), (0, "exited"))
