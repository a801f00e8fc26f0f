# SPDX-License-Identifier: LGPL-2.1-or-later
"""Events: in one order, numbered, live, from the manager's files and from the journal; nothing missed, nothing twice."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import davit
from gi.repository import Gio

FIELDS = ("DAVIT_SEQUENCE", "DAVIT_TIME", "DAVIT_EVENT", "CONTAINER_NAMESPACE", "DAVIT_ID", "DAVIT_OBJECT", "MESSAGE_ID")


def records(text):
    """Events of the manager's files, each a dict of its fields."""
    return [dict(line.split("=", 1) for line in block.split("\n") if line) for block in text.split("\n\n") if block.strip()]


def open_events(connection=None):
    """(first, next, records): what the manager keeps. From now on signals come to the connection."""
    reply, fds = (connection or davit.bus()).call_with_unix_fd_list_sync(
        davit.NAME, davit.ROOT, davit.NAME + ".Manager", "OpenEvents", None, None, Gio.DBusCallFlags.NONE, 30000, None, None)
    first, following, files = reply.unpack()
    text = ""
    for i in files:
        with os.fdopen(fds.get(i), encoding="utf-8") as f:
            text += f.read()
    return first, following, records(text)


def since(cursor):
    """Records after an event."""
    return [e for e in open_events()[2] if int(e["DAVIT_SEQUENCE"]) > cursor]


def last():
    return open_events()[1] - 1


def types(events, id=None):
    return [e["DAVIT_EVENT"] for e in events if id is None or e["DAVIT_ID"] == id]


def shown(*argv, **kwargs):
    """Events that davitctl prints."""
    out = davit.ctl("events", "--format", "json", *argv, check=True, **kwargs).stdout
    return [json.loads(line) for line in out.splitlines()]


