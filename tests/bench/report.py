# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmark promises and prints: the criteria with their figures, the tables for a reader."""

import statistics

# (arrival, row of Davit, tool, Davit's median is at most 1/limit of the tool's)
RUN_LIMITS = [
    (block, f"davit {mode}", tool, limit)
    for block, mode, limits in (("back to back", "warm", (3, 10, 15)), ("spaced", "pooled", (3, 10, 15)),
                                ("spaced", "kept", (1.8, 6, 12)), ("spaced", "cold", (1.8, 6, 12)))
    for tool, limit in zip(("runc", "ctr", "podman"), limits)
]
EXEC_LIMIT = 12
OCI_LIMIT = 2 / 3
SHIM_PSS_KB, SHIM_PRIVATE_DIRTY_KB = 150, 100
MANAGER_RSS_KB = 12 * 1024
DENSITY, LIST_MS = 1000, 20
LIST_P99_MS = 5  # while others are deleted
IMPORT_LIMIT = 2  # in CPU time and in wall time, of containerd and of umoci
IMPORT_RSS_KB = 64 * 1024
PAIR_DISK = 0.6
READY_MS = 5
COMMIT_MS = 300


def criteria(result):
    """The list of {name, wanted, measured, ok}; ok is None where nothing was measured."""
    found = []
    for block, row, tool, limit in RUN_LIMITS:
        rows = result.get("run", {}).get(block, {})
        found.append(_ratio(f"run --rm true, {row[6:]}: {tool} / davit", rows, tool, row, limit))
    found.append(_ratio("exec true: ctr task exec / davit", result.get("exec", {}).get("back to back", {}), "ctr",
                        "davit", EXEC_LIMIT))
    found += _oci_criteria(result)
    found += _memory_criteria(result) + _load_criteria(result) + _import_criteria(result) + _store_criteria(result)
    return found


def _ratio(name, rows, other, own, limit):
    a, b = rows.get(other, {}), rows.get(own, {})
    measured = a["median"] / b["median"] if a.get("n") and b.get("n") else None
    return _criterion(name, f">= {limit:g}x", measured, "x", measured is not None and measured >= limit)


def _oci_criteria(result):
    found = []
    for name, label in (("plain", "without seccomp"), ("seccomp", "with seccomp")):
        own, other = (result.get("oci", {}).get(name, {}).get(tool, {}) for tool in ("davit-oci", "crun"))
        measured = own["median"] / other["median"] if own.get("n") and other.get("n") else None
        found.append(_criterion(f"run --rm true, {label}: davit-oci / crun", f"<= {OCI_LIMIT:.3g}", measured, "",
                                measured is not None and measured <= OCI_LIMIT))
    return found


def _memory_criteria(result):
    shim = result.get("memory", {}).get("davit", {})
    density = result.get("density", {})
    manager = density.get("davitd_100", {})
    listed = density.get("list_ms", {})
    return [
        _limit(f"shim PSS, {shim.get('n', 0)} idle tasks", shim.get("pss"), SHIM_PSS_KB, "KB"),
        _limit(f"shim private dirty, {shim.get('n', 0)} idle tasks", shim.get("private_dirty"), SHIM_PRIVATE_DIRTY_KB,
               "KB"),
        _limit(f"davitd RSS, {manager.get('tasks', 0)} tasks", manager.get("rss"), MANAGER_RSS_KB, "KB"),
        _criterion("idle containers started", f">= {density.get('wanted', DENSITY)}", density.get("started"), "",
                   density.get("started", 0) >= density.get("wanted", DENSITY)),
        _limit(f"ListTasks of {density.get('listed', 0)} tasks", listed.get("median"), LIST_MS, "ms"),
    ]


def _load_criteria(result):
    listed = result.get("list", {}).get("davit", {})
    found = [_limit(f"ListTasks while {listed.get('of', 100)} are deleted, p99", listed.get("p99"), LIST_P99_MS, "ms")]
    for where, rows in result.get("log", {}).items():
        used = rows.get("davit", {}).get("keeper_ticks")
        found.append(_limit(f"CPU of the shim for the lines, {where}", used, 0, "ticks"))
    stats = result.get("density", {}).get("stats", {})
    return found + [_criterion("tasks in one call for statistics", f">= {DENSITY}", stats.get("tasks"), "",
                               stats.get("tasks", 0) >= DENSITY)]


