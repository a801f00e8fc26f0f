# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measuring: timed runs through bench-timer, CPU of the whole boot, memory of a process, space on a file system."""

import glob
import os
import statistics
import subprocess
import time

CPUACCT = "/sys/fs/cgroup/cpuacct/cpuacct.usage"
CPU_STAT = "/sys/fs/cgroup/cpu.stat"


class Unable(Exception):
    """A tool cannot run here; the text says why."""


class Runs:
    """The samples of one tool in one row: wall clock in milliseconds each, CPU in milliseconds in all."""

    def __init__(self):
        self.wall = []
        self.cpu = 0.0
        self.failed = None

    def add(self, wall, cpu):
        self.wall += wall
        self.cpu += cpu

    def summary(self):
        if not self.wall:
            return {"n": 0, "failed": self.failed}
        ordered = sorted(self.wall)
        return {
            "n": len(ordered),
            "min": round(ordered[0], 3),
            "median": round(statistics.median(ordered), 3),
            "p95": round(percentile(ordered, 95), 3),
            "cpu": round(self.cpu / len(ordered), 3),
            "failed": self.failed,
        }


def percentile(values, p):
    """The nearest-rank percentile of a list."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -(-len(ordered) * p // 100) - 1))]


class Timer:
    """Calls bench-timer; numbers runs so that no two ever share an id."""

    def __init__(self, program, log_directory):
        self.program = program
        self.log = os.path.join(log_directory, "stderr")
        self.next = 1
        self.prefix = []  # of its command, as to run in other namespaces
        self.count = CPUACCT if os.path.exists(CPUACCT) else None

    def run(self, command, runs=1, gap_usec=0):
        """Returns (list of wall milliseconds, CPU milliseconds of the boot); Unable when a run fails."""
        if os.path.exists(self.log):
            os.unlink(self.log)
        arguments = self.prefix + [self.program, "-n", str(runs), "-g", str(gap_usec), "-s", str(self.next), "-e", self.log]
        if self.count:
            arguments += ["-c", self.count]
        self.next += runs
        done = subprocess.run(arguments + ["--"] + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, check=False)
        wall, cpu = [], 0.0
        for line in done.stdout.splitlines():
            word = line.split()
            if word[0] == "run":
                if word[4] != "0":
                    raise Unable(f"{command[0]} exited with {word[4]}: {self.last_error()}")
                wall.append(int(word[1]) / 1e6)
            elif word[0] == "cpu":
                cpu = int(word[1]) / 1e6
        if done.returncode != 0 or len(wall) != runs:
            raise Unable(done.stderr.strip() or f"{command[0]} did not run")
        return wall, cpu

    def last_error(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                lines = [line.strip() for line in f if line.strip()]
        except FileNotFoundError:
            lines = []
        return lines[-1] if lines else "no message"


def boot_cpu():
    """CPU milliseconds everything in this boot has used, daemons and PID 1 included."""
    try:
        with open(CPUACCT, encoding="ascii") as f:
            return int(f.read()) / 1e6
    except FileNotFoundError:
        with open(CPU_STAT, encoding="ascii") as f:
            for line in f:
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e3
    return 0.0


def call(command, timeout=120, **options):
    """Runs a command that must succeed; Unable with its last line of error otherwise. Returns its output."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              timeout=timeout, check=False, **options)
    except FileNotFoundError:
        raise Unable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unable(f"{' '.join(command)}: no end after {timeout} s") from None
    if done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Unable(f"{command[0]} exited with {done.returncode}: {text[-1] if text else 'no message'}")
    return done.stdout.decode(errors="replace")


def pids_of(comm):
    """Processes whose name is comm (the kernel keeps 15 characters)."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                if f.read().rstrip("\n") == comm[:15]:
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return sorted(found)


def memory(pid):
    """RSS, PSS and private dirty of a process in KB, from smaps_rollup."""
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as f:
        for line in f:
            word = line.split()
            if len(word) == 3 and word[2] == "kB":
                fields[word[0].rstrip(":")] = int(word[1])
    return {"rss": fields["Rss"], "pss": fields["Pss"], "private_dirty": fields["Private_Dirty"]}


def peak_rss(comm):
    """The largest resident set in KB that any process of a name has had so far in its life; 0 when there is none."""
    largest = 0
    for pid in pids_of(comm):
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
                largest = max([largest] + [int(line.split()[1]) for line in f if line.startswith("VmHWM:")])
        except OSError:
            pass
    return largest


def median_memory(pids):
    samples = [memory(pid) for pid in pids]
    return {"n": len(samples), **{key: statistics.median(s[key] for s in samples) for key in samples[0]}}


def used(path):
    """Bytes in use on the file system that holds path."""
    stat = os.statvfs(path)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def sync(path):
    """Returns when everything written on path's file system is durable."""
    call(["sync", "-f", path])


def wait_until(condition, what, timeout=20.0):
    """Polls for the state of somebody else's daemon while it comes up; never used inside a measurement."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise Unable(f"{what}: no answer after {timeout:.0f} s")
        time.sleep(0.02)
