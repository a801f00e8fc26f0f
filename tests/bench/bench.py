#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Davit beside runc, crun, containerd, podman and bubblewrap, in one interleaved run on one machine.

Runs as root under systemd with Davit installed (./quickstart exec does for both). Prints a table and the promised
ratios with what was measured; --json writes all of it to a file. Exits 0 when the run is complete, whether the ratios
hold or not; --strict makes a missed one an error.
"""

import argparse
import contextlib
import importlib.machinery
import json
import os
import platform
import random
import subprocess
import sys
import time

import images
import report
from davit_tool import Davit
from importing import import_memory, import_rows
from load_rows import list_rows, log_rows
from loopfs import DavitRoot, LoopFs
from measure import Timer, Unable, call
from oci_rows import oci_rows
from peers import IMAGE, PEERS
from pulling import pull_rows
from rows import density_rows, exec_rows, memory_rows, run_rows
from store_rows import commit_rows, ready_rows

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load(name, path):
    return importlib.machinery.SourceFileLoader(name, os.path.join(TESTS, path)).load_module()


family, reference = load("family", "images/make"), load("reference", "system/reference.py")
family.images = load("system_images", "system/images.py")  # not the module of the same name here

PARTS = ("run", "exec", "oci", "memory", "density", "list", "log", "import", "pull", "store")


def arguments():
    parser = argparse.ArgumentParser(description="Davit beside other container tools, in one interleaved run.")
    parser.add_argument("--timer", required=True, help="the bench-timer program; bench-list is beside it")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that the benchmark works, not how fast")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a promised ratio is missed")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of: %(default)s")
    parser.add_argument("--tools", help="comma-separated names: only these peers")
    parser.add_argument("--no-davit", action="store_true", help="measure the peers alone")
    parser.add_argument("--rounds", type=int, help="rounds of runs and execs")
    parser.add_argument("--batch", type=int, default=5, help="runs of a tool in a round (default: %(default)s)")
    parser.add_argument("--density", type=int, metavar="N", help="idle containers to start (0: none)")
    parser.add_argument("--lines", type=int, metavar="N", help="lines of log a container writes")
    parser.add_argument("--images", default="/var/cache/davit-quickstart",
                        help="where the images of the tests are (tests/boot/image DIR all makes them; default: %(default)s)")
    parser.add_argument("--work", default="/var/lib/davit-bench", help="where it works (default: %(default)s)")
    parser.add_argument("--loop", help="directory for the files of its ext4 file systems (default: a real one in /var/lib)")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if set(options.parts) - set(PARTS):
        parser.error(f"--parts: unknown: {', '.join(sorted(set(options.parts) - set(PARTS)))}")
    options.loop = options.loop or default_loop()
    options.rounds = options.rounds or (1 if options.quick else 10)
    options.density = options.density if options.density is not None else (20 if options.quick else 1000)
    options.lines = options.lines or (20000 if options.quick else 1000000)
    return options


def default_loop():
    """In the private boot /var/lib itself is an overlay on a tmpfs; what lies below some of its directories is real."""
    for directory in ("/var/lib", "/var/lib/containers", "/var/lib/containerd"):
        if os.path.isdir(directory):
            kind = call(["stat", "-f", "-c", "%T", directory]).strip()
            if kind not in ("overlayfs", "tmpfs"):
                return directory
    return "/var/tmp"


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def prepare(tools):
    """Sets every tool up; those that cannot run here are named with their reason and left out."""
    ready, unable, versions = [], {}, {}
    for tool in tools:
        note(f"setting up {tool.name}")
        try:
            tool.setup()
            versions[tool.name] = tool.version()
            ready.append(tool)
        except (Unable, OSError, subprocess.SubprocessError) as e:
            note(f"{tool.name} cannot run here: {e}")
            unable[tool.name] = str(e)
            tool.teardown()
    return ready, unable, versions


def measure_all(options, timer, tools):
    davit = next((tool for tool in tools if tool.name == "davit"), None)
    peers = [tool for tool in tools if tool is not davit]
    ctr = next((tool for tool in peers if tool.name == "ctr"), None)
    daemons = [peer for peer in peers if peer.name in ("ctr", "podman")]
    result = {}
    for part, function in (("run", run_rows), ("exec", exec_rows)):
        if part in options.parts:
            table = function(timer, davit, peers, options.rounds, options.batch, note)
            result[part] = {arrival: {name: runs.summary() for name, runs in rows.items()}
                            for arrival, rows in table.items()}
    if "oci" in options.parts:
        rows = oci_rows(timer, options.work, os.path.join(options.work, "rootfs"), options.rounds, options.batch, note)
        result["oci"] = {name: {tool: runs.summary() for tool, runs in row.items()} for name, row in rows.items()}
    if "memory" in options.parts:
        result["memory"] = memory_rows(davit, daemons, 5 if options.quick else 50, 2 if options.quick else 5, note)
    if "density" in options.parts and options.density and davit:
        result["density"] = density_rows(timer, davit, options.density, note)
    if "list" in options.parts:
        program = os.path.join(os.path.dirname(options.timer), "bench-list")
        result["list"] = list_rows(program, davit, daemons, 10 if options.quick else 100, note)
    if "log" in options.parts:
        result["log"] = log_rows(davit, daemons, options.lines, note)
    if "import" in options.parts:
        result["import"] = import_part(options, davit, ctr)
        result["pair"] = import_rows(davit, ctr, archives(options, "python", "squash"), options.loop, 1, 3 << 30, note, False)
        if davit:
            result["import_rss"] = import_memory(davit, three_layers(options), options.loop, 2 << 30)
    if "pull" in options.parts:
        result["pull"] = pull_rows(davit, ctr, three_layers(options), options.work, options.loop, 1 if options.quick else 5,
                                   2 << 30, note)
    if "store" in options.parts and davit:
        images_of = dict(zip(("app", "files"), archives(options, "app", "files")))
        result["ready"] = ready_rows(davit, images_of, 10 if options.quick else 50, note)
        result["commit"] = commit_rows(davit, archives(options, "debian")[0], 3 if options.quick else 7, note)
    return result


def archives(options, *names):
    found = [os.path.join(options.images, f"{name}.oci.tar") for name in names]
    missing = [path for path in found if not os.path.exists(path)]
    if missing:
        sys.exit(f"bench: {missing[0]} does not exist; tests/boot/image {options.images} all makes it")
    return found


def three_layers(options):
    """Debian, python3 and perl on it, and a layer of all that is odd but what containerd cannot unpack."""
    path = os.path.join(options.work, "three.oci.tar")
    if not os.path.exists(path):
        layers = list(reference.layers_of(archives(options, "python")[0]))
        family.images.oci_archive(path, layers + [family.app_layer(random.Random(1), linked=False)], "three:latest", {})
    return path


def import_part(options, davit, ctr):
    return import_rows(davit, ctr, [three_layers(options)], options.loop, 1 if options.quick else 5, 2 << 30, note)


def machine():
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg(),
            "systemd": call(["systemctl", "--version"]).splitlines()[0],
            "cgroup": "unified" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "hybrid"}


def file_systems(options, stack):
    """All tools work on one ext4 with a journal, Davit's state included."""
    size = (3 if options.quick else 8) << 30
    stack.enter_context(LoopFs(os.path.join(options.loop, "davit-bench.ext4"), options.work, size))
    if not options.no_davit:
        stack.enter_context(DavitRoot(os.path.join(options.work, "state")))


