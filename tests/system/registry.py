# SPDX-License-Identifier: LGPL-2.1-or-later
"""Registries for tests of pulls, on loopback: a real docker-registry, and one of our own that misbehaves, one way a
repository. Both are ended and removed with the test class that started them."""

import base64
import gzip
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.parse

import davit
import images

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
USER, PASSWORD = "somebody", "se:cret"
#: What `htpasswd -B` writes for them; docker-registry takes nothing but bcrypt.
HTPASSWD = USER + ":$2b$04$/055caZ.jRyde8Tbt0eVXuH8smXnkVMhBBdH/1H9PypHaAZTZE9re\n"


class Image:
    """An image as a registry has it: its blobs by digest, and its manifest."""

    def __init__(self, layers, settings=None, **kwargs):
        files = dict(images.oci_files(layers, settings=settings, **kwargs))
        self.digest = json.loads(files["index.json"])["manifests"][0]["digest"]
        self.blobs = {"sha256:" + n.rpartition("/")[2]: data for n, data in files.items() if n.startswith("blobs/")}
        self.manifest = self.blobs.pop(self.digest)
        described = json.loads(self.manifest)
        self.config = described["config"]["digest"]
        self.layers = [layer["digest"] for layer in described["layers"]]

    def size(self):
        return len(self.manifest) + sum(len(b) for b in self.blobs.values())


def small_image(name, size=20000, layers=2):
    """An image of a few files that no other has."""
    return Image([images.layer([images.entry(f"{name.replace('/', '-')}-{i}", os.urandom(size))]) for i in range(layers)],
                 {"Cmd": ["/bin/true"]})


def free_port(address="127.0.0.1"):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def certificates(directory, *names):
    """A CA of our own and a certificate by it for these names. Returns the paths of CA, certificate and key."""
    ca, ca_key, cert, key, request = (f"{directory}/{n}" for n in ("ca.crt", "ca.key", "host.crt", "host.key", "host.csr"))
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    davit.run(*new, "-x509", "-days", "2", "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", ca)
    davit.run(*new, "-subj", "/CN=registry", "-keyout", key, "-out", request)
    with open(f"{directory}/extensions", "w", encoding="utf-8") as f:
        f.write("subjectAltName=" + ",".join(("IP:" if n[0].isdigit() else "DNS:") + n for n in names) + "\n")
    davit.run("openssl", "x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
              "-extfile", f"{directory}/extensions", "-out", cert)
    return ca, cert, key


class Registry:
    """A real docker-registry. tls: (certificate, key); auth: whether it wants USER and PASSWORD."""

    def __init__(self, host="127.0.0.1", tls=None, auth=False):
        self.directory = f"{davit.FIXTURES}/{davit.unique('registry')}"
        os.makedirs(self.directory)
        self.port = free_port()
        self.host = f"{host}:{self.port}"
        self.tls, self.auth = tls, auth
        config = {"version": 0.1, "log": {"level": "warn", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": f"{self.directory}/data"}},
                  "http": {"addr": f"127.0.0.1:{self.port}"}}
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
        if auth:
            with open(f"{self.directory}/htpasswd", "w", encoding="utf-8") as f:
                f.write(HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "test", "path": f"{self.directory}/htpasswd"}}
        with open(f"{self.directory}/config.yml", "w", encoding="utf-8") as f:
            json.dump(config, f)
        with open(f"{self.directory}/log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", f"{self.directory}/config.yml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        davit.wait_until(self._answers, what="docker-registry")

    def _answers(self):
        if self.process.poll() is not None:
            with open(f"{self.directory}/log", encoding="utf-8") as f:
                raise AssertionError("docker-registry ended: " + f.read()[-2000:])
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def request(self, method, path, body=None, **headers):
        """One request; (status, headers, body)."""
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=davit.TIMEOUT)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=davit.TIMEOUT)
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        if self.auth:
            headers["Authorization"] = "Basic " + basic()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def _put(self, expected, *args, **kwargs):
        status, headers, body = self.request(*args, **kwargs)
        if status != expected:
            raise AssertionError(f"docker-registry: {args[:2]}: {status} {body}")
        return headers

    def push_blob(self, repository, data):
        where = self._put(202, "POST", f"/v2/{repository}/blobs/uploads/")["Location"]
        parts = urllib.parse.urlsplit(where)
        query = parts.query + ("&" if parts.query else "") + "digest=" + images.digest(data)
        self._put(201, "PUT", f"{parts.path}?{query}", data, Content_Type="application/octet-stream")

    def push_manifest(self, repository, tag, data, kind=MANIFEST):
        self._put(201, "PUT", f"/v2/{repository}/manifests/{tag}", data, Content_Type=kind)

    def push(self, repository, tag, image):
        """An Image, under a tag or its digest. Returns its whole name."""
        for blob in image.blobs.values():
            self.push_blob(repository, blob)
        self.push_manifest(repository, tag, image.manifest)
        return f"{self.host}/{repository}:{tag}"

    def push_index(self, repository, tag, platforms):
        """An index of {"os/arch[/variant]": Image}. Returns its digest."""
        described = []
        for name, image in platforms.items():
            self.push(repository, image.digest, image)
            parts = dict(zip(("os", "architecture", "variant"), name.split("/")))
            described.append({"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": parts})
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": described}).encode()
        self.push_manifest(repository, tag, data, INDEX)
        return images.digest(data)

    def close(self):
        self.process.terminate()
        self.process.wait(davit.TIMEOUT)
        shutil.rmtree(self.directory)


