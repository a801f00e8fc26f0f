# SPDX-License-Identifier: LGPL-2.1-or-later
"""What system tests share: the bus, fixtures, and the leak check. Everything here talks to the real parts."""

import contextlib
import functools
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME = "org.davit.Davit1"
ROOT = "/org/davit/Davit1"
ERROR = NAME + ".Error."
STATE = "/var/lib/davit"
RUNTIME = "/run/davit"
FIXTURES = "/var/lib/davit-tests"
CACHE = os.environ.get("DAVIT_CACHE", "/var/cache/davit-quickstart")
TIMEOUT = 30 * int(os.environ.get("DAVIT_SLOWNESS", "1"))

#: Types of the option keys that the contract names; anything else is passed as a GLib.Variant.
OPTION_TYPES = {
    # CreateContainer
    "Spec": "s", "SpecPatch": "s", "Rootfs": "s", "Entrypoint": "as", "Env": "as", "WorkingDir": "s", "User": "s",
    "Hostname": "s", "Terminal": "b", "ReadOnly": "b", "Network": "s", "Mounts": "a(ssss)", "CapAdd": "as",
    "CapDrop": "as", "MemoryMax": "t", "CPUQuotaPerSecUSec": "t", "TasksMax": "t", "Labels": "a{ss}",
    "StopSignal": "s", "StopTimeoutUSec": "t", "AutoRemove": "s", "SeccompReport": "s", "Runtime": "s",
    "RuntimeConfig": "s",
    # CreateTask, Exec
    "Stdin": "h", "Stdout": "h", "Stderr": "h", "Output": "s", "LogPath": "s", "Pipes": "b", "DropAfterUSec": "t",
    "StdinPath": "s", "StdoutPath": "s", "StderrPath": "s", "ListenFDs": "ah", "ConsoleSize": "(uu)",
    # Stop, Delete
    "Signal": "s", "TimeoutUSec": "t", "Force": "b", "KeepSnapshot": "b",
    # Lists, ImportImage
    "Id": "as", "Label": "as", "Image": "s", "Status": "as", "Name": "as", "Key": "as", "Kind": "s", "Format": "s",
    "Platform": "s", "Policy": "s", "RootFilesystem": "s",
    # Snapshots, leases, collection
    "View": "b", "Lease": "s", "Parent": "s", "ReadOnly": "b", "Continue": "b", "Compression": "s", "Digest": "s",
    "ExpireUSec": "t", "BusName": "b", "DryRun": "b", "Repair": "b", "Synchronous": "b", "Snapshot": "s",
    "Author": "s", "Message": "s", "Changes": "as", "Pause": "b",
    # Checkpoints
    "Checkpoint": "s", "Exit": "b", "AllowTcp": "b", "AllowUnixSockets": "b", "AllowTerminal": "b", "FileLocks": "b",
}


class DavitError(Exception):
    """A D-Bus error; `name` is without the family's prefix where it has it."""

    def __init__(self, error):
        name = Gio.DBusError.get_remote_error(error) or str(error.code)
        self.full_name = name
        self.name = name[len(ERROR):] if name.startswith(ERROR) else name
        self.message = error.message.removeprefix(f"GDBus.Error:{name}: ")
        super().__init__(f"{self.name}: {self.message}")


@functools.cache
def bus():
    """The system bus; one connection for the whole process. GLib alone would drop it, with its subscriptions, when nobody
    holds the object."""
    return Gio.bus_get_sync(Gio.BusType.SYSTEM, None)


def connect():
    """A further connection to the system bus, the caller's to close."""
    address = Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM)
    flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    return Gio.DBusConnection.new_for_address_sync(address, flags, None, None)


