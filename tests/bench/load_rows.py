# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of the benchmark about load: a million lines of log, lists while others delete, statistics of all at once."""

import os
import statistics
import subprocess
import time

from measure import Unable, call, percentile, wait_until

LINE = "a line of log as a container writes it, neither short nor long"
ROUNDS, MAX_ROUNDS = 6, 30  # as many lists as a 99th percentile needs
QUIET_SHARE = 0.01  # of a round's processors; a list that waits for a machine which is not there says nothing of anybody
JOURNAL = "/run/systemd/journald.conf.d/99-davit-bench.conf"


# ---- lines ----

def log_rows(davit, peers, lines, note):
    """{where: {tool: {seconds, keeper_ms, keeper_ticks}}}: what it takes until a container has written lines of log, and
    what the process that keeps the container uses of the CPU for it. journal: every line is kept; file: a plain one."""
    tools = [tool for tool in [davit] + peers if tool and hasattr(tool, "log_command")]
    rows = {"journal": {}, "file": {}}
    with _patient_journal():
        for where in rows:
            for tool in tools:
                try:
                    command = tool.log_command(where, "bench-log", _writer(lines))
                except NotImplementedError:
                    continue
                note(f"{lines} lines of log by {tool.name}, {where}")
                try:
                    rows[where][tool.name] = _log_row(tool, command, "bench-log")
                except (Unable, OSError, subprocess.SubprocessError) as e:
                    note(f"{tool.name}: {e}")
    return rows


def _writer(lines):
    """It waits until it is looked at, and stays when it has written: what keeps it is there to be looked at again."""
    return ["sh", "-c", f"sleep 1; yes '{LINE}' | head -n {lines}; exec sleep 1000000"]


def _log_row(tool, command, name):
    before = set(tool.keepers())
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    try:
        pid = tool.pid_of(name)
        keepers = sorted(set(tool.keepers()) - before)
        wait_until(lambda: _children(pid) == ["yes"] or _comm(pid) == "sleep", "the writer", 30)
        start, used, ticks = time.monotonic(), _cpu_ms(keepers), _ticks(keepers)
        wait_until(lambda: _comm(pid) == "sleep", "the end of the lines", 600)
        return {"seconds": time.monotonic() - start, "keeper_ms": _cpu_ms(keepers) - used,
                "keeper_ticks": _ticks(keepers) - ticks, "keepers": len(keepers)}
    finally:
        tool.remove_idle(name)


def _comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
        return f.read().strip()


def _children(pid):
    """Names of the children that are no sleep: head may be there or not yet."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        for child in f.read().split():
            try:
                found.append(_comm(child))
            except OSError:
                pass
    return [name for name in found if name == "yes"]


def _cpu_ms(pids):
    """Milliseconds on a CPU, by the scheduler's own clock."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1e6


