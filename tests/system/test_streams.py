# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams: whose they are, how they end, who may come later, and what a reader that reads nothing holds up: nobody else."""

import contextlib
import os
import shutil
import tempfile
import time

import davit
from test_exec import ExecTest
from test_recovery import shim_of
from test_task import TaskTest


def open_streams(path):
    """{name: descriptor} of Process.OpenStreams."""
    connection = davit.bus()
    reply, fds = connection.call_with_unix_fd_list_sync(davit.NAME, path, f"{davit.NAME}.Process", "OpenStreams", None, None,
                                                        davit.Gio.DBusCallFlags.NONE, 30000, None, None)
    return {name: fds.get(index) for name, index in reply.unpack()[0]}


def close_all(streams):
    for fd in streams.values():
        os.close(fd)


def read_all(fd):
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


class StreamTest(TaskTest):
    def create(self, command, **opts):
        """A created task with these streams."""
        id, container = davit.create_container(command, id=davit.unique("stream"))
        self.addCleanup(davit.remove_container, id)
        return id, davit.call(container, "Container.CreateTask", "(a{sv})", davit.options(**opts))[0]


class Given(StreamTest):
    def test_wrong_ones_start_nothing(self):
        """S-I01: the leak check ends the test."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        for opts, error in (({"LogPath": "/dev/null"}, "InvalidArgument"), ({"LogPath": "/no/such/directory/log"}, "FailedPrecondition"),
                            ({"LogPath": "relative"}, "InvalidArgument"), ({"StdinPath": "/no/such/fifo"}, "FailedPrecondition"),
                            ({"StdoutPath": "/dev"}, "InvalidArgument"), ({"Output": "null", "Pipes": True}, "InvalidArgument"),
                            ({"StdinPath": "/" + "x" * 5000}, "InvalidArgument")):
            with self.subTest(opts=str(opts)[:60]):
                id = davit.unique("stream")
                self.assertError(error, davit.run_container, ["true"], id=id, **opts)
                self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)
                if "LogPath" not in opts:
                    self.assertError(error, davit.call, task, "Task.ExecStart", "(sasa{sv})", "e", ["true"], davit.options(**opts))
        self.assertEqual(len(davit.call(task, "Task.ListProcesses")), 1)
        self.assertEqual([p for p in davit.managed_objects() if p.startswith(task + "/exec")], [])

    def test_terminal_takes_no_other(self):
        """S-I05: and what is written to stderr is written to it."""
        reader, writer = os.pipe()
        _, other, _, _ = self.run_one(["sleep", "1000"])
        for opts in ({"Stdin": 1}, {"Stdout": 0}, {"Stderr": 0}, {"Pipes": True}, {"StdinPath": "/dev/zero"},
                     {"StdoutPath": "/var/log/x"}):
            with self.subTest(opts):
                self.assertError("InvalidArgument", davit.run_container, ["true"], fds=[writer, reader], contains="terminal",
                                 Terminal=True, **opts)
                for method in ("Exec", "ExecStart"):
                    self.assertError("InvalidArgument", davit.call, other, f"Task.{method}", "(sasa{sv})", "", ["true"],
                                     davit.options(Terminal=True, **opts), fds=[writer, reader], contains="terminal")
        os.close(writer)
        os.close(reader)
        _, task = self.create_with_terminal(["sh", "-c", "echo to stderr >&2; read x"])
        master = davit.call(task, "Process.OpenTerminal")
        davit.call(task, "Process.Start")
        text = b""
        while b"to stderr\r\n" not in text:
            self.assertTrue(davit.select_exit(master, 10), text)
            text += os.read(master, 4096)
        os.close(master)

    def create_with_terminal(self, command):
        id, container = davit.create_container(command, id=davit.unique("stream"), Terminal=True)
        self.addCleanup(davit.remove_container, id)
        return id, davit.call(container, "Container.CreateTask", "(a{sv})", {})[0]

    def test_last_line_is_there_with_the_end(self):
        """S-I08: who hears of the end finds everything in the pipe, and its end behind it."""
        for i in range(50):
            reader, writer = os.pipe()
            _, _, _, end = davit.run_container(["sh", "-c", f"echo out {i}; echo last {i} >&2"], fds=[writer], Stdout=0, Stderr=0,
                                               AutoRemove="container")
            os.close(writer)
            davit.read_exit(end)
            os.set_blocking(reader, False)
            self.assertEqual(os.read(reader, 4096), f"out {i}\nlast {i}\n".encode())
            davit.wait_until(lambda: davit.select_exit(reader, 0), what="end of file")
            self.assertEqual(os.read(reader, 4096), b"")
            os.close(reader)

    def test_last_line_is_in_the_journal(self):
        """S-I08."""
        since = time.time() - 1
        ids = [davit.unique("stream") for _ in range(10)]
        for id in ids:
            davit.read_exit(self.run_one(["sh", "-c", "echo first; echo -n the last"], id=id)[3])
        for id in ids:
            self.assertIn("the last", davit.journal(f"CONTAINER_ID={id}", since=since))

    def test_much(self):
        """S-I07: all of it, then end of file, once."""
        reader, writer = os.pipe()
        _, _, _, end = davit.run_container(["sh", "-c", "dd if=/dev/zero bs=64k count=160 2>/dev/null; echo end"], fds=[writer], Stdout=0,
                                           AutoRemove="container")
        os.close(writer)
        data = read_all(reader)
        self.assertEqual((len(data), data[-5:]), (160 * 65536 + 4, b"\0end\n"))
        self.assertEqual(davit.read_exit(end), (0, "exited"))


class Kept(StreamTest):
    time_limit = 120

    def test_of_a_task(self):
        """S-I02, S-I03, S-I06: opened twice, also by the next manager; nothing is lost, and stdin ends when it is closed."""
        id, task = self.create(["sh", "-c", "while read line; do echo got $line; echo err $line >&2; done; echo end"], Pipes=True)
        first = open_streams(task)
        self.assertEqual(set(first), {"stdin", "stdout", "stderr"})
        davit.call(task, "Process.Start")
        end = davit.call(task, "Process.WaitFD")
        os.write(first["stdin"], b"one\n")
        self.assertEqual(os.read(first["stdout"], 100), b"got one\n")
        close_all(first)
        os.close(end)
        davit.kill_davitd()
        second = open_streams(task)
        os.write(second["stdin"], b"two\n")
        self.assertEqual(os.read(second["stdout"], 100), b"got two\n")
        davit.call(task, "Process.CloseStreams", "(as)", [])
        os.write(second["stdin"], b"three\n")
        self.assertEqual(os.read(second["stdout"], 100), b"got three\n")
        davit.call(task, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertError("FailedPrecondition", davit.call, task, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertEqual(set(open_streams_closed(task)), {"stdout", "stderr"})
        os.write(second["stdin"], b"four\n")
        os.close(second.pop("stdin"))
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (0, "exited"))
        self.assertEqual(read_all(second["stdout"]), b"got four\nend\n")
        self.assertEqual(read_all(second["stderr"]), b"err one\nerr two\nerr three\nerr four\n")
        self.assertError("FailedPrecondition", open_streams_error, task)

    def test_of_an_exec(self):
        """S-I02, S-I06: opened before it starts, so that nothing is missed."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", "cat; echo err >&2"], davit.options(Pipes=True))
        streams = open_streams(process)
        self.assertError("FailedPrecondition", davit.call, process, "Process.CloseStreams", "(as)", ["stdin"])
        davit.call(process, "Process.Start")
        os.write(streams["stdin"], b"text\n")
        os.close(streams["stdin"])
        self.assertError("InvalidArgument", davit.call, process, "Process.CloseStreams", "(as)", ["stdin", "nose"], contains="nose")
        davit.call(process, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))
        self.assertEqual((read_all(streams["stdout"]), read_all(streams["stderr"])), (b"text\n", b"err\n"))

    def test_of_an_exec_by_the_next_manager(self):
        """S-I02, S-I06: those that are named are closed, and no other."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["cat"], davit.options(Pipes=True))
        davit.kill_davitd()
        streams = open_streams(process)
        self.assertEqual(set(streams), {"stdin", "stdout", "stderr"})
        davit.call(process, "Process.CloseStreams", "(as)", ["stderr"])
        self.assertEqual(set(open_streams_closed(process)), {"stdin", "stdout"})
        os.write(streams["stdin"], b"text\n")
        self.assertEqual(os.read(streams["stdout"], 100), b"text\n")
        close_all(streams)
        davit.call(process, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))

    def test_opened_anew(self):
        """A program, of the task and of an exec, that writes to a link to /dev/stdout, as web servers' images do."""
        script = "ln -sf /dev/stdout /dev/shm/log$1; ln -sf /dev/stderr /dev/shm/err$1; echo one >>/dev/shm/log$1; echo two >/dev/shm/err$1"
        _, task = self.create(["sh", "-c", f"{script}; sleep 1000", "sh", "a"], Pipes=True)
        davit.call(task, "Process.Start")
        streams = open_streams(task)
        self.assertEqual((os.read(streams["stdout"], 100), os.read(streams["stderr"], 100)), (b"one\n", b"two\n"))
        close_all(streams)
        _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", script, "sh", "b"], davit.options(Pipes=True))
        streams = open_streams(process)
        davit.call(process, "Process.Start")
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))
        self.assertEqual((read_all(streams["stdout"]), read_all(streams["stderr"])), (b"one\n", b"two\n"))
        close_all({k: v for k, v in streams.items() if k == "stdin"})

    def test_listen_fds_of_an_exec(self):
        """S-I11: further descriptors, counted in LISTEN_FDS, and none beside them."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        reader, writer = os.pipe()
        second, other = os.pipe()
        os.write(writer, b"three\n")
        os.write(other, b"four\n")
        for fd in (writer, other):
            os.close(fd)
        script = "echo $LISTEN_FDS $(test $LISTEN_PID = $$ && echo mine); cat <&3; cat <&4; test -e /proc/self/fd/5 || echo no more"
        try:
            _, process = davit.call(task, "Task.Exec", "(sasa{sv})", "", ["sh", "-c", script],
                                    davit.options(Pipes=True, ListenFDs=[0, 1]), fds=[reader, second])
        finally:
            os.close(reader)
            os.close(second)
        streams = open_streams(process)
        davit.call(process, "Process.Start")
        self.assertEqual(davit.call(process, "Process.Wait")[:2], (0, "exited"))
        self.assertEqual(read_all(streams.pop("stdout")), b"2 mine\nthree\nfour\nno more\n")
        close_all(streams)

    def test_without(self):
        """S-I02: streams of the caller's, and of a terminal, are not Davit's to close."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.assertError("FailedPrecondition", davit.call, task, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertError("FailedPrecondition", open_streams_error, task)
        _, task, _, _ = self.run_one(["cat"], Terminal=True)
        self.assertError("FailedPrecondition", davit.call, task, "Process.CloseStreams", "(as)", ["stdin"])

    def test_reader_that_closes(self):
        """S-I02: a process whose last reader has gone hears of it."""
        _, task = self.create(["sh", "-c", "while echo x; do sleep 0.02; done; exit 7"], Pipes=True)
        davit.call(task, "Process.Start")
        davit.call(task, "Process.CloseStreams", "(as)", ["stdout"])
        self.assertIn(davit.call(task, "Process.Wait")[:2], ((141, "signalled"), (7, "exited"), (1, "exited")))


