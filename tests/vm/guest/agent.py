# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest: runs what the test outside asks for over a serial port, one command at a time.

Lines of JSON. To us: {"run": [arguments], "limit": seconds}. From us: {"ready": ...}, {"out": line}..., {"status": n}."""

import json
import os
import signal
import subprocess
import sys
import termios
import tty


def raw_port(path):
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port, termios.TCSANOW)
    return port


def run(command, limit, say):
    """Output line by line; what has not ended by its limit is killed with all it started."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)

    def late(*_):
        os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(int(limit))
    for line in process.stdout:
        say({"out": line.decode(errors="replace").rstrip("\n")})
    status = process.wait()
    signal.alarm(0)
    return status


def main():
    port = raw_port(sys.argv[1])

    def say(message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(port, data):]

    # Not what systemd has left to do, but that whatever may be asked for can be started.
    say({"ready": os.uname().release})
    with os.fdopen(os.dup(port), "rb", buffering=0) as lines:
        pending = b""
        while True:
            pending += lines.read(4096)
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                wanted = json.loads(line)
                try:
                    status = run(wanted["run"], wanted["limit"], say)
                except OSError as error:
                    say({"out": str(error)})
                    status = 127
                say({"status": status})


if __name__ == "__main__":
    main()