def run_bench(options, result):
    rootfs = images.busybox_rootfs(os.path.join(options.work, "rootfs"))
    archive = images.oci_archive(os.path.join(options.work, "busybox.tar"), rootfs, IMAGE, ["true"])
    wanted = options.tools.split(",") if options.tools else [peer.name for peer in PEERS]
    classes = ([] if options.no_davit else [Davit]) + [peer for peer in PEERS if peer.name in wanted]
    tools, result["unable"], result["versions"] = prepare([tool(options.work, rootfs, archive) for tool in classes])
    try:
        result.update(measure_all(options, Timer(options.timer, "/run/davit-bench"), tools))
    finally:
        for tool in tools:
            tool.teardown()


def main():
    options = arguments()
    if os.geteuid() != 0 or not os.path.isdir("/run/systemd/system"):
        sys.exit("bench: needs root and a running systemd (use ./quickstart exec)")
    os.makedirs("/run/davit-bench", mode=0o700, exist_ok=True)
    result = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
              "rounds": options.rounds, "batch": options.batch, "quick": options.quick}
    with contextlib.ExitStack() as stack:
        file_systems(options, stack)
        run_bench(options, result)
    result["criteria"] = report.criteria(result)
    result["ended"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    for name, reason in result["unable"].items():
        print(f"{name} cannot run here: {reason}")
    report.print_report(result, print)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")
    missing = "davit" in result["unable"]
    missed = any(row["ok"] is False for row in result["criteria"])
    return 1 if missing or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
