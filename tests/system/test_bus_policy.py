# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bus policy: only root owns the name and calls it; every method and property is tried as somebody else."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import davit

CONTRACT = "/usr/share/dbus-1/interfaces/org.davit.Davit1.xml"
POLICY = "/usr/share/dbus-1/system.d/org.davit.Davit1.conf"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"

# Runs as another user: calls each line's "path interface member" and prints the name of the error.
CALLER = r"""
import sys, gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
try:
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
except GLib.Error:
    # The bus does not even speak to users it cannot look up.
    for line in sys.stdin:
        print("org.freedesktop.DBus.Error.AccessDenied")
    sys.exit(0)
for line in sys.stdin:
    path, interface, member = line.split()
    try:
        bus.call_sync("org.davit.Davit1", path, interface, member, None, None, Gio.DBusCallFlags.NO_AUTO_START, 5000, None)
        print("answered", flush=True)
    except GLib.Error as error:
        print(Gio.DBusError.get_remote_error(error) or "none", flush=True)
"""


# Prints what it hears of the manager's objects, whoever sends it.
LISTENER = r"""
import gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
def heard(bus, sender, path, interface, member, body):
    if path.startswith("/org/davit"):
        print(path, member, body, flush=True)
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
bus.signal_subscribe(None, None, None, None, None, Gio.DBusSignalFlags.NONE, heard)
bus.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId", None, None, Gio.DBusCallFlags.NONE, -1, None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


def as_user(uid, calls):
    """The error names of calls made by this uid."""
    argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c", CALLER]
    done = subprocess.run(argv, input="".join(" ".join(c) + "\n" for c in calls), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=50, cwd="/")
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.split()


def contract_members():
    for interface in ElementTree.parse(CONTRACT).getroot().iter("interface"):
        for method in interface.iter("method"):
            yield davit.ROOT, interface.get("name"), method.get("name")


class Policy(davit.TestCase):
    def test_every_method_is_denied_to_others(self):
        calls = [*contract_members(),
                 (davit.ROOT, "org.freedesktop.DBus.Properties", "GetAll"),
                 (davit.ROOT, "org.freedesktop.DBus.Introspectable", "Introspect"),
                 (davit.ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
                 (davit.ROOT, "org.freedesktop.DBus.Peer", "Ping")]
        self.assertGreater(len(calls), 30)
        for uid in (65534, 1000, 4000000000):
            with self.subTest(uid=uid):
                answers = as_user(uid, calls)
                wrong = [(c, a) for c, a in zip(calls, answers, strict=True) if a != DENIED]
                self.assertEqual(wrong, [])

    def test_root_is_heard(self):
        self.assertEqual(as_user(0, [(davit.ROOT, "org.freedesktop.DBus.Peer", "Ping")]), ["answered"])

    def test_name_is_refused_to_others(self):
        done = davit.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "call",
                         "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                         davit.NAME, "0", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "not allowed to own|Access denied")

    def test_activation_is_refused_to_others(self):
        """A user cannot even start the manager."""
        davit.systemctl("stop", "davitd.service")
        try:
            done = davit.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "call", davit.NAME,
                             davit.ROOT, "org.freedesktop.DBus.Peer", "Ping", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(davit.unit_show("davitd.service", "ActiveState")["ActiveState"], "inactive")
        finally:
            davit.start_davitd()

    def test_activation_by_root(self):
        davit.systemctl("stop", "davitd.service")
        self.assertIsNone(davit.name_owner())
        self.assertIsInstance(davit.get(davit.ROOT, "Manager.Version"), str)
        self.assertEqual(davit.unit_show("davitd.service", "ActiveState")["ActiveState"], "active")

    def test_signals_reach_root_alone(self):
        """They carry what a container is labelled with; also those of a manager that begins while others listen."""
        heard = {}
        for uid in (0, 65534):
            heard[uid] = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                                           sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True, cwd="/")
            self.assertEqual(heard[uid].stdout.readline(), "ready\n")
        id, task, *_ = davit.run_container(["sleep", "1000"], id=davit.unique("heard"), Labels={"who": "of-the-container"})
        self.addCleanup(davit.remove_container, id)
        davit.kill_davitd()
        davit.start_davitd()
        davit.call(task, "Process.Kill", "(s)", "KILL")
        davit.call(task, "Process.Wait")
        for process in heard.values():
            process.terminate()
        words = {uid: process.communicate(timeout=10)[0] for uid, process in heard.items()}
        self.assertIn("of-the-container", words[0])
        self.assertEqual(words[65534], "")

    def test_every_rule_names_a_destination(self):
        rules = [rule for policy in ElementTree.parse(POLICY).getroot() for rule in policy]
        self.assertTrue(rules)
        for rule in rules:
            self.assertIn(davit.NAME, (rule.get("own"), rule.get("send_destination"), rule.get("receive_sender")),
                          ElementTree.tostring(rule))

    def test_forged_signals_change_nothing(self):
        """Whatever a stranger broadcasts in systemd's name, the manager listens to systemd alone."""
        id, task, _, end = davit.run_container(["sleep", "1000"], id=davit.unique("forged"))
        self.addCleanup(davit.remove_container, id)
        scope = davit.get(task, "Task.Scope")
        forged = r"""
import gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
for i in range(200):
    for member, body in (("JobRemoved", GLib.Variant("(uoss)", (i, "/org/freedesktop/systemd1/job/%d" % i, "SCOPE", "failed"))),
                         ("UnitRemoved", GLib.Variant("(so)", ("SCOPE", "/org/freedesktop/systemd1/unit/x")))):
        bus.emit_signal(None, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", member, body)
bus.flush_sync(None)
""".replace("SCOPE", scope)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", forged],
                              stderr=subprocess.PIPE, text=True, timeout=30, cwd="/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_interface_file_is_the_contract(self):
        with open(CONTRACT) as f:
            self.assertTrue(re.search(r'interface name="org\.davit\.Davit1\.Manager"', f.read()))
        self.assertEqual(os.stat(CONTRACT).st_mode & 0o777, 0o644)
