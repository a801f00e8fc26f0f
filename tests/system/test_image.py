# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images on the bus: import from every form, lists, names, replacement, deletion, and what a restart finds."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading

import davit
import images

#: There is a mark while a collection is due.
DUE = f"{davit.STATE}/collection-due"
BASE = images.layer([images.entry("etc"), images.entry("etc/base", b"base\n"), images.entry("gone", b"gone\n")])
TOP = images.layer([images.entry("etc/top", b"top\n"), images.entry(".wh.gone", b"")])
SETTINGS = {"Cmd": ["/bin/sh", "-c", "true"], "Entrypoint": ["/entry"], "Env": ["PATH=/bin", "A=b=c"], "User": "1000:1000",
            "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "Labels": {"tier": "web", "empty": ""},
            "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}}


def chain_id(layers):
    """OCI image-spec, config.md, "Layer ChainID"."""
    chain = images.digest(layers[0])
    for data in layers[1:]:
        chain = images.digest(f"{chain} {images.digest(data)}".encode())
    return chain


def read(chain, path):
    with davit.chain_tree(chain) as root, open(f"{root}/{path}") as f:
        return f.read()


class ImageTest(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.ns = davit.unique("img")
        self.dir = f"/tmp/{self.ns}"
        os.makedirs(self.dir)
        self.addCleanup(shutil.rmtree, self.dir)
        self.addCleanup(self.forget)

    def forget(self):
        try:
            found = self.list_names()
        except davit.DavitError:
            return
        for name in found:
            self.delete(name)

    def path(self, name):
        return f"{self.dir}/{name}"

    def archive(self, name="app:1", layers=(BASE, TOP), settings=None, **kwargs):
        return images.oci_archive(self.path("a.tar"), list(layers), name, settings or {}, **kwargs)

    def image(self, name):
        return davit.manager("GetImage", "(ss)", self.ns, name)

    def delete(self, name, synchronous=True):
        davit.call(self.image(name), "Image.Delete", "(a{sv})", davit.options(Synchronous=synchronous))

    def list(self, **filters):
        return davit.manager("ListImages", "(sa{sv})", self.ns, davit.options(**filters))

    def list_names(self, **filters):
        return sorted(row[1] for row in self.list(**filters))

    def bring(self, archive, name="", **opts):
        return davit.import_image(archive, name=name, namespace=self.ns, timeout=60, **opts)

    def begin(self, fd, name="", **opts):
        return davit.manager("ImportImage", "(ssha{sv})", self.ns, name, 0, davit.options(**opts), fds=[fd])


class Import(ImageTest):
    def check_app(self, name="app:1"):
        props = davit.get_all(self.image(name), "Image")
        self.assertEqual(props["ChainId"], chain_id([BASE, TOP]))
        self.assertEqual([layer[0] for layer in props["Layers"]], [images.digest(BASE), images.digest(TOP)])
        with davit.chain_tree(props["ChainId"]) as root:
            with open(f"{root}/etc/base") as base, open(f"{root}/etc/top") as top:
                self.assertEqual((base.read(), top.read()), ("base\n", "top\n"))
            self.assertFalse(os.path.exists(f"{root}/gone"))

    def test_oci_archive(self):
        """S-G12."""
        files = images.oci_files([BASE, TOP], "app:1", SETTINGS)
        archive = self.archive(settings=SETTINGS)
        self.assertEqual(self.bring(archive), ["app:1"])
        props = davit.get_all(self.image("app:1"), "Image")
        manifest = next(json.loads(d) for n, d in files if n == "index.json")["manifests"][0]
        self.assertEqual(props["Namespace"], self.ns)
        self.assertEqual(props["Name"], "app:1")
        self.assertEqual(props["Digest"], manifest["digest"])
        self.assertEqual(props["ConfigDigest"], images.digest(images.config([BASE, TOP], SETTINGS)))
        self.assertEqual(props["Platform"], "linux/amd64")
        self.assertEqual(props["CreatedAt"], 1704067200 * 1000000)
        self.assertGreater(props["ImportedAt"], props["CreatedAt"])
        self.assertGreater(props["Size"], 0)
        config = json.loads(props["Config"])
        for key in ("Cmd", "Entrypoint", "Env", "User", "WorkingDir", "StopSignal", "Labels"):
            self.assertEqual(config[key], SETTINGS[key], key)
        self.assertEqual((config["Volumes"], config["ExposedPorts"]), (["/data"], ["80/tcp"]))
        self.check_app()

    def test_docker_archive(self):
        path = images.docker_archive(self.path("d.tar"), [BASE, TOP], "app:1")
        for form in ("docker", "auto"):
            self.assertEqual(self.bring(path, Format=form), ["app:1"])
            self.check_app()

    def test_directory(self):
        with tarfile.open(self.archive()) as tar:
            tar.extractall(self.path("layout"))
        self.assertEqual(self.bring(self.path("layout")), ["app:1"])
        self.check_app()

    def test_pipe(self):
        archive = self.archive()
        with subprocess.Popen(["cat", archive], stdout=subprocess.PIPE) as cat:
            job = self.begin(cat.stdout.fileno())
            cat.stdout.close()
            self.assertEqual(davit.call(job, "Job.Wait", timeout=60), {"Images": ["app:1"]})
        self.check_app()

    def test_socket(self):
        with open(self.archive(), "rb") as f:
            data = f.read()
        ours, theirs = socket.socketpair()
        with ours:
            job = self.begin(theirs.fileno())
            theirs.close()
            ours.sendall(data)
        self.assertEqual(davit.call(job, "Job.Wait", timeout=60), {"Images": ["app:1"]})

    def test_rootfs(self):
        with open(self.path("root.tar"), "wb") as f:
            f.write(BASE)
        self.assertEqual(self.bring(self.path("root.tar"), "plain", Format="rootfs"), ["plain:latest"])
        davit.run("gzip", "-k", self.path("root.tar"))
        self.assertEqual(self.bring(self.path("root.tar.gz"), "packed", Format="rootfs"), ["packed:latest"])
        rows = {row[1]: row for row in self.list()}
        self.assertEqual(rows["plain:latest"][3], rows["packed:latest"][3])
        self.assertEqual(rows["plain:latest"][3], images.digest(BASE))

    def test_name_is_replaced(self):
        self.assertEqual(self.bring(self.archive(), "registry.example:5000/team/x"),
                         ["registry.example:5000/team/x:latest"])
        self.assertEqual(self.list_names(), ["registry.example:5000/team/x:latest"])

    def test_same_layers_twice_at_once(self):
        archive = self.archive()
        fds = [os.open(archive, os.O_RDONLY) for _ in range(12)]
        jobs = [self.begin(fd, f"n{i}") for i, fd in enumerate(fds)]
        for fd in fds:
            os.close(fd)
        for i, job in enumerate(jobs):
            self.assertEqual(davit.call(job, "Job.Wait", timeout=100), {"Images": [f"n{i}:latest"]})
        self.assertEqual(len({row[3] for row in self.list()}), 1)

    def test_again_changes_the_object(self):
        self.bring(self.archive())
        path = self.image("app:1")
        before = davit.get_all(path, "Image")
        with davit.Signals("PropertiesChanged", path=path, interface="org.freedesktop.DBus.Properties") as changes:
            self.bring(self.archive(layers=[BASE]))
            changed = changes.wait()[2][1]
        after = davit.get_all(path, "Image")
        self.assertNotEqual(before["Digest"], after["Digest"])
        self.assertEqual(changed["Digest"], after["Digest"])
        self.assertEqual(after["ChainId"], chain_id([BASE]))
        self.assertEqual(self.list_names(), ["app:1"])


class Refused(ImageTest):
    def fails(self, name, archive, contains="", image="", **opts):
        self.assertError(name, self.bring, archive, image, contains=contains, **opts)
        self.assertEqual(self.all_names(), [])

    def all_names(self):
        return [row[1] for row in davit.manager("ListImages", "(sa{sv})", "*", {}) if row[0] == self.ns]

    def test_names(self):
        for name in ("a b", "../x", "a//b", "Upper", "host.example/Upper:1", "x:" + "t" * 129, "y" * 256, "a\n", "-a",
                     "a@sha256:abc", "a:b:c"):
            with self.subTest(name=name):
                self.fails("InvalidArgument", self.archive(), "image name", image=name)

    def test_options(self):
        archive = self.archive()
        self.fails("InvalidArgument", archive, "tar.xz", Format="tar.xz")
        self.fails("InvalidArgument", archive, "linux", Platform="linux")
        self.fails("InvalidArgument", archive, "Linux/AMD64", Platform="Linux/AMD64")
        self.fails("InvalidArgument", archive, "name", Format="rootfs")
        self.fails("InvalidArgument", archive, "entries", Limits=davit.GLib.Variant("a{st}", {"entries": 0}))
        self.fails("InvalidArgument", archive, "colour", Limits=davit.GLib.Variant("a{st}", {"colour": 1}))
        self.fails("NotFound", archive, Lease="nolease")
        self.fails("InvalidArgument", archive, "Colour", Colour=davit.GLib.Variant("s", "red"))
        self.fails("InvalidArgument", archive, "Format", Format=davit.GLib.Variant("u", 1))

    def test_limits(self):
        """A breach names the limit and leaves nothing; the call's own limit goes before the configured one."""
        archive = self.archive()
        for limit in ("entries", "bytes", "layers"):
            with self.subTest(limit), davit.LeakCheck():
                self.fails("ResourceExhausted", archive, Limits=davit.GLib.Variant("a{st}", {limit: 1}))
        path = "/etc/davit/davit.conf.d/50-limits.conf"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "w") as f:
                f.write("[Limits]\nEntries=1\n")
            davit.restart_davitd()
            self.fails("ResourceExhausted", archive)
            self.assertEqual(self.bring(archive, Limits=davit.GLib.Variant("a{st}", {"entries": 100})), ["app:1"])
        finally:
            os.unlink(path)
            davit.restart_davitd()

    def test_namespaces(self):
        archive = self.archive()
        for ns in ("a/b", "-", "x" * 33, "*"):
            with self.subTest(ns=ns):
                self.assertError("InvalidArgument", davit.import_image, archive, namespace=ns)

    def test_descriptors(self):
        reader, writer = os.pipe()
        packet, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        fds = {"O_PATH": os.open(self.archive(), os.O_PATH), "not open for reading": os.open(self.archive(), os.O_WRONLY),
               "regular file": os.open("/dev/null", os.O_RDWR), "stream socket": packet.detach(),
               "is not open": writer, "a pipe": os.eventfd(0)}
        other.close()
        try:
            for words, fd in fds.items():
                with self.subTest(words=words):
                    self.assertError("InvalidArgument", self.begin, fd, contains=words)
        finally:
            for fd in (*fds.values(), reader):
                os.close(fd)

    def test_broken_archives(self):
        """Each ends the job with an error and leaves nothing."""
        with open(self.archive(), "rb") as f:
            good = f.read()
        wrong_layer = bytearray(TOP)
        wrong_layer[600] ^= 1
        config = images.config([BASE, TOP])
        cases = {
            "empty": b"",
            "no archive": b"hello, this is no archive\n" * 1000,
            "cut": good[:len(good) // 2],
            "digest": images.oci_files([BASE, bytes(wrong_layer)], config_data=config),
            "no such layer": [f for i, f in enumerate(images.oci_files([BASE, TOP])) if i != 1],
            "manifest": images.oci_files([BASE], manifest_changes={"layers": "x"}),
            "config": images.oci_files([BASE], config_data=b"{"),
            "deep config": images.oci_files([BASE], config_data=b"[" * 100000),
        }
        for what, content in cases.items():
            with self.subTest(what=what):
                if isinstance(content, list):
                    images._write(self.path("bad.tar"), content)
                else:
                    with open(self.path("bad.tar"), "wb") as f:
                        f.write(content)
                with davit.LeakCheck():
                    self.assertRaises(davit.DavitError, self.bring, self.path("bad.tar"), "x")
                self.assertEqual(self.all_names(), [])

    def test_error_of_a_digest_names_it(self):
        config = images.config([BASE, TOP])
        images._write(self.path("bad.tar"), images.oci_files([BASE, images.layer([])], config_data=config))
        self.fails("InvalidArgument", self.path("bad.tar"), "diff")

    def test_upper_case(self):
        """A name with a repository in upper case is refused and why, asked for, given, or in the archive; a tag may be so."""
        self.fails("InvalidArgument", self.archive(), "lower case", image="App:1")
        shouting = self.archive("App:1")
        self.fails("InvalidArgument", shouting, "'App:1', which is not valid: a repository is written in lower case")
        self.assertEqual(self.bring(shouting, "app:V1"), ["app:V1"])
        self.assertError("InvalidArgument", self.image, "App:1", contains="lower case")
        self.assertError("InvalidArgument", davit.call, self.image("app:V1"), "Image.Tag", "(s)", "x/App", contains="lower case")
        self.assertEqual(self.list_names(), ["app:V1"])

    def test_escaping_names(self):
        """A digest that is a path is not one."""
        files = images.oci_files([BASE])
        index = json.loads(files[-1][1])
        index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd"
        images._write(self.path("bad.tar"), files[:-1] + [("index.json", json.dumps(index).encode())])
        self.fails("InvalidArgument", self.path("bad.tar"))


class Lists(ImageTest):
    def test_filters(self):
        """S-G05."""
        self.bring(self.archive("web:1", settings=SETTINGS))
        self.bring(self.archive("db:latest", layers=[BASE], settings={"Labels": {"tier": "db"}}))
        self.assertEqual(self.list_names(), ["db:latest", "web:1"])
        self.assertEqual(self.list_names(Name=["db"]), ["db:latest"])
        self.assertEqual(self.list_names(Name=["db", "web:1", "none"]), ["db:latest", "web:1"])
        self.assertEqual(self.list_names(Name=[]), [])
        self.assertEqual(self.list_names(Label=["tier"]), ["db:latest", "web:1"])
        self.assertEqual(self.list_names(Label=["tier=web"]), ["web:1"])
        self.assertEqual(self.list_names(Label=["tier=web", "empty="]), ["web:1"])
        self.assertEqual(self.list_names(Label=["tier=web", "empty=x"]), [])
        self.assertEqual(self.list_names(Label=["tier"], Name=["web:1"]), ["web:1"])
        self.assertError("InvalidArgument", self.list, contains="Colour", Colour=davit.GLib.Variant("s", "red"))
        self.assertError("InvalidArgument", self.list, contains="Name", Name=davit.GLib.Variant("s", "db"))

        row = self.list(Name=["web:1"])[0]
        props = davit.get_all(self.image("web:1"), "Image")
        self.assertEqual(row, (self.ns, "web:1", props["Digest"], props["ChainId"], props["Size"], props["CreatedAt"],
                               SETTINGS["Labels"], False, self.image("web:1")))
        everywhere = davit.manager("ListImages", "(sa{sv})", "*", {})
        self.assertEqual(sorted(r[1] for r in everywhere if r[0] == self.ns), ["db:latest", "web:1"])

    def test_lookup(self):
        """S-G04."""
        self.bring(self.archive("db:latest"))
        self.assertEqual(self.image("db"), self.image("db:latest"))
        self.assertError("NotFound", self.image, "db2", contains="db2")
        self.assertError("NotFound", self.image, "db:1", contains="db:1")
        self.assertError("NotFound", davit.manager, "GetImage", "(ss)", davit.unique("none"), "db:latest")
        self.assertIn(self.image("db:latest"), davit.managed_objects())


class Delete(ImageTest):
    def test_space_is_freed(self):
        """S-G06, S-C10."""
        alone = images.layer([images.entry("only", os.urandom(200000))])
        self.bring(self.archive("base:1", layers=[BASE]))
        self.bring(self.archive("both:1", layers=[BASE, alone]))
        both = davit.get(self.image("both:1"), "Image.ChainId")
        self.assertTrue(davit.chain_exists(both))
        with davit.Signals("InterfacesRemoved", path=davit.ROOT, interface="org.freedesktop.DBus.ObjectManager") as gone:
            path = self.image("both:1")
            self.delete("both:1")
            self.assertEqual(gone.wait(lambda p, m, body: body[0] == path)[2][1], [f"{davit.NAME}.Image"])
        self.assertFalse(davit.chain_exists(both))
        self.assertEqual(self.list_names(), ["base:1"])
        self.assertEqual(read(chain_id([BASE]), "etc/base"), "base\n")
        self.bring(self.archive("both:1", layers=[BASE, alone]))
        self.assertTrue(davit.chain_exists(both))

    def test_two_names_of_one_image(self):
        self.bring(self.archive("a:1"))
        self.bring(self.archive("b:1"))
        self.delete("a:1")
        self.assertEqual(read(davit.get(self.image("b:1"), "Image.ChainId"), "etc/top"), "top\n")

    def test_in_use(self):
        name = davit.busybox_image(self.ns)
        id, _ = davit.create_container(["true"], id=davit.unique("user"), image="busybox", namespace=self.ns)
        self.assertError("FailedPrecondition", self.delete, name, contains=id)
        self.assertEqual(self.list_names(), [name])
        davit.remove_container(id, self.ns)
        self.delete(name)
        self.assertEqual(self.list_names(), [])

    def test_old_content_stays_for_its_container(self):
        """A name that means something new takes nothing from a container of the old image."""
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry("which", b"old\n")])]
        self.bring(self.archive("app:1", layers=layers))
        old = davit.get(self.image("app:1"), "Image.ChainId")
        id, container = davit.create_container(["cat", "/which"], image="app:1", namespace=self.ns)
        self.addCleanup(davit.remove_container, id, self.ns)
        layers[1] = images.layer([images.entry("which", b"new\n")])
        self.bring(self.archive("app:1", layers=layers))
        self.bring(self.archive("other:1", layers=[BASE]))
        self.delete("other:1")
        self.assertTrue(davit.chain_exists(old))
        reader, writer = os.pipe()
        _, _, end = davit.call(container, "Container.Start", "(a{sv})", davit.options(Stdout=0), fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as stream:
            self.assertEqual(stream.read(), "old\n")
        self.assertEqual(davit.read_exit(end), (0, "exited"))

    def test_old_content_goes_with_its_last_container(self):
        """S-C10: with the first of two it stays."""
        layers = [BASE, images.layer([images.entry("which-" + self.ns, b"old\n")])]
        self.bring(self.archive(layers=layers))
        old = davit.get(self.image("app:1"), "Image.ChainId")
        ids = [davit.create_container(["true"], image="app:1", namespace=self.ns)[0] for _ in range(2)]
        for id in ids:
            self.addCleanup(davit.remove_container, id, self.ns)
        self.bring(self.archive(layers=[BASE]))
        self.assertNotEqual(davit.get(self.image("app:1"), "Image.ChainId"), old)
        davit.remove_container(ids[0], self.ns)
        davit.call(davit.manager("Collect", "(a{sv})", {}), "Job.Wait", timeout=60)
        self.assertTrue(davit.chain_exists(old))
        davit.remove_container(ids[1], self.ns)
        davit.wait_until(lambda: not davit.chain_exists(old), what="the chain to go")

    def test_options(self):
        self.bring(self.archive())
        self.assertError("InvalidArgument", davit.call, self.image("app:1"), "Image.Delete", "(a{sv})",
                         {"Forced": davit.GLib.Variant("b", True)}, contains="Forced")
        self.assertEqual(self.list_names(), ["app:1"])

    def test_while_an_import_runs(self):
        """The removal waits for the import, whose chains no record names yet."""
        self.bring(self.archive("x:1", layers=[BASE]))
        with open(self.archive("y:1"), "rb") as f:
            data = f.read()
        reader, writer = os.pipe()
        job = self.begin(reader)
        os.close(reader)
        os.write(writer, data[:2000])
        errors = []

        def remove():
            try:
                self.delete("x:1")
            except davit.DavitError as error:
                errors.append(error)

        thread = threading.Thread(target=remove)
        thread.start()
        davit.wait_until(lambda: self.list_names() == [], what="the name to go")
        self.assertEqual(davit.get(job, "Job.State"), "running")
        with os.fdopen(writer, "wb") as stream:
            stream.write(data[2000:])
        self.assertEqual(davit.call(job, "Job.Wait", timeout=60), {"Images": ["y:1"]})
        thread.join(60)
        self.assertEqual(errors, [])
        self.assertEqual(read(chain_id([BASE, TOP]), "etc/top"), "top\n")


class Restart(ImageTest):
    def records(self, kind):
        path = f"{davit.STATE}/namespaces/{self.ns}/{kind}"
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def test_everything_is_still_there(self):
        self.bring(self.archive(settings=SETTINGS))
        before = davit.get_all(self.image("app:1"), "Image")
        davit.kill_davitd()
        self.assertEqual(davit.get_all(self.image("app:1"), "Image"), before)
        self.assertEqual(os.stat(f"{davit.STATE}/namespaces/{self.ns}/images").st_mode & 0o777, 0o700)

    def test_kill_in_an_import(self):
        """The worker sees the end of its connection; the next import finds nothing in its way."""
        with open(self.archive(layers=[BASE, images.layer([images.entry("big", os.urandom(3 << 20))])]), "rb") as f:
            data = f.read()
        self.bring(self.archive("other:1", layers=[BASE]))
        with davit.LeakCheck(timeout=20):
            reader, writer = os.pipe()
            job = self.begin(reader)
            os.close(reader)
            os.write(writer, data[:2 << 20])
            davit.wait_until(lambda: davit.get(job, "Job.Progress")[0] > 0, what="progress")
            davit.kill_davitd()
            self.assertEqual(self.list_names(), ["other:1"])
            os.close(writer)
        self.bring(self.archive())
        self.assertEqual(self.list_names(), ["app:1", "other:1"])

    def test_broken_record_hides_nothing(self):
        self.bring(self.archive())
        self.bring(self.archive("gone:1", layers=[BASE]))
        kept = davit.get(self.image("app:1"), "Image.ChainId")
        broken = f"{davit.STATE}/namespaces/{self.ns}/images/broken%3A1.json"
        with open(broken, "w") as f:
            f.write('{"version":1,"name":"broken:1","digest":"sha')
        try:
            davit.restart_davitd()
            self.assertEqual(self.list_names(), ["app:1", "gone:1"])
            # What the record names is not known, so nothing is freed.
            self.assertError("FailedPrecondition", self.delete, "gone:1", contains="records")
            self.assertEqual(self.list_names(), ["app:1"])
            self.assertTrue(davit.chain_exists(chain_id([BASE])))
        finally:
            os.unlink(broken)
            davit.restart_davitd()
        davit.wait_until(lambda: not os.path.exists(DUE), what="the space to be freed")
        self.assertFalse(davit.chain_exists(chain_id([BASE])))
        self.assertTrue(davit.chain_exists(kept))

    def test_removal_is_taken_up(self):
        """The store cannot be reached when an image is deleted: the next manager frees the space."""
        only = images.layer([images.entry("only-" + self.ns, b"x")])
        self.bring(self.archive(layers=[only]))
        davit.systemctl("stop", "davit-store.socket")
        try:
            self.delete("app:1", synchronous=False)
            self.assertEqual(self.list_names(), [])
            self.assertError("Unavailable", self.bring, self.archive())
            self.assertTrue(os.path.exists(DUE))
        finally:
            davit.systemctl("start", "davit-store.socket")
        self.assertTrue(davit.chain_exists(images.digest(only)))
        davit.restart_davitd()
        davit.wait_until(lambda: not os.path.exists(DUE), what="the mark to go")
        self.assertFalse(davit.chain_exists(images.digest(only)))


class Container(ImageTest):
    def test_configuration_is_used(self):
        """S-C05: the image's, and what the caller says before that."""
        layers = [images.layer_of(davit.rootfs())]
        settings = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $0 $FROM ${GONE-none} $KEPT; id -u; id -g; pwd"],
                    "Env": ["PATH=/bin", "FROM=image", "GONE=image", "KEPT=image"], "User": "user", "WorkingDir": "/var"}
        self.bring(self.archive(layers=layers, settings=settings))
        text, end = davit.output_of([], image="app:1", namespace=self.ns)
        self.assertEqual((text, end), ("/bin/sh image image image\n1000\n1000\n/var\n", (0, "exited")))
        text, end = davit.output_of([], image="app:1", namespace=self.ns, Env=["FROM=caller", "GONE"], User="7:8", WorkingDir="/tmp")
        self.assertEqual((text, end), ("/bin/sh caller none image\n7\n8\n/tmp\n", (0, "exited")))

    def test_content(self):
        """What the container sees is what the archive holds, byte for byte."""
        data = os.urandom(100000)
        layers = [images.layer_of(davit.rootfs()), images.layer([images.entry("data", data, mode=0o640, uid=7, gid=8)])]
        self.bring(self.archive(layers=layers))
        text, end = davit.output_of(["/bin/sh", "-c", "sha256sum < /data; stat -c '%a %u %g' /data"], image="app:1",
                                    namespace=self.ns)
        self.assertEqual(end, (0, "exited"), text)
        self.assertEqual(text, f"{hashlib.sha256(data).hexdigest()}  -\n640 7 8\n")

    def test_unknown_image(self):
        davit.busybox_image(self.ns)
        self.assertError("NotFound", davit.create_container, ["true"], image="nothing:1", namespace=self.ns, contains="nothing:1")
        self.assertError("InvalidArgument", davit.create_container, ["true"], image="../etc", namespace=self.ns)

    def test_image_that_comes_back(self):
        """Removed and imported again, the same layers are mounted anew, not as the empty directory they were."""
        for restart in (False, True):
            davit.busybox_image(self.ns)
            self.assertEqual(davit.output_of(["echo", "x"], image="busybox", namespace=self.ns), ("x\n", (0, "exited")))
            chain = davit.get(self.image("busybox:latest"), "Image.ChainId")
            self.delete("busybox:latest")
            if not davit.chain_exists(chain):
                davit.wait_until(lambda: not os.path.exists(f"{davit.RUNTIME}/chains/{chain}"), what="the mount to go")
            if restart:
                davit.restart_davitd()
