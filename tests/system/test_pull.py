# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulls: from a real registry, with credentials and certificates, and from one that does everything wrong."""

import concurrent.futures
import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import davit
import images
import registry
import test_ctl
import test_ctl_terminal

#: Microseconds; what stalls is given up after that, so that all of it is seen to be.
CONNECT, STALL, RETRIES = 4000000, 4000000, 1


CONFIGURATION = "/etc/davit/davit.conf.d/60-test-pull.conf"


@contextlib.contextmanager
def environment(**variables):
    """Whoever pulls has these variables."""
    drop_in = "/run/systemd/system/davit-registry@.service.d/50-test.conf"
    os.makedirs(os.path.dirname(drop_in), exist_ok=True)
    write(drop_in, "[Service]\n" + "".join(f'Environment="{name}={value}"\n' for name, value in variables.items()))
    davit.systemctl("daemon-reload")
    try:
        yield
    finally:
        shutil.rmtree(os.path.dirname(drop_in))
        davit.systemctl("daemon-reload")


@contextlib.contextmanager
def settings(**keys):
    """davitd restarted with short deadlines and these keys of [Registry]; inside of another one, back to that."""
    keys = {"ConnectTimeoutUSec": CONNECT, "StallTimeoutUSec": STALL, "Retries": RETRIES, **keys}
    before = None
    with contextlib.suppress(FileNotFoundError), open(CONFIGURATION, encoding="utf-8") as f:
        before = f.read()
    os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
    write(CONFIGURATION, "[Registry]\n" + "".join(f"{key}={value}\n" for key, value in keys.items()))
    try:
        davit.restart_davitd()
        yield
    finally:
        if before is None:
            os.unlink(CONFIGURATION)
        else:
            write(CONFIGURATION, before)
        davit.restart_davitd()


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


class PullCase(test_ctl.CtlCase):
    """One real registry, two hostile ones, and short deadlines, for a class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not shutil.which("docker-registry"):
            raise unittest.SkipTest("no docker-registry")
        davit.busybox_image()  # the store is there
        cls.enterClassContext(settings())
        cls.real = registry.Registry()
        cls.addClassCleanup(cls.real.close)

    def setUp(self):
        super().setUp()
        self.pulled = []
        self.addCleanup(self.remove)

    def remove(self):
        for name in self.ctl("image", "ls", "-q").splitlines():
            if name.startswith(("127.0.0.", "registry.test")):
                self.ctl("image", "rm", "-f", "--sync", name, timeout=120)

    def pull(self, *argv, **kwargs):
        """What PullImage's job has told."""
        kwargs.setdefault("timeout", 120)
        return json.loads(self.ctl("pull", "--json", *argv, **kwargs))

    def here(self):
        return self.ctl("image", "ls", "-q").splitlines()

    def busybox(self, *more):
        return registry.Image([images.layer_of(davit.rootfs()), *more], {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]})

    def file_with(self, text):
        f = tempfile.NamedTemporaryFile("w", suffix=".json")  # pylint: disable=consider-using-with
        self.addCleanup(f.close)
        f.write(text)
        f.flush()
        return f.name


