# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a log of QEMU's blklogwrites driver and makes disks from it as a power cut would have left them.

The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a super block of
(magic, version, number of entries, sector size), then for each request a sector of (first sector, sectors, flags, length)
with its data behind it. QEMU brings the super block up to date at every flush."""

import os
import struct

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


class Log:
    """The requests of a log, in the order in which the guest sent them."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, version, count, self.sector = struct.unpack("<QQQI", self.file.read(28))
        if magic != MAGIC or version != 1:
            raise ValueError(f"{path}: not a log of writes")
        self.entries = []
        position = self.sector
        for _ in range(count):
            self.file.seek(position)
            first, sectors, flags, length = struct.unpack("<QQQQ", self.file.read(32))
            position += self.sector
            data = 0 if flags & (DISCARD | MARK) else sectors * self.sector
            self.entries.append((first * self.sector, sectors * self.sector, flags, position))
            position += length if flags & MARK else data

    def marks(self):
        """Numbers of entries after which a disk without a write cache of its own holds everything: flushes and FUA."""
        return [number + 1 for number, entry in enumerate(self.entries) if entry[2] & (FLUSH | FUA)]

    def apply(self, disk, number, keep=None):
        """Does entry `number` again; `keep` bytes of it where the cut tore it."""
        offset, length, flags, position = self.entries[number]
        if flags & MARK or not length:
            return
        length = length if keep is None else min(keep, length)
        if flags & DISCARD:
            os.posix_fallocate(disk, offset, length)
            _zero(disk, offset, length)
            return
        self.file.seek(position)
        left = length
        while left:
            data = self.file.read(min(left, 1 << 20))
            os.pwrite(disk, data, offset + length - left)
            left -= len(data)

    def data(self, number):
        offset, length, flags, position = self.entries[number]
        self.file.seek(position)
        return offset, self.file.read(0 if flags & (DISCARD | MARK) else length)


def _zero(disk, offset, length):
    while length:
        done = os.pwrite(disk, bytes(min(length, 1 << 20)), offset)
        offset += done
        length -= done


def tear(log, disk, mark, random):
    """What was on its way at the cut: any part of the writes between two flushes may have arrived, in any order, and the
    last of them in part. Returns how many did."""
    done = 0
    odds = random.choice([0.1, 0.5, 0.9])
    for number in range(mark, len(log.entries)):
        flags = log.entries[number][2]
        if flags & FLUSH:
            break
        if flags & FUA or random.random() < odds:
            sectors = log.entries[number][1] // log.sector
            torn = sectors > 1 and not flags & FUA and random.random() < 0.2
            log.apply(disk, number, random.randrange(1, sectors) * log.sector if torn else None)
            done += 1
    return done


def copy(source, target):
    """Copies a disk, holes as holes; the target stays the same file, for a guest may have it open."""
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        size = os.fstat(reader).st_size
        os.ftruncate(writer, 0)
        os.ftruncate(writer, size)
        position = 0
        while position < size:
            try:
                position = os.lseek(reader, position, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(reader, position, os.SEEK_HOLE)
            while position < end:
                position += os.copy_file_range(reader, writer, end - position, position, position)
    finally:
        os.close(reader)
        os.close(writer)
