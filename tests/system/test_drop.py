# SPDX-License-Identifier: LGPL-2.1-or-later
"""Outputs that are dropped where nobody reads them: what was not read is counted, the newest is kept, and nobody waits."""

import contextlib
import os
import shutil
import time

import davit
import test_streams
from test_recovery import shim_of
from test_streams import StreamTest, close_all, open_streams, read_all

AFTER = 100000
#: Of the tests with a reader, which may have to wait for a processor as well.
PATIENT = 1000000
MIB = 1 << 20
FIRST = 1000000


def lines(n):
    """A command that writes so many numbered lines of 8 bytes, so that a gap is seen."""
    return f"seq {FIRST} {FIRST + n - 1}"


def cpu_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def switches_of(pid):
    """How often it has waited."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("voluntary")).split()[1])


def dropped(process):
    return davit.get(process, "Process.DroppedBytes")


def stalled(process):
    davit.wait_until(lambda: dropped(process) > 0, what="a drop")


class DropTest(StreamTest):
    time_limit = 120

    def begin(self, command, after=AFTER, **opts):
        """A task that writes to pipes that are open here. Returns its path and the streams."""
        id, task = self.create(["sh", "-c", command], Pipes=True, DropAfterUSec=after, **opts)
        streams = open_streams(task)
        os.close(streams.pop("stdin"))
        self.addCleanup(lambda: [os.close(fd) for fd in streams.values()])
        davit.call(task, "Process.Start")
        return task, streams

    def begin_exec(self, task, command, **opts):
        _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", command],
                                davit.options(Pipes=True, DropAfterUSec=AFTER, **opts))
        streams = open_streams(process)
        os.close(streams.pop("stdin"))
        self.addCleanup(lambda: [os.close(fd) for fd in streams.values()])
        davit.call(process, "Process.Start")
        return process, streams

    def assert_complete(self, process, streams, written):
        """It has ended well; what is left to read and what was dropped is what it wrote."""
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))
        left = {name: read_all(streams.pop(name)) for name in ("stdout", "stderr")}
        self.assertGreater(dropped(process), 0)
        self.assertEqual(sum(map(len, left.values())) + dropped(process), written)
        return left


class Nobody(DropTest):
    def test_reads(self):
        """S-I12: 96 MiB, on both outputs at once; nothing of it is the shim's, and others go on."""
        since = time.time() - 1
        task, streams = self.begin("yes | dd bs=64k count=512 iflag=fullblock >&2 2>/dev/null & "
                                   "yes | dd bs=1M count=64 iflag=fullblock 2>/dev/null; wait; echo end")
        shim = shim_of(task)
        stalled(task)
        before = test_streams.Stalled.memory(self, shim)
        self.assertEqual(davit.output_of(["echo", "other"]), ("other\n", (0, "exited")))
        while davit.get(task, "Process.Status") == "running":
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.assertLess(test_streams.Stalled.memory(self, shim), min(4096, before + 256))
                self.assertLess(cpu_of(shim), 5)
            time.sleep(0.1)
        left = self.assert_complete(task, streams, 96 * MIB + 4)
        self.assertEqual(left["stdout"][-6:], b"y\nend\n")
        self.assertGreaterEqual(min(map(len, left.values())), 4096)
        told = davit.journal("_SYSTEMD_UNIT=davitd.service", since=since).count(f"Nobody reads what {task} writes")
        self.assertEqual(told, 1)

    def test_reads_small_writes(self):
        """S-I12: the newest is what is kept, without a gap."""
        task, streams = self.begin(f"{lines(200000)}")
        left = self.assert_complete(task, streams, 200000 * 8)["stdout"].split()
        self.assertEqual(left[-1], b"1199999")
        first = int(left[-1000])
        self.assertEqual([int(line) for line in left[-1000:]], list(range(first, first + 1000)))

    def test_reads_after_a_pause(self):
        """S-I12: a pipe in which nothing moves is hardly looked at, and found full a second late at most."""
        task, streams = self.begin(f"echo x; sleep 3; {lines(100000)}", after=10000)
        begun, shim = time.monotonic(), shim_of(task)
        before = switches_of(shim)
        time.sleep(2.5)
        self.assertLess(switches_of(shim) - before, 30)
        self.assert_complete(task, streams, 800002)
        self.assertLess(time.monotonic() - begun, 3 + 1.5)

    def test_reads_exec(self):
        """S-I12: of an exec, on both of its outputs, by the task's process nobody having asked for it."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        process, streams = self.begin_exec(task, f"{lines(100000)}; {lines(100000)} >&2")
        self.assert_complete(process, streams, 2 * 800000)
        self.assertEqual(dropped(task), 0)
        davit.call(process, "Process.Delete", "(a{sv})", {})

    def test_reads_and_it_is_stopped(self):
        """S-I12: as any other, while its output goes."""
        task, _ = self.begin("cat /dev/zero")
        stalled(task)
        test_streams.Stalled.assert_harmless(self, None, task)

    exec_output = test_streams.Stalled.exec_output
    memory = test_streams.Stalled.memory

    def test_reads_and_default(self):
        """S-I12: nothing is dropped where nobody asked for it."""
        for opts in ({}, {"DropAfterUSec": 0}):
            _, task = self.create(["sh", "-c", f"{lines(100000)}"], Pipes=True, **opts)
            davit.call(task, "Process.Start")
            time.sleep(0.5)
            self.assertEqual((davit.get(task, "Process.Status"), dropped(task)), ("running", 0))
            streams = open_streams(task)
            out = read_all(streams.pop("stdout"))
            close_all(streams)
            self.assertEqual(len(out), 800000)

    def test_keeps_the_end_of_file(self):
        """S-I07: of a program that has closed its output and goes on, also when that was full meanwhile."""
        task, streams = self.begin("head -c 65536 /dev/zero; exec >&-; sleep 1000", after=60000000)
        time.sleep(0.3)
        os.close(streams.pop("stderr"))
        self.assertEqual(len(read_all(streams.pop("stdout"))), 65536)
        task, streams = self.begin(f"{lines(100000)}; exec >&-; sleep 1000")
        stalled(task)
        time.sleep(0.5)
        out = read_all(streams.pop("stdout"))
        self.assertEqual(davit.get(task, "Process.Status"), "running")
        davit.wait_until(lambda: len(out) + dropped(task) == 800000, what="the last count")

    def test_reads_any_more(self):
        """S-I02: a stream that is closed is no longer read by the shim either."""
        task, streams = self.begin("while echo x; do sleep 0.02; done; exit 7")
        os.close(streams.pop("stdout"))
        davit.call(task, "Process.CloseStreams", "(as)", ["stdout"])
        self.assertIn(davit.call(task, "Process.Wait")[:2], ((141, "signalled"), (7, "exited"), (1, "exited")))

    def test_other_runtime(self):
        """S-I12."""
        for runtime in filter(shutil.which, ("runc", "crun")):
            with self.subTest(runtime=runtime):
                id, container = davit.create_container(["sh", "-c", f"{lines(100000)}"], id=davit.unique("drop"), Runtime=runtime)
                self.addCleanup(davit.remove_container, id)
                task, _ = davit.call(container, "Container.CreateTask", "(a{sv})", davit.options(Pipes=True, DropAfterUSec=AFTER))
                streams = open_streams(task)
                os.close(streams.pop("stdin"))
                davit.call(task, "Process.Start")
                self.assert_complete(task, streams, 800000)
                _, task, _, _ = self.run_one(["sleep", "1000"], Runtime=runtime)
                process, streams = self.begin_exec(task, lines(100000))
                self.assert_complete(process, streams, 800000)


class Somebody(DropTest):
    def steady(self, take, size):
        """Everything, of a program that is far faster; @take: reads from a descriptor."""
        task, streams = self.begin(f"{lines(size // 8)}", after=PATIENT)
        data = b""
        while chunk := take(streams["stdout"]):
            data += chunk
            time.sleep(0.05)
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (0, "exited"))
        self.assertEqual(dropped(task), 0)
        self.assertEqual([int(line) for line in data.split()], list(range(FIRST, FIRST + size // 8)))

    def test_slow(self):
        """S-I12: who reads, however slowly, loses nothing."""
        self.steady(lambda fd: os.read(fd, 16384), MIB)

    def test_in_small_bites(self):
        """S-I12: less than a page at a time for the first while, of which the kernel tells nobody."""
        bites = iter([50] * 40)
        self.steady(lambda fd: os.read(fd, next(bites, 32768)), MIB // 4)

    def test_by_splice(self):
        """S-I12: which is how programs copy that never look at what they copy."""
        reader, writer = os.pipe()

        def take(fd):
            n = os.splice(fd, writer, 16384)
            return os.read(reader, n) if n else b""

        try:
            self.steady(take, MIB)
        finally:
            os.close(reader)
            os.close(writer)

    def test_who_comes_back(self):
        """S-I12: from then on nothing more is lost, and there is one gap."""
        task, streams = self.begin(lines(8000000), after=PATIENT)
        stalled(task)
        data, ends = [], time.monotonic() + 1.5
        while time.monotonic() < ends:
            data.append(os.read(streams["stdout"], 4096))
            time.sleep(0.01)
        lost, ends = dropped(task), time.monotonic() + 1.5
        while time.monotonic() < ends:
            data.append(os.read(streams["stdout"], 4096))
            time.sleep(0.01)
        self.assertEqual(dropped(task), lost)
        later = [int(line) for line in b"".join(data[len(data) // 2:]).split(b"\n")[1:-1]]
        self.assertEqual(later, list(range(later[0], later[0] + len(later))))


class Survives(DropTest):
    def test_a_killed_manager(self):
        """S-I12, S-R01: the policy is the shim's, and so is the count."""
        task, streams = self.begin(f"{lines(3000000)}; read x")
        stalled(task)
        before = dropped(task)
        davit.kill_davitd()
        davit.wait_until(lambda: dropped(task) > before, what="the count to go on")
        davit.call(task, "Process.CloseStreams", "(as)", ["stdin"])
        davit.call(task, "Process.Wait")
        ended = dropped(task)
        self.assertEqual(ended + sum(len(read_all(streams.pop(name))) for name in ("stdout", "stderr")), 3000000 * 8)
        davit.kill_davitd()
        self.assertEqual(dropped(task), ended)

    def test_an_end_without_a_manager(self):
        """S-I12, S-R01: what was dropped until then stands in the record of the end."""
        _, other, _, _ = self.run_one(["sleep", "1000"])
        script = f"read x </dev/shm/go; {lines(100000)}"
        task, streams = self.begin(f"mkfifo /dev/shm/go; {script}")
        process, exec_streams = self.begin_exec(other, f"mkfifo /dev/shm/go; {script}")
        pids = [davit.get(p, "Process.Pid") for p in (task, process)]
        davit.wait_until(lambda: all(os.path.exists(f"/proc/{pid}/root/dev/shm/go") for pid in pids), what="FIFOs")
        fds = [os.pidfd_open(pid) for pid in pids]
        davit.systemctl("stop", "davitd.service")
        try:
            for pid in pids:
                with open(f"/proc/{pid}/root/dev/shm/go", "w", encoding="ascii") as go:
                    go.write("\n")
            for fd in fds:
                davit.wait_pidfd(fd)
        finally:
            davit.start_davitd()
        self.assert_complete(task, streams, 800000)
        self.assert_complete(process, exec_streams, 800000)


