# SPDX-License-Identifier: LGPL-2.1-or-later
"""File systems whose server does not answer, spoken over /dev/fuse without a library."""

import contextlib
import ctypes
import os
import select
import struct
import tempfile
import threading

import davit

(LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, INTERRUPT, BATCH_FORGET) = (1, 2, 3, 14, 15, 26, 27, 36, 42)
HEADER, ANSWER = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
DIRECTORY, FILE = 1, 2


@contextlib.contextmanager
def mounted():
    """(path, descriptor of the server); at the end whoever waits for an answer gets an error."""
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory(dir=davit.FIXTURES) as path:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
            if libc.mount(b"dead", path.encode(), b"fuse", 0, options) < 0:
                raise OSError(ctypes.get_errno(), "mount")
        except BaseException:
            os.close(fd)
            raise
        try:
            yield path, fd
        finally:
            os.close(fd)  # aborts what is under way
            libc.umount2(path.encode(), 2)


@contextlib.contextmanager
def dead():
    """One whose server answers nothing at all. What waits for it can be killed."""
    with mounted() as (path, _):
        yield path


def attributes(node):
    mode, size = (0o40755, 0) if node == DIRECTORY else (0o100644, 4096)
    return ATTRIBUTES.pack(node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """None where nothing is said, an errno, or the answer."""
    if opcode in (FORGET, INTERRUPT, BATCH_FORGET, READ):
        return None
    if opcode == INIT:
        return struct.pack("=IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 9, 65536, 1, 16, 0, 0, *[0] * 7)
    if opcode == LOOKUP:
        return struct.pack("=QQQQII", FILE, 0, 1000, 1000, 0, 0) + attributes(FILE) if body == b"data\0" else -2
    if opcode == GETATTR:
        return struct.pack("=QII", 1000, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("=QII", 1, 0, 0)
    return -38


def serve(fd, stop, asked):
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(stop, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if stop in ready:
            return
        try:
            data = os.read(fd, 1 << 17)
        except OSError:
            continue
        _, opcode, unique, node, *_ = HEADER.unpack_from(data)
        if opcode == READ:
            asked.set()
        said = answer(opcode, node, data[HEADER.size:])
        if said is None:
            continue
        error, said = (said, b"") if isinstance(said, int) else (0, said)
        with contextlib.suppress(OSError):
            os.write(fd, ANSWER.pack(ANSWER.size + len(said), error, unique) + said)


@contextlib.contextmanager
def deaf():
    """(path, event): a directory with a file "data". Its server takes what is asked of the file's content, which the event
    tells, and never answers: nothing can kill who waits for that."""
    with mounted() as (path, fd):
        reader, writer = os.pipe()
        asked = threading.Event()
        thread = threading.Thread(target=serve, args=(fd, reader, asked))
        thread.start()
        try:
            yield path, asked
        finally:
            os.close(writer)
            thread.join()
            os.close(reader)
