# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bundles for davit-oci, and the calls of it that tests make."""

import array
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import davit
import shim

ROOT = "/run/davit-oci-tests"


def result(done):
    return done.returncode, done.stdout, done.stderr


class RuntimeTest(unittest.TestCase):
    """Each test has a bundle of its own; what is left of containers and groups at its end fails it."""

    options = ()

    @classmethod
    def setUpClass(cls):
        os.makedirs(davit.FIXTURES, exist_ok=True)
        cls.directory = tempfile.mkdtemp(dir=davit.FIXTURES, prefix="runtime-")
        cls.rootfs = shim.busybox_root(os.path.join(cls.directory, "rootfs"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    def setUp(self):
        self.name = "r" + secrets.token_hex(4)
        self.bundle = tempfile.mkdtemp(dir=self.directory, prefix="bundle-")
        self.mounts = self.mount_table()
        self.addCleanup(self.check_leaks)
        self.addCleanup(lambda: self.oci("delete", "--force", self.name, check=False))

    @staticmethod
    def mount_table():
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            return sorted(line.split()[4] for line in f)

    def check_leaks(self):
        self.assertFalse(os.path.exists(f"{ROOT}/{self.name}"), "a directory was left behind")
        groups = [d for d, names, _ in os.walk("/sys/fs/cgroup") if self.name in os.path.basename(d)]
        self.assertEqual(groups, [])
        self.assertEqual(self.mount_table(), self.mounts)

    def config(self, command=("true",), **changes):
        """Writes config.json; "a__b" changes config["a"]["b"]."""
        spec = os.path.join(self.bundle, "config.json")
        if os.path.exists(spec):
            os.unlink(spec)
        subprocess.run(["davit-oci", "spec", "--bundle", self.bundle], check=True)
        with open(spec, encoding="utf-8") as f:
            config = json.load(f)
        config["root"]["path"] = self.rootfs
        config["process"]["terminal"] = False
        config["process"]["args"] = ["sh", "-c", command] if isinstance(command, str) else list(command)
        config["process"]["env"] = ["PATH=/bin"]
        for key, value in changes.items():
            place = config
            *path, last = key.split("__")
            for part in path:
                place = place.setdefault(part, {})
            if callable(value):
                value = value(place.get(last))
            place[last] = value
        with open(spec, "w", encoding="utf-8") as f:
            json.dump(config, f)
        return config

    def oci(self, *arguments, check=True, **options):
        """Runs davit-oci with pipes for its output, which must be closed by all who got them."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("timeout", davit.TIMEOUT)
        done = subprocess.run(["davit-oci", "--root", ROOT, *self.options, *arguments], capture_output=True, text=True,
                              check=False, cwd=self.bundle, **options)
        if check and done.returncode:
            raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def detached(self, *arguments, output=None, **options):
        """Runs davit-oci create or the like, whose output the container keeps: a file here."""
        options.setdefault("stdin", subprocess.DEVNULL)
        with open(output or os.path.join(self.bundle, "output"), "wb") as f:
            done = subprocess.run(["davit-oci", "--root", ROOT, *self.options, *arguments], stdout=f, stderr=f,
                                  check=False, cwd=self.bundle, timeout=davit.TIMEOUT, **options)
        return done.returncode

    def output(self):
        with open(os.path.join(self.bundle, "output"), encoding="utf-8") as f:
            return f.read()

    def create(self, *options):
        self.assertEqual(self.detached("create", *options, self.name), 0, self.output())

    def start(self):
        self.oci("start", self.name)

    def state(self):
        return json.loads(self.oci("state", self.name).stdout)

    def status(self):
        return self.state()["status"]

    def wait_status(self, wanted, timeout=davit.TIMEOUT // 3):
        end = time.monotonic() + timeout
        while self.status() != wanted:
            self.assertLess(time.monotonic(), end, f"is {self.status()}, not {wanted}")
            time.sleep(0.01)

    def wait_output(self, wanted, timeout=davit.TIMEOUT // 3):
        end = time.monotonic() + timeout
        while wanted not in self.output():
            self.assertLess(time.monotonic(), end, self.output())
            time.sleep(0.01)

    def run_it(self, command, **changes):
        """(status, output, errors) of a container run to its end."""
        self.config(command, **changes)
        return result(self.oci("run", self.name, check=False))

    def says(self, command, **changes):
        """What a container writes, which has to end well."""
        status, output, errors = self.run_it(command, **changes)
        self.assertEqual((status, errors), (0, ""), output)
        return output

    def refused(self, text, *arguments, status=1):
        done = self.oci(*arguments, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stdout, "")


class Console:
    """A console socket; the master it was sent."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "console")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(self.path)
        self.sock.listen(1)
        self.sock.settimeout(davit.TIMEOUT // 3)

    def master(self):
        connection, _ = self.sock.accept()
        with connection:
            name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        assert name and len(fds) == 1
        return fds[0]

    def close(self):
        self.sock.close()
