# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drives davit-shim without a manager: the launcher's and the shim's protocol, scopes asked of systemd directly."""

import array
import json
import os
import secrets
import select
import shutil
import socket
import struct
import subprocess
import time

import davit
from gi.repository import GLib

BUILD = os.environ.get("DAVIT_BUILD") or os.path.join(os.path.dirname(__file__), "..", "..", "build")
LAUNCHER = "/run/davit/launcher"
HEAD = struct.Struct("=IHHII")
ID = "64s"
(LAUNCHER_HELLO, LAUNCHER_CHAIN, LAUNCHER_REMOVE, LAUNCHER_SHIM, LAUNCHER_CHAIN_DONE, LAUNCHER_REMOVE_DONE,
 LAUNCHER_FEATURES, LAUNCHER_MOUNT_DONE, LAUNCHER_MOUNT, LAUNCHER_DUMP, LAUNCHER_DUMP_END, LAUNCHER_DUMP_DONE,
 LAUNCHER_DUMP_ENDED) = range(1, 14)
CHECKOUT, EROFS_FILE, EROFS_LOOP = range(1, 4)
(PARK, LAUNCH, SCOPE, START, EXEC, KILL, STOP, PAUSE, RESUME, RESIZE, CLOSE_STDIN, TERMINAL, PROCESSES, QUERY,
 DISCARD, OPEN_STREAMS, UNIFIED) = range(32, 49)
(REPLY, CREATED, STARTED, FAILED, EXITED, STATE, STREAMS_OPEN, OOM) = range(64, 72)
BODIES = {
    LAUNCHER_SHIM: ("=iIQ", ("pid", "pad", "start_time")),
    LAUNCHER_CHAIN_DONE: ("=iI", ("error", "pad")),
    LAUNCHER_REMOVE_DONE: ("=iI", ("error", "pad")),
    LAUNCHER_FEATURES: ("=II", ("forms", "pad")),
    LAUNCHER_MOUNT_DONE: ("=iI", ("error", "pad")),
    LAUNCHER_DUMP_DONE: ("=iIQ", ("error", "cause", "bytes")),
    LAUNCHER_DUMP_ENDED: ("=iI", ("error", "pad")),
    REPLY: ("=iI", ("error", "pad")),
    CREATED: ("=iIQ", ("pid", "pad", "start_time")),
    STARTED: ("=iIQ" + ID, ("pid", "pad", "start_time", "exec_id")),
    FAILED: ("=iI" + ID, ("error", "step", "exec_id")),
    EXITED: ("=IIQ" + ID, ("status", "kind", "exited_at", "exec_id")),
    STATE: ("=IiQQQIIQ" + ID, ("status", "pid", "start_time", "created_at", "started_at", "exit_status", "kind",
                               "exited_at", "exec_id")),
    OOM: ("=QQQII" + ID, ("number", "kills", "at", "culprit", "pad", "exec_id")),
}
CULPRITS = (None, "init", "exec", "child")
KINDS = (None, "exited", "signalled", "dumped", "oom", "seccomp", "lost")
STEPS = (None, "plan", "namespace", "id map", "cgroup", "rootfs", "mount", "device", "mask", "sysctl", "pivot", "stdio",
         "user", "rlimit", "capability", "label", "seccomp", "cwd", "command", "runtime", "restore")
NULL, FD, JOURNAL, PTY, SAME = range(5)
RESTORE = 2
(DUMP_EXIT, DUMP_TCP, DUMP_UNIX, DUMP_TERMINAL, DUMP_LOCKS, DUMP_CHECK) = (1 << bit for bit in range(6))
CAUSES = (None, "missing", "refused", "failed", "cancelled")


class Message:
    def __init__(self, data, fds):
        version, self.type, n_fds, self.serial, text_size = HEAD.unpack_from(data)
        assert version == 1 and n_fds == len(fds), (version, n_fds, fds)
        layout, names = BODIES[self.type]
        size = struct.calcsize(layout)
        for name, value in zip(names, struct.unpack_from(layout, data, HEAD.size)):
            setattr(self, name, value.split(b"\0")[0].decode() if isinstance(value, bytes) else value)
        self.text = data[HEAD.size + size:].decode(errors="replace")
        assert len(data) == HEAD.size + size + text_size
        self.fds = fds

    def __repr__(self):
        return f"<{self.type} {vars(self)}>"