def basic(user=USER, password=PASSWORD):
    """What follows "Basic " and what the files of docker and podman have as "auth"."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a Hostile. What is asked for is answered rightly unless the repository's way is another."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data):
        """Bytes as they are; the connection ends after the request."""
        self.close_connection = True
        self.wfile.write(data)
        self.wfile.flush()

    def drip(self, data, pause=0.5):
        """The same bytes again and again, until the other end or the test has had enough."""
        self.close_connection = True
        while not self.server.stopping.wait(pause):
            self.wfile.write(data)
            self.wfile.flush()

    def do_GET(self):
        host, path = self.server.hostile, urllib.parse.urlsplit(self.path)
        parts = path.path.strip("/").split("/")
        with host.lock:
            host.requests.append((self.command, self.path, dict(self.headers)))
        try:
            if path.path == "/token":
                self.token()
            elif parts[0] == "files":
                self.answer(200, host.files[parts[1]])
            elif len(parts) < 4:
                self.answer(200, b"{}")
            else:
                self.of_image("/".join(parts[1:-2]), parts[-2], parts[-1])
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_HEAD = do_GET

    def token(self):
        """Only for USER, as docker's token service answers."""
        if self.headers.get("Authorization") != "Basic " + basic():
            self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}')
        else:
            self.answer(200, json.dumps({"token": "token-of-" + USER, "expires_in": 300}).encode())

    def of_image(self, repository, kind, reference):
        host = self.server.hostile
        image = host.image(repository)
        if kind == "manifests":
            what, data, media = "manifest", image.manifest, MANIFEST
        else:
            what, data, media = "layer", image.blobs.get(reference, b""), "application/octet-stream"
            if reference == image.config:
                what = "config"
        way = WAYS.get(repository.rpartition("/")[2])
        if not way or not way(self, what, data):
            self.answer(200, data, Content_Type=media)


# --- ways to misbehave: (handler, "manifest", "config" or "layer", the right bytes) -> whether it has answered ---

def _at(what):
    """For one kind of thing only."""
    def decorate(function):
        def way(handler, kind, data):
            if kind != what:
                return False
            function(handler, data)
            return True
        return way
    return decorate


def _status(status, body=b"", **headers):
    return _at("manifest")(lambda h, data: h.answer(status, body, **headers))


@_at("manifest")
def silent(h, _data):
    h.close_connection = True
    h.server.stopping.wait()


@_at("manifest")
def slow_headers(h, _data):
    h.raw(b"HTTP/1.1 200 OK\r\n")
    h.drip(b"X-More: header\r\n")


@_at("layer")
def slow_body(h, data):
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
    h.drip(b"x")


def _endless(h):
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Type: " + MANIFEST.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while not h.server.stopping.is_set():
        h.wfile.write(chunk)
        with h.server.hostile.lock:
            h.server.hostile.sent += 65536


@_at("manifest")
def huge_headers(h, _data):
    h.raw(b"HTTP/1.1 200 OK\r\n")
    for _ in range(10240):
        h.raw(b"X-More: " + b"x" * 1000 + b"\r\n")
    h.raw(b"Content-Length: 0\r\n\r\n")


@_at("manifest")
def redirect_loop(h, _data):
    h.answer(307, Location=f"/v2/redirect-loop/manifests/{len(h.server.hostile.requests)}")


def _redirect_layer(h, data, scheme="http"):
    """To the other host, which serves it."""
    other = h.server.hostile.other
    other.files[images.digest(data)] = data
    h.answer(307, Location=f"{scheme}://{other.host}/files/{images.digest(data)}")


@_at("layer")
def truncated(h, data):
    """However often it is asked, and never from the middle."""
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:len(data) // 2])