class Real(PullCase):
    def test_pull(self):
        """S-G01, S-C04: unpacked, and being there already is fine."""
        image = self.busybox(images.layer([images.entry("new", os.urandom(50000))]))
        name = self.real.push("team/app", "latest", image)
        done = self.pull(name.removesuffix(":latest"))
        self.assertEqual((done["Images"], done["Digest"]), ([name], image.digest))
        self.assertGreaterEqual(done["Fetched"], len(image.blobs[image.layers[-1]]))
        self.assertEqual(self.ctl("run", "--rm", "--pull=never", name, "echo", "from the image"), "from the image")
        self.assertEqual(self.ctl("pull", name), name)
        self.assertIn("up to date", self.stderr)
        self.assertEqual(self.ctl("pull", "-q", name), name)
        self.assertEqual(self.stderr, "")
        self.assertEqual(self.pull(name, "--policy=missing")["Fetched"], 0)
        self.ctl("pull", "--policy=missing", name)  # nobody was asked, so nothing is said of what the registry has
        self.assertIn("is here already", self.stderr)
        shown = json.loads(self.ctl("image", "inspect", name))[0]
        self.assertEqual(shown["Digest"], image.digest)

    def test_run_pulls_what_is_missing(self):
        """S-C03, S-C11: by default, also for a container on a snapshot that is there; never and always do what they say."""
        name = self.real.push("team/missing", "1", self.busybox())
        for verb in ("run", "create"):
            self.refused(verb, "--pull=never", name, status=125 if verb == "run" else 1, contains="There is no image")
        self.assertEqual(self.ctl("run", "--rm", name, "echo", "here", timeout=120), "here")
        self.ctl("image", "rm", "--sync", name, timeout=120)
        key = davit.unique("there")
        snapshot = davit.manager("PrepareSnapshot", "(sssa{sv})", "", key, "", {})
        davit.remove_container(self.ctl("create", f"--snapshot={key}", name, timeout=120))
        davit.call(snapshot, "Snapshot.Delete")
        self.assertIn(name, self.here())
        self.ctl("image", "rm", "--sync", name, timeout=120)
        id = self.ctl("create", name, timeout=120)
        self.addCleanup(davit.remove_container, id)
        new = self.busybox(images.layer([images.entry("new", b"new")]))
        self.real.push("team/missing", "1", new)
        self.assertEqual(self.ctl("run", "--rm", name, "ls", "/new", status=1, timeout=120), "")
        self.assertEqual(self.ctl("run", "--rm", "--pull=always", name, "cat", "/new", timeout=120), "new")
        davit.remove_container(id)

    def test_run_on_a_terminal_and_detached(self):
        name = self.real.push("team/terminal", "1", self.busybox())
        t = test_ctl_terminal.Terminal("run", "--rm", "-t", name, "echo", "on a terminal")
        t.expect(f"there is no image '{name}' here; pulling it")
        t.expect("on a terminal")
        self.assertEqual(t.end()[0], 0)
        self.ctl("image", "rm", "-f", "--sync", name, timeout=120)
        id = self.ctl("run", "-d", name, "sleep", "100", timeout=120)
        davit.remove_container(id)

    def test_what_is_not_there(self):
        self.real.push("team/app", "1", registry.small_image("app"))
        begun = time.time()
        for verb in (["pull"], ["run", "--rm"], ["create"]):
            with self.subTest(verb):
                self.refused(*verb, f"{self.real.host}/team/app:2", status=125 if verb[0] == "run" else 1, contains=self.real.host)
                self.assertIn("team/app:2", self.stderr)
        self.refused("create", f"{self.real.host}/no/such:1", contains="there is no image")
        self.assertIn("cannot be pulled", self.stderr)
        log = davit.journal(since=begun)
        self.assertIn("team/app:2", log)
        self.assertNotIn("was cancelled", log)  # the end of the import, which the registry's error has brought about

    def test_layers_that_are_here_are_not_fetched(self):
        base = images.layer([images.entry("base", os.urandom(3000000))])
        first = registry.Image([base, images.layer([images.entry("first", b"1")])])
        second = registry.Image([base, images.layer([images.entry("second", b"2")])])
        self.pull(self.real.push("team/first", "1", first))
        done = self.pull(self.real.push("team/second", "1", second))
        self.assertEqual(done["Digest"], second.digest)
        self.assertLess(done["Fetched"], 100000)
        self.ctl("image", "export", "-o", "/dev/null", done["Images"][0], timeout=120)

    def test_by_digest(self):
        image, other = registry.small_image("by-digest"), registry.small_image("other")
        self.real.push("team/digest", "1", image)
        name = f"{self.real.host}/team/digest@{image.digest}"
        self.assertEqual(self.pull(name)["Digest"], image.digest)
        self.ctl("create", "--pull=never", "--name", "by-digest", name)
        davit.remove_container("by-digest")
        self.refused("pull", f"{self.real.host}/team/digest@{other.digest}", contains=self.real.host)

    def test_platforms(self):
        mine, other = registry.small_image("mine"), registry.small_image("other")
        digest = self.real.push_index("team/several", "1", {"linux/s390x": other, "linux/amd64": mine})
        name = f"{self.real.host}/team/several:1"
        done = self.pull(name)
        self.assertEqual(done["Digest"], digest)
        self.assertEqual(json.loads(self.ctl("image", "inspect", name))[0]["Digest"], mine.digest)
        self.assertEqual(self.pull(name)["Fetched"], 0)
        self.refused("pull", "--platform=linux/riscv64", name, contains="linux/riscv64")
        # Another platform under the same name, and back; then all of them.
        for platform, wanted in (("linux/s390x", other.digest), ("linux/amd64", mine.digest)):
            self.pull("--platform", platform, name)
            self.assertEqual(json.loads(self.ctl("image", "inspect", name))[0]["Digest"], wanted)
        self.pull("--platform=all", name)
        shown = json.loads(self.ctl("image", "inspect", name))[0]
        self.assertEqual((shown["Digest"], shown["Index"], len(shown["Platforms"])), (mine.digest, digest, 2))
        self.assertEqual(self.pull("--platform=all", name)["Fetched"], 0)
        # One that is for one platform alone is no other's, neither before it is here nor after.
        name = self.real.push("team/single", "1", mine)
        self.refused("pull", "--platform=linux/s390x", name, contains="no image for linux/s390x, but for linux/")
        self.pull(name)
        for each in (name, f"{name}@{mine.digest}"):
            self.pull(each)
            self.refused("pull", "--platform=linux/s390x", each, contains="no image for linux/s390x, but for linux/")
            self.assertEqual(self.pull("--platform=all", each)["Fetched"], 0)

    def test_root_file_system(self):
        """S-G02, S-G03: none is made, or the kind that is asked for; a container makes what is not there."""
        for kind in ("none", "checkout"):
            with self.subTest(kind):
                name = self.real.push(f"team/{kind}", "1", self.busybox(images.layer([images.entry(kind, b"text")])))
                self.ctl("pull", f"--root-filesystem={kind}", name, timeout=120)
                chain = json.loads(self.ctl("image", "inspect", name))[0]["ChainId"]
                self.assertFalse(os.path.exists(f"{davit.STATE}/erofs/{chain[7:]}"))
                self.assertEqual(os.path.exists(f"{davit.STATE}/checkouts/{chain[7:]}"), kind == "checkout")
                self.assertEqual(self.ctl("run", "--rm", name, "cat", "/" + kind), "text")
        self.refused("pull", "--root-filesystem=zfs", f"{self.real.host}/team/none:1", contains="zfs")

    def test_several_and_one_that_fails(self):
        names = [self.real.push(f"team/several-{i}", "1", registry.small_image(f"s{i}")) for i in range(2)]
        missing = f"{self.real.host}/team/no-such:1"
        self.assertEqual(self.ctl("pull", names[0], missing, names[1], status=1).splitlines(), names)
        self.assertIn("team/no-such", self.stderr)
        lines = self.ctl("pull", "--json", names[0], missing, names[1], status=1).splitlines()
        self.assertEqual([json.loads(line)["Images"] for line in lines], [[name] for name in names])

    def test_offline(self):
        """Both facts in one line, at once."""
        begun = time.monotonic()
        self.refused("run", "--rm", "no-such-host.invalid/team/app:1", "true", status=125, contains="there is no image")
        self.assertIn("no-such-host.invalid", self.stderr)
        self.refused("run", "--rm", f"127.0.0.1:{registry.free_port()}/app", "true", status=125, contains="cannot be pulled")
        self.assertLess(time.monotonic() - begun, 10 * davit.TIMEOUT / 30)

    def test_bad_usage(self):
        self.refused("pull", contains="too few arguments")
        self.refused("pull", "Not A Name", contains="Not A Name")
        self.refused("pull", "--policy=sometimes", f"{self.real.host}/a:1", contains="sometimes")
        self.refused("pull", "--limit=bytes", "a:1", contains="bytes")
        nowhere = "sha256:" + "0" * 64
        self.refused("pull", nowhere, contains="say of which repository")
        self.refused("run", nowhere, status=125, contains=f'There is no image "{nowhere}"')
        self.refused("run", nowhere[:20], status=125, contains=f'whose digest begins with "{nowhere[:20]}"')
        self.refused("create", nowhere[:10], contains="too short a part of a digest; give 7 digits")
        self.refused("pull", nowhere[:20], contains="is a part of a digest")
        self.refused("run", "a@" + nowhere[:20], status=125, contains="has to be a whole digest")
        self.refused("login", contains="podman login")
        self.refused("push", "a:1", contains="skopeo copy")
        self.refused("run", "--pull=sometimes", "a:1", status=125, contains="sometimes")
        self.refused("pull", "--creds-stdin", "a:1", "b:1", contains="one image")
        self.refused("pull", "--authfile=/does/not/exist", "a:1", contains="/does/not/exist")
        self.refused("pull", "--authfile", self.file_with("user:password"), "a:1", contains="not JSON")
        self.refused("pull", "--creds-stdin", "a:1", input="no colon\n", contains="USER:PASSWORD")

    def test_limits(self):
        name = self.real.push("team/large", "1", registry.small_image("large", size=200000))
        self.refused("pull", "--limit=bytes=100k", name, contains="102400")
        self.assertNotIn(name, self.here())


