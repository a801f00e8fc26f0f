# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files that the style checks read: what git knows, or the whole tree of a distribution tarball."""

import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("shared", "plan", "daemon", "shim", "store", "registry", "ctl", "oci", "tests")
SKIP = (".git", "build", "build-aux", "m4", "autom4te.cache", "__pycache__")


def files(*endings):
    """Paths below the top, sorted; with endings, only those."""
    done = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    if done.returncode == 0:
        found = done.stdout.split("\n")
    else:
        found = []
        for top, names, names_of_files in os.walk(TOP):
            names[:] = [n for n in names if n not in SKIP and not n.startswith("build-")]
            found += [os.path.relpath(os.path.join(top, n), TOP) for n in names_of_files]
    return sorted(f for f in found if f and os.path.isfile(os.path.join(TOP, f)) and (not endings or f.endswith(endings)))


def sources(*endings):
    """C files of the code folders."""
    return [f for f in files(*(endings or (".c", ".h"))) if f.split("/")[0] in FOLDERS]


def lines(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read().split("\n")[:-1]


def shebang(path):
    with open(os.path.join(TOP, path), "rb") as f:
        first = f.readline(200)
    return first.decode("utf-8", "replace").strip() if first.startswith(b"#!") else ""


LEAK = re.compile(r"(?:[Ll]eak of memory pointed to by '|(?:Resource|Memory) leak: |[Vv]alue stored to ')(\w+)")


def answered_by_cleanup(line):
    """True for a leak or a dead store that is none: the variable has a cleanup attribute, which the analysers do not see,
    or the line returns it ("return fd < 0 ? -errno : fd;")."""
    where, match = re.match(r"([^:]+):(\d+):", line), LEAK.search(line)
    if not where or not match or not os.path.exists(os.path.join(TOP, where.group(1))):
        return False
    text = lines(where.group(1))
    if re.search(rf"return .*: {match.group(1)};", text[int(where.group(2)) - 1]):
        return True
    before = "\n".join(text[:int(where.group(2))])
    declared = [m.start() for m in re.finditer(rf"^\s+[^;=(]*(?:_cleanup_\w*|g_auto\w*)[^;]*\b{match.group(1)}\b", before, re.M)]
    return bool(declared)


def report(problems):
    """Prints the problems and ends the check."""
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)