class Refused(DropTest):
    def test_bad_values(self):
        """S-I01, S-I12: the leak check ends the test."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        reader, writer = os.pipe()
        path = "/var/log/davit-test"
        cases = ({"DropAfterUSec": AFTER}, {"DropAfterUSec": AFTER, "Output": "null"}, {"DropAfterUSec": AFTER, "Pipes": True, "Terminal": True},
                 {"DropAfterUSec": AFTER, "Terminal": True}, {"DropAfterUSec": 1 << 63, "Pipes": True},
                 {"DropAfterUSec": 1, "Pipes": True}, {"DropAfterUSec": 9999, "Pipes": True},
                 {"DropAfterUSec": davit.GLib.Variant("s", "1s"), "Pipes": True}, {"DropAfterUSec": AFTER, "Pipes": False},
                 {"DropAfterUSec": AFTER, "Pipes": True, "Stdout": 0, "StderrPath": path}, {"DropAfterUSec": AFTER, "StdoutPath": path})
        try:
            for opts in cases:
                with self.subTest(opts=str(opts)):
                    id = davit.unique("drop")
                    self.assertError("InvalidArgument", davit.run_container, ["true"], id=id, fds=[writer], **opts)
                    self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)
                    self.assertError("InvalidArgument", davit.call, task, "Task.ExecStart", "(sasa{sv})", "e", ["true"],
                                     davit.options(**opts), fds=[writer])
        finally:
            os.close(reader)
            os.close(writer)
        self.assertEqual(len(davit.call(task, "Task.ListProcesses")), 1)
        self.assertFalse(os.path.exists(path))