def _ticks(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total


class _patient_journal:
    """journald keeps every line, whoever writes it; otherwise the tools would be compared in what is thrown away."""

    def __enter__(self):
        os.makedirs(os.path.dirname(JOURNAL), exist_ok=True)
        with open(JOURNAL, "w", encoding="ascii") as f:
            f.write("[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\n")
        self._restart()

    def __exit__(self, *_):
        os.unlink(JOURNAL)
        self._restart()

    @staticmethod
    def _restart():
        subprocess.run(["systemctl", "restart", "systemd-journald"], check=False)


# ---- lists while others delete ----

def list_rows(program, davit, peers, count, note):
    """{tool: {n, median, p99, max, of, deletes_ms, stolen}}, milliseconds; while of containers are deleted as many stay
    and are listed. "davit" is the call on the bus, by program (bench-list), "davit at rest" the same while nothing is
    deleted: what the machine makes of it. Of these rounds count that the hypervisor left alone, or the least disturbed;
    stolen is what it took even so, as a share of all processors. "NAME ps" is the command of a tool, which is what peers can be compared with, of fewer:
    they take minutes for a hundred."""
    rows = {}
    if davit:
        davit.set_mode("pooled")
        rows.update(_listed_bus(program, davit, count, note))
    for tool in [davit] + peers:
        if not tool or not hasattr(tool, "list_command"):
            continue
        note(f"list by {tool.name} while {count // 5} containers are deleted")
        try:
            rows[f"{tool.name} ps"] = _listed_command(tool, count // 5)
        except (Unable, OSError, subprocess.SubprocessError) as e:
            note(f"{tool.name}: {e}")
    return {name: row for name, row in rows.items() if row}


def _started(tool, names):
    for name in names:
        tool.start_idle(name)


def _summary(times, count, deletes, stolen=None):
    return {"n": len(times), "median": statistics.median(times), "p99": percentile(times, 99), "max": max(times),
            "of": count, "deletes_ms": deletes, "stolen": stolen}


def _listed_bus(program, davit, count, note):
    staying, going = [f"stay-{i}" for i in range(count)], [f"go-{i}" for i in range(count)]
    rounds = []  # (share of the processors that was the host's, milliseconds of each list, of all deletes)
    _started(davit, staying)
    try:
        while len(rounds) < MAX_ROUNDS and len(_quiet(rounds)) < ROUNDS:
            note(f"list while {count} containers are deleted, round {len(rounds) + 1}, {len(_quiet(rounds))} quiet")
            _started(davit, going)
            time.sleep(0.2)  # what their start has left to be done is no part of it
            rounds.append(_lists([program, "--", *going]))
        rest = min((_lists([program, "-r", "2000000"]) for _ in range(3)), key=lambda r: r[0])
    except Unable as e:
        note(f"davit: {e}")
        return {}
    finally:
        davit.remove_all(staying)
    rounds = sorted(rounds, key=lambda r: r[0])[:ROUNDS]
    times = [elapsed for _, listed, _ in rounds for elapsed in listed]
    return {"davit": _summary(times, count, statistics.median(took for _, _, took in rounds), rounds[-1][0]),
            "davit at rest": _summary(rest[1], 0, 0, rest[0])}


def _quiet(rounds):
    return [r for r in rounds if r[0] <= QUIET_SHARE]


def _processors():
    """(jiffies that another guest of the host had, all jiffies)"""
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(word) for word in f.readline().split()[1:9]]
    return fields[7], sum(fields)


def _lists(command):
    """(share of the processors' time that was another's, milliseconds of each list, milliseconds until all were deleted)
    of a run of bench-list."""
    stolen, total = _processors()
    lines = [line.split() for line in call(command).splitlines()]
    stolen, total = _processors()[0] - stolen, _processors()[1] - total
    times = {name: [int(value) / 1e6 for word, value in lines if word == name] for name in ("list", "deletes")}
    return stolen / max(total, 1), times["list"], times["deletes"][0]


def _listed_command(tool, count):
    staying, going = [f"stay-{i}" for i in range(count)], [f"go-{i}" for i in range(count)]
    _started(tool, staying + going)
    times = []
    start = time.monotonic()
    with subprocess.Popen(tool.remove_command(going), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as deleter:
        while deleter.poll() is None:
            before = time.monotonic_ns()
            call(tool.list_command())
            times.append((time.monotonic_ns() - before) / 1e6)
    took = (time.monotonic() - start) * 1e3
    tool.remove_all(staying)
    return _summary(times, count, took)


# ---- statistics ----

def stats_row(davit):
    """{tasks, min, median, get_p99}: one call for the statistics of all tasks, milliseconds; and what a GetTask takes
    while such a call is answered."""
    calls = [davit.bus.list_stats() for _ in range(5)]
    name = davit.bus.some_task()
    others = [elapsed for _ in range(5) for elapsed in davit.bus.get_while_stats(name)]
    return {"tasks": calls[0][0], "min": min(t for _, t in calls), "median": statistics.median(t for _, t in calls),
            "get_n": len(others), "get_median": statistics.median(others), "get_p99": percentile(others, 99)}
