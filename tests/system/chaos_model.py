# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the containers of one client of the chaos test have to be: everything that was acknowledged, and nothing else.

A state is exact but for two things that nobody can know: a program that ends by itself may have ended by now, and a call that
was cut off has happened or has not. The first is `ends` and `exits`, the second a choice of states of which one must fit."""

import copy
from dataclasses import dataclass, field

KILLED = (137, "signalled")
LOST = (255, "lost")

#: How a program is written, and how it ends by itself: None for one that runs on.
FOREVER, TRAP, QUICK, TIMED = "forever", "trap", "quick", "timed"


@dataclass(frozen=True)
class Program:
    kind: str
    status: int = 0

    def command(self):
        return {
            FOREVER: ["sleep", "100000"],
            # One that sleeps in the foreground would hear of the signal when that has ended.
            TRAP: ["sh", "-c", f"trap 'exit {self.status}' TERM; while :; do sleep 100000 & wait $!; done"],
            QUICK: ["sh", "-c", f"exit {self.status}"],
            TIMED: ["sh", "-c", f"sleep 0.{1 + self.status % 7}; exit {self.status}"],
        }[self.kind]

    def exit(self):
        return (self.status, "exited")

    def ends_by_itself(self):
        return self.kind in (QUICK, TIMED)


@dataclass
class Process:
    """A task's first process, or an exec. status: created, running, paused, stopped."""
    program: Program
    status: str = "created"
    pid: int = 0
    goes: bool = False  # with its end
    ends: bool = False  # may have ended by now
    must_end: bool = False  # will, unless it is held still
    volatile: bool = False  # an exec that was not started: ends with the manager
    exits: set = field(default_factory=set)

    def start(self, pid=0):
        self.status, self.pid, self.volatile = "running", pid, False
        if self.program.ends_by_itself():
            self.ends = self.must_end = True
            self.exits.add(self.program.exit())

    def killed(self, number):
        """A signal that was sent, or may have been."""
        if number == "KILL":
            self.ends = self.must_end = True
            self.exits.add(KILLED)
        elif number == "TERM" and self.program.kind == TRAP:
            self.ends = True  # or not: it may have come before the trap
            self.exits.add(self.program.exit())

    def alive(self):
        return self.status != "stopped"

    def stopped(self):
        self.status = "stopped"
        self.ends = self.must_end = False

    def fits(self, seen):
        """None, or what is wrong; what is seen becomes what is known."""
        if seen is None:
            if self.volatile or self.goes and (self.ends or not self.alive()):
                return None
            return f"has gone, was {self.status}"
        status, end, pid = seen["status"], seen["exit"], seen["pid"]
        if status == "stopped":
            if self.alive() and not self.ends:
                return f"ended {end}, was {self.status}"
            if end not in self.exits:
                return f"ended {end}, can be {sorted(self.exits)}"
            self.stopped()
            self.exits = {end}
            return None
        if status != self.status:
            return f"is {status}, was {self.status}"
        if self.pid and pid != self.pid:
            return f"has pid {pid}, had {self.pid}"
        self.pid = pid
        return None


@dataclass
class Task(Process):
    execs: dict = field(default_factory=dict)
    pipes: bool = False
    tasks_max: int = 0  # 0: as it came

    def ended(self):
        """What runs in it ends with it, if it does."""
        for e in self.execs.values():
            if e.alive():
                e.ends = True
                e.exits |= {KILLED}
                e.must_end |= not e.volatile and (self.must_end or not self.alive())

    def fits(self, seen):
        wrong = super().fits(seen)
        if wrong or seen is None:
            return wrong
        if self.ends or not self.alive():
            self.ended()
        if self.tasks_max and seen["tasks_max"] != self.tasks_max and self.alive():
            return f"TasksMax is {seen['tasks_max']}, was set to {self.tasks_max}"
        for id, e in list(self.execs.items()):
            wrong = e.fits(seen["execs"].get(id))
            if wrong:
                return f"exec {id} {wrong}"
            if seen["execs"].get(id) is None:
                del self.execs[id]
        more = set(seen["execs"]) - set(self.execs)
        return f"has execs that nobody has made: {more}" if more else None


@dataclass
class Box:
    """A container."""
    program: Program
    labels: dict
    auto: str = "no"
    timeout: int = 10000000
    image: bool = False
    task: Task = None

    def may_go(self):
        return self.auto == "container" and self.task is not None and (self.task.ends or not self.task.alive())

    def uncertain(self):
        """Whether the task may have ended by now, or have gone with its end."""
        return self.task is not None and (self.task.ends or self.task.goes and not self.task.alive())

    def new_task(self, goes=False, pipes=False, pid=0):
        self.task = Task(self.program, pid=pid, goes=goes or self.auto == "container", pipes=pipes)
        return self.task

    def fits(self, seen):
        for key in ("labels", "auto", "timeout"):
            if seen[key] != getattr(self, key):
                return f"{key} is {seen[key]}, was set to {getattr(self, key)}"
        if self.task is None:
            return f"has a task that nobody has made: {seen['task']}" if seen["task"] else None
        wrong = self.task.fits(seen["task"])
        if wrong:
            return "task " + wrong
        if seen["task"] is None:
            self.task = None
        return None


def reconcile(states, seen):
    """The first of these states (None: no container) that fits what is seen, as it is now known. Raises AssertionError."""
    wrong = []
    for state in states:
        if state is None or seen is None:
            if state is None and seen is None or state is not None and state.may_go():
                return None
            wrong.append("is there" if state is None else "has gone")
            continue
        state = copy.deepcopy(state)
        why = state.fits(seen)
        if why is None:
            return state
        wrong.append(why)
    raise AssertionError(f"{'; or '.join(wrong)}. Seen: {seen}. Expected one of {states}")
