# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who a container's processes are and what the kernel lets them do: users, groups, capabilities, system calls."""

import os
import shutil
import time
import unittest

from security import FAILED, SecurityTest

# The capabilities of the default profile, as other tools grant them.
DEFAULT_CAPS = 0x00000000a80425fb


class Users(SecurityTest):
    PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n0x0:x:0:0::/:/bin/sh\n" \
             "2147483648:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n"
    GROUP = "root:x:0:\nwww:x:34:\nmail:x:8:web,root\nextra:x:2000:web\n"

    def setUp(self):
        super().setUp()
        self.root = self.rootfs()
        for name, text in (("passwd", self.PASSWD), ("group", self.GROUP)):
            with open(os.path.join(self.root, "etc", name), "w", encoding="utf-8") as f:
                f.write(text)

    def test_forms_that_are_right(self):
        for user, ids in (("0", "0 0"), ("web", "33 34"), ("33", "33 34"), ("1000", "1000 0"),
                          ("1000:1000", "1000 1000"), ("web:8", "33 8"), ("web:www", "33 34"),
                          ("4294967294", "4294967294 0"),
                          ("4294967294:4294967294", "4294967294 4294967294")):
            with self.subTest(user=user):
                result = self.run_in(self.root, "probe", "ids", options=["-u", user])
                self.assertEqual(result.status, 0, result)
                self.assertEqual(" ".join(result.out.split()[:2]), ids, result)

    def test_forms_that_are_wrong(self):
        """Garbage is an error: it never means root, and a number is never looked up as a name."""
        for user in ("1:", ":1", ":", "0x0", "1000abc", "4294967296", "4294967295", "99999999999999999999", "-1", " 5",
                     "5 ", "+5", "1:2:3", "1:-1", "1:4294967296", "nobody-here", "web:nobody-here", "1\n0", "web\n",
                     "0:0:", "01x"):
            with self.subTest(user=user):
                result = self.run_in(self.root, "probe", "ids", options=["-u", user])
                self.assertEqual(result.status, FAILED, result)
                self.assertEqual(result.out, "", result)

    def test_exec_forms_that_are_wrong(self):
        name = self.start(self.root, "sleep", "1000")
        for user in ("1:", ":1", "0x0", "1000abc", "4294967296", "-1", " 5", "1:2:3", "nobody-here"):
            with self.subTest(user=user):
                result = self.ctl("exec", "-u", user, name, "probe", "ids")
                self.assertNotEqual(result.status, 0, result)
                self.assertEqual(result.out, "", result)
        self.assert_ran(self.ctl("exec", "-u", "1000:1000", name, "probe", "ids"), "1000 1000 1000")

    def test_groups(self):
        """The primary group is in the list, the image's groups of the user are, the host's are not."""
        for user, groups in (("web", {34, 8, 2000}), ("33", {34, 8, 2000}), ("0", {0, 8}), ("1000", {0}),
                             ("1000:1000", {1000})):
            with self.subTest(user=user):
                result = self.run_in(self.root, "probe", "ids", options=["-u", user])
                self.assertEqual(result.status, 0, result)
                self.assertEqual({int(x) for x in result.out.split()[2:]}, groups, result)

    def test_primary_group_is_in_the_list(self):
        """Mode 0070 would otherwise be a way around a group's denial."""
        path = os.path.join(self.root, "tmp/denied")
        with open(path, "w", encoding="utf-8") as f:
            f.write("secret\n")
        os.chown(path, 0, 34)
        os.chmod(path, 0o604)
        self.assertNotEqual(self.run_in(self.root, "cat", "/tmp/denied", options=["-u", "web"]).status, 0)


