# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hardening of what is installed: flags of the binaries, sandboxes of the units, modes of directories."""

import glob
import os
import re
import socket
import stat
import unittest

import davit

BINARIES = ["/usr/bin/davitctl", "/usr/bin/davit-oci", *sorted(glob.glob("/usr/libexec/davit/*"))]
PROGRAMS = {"davitd", "davit-registry", "davit-shim", "davit-store"}


def readelf(*argv):
    return davit.run("readelf", "-W", *argv).stdout


def for_each_binary(check):
    """Turns check(self, path) into a test of every installed binary."""

    def test(self):
        for path in BINARIES:
            with self.subTest(path):
                check(self, path)

    test.__name__ = check.__name__
    return test


class Binaries(unittest.TestCase):
    def test_all_are_there(self):
        self.assertEqual(PROGRAMS - {os.path.basename(p) for p in BINARIES}, set())
        self.assertTrue(os.access("/usr/bin/davitctl", os.X_OK))

    @for_each_binary
    def test_position_independent(self, path):
        self.assertRegex(readelf("-h", path), r"Type:\s+DYN")
        self.assertRegex(readelf("-d", path), r"FLAGS_1.*\bPIE\b")

    @for_each_binary
    def test_relro_and_bind_now(self, path):
        self.assertIn("GNU_RELRO", readelf("-l", path))
        self.assertRegex(readelf("-d", path), r"\bNOW\b")

    @for_each_binary
    def test_stack_is_not_executable(self, path):
        self.assertRegex(readelf("-l", path), r"GNU_STACK\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+RW\s")

    @for_each_binary
    def test_code_is_separate(self, path):
        flags = re.findall(r"^\s+LOAD(?:\s+0x\w+){5}\s+([RWE ]+?)\s+0x", readelf("-l", path), re.M)
        self.assertIn("R E", flags)
        self.assertIn("R", flags, "headers and constants share a segment with code")
        self.assertNotIn("RWE", flags)

    @for_each_binary
    def test_stack_protector(self, path):
        self.assertIn("__stack_chk_fail", readelf("--syms", path))

    @for_each_binary
    def test_fortified(self, path):
        # Of the C library, or in a program that has it inside: with calls of it.
        self.assertRegex(readelf("--syms", path), r"__\w+_chk\b")

    def test_command_line_runtime_needs_nothing(self):
        """It is linked statically where static libraries are, as here; then nobody can lend it other ones."""
        path = "/usr/bin/davit-oci"
        self.assertNotIn("(NEEDED)", readelf("-d", path))
        self.assertNotIn("INTERP", readelf("-l", path))

    @for_each_binary
    def test_control_flow_protection(self, path):
        # The note needs start files built for it, which Debian's are not; the landing marks in our code are ours.
        code = davit.run("objdump", "-d", "-j", ".text", "--no-show-raw-insn", path).stdout
        self.assertGreater(code.count("endbr64"), 10)

    @for_each_binary
    def test_no_privileged_bits(self, path):
        info = os.stat(path)
        self.assertEqual(stat.S_IMODE(info.st_mode), 0o755)
        self.assertEqual((info.st_uid, info.st_gid), (0, 0))
        self.assertNotIn("security.capability", os.listxattr(path))

    @for_each_binary
    def test_no_run_path(self, path):
        self.assertNotRegex(readelf("-d", path), r"\((RPATH|RUNPATH)\)")

    def test_shim_is_small(self):
        path = "/usr/libexec/davit/davit-shim"
        loaded = re.findall(r"^\s+LOAD\s+0x\w+\s+0x\w+\s+0x\w+\s+0x(\w+)", readelf("-l", path), re.M)
        self.assertLess(sum(int(n, 16) for n in loaded), 220 * 1024)

    def test_shim_needs_libc_alone(self):
        """S-H02."""
        needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", readelf("-d", "/usr/libexec/davit/davit-shim"))
        self.assertLessEqual(set(needed), {"libc.so.6"})

    @for_each_binary
    def test_only_the_store_links_ostree(self, path):
        if not path.endswith("/davit-store"):
            self.assertNotRegex(readelf("-d", path), r"NEEDED.*(ostree|archive)")

    @for_each_binary
    def test_only_the_registry_worker_links_a_network_library(self, path):
        if not path.endswith("/davit-registry"):
            self.assertNotRegex(readelf("-d", path), r"NEEDED.*(curl|libssl)")


