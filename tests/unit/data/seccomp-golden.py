#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Derives seccomp-default.golden from a published default profile and the kernel's own numbers.

Usage: seccomp-golden.py PROFILE.json > seccomp-default.golden

A line is: name, its numbers on x86-64, i386 and x32 ("-" where it has none), and what becomes of it: "allow",
"cap:A|B" (allowed with any of these), or the name of a rule with arguments that the test knows.
"""

import json
import re
import sys

HEADERS = "/usr/include/x86_64-linux-gnu/asm/unistd_%s.h"
# newer than the headers of the oldest supported build host
NEWER = {"cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
         "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
         "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
         "removexattrat": 466}
X32 = 0x40000000


def numbers(form):
    found = {}
    for line in open(HEADERS % form):
        m = re.match(r"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?", line)
        if m:
            found[m.group(1)] = int(m.group(2)) + (X32 if form == "x32" else 0)
    for name, number in NEWER.items():
        found.setdefault(name, number + (X32 if form == "x32" else 0))
    if form == "64":
        found.setdefault("uretprobe", 335)
    return found


def applies(rule):
    """Whether the rule is there on amd64, and the capabilities that bring it (None: always)."""
    includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
    if "arches" in includes and "amd64" not in includes["arches"]:
        return False, None
    return "amd64" not in excludes.get("arches", []), includes.get("caps")


def main():
    profile = json.load(open(sys.argv[1]))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO" and profile["defaultErrnoRet"] == 1
    outcome = {}
    for rule in profile["syscalls"]:
        there, caps = applies(rule)
        for name in rule["names"] if there else []:
            if rule.get("args") or rule["action"] != "SCMP_ACT_ALLOW":
                outcome[name] = name
            elif caps is None:
                outcome[name] = "allow"
            elif outcome.get(name) != "allow":
                old = outcome.get(name, "cap:")
                more = "|".join(c[4:] for c in caps)
                outcome[name] = old + ("" if old.endswith(":") else "|") + more
    tables = [numbers(form) for form in ("64", "32", "x32")]
    print("# SPDX-License-Identifier: LGPL-2.1-or-later\n# Made by seccomp-golden.py; do not edit.")
    for name in sorted(outcome):
        numbered = [str(t.get(name, "-")) for t in tables]
        if numbered != ["-", "-", "-"]:
            print(name, *numbered, outcome[name])


main()
