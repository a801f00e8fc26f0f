# SPDX-License-Identifier: LGPL-2.1-or-later
"""davit-oci: hooks of every stage, and what else a configuration may ask for."""

import fcntl
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading
import time

import runtime

#: Runs a command in a session keyring of its own, with a key of that name in it that only who has the keyring can see.
WITH_KEY = """import ctypes, os, sys
call = ctypes.CDLL(None).syscall
assert call(250, 1, None) > 0
key = call(248, b"user", sys.argv[1].encode(), b"x", ctypes.c_size_t(1), -3)
assert key > 0 and call(250, 5, key, 0x3f000000) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Hooks(runtime.RuntimeTest):
    def setUp(self):
        super().setUp()
        self.log = os.path.join(self.bundle, "log")
        self.hook = os.path.join(self.bundle, "hook")
        with open(self.hook, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\nread -r state\necho \"$1 $(readlink /proc/self/ns/mnt) $PWD $E $state\" >>{self.log}\n"
                    "[ \"$1\" != \"$FAIL\" ] || { echo it failed >&2; exit 3; }\n")
        os.chmod(self.hook, 0o755)

    def hooks(self, fail="", stages=("prestart", "createRuntime", "createContainer", "poststart", "poststop")):
        return {stage: [{"path": self.hook, "args": ["hook", stage], "env": ["PATH=/bin:/usr/bin", "E=env", f"FAIL={fail}"]}]
                for stage in stages}

    def ran(self):
        """[(stage, mount namespace, directory, environment, state)]"""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="ascii") as f:
            return [(*line.split(" ", 4)[:4], json.loads(line.split(" ", 4)[4])) for line in f]

    def stages(self):
        return [one[0] for one in self.ran()]

    def test_order_and_state(self):
        self.config(["sleep", "1000"], hooks=self.hooks(), annotations={"k": "v"})
        self.create()
        self.assertEqual(self.stages(), ["prestart", "createRuntime", "createContainer"])
        pid, own = self.state()["pid"], os.readlink("/proc/self/ns/mnt")
        inside = os.readlink(f"/proc/{pid}/ns/mnt")
        for stage, namespace, _, env, state in self.ran():
            self.assertEqual((state["id"], state["status"], state["bundle"]), (self.name, "creating", self.bundle))
            self.assertEqual((state["annotations"], env), ({"k": "v"}, "env"))
            self.assertEqual(namespace, inside if stage == "createContainer" else own)
            self.assertEqual(state["pid"], 1 if stage == "createContainer" else pid)
        self.start()
        self.assertEqual(self.stages()[3:], ["poststart"])
        self.assertEqual(self.ran()[3][4]["status"], "running")
        self.oci("delete", "--force", self.name)
        self.assertEqual(self.stages()[4:], ["poststop"])
        self.assertEqual(self.ran()[4][4]["status"], "stopped")

    def test_run(self):
        self.assertEqual(self.run_it("echo container", hooks=self.hooks()), (0, "container\n", ""))
        self.assertEqual(self.stages(), ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])

    def test_failure_before_the_start_undoes_everything(self):
        for i, stage in enumerate(("prestart", "createRuntime", "createContainer")):
            with self.subTest(stage):
                self.config(hooks=self.hooks(stage))
                self.refused(f"{stage} hook 0 ({self.hook}): exit status 3: it failed", "create", self.name)
                self.assertEqual(self.stages()[-1], "poststop")
                self.assertEqual(self.stages().count("poststart"), 0)
                self.refused("does not exist", "state", self.name)
                self.assertEqual(self.stages()[-2 - i:-1], ["prestart", "createRuntime", "createContainer"][:i + 1])

    def test_failure_of_poststart_stops_the_container(self):
        self.config(["sleep", "1000"], hooks=self.hooks("poststart"))
        self.create()
        self.refused("poststart hook 0", "start", self.name)
        self.assertEqual(self.status(), "stopped")
        self.oci("delete", self.name)
        self.assertEqual(self.stages()[-1], "poststop")

    def test_failure_of_poststop_is_a_warning(self):
        self.config(hooks=self.hooks("poststop"))
        done = self.oci("run", self.name)
        self.assertIn("warning: poststop hook 0", done.stderr)
        self.assertEqual(self.oci("--log-level", "error", "run", self.name).stderr, "")

    def test_every_poststop_hook_is_run(self):
        """Whatever became of those before it."""
        hook = lambda fail: self.hooks(fail, ["poststop"])["poststop"]
        self.config(hooks={"poststop": hook("poststop") + hook("") + hook("poststop")})
        done = self.oci("run", self.name)
        self.assertEqual(self.stages(), ["poststop"] * 3)
        self.assertEqual([line.split(" (")[0] for line in done.stderr.splitlines()],
                         [f"davit-oci: warning: poststop hook {i}" for i in (0, 2)])

    def test_timeout(self):
        self.config(hooks={"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]})
        begun = time.monotonic()
        self.refused("Connection timed out", "create", self.name)
        self.assertLess(time.monotonic() - begun, 5)

    def test_program_that_is_not_there(self):
        self.config(hooks={"prestart": [{"path": "/nonexistent/hook"}]})
        self.refused("No such file or directory", "create", self.name)

    def test_start_container(self):
        """Of the container's programs, in the container, as the last thing before its own."""
        hook = [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/tmp/state"]}]
        self.config("echo program; cat /tmp/state", hooks={"startContainer": hook})
        self.create()
        self.assertEqual(self.output(), "")
        self.start()
        self.wait_output("}")
        self.assertTrue(self.output().startswith("program\n"), self.output())
        self.assertEqual(json.loads(self.output().split("\n", 1)[1])["status"], "created")
        self.wait_status("stopped")
        self.oci("delete", self.name)
        self.config(hooks={"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 9"]}]})
        self.create()
        self.refused("startContainer hook 0 (/bin/sh): exit status 9", "start", self.name)
        self.assertEqual(self.status(), "stopped")

    def test_hooks_see_the_mounted_root(self):
        """What a createContainer hook mounts below root.path is in the container."""
        os.makedirs(os.path.join(self.rootfs, "mnt/hook"), exist_ok=True)
        script = f"mount -t tmpfs hook {self.rootfs}/mnt/hook; echo of hook >{self.rootfs}/mnt/hook/file"
        self.assertEqual(self.says("cat /mnt/hook/file", root__readonly=False, hooks={"createContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]}), "of hook\n")

    def test_refused(self):
        self.config(hooks={"prestart": [{"path": "relative"}]})
        self.refused("hooks.prestart[0].path", "create", self.name)
        self.config(hooks={"prestart": [{"args": ["x"]}]})
        self.refused("hooks.prestart[0].path", "create", self.name)


class Fields(runtime.RuntimeTest):
    def test_relative_paths_begin_at_the_bundle(self):
        with open(os.path.join(self.bundle, "file"), "w", encoding="ascii") as f:
            f.write("of bundle\n")
        os.symlink(self.rootfs, os.path.join(self.bundle, "root"))
        self.assertEqual(self.says("cat /tmp/file", root__path="root", mounts=lambda m: m + [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/tmp/file", "source": "file", "options": ["bind", "ro"]}]), "of bundle\n")

    def test_scheduler_and_io_priority(self):
        script = "cut -d' ' -f19 /proc/self/stat; ionice -p $$"
        self.assertEqual(self.says(script, process__scheduler={"policy": "SCHED_BATCH", "nice": 7},
                                   process__ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}),
                         "7\nbest-effort: prio 6\n")

    def test_memory_policy(self):
        script = "head -n1 /proc/self/numa_maps | cut -d' ' -f2"
        self.assertEqual(self.says(script, linux__memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}), "bind:0\n")
        policy = {"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
        self.assertEqual(self.says(script, linux__memoryPolicy=policy), "interleave=static:0\n")
        status, _, errors = self.run_it("true", linux__memoryPolicy={"mode": "MPOL_BIND", "nodes": "4095"})
        self.assertEqual(status, 1)
        self.assertIn("linux.memoryPolicy", errors)

    def test_cpus_of_an_exec(self):
        cpu = str(max(os.sched_getaffinity(0)))
        self.config(["sleep", "1000"], process__execCPUAffinity={"initial": "0", "final": cpu})
        self.assertEqual(self.detached("run", "--detach", self.name), 0, self.output())
        show = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status /proc/1/status | cut -f2"]
        mine, first = self.oci("exec", self.name, *show).stdout.split()
        self.assertEqual(mine, cpu)
        path = os.path.join(self.bundle, "process.json")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"args": show, "env": ["PATH=/bin"], "cwd": "/", "execCPUAffinity": {"initial": "0"}}, f)
        self.assertEqual(self.oci("exec", "--process", path, self.name).stdout.split(), [first, first])

    def test_personality(self):
        self.assertEqual(self.says("uname -m", linux__personality={"domain": "LINUX32"}), "i686\n")

    def test_time_offsets(self):
        with open("/proc/uptime", encoding="ascii") as f:
            uptime = float(f.read().split()[0])
        inside = float(self.says("cut -d' ' -f1 /proc/uptime", linux__timeOffsets={"boottime": {"secs": 1000000}},
                                 linux__namespaces=lambda n: n + [{"type": "time"}]))
        self.assertAlmostEqual(inside - uptime, 1000000, delta=30)

    def test_capabilities_that_cannot_be_had_are_left_out(self):
        """With a warning in the log, which is standard error where there is none (config.md, "Linux Process")."""
        with open("/proc/self/status", encoding="ascii") as f:
            have = int(re.search(r"^CapPrm:\s*(\w+)", f.read(), re.M).group(1), 16)
        missing = [name for name, bit in (("CAP_SYS_RESOURCE", 24), ("CAP_NO_SUCH_THING", 63)) if not have >> bit & 1]
        warning = f"capabilities that are unknown or cannot be granted are left out: {', '.join(missing)}"
        caps = ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_NO_SUCH_THING"]
        changes = {"process__capabilities": {s: caps for s in ("bounding", "effective", "permitted")}}
        status, text, errors = self.run_it("grep CapEff /proc/self/status", **changes)
        self.assertEqual((status, int(text.split()[1], 16) & 1, errors), (0, 1, f"davit-oci: warning: {warning}\n"))
        log = os.path.join(self.bundle, "log")
        done = self.oci("--log", log, "--log-format", "json", "run", self.name)
        with open(log, encoding="utf-8") as f:
            line = json.loads(f.read())
        self.assertEqual((line["level"], line["msg"], done.stderr), ("warning", warning, ""))
        self.assertEqual(self.oci("--log-level", "error", "run", self.name).stderr, "")

    def test_unknown_capabilities_of_an_exec(self):
        """In a file they are left out with a warning; what somebody has typed is refused."""
        self.config(["sleep", "1000"])
        self.create()
        self.start()
        self.refused('--cap: unknown capability "BOGUS"', "exec", "--cap", "CAP_CHOWN", "--cap", "BOGUS", self.name, "true",
                     status=2)
        path = os.path.join(self.bundle, "process.json")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "capabilities": {"bounding": ["CAP_BOGUS", "chown"]}}, f)
        self.assertEqual(self.oci("exec", "--process", path, self.name).stderr,
                         "davit-oci: warning: capabilities that are unknown or cannot be granted are left out: CAP_BOGUS, chown\n")
        done = self.oci("exec", "--cap", "fowner", self.name, "grep", "CapEff", "/proc/self/status")
        self.assertEqual((int(done.stdout.split()[1], 16) >> 3 & 1, done.stderr), (1, ""))

    def test_nothing_is_filled_in(self):
        self.assertEqual(sorted(self.says(["env"], hostname="").split()), ["HOME=/root", "PATH=/bin"])

    def test_listen_fds(self):
        self.config("echo $LISTEN_FDS $LISTEN_PID; cat <&3; ls /proc/self/fd")
        with open(os.path.join(self.bundle, "file"), "w", encoding="ascii") as f:
            f.write("of file\n")
        command = f"exec 3<file; LISTEN_FDS=1 davit-oci --root {runtime.ROOT} run {self.name}"
        done = subprocess.run(["bash", "-c", command], cwd=self.bundle, capture_output=True, text=True, check=True,
                              stdin=subprocess.DEVNULL, timeout=30)
        self.assertEqual(done.stdout.split("\n")[:2], ["1 1", "of file"])

    def test_no_pivot(self):
        self.config("ls -d /bin /proc/1")
        self.assertEqual(self.oci("run", "--no-pivot", self.name).stdout, "/bin\n/proc/1\n")

    def test_no_pivot_hides_procfs_of_the_host(self):
        """Else who makes a user namespace in the container gets a procfs of which nothing is masked."""
        self.config("unshare -Urmpf mount -t proc proc /proc 2>&1", annotations={})
        for option in ((), ("--no-pivot",)):
            done = self.oci("run", *option, self.name, check=False)
            self.assertNotEqual(done.returncode, 0, option)
            self.assertIn("mount", done.stdout)

    def test_keyring(self):
        """The session keyring is an empty one of the container's own, unless that is not wanted."""
        self.config("cat /proc/keys", linux__maskedPaths=[], process__capabilities=None)
        for options, seen in (((), False), (("--no-new-keyring",), True)):
            done = subprocess.run(["python3", "-c", WITH_KEY, self.name, "davit-oci", "--root", runtime.ROOT, "run", *options,
                                   self.name], check=True, cwd=self.bundle, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=30)
            self.assertEqual(self.name in done.stdout, seen, done.stdout)

    def test_user_namespace(self):
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        os.chmod(self.directory, 0o755)
        os.chmod(self.bundle, 0o755)
        self.assertEqual(self.says("id -u; cat /proc/self/uid_map | tr -s ' '", linux__uidMappings=maps,
                                   linux__gidMappings=maps, linux__namespaces=lambda n: n + [{"type": "user"}]),
                         "0\n 0 100000 65536\n")

    def test_user_namespace_by_path(self):
        """As the containers of a pod have one; the network is the host's to give."""
        for directory in (self.directory, self.bundle):
            os.chmod(directory, 0o755)
        owner = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
        net = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        self.addCleanup(lambda: [(p.kill(), p.wait()) for p in (owner, net)])
        self.wait_until(lambda: os.readlink(f"/proc/{net.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        self.wait_until(lambda: os.readlink(f"/proc/{owner.pid}/ns/user") != os.readlink("/proc/self/ns/user"))
        for name in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{owner.pid}/{name}").write_text("0 100000 65536", encoding="ascii")
        script = "id -u; readlink /proc/self/ns/user; readlink /proc/self/ns/net; cat /proc/self/uid_map | tr -s ' '; ls -l /dev/null"
        self.config(["sh", "-c", f"{script}; exec sleep 1000"],
                    mounts=lambda m: [x for x in m if "/sys" not in x["destination"]],
                    linux__namespaces=lambda n: [x for x in n if x["type"] != "network"] + [
                        {"type": "user", "path": f"/proc/{owner.pid}/ns/user"},
                        {"type": "network", "path": f"/proc/{net.pid}/ns/net"}])
        self.assertEqual(self.detached("run", "--detach", self.name), 0, self.output())
        self.wait_output("/dev/null")
        expected = ["0", os.readlink(f"/proc/{owner.pid}/ns/user"), os.readlink(f"/proc/{net.pid}/ns/net"), " 0 100000 65536"]
        self.assertEqual(self.output().splitlines()[:4], expected)
        self.assertEqual(self.oci("exec", self.name, "sh", "-c", script).stdout.splitlines()[:4], expected)

    def wait_until(self, true):
        end = time.monotonic() + 10
        while not true():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_idmapped_mount(self):
        source = os.path.join(self.bundle, "source")
        os.makedirs(source)
        with open(os.path.join(source, "file"), "w", encoding="ascii"):
            pass
        os.chown(os.path.join(source, "file"), 5, 6)
        maps = lambda inside: [{"containerID": inside, "hostID": 700, "size": 1}]
        text = self.says("stat -c '%u %g' /mnt/file", mounts=lambda m: m + [
            {"destination": "/mnt", "source": source, "type": "bind", "options": ["bind"], "uidMappings": maps(5),
             "gidMappings": maps(6)}])
        self.assertEqual(text, "700 700\n")

    def test_seccomp(self):
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
        self.assertIn("not supported", self.says("mkdir /tmp/x 2>&1; true", linux__seccomp=profile,
                                                  root__readonly=False))

    def test_device(self):
        device = {"path": "/dev/mine", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 3, "gid": 4}
        self.assertEqual(self.says("stat -c '%a %u %g %t %T' /dev/mine", linux__devices=[device]), "640 3 4 1 7\n")

    def test_update_of_the_configuration_has_no_effect(self):
        self.config("echo first; exec sleep 1000")
        self.create()
        self.config("echo second")
        self.start()
        self.wait_output("first")
        self.assertEqual(self.oci("exec", self.name, "sh", "-c", "echo $PATH").stdout, "/bin\n")


class Listener(runtime.RuntimeTest):
    """A seccomp filter that asks: the descriptor and the state reach the socket, and the answers the program."""

    RECV, SEND = 0xC0502100, 0xC0182101

    def serve(self, n=1):
        """Answers mkdir with EXDEV, n times; what the listener was told."""
        self.path = os.path.join(self.bundle, "listener")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(self.path)
        sock.listen(1)
        sock.settimeout(10)
        told = []

        def work():
            with sock:
                for _ in range(n):
                    connection, _ = sock.accept()
                    with connection:
                        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
                    fd = struct.unpack("i", ancillary[0][2])[0]
                    told.append(json.loads(data))
                    request = bytearray(80)
                    fcntl.ioctl(fd, self.RECV, request)
                    fcntl.ioctl(fd, self.SEND, struct.pack("=QqiI", struct.unpack_from("=Q", request)[0], 0, -18, 0))
                    os.close(fd)

        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)
        return told

    def profile(self, **more):
        return {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": self.path, "listenerMetadata": "of mine",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}], **more}

    def check(self, told, status):
        self.assertEqual((told["fds"], told["metadata"]), (["seccompFd"], "of mine"))
        self.assertEqual((told["state"]["id"], told["state"]["status"]), (self.name, status))
        self.assertGreater(told["pid"], 1)

    def test_run(self):
        told = self.serve()
        text = self.says("mkdir /tmp/x 2>&1; true", linux__seccomp=self.profile())
        self.assertIn("Invalid cross-device link", text)
        self.check(told[0], "creating")

    def test_start_and_exec(self):
        told = self.serve(2)
        self.config("mkdir /tmp/x; exec sleep 1000", linux__seccomp=self.profile())
        self.create()
        self.start()
        self.wait_output("cross-device")
        done = self.oci("exec", self.name, "mkdir", "/tmp/x", check=False)
        self.assertIn("cross-device", done.stderr)
        self.check(told[0], "creating")
        self.check(told[1], "running")
        self.assertNotEqual(told[1]["pid"], told[1]["state"]["pid"])

    def test_nobody_listens(self):
        self.path = os.path.join(self.bundle, "nobody")
        self.config("mkdir /tmp/x", linux__seccomp=self.profile())
        self.refused("linux.seccomp.listenerPath", "run", self.name)

    def test_what_cannot_be_asked(self):
        self.path = "/nonexistent"
        self.config(linux__seccomp=self.profile(listenerPath=""))
        self.refused("SCMP_ACT_NOTIFY", "run", self.name)
        self.config(linux__seccomp=self.profile(syscalls=[{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}]))
        self.refused("sendmsg", "run", self.name)
        self.config(linux__seccomp=self.profile(defaultAction="SCMP_ACT_NOTIFY"))
        self.refused("defaultAction", "run", self.name)


class Features(runtime.RuntimeTest):
    def test_features(self):
        features = json.loads(self.oci("features").stdout)
        self.assertEqual(features["ociVersionMax"], "1.2.0")
        self.assertEqual(features["hooks"], ["prestart", "createRuntime", "createContainer", "startContainer",
                                             "poststart", "poststop"])
        self.assertIn("rbind", features["mountOptions"])
        self.assertIn("CAP_CHOWN", features["linux"]["capabilities"])
        self.assertIn("SCMP_ACT_ERRNO", features["linux"]["seccomp"]["actions"])
        self.assertTrue(features["linux"]["cgroup"]["systemd"])
        self.assertEqual(features["linux"]["intelRdt"], {"enabled": False})

    def test_spec_is_what_we_run(self):
        self.config()
        self.refused("config.json", "spec")
        self.assertEqual(self.oci("run", self.name).returncode, 0)

    def test_spec_for_one_user(self):
        self.oci("spec", "--rootless", "--file", "other.json", "--bundle", self.bundle)
        with open(os.path.join(self.bundle, "other.json"), encoding="utf-8") as f:
            config = json.load(f)
        config["root"]["path"] = self.rootfs
        config["process"].update(terminal=False, args=["sh", "-c", "tr -s ' ' </proc/self/uid_map; ls /sys/class/net"])
        with open(os.path.join(self.bundle, "other.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        for name in ("other.json", os.path.join(self.bundle, "other.json")):
            self.assertEqual(self.oci("run", "--config", name, self.name).stdout.split(),
                             ["0", "0", "1", *sorted(os.listdir("/sys/class/net"))])