def call_on(name, path, interface, method, signature="()", args=(), fds=(), timeout=TIMEOUT, connection=None):
    """Any method of any peer. Returns the unpacked reply; descriptors in it are already real ones."""
    out = Gio.UnixFDList.new()
    for fd in fds:
        out.append(fd)
    body = GLib.Variant(signature, tuple(args)) if signature != "()" else None
    try:
        reply, got = (connection or bus()).call_with_unix_fd_list_sync(
            name, path, interface, method, body, None, Gio.DBusCallFlags.NONE, int(timeout * 1000), out, None)
    except GLib.Error as error:
        raise DavitError(error) from None
    values = list(reply.unpack())
    for i in range(reply.n_children()):
        if reply.get_child_value(i).get_type_string() == "h":
            values[i] = got.get(values[i])
    return tuple(values)


def call(path, method, signature="()", *args, fds=(), timeout=TIMEOUT):
    """A method of Davit; `method` as "Manager.Run". One value is returned bare, none as None."""
    interface, _, member = method.rpartition(".")
    values = call_on(NAME, path, f"{NAME}.{interface}", member, signature, args, fds, timeout)
    return values if len(values) > 1 else values[0] if values else None


def manager(method, signature="()", *args, **kwargs):
    return call(ROOT, "Manager." + method, signature, *args, **kwargs)


def get(path, prop, name=NAME):
    """A property, as "Task.Scope" or with a full interface name for other peers."""
    interface, _, member = prop.rpartition(".")
    if name == NAME:
        interface = f"{NAME}.{interface}"
    return call_on(name, path, "org.freedesktop.DBus.Properties", "Get", "(ss)", (interface, member))[0]


def get_all(path, interface):
    return call_on(NAME, path, "org.freedesktop.DBus.Properties", "GetAll", "(s)", (f"{NAME}.{interface}",))[0]


def managed_objects():
    return call_on(NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]


def options(**kwargs):
    """An option dictionary: python values of keys of the contract, or GLib.Variant."""
    made = {}
    for key, value in kwargs.items():
        # An exec's AutoRemove is a boolean, a container's a word.
        kind = "b" if isinstance(value, bool) else OPTION_TYPES.get(key)
        made[key] = value if isinstance(value, GLib.Variant) else GLib.Variant(kind, value)
    return made


class Signals:
    """Collects signals from the moment it is made: `with Signals("Process.Exited") as s: ...; s.wait()`."""

    def __init__(self, signal_name=None, path=None, sender=NAME, interface=None):
        if interface is None and signal_name:
            interface, _, signal_name = signal_name.rpartition(".")
            interface = f"{NAME}.{interface}"
        self.seen = []
        self.id = bus().signal_subscribe(sender, interface, signal_name, path, None, Gio.DBusSignalFlags.NONE,
                                         lambda c, s, p, i, m, body: self.seen.append((p, m, body.unpack())))
        # The subscription has reached the bus before anything that is called next.
        call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId")

    def wait(self, match=lambda path, member, body: True, timeout=TIMEOUT):
        """The first signal that matches, now or later."""
        found = []
        wait_until(lambda: found or found.extend(s for s in self.seen if match(*s)) or found, timeout, "signal")
        return found[0]

    def close(self):
        bus().signal_unsubscribe(self.id)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Matched:
    """Collects what the bus sends a connection that has one match rule and no subscriptions, by which GLib would choose again:
    `with Matched(rule) as m: ...; m.all()`."""

    def __init__(self, rule):
        self.seen, self.connection = [], connect()
        self.connection.add_filter(self.note)
        call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "(s)", (rule,),
                connection=self.connection)

    def note(self, _connection, message, incoming):
        if incoming and message.get_message_type() == Gio.DBusMessageType.SIGNAL and message.get_interface() != "org.freedesktop.DBus":
            self.seen.append((message.get_path(), message.get_member(), message.get_body().unpack()))
        return message

    def all(self):
        """The signals, with every one that davitd has sent until now."""
        call_on(NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping", connection=self.connection)
        return list(self.seen)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close_sync()


def wait_until(condition, timeout=TIMEOUT, what="condition"):
    """Checks again after everything that the bus or systemd says, and at least ten times a second."""
    context = GLib.MainContext.default()
    deadline = time.monotonic() + timeout
    tick = GLib.timeout_add(100, lambda: True)
    try:
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout} s")
            context.iteration(True)
    finally:
        GLib.source_remove(tick)


