# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of the benchmark: runs, execs, memory of idle containers, a thousand of them."""

import statistics

from load_rows import stats_row
from measure import Runs, Unable, median_memory, memory, percentile, wait_until

BACK_TO_BACK = 0
SPACED_USEC = 60000


def _sample(timer, tool, command, batch, gap_usec, runs, note):
    """One batch of one tool; a tool that fails once is out of the row, with its reason."""
    if runs.failed:
        return
    try:
        timer.run(command, 1, gap_usec)  # the first of a batch pays for what the tool before it left behind
        runs.add(*timer.run(command, batch, gap_usec))
    except Unable as e:
        runs.failed = str(e)
        note(f"{tool.name}: {e}")


def run_rows(timer, davit, peers, rounds, batch, note):
    """`run --rm true` of every tool, round after round; {arrival: {tool: Runs}}.

    warm is back to back, pooled, kept and cold are SPACED_USEC apart; a peer has one row for each spacing.
    """
    table = {arrival: {} for arrival in ("back to back", "spaced")}
    for i in range(rounds):
        note(f"run, round {i + 1} of {rounds}")
        _run_block(timer, table["back to back"], davit, ["warm"], _turn(peers, i), batch, BACK_TO_BACK, note)
        _run_block(timer, table["spaced"], davit, ["pooled", "kept", "cold"], _turn(peers, i), batch, SPACED_USEC, note)
    return table


def _run_block(timer, rows, davit, modes, peers, batch, gap_usec, note):
    for mode in modes if davit else []:
        davit.set_mode(mode)
        _sample(timer, davit, davit.run_command(), batch, gap_usec, rows.setdefault(f"davit {mode}", Runs()), note)
        davit.settle()
    for peer in peers:
        _sample(timer, peer, peer.run_command(), batch, gap_usec, rows.setdefault(peer.name, Runs()), note)


def _turn(peers, i):
    """Each round begins with another peer, so that none always follows the same one."""
    return peers[i % len(peers):] + peers[:i % len(peers)] if peers else []


def exec_rows(timer, davit, peers, rounds, batch, note):
    """`exec true` in a running container, back to back and spaced; {arrival: {tool: Runs}}."""
    tools = [tool for tool in ([davit] if davit else []) + peers if tool.exec_command("x")]
    table = {"back to back": {}, "spaced": {}}
    ready = []
    if davit:
        davit.set_mode("pooled")
    for tool in tools:
        try:
            tool.start_idle("bench-exec")
            ready.append(tool)
        except (Unable, OSError, ValueError) as e:
            note(f"{tool.name}: {e}")
    try:
        for i in range(rounds):
            note(f"exec, round {i + 1} of {rounds}")
            for arrival, gap_usec in (("back to back", BACK_TO_BACK), ("spaced", SPACED_USEC)):
                for tool in _turn(ready, i):
                    _sample(timer, tool, tool.exec_command("bench-exec"), batch, gap_usec,
                            table[arrival].setdefault(tool.name, Runs()), note)
                    if tool is davit:
                        davit.settle()
    finally:
        for tool in ready:
            tool.remove_idle("bench-exec")
    return table


def memory_rows(davit, peers, n_davit, n_peer, note):
    """What holds an idle container, in KB: {tool: {n, rss, pss, private_dirty}}, medians over the containers."""
    rows = {}
    for tool, count in [(davit, n_davit)] * bool(davit) + [(peer, n_peer) for peer in peers]:
        names = [f"bench-idle-{i}" for i in range(count)]
        note(f"memory: {count} idle containers of {tool.name}")
        started = []
        try:
            before = tool.keepers()
            for name in names:
                tool.start_idle(name)
                started.append(name)
            pids = sorted(set(tool.keepers()) - set(before))
            if pids:
                rows[tool.name] = median_memory(pids)
        except (Unable, OSError) as e:
            note(f"{tool.name}: {e}")
        for name in started:
            tool.remove_idle(name)
    return rows


def density_rows(timer, davit, count, note):
    """Starts count idle containers one after another: time of each, davitd's memory at 100 and at the end, one list."""
    davit.set_mode("pooled")
    first, times, result = timer.next, [], {"wanted": count}
    try:
        while len(times) < count:
            step = min(100, count - len(times))
            wall, _cpu = timer.run(davit.start_command(), step)
            times += wall
            note(f"density: {len(times)} containers, the last {step} at {statistics.median(wall):.1f} ms")
            if len(times) == min(100, count):
                result["davitd_100"] = {"tasks": len(times), **memory(davit.manager_pid())}
        result["davitd_all"] = memory(davit.manager_pid())
        result["shim"] = median_memory(davit.keepers())
        listed = [davit.bus.list_tasks() for _ in range(20)]
        result["listed"] = listed[0][0]
        result["list_ms"] = {"min": min(t for _, t in listed), "median": statistics.median(t for _, t in listed),
                             "first": listed[0][1]}
        result["stats"] = stats_row(davit)
    except Unable as e:
        result["failed"] = str(e)
        note(f"density: {e}")
    finally:
        davit.remove_all([f"idle-{i}" for i in range(first, first + len(times))])
        wait_until(lambda: not davit.keepers(), "the shims of removed containers", 120)
    result["started"] = len(times)
    if times:
        result["start_ms"] = {"min": min(times), "median": statistics.median(times), "p95": percentile(times, 95),
                              "first_100": statistics.median(times[:100]), "last_100": statistics.median(times[-100:])}
    return result
