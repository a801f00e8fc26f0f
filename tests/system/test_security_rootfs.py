# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile root file systems: nothing outside them is reached, whatever their links point to and whoever swaps them."""

import os
import shutil
import stat
import subprocess
import unittest

import davit
from security import FAILED, SecurityTest, mounts, snapshot


class Symlinks(SecurityTest):
    def replace(self, root, path, target):
        where = os.path.join(root, path)
        if os.path.isdir(where) and not os.path.islink(where):
            shutil.rmtree(where)
        elif os.path.lexists(where):
            os.unlink(where)
        os.symlink(target, where)

    def canary(self):
        """A host directory that must stay as it is."""
        directory = os.path.join(self.work, "canary")
        os.mkdir(directory)
        with open(os.path.join(directory, "file"), "w", encoding="utf-8") as f:
            f.write("host\n")
        return directory

    def test_proc_is_a_symlink(self):
        for target in ("/tmp/x", "../tmp", "/tmp"):
            with self.subTest(target=target):
                root = self.rootfs(davit.unique("proc"))
                os.makedirs(os.path.join(root, "tmp/x"), exist_ok=True)
                self.replace(root, "proc", target)
                self.assert_refused(self.run_in(root, "true"), "/proc")
                self.assertEqual(os.listdir(os.path.join(root, "tmp")), ["x"])

    def test_proc_is_a_file(self):
        root = self.rootfs()
        os.rmdir(os.path.join(root, "proc"))
        with open(os.path.join(root, "proc"), "w", encoding="utf-8"):
            pass
        self.assert_refused(self.run_in(root, "true"), "/proc")

    def test_sys_is_a_symlink(self):
        for target in ("..", "/", "/tmp"):
            with self.subTest(target=target):
                root = self.rootfs(davit.unique("sys"))
                self.replace(root, "sys", target)
                self.assert_refused(self.run_in(root, "true"), "/sys")

    def test_dev_is_a_symlink(self):
        """/dev -> /etc must not fill the host's or the image's /etc with device nodes."""
        before = snapshot("/etc")
        for target in ("/etc", "../../../../../../etc", "/tmp/../etc"):
            with self.subTest(target=target):
                root = self.rootfs(davit.unique("dev"))
                self.replace(root, "dev", target)
                inside = snapshot(os.path.join(root, "etc"))
                self.assert_refused(self.run_in(root, "true"), "/dev")
                self.assertEqual(snapshot(os.path.join(root, "etc")), inside)
        self.assertEqual(snapshot("/etc"), before)

    def test_dev_is_a_symlink_without_a_dev_mount(self):
        """No mount on /dev hides the image's: the nodes would go through the link."""
        canary = self.canary()
        before = snapshot(canary)
        for n, target in enumerate((canary, os.path.relpath(canary, self.work), "/etc", "../canary")):
            with self.subTest(target=target):
                root = self.rootfs(f"nodev-{n}")
                self.replace(root, "dev", target)
                inside = snapshot(os.path.join(root, "etc"))
                result = self.run_in(root, "true", patch={"mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"}]})
                self.assertEqual(result.status, FAILED, result)
                self.assertEqual(snapshot(os.path.join(root, "etc")), inside)
        self.assertEqual(snapshot(canary), before)

    def test_places_below_dev_are_symlinks(self):
        """Without a tmpfs on /dev its links are the image's: none is followed out of the root."""
        canary = self.canary()
        before = snapshot(canary)
        for name in ("pts", "shm", "mqueue", "console", "null", "ptmx"):
            with self.subTest(name=name):
                root = self.rootfs(f"below-{name}")
                os.symlink(canary, os.path.join(root, "dev", name))
                self.run_in(root, "true", patch={"mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}]})
                self.assertEqual(snapshot(canary), before)

    def test_mount_destination_through_a_symlink(self):
        """An absolute link inside means the container's root, never the host's."""
        canary = self.canary()
        root = self.rootfs()
        os.makedirs(root + canary)
        os.symlink(canary, os.path.join(root, "data"))
        volume = os.path.join(self.work, "volume")
        os.mkdir(volume)
        with open(os.path.join(volume, "mark"), "w", encoding="utf-8") as f:
            f.write("volume\n")
        before, host = snapshot(canary), mounts()
        result = self.run_in(root, "cat", f"{canary}/mark", options=["-v", f"{volume}:/data/new"])
        if result.status != FAILED:
            result = self.run_in(root, "cat", f"{canary}/new/mark", options=["-v", f"{volume}:/data/new"])
            self.assert_ran(result, "volume")
        self.assertEqual(snapshot(canary), before)
        self.assertEqual(mounts(), host)

    def test_mount_over_the_root(self):
        """A volume that would be mounted over the root, where nobody sees it, is refused however it gets there."""
        root = self.rootfs()
        os.symlink("/", os.path.join(root, "top"))
        for target in ("/top", "/etc/..", "/top/./"):
            with self.subTest(target=target):
                self.assert_refused(self.run_in(root, "true", options=["-v", f"{self.work}:{target}"]), "root")

    def test_missing_places_are_made_inside(self):
        root = self.rootfs()
        os.symlink("../../../../../../../..", os.path.join(root, "up"))
        volume = os.path.join(self.work, "volume")
        os.mkdir(volume)
        before = os.listdir("/")
        self.run_in(root, "true", options=["-v", f"{volume}:/up/davit-made-this/deep"])
        self.assertEqual(os.listdir("/"), before)
        self.assertFalse(os.path.lexists("/davit-made-this"))


class ProcMounts(SecurityTest):
    """What a mount puts over /proc must not be where the shim writes labels, sysctls and scores to."""

    def test_a_volume_over_proc(self):
        volume = os.path.join(self.work, "volume")
        os.makedirs(os.path.join(volume, "self/attr"))
        os.makedirs(os.path.join(volume, "sys/kernel"))
        for name in ("self/attr/exec", "sys/kernel/shm_rmid_forced", "sys/kernel/msgmax"):
            with open(os.path.join(volume, name), "w", encoding="utf-8") as f:
                f.write("as it was\n")
        result = self.run_in(self.rootfs(), "true", options=["-v", f"{volume}:/proc"],
                             patch={"linux": {"sysctl": {"kernel.msgmax": "12345"}}})
        self.assertIn(result.status, (0, FAILED), result)
        for name in ("self/attr/exec", "sys/kernel/shm_rmid_forced", "sys/kernel/msgmax"):
            with open(os.path.join(volume, name), encoding="utf-8") as f:
                self.assertEqual(f.read(), "as it was\n", name)

    def test_a_volume_over_a_sysctl(self):
        """The value goes to the kernel, or the start fails: never into what was mounted there."""
        fake = os.path.join(self.work, "fake")
        with open(fake, "w", encoding="utf-8") as f:
            f.write("as it was\n")
        result = self.run_in(self.rootfs(), "true", options=["-v", f"{fake}:/proc/sys/kernel/msgmax"],
                             patch={"linux": {"sysctl": {"kernel.msgmax": "12345"}}})
        self.assertIn(result.status, (0, FAILED), result)
        with open(fake, encoding="utf-8") as f:
            self.assertEqual(f.read(), "as it was\n")


class WorkingDirectory(SecurityTest):
    def test_descriptor_as_cwd(self):
        """A leaked descriptor of the host as working directory would be a way out."""
        root = self.rootfs()
        for n in list(range(3, 21)) + [30, 40]:
            result = self.run_in(root, "pwd", options=["-w", f"/proc/self/fd/{n}"])
            self.assertNotEqual(result.status, 0, f"fd {n}: {result}")
            self.assertNotIn("unreachable", result.out)

    def test_link_to_a_descriptor_as_cwd(self):
        root = self.rootfs()
        for n in range(3, 12):
            os.symlink(f"/proc/self/fd/{n}", os.path.join(root, f"link{n}"))
            result = self.run_in(root, "pwd", options=["-w", f"/link{n}"])
            self.assertNotEqual(result.status, 0, f"fd {n}: {result}")

    def test_exec_with_a_descriptor_as_cwd(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        for n in range(3, 21):
            result = self.ctl("exec", "-w", f"/proc/self/fd/{n}", name, "pwd")
            self.assertNotEqual(result.status, 0, f"fd {n}: {result}")

    def test_a_link_to_a_directory_is_fine(self):
        root = self.rootfs()
        os.symlink("/var", os.path.join(root, "link"))
        self.assert_ran(self.run_in(root, "pwd", options=["-w", "/link"]), "/var")


class Descriptors(SecurityTest):
    def test_run_has_three(self):
        result = self.run_in(self.rootfs(), "probe", "fds")
        self.assert_ran(result)
        self.assertEqual([line.split()[0] for line in result.out.splitlines()], ["0", "1", "2"], result)

    def test_exec_has_three(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        result = self.ctl("exec", name, "probe", "fds")
        self.assert_ran(result)
        self.assertEqual([line.split()[0] for line in result.out.splitlines()], ["0", "1", "2"], result)

    def test_detached_has_three(self):
        name = self.start(self.rootfs(), "sleep", "1000")
        result = self.ctl("exec", name, "ls", "/proc/1/fd")
        self.assert_ran(result)
        self.assertEqual(result.out.split(), ["0", "1", "2"])

    def test_sockets_of_davit_are_out_of_reach(self):
        """Nothing of ours lives in the abstract namespace, which a container with the host's network shares."""
        result = self.run_in(self.rootfs(), "probe", "connect", options=["--network", "host"])
        self.assert_ran(result)
        self.assertNotIn("davit", result.out)
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
            ours = [line for line in f if "@" in line and "davit" in line]
        self.assertEqual(ours, [])


class Races(SecurityTest):
    ROUNDS = 40
    time_limit = 120

    def racer(self, volume):
        """A container that exchanges a directory and a link to / in a volume, as fast as it can."""
        os.makedirs(os.path.join(volume, "a/below"))
        os.symlink("/", os.path.join(volume, "b"))
        os.chmod(volume, 0o777)
        return self.start(self.rootfs("racer"), "probe", "race", "/volume", options=["-v", f"{volume}:/volume"])

    def test_mount_below_a_volume_that_is_raced(self):
        volume = os.path.join(self.work, "volume")
        self.racer(volume)
        inner = os.path.join(self.work, "inner")
        os.mkdir(inner)
        root = self.rootfs("victim")
        host, pid1, top, statuses = mounts(), mounts(1), sorted(os.listdir("/")), set()
        for i in range(self.ROUNDS):
            result = self.run_in(root, "true", options=["-v", f"{volume}:/volume",
                                                        "-v", f"{inner}:/volume/{'ab'[i % 2]}/below/deep{i % 4}"])
            self.assertIn(result.status, (0, FAILED), result)
            statuses.add(result.status)
        self.assertIn(0, statuses, "no start came through, so that nothing was tried")
        self.assertEqual(mounts(), host)
        self.assertEqual(mounts(1), pid1)
        self.assertEqual(sorted(os.listdir("/")), top)
        self.assertFalse(os.path.lexists("/below"))

    def test_missing_places_below_a_volume_that_is_raced(self):
        """Making a mount point creates nothing on the host, whatever the directory on the way is at that moment."""
        volume = os.path.join(self.work, "volume")
        self.racer(volume)
        inner = os.path.join(self.work, "inner")
        os.mkdir(inner)
        root = self.rootfs("victim")
        host = {path: sorted(os.listdir(path)) for path in ("/", "/etc", "/usr", "/var", "/run")}
        for i in range(self.ROUNDS):
            place = f"/volume/{'ab'[i % 2]}/davit-race-{i}/deep"
            result = self.run_in(root, "true", options=["-v", f"{volume}:/volume", "-v", f"{inner}:{place}"])
            self.assertIn(result.status, (0, FAILED), result)
        for path, names in host.items():
            new = [name for name in sorted(os.listdir(path)) if name not in names and "davit-race" in name]
            self.assertEqual(new, [], path)

    def test_source_of_the_mask_is_raced(self):
        """An image whose /dev/null is exchanged for a link to a kernel file while starts mask with it."""
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            before = f.read()
        volume = os.path.join(self.work, "dev")
        os.mkdir(volume)
        os.chmod(volume, 0o777)
        os.symlink("/proc/sys/kernel/core_pattern", os.path.join(volume, "a"))
        with open(os.path.join(volume, "b"), "w", encoding="utf-8"):
            pass
        self.start(self.rootfs("racer"), "probe", "race", "/volume", options=["-v", f"{volume}:/volume"])
        root = self.rootfs("victim")
        os.symlink("/images-dev/a", os.path.join(root, "dev/null"))
        os.mkdir(os.path.join(root, "images-dev"))
        for _ in range(self.ROUNDS):
            result = self.run_in(root, "probe", "open", "w", "/proc/keys", "/proc/timer_list",
                                 options=["-v", f"{volume}:/images-dev"])
            self.assertIn(result.status, (0, FAILED), result)
            with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
                self.assertEqual(f.read(), before)

    def test_bind_source_that_is_raced(self):
        """The source is pinned before it is looked at: a link into the host's root never becomes the mount."""
        volume = os.path.join(self.work, "volume")
        self.racer(volume)
        root = self.rootfs("victim")
        for _ in range(self.ROUNDS):
            result = self.run_in(root, "ls", "/data", options=["-v", f"{volume}/a:/data"])
            self.assertIn(result.status, (0, FAILED), result)
            if result.status == 0:
                # Either the directory, or the link resolved by the caller's own right: never a half of each.
                self.assertIn(result.out.split()[0] if result.out else "", ("below", *os.listdir("/")))


class Masks(SecurityTest):
    MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats", "/proc/acpi",
              "/proc/scsi", "/proc/asound", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap",
              "/proc/timer_stats")
    READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

    def test_masked_paths_are_empty(self):
        """What containerd and podman mask is masked here as well."""
        root = self.rootfs()
        for path in self.MASKED:
            with self.subTest(path=path):
                result = self.run_in(root, "sh", "-c",
                                     f"if [ -d {path} ]; then ls -A {path}; else head -c 64 {path}; fi")
                self.assertEqual(result.out, "", result)

    def test_read_only_paths_cannot_be_written(self):
        root = self.rootfs()
        result = self.run_in(root, "probe", "open", "w", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
                             "/proc/sys/kernel/hostname", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper",
                             "/sys/power/state", "/proc/sys/fs/suid_dumpable")
        self.assert_ran(result)
        for line in result.out.splitlines():
            self.assertNotEqual(line.split()[1], "ok", line)

    def test_dev_null_of_the_image_masks_nothing(self):
        """The mask is our own /dev/null, not what the image calls one."""
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            before = f.read()
        root = self.rootfs()
        os.symlink("/proc/sys/kernel/core_pattern", os.path.join(root, "dev/null"))
        result = self.run_in(root, "probe", "open", "w", "/proc/kcore", "/proc/keys", "/proc/sysrq-trigger",
                             patch={"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]})
        if result.status != FAILED:
            self.assert_ran(result)
            listed = dict(line.split() for line in result.out.splitlines())
            self.assertNotEqual(listed["/proc/sysrq-trigger"], "ok")
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
            self.assertEqual(f.read(), before)

    def test_dev_null_is_the_real_one(self):
        result = self.run_in(self.rootfs(), "stat", "-c", "%t:%T %a", "/dev/null", "/dev/zero", "/dev/full",
                             "/dev/random", "/dev/urandom", "/dev/tty")
        self.assert_ran(result, "\n".join(("1:3 666", "1:5 666", "1:7 666", "1:8 666", "1:9 666", "5:0 666")))

    def test_no_cgroup_is_writable(self):
        result = self.run_in(self.rootfs(), "sh", "-c",
                             "for f in $(find /sys/fs/cgroup -type f -o -type d); do "
                             "if [ -d $f ]; then mkdir $f/probe 2>/dev/null && echo $f; "
                             "else (: >>$f) 2>/dev/null && echo $f; fi; done; true")
        self.assert_ran(result, "")

    def test_shm_has_the_sticky_mode(self):
        self.assert_ran(self.run_in(self.rootfs(), "stat", "-c", "%a", "/dev/shm"), "1777")

    def test_disks_cannot_be_opened(self):
        """A block device node that a container makes for itself opens nothing."""
        result = self.run_in(self.rootfs(), "sh", "-c", "mknod /tmp/d b 7 0 2>/dev/null; probe open r /tmp/d")
        self.assertNotIn("/tmp/d ok", result.out)


class Terminal(SecurityTest):
    def test_console_is_the_containers_own(self):
        """/dev/console is the slave of the container's terminal, whatever /dev/pts/0 is meanwhile."""
        script = "stat -L -c %t /dev/console; stat -f -c %T /dev/pts; readlink /proc/self/fd/0"
        done = subprocess.run(["script", "-qec", f"davitctl run --rm -it --rootfs {self.rootfs()} sh -c '{script}'",
                               "/dev/null"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, check=False)
        words = done.stdout.decode(errors="replace").replace("^@", "").split()
        self.assertEqual(words[0], "88", done.stdout)
        self.assertEqual(words[-1], "/dev/pts/0", done.stdout)

    def tries_on_terminal(self, *options):
        """What the attempts come to on a stdin that is a terminal, with these options."""
        command = f"davitctl run --rm {' '.join(options)} --rootfs {self.rootfs()} probe try tiocsti tioclinux"
        done = subprocess.run(["script", "-qec", command, "/dev/null"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=60, check=False)
        lines = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
        found = {line[0]: line[1] for line in lines if len(line) == 2}
        self.assertIn("tioclinux", found, done.stdout)
        return found

    def test_no_input_can_be_pushed(self):
        """The caller's terminal is never the controlling one of a container, so that nothing can be typed into it."""
        found = self.tries_on_terminal("-i")
        self.assertNotEqual(found["tiocsti"], "ok", found)
        self.assertNotEqual(found["tioclinux"], "ok", found)

    def test_pushed_input_stays_inside(self):
        """With -t the terminal is the container's own: what it pushes there, it reads itself."""
        script = ('davitctl run --rm -it --rootfs %s probe try tiocsti; '
                  'if read -r -t 1 line; then echo "caller got <$line>"; else echo "caller got nothing"; fi'
                  % self.rootfs())
        done = subprocess.run(["script", "-qec", f"bash -c '{script}'", "/dev/null"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=60, check=False)
        self.assertIn(b"tiocsti", done.stdout)
        self.assertIn(b"caller got nothing", done.stdout)

class OwnBinary(SecurityTest):
    @staticmethod
    def text(path):
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def test_shim_cannot_be_overwritten(self):
        """A container that waits in /proc for a descriptor of the program that enters it gets none it can write to."""
        shim = "/usr/libexec/davit/davit-shim"
        before = os.stat(shim)
        with open(shim, "rb") as f:
            content = f.read()
        root = self.rootfs()
        out = os.path.join(self.work, "out")
        os.mkdir(out, 0o777)
        os.chmod(out, 0o777)
        name = self.start(root, "sh", "-c", "probe hunt 8 >/out/log", options=["-v", f"{out}:/out"])
        log = os.path.join(out, "log")
        davit.wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 0, what="the hunter")
        with open(os.path.join(root, "bin/self"), "w", encoding="utf-8") as f:
            f.write("#!/proc/self/exe\n")
        os.chmod(os.path.join(root, "bin/self"), 0o755)
        for i in range(60):
            self.ctl("exec", name, *(["true"] if i % 2 else ["/bin/self"]))
        davit.wait_until(lambda: "rounds" in self.text(log), what="the hunter's end")
        with open(log, encoding="utf-8", errors="replace") as f:
            caught = [line.split() for line in f if ":" in line]
        files = [os.stat(os.path.join(root, "bin", entry)) for entry in ("busybox", "probe")]
        own = {f"{st.st_dev:x}:{st.st_ino}" for st in files}
        self.assertEqual([line for line in caught if line[0] not in own], [])
        with open(shim, "rb") as f:
            self.assertEqual(f.read(), content)
        self.assertEqual(os.stat(shim).st_mtime_ns, before.st_mtime_ns)

    def test_whoever_enters_shows_nothing_of_the_host(self):
        """A container that reads /proc/PID/fd of everything that appears sees three descriptors, all its own."""
        out = os.path.join(self.work, "out")
        os.mkdir(out)
        os.chmod(out, 0o777)
        name = self.start(self.rootfs(), "sh", "-c", "probe peek 6 >/out/log", options=["-v", f"{out}:/out"])
        log = os.path.join(out, "log")
        davit.wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 0, what="the peeker")
        for _ in range(80):
            self.ctl("exec", name, "true")
        davit.wait_until(lambda: self.text(log).endswith("end\n"), what="the peeker's end")
        seen = {tuple(line.split()[2:4]) for line in self.text(log).splitlines() if " fd " in line}
        bad = [entry for entry in seen if int(entry[0]) > 2 and not entry[1].startswith(("/bin/", "/proc/"))]
        self.assertEqual(bad, [])
        self.assertEqual([entry for entry in seen if "davit" in entry[1] or "cgroup" in entry[1]], [])

    def test_entrypoint_is_its_own_runtime(self):
        root = self.rootfs()
        path = os.path.join(root, "bin/self")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/proc/self/exe\n")
        os.chmod(path, 0o755)
        result = self.run_in(root, "/bin/self", timeout=30)
        self.assertNotEqual(result.status, 0, result)

    def test_nothing_installed_is_setuid(self):
        for path in ("/usr/libexec/davit/davit-shim", "/usr/libexec/davit/davitd", "/usr/libexec/davit/davit-store",
                     shutil.which("davitctl")):
            with self.subTest(path=path):
                self.assertEqual(os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID), 0)
                self.assertNotIn("security.capability", os.listxattr(path))


if __name__ == "__main__":
    unittest.main()