@_at("layer")
def cut_once(h, data):
    """Goes on where it is asked to."""
    begin = h.headers.get("Range", "")
    if begin.startswith("bytes="):
        at = int(begin[6:].split("-")[0])
        h.answer(206, data[at:], Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")
    else:
        truncated(h, "layer", data)


@_at("layer")
def long_length(h, data):
    h.answer(200, data + b"more")


@_at("layer")
def garbage_after(h, data):
    more = data + b"\0" * 1000
    h.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(more) + more + b"\r\n0\r\n\r\n")


def _gzipped(h, packed, coding="gzip"):
    h.answer(200, packed, Content_Type=MANIFEST, Content_Encoding=coding)


#: Made before anybody waits for it.
BOMB = gzip.compress(b" " * (32 << 20), 1)

def busy_once(h, what, _data):
    first = what == "manifest" and not h.server.hostile.was_busy
    if first:
        h.server.hostile.was_busy = True
        h.answer(429, Retry_After="1")
    return first


def _wants(h, challenge, good):
    """Answers 401 unless the right header came; whether it did."""
    if h.headers.get("Authorization") == good:
        return False
    h.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=challenge)
    return True


def closed_redirect(h, what, data):
    """Wants credentials, and has its layers at the other host."""
    return _wants(h, 'Basic realm="test"', "Basic " + basic()) or _at("layer")(_redirect_layer)(h, what, data)


def _bearer(h, realm):
    return _wants(h, f'Bearer realm="{realm}",service="test",scope="repository:x:pull"', "Bearer token-of-" + USER)


WAYS = {
    "silent": silent,
    "slow-headers": slow_headers,
    "slow-body": slow_body,
    "endless-manifest": _at("manifest")(lambda h, data: _endless(h)),
    "endless-layer": _at("layer")(lambda h, data: _endless(h)),
    "huge-headers": huge_headers,
    "redirect-loop": redirect_loop,
    "redirect-other": _at("layer")(_redirect_layer),
    "downgrade": _at("layer")(_redirect_layer),
    "truncated": truncated,
    "cut-once": cut_once,
    "long-length": long_length,
    "short": _at("layer")(lambda h, data: h.answer(200, data[:-1])),
    "other-bytes": _at("layer")(lambda h, data: h.answer(200, data[:-1] + bytes([data[-1] ^ 1]))),
    "other-manifest": _at("manifest")(lambda h, data: h.answer(200, data + b" ", Content_Type=MANIFEST)),
    "garbage-after": garbage_after,
    "gzipped": _at("manifest")(lambda h, data: _gzipped(h, gzip.compress(data))),
    "gzip-twice": _at("manifest")(lambda h, data: _gzipped(h, gzip.compress(gzip.compress(data)), "gzip, gzip")),
    "gzip-bomb": _at("manifest")(lambda h, _data: _gzipped(h, BOMB)),
    "not-json": _at("manifest")(lambda h, data: h.answer(200, b"<html>", Content_Type=MANIFEST)),
    "missing": _status(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
    "forbidden": _status(403, b'{"errors":[{"code":"DENIED"}]}'),
    "busy": _status(429, Retry_After="3600"),
    "down": _status(503),
    "busy-once": busy_once,
    "closed-redirect": closed_redirect,
    "basic": lambda h, what, data: _wants(h, 'Basic realm="test"', "Basic " + basic()),
    "bearer": lambda h, what, data: _bearer(h, f"http://{h.server.hostile.host}/token"),
    "parent-realm": lambda h, what, data: _bearer(h, "http://registry.test/token"),
    "foreign-realm": lambda h, what, data: _bearer(h, f"http://{h.server.hostile.other.host}/token"),
}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that goes away is what most of these ways are about."""


class Hostile:
    """A registry in which the last word of a repository says how it misbehaves; any other word: not at all."""

    def __init__(self, address="127.0.0.1", name=None, tls=None):
        self.server = Server((address, 0), Handler)
        self.server.hostile, self.server.stopping = self, threading.Event()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"{name or address}:{self.server.server_address[1]}"
        self.lock = threading.Lock()
        self.requests, self.files, self.images, self.sent, self.was_busy, self.other = [], {}, {}, 0, False, None
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def image(self, repository):
        with self.lock:
            if repository not in self.images:
                self.images[repository] = small_image(repository)
            return self.images[repository]

    def name(self, way, tag="1"):
        return f"{self.host}/{way}:{tag}"

    def seen(self, part=""):
        """The requests whose path contains this, as (method, path, headers)."""
        with self.lock:
            return [r for r in self.requests if part in r[1]]

    def close(self):
        self.server.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