class Databases(SecurityTest):
    """/etc/passwd of an image: in-root, a regular file, of bounded size, read in bounded time."""

    def run_with(self, make, name="passwd"):
        root = self.rootfs(f"db-{len(os.listdir(self.work))}")
        path = os.path.join(root, "etc", name)
        os.unlink(path)
        make(path)
        start = time.monotonic()
        result = self.run_in(root, "probe", "ids", options=["-u", "web"], timeout=20)
        self.assertLess(time.monotonic() - start, 10)
        return result

    def test_fifo(self):
        for name in ("passwd", "group"):
            result = self.run_with(os.mkfifo, name)
            self.assertEqual(result.status, FAILED, result)

    def test_link_to_dev_zero(self):
        self.assertEqual(self.run_with(lambda path: os.symlink("/dev/zero", path)).status, FAILED)

    def test_link_to_a_file_of_the_kernels(self):
        """/proc/kmsg looks regular, but reading it waits, and takes the host's messages away."""
        for target in ("/proc/kmsg", "/proc/self/environ", "/sys/kernel/uevent_seqnum"):
            for name in ("passwd", "group"):
                with self.subTest(target=target, name=name):
                    result = self.run_with(lambda path, to=target: os.symlink(to, path), name)
                    self.assertEqual(result.status, FAILED, result)
                    if name == "passwd":
                        self.assertIn("not a regular file", result.err)

    def test_link_to_the_hosts(self):
        """The host's users are not the container's: "daemon" is in this machine's file only."""
        root = self.rootfs()
        os.unlink(os.path.join(root, "etc/passwd"))
        os.symlink("../../../../../../../../../../etc/passwd", os.path.join(root, "etc/passwd"))
        result = self.run_in(root, "probe", "ids", options=["-u", "daemon"])
        self.assertEqual(result.status, FAILED, result)

    def test_huge(self):
        def make(path):
            with open(path, "wb") as f:
                f.truncate(1 << 30)
        self.assertEqual(self.run_with(make).status, FAILED)

    def test_one_endless_line(self):
        def make(path):
            with open(path, "wb") as f:
                f.write(b"a" * 500000 + b"\nweb:x:33:34::/:/bin/sh\n")
        result = self.run_with(make)
        self.assertIn(result.status, (0, FAILED), result)
        if result.status == 0:
            self.assertEqual(result.out.split()[:2], ["33", "34"])

    def test_directory(self):
        self.assertEqual(self.run_with(os.mkdir).status, FAILED)

    def test_tripwires_of_the_image_are_not_run(self):
        """Nothing of the image is loaded to find a user."""
        root = self.rootfs()
        os.makedirs(os.path.join(root, "lib/x86_64-linux-gnu"))
        for name in ("lib/x86_64-linux-gnu/libnss_files.so.2", "lib/x86_64-linux-gnu/libc.so.6", "etc/nsswitch.conf"):
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write("passwd: tripwire\n")
        self.assert_ran(self.run_in(root, "probe", "ids", options=["-u", "root"]))


class Capabilities(SecurityTest):
    def caps(self, result):
        self.assertEqual(result.status, 0, result)
        lines = [line.split() for line in result.out.splitlines() if line.startswith("Cap")]
        return {line[0].rstrip(":"): int(line[1], 16) for line in lines}

    STATUS = ("grep", "-e", "^Cap", "-e", "^NoNewPrivs", "/proc/self/status")

    def test_matrix(self):
        """Inheritable and ambient are always empty; a user that is not root has nothing."""
        root = self.rootfs()
        name = self.start(root, "sleep", "1000")
        for user in ("0", "1000", "1000:0"):
            for verb in ("run", "exec"):
                with self.subTest(user=user, verb=verb):
                    caps = self.caps(self.run_in(root, *self.STATUS, options=["-u", user]) if verb == "run"
                                     else self.ctl("exec", "-u", user, name, *self.STATUS))
                    held = DEFAULT_CAPS if user == "0" else 0
                    self.assertEqual({k: f"{v:x}" for k, v in caps.items()},
                                     {k: f"{v:x}" for k, v in (("CapInh", 0), ("CapPrm", held), ("CapEff", held),
                                                               ("CapBnd", DEFAULT_CAPS), ("CapAmb", 0))})

    def test_dropping_all(self):
        caps = self.caps(self.run_in(self.rootfs(), *self.STATUS, options=["--cap-drop", "ALL"]))
        self.assertEqual(set(caps.values()), {0})

    def test_adding_one_adds_only_that(self):
        caps = self.caps(self.run_in(self.rootfs(), *self.STATUS, options=["--cap-add", "CAP_SYS_NICE"]))
        self.assertEqual(caps["CapEff"], DEFAULT_CAPS | 1 << 23)
        self.assertEqual(caps["CapInh"], 0)

    def test_unknown_capability(self):
        self.assert_refused(self.run_in(self.rootfs(), "true", options=["--cap-add", "CAP_NO_SUCH"]), "CAP_NO_SUCH")

    def test_exec_does_not_widen(self):
        """A container that has dropped all is not entered with more."""
        name = self.start(self.rootfs(), "sleep", "1000", options=["--cap-drop", "ALL"])
        self.assertEqual(set(self.caps(self.ctl("exec", name, *self.STATUS)).values()), {0})

    def test_file_capability_gains_nothing_for_a_user(self):
        """An inheritable file capability meets an empty inheritable set."""
        root = self.rootfs()
        path = os.path.join(root, "capable/grep")
        os.mkdir(os.path.dirname(path))
        shutil.copy2(os.path.join(root, "bin/busybox"), path)
        # VFS_CAP_REVISION_2, cap_net_raw in the inheritable set, effective
        os.setxattr(path, "security.capability", bytes.fromhex("01000002" "00000000" "00200000" "00000000" "00000000"))
        caps = self.caps(self.run_in(root, "/capable/grep", "^Cap", "/proc/self/status",
                                     options=["-u", "1000"]))
        self.assertEqual(caps["CapEff"], 0)


