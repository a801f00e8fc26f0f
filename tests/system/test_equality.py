# SPDX-License-Identifier: LGPL-2.1-or-later
"""A root file system is what a real overlay of the image's layers is, whatever form it has, for every image of the family."""

import json
import os
import subprocess
import tempfile
import unittest

import davit
import reference

ROOT = "/run/davit-equality"  # a tmpfs: a hundred thousand files are gone at once
IMAGES = ("debian", "python", "app", "files")
OBJECTS = f"{davit.STATE}/repo/objects"


def ctl(*arguments, **kwargs):
    return subprocess.run(["davitctl", *arguments], check=True, stdout=subprocess.PIPE, text=True, **kwargs).stdout


class Equality(unittest.TestCase):
    time_limit = 300

    @classmethod
    def setUpClass(cls):
        os.makedirs(ROOT)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", ROOT], check=True)

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["umount", ROOT], check=True)
        os.rmdir(ROOT)

    def reference(self, archive):
        """(description, paths whose times mean nothing) of the layers' overlay."""
        directory = tempfile.mkdtemp(prefix="reference-", dir=ROOT)
        self.addCleanup(subprocess.run, ["rm", "-rf", directory], check=True)
        overlay = reference.Overlay(directory)
        self.addCleanup(overlay.close)
        for layer in reference.layers_of(archive):
            overlay.add(layer)
        return reference.describe(overlay.merged), overlay.stale

    def mounted(self, *arguments):
        directory = tempfile.mkdtemp(prefix="mounted-", dir=ROOT)
        self.addCleanup(os.rmdir, directory)
        subprocess.run(["mount", *arguments, directory], check=True)
        self.addCleanup(subprocess.run, ["umount", directory], check=True)
        return directory

    def erofs(self, chain):
        metadata = self.mounted("-t", "erofs", "-o", "ro,loop", f"{davit.STATE}/erofs/{chain}")
        return self.mounted("-t", "overlay", "overlay", "-o",
                            f"ro,metacopy=on,redirect_dir=follow,lowerdir={metadata}::{OBJECTS}")

    def check(self, name):
        archive = f"{davit.CACHE}/{name}.oci.tar"
        ctl("image", "import", "--name", f"equal-{name}", archive, stderr=subprocess.DEVNULL)
        self.addCleanup(ctl, "image", "rm", "--sync", f"equal-{name}")
        inspected = json.loads(ctl("image", "inspect", f"equal-{name}"))
        chain = (inspected[0] if isinstance(inspected, list) else inspected)["ChainId"].removeprefix("sha256:")
        wanted, stale = self.reference(archive)
        self.assertGreater(len(wanted), 1000)
        self.make_form(chain, "erofs")
        got = reference.describe(self.erofs(chain))
        problems = reference.differences(wanted, got, stale)
        self.assertEqual(problems[:10], [], f"{len(problems)} of {len(wanted)} paths")
        self.make_form(chain, "checkout")
        got = reference.describe(f"{davit.STATE}/checkouts/{chain}")
        # An object that several paths share has one inode and one time there; everything else holds.
        problems = reference.differences(wanted, got, got.keys() | wanted.keys())
        self.assertEqual(problems[:10], [], f"{len(problems)} of {len(wanted)} paths of the checkout")

    def make_form(self, chain, form):
        """Has the store make a form of root file system unless it is there."""
        request = {"operation": "rootfs", "chain_id": f"sha256:{chain}", "rootfs": form}
        done = subprocess.run(["/usr/libexec/davit/davit-store", "request", json.dumps(request)], check=True,
                              stdout=subprocess.PIPE, text=True)
        self.assertEqual(json.loads(done.stdout)["rootfs"]["form"], form)

    def test_debian(self):
        self.check("debian")

    def test_python(self):
        self.check("python")

    def test_app(self):
        self.check("app")

    def test_files(self):
        self.check("files")


class InContainer(unittest.TestCase):
    time_limit = 120

    @classmethod
    def setUpClass(cls):
        for name in ("python", "app"):
            ctl("image", "import", "--name", f"in-{name}", f"{davit.CACHE}/{name}.oci.tar", stderr=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        for name in ("python", "app"):
            ctl("image", "rm", "--sync", f"in-{name}")

    def test_python_uses_its_compiled_modules(self):
        """A wrong time of a source makes Python compile it anew at every start."""
        done = subprocess.run(["davitctl", "run", "--rm", "in-python", "python3", "-v", "-c",
                               "import json, asyncio, email.message, http.client, unittest"], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        compiled = [l for l in done.stdout.splitlines() if l.startswith("# code object from '") and l.endswith(".py'")]
        loaded = [l for l in done.stdout.splitlines() if ".pyc matches " in l or ".pyc' matches" in l or " matches " in l]
        stale = [l for l in done.stdout.splitlines() if "stale" in l]
        self.assertEqual(stale, [])
        self.assertEqual(compiled, [])
        self.assertGreater(len(loaded), 50)

    def test_move_over_an_identical_file(self):
        script = ("cmp /app/twin-a /app/twin-b && mv /app/twin-a /app/twin-b && ! test -e /app/twin-a && cat /app/twin-b && "
                  "test $(stat -c %i /app/link-a) = $(stat -c %i /app/link-b)")
        self.assertEqual(ctl("run", "--rm", "in-app", "sh", "-c", script, stdin=subprocess.DEVNULL), "the same twice\n")

    def test_ready_whatever_the_size(self):
        """A container of an image that is there starts no store worker."""
        before = self.store_workers()
        ctl("run", "--rm", "in-python", "true", stdin=subprocess.DEVNULL)
        self.assertEqual(self.store_workers(), before)

    @staticmethod
    def store_workers():
        shown = subprocess.run(["systemctl", "show", "davit-store.socket", "-p", "NAccepted"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        return shown.strip()


if __name__ == "__main__":
    unittest.main()