class Socket:
    """One SEQPACKET connection; a context that closes it."""

    def __init__(self, sock):
        self.sock = sock
        self.serial = 0

    def send(self, kind, body=b"", text=b"", fds=()):
        self.serial += 1
        data = HEAD.pack(1, kind, len(fds), self.serial, len(text)) + body + text
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], ancillary)
        return self.serial

    def recv(self, timeout=10):
        if not select.select([self.sock], [], [], timeout)[0]:
            raise TimeoutError("no message")
        data, ancillary, _, _ = self.sock.recvmsg(8192, socket.CMSG_SPACE(4 * 64), socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[:len(payload) - len(payload) % 4])
        return Message(data, list(fds)) if data else None

    def close(self):
        self.sock.close()


def seqpacket(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    return Socket(sock)


class Launcher(Socket):
    def __init__(self):
        super().__init__(seqpacket(LAUNCHER).sock)
        self.forms = None

    def recv(self, timeout=10):
        """The next message but for the one about the kernel, which comes when it comes."""
        m = super().recv(timeout)
        if m and m.type == LAUNCHER_FEATURES:
            self.forms = m.forms
            m = super().recv(timeout)
        return m

    def features(self):
        """What the launcher says the kernel mounts: a set of forms."""
        if self.forms is None:
            _, control, pidfd = self.shim()
            control.close()
            os.close(pidfd)
        if self.forms is None:
            self.forms = Socket.recv(self).forms
        return {form for form in (CHECKOUT, EROFS_FILE, EROFS_LOOP) if self.forms & 1 << form}

    def chain(self, form, name, source, fall_back=False):
        """Mounts a chain, or with an empty source takes it away: 0 or a negative errno."""
        self.send(LAUNCHER_CHAIN, struct.pack("=II", form, fall_back), f"{name}\0{source}".encode())
        m = self.recv()
        assert m.type == LAUNCHER_CHAIN_DONE, m
        return m.error

    def mount(self, lowers, data=(), upper=None, work=None):
        """A detached mount of these layers, or a negative errno."""
        paths = [*lowers, *data, *((upper, work) if upper else ())]
        self.send(LAUNCHER_MOUNT, struct.pack("=IIII", len(lowers), len(data), bool(upper), 0),
                  b"".join(p.encode() + b"\0" for p in paths))
        m = self.recv()
        assert m.type == LAUNCHER_MOUNT_DONE and bool(m.fds) == (m.error == 0), m
        return m.fds[0] if m.fds else m.error

    def dump(self, flags, images=None, task=None):
        """Begins a dump, or a check of this host; returns its serial."""
        fds = [] if images is None else [images]
        body = (task.init, flags, task.start_time) if task else (0, flags, 0)
        return self.send(LAUNCHER_DUMP, struct.pack("=iIQ", *body), fds=fds)

    def dump_end(self, serial, end):
        data = HEAD.pack(1, LAUNCHER_DUMP_END, 0, serial, 0) + struct.pack("=II", end, 0)
        self.sock.send(data)

    def shim(self):
        self.send(LAUNCHER_HELLO, struct.pack("=II", 1, 0))
        m = self.recv()
        assert m.type == LAUNCHER_SHIM and len(m.fds) == 2, m
        return m.pid, socket.socket(fileno=m.fds[0]), m.fds[1]


def plan(patch, *arguments):
    """A sealed memfd with the plan of the default configuration patched."""
    done = subprocess.run([os.path.join(BUILD, "tests/system/make-plan"), *arguments], input=json.dumps(patch).encode(),
                          capture_output=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.decode())
    fd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, done.stdout)
    import fcntl
    fcntl.fcntl(fd, 1033, 0x1 | 0x2 | 0x4 | 0x8)
    return fd


