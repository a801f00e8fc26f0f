# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deletions that the disk refuses: whoever deletes is told, and what davitd shows is what the next davitd would find."""

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time

import davit
import faults

POWER = "after a loss of power"


def sync_thread():
    """The thread of davitd that removes; it is there once something has been removed."""
    pid = davit.main_pid()
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8") as f:
            if f.read() == "sync\n":
                return int(task)
    raise AssertionError("davitd has no thread for removals")


class Removal(davit.TestCase):
    def setUp(self):
        self.image = davit.busybox_image()
        self.name = davit.unique("removal")
        self.leaks()
        self.create()  # whose removal brings the thread
        self.delete()

    def create(self, command=("true",)):
        self.addCleanup(davit.remove_container, self.name)
        davit.create_container(command, id=self.name, image=self.image)

    def container(self):
        return davit.manager("GetContainer", "(ss)", "", self.name)

    def task(self):
        return davit.manager("GetTask", "(ss)", "", self.name)

    def snapshot(self):
        return davit.manager("GetSnapshot", "(ss)", "", self.name)

    def delete(self):
        davit.call(self.container(), "Container.Delete", "(a{sv})", {})

    def end_of_run(self):
        return davit.read_exit(davit.call(self.container(), "Container.Start", "(a{sv})", {})[2]).status

    def refused(self, call, function, *args, contains):
        """`function` is told what became of its first call of this kind in the thread."""
        options = ["--call", str(faults.call_numbers()[call]), "--nth", "1", "--error", str(errno.EIO)]
        with faults.Attached(sync_thread(), *options) as attached:
            self.assertError("Internal", function, *args, contains=contains)
            self.assertTrue(attached.ended(5) and attached.hit())
        attached.remove()

    def test_container_stays(self):
        """The record of a container that cannot be unlinked: it is there with all it has, now and after a restart."""
        self.create()
        self.refused("unlinkat", self.delete, contains=f'"{self.name}"')
        self.assertEqual(self.end_of_run(), 0)
        davit.call(self.task(), "Process.Wait", "()")
        davit.call(self.task(), "Process.Delete", "(a{sv})", {})
        davit.restart_davitd()
        self.assertEqual(self.end_of_run(), 0)
        self.delete()
        self.assertError("NotFound", self.container)

    def test_container_gone(self):
        """The directory cannot be synced: the container has gone, and may not have."""
        self.create()
        self.refused("fsync", self.delete, contains=POWER)
        self.assertError("NotFound", self.container)
        davit.restart_davitd()
        self.assertError("NotFound", self.container)

    def test_task(self):
        """S-T14: the record of a task: it has gone with its shim, its container has not. Who deletes it is told how it ended."""
        for call in ("unlinkat", "fsync"):
            self.create(["sh", "-c", "exit 7"])
            self.assertEqual(self.end_of_run(), 7)
            self.refused(call, davit.call, self.task(), "Process.Delete", "(a{sv})", {}, contains="ended 7, exited, is deleted, but may be back")
            self.assertError("NotFound", self.task)
            self.assertEqual(self.end_of_run(), 7)
            self.refused(call, self.delete, contains="ended 7, exited, is deleted, but may be back")
            self.assertError("NotFound", self.task)
            self.delete()
            self.create(["sleep", "1000"])
            davit.call(self.container(), "Container.Start", "(a{sv})", {})
            self.refused(call, davit.call, self.task(), "Process.Delete", "(a{sv})", davit.options(Force=True),
                         contains="ended 137, signalled, is deleted, but may be back")
            self.assertError("NotFound", self.task)
            self.delete()

    @contextlib.contextmanager
    def held(self):
        """Nothing becomes durable meanwhile."""
        with faults.Attached(sync_thread()) as attached:
            attached.process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                attached.process.send_signal(signal.SIGCONT)
        attached.remove()

    def test_started_meanwhile(self):
        """A container that somebody starts while its last task goes stays, and who deletes it is told."""
        for method, options in (("Container.Delete", {}), ("Container.Rename", None)):
            self.create(["sh", "-c", "read x || exec sleep 1000"])
            container, ended = self.container(), []
            reader, writer = os.pipe()
            os.write(writer, b"go\n")
            os.close(writer)
            end = davit.call(container, "Container.Start", "(a{sv})", davit.options(Stdin=0), fds=[reader])[2]
            os.close(reader)
            self.assertEqual(davit.read_exit(end).status, 0)

            def change(method=method, options=options, container=container, ended=ended):
                arguments = ("(a{sv})", options) if options is not None else ("(s)", davit.unique("renamed"))
                ended.append(self.assertError("FailedPrecondition", davit.call, container, method, *arguments, contains="started again"))

            with self.held():
                thread = threading.Thread(target=change)
                thread.start()
                davit.wait_until(self.no_task, what="the task to go")
                pid = davit.call(container, "Container.Start", "(a{sv})", davit.options(AutoRemove="task"))[1]
                self.assertEqual(ended, [])
            thread.join(30)
            self.assertEqual(len(ended), 1)
            os.kill(pid, 0)
            davit.remove_container(self.name)

    def test_stopped_meanwhile(self):
        """A davitd that is stopped ends what it has begun to delete."""
        self.create()
        container, fd = self.container(), os.pidfd_open(davit.main_pid())
        with self.held():
            caller = subprocess.Popen(["davitctl", "rm", self.name], stderr=subprocess.DEVNULL)
            davit.wait_until(lambda: self.is_being_deleted(container), what="the deletion")
            davit.systemctl("stop", "--no-block", "davitd.service")
        davit.wait_pidfd(fd)
        caller.wait(30)
        davit.wait_until(lambda: davit.unit_show("davitd.service", "ActiveState")["ActiveState"] == "inactive", what="the end")
        self.assertEqual(davit.unit_show("davitd.service", "Result"), {"Result": "success"})
        davit.start_davitd()
        self.assertError("NotFound", self.container)

    def test_killed_while_a_start_is_undone(self):
        """A container that a Run has defined, and whose program cannot be started, does not stay defined."""
        name = davit.unique("undone")
        record = f"{davit.STATE}/namespaces/default/containers/{name}.json"
        self.addCleanup(davit.remove_container, name)
        fd, owner = os.pidfd_open(davit.main_pid()), davit.name_owner()
        with self.held():
            caller = subprocess.Popen(["davitctl", "run", "--name", name, self.image, "/no/such/program"], stderr=subprocess.DEVNULL)
            davit.wait_until(lambda: os.path.exists(record), what="the record")
            davit.wait_until(lambda: self.is_no_more(name), what="the removal")
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        davit.wait_pidfd(fd)
        self.assertNotEqual(caller.wait(30), 0)
        davit.wait_until(lambda: davit.name_owner() not in (None, owner), what="the next davitd")
        self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", name)
        self.assertFalse(os.path.exists(record))

    def is_no_more(self, name):
        """Whether nobody can change it any more, though its record may be there."""
        try:
            return self.is_being_deleted(davit.manager("GetContainer", "(ss)", "", name))
        except davit.DavitError:
            return True

    def is_being_deleted(self, container):
        try:
            davit.call(container, "Container.SetLabels", "(a{ss})", {})
        except davit.DavitError as error:
            return "is being deleted" in error.message
        return False

    def no_task(self):
        try:
            self.task()
        except davit.DavitError as error:
            return error.name == "NotFound"
        return False

    def test_snapshot(self):
        made = davit.manager("PrepareSnapshot", "(sssa{sv})", "", self.name, f"image:{self.image}", {})
        self.refused("unlinkat", davit.call, made, "Snapshot.Delete", contains="not removed durably")
        davit.call(self.snapshot(), "Snapshot.SetLabels", "(a{ss})", {"a": "b"})
        davit.restart_davitd()
        self.assertEqual(davit.get(self.snapshot(), "Snapshot.Labels"), {"a": "b"})
        self.create_and_forget()
        self.refused("fsync", davit.call, made, "Snapshot.Delete", contains=POWER)
        self.assertError("NotFound", self.snapshot)

    def prune(self):
        kinds, label = davit.GLib.Variant("as", ["snapshots"]), davit.GLib.Variant("as", ["of=" + self.name])
        job = davit.manager("Prune", "(sa{sv})", "", {"Kinds": kinds, "Label": label})
        return [row[2] for row in davit.call(job, "Job.Wait", timeout=60)["Plan"]]

    def test_prune(self):
        """What is reported is what has gone."""
        davit.manager("PrepareSnapshot", "(sssa{sv})", "", self.name, "", davit.options(Labels={"of": self.name}))
        unlink = str(faults.call_numbers()["unlinkat"])
        with faults.Attached(sync_thread(), "--call", unlink, "--nth", "1", "--error", str(errno.EIO)) as attached:
            self.assertEqual(self.prune(), [])
            self.assertTrue(attached.ended(5) and attached.hit())
        attached.remove()
        self.snapshot()
        self.assertEqual(self.prune(), [self.name])
        self.assertError("NotFound", self.snapshot)

    def prepare(self, key):
        return davit.manager("PrepareSnapshot", "(sssa{sv})", "", key, "", {})

    def test_disk_that_hangs(self):
        """Who needs the name of what cannot go is refused in a while, and everybody else is answered again then."""
        made, other = self.prepare(self.name), davit.unique("removal")
        with self.held():
            thread = threading.Thread(target=davit.call, args=(made, "Snapshot.Delete"))
            thread.start()
            davit.wait_until(self.no_snapshot, what="the deletion")
            begun = time.monotonic()
            self.assertError("Unavailable", self.prepare, self.name, contains=f'"{self.name}"')
            self.assertLess(time.monotonic() - begun, 10)
            kept = self.prepare(other)
            self.assertTrue(thread.is_alive())
        thread.join(30)
        davit.call(self.prepare(self.name), "Snapshot.Delete")
        davit.call(kept, "Snapshot.Delete")

    def no_snapshot(self):
        try:
            self.snapshot()
        except davit.DavitError as error:
            return error.name == "NotFound"
        return False

    def test_committed_snapshot(self):
        """It has no directory, and a chain that the store would collect."""
        key = davit.unique("committed")
        made = davit.manager("PrepareSnapshot", "(sssa{sv})", "", self.name, f"image:{self.image}", {})
        davit.call(davit.call(made, "Snapshot.Commit", "(sa{sv})", key, {}), "Job.Wait", timeout=60)
        committed = davit.manager("GetSnapshot", "(ss)", "", key)
        chain = davit.get(committed, "Snapshot.ChainId")
        self.refused("unlinkat", davit.call, committed, "Snapshot.Delete", contains="not removed durably")
        self.assertEqual(davit.get(committed, "Snapshot.ChainId"), chain)
        davit.call(davit.manager("PrepareSnapshot", "(sssa{sv})", "", self.name, key, {}), "Snapshot.Delete")
        davit.call(committed, "Snapshot.Delete")
        self.assertError("NotFound", davit.manager, "GetSnapshot", "(ss)", "", key)

    def create_and_forget(self):
        """For the thread of a new davitd."""
        key = davit.unique("removal")
        davit.call(davit.manager("PrepareSnapshot", "(sssa{sv})", "", key, "", {}), "Snapshot.Delete")