def handles(pid, number):
    """Whether a process catches or ignores a signal."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        masks = dict(line.split(":\t") for line in f.read().splitlines() if line.startswith("Sig"))
    return any(int(masks[k], 16) & 1 << number - 1 for k in ("SigCgt", "SigIgn"))


def wait_trap(task, number=signal.SIGTERM):
    """A shell sets its traps some time after it has been executed. task: an object path, or an id."""
    if not task.startswith("/"):
        task = manager("GetTask", "(ss)", "", task)
    pid = get(task, "Process.Pid")
    wait_until(lambda: handles(pid, number), what="a trap")


# --- systemd ---

def run(*argv, check=True, timeout=TIMEOUT, **kwargs):
    """A program; its output as text. `check` raises with the error output in the message."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def ctl(*argv, check=False, timeout=TIMEOUT, **kwargs):
    """davitctl with these arguments; the finished process with stdout, stderr and returncode."""
    return run("davitctl", *argv, check=check, timeout=timeout, **kwargs)


def systemctl(*argv, **kwargs):
    return run("systemctl", *argv, **kwargs)


def unit_show(unit, *properties):
    """Properties of a unit as a dict of strings."""
    out = systemctl("show", "-p", ",".join(properties), unit).stdout
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def unit_exists(unit):
    return bool(systemctl("list-units", "--all", "--plain", "--no-legend", unit).stdout.strip())


def main_pid(unit="davitd.service"):
    return int(unit_show(unit, "MainPID")["MainPID"])


def name_owner():
    try:
        return call_on("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "(s)",
                       (NAME,))[0]
    except DavitError:
        return None


def start_davitd():
    systemctl("start", "davitd.service")
    wait_until(name_owner, what="davitd on the bus")


def kill_davitd():
    """kill -9; returns when the old process and its name are gone and a new manager answers."""
    pid, owner = main_pid(), name_owner()
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    wait_pidfd(fd)
    wait_until(lambda: name_owner() != owner, what="the old name to go")
    start_davitd()


def restart_davitd():
    systemctl("restart", "davitd.service")
    wait_until(name_owner, what="davitd on the bus")


def wait_pidfd(fd, timeout=TIMEOUT):
    """Waits for the end of a process and closes its descriptor."""
    import select
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    ended = poll.poll(timeout * 1000)
    os.close(fd)
    if not ended:
        raise AssertionError("process does not end")


@contextlib.contextmanager
def configuration(section="Manager", **keys):
    """davitd restarted with these keys of a section, and again without them afterwards."""
    path = "/etc/davit/davit.conf.d/50-test.conf"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in keys.items()))
    try:
        restart_davitd()
        yield
    finally:
        os.unlink(path)
        restart_davitd()


def journal(*matches, since=None):
    """Text of journal entries, after what is under way has been written."""
    run("journalctl", "--sync")
    argv = ["journalctl", "--no-pager", "-o", "cat", *matches]
    if since:
        argv.append(f"--since=@{since:.6f}")
    return run(*argv).stdout


# --- fixtures ---

def unique(prefix="t"):
    return f"{prefix}-{secrets.token_hex(4)}"


def rootfs():
    """A busybox root file system as a directory; made once in a boot, to be left unchanged."""
    path = f"{FIXTURES}/busybox"
    if os.path.exists(path + "/etc/os-release"):
        return path
    part = f"{path}.{secrets.token_hex(4)}"
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"):
        os.makedirs(f"{part}/{name}")
    os.chmod(f"{part}/tmp", 0o1777)
    shutil.copy2("/bin/busybox", f"{part}/bin/busybox")
    for applet in run("/bin/busybox", "--list").stdout.split():
        if applet != "busybox":
            os.symlink("busybox", f"{part}/bin/{applet}")
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"),
                       ("group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"),
                       ("os-release", "ID=busybox\nNAME=busybox\n")):
        with open(f"{part}/etc/{name}", "w") as f:
            f.write(text)
    try:
        os.rename(part, path)
    except OSError:
        shutil.rmtree(part)
    return path