class Units(davit.TestCase):
    def exposure(self, unit):
        out = davit.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
        return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", out).group(1))

    def test_manager_is_confined(self):
        self.assertLessEqual(self.exposure("davitd.service"), 3.0)

    def test_workers_are_confined(self):
        # systemd-analyze does not load instances of a template that do not run, so the file itself is asked about.
        for unit, most in (("davit-store@1.service", 3.0), ("davit-store-snapshot@1.service", 3.0),
                           ("davit-registry@1.service", 2.0)):
            with self.subTest(unit):
                out = davit.run("systemd-analyze", "security", "--no-pager", "--offline=yes", unit, check=False).stdout
                self.assertLessEqual(float(re.search(r"exposure level for \S+: ([\d.]+)", out).group(1)), most)

    @staticmethod
    def registry_worker():
        """The process of the only worker, once it is what it is to be."""
        units = [line.split()[0] for line in
                 davit.systemctl("list-units", "--plain", "--no-legend", "davit-registry@*.service").stdout.splitlines()]
        pid = davit.main_pid(units[0]) if len(units) == 1 else 0
        try:
            return pid if os.readlink(f"/proc/{pid}/exe").endswith("/davit-registry") else 0
        except OSError:
            return 0

    def test_registry_worker_has_nothing(self):
        """While it waits for a request: no user of ours, no right, and not even sight of what the others keep."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(f"{davit.RUNTIME}/registry")
            pid = davit.wait_until(self.registry_worker, what="the worker")
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            self.assertNotIn("0", status["Uid"].split() + status["Gid"].split())
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[name], 16), 0, name)
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
            self.assertEqual(os.listdir(f"/proc/{pid}/root{davit.STATE}"), [])
            with open(f"/proc/{pid}/limits", encoding="ascii") as f:
                self.assertRegex(f.read(), r"Max core file size +0 +0")
        davit.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="its end")

    def test_launcher_restricts_nothing(self):
        """What the launcher lacks, every container would lack."""
        shown = davit.unit_show("davit-launcher.service", "NoNewPrivileges", "CapabilityBoundingSet", "SystemCallFilter",
                                "RestrictNamespaces", "RestrictSUIDSGID", "PrivateDevices", "ProtectSystem", "ProtectHome",
                                "DevicePolicy", "IgnoreSIGPIPE", "KillMode", "PrivateMounts", "TasksMax", "ProtectKernelTunables")
        init = davit.unit_show("init.scope", "TasksMax")
        self.assertIn(shown["SystemCallFilter"], ("", "~"))
        self.assertIn("cap_sys_admin", shown["CapabilityBoundingSet"])
        for name in ("NoNewPrivileges", "RestrictSUIDSGID", "PrivateDevices", "ProtectSystem", "ProtectHome",
                     "IgnoreSIGPIPE", "ProtectKernelTunables"):
            self.assertEqual(shown[name], "no", name)
        self.assertEqual(shown["DevicePolicy"], "auto")
        self.assertEqual(shown["KillMode"], "process")
        self.assertEqual(shown["PrivateMounts"], "yes")
        self.assertEqual(shown["TasksMax"], "infinity", init)

    def test_units_are_well_formed(self):
        for unit in ("davitd.service", "davit-launcher.service", "davit-launcher.socket", "davit-store.socket",
                     "davit-store@1.service", "davit-store-snapshot.socket", "davit-store-snapshot@1.service",
                     "davit-registry.socket", "davit-registry@1.service"):
            with self.subTest(unit):
                done = davit.run("systemd-analyze", "verify", "--man=no", unit, check=False)
                ours = [line for line in done.stderr.splitlines() if "davit" in line]
                self.assertEqual((ours, done.returncode), ([], 0))

    def test_directories_are_closed(self):
        for path in (davit.STATE, davit.RUNTIME):
            info = os.stat(path)
            self.assertEqual((stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid), (0o700, 0, 0), path)

    def test_wrong_modes_are_put_right(self):
        os.chmod(davit.STATE, 0o755)
        os.chmod(davit.RUNTIME, 0o755)
        davit.restart_davitd()
        self.test_directories_are_closed()

    def test_sockets_are_closed(self):
        for name in ("launcher", "registry", "store"):
            info = os.stat(f"{davit.RUNTIME}/{name}")
            self.assertTrue(stat.S_ISSOCK(info.st_mode))
            self.assertEqual((stat.S_IMODE(info.st_mode), info.st_uid), (0o600, 0))

    def test_no_abstract_sockets(self):
        with open("/proc/net/unix") as f:
            self.assertEqual([line for line in f if "@" in line and "davit" in line], [])

    def test_unprivileged_user_sees_nothing(self):
        for path in (davit.STATE, davit.RUNTIME, f"{davit.RUNTIME}/launcher", f"{davit.STATE}/repo"):
            done = davit.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", path, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Permission denied", done.stderr)

    def test_manager_is_thin(self):
        pid = davit.main_pid()
        with open(f"/proc/{pid}/maps") as f:
            maps = f.read()
        for library in ("ostree", "libarchive", "libgpgme", "libcurl"):
            self.assertNotIn(library, maps)
        with open(f"/proc/{pid}/status") as f:
            status = dict(re.findall(r"^(\w+):\t(.*)$", f.read(), re.M))
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")
        # chown, dac_override, fowner
        self.assertEqual(int(status["CapBnd"], 16) & ~0b1011, 0)
