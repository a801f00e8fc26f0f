# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests in QEMU: one process each, which ends with us whatever happens to us. Needs neither network nor privileges of QEMU's."""

import json
import os
import select
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


# Without cmpxchg16b: QEMU 7.2 emulates the form that has no lock prefix wrongly, and since Linux 6.5 the allocator uses it.
# Without a fifth level of page tables, which emulation would walk for nothing.
CPU = "max,la57=off,cx16=off"


class GuestError(Exception):
    pass


class GuestLate(GuestError):
    pass


def accelerators():
    """Emulation works everywhere. DAVIT_VM_ACCEL=kvm is for machines that really have it: those that are guests themselves may
    have /dev/kvm, make a machine with it and then not get through its first instructions."""
    wanted = os.environ.get("DAVIT_VM_ACCEL")
    return [wanted or "tcg,thread=multi"]


class Guest:
    """A running guest. `disks` are arguments of -blockdev without node-name, in the order of /dev/vdb, /dev/vdc..."""

    def __init__(self, base, initrd, directory, disks=(), memory=1024, boot_limit=600):
        self.console = os.path.join(directory, "console.log")
        ours, theirs = socket.socketpair()
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot",
                   "-cpu", CPU, "-smp", "2", "-m", str(memory)]
        for accelerator in accelerators():
            command += ["-accel", accelerator]
        command += ["-kernel", os.path.join(base, "vmlinuz"), "-initrd", initrd,
                    "-append", "console=ttyS0 panic=-1 quiet systemd.unit=davit-vm.target systemd.show_status=no "
                               "systemd.default_standard_output=journal mitigations=off",
                    "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                    "-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-serial", "chardev:agent"]
        root = {"driver": "raw", "read-only": True, "file": {"driver": "file", "filename": os.path.join(base, "root.img")}}
        for number, disk in enumerate([root, *disks]):
            command += ["-blockdev", json.dumps({**disk, "node-name": f"disk{number}"}),
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        self.log = open(os.path.join(directory, "qemu.log"), "w+b")
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        theirs.close()
        self.port = ours
        self.pending = b""
        try:
            self.kernel = self.receive(time.monotonic() + boot_limit)["ready"]
        except BaseException:
            self.kill()
            raise

    def receive(self, deadline):
        """The next message of the agent, or GuestError when the guest ends or is late."""
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                raise GuestLate("the guest does not answer in time\n" + self.last_words())
            data = self.port.recv(65536)
            if not data:
                raise GuestError("the guest ended\n" + self.last_words())
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return json.loads(line)

    def last_words(self, lines=40):
        self.log.seek(0)
        words = self.log.read().decode(errors="replace")
        if os.path.exists(self.console):
            with open(self.console, errors="replace") as console:
                words += "\n".join(console.read().splitlines()[-lines:])
        return words

    def start(self, *command, limit=60):
        """Begins a command, of which receive() then tells."""
        self.port.sendall(json.dumps({"run": command, "limit": limit}).encode() + b"\n")

    def run(self, *command, limit=60, on_line=None):
        """Runs a command in the guest. Returns its exit status and what it wrote."""
        self.start(*command, limit=limit)
        deadline = time.monotonic() + limit + 30
        lines = []
        while True:
            message = self.receive(deadline)
            if "status" in message:
                return message["status"], "\n".join(lines)
            lines.append(message["out"])
            if on_line:
                on_line(message["out"])

    def check(self, *command, limit=60):
        status, out = self.run(*command, limit=limit)
        if status != 0:
            raise GuestError(f"{' '.join(command)}: exit status {status}\n{out}")
        return out

    def kill(self):
        """The power cut."""
        self.process.kill()
        self.process.wait()
        self.port.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
