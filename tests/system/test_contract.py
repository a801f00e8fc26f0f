# SPDX-License-Identifier: LGPL-2.1-or-later
"""The XML contract and the running daemon say the same, in both directions, for every kind of object."""

import xml.etree.ElementTree as ElementTree

import davit

CONTRACT = "/usr/share/dbus-1/interfaces/org.davit.Davit1.xml"
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def interfaces(root):
    """Interface -> {member: everything about it that a client can rely on}."""
    found = {}
    for interface in root.iter("interface"):
        members = found.setdefault(interface.get("name"), {})
        for member in interface:
            if member.tag not in ("method", "signal", "property"):
                continue
            arguments = tuple((a.get("name"), a.get("type"), a.get("direction") or ("out" if member.tag == "signal" else "in"))
                              for a in member.findall("arg"))
            emits = {a.get("name"): a.get("value") for a in member.findall("annotation")}.get(EMITS, "true")
            members[member.get("name")] = (member.tag, member.get("type"), member.get("access"), arguments,
                                           emits if member.tag == "property" else None)
    return {name: members for name, members in found.items() if name.startswith(davit.NAME)}


def introspect(path):
    xml = davit.call_on(davit.NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
    return interfaces(ElementTree.fromstring(xml))


#: What containerd's users call -> the method that does it here, and the verb of davitctl.
CALLS = {
    "PullImage": ("Manager.PullImage", "pull"), "GetImage": ("Manager.GetImage", "image inspect"),
    "ListImages": ("Manager.ListImages", "image ls"), "DeleteImage": ("Image.Delete", "image rm"),
    "CreateContainer": ("Manager.CreateContainer", "create"), "GetContainer": ("Manager.GetContainer", "inspect"),
    "ListContainers": ("Manager.ListContainers", "ps"), "DeleteContainer": ("Container.Delete", "rm"),
    "StartTask": ("Process.Start", "start"), "GetTask": ("Manager.GetTask", "inspect"), "ListTasks": ("Manager.ListTasks", "ps"),
    "StopTask": ("Task.Stop", "stop"), "DeleteTask": ("Process.Delete", "rm"), "ExecTask": ("Task.Exec", "exec"),
    "ListContainersByLabel": ("Manager.ListContainers", "ps"), "CommitSnapshot": ("Snapshot.Commit", "snapshot commit"),
    "PrepareSnapshot": ("Manager.PrepareSnapshot", "snapshot prepare"),
    "CreateContainerFromSnapshot": ("Manager.CreateContainer", "create"),
    "SnapshotMounts": ("Snapshot.Mounts", "snapshot mounts"), "SetLabels": ("Container.SetLabels", "label"),
}


class Contract(davit.TestCase):
    """S-O17: for every kind of object."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.contract = interfaces(ElementTree.parse(CONTRACT).getroot())

    def compare(self, path, *names):
        """The object has these interfaces of ours, whole, and no others."""
        shown = introspect(path)
        self.assertEqual(set(shown), {f"{davit.NAME}.{n}" for n in names})
        for name in shown:
            self.assertEqual(shown[name], self.contract[name], name)
            for member, (tag, kind, *_) in shown[name].items():
                if tag == "property":
                    value = davit.call_on(davit.NAME, path, "org.freedesktop.DBus.Properties", "Get", "(ss)", (name, member))
                    self.assertEqual(len(value), 1, f"{member} {kind}")

    def test_manager(self):
        self.compare(davit.ROOT, "Manager")

    def test_everything_has_a_verb(self):
        """S-E12: each call has its method, and its verb of the command line."""
        for call, (method, verb) in CALLS.items():
            with self.subTest(call):
                interface, _, member = method.partition(".")
                self.assertEqual(self.contract[f"{davit.NAME}.{interface}"][member][0], "method")
                self.assertTrue(davit.ctl("help", *verb.split(), check=True).stdout.startswith(f"Usage: davitctl {verb} "))

    def test_namespace(self):
        davit.manager("CreateNamespace", "(sa{ss})", "contract", {}) if not self.has_namespace("contract") else None
        path = f"{davit.ROOT}/ns/contract"
        self.compare(path, "Namespace")
        davit.call(path, "Namespace.Delete")

    def has_namespace(self, name):
        return any(n[0] == name for n in davit.manager("ListNamespaces"))

    def test_container_task_and_exec(self):
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("contract"))
        self.addCleanup(davit.remove_container, id)
        self.compare(davit.manager("GetContainer", "(ss)", "", id), "Container")
        self.compare(task, "Task", "Process")
        _, process, _, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        self.compare(process, "Process")

    def test_image_and_job(self):
        with davit.Signals("Manager.JobRemoved"):
            davit.busybox_image()
        self.compare(davit.manager("GetImage", "(ss)", "", "busybox:latest"), "Image")

    def test_snapshot(self):
        davit.busybox_image()
        id, _ = davit.create_container(["true"], id=davit.unique("contract"), image="busybox:latest")
        self.addCleanup(davit.remove_container, id)
        snapshots = [s for s in davit.manager("ListSnapshots", "(sa{sv})", "", {})]
        self.assertTrue(snapshots)
        self.compare(snapshots[0][-1], "Snapshot")

    def test_lease(self):
        _, lease = davit.manager("CreateLease", "(ssa{sv})", "", "", {})
        self.addCleanup(davit.call, lease, "Lease.Delete", "(a{sv})", {})
        self.compare(lease, "Lease")

    def test_content(self):
        davit.busybox_image()
        contents = davit.manager("ListContent", "(sa{sv})", "", {})
        self.assertTrue(contents)
        self.compare(contents[0][-1], "Content")

    def test_every_interface_is_compared(self):
        self.assertEqual(set(self.contract), {f"{davit.NAME}.{n}" for n in (
            "Manager", "Namespace", "Container", "Task", "Process", "Image", "Snapshot", "Content", "Lease",
            "Job")})

    def test_object_manager_knows_every_object(self):
        """S-C08."""
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("contract"))
        self.addCleanup(davit.remove_container, id)
        objects = davit.managed_objects()
        container = davit.manager("GetContainer", "(ss)", "", id)
        self.assertIn(container, objects)
        self.assertIn(task, objects)
        self.assertEqual(objects[container][f"{davit.NAME}.Container"]["Id"], id)
        self.assertEqual(set(objects[task]) & {f"{davit.NAME}.Task", f"{davit.NAME}.Process"},
                         {f"{davit.NAME}.Task", f"{davit.NAME}.Process"})

    def test_labels_of_a_namespace(self):
        path = davit.manager("CreateNamespace", "(sa{ss})", davit.unique("labels"), {"a": "b"})
        self.addCleanup(davit.call, path, "Namespace.Delete")
        with davit.Signals("PropertiesChanged", path=path, interface="org.freedesktop.DBus.Properties") as changed:
            davit.call(path, "Namespace.SetLabels", "(a{ss})", {"c": "d"})
            changed.wait(lambda _p, _m, body: body[1].get("Labels") == {"c": "d"})
        davit.restart_davitd()
        self.assertEqual(davit.get(path, "Namespace.Labels"), {"c": "d"})

    def test_a_failed_call_makes_no_namespace(self):
        """A mistyped namespace goes again, whatever it was wanted for; one that was made for its own sake stays."""
        ns, mine = davit.unique("typo"), davit.unique("mine")
        davit.manager("CreateNamespace", "(sa{ss})", mine, {})
        for namespace, stays in ((ns, False), (mine, True)):
            with self.subTest(namespace):
                for name, method, signature, *args in (
                        ("NotFound", "CreateContainer", "(sssasa{sv})", "x", "nosuch", ["true"], {}),
                        ("NotFound", "Run", "(sssasa{sv})", "", "nosuch", ["true"], {}),
                        ("NotFound", "PrepareSnapshot", "(sssa{sv})", "x", "nosuch", {}),
                        ("NotFound", "PrepareSnapshot", "(sssa{sv})", "x", "", {"Lease": davit.GLib.Variant("s", "no")}),
                        ("InvalidArgument", "CreateLease", "(ssa{sv})", "../x", {}),
                        ("InvalidArgument", "WriteContent", "(ssa{sv})", "", {})):
                    self.assertError(name, davit.manager, method, signature, namespace, *args)
                    self.assertEqual(self.has_namespace(namespace), stays, method)
                davit.manager("PrepareSnapshot", "(sssa{sv})", namespace, "x", "", {})
                self.assertError("NotFound", davit.manager, "PrepareSnapshot", "(sssa{sv})", namespace, "y", "nosuch", {})
                davit.call(davit.manager("GetSnapshot", "(ss)", namespace, "x"), "Snapshot.Delete")
                davit.call(f"{davit.ROOT}/ns/{namespace.replace('-', '_2d')}", "Namespace.Delete")

    def test_lists_by_namespace(self):
        """S-E09: sorted, one namespace or all of them, nothing in one that is still to come, and no nonsense for a name."""
        nowhere, ids = davit.unique("nowhere"), [davit.unique(letter) for letter in "cab"]
        for id in ids:
            davit.create_container(["true"], id=id)
            self.addCleanup(davit.remove_container, id)
        for namespace in ("", "default", "*"):
            listed = davit.manager("ListContainers", "(sa{sv})", namespace, davit.options(Id=ids))
            self.assertEqual([(row[0], row[1]) for row in listed], [("default", id) for id in sorted(ids)])
        for what in ("Containers", "Tasks", "Images", "Snapshots", "Leases", "Content"):
            with self.subTest(what):
                self.assertEqual(davit.manager(f"List{what}", "(sa{sv})", nowhere, {}), [])
                self.assertError("InvalidArgument", davit.manager, f"List{what}", "(sa{sv})", "../x", {}, contains="../x")
        self.assertNotIn(nowhere, [row[0] for row in davit.manager("ListNamespaces", "()")])

    def test_unknown_options_are_refused_by_name(self):
        gvariant = davit.GLib.Variant("s", "x")
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("contract"))
        self.addCleanup(davit.remove_container, id)
        container = davit.manager("GetContainer", "(ss)", "", id)
        unknown = {"NoSuchOption": gvariant}
        for method, signature, arguments in (
                ("Manager.CreateContainer", "(sssasa{sv})", ("", "", "", ["true"], unknown)),
                ("Manager.Run", "(sssasa{sv})", ("", "", "", ["true"], unknown)),
                ("Manager.ListContainers", "(sa{sv})", ("", unknown)),
                ("Manager.ListTasks", "(sa{sv})", ("", unknown)),
                ("Manager.ListImages", "(sa{sv})", ("", unknown)),
                ("Manager.ListSnapshots", "(sa{sv})", ("", unknown)),
                ("Manager.ListLeases", "(sa{sv})", ("", unknown)),
                ("Manager.ListContent", "(sa{sv})", ("", unknown)),
                ("Manager.Prune", "(sa{sv})", ("", unknown)),
                ("Manager.WriteContent", "(ssa{sv})", ("", "x", unknown)),
                ("Manager.CommitContent", "(ssa{sv})", ("", "x", unknown)),
                ("Manager.CreateLease", "(ssa{sv})", ("", "", unknown)),
                ("Manager.Collect", "(a{sv})", (unknown,))):
            with self.subTest(method):
                self.assertError("InvalidArgument", davit.call, davit.ROOT, method, signature, *arguments, contains="NoSuchOption")
        for path, method, signature, arguments in (
                (container, "Container.CreateTask", "(a{sv})", (unknown,)),
                (container, "Container.Start", "(a{sv})", (unknown,)),
                (container, "Container.Update", "(a{sv})", (unknown,)),
                (container, "Container.Delete", "(a{sv})", (unknown,)),
                (task, "Task.Stop", "(a{sv})", (unknown,)),
                (task, "Task.Exec", "(sasa{sv})", ("", ["true"], unknown)),
                (task, "Process.Delete", "(a{sv})", (unknown,))):
            with self.subTest(method):
                self.assertError("InvalidArgument", davit.call, path, method, signature, *arguments, contains="NoSuchOption")

    def test_options_of_a_wrong_type_are_refused_by_name(self):
        for key in ("Rootfs", "Env", "MemoryMax", "Terminal", "Labels", "Mounts"):
            with self.subTest(key):
                wrong = {key: davit.GLib.Variant("d", 1.5)}
                self.assertError("InvalidArgument", davit.manager, "CreateContainer", "(sssasa{sv})", "", "", "", ["true"], wrong,
                                 contains=key)

    def test_ids_are_validated(self):
        for bad in ("../x", "a/b", ".", "..", "-x", "a b", "x" * 65, "ü", "a\nb", "%n"):
            with self.subTest(id=bad):
                self.assertError("InvalidArgument", davit.create_container, ["true"], id=bad)
            with self.subTest(namespace=bad):
                self.assertError("InvalidArgument", davit.create_container, ["true"], namespace=bad)
