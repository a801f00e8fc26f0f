# SPDX-License-Identifier: LGPL-2.1-or-later
"""davitctl's verbs for content, leases, snapshots, commit and diff, and for the store as a whole."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import unittest

import davit
import test_ctl
import test_ctl_terminal


class StoreCase(test_ctl.CtlCase):
    NAMESPACE = "ctl-store"

    def setUp(self):
        davit.busybox_image(self.NAMESPACE)
        super().setUp()
        self.directory = f"{davit.FIXTURES}/{davit.unique('ctl')}"
        os.mkdir(self.directory)
        self.addCleanup(shutil.rmtree, self.directory)

    def ctl(self, *argv, status=0, **kwargs):
        kwargs.setdefault("timeout", 120)
        return super().ctl("-n", self.NAMESPACE, *argv, status=status, **kwargs)

    def file(self, data, name="file"):
        path = f"{self.directory}/{name}"
        with open(path, "wb") as f:
            f.write(data)
        return path

    def read(self, name):
        with open(f"{self.directory}/{name}", "rb") as f:
            return f.read()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Content(StoreCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.abort_all)

    def abort_all(self):
        for writer in self.writers():
            davit.ctl("-n", self.NAMESPACE, "content", "abort", writer["Ref"])

    def put(self, data, *options, name="file"):
        digest = self.ctl("content", "put", *options, self.file(data, name))
        self.assertEqual(digest, digest_of(data))
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        return digest

    def listed(self, digest):
        return json.loads(self.ctl("content", "ls", "--json", "-f", f"digest={digest}"))

    def test_put_and_get(self):
        data = os.urandom(300000)
        digest = self.put(data, "-l", "who=me", "--media-type", "text/plain", "--digest", digest_of(data))
        shown = self.listed(digest)[0]
        self.assertEqual((shown["Digest"], shown["Size"], shown["Kind"], shown["MediaType"]),
                         (digest, len(data), "blob", "text/plain"))
        self.assertEqual(shown["Labels"]["who"], "me")
        self.assertIn("davit.gc.root", shown["Labels"])
        self.ctl("content", "get", "-o", f"{self.directory}/got", digest)
        self.assertEqual(self.read("got"), data)
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "got"])
        piped = subprocess.run(["davitctl", "-n", self.NAMESPACE, "content", "get", digest], stdout=subprocess.PIPE,
                               check=True, timeout=60).stdout
        self.assertEqual(piped, data)
        self.ctl("content", "get", "--offset=1000", "--length=50", "-o", f"{self.directory}/part", digest)
        self.assertEqual(self.read("part"), data[1000:1050])
        self.assertIn(digest, self.ctl("content", "ls", "-q").splitlines())
        self.assertEqual(self.ctl("content", "rm", digest), digest)
        self.assertEqual(self.listed(digest), [])

    def test_twice(self):
        digest = self.put(b"the same")
        self.assertEqual(self.put(b"the same", name="other"), digest)
        self.assertEqual(len(self.listed(digest)), 1)

    def test_short_digests(self):
        text = "short " + os.urandom(20).hex()
        digest = self.ctl("content", "put", "-q", self.file(text.encode()))
        reasons = self.ctl("why-kept", "content", digest)
        self.assertIn("KEPT BY", reasons)
        for typed in (digest[7:], digest[7:19], digest[:19]):
            with self.subTest(typed):
                self.assertEqual(self.ctl("content", "get", typed), text)
                self.ctl("content", "label", typed, "typed=" + typed[:5])
                self.assertEqual(json.loads(self.ctl("inspect", "-t", "content", typed))[0]["Digest"], digest)
                self.assertEqual(self.ctl("why-kept", "content", typed), reasons)
        self.refused("content", "get", "0123456789ab", contains="0123456789ab")
        self.assertEqual(self.ctl("content", "rm", digest[7:19]), digest)

    def test_the_rest_of_a_file(self):
        data = os.urandom(4000)
        with open(self.file(data), "rb") as f:
            os.lseek(f.fileno(), 1000, os.SEEK_SET)
            digest = self.ctl("content", "put", "-q", "-", stdin=f)
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        self.assertEqual(digest, "sha256:" + hashlib.sha256(data[1000:]).hexdigest())

    def test_stdin_and_json(self):
        data = os.urandom(1000)
        done = subprocess.run(["davitctl", "-n", self.NAMESPACE, "content", "put", "--json", "--no-root", "-"], input=data,
                              stdout=subprocess.PIPE, check=True, timeout=60)
        self.assertEqual(json.loads(done.stdout)["Digest"], digest_of(data))
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest_of(data))
        self.assertEqual(self.listed(digest_of(data))[0]["Labels"], {})
        self.assertEqual(self.ctl("content", "writers", "-q"), "")

    def test_wrong_digest(self):
        path, wrong = self.file(b"some bytes"), digest_of(b"other bytes")
        self.refused("content", "put", "--digest", wrong, path, contains=path)
        self.refused("content", "put", "--digest", "", path, contains="Digest is empty")
        self.assertEqual(self.ctl("content", "writers", "-q"), "")
        self.assertEqual(self.listed(wrong), [])
        self.put(b"some bytes")

    def test_resumed(self):
        data = os.urandom(3 << 20)
        reader, writer = os.pipe()
        command = ["davitctl", "-n", self.NAMESPACE, "content", "put", "--ref", "resumed", "-"]
        child = subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data[:1 << 20])
            pipe.flush()
            davit.wait_until(lambda: any(w["Offset"] == 1 << 20 for w in self.writers()), what="a megabyte to be written")
            child.send_signal(2)
            _, errors = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual(child.returncode, 130)
        self.assertIn("content abort resumed", errors)
        davit.restart_davitd()
        self.assertEqual([w["Offset"] for w in self.writers()], [1 << 20])
        self.assertIn("resumed", self.ctl("content", "writers"))
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=60)
        self.assertEqual(done.stdout.decode().strip(), digest_of(data))
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest_of(data))
        self.assertEqual(self.writers(), [])

    def writers(self):
        return json.loads(self.ctl("content", "writers", "--json"))

    def test_a_file_that_was_interrupted(self):
        path = self.file(b"a" * 100 + b"b" * 100)
        st = os.stat(path)
        ref = f"file-{st.st_dev:x}-{st.st_ino:x}-{st.st_size:x}-{int(st.st_mtime_ns // 10**9):x}.{st.st_mtime_ns % 10**9:x}"
        data, offset = davit.manager("WriteContent", "(ssa{sv})", self.NAMESPACE, ref, {})
        self.assertEqual(offset, 0)
        os.write(data, b"a" * 100)
        os.close(data)
        davit.restart_davitd()  # the test's own connection has the writer
        self.assertEqual(self.ctl("content", "put", path), digest_of(b"a" * 100 + b"b" * 100))
        self.ctl("content", "rm", digest_of(b"a" * 100 + b"b" * 100))

    def test_abort(self):
        reader, writer = os.pipe()
        child = subprocess.Popen(["davitctl", "-n", self.NAMESPACE, "content", "put", "--ref", "gone", "-"], stdin=reader,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(reader)
        with os.fdopen(writer, "wb"):
            davit.wait_until(self.writers, what="the writer")
            child.send_signal(15)
            child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual(self.ctl("content", "abort", "gone"), "gone")
        self.assertEqual(self.writers(), [])
        self.refused("content", "abort", "gone", contains="gone")

    def test_labels(self):
        digest = self.put(b"labelled", "-l", "a=1")
        self.ctl("content", "label", digest, "b=2", "a=3", "c")
        self.assertEqual({k: v for k, v in self.listed(digest)[0]["Labels"].items() if not k.startswith("davit.")},
                         {"a": "3", "b": "2", "c": ""})
        self.ctl("content", "label", "-r", "a", "--remove=c", digest)
        self.assertEqual([line for line in self.ctl("content", "label", digest).splitlines() if not line.startswith("davit.")],
                         ["b=2"])
        self.assertEqual(json.loads(self.ctl("content", "label", "--json", digest))["b"], "2")
        self.assertEqual(self.ctl("content", "ls", "-q", "-f", "label=b=2"), digest)

    def test_what_images_are_made_of(self):
        image = json.loads(self.ctl("image", "inspect", "busybox"))[0]
        kinds = {c["Digest"]: c["Kind"] for c in json.loads(self.ctl("content", "ls", "--json"))}
        self.assertEqual(kinds[image["Digest"]], "manifest")
        self.assertEqual(kinds[image["ConfigDigest"]], "config")
        self.ctl("content", "get", "-o", f"{self.directory}/manifest", image["Digest"])
        self.assertEqual(digest_of(self.read("manifest")), image["Digest"])
        layer = image["Layers"][0][0]
        self.ctl("content", "get", "-o", f"{self.directory}/layer", layer)
        self.assertEqual(digest_of(self.read("layer")), layer)
        self.refused("content", "rm", image["Digest"], contains=image["Digest"])

    def test_wrong(self):
        missing = digest_of(b"nowhere")
        self.refused("content", "get", "-o", f"{self.directory}/no", missing, contains=missing)
        self.assertEqual(os.listdir(self.directory), [])
        self.refused("content", "rm", missing, contains=missing)
        self.refused("content", "label", missing, "a=b", contains=missing)
        self.refused("content", "get", contains="too few arguments")
        self.refused("content", "get", "--offset=far", missing, contains="far")
        self.refused("content", "put", self.directory, contains="directory")
        self.refused("content", "put", "/does/not/exist", contains="/does/not/exist")
        self.refused("content", "put", "--lease", "no-such-lease", self.file(b"x"), contains="no-such-lease")
        self.refused("content", "no-such-verb", contains="content no-such-verb")

    def test_progress(self):
        path = self.file(os.urandom(8 << 20))
        t = test_ctl_terminal.Terminal("-n", self.NAMESPACE, "content", "put", path)
        self.assertEqual(t.end()[0], 0)
        self.assertIn("100% 8.39 MB of 8.39 MB", t.text)
        digest = t.text.splitlines()[-1]
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        t = test_ctl_terminal.Terminal("-n", self.NAMESPACE, "content", "get", "-o", f"{self.directory}/got", digest)
        self.assertEqual(t.end()[0], 0)
        self.assertIn("100% 8.39 MB of 8.39 MB", t.text)


class Leases(StoreCase):
    def lease(self, *options):
        id = self.ctl("lease", "create", *options)
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "lease", "rm", id)
        return id

    def shown(self, id):
        return json.loads(self.ctl("inspect", "--type=lease", id))[0]

    def test_create_list_remove(self):
        id = davit.unique("lease")
        self.assertEqual(self.lease("--expire=1h", "-l", "a=b", id), id)
        made = self.lease()
        rows = {lease["Id"]: lease for lease in json.loads(self.ctl("lease", "ls", "--json"))}
        self.assertEqual(rows[id]["Labels"], {"a": "b"})
        self.assertAlmostEqual(rows[id]["ExpiresAt"] - rows[id]["CreatedAt"], 3600e6, delta=5e6)
        self.assertEqual(rows[made]["ExpiresAt"], 0)
        table = self.ctl("lease", "ls")
        self.assertIn("never", table)
        self.assertIn("a=b", table)
        self.assertEqual(self.ctl("lease", "ls", "-q", "-f", "label=a=b"), id)
        self.assertEqual(self.ctl("lease", "rm", "--sync", id, made).splitlines(), [id, made])
        self.assertNotIn(id, self.ctl("lease", "ls", "-q").splitlines())

    def test_add_and_remove(self):
        digest = self.ctl("content", "put", self.file(b"held"))
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        id = self.lease()
        self.refused("lease", "add", id, "content", digest_of(b"to come"), contains="There is no content")
        self.assertEqual(self.ctl("lease", "add", id, "image", "busybox"), "busybox")
        self.assertEqual(self.ctl("lease", "add", id, "content", digest), digest)
        self.assertEqual(sorted(map(tuple, self.shown(id)["Resources"])), [("content", digest), ("image", "busybox:latest")])
        self.assertEqual(self.ctl("lease", "remove", id, "image", "busybox"), "busybox")
        self.assertEqual(self.shown(id)["Resources"], [["content", digest]])

    def test_content_with_a_lease(self):
        id = self.lease()
        digest = self.ctl("content", "put", "--lease", id, self.file(b"leased"))
        self.assertIn(["content", digest], self.shown(id)["Resources"])
        self.ctl("system", "collect")
        self.assertEqual(self.ctl("content", "ls", "-q", "-f", f"digest={digest}"), digest)
        self.ctl("lease", "rm", "--sync", id)
        self.assertEqual(self.ctl("content", "ls", "-q", "-f", f"digest={digest}"), "")

    def test_wrong(self):
        id = self.lease()
        self.refused("lease", "create", id, contains=id)
        self.refused("lease", "create", "--expire=soon", contains="soon")
        self.refused("lease", "add", id, "image", contains="too few arguments")
        self.refused("lease", "add", id, "colour", "red", contains="colour")
        self.refused("lease", "add", id, "image", "no-such-image", contains="no-such-image")
        self.refused("lease", "add", "no-such-lease", "image", "busybox", contains="no-such-lease")
        self.refused("lease", "rm", "no-such-lease", contains="no-such-lease")


class Snapshots(StoreCase):
    def snapshot(self, *argv, verb="prepare"):
        key = davit.unique("snap")
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "snapshot", "rm", key)
        self.assertEqual(self.ctl("snapshot", verb, *argv[:-1], key, *argv[-1:]), key)
        return key

    def layer(self, **files):
        path = f"{self.directory}/{davit.unique('layer')}.tar"
        with tarfile.open(path, "w") as tar:
            for name, text in files.items():
                self.file(text, "one")
                tar.add(f"{self.directory}/one", name)
        return path

    def listed(self, *options):
        return json.loads(self.ctl("snapshot", "ls", "--json", *options))

    def test_prepare_list_remove(self):
        key = self.snapshot("-l", "a=b", "image:busybox")
        view = self.snapshot("image:busybox", verb="view")
        rows = {s["Key"]: s for s in self.listed()}
        chain = json.loads(self.ctl("image", "inspect", "busybox"))[0]["ChainId"]
        self.assertEqual((rows[key]["Kind"], rows[key]["Parent"]), ("active", chain))
        self.assertEqual((rows[view]["Kind"], rows[view]["Parent"]), ("view", chain))
        self.assertEqual([s["Key"] for s in self.listed("-f", "label=a=b")], [key])
        self.assertEqual([s["Key"] for s in self.listed("-f", "kind=view")], [view])
        self.assertIn(key, self.ctl("snapshot", "ls", "-q").splitlines())
        self.assertEqual(self.ctl("snapshot", "ls").splitlines()[0].split(), ["SNAPSHOT", "KIND", "PARENT", "CREATED"])
        self.assertEqual(json.loads(self.ctl("inspect", "--type=snapshot", key))[0]["Labels"], {"a": "b"})
        self.assertEqual(self.ctl("snapshot", "rm", key, view).splitlines(), [key, view])

    def test_apply_diff_usage_commit(self):
        base, name = self.snapshot(""), davit.unique("snap")
        self.assertRegex(self.ctl("snapshot", "apply", base, self.layer(hello=b"x" * 9000)), "^sha256:[0-9a-f]{64}$")
        self.assertEqual(self.ctl("snapshot", "diff", base).removeprefix("C /\n"), "A /hello")
        self.assertIn({"Kind": "A", "Path": "/hello"}, json.loads(self.ctl("snapshot", "diff", "--json", base)))
        usage = json.loads(self.ctl("snapshot", "usage", "--json", base))[0]
        self.assertGreaterEqual(usage["Bytes"], 9000)
        self.assertIn(str(usage["Bytes"]), self.ctl("snapshot", "usage", "--bytes", base))
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "snapshot", "rm", name)
        self.assertEqual(self.ctl("snapshot", "commit", "--continue", base, name), name)
        rows = {s["Key"]: s["Kind"] for s in self.listed()}
        self.assertEqual((rows[base], rows[name]), ("active", "committed"))
        child = self.snapshot(name)
        self.ctl("snapshot", "apply", child, self.layer(more=b"y"))
        self.assertEqual(self.ctl("snapshot", "diff", child).removeprefix("C /\n"), "A /more")
        self.assertEqual(self.ctl("snapshot", "diff", name, child).removeprefix("C /\n"), "A /more")
        self.assertIn("D /etc", self.ctl("snapshot", "diff", "image:busybox", child).splitlines())
        out = f"{self.directory}/diff.tar"
        self.ctl("snapshot", "diff", "--tar", out, child)
        with tarfile.open(out) as tar:
            self.assertEqual([n.strip("./") for n in tar.getnames() if n.strip("./")], ["more"])
        result = json.loads(self.ctl("snapshot", "diff", "--json", "--compression=gzip", "--tar", out, child))
        self.assertEqual((result["Digest"], result["Size"]), (digest_of(self.read("diff.tar")), os.path.getsize(out)))

    def test_labels(self):
        key = self.snapshot("-l", "a=1", "image:busybox")
        self.ctl("snapshot", "label", key, "b=2", "-r", "a")
        self.assertEqual(self.ctl("snapshot", "label", key), "b=2")

    def test_mounts(self):
        key = self.snapshot("image:busybox")
        lines = self.ctl("snapshot", "mounts", key).splitlines()
        for line in lines:
            self.assertRegex(line, r"^-t \w+ -o \S+ \S+( /\S+)?$")
        self.assertRegex(lines[-1], r"^-t \w+ -o \S+ \S+$")
        self.assertEqual([m["Type"] for m in json.loads(self.ctl("snapshot", "mounts", "--json", key))],
                         [line.split()[1] for line in lines])

    def test_container(self):
        key, id = self.snapshot("image:busybox"), davit.unique("ctl")
        self.addCleanup(davit.remove_container, id, self.NAMESPACE)
        self.assertEqual(self.ctl("run", "--rm", f"--snapshot={key}", "busybox", "sh", "-c", "echo x >/new; echo $FROM_IMAGE"),
                         "yes")
        self.assertEqual(self.ctl("run", "--rm", f"--snapshot={key}", "", "/bin/sh", "-c", "cat /new"), "x")
        self.assertIn("A /new", self.ctl("snapshot", "diff", key).splitlines())
        self.ctl("create", "--name", id, f"--snapshot={key}", "busybox", "true")
        self.refused("snapshot", "rm", key, contains=id)
        self.refused("run", "--rm", "--snapshot=no-such-snapshot", "busybox", "true", status=125, contains="no-such-snapshot")
        self.refused("run", "--rm", f"--snapshot={key}", test_ctl.ROOTFS, "true", status=125, contains="not both")

    def unmount(self, place):
        """The bus may not have closed the descriptor of the mount yet that it has passed on."""
        davit.wait_until(lambda: davit.run("umount", place, check=False).returncode == 0, what="umount")

    def test_mount(self):
        key, place = self.snapshot("image:busybox"), f"{self.directory}/mnt"
        os.mkdir(place)
        self.addCleanup(davit.run, "umount", place, check=False)
        self.assertEqual(self.ctl("snapshot", "mount", "--read-only", key, place), "")
        self.assertTrue(os.path.exists(f"{place}/etc/os-release"))
        with self.assertRaises(OSError):
            open(f"{place}/new", "wb")  # pylint: disable=consider-using-with
        self.unmount(place)
        self.ctl("snapshot", "mount", key, place)
        with open(f"{place}/new", "wb") as f:
            f.write(b"x" * 9000)
        self.unmount(place)
        self.assertGreaterEqual(json.loads(self.ctl("snapshot", "usage", "--json", key))[0]["Bytes"], 9000)
        self.refused("snapshot", "mount", key, "/does/not/exist", contains="/does/not/exist")
        self.refused("snapshot", "mount", "no-such-snapshot", place, contains="no-such-snapshot")

    def test_wrong(self):
        key = self.snapshot("image:busybox")
        self.refused("snapshot", "prepare", key, "image:busybox", contains=key)
        self.refused("snapshot", "prepare", davit.unique("snap"), "image:no-such", contains="no-such")
        self.refused("snapshot", "prepare", davit.unique("snap"), key, contains=key)
        self.refused("snapshot", "commit", key, contains="too few arguments")
        for verb in ("rm", "mounts", "usage", "diff", "label"):
            self.refused("snapshot", verb, "no-such-snapshot", contains="no-such-snapshot")
        self.refused("snapshot", "apply", "no-such-snapshot", self.layer(a=b"b"), contains="no-such-snapshot")
        self.refused("snapshot", "apply", "--digest", digest_of(b""), key, self.layer(a=b"b"), contains="sha256")
        self.refused("snapshot", "apply", key, self.file(os.urandom(3000)), contains=self.directory)
        self.refused("snapshot", "diff", "--compression=gzip", key, contains="--tar")


class Commit(StoreCase):
    def container(self, script):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id, self.NAMESPACE)
        self.ctl("run", "-d", "--name", id, "busybox", "sh", "-c", f"{script}; echo >/done; sleep 1000")
        davit.wait_until(lambda: davit.ctl("-n", self.NAMESPACE, "exec", id, "test", "-e", "/done").returncode == 0)
        return id

    def test_commit_and_run(self):
        id, name = self.container("echo text >/new; rm /etc/os-release"), davit.unique("img") + ":2"
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "image", "rm", "--sync", name, timeout=120)
        self.assertEqual(self.ctl("commit", "-a", "somebody", "-m", "a remark", "-c", "ENV A=b", "-c",
                                  'CMD ["cat", "/new"]', id, name), name)
        self.assertEqual(self.ctl("run", "--rm", name), "text")
        self.assertEqual(self.ctl("run", "--rm", name, "sh", "-c", "echo $A $FROM_IMAGE; test -e /etc/os-release || echo no"),
                         "b yes\nno")
        step = json.loads(self.ctl("image", "history", "--json", name))[0]
        self.assertEqual((step["Author"], step["Comment"]), ("somebody", "a remark"))
        self.assertEqual(self.ctl("exec", id, "echo", "runs on"), "runs on")

    def test_json_and_wrong(self):
        id, name = self.container("true"), davit.unique("img") + ":2"
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "image", "rm", "--sync", name, timeout=120)
        result = json.loads(self.ctl("commit", "--json", "--no-pause", id, name))
        self.assertEqual(result["Image"], name)
        self.refused("commit", "no-such", name, contains="no-such")
        self.refused("commit", id, contains="too few arguments")
        self.refused("commit", id, "Not A Name", contains="Not A Name")
        self.refused("commit", "-c", "SING loud", id, davit.unique("img"), contains="SING")

    def test_diff(self):
        """S-N05."""
        id = self.container("echo x >/added; echo y >>/etc/passwd; rm /etc/os-release; "
                            "echo >/etc/$(printf 'a\\033b'); echo >/etc/$(printf 'a\\377')")
        lines = self.ctl("diff", id).splitlines()
        for line in ("A /added", "C /etc/passwd", "D /etc/os-release", "A /etc/a\\x1bb", "A /etc/a\\xff"):
            self.assertIn(line, lines)
        self.assertIn({"Kind": "A", "Path": "/etc/a\x1bb"}, json.loads(self.ctl("diff", "--json", id)))
        self.assertIn({"Kind": "A", "Path": os.fsdecode(b"/etc/a\xff")}, json.loads(self.ctl("diff", "--json", id)))
        self.ctl("diff", "--tar", f"{self.directory}/layer.tar", id)
        with tarfile.open(f"{self.directory}/layer.tar") as tar:
            names = [n.removeprefix("./").strip("/") for n in tar.getnames()]
        self.assertIn("added", names)
        self.assertIn("etc/.wh.os-release", names)
        piped = subprocess.run(["davitctl", "-n", self.NAMESPACE, "diff", "--tar=-", id], stdout=subprocess.PIPE, check=True,
                               timeout=60).stdout
        self.assertEqual(piped, self.read("layer.tar"))

    def test_diff_wrong(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id, self.NAMESPACE)
        self.ctl("create", "--name", id, test_ctl.ROOTFS, "true")
        self.refused("diff", id, contains="directory of the host")
        self.refused("diff", "no-such", contains="no-such")
        self.refused("commit", id, davit.unique("img"), contains=id)


class Jobs(StoreCase):
    def begin(self):
        """An import that waits for its archive. Returns (number, object)."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        job = davit.manager("ImportImage", "(ssha{sv})", self.NAMESPACE, "", 0, {}, fds=[reader])
        os.close(reader)
        return job.rpartition("/")[2], job

    def test_listed_and_cancelled(self):
        """S-E12, S-E11: by number, whoever has begun it."""
        jobs = [self.begin() for _ in range(3)]
        numbers = [number for number, _ in jobs]
        self.assertEqual([n for n in self.ctl("job", "ls", "-q").split() if n in numbers], numbers)
        rows = {row[0]: row for row in (line.split() for line in self.ctl("job", "ls").splitlines())}
        self.assertEqual(rows["JOB"], ["JOB", "TYPE", "SUBJECT", "STATE"])
        self.assertEqual([(rows[n][1], rows[n][-1]) for n in numbers], [("import", "running")] * 3)
        self.assertEqual(self.ctl("job", "cancel", *numbers[:2]).split(), numbers[:2])
        for _, job in jobs[:2]:
            with self.assertRaises(davit.DavitError):
                davit.call(job, "Job.Wait")
        shown = {str(row["Number"]): row for row in json.loads(self.ctl("job", "ls", "--json"))}
        self.assertEqual([shown[n]["State"] for n in numbers], ["cancelled", "cancelled", "running"])
        self.assertEqual((shown[numbers[2]]["Type"], shown[numbers[2]]["Object"]), ("import", jobs[2][1]))
        self.assertEqual(self.ctl("job", "cancel", numbers[0], numbers[2], status=1), numbers[2], "the others all the same")
        self.assertIn("has already ended", self.stderr)

    def test_no_such_job(self):
        self.refused("job", "cancel", "4000000000", contains="there is no job 4000000000")
        for name in ("", "x", "-1", "1/2", "../1"):
            self.refused("job", "cancel", "--", name, contains="no number of a job")


