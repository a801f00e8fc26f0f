# SPDX-License-Identifier: LGPL-2.1-or-later
"""`run` of davit-oci and crun: one bundle, one cgroup driver, turn by turn.

crun refuses a host with hierarchies of cgroup version 1 and 2 side by side, so where they are, both are shown version 2
alone. The bundle is what an engine asks for: all namespaces, fourteen capabilities, masked paths; once with the seccomp
profile of an engine, which crun may compile each time, and once without."""

import json
import os
import shutil

from measure import Runs, Timer, Unable, call

TOOLS = ("davit-oci", "crun")
UNIFIED = "/sys/fs/cgroup/unified"
PROFILES = ("/usr/share/containers/seccomp.json", "/etc/containers/seccomp.json")
MACHINES = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
            "aarch64": ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])}


class UnifiedTimer(Timer):
    """A timer that sees cgroup version 2 alone; it does not count the CPU time of the boot."""

    def __init__(self, program, log_directory):
        super().__init__(program, log_directory)
        self.count = None
        if os.path.exists(f"{UNIFIED}/cgroup.procs"):
            self.prefix = ["unshare", "--mount", "sh", "-c",
                           f'mount --bind {UNIFIED} /sys/fs/cgroup && exec "$@"', "sh"]


def _profile():
    """The engines' profile, resolved for this machine and a container without special capabilities."""
    path = next((path for path in PROFILES if os.path.exists(path)), None)
    if not path or os.uname().machine not in MACHINES:
        raise Unable("containers-common's seccomp.json is not installed")
    with open(path, encoding="utf-8") as f:
        profile = json.load(f)
    arch, names = MACHINES[os.uname().machine]
    ret = {"defaultAction": profile["defaultAction"], "architectures": names, "syscalls": []}
    if profile.get("defaultErrnoRet"):
        ret["defaultErrnoRet"] = profile["defaultErrnoRet"]
    for rule in profile["syscalls"]:
        included = rule.get("includes") or {}
        if (rule.get("excludes") or {}).get("arches", []).count(arch) or included.get("caps") or \
                arch not in included.get("arches", [arch]):
            continue
        ret["syscalls"].append({key: value for key, value in rule.items()
                                if key in ("names", "action", "args", "errnoRet") and value not in ([], None)})
    return ret


def _bundle(directory, rootfs, seccomp):
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "config.json")
    if os.path.exists(path):
        os.unlink(path)
    call(["davit-oci", "spec", "--bundle", directory])
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    config.pop("annotations", None)
    config["ociVersion"] = "1.0.2"  # the newest that crun in Debian 12 takes
    config["root"] = {"path": rootfs, "readonly": False}
    config["process"].update(terminal=False, args=["true"])
    config["linux"]["cgroupsPath"] = "/davit-bench-run"
    if seccomp:
        config["linux"]["seccomp"] = seccomp
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    return directory


def oci_rows(timer, directory, rootfs, rounds, batch, note):
    """{"plain": {tool: Runs}, "seccomp": ...}; a row that cannot be is left out with a note."""
    timer = UnifiedTimer(timer.program, os.path.dirname(timer.log))
    table = {}
    for name in ("plain", "seccomp"):
        try:
            bundle = _bundle(os.path.join(directory, f"oci-{name}"), rootfs, _profile() if name == "seccomp" else None)
        except Unable as e:
            note(f"davit-oci and crun, {name}: {e}")
            continue
        table[name] = {tool: Runs() for tool in TOOLS if shutil.which(tool)}
        for i in range(rounds):
            note(f"davit-oci and crun, {name}, round {i + 1} of {rounds}")
            for tool, runs in sorted(table[name].items(), reverse=i % 2 == 1):
                _sample(timer, tool, bundle, batch, runs, note)
    return table


def _sample(timer, tool, bundle, batch, runs, note):
    command = [tool, "--root", f"/run/davit-bench/{tool}", "run", "--bundle", bundle, "bench-%n"]
    if runs.failed:
        return
    try:
        timer.run(command)  # the first of a batch pays for what the tool before it left behind
        runs.add(*timer.run(command, batch))
    except Unable as e:
        runs.failed = str(e)
        note(f"{tool}: {e}")