def _import_criteria(result):
    rows, found = result.get("import", {}), []
    own = rows.get("davit")
    for tool in ("ctr", "umoci"):
        for key, label in (("wall_synced", "wall"), ("cpu", "CPU")):
            other = rows.get(tool)
            measured = _median(other, key) / _median(own, key) if own and other else None
            found.append(_criterion(f"import, 3 layers, {label}: {tool} / davit", f">= {IMPORT_LIMIT:g}x", measured, "x",
                                    measured is not None and measured >= IMPORT_LIMIT))
    pulls = result.get("pull", {})
    for tool in ("ctr", "podman"):
        both = pulls.get("davit") and pulls.get(tool)
        ratio = _median(pulls[tool], "wall_synced") / _median(pulls["davit"], "wall_synced") if both else None
        found.append(_criterion(f"pull, 3 layers, wall: {tool} / davit", f">= {IMPORT_LIMIT:g}x", ratio, "x",
                                ratio is not None and ratio >= IMPORT_LIMIT))
    found.append(_limit("import, peak RSS of the worker", result.get("import_rss"), IMPORT_RSS_KB, "KB"))
    pair = result.get("pair", {})
    disk = _median(pair["davit"], "disk") / _median(pair["ctr"], "disk") if pair.get("davit") and pair.get("ctr") else None
    found.append(_criterion("disk, two images of shared files: davit / ctr", f"<= {PAIR_DISK:g}x", disk, "x",
                            disk is not None and disk <= PAIR_DISK))
    return found


def _store_criteria(result):
    found = [_limit(f"root file system of {name} ready", row["median"], READY_MS, "ms")
             for name, row in result.get("ready", {}).items()]
    commit = result.get("commit", {})
    label = f"commit of {commit.get('changed', 0)} files in {commit.get('entries', 0)} entries"
    return found + [_limit(label, commit.get("median"), COMMIT_MS, "ms")]


def _limit(name, measured, limit, unit):
    return _criterion(name, f"<= {limit:g} {unit}", measured, unit, measured is not None and measured <= limit)


def _criterion(name, wanted, measured, unit, ok):
    return {"name": name, "wanted": wanted, "measured": measured, "unit": unit,
            "ok": ok if measured is not None else None}


def _median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def print_report(result, out):
    for title, key, owners in (
            ("run --rm true, milliseconds", "run", {"back to back": ["davit warm"],
                                                    "spaced": ["davit pooled", "davit kept", "davit cold"]}),
            ("exec true, milliseconds", "exec", {"back to back": ["davit"], "spaced": ["davit"]})):
        for arrival, rows in result.get(key, {}).items():
            _print_runs(f"{title}, {arrival}", rows, owners[arrival], out)
    for name, rows in result.get("oci", {}).items():
        _print_runs(f"OCI runtimes, run true, milliseconds, {name}", rows, ["davit-oci"], out)
    _print_memory(result, out)
    _print_density(result.get("density"), out)
    _print_load(result, out)
    _print_import(result, out)
    _print_store(result, out)
    _print_criteria(result["criteria"], out)


def _print_runs(title, rows, owners, out):
    ratios = [owner for owner in owners if rows.get(owner, {}).get("n")]
    out(f"\n{title}")
    out(f"  {'':14} {'n':>4} {'min':>9} {'median':>9} {'p95':>9} {'CPU/run':>9}" +
        "".join(f"   {'/ ' + owner + ' min, med':>22}" for owner in ratios))
    for name, row in rows.items():
        if not row.get("n"):
            out(f"  {name:14} cannot run here: {row.get('failed')}")
            continue
        line = f"  {name:14} {row['n']:4} {row['min']:9.2f} {row['median']:9.2f} {row['p95']:9.2f} {row['cpu']:9.2f}"
        for owner in ratios:
            line += f"   {row['min'] / rows[owner]['min']:13.2f} {row['median'] / rows[owner]['median']:8.2f}"
        out(line + (f"   stopped: {row['failed']}" if row.get("failed") else ""))


