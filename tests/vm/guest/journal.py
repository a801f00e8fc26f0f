# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a workload has been promised, written beside the file system it works on, at the end of the same disk.

Each record is one sector, written past all caches and without any flush: it arrives in the order of the log of writes,
and makes nothing durable that Davit has not made durable itself."""

import json
import mmap
import os

SECTOR = 512
SIZE = 1 << 20  # at the end of the disk, outside of the file system
RECORDS = SIZE // SECTOR


class Journal:
    def __init__(self, device):
        self.fd = os.open(device, os.O_RDWR | os.O_DIRECT)
        self.start = os.lseek(self.fd, 0, os.SEEK_END) - SIZE
        self.buffer = mmap.mmap(-1, SECTOR)
        self.records = read(device)

    def write(self, **record):
        if len(self.records) >= RECORDS:
            raise RuntimeError("no room for more records")
        data = json.dumps(record).encode()
        if len(data) > SECTOR:
            raise ValueError("record too long")
        self.buffer[:] = data.ljust(SECTOR, b"\0")
        os.pwrite(self.fd, self.buffer, self.start + len(self.records) * SECTOR)
        self.records.append(record)


def parse(data):
    """Records up to the first empty sector, and those behind a gap too: two may have been on their way at once."""
    sectors = (data[at:at + SECTOR].rstrip(b"\0") for at in range(0, len(data), SECTOR))
    return [json.loads(sector) for sector in sectors if sector]


def read(device):
    fd = os.open(device, os.O_RDONLY)
    try:
        end = os.lseek(fd, 0, os.SEEK_END)
        return parse(os.pread(fd, SIZE, end - SIZE))
    finally:
        os.close(fd)


def state(records):
    """name -> (what is certain of it: "present", "absent" or None; names of the archives it may come from)"""
    known = {}
    for record in records:
        certain, images = known.get(record["name"], ("absent", []))
        match record["event"]:
            # An image that is being replaced is there all the time, as one or the other.
            case "import":
                known[record["name"]] = ("present" if certain == "present" else None, sorted({*images, *record["images"]}))
            case "imported":
                known[record["name"]] = ("present", record["images"])
            case "remove":
                known[record["name"]] = (None, images)
            case "removed":
                known[record["name"]] = ("absent", [])
    return known