class Follower:
    """davitctl events, following."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(["davitctl", "events", "--format=json", *argv], stdout=subprocess.PIPE, text=True)
        self.seen = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def wait(self, match, what="event"):
        davit.wait_until(lambda: any(match(e) for e in list(self.seen)), what=what)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()


class Order(davit.TestCase):
    def run_whole(self, namespace="", id=None):
        """A container through everything that can be told of it; its id."""
        id = id or davit.unique("events")
        davit.create_container(["sleep", "1000"], id=id, namespace=namespace)
        container = davit.manager("GetContainer", "(ss)", namespace, id)
        davit.call(container, "Container.SetLabels", "(a{ss})", {"a": "b"})
        task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        davit.call(task, "Process.Start")
        davit.call(task, "Task.Pause")
        davit.call(task, "Task.Resume")
        _, process, _, fd = davit.call(task, "Task.ExecStart", "(sasa{sv})", "one", ["sh", "-c", "exit 7"], {})
        davit.read_exit(fd)
        davit.call(process, "Process.Delete", "(a{sv})", {})
        davit.call(task, "Process.Kill", "(s)", "KILL")
        davit.call(task, "Process.Wait")
        davit.call(task, "Process.Delete", "(a{sv})", {})
        davit.call(container, "Container.Delete", "(a{sv})", {})
        return id

    def check_entry(self, event):
        """The journal's entry of an event says what the manager's record says."""
        def entries():
            davit.run("journalctl", "--sync")
            out = davit.run("journalctl", "-o", "json", f"MESSAGE_ID={event['MESSAGE_ID']}",
                            f"DAVIT_SEQUENCE={event['DAVIT_SEQUENCE']}").stdout
            return [json.loads(line) for line in out.splitlines()]
        entry = davit.wait_until(entries, what="the entry")[0]
        self.assertEqual({name: entry.get(name) for name in event}, event)

    WHOLE = ["container.create", "container.update", "task.create", "task.start", "task.paused", "task.resumed",
             "task.exec-added", "task.exec-started", "task.exec-exited", "task.exec-deleted", "task.exit", "task.delete",
             "container.delete"]

    def test_whole_life(self):
        """S-E01, N-05: every step of a container's life is one event, typed, in order and numbered."""
        before = last()
        with davit.Signals("Namespace.Event") as signals:
            id = self.run_whole()
            signals.wait(lambda path, member, body: body[0] == "container.delete" and body[1] == id)
            live = [body for _, _, body in signals.seen if body[1] == id]
        self.assertEqual([e[0] for e in live], self.WHOLE)
        kept = [e for e in since(before) if e["DAVIT_ID"] == id]
        self.assertEqual(types(kept), self.WHOLE)
        self.assertEqual([e[4] for e in live], [int(e["DAVIT_SEQUENCE"]) for e in kept])
        numbers = [int(e["DAVIT_SEQUENCE"]) for e in since(before)]
        self.assertEqual(numbers, list(range(before + 1, before + 1 + len(numbers))))
        for event, record in zip(live, kept):
            self.assertEqual((event[1], event[2], event[3], event[5]),
                             (record["DAVIT_ID"], record["DAVIT_OBJECT"], "default", int(record["DAVIT_TIME"])))
            for name, value in event[6].items():
                self.assertEqual(record[name], value)
        ended = {e["DAVIT_EVENT"]: e for e in kept}
        self.assertEqual((ended["task.exit"]["EXIT_STATUS"], ended["task.exit"]["EXIT_KIND"]), ("137", "signalled"))
        self.assertEqual((ended["task.exec-exited"]["EXIT_STATUS"], ended["task.exec-exited"]["EXEC_ID"]), ("7", "one"))

    def test_out_of_memory(self):
        """S-E01: a first process or an exec that the kernel kills for want of memory is told once, before its end."""
        hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
        before = last()
        id, _, _, fd = davit.run_container(hog, id=davit.unique("oom"), MemoryMax=32 << 20)
        self.addCleanup(davit.remove_container, id)
        self.assertEqual(davit.read_exit(fd), (137, "oom"))
        self.assertEqual(types(since(before), id)[-3:], ["task.start", "task.oom", "task.exit"])
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("oom"), MemoryMax=32 << 20)
        self.addCleanup(davit.remove_container, id)
        _, _, _, fd = davit.call(task, "Task.ExecStart", "(sasa{sv})", "hog", hog, {})
        self.assertEqual(davit.read_exit(fd), (137, "oom"))
        told = [(e["DAVIT_EVENT"], e.get("EXEC_ID")) for e in since(before) if e["DAVIT_ID"] == id]
        self.assertEqual(told[-3:], [("task.exec-started", "hog"), ("task.oom", "hog"), ("task.exec-exited", "hog")])

    def test_failed_start(self):
        """S-E08, S-T08: a start that fails is told with its cause, in the journal too, and leaves nothing told half."""
        before = last()
        id = davit.unique("events")
        with self.assertRaises(davit.DavitError) as caught:
            davit.run_container(["/no/such/program"], id=id)
        kept = [e for e in since(before) if e["DAVIT_ID"] == id]
        self.assertEqual(types(kept), ["container.create", "task.failed", "container.delete"])
        self.assertEqual((kept[1]["ERROR_NAME"], kept[1]["ERROR"]), (caught.exception.full_name, caught.exception.message))
        self.assertEqual(kept[1]["PRIORITY"], "4")
        self.check_entry(kept[1])
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("events"))
        self.addCleanup(davit.remove_container, id)
        with self.assertRaises(davit.DavitError):
            davit.call(task, "Task.ExecStart", "(sasa{sv})", "bad", ["/no/such/program"], {})
        self.assertEqual([(e["DAVIT_EVENT"], e.get("EXEC_ID")) for e in since(before) if e["DAVIT_ID"] == id][3:],
                         [("task.failed", "bad")])

    def fail_job(self, job):
        """Waits for a job that fails; the error."""
        with self.assertRaises(davit.DavitError) as caught:
            davit.call(job, "Job.Wait")
        return caught.exception

    def check_failed(self, event, namespace, type, subject, job, error):
        self.assertEqual([event[f] for f in ("DAVIT_EVENT", "CONTAINER_NAMESPACE", "JOB_TYPE", "DAVIT_ID", "DAVIT_OBJECT",
                                             "ERROR_NAME", "ERROR", "PRIORITY")],
                         ["job.failed", namespace, type, subject, job, error.full_name, error.message, "4"])
        self.check_entry(event)

    def test_failed_job(self):
        """S-E08: a job that fails is told with its cause, in the journal too, where nobody waited; one that is cancelled is
        not."""
        namespace = davit.unique("events")
        with open("/proc/self/exe", "rb") as garbage, davit.Signals("Namespace.Event") as signals:
            before = last()
            job = davit.manager("ImportImage", "(ssha{sv})", namespace, "bad:1", 0, {}, fds=[garbage.fileno()])
            told = signals.wait(lambda path, member, body: body[0] == "job.failed" and body[2] == job)[2]
        kept = [e for e in since(before) if e["DAVIT_EVENT"] == "job.failed"]
        self.assertEqual([int(e["DAVIT_SEQUENCE"]) for e in kept], [told[4]])
        self.check_failed(kept[0], namespace, "import", "bad:1", job, self.fail_job(job))
        reader, writer = os.pipe()
        job = davit.manager("ImportImage", "(ssha{sv})", namespace, "bad:1", 0, {}, fds=[reader])
        davit.call(job, "Job.Cancel")
        self.assertIn("cancelled", self.fail_job(job).message)
        os.close(reader)
        os.close(writer)
        self.assertEqual(types(since(int(kept[0]["DAVIT_SEQUENCE"])), "bad:1"), [])

    def test_failed_job_of_the_host(self):
        """S-E08: the failure of a job that belongs to no namespace is told to who wants those of all."""
        before = last()
        follower = Follower("-A", f"--cursor={before}", "-f", "type=job")
        self.addCleanup(follower.close)
        with open(f"{davit.STATE}/lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            job = davit.manager("CheckStore", "(a{sv})", {})
            davit.wait_until(lambda: "davit-store@" in davit.systemctl("list-units", "--plain", "davit-store@*").stdout,
                             what="the worker")
            davit.systemctl("kill", "--signal=KILL", "davit-store@*.service")
            error = self.fail_job(job)
        self.check_failed([e for e in since(before) if e["DAVIT_OBJECT"] == job][0], "", "check", "store", job, error)
        follower.wait(lambda e: e["Type"] == "job.failed" and e["Object"] == job)

    def test_told_when_all_is_cleared(self):
        """S-E03: who is told that a container is gone finds nothing of it, and can have its id at once."""
        id = davit.unique("gone")
        image = davit.busybox_image()
        found = []

        def told(_connection, _sender, _path, _interface, _member, body):
            if body.unpack()[:2] != ("container.delete", id):
                return
            there = davit.snapshot()
            found.append([(kind, item) for kind, items in there.items() for item in items if id in str(item)])
            if len(found) < 5:
                davit.run_container(["true"], id=id, image=image, AutoRemove="container")

        last()
        subscription = davit.bus().signal_subscribe(davit.NAME, davit.NAME + ".Namespace", "Event", None, None,
                                                    Gio.DBusSignalFlags.NONE, told)
        self.addCleanup(davit.bus().signal_unsubscribe, subscription)
        davit.run_container(["true"], id=id, image=image, AutoRemove="container")
        davit.wait_until(lambda: len(found) == 5, what="five lives of one id")
        self.assertEqual(found, [[]] * 5)

    def test_bus_chooses(self):
        """S-E02, S-W06: who wants exits alone, or one container's events, is sent nothing else, by match rules of the bus."""
        ids = [davit.unique("events") for _ in range(2)]
        task = f"{davit.ROOT}/ns/default/task/{ids[0].replace('-', '_2d')}"
        execs = [t for t in self.WHOLE if t.startswith("task.exec-")]
        tasks = [t for t in self.WHOLE if t.startswith("task.")]
        both = [(t, id) for id in ids for t in self.WHOLE]
        rules = {"": both,
                 ",arg0='task.exit'": [("task.exit", id) for id in ids],
                 ",arg0namespace='task'": [e for e in both if e[0] in tasks],
                 f",arg1='{ids[0]}'": [(t, ids[0]) for t in self.WHOLE],
                 f",arg2path='{task}'": [(t, ids[0]) for t in tasks if t not in execs],
                 f",arg2path='{task}/'": [(t, ids[0]) for t in execs],
                 f",arg0='task.exit',arg1='{ids[0]}'": [("task.exit", ids[0])]}
        with contextlib.ExitStack() as stack:
            matched = {rule: stack.enter_context(davit.Matched(
                f"type='signal',sender='{davit.NAME}',interface='{davit.NAME}.Namespace',member='Event'" + rule)) for rule in rules}
            for one in matched.values():
                open_events(one.connection)
            signals = stack.enter_context(davit.Signals("Namespace.Event"))
            for id in ids:
                self.run_whole(id=id)
            signals.wait(lambda path, member, body: body[:2] == ("container.delete", ids[1]))
            for rule, expected in rules.items():
                with self.subTest(rule):
                    self.assertEqual([body[:2] for _, _, body in matched[rule].all()], expected)

    def test_nobody_listens(self):
        """N-05: no signal is sent where nobody has asked; who asks is sent them until he leaves the bus."""
        davit.restart_davitd()
        with davit.Signals("Namespace.Event") as signals:
            davit.output_of(["true"])
            self.assertEqual([b[0] for _, _, b in signals.seen], [])
            other = davit.connect()
            open_events(other)
            davit.output_of(["true"])
            signals.wait(lambda path, member, body: body[0] == "container.delete")
            other.close_sync(None)
        davit.call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId")
        with davit.Signals("Namespace.Event") as signals:
            davit.output_of(["true"])
            davit.manager("ListJobs")
            self.assertEqual([b[0] for _, _, b in signals.seen], [])

    def test_namespaces(self):
        """S-E09, S-E10: the same id in two namespaces is two containers, and their events do not mix."""
        name = davit.unique("events")
        before = last()
        davit.manager("CreateNamespace", "(sa{ss})", name, {"who": "me"})
        davit.call(f"{davit.ROOT}/ns/{name.replace('-', '_2d')}", "Namespace.SetLabels", "(a{ss})", {})
        follower = Follower("-n", name, f"--cursor={before}")
        self.addCleanup(follower.close)
        ids = []
        for namespace in ("", name):
            id, _, _, fd = davit.run_container(["true"], id="same", namespace=namespace, AutoRemove="container")
            davit.read_exit(fd)
            ids.append(id)
        self.assertEqual(ids, ["same", "same"])
        davit.call(f"{davit.ROOT}/ns/{name.replace('-', '_2d')}", "Namespace.Delete")
        mine = [e for e in since(before) if e["CONTAINER_NAMESPACE"] == name]
        self.assertEqual(types(mine), ["namespace.create", "namespace.update", "container.create", "task.create", "task.start",
                                       "task.exit", "task.delete", "container.delete", "namespace.delete"])
        self.assertEqual(len([e for e in since(before) if e["DAVIT_ID"] == "same"]), 12)
        follower.wait(lambda e: e["Type"] == "namespace.delete")
        self.assertEqual([e["Type"] for e in follower.seen], types(mine))

    def test_store(self):
        """S-N01, S-N02: images, their contents, snapshots and leases have events of their own."""
        namespace = davit.unique("events")
        before = last()
        davit.busybox_image(namespace)
        image = davit.manager("GetImage", "(ss)", namespace, "busybox:latest")
        tag = davit.call(image, "Image.Tag", "(s)", "other:1")
        davit.call(tag, "Image.SetPinned", "(b)", True)
        davit.call(tag, "Image.Delete", "(a{sv})", davit.options(Force=True))
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", namespace, "s", "image:busybox:latest", {})
        job = davit.call(snapshot, "Snapshot.Commit", "(sa{sv})", "c", {})
        davit.call(job, "Job.Wait")
        committed = davit.manager("GetSnapshot", "(ss)", namespace, "c")
        davit.call(committed, "Snapshot.SetLabels", "(a{ss})", {"x": "y"})
        davit.call(committed, "Snapshot.Delete")
        _, lease = davit.manager("CreateLease", "(ssa{sv})", namespace, "l", {})
        davit.call(lease, "Lease.Add", "(ss)", "image", "busybox:latest")
        davit.call(lease, "Lease.Delete", "(a{sv})", {})
        davit.call(image, "Image.Delete", "(a{sv})", {})
        davit.call(f"{davit.ROOT}/ns/{namespace.replace('-', '_2d')}", "Namespace.Delete")
        mine = [e for e in since(before) if e["CONTAINER_NAMESPACE"] == namespace]
        self.assertEqual([t for t in types(mine) if not t.startswith("content.")],
                         ["namespace.create", "image.create", "image.create", "image.update", "image.delete",
                          "snapshot.prepare", "snapshot.commit", "snapshot.remove", "snapshot.update", "snapshot.remove",
                          "lease.create", "lease.update", "lease.delete", "image.delete", "namespace.delete"])
        made = {e["DAVIT_ID"] for e in mine if e["DAVIT_EVENT"] == "content.create"}
        gone = {e["DAVIT_ID"] for e in mine if e["DAVIT_EVENT"] == "content.delete"}
        self.assertEqual(made, gone)
        self.assertGreaterEqual(len(made), 3)


class Cursor(davit.TestCase):
    time_limit = 120

    def check_whole(self, events, before):
        """Numbers without a gap and without a second one."""
        numbers = [e["Sequence"] for e in events]
        self.assertEqual(numbers, list(range(before + 1, before + 1 + len(numbers))))

    def test_away_and_back(self):
        """N-05: a client that was away, while the manager was killed as well, misses nothing and sees nothing twice."""
        before = last()
        follower = Follower("-A", f"--cursor={before}")
        ids = [davit.unique("events") for _ in range(6)]
        davit.run_container(["true"], id=ids[0], AutoRemove="container")
        follower.wait(lambda e: e["Type"] == "container.delete" and e["Id"] == ids[0])
        follower.close()
        first = follower.seen
        davit.run_container(["true"], id=ids[1], AutoRemove="container")
        _, _, _, fd = davit.run_container(["sleep", "1000"], id=ids[2], AutoRemove="container")
        davit.kill_davitd()
        davit.run_container(["true"], id=ids[3], AutoRemove="container")
        davit.call(davit.manager("GetTask", "(ss)", "", ids[2]), "Process.Kill", "(s)", "KILL")
        os.close(fd)
        davit.wait_until(lambda: "container.delete" in types(since(before), ids[2]), what="the end of the long one")
        again = Follower("-A", f"--cursor={first[-1]['Sequence']}")
        self.addCleanup(again.close)
        davit.run_container(["true"], id=ids[4], AutoRemove="container")
        again.wait(lambda e: e["Type"] == "container.delete" and e["Id"] == ids[4])
        davit.kill_davitd()
        davit.run_container(["true"], id=ids[5], AutoRemove="container")
        again.wait(lambda e: e["Type"] == "container.delete" and e["Id"] == ids[5])
        events = first + again.seen
        self.check_whole(events, before)
        for id in ids:
            self.assertEqual([e["Type"] for e in events if e["Id"] == id],
                             ["container.create", "task.create", "task.start", "task.exit", "task.delete", "container.delete"])

    def test_end_while_nobody_was_there(self):
        """N-05, S-W07: what ends while there is no manager is told once by the next, kept or not, by whoever's hand."""
        before = last()
        ids = [davit.unique("events") for _ in range(3)]
        _, one, _, _ = davit.run_container(["sleep", "1000"], id=ids[0])
        self.addCleanup(davit.remove_container, ids[0])
        _, two, _, _ = davit.run_container(["sleep", "1000"], id=ids[1], AutoRemove="container")
        _, three, pid, _ = davit.run_container(["sleep", "1000"], id=ids[2])
        self.addCleanup(davit.remove_container, ids[2])
        scopes = [davit.get(t, "Task.Scope") for t in (one, two)]
        davit.systemctl("stop", "davitd.service")
        davit.systemctl("stop", *scopes)
        os.kill(pid, signal.SIGKILL)
        davit.start_davitd()
        davit.wait_until(lambda: "container.delete" in types(since(before), ids[1]), what="the end of the second")
        davit.kill_davitd()
        events = since(before)
        self.assertEqual([int(e["DAVIT_SEQUENCE"]) for e in events], list(range(before + 1, before + 1 + len(events))))
        run = ["container.create", "task.create", "task.start", "task.exit"]
        self.assertEqual(types(events, ids[0]), run)
        self.assertEqual(types(events, ids[1]), run + ["task.delete", "container.delete"])
        self.assertEqual(types(events, ids[2]), run)
        ends = {e["DAVIT_ID"]: (e["EXIT_STATUS"], e["EXIT_KIND"]) for e in events if e["DAVIT_EVENT"] == "task.exit"}
        self.assertEqual(ends[ids[2]], ("137", "signalled"))

    def test_killed_at_any_moment(self):
        """N-05, N-01: whenever the manager is killed, what it had done is told once, by it or by the next."""
        before = last()
        random.seed(before)
        ids = []
        for _ in range(12):
            id = davit.unique("killed")
            pid = davit.main_pid()
            timer = threading.Timer(random.uniform(0, 0.03), os.kill, (pid, signal.SIGKILL))
            timer.start()
            try:
                davit.run_container(["true"], id=id, AutoRemove=random.choice(("container", "no")))
                ids.append(id)
            except davit.DavitError:
                pass
            timer.join()
            davit.wait_until(lambda: davit.main_pid() not in (0, pid), what="the next manager")
            davit.start_davitd()
        tasks = lambda: {row[1]: row[3] for row in davit.manager("ListTasks", "(sa{sv})", "", {})}  # noqa: E731
        davit.wait_until(lambda: "running" not in tasks().values(), what="all to have ended")
        containers = {row[1] for row in davit.manager("ListContainers", "(sa{sv})", "", {})}
        events = shown("-A", f"--cursor={before}", "--until=0s")
        self.check_whole(events, before)
        for id in {e["Id"] for e in events if e["Id"].startswith("killed-")}:
            steps = [e["Type"] for e in events if e["Id"] == id]
            self.assertEqual(len(steps), len(set(steps)), f"{id}: {steps}")
            self.assertEqual("container.create" in steps, True, f"{id}: {steps}")
            self.assertEqual(id in containers, "container.delete" not in steps, f"{id}: {steps}")
            self.assertEqual(id in tasks(), "task.create" in steps and "task.delete" not in steps, f"{id}: {steps}")
            if "task.start" in steps:
                self.assertIn("task.exit", steps)
        for id in ids:
            self.assertIn("task.start", [e["Type"] for e in events if e["Id"] == id])
        for id in containers:
            if id.startswith("killed-"):
                davit.remove_container(id)

    def test_other_boot(self):
        """N-05: numbers go on after a boot, and what was before it comes from the journal."""
        id = davit.unique("events")
        before = last()
        _, _, _, fd = davit.run_container(["true"], id=id, AutoRemove="container")
        davit.read_exit(fd)
        davit.wait_until(lambda: "container.delete" in types(since(before), id), what="the end")
        known = last()
        davit.run("journalctl", "--sync")
        davit.systemctl("stop", "davitd.service")
        shutil.rmtree(davit.RUNTIME + "/events")
        davit.start_davitd()
        first, following, kept = open_events()
        self.assertEqual(kept, [])
        self.assertGreater(following, known)
        self.assertEqual(first, following)
        events = [e for e in shown(f"--cursor={before}", "--until=0s") if e["Id"] == id]
        self.assertEqual([e["Type"] for e in events],
                         ["container.create", "task.create", "task.start", "task.exit", "task.delete", "container.delete"])
        self.assertEqual(shown(f"--cursor={known}", "--until=0s"), [])

    def all_written(self):
        """Whether the journal has the last event."""
        davit.run("journalctl", "--sync")
        return davit.run("journalctl", "-o", "cat", f"DAVIT_SEQUENCE={last()}").stdout.strip()

    def test_rotation(self):
        """N-05: what is kept in memory is bounded, and what it no longer has is in the journal."""
        log, old = davit.RUNTIME + "/events/log", davit.RUNTIME + "/events/log.old"
        davit.systemctl("stop", "davitd.service")
        shutil.rmtree(davit.RUNTIME + "/events")
        davit.start_davitd()
        before = last()
        davit.manager("CreateNamespace", "(sa{ss})", "rotation", {})
        path = f"{davit.ROOT}/ns/rotation"
        davit.call(path, "Namespace.SetLabels", "(a{ss})", {})
        davit.systemctl("stop", "davitd.service")
        with open(log, encoding="utf-8") as f:
            record = f.read().split("\n\n")[-2]
        number = int(records(record)[0]["DAVIT_SEQUENCE"])
        with open(log, "a", encoding="utf-8") as f:
            while f.tell() < (4 << 20) - 2000:
                number += 1
                f.write(record.replace(record.split("\n", 1)[0], f"DAVIT_SEQUENCE={number}", 1) + "\n\n")
        davit.start_davitd()
        self.assertFalse(os.path.exists(old))
        for _ in range(10):
            davit.call(path, "Namespace.SetLabels", "(a{ss})", {})
        self.assertLessEqual(os.stat(log).st_size, 8000)
        self.assertLessEqual(os.stat(old).st_size, 4 << 20)
        davit.call(path, "Namespace.Delete")
        self.assertEqual(len(since(before)), number + 11 - before)
        davit.wait_until(self.all_written, what="the journal to have all")
        davit.systemctl("stop", "davitd.service")
        os.unlink(old)
        davit.start_davitd()
        events = shown("-A", f"--cursor={before}", "--until=0s")
        self.check_whole(events, before)
        self.assertEqual(events[-1]["Type"], "namespace.delete")


class Journal(davit.TestCase):
    def test_entries_and_catalog(self):
        """N-05, S-E08: every event is an entry with fields, a documented MESSAGE_ID and a catalog entry."""
        id = davit.unique("events")
        before = last()
        _, _, _, fd = davit.run_container(["sh", "-c", "exit 9"], id=id, AutoRemove="container")
        davit.read_exit(fd)
        davit.wait_until(lambda: "container.delete" in types(since(before), id), what="the end")
        kept = [e for e in since(before) if e["DAVIT_ID"] == id]

        def entries():
            davit.run("journalctl", "--sync")
            out = davit.run("journalctl", "-o", "json", "_SYSTEMD_UNIT=davitd.service", f"DAVIT_ID={id}").stdout
            found = [json.loads(line) for line in out.splitlines()]
            return len(found) >= len(kept) and found
        found = davit.wait_until(entries, what="entries of the journal")
        self.assertEqual([[e[f] for f in FIELDS] for e in found], [[e[f] for f in FIELDS] for e in kept])
        out = davit.run("journalctl", "-x", "-o", "short", f"MESSAGE_ID={found[-3]['MESSAGE_ID']}", f"DAVIT_ID={id}").stdout
        self.assertIn(f"Container default/{id} has ended: exited, status 9", out)
        self.assertIn("The first process of the container has ended", out)
        for event in kept:
            self.assertIn("Defined-By: Davit", davit.run("journalctl", "--catalog", "--dump-catalog", event["MESSAGE_ID"]).stdout)

    def test_journald_stands_still(self):
        """N-05: a journald that does not read holds up no start, and gets everything when it goes on."""
        before = last()
        pid = davit.main_pid("systemd-journald.service")
        davit.manager("CreateNamespace", "(sa{ss})", "slow", {})
        os.kill(pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            for _ in range(600):
                davit.call(f"{davit.ROOT}/ns/slow", "Namespace.SetLabels", "(a{ss})", {})
            self.assertLess(time.monotonic() - begun, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
        davit.call(f"{davit.ROOT}/ns/slow", "Namespace.Delete")
        wanted = [e["DAVIT_SEQUENCE"] for e in since(before) if e["CONTAINER_NAMESPACE"] == "slow"]

        def written():
            davit.run("journalctl", "--sync")
            out = davit.run("journalctl", "-o", "json", "--output-fields=DAVIT_SEQUENCE", "_SYSTEMD_UNIT=davitd.service",
                            "CONTAINER_NAMESPACE=slow").stdout
            return [json.loads(line)["DAVIT_SEQUENCE"] for line in out.splitlines()]
        davit.wait_until(lambda: set(wanted) <= set(written()), what="all entries")


class Command(davit.TestCase):
    def test_filters_and_times(self):
        """N-05: davitctl events by type, id, image, namespace and time, as text and as JSON."""
        davit.busybox_image()
        begun = time.time()
        before = last()
        id, _, _, fd = davit.run_container(["true"], id=davit.unique("events"), image="busybox:latest", AutoRemove="container")
        davit.read_exit(fd)
        davit.wait_until(lambda: "container.delete" in types(since(before), id), what="the end")
        cursor = f"--cursor={before}"
        self.assertEqual([e["Type"] for e in shown(cursor, "--until=0s", "-f", "type=task", "-f", f"id={id}")],
                         ["task.create", "task.start", "task.exit", "task.delete"])
        self.assertEqual([e["Type"] for e in shown(cursor, "--until=0s", "-f", "type=task.exit", "-f", "type=task.start",
                                                   "-f", f"id={id}")], ["task.start", "task.exit"])
        self.assertEqual({e["Type"] for e in shown(cursor, "--until=0s", "-f", "image=busybox:latest", "-f", f"id={id}")},
                         {"container.create", "container.delete"})
        self.assertEqual(shown(cursor, "--until=0s", "-n", "nowhere"), [])
        self.assertEqual([e["Id"] for e in shown("--since", f"{int(time.time() - begun) + 2}s", "--until=0s", "-f",
                                                 f"container={id}")], [id] * 6)
        self.assertIn("snapshot.prepare", [e["Type"] for e in shown(cursor, "--until=0s", "-f", f"id={id}")])
        self.assertEqual(shown("--since", "1h", "--until=30m", "-f", f"id={id}"), [])
        text = davit.ctl("events", cursor, "--until=0s", "-f", "type=task.exit", check=True).stdout
        self.assertRegex(text, rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{6}} \d+ task\.exit default/{id} .*EXIT_STATUS=0")
        for wrong, what in (("type=nothing", "no events"), ("color=red", "no filter"), ("id", "no filter")):
            done = davit.ctl("events", "-f", wrong)
            self.assertEqual(done.returncode, 1)
            self.assertIn(what, done.stderr)

    def test_until_ends(self):
        """N-05: --until in the future follows until then."""
        begun = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun + 2))
        davit.ctl("events", "--until", stamp, check=True, timeout=10)
        self.assertGreater(time.time() - begun, 0.9)


if __name__ == "__main__":
    import unittest
    unittest.main()