def start_scope(name, pid, properties=()):
    """StartTransientUnit as the manager calls it; returns once systemd has done the job."""
    connection = davit.bus()
    done = []
    loop = GLib.MainContext.default()

    def removed(_c, _s, _p, _i, _n, arguments):
        done.append(arguments.unpack())

    slot = connection.signal_subscribe("org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved",
                                       "/org/freedesktop/systemd1", None, 0, removed)
    try:
        davit.call_on("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Subscribe")
    except davit.DavitError:
        pass
    extra = [(n, GLib.Variant(s, v)) for n, s, v in properties]
    reply = davit.call_on("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                          "StartTransientUnit", "(ssa(sv)a(sa(sv)))",
                          (name, "fail", [("PIDs", GLib.Variant("au", [pid])), ("Delegate", GLib.Variant("b", True)),
                                          ("CollectMode", GLib.Variant("s", "inactive-or-failed")),
                                          ("KillSignal", GLib.Variant("i", 23)), *extra], []))
    end = time.monotonic() + 10
    while not any(d[1] == reply[0] for d in done):
        loop.iteration(False) or time.sleep(0.001)
        if time.monotonic() > end:
            raise TimeoutError("scope")
    connection.signal_unsubscribe(slot)
    result = [d[3] for d in done if d[1] == reply[0]][0]
    if result != "done":
        raise RuntimeError(result)


class Task:
    """A shim with, in time, a container."""

    def __init__(self, root, launcher=None):
        self.id = "t" + secrets.token_hex(4)
        self.root = root
        self.unit = f"davit-default-{self.id}.scope"
        self.directory = f"/run/davit/task/default/{self.id}"
        os.makedirs(self.directory, mode=0o700)
        self.launcher = launcher or Launcher()
        self.pid, sock, self.pidfd = self.launcher.shim()
        self.control = Socket(sock)
        self.files = []

    def plan(self, patch, *arguments):
        rootfs = ("--directory", self.root) if isinstance(self.root, str) else tuple(self.root)
        return plan(patch, "--id", self.id, *rootfs, *arguments)

    def launch(self, patch, *arguments, stdio=None, fds=(), start=True, listen=0, images=None):
        """With the descriptor of a dump the task comes from there."""
        memfd = self.plan(patch, *arguments)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        if stdio is None:
            read, write = os.pipe()
            self.output = read
            stdio, fds = (NULL, FD, SAME), (write,)
        start = int(start) if images is None else RESTORE
        self.control.send(LAUNCH, struct.pack("=BBBBI", *stdio, listen, start),
                          fds=[memfd, directory, *([] if images is None else [images]), *fds])
        for fd in (memfd, directory, *fds):
            os.close(fd)

    def scope(self, properties=()):
        start_scope(self.unit, self.pid, properties)
        self.control.send(SCOPE, text=self.unit.encode())

    def run(self, patch, *arguments, **keywords):
        self.launch(patch, *arguments, **keywords)
        self.scope()
        return self.control.recv()

    def read(self):
        data = b""
        while True:
            if not select.select([self.output], [], [], 10)[0]:
                raise TimeoutError("output")
            piece = os.read(self.output, 65536)
            if not piece:
                return data.decode()
            data += piece

    def exited(self):
        m = self.control.recv()
        assert m and m.type == EXITED, m
        return m.status, KINDS[m.kind]

    def killed(self):
        """A kill for want of memory: (number, whom)."""
        m = self.control.recv()
        assert m and m.type == OOM, m
        return m.number, CULPRITS[m.culprit]

    def gone(self, timeout=10):
        """Waits until the shim itself has ended."""
        return bool(select.select([self.pidfd], [], [], timeout)[0])

    def record(self, exec_id=None):
        path = os.path.join(self.directory, f"exec/{exec_id}" if exec_id else "", "exit")
        with open(path) as f:
            return dict(line.rstrip("\n").split("=", 1) for line in f)

    def end(self):
        if not self.gone(0):
            try:
                self.control.send(DISCARD)
            except OSError:
                pass
            if not self.gone(5):
                import signal
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
                self.gone(5)
        self.control.close()
        os.close(self.pidfd)
        shutil.rmtree(self.directory)


def busybox_root(path):
    """A small root file system at `path`: busybox, its usual names, a few users."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "srv/user"):
        os.makedirs(os.path.join(path, name))
    os.chmod(os.path.join(path, "tmp"), 0o1777)
    shutil.copy("/bin/busybox", os.path.join(path, "bin/busybox"))
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, check=True, text=True).stdout.split()
    for name in names:
        if name != "busybox":
            os.symlink("busybox", os.path.join(path, "bin", name))
    with open(os.path.join(path, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/srv/user:/bin/sh\n")
    with open(os.path.join(path, "etc/group"), "w") as f:
        f.write("root:x:0:\nuser:x:1000:\naudio:x:29:user\nvideo:x:44:user\n")
    os.chown(os.path.join(path, "srv/user"), 1000, 1000)
    return path
