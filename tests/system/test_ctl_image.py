# SPDX-License-Identifier: LGPL-2.1-or-later
"""davitctl's verbs for images: names, pins, history, save and load, export, prune; progress and ctrl-c on a terminal."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import unittest

import davit
import images
import test_ctl
import test_ctl_terminal


class ImageCase(test_ctl.CtlCase):
    def scratch(self):
        """A directory that goes with the test."""
        path = f"{davit.FIXTURES}/{davit.unique('ctl')}"
        os.mkdir(path)
        self.addCleanup(shutil.rmtree, path)
        return path

    def image(self, history=(), layers=1):
        """Name of a small image that goes with the test."""
        name = davit.unique("img") + ":1"
        blobs = [images.layer([images.entry(f"file-{name[:8]}-{i}", os.urandom(2000))]) for i in range(layers)]
        path = f"{self.scratch()}/image.tar"
        images.oci_archive(path, blobs, name, config_data=images.config(blobs, {"Cmd": ["x"]}, history=list(history)))
        self.addCleanup(davit.ctl, "image", "rm", "-f", "--sync", name, timeout=120)
        self.assertEqual(self.ctl("image", "import", path, timeout=120), name)
        return name

    def names(self, *options):
        return self.ctl("image", "ls", "-q", *options).splitlines()

    def shown(self, name):
        return json.loads(self.ctl("image", "inspect", name))[0]


class Names(ImageCase):
    def test_tag_and_untag(self):
        name, other, third = self.image(), davit.unique("tag") + ":2", davit.unique("tag")
        self.addCleanup(davit.ctl, "image", "rm", other)
        self.assertEqual(self.ctl("image", "tag", name, other, third).splitlines(), [other, third])
        self.assertEqual(self.shown(other)["Digest"], self.shown(name)["Digest"])
        self.assertEqual(self.shown(third)["Name"], third + ":latest")
        self.assertEqual(self.ctl("untag", other, third).splitlines(), [other, third + ":latest"])
        self.assertNotIn(other, self.names())
        self.assertIn(name, self.names())
        self.refused("image", "untag", other, contains=other)
        self.refused("tag", name, other, "Not:A:Name", contains="Not:A:Name")
        self.assertNotIn(other, self.names())

    def test_a_digest_of_several_names(self):
        name, other = self.image(), davit.unique("twin") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", "-f", other)
        digest = self.shown(name)["Digest"]
        self.ctl("image", "tag", name, other)
        self.ctl("image", "pin", other)
        for typed in (digest, digest[7:], digest[7:19]):
            for verb in (["rm", typed], ["untag", typed], ["pin", typed], ["unpin", typed], ["rename", typed, "a:1"]):
                with self.subTest(verb):
                    self.refused("image", *verb, contains=other)
                    self.assertIn(name, self.stderr)
        self.assertEqual(self.shown(digest[7:19])["Digest"], digest)
        self.assertFalse(self.shown(name)["Pinned"])
        self.assertEqual(self.ctl("image", "rm", "-f", other), other)
        self.assertEqual(self.ctl("image", "pin", digest[7:19]), name)
        self.assertEqual(self.ctl("image", "rm", "-f", digest[7:19]), name)

    def test_sorted(self):
        for _ in range(4):
            self.image()
        names = self.names()
        self.assertEqual(names, sorted(names))
        for kind in ("content", "snapshot"):
            listed = self.ctl(kind, "ls", "-q").splitlines()
            self.assertEqual(listed, sorted(listed))

    def test_long_history(self):
        name = self.image(history=[{"created_by": "RUN " + "x" * 100}])
        self.assertIn("RUN " + "x" * 40 + "…", self.ctl("image", "history", name))
        self.assertNotIn("x" * 45, self.ctl("image", "history", name))
        self.assertIn("x" * 100, self.ctl("image", "history", "--no-trunc", name))

    def test_bad_names(self):
        name = self.image()
        self.refused("image", "tag", name, "Not A Name", contains="Not A Name")
        self.refused("image", "tag", name, contains="too few arguments")
        self.refused("image", "tag", "no-such-image", "a:1", contains="no-such-image")
        self.refused("image", "rename", name, contains="too few arguments")
        self.refused("image", "rename", "no-such-image", "a:1", contains="no-such-image")

    def test_rename(self):
        name, other = self.image(), davit.unique("new") + ":3"
        self.assertEqual(self.ctl("image", "rename", name, other), other)
        self.assertNotIn(name, self.names())
        self.assertIn(other, self.names())
        self.refused("image", "rename", other, "busybox:latest", contains="busybox:latest")
        self.assertEqual(self.ctl("image", "rename", other, name), name)

    def test_pin(self):
        name = self.image()
        self.assertEqual(self.ctl("image", "pin", name), name)
        self.assertTrue(self.shown(name)["Pinned"])
        self.assertEqual(self.ctl("image", "ls", "--bytes", "-f", f"name={name}").splitlines()[1].split()[-2], "yes")
        self.assertIs(json.loads(self.ctl("image", "ls", "--json", "-f", f"name={name}"))[0]["Pinned"], True)
        self.refused("image", "rm", name, contains="pinned")
        self.assertEqual(self.ctl("image", "unpin", name), name)
        self.assertFalse(self.shown(name)["Pinned"])
        self.assertEqual(self.ctl("image", "ls", "--bytes", "-f", f"name={name}").splitlines()[1].split()[-2], "-")
        self.assertIs(json.loads(self.ctl("image", "ls", "--json", "-f", f"name={name}"))[0]["Pinned"], False)
        self.ctl("image", "pin", name)
        self.assertEqual(self.ctl("image", "rm", "--force", "--sync", name, timeout=120), name)

    def test_several_of_which_one_is_wrong(self):
        name = self.image()
        self.assertEqual(self.ctl("image", "pin", "no-such-image", name, status=1), name)
        self.assertIn("no-such-image", self.stderr)

    def test_list(self):
        name = self.image()
        lines = self.ctl("image", "ls", "--bytes", "-f", f"name={name}").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0].split(), ["IMAGE", "DIGEST", "CREATED", "PINNED", "SIZE"])
        self.assertEqual(lines[1].split()[-1], str(self.shown(name)["Size"]))
        self.assertEqual(self.names("-f", f"name={name}"), [name])
        self.assertEqual(json.loads(self.ctl("image", "ls", "--json", "-f", f"name={name}"))[0]["Name"], name)
        self.assertIn("NAMESPACE", self.ctl("image", "ls", "-A"))
        self.refused("image", "ls", "-f", "colour=red", contains="colour=red")
        self.refused("image", "ls", "name", contains="too many arguments")


class History(ImageCase):
    STEPS = ({"created": "2024-01-01T00:00:00Z", "created_by": "first \x1b[31mstep", "comment": "a remark"},
             {"created": "2024-01-02T00:00:00Z", "created_by": "ENV A=b", "empty_layer": True, "author": "somebody"},
             {"created": "2024-01-03T00:00:00Z", "created_by": "last step"})

    def test_table(self):
        name = self.image(self.STEPS, layers=2)
        lines = self.ctl("image", "history", "--bytes", name).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[0].startswith("CREATED BY"))
        self.assertTrue(lines[1].startswith("last step"))
        self.assertTrue(lines[3].startswith("first \\x1b[31mstep"))
        self.assertTrue(lines[3].endswith("a remark"))
        self.assertEqual(self.ctl("history", "--bytes", name).splitlines(), lines)

    def test_json(self):
        name = self.image(self.STEPS, layers=2)
        steps = json.loads(self.ctl("image", "history", "--json", name))
        self.assertEqual([s["CreatedBy"] for s in steps], ["last step", "ENV A=b", "first \x1b[31mstep"])
        self.assertEqual([s["EmptyLayer"] for s in steps], [False, True, False])
        self.assertEqual([s["Size"] for s in steps],
                         [size for size in (self.shown(name)["Layers"][1][2], 0, self.shown(name)["Layers"][0][2])])
        self.assertEqual(steps[1]["Author"], "somebody")
        self.assertEqual(steps[0]["CreatedAt"], 1704240000000000)

    def test_without_one(self):
        name = self.image(layers=3)
        sizes = [line.split()[2] for line in self.ctl("image", "history", "--bytes", name).splitlines()[1:]]
        self.assertEqual(sizes, [str(layer[2]) for layer in reversed(self.shown(name)["Layers"])])

    def test_wrong(self):
        self.refused("image", "history", "no-such-image", contains="no-such-image")
        self.refused("image", "history", contains="too few arguments")


class Save(ImageCase):
    def essence(self, name):
        """What saving keeps, whatever the compression."""
        shown = self.shown(name)
        return shown["ConfigDigest"], shown["ChainId"], [layer[0] for layer in shown["Layers"]], shown["History"]

    def test_save_and_load(self):
        name, directory = self.image(layers=2), self.scratch()
        before = self.essence(name)
        path, again = f"{directory}/saved.tar", f"{directory}/again.tar"
        self.assertEqual(self.ctl("image", "save", "-o", path, name, timeout=120), "")
        self.assertEqual(os.listdir(directory), ["saved.tar"])
        self.ctl("image", "rm", "--sync", name, timeout=120)
        self.assertEqual(self.ctl("image", "load", "-i", path, timeout=120), name)
        self.assertEqual(self.essence(name), before)
        self.ctl("save", "-o", again, name, timeout=120)
        with open(path, "rb") as a, open(again, "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_through_a_pipe(self):
        name = self.image()
        saved = subprocess.run(["davitctl", "save", name], stdout=subprocess.PIPE, check=True, timeout=120).stdout
        self.ctl("image", "rm", "--sync", name, timeout=120)
        done = subprocess.run(["davitctl", "load"], input=saved, stdout=subprocess.PIPE, check=True, timeout=120)
        self.assertEqual(done.stdout.decode().strip(), name)

    def test_formats(self):
        name, directory = self.image(), self.scratch()
        self.ctl("image", "save", "--format=docker", "-o", f"{directory}/docker.tar", name, timeout=120)
        with tarfile.open(f"{directory}/docker.tar") as tar:
            self.assertIn("manifest.json", tar.getnames())
        os.mkdir(f"{directory}/layout")
        self.ctl("image", "save", "-o", f"{directory}/layout", name, timeout=120)
        self.assertEqual(sorted(os.listdir(f"{directory}/layout")), ["blobs", "index.json", "oci-layout"])
        result = json.loads(self.ctl("image", "save", "--json", "-o", f"{directory}/json.tar", name, timeout=120))
        self.assertEqual(result["Bytes"], os.path.getsize(f"{directory}/json.tar"))
        self.refused("image", "save", "--format=floppy", "-o", f"{directory}/floppy.tar", name, contains="floppy")
        self.refused("image", "save", "--format=rootfs", "-o", f"{directory}/floppy.tar", name, contains="image export")
        self.refused("image", "save", "--compression=lzma", "-o", f"{directory}/floppy.tar", name, contains="lzma")
        self.assertNotIn("floppy.tar", " ".join(os.listdir(directory)))

    def test_export(self):
        name, directory = self.image(layers=2), self.scratch()
        self.ctl("image", "export", "-o", f"{directory}/root.tar", name, timeout=120)
        with tarfile.open(f"{directory}/root.tar") as tar:
            self.assertEqual(len([n for n in tar.getnames() if "file-" in n]), 2)
        self.refused("image", "export", "-o", directory, name, contains="directory")
        self.refused("image", "export", "-o", f"{directory}/a.tar", name, name, contains="too many arguments")

    def test_an_old_file_stays_until_the_new_is_whole(self):
        name, directory = self.image(), self.scratch()
        path = f"{directory}/saved.tar"
        with open(path, "w", encoding="utf-8") as f:
            f.write("old")
        self.refused("image", "save", "-o", path, name, "no-such-image", contains="no-such-image")
        with open(path, encoding="utf-8") as f:
            self.assertEqual(f.read(), "old")
        self.assertEqual(os.listdir(directory), ["saved.tar"])
        os.symlink("saved.tar", f"{directory}/link")
        self.ctl("image", "save", "-o", f"{directory}/link", name, timeout=120)
        self.assertTrue(os.path.islink(f"{directory}/link"))
        self.assertTrue(tarfile.is_tarfile(path))

    def test_nowhere_to_write(self):
        name = self.image()
        self.refused("image", "save", "-o", "/does/not/exist/a.tar", name, contains="/does/not/exist/a.tar")
        t = test_ctl_terminal.Terminal("image", "save", name)
        t.expect("nothing for a terminal")
        self.assertEqual(t.end()[0], 1)

    def test_a_device(self):
        """It is written to and stays what it is; a terminal is not, whoever names it."""
        name, file = self.image(), f"{self.scratch()}/file.tar"
        for verb in ("save", "export"):
            self.ctl("image", verb, "-o", file, name, timeout=120)
            written = json.loads(self.ctl("image", verb, "--json", "-o", "/dev/null", name, timeout=120))
            self.assertEqual(written["Bytes"], os.path.getsize(file))
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        master, terminal = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, terminal)
        self.refused("image", "save", "-o", os.ttyname(terminal), name, contains="no terminal")

    def test_a_reader_that_goes_away(self):
        done = davit.run("bash", "-c", 'set -o pipefail; davitctl image save busybox:latest | head -c 10 >/dev/null',
                         check=False, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("davitctl: ", done.stderr)


class Import(ImageCase):
    def test_result_as_json(self):
        name = davit.unique("ctl") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", "--sync", name, timeout=120)
        result = json.loads(self.ctl("image", "import", "--json", "-t", name, davit.busybox_archive(), timeout=120))
        self.assertEqual(result["Images"], [name])

    def test_bad_usage(self):
        archive = davit.busybox_archive()
        self.refused("image", "import", "-i", archive, archive, contains="once")
        self.refused("image", "import", "--limit", "bytes", archive, contains="bytes")
        self.refused("image", "import", "--limit", "Colour=1k", "-t", "a:1", archive, contains="Colour")
        self.refused("image", "load", "--name=a", archive, contains="--name")
        self.refused("image", "load", "/does/not/exist", contains="/does/not/exist")

    def test_empty_input(self):
        for verb in (("load",), ("image", "import", "-t", "empty:1")):
            for stdin in (subprocess.DEVNULL, subprocess.PIPE):
                with self.subTest(verb=verb, stdin=stdin):
                    done = subprocess.run(["davitctl", *verb, "-"], stdin=stdin, stderr=subprocess.PIPE, text=True, timeout=60)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn("archive is empty", done.stderr)
        self.refused("load", stdin=subprocess.DEVNULL, contains="name a file")

    def test_platform_of_a_single_image(self):
        """It is written in the configuration alone."""
        for write in (images.oci_archive, images.docker_archive):
            with self.subTest(write.__name__):
                path, name = f"{self.scratch()}/image.tar", davit.unique("ctl") + ":1"
                write(path, [images.layer([images.entry("file", b"")])], name)
                self.refused("load", "--platform", "linux/s390x", path, contains="no image for linux/s390x, but for linux/")
                self.assertEqual(self.ctl("load", "-q", "--platform", "linux/amd64", path, timeout=120), name)
                self.ctl("image", "rm", "--sync", name)

    def test_limits(self):
        path = f"{self.scratch()}/image.tar"
        images.oci_archive(path, [images.layer([images.entry("file", os.urandom(2000))])], "limited:1")
        self.refused("image", "import", "--limit", "bytes=1k", path, contains="1024", timeout=120)


class Prune(ImageCase):
    NAMESPACE = "ctl-prune"

    def prune(self, *argv, **kwargs):
        return self.ctl("-n", self.NAMESPACE, "image", "prune", *argv, timeout=120, **kwargs)

    def image_here(self):
        name = davit.unique("gone") + ":1"
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "image", "rm", "-f", "--sync", name, timeout=120)
        self.ctl("-n", self.NAMESPACE, "image", "import", "-t", name, davit.busybox_archive(), timeout=120)
        return name

    def test_plan_and_deed(self):
        name, pinned = self.image_here(), self.image_here()
        self.ctl("-n", self.NAMESPACE, "image", "pin", pinned)
        plan = self.prune("--dry-run")
        self.assertIn(name, plan)
        self.assertNotIn(pinned, plan)
        self.assertEqual([p["Id"] for p in json.loads(self.prune("--dry-run", "--json"))["Plan"]], [name])
        self.prune(status=1)
        self.assertIn("--yes", self.stderr)
        self.assertIn(name, self.ctl("-n", self.NAMESPACE, "image", "ls", "-q"))
        out = self.prune("--yes")
        self.assertIn(name, out)
        self.assertRegex(out, r"Freed [\d.]+ [kMG]?B(, [\d.]+ [kMG]?B of it were layers and files .*)?\.$")
        self.assertEqual(self.ctl("-n", self.NAMESPACE, "image", "ls", "-q"), pinned)
        self.assertEqual(self.prune(), "There is nothing to remove.")

    def test_quiet_and_json(self):
        name = self.image_here()
        self.assertEqual(self.prune("-qy").split(), ["images", name])
        name = self.image_here()
        result = json.loads(self.prune("--yes", "--json"))
        self.assertEqual((result["DryRun"], [p["Id"] for p in result["Plan"]]), (False, [name]))

    def test_asks_on_a_terminal(self):
        name = self.image_here()
        for answer, kept in (("n", True), ("\n", True), ("y\n", False)):
            t = test_ctl_terminal.Terminal("-n", self.NAMESPACE, "image", "prune", "-q")
            t.expect("[y/N]")
            t.type(answer if answer.endswith("\n") else answer + "\n")
            status, _ = t.end()
            self.assertEqual((status, name in self.ctl("-n", self.NAMESPACE, "image", "ls", "-q")), (1 if kept else 0, kept))

    def test_filters(self):
        name = self.image_here()
        self.assertIn("nothing", self.prune("--label", "no=such"))
        self.assertIn("nothing", self.prune("--until", "1971-01-01"))
        self.assertIn(name, self.prune("--dry-run", "--until", "0s"))
        self.assertNotIn(name, self.prune("--dry-run", "--dangling"))
        self.prune("--until", "soon", status=1)
        self.assertIn("soon", self.stderr)

    def test_dangling(self):
        """An image whose name is a digest goes, one with a name of its own stays."""
        name = self.image_here()
        digest = json.loads(self.ctl("-n", self.NAMESPACE, "image", "inspect", name))[0]["Digest"]
        for prune in (["image", "prune"], ["system", "prune", "--kind=images"]):
            nameless = f"{davit.unique('dangling')}@{digest}"
            self.ctl("-n", self.NAMESPACE, "image", "tag", name, nameless)
            self.assertEqual(set(self.ctl("-n", self.NAMESPACE, "image", "ls", "-q").splitlines()), {name, nameless})
            self.assertEqual(self.ctl("-n", self.NAMESPACE, *prune, "-qy", "--dangling", timeout=120).split(),
                             ["images", nameless])
            self.assertEqual(self.ctl("-n", self.NAMESPACE, "image", "ls", "-q"), name)


class Terminals(ImageCase):
    """What a user sees and how it is ended."""

    def big_archive(self):
        """A root file system tar that takes a while."""
        path = f"{self.scratch()}/big.tar"
        data = os.urandom(1 << 20)
        with tarfile.open(path, "w") as tar:
            for i in range(64):
                info, _ = images.entry(f"file{i}", data)
                tar.addfile(info, io.BytesIO(i.to_bytes(4, "big") + data[4:]))
        return path

    def test_progress(self):
        name = davit.unique("ctl") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", "--sync", name, timeout=120)
        t = test_ctl_terminal.Terminal("image", "import", "-t", name, self.big_archive(), size=(100, 25))
        status, _ = t.end()
        self.assertEqual(status, 0)
        self.assertRegex(t.text, r"\[#* *\] \d+% [0-9.]+ .?B of 67\.\d MB")
        self.assertRegex(t.text, r"67\.\d MB in [0-9.]+ s, [0-9.]+ .B/s\r\n" + name)

    def test_quiet(self):
        name = davit.unique("ctl") + ":1"
        self.addCleanup(davit.ctl, "image", "rm", "--sync", name, timeout=120)
        t = test_ctl_terminal.Terminal("image", "import", "-q", "-t", name, self.big_archive())
        self.assertEqual(t.end()[0], 0)
        self.assertEqual(t.text, name + "\r\n")

    def test_ctrl_c(self):
        t = test_ctl_terminal.Terminal("image", "import", "-t", davit.unique("ctl") + ":1", self.big_archive())
        t.expect("%")
        t.type("\x03")
        t.expect("the import was cancelled, nothing of it is left")
        self.assertEqual(t.end()[0], 130)

    def test_ctrl_c_while_saving(self):
        name, directory = davit.unique("ctl") + ":1", self.scratch()
        self.addCleanup(davit.ctl, "image", "rm", "--sync", name, timeout=120)
        self.ctl("image", "import", "-t", name, self.big_archive(), timeout=120)
        t = test_ctl_terminal.Terminal("image", "save", "--compression=gzip", "-o", f"{directory}/saved.tar", name)
        t.expect("%")
        t.type("\x03")
        t.expect("cancelled; no file was written")
        self.assertEqual(t.end()[0], 130)
        self.assertEqual(os.listdir(directory), [])

    def test_a_signal_to_a_script(self):
        archive = self.big_archive()
        reader, writer = os.pipe()
        child = subprocess.Popen(["davitctl", "image", "import", "-t", davit.unique("ctl") + ":1", "-"], stdin=reader,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(reader)
        with open(archive, "rb") as f, os.fdopen(writer, "wb") as pipe:
            pipe.write(f.read(8 << 20))
            pipe.flush()
            child.send_signal(signal.SIGTERM)
            _, errors = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual((child.returncode, errors), (130, "davitctl: the import was cancelled, nothing of it is left\n"))


if __name__ == "__main__":
    unittest.main()
