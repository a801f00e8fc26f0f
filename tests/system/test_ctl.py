# SPDX-License-Identifier: LGPL-2.1-or-later
"""davitctl as a user types it: what it prints, what it exits with, what it leaves behind."""

import json
import os
import signal
import subprocess
import time
import unittest

import davit
from test_streams import close_all, open_streams

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
ROOTFS = "--rootfs=" + davit.FIXTURES + "/busybox"


def spawn(*argv, **kwargs):
    """davitctl running, its output as text in pipes."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(["davitctl", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def children(pid):
    """The command lines of the children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        found = b""
        for child in f.read().split():
            with open(f"/proc/{child}/cmdline", "rb") as g:
                found += g.read()
    return found


def sleeps(pid):
    """Whether a process waits, and has not done anything for a moment."""
    seen = set()
    for _ in range(3):
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = f.read()
        seen.add((status.split("State:")[1].split()[0], status.split("voluntary_ctxt_switches:")[1].split()[0]))
        time.sleep(0.02)
    return len(seen) == 1 and seen.pop()[0] == "S"


class CtlCase(davit.TestCase):
    def setUp(self):
        davit.rootfs()
        self.leaks()

    def ctl(self, *argv, status=0, **kwargs):
        """davitctl; fails unless it exits with this status. Returns its output without the last newline."""
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        done = davit.ctl(*argv, **kwargs)
        self.assertEqual(done.returncode, status, f"{argv}: {done.stdout}{done.stderr}")
        self.stderr = done.stderr
        return done.stdout.rstrip("\n")

    def refused(self, *argv, status=1, contains="", lines=1, **kwargs):
        """davitctl fails with this status and one line that says why, or one for each name that is wrong."""
        self.assertEqual(self.ctl(*argv, status=status, **kwargs), "")
        self.assertRegex(self.stderr, rf"\A(davitctl: [^\n]+\n){{{lines}}}\Z")
        self.assertIn(contains, self.stderr)

    def sleeper(self, *options):
        """Id of a container that runs until the test ends."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.assertEqual(self.ctl("run", "-d", "--name", id, *options, ROOTFS, "sleep", "1000"), id)
        return id


class Run(CtlCase):
    def test_output_and_status(self):
        self.assertEqual(self.ctl("run", "--rm", ROOTFS, "sh", "-c", "echo out; echo err >&2; exit 3", status=3), "out")
        self.assertEqual(self.stderr, "err\n")

    def test_stdin(self):
        self.assertEqual(self.ctl("run", "--rm", "-i", ROOTFS, "cat", input="some text"), "some text")
        self.assertEqual(self.ctl("run", "--rm", ROOTFS, "cat", input="some text"), "")

    def test_much_output(self):
        out = self.ctl("run", "--rm", ROOTFS, "sh", "-c", "seq 1 200000")
        self.assertEqual(len(out.splitlines()), 200000)

    def running(self, id):
        """What a program says may come before the answer to its start."""
        davit.wait_until(lambda: id in [t[1] for t in davit.manager("ListTasks", "(sa{sv})", "", {}) if t[3] == "running"])

    def test_status_of_a_signal(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        child = spawn("run", "--rm", "--name", id, ROOTFS, "sh", "-c", "echo ready; sleep 1000")
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.running(id)
        self.assertEqual(self.ctl("kill", id), id)
        child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual(child.returncode, 137)

    def test_missing_command(self):
        self.refused("run", "--rm", ROOTFS, "does-not-exist", status=127, contains="does-not-exist")
        self.refused("run", "--rm", ROOTFS, "/bin/does-not-exist", status=127, contains="does-not-exist")

    def test_command_that_cannot_run(self):
        self.refused("run", "--rm", ROOTFS, "/etc/passwd", status=126, contains="/etc/passwd")
        self.refused("run", "--rm", ROOTFS, "/etc", status=126, contains="/etc")

    def test_own_errors(self):
        self.refused("run", "--rm", "no/such/image:1", "true", status=125, contains="no/such/image:1")
        self.refused("run", "--rm", "--rootfs=/does/not/exist", "true", status=125, contains="/does/not/exist")
        self.refused("run", "--rm", "--name", "not valid", ROOTFS, "true", status=125)
        self.refused("run", "--rm", "--memory", "lots", ROOTFS, "true", status=125, contains="lots")
        self.refused("run", "--rm", "--network", "moon", ROOTFS, "true", status=125, contains="moon")
        self.refused("run", "--rm", "--cap-add", "NO_SUCH", ROOTFS, "true", status=125, contains="NO_SUCH")
        self.refused("run", "--rm", "-v", "/does/not/exist:/mnt", ROOTFS, "true", status=125, contains="/does/not/exist")
        self.refused("run", "--no-such-option", status=125, contains="--no-such-option")
        self.refused("run", status=125, contains="image")

    def test_duplicate_name(self):
        id = self.sleeper()
        self.refused("run", "--rm", "--name", id, ROOTFS, "true", status=125, contains=id)

    def test_same_name_again_and_again(self):
        id = davit.unique("ctl")
        for _ in range(10):
            self.ctl("run", "--rm", "--name", id, ROOTFS, "true")

    def test_environment(self):
        out = self.ctl("run", "--rm", "-e", "A=b c", "-e", "FROM_HERE", "-e", "NOT_HERE", ROOTFS, "env",
                       env={**os.environ, "FROM_HERE": "yes"}).splitlines()
        self.assertIn("A=b c", out)
        self.assertIn("FROM_HERE=yes", out)
        self.assertFalse([line for line in out if line.startswith("NOT_HERE")])

    def test_identity(self):
        self.assertEqual(self.ctl("run", "--rm", "-u", "1000:2000", "-w", "/tmp", "--hostname", "boat", ROOTFS,
                                  "sh", "-c", "id -u; id -g; pwd; hostname"), "1000\n2000\n/tmp\nboat")
        self.assertEqual(self.ctl("run", "--rm", "-u", "user", ROOTFS, "id", "-u"), "1000")

    def test_mounts(self):
        directory = f"{davit.FIXTURES}/{davit.unique('ctl')}"
        os.mkdir(directory)
        self.addCleanup(os.rmdir, directory)
        self.addCleanup(os.unlink, directory + "/file")
        self.ctl("run", "--rm", "-v", f"{directory}:/mnt", ROOTFS, "sh", "-c", "echo text >/mnt/file")
        with open(directory + "/file", encoding="utf-8") as f:
            self.assertEqual(f.read(), "text\n")
        out = self.ctl("run", "--rm", "-v", f"{directory}:/mnt:ro", ROOTFS, "sh", "-c",
                       "cat /mnt/file; echo more >/mnt/file || echo refused")
        self.assertEqual(out, "text\nrefused")
        out = self.ctl("run", "--rm", "--mount", f"type=bind,source={directory},target=/mnt,readonly", ROOTFS, "sh", "-c",
                       "cat /mnt/file; echo more >/mnt/file || echo refused")
        self.assertEqual(out, "text\nrefused")

    def test_tmpfs(self):
        out = self.ctl("run", "--rm", "--read-only", "--tmpfs", "/tmp:size=1m", ROOTFS, "sh", "-c",
                       "grep ' /tmp ' /proc/mounts; touch /tmp/x && echo written; touch /x || echo refused")
        lines = out.splitlines()
        self.assertIn("size=1024k", lines[0])
        self.assertIn("noexec", lines[0])
        self.assertEqual(lines[1:], ["written", "refused"])

    def test_too_little_memory(self):
        self.refused("run", "--rm", "--memory", "1k", ROOTFS, "true", status=125,
                     contains="--memory: 1024 bytes are too few: the minimum is 4194304")
        self.assertEqual(self.ctl("run", "--rm", "--memory", "4m", ROOTFS, "echo", "enough"), "enough")

    def test_unknown_option_names_the_place(self):
        patch = json.dumps({"mounts": [{"destination": "/data", "type": "bind", "source": "/tmp", "options": ["zz"]}]})
        self.refused("run", "--rm", "--spec-patch", patch, ROOTFS, "true", status=125,
                     contains='(/data): unknown option "zz"')

    def test_unknown_option_of_a_tmpfs(self):
        for _ in range(5):
            self.refused("run", "--rm", "--tmpfs", "/a:foo=bar", ROOTFS, "true", status=125,
                         contains="mount tmpfs at /a: option foo=bar: Invalid argument")

    def test_capabilities(self):
        script = "grep CapEff /proc/self/status | cut -f2"
        none = self.ctl("run", "--rm", "--cap-drop", "ALL", ROOTFS, "sh", "-c", script)
        self.assertEqual(int(none, 16), 0)
        one = self.ctl("run", "--rm", "--cap-drop", "ALL", "--cap-add", "NET_RAW", ROOTFS, "sh", "-c", script)
        self.assertEqual(int(one, 16), 1 << 13)

    def test_limits(self):
        id = self.sleeper("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50")
        shown = davit.unit_show(davit.get(davit.manager("GetTask", "(ss)", "", id), "Task.Scope"), "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax")
        self.assertEqual(shown["MemoryMax"], str(64 << 20))
        self.assertEqual(shown["CPUQuotaPerSecUSec"], "500ms")
        self.assertGreaterEqual(int(shown["TasksMax"]), 50)
        self.assertLess(int(shown["TasksMax"]), 60)

    def test_swap(self):
        """Memory and swap together, as docker has it; where it cannot be enforced, the option is what is refused."""
        both = ("--memory", "64m", "--memory-swap", "96m")
        if not UNIFIED:
            self.refused("run", "--rm", *both, ROOTFS, "true", status=125, contains="davitctl: --memory-swap asks for a limit")
        else:
            id = self.sleeper(*both)
            scope = davit.get(davit.manager("GetTask", "(ss)", "", id), "Task.Scope")
            self.assertEqual(davit.unit_show(scope, "MemoryMax", "MemorySwapMax"),
                             {"MemoryMax": str(64 << 20), "MemorySwapMax": str(32 << 20)})
            self.ctl("update", "--memory", "80m", "--memory-swap", "80m", id)
            self.assertEqual(davit.unit_show(scope, "MemorySwapMax"), {"MemorySwapMax": "0"})
        patch = json.dumps({"linux": {"resources": {"memory": {"limit": 64 << 20, "swap": 1 << 20}}}})
        self.refused("run", "--rm", "--spec-patch", patch, ROOTFS, "true", status=125, contains="linux.resources.memory.swap")
        self.ctl("run", "--rm", "--memory", "64m", "--memory-swap", "-1", ROOTFS, "true")
        self.refused("create", "--memory-swap", "1g", ROOTFS, "true", contains="say with --memory")
        self.refused("create", "--memory", "1g", "--memory-swap", "1m", ROOTFS, "true", contains="at least as much")

    def test_spec_patch(self):
        patch = json.dumps({"process": {"env": ["PATH=/bin", "PATCHED=yes"]}})
        self.assertEqual(self.ctl("run", "--rm", "--spec-patch", patch, ROOTFS, "sh", "-c", "echo $PATCHED"), "yes")

    def test_whole_spec(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("create", "--name", id, ROOTFS, "echo", "from a file")
        spec = json.loads(self.ctl("inspect", id))[0]["Spec"]
        spec["root"]["path"] = davit.rootfs()
        path = f"{davit.FIXTURES}/{id}.json"
        self.addCleanup(os.unlink, path)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(spec, f)
        self.assertEqual(self.ctl("run", "--rm", "--spec", path), "from a file")
        self.assertEqual(self.ctl("run", "--rm", "--spec", "-", input=json.dumps(spec)), "from a file")
        self.refused("run", "--rm", "--spec", "-", status=125, input=" " * (5 << 20))

    def test_signals_are_passed_on(self):
        ready = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
        child = spawn("run", "--rm", ROOTFS, "sh", "-c", ready)
        self.assertEqual(child.stdout.readline(), "ready\n")
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual((out, child.returncode), ("got\n", 9))

    def deaf(self, id, *argv):
        """davitctl with a program that no INT reaches, since the first process of a container needs a handler for it."""
        child = spawn(*argv, ROOTFS, "sh", "-c", "echo ready; exec sleep 1000") if argv[0] == "run" else spawn(*argv)
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.running(id)
        pid = davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Pid")
        davit.wait_until(lambda: not davit.handles(pid, signal.SIGINT), what="the shell, which has one, to be another program")
        return child

    def left(self, id, child):
        """One INT keeps davitctl, two at once end it and leave the program."""
        child.send_signal(signal.SIGINT)
        time.sleep(1.2)
        self.assertIsNone(child.poll())
        child.send_signal(signal.SIGINT)
        davit.wait_until(lambda: sleeps(child.pid), what="davitctl to have passed it on")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(davit.TIMEOUT), 128 + signal.SIGINT)
        self.assertEqual(os.read(child.stderr.fileno(), 4096).decode(), f"detached; container '{id}' runs on; 'davitctl stop {id}' stops it\n",
                         "the program has the other ends, so the pipes have none yet")
        child.stdout.close()
        child.stderr.close()
        self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")

    def test_second_signal_leaves(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.left(id, self.deaf(id, "run", "--name", id))
        self.ctl("stop", "-t", "0", id)
        self.left(id, self.deaf(id, "start", "-a", id))

    def test_second_signal_leaves_what_goes_with_its_end(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.left(id, self.deaf(id, "run", "--rm", "--name", id))
        self.ctl("kill", id)
        davit.wait_until(lambda: davit.ctl("inspect", id).returncode == 1, what="it to be removed")

    def test_stdin_of_a_detached_one(self):
        """Refused where nobody could ever write to it."""
        id = davit.unique("ctl")
        for options in (("-d", "-i"), ("-di", "--log", "null")):
            self.refused("run", *options, "--name", id, ROOTFS, "cat", status=125, contains="--log pipe or -t", input="a word")
        self.refused("inspect", id, contains=id)
        for options in (("-d", "-i", "--log", "pipe"), ("-dit",)):
            id = davit.unique("ctl")
            self.addCleanup(davit.remove_container, id)
            self.ctl("run", *options, "--name", id, ROOTFS, "cat")
            self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")

    def test_manager_dies_meanwhile(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        child = spawn("run", "-i", "--name", id, ROOTFS, "sh", "-c", "echo ready; read line; echo $line; exit 4",
                      stdin=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), "ready\n")
        davit.kill_davitd()
        out, _ = child.communicate("still here\n", timeout=davit.TIMEOUT)
        self.assertEqual((out, child.returncode), ("still here\n", 4))

    def test_reader_goes_away(self):
        child = spawn("run", "--rm", ROOTFS, "sh", "-c", "while echo line; do :; done; exit 3")
        child.stdout.readline()
        child.stdout.close()
        child.wait(timeout=davit.TIMEOUT)
        self.assertIn(child.returncode, (3, 128 + signal.SIGPIPE))
        child.stderr.close()

    def test_detached_goes_to_the_journal(self):
        id, text = davit.unique("ctl"), davit.unique("text")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", f"echo {text}; echo {text} err >&2; echo last")
        self.assertEqual(self.ctl("wait", id), "0")
        davit.run("journalctl", "--sync")
        # The two streams are two to the journal, which promises no order between them.
        self.assertEqual(sorted(self.ctl("logs", id).splitlines()), sorted([text, f"{text} err", "last"]))
        self.assertEqual(len(self.ctl("logs", "-n", "1", id).splitlines()), 1)

    def test_logs_follow_to_the_end(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c",
                 "trap 'seq 1000; exit' USR1; echo one; while :; do sleep 0.1; done")
        child = spawn("logs", "-f", id)
        self.assertEqual(child.stdout.readline(), "one\n")
        self.ctl("kill", "-s", "USR1", id)
        out, err = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual((child.returncode, err), (0, ""))
        self.assertEqual(out.split(), [str(i) for i in range(1, 1001)])
        self.assertEqual(self.ctl("logs", "-f", "-n", "2", id), "999\n1000")
        self.assertEqual(self.ctl("logs", "-n", "2", id), "999\n1000")
        self.assertEqual(len(self.ctl("logs", "-f", "-n", "2000", id).split()), 1001)

    def test_logs_follow_before_the_first_line(self):
        """Nothing is in the journal yet, for which some journalctl fails without a word."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", "trap 'echo one; exit' USR1; while :; do sleep 0.1; done")
        for options in ((), ("-n", "5"), ("--since", "1h")):
            self.assertEqual(self.ctl("logs", *options, id), "")
        child = spawn("logs", "-f", id)
        davit.wait_until(lambda: b"--follow" in children(child.pid), what="logs to follow")
        self.ctl("kill", "-s", "USR1", id)
        self.assertEqual(child.communicate(timeout=davit.TIMEOUT), ("one\n", ""))
        self.assertEqual(child.returncode, 0)
        self.refused("logs", "-f", "-n", "5", davit.unique("none"), status=1, contains="no container")

    def test_logs_follow_is_interrupted(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", "echo one; sleep 1000")
        child = spawn("logs", "-f", id)
        self.assertEqual(child.stdout.readline(), "one\n")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.communicate(timeout=davit.TIMEOUT), ("", ""))
        self.assertEqual(child.returncode, 128 + signal.SIGINT)

    def test_logs_of_what_goes_elsewhere(self):
        """Nothing is shown, and said why."""
        for log in ("pipe", "null"):
            id = self.sleeper("--log", log)
            self.assertEqual(self.ctl("logs", id), "")
            self.assertIn("does not go to the journal", self.stderr)
        self.assertEqual(self.ctl("logs", self.sleeper()), "")
        self.assertEqual(self.stderr, "")

    def test_logs_of_the_foreground(self):
        """Not in the journal, which is said, and not waited for while it runs."""
        id, other = davit.unique("ctl"), davit.unique("ctl")
        for one in (id, other):
            self.addCleanup(davit.remove_container, one)
        child = spawn("run", "-i", "--name", id, ROOTFS, "sh", "-c", "echo ready; read x; echo end", stdin=subprocess.PIPE)
        self.assertEqual(child.communicate(timeout=davit.TIMEOUT)[0], "ready\nend\n")
        self.assertEqual(self.ctl("logs", id), "")
        self.assertIn("in the foreground (without -d)", self.stderr)
        self.assertEqual(self.ctl("logs", "-f", id), "", "it has ended")
        child = spawn("start", "-a", "-i", id, stdin=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.refused("logs", "-f", id, contains="in the foreground (without -d)")
        self.assertEqual(child.communicate("\n", timeout=davit.TIMEOUT)[0], "end\n")
        self.ctl("run", "-dt", "--name", other, ROOTFS, "sleep", "1000")
        self.assertEqual(self.ctl("logs", other), "")
        self.assertIn("to its terminal (-t)", self.stderr)
        self.refused("logs", "-f", other, contains="to its terminal (-t)")

    def test_log_to_a_file(self):
        id = davit.unique("ctl")
        path = f"{davit.FIXTURES}/{id}.log"
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", f"file:{path}", ROOTFS, "echo", "to the file")
        self.addCleanup(os.unlink, path)
        self.assertEqual(self.ctl("wait", id), "0")
        with open(path, encoding="utf-8") as f:
            self.assertEqual(f.read(), "to the file\n")
        self.assertEqual(self.ctl("logs", id), "")


class Attach(CtlCase):
    """S-I06: to the pipes of a container, from the command line."""

    def test_pipes(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", "pipe", ROOTFS, "sh", "-c",
                 "while read x; do echo out $x; echo err $x >&2; [ $x = quit ] && exit 5; done")
        others = open_streams(davit.manager("GetTask", "(ss)", "", id))
        first = subprocess.Popen(["davitctl", "attach", id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first.stdin.write(b"one\n")
        first.stdin.flush()
        self.assertEqual(first.stdout.readline(), b"out one\n")
        self.assertEqual([os.get_blocking(fd) for fd in others.values()], [True] * 3)  # of whoever else has them
        close_all(others)
        first.kill()
        first.communicate()
        self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")
        again = subprocess.run(["davitctl", "attach", id], input=b"two\nquit\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               check=False, timeout=60)
        self.assertEqual((again.returncode, again.stdout), (5, b"out two\nout quit\n"))
        self.assertIn(b"err two\nerr quit\n", again.stderr)

    def test_only_watching(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", "pipe", ROOTFS, "sh", "-c", "echo ready; read x; echo got $x; exit 3")
        child = spawn("attach", "--no-stdin", id, stdin=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), "ready\n")
        child.stdin.write("from here\n")
        child.stdin.flush()
        streams = open_streams(davit.manager("GetTask", "(ss)", "", id))
        os.write(streams["stdin"], b"from there\n")
        close_all(streams)
        self.assertEqual((child.communicate(timeout=davit.TIMEOUT)[0], child.returncode), ("got from there\n", 3))

    def test_end_of_stdin(self):
        """It is passed on, although others keep the pipe open as well."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", "pipe", ROOTFS, "sh", "-c", "cat; exit 4")
        done = subprocess.run(["davitctl", "attach", id], input=b"x" * 200000, stdout=subprocess.PIPE, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (4, b"x" * 200000))
        self.refused("attach", id, status=125, contains="what the journal has")  # which is nothing, and not its output

    def test_what_nobody_reads(self):
        """S-I12: goes where that was asked for, and the program goes on."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", "pipe", "--drop-after", "1s", ROOTFS, "seq", "1000000", "1099999")
        self.ctl("wait", id)
        self.assertGreater(json.loads(self.ctl("inspect", id))[0]["Task"]["DroppedBytes"], 0)
        for options in (("-d",), ("--log", "pipe"), ("-d", "--log", "journal"), ("-dt", "--log", "pipe")):
            self.refused("run", *options, "--drop-after", "1s", ROOTFS, "true", status=125, contains="--drop-after")
        for time in ("0", "soon", "-1"):
            self.refused("run", "-d", "--log", "pipe", f"--drop-after={time}", ROOTFS, "true", status=125, contains=f"'{time}'")

    def test_neither(self):
        id = self.sleeper()
        self.refused("attach", id, status=125, contains=f"logs -f {id}")
        self.ctl("kill", id)
        self.ctl("wait", id)
        self.refused("attach", id, status=125, contains=f"start -a {id}")

    def deaf(self, *options):
        """A container that heeds no signal, with pipes, and attach to it; its first line has been read."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, "--log", "pipe", ROOTFS, "sh", "-c",
                 "for s in INT TERM HUP; do trap \"echo $s\" $s; done; while read x; do echo $x; done; "
                 "while :; do sleep 0.1; done")
        child = spawn("attach", *options, id, stdin=subprocess.PIPE)
        child.stdin.write("ready\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline(), "ready\n")
        return id, child

    def left(self, id, child, number):
        out, err = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual(child.returncode, 128 + number, out + err)
        self.assertIn("runs on", err)
        self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")
        return out

    def test_second_signal_leaves(self):
        id, child = self.deaf()
        child.stdin.close()
        child.stdin = None
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.stdout.readline(), "TERM\n")
        time.sleep(1.2)
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.stdout.readline(), "TERM\n")
        child.send_signal(signal.SIGINT)
        self.left(id, child, signal.SIGINT)

    def test_signals_are_kept(self):
        id, child = self.deaf("--sig-proxy=false")
        child.send_signal(signal.SIGTERM)
        self.assertNotIn("TERM", self.left(id, child, signal.SIGTERM))
        self.refused("attach", "--sig-proxy=perhaps", id, status=125, contains="--sig-proxy")
        self.refused("attach", "--detach-keys=ctrl-1", id, status=125, contains="ctrl-1")


class Exec(CtlCase):
    def test_status_and_streams(self):
        """S-X05."""
        id = self.sleeper()
        self.assertEqual(self.ctl("exec", id, "sh", "-c", "echo out; exit 5", status=5), "out")
        self.assertEqual(self.ctl("exec", "-i", id, "cat", input="through"), "through")
        self.assertEqual(self.ctl("exec", "-e", "A=b", "-w", "/tmp", "-u", "1000", id, "sh", "-c", "echo $A; pwd; id -u"),
                         "b\n/tmp\n1000")

    def test_errors(self):
        id = self.sleeper()
        self.refused("exec", id, "does-not-exist", status=127, contains="does-not-exist")
        self.refused("exec", id, "/etc/passwd", status=126, contains="/etc/passwd")
        self.refused("exec", "no-such", "true", status=125, contains="no-such")
        self.ctl("kill", id)
        self.ctl("wait", id)
        self.ctl("exec", id, "true", status=125)

    def test_in_a_paused_one(self):
        """Who can let it go on is told how."""
        id = self.sleeper()
        self.ctl("pause", id)
        self.refused("exec", id, "true", status=125, contains=f"container '{id}' is paused; 'davitctl unpause {id}'")
        self.ctl("exec", "-t", id, "true", status=125)
        self.assertIn(f"unpause {id}", self.stderr)
        task = davit.manager("GetTask", "(ss)", "", id)
        with self.assertRaises(davit.DavitError) as caught:
            davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["true"], {})
        self.assertEqual((caught.exception.name, caught.exception.message),
                         ("FailedPrecondition", f'Container "{id}" is paused; resume it first.'))
        self.ctl("unpause", id)
        self.ctl("exec", id, "true")

    def test_limit_of_processes(self):
        """The limit that a further process would exceed is named."""
        id = self.sleeper("--pids-limit", "2")
        self.refused("exec", id, "true", status=125, contains="TasksMax=2")

    def test_beginning_of_an_id(self):
        """Of one that was made up; a name that was chosen is given whole, or another container would be meant."""
        id, other = "5ca1ab1e0001", "5ca1ab1e0002"
        for name in (id, other):
            self.addCleanup(davit.remove_container, name)
            self.ctl("run", "-d", "--name", name, ROOTFS, "sleep", "1000")
            self.assertEqual(self.ctl("exec", id, "echo", "found"), "found")
        self.refused("exec", id[:3], "true", status=125, contains="more than one")
        self.ctl("rm", "-f", other)
        self.assertEqual(self.ctl("exec", id[:3], "echo", "found"), "found")
        chosen = self.sleeper()
        self.refused("exec", chosen[:-2], "true", status=125, contains="there is no container")
        self.ctl("rm", "-f", chosen[:-2])
        self.assertEqual(self.ctl("exec", chosen, "echo", "still there"), "still there")

    def test_detached(self):
        id = self.sleeper()
        name = self.ctl("exec", "-d", id, "sh", "-c", "echo done >/tmp/marker; sleep 1000")
        davit.wait_until(lambda: davit.ctl("exec", id, "test", "-e", "/tmp/marker").returncode == 0)
        self.assertEqual(self.execs(id), sorted(["init", name]))
        self.assertEqual({one["Uid"] for one in json.loads(self.ctl("top", "--json", id))}, {0})
        self.ctl("exec", id, "rm", "/tmp/marker")

    def test_detached_from_what_nobody_reaches(self):
        id = self.sleeper()
        self.refused("exec", "-d", "-i", id, "true", status=125, contains="nobody is at stdin with -d")
        self.refused("exec", "-d", "-t", id, "true", status=125, contains="nobody reads the terminal of an exec")
        self.assertEqual(self.execs(id), ["init"])

    def execs(self, id):
        return sorted({one["ExecId"] for one in json.loads(self.ctl("top", "--json", id))})

    def test_by_its_id(self):
        """S-X15, S-X17, S-K02, S-W02: the exec that is named is signalled, waited for and taken away, and nothing else is."""
        id = self.sleeper()
        for name in ("one", "two"):
            _, _, _, end = davit.call(davit.manager("GetTask", "(ss)", "", id), "Task.ExecStart", "(sasa{sv})", name,
                                      ["sleep", "1001"], {})
            self.addCleanup(os.close, end)
        self.assertEqual(self.execs(id), ["init", "one", "two"])
        self.refused("rm", "--exec", "one", id, contains='"one" is running; kill it first')
        waits = spawn("wait", "--exec=one", id)
        self.assertEqual(self.ctl("kill", "--exec", "one", "-s", "USR1", id), "one")
        self.assertEqual(waits.communicate(timeout=davit.TIMEOUT), (f"{128 + signal.SIGUSR1}\n", ""))
        self.assertEqual(json.loads(self.ctl("wait", "--json", "--exec", "one", id)),
                         {"Id": id, "ExecId": "one", "ExitStatus": 128 + signal.SIGUSR1})
        self.assertEqual(self.execs(id), ["init", "two"])
        self.refused("kill", "--exec", "one", id, contains='"one" has ended')
        self.assertEqual(self.ctl("rm", "--exec", "one", id), "one")
        for verb in ("kill", "wait", "rm"):
            self.refused(verb, "--exec", "one", id, contains=f"container '{id}' has no exec 'one'; see 'davitctl top {id}'")
        self.assertEqual(self.execs(id), ["init", "two"])

    def test_of_davitctl_by_its_id(self):
        id = self.sleeper()
        name = self.ctl("exec", "-d", id, "sleep", "1001")
        self.assertEqual(self.ctl("kill", "-l", "--exec", name), name)
        davit.wait_until(lambda: self.execs(id) == ["init"], what="the end of the exec")
        davit.wait_until(lambda: davit.ctl("wait", "--exec", name, id).returncode != 0, what="the end of its object")
        self.refused("wait", "--exec", name, id, contains="has no exec")

    def test_ids_of_none(self):
        ids = [davit.unique("ctl") for _ in range(2)]
        for id in ids:
            self.addCleanup(davit.remove_container, id)
            self.ctl("create", "--name", id, ROOTFS, "sleep", "1000")
        for verb in ("kill", "wait", "rm"):
            self.refused(verb, "--exec", "x", *ids, contains="--exec is about one container")
            self.refused(verb, "--exec", "x", "no-such", contains="there is no container 'no-such'")
            self.refused(verb, "--exec", "x", ids[0], contains="is not running")
        self.ctl("start", *ids)
        self.refused("kill", "--all", "--exec", "x", ids[0], contains="--exec about one exec")
        self.refused("rm", "-f", "--exec", "x", ids[0], contains="--force is about containers")
        self.refused("kill", "--exec", "init", ids[0], contains="has no exec 'init'")
        self.assertEqual([c["Task"]["Status"] for c in json.loads(self.ctl("inspect", *ids))], ["running"] * 2)


class Verbs(CtlCase):
    def test_label(self):
        """S-O03, S-E12: of a container that runs, found by the beginning of its id as elsewhere."""
        id = self.ctl("run", "-d", "--label", "a=1", ROOTFS, "sleep", "1000")
        self.addCleanup(davit.remove_container, id)
        self.ctl("label", id[:-1], "b=2", "a=3", "c")
        self.assertEqual(sorted(self.ctl("label", id).splitlines()), ["a=3", "b=2", "c="])
        self.ctl("label", "-r", "a", "--remove=c", id)
        self.assertEqual(self.ctl("label", id), "b=2")
        self.ctl("label", id, "d=x y=z", "-r", "b")
        self.assertEqual(json.loads(self.ctl("label", "--json", id)), {"d": "x y=z"})
        self.assertEqual(self.ctl("ps", "-q", "-f", "label=d=x y=z"), id)
        self.assertEqual(self.ctl("ps", "-q", "-f", "label=b"), "")
        self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")
        self.refused("label", "no-such", "a=b", contains="no-such")
        self.refused("label", contains="too few arguments")
        self.refused("label", id, "=b", contains="label")

    def test_ps(self):
        id = self.sleeper("--label", "test=yes", "-l", "empty")
        row = next(line for line in self.ctl("ps").splitlines() if line.startswith(id))
        self.assertIn("sleep 1000", row)
        self.assertRegex(row, r" up .* \d+$")
        self.assertIn(id, self.ctl("ps", "-q").splitlines())
        shown = json.loads(self.ctl("ps", "--json", "--filter", f"id={id}"))
        self.assertEqual(len(shown), 1)
        self.assertEqual(shown[0]["Status"], "running")
        self.assertEqual(shown[0]["Labels"], {"test": "yes", "empty": ""})
        self.assertEqual(shown[0]["Command"], ["sleep", "1000"])
        self.assertEqual([c["Id"] for c in json.loads(self.ctl("ps", "--json", "--filter", "label=test=yes"))], [id])
        self.assertEqual(json.loads(self.ctl("ps", "--json", "--filter", "label=test=no")), [])
        self.ctl("stop", "-t", "0", id)
        self.assertNotIn(id, self.ctl("ps", "-q").splitlines())
        row = next(line for line in self.ctl("ps", "-a").splitlines() if line.startswith(id))
        self.assertIn("137", row)
        self.assertIn(id, self.ctl("ps", "-q", "--filter", "status=exited").splitlines())
        self.refused("ps", "--filter", "colour=red", contains="colour")

    def test_a_name_that_becomes_free(self):
        """What goes with its program is waited for by who wants its name; what stays is not."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        for _ in range(5):
            self.ctl("run", "--rm", "--name", id, ROOTFS, "true")
            self.ctl("create", "--name", id, ROOTFS, "true")
            for verb in ("create", "run"):
                self.refused(verb, "--name", id, ROOTFS, "true", status=125 if verb == "run" else 1, contains="exists in namespace")
            self.ctl("rm", id)
            self.ctl("run", "--rm", "--name", id, ROOTFS, "true")

    def test_filters(self):
        """What ps is asked for is found, what it cannot find by is refused with what there is."""
        id, ns = davit.unique("ctl"), davit.unique("ns")
        self.addCleanup(davit.remove_container, id)
        self.ctl("create", "--name", id, "busybox", "true")
        for found in (f"name={id}", "image=busybox", "image=busybox:latest", "status=created"):
            self.assertIn(id, self.ctl("ps", "-aq", "-f", found).split())
        for missed in ("name=no-such", "image=busy", "image=busybox:1", "status=exited"):
            self.assertNotIn(id, self.ctl("ps", "-aq", "-f", missed).split())
        self.refused("ps", "-f", "status=up", contains="paused, stopped")
        self.refused("ps", "-f", "colour=red", contains="label=, image=")
        for empty in ("id=", "name=", "label=", "image=", "status="):
            self.refused("ps", "-f", empty, contains=empty)
        self.refused("ps", "-f", "label==x", contains="no key")
        for verb in (("ps",), ("images",), ("snapshot", "ls"), ("events", "--until=0s")):
            self.ctl("-n", ns, *verb)
            self.assertIn(f"no namespace '{ns}'", self.stderr)
            self.ctl(*verb)
            self.assertEqual(self.stderr, "")

    def test_no_limit_is_null(self):
        id = self.sleeper("--memory", "64m")
        task = json.loads(self.ctl("inspect", id), parse_int=int)[0]["Task"]
        self.assertEqual((task["MemoryMax"], task["MemoryHigh"]), (64 << 20, None))
        self.assertNotIn(str(2**64 - 1), self.ctl("inspect", id) + self.ctl("stats", "--no-stream", "--json", id))

    def test_what_has_not_happened_is_null(self):
        """Neither a status nor a time, nor the number of a process that there is none of."""
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        names = ("Pid", "StartedAt", "ExitStatus", "ExitedAt")

        def shown():
            listed = json.loads(self.ctl("ps", "-a", "--json", "--filter", f"id={id}"))[0]
            task = json.loads(self.ctl("inspect", id))[0].get("Task", dict.fromkeys(names))
            self.assertEqual([listed[name] for name in names], [task[name] for name in names])
            return [listed[name] and (listed[name] > 0) for name in names]

        self.ctl("create", "--name", id, ROOTFS, "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")
        self.assertEqual(shown(), [None, None, None, None])
        self.ctl("start", id)
        self.assertEqual(shown(), [True, True, None, None])
        davit.wait_trap(id)
        self.ctl("kill", "-s", "TERM", id)
        self.assertEqual(self.ctl("wait", id), "0")
        self.assertEqual(shown()[1:], [True, 0, True])

    def test_control_characters_are_visible(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("create", "--name", id, ROOTFS, "echo", "\033[31mred")
        out = self.ctl("ps", "-a", "--filter", f"id={id}")
        self.assertNotIn("\033", out)
        self.assertIn("\\x1b[31mred", out)

    def test_create_start_wait_rm(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.assertEqual(self.ctl("create", "--name", id, ROOTFS, "sh", "-c", "exit 6"), id)
        self.assertEqual(json.loads(self.ctl("ps", "-a", "--json", "--filter", f"id={id}"))[0]["Status"], "created")
        for _ in range(2):
            self.assertEqual(self.ctl("start", id), id)
            self.assertEqual(self.ctl("wait", id), "6")
        self.ctl("start", "-a", id, status=6)
        other = davit.unique("ctl")
        self.addCleanup(davit.remove_container, other)
        self.ctl("create", "--name", other, ROOTFS, "cat")
        self.assertEqual(self.ctl("start", "-a", "-i", other, input="a word"), "a word")
        self.assertEqual(self.ctl("rm", id), id)
        self.refused("rm", id, contains=id)
        self.assertEqual(self.ctl("rm", "-f", id), "")

    def test_wrong_states(self):
        """What is refused says in which state it is."""
        id = self.sleeper()
        self.refused("start", id, contains="is running already")
        self.refused("unpause", id, contains="not paused")
        self.ctl("pause", id)
        self.refused("start", id, contains="is paused already")
        self.refused("pause", id, contains="is paused already")
        self.ctl("unpause", id)
        self.ctl("kill", id)
        self.ctl("wait", id)
        self.refused("exec", id, "true", status=125, contains="not running; start its container")
        self.ctl("start", id)

    def test_stop(self):
        id = self.sleeper("--stop-signal", "KILL")
        self.assertEqual(self.ctl("stop", id), id)
        self.assertEqual(self.ctl("stop", id), id)
        self.assertEqual(self.ctl("wait", id), "137")
        self.refused("stop", "no-such", contains="no-such")

    def test_stop_without_force(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
        davit.wait_trap(id)
        self.refused("stop", "--no-force", "-t", "0.3", id)
        self.assertIn(id, self.ctl("ps", "-q").splitlines())
        begun = time.monotonic()
        self.ctl("stop", "-t", "0.3", id)
        self.assertLess(time.monotonic() - begun, 5)

    def test_many_at_once(self):
        ids = [self.sleeper() for _ in range(3)]
        self.assertEqual(self.ctl("kill", *ids).splitlines(), ids)
        self.assertEqual(self.ctl("wait", *ids).splitlines(), ["137"] * 3)
        self.assertEqual([json.loads(line) for line in self.ctl("wait", "--json", *ids).splitlines()],
                         [{"Id": id, "ExitStatus": 137} for id in ids])
        self.assertEqual(self.ctl("rm", *ids).splitlines(), ids)

    def test_one_failure_does_not_stop_the_others(self):
        id = self.sleeper()
        self.refused("rm", id, contains="use -f")
        self.assertEqual(self.ctl("rm", "-f", "--namespace", "default", id), id)
        id = self.sleeper()
        self.assertEqual(self.ctl("kill", "no-such", id, status=1), id)
        self.assertIn("no-such", self.stderr)

    def test_a_wrong_name_does_not_stop_update_restart_and_stats(self):
        one, two = self.sleeper(), self.sleeper()
        self.assertEqual(self.ctl("update", "--memory", "64m", one, "no-such", two, status=1).splitlines(), [one, two])
        self.assertEqual(self.stderr.count("no-such"), 1)
        for id in one, two:
            self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Task.MemoryMax"), 64 << 20)
        self.assertEqual(self.ctl("restart", "-t", "0", one, "no-such", two, status=1).splitlines(), [one, two])
        self.assertEqual(self.stderr.count("no-such"), 1)
        out = self.ctl("stats", "--no-stream", "--json", one, "no-such", two, status=1)
        self.assertEqual(sorted(row["Id"] for row in json.loads(out)), sorted([one, two]))
        self.assertIn("no-such", self.stderr)
        self.ctl("kill", two)
        self.ctl("wait", two)
        rows = self.ctl("stats", "--no-stream", two, one, status=1).splitlines()
        self.assertEqual([row.split()[0] for row in rows[1:]], [one])
        self.assertIn(f"'{two}' is not running", self.stderr)
        self.refused("stats", one, two, contains=two)
        self.refused("stats", "--no-stream", "no-such", contains="no-such")

    def test_two_names_of_one(self):
        """Both are of the one container, which is called once; a wait tells of it as often as it is named."""
        id = self.ctl("run", "-d", "--stop-signal", "KILL", ROOTFS, "sleep", "1000")
        self.addCleanup(davit.remove_container, id)
        other = self.sleeper()
        self.assertEqual(self.ctl("pause", id[:9], id, other, id[:10]), f"{id}\n{other}")
        self.assertEqual(self.ctl("unpause", id, id[:9], other, other), f"{id}\n{other}")
        self.assertEqual(self.ctl("stop", id[:9], id), id)
        self.assertEqual(self.ctl("wait", id[:9], id), "137\n137")
        self.assertEqual(self.ctl("start", id[:9], id), id)
        self.assertEqual(self.ctl("update", "--pids-limit", "99", id, id[:9]), id)
        self.assertEqual(self.ctl("restart", id, id[:9]), id)
        self.assertEqual(self.ctl("stop", id, id), id)
        self.ctl("rm", id[:10], "no-such", id, id[:9], "no-such", status=1)
        self.assertEqual(self.stderr, "davitctl: there is no container 'no-such' in namespace 'default'; see 'davitctl ps -a'\n")
        self.assertNotIn(id, self.ctl("ps", "-aq"))
        self.refused("rm", id[:9], id, contains=id[:9], lines=2)
        self.assertEqual(self.ctl("rm", "-f", id[:9], id, other, other[:-1]), other)

    def test_rm_says_why(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("create", "--name", id, ROOTFS, "true")
        self.assertEqual(self.ctl("rm", id, id), id)
        self.assertEqual(self.stderr, "")
        id = self.sleeper()
        self.refused("rm", id, id, contains=f"container '{id}' has not ended; stop it first, or use -f")
        self.ctl("kill", id)
        self.ctl("wait", id)
        self.assertEqual(self.ctl("rm", id, id), id)

    def test_kill_with_a_signal(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c", "trap 'exit 8' USR1; while :; do sleep 0.1; done")
        davit.wait_trap(id, signal.SIGUSR1)
        self.ctl("kill", "-s", "USR1", id)
        self.assertEqual(self.ctl("wait", id), "8")
        id = self.sleeper()
        self.refused("kill", "-s", "NO_SUCH", id, contains="NO_SUCH")

    def test_the_name_it_has(self):
        id = self.sleeper()
        self.refused("rename", id, id, contains="is called that already")
        self.assertNotIn("delete", self.stderr)

    def test_limit_that_needs_a_start(self):
        """Where version 1 lets a task have a limit it was started without only from its next start, the way there is said."""
        id = self.sleeper()
        for option, value, name in (("--cpus", "0.5", "CPUQuotaPerSecUSec"), ("--io-weight", "50", "IOWeight")):
            done = davit.ctl("update", option, value, id)
            if "hierarchy" in done.stderr:
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"{option} cannot be changed while it runs", done.stderr)
                self.assertIn("stop it, change the limit and start it again", done.stderr)
                self.ctl("stop", "-t", "0", id)
                self.ctl("update", option, value, id)
                self.ctl("start", id)
                task = json.loads(self.ctl("inspect", id))[0]["Task"]
                self.assertIn(task[name], (500000, 50))
            else:
                self.assertTrue(done.returncode == 0 or "no cgroup controller" in done.stderr, done.stderr)

    def test_kill_all(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        self.ctl("run", "-d", "--name", id, ROOTFS, "sh", "-c",
                 "sleep 1000 & c=$!; trap : USR1; while kill -0 $c 2>/dev/null; do wait $c; done; exit 7")
        davit.wait_until(lambda: "sleep 1000" in self.ctl("top", id))
        self.ctl("kill", "-s", "USR1", id)
        self.assertIn(id, self.ctl("ps", "-q").splitlines())
        self.ctl("kill", "--all", "-s", "USR1", id)
        self.assertEqual(self.ctl("wait", id), "7")

    def test_numbers_end_where_their_headings_do(self):
        heading, process = self.ctl("top", self.sleeper()).splitlines()[:2]
        pid, uid = process.split()[:2]
        self.assertEqual(heading.index("PID") + 3, process.index(pid) + len(pid))
        self.assertEqual(heading.index("UID") + 3, process.index(f" {uid} ") + 1 + len(uid))

    def test_pause(self):
        id = self.sleeper()
        self.assertEqual(self.ctl("pause", id), id)
        self.assertEqual(json.loads(self.ctl("ps", "--json", "--filter", f"id={id}"))[0]["Status"], "paused")
        self.assertEqual(self.ctl("unpause", id), id)
        self.assertEqual(json.loads(self.ctl("ps", "--json", "--filter", f"id={id}"))[0]["Status"], "running")

    def test_inspect(self):
        id = self.sleeper("-l", "a=b")
        shown = json.loads(self.ctl("inspect", id))
        self.assertEqual(len(shown), 1)
        self.assertEqual(shown[0]["Id"], id)
        self.assertEqual(shown[0]["Labels"], {"a": "b"})
        self.assertIn("process", shown[0]["Spec"])
        self.assertIn("Scope", shown[0]["Task"])
        self.assertNotIn("Spec", shown[0]["Task"], "it is the container's")
        davit.call(davit.manager("GetContainer", "(ss)", "", id), "Container.Update", "(a{sv})", davit.options(Env=["A=later"]))
        later = json.loads(self.ctl("inspect", id))[0]
        self.assertIn("A=later", later["Spec"]["process"]["env"])
        self.assertNotIn("A=later", later["Task"]["Spec"]["process"]["env"])
        self.assertEqual(shown[0]["Spec"]["process"]["args"], ["sleep", "1000"])
        self.assertEqual(davit.unit_show(shown[0]["Task"]["Scope"], "ActiveState")["ActiveState"], "active")
        self.assertEqual(shown[0]["Task"]["Status"], "running")
        self.assertEqual(json.loads(self.ctl("inspect", id, "no-such", status=1))[0]["Id"], id)
        self.assertEqual(json.loads(self.ctl("inspect", "no-such", id, status=1))[0]["Id"], id)
        self.refused("inspect", "no-such", contains="no-such")
        self.refused("image", "inspect", "no-such", contains="no-such")

    def test_restart(self):
        id = self.sleeper()
        before = json.loads(self.ctl("inspect", id))[0]["Task"]["Pid"]
        self.assertEqual(self.ctl("restart", "-t", "0", id), id)
        after = json.loads(self.ctl("inspect", id))[0]["Task"]
        self.assertEqual(after["Status"], "running")
        self.assertNotEqual(after["Pid"], before)

    def test_restart_of_what_goes_with_its_end(self):
        id = self.sleeper("--rm")
        other = self.sleeper()
        before = json.loads(self.ctl("inspect", other))[0]["Task"]["Pid"]
        pid = json.loads(self.ctl("inspect", id))[0]["Task"]["Pid"]
        self.assertEqual(self.ctl("restart", "-t", "0", id, other, status=1), other)
        self.assertIn("--rm", self.stderr)
        tasks = [c["Task"] for c in json.loads(self.ctl("inspect", id, other))]
        self.assertEqual([t["Status"] for t in tasks], ["running"] * 2)
        self.assertEqual(tasks[0]["Pid"], pid)
        self.assertNotEqual(tasks[1]["Pid"], before)

    def test_namespaces(self):
        ns, id = davit.unique("ns"), davit.unique("ctl")
        self.addCleanup(davit.ctl, "namespace", "rm", ns)
        self.addCleanup(davit.remove_container, id, ns)
        self.assertEqual(self.ctl("namespace", "create", "-l", "who=me", ns), ns)
        listed = self.ctl("namespace", "ls").splitlines()
        self.assertIn(ns, listed)
        self.assertEqual(listed, sorted(listed))
        made = next(n for n in json.loads(self.ctl("namespace", "ls", "--json")) if n["Name"] == ns)
        self.assertEqual(made["Labels"], {"who": "me"})
        self.ctl("-n", ns, "run", "-d", "--name", id, ROOTFS, "sleep", "1000")
        self.assertNotIn(id, self.ctl("ps", "-q"))
        self.assertEqual(self.ctl("-n", ns, "ps", "-q"), id)
        self.assertEqual(self.ctl("ps", "-q", env={**os.environ, "DAVIT_NAMESPACE": ns}), id)
        self.assertIn(ns, self.ctl("ps", "-A"))
        self.refused("namespace", "rm", ns)
        self.ctl("rm", "-f", "-n", ns, id)
        self.assertEqual(self.ctl("namespace", "rm", ns), ns)
        self.refused("namespace", "rm", ns, contains=ns)

    def test_version(self):
        version = davit.get(davit.ROOT, "Manager.Version")
        self.assertEqual(json.loads(self.ctl("version", "--json"))["Manager"], version)
        self.assertEqual(self.ctl("--version"), f"davit {version}")

    def test_words_nobody_knows(self):
        self.refused("no-such-verb", contains="no-such-verb")
        self.refused("image", "no-such-verb", contains="image no-such-verb")
        self.refused("checkpoint", contains="see 'davitctl checkpoint --help'")
        self.refused("--no-such-option", "ps", contains="--no-such-option")
        self.refused("ps", "argument", contains="too many")
        self.refused("rm", contains="too few")

    def test_options_are_named_as_they_were_typed(self):
        for words, option, what in (
                (("logs", "--follow=3", "z"), "--follow", "takes no value"),
                (("rm", "--force=true", "x"), "--force", "takes no value"),
                (("ps", "--all=yes"), "--all", "takes no value"),
                (("ps", "--json=1"), "--json", "takes no value"),
                (("ps", "-aq=3"), "-q", "takes no value"),
                (("ps", "-a="), "-a", "takes no value"),
                (("--json=1", "ps"), "--json", "takes no value"),
                (("-n",), "-n", "needs a value"),
                (("ps", "-an"), "-n", "needs a value"),
                (("ps", "--namespace"), "--namespace", "needs a value")):
            self.refused(*words, contains=f"option '{option}' {what}; see 'davitctl ")
        self.refused("run", "--rm=true", status=125, contains="option '--rm' takes no value; see 'davitctl run --help'")
        for words, option in (
                (("ps", "-=3"), "-="), (("ps", "-aZq"), "-Z"), (("ps", "--al=3"), "--al=3"),
                (("ps", "--namesp"), "--namesp"), (("ps", "-a", "-\u00e4"), "-\u00e4")):
            self.refused(*words, contains=f"unknown option '{option}'; see 'davitctl ps --help'",
                         env={**os.environ, "LC_ALL": "C.UTF-8"})
        for option, value, says in (
                ("--workdir", "rel", ': "rel" is not absolute'), ("--user", "1:2:3", ': "1:2:3" is not'),
                ("--hostname", "a b", ': "a b" is not'), ("--network", "bridge", ': "bridge" is neither'),
                ("--cap-add", "FLY", ': unknown capability "FLY"'), ("--cap-drop", "FLY", ': unknown capability "FLY"'),
                ("--stop-signal", "FOO", ' is "FOO", which is no signal'), ("--seccomp-report", "maybe", ' is "maybe"; it takes'),
                ("--spec-patch", "{", ", byte 1: expected a key")):
            self.refused("run", "--rm", option, value, ROOTFS, "true", status=125, contains=f"davitctl: {option}{says}")
        self.refused("run", "--rm", "--rootfs=", "true", status=125, contains='davitctl: --rootfs "" is not')
        self.refused("run", "--rm", ROOTFS, status=125, contains="a root directory says nothing of a command; name one")
        self.refused("run", "-p", "80", status=125, contains="ports cannot be published")
        self.refused("run", "--publish=80", status=125, contains="ports cannot be published")

    def test_bad_namespaces(self):
        for words in ("-n", "", "ps"), ("ps", "--namespace="), ("ps", "-n", ""), ("namespace", "create", ""):
            self.refused(*words, contains="the name of the namespace is empty")
        self.refused("run", "-n", "", ROOTFS, "true", status=125, contains="the name of the namespace is empty")
        bad = {**os.environ, "DAVIT_NAMESPACE": "b d"}
        for words in (("ps",), ("stop", "x"), ("stats", "--no-stream"), ("image", "ls"), ("events", "--until=0s"),
                      ("system", "df")):
            self.refused(*words, contains="'b d' is no namespace: up to 32 letters", env=bad)
        self.refused("namespace", "create", "b d", contains="\"b d\" is no namespace: up to 32 letters")
        self.refused("events", "-n", "x" * 33, contains="is no namespace: up to 32 letters")
        self.refused("-n", "*", "ps", contains="'*' is no namespace")
        self.refused("run", "-n", "b d", ROOTFS, "true", status=125, contains="'b d' is no namespace")
        id = self.sleeper()
        self.assertIn(id, self.ctl("ps", "-q", env={**os.environ, "DAVIT_NAMESPACE": ""}).splitlines())

    def test_no_limit_and_too_little(self):
        size, pids = "give one such as 64m or 2g, or max", "give a number from 1, or max"
        id = self.sleeper("--memory", "max", "--pids-limit", "-1")
        task = davit.manager("GetTask", "(ss)", "", id)
        self.assertEqual(davit.get(task, "Task.MemoryMax"), 2**64 - 1)
        self.assertEqual(davit.get(task, "Task.TasksMax"), 2**64 - 1)
        resources = json.loads(self.ctl("inspect", id))[0]["Spec"]["linux"]["resources"]
        self.assertEqual([resources["memory"]["limit"], resources["pids"]["limit"]], [-1, -1])
        self.ctl("update", "--pids-limit", "50", "--memory", "64m", id)
        self.ctl("update", "--pids-limit", "-1", "--memory", "max", id)
        self.assertEqual(davit.get(task, "Task.MemoryMax"), 2**64 - 1)
        self.assertEqual(davit.get(task, "Task.TasksMax"), 2**64 - 1)
        for value in "1x", "-2", "":
            self.refused("update", "--memory", value, id, contains=size)
            self.refused("update", "--pids-limit", value, id, contains=pids)
            self.refused("run", "--memory", value, ROOTFS, "true", status=125, contains=size)
            self.refused("run", "--pids-limit", value, ROOTFS, "true", status=125, contains=pids)
        few = "--memory: 100 bytes are too few: the minimum is 4194304 (4 MiB)"
        self.refused("update", "--memory", "100", id, contains=few)
        self.refused("run", "--memory", "100", ROOTFS, "true", status=125, contains=few)
        self.ctl("kill", id)
        self.ctl("wait", id)
        self.refused("update", "--memory", "100", id, contains=few)

    def test_manager_dies_before_it_answers(self):
        """Who only asks asks the next one."""
        id = self.sleeper()
        pid, owner = davit.main_pid(), davit.name_owner()
        os.kill(pid, signal.SIGSTOP)
        asking = [spawn(*argv) for argv in (("ps", "-q"), ("inspect", id), ("top", id), ("image", "ls"),
                                            ("namespace", "ls"), ("stats", "--no-stream", id), ("version",),
                                            ("system", "df"), ("events", "--since=1h", "--until=0s"))]
        davit.wait_until(lambda: all(sleeps(child.pid) for child in asking), what="calls to wait for their answers")
        os.kill(pid, signal.SIGKILL)
        for child in asking:
            out, err = child.communicate(timeout=davit.TIMEOUT)
            self.assertEqual((child.returncode, err), (0, ""), child.args)
            if child.args[1] in ("ps", "inspect", "stats"):
                self.assertIn(id, out)
        self.assertNotEqual(davit.name_owner(), owner)

    def test_manager_cannot_be_reached(self):
        done = davit.ctl("ps", env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/does/not/exist"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("system bus", done.stderr)


class Images(CtlCase):
    def test_import_list_run_remove(self):
        archive, name = davit.busybox_archive(), davit.unique("ctl") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", name)
        self.assertEqual(self.ctl("image", "import", "--name", name, archive, timeout=120), name)
        self.assertIn(name, self.ctl("images", "-q").splitlines())
        shown = next(i for i in json.loads(self.ctl("image", "ls", "--json")) if i["Name"] == name)
        self.assertGreater(shown["Size"], 0)
        self.assertEqual(json.loads(self.ctl("image", "inspect", name))[0]["Digest"], shown["Digest"])
        self.assertIn("env", str(json.loads(self.ctl("inspect", name))[0]["Config"]).lower())
        out = self.ctl("run", "--rm", name, "sh", "-c", "echo $FROM_IMAGE; cat /etc/os-release | head -n 1")
        self.assertEqual(out, "yes\nID=busybox")
        self.assertEqual(self.ctl("image", "rm", "--sync", name, timeout=120), name)
        self.refused("image", "rm", name, contains=name)
        self.refused("run", "--rm", name, status=125, contains=name)

    def test_name_without_a_tag(self):
        name = davit.unique("ctl")
        self.addCleanup(davit.ctl, "image", "rm", name + ":latest")
        self.assertEqual(self.ctl("image", "import", "--name", name, davit.busybox_archive(), timeout=120), name + ":latest")
        self.assertEqual(self.ctl("run", "--rm", name, "echo", "hello"), "hello")
        self.assertEqual(json.loads(self.ctl("image", "inspect", name))[0]["Name"], name + ":latest")
        self.assertEqual(json.loads(self.ctl("inspect", name))[0]["Name"], name + ":latest")
        self.assertEqual(self.ctl("image", "rm", "--sync", name, timeout=120), name + ":latest")
        self.refused("image", "rm", name, contains=name)

    def test_import_from_stdin(self):
        name = davit.unique("ctl") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", name)
        with open(davit.busybox_archive(), "rb") as archive:
            self.assertEqual(self.ctl("import", "-t", name, "-", stdin=archive, timeout=120), name)
        self.ctl("rmi", "--sync", name, timeout=120)

    def test_bad_archives(self):
        path = f"{davit.FIXTURES}/{davit.unique('bad')}"
        with open(path, "wb") as f:
            f.write(os.urandom(100000))
        self.addCleanup(os.unlink, path)
        self.refused("image", "import", "--name", "bad:1", path, contains=path)
        self.refused("image", "import", contains="standard input")
        self.refused("image", "import", "/does/not/exist", contains="/does/not/exist")
        self.refused("image", "import", "--format", "floppy", path, contains="floppy")

    def test_entrypoint(self):
        name = davit.busybox_image()
        self.assertEqual(self.ctl("run", "--rm", "--entrypoint", "echo", name, "hello"), "hello")


class Completion(CtlCase):
    def complete(self, *words):
        """What bash would offer for the last of these words."""
        script = ('. /usr/share/bash-completion/completions/davitctl; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _davitctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return davit.run("bash", "-c", script, "bash", "davitctl", *words).stdout.split()

    def test_verbs_and_options(self):
        self.assertEqual(self.complete("im"), ["image"])
        self.assertEqual(self.complete("image", "un"), ["unpin", "untag"])
        self.assertEqual(self.complete("job", ""), ["cancel", "ls"])
        self.assertEqual(self.complete("lease", ""), ["add", "create", "ls", "remove", "rm"])
        self.assertEqual(self.complete("image", "save", "--compr"), ["--compression"])
        self.assertEqual(self.complete("image", "save", "--compression", "z"), ["zstd"])
        self.assertEqual(self.complete("run", "--net"), ["--network"])
        self.assertEqual(self.complete("run", "--network", ""), ["none", "host"])
        self.assertEqual(self.complete("-n", "default", "sto"), ["stop"])

    def test_names(self):
        id, image = self.sleeper(), davit.busybox_image()
        self.assertIn(id, self.complete("stop", id[:-1]))
        self.assertIn(id, self.complete("exec", "-e", "A=b", id[:-1]))
        self.assertEqual(self.complete("exec", id, id[:-1]), [])
        self.assertIn(image, self.complete("run", "--rm", image[:3]))
        self.assertNotIn(id, self.complete("-n", "no-such", "stop", id[:-1]))
        self.ctl("exec", "-d", id, "sleep", "1001")
        names = {one["ExecId"] for one in json.loads(self.ctl("top", "--json", id))} - {"init"}
        self.assertEqual(set(self.complete("kill", id, "--exec", "")), names)
        self.assertEqual(self.complete("kill", "--exec", ""), [])


if __name__ == "__main__":
    unittest.main()
