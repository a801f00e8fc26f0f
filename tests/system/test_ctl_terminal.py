# SPDX-License-Identifier: LGPL-2.1-or-later
"""davitctl on a terminal: keys, window size, the way back from raw mode; never the user's own terminal inside."""

import fcntl
import os
import pty
import select
import signal
import struct
import tempfile
import termios
import time
import unittest

import davit
from test_events import last, since, types

ROOTFS = "--rootfs=" + davit.FIXTURES + "/busybox"


class Terminal:
    """davitctl as the first program of a terminal, which the test holds the other side of."""

    def __init__(self, *argv, size=(90, 25)):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            self.resize(*size, fd=0)
            os.execvp("davitctl", ["davitctl", *argv])

    def resize(self, columns, rows, fd=None):
        fcntl.ioctl(self.fd if fd is None else fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, timeout=davit.TIMEOUT):
        """Reads until this text has come; forgets it and what was before it."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} did not come, only {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"the end came before {text!r}: {self.text!r}")
            self.text += data.decode(errors="replace")
        self.text = self.text.partition(text)[2]

    def is_raw(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def end(self):
        """Exit status; reads what is left, so that nothing waits for it."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += data.decode(errors="replace")
        raw = self.is_raw()
        os.close(self.fd)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), raw


class Terminals(davit.TestCase):
    def setUp(self):
        davit.rootfs()
        self.leaks()

    def test_a_shell(self):
        t = Terminal("run", "--rm", "-it", ROOTFS, "sh")
        t.expect("# ")
        self.assertTrue(t.is_raw())
        t.type("tty; stty size; exit 7\n")
        t.expect("/dev/")
        t.expect("25 90")
        self.assertEqual(t.end(), (7, False))

    def test_window_size_follows(self):
        t = Terminal("run", "--rm", "-it", ROOTFS, "sh", "-c", "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done")
        t.expect("ready")
        t.resize(44, 11)
        t.expect("11 44")
        self.assertEqual(t.end(), (0, False))

    def test_keys_are_the_containers(self):
        t = Terminal("run", "--rm", "-it", ROOTFS, "sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done")
        t.expect("ready")
        t.type("\x03")
        t.expect("interrupted")
        self.assertEqual(t.end(), (3, False))

    def test_without_a_terminal_of_its_own_ctrl_c_is_a_signal(self):
        t = Terminal("run", "--rm", ROOTFS, "sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done")
        t.expect("ready")
        self.assertFalse(t.is_raw())
        t.type("\x03")
        t.expect("interrupted")
        self.assertEqual(t.end(), (3, False))

    def test_the_users_terminal_stays_outside(self):
        t = Terminal("run", "--rm", "-i", ROOTFS, "sh", "-c", "for f in 0 1 2; do test -t $f && echo terminal $f; done; echo end")
        t.expect("end")
        self.assertNotIn("terminal", t.text)
        self.assertEqual(t.end()[0], 0)

    def test_stdin_through_a_pipe_ends(self):
        t = Terminal("run", "--rm", "-i", ROOTFS, "cat")
        t.type("a line\n")
        t.expect("a line\r\na line\r\n")
        t.type("\x04")
        self.assertEqual(t.end(), (0, False))

    def test_detach_and_attach(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        t = Terminal("run", "-it", "--name", id, ROOTFS, "sh")
        t.expect("# ")
        t.type("X=kept\n\x10\x11")
        t.expect("detached")
        self.assertEqual(t.end(), (0, False))
        self.assertEqual(davit.get(davit.manager("GetTask", "(ss)", "", id), "Process.Status"), "running")
        t = Terminal("attach", "--detach-keys", "ctrl-a,a,x", id)
        t.type("echo a$X\n")
        t.expect("akept\r\n")
        t.type("echo p\x01\x01a")
        t.type("x")
        t.expect("detached")
        self.assertEqual(t.end(), (0, False))
        t = Terminal("attach", id)
        t.type("\n\necho $X; exit 6\n")
        t.expect("kept\r\n")
        self.assertEqual(t.end(), (6, False))

    def test_exec(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        davit.ctl("run", "-d", "--name", id, ROOTFS, "sleep", "1000", check=True)
        t = Terminal("exec", "-it", id, "sh", size=(77, 33))
        t.expect("# ")
        t.type("stty size; exit 9\n")
        t.expect("33 77")
        self.assertEqual(t.end(), (9, False))

    def test_start_attached(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id)
        davit.ctl("create", "-t", "--name", id, ROOTFS, "sh", "-c", "tty; exit 2", check=True)
        for _ in range(2):
            t = Terminal("start", "-a", id)
            t.expect("/dev/")
            self.assertEqual(t.end(), (2, False))

    def test_restored_after_a_signal(self):
        t = Terminal("run", "--rm", "-it", ROOTFS, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
        t.expect("ready")
        os.kill(t.pid, signal.SIGTERM)
        self.assertEqual(t.end(), (5, False))

    def test_all_output_comes(self):
        t = Terminal("run", "--rm", "-t", ROOTFS, "sh", "-c", "seq 1 5000")
        status, _ = t.end()
        self.assertEqual(status, 0)
        self.assertEqual(t.text.split(), [str(n) for n in range(1, 5001)])

    def test_missing_command(self):
        t = Terminal("run", "--rm", "-it", ROOTFS, "does-not-exist")
        t.expect("does-not-exist")
        self.assertEqual(t.end(), (127, False))

    def test_no_program(self):
        """S-T08: the kernel refuses it when all is made, and davitctl takes all back; of a container that was there, the task."""
        with tempfile.TemporaryDirectory(dir="/run") as directory:
            begun, id = time.time(), davit.unique("ctl")
            with open(f"{directory}/garbage", "wb", opener=lambda path, flags: os.open(path, flags, 0o755)) as f:
                f.write(b"\x7fELF garbage")
            options = ("--name", id, "-v", f"{directory}:/mnt", ROOTFS, "/mnt/garbage")
            for remove in ([], ["--rm"]):
                cursor = last()
                t = Terminal("run", "-it", *remove, *options)
                t.expect("Exec format error")
                self.assertEqual(t.end(), (126, False))
                self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)
                self.assertEqual([e for e in types(since(cursor), id) if e.startswith("task.")], ["task.create", "task.failed", "task.delete"])
            self.addCleanup(davit.remove_container, id)
            davit.ctl("create", "-t", *options, check=True)
            for _ in range(2):
                t = Terminal("start", "-a", id)
                t.expect("Exec format error")
                self.assertEqual(t.end(), (126, False))
                self.assertError("NotFound", davit.manager, "GetTask", "(ss)", "", id)
            told = davit.journal("_SYSTEMD_UNIT=davitd.service", since=begun)
            self.assertEqual([line for line in told.splitlines() if id in line and "without a word" in line], [])

    def test_terminal_needs_one(self):
        done = davit.ctl("run", "--rm", "-it", ROOTFS, "true", input="")
        self.assertEqual(done.returncode, 125)
        self.assertIn("terminal", done.stderr)

    def test_terminal_without_one_here(self):
        done = davit.ctl("run", "--rm", "-t", ROOTFS, "tty", input="")
        self.assertEqual((done.returncode, done.stdout[:5]), (0, "/dev/"))


if __name__ == "__main__":
    unittest.main()