def _print_memory(result, out):
    if not result.get("memory"):
        return
    out("\nmemory of what holds one idle container, KB (median)")
    out(f"  {'':14} {'n':>4} {'RSS':>9} {'PSS':>9} {'private':>9}")
    for name, row in result["memory"].items():
        out(f"  {name:14} {row['n']:4} {row['rss']:9.0f} {row['pss']:9.0f} {row['private_dirty']:9.0f}")


def _print_density(density, out):
    if not density:
        return
    out(f"\n{density['started']} idle containers")
    if density.get("start_ms"):
        times = density["start_ms"]
        out(f"  start, ms:     min {times['min']:.2f}  median {times['median']:.2f}  p95 {times['p95']:.2f}"
            f"  first hundred {times['first_100']:.2f}  last hundred {times['last_100']:.2f}")
    for key, label in (("davitd_100", "davitd at 100"), ("davitd_all", "davitd at end"), ("shim", "a shim")):
        if density.get(key):
            row = density[key]
            out(f"  {label + ', KB:':19} RSS {row['rss']:.0f}  PSS {row['pss']:.0f}"
                f"  private {row['private_dirty']:.0f}")
    if density.get("list_ms"):
        out(f"  ListTasks of {density['listed']}, ms: min {density['list_ms']['min']:.2f}"
            f"  median {density['list_ms']['median']:.2f}")
    if density.get("stats"):
        row = density["stats"]
        out(f"  ListStats of {row['tasks']}, ms: min {row['min']:.2f}  median {row['median']:.2f}; a GetTask meanwhile:"
            f" median {row['get_median']:.2f}  p99 {row['get_p99']:.2f}  of {row['get_n']}")
    if density.get("failed"):
        out(f"  stopped: {density['failed']}")


def _share(value):
    return "-" if value is None else f"{value:.1%}"


def _print_load(result, out):
    if result.get("list"):
        out("\nlist of those that stay while as many are deleted, milliseconds")
        out(f"  {'':14} {'n':>4} {'median':>9} {'p99':>9} {'max':>9} {'of':>5} {'deletes':>9} {'stolen':>7}")
        for name, row in result["list"].items():
            out(f"  {name:14} {row['n']:4} {row['median']:9.2f} {row['p99']:9.2f} {row['max']:9.2f} {row['of']:5}"
                f" {row['deletes_ms']:9.0f} {_share(row['stolen']):>7}")
    for where, rows in result.get("log", {}).items():
        out(f"\nlines of log, {where}")
        out(f"  {'':14} {'seconds':>9} {'CPU of its keeper, ms':>23} {'ticks':>7}")
        for name, row in rows.items():
            out(f"  {name:14} {row['seconds']:9.2f} {row['keeper_ms']:23.2f} {row['keeper_ticks']:7}")


def _print_import(result, out):
    for key, title in (("import", "import of three layers with root file system, fresh ext4 each time"),
                       ("pull", "pull of the same from a registry on loopback, fresh ext4 each time"),
                       ("pair", "import of two images that share most files, one after the other")):
        rows = result.get(key)
        if not rows:
            continue
        out(f"\n{title}")
        out(f"  {'':14} {'n':>4} {'wall ms':>9} {'synced':>9} {'CPU ms':>9} {'disk MB':>9}")
        for name, samples in rows.items():
            if samples:
                out(f"  {name:14} {len(samples):4} {_median(samples, 'wall'):9.0f} {_median(samples, 'wall_synced'):9.0f}"
                    f" {_median(samples, 'cpu'):9.0f} {_median(samples, 'disk') / 1e6:9.1f}")


def _print_store(result, out):
    if result.get("ready"):
        out("\nfrom the call to a mounted root file system, milliseconds")
        out(f"  {'':14} {'first':>9} {'median':>9} {'max':>9} {'snapshot':>9}")
        for name, row in result["ready"].items():
            out(f"  {name:14} {row['first']:9.2f} {row['median']:9.2f} {row['max']:9.2f} {row['prepare']:9.2f}")


def _print_criteria(rows, out):
    out("\npromised")
    for row in rows:
        verdict = {True: "holds", False: "MISSED", None: "not measured"}[row["ok"]]
        measured = "-" if row["measured"] is None else f"{row['measured']:.2f} {row['unit']}".rstrip()
        out(f"  {row['name']:42} {row['wanted']:>12} {measured:>14}  {verdict}")