def busybox_archive():
    """An OCI layout tar of the busybox root file system, image name "busybox:latest"."""
    import images
    path = f"{FIXTURES}/busybox.oci.tar"
    if not os.path.exists(path):
        images.oci_archive(path, [images.layer_of(rootfs())], "busybox:latest",
                           {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"]})
    return path


def debian_archive():
    """The Debian image that `quickstart run` made; a test that needs it is skipped where there is none."""
    path = f"{CACHE}/debian.oci.tar"
    if not os.path.exists(path):
        raise unittest.SkipTest("no Debian image; quickstart makes one")
    return path


def import_image(archive, name="", namespace="", timeout=300, **opts):
    """Imports an archive by its descriptor, waits for the job and returns the names of the images."""
    fd = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        job = manager("ImportImage", "(ssha{sv})", namespace, name, 0, options(**opts), fds=[fd])
    finally:
        os.close(fd)
    return call(job, "Job.Wait", timeout=timeout)["Images"]


def chain_exists(chain):
    """Whether the store has the root file system of a chain, in whichever form."""
    return any(os.path.lexists(f"{STATE}/{form}/{chain[7:]}") for form in ("checkouts", "erofs"))


@contextlib.contextmanager
def chain_tree(chain):
    """The files of a chain, in the form the store has."""
    checkout, image = (f"{STATE}/{form}/{chain[7:]}" for form in ("checkouts", "erofs"))
    if not os.path.exists(image):
        yield checkout
        return
    with tempfile.TemporaryDirectory() as base:
        mounts = [f"{base}/metadata", f"{base}/tree"]
        for path in mounts:
            os.mkdir(path)
        run("mount", "-t", "erofs", "-o", "ro,loop", image, mounts[0])
        try:
            run("mount", "-t", "overlay", "overlay", "-o",
                f"ro,metacopy=on,redirect_dir=follow,lowerdir={mounts[0]}::{STATE}/repo/objects", mounts[1])
            try:
                yield mounts[1]
            finally:
                run("umount", mounts[1])
        finally:
            run("umount", mounts[0])


def busybox_image(namespace=""):
    """The busybox image, imported when it is not there yet. Returns its name."""
    name = "busybox:latest"
    try:
        manager("GetImage", "(ss)", namespace, name)
    except DavitError as error:
        if error.name != "NotFound":
            raise
        import_image(busybox_archive(), name=name, namespace=namespace)
    return name


# --- containers ---

class Exit:
    """How a process ended."""

    def __init__(self, status, kind, exited_at):
        self.status, self.kind, self.exited_at = int(status), kind, int(exited_at)

    def __repr__(self):
        return f"Exit({self.status}, {self.kind!r}, {self.exited_at})"

    def __eq__(self, other):
        return (self.status, self.kind) == other


def read_exit(fd, timeout=TIMEOUT):
    """The record of a descriptor that Run, Start, ExecStart or WaitFD gave; closes it."""
    import select
    data = b""
    deadline = time.monotonic() + timeout
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        while not data.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no exit record within {timeout} s")
            chunk = pipe.read(4096)
            if not chunk:
                raise AssertionError(f"exit pipe ended after {data!r}")
            data += chunk
    return Exit(*data.decode().split())


def select_exit(fd, timeout):
    """Whether an exit descriptor has something to read within this time."""
    import select
    return bool(select.select([fd], [], [], timeout)[0])


def run_container(command, id="", image="", namespace="", fds=(), **opts):
    """Manager.Run of the busybox directory, unless an image, Rootfs or Spec says something else.

    Returns (id, task, pid, exit fd). File descriptors are named by index into `fds`."""
    if not image and not {"Rootfs", "Snapshot", "Spec"} & set(opts):
        opts["Rootfs"] = rootfs()
    return manager("Run", "(sssasa{sv})", namespace, id, image, list(command), options(**opts), fds=fds)


def create_container(command, id="", image="", namespace="", fds=(), **opts):
    """Manager.CreateContainer, with defaults as in run_container. Returns (id, object)."""
    if not image and not {"Rootfs", "Snapshot", "Spec"} & set(opts):
        opts["Rootfs"] = rootfs()
    return manager("CreateContainer", "(sssasa{sv})", namespace, id, image, list(command), options(**opts), fds=fds)


def output_of(command, timeout=TIMEOUT, **opts):
    """Runs a container that is removed with its task. Returns (what it wrote to both streams, Exit)."""
    reader, writer = os.pipe()
    opts.setdefault("AutoRemove", "container")
    try:
        _, _, _, end = run_container(command, fds=[writer], Stdout=0, Stderr=0, **opts)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with os.fdopen(reader, errors="replace") as stream:
        text = stream.read()
    return text, read_exit(end, timeout)


def read_terminal(master):
    """What is still written to a terminal, until nobody has it open; closes its master."""
    text = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(master, 4096):
            text += chunk
    os.close(master)
    return text.decode(errors="replace").replace("\r\n", "\n")


def remove_container(id, namespace=""):
    """Removes a container with its task, whatever state it is in; fine when it has gone."""
    with contextlib.suppress(DavitError):
        call(manager("GetContainer", "(ss)", namespace, id), "Container.Delete", "(a{sv})", options(Force=True))


# --- leaks ---

#: Part of a store or a cache that grows by use and is bounded by other means.
GROWS = ("/var/lib/davit/repo/objects", "/var/lib/davit/repo/tmp", "/var/lib/davit/cache", "/run/davit/cache",
         "/var/lib/davit/seccomp", "/var/lib/davit/erofs", "/run/davit/chains", "/var/lib/davit/repo/state",
         "/run/davit/events")


#: Directories that come with the first object of a namespace and stay for the next.
FRAME = re.compile(r"/(run|var/lib)/davit/(namespaces(/[^/]+(/[a-z]+)?)?|task(/[^/]+)?|runtime(/[^/]+){0,2}|checkpoints(/[^/]+)?|empty|erofs|ingest-content|trash)")


def _files():
    found = set()
    for top in (RUNTIME, STATE):
        for directory, names, files in os.walk(top):
            names[:] = [n for n in names if f"{directory}/{n}" not in GROWS and directory != f"{STATE}/checkouts"]
            if any(directory.startswith(g + "/") for g in GROWS):
                continue
            found.update(path for n in names + files if not FRAME.fullmatch(path := f"{directory}/{n}"))
    with contextlib.suppress(FileNotFoundError):
        found.update(f"/run/systemd/units/{n}" for n in os.listdir("/run/systemd/units") if "davit-" in n and ".scope" in n)
    return found


def _mounts(pid):
    try:
        with open(f"/proc/{pid}/mountinfo") as f:
            lines = [line.split() for line in f]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {(line[4], line[line.index("-") + 1]) for line in lines if not line[4].startswith(f"{RUNTIME}/chains/")}


def cgroup_roots():
    base = "/sys/fs/cgroup"
    if os.path.exists(f"{base}/cgroup.controllers"):
        return [base]
    return [f"{base}/{n}" for n in sorted(os.listdir(base)) if not os.path.islink(f"{base}/{n}")]


def _scopes():
    """Scope cgroup path (below its root) -> PIDs in it, over all hierarchies."""
    found = {}
    for root in cgroup_roots():
        for directory, names, _ in os.walk(f"{root}"):
            if directory == root:
                names[:] = [n for n in names if n.startswith("davit") and n.endswith(".slice")]
            if not directory.endswith(".scope"):
                continue
            names[:] = []
            pids = found.setdefault(os.path.basename(directory), set())
            for sub, _, _ in os.walk(directory):
                with contextlib.suppress(OSError), open(f"{sub}/cgroup.procs") as f:
                    pids.update(int(p) for p in f.read().split())
    return found


def _exe(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def processes(*names):
    """PIDs of those that are called so."""
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _exe(pid) in names}


def _parked_limit():
    limit = 1
    for path in ("/etc/davit/davit.conf", "/etc/davit/davit.conf.d/50-test.conf"):
        with contextlib.suppress(OSError), open(path) as f:
            for line in f:
                if line.startswith("ParkedScopes="):
                    limit = int(line.split("=")[1])
    return limit


def _parked(scopes):
    """Scopes of the pool: one shim, no task. At most as many as the configuration keeps are taken for that."""
    try:
        tasks = {scope for ns, i in ((t[0], t[1]) for t in manager("ListTasks", "(sa{sv})", "*", {}))
                 for scope in (f"davit-{ns}-{i}.scope",)}
    except DavitError:
        tasks = set()
    idle = sorted(s for s, pids in scopes.items()
                  if s not in tasks and len(pids) == 1 and all(_exe(p).startswith("davit-shim") for p in pids))
    return set(idle[:_parked_limit()])


def snapshot():
    """Everything of Davit's that a container or an operation may leave behind."""
    scopes = _scopes()
    parked = _parked(scopes)
    units = {line.split()[0] for line in
             systemctl("list-units", "--all", "--plain", "--no-legend", "davit-*").stdout.splitlines()}
    units = {u for u in units if u.endswith((".scope", ".mount")) or u.startswith(("davit-registry@", "davit-store@", "davit-store-snapshot@"))} - parked
    ids = tuple(f"/{p[:-len('.scope')].split('-', 2)[-1]}" for p in parked)
    shown = {f for f in _files() if not ids or not any(i in f + "/" for i in (i + "/" for i in ids))}
    shown = {f for f in shown if not any(p in f for p in parked)}
    inside = {pid for scope, pids in scopes.items() if scope not in parked for pid in pids}
    return {"units": units, "scopes": set(scopes) - parked, "processes": inside, "files": shown,
            "dumps": processes("criu", "davit-dump"),
            "mounts": _mounts("self"), "launcher mounts": _mounts(main_pid("davit-launcher.service")) - _mounts("self")
            - {(path, kind) for path, kind in _mounts(main_pid("davit-launcher.service"))
               if path.startswith(("/run/credentials", "/run/systemd"))}}


class LeakCheck:
    """`with LeakCheck(): ...`: what stood before stands afterwards and nothing else, within `timeout` seconds.

    `ignore`: beginnings of paths, units or scopes that the test leaves on purpose."""

    def __init__(self, timeout=TIMEOUT // 3, ignore=()):
        self.timeout, self.ignore = timeout, tuple(ignore)

    def __enter__(self):
        self.before = snapshot()
        return self

    def _left(self):
        after = snapshot()
        return {kind: sorted(left, key=str) for kind in after
                if (left := {x for x in after[kind] - self.before[kind]
                             if not str(x[0] if isinstance(x, tuple) else x).startswith(self.ignore or ("\0",))})}

    def check(self):
        systemd = Signals(sender="org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager")
        left = {}
        try:
            wait_until(lambda: (left.clear(), left.update(self._left()), not left)[2], self.timeout, "leak check")
        except AssertionError:
            raise AssertionError("left behind: " + "; ".join(f"{k}: {v}" for k, v in left.items())) from None
        finally:
            systemd.close()

    def __exit__(self, kind, *_):
        if kind is None:
            self.check()


class TestCase(unittest.TestCase):
    """Base of system tests: a time limit, `self.leaks()` and assertions about errors."""

    #: Seconds for one test method; the runner enforces it.
    time_limit = 60
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        start_davitd()

    def assertError(self, name, function, *args, contains="", **kwargs):  # pylint: disable=invalid-name
        """`function` fails with this error of the family, and its sentence contains a text."""
        with self.assertRaises(DavitError) as caught:
            function(*args, **kwargs)
        self.assertEqual(caught.exception.name, name, caught.exception.message)
        self.assertIn(contains, caught.exception.message)
        return caught.exception

    def leaks(self, **kwargs):
        """Begins a leak check that runs after the test and after the cleanups that it adds later. The busybox image, which
        tests share and nobody removes, is there before."""
        busybox_image()
        check = LeakCheck(**kwargs)
        check.__enter__()
        self.addCleanup(check.check)
        return check
