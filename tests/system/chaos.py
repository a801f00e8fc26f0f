# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that do whatever comes to their mind while the manager is being killed, and what has to hold all the same.

Each client has names of its own and a model of them (chaos_model.py), and shares a few with the others, of which only
consistency is expected. What is random comes from one seed; threads and the kernel add what no seed repeats."""

import collections
import contextlib
import copy
import glob
import os
import random
import re
import select
import shutil
import signal
import threading
import time

import davit
from chaos_model import FOREVER, KILLED, QUICK, TIMED, TRAP, Box, Process, Program, reconcile
from davit import Gio, GLib

#: Whoever gets one of these does not know whether the call has happened.
CUT = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown",
       "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.Disconnected",
       "org.freedesktop.DBus.Error.TimedOut", "org.freedesktop.DBus.Error.Spawn.", "org.freedesktop.systemd1.")
GONE = ("NotFound", "org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownMethod")
REFUSED = ("FailedPrecondition", "AlreadyExists", *GONE)
IMAGE = "busybox:latest"
OWN = 4
SHARED = 3
RETURNS_WITHIN = 20


class Cut(Exception):
    pass


class Violation(AssertionError):
    pass


def object_path(kind, id):
    return f"{davit.ROOT}/ns/default/{kind}/" + "".join(
        c if c.isalnum() and c.isascii() and (i or not c.isdigit()) else f"_{ord(c):02x}" for i, c in enumerate(id))


def maybe_killed(process):
    """What a call that was cut off may have done, or does yet."""
    process.ends = True
    process.exits |= {KILLED}


class Client(threading.Thread):
    """One who uses the bus."""

    def __init__(self, chaos, number):
        super().__init__(name=f"client {number}", daemon=True)
        self.chaos = chaos
        self.random = random.Random(f"{chaos.seed}/{number}")
        self.connection = davit.connect()
        self.names = [f"{chaos.prefix}{number}x{i}" for i in range(OWN)]
        self.tag = f"client-{number}"
        self.boxes = {name: None for name in self.names}
        self.shared = chaos.shared
        self.ends = []  # (descriptor of an end, the model's process)
        self.history = collections.deque(maxlen=400)
        self.acknowledged = self.cut = self.n = 0
        self.failure = None

    # --- calls ---

    def note(self, text):
        self.history.append(f"{time.monotonic() - self.chaos.begun:9.4f} {text}")

    def call(self, path, method, signature="()", args=(), fds=(), timeout=RETURNS_WITHIN):
        interface, _, member = method.rpartition(".")
        if not interface.startswith("org."):
            interface = f"{davit.NAME}.{interface}"
        self.chaos.traffic(member)
        try:
            values = davit.call_on(davit.NAME, path, interface, member, signature, args, fds, timeout, self.connection)
        except davit.DavitError as error:
            if error.full_name.startswith(CUT):
                raise Cut(error.full_name) from None
            raise
        return values if len(values) > 1 else values[0] if values else None

    def ask(self, *args, **kwargs):
        """A call that changes nothing: again until somebody answers."""
        deadline = time.monotonic() + 2 * RETURNS_WITHIN
        while True:
            try:
                return self.call(*args, **kwargs)
            except Cut as cut:
                if time.monotonic() > deadline:
                    raise Violation(f"nobody answers: {cut}") from None

    def properties(self, path, interface):
        return self.ask(path, "org.freedesktop.DBus.Properties.GetAll", "(s)", (f"{davit.NAME}.{interface}",))

    # --- looking ---

    def execs(self, task):
        """{id: what is seen} of a task."""
        try:
            text = self.ask(task + "/exec", "org.freedesktop.DBus.Introspectable.Introspect")
        except davit.DavitError:
            return {}
        found = {}
        for id in re.findall(r'<node name="(\w+)"', text):
            seen = self.process(f"{task}/exec/{id}")
            if seen:
                found[id] = seen
        return found

    def process(self, path):
        try:
            p = self.properties(path, "Process")
        except davit.DavitError as error:
            if error.full_name.startswith(GONE[1:]):
                return None
            raise
        return {"status": p["Status"], "exit": (p["ExitStatus"], p["ExitKind"]), "pid": p["Pid"]}

    def look(self, name):
        """What the manager says of a container; None: there is none."""
        for _ in range(20):
            try:
                container = self.properties(object_path("container", name), "Container")
            except davit.DavitError as error:
                if error.full_name.startswith(GONE[1:]):
                    return None
                raise
            seen = {"labels": container["Labels"], "auto": container["AutoRemove"],
                    "timeout": container["StopTimeoutUSec"], "task": None}
            path = object_path("task", name)
            task = self.process(path)
            # One that is just being paused, which nobody here asks for twice.
            if task and task["status"] in ("pausing", "unknown"):
                time.sleep(0.02)
                continue
            if task:
                try:
                    more = {"tasks_max": self.properties(path, "Task")["TasksMax"], "execs": self.execs(path)}
                except davit.DavitError:
                    continue  # it has just gone
                if self.process(path) != task:
                    continue  # what was read belongs to two moments
                task.update(more)
            seen["task"] = task
            if task is None and seen["auto"] == "container" and not self.exists(name):
                return None  # it has gone with its task, between the two looks
            return seen
        raise Violation(f"{name} stays {task['status']}")

    def exists(self, name):
        return bool(self.ask(davit.ROOT, "Manager.ListContainers", "(sa{sv})", ("", davit.options(Id=[name]))))

    def settle(self, choices):
        """After a call of which nobody knows: one of these choices, {name: state}, is the truth."""
        seen = {name: self.look(name) for choice in choices for name in choice}
        wrong = []
        for choice in choices:
            try:
                fitting = {name: reconcile([state], seen[name]) for name, state in choice.items()}
            except AssertionError as error:
                wrong.append(str(error))
            else:
                self.note(f"    is {choices.index(choice)} of {len(choices)}")
                self.boxes.update(fitting)
                return
        raise Violation("\n  ".join(wrong))

    def check(self, name):
        self.settle([{name: self.boxes[name]}])

    # --- acting ---

    def act(self, name, path, method, signature="()", args=(), fds=(), done=None, after=(), right=True, uncertain=False,
            errors=REFUSED, later=False):
        """One call. done(reply) makes the model follow; after: what may be true when it is cut off, beside what is true now;
        later: it may also happen after that has been looked at, so the first of these covers what is true now; right: whether it has to succeed; uncertain: whether that cannot be known. Whether it has succeeded."""
        before = {name: self.boxes[name]}
        self.note(f"{name} {method} {args if 'Create' not in method else ''} on {self.boxes[name]}")
        try:
            reply = self.call(path, method, signature, args, fds)
        except Cut as cut:
            self.cut += 1
            self.note(f"    cut off: {cut}")
            self.settle([*([] if later and after else [before]), *(a if isinstance(a, dict) else {name: a} for a in after)])
            return False
        except davit.DavitError as error:
            self.acknowledged += 1
            self.note(f"    {error}")
            # A supervisor ends with its container; who asks at that moment hears of the one or the other.
            if right and not uncertain or error.name not in errors and not (uncertain and error.name == "Unavailable"):
                raise Violation(f"{name} {method}: {error}; it was {self.boxes[name]}") from None
            if uncertain:
                self.check(name)
            return False
        self.acknowledged += 1
        self.note(f"    {reply}")
        if not right and not uncertain:
            raise Violation(f"{name} {method} succeeds on {self.boxes[name]}")
        done(reply)
        return True

    def new_box(self):
        self.n += 1
        kind = self.random.choice((FOREVER, FOREVER, FOREVER, TRAP, QUICK, TIMED))
        program = Program(kind, 0 if kind == FOREVER else self.random.randrange(1, 100))
        box = Box(program, {"client": self.tag, "n": f"{self.tag}-{self.n}"}, image=self.random.random() < 0.6,
                  auto=self.random.choice(("no", "no", "no", "task", "container")), timeout=self.random.randrange(1, 10) * 1000000)
        options = {"Labels": box.labels, "AutoRemove": box.auto, "StopTimeoutUSec": box.timeout}
        if not box.image:
            options["Rootfs"] = davit.rootfs()
        return box, options

    def task_options(self):
        return {"Pipes": True} if self.random.random() < 0.3 else {"Output": self.random.choice(("null", "null", "journal"))}

    def keep_end(self, fd, process):
        self.ends.append((fd, process))

    def set(self, name, box):
        self.boxes[name] = box

    def create(self, name):
        box, options = self.new_box()
        old = self.boxes[name]
        self.act(name, davit.ROOT, "Manager.CreateContainer", "(sssasa{sv})",
                 ("", name, IMAGE if box.image else "", box.program.command(), davit.options(**options)),
                 done=lambda _: self.set(name, box), after=[box], right=old is None, uncertain=old is not None and old.may_go())

    def run_one(self, name):
        box, options = self.new_box()
        more = self.task_options()
        old = self.boxes[name]
        started = copy.deepcopy(box)
        started.new_task(goes=box.auto == "task", pipes="Pipes" in more).start()

        def done(reply):
            box.new_task(goes=box.auto == "task", pipes="Pipes" in more).start(reply[2])
            self.set(name, box)
            self.keep_end(reply[3], box.task)

        self.act(name, davit.ROOT, "Manager.Run", "(sssasa{sv})",
                 ("", name, IMAGE if box.image else "", box.program.command(), davit.options(**options, **more)),
                 done=done, after=[started], right=old is None, uncertain=old is not None and old.may_go())

    def run_any(self, _):
        """A run that leaves the id to the manager, which serves it from its pool."""
        box, options = self.new_box()
        if not box.program.ends_by_itself():
            return
        box.auto = options["AutoRemove"] = "container"
        if self.random.random() < 0.5:
            options["TasksMax"] = 50  # which the pool's scope has not
        self.note(f"Run of {box}")
        try:
            id, task, _, fd = self.call(davit.ROOT, "Manager.Run", "(sssasa{sv})",
                                        ("", "", IMAGE if box.image else "", box.program.command(), davit.options(**options)))
        except Cut as cut:
            self.cut += 1
            self.note(f"    cut off: {cut}")
        except davit.DavitError as error:
            if error.name != "NotSupported":
                raise
        else:
            self.acknowledged += 1
            self.note(f"    {id}")
            box.new_task().start()
            self.keep_end(fd, box.task)
        deadline = time.monotonic() + RETURNS_WITHIN
        while self.ask(davit.ROOT, "Manager.ListContainers", "(sa{sv})",
                       ("", davit.options(Label=[f"n={box.labels['n']}"]))):
            if time.monotonic() > deadline:
                raise Violation(f"a run that goes by itself does not go: {box}")
            time.sleep(0.05)

    def begin(self, name, start):
        box = self.boxes[name]
        options = self.task_options()
        goes = box is not None and (box.auto == "task" or self.random.random() < 0.2 and box.auto == "no")
        if goes and box.auto == "no":
            options["AutoRemove"] = "task"
        after = None
        if box:
            after = copy.deepcopy(box)
            after.new_task(goes=goes, pipes="Pipes" in options)
            if start:
                after.task.start()

        def done(reply):
            fresh = copy.deepcopy(box)
            fresh.new_task(goes=goes, pipes="Pipes" in options, pid=reply[1])
            if start:
                fresh.task.start(reply[1])
                self.keep_end(reply[2], fresh.task)
            self.set(name, fresh)

        self.act(name, object_path("container", name), "Container.Start" if start else "Container.CreateTask", "(a{sv})",
                 (davit.options(**options),), done=done, after=[after] if after else [], right=box is not None and box.task is None,
                 uncertain=box is not None and box.uncertain() and box.task.goes)

    def create_task(self, name):
        self.begin(name, False)

    def create_and_start(self, name):
        self.begin(name, True)

    def changed(self, name, change):
        """The container with a change, as it would be."""
        box = copy.deepcopy(self.boxes[name])
        if box is not None and box.task is not None:
            change(box.task)
        return box

    def on_task(self, name, method, change, right, signature="()", args=(), after=None, later=False):
        """A call on the task; change: what it does to it."""
        box = self.boxes[name]
        may = box is not None and box.task is not None and right(box.task)
        self.act(name, object_path("task", name), method, signature, args, done=lambda _: self.set(name, self.changed(name, change)),
                 after=after if after is not None else [self.changed(name, change)], right=may, later=later,
                 uncertain=box is not None and box.uncertain())

    def task_start(self, name):
        self.on_task(name, "Process.Start", lambda t: t.start(t.pid), lambda t: t.status == "created")

    def kill(self, name):
        box = self.boxes[name]
        number = self.random.choice(("KILL", "KILL", "TERM", "USR1"))
        if box and box.task and box.task.status == "created":
            number = "KILL"
        if number == "USR1" and box and box.program.kind not in (FOREVER, TRAP):
            number = "KILL"
        if number == "TERM" and box and box.program.ends_by_itself():
            number = "KILL"
        method = "Process.Kill" if number != "KILL" or self.random.random() < 0.5 else "Task.KillAll"
        if number == "USR1":
            number = "WINCH"  # which changes nothing

        def change(t):
            t.killed(number)
            if method == "Task.KillAll":
                for e in t.execs.values():
                    if not e.volatile:
                        e.killed(number)

        # Nobody has to end of what may not have been sent.
        def maybe(t):
            processes = [t, *t.execs.values()]
            must = [p.must_end for p in processes]
            change(t)
            for p, m in zip(processes, must):
                p.must_end = m

        self.on_task(name, method, change, lambda t: t.alive(), "(s)", (number,), after=[self.changed(name, maybe)],
                     later=True)

    def stop(self, name):
        timeout = self.random.randrange(50, 300) * 1000

        def stopped(t):
            t.exits |= {KILLED}
            if t.program.kind == TRAP and t.status != "created":
                t.exits.add(t.program.exit())
            t.stopped()
            t.ended()

        def maybe(t, status=None):
            t.status = status or t.status
            t.exits |= {KILLED}
            if t.program.kind == TRAP:
                t.exits.add(t.program.exit())
            t.ends = True

        box = self.boxes[name]
        after = [self.changed(name, maybe)]
        if box and box.task and box.task.status == "paused":
            after.append(self.changed(name, lambda t: maybe(t, "running")))
        self.on_task(name, "Task.Stop", stopped, lambda t: True, "(a{sv})", (davit.options(TimeoutUSec=timeout),), after=after,
                     later=True)

    def pause(self, name):
        self.on_task(name, "Task.Pause", lambda t: setattr(t, "status", "paused"), lambda t: t.status == "running")

    def resume(self, name):
        self.on_task(name, "Task.Resume", lambda t: setattr(t, "status", "running"), lambda t: t.status == "paused")

    def wait(self, name):
        box = self.boxes[name]
        t = box.task if box else None
        if t is None or t.alive() and (not t.must_end or t.status != "running"):
            return
        self.note(f"{name} Wait on {box}")
        try:
            end = self.ask(object_path("task", name), "Process.Wait")[:2]
        except davit.DavitError as error:
            if not t.goes or not error.full_name.startswith(GONE[1:]):
                raise Violation(f"{name} Wait: {error}; it was {box}") from None
            self.check(name)
            return
        self.note(f"    {end}")
        if end not in t.exits:
            raise Violation(f"{name} ended {end}, can be {t.exits}")
        box = copy.deepcopy(box)
        box.task.exits = {end}
        box.task.stopped()
        box.task.ended()
        self.set(name, box)
        self.check(name)

    def delete_task(self, name):
        box = self.boxes[name]
        force = self.random.random() < 0.6
        t = box.task if box else None
        killed = self.changed(name, maybe_killed) if force else box
        without = copy.deepcopy(box)
        if without:
            without.task = None

        def done(reply):
            allowed = t.exits | ({KILLED} if force and t.alive() else set())
            if reply[:2] not in allowed:
                raise Violation(f"{name} deleted with {reply}, can be {allowed}")
            self.set(name, without)

        self.act(name, object_path("task", name), "Process.Delete", "(a{sv})", (davit.options(Force=force),), done=done,
                 after=[killed, without], later=True, right=t is not None and (force or not t.alive()), uncertain=box is not None and box.uncertain())

    def delete(self, name):
        box = self.boxes[name]
        force = self.random.random() < 0.6
        t = box.task if box else None
        killed = self.changed(name, maybe_killed) if force else box
        without = copy.deepcopy(box)
        if without:
            without.task = None
        self.act(name, object_path("container", name), "Container.Delete", "(a{sv})", (davit.options(Force=force),),
                 done=lambda _: self.set(name, None), after=[killed, without, None], later=True,
                 right=box is not None and (t is None or force or not t.alive()), uncertain=box is not None and box.uncertain())

    def rename(self, name):
        to = self.random.choice(self.names)
        box, other = self.boxes[name], self.boxes[to]
        without = copy.deepcopy(box)
        if without:
            without.task = None

        def done(_):
            self.boxes.update({name: None, to: without})

        self.act(name, object_path("container", name), "Container.Rename", "(s)", (to,), done=done,
                 after=[without, {name: None, to: without}],
                 right=box is not None and other is None and to != name and (box.task is None or not box.task.alive()),
                 uncertain=box is not None and (box.uncertain() or other is not None and other.may_go()))

    def update(self, name):
        box = self.boxes[name]
        labels = {"client": self.tag, "n": f"{self.tag}-{self.n}", "random": str(self.random.random())}
        if box:
            labels["n"] = box.labels["n"]
        timeout = self.random.randrange(1, 10) * 1000000
        both = self.random.random() < 0.5
        after = copy.deepcopy(box)
        if after:
            after.labels = labels
            after.timeout = timeout if both else after.timeout
        method, signature, args = ("Container.Update", "(a{sv})", (davit.options(Labels=labels, StopTimeoutUSec=timeout),)) if both \
            else ("Container.SetLabels", "(a{ss})", (labels,))
        self.act(name, object_path("container", name), method, signature, args, done=lambda _: self.set(name, after), after=[after],
                 right=box is not None, uncertain=box is not None and box.may_go())

    def limit(self, name):
        if "pids" not in self.chaos.controllers:
            return
        limit = self.random.randrange(50, 100)
        self.on_task(name, "Task.Update", lambda t: setattr(t, "tasks_max", limit), lambda t: t.alive(), "(a{sv})",
                     (davit.options(TasksMax=GLib.Variant("t", limit)),))

    # --- execs ---

    def some_exec(self, name):
        box = self.boxes[name]
        execs = box.task.execs if box and box.task else {}
        return self.random.choice(sorted(execs)) if execs and self.random.random() < 0.9 else "none"

    def on_exec(self, name, id, method, change, right, signature="()", args=(), after=None):
        def changed(box):
            box = copy.deepcopy(box)
            if box and box.task and id in box.task.execs:
                change(box.task.execs[id], box.task)
            return box

        def gone(box):
            box = copy.deepcopy(box)
            box.task.execs.pop(id, None)
            return box

        box = self.boxes[name]
        e = box.task.execs.get(id) if box and box.task else None
        more = [changed(box)] if e else []
        if e and e.volatile:
            more.append(gone(box))
        later = False
        if e and method == "Process.Kill":
            later = True
            more[0] = copy.deepcopy(box)
            maybe_killed(more[0].task.execs[id])
        self.act(name, f"{object_path('task', name)}/exec/{id}", method, signature, args,
                 done=lambda _: self.set(name, changed(self.boxes[name])), after=more if after is None else after, later=later,
                 right=e is not None and not e.volatile and right(e, box.task), uncertain=e is not None and (e.ends or e.volatile or box.uncertain()))

    def exec(self, name, start=True):
        box = self.boxes[name]
        t = box.task if box else None
        self.n += 1
        id = f"e{self.n}"
        kind = self.random.choice((FOREVER, QUICK, TIMED))
        e = Process(Program(kind, self.random.randrange(100)), goes=self.random.random() < 0.3, volatile=not start)
        options = {"AutoRemove": GLib.Variant("b", e.goes), "Output": "null"}
        after = copy.deepcopy(box)
        if t:
            after.task.execs[id] = copy.deepcopy(e)
            if start:
                after.task.execs[id].start()

        def done(reply):
            if start:
                e.start(reply[2])
                os.close(reply[3])
            fresh = copy.deepcopy(self.boxes[name])
            fresh.task.execs[id] = e
            if fresh.task.ends:
                fresh.task.ended()
            self.set(name, fresh)

        running = t is not None and t.status == "running"
        defined = t is not None and t.alive() and not start
        self.act(name, object_path("task", name), "Task.ExecStart" if start else "Task.Exec", "(sasa{sv})",
                 (id, e.program.command(), davit.options(**options)), done=done, after=[after] if t and start else [],
                 right=running or defined, uncertain=box is not None and box.uncertain())

    def exec_define(self, name):
        self.exec(name, False)

    def exec_start(self, name):
        id = self.some_exec(name)
        box = self.boxes[name]
        e = box.task.execs.get(id) if box and box.task else None
        if e is None or not e.volatile:
            return

        # A start that fails takes the exec along.
        def gone(box):
            box = copy.deepcopy(box)
            del box.task.execs[id]
            return box

        def started(box):
            box = copy.deepcopy(box)
            box.task.execs[id].start()
            if box.task.ends:
                box.task.ended()
            return box

        self.act(name, f"{object_path('task', name)}/exec/{id}", "Process.Start", done=lambda _: self.set(name, started(self.boxes[name])),
                 after=[started(box), gone(box)], right=False, uncertain=True)

    def exec_kill(self, name):
        self.on_exec(name, self.some_exec(name), "Process.Kill", lambda e, t: e.killed("KILL"), lambda e, t: e.status == "running",
                     "(s)", ("KILL",))

    def exec_delete(self, name):
        id = self.some_exec(name)
        self.on_exec(name, id, "Process.Delete", lambda e, t: t.execs.pop(id), lambda e, t: not e.alive(), "(a{sv})", ({},))

    def exec_wait(self, name):
        id = self.some_exec(name)
        box = self.boxes[name]
        e = box.task.execs.get(id) if box and box.task else None
        if e is None or box.task.status == "paused" or e.volatile or e.alive() and not e.must_end:
            return
        self.note(f"{name} {id} Wait on {box}")
        try:
            end = self.ask(f"{object_path('task', name)}/exec/{id}", "Process.Wait")[:2]
        except davit.DavitError as error:
            if not error.full_name.startswith(GONE[1:]):
                raise
        else:
            if end not in e.exits and not (box.uncertain() and end == KILLED):
                raise Violation(f"{name} {id} ended {end}, can be {e.exits}")
            self.note(f"    {end}")
        self.check(name)

    # --- streams, lists ---

    def attach(self, name):
        box = self.boxes[name]
        if not box or not box.task or not box.task.pipes:
            return
        self.chaos.traffic("OpenStreams")
        try:
            reply, fds = self.connection.call_with_unix_fd_list_sync(
                davit.NAME, object_path("task", name), f"{davit.NAME}.Process", "OpenStreams", None, None,
                Gio.DBusCallFlags.NONE, RETURNS_WITHIN * 1000, None, None)
        except GLib.Error as error:
            error = davit.DavitError(error)
            if not error.full_name.startswith(CUT) and not box.uncertain() and box.task.alive():
                raise Violation(f"{name} OpenStreams: {error}; it was {box}") from None
            return
        for _, index in reply.unpack()[0]:
            os.close(fds.get(index))

    def list(self, _):
        """Nothing is hidden and nothing shown twice, whatever state it is in."""
        seen = [c[1] for c in self.ask(davit.ROOT, "Manager.ListContainers", "(sa{sv})",
                                       ("", davit.options(Label=[f"client={self.tag}"])))]
        must = {n for n, b in self.boxes.items() if b and not b.may_go()}
        may = {n for n, b in self.boxes.items() if b}
        if len(seen) != len(set(seen)) or not must <= set(seen) <= may:
            raise Violation(f"list shows {seen}, has to show {must}, may show {may}")

    def together(self, _):
        """Something on a name that others use too; only that it is answered is known."""
        name = self.random.choice(self.shared)
        task, container = object_path("task", name), object_path("container", name)
        box, options = self.new_box()
        options["Labels"] = {"client": "shared"}
        command = box.program.command()
        image = IMAGE if box.image else ""
        choice = self.random.choice((
            (davit.ROOT, "Manager.CreateContainer", "(sssasa{sv})", ("", name, image, command, davit.options(**options))),
            (davit.ROOT, "Manager.Run", "(sssasa{sv})", ("", name, image, command, davit.options(**options))),
            (container, "Container.Start", "(a{sv})", ({},)), (container, "Container.CreateTask", "(a{sv})", ({},)),
            (container, "Container.Delete", "(a{sv})", (davit.options(Force=True),)),
            (container, "Container.Rename", "(s)", (self.random.choice(self.shared),)), (task, "Process.Start", "()", ()),
            (task, "Process.Kill", "(s)", ("KILL",)), (task, "Task.Stop", "(a{sv})", (davit.options(TimeoutUSec=100000),)),
            (task, "Task.Pause", "()", ()), (task, "Task.Resume", "()", ()),
            (task, "Task.ExecStart", "(sasa{sv})", ("", ["sleep", "100000"], {})),
            (task, "Process.Delete", "(a{sv})", (davit.options(Force=True),))))
        self.note(f"{name} {choice[1]} (shared)")
        try:
            reply = self.call(*choice)
        except Cut:
            self.cut += 1
            return
        except davit.DavitError as error:
            self.acknowledged += 1
            self.note(f"    {error}")
            if error.name not in (*REFUSED, "Unavailable"):
                raise Violation(f"{choice[1]} on the shared {name}: {error}") from None
            return
        self.acknowledged += 1
        last = choice[1].rpartition(".")[2]
        if last in ("Run", "ExecStart") or last == "Start" and choice[0] == container:
            os.close(reply[-1])

    VERBS = (("create", 6), ("run_one", 6), ("run_any", 3), ("create_task", 6), ("create_and_start", 8), ("task_start", 8), ("kill", 6),
             ("stop", 6), ("pause", 4), ("resume", 6), ("wait", 8), ("delete_task", 5), ("delete", 7), ("rename", 6), ("update", 6),
             ("limit", 3), ("exec", 8), ("exec_define", 4), ("exec_start", 6), ("exec_kill", 5), ("exec_wait", 5), ("exec_delete", 5),
             ("attach", 4), ("list", 3), ("together", 8), ("check", 6))

    def read_ends(self, last=False):
        """Descriptors that tell of ends: a line, or nothing where the manager they came from has gone."""
        kept = []
        for fd, process in self.ends:
            if not select.select([fd], [], [], 0)[0] and not last:
                kept.append((fd, process))
                continue
            line = os.read(fd, 4096) if select.select([fd], [], [], 0)[0] else b""
            os.close(fd)
            if line:
                status, kind, _ = line.decode().split()
                # The model of that time knows what was asked of it until then; whatever came later can only have killed it.
                if (int(status), kind) not in process.exits | {KILLED, process.program.exit()}:
                    raise Violation(f"a descriptor says {line}, can be {process.exits}")
        self.ends = kept

    def run(self):
        verbs = [v for v, _ in self.VERBS]
        weights = [w for _, w in self.VERBS]
        try:
            while self.chaos.gate(self):
                name = self.random.choice(self.names)
                verb = self.random.choices(verbs, weights)[0]
                # Most of what is asked for makes sense.
                if self.boxes[name] is None and self.random.random() < 0.7:
                    verb = self.random.choice(("create", "run_one"))
                elif self.boxes[name] is not None and self.boxes[name].task is None and self.random.random() < 0.5:
                    verb = self.random.choice(("create_task", "create_and_start"))
                getattr(self, verb)(name)
                self.read_ends()
        except BaseException as error:  # whatever it is, the test has to hear of it
            self.note(f"{type(error).__name__}: {error}")
            self.failure = error
            self.chaos.failed(self)
        finally:
            self.chaos.left(self)


class Chaos:
    """All of it: clients, the one who kills, and what is looked at in between."""

    def __init__(self, kills, clients=8, seed=None):
        self.kills, self.seed = kills, seed or os.environ.get("DAVIT_SEED") or str(random.SystemRandom().randrange(1 << 32))
        self.random = random.Random(self.seed)
        self.prefix = "chaos"
        self.begun = time.monotonic()
        self.controllers = davit.get(davit.ROOT, "Manager.Controllers")
        self.shared = [f"{self.prefix}Shared{i}" for i in range(SHARED)]
        self.lock = threading.Condition()
        self.closed = self.over = False
        self.waiting = set()
        self.armed, self.fired = None, threading.Event()
        self.victim = None
        self.killed = 0
        self.longest = 0.0
        self.connection = davit.connect()
        self.clients = [Client(self, i) for i in range(clients)]
        self.bus_signals = [self.connection.signal_subscribe(
            "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager", name, None, None, Gio.DBusSignalFlags.NONE,
            lambda c, s, p, i, member, body: self.traffic(member) if "davit-" in str(body) else None)
            for name in ("UnitNew", "JobNew", "JobRemoved", "UnitRemoved")]

    # --- clients come to a halt and go on ---

    def gate(self, client):
        with self.lock:
            while self.closed and not self.over:
                self.waiting.add(client)
                self.lock.notify_all()
                self.lock.wait()
            self.waiting.discard(client)
            return not self.over

    def left(self, client):
        with self.lock:
            self.waiting.add(client)
            self.lock.notify_all()

    def failed(self, client):
        with self.lock:
            self.victim = self.victim or client
            self.lock.notify_all()
        self.fired.set()

    def halt(self):
        with self.lock:
            self.closed = True
            if not self.lock.wait_for(lambda: len(self.waiting) == len(self.clients), 3 * RETURNS_WITHIN):
                raise Violation(f"clients do not come to an end: {[c.name for c in self.clients if c not in self.waiting]}")
        self.complain()

    def go_on(self):
        with self.lock:
            self.closed = False
            self.waiting -= {c for c in self.clients if c.failure is None}
            self.lock.notify_all()

    def complain(self):
        if self.victim:
            raise Violation(f"seed {self.seed}, after {self.killed} kills, {self.victim.name}: {self.victim.failure}\n" +
                            "\n".join(list(self.victim.history)[-200:]))

    # --- kills ---

    def traffic(self, member):
        """Something is said on the bus; perhaps it is what the next kill waits for."""
        armed = self.armed
        if armed and (armed[0] is None or armed[0] == member):
            armed[1] -= 1
            if armed[1] <= 0:
                self.armed = None
                self.fired.set()

    def bus(self, method, signature, *args):
        return davit.call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", method, signature, args,
                             connection=self.connection)[0]

    def pid(self):
        """Of the manager that owns the name, when one does."""
        deadline = time.monotonic() + RETURNS_WITHIN
        while True:
            try:
                return self.bus("GetConnectionUnixProcessID", "(s)", davit.NAME)
            except davit.DavitError:
                if time.monotonic() > deadline:
                    raise Violation("the manager does not come back") from None
                time.sleep(0.005)

    def starting_pid(self, old):
        """Of the next manager, as soon as systemd has made it."""
        deadline = time.monotonic() + RETURNS_WITHIN
        while True:
            pid = davit.call_on("org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/davitd_2eservice",
                                "org.freedesktop.DBus.Properties", "Get", "(ss)", ("org.freedesktop.systemd1.Service", "MainPID"),
                                connection=self.connection)[0]
            if pid not in (0, old):
                return pid
            if time.monotonic() > deadline:
                raise Violation("systemd does not start the manager again")
            time.sleep(0.005)

    MOMENTS = ("Run", "CreateContainer", "CreateTask", "Start", "Kill", "KillAll", "Stop", "Pause", "Resume", "Delete", "Rename",
               "Update", "SetLabels", "Exec", "ExecStart", "Wait", "UnitNew", "JobRemoved", "UnitRemoved", None, None, None)

    def moment(self):
        """Waits until the next kill is due: some time, or just after something was said."""
        if self.random.random() < 0.25:
            time.sleep(self.random.uniform(0, 0.4))
            return
        self.fired.clear()
        member = self.random.choice(self.MOMENTS)
        self.armed = [member, self.random.randrange(1, 4) if member else self.random.randrange(1, 60)]
        self.fired.wait(2)
        self.armed = None
        time.sleep(10 ** self.random.uniform(-4.5, -1.5))

    def kill(self, pid):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        davit.wait_pidfd(fd)
        self.killed += 1
        for c in self.clients:
            c.note(f"    kill {self.killed}")

    def end(self, pid):
        """Of the manager with this pid, in the way that is tested; sometimes the launcher goes with it."""
        self.kill(pid)
        if self.random.random() < 0.15:
            launcher = davit.main_pid("davit-launcher.service")
            if launcher:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(launcher, signal.SIGKILL)

    def kill_some(self, number):
        while self.killed < number and not self.victim:
            pid = self.pid()
            self.moment()
            if self.victim:
                break
            self.end(pid)
            since = time.monotonic()
            while self.random.random() < 0.15 and self.killed < number:  # in its recovery
                pid = self.starting_pid(pid)
                time.sleep(self.random.uniform(0, 0.04))
                self.kill(pid)
                since = time.monotonic()
            self.pid()
            self.longest = max(self.longest, time.monotonic() - since)

    def run(self, every):
        """All kills, with a look at everything after so many."""
        for c in self.clients:
            c.start()
        try:
            while self.killed < self.kills:
                self.kill_some(min(self.kills, self.killed + every))
                self.halt()
                for c in self.clients:
                    try:
                        for name in c.names:
                            c.check(name)
                    except Violation as error:
                        c.failure = c.failure or error
                        self.failed(c)
                        self.complain()
                audit()
                self.go_on()
        finally:
            with self.lock:
                self.over = True
                self.closed = False
                self.lock.notify_all()
            for c in self.clients:
                c.join(2 * RETURNS_WITHIN)
        self.complain()
        for c in self.clients:
            c.read_ends(last=True)

    def remove_all(self):
        for c in davit.manager("ListContainers", "(sa{sv})", "", {}):
            if c[1].startswith(self.prefix):
                davit.remove_container(c[1])


class Upgrades(Chaos):
    """The same with managers that are asked to go, each followed by one from another file."""

    def __init__(self, number, **kwargs):
        super().__init__(number, **kwargs)
        self.program = re.search(r"path=(\S+)", davit.unit_show("davitd.service", "ExecStart")["ExecStart"]).group(1)
        self.directory = f"{davit.FIXTURES}/upgrade"
        self.drop_in = "/run/systemd/system/davitd.service.d/50-upgrade.conf"
        os.makedirs(self.directory, exist_ok=True)
        self.next_program()
        os.makedirs(os.path.dirname(self.drop_in), exist_ok=True)
        with open(self.drop_in, "w", encoding="utf-8") as f:
            f.write(f"[Service]\nExecStart=\nExecStart={self.directory}/davitd\n")
        davit.systemctl("daemon-reload")

    def next_program(self):
        """What a package does: a new file takes the place of the old one, which is still being executed."""
        shutil.copy2(self.program, f"{self.directory}/new")
        os.rename(f"{self.directory}/new", f"{self.directory}/davitd")

    def end(self, pid):
        fd = os.pidfd_open(pid)
        self.next_program()
        davit.call_on("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "RestartUnit",
                      "(ss)", ("davitd.service", "replace"), connection=self.connection)
        davit.wait_pidfd(fd)
        self.killed += 1
        for c in self.clients:
            c.note(f"    restart {self.killed}")

    def undo(self):
        os.unlink(self.drop_in)
        shutil.rmtree(self.directory)
        davit.systemctl("daemon-reload")
        davit.restart_davitd()


# --- what holds for everything together ---

def truth():
    """{what: (there, has to be there)} of everything that is more or less than the manager says."""
    tasks = davit.manager("ListTasks", "(sa{sv})", "*", {})
    containers = davit.manager("ListContainers", "(sa{sv})", "*", {})
    live = {f"davit-{t[0]}-{t[1]}.scope" for t in tasks if t[3] != "stopped"}
    scopes = davit._scopes()
    idle = davit._parked(scopes)
    units = {line.split()[0] for line in davit.systemctl(
        "list-units", "--all", "--plain", "--no-legend", "davit-*.scope").stdout.splitlines()}
    kept, passing = set(), set()
    for c in containers:
        record = f"{davit.STATE}/namespaces/{c[0]}/containers/{c[1]}.json"
        volatile = f"{davit.RUNTIME}/namespaces/{c[0]}/containers/{c[1]}.json"
        (passing if os.path.exists(volatile) else kept).add(volatile if os.path.exists(volatile) else record)
    found = set(glob.glob(f"{davit.STATE}/namespaces/*/containers/*.json"))
    directories = set(glob.glob(f"{davit.RUNTIME}/task/*/*"))
    of_idle = {f"{davit.RUNTIME}/task/" + i[len("davit-"):-len(".scope")].replace("-", "/", 1) for i in idle}
    owned = {f"{davit.RUNTIME}/task/{t[0]}/{t[1]}" for t in tasks}
    snapshots = [s[1] for s in davit.manager("ListSnapshots", "(sa{sv})", "*", {})]
    return {
        "units": (units - idle, live), "scopes": (set(scopes) - idle, live),
        # What waits to be started is still called what its parent is.
        "shims": ({(s, sum(davit._exe(p) == "davit-shim" for p in pids)) for s, pids in scopes.items() if s not in idle},
                  {(f"davit-{t[0]}-{t[1]}.scope", 2 if t[3] == "created" else 1) for t in tasks if t[3] != "stopped"}),
        "records": (found, kept), "records of this boot": (set(glob.glob(f"{davit.RUNTIME}/namespaces/*/containers/*.json")), passing),
        "task directories": (directories - of_idle, owned),
        "task records": ({p for p in glob.glob(f"{davit.STATE}/namespaces/*/tasks/*.json")},
                         {f"{davit.STATE}/namespaces/{t[0]}/tasks/{t[1]}.json" for t in tasks if _kept(t)}),
        "trash": (set(os.listdir(f"{davit.STATE}/trash")) if os.path.isdir(f"{davit.STATE}/trash") else set(), set()),
        "upper directories": ({len(os.listdir(f"{davit.STATE}/snapshots"))}, {len(snapshots)}),
        "temporary files": ({p for top in (davit.STATE, davit.RUNTIME) for p in glob.glob(f"{top}/namespaces/*/*/.#*")} |
                            set(glob.glob(f"{davit.RUNTIME}/task/*/.*")), set()),
        "log fields": ({p for p in glob.glob("/run/systemd/units/log-*:davit-*.scope") if p.partition(":")[2] not in
                        {f"davit-{t[0]}-{t[1]}.scope" for t in tasks}}, set()),
    }


def _kept(t):
    """Whether a task's record lasts: it does where neither goes with its end."""
    try:
        import json
        with open(f"{davit.RUNTIME}/task/{t[0]}/{t[1]}/task.json", encoding="utf-8") as f:
            return json.load(f)["auto_remove"] == "no"
    except OSError:
        return True


def audit(timeout=15):
    """Units, processes, files and records are those of the objects; what is on its way out gets its time."""
    wrong = {}

    def differs():
        wrong.clear()
        wrong.update({what: (sorted(map(str, there - needed)), sorted(map(str, needed - there)))
                      for what, (there, needed) in truth().items() if there != needed})
        return not wrong

    try:
        davit.wait_until(differs, timeout)
    except AssertionError:
        raise Violation("too much, too little: " + "; ".join(f"{k}: {v}" for k, v in wrong.items())) from None


def descriptors(pid):
    """What a process has open, as a sorted list of kinds."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        found.append(re.sub(r"\d{2,}", "N", target))
    return sorted(found)