class SystemCalls(SecurityTest):
    def test_default_profile(self):
        """Root in a container, without any added capability."""
        tried = self.tries(self.rootfs(), "clone3", "clone-user", "unshare-user", "unshare-mount", "unshare-cgroup",
                           "mount", "mount-cgroup", "fsopen", "keyctl", "bpf", "open-by-handle", "mknod-disk", "reboot",
                           "settime", "userfaultfd", "perf", "io-uring")
        self.assertEqual(tried.pop("clone3"), "ENOSYS")
        self.assertEqual({name for name, what in tried.items() if what == "ok"} - {"mknod-disk"}, set(), tried)
        for name in ("clone-user", "unshare-user", "unshare-mount", "mount", "fsopen", "keyctl", "bpf",
                     "open-by-handle", "reboot"):
            self.assertEqual(tried[name], "EPERM", tried)

    def test_user_profile(self):
        """A user that is not root cannot make itself a user namespace to be root in."""
        tried = self.tries(self.rootfs(), "clone3", "clone-user", "unshare-user", "mount", "fsopen", "keyctl", "bpf",
                           "userfaultfd", "io-uring", options=["-u", "1000"])
        self.assertEqual(tried.pop("clone3"), "ENOSYS")
        self.assertEqual({what for what in tried.values()}, {"EPERM"}, tried)

    def test_exec_has_the_filter_too(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        result = self.ctl("exec", name, "probe", "try", "clone3", "unshare-user", "keyctl")
        self.assert_ran(result, "clone3 ENOSYS\nunshare-user EPERM\nkeyctl EPERM")

    def test_filter_follows_the_capabilities(self):
        """What a capability allows is allowed with it: the profile is one with conditions."""
        tried = self.tries(self.rootfs(), "unshare-mount", "fsopen", "keyctl", options=["--cap-add", "CAP_SYS_ADMIN"])
        self.assertEqual(tried, {"unshare-mount": "ok", "fsopen": "ok", "keyctl": "EPERM"})

    def test_release_agent_is_out_of_reach(self):
        result = self.run_in(self.rootfs(), "sh", "-c", "find / -xdev -name release_agent; "
                             "for f in $(find /sys/fs/cgroup -name release_agent); do "
                             "(: >$f) 2>/dev/null && echo $f; done; true")
        self.assert_ran(result, "")

    def test_processes_cannot_be_traced_in(self):
        """The shim is not a member of the container's processes: nothing of the host can be seen or signalled."""
        result = self.run_in(self.rootfs(), "sh", "-c", "ls -d /proc/[0-9]*; readlink /proc/1/exe")
        self.assert_ran(result)
        self.assertNotIn("davit", result.out)
        self.assertLessEqual(len([line for line in result.out.splitlines() if line.startswith("/proc/")]), 2, result)


class Sysctls(SecurityTest):
    def test_namespaced_ones_are_set(self):
        root = self.rootfs()
        patch = {"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1",
                                      "kernel.msgmax": "16384"}}}
        self.assert_ran(self.run_in(root, "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced",
                                    "/proc/sys/kernel/msgmax", patch=patch), "1\n1\n16384")

    def test_others_are_refused(self):
        root = self.rootfs()
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            before = f.read()
        for key, value in (("kernel.core_pattern", "|/x"), ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
                           ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=x"), ("vm.overcommit_memory", "1"),
                           ("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/x"), ("net/../kernel/core_pattern", "x"),
                           ("net...kernel.core_pattern", "x"), ("net.ipv4.ip_forward ", "1"),
                           ("../kernel.core_pattern", "x"),
                           ("", "1"), ("net", "1"), ("kernel.yama.ptrace_scope", "0"), ("fs.suid_dumpable", "2"),
                           ("net.core.no_such_thing", "1")):
            with self.subTest(key=key, value=value):
                result = self.run_in(root, "true", patch={"linux": {"sysctl": {key: value}}})
                self.assertEqual(result.status, FAILED, result)
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            self.assertEqual(f.read(), before)

    def test_networks_sysctl_needs_its_own_network(self):
        """With the host's network it would be the host that is changed."""
        with open("/proc/sys/net/ipv4/ip_default_ttl", encoding="utf-8") as f:
            before = f.read()
        result = self.run_in(self.rootfs(), "true", options=["--network", "host"],
                             patch={"linux": {"sysctl": {"net.ipv4.ip_default_ttl": "77"}}})
        self.assertEqual(result.status, FAILED, result)
        with open("/proc/sys/net/ipv4/ip_default_ttl", encoding="utf-8") as f:
            self.assertEqual(f.read(), before)


if __name__ == "__main__":
    unittest.main()
