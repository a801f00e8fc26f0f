# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every method of the contract times everything that can be wrong with a call: the right error, soon, and nothing changed.

The methods, their arguments and their options are read from the contract, so one that is added is tested without a word
here; only what puts an object into the wrong state has to be said."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import davit
from davit import GLib

#: What a refusal may take: the median of all, and of several tries of any one. In seconds.
SOON = 0.05

UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"

#: Sentences are for people: this long at most.
MESSAGE_MAX = 1200

LONG = "x" * 100000
CONTROL = "a\nb\x1b[31mc\x7f"

#: Texts that may say anything.
FREE_TEXT = {"Author", "Message", "command", "Entrypoint", "Env"}

#: Filters: what matches nothing is no error.
FILTERS = {"Id", "Label", "Image", "Status", "Name", "Key", "Kind", "Parent", "Digest"}

#: Numbers that mean something however large they are.
ANY_NUMBER = {"length", "offset", "TimeoutUSec", "StopTimeoutUSec", "Until", "MemoryMax", "MemoryHigh", "MemoryLow",
              "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "ExpireUSec", "Size"}

#: Where an empty text means something: of a call alone (a new id is made up, the archive says the name, what stands on
#: nothing), or wherever it is given (the default, the parent, as the container has it, not known, all).
EMPTY = {"Manager.CreateContainer id", "Manager.Run id", "Manager.CreateLease id", "Manager.ImportImage name",
         "Manager.ListSnapshots Parent", "namespace", "parent", "from", "exec_id", "User", "WorkingDir", "Hostname", "MediaType",
         "AllowedCPUs", "AllowedMemoryNodes", "Author", "Message", "command", "Entrypoint", "Changes", "Arguments"}


#: Methods that take the options of others, as their comments say in words.
OPTIONS_OF = {"Manager.Run": ("Manager.CreateContainer", "Container.CreateTask"), "Container.Start": ("Container.CreateTask",),
              "Container.Update": ("Manager.CreateContainer",), "Manager.CommitContent": ("Manager.WriteContent",),
              "Task.ExecStart": ("Task.Exec",), "Task.BeginStop": ("Task.Stop",), "Manager.ListStats": ("Manager.ListTasks",)}
NOT_TAKEN = {("Container.Update", name) for name in ("Spec", "Rootfs", "Snapshot")}


def contract():
    """[(method as "Interface.Name", [(argument, type)], {option: [types]})]."""
    found = list(read_contract())
    options = {method: own for method, _, own in found}
    for method, others in OPTIONS_OF.items():
        for other in others:
            options[method].update({n: k for n, k in options[other].items() if (method, n) not in NOT_TAKEN})
    return found


def read_contract():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../data/dbus/org.davit.Davit1.xml")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for interface in re.finditer(r'<interface name="org\.davit\.Davit1\.(\w+)">(.*?)</interface>', text, re.S):
        comment = ""
        for item in re.finditer(r'<!--(.*?)-->|<method name="(\w+)"(?:/>|>(.*?)</method>)', interface.group(2), re.S):
            if item.group(1) is not None:
                comment = item.group(1)
                continue
            tags = ElementTree.fromstring(f"<m>{item.group(3) or ''}</m>")
            arguments = [(a.get("name"), a.get("type")) for a in tags if a.get("direction") == "in"]
            yield f"{interface.group(1)}.{item.group(2)}", arguments, options_of(comment, arguments)
            comment = ""


def type_at(text):
    """The D-Bus type that a text begins with, up to what cannot belong to it."""
    depth = 0
    for i, c in enumerate(text):
        if depth == 0 and c in " ,:;)\n":
            break
        depth += (c in "({") - (c in ")}")
    return text[:i] if GLib.VariantType.string_is_valid(text[:i]) else None


def options_of(comment, arguments):
    """Keys of the dictionary: "Name (type...)" after "options:" or "filters:"; "Name (type or type...)" takes both."""
    where = re.search(r"(?:options|filters):\s(.*?)(?:$|\n\s+[a-z]+: )", re.sub(r"those of [A-Z]\w+, ", "", comment), re.S)
    if "a{sv}" not in [t for _, t in arguments] or not where:
        return {}
    found = {}
    for match in re.finditer(r"(?<!of )\b([A-Z]\w+) \(", where.group(1)):
        rest = where.group(1)[match.end():]
        kind = type_at(rest)
        if kind:
            other = re.match(r" or (\w+)", rest[len(kind):])
            found[match.group(1)] = [kind] + ([other.group(1)] if other else [])
    for names, last in re.findall(r"((?:[A-Z]\w+, )+)([A-Z]\w+) \(", where.group(1)):
        for name in names.split(", ")[:-1]:
            if last in found:
                found.setdefault(name, found[last])
    return found


def value(kind, text="", number=0):
    """Something of a type."""
    if kind in "sog":
        return GLib.Variant(kind, text if kind == "s" else "/" if kind == "o" else "")
    if kind in "ut":
        return GLib.Variant(kind, number)
    if kind == "b":
        return GLib.Variant("b", False)
    if kind == "h":
        return GLib.Variant("h", 0)
    if kind == "as":
        return GLib.Variant("as", [text] if text else [])
    if kind == "a{ss}":
        return GLib.Variant("a{ss}", {text: "x"} if text else {})
    if kind == "(uu)":
        return GLib.Variant("(uu)", (number, number))
    return GLib.Variant(kind, []) if kind.startswith("a") else None


class Call:
    """One method with arguments that are fine as far as they can be."""

    def __init__(self, method, arguments):
        self.method, self.arguments = method, arguments

    def body(self, change=None, options=None):
        """The arguments, with `change` {name: Variant} and these options."""
        values = []
        for name, kind in self.arguments:
            if change and name in change:
                values.append(change[name])
            elif kind == "a{sv}":
                values.append(GLib.Variant("a{sv}", options or {}))
            else:
                values.append(value(kind, self.sample(name)))
        return GLib.Variant.new_tuple(*values)

    def sample(self, name):
        """A text that is well-formed there and means nothing that exists."""
        samples = {"namespace": "", "signal": "TERM", "type": "image", "parent": "", "digest": "sha256:" + "0" * 64, "from": ""}
        return samples.get(name, "no-such-thing")


class BadInput(davit.TestCase):
    time_limit = 300

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image = davit.busybox_image()
        cls.methods = contract()
        cls.mark = davit.unique("bad")
        cls.made = cls.make()

    @classmethod
    def make(cls):
        """An object of every kind; those of the process are in states of their own."""
        made = {"Manager": davit.ROOT, "Namespace": f"{davit.ROOT}/ns/default"}
        cls.ids = [cls.mark + suffix for suffix in ("", "-created", "-ended", "-paused", "-none")]
        id, made["Task"], _, _ = davit.run_container(["sleep", "1000"], id=cls.ids[0], image=cls.image)
        made["Process"] = made["Task"]
        made["Container"] = davit.manager("GetContainer", "(ss)", "", id)
        _, made["Container created"] = davit.create_container(["true"], id=cls.ids[1])
        made["Task created"], _ = davit.call(made["Container created"], "Container.CreateTask", "(a{sv})", {})
        _, made["Task ended"], _, end = davit.run_container(["true"], id=cls.ids[2])
        davit.read_exit(end)
        _, made["Task paused"], _, _ = davit.run_container(["sleep", "1000"], id=cls.ids[3])
        davit.call(made["Task paused"], "Task.Pause")
        _, made["Container none"] = davit.create_container(["true"], id=cls.ids[4], image=cls.image)
        _, made["Exec"], _, _ = davit.call(made["Task"], "Task.ExecStart", "(sasa{sv})", "e", ["sleep", "1000"], {})
        _, made["Exec created"] = davit.call(made["Task"], "Task.Exec", "(sasa{sv})", "c", ["true"], {})
        made["Image used"] = davit.manager("GetImage", "(ss)", "", cls.image)
        made["Image"] = davit.call(made["Image used"], "Image.Tag", "(s)", cls.mark + ":1")
        made["Snapshot"] = davit.manager("PrepareSnapshot", "(sssa{sv})", "", cls.mark + "-active", "", {})
        made["Snapshot view"] = davit.manager("PrepareSnapshot", "(sssa{sv})", "", cls.mark + "-view", "", davit.options(View=True))
        _, made["Lease"] = davit.manager("CreateLease", "(ssa{sv})", "", cls.mark, {})
        made["Content"] = davit.manager("ListContent", "(sa{sv})", "", {})[0][-1]
        made["Job"] = davit.manager("DiskUsage")
        davit.call(made["Job"], "Job.Wait")
        return made

    @classmethod
    def tearDownClass(cls):
        for id in cls.ids:
            davit.remove_container(id)
        for name in ("Snapshot", "Snapshot view"):
            davit.call(cls.made[name], "Snapshot.Delete")
        davit.call(cls.made["Lease"], "Lease.Delete", "(a{sv})", {})
        davit.call(cls.made["Image"], "Image.Delete", "(a{sv})", {})

    def setUp(self):
        self.took = {}
        self.pid = davit.main_pid()
        self.before = self.state()

    def tearDown(self):
        after = self.state()
        self.assertEqual({path: after.get(path) for path in after.keys() | self.before.keys() if after.get(path) != self.before.get(path)}, {})
        self.assertEqual(davit.main_pid(), self.pid)
        if self.took:
            self.assertLess(statistics.median(self.took.values()), SOON)

    def state(self):
        """Everything that the bus shows, but jobs."""
        return {path: shown for path, shown in davit.managed_objects().items() if "/job/" not in path}

    def object(self, method):
        """One of that kind on which the method would be of use."""
        kind = method.partition(".")[0]
        return self.made["Container none" if kind == "Container" else kind]

    def send(self, path, method, body):
        """One call; its error, its job's error, or None. The quickest of a few refusals has to be soon."""
        interface, _, member = method.rpartition(".")
        error, best = None, None
        fds = davit.Gio.UnixFDList.new()
        memory = os.memfd_create("empty")
        fds.append(memory)
        os.close(memory)
        for _ in range(5):
            begun = time.monotonic()
            try:
                reply, _ = davit.bus().call_with_unix_fd_list_sync(davit.NAME, path, f"{davit.NAME}.{interface}", member, body, None,
                                                                   davit.Gio.DBusCallFlags.NONE, 30000, fds, None)
            except GLib.Error as caught:
                error = davit.DavitError(caught)
            took = time.monotonic() - begun
            best = min(took, best or took)
            if error is None:
                return self.job_error(reply.unpack())
            if best < SOON:
                break
        self.took[method, str(body)[:80]] = best
        self.assertLess(best, SOON, f"{method} took too long")
        return error

    def job_error(self, reply):
        if len(reply) != 1 or "/job/" not in str(reply[0]):
            return None
        try:
            davit.call(reply[0], "Job.Wait")
        except davit.DavitError as error:
            return error
        return None

    def refused(self, names, path, method, body, contains=""):
        """The call is refused with one of these errors and a sentence that can be shown."""
        error = self.send(path, method, body)
        self.assertIsNotNone(error, f"{method} was taken")
        self.assertIn(error.name, names, error.message)
        self.assertIn(contains, error.message)
        self.assertLess(len(error.message), MESSAGE_MAX)
        self.assertTrue(error.message.isprintable(), repr(error.message[:300]))

    def test_unknown_object(self):
        """S-E06: the standard's own error, for every method of an object that is not there."""
        for method, arguments, _ in self.methods:
            if method.startswith("Manager."):
                continue
            path = re.sub(r"[^/]+$", "nothing", self.object(method))
            with self.subTest(method):
                self.refused([UNKNOWN_OBJECT], path, method, Call(method, arguments).body())

    def test_unknown_name(self):
        """S-E06, S-E05: for every call that looks something up."""
        for method, arguments, _ in self.methods:
            if not re.match(r"Manager\.(Get|Abort|Save)", method):
                continue
            for text, names in (("no-such-thing", ["NotFound"]), ("", ["InvalidArgument"])):
                with self.subTest(method, text=text):
                    change = {n: value(k, text) for n, k in arguments if n not in ("namespace", "output") and k in ("s", "as")}
                    if method == "Manager.GetContent" and text:
                        change = {}
                    self.refused(names, davit.ROOT, method, Call(method, arguments).body(change))

    def test_wrong_type_of_an_argument(self):
        """A body that has not the contract's signature."""
        for method, arguments, _ in self.methods:
            body = GLib.Variant("(d)", (1.5,))
            with self.subTest(method):
                self.refused([INVALID_ARGS], self.object(method), method, body)

    def test_contract_is_read(self):
        """What the others go by."""
        methods = {m: (a, o) for m, a, o in self.methods}
        self.assertEqual(methods["Manager.CreateContainer"][1]["Mounts"], ["a(ssss)"])
        self.assertEqual(methods["Manager.CreateContainer"][1]["Spec"], ["s", "h"])
        self.assertEqual(methods["Container.CreateTask"][1]["ConsoleSize"], ["(uu)"])
        self.assertEqual(methods["Manager.ListContainers"][1]["Label"], ["as"])
        self.assertGreater(sum(len(o) for _, o in methods.values()), 80)
        for method, (arguments, options) in methods.items():
            if "a{sv}" in [k for _, k in arguments]:
                self.assertTrue(options, method)

    def test_unknown_option(self):
        for method, arguments, _ in self.methods:
            if "a{sv}" in [k for _, k in arguments]:
                with self.subTest(method):
                    self.refused(["InvalidArgument"], self.object(method), method,
                                 Call(method, arguments).body(options={"NoSuchOption": GLib.Variant("s", "x")}), "NoSuchOption")

    def test_wrong_type_of_an_option(self):
        for method, arguments, options in self.methods:
            for name in options:
                with self.subTest(method, option=name):
                    self.refused(["InvalidArgument"], self.object(method), method,
                                 Call(method, arguments).body(options={name: GLib.Variant("d", 1.5)}), name)

    def texts(self, bad):
        """Every place for a text, with this one in it: (method, body)."""
        for method, arguments, options in self.methods:
            call = Call(method, arguments)
            for name, kind in arguments:
                if kind in ("s", "as", "a{ss}") and name not in FREE_TEXT:
                    yield method, name, call.body({name: value(kind, bad)})
            for name, kinds in options.items():
                for kind in kinds:
                    if kind in ("s", "as", "a{ss}") and name not in FREE_TEXT:
                        yield method, name, call.body(options={name: value(kind, bad)})

    def assert_texts(self, bad):
        for method, name, body in self.texts(bad):
            with self.subTest(method, place=name):
                if re.match(r"Manager\.(List|Prune)", method) and name in FILTERS:
                    self.assertIsNone(self.send(self.object(method), method, body))  # matches nothing
                else:
                    self.refused(["InvalidArgument", "NotFound", "NotSupported"], self.object(method), method, body)

    def empties(self):
        """Every place for a text, a list of them or a table, with one in it that is empty: (method, place, body)."""
        nothing = {"s": "", "as": [""], "a{ss}": {"": "x"}}
        for method, arguments, options in self.methods:
            call = Call(method, arguments)
            fine = {"image": value("s", self.image)} if method in ("Manager.CreateContainer", "Manager.Run") else {}
            for name, kind in arguments:
                if kind in nothing:
                    yield method, name, call.body({**fine, name: GLib.Variant(kind, nothing[kind])})
            for name, kinds in options.items():
                for kind in kinds:
                    if kind in nothing:
                        yield method, name, call.body(fine, {name: GLib.Variant(kind, nothing[kind])})

    def test_empty(self):
        """S-E05, S-C12: what names nothing is InvalidArgument wherever a name is needed, before anything is looked up."""
        places = {f"{method} {name}" for method, name, _ in self.empties()}
        self.assertEqual(EMPTY - places - {place.partition(" ")[2] for place in places}, set())
        for method, name, body in self.empties():
            if not {name, f"{method} {name}"} & EMPTY:
                with self.subTest(method, place=name):
                    self.refused(["InvalidArgument"], self.object(method), method, body)

    def test_label_without_a_key(self):
        """S-C12."""
        for method, arguments, options in self.methods:
            if re.match(r"Manager\.(List|Prune)", method) and "Label" in options:
                for label in ("=", "=x"):
                    with self.subTest(method, label=label):
                        self.refused(["InvalidArgument"], davit.ROOT, method,
                                     Call(method, arguments).body(options={"Label": GLib.Variant("as", ["fine", label])}), label)

    def test_over_long(self):
        self.assert_texts(LONG)

    def test_control_characters(self):
        self.assert_texts(CONTROL)

    def test_out_of_range(self):
        """Numbers at the end of their type, where not any number will do."""
        for method, arguments, options in self.methods:
            call = Call(method, arguments)
            for name, kind in arguments:
                if kind in ("u", "t") and name not in ANY_NUMBER:
                    with self.subTest(method, argument=name):
                        self.refused(["InvalidArgument", "FailedPrecondition"], self.object(method), method,
                                     call.body({name: value(kind, number=2 ** (32 if kind == "u" else 64) - 1)}))
            for name, (kind, *_) in options.items():
                if kind in ("u", "t", "(uu)") and name not in ANY_NUMBER:
                    with self.subTest(method, option=name):
                        self.refused(["InvalidArgument"], self.object(method), method, call.body(
                            options={name: value(kind, number=2 ** (64 if kind == "t" else 32) - 1)}))

    #: (method, object, body): what the object's state does not allow. Methods without one are in ANY_STATE.
    WRONG_STATE = (
        ("Namespace.Delete", "Namespace", "()", ()),
        ("Container.Delete", "Container", "(a{sv})", ({},)), ("Container.Rename", "Container", "(s)", ("other",)),
        ("Process.Start", "Task", "()", ()), ("Process.Start", "Task ended", "()", ()), ("Process.Start", "Task paused", "()", ()),
        ("Process.Start", "Exec", "()", ()),
        ("Process.Kill", "Task ended", "(s)", ("TERM",)), ("Process.Kill", "Exec created", "(s)", ("TERM",)),
        ("Process.Resize", "Task", "(uu)", (80, 24)), ("Process.Resize", "Task ended", "(uu)", (80, 24)),
        ("Process.OpenStreams", "Task", "()", ()), ("Process.OpenStreams", "Exec", "()", ()),
        ("Process.OpenStreams", "Exec created", "()", ()), ("Process.OpenStreams", "Task ended", "()", ()),
        ("Process.CloseStreams", "Task", "(as)", (["stdin"],)), ("Process.CloseStreams", "Task ended", "(as)", (["stdin"],)),
        ("Process.OpenTerminal", "Task", "()", ()), ("Process.OpenTerminal", "Exec created", "()", ()),
        ("Process.Delete", "Task", "(a{sv})", ({},)), ("Process.Delete", "Task created", "(a{sv})", ({},)),
        ("Process.Delete", "Task paused", "(a{sv})", ({},)), ("Process.Delete", "Exec", "(a{sv})", ({},)),
        ("Task.KillAll", "Task ended", "(s)", ("TERM",)),
        ("Task.Pause", "Task created", "()", ()), ("Task.Pause", "Task paused", "()", ()), ("Task.Pause", "Task ended", "()", ()),
        ("Task.Resume", "Task", "()", ()), ("Task.Resume", "Task created", "()", ()), ("Task.Resume", "Task ended", "()", ()),
        ("Task.Exec", "Task ended", "(sasa{sv})", ("", ["true"], {})),
        ("Task.ExecStart", "Task ended", "(sasa{sv})", ("", ["true"], {})),
        ("Task.Checkpoint", "Task created", "(sa{sv})", ("one", {})), ("Task.Checkpoint", "Task ended", "(sa{sv})", ("one", {})),
        ("Task.ListProcesses", "Task ended", "()", ()),
        ("Task.Update", "Task ended", "(a{sv})", ({},)),
        ("Task.Stats", "Task ended", "(a{sv})", ({},)),
        ("Image.Delete", "Image used", "(a{sv})", ({},)), ("Image.Rename", "Image used", "(s)", ("other:1",)),
        ("Snapshot.Commit", "Snapshot view", "(sa{sv})", ("made", {})),
        ("Snapshot.Delete", "Snapshot used", "()", ()),
        ("Content.Delete", "Content", "()", ()),
        ("Job.Cancel", "Job", "()", ()),
    )

    #: Methods that no state of their object forbids, or whose jobs say so.
    ANY_STATE = {"Namespace.SetLabels", "Namespace.SetDefaults", "Container.CreateTask", "Container.Start", "Container.SetLabels", "Container.Update", "Container.Commit",
                 "Container.ListCheckpoints", "Container.DeleteCheckpoint", "Process.Wait", "Process.WaitFD",
                 "Task.Stop", "Task.BeginStop", "Image.Tag", "Image.SetPinned", "Snapshot.Mounts", "Snapshot.OpenMount",
                 "Snapshot.Diff", "Snapshot.Apply", "Snapshot.Usage", "Snapshot.SetLabels", "Lease.Add", "Lease.Remove",
                 "Lease.SetLabels", "Lease.Delete", "Content.Read", "Content.SetLabels", "Job.Wait"}

    def test_wrong_state(self):
        """S-T17, S-T05: FailedPrecondition."""
        self.made["Snapshot used"] = davit.manager("GetSnapshot", "(ss)", "", self.ids[0])
        covered = {row[0] for row in self.WRONG_STATE} | self.ANY_STATE
        self.assertEqual({m for m, _, _ in self.methods if not m.startswith("Manager.")} - covered, set())
        for method in ("Container.CreateTask", "Container.Start"):
            self.refused(["AlreadyExists"], self.made["Container"], method, GLib.Variant("(a{sv})", ({},)))
        for method, name, signature, arguments in self.WRONG_STATE:
            body = None if signature == "()" else GLib.Variant(signature, arguments)
            with self.subTest(method, object=name):
                self.refused(["FailedPrecondition"], self.made[name], method, body)

    def test_caller_gone(self):
        """S-E11: who sends a call and leaves the bus at once changes nothing by that, and costs no descriptor."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gone.py")
        calls = []
        for method, arguments, _ in self.methods:
            call = Call(method, arguments)
            if "a{sv}" in [k for _, k in arguments]:
                body = call.body(options={"NoSuchOption": GLib.Variant("s", "x")})
            elif method in ("Process.Wait", "Process.WaitFD", "Job.Wait", "Task.ListProcesses", "Process.OpenTerminal"):
                body = call.body()
            elif any(k == "s" for _, k in arguments):
                body = call.body({n: value(k, CONTROL) for n, k in arguments if k == "s"})
            else:
                continue
            calls.append((self.object(method), method, body.print_(True)))
        fds = len(os.listdir(f"/proc/{self.pid}/fd"))
        for _ in range(5):
            subprocess.run([sys.executable, script], input=json.dumps(calls), text=True, check=True, timeout=60)
        self.assertGreater(len(calls), 30)
        davit.wait_until(lambda: len(os.listdir(f"/proc/{self.pid}/fd")) <= fds, what="the descriptors of before")