class System(StoreCase):
    def test_df(self):
        table = self.ctl("system", "df").splitlines()
        self.assertEqual(table[0].split(), ["TYPE", "NUMBER", "SIZE", "RECLAIMABLE"])
        self.assertIn("images", [line.split()[0] for line in table[1:] if line])
        rows = json.loads(self.ctl("df", "--json"))
        self.assertGreater(rows["Repository"], 0)
        self.assertEqual([set(row) for row in rows["Rows"]], [{"Type", "Number", "Size", "Reclaimable"}] * len(rows["Rows"]))
        shown = {line.split()[0]: line.split()[1:] for line in self.ctl("system", "df", "--bytes").splitlines()[1:] if line}
        for row in rows["Rows"]:
            self.assertEqual(shown[row["Type"]], [str(row[key]) for key in ("Number", "Size", "Reclaimable")])

    def damage(self, data):
        """Changes the file of the repository that holds these bytes."""
        for directory, _, names in os.walk("/var/lib/davit/repo/objects"):
            for name in names:
                # a collection may be on its way
                with contextlib.suppress(FileNotFoundError):
                    path = f"{directory}/{name}"
                    if os.path.islink(path) or os.path.getsize(path) != len(data):
                        continue
                    with open(path, "r+b") as f:
                        if f.read() == data:
                            f.seek(0)
                            f.write(bytes([data[0] ^ 1]))
                            return
        self.fail("no such object")

    def test_repair_says_what_became_of_it(self):
        data = os.urandom(5000)
        digest = self.ctl("content", "put", self.file(data))
        self.addCleanup(davit.ctl, "system", "collect", timeout=120)
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        self.damage(data)
        self.ctl("system", "check", "-q", "--repair", status=1)
        self.assertIn("/var/lib/davit/damaged", self.stderr)
        shutil.rmtree("/var/lib/davit/damaged")
        self.ctl("content", "rm", digest)
        self.ctl("system", "collect")
        self.assertEqual(self.ctl("system", "check", "-q"), "")

    def test_repair_of_what_is_missing(self):
        """Nothing is put aside then; in one pipe the table comes before what is said about it."""
        digest = self.ctl("content", "put", self.file(os.urandom(5000)))
        os.unlink(f"/var/lib/davit/repo/refs/heads/davit/content/{digest[7:]}")
        command = ["davitctl", "system", "check", "-q", "--repair"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.ctl("content", "rm", digest)
        self.assertEqual(done.returncode, 1)
        lines = done.stdout.splitlines()
        self.assertTrue(lines[0].startswith("content " + digest), lines)
        self.assertTrue(lines[-1].startswith("davitctl: 1 damaged; 'davitctl why-kept'"), lines)
        self.assertNotIn("put aside", done.stdout)
        os.rmdir("/var/lib/davit/damaged")

    def test_check_finds_damage(self):
        data = os.urandom(5000)
        digest = self.ctl("content", "put", self.file(data))
        self.addCleanup(davit.ctl, "system", "collect", timeout=120)
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "content", "rm", digest)
        self.damage(data)
        out = self.ctl("system", "check", "-q", status=1)
        self.assertIn("--repair", self.stderr)
        found = next(line.split() for line in out.splitlines() if line.startswith("object "))
        self.assertIn(digest, self.ctl("why-kept", "object", found[1]))
        damaged = [d for d in json.loads(self.ctl("system", "check", "--json", status=1))["Damaged"] if d["Kind"] == "object"]
        self.assertEqual([(d["Id"], d["Images"], d["Repaired"]) for d in damaged], [(found[1], [], False)])
        self.assertEqual(set(damaged[0]), {"Kind", "Id", "Path", "Why", "Images", "Repaired"})
        self.ctl("content", "rm", digest)
        self.ctl("system", "collect")
        self.assertEqual(self.ctl("system", "check", "-q"), "")

    def test_collect(self):
        digest = self.ctl("content", "put", "--no-root", self.file(b"nobody's"))
        plan = json.loads(self.ctl("system", "collect", "--dry-run", "--json"))
        self.assertIn(digest, plan["Contents"])
        self.assertIn("Would free", self.ctl("system", "collect", "--dry-run"))
        self.assertEqual(self.ctl("content", "ls", "-q", "-f", f"digest={digest}"), digest)
        out = self.ctl("system", "collect").splitlines()
        self.assertTrue(out[-1].startswith("Freed "))
        self.assertEqual(self.ctl("content", "ls", "-q", "-f", f"digest={digest}"), "")

    def test_check(self):
        self.assertRegex(self.ctl("system", "check"), r"^\d+ objects, .*: all is well\.$")
        self.assertEqual(self.ctl("system", "check", "-q"), "")
        result = json.loads(self.ctl("system", "check", "--json"))
        self.assertEqual((result["Damaged"], result["Records"]), ([], []))

    def test_why_kept(self):
        self.assertEqual(self.ctl("why-kept", "image", "busybox"), "")
        self.assertIn("nothing uses busybox; it stays until it is removed or pruned", self.stderr)
        self.addCleanup(davit.ctl, "-n", self.NAMESPACE, "image", "unpin", "busybox")
        self.ctl("image", "pin", "busybox")
        self.assertRegex(self.ctl("why-kept", "image", "busybox"), r"\nbusybox:latest +pinned +")
        self.ctl("image", "unpin", "busybox")
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id, self.NAMESPACE)
        self.ctl("create", "--name", id, "busybox", "true")
        self.assertIn(id, self.ctl("why-kept", "-q", "image", "busybox").splitlines())
        chain = json.loads(self.ctl("image", "inspect", "busybox"))[0]["ChainId"]
        self.assertIn({"Type": "image", "Namespace": self.NAMESPACE, "Id": "busybox:latest"},
                      json.loads(self.ctl("why-kept", "--json", "chain", chain)))
        layer = json.loads(self.ctl("image", "inspect", "busybox"))[0]["Layers"][0][0]
        self.assertIn("busybox:latest", self.ctl("why-kept", "-q", "content", layer).splitlines())
        digest = self.ctl("content", "put", "--no-root", self.file(b"nobody's own"))
        self.assertEqual(self.ctl("why-kept", "content", digest), "")
        self.assertIn("nothing keeps", self.stderr)
        self.ctl("content", "rm", digest)
        self.refused("why-kept", "colour", "red", contains="colour")
        self.refused("why-kept", "image", contains="too few arguments")

    def test_prune_of_all(self):
        id = davit.unique("ctl")
        self.addCleanup(davit.remove_container, id, self.NAMESPACE)
        self.ctl("create", "--name", id, "busybox", "true")
        plan = json.loads(self.ctl("system", "prune", "--dry-run", "--json", "--kind=containers"))["Plan"]
        self.assertEqual([(p["Kind"], p["Namespace"], p["Id"]) for p in plan], [("containers", self.NAMESPACE, id)])
        self.assertGreaterEqual(plan[0]["Size"], 0)
        self.refused("system", "prune", "--kind=colours", contains="colours")
        self.assertEqual(self.ctl("prune", "-qy", "--kind=containers").split(), ["containers", id])
        self.assertEqual(self.ctl("ps", "-aq"), "")


if __name__ == "__main__":
    unittest.main()
