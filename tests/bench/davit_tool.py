# SPDX-License-Identifier: LGPL-2.1-or-later
"""Davit as the benchmark drives it: davitctl for what a user types, the bus for one call that is timed by itself."""

import os
import subprocess
import time

from measure import Unable, call, wait_until
from peers import IMAGE, Tool

DROP_IN = "/etc/davit/davit.conf.d/99-bench.conf"
UNIT = "davitd.service"

# How davitd is set for each kind of arrival. Kept and cold are both named containers with no scope parked, far apart: kept
# with the keep-warm window that davitd has by default, cold without it.
MODES = {
    "warm": {"WarmShims": 2, "ParkedScopes": 0, "KeepWarmUSec": 1000000},
    "pooled": {"WarmShims": 2, "ParkedScopes": 2, "KeepWarmUSec": 1000000},
    "kept": {"WarmShims": 2, "ParkedScopes": 0, "KeepWarmUSec": 1000000},
    "cold": {"WarmShims": 2, "ParkedScopes": 0, "KeepWarmUSec": 0},
}


class Davit(Tool):
    name = "davit"
    program = "davitctl"

    def __init__(self, work, rootfs, archive):
        super().__init__(work, rootfs, archive)
        self.mode = None
        self.bus = Bus()

    def setup(self):
        super().setup()
        self.set_mode("warm")
        call(["davitctl", "image", "import", "--name", IMAGE, self.archive])
        call(self.run_command())

    def teardown(self):
        if os.path.exists(DROP_IN):
            os.unlink(DROP_IN)
            subprocess.run(["systemctl", "try-restart", UNIT], check=False)

    def set_mode(self, mode):
        """Restarts davitd with the settings of a mode; one run that is not timed shows that it serves."""
        if mode == self.mode:
            return
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        with open(DROP_IN, "w", encoding="ascii") as f:
            f.write("[Manager]\n" + "".join(f"{key}={value}\n" for key, value in MODES[mode].items()))
        call(["systemctl", "restart", UNIT])
        wait_until(self._answers, UNIT)
        self.mode = mode

    def settle(self):
        """Lets the keep-warm window pass: inside it the cgroup writes of the other tools would be warm, too."""
        time.sleep(MODES[self.mode]["KeepWarmUSec"] / 1e6 + 0.1)

    @staticmethod
    def _answers():
        try:
            call(["davitctl", "ps"])
            return True
        except Unable:
            return False

    def run_command(self):
        name = ["--name", "bench-%n"] if self.mode in ("kept", "cold") else []
        return ["davitctl", "run", "--rm", *name, IMAGE, "true"]

    def start_command(self):
        return ["davitctl", "run", "--detach", "--name", "idle-%n", IMAGE, "sleep", "1000000"]

    def start_idle(self, name):
        call(["davitctl", "run", "--detach", "--name", name, IMAGE, "sleep", "1000000"])

    def exec_command(self, container):
        return ["davitctl", "exec", container, "true"]

    def remove_idle(self, name):
        call(["davitctl", "rm", "--force", name])

    def log_command(self, where, name, command):
        log = ["--log", f"file:{self.work}/log"] if where == "file" else ["--log-rate", "0"]
        return ["davitctl", "run", "--detach", *log, "--name", name, IMAGE, *command]

    def pid_of(self, name):
        return self.bus.task(name)[2]

    def list_command(self):
        return ["davitctl", "ps"]

    def remove_command(self, names):
        return ["davitctl", "rm", "--force", *names]

    def remove_all(self, names):
        for i in range(0, len(names), 50):
            call(["davitctl", "rm", "--force", *names[i:i + 50]], timeout=600)

    def keepers(self):
        """The shims that hold a task: parents of the containers' first processes. Parked and warm ones are not."""
        found = set()
        for pid in self.bus.task_pids():
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
                    found.update(int(line.split()[1]) for line in f if line.startswith("PPid:"))
            except OSError:
                pass
        return sorted(found)

    @staticmethod
    def manager_pid():
        return int(call(["systemctl", "show", "--value", "-p", "MainPID", UNIT]))

    @staticmethod
    def import_command(archive, name):
        return ["davitctl", "image", "import", "--name", name, archive]


