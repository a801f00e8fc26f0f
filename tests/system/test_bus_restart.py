# SPDX-License-Identifier: LGPL-2.1-or-later
"""The message bus dies: the manager goes with its connection and comes back with its name, and no container notices.

A topic of its own, because everything in a process that has used the old bus has to forget it."""

import functools
import os

import davit
from test_recovery import kill_and_wait

davit.bus = functools.cache(davit.connect)  # not GLib's shared one, which ends the process with the bus


class Bus(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.leaks()

    def owner(self):
        try:
            return davit.name_owner()
        except davit.GLib.Error:
            davit.bus.cache_clear()
            return None

    def test_killed_bus(self):
        """S-R01, S-R07."""
        id, task, pid, _ = davit.run_container(["sleep", "1000"], id=davit.unique("bus"))
        self.addCleanup(davit.remove_container, id)
        other, container = davit.create_container(["sh", "-c", "exit 5"], id=davit.unique("bus"))
        self.addCleanup(davit.remove_container, other)
        created = davit.call(container, "Container.CreateTask", "(a{sv})", {})[0]
        manager = os.pidfd_open(davit.main_pid())
        kill_and_wait(davit.main_pid("dbus.service"))
        davit.wait_pidfd(manager)
        davit.bus.cache_clear()
        davit.wait_until(self.owner, what="the manager's name on the new bus")
        os.kill(pid, 0)
        self.assertEqual((davit.get(task, "Process.Status"), davit.get(task, "Process.Pid")), ("running", pid))
        self.assertEqual(davit.get(created, "Process.Status"), "created")
        davit.call(created, "Process.Start")
        self.assertEqual(davit.call(created, "Process.Wait")[:2], (5, "exited"))
        self.assertEqual(davit.output_of(["echo", "again"]), ("again\n", (0, "exited")))
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (137, "signalled"))