class Credentials(PullCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.closed = registry.Registry(auth=True)
        cls.addClassCleanup(cls.closed.close)
        cls.hostile, cls.other = registry.Hostile(), registry.Hostile("127.0.0.2")
        cls.hostile.other = cls.other
        cls.addClassCleanup(cls.other.close)
        cls.addClassCleanup(cls.hostile.close)

    def auth_file(self, host, auth=None, **more):
        return self.file_with(json.dumps({"auths": {host: {"auth": auth or registry.basic()}}, **more}))

    def test_basic(self):
        image = registry.small_image("closed")
        name = self.closed.push("team/closed", "1", image)
        self.ctl("pull", name, status=1)
        self.assertIn("no credentials for " + self.closed.host, self.stderr)
        self.assertEqual(self.pull("--authfile", self.auth_file(self.closed.host), name)["Digest"], image.digest)
        environment = {**os.environ, "REGISTRY_AUTH_FILE": self.auth_file(f"https://{self.closed.host}/v2/")}
        self.assertEqual(self.pull(name, env=environment)["Fetched"], 0)
        self.assertEqual(self.pull("--creds-stdin", name, input=f"{registry.USER}:{registry.PASSWORD}\n")["Fetched"], 0)
        child = subprocess.Popen(["davitctl", "pull", "-q", "--creds-stdin", name], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
        child.stdin.write(f"{registry.USER}:{registry.PASSWORD}\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline(), name + "\n")  # a line is enough
        child.communicate(timeout=davit.TIMEOUT)
        refused = f"davitctl: {self.closed.host} does not accept the credentials"
        for wrong in (registry.basic(password="other"), registry.basic(user="nobody")):
            file = self.auth_file(self.closed.host, wrong)
            self.ctl("pull", "--authfile", file, name, status=1)
            self.assertIn(refused, self.stderr)
            self.assertIn(f"the credentials for {self.closed.host} are those of {file}\n", self.stderr)
        self.ctl("pull", "--creds-stdin", name, input="nobody:nothing\n", status=1)
        self.assertIn(refused, self.stderr)
        self.assertIn("those of standard input", self.stderr)
        self.ctl("pull", "--authfile", self.file_with(json.dumps({"credsStore": "desktop"})), name, status=1)
        self.assertIn("docker-credential-desktop", self.stderr)

    def test_run_with_credentials(self):
        name = self.closed.push("team/closed-run", "1", self.busybox())
        file = self.auth_file(self.closed.host)
        self.ctl("run", "--rm", name, "true", status=125)
        self.assertIn("cannot be pulled", self.stderr)
        self.ctl("run", "--rm", "--authfile", file, name, "true", timeout=120)

    def test_nothing_is_told(self):
        """Neither the journal nor the bus, nor the command line of anything, holds the password."""
        name = self.closed.push("team/secret", "1", registry.small_image("secret"))
        begun = time.time()
        with davit.Signals() as signals:
            self.ctl("pull", "--authfile", self.auth_file(self.closed.host), name, timeout=120)
            self.assertNotIn(registry.PASSWORD, repr(signals.seen))
        log = davit.journal(since=begun - 1)
        for secret in (registry.PASSWORD, registry.basic()):
            self.assertNotIn(secret, log)

    def test_token(self):
        name = self.hostile.name("bearer")
        self.ctl("pull", name, status=1)
        self.assertIn(self.hostile.host, self.stderr)
        self.pull("--authfile", self.auth_file(self.hostile.host), name)
        asked = self.hostile.seen("/token")
        self.assertIn("service=test", asked[-1][1])
        self.assertEqual([h.get("Authorization") for _, _, h in self.hostile.seen("/bearer/blobs")][0],
                         "Bearer token-of-" + registry.USER)
        self.pull("--authfile", self.auth_file(self.hostile.host), self.hostile.name("basic"))

    def shown_to(self, host):
        return [h for _, _, h in host.seen() if "Authorization" in h or registry.PASSWORD in repr(h)]

    def test_only_to_their_host(self):
        """A foreign token service, a redirect and another registry are shown nothing."""
        file = self.auth_file(self.hostile.host)
        self.ctl("pull", "--authfile", file, self.hostile.name("foreign-realm"), status=1)
        self.assertIn(self.other.host, self.stderr)
        self.assertEqual(self.shown_to(self.other), [])
        # The layers of a repository that wants credentials lie elsewhere.
        before = len(self.other.seen("/files/"))
        self.pull("--authfile", file, self.hostile.name("closed-redirect"))
        self.assertIn("Authorization", self.hostile.seen("/closed-redirect/blobs/")[-1][2])
        self.assertGreater(len(self.other.seen("/files/")), before)
        self.assertEqual(self.shown_to(self.other), [])
        self.ctl("pull", "--authfile", file, self.other.name("basic"), status=1)
        self.assertEqual(self.shown_to(self.other), [])


class Tls(PullCase):
    """A name that is no loopback address has to be asked by TLS."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = f"{davit.FIXTURES}/{davit.unique('tls')}"
        os.mkdir(cls.directory)
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.ca, *pair = registry.certificates(cls.directory, "registry.test", "127.0.0.1")
        with open("/etc/hosts", encoding="utf-8") as f:
            before = f.read()
        write("/etc/hosts", before + "127.0.0.1 registry.test a.registry.test\n")
        cls.addClassCleanup(write, "/etc/hosts", before)
        cls.secure = registry.Registry("registry.test", tls=pair)
        cls.addClassCleanup(cls.secure.close)
        cls.hostile, cls.other = registry.Hostile(name="registry.test", tls=pair), registry.Hostile(name="registry.test")
        cls.hostile.other = cls.other
        cls.addClassCleanup(cls.other.close)
        cls.addClassCleanup(cls.hostile.close)

    def trust(self, host):
        directory = f"/etc/davit/certs.d/{host}"
        os.makedirs(directory)
        self.addCleanup(shutil.rmtree, directory)
        shutil.copy(self.ca, directory + "/ca.crt")

    def test_certificate(self):
        image = registry.small_image("secure")
        name = self.secure.push("team/secure", "1", image)
        self.refused("pull", name, contains=self.secure.host)
        self.assertRegex(self.stderr, "certificate")
        self.trust(self.secure.host)
        self.assertEqual(self.pull(name)["Digest"], image.digest)

    def test_plain(self):
        """Plain HTTP only to loopback addresses and to whom the configuration names."""
        name = self.other.name("team/plain")
        self.refused("pull", name, contains="registry.test")
        self.assertEqual(self.other.seen(), [])
        with settings(Insecure=self.other.host):
            self.pull(name)

    def test_plain_is_for_one_host(self):
        """A password does not go in the clear to the domain of a registry with which plain HTTP is allowed."""
        hostile = registry.Hostile(name="a.registry.test")
        self.addCleanup(hostile.close)
        file = self.file_with(json.dumps({"auths": {hostile.host: {"auth": registry.basic()}}}))
        with settings(Insecure=hostile.host):
            self.ctl("pull", "--authfile", file, hostile.name("parent-realm"), status=1)
        self.assertIn("TokenHosts=", self.stderr)

    def test_no_way_back_to_plain(self):
        self.trust(self.hostile.host)
        self.pull(self.hostile.name("team/good"))
        begun = len(self.other.seen())
        self.refused("pull", self.hostile.name("downgrade"), contains=self.hostile.host)
        self.assertEqual(len(self.other.seen()), begun)


class Hostile(PullCase):
    """Each way to misbehave ends soon, with an error of its own, and nothing is left; the next pull works."""

    time_limit = 180

    #: Repository -> what the error says.
    BAD = {
        "silent": "within", "slow-headers": "within", "slow-body": "bytes came within", "endless-manifest": "larger than 4194304 bytes",
        "endless-layer": "of which there are", "huge-headers": "headers are larger", "redirect-loop": "redirects more than",
        "truncated": "closed", "short": "of which there are", "long-length": "of which there are",
        "other-bytes": "with another digest", "garbage-after": "of which there are", "gzip-bomb": "larger than",
        "gzip-twice": "encoding that was not asked for",
        "not-json": "not valid JSON", "missing": "has no 'missing:1'", "forbidden": "credentials",
        "busy": "try again in 3600 seconds", "down": "503",
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hostile, cls.other = registry.Hostile(), registry.Hostile("127.0.0.2")
        cls.hostile.other = cls.other
        cls.addClassCleanup(cls.other.close)
        cls.addClassCleanup(cls.hostile.close)

    def attempt(self, way):
        begun = time.monotonic()
        done = davit.ctl("pull", "-q", self.hostile.name(way), timeout=100)
        return way, done, time.monotonic() - begun

    def test_each(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(self.attempt, self.BAD))
        for way, done, took in results:
            with self.subTest(way):
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertRegex(done.stderr, r"\Adavitctl: [^\n]+\n")
                self.assertIn(self.BAD[way], done.stderr)
                self.assertIn(self.hostile.host, done.stderr)
                self.assertLess(took, 60)
        self.assertLess(self.hostile.sent, 256 << 20)
        self.assertEqual([n for n in self.here() if n.startswith(self.hostile.host)], [])
        self.assertEqual(self.pull(self.hostile.name("good"))["Images"], [self.hostile.name("good")])

    def test_other_manifest(self):
        digest = self.hostile.image("other-manifest").digest
        self.refused("pull", f"{self.hostile.host}/other-manifest@{digest}", contains=digest[:12])

    def test_not_to_this_machine(self):
        """A registry elsewhere leads to nobody who listens on loopback: not with a layer, not for a token."""
        address = "198.51.100.7"
        davit.run("ip", "address", "add", address + "/32", "dev", "lo")
        self.addCleanup(davit.run, "ip", "address", "del", address + "/32", "dev", "lo")
        far = registry.Hostile(address)
        self.addCleanup(far.close)
        far.other = self.other
        begun = len(self.other.seen())
        with settings(Insecure=far.host):
            for way in ("redirect-other", "foreign-realm"):
                self.refused("pull", far.name(way), contains="it is this machine")
                self.assertIn(self.other.host, self.stderr)
            self.assertEqual(self.other.seen()[begun:], [])
            with environment(http_proxy="http://192.0.2.1:3128", no_proxy=f"{address},127.0.0.2"):
                self.refused("pull", far.name("redirect-other"), contains="it is this machine")
            self.assertEqual(self.other.seen()[begun:], [])
            for variables in ({"http_proxy": self.proxy()}, {}):
                far.other = far if not variables else self.other
                with environment(**variables):
                    self.ctl("pull", "-q", far.name("redirect-other"), timeout=120)
                self.ctl("image", "rm", "-f", "--sync", far.name("redirect-other"), timeout=120)

    def proxy(self):
        """One on this machine, which is asked for everything."""
        class Proxy(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                there = http.client.HTTPConnection(url.netloc)
                there.request("GET", url.path, headers=dict(self.headers))
                answer = there.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.read())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def test_what_can_be_borne(self):
        """A cut connection goes on where it was, a registry that was busy is asked again, layers may lie elsewhere."""
        for way in ("cut-once", "busy-once", "redirect-other", "gzipped"):
            with self.subTest(way):
                done = self.pull(self.hostile.name(way))
                self.assertEqual(done["Digest"], self.hostile.image(way).digest)
        ranges = [h["Range"] for _, _, h in self.hostile.seen("/cut-once/blobs") if "Range" in h]
        self.assertTrue(ranges)

    def test_cancel(self):
        """S-G01: ctrl-c ends it at once, and so do a signal, a caller that is gone, and the end of the manager."""
        t = test_ctl_terminal.Terminal("pull", self.hostile.name("slow-body"))
        davit.wait_until(lambda: self.hostile.seen("/slow-body/blobs"), what="the request")
        t.type("\x03")
        t.expect("the pull was cancelled, nothing of it is left")
        self.assertEqual(t.end()[0], 130)
        with settings(StallTimeoutUSec=60000000):
            for name in ("slow-body", "silent"):
                child = subprocess.Popen(["davitctl", "pull", self.hostile.name(name)], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                count = len(self.hostile.seen(f"/{name}/"))
                davit.wait_until(lambda n=name, c=count: len(self.hostile.seen(f"/{n}/")) > c, what="the request")
                begun = time.monotonic()
                child.send_signal(signal.SIGTERM)
                _, errors = child.communicate(timeout=davit.TIMEOUT)
                self.assertEqual((child.returncode, errors),
                                 (130, "davitctl: the pull was cancelled, nothing of it is left\n"))
                self.assertLess(time.monotonic() - begun, 5)

    def test_cancel_of_a_run(self):
        """A signal while run waits for the image ends run, and there is no container."""
        id = davit.unique("pull")
        child = subprocess.Popen(["davitctl", "run", "--rm", "--name", id, self.hostile.name("run/silent"), "true"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        davit.wait_until(lambda: self.hostile.seen("/run/silent/"), what="the request")
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=davit.TIMEOUT)
        self.assertEqual((child.returncode, errors), (130, "davitctl: the pull was cancelled, nothing of it is left\n"))
        self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)

    def test_killed_workers(self):
        """The fetcher or the manager gone: an error, nothing left, the next pull works."""
        with settings(StallTimeoutUSec=60000000):
            for victim in ("davit-registry@*.service", "davitd.service"):
                with self.subTest(victim):
                    child = subprocess.Popen(["davitctl", "pull", self.hostile.name("slow-body")], stdin=subprocess.DEVNULL,
                                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    count = len(self.hostile.seen("/slow-body/blobs"))
                    davit.wait_until(lambda c=count: len(self.hostile.seen("/slow-body/blobs")) > c, what="the request")
                    davit.systemctl("kill", "-s", "KILL", victim)
                    _, errors = child.communicate(timeout=davit.TIMEOUT)
                    self.assertEqual(child.returncode, 1, errors)
                    davit.start_davitd()
        self.pull(self.hostile.name("after"))


if __name__ == "__main__":
    unittest.main()