class Bus:
    """One connection to the manager, so that a call is timed without the start of a program around it."""

    def __init__(self):
        import gi  # pylint: disable=import-outside-toplevel
        gi.require_version("Gio", "2.0")
        from gi.repository import Gio, GLib  # pylint: disable=import-outside-toplevel
        self.glib = GLib
        self.bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
        self.flags = Gio.DBusCallFlags.NONE

    def call(self, method, arguments):
        return self.bus.call_sync("org.davit.Davit1", "/org/davit/Davit1", "org.davit.Davit1.Manager", method,
                                  arguments, None, self.flags, 60000, None)

    def _on(self, path, interface, member, signature, *arguments):
        """A method of any object: (reply, descriptors)."""
        body = self.glib.Variant(signature, arguments) if signature else None
        try:
            return self.bus.call_with_unix_fd_list_sync(
                "org.davit.Davit1", path, f"org.davit.Davit1.{interface}", member, body, None, self.flags, 120000, None,
                None)
        except self.glib.Error as e:
            raise Unable(e.message) from None

    def prepare(self, key, parent):
        return self._on("/org/davit/Davit1", "Manager", "PrepareSnapshot", "(sssa{sv})", "", key, parent, {})[0].unpack()[0]

    def snapshot(self, key):
        return self._on("/org/davit/Davit1", "Manager", "GetSnapshot", "(ss)", "", key)[0].unpack()[0]

    def open_mount(self, snapshot):
        """The descriptor of a snapshot's mounted root."""
        reply, descriptors = self._on(snapshot, "Snapshot", "OpenMount", "(a{sv})", {})
        return descriptors.get(reply.unpack()[0])

    def commit(self, snapshot, name):
        """Commits, waits, and returns the committed snapshot."""
        options = {"Continue": self.glib.Variant("b", True)}
        job = self._on(snapshot, "Snapshot", "Commit", "(sa{sv})", name, options)[0].unpack()[0]
        return self._on(job, "Job", "Wait", None)[0].unpack()[0]["Snapshot"]

    def delete(self, path, interface):
        self._on(path, interface, "Delete", None)

    def list_tasks(self):
        """(number of tasks, milliseconds of the call)."""
        arguments = self.glib.Variant("(sa{sv})", ("default", {}))
        start = time.monotonic_ns()
        reply = self.call("ListTasks", arguments)
        elapsed = (time.monotonic_ns() - start) / 1e6
        return reply.get_child_value(0).n_children(), elapsed

    def task_pids(self):
        return [row[2] for row in self.call("ListTasks", self.glib.Variant("(sa{sv})", ("default", {}))).unpack()[0]]

    def task(self, name):
        filters = {"Id": self.glib.Variant("as", [name])}
        return self.call("ListTasks", self.glib.Variant("(sa{sv})", ("default", filters))).unpack()[0][0]

    def some_task(self):
        return self.call("ListTasks", self.glib.Variant("(sa{sv})", ("default", {}))).unpack()[0][0][1]

    def list_stats(self):
        """(number of tasks, milliseconds of the call)."""
        arguments = self.glib.Variant("(sa{sv})", ("default", {}))
        start = time.monotonic_ns()
        reply = self.call("ListStats", arguments)
        elapsed = (time.monotonic_ns() - start) / 1e6
        return reply.get_child_value(0).n_children(), elapsed

    def _begin(self, path, interface, member, arguments, pending):
        """Begins a call; what it is called leaves pending with the answer, an error raises in _settle()."""
        pending.append(member)

        def done(bus, result):
            pending.pop()
            bus.call_finish(result)

        self.bus.call("org.davit.Davit1", path, f"org.davit.Davit1.{interface}", member, arguments, None, self.flags,
                      120000, None, done)

    def _while_pending(self, pending, probe):
        """Milliseconds of one probe after another, a few of them apart, until nothing is pending."""
        context, times = self.glib.MainContext.default(), []
        while pending:
            before = time.monotonic_ns()
            probe()
            times.append((time.monotonic_ns() - before) / 1e6)
            time.sleep(0.002)
            while context.iteration(False):
                pass
        return times

    def get_while_stats(self, name):
        """Milliseconds of every GetTask while one ListStats is answered."""
        pending = []
        self._begin("/org/davit/Davit1", "Manager", "ListStats", self.glib.Variant("(sa{sv})", ("default", {})), pending)
        arguments = self.glib.Variant("(ss)", ("default", name))
        return self._while_pending(pending, lambda: self.call("GetTask", arguments))