class Paths(StreamTest):
    def setUp(self):
        super().setUp()
        self.directory = tempfile.mkdtemp(dir=davit.FIXTURES)
        self.addCleanup(shutil.rmtree, self.directory)
        self.paths = {}
        for name in ("Stdin", "Stdout", "Stderr"):
            self.paths[name + "Path"] = f"{self.directory}/{name}"
            os.mkfifo(f"{self.directory}/{name}")

    def test_fifos(self):
        """S-O16, S-I10: a directory of them; nobody has to be there first, and a reader that leaves ends nothing."""
        _, task = self.create(["sh", "-c", "while read x; do echo $x; echo e$x >&2; done; echo end"], **self.paths)
        davit.call(task, "Process.Start")
        with open(f"{self.directory}/Stdin", "wb", buffering=0) as into:
            into.write(b"1\n")
        for _ in range(2):
            with open(f"{self.directory}/Stdin", "wb", buffering=0) as into, open(f"{self.directory}/Stdout", "rb", buffering=0) as out:
                into.write(b"2\n")
                davit.wait_until(lambda: davit.select_exit(out.fileno(), 1), what="output")
                self.assertIn(b"2\n", out.read(100) + (out.read(100) if davit.select_exit(out.fileno(), 0.2) else b""))
        out, err = (os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK) for name in ("Stdout", "Stderr"))
        davit.call(task, "Process.CloseStreams", "(as)", ["stdin"])
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (0, "exited"))
        for fd in (out, err):
            os.set_blocking(fd, True)
        self.assertEqual(read_all(out), b"end\n")
        self.assertEqual(read_all(err), b"e1\ne2\ne2\n")

    def test_exec(self):
        """S-O16."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        path = f"{self.directory}/file"
        for _ in range(2):
            _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "echo line; echo err >&2"],
                                            davit.options(StdoutPath=path, StderrPath=self.paths["StderrPath"]))
            davit.read_exit(end)
        with open(path, encoding="ascii") as f:
            self.assertEqual(f.read(), "line\nline\n")


class Stalled(ExecTest):
    time_limit = 120

    def memory(self, pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def assert_harmless(self, id, task):
        """It stands, and is stopped and deleted as soon as any other; its shim and the manager have kept nothing."""
        shim = shim_of(task)
        davit.wait_until(lambda: davit.get(task, "Process.Status") == "running")
        time.sleep(0.3)  # for it to fill what there is
        self.assertLess(self.memory(shim), 4096)
        self.assertEqual(davit.output_of(["echo", "other"]), ("other\n", (0, "exited")))
        self.assertEqual(self.exec_output(task, ["echo", "exec"]), ("exec\n", (0, "exited")))
        begun = time.monotonic()
        davit.call(task, "Task.Stop", "(a{sv})", davit.options(TimeoutUSec=200000))
        davit.call(task, "Process.Delete", "(a{sv})", {})
        self.assertLess(time.monotonic() - begun, 5)

    def test_descriptor(self):
        """S-I11: the process waits, as it would with anybody's pipe."""
        reader, writer = os.pipe()
        id, task, _, _ = self.run_one(["cat", "/dev/zero"], fds=[writer], Stdout=0)
        os.close(writer)
        self.assert_harmless(id, task)
        os.close(reader)

    def test_pipe(self):
        """S-I06."""
        self.assert_harmless(*self.run_one(["cat", "/dev/zero"], Pipes=True)[:2])

    def test_terminal(self):
        """S-I05: nobody has opened it."""
        self.assert_harmless(*self.run_one(["cat", "/dev/zero"], Terminal=True)[:2])

    def test_reader_that_dies(self):
        """The process is told by its system call; nobody else is."""
        reader, writer = os.pipe()
        _, task, _, end = self.run_one(["sh", "-c", "while echo x; do :; done; exit 3"], fds=[writer], Stdout=0)
        os.close(writer)
        os.close(reader)
        self.assertIn(davit.read_exit(end), ((3, "exited"), (141, "signalled"), (1, "exited")))


def open_streams_closed(task):
    streams = open_streams(task)
    close_all(streams)
    return streams


def open_streams_error(task):
    """As davit.call() would fail."""
    davit.call(task, "Process.OpenStreams")
